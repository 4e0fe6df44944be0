// Package freeport finds ports for the servers of tests.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// The ports from first on, in an order of this process's own, in which it gives
// them, and none twice: one that is free now may be one that a test has asked for
// and not taken yet.
const first = 4000

var (
	order = rand.Perm(6000)
	next  atomic.Uint32
)

// Of returns a port that nobody has on any address, neither of UDP nor of TCP. It
// is below those that the kernel gives to clients, and below those of the tests
// on a control plane, which run at the same time: another process that were given
// it would share it with the server, whose sockets allow that (SO_REUSEPORT).
func Of(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(first + order[int(next.Add(1))%len(order)])
		tcp, err := net.Listen("tcp", ":"+port)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", ":"+port)
		tcp.Close()
		if err == nil {
			udp.Close()
			return port
		}
	}
	t.Fatal("no port is free for both UDP and TCP")
	return ""
}
