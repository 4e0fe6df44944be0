package mmsg

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Array types are the same only if their lengths are, so each line fails to
// compile if a layout is larger or smaller than the kernel's.
var (
	// struct mmsghdr: a struct msghdr, an unsigned int, padding to a pointer.
	_ [unsafe.Sizeof(unix.Mmsghdr{})]byte          = [unix.SizeofMsghdr + unsafe.Sizeof(uintptr(0))]byte{}
	_ [unsafe.Offsetof(unix.Mmsghdr{}.Len)]byte    = [unix.SizeofMsghdr]byte{}
	_ [unsafe.Sizeof(unix.Msghdr{})]byte           = [unix.SizeofMsghdr]byte{}
	_ [unsafe.Sizeof(unix.RawSockaddrInet4{})]byte = [16]byte{}
	_ [unsafe.Sizeof(unix.RawSockaddrInet6{})]byte = [28]byte{}
	// The port is at the same place in both, and the scope ends the larger.
	_ [unsafe.Offsetof(unix.RawSockaddrInet4{}.Port)]byte     = [unsafe.Offsetof(unix.RawSockaddrInet6{}.Port)]byte{}
	_ [unsafe.Offsetof(unix.RawSockaddrInet6{}.Scope_id)]byte = [24]byte{}
	// in_pktinfo and in6_pktinfo, and where CMSG_DATA puts them.
	_ [unsafe.Sizeof(unix.Inet4Pktinfo{})]byte            = [12]byte{}
	_ [unsafe.Offsetof(unix.Inet4Pktinfo{}.Spec_dst)]byte = [4]byte{}
	_ [unsafe.Sizeof(unix.Inet6Pktinfo{})]byte            = [20]byte{}
	_ [unsafe.Offsetof(unix.Inet6Pktinfo{}.Ifindex)]byte  = [16]byte{}
	_ [unsafe.Offsetof(control{}.info)]byte               = [unix.SizeofCmsghdr]byte{}
)
