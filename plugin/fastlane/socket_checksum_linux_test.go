package fastlane

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWrongChecksums floods a lane with datagrams that the kernel would take
// for wrong only when they are received: none waits for its workers, which
// would seem to have stalled.
func TestWrongChecksums(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		t.Skipf("raw sockets: %v", err)
	}
	defer unix.Close(fd)
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	const ticks = 20 * time.Millisecond
	var stalled atomic.Bool
	l := s.lane(t, newFake(), func(_ *Config, o *Options) { o.tick, o.Stalled = ticks, func() { stalled.Store(true) } })
	port, _ := net.LookupPort("udp", s.port)
	packet := udpPacket(net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 1), 5353, port, append(query(1, "lane"), make([]byte, 400)...)) // which the kernel does not look at before it is received
	packet[26], packet[27] = 0xde, 0xad
	for range 300_000 {
		if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	drops := uint64(0)
	for _, n := range l.Stats().Overflow {
		drops += n
	}
	if n := l.Stats().Datagrams; n != 0 || drops != 300_000 {
		t.Errorf("%d datagrams received and %d dropped, and the checksums of all are wrong", n, drops)
	}
	if stalled.Load() { // with nothing to receive, however late a busy machine runs the workers
		t.Error("the lane took its workers for stalled")
	}
}
