package load

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/bench/question"
)

// serve serves UDP and TCP on one port until the test ends.
func serve(t *testing.T, handler dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	var pc net.PacketConn
	var l net.Listener
	for range 10 { // until a port is free for both
		var err error
		if pc, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if l, err = net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			break
		}
		pc.Close()
	}
	if l == nil {
		t.Fatal("no port for UDP and TCP")
	}
	for _, s := range []*dns.Server{
		{PacketConn: pc, Handler: handler},
		{Listener: l, Handler: handler, MaxTCPQueries: -1},
	} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

// records is a handler's data: by name and type, "" for a name that exists.
type records map[string][]string

func (r records) reply(t *testing.T, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	name := q.Question[0].Name
	data, exists := r[name]
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	for _, s := range data {
		rr, err := dns.NewRR(name + " 5 IN " + s)
		if err != nil {
			t.Error(err)
			continue
		}
		if rr.Header().Rrtype == q.Question[0].Qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

var shop = records{
	"web.shop.":   {"A 10.96.0.1", "AAAA fd00::1"},
	"multi.shop.": {"A 10.1.0.1", "A 10.1.0.2", "A 10.1.0.3"},
	"four.shop.":  {"A 10.96.0.4"},
}

var shopLines = []string{
	"web.shop. A NOERROR 10.96.0.1",
	"multi.shop. A NOERROR 10.1.0.1 10.1.0.2 10.1.0.3",
	"multi.shop. AAAA NOERROR",
	"none.shop. A NXDOMAIN",
}

// questions reads lines of name, type, rcode and data.
func questions(lines ...string) (qs []question.Question) {
	for _, line := range lines {
		f := strings.Fields(line)
		qs = append(qs, question.New(f[0], dns.StringToType[f[1]], dns.StringToRcode[f[2]], f[3:]...))
	}
	return qs
}

func config(t *testing.T, server netip.AddrPort, lines ...string) Config {
	return Config{Server: server, Sockets: 3, InFlight: 5, Timeout: 10 * time.Second,
		Duration: 100 * time.Millisecond, Questions: questions(lines...)}
}

func run(t *testing.T, c Config) *Result {
	t.Helper()
	r, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.Sent != r.Answered+r.Lost {
		t.Errorf("%d sent, %d answered, %d lost", r.Sent, r.Answered, r.Lost)
	}
	return r
}

// transports are those that most tests are run over.
var transports = []struct {
	name string
	set  func(*Config)
}{
	{"udp closed", func(*Config) {}},
	{"tcp closed", func(c *Config) { c.TCP = true }},
	{"udp open", func(c *Config) { c.Rate = 2000 }},
	{"tcp open", func(c *Config) { c.TCP, c.Rate = true, 2000 }},
}

func TestRightAnswers(t *testing.T) {
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(shop.reply(t, q)) })
	for _, transport := range transports {
		t.Run(transport.name, func(t *testing.T) {
			c := config(t, server, shopLines...)
			transport.set(&c)
			r := run(t, c)
			if r.Answered < 10 || r.Lost > 0 || r.Wrong > 0 || r.Unmatched > 0 || r.Reconnects > 0 {
				t.Error("not all answers were right and in time")
			}
			if n := r.Rcodes["NOERROR"] + r.Rcodes["NXDOMAIN"]; n != r.Answered || r.Rcodes["NXDOMAIN"] == 0 {
				t.Errorf("rcodes %v", r.Rcodes)
			}
			if c.Rate > 0 && r.Sent < 190 { // 200 are due in the time measured
				t.Errorf("%d queries sent at %v a second", r.Sent, c.Rate)
			}
		})
	}
}

func TestWrongAnswers(t *testing.T) {
	var n atomic.Int64
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := shop.reply(t, q)
		if n.Add(1)%10 == 0 {
			m.Answer[0].(*dns.A).A = net.IPv4(6, 6, 6, 6)
		}
		w.WriteMsg(m)
	})
	r := run(t, config(t, server, "web.shop. A NOERROR 10.96.0.1"))
	const want = "web.shop. A: expected NOERROR 10.96.0.1, got NOERROR 6.6.6.6"
	if r.Wrong == 0 || r.Wrong > r.Answered/10+1 || r.FirstWrong != want {
		t.Errorf("%d of %d wrong, the first %q; want a tenth, and %q", r.Wrong, r.Answered, r.FirstWrong, want)
	}
}

func TestMalformedAnswer(t *testing.T) {
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		wire, err := shop.reply(t, q).Pack()
		if err != nil {
			t.Error(err)
		}
		w.Write(wire[:len(wire)-2])
	})
	r := run(t, config(t, server, "web.shop. A NOERROR 10.96.0.1"))
	if r.Wrong != r.Answered || !strings.Contains(r.FirstWrong, "web.shop. A: got a malformed message") {
		t.Errorf("%d of %d wrong, the first %q", r.Wrong, r.Answered, r.FirstWrong)
	}
}

func TestFormErrWithoutQuestion(t *testing.T) {
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		w.WriteMsg(&dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeFormatError}})
	})
	r := run(t, config(t, server, "web.shop. A NOERROR"))
	if r.Answered == 0 || r.Wrong != r.Answered || !strings.HasSuffix(r.FirstWrong, "got FORMERR") {
		t.Errorf("%d of %d wrong, the first %q", r.Wrong, r.Answered, r.FirstWrong)
	}
}

func TestUnmatchedAnswers(t *testing.T) {
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := shop.reply(t, q)
		other := m.Copy()
		other.Question[0].Name = "other.shop."
		w.WriteMsg(other)
		w.WriteMsg(m)
		w.WriteMsg(m) // again
	})
	for _, tcp := range []bool{false, true} {
		c := config(t, server, "web.shop. A NOERROR 10.96.0.1")
		c.TCP = tcp
		r := run(t, c)
		// What comes after the last answer that is waited for is not seen.
		if r.Answered == 0 || r.Wrong+r.Lost > 0 || r.Unmatched < r.Answered || r.Unmatched > 2*r.Answered+uint64(2*c.Sockets*c.InFlight) {
			t.Errorf("%d answered, %d unmatched", r.Answered, r.Unmatched)
		}
	}
}

func TestTruncatedAnswers(t *testing.T) {
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := shop.reply(t, q)
		if w.LocalAddr().Network() == "udp" {
			m.Truncated, m.Answer = true, m.Answer[1:]
		}
		w.WriteMsg(m)
	})
	c := config(t, server, "multi.shop. A NOERROR 10.1.0.1 10.1.0.2 10.1.0.3")
	c.Questions[0].Truncated = true
	if r := run(t, c); r.Truncated != r.Answered || r.Wrong > 0 {
		t.Errorf("UDP: %d of %d truncated, %d wrong", r.Truncated, r.Answered, r.Wrong)
	}
	c.TCP = true
	if r := run(t, c); r.Truncated+r.Wrong > 0 {
		t.Errorf("TCP: %d truncated, %d wrong", r.Truncated, r.Wrong)
	}
}

func TestLostQueries(t *testing.T) {
	var n atomic.Int64
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if n.Add(1)%50 != 0 {
			w.WriteMsg(shop.reply(t, q))
		}
	})
	c := config(t, server, shopLines...)
	c.Timeout = 50 * time.Millisecond
	c.Rate = 5000
	r := run(t, c)
	// 500 are due; one in 50 is dropped, and a slow machine may lose more.
	if r.Lost < 5 || r.Answered == 0 || r.Wrong > 0 {
		t.Errorf("%d of %d lost", r.Lost, r.Sent)
	}
}

func TestNobodyAnswers(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := config(t, conn.LocalAddr().(*net.UDPAddr).AddrPort(), "web.shop. A NOERROR")
	c.Rate, c.InFlight, c.Timeout = 2000, 1, 20*time.Millisecond
	// Queries for which there is no room until they have timed out count too.
	if r := run(t, c); r.Answered > 0 || r.Sent < 190 || r.Latency.Max != 0 {
		t.Errorf("%d sent, %d answered; want 200 and none", r.Sent, r.Answered)
	}
}

func TestPipelinedOutOfOrder(t *testing.T) {
	const rounds = 20
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var held []func()
	n := 0
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		mu.Lock()
		defer mu.Unlock()
		held = append(held, func() { w.WriteMsg(shop.reply(t, q)) })
		// All that are in flight; of the last ones there may be fewer.
		if len(held) == 5 || n == rounds {
			for i := len(held) - 1; i >= 0; i-- {
				held[i]()
			}
			held = nil
			if n = min(n+1, rounds); n == rounds {
				cancel()
			}
		}
	})
	c := config(t, server, shopLines...)
	c.Sockets, c.TCP, c.Duration = 1, true, time.Hour
	r, err := Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Answered < 5*rounds || r.Answered != r.Sent || r.Wrong > 0 || r.Unmatched > 0 || r.Lost > 0 {
		t.Errorf("of %d %d answered, %d wrong, %d unmatched, %d lost", r.Sent, r.Answered, r.Wrong, r.Unmatched, r.Lost)
	}
}

// A server that stalls for a while holds up the closed loop, which hides it;
// the open loop counts all the queries that were to be answered in that time.
func TestOpenLoopShowsStall(t *testing.T) {
	const stall = time.Second
	for _, open := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		var mu sync.Mutex // the server answers one at a time
		n := 0
		server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
			mu.Lock()
			defer mu.Unlock()
			switch n++; {
			case n == 100:
				time.Sleep(stall)
			case n == 400 && !open:
				cancel()
			}
			w.WriteMsg(shop.reply(t, q))
		})
		c := config(t, server, shopLines...)
		c.Sockets, c.InFlight, c.Duration = 1, 1, time.Hour
		if open {
			c.Rate, c.Duration = 1000, 2*stall
		}
		r, err := Run(ctx, c)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		// Half of the time it stalls: of the open loop's lookups a tenth take more
		// than half of that, though only one query is in flight.
		if p90 := time.Duration(r.Latency.P90 * 1e3); open != (p90 > stall/2) {
			t.Errorf("open %v: p90 %v, with a stall of %v: %+v", open, p90, stall, r)
		}
	}
}

func TestConnectionsClosedByServer(t *testing.T) {
	var n atomic.Int64
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if n.Add(1)%3 == 0 { // of the first three, so that a slow machine has one too
			w.Close()
			return
		}
		w.WriteMsg(shop.reply(t, q))
	})
	c := config(t, server, shopLines...)
	c.TCP, c.InFlight = true, 1
	if r := run(t, c); r.Reconnects == 0 || r.Lost == 0 || r.Wrong > 0 {
		t.Errorf("%d reconnects, %d lost, %d wrong", r.Reconnects, r.Lost, r.Wrong)
	}
}

func TestEndsWithContext(t *testing.T) {
	for _, transport := range transports {
		ctx, cancel := context.WithCancel(context.Background())
		var n atomic.Int64
		server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) {
			w.WriteMsg(shop.reply(t, q))
			if n.Add(1) == 100 {
				cancel()
			}
		})
		c := config(t, server, shopLines...)
		transport.set(&c)
		c.Duration = time.Hour
		r, err := Run(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		if r.Duration == 0 || r.Duration > 60 || r.QPS == 0 || r.Sent != r.Answered {
			t.Errorf("%s: result %+v", transport.name, r)
		}
	}
}

func TestNothingLeft(t *testing.T) {
	server := serve(t, func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(shop.reply(t, q)) })
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := descriptors()
	for range 3 {
		c := config(t, server, shopLines...)
		c.Sockets, c.Duration = 20, 10*time.Millisecond
		run(t, c)
	}
	if after := descriptors(); after != before {
		t.Errorf("%d file descriptors, %d before", after, before)
	}
}

func TestConfigErrors(t *testing.T) {
	valid := config(t, netip.MustParseAddrPort("127.0.0.1:1"), "a. A NOERROR")
	for want, spoil := range map[string]func(*Config){
		"no server":          func(c *Config) { c.Server = netip.AddrPort{} },
		"rate -1":            func(c *Config) { c.Rate = -1 },
		"0 sockets":          func(c *Config) { c.Sockets = 0 },
		"0 queries":          func(c *Config) { c.InFlight = 0 },
		"4097 queries":       func(c *Config) { c.InFlight = 4097 },
		"timeout 0s":         func(c *Config) { c.Timeout = 0 },
		"no questions":       func(c *Config) { c.Questions = nil },
		"connection refused": func(c *Config) { c.TCP = true },
	} {
		c := valid
		spoil(&c)
		if _, err := Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
