package clusterdns

import (
	"fmt"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/responder"
	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/miekg/dns"
)

// explained is the query of a question, by a client that reads Extended DNS Errors.
func explained(t testing.TB, question string) *dns.Msg {
	t.Helper()
	r := dnstext.Cluster.Query(t, question)
	r.SetEdns0(1232, false)
	return r
}

// errorsOf returns the Extended DNS Errors in m.
func errorsOf(m *dns.Msg) (all []dns.EDNS0_EDE) {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				all = append(all, *e)
			}
		}
	}
	return all
}

// Whoever asks with EDNS is told why, every time and as things are now, and whoever
// asks without never, whatever the negative cache holds; all else is the same.
func TestExplainBesideNegativeCache(t *testing.T) {
	w := newWorld(t, "ns shop\nns data\nheadless shop/db pg:TCP:5432\nslice shop/db-1 db pg:TCP:5432 !10.244.0.9")
	h := stanza{negativeCache: 16, explain: zone.DefaultProbes}.handler(t, w.Writer)
	silent := stanza{}.handler(t, w.Writer)
	both := newBothWays(t, h, responder.Route{Zone: "."})
	check := func(question, want string) {
		t.Helper()
		for range 2 {
			if got := errorsOf(ask(t, h, dnstext.Cluster.Query(t, question))); got != nil {
				t.Errorf("%s without EDNS: %v", question, got)
			}
			m := ask(t, h, explained(t, question))
			got := errorsOf(m)
			if len(got) != 1 || got[0] != (dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeOther, ExtraText: want}) {
				t.Errorf("%s: %v, want %q", question, got, want)
			}
			plain := ask(t, silent, explained(t, question))
			m.Id, m.Extra = plain.Id, nil
			if m.String() != plain.String() {
				t.Errorf("%s:\n%v\nwithout explain:\n%v", question, m, plain)
			}
			packet, err := explained(t, question).Pack()
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := both.compare(packet); !ok || err != nil {
				t.Errorf("%s on the lane: %v, %v", question, ok, err)
			}
		}
	}
	check("db.shop.svc A", "service shop/db has no ready endpoint, 1 not ready")
	w.set(t, "slice shop/db-1 db pg:TCP:5432 !10.244.0.9 !10.244.0.10")
	check("db.shop.svc A", "service shop/db has no ready endpoint, 2 not ready")
	check("bd.shop.svc A", `no service "bd" is served in namespace "shop"; nearest is db`)
	w.remove(zone.Services, "shop/db")
	check("bd.shop.svc A", `no service "bd" is served in namespace "shop"`)
	w.set(t, "svc data/bd 10.96.0.1 x:TCP:1")
	check("bd.shop.svc A", `no service "bd" is served in namespace "shop"; it is in namespace data`)
}

// A resource that has not synced is Not Ready.
func TestExplainUnready(t *testing.T) {
	h := stanza{explain: 1}.handler(t, zone.NewWriter())
	got := errorsOf(ask(t, h, explained(t, "web.shop.svc A")))
	want := dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeNotReady, ExtraText: "namespaces have not been seen whole since the start"}
	if len(got) != 1 || got[0] != want {
		t.Errorf("%v", got)
	}
}

// Options that the plugin rewrite has CoreDNS echo stay beside ours.
func TestExplainEchoes(t *testing.T) {
	const code = dns.EDNS0LOCALSTART + 77
	edns.SetSupportedOption(code)
	h := stanza{explain: 1}.handler(t, newWorld(t, "ns shop").Writer)
	r := explained(t, "a.shop.svc A")
	r.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: code, Data: []byte("x")}, &dns.EDNS0_LOCAL{Code: code + 1}}
	r.IsEdns0().SetDo()
	m := ask(t, h, r)
	if opt := m.IsEdns0(); len(opt.Option) != 2 || opt.Option[0].Option() != code || len(errorsOf(m)) != 1 {
		t.Errorf("%v", m)
	}
}

// The lane allocates nothing for an explanation either.
func TestExplainAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	h := stanza{explain: zone.DefaultProbes}.handler(t, newWorld(t, "ns shop\nsvc shop/web 10.96.0.1 x:TCP:1").Writer)
	r := planOf(t, responder.Route{Zone: "."}, h).NewResponder()
	packet, err := explained(t, "wbe.shop.svc A").Pack()
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		if _, verdict := r.Append(dst, packet, fastlane.Client{}); verdict != fastlane.Answered {
			t.Fatal("declined")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What an explanation adds to a reply, and so to what a forged sender is sent.
func TestExplainAmplification(t *testing.T) {
	w := newWorld(t, "ns shop\nns a-namespace-with-a-long-name\nsvc a-namespace-with-a-long-name/web 10.96.0.1 x:TCP:1")
	ports := ""
	for i := range 40 {
		ports += fmt.Sprintf(" port-%d:TCP:%d", i, i+1)
	}
	w.set(t, "ns n\nsvc n/s 10.96.0.2"+ports)
	worst := 0.0
	for _, question := range []string{"_._a.s.n.svc SRV", "wbe.shop.svc A", "web.shop.svc A", "web.shpo.svc A", "web.a-namespace-with-a-long-name A"} {
		packet, err := explained(t, question).Pack()
		if err != nil {
			t.Fatal(err)
		}
		var size [2]int
		for i, explain := range []int{0, zone.DefaultProbes} {
			h := stanza{explain: explain}.handler(t, w.Writer)
			reply, verdict := planOf(t, responder.Route{Zone: "."}, h).NewResponder().Append(nil, packet, fastlane.Client{})
			if verdict != fastlane.Answered {
				t.Fatal("declined")
			}
			size[i] = len(reply)
		}
		t.Logf("%s: query %d, reply %d, explained %d octets", question, len(packet), size[0], size[1])
		if size[1]-size[0] > dnswire.EDESize+zone.MaxWhy {
			t.Errorf("%s: %d octets more", question, size[1]-size[0])
		}
		worst = max(worst, float64(size[1])/float64(len(packet)))
	}
	if t.Logf("at most %.1f times the query", worst); worst > 7 {
		t.Errorf("%.1f times the query", worst)
	}
}
