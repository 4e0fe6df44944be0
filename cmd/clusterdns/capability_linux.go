package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// init makes the capability to bind ports below 1024 effective where the
// process may: the image's binary has it as permitted only, so that it also
// starts in a container without it (deploy/image/layer.go). A process that
// lacks it, or a kernel that refuses, leaves things as they are; if a port is
// then out of reach, its listener says so.
func init() {
	const netBindService = 1 << unix.CAP_NET_BIND_SERVICE
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return
	}
	if data[0].Permitted&netBindService == 0 || data[0].Effective&netBindService != 0 {
		return
	}
	data[0].Effective |= netBindService
	// A capability is a thread's, and a socket may be made on any. With cgo
	// this call does nothing; such a binary needs the file capability with =ep.
	syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
}
