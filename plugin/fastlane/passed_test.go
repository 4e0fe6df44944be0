//go:build linux

package fastlane

import (
	"runtime"
	"testing"

	"github.com/miekg/dns"
)

// TestMaxPassed checks that no more messages are with the chain than may be,
// that a datagram more is dropped, that a TCP connection waits, and that
// neither keeps the Responder from answering.
func TestMaxPassed(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	const most, sent = 8, 500
	l := s.lane(t, f, func(c *Config, _ *Options) { c.MaxPassed = most })
	goroutines := runtime.NumGoroutine()
	udp, tcp, other := s.client(t, "udp", "127.0.0.1"), s.client(t, "tcp", "127.0.0.1"), s.client(t, "udp", "127.0.0.1")
	other.want(t, "lane", "lane")
	names := numbered(most, "wait")
	first, err := udp.send(names...)
	if err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "the chain has as many as it may", f.entered, most)
	if _, err := udp.send(numbered(sent-most, "wait")...); err != nil {
		t.Fatal(err)
	}
	await(t, "those over the bound are dropped", func() bool { return l.Stats().Dropped == sent-most })
	if n := l.Stats().Passed; n != most {
		t.Errorf("%d messages are with the chain, want %d", n, most)
	}
	if n := runtime.NumGoroutine() - goroutines; n > most+4 { // and the stream's
		t.Errorf("%d goroutines more for %d messages that wait and %d dropped", n, most, sent-most)
	}
	streamed, err := tcp.send("lane", "wait", "chain")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tcp.replies(streamed, "lane"); err != nil || got[0] != "lane" {
		t.Errorf("over TCP, before one that waits: %v, %v", got, err)
	}
	other.want(t, "lane", numbered(100, "lane")...)
	close(f.gate)
	if _, err := udp.replies(first, names...); err != nil {
		t.Error(err)
	}
	if got, err := tcp.replies(streamed+1, "wait", "chain"); err != nil || got[0] != "chain" || got[1] != "chain" {
		t.Errorf("over TCP: %v, %v", got, err)
	}
	if n := l.Stats().Dropped; n != sent-most {
		t.Errorf("%d dropped, want %d", n, sent-most)
	}
}

// TestPassedLeave checks that messages that never come to the chain's handler
// do not count as with it: more of them than may be, of each kind.
func TestPassedLeave(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	l := s.lane(t, newFake(), func(c *Config, _ *Options) { c.MaxPassed = 3 })
	reply := query(1, "chain")
	reply[2] |= 0x80
	update := query(1, "chain")
	update[2] |= dns.OpcodeUpdate << 3
	unreadable := query(1, "chain")
	unreadable[12] = 0xff
	questions := query(1, "chain")
	questions[5] = 2
	cut := query(1, "chain")[:20]
	c := s.client(t, "udp", "127.0.0.1")
	n := uint64(0)
	for what, msg := range map[string][]byte{
		"short": {1, 2, 3}, "no octets": {}, "a reply": reply, "an update": update,
		"a bad name": unreadable, "two questions": questions, "cut": cut,
	} {
		for range 10 {
			if _, err := c.Write(msg); err != nil {
				t.Fatal(err)
			}
			n++
			await(t, what+" is done with", func() bool { s := l.Stats(); return s.Datagrams == n && s.Passed == 0 })
		}
	}
	if n := l.Stats().Dropped; n != 0 {
		t.Errorf("%d dropped", n)
	}
}
