package fastlane

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestForbidden opens a lane where a seccomp profile does not allow the program
// that steers: it must not bind a socket, which would be closed with what it has
// received. The profile does not allow bind either, to tell which comes first.
func TestForbidden(t *testing.T) {
	s := newCoreDNS(t, "127.0.0.1")
	const nr, optname = 0, 16 + 2*8 // in struct seccomp_data
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	ifEqual := func(k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	filter := []unix.SockFilter{
		load(nr),
		ifEqual(unix.SYS_BIND, 3, 0),
		ifEqual(unix.SYS_SETSOCKOPT, 0, 3),
		load(optname), // its lower half, where octets come in little-endian order
		ifEqual(unix.SO_ATTACH_REUSEPORT_CBPF, 0, 1),
		ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)),
		ret(unix.SECCOMP_RET_ALLOW),
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	missing, opened := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		defer close(missing)
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
		}
		if err != nil {
			missing <- err
			return
		}
		l, err := Open(Config{Addr: s.addr, Others: 1, Workers: 1}, Options{}, newFake().program())
		if err == nil {
			closeLane(t, l)
		}
		opened <- err
	}()
	if err := <-missing; err != nil {
		t.Skipf("no seccomp: %v", err)
	}
	if err := <-opened; !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "SO_ATTACH_REUSEPORT_CBPF") {
		t.Errorf("Open: %v", err)
	}
	s.client(t, "udp", "127.0.0.1").want(t, "coredns", numbered(20, "lane")...)
}
