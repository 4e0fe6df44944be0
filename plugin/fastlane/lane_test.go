//go:build linux

package fastlane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/miekg/dns"
)

// TestClientAddresses asks lanes at addresses of every kind. The clients'
// sockets are connected, so that a reply from another address than the one
// asked does not arrive.
func TestClientAddresses(t *testing.T) {
	for _, test := range []struct {
		host  string
		asked []string
	}{
		{"", []string{"127.0.0.1", "127.0.0.2", "::1"}},
		{"0.0.0.0", []string{"127.0.0.1", "127.0.0.2"}},
		{"::", []string{"127.0.0.2", "::1"}},
		{"127.0.0.2", []string{"127.0.0.2"}},
		{"::1", []string{"::1"}},
	} {
		t.Run(test.host, func(t *testing.T) {
			noLeak(t)
			s := newCoreDNS(t, test.host)
			f := newFake()
			seen := make(chan net.Addr, 1)
			f.seen = func(w dns.ResponseWriter, _ *dns.Msg) { seen <- w.RemoteAddr() }
			s.lane(t, f)
			for _, asked := range test.asked {
				for _, network := range []string{"udp", "tcp"} {
					c := s.client(t, network, asked)
					c.want(t, "lane", "lane")
					c.want(t, "chain", "chain")
					c.want(t, "lane", "lane")
					got := <-seen
					switch got.(type) {
					case *net.UDPAddr:
					case *net.TCPAddr:
					default:
						t.Errorf("the chain saw a %T", got)
					}
					if want := c.LocalAddr(); got.Network() != want.Network() || got.String() != want.String() {
						t.Errorf("the chain saw %v, want %v", got, want)
					}
				}
			}
		})
	}
}

// load has clients of network ask for names without a pause, several at a time,
// never twice. It returns a function that ends it and says how many queries
// were sent and by whom they were answered.
func (s *standIn) load(t *testing.T, network string, clients int, names ...string) (end func() (sent int64, by map[string]int64)) {
	t.Helper()
	var sent atomic.Int64
	var mu sync.Mutex
	by := map[string]int64{}
	var all sync.WaitGroup
	stop := make(chan struct{})
	asked := []string{"127.0.0.1"}
	if strings.HasPrefix(s.addr, "[::1]") {
		asked = []string{"::1"}
	}
	if strings.HasPrefix(s.addr, ":") {
		asked = []string{"127.0.0.1", "::1", "127.0.0.2"}
	}
	for i := range clients {
		all.Go(func() {
			var c *client
			for round := 0; ; round++ {
				select {
				case <-stop:
					if c != nil {
						c.Close()
					}
					return
				default:
				}
				// Over UDP a port for a few rounds, over TCP always a connection of its own.
				if c == nil || network == "tcp" || round%8 == 0 {
					if c != nil {
						c.Close()
					}
					conn, err := net.DialTimeout(network, net.JoinHostPort(asked[i%len(asked)], s.port), patience)
					if err != nil {
						t.Error(err)
						return
					}
					c = newClient(conn)
				}
				c.SetDeadline(time.Now().Add(patience))
				sent.Add(int64(len(names)))
				from, err := c.ask(names...)
				mu.Lock()
				for _, who := range from {
					by[who]++
				}
				mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() (int64, map[string]int64) {
		close(stop)
		all.Wait()
		return sent.Load(), by
	}
}

// TestOpenCloseUnderLoad opens and closes lanes in front of a stand-in, and not
// one query is lost, over UDP and over new TCP connections.
func TestOpenCloseUnderLoad(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "")
	names := numbered(12, "lane", "lane", "chain")
	udp, tcp := s.load(t, "udp", 4, names...), s.load(t, "tcp", 2, names...)
	f := newFake()
	var datagrams uint64
	for range 20 {
		l := s.lane(t, f)
		await(t, "the lane receives", func() bool { return l.Stats().Datagrams > 500 })
		closeLane(t, l)
		stats := l.Stats()
		datagrams += stats.Datagrams
		if stats.Errors != 0 || stats.Streams != 0 {
			t.Errorf("%+v, logged %q", stats, f.logged())
		}
	}
	for network, end := range map[string]func() (int64, map[string]int64){"udp": udp, "tcp": tcp} {
		sent, by := end()
		if by["lane"]+by["chain"]+by["coredns"] != sent || by["lane"] == 0 || by["chain"] == 0 || by["coredns"] == 0 {
			t.Errorf("%s: of %d queries, answered by %v", network, sent, by)
		}
		t.Logf("%s: %d queries, answered by %v", network, sent, by)
	}
	t.Logf("%d datagrams came to the lanes", datagrams)
}

// TestCloseStreams closes a lane under connections that stay open. One that
// has queries on its way gets all its replies and then the end, one that never
// pauses is cut.
func TestCloseStreams(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	for _, test := range []struct {
		what   string
		flight int
	}{{"one at a time", 1}, {"sixteen in flight", 16}} {
		t.Run(test.what, func(t *testing.T) {
			const clients = 8
			l := s.lane(t, newFake())
			var all, going sync.WaitGroup
			going.Add(clients)
			var sent, answered, cut atomic.Int64
			for range clients {
				c := s.client(t, "tcp", "127.0.0.1")
				all.Go(func() {
					names := numbered(test.flight, "lane", "lane", "chain")
					for round := 0; ; round++ {
						if round == 10 {
							going.Done()
						}
						first, err := c.send(names...)
						if err != nil {
							return // the end came between the replies and this
						}
						from, err := c.replies(first, names...)
						n := int64(0)
						for _, who := range from {
							if who != "" {
								n++
							}
						}
						if err != nil && n == 0 && isClosed(err) {
							cut.Add(1) // sent when the end was on its way here
							return
						}
						sent.Add(int64(len(names)))
						answered.Add(n)
						if err != nil {
							return
						}
					}
				})
			}
			going.Wait()
			closeLane(t, l)
			all.Wait()
			// A client that never pauses cannot be told that the end is near.
			if sent.Load() != answered.Load() {
				t.Errorf("%d of %d queries were answered", answered.Load(), sent.Load())
			}
			t.Logf("%d of %d queries answered; %d of %d connections had sent more when the end reached them", answered.Load(), sent.Load(), cut.Load(), clients)
		})
	}
	// Clients that send a few and wait.
	f := newFake()
	l := s.lane(t, f)
	const clients = 8
	names := numbered(50, "wait", "lane", "chain")
	var open []*client
	for range clients {
		c := s.client(t, "tcp", "127.0.0.1")
		c.want(t, "lane", "lane")
		if _, err := c.send(names...); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	receiveFrom(t, "each connection has a query in the chain", f.entered, clients)
	closed := make(chan struct{})
	go func() { closeLane(t, l); close(closed) }()
	await(t, "the lane is closed to new connections", func() bool {
		c := s.client(t, "tcp", "127.0.0.1")
		defer c.Close()
		from, err := c.ask("lane")
		return err == nil && from[0] == "coredns"
	})
	<-time.After(2 * linger) // longer than a stream lingers otherwise
	close(f.gate)
	for _, c := range open {
		if _, err := c.replies(2, names...); err != nil {
			t.Error(err)
		}
		c.ended(t, "after the replies")
	}
	<-closed
}

// TestCloseBacklog closes a lane that has not come to accept connections for a
// while: they are accepted still.
func TestCloseBacklog(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	l := s.lane(t, newFake())
	l.streams.mu.Lock() // which holds up Accept
	names := numbered(5, "lane", "chain")
	var waiting []*client
	for range 20 {
		c := s.client(t, "tcp", "127.0.0.1")
		if _, err := c.send(names...); err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, c)
	}
	closed := make(chan struct{})
	go func() { closeLane(t, l); close(closed) }()
	await(t, "connections go to CoreDNS", func() bool {
		c := s.client(t, "udp", "127.0.0.1")
		defer c.Close()
		from, err := c.ask("lane")
		return err == nil && from[0] == "coredns"
	})
	<-time.After(2 * steerGrace)
	l.streams.mu.Unlock()
	for _, c := range waiting {
		if _, err := c.replies(1, names...); err != nil {
			t.Error(err)
		}
	}
	<-closed
}

// TestCloseInFlight checks that Close waits for what is in the chain, and only
// as long as it may.
func TestCloseInFlight(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	l := s.lane(t, f)
	udp, tcp := s.client(t, "udp", "127.0.0.1"), s.client(t, "tcp", "127.0.0.1")
	const flight = 100
	names := numbered(flight, "wait")
	for _, c := range []*client{udp, tcp} {
		if _, err := c.send(names...); err != nil {
			t.Fatal(err)
		}
	}
	receiveFrom(t, "the chain has the queries", f.entered, flight+1) // one at a time over TCP
	closed := make(chan struct{})
	go func() { closeLane(t, l); close(closed) }()
	await(t, "queries go to CoreDNS", func() bool {
		from, err := s.client(t, "udp", "127.0.0.1").ask("lane")
		return err == nil && from[0] == "coredns"
	})
	select {
	case <-closed:
		t.Error("Close did not wait")
	default:
	}
	close(f.gate)
	for _, c := range []*client{udp, tcp} {
		if got, err := c.replies(1, names...); err != nil {
			t.Errorf("%v, answered by %v", err, got)
		}
	}
	<-closed

	f = newFake()
	l = s.lane(t, f)
	for _, network := range []string{"udp", "tcp"} {
		if _, err := s.client(t, network, "127.0.0.1").send("wait"); err != nil {
			t.Fatal(err)
		}
	}
	receiveFrom(t, "the chain has the queries", f.entered, 2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.Close(ctx) // returns
	close(f.gate)
}

// TestSwap replaces the Program under load: the next query is the new one's.
func TestSwap(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	var current atomic.Int64
	f := newFake()
	l := s.lane(t, f)
	program := func(n int64) *Program {
		p := f.program()
		p.Chain = func(w dns.ResponseWriter, r *dns.Msg) {
			// What has been waited for is done, and does not begin again.
			if now := current.Load(); now > n {
				t.Errorf("program %d is asked when %d is current", n, now)
			}
			f.chain(w, r)
		}
		return p
	}
	udp, tcp := s.load(t, "udp", 2, numbered(8, "lane", "chain")...), s.load(t, "tcp", 2, numbered(8, "lane", "chain")...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for n := int64(1); n <= 200 || f.sent.Load() < 1000; n++ {
		old := l.Program()
		p := program(n)
		l.Swap(p)
		if l.Program() != p {
			t.Fatal("Program is not what Swap was given")
		}
		if err := old.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		current.Store(n)
	}
	for network, end := range map[string]func() (int64, map[string]int64){"udp": udp, "tcp": tcp} {
		if sent, by := end(); by["lane"] != sent/2 || by["chain"] != sent/2 {
			t.Errorf("%s: of %d queries, answered by %v", network, sent, by)
		}
	}
}

// TestWait checks that a replaced Program is waited for while something is in
// its chain, and that nobody else waits with it.
func TestWait(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	old, now := newFake(), newFake()
	l := s.lane(t, old)
	p := l.Program()
	udp, tcp := s.client(t, "udp", "127.0.0.1"), s.client(t, "tcp", "127.0.0.1")
	for _, c := range []*client{udp, tcp} {
		if _, err := c.send("wait"); err != nil {
			t.Fatal(err)
		}
	}
	receiveFrom(t, "the chain has the queries", old.entered, 2)
	l.Swap(now.program())
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Wait(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with something in the chain: %v, want %v", err, context.Canceled)
	}
	waited := make(chan error)
	go func() { waited <- p.Wait(context.Background()) }()
	for range 100 { // of the new program, which Wait holds up as little as the old
		s.client(t, "udp", "127.0.0.1").want(t, "chain", "chain")
		s.client(t, "tcp", "127.0.0.1").want(t, "chain", "chain")
	}
	select {
	case err := <-waited:
		t.Errorf("Wait did not wait: %v", err)
	default:
	}
	close(old.gate)
	for _, c := range []*client{udp, tcp} {
		if _, err := c.replies(1, "wait"); err != nil {
			t.Error(err)
		}
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

// TestStalled has a worker stick in its Responder: the lane closes itself, and
// CoreDNS answers all.
func TestStalled(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	stalled := make(chan struct{}, 2)
	l := s.lane(t, f, func(_ *Config, o *Options) {
		o.Stalled = func() { stalled <- struct{}{} }
		o.tick = 20 * time.Millisecond
	})
	if _, err := s.client(t, "udp", "127.0.0.1").send("stick"); err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "a worker sticks", f.entered, 1)
	// Every other one waits for it.
	noise := s.client(t, "udp", "127.0.0.1")
	await(t, "the lane has closed itself", func() bool {
		if _, err := noise.send("lane"); err != nil {
			t.Fatal(err)
		}
		return len(stalled) > 0
	})
	for range 5 {
		s.client(t, "udp", "127.0.0.1").want(t, "coredns", numbered(20, "lane", "chain")...)
		s.client(t, "tcp", "127.0.0.1").want(t, "coredns", numbered(20, "lane", "chain")...)
	}
	if log := f.logged(); !strings.Contains(log, "has not received for 60ms") {
		t.Errorf("logged %q", log)
	}
	close(f.stuck)
	closeLane(t, l)
	if len(stalled) != 1 {
		t.Errorf("Stalled was called %d times", len(stalled))
	}
}

// TestStalledListener has the goroutine that accepts connections stick, with
// the same outcome.
func TestStalledListener(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	stalled := make(chan struct{}, 2)
	l := s.lane(t, f, func(_ *Config, o *Options) {
		o.Stalled = func() { stalled <- struct{}{} }
		o.tick = 20 * time.Millisecond
	})
	l.streams.mu.Lock() // which it needs for the first
	var waiting []net.Conn
	await(t, "connections are CoreDNS's", func() bool {
		c := s.client(t, "tcp", "127.0.0.1")
		waiting = append(waiting, c)
		if _, err := c.send("lane"); err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(short))
		from, err := c.replies(1, "lane")
		return err == nil && from[0] == "coredns"
	})
	l.streams.mu.Unlock()
	receiveFrom(t, "the lane has closed itself", stalled, 1)
	s.client(t, "udp", "127.0.0.1").want(t, "coredns", "lane")
	if log := f.logged(); !strings.Contains(log, "listener 0 has not received for 60ms") && !strings.Contains(log, "listener 1 has not received for 60ms") {
		t.Errorf("logged %q", log)
	}
}

// TestOpenFails checks that a lane that cannot be opened leaves nothing behind,
// and takes nothing from CoreDNS meanwhile.
func TestOpenFails(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	end := s.load(t, "udp", 2, numbered(8, "lane")...)
	udpOnly := newCoreDNS(t, "127.0.0.1")
	udpOnly.tcp[0].Close()
	endOnly := udpOnly.load(t, "udp", 2, numbered(8, "lane")...)
	f := newFake()
	for _, cfg := range []Config{
		{Addr: udpOnly.addr, Others: 1, Workers: 2},
		{Addr: s.addr, Others: 2, Workers: 2},
		{Addr: s.addr, Others: 0, Workers: 2},
		{Addr: s.addr, Others: 1, Workers: 0},
		{Addr: "127.0.0.2:" + s.port, Others: 1, Workers: 2},
		{Addr: ":" + s.port, Others: 1, Workers: 2},
	} {
		for range 20 {
			if l, err := Open(cfg, Options{Log: f.log}, f.program()); err == nil {
				closeLane(t, l)
				t.Errorf("%+v: no error", cfg)
			}
		}
	}
	for _, end := range []func() (int64, map[string]int64){end, endOnly} {
		if sent, by := end(); by["coredns"] != sent {
			t.Errorf("of %d queries, answered by %v", sent, by)
		}
	}
	if f.logged() != "" {
		t.Errorf("logged %q", f.logged())
	}
}

// TestTwoLanes checks that a second lane at the same address does no harm,
// whichever closes first.
func TestTwoLanes(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	end := s.load(t, "udp", 2, numbered(8, "lane", "chain")...)
	check := func() {
		t.Helper()
		for range 4 {
			for _, network := range []string{"udp", "tcp"} {
				if _, err := s.client(t, network, "127.0.0.1").ask(numbered(8, "lane", "chain")...); err != nil {
					t.Error(err)
				}
			}
		}
	}
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		lanes := []*Lane{s.lane(t, newFake()), s.lane(t, newFake())}
		check()
		for _, i := range order {
			closeLane(t, lanes[i])
			check()
		}
		s.client(t, "udp", "127.0.0.1").want(t, "coredns", "lane")
	}
	if sent, by := end(); by["lane"]+by["chain"]+by["coredns"] != sent {
		t.Errorf("of %d queries, answered by %v", sent, by)
	}
}

// TestSteerAgain checks that a lane whose neighbour has opened later and ended
// gets everything back when it steers again, and that one which closes does not.
func TestSteerAgain(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	first, later := s.lane(t, newFake()), s.lane(t, newFake())
	want := func(from string) {
		t.Helper()
		for range 4 {
			for _, network := range []string{"udp", "tcp"} {
				s.client(t, network, "127.0.0.1").want(t, from, numbered(8, "lane")...)
			}
		}
	}
	keys := first.sockets.keys
	closeLane(t, later)
	want("coredns") // which is why
	if first.Moved() {
		t.Error("moved by sockets behind its own")
	}
	first.Steer()
	want("lane")
	if first.sockets.keys != keys {
		t.Error("senders have other queues")
	}
	closeLane(t, first)
	first.Steer()
	want("coredns")
}

// TestSwapLetsGo checks that workers, and what nothing is sent to, keep nothing of
// a Program that was replaced: it may hold a whole index.
func TestSwapLetsGo(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	l := s.lane(t, newFake())
	s.client(t, "udp", "127.0.0.1").want(t, "lane", numbered(8, "lane")...)
	old := weak.Make(l.Program())
	l.Swap(newFake().program())
	for deadline := time.Now().Add(patience); old.Value() != nil; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("the Program before is still held")
		}
	}
	s.client(t, "udp", "127.0.0.1").want(t, "lane", numbered(8, "lane")...)
	closeLane(t, l)
}

// TestLog checks that errors and panics are counted, and logged the less often
// the more there are.
func TestLog(t *testing.T) {
	f := newFake()
	l := &Lane{cfg: laneConfig{Options: Options{Log: f.log}}}
	for i := range 100 {
		l.report(fmt.Errorf("error %d", i+1))
		l.recovered(fmt.Sprint("value ", i+1))
	}
	for _, want := range []string{"error 1\n", "error 64\n", "panic 1 while answering: value 1\n", "panic 64 "} {
		if !strings.Contains(f.logged(), want) {
			t.Errorf("%q is not logged", want)
		}
	}
	if n := len(f.logs); n != 14 {
		t.Errorf("%d lines logged, want 7 for each", n)
	}
}
