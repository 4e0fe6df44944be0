package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capabilities are those that the process uses where it may have them, in the
// words of struct __user_cap_data_struct: to bind ports below 1024, and for the
// lane in the kernel to load a program (BPF), to let it compare addresses in
// packets (PERFMON), and to attach it (NET_ADMIN).
var capabilities = [2]uint32{
	1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_NET_ADMIN,
	1<<(unix.CAP_BPF-32) | 1<<(unix.CAP_PERFMON-32),
}

// init makes capabilities effective where the process may: the image's binary has
// them as permitted only, so that it also starts in a container without them
// (deploy/image/layer.go). A process that lacks them, or a kernel that refuses,
// leaves things as they are; if a port is then out of reach, its listener says so,
// and if the kernel takes no program, the lane does.
func init() {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return
	}
	before := data
	for i := range data {
		data[i].Effective |= data[i].Permitted & capabilities[i]
	}
	if data == before {
		return
	}
	// A capability is a thread's, and a socket may be made on any. With cgo
	// this call does nothing; such a binary needs the file capability with =ep.
	syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
}
