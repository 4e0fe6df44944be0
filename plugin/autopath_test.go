package clusterdns

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// newAutopath returns autopath in front of h.
func newAutopath(h *Handler) *autopath {
	h.upstream = upstream.New()
	return &autopath{Next: h, zones: h.cfg.view.Zones, path: h.AutoPath, upstream: h.upstream, slots: make(chan struct{}, maxLookups)}
}

// autopathServer is a server with a block for cluster.local., where autopath
// stands in front of h, and one for everything else.
func autopathServer(t *testing.T, rest plugin.Handler, h *Handler) (server, *autopath) {
	t.Helper()
	a := newAutopath(h)
	blocks := []*dnsserver.Config{
		{Zone: ".", Plugin: []plugin.Plugin{func(plugin.Handler) plugin.Handler { return rest }}},
		{Zone: "cluster.local.", Plugin: []plugin.Plugin{func(plugin.Handler) plugin.Handler { return a }}},
	}
	s, err := dnsserver.NewServer("dns://127.0.0.1:0", blocks)
	if err != nil {
		t.Fatal(err)
	}
	return server{s}, a
}

const searchedWorld = `
	ns shop
	ns data
	svc shop/web 10.96.0.10 http:TCP:80
	svc shop/app 10.96.0.11 http:TCP:80
	svc data/db 10.96.0.20 fd00:10:96::20 sql:TCP:5432
	headless data/sql sql:TCP:5432
	slice data/sql-1 sql sql:TCP:5432 sql-0=10.244.1.30
	external shop/out www.example.org`

const rootSOA = ";; authority\n. 60 IN SOA a. b. 1 2 3 4 60"

// longName has 222 octets.
var longName = strings.Repeat("a.", 108) + "long."

func searchedOutside() *outside {
	return &outside{replies: map[string]string{
		"":                                 "NXDOMAIN\n" + rootSOA,
		"www.example.org. A":               "NOERROR\nwww.example.org. 60 IN A 192.0.2.80",
		"www.example.org. AAAA":            "NOERROR\n;; authority\nexample.org. 3 IN SOA ns.example.org. root.example.org. 1 2 3 4 3600",
		"www.example.org. MX":              "NOERROR\nwww.example.org. 60 IN MX 5 mail.example.org.",
		"www.example.org. HTTPS":           "NOERROR\nwww.example.org. 60 IN HTTPS 1 . alpn=h2",
		"wWw.Example.org. A":               "NOERROR\nwww.example.org. 60 IN A 192.0.2.80",
		"alias.example.org. A":             "NOERROR\nalias.example.org. 2 IN CNAME www.example.org.\nwww.example.org. 60 IN A 192.0.2.80",
		"dangling.example.org. A":          "NXDOMAIN\ndangling.example.org. 4 IN CNAME gone.example.org.\n" + rootSOA,
		"gone.example.org. A":              "NXDOMAIN\n;; authority\nexample.org. 60 IN SOA ns.example.org. root.example.org. 1 2 3 4 2",
		"nosoa.example.org. A":             "NXDOMAIN",
		"empty.example.org. A":             "NOERROR",
		"long.example.org. A":              "NOERROR tc\nlong.example.org. 60 IN A 192.0.2.81",
		"broken.example.org. A":            "SERVFAIL",
		"refused.example.org. A":           "REFUSED",
		"dropped.example.org. A":           "DROP",
		"intra.net.corp.example. A":        "NOERROR\nintra.net.corp.example. 60 IN A 192.0.2.90",
		"intra.net.corp.example. AAAA":     "NOERROR\n" + rootSOA,
		"intra.net. A":                     "NOERROR\nintra.net. 60 IN A 192.0.2.91",
		"late.example.org.corp.example. A": "SERVFAIL",
		"late.example.org. A":              "NOERROR\nlate.example.org. 60 IN A 192.0.2.92",
		"foo.app. A":                       "NOERROR\nfoo.app. 60 IN A 192.0.2.93",
		"www.foo.app. A":                   "NOERROR\nwww.foo.app. 60 IN A 192.0.2.94",
		"_xmpp._tcp.example.org. SRV":      "NOERROR\n_xmpp._tcp.example.org. 60 IN SRV 0 0 5222 x.example.org.",
		longName + " A":                    "NOERROR\n" + longName + " 60 IN A 192.0.2.95",
	}}
}

// Each row has, behind the reply, the questions that went outside, in any order.
func TestAutopath(t *testing.T) {
	const as = "NOERROR aa rd\n" // as a CNAME
	both := func(name, qtype string) []string {
		return []string{name + ".corp.example. " + qtype, name + ". " + qtype}
	}
	for _, row := range []struct {
		question, reply string
		asked           []string
	}{
		// What is outside.
		{"www.example.org.shop.svc A", as + "www.example.org.shop.svc CNAME www.example.org.\nwww.example.org. 60 A 192.0.2.80", both("www.example.org", "A")},
		{"www.example.org.shop.svc AAAA", as + "www.example.org.shop.svc 3 CNAME www.example.org.\n;; authority\nexample.org. 3 SOA ns.example.org. root.example.org. 1 2 3 4 3600", both("www.example.org", "AAAA")},
		{"www.example.org.shop.svc MX", as + "www.example.org.shop.svc CNAME www.example.org.\nwww.example.org. 60 MX 5 mail.example.org.", both("www.example.org", "MX")},
		{"www.example.org.shop.svc HTTPS", as + "www.example.org.shop.svc CNAME www.example.org.\nwww.example.org. 60 HTTPS 1 . alpn=h2", both("www.example.org", "HTTPS")},
		{"_xmpp._tcp.example.org.data.svc SRV", as + "_xmpp._tcp.example.org.data.svc CNAME _xmpp._tcp.example.org.\n_xmpp._tcp.example.org. 60 SRV 0 0 5222 x.example.org.", both("_xmpp._tcp.example.org", "SRV")},
		{"wWw.Example.org.ShOp.svC A", as + "wWw.Example.org.ShOp.svC CNAME wWw.Example.org.\nwww.example.org. 60 A 192.0.2.80", both("wWw.Example.org", "A")},
		{"alias.example.org.shop.svc A", as + "alias.example.org.shop.svc 2 CNAME alias.example.org.\nalias.example.org. 2 CNAME www.example.org.\nwww.example.org. 60 A 192.0.2.80", both("alias.example.org", "A")},
		{"long.example.org.shop.svc A", "NOERROR aa tc rd\nlong.example.org.shop.svc CNAME long.example.org.\nlong.example.org. 60 A 192.0.2.81", both("long.example.org", "A")},
		{"empty.example.org.shop.svc A", as + "empty.example.org.shop.svc 0 CNAME empty.example.org.", both("empty.example.org", "A")},
		// The host's domains come before the name as it is.
		{"intra.net.shop.svc A", as + "intra.net.shop.svc CNAME intra.net.corp.example.\nintra.net.corp.example. 60 A 192.0.2.90", both("intra.net", "A")},
		{"intra.net.shop.svc AAAA", as + "intra.net.shop.svc CNAME intra.net.corp.example.\n;; authority\n. 60 SOA a. b. 1 2 3 4 60", both("intra.net", "AAAA")},

		// What is in the cluster, for which nobody is asked outside.
		{"web.shop.svc A", as + "web.shop.svc A 10.96.0.10", nil},
		{"web.shop.svc AAAA", "NOERROR aa rd soa", nil},
		{"out.shop.svc A", as + "out.shop.svc CNAME www.example.org.\nwww.example.org. 60 A 192.0.2.80", []string{"www.example.org. A"}},
		{"db.data.shop.svc A", as + "db.data.shop.svc CNAME db.data.svc\ndb.data.svc A 10.96.0.20", nil},
		{"db.data.shop.svc AAAA", as + "db.data.shop.svc CNAME db.data.svc\ndb.data.svc AAAA fd00:10:96::20", nil},
		{"db.data.shop.svc TXT", "NOERROR aa rd soa\ndb.data.shop.svc CNAME db.data.svc", nil},
		{"sql-0.sql.data.shop.svc A", as + "sql-0.sql.data.shop.svc CNAME sql-0.sql.data.svc\nsql-0.sql.data.svc A 10.244.1.30", nil},
		{"db.data.svc.shop.svc A", as + "db.data.svc.shop.svc CNAME db.data.svc\ndb.data.svc A 10.96.0.20", nil},
		{"data.svc.shop.svc A", "NOERROR aa rd soa\ndata.svc.shop.svc CNAME data.svc", nil},
		{"db.data.svc.cluster.local.shop.svc A", as + "db.data.svc.cluster.local.shop.svc CNAME db.data.svc\ndb.data.svc A 10.96.0.20", []string{"db.data.svc.cluster.local.corp.example. A"}},

		// What is nowhere.
		{"none.example.org.shop.svc A", "NXDOMAIN aa rd soa", both("none.example.org", "A")},
		{"gone.example.org.shop.svc A", "NXDOMAIN aa rd\n;; authority\n@ 2 SOA ns.dns hostmaster 0 7200 1800 86400 5", both("gone.example.org", "A")},
		{"dangling.example.org.shop.svc A", "NXDOMAIN aa rd\n;; authority\n@ 4 SOA ns.dns hostmaster 0 7200 1800 86400 5", both("dangling.example.org", "A")},
		{"nosoa.example.org.shop.svc A", "NXDOMAIN aa rd\n;; authority\n@ 0 SOA ns.dns hostmaster 0 7200 1800 86400 5", both("nosoa.example.org", "A")},

		// Failures, the second of an earlier name than that which exists.
		{"broken.example.org.shop.svc A", "SERVFAIL rd", both("broken.example.org", "A")},
		{"late.example.org.shop.svc A", "SERVFAIL rd", both("late.example.org", "A")},
		{"refused.example.org.shop.svc A", "SERVFAIL rd", both("refused.example.org", "A")},
		{"dropped.example.org.shop.svc A", "SERVFAIL rd", both("dropped.example.org", "A")},

		// What is not completed: a service, endpoint or port that is not there, another zone's
		// or no namespace's, types that have no CNAME, and what was completed before.
		{"wbe.shop.svc A", "NXDOMAIN aa rd soa", nil},
		{"sql-1.sql.data.svc A", "NXDOMAIN aa rd soa", nil},
		{"_x._tcp.sql.data.svc SRV", "NXDOMAIN aa rd soa", nil},
		{"foo.app.shop.svc A", "NXDOMAIN aa rd soa", nil},
		{"www.foo.app.shop.svc A", as + "www.foo.app.shop.svc CNAME www.foo.app.\nwww.foo.app. 60 A 192.0.2.94", both("www.foo.app", "A")},
		{"www.example.org.nowhere.svc A", "NXDOMAIN aa rd soa", nil},
		{"www.example.org.svc A", "NXDOMAIN aa rd soa", nil},
		{"www.example.org A", "NXDOMAIN aa rd soa", nil},
		{"www.example.org. A", "NOERROR rd\nwww.example.org. 60 A 192.0.2.80", []string{"www.example.org. A"}},
		{"www.example.org.shop.svc CNAME", "NXDOMAIN aa rd soa", nil},
		{"www.example.org.shop.svc NS", "NXDOMAIN aa rd soa", nil},
		{"www.example.org.shop.svc SOA", "NOERROR aa rd soa", nil},
		{"www.example.org.shop.svc ANY", "NXDOMAIN aa rd soa", nil},
		{"www.example.org.shop.svc.cluster.local.shop.svc A", "NXDOMAIN aa rd soa", []string{"www.example.org.shop.svc.cluster.local.corp.example. A"}},
	} {
		t.Run(row.question, func(t *testing.T) {
			up := searchedOutside()
			h := stanza{negativeCache: 16}.handler(t, newWorld(t, searchedWorld).Writer)
			h.search = []string{"corp.example."}
			s, a := autopathServer(t, up, h)
			before := value(t, completed().WithLabelValues(s.Addr))
			expect(t, s, dnstext.Cluster, "? "+row.question+"\n"+row.reply)
			for range maxLookups { // those under way have ended
				a.slots <- struct{}{}
			}
			slices.Sort(up.questions)
			slices.Sort(row.asked)
			if !slices.Equal(up.questions, row.asked) {
				t.Errorf("asked outside: %q, want %q", up.questions, row.asked)
			}
			done := strings.Contains(row.reply, " CNAME ") && !strings.HasPrefix(row.question, "out.")
			if got := value(t, completed().WithLabelValues(s.Addr)) - before; (got == 1) != done {
				t.Errorf("counted %v", got)
			}
		})
	}
}

// With a domain of this host the name would have more than 255 octets.
func TestAutopathTooLong(t *testing.T) {
	up := searchedOutside()
	h := stanza{}.handler(t, newWorld(t, searchedWorld).Writer)
	h.search = []string{"rather.long.domain.of.this.host.example."}
	s, _ := autopathServer(t, up, h)
	expect(t, s, dnstext.Cluster, "? "+longName+"shop.svc A\nNOERROR aa rd\n"+longName+"shop.svc CNAME "+longName+"\n"+longName+" 60 A 192.0.2.95")
	if !slices.Equal(up.questions, []string{longName + " A"}) {
		t.Errorf("asked outside: %q", up.questions)
	}
}

// What a client says of DNSSEC is said outside too; the answer is of an unsigned
// zone.
func TestAutopathDNSSEC(t *testing.T) {
	rest := test.HandlerFunc(func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		m := new(dns.Msg).SetReply(r)
		m.AuthenticatedData, m.RecursionAvailable = true, true
		for _, text := range []string{"www.example.org. 60 IN A 192.0.2.80", "www.example.org. 60 IN RRSIG A 8 3 60 20300101000000 20200101000000 1 example.org. AAAA"} {
			if strings.Contains(text, "RRSIG") && !(r.IsEdns0() != nil && r.IsEdns0().Do() && r.CheckingDisabled) {
				continue
			}
			rr, err := dns.NewRR(text)
			if err != nil {
				return dns.RcodeServerFailure, err
			}
			m.Answer = append(m.Answer, rr)
		}
		return dns.RcodeSuccess, w.WriteMsg(m)
	})
	s, _ := autopathServer(t, rest, stanza{}.handler(t, newWorld(t, searchedWorld).Writer))
	r := dnstext.Cluster.Query(t, "www.example.org.shop.svc A").SetEdns0(1232, true)
	r.CheckingDisabled = true
	want, err := dnstext.Cluster.Parse(`NOERROR aa rd ra cd
		www.example.org.shop.svc CNAME www.example.org.
		www.example.org. 60 A 192.0.2.80
		www.example.org. 60 RRSIG A 8 3 60 20300101000000 20200101000000 1 example.org. AAAA
		;; opt version 0 size 1232 flags do`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := want.Diff(ask(t, s, r)); diff != "" {
		t.Error(diff)
	}
}

// The names outside are asked for all at once, so that a lookup takes one round
// trip however many domains the host has; and none sees another's metadata.
func TestAutopathAtOnce(t *testing.T) {
	up := searchedOutside()
	domains := []string{"a.example.", "b.example.", "c.example."}
	var lock sync.Mutex
	arrived, all := make(chan struct{}), make(chan struct{})
	go func() {
		for range len(domains) + 1 {
			<-arrived
		}
		close(all)
	}()
	rest := test.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		name := r.Question[0].Name
		lock.Lock()
		metadata.SetValueFunc(ctx, "outside/name", func() string { return name })
		lock.Unlock()
		arrived <- struct{}{}
		select {
		case <-all:
		case <-time.After(5 * time.Second): // they come one after the other
			return dns.RcodeServerFailure, nil
		}
		lock.Lock()
		got := metadata.ValueFunc(ctx, "outside/name")()
		lock.Unlock()
		if got != name {
			t.Errorf("the metadata of %s is that of %s", name, got)
		}
		return up.ServeDNS(ctx, w, r)
	})
	h := stanza{}.handler(t, newWorld(t, searchedWorld).Writer)
	h.search = domains
	s, _ := autopathServer(t, rest, h)
	expect(t, plugin.HandlerFunc(func(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
		return s.ServeDNS(metadata.ContextWithMetadata(ctx), w, r)
	}), dnstext.Cluster, `
		? www.example.org.shop.svc A
		NOERROR aa rd
		www.example.org.shop.svc CNAME www.example.org.
		www.example.org. 60 A 192.0.2.80`)
}

// Clients go along their paths themselves when too many lookups are under way,
// and remember nothing of it.
func TestAutopathLimit(t *testing.T) {
	up := searchedOutside()
	h := stanza{}.handler(t, newWorld(t, searchedWorld).Writer)
	h.search = []string{"corp.example."}
	s, a := autopathServer(t, up, h)
	for range maxLookups - 1 {
		a.slots <- struct{}{}
	}
	const question = "? www.example.org.shop.svc A\n"
	expect(t, s, dnstext.Cluster, question+"NXDOMAIN aa rd\n;; authority\n@ 0 SOA ns.dns hostmaster 0 7200 1800 86400 5")
	if len(a.slots) != maxLookups-1 || up.asked != 0 {
		t.Errorf("%d slots are taken, asked outside: %q", len(a.slots), up.questions)
	}
	<-a.slots
	expect(t, s, dnstext.Cluster, question+"NOERROR aa rd\nwww.example.org.shop.svc CNAME www.example.org.\nwww.example.org. 60 A 192.0.2.80")
}

// Who does not want recursion, or does not query, has nobody asked outside.
func TestAutopathNoQuery(t *testing.T) {
	for name, change := range map[string]func(*dns.Msg){
		"no recursion": func(r *dns.Msg) { r.RecursionDesired = false },
		"notify":       func(r *dns.Msg) { r.Opcode = dns.OpcodeNotify },
		"class ANY":    func(r *dns.Msg) { r.Question[0].Qclass = dns.ClassANY },
	} {
		up := searchedOutside()
		s, a := autopathServer(t, up, stanza{}.handler(t, newWorld(t, searchedWorld).Writer))
		r := dnstext.Cluster.Query(t, "www.example.org.shop.svc A")
		change(r)
		if _, err := a.ServeDNS(context.WithValue(t.Context(), dnsserver.Key{}, s.Server), &recorder{}, r); err != nil || up.asked != 0 {
			t.Errorf("%s: asked outside: %q, %v", name, up.questions, err)
		}
	}
}

// Before the index is whole nobody is asked.
func TestAutopathUnready(t *testing.T) {
	up := searchedOutside()
	s, _ := autopathServer(t, up, stanza{}.handler(t, zone.NewWriter()))
	expect(t, s, dnstext.Cluster, "? www.example.org.shop.svc A\nSERVFAIL aa rd soa")
	if up.asked != 0 {
		t.Errorf("asked outside: %q", up.questions)
	}
}

func TestAutoPath(t *testing.T) {
	w := newWorld(t, searchedWorld+"\npod data/q 127.0.0.1") // where recorder says that queries are from
	path := func(s stanza, name string) []string {
		h := s.handler(t, w.Writer)
		h.search = []string{"corp.example."}
		return h.AutoPath(request.Request{W: &recorder{}, Req: dnstext.Cluster.Query(t, name+" A")})
	}
	verified := stanza{pods: zone.PodsVerified}
	shop := []string{"shop.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "corp.example.", ""}
	data := append([]string{"data.svc.cluster.local."}, shop[1:]...)
	for _, row := range []struct {
		name   string
		stanza stanza
		query  string
		want   []string
	}{
		{"of the question", stanza{}, "www.example.org.shop.svc", shop},
		{"pods insecure", stanza{pods: zone.PodsInsecure}, "www.example.org.shop.svc", shop},
		{"of the pod", verified, "www.example.org.Data.svc", data},
		{"not of the pod, which may be a node cache", verified, "www.example.org.shop.svc", shop},
		{"the namespace itself", stanza{}, "shop.svc", nil},
		{"elsewhere", stanza{}, "www.example.org.", nil},
		{"root", stanza{zones: []string{"."}}, "www.example.org.shop.svc.", []string{"shop.svc.", "svc.", "corp.example.", ""}},
		{"several zones", stanza{zones: []string{"cluster.local.", "b.example."}}, "www.example.org.shop.svc.b.example.",
			[]string{"shop.svc.b.example.", "svc.b.example.", "b.example.", "corp.example.", ""}},
		{"odd labels", stanza{}, `a\.b.c\000d.shop.svc`, shop},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := path(row.stanza, row.query); !slices.Equal(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// A server whose resolv.conf is that of a pod has domains of the cluster in it.
func TestOutsideOf(t *testing.T) {
	domains := []string{"kube-system.svc.cluster.local.", "svc.cluster.local.", "cluster.local.", "corp.example.", "xcluster.local."}
	for _, row := range []struct{ zones, want []string }{
		{[]string{"cluster.local.", "in-addr.arpa."}, domains[3:]},
		{[]string{"."}, domains},
		{[]string{"b.example."}, domains},
	} {
		if got := outsideOf(row.zones, domains); !slices.Equal(got, row.want) {
			t.Errorf("%q: %q, want %q", row.zones, got, row.want)
		}
	}
}

// What a plugin may have kept of a reply stays as it is.
func TestShorter(t *testing.T) {
	soa, err := dns.NewRR("cluster.local. 5 IN SOA a. b. 1 2 3 4 5")
	if err != nil {
		t.Fatal(err)
	}
	kept := []dns.RR{soa}
	m := shorter(&dns.Msg{Ns: kept}, 2)
	if kept[0] != soa || soa.Header().Ttl != 5 || m.Ns[0].Header().Ttl != 2 {
		t.Errorf("kept: %v, the reply has %v", kept, m.Ns)
	}
}

// A path of other plugins or of a file can be anything.
func TestAutopathCandidates(t *testing.T) {
	for _, row := range []struct {
		query           string
		path            []string
		inside, outside []string
	}{
		{"www.a.b. A", []string{"a.b.", "b.", ".", ""}, []string{"www.b."}, []string{"www."}},
		{"www.a.b. A", []string{"a.b.", "A.b.", "c.", "c.", ""}, []string{"www.A.b."}, []string{"www.c.", "www."}},
		{"a.b. A", []string{"a.b.", "b.", ""}, nil, nil},
		{"xa.b. A", []string{"a.b.", "b.", ""}, nil, nil},
		{"www.a.b. A", []string{"."}, nil, nil},
		{"www.a.b. A", []string{".", "c."}, nil, nil},
		{"www.a.b. A", []string{"", "c."}, nil, nil},
		{"www.a.b. A", []string{"a.b.", "not..a.name."}, nil, nil},
		{`w\.w.x.a.b. A`, []string{"a.b.", "c."}, nil, []string{`w\.w.x.c.`}},
		{". A", []string{"a.b.", ""}, nil, nil},
		{"www.a.b. A", nil, nil, nil},
	} {
		a := &autopath{zones: []string{"."}, path: func(request.Request) []string { return row.path }}
		inside, outside := a.candidates(t.Context(), request.Request{W: &recorder{}, Req: dnstext.Cluster.Query(t, row.query)})
		if !slices.Equal(inside, row.inside) || !slices.Equal(outside, row.outside) {
			t.Errorf("%s with %q: %q and %q, want %q and %q", row.query, row.path, inside, outside, row.inside, row.outside)
		}
	}
}

func TestSetupAutopath(t *testing.T) {
	for _, row := range []struct{ line, err string }{
		{"autopath @clusterdns", ""},
		{"autopath cluster.local @kubernetes", ""},
		{"autopath /etc/resolv.conf", ""},
		{"autopath", "Testfile:1 - Error during parsing: no resolv.conf and no @PLUGIN"},
		{"autopath @clusterdns\nautopath", "Testfile:2"},
		{"autopath kubernetes", "Testfile:1 - Error during parsing: open kubernetes"},
	} {
		err := SetupAutopath(caddy.NewTestController("dns", row.line))
		if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %v, want %q", row.line, err, row.err)
		}
	}
}
