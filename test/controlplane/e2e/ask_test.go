package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// question is asked of a server.
type question struct {
	name  string
	qtype uint16
}

func (q question) String() string { return q.name + " " + dns.TypeToString[q.qtype] }

func a(name string) question    { return question{name, dns.TypeA} }
func aaaa(name string) question { return question{name, dns.TypeAAAA} }
func srv(name string) question  { return question{name, dns.TypeSRV} }

// ptr is the question for the name of an address.
func ptr(addr string) question {
	name, err := dns.ReverseAddr(addr)
	if err != nil {
		panic(err)
	}
	return question{name, dns.TypePTR}
}

// Answers without records.
const (
	nxdomain = "NXDOMAIN"
	nodata   = "NODATA"
	servfail = "SERVFAIL"
)

// exchange asks over UDP as the oldest of clients do, who ask again over TCP
// what is truncated, or over TCP with EDNS.
func (s *server) exchange(network string, q question) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	if network == "tcp" {
		m.SetEdns0(dns.DefaultMsgSize, false)
	}
	c := dns.Client{Net: network, Timeout: 5 * time.Second}
	r, _, err := c.Exchange(m, s.addr)
	if err == nil && r.Truncated && network == "udp" {
		c.Net = "tcp"
		r, _, err = c.Exchange(m, s.addr)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		// A server that is stopping, or reloading, closes connections that it
		// has no question from yet; clients ask again (RFC 7766 §6.2.4).
		s.closed.Add(1)
		r, _, err = c.Exchange(m, s.addr)
	}
	return r, err
}

// ask returns the answer as text: records as "A 192.0.2.1", sorted, one a line,
// with their owner before them if that is not the name asked for, and those of
// the additional section after a +.
func (s *server) ask(network string, q question) string {
	r, err := s.exchange(network, q)
	if err != nil {
		return "error: " + err.Error()
	}
	switch {
	case r.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[r.Rcode]
	case !r.Authoritative:
		return "not authoritative"
	case r.Truncated:
		return "truncated"
	case len(r.Answer) == 0:
		return nodata
	}
	return records(q, r)
}

// records returns a reply's records as ask does.
func records(q question, r *dns.Msg) string {
	var lines []string
	for _, rr := range r.Answer {
		lines = append(lines, line(q, rr))
	}
	for _, rr := range r.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			lines = append(lines, "+ "+line(question{}, rr))
		}
	}
	return text(lines...)
}

func line(q question, rr dns.RR) string {
	h := rr.Header()
	data := strings.ReplaceAll(strings.TrimPrefix(rr.String(), h.String()), "\t", " ")
	data = dns.TypeToString[h.Rrtype] + " " + data
	if strings.EqualFold(h.Name, q.name) {
		return data
	}
	return h.Name + " " + data
}

// text puts lines in the form and order in which ask returns them.
func text(lines ...string) string {
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// addrText is the answer of these addresses, as the API spells them, to a
// question for A or AAAA.
func addrText(q question, addrs ...string) string {
	var lines []string
	for _, addr := range addrs {
		if isIPv4(addr) == (q.qtype == dns.TypeA) {
			lines = append(lines, dns.TypeToString[q.qtype]+" "+addr)
		}
	}
	if lines == nil {
		return nodata
	}
	return text(lines...)
}

// glue is the records of the additional section for a target with addrs.
func glue(target string, addrs ...string) (lines []string) {
	for _, addr := range addrs {
		qtype := "AAAA"
		if isIPv4(addr) {
			qtype = "A"
		}
		lines = append(lines, fmt.Sprintf("+ %s %s %s", target, qtype, addr))
	}
	return lines
}

func isIPv4(addr string) bool { return netip.MustParseAddr(addr).Is4() }

// dashed is the label of an endpoint without a hostname.
func dashed(addr string) string { return strings.NewReplacer(".", "-", ":", "-").Replace(addr) }

// is requires the answer now, over UDP and TCP.
func (s *server) is(t *testing.T, q question, want string) {
	t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		if got := s.ask(network, q); got != want {
			t.Errorf("%v over %s:\n%s\nwant:\n%s", q, network, got, want)
		}
	}
}

// becomes waits for the answer, requires that it is the same over TCP, and
// returns how long it took.
func (s *server) becomes(t *testing.T, q question, want string) time.Duration {
	t.Helper()
	start := time.Now()
	err := poll(func() error {
		if got := s.ask("udp", q); got != want {
			return fmt.Errorf("%v:\n%s\nwant:\n%s", q, got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	s.is(t, q, want)
	return took
}

// load is a constant stream of questions, over UDP and TCP, whose answers do
// not change.
type load struct {
	s       *server
	t       *testing.T
	quit    chan struct{}
	workers sync.WaitGroup
	asked   atomic.Int64

	mu      sync.Mutex
	wrong   []string
	slowest time.Duration
}

// load starts to ask the questions in want, of which it expects what want says.
func (s *server) load(t *testing.T, want map[question]string) *load {
	for q, answer := range want {
		s.is(t, q, answer)
	}
	l := &load{s: s, t: t, quit: make(chan struct{})}
	l.workers.Go(func() { l.run(s, "udp", time.Millisecond, want) })
	l.workers.Go(func() { l.run(s, "tcp", 5*time.Millisecond, want) })
	t.Cleanup(l.stop)
	return l
}

func (l *load) run(s *server, network string, every time.Duration, want map[question]string) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		for q, answer := range want {
			select {
			case <-l.quit:
				return
			case <-tick.C:
			}
			start := time.Now()
			got := s.ask(network, q)
			took := time.Since(start)
			l.asked.Add(1)
			l.mu.Lock()
			l.slowest = max(l.slowest, took)
			if got != answer {
				l.wrong = append(l.wrong, fmt.Sprintf("%s %v over %s: %s", start.Format(time.StampMilli), q, network, got))
			}
			l.mu.Unlock()
		}
	}
}

// more waits until n more questions have been answered.
func (l *load) more(n int64) {
	l.t.Helper()
	until := l.asked.Load() + n
	wait(l.t, "answers", func() error {
		if l.asked.Load() < until {
			return fmt.Errorf("%d of %d", l.asked.Load(), until)
		}
		return nil
	})
}

// stop ends the load and fails the test if one answer was not right.
func (l *load) stop() {
	select {
	case <-l.quit:
		return
	default:
	}
	close(l.quit)
	l.workers.Wait()
	l.t.Logf("%d questions, %d answers wrong or missing, slowest %v, %d connections closed early",
		l.asked.Load(), len(l.wrong), l.slowest, l.s.closed.Load())
	for i, wrong := range l.wrong {
		if i == 10 {
			break
		}
		l.t.Error(wrong)
	}
}
