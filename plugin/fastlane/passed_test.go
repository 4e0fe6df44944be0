//go:build linux

package fastlane

import (
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// TestMaxPassed checks that no more messages of one sender are with the chain
// than may be, which is half of the room, that a datagram more is dropped, and
// that this keeps neither the Responder nor TCP from answering.
func TestMaxPassed(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	const most, sent = 8, 500
	l := s.lane(t, f, func(c *Config, _ *Options) { c.MaxPassed = 2 * most })
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

// TestPassedShares has senders send more than may be with the chain, one after
// the other: each has as many there as there is room left, and the last one
// finds room too.
func TestPassedShares(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	l := s.lane(t, f, func(c *Config, _ *Options) { c.MaxPassed = 16 })
	var clients []*client
	for i := 1; len(clients) < 4; i++ {
		ip := net.IPv4(127, 3, 0, byte(i)).To4()
		if slices.ContainsFunc(clients, func(c *client) bool {
			other := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
			return sameSender(l.passed, other, netip.AddrFrom4([4]byte(ip)))
		}) {
			continue
		}
		conn, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: ip}}).Dial("udp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		clients = append(clients, newClient(conn))
	}
	sent, passed := 0, 0
	for i, share := range []int{8, 4, 2, 1} {
		sent, passed = sent+100, passed+share
		if _, err := clients[i].send(numbered(100, "wait")...); err != nil {
			t.Fatal(err)
		}
		await(t, "all are passed on or dropped", func() bool { return int(l.Stats().Dropped) == sent-passed })
		if n := l.Stats().Passed; n != passed {
			t.Errorf("%d messages are with the chain after %d senders, want %d", n, i+1, passed)
		}
	}
	close(f.gate)
	await(t, "the chain has answered", func() bool { return l.Stats().Passed == 0 })
	s.client(t, "udp", "127.0.0.1").want(t, "chain", "chain")
	await(t, "the handler is done", func() bool { return l.Stats().Passed == 0 })
	for v := range l.passed.rooms {
		for i := range l.passed.rooms[v].of {
			if n := l.passed.rooms[v].of[i].Load(); n != 0 {
				t.Errorf("%d messages of a sender are left", n)
			}
		}
	}
}

func sameSender(p *passed, a, b netip.Addr) bool {
	return p.sender(&p.rooms[Forward], a) == p.sender(&p.rooms[Forward], b)
}

// TestPassedRooms has one client send more than may be with the chain, of one
// verdict after the other: each has its own room, of the size that it should be,
// and what comes over TCP has its own too.
func TestPassedRooms(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	const most, sent = 64, 300
	l := s.lane(t, f, func(c *Config, _ *Options) { c.MaxPassed = most })
	udp := s.client(t, "udp", "127.0.0.1")
	passed := 0
	for i, room := range []struct {
		word string
		most int
	}{{"wait", most}, {"waitlocal", most / 4}, {"waitalias", most / 4}} {
		if _, err := udp.send(numbered(sent, room.word)...); err != nil {
			t.Fatal(err)
		}
		passed += room.most / 2 // one sender
		await(t, room.word+": all are passed on or dropped", func() bool { return int(l.Stats().Dropped) == (i+1)*sent-passed })
		if n := l.Stats().Passed; n != passed {
			t.Errorf("%s: %d messages are with the chain, want %d", room.word, n, passed)
		}
	}
	if got, err := s.client(t, "tcp", "127.0.0.1").ask("chain"); err != nil || got[0] != "chain" {
		t.Error(got, err)
	}
	close(f.gate)
	await(t, "the chain has answered", func() bool { return l.Stats().Passed == 0 })
}

// TestPassedBound has many senders send more than may be with the chain: there
// are never more than in all rooms together, and as many goroutines.
func TestPassedBound(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	const most, bound = 16, 16 + 16/4 + 16/4
	l := s.lane(t, f, func(c *Config, _ *Options) { c.MaxPassed = most })
	goroutines, sent := runtime.NumGoroutine(), 0
	for i := range 100 {
		conn, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 3, 1, byte(i+1))}}).Dial("udp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := newClient(conn).send(numbered(30, "wait", "waitlocal", "waitalias")...); err != nil {
			t.Fatal(err)
		}
		sent += 30
		await(t, "all are passed on or dropped", func() bool {
			stats := l.Stats()
			return int(stats.Dropped)+stats.Passed == sent
		})
	}
	await(t, "the rooms are full, and no more is there", func() bool { return int(l.Stats().Dropped) == sent-bound })
	if n := runtime.NumGoroutine() - goroutines; n > bound {
		t.Errorf("%d goroutines more for %d messages", n, bound)
	}
	close(f.gate)
	await(t, "the chain has answered", func() bool { return l.Stats().Passed == 0 })
}

// TestPassedStreams checks that no more messages over TCP are with the chain
// than may be, that one more waits, and that datagrams have their own room.
func TestPassedStreams(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	const most = 4
	l := s.lane(t, f, func(c *Config, _ *Options) { c.MaxPassed = most })
	var clients []*client
	for range 3 * most {
		c := s.client(t, "tcp", "127.0.0.1")
		if _, err := c.send("lane", "wait", "chain"); err != nil {
			t.Fatal(err)
		}
		if got, err := c.replies(1, "lane"); err != nil || got[0] != "lane" {
			t.Fatal(got, err)
		}
		clients = append(clients, c)
	}
	receiveFrom(t, "the chain has as many as it may", f.entered, most)
	udp := s.client(t, "udp", "127.0.0.1")
	for range 50 {
		udp.want(t, "chain", "chain")
	}
	if n := len(f.entered); n != 0 || l.Stats().Passed < most {
		t.Errorf("%d messages more than %d are with the chain, and %d are said to be", n, most, l.Stats().Passed)
	}
	close(f.gate)
	for _, c := range clients {
		if got, err := c.replies(2, "wait", "chain"); err != nil || got[0] != "chain" || got[1] != "chain" {
			t.Errorf("%v, %v", got, err)
		}
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

// TestPassedDrop checks that a datagram is dropped, before it costs a goroutine,
// of a sender who has all that he may, and not of another, nor with another
// verdict; and when too many are on their way.
func TestPassedDrop(t *testing.T) {
	p := newPassed(8)
	flood := netip.MustParseAddr("192.0.2.1")
	forward := &p.rooms[Forward]
	for range 4 {
		if !forward.enter(p.sender(forward, flood)) {
			t.Fatal("no room")
		}
	}
	if forward.enter(p.sender(forward, flood)) || p.tryEnter(flood, Forward) {
		t.Error("no datagram of a sender with half of the room is dropped")
	}
	other := flood.Next()
	for sameSender(p, other, flood) {
		other = other.Next()
	}
	if !p.tryEnter(other, Forward) || !p.tryEnter(flood, Local) || !p.tryEnter(flood, Alias) {
		t.Error("another's, or of another verdict, is dropped")
	}
	if n := p.len(); n != 7 || p.dropped.Load() != 1 {
		t.Errorf("%d are there, want 7; %d dropped, want 1", n, p.dropped.Load())
	}
	for range 5 {
		p.tryEnter(other, Forward)
	}
	if p.tryEnter(other, Forward) || p.coming.Load() != 8 {
		t.Errorf("%d are on their way, of 8", p.coming.Load())
	}
}
