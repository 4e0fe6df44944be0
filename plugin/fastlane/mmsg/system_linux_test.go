package mmsg

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// systems are the ways to receive and send that must pass the same tests.
var systems = map[string]func(socket) system{"mmsg": newMulti, "single": newSingle}

// beforePeerGone makes the kernel report ICMP errors to an unconnected socket.
var beforePeerGone = []func(*testing.T, *net.UDPConn){func(t *testing.T, c *net.UDPConn) {
	setsockopt(t, c, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
}}

func setsockopt(t *testing.T, c *net.UDPConn, level, opt, value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, opt, value) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
}
