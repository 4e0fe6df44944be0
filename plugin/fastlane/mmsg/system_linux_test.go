package mmsg

import (
	"testing"

	"golang.org/x/sys/unix"
)

// systems are the ways to receive and send that must pass the same tests.
var systems = map[string]makeSystem{"mmsg": newMulti, "single": newSingle}

// beforePeerGone makes the kernel report ICMP errors to an unconnected socket.
var beforePeerGone = []func(*testing.T, *Conn){func(t *testing.T, c *Conn) {
	setsockopt(t, c, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
}}

func setsockopt(t *testing.T, c *Conn, level, opt, value int) {
	t.Helper()
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, opt, value) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
}
