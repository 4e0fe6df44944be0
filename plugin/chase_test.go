package clusterdns

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// outside is what a server answers outside of clusters: a plugin with canned
// replies, which counts how often it is asked.
type outside struct {
	replies map[string]string // by "NAME TYPE", in the notation of dnstext; one for every other name under ""

	lock      sync.Mutex
	asked     int
	questions []string // like the keys of replies
}

func (o *outside) Name() string { return "outside" }

func (o *outside) ServeDNS(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	question := r.Question[0].Name + " " + dns.TypeToString[r.Question[0].Qtype]
	o.lock.Lock()
	o.asked++
	o.questions = append(o.questions, question)
	o.lock.Unlock()
	text, ok := o.replies[question]
	if !ok {
		text = o.replies[""]
	}
	if text == "DROP" {
		return dns.RcodeSuccess, nil
	}
	head, records, _ := strings.Cut(text, "\n")
	m := new(dns.Msg)
	m.SetRcode(r, dns.StringToRcode[strings.Fields(head)[0]])
	m.Truncated = strings.Contains(head, " tc")
	section := &m.Answer
	for line := range strings.Lines(records) {
		switch line = strings.TrimSpace(line); {
		case line == "":
		case line == ";; authority":
			section = &m.Ns
		default:
			rr, err := dns.NewRR(line)
			if err != nil {
				return dns.RcodeServerFailure, err
			}
			*section = append(*section, rr)
		}
	}
	if !plugin.ClientWrite(m.Rcode) {
		return m.Rcode, nil // the server writes it
	}
	return dns.RcodeSuccess, w.WriteMsg(m)
}

// server is a whole CoreDNS server, but for its sockets: it has a block for
// each zone of clusters, and one for everything else.
type server struct{ *dnsserver.Server }

func newServer(t *testing.T, rest plugin.Handler, clusters ...*Handler) server {
	t.Helper()
	block := func(zone string, h plugin.Handler) *dnsserver.Config {
		return &dnsserver.Config{Zone: zone, Plugin: []plugin.Plugin{func(plugin.Handler) plugin.Handler { return h }}}
	}
	blocks := []*dnsserver.Config{block(".", rest)}
	for _, h := range clusters {
		h.upstream = upstream.New()
		for _, z := range h.cfg.view.Zones {
			blocks = append(blocks, block(z, h))
		}
	}
	s, err := dnsserver.NewServer("dns://127.0.0.1:0", blocks)
	if err != nil {
		t.Fatal(err)
	}
	return server{s}
}

func (s server) Name() string { return "server" }

func (s server) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	ctx = context.WithValue(ctx, dnsserver.Key{}, s.Server)
	s.Server.ServeDNS(context.WithValue(ctx, dnsserver.LoopKey{}, 0), w, r)
	return dns.RcodeSuccess, nil
}

const aliases = `
	ns shop
	external shop/www Www.Example.com
	external shop/alias www.shop.svc.cluster.local
	external shop/gone gone.example.com
	external shop/empty empty.example.com
	external shop/broken broken.example.com
	external shop/refused refused.example.com
	external shop/dropped dropped.example.com
	external shop/long long.example.com
	external shop/chain chain.example.com`

func newOutside() *outside {
	return &outside{replies: map[string]string{
		"Www.Example.com. A":    "NOERROR\nWww.Example.com. 60 IN A 192.0.2.80",
		"Www.Example.com. AAAA": "NOERROR\nWww.Example.com. 60 IN AAAA 2001:db8::80",
		"gone.example.com. A": "NXDOMAIN\n;; authority\n" +
			"example.com. 60 IN SOA ns.example.com. root.example.com. 1 2 3 4 3",
		"gone.example.com. AAAA": "NXDOMAIN\n;; authority\n" +
			"example.com. 60 IN SOA ns.example.com. root.example.com. 1 2 3 4 3600",
		"empty.example.com. A": "NOERROR\n;; authority\n" +
			"example.com. 2 IN SOA ns.example.com. root.example.com. 1 2 3 4 3600",
		"empty.example.com. AAAA": "NOERROR",
		"broken.example.com. A":   "SERVFAIL",
		"refused.example.com. A":  "REFUSED",
		"dropped.example.com. A":  "DROP",
		"long.example.com. A":     "NOERROR tc\nlong.example.com. 60 IN A 192.0.2.81",
		"long.example.com. AAAA":  "NOERROR tc",
		"chain.example.com. A":    "NOERROR\nchain.example.com. 60 IN CNAME www.example.com.\nwww.example.com. 60 IN A 192.0.2.80",
		"":                        "NOTIMP",
	}}
}

func TestChase(t *testing.T) {
	up := newOutside()
	s := newServer(t, up, stanza{negativeCache: 16}.handler(t, newWorld(t, aliases).Writer))
	for range 2 { // the second time, some are remembered
		expect(t, s, dnstext.Cluster, `
			? www.shop.svc A
			NOERROR aa rd
			www.shop.svc CNAME Www.Example.com.
			Www.Example.com. 60 A 192.0.2.80
			? WWW.shop.svc AAAA
			NOERROR aa rd
			WWW.shop.svc CNAME Www.Example.com.
			Www.Example.com. 60 AAAA 2001:db8::80
			? alias.shop.svc A
			NOERROR aa rd
			alias.shop.svc CNAME www.shop.svc
			www.shop.svc CNAME Www.Example.com.
			Www.Example.com. 60 A 192.0.2.80
			? chain.shop.svc A
			NOERROR aa rd
			chain.shop.svc CNAME chain.example.com.
			chain.example.com. 60 CNAME www.example.com.
			www.example.com. 60 A 192.0.2.80
			? gone.shop.svc A
			NOERROR aa rd
			gone.shop.svc CNAME gone.example.com.
			? empty.shop.svc A
			NOERROR aa rd
			empty.shop.svc CNAME empty.example.com.
			? empty.shop.svc AAAA
			NOERROR aa rd
			empty.shop.svc CNAME empty.example.com.
			? long.shop.svc A
			NOERROR aa tc rd
			long.shop.svc CNAME long.example.com.
			long.example.com. 60 A 192.0.2.81
			? long.shop.svc AAAA
			NOERROR aa tc rd
			long.shop.svc CNAME long.example.com.
			? broken.shop.svc A
			SERVFAIL rd
			? broken.shop.svc AAAA
			SERVFAIL rd
			? refused.shop.svc A
			SERVFAIL rd
			? dropped.shop.svc A
			SERVFAIL rd`)
	}
	before := up.asked
	expect(t, s, dnstext.Cluster, `
		? www.shop.svc CNAME
		NOERROR aa rd
		www.shop.svc CNAME Www.Example.com.
		? www.shop.svc SRV
		NOERROR aa rd soa`)
	if up.asked != before {
		t.Error("a question for neither A nor AAAA was taken upstream")
	}
}

// Without a server there is nothing to look the target up with.
func TestChaseOutsideOfServer(t *testing.T) {
	h := stanza{negativeCache: 16}.handler(t, newWorld(t, aliases).Writer)
	h.upstream = upstream.New()
	expect(t, h, dnstext.Cluster, `
		? www.shop.svc A
		SERVFAIL`)
}

// What is remembered of targets, and for how long. Time is the bubble's own.
func TestChaseRemembers(t *testing.T) {
	for _, row := range []struct {
		question string
		want     time.Duration // 0: not at all
	}{
		{"www.shop.svc A", 0},
		{"gone.shop.svc A", 3 * time.Second},    // the SOA's minimum
		{"gone.shop.svc AAAA", 5 * time.Second}, // the minimum is an hour, the TTL a minute
		{"empty.shop.svc A", 2 * time.Second},   // the SOA's TTL
		{"empty.shop.svc AAAA", 0},              // no SOA
		{"long.shop.svc AAAA", 0},               // records are there, but did not fit
		{"broken.shop.svc A", time.Second},
		// Who may not ask or is not answered is for the plugins to say, client
		// by client.
		{"refused.shop.svc A", 0},
		{"dropped.shop.svc A", 0},
	} {
		t.Run(row.question, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newOutside()
				s := newServer(t, up, stanza{negativeCache: 16}.handler(t, newWorld(t, aliases).Writer))
				first := dnstext.Of(ask(t, s, dnstext.Cluster.Query(t, row.question))).String()
				again := func(asked int) {
					t.Helper()
					for _, question := range []string{row.question, strings.ToUpper(row.question)} {
						m := ask(t, s, dnstext.Cluster.Query(t, question))
						if got := dnstext.Of(m).String(); question == row.question && got != first {
							t.Errorf("after %v: %v, first it was %v", row.want, got, first)
						}
					}
					if up.asked != asked {
						t.Errorf("upstream was asked %d times, want %d", up.asked, asked)
					}
				}
				if row.want == 0 {
					again(3)
					return
				}
				time.Sleep(row.want - time.Nanosecond)
				again(1)
				time.Sleep(time.Nanosecond)
				again(2) // the first of the two made it known again
			})
		})
	}
}

// A target is remembered for all names that lead there, but not in place of
// another target or type.
func TestChaseRemembersTargets(t *testing.T) {
	up := newOutside()
	w := newWorld(t, aliases)
	s := newServer(t, up, stanza{negativeCache: 16}.handler(t, w.Writer))
	askTimes := func(question string, want int) {
		t.Helper()
		before := up.asked
		ask(t, s, dnstext.Cluster.Query(t, question))
		if got := up.asked - before; got != want {
			t.Errorf("%s: upstream was asked %d times, want %d", question, got, want)
		}
	}
	askTimes("gone.shop.svc A", 1)
	askTimes("gone.shop.svc A", 0)
	askTimes("gone.shop.svc AAAA", 1)
	w.set(t, "external shop/other GONE.example.com")
	askTimes("other.shop.svc A", 0)
	w.set(t, "external shop/gone www.example.com")
	askTimes("gone.shop.svc A", 1)
}

func TestChaseWithoutCache(t *testing.T) {
	up := newOutside()
	s := newServer(t, up, stanza{}.handler(t, newWorld(t, aliases).Writer))
	for range 3 {
		ask(t, s, dnstext.Cluster.Query(t, "gone.shop.svc A"))
		ask(t, s, dnstext.Cluster.Query(t, "broken.shop.svc A"))
	}
	if up.asked != 6 {
		t.Errorf("upstream was asked %d times, want 6", up.asked)
	}
}

// A client that gave up says nothing of the target.
func TestChaseCanceled(t *testing.T) {
	up := newOutside()
	s := newServer(t, up, stanza{negativeCache: 16}.handler(t, newWorld(t, aliases).Writer))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	rec := &recorder{}
	if _, err := s.ServeDNS(ctx, rec, dnstext.Cluster.Query(t, "broken.shop.svc A")); err != nil {
		t.Fatal(err)
	}
	ask(t, s, dnstext.Cluster.Query(t, "broken.shop.svc A"))
	if up.asked != 2 {
		t.Errorf("upstream was asked %d times, want 2", up.asked)
	}
}

// ExternalNames can lead in a circle through zones, stanzas and other plugins.
func TestChaseLoop(t *testing.T) {
	w := newWorld(t, `
		ns shop
		svc shop/web 10.96.0.10 http:TCP:80
		external shop/a b.shop.svc.second.local
		external shop/b a.shop.svc.cluster.local
		external shop/once web.shop.svc.second.local
		external shop/back back.example.com`)
	const table = `
		? a.shop.svc A
		SERVFAIL rd
		? b.shop.svc.second.local. AAAA
		SERVFAIL rd
		? back.shop.svc A
		SERVFAIL rd
		? once.shop.svc A
		NOERROR aa rd
		once.shop.svc CNAME web.shop.svc.second.local.
		web.shop.svc.second.local. A 10.96.0.10`
	// The target back.example.com is an alias of the service's name itself.
	up := upstream.New()
	rest := test.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		m, err := up.Lookup(ctx, requestOf(w, r), "back.shop.svc.cluster.local.", r.Question[0].Qtype)
		if err != nil || m == nil {
			return dns.RcodeServerFailure, err
		}
		m.Question = r.Question
		return dns.RcodeSuccess, w.WriteMsg(m)
	})
	t.Run("one stanza", func(t *testing.T) {
		expect(t, newServer(t, rest, stanza{zones: []string{"cluster.local.", "second.local."}}.handler(t, w.Writer)), dnstext.Cluster, table)
	})
	t.Run("two stanzas", func(t *testing.T) {
		expect(t, newServer(t, rest,
			stanza{zones: []string{"cluster.local."}, negativeCache: 16}.handler(t, w.Writer),
			stanza{zones: []string{"second.local."}, negativeCache: 16}.handler(t, w.Writer)), dnstext.Cluster, table)
	})
}
