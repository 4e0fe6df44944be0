//go:build linux

package fastlane

import (
	"fmt"
	"math/bits"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/fastlane/mmsg"

	"github.com/miekg/dns"
)

// TestBatches checks that many queries at once, for Responder and chain mixed,
// are all answered, once.
func TestBatches(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	l := s.lane(t, f)
	const clients, rounds, size = 8, 20, 48
	var all sync.WaitGroup
	for range clients {
		c := s.client(t, "udp", "127.0.0.1")
		all.Go(func() {
			for range rounds {
				names := numbered(size, "lane", "lane", "chain")
				got, err := c.ask(names...)
				if err != nil {
					t.Error(err)
					return
				}
				for i, name := range names {
					if want, _, _ := strings.Cut(name, "-"); got[i] != want {
						t.Errorf("%s was answered by %s", name, got[i])
					}
				}
			}
		})
	}
	all.Wait()
	stats := l.Stats()
	if stats.Sockets != 2*queues || stats.Datagrams != clients*rounds*size || stats.Errors != 0 || stats.Panics != 0 {
		t.Errorf("after %d datagrams: %+v", clients*rounds*size, stats)
	}
	var least, most uint64
	for i, n := range stats.Batches {
		least += n << i
		most += n * (2<<i - 1)
	}
	if stats.Datagrams < least || stats.Datagrams > most {
		t.Errorf("%d datagrams in batches of %v", stats.Datagrams, stats.Batches)
	}
}

// TestBatchSizes has datagrams wait for a worker, which takes them in batches
// as large as they may be.
func TestBatchSizes(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	l := s.lane(t, f, func(c *Config, _ *Options) { c.Workers = 1 })
	c := s.client(t, "udp", "127.0.0.1")
	names := append([]string{"stick"}, numbered(batchSize+5, "lane")...)
	first, err := c.send(names[0])
	if err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "the worker sticks", f.entered, 1)
	if _, err := c.send(names[1:]...); err != nil {
		t.Fatal(err)
	}
	close(f.stuck)
	if _, err := c.replies(first, names...); err != nil {
		t.Fatal(err)
	}
	want := make([]uint64, len(l.Stats().Batches))
	want[0], want[logBatchSize], want[bits.Len(5)-1] = 1, 1, 1
	if got := l.Stats().Batches; !slices.Equal(got, want) {
		t.Errorf("batches %v, want %v: 1, %d and 5 datagrams", got, want, batchSize)
	}
	// Sent follows the replies.
	await(t, "Sent once a batch", func() bool { return f.sent.Load() == 3 })
}

// TestLongDatagram checks that a datagram longer than a Responder may be asked
// is the chain's, as much of it as CoreDNS reads.
func TestLongDatagram(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	l := s.lane(t, newFake())
	reach := func(size int) *client {
		c := s.client(t, "udp", "127.0.0.1")
		if _, err := c.Write(append(query(1, "lane"), make([]byte, size-len(query(1, "lane")))...)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for size, want := range map[int]string{MaxMessage: "lane", MaxMessage + 1: "chain", 9000: "chain"} {
		if got, err := reach(size).replies(1, "lane"); err != nil || got[0] != want {
			t.Errorf("%d octets were answered by %v, %v; want %s", size, got, err, want)
		}
	}
	// What is cut cannot be read to its end: FORMERR, as from CoreDNS's own
	// socket.
	m := new(dns.Msg).SetQuestion("lane.test.", dns.TypeA).SetEdns0(1232, false)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_PADDING{Padding: make([]byte, 600)})
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	ask := func() *dns.Msg {
		c := s.client(t, "udp", "127.0.0.1")
		if _, err := c.Write(wire); err != nil {
			t.Fatal(err)
		}
		got, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		reply := new(dns.Msg)
		if err := reply.Unpack(got); err != nil {
			t.Fatal(err)
		}
		return reply
	}
	ours := ask()
	closeLane(t, l)
	if theirs := ask(); ours.String() != theirs.String() || ours.Rcode != dns.RcodeFormatError {
		t.Errorf("a query of %d octets: got\n%v\nfrom the lane, from CoreDNS's socket\n%v", len(wire), ours, theirs)
	}
}

// TestGarbage checks that what is no query gets no reply and does no harm.
func TestGarbage(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	l := s.lane(t, f, func(c *Config, _ *Options) { c.Workers = 1 })
	c := s.client(t, "udp", "127.0.0.1")
	reply := query(7, "lane")
	reply[2] |= 0x80
	garbage := [][]byte{{}, {0}, make([]byte, 11), reply, reply[:12]}
	for range 5 {
		for _, g := range garbage {
			if _, err := c.Write(g); err != nil {
				t.Fatal(err)
			}
		}
		// A reply to garbage would come before.
		c.want(t, "lane", "lane")
		c.want(t, "chain", "chain")
	}
	if n := l.Stats().Datagrams; n != uint64(5*(len(garbage)+2)) {
		t.Errorf("%d datagrams counted", n)
	}
}

// TestPanic checks that a panic costs the one query that it befell.
func TestPanic(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	l := s.lane(t, f, func(c *Config, _ *Options) { c.Workers = 1 })
	c := s.client(t, "udp", "127.0.0.1")
	// All in one batch: the first and the last of it, and two in a row.
	if _, err := c.send("stick"); err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "the worker sticks", f.entered, 1)
	names := []string{"panic-0", "lane-1", "chain-2", "panic-3", "panic-4", "chain-5", "lane-6", "panic-7"}
	if _, err := c.send(names...); err != nil {
		t.Fatal(err)
	}
	close(f.stuck)
	got := map[string]bool{}
	for range 5 {
		msg, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(msg); err != nil {
			t.Fatal(err)
		}
		got[m.Question[0].Name] = true
	}
	for _, want := range []string{"stick.test.", "lane-1.test.", "chain-2.test.", "chain-5.test.", "lane-6.test."} {
		if !got[want] {
			t.Errorf("%s has no answer; %v have", want, got)
		}
	}
	if l.Stats().Panics != 4 {
		t.Errorf("%d panics counted, want 4", l.Stats().Panics)
	}
	if log := f.logged(); !strings.Contains(log, "as the query says") || !strings.Contains(log, "fake_linux_test.go") {
		t.Errorf("logged without the panic's value or its stack:\n%s", log)
	}
	c.want(t, "lane", numbered(10, "lane")...)
}

// TestSentPanic checks that a panic when all is answered costs no query: what
// was declined of the batch still reaches the chain.
func TestSentPanic(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	l := s.lane(t, f, func(c *Config, _ *Options) { c.Workers = 1 })
	c := s.client(t, "udp", "127.0.0.1")
	names := []string{"stick", "chain-1", "lane-2", "chain-3"}
	first, err := c.send(names[0])
	if err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "the worker sticks", f.entered, 1)
	if _, err := c.send(names[1:]...); err != nil {
		t.Fatal(err)
	}
	f.sentPanics.Store(2)
	close(f.stuck)
	if _, err := c.replies(first, names...); err != nil {
		t.Error(err)
	}
	if n := l.Stats().Panics; n != 2 {
		t.Errorf("%d panics counted, want 2", n)
	}
}

// TestWorkerAllocs checks that a query that the Responder answers costs no
// allocation.
func TestWorkerAllocs(t *testing.T) {
	for _, host := range []string{"", "127.0.0.1", "::1"} {
		s := listenStandIn(t, host, 1)
		f := newFake()
		l := &Lane{passed: newPassed(0)}
		l.program.Store(f.program())
		conn, err := mmsg.NewConn(s.udp[0])
		if err != nil {
			t.Fatal(err)
		}
		w := l.newWorker(conn)
		to := host
		if to == "" {
			to = "127.0.0.2"
		}
		c := dial(t, "udp", to, s.port).(*net.UDPConn)
		msg, buf := query(1, "lane"), make([]byte, 512)
		const each = 8
		round := func() {
			for range each {
				if _, err := c.Write(msg); err != nil {
					t.Fatal(err)
				}
			}
			for n := 0; n < each; {
				got, err := w.conn.Recv(w.batch)
				if err != nil {
					t.Fatal(err)
				}
				w.answer(got)
				n += got
			}
			for range each {
				if _, err := c.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
		}
		if allocs := testing.AllocsPerRun(100, round); allocs != 0 {
			t.Errorf("at %q: %v allocations for %d datagrams", host, allocs, each)
		}
		c.Close()
		w.Close()
		s.tcp[0].Close()
	}
}

// TestProcs checks that each worker has a P that it can keep, so that on a host
// of one CPU the goroutines of the chain have theirs, and that Ps go with their
// lane.
func TestProcs(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := newCoreDNS(t, "127.0.0.1")
	lanes := []*Lane{s.lane(t, newFake()), s.lane(t, newFake(), func(c *Config, _ *Options) { c.Workers = 1 })}
	if n := runtime.GOMAXPROCS(0); n != 1+2+1 || Procs() != 1 {
		t.Errorf("GOMAXPROCS is %d with three workers, Procs says %d", n, Procs())
	}
	// While the worker keeps its P.
	c := s.client(t, "udp", "127.0.0.1")
	for range 100 {
		c.want(t, "lane", "lane")
		c.want(t, "chain", "chain")
	}
	for _, l := range lanes {
		closeLane(t, l)
		closeLane(t, l)
	}
	if n := runtime.GOMAXPROCS(0); n != 1 || Procs() != 1 {
		t.Errorf("GOMAXPROCS is %d without workers, Procs says %d", n, Procs())
	}
}

// TestUnsent checks that replies that cannot be sent are not said to be, and
// take no other with them.
func TestUnsent(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	l := s.lane(t, f, func(c *Config, _ *Options) { c.Workers = 1 })
	c := s.client(t, "udp", "127.0.0.1")
	// All in one batch.
	first, err := c.send("stick")
	if err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "the worker sticks", f.entered, 1)
	if _, err := c.send("lane-1", "lane-2", "huge", "huge"); err != nil {
		t.Fatal(err)
	}
	close(f.stuck)
	if _, err := c.replies(first, "stick", "lane-1", "lane-2"); err != nil {
		t.Fatal(err)
	}
	await(t, "Sent", func() bool { return f.sent.Load() == 2 })
	if n := f.lost.Load(); n != 2 || l.Stats().Unsent != 2 {
		t.Errorf("%d replies were said to be lost, %d counted; want 2", n, l.Stats().Unsent)
	}
}

// TestFlood has one address fill its queue while the worker does not receive:
// the datagrams of other addresses are not lost, but for those that hash alike,
// and what the kernel has dropped is counted.
func TestFlood(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "0.0.0.0")
	f := newFake()
	l := s.lane(t, f, func(c *Config, _ *Options) { c.Workers = 1 })
	if _, err := s.client(t, "udp", "127.0.0.1").send("stick"); err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "the worker sticks", f.entered, 1)
	from := func(addr string) *client {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(addr)}, Timeout: patience}
		conn, err := d.Dial("udp", "127.0.0.1:"+s.port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return newClient(conn)
	}
	overflow := func() (sum uint64, queues int) {
		for _, n := range l.Stats().Overflow {
			sum += n
			queues += min(int(n), 1)
		}
		return sum, queues
	}
	const ports, each = 16, 500
	for i := range ports { // the address has more than one port
		if _, err := from("127.1.0.1").send(numbered(each, fmt.Sprint("lane-", i))...); err != nil {
			t.Fatal(err)
		}
	}
	flooded, full := overflow()
	if flooded == 0 || full != 1 {
		t.Errorf("%d datagrams of one address were dropped, in %d queues", flooded, full)
	}
	const others = 64
	var clients []*client
	for i := range others {
		c := from(fmt.Sprint("127.2.0.", i+1))
		if _, err := c.send("lane"); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	lost, _ := overflow()
	lost -= flooded
	if lost > others/2 {
		t.Errorf("%d of %d datagrams of other addresses were dropped", lost, others)
	}
	close(f.stuck)
	await(t, "all that was not dropped is received", func() bool { return l.Stats().Datagrams == 1+ports*each-flooded+others-lost })
	var answered atomic.Int64
	for _, c := range clients { // those whose datagram was dropped wait until they are closed
		go func() {
			if _, err := c.replies(1, "lane"); err == nil {
				answered.Add(1)
			}
		}()
	}
	await(t, "all others have an answer", func() bool { return answered.Load() == int64(others-lost) })
}
