package clusterdns

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/hitters"
	"github.com/clusterdns/clusterdns/plugin/responder"
	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/hosts"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// inFront are plugins in front of ours that the lane answers for, or asks, and
// silent is what it makes of the templates.
var (
	inFront = []string{
		"template ANY AAAA cluster.local {\nrcode NOERROR\n}\n" +
			"template IN AAAA local {\nmatch ^web\nrcode NXDOMAIN\nfallthrough\n}\n" +
			"template IN MX shop.svc.cluster.local 10.in-addr.arpa {\nrcode NXDOMAIN\n}",
		"hosts /dev/null . {\n192.0.2.9 web.shop.svc.cluster.local *.team.svc.cluster.local\n10.96.0.10 other\n" +
			"fd00::9 foo.cluster.local\nfallthrough cluster.local in-addr.arpa ip6.arpa\n}",
	}
	silent = responder.Route{Templates: []responder.Template{
		{Type: dns.TypeAAAA, Zones: []string{"cluster.local."}, Empty: true},
		{Type: dns.TypeAAAA, Zones: []string{"local."}},
		{Type: dns.TypeMX, Zones: []string{"shop.svc.cluster.local.", "10.in-addr.arpa."}, Empty: true, Rcode: dns.RcodeNameError},
	}}
)

func TestLaneIsTheChain(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, row := range []struct {
		name    string
		h       *Handler
		origins []string
		route   responder.Route
		plugins []string
	}{
		{name: "five zones", h: variedHandler(t), origins: []string{"cluster.local.", "other.local.", "sub.svc.cluster.local.", "10.in-addr.arpa.", "example.com."}},
		{name: "root", h: rootHandler(t), origins: []string{"."}},
		{name: "autopath", h: variedHandler(t), origins: []string{"cluster.local.", "shop.svc.cluster.local.", "10.in-addr.arpa."}, route: responder.Route{Searched: []string{"."}}},
		{name: "hosts and templates", h: variedHandler(t), origins: []string{"cluster.local.", "other.local.", "10.in-addr.arpa."}, route: silent, plugins: inFront},
		{name: "fallthrough in reverse zones", h: stanza{fallthroughTo: []string{"in-addr.arpa", "ip6.arpa"}, next: went}.handler(t, varied(t).Writer), origins: []string{"cluster.local.", "."}},
		{name: "fallthrough", h: stanza{fallthroughTo: []string{}, next: went}.handler(t, varied(t).Writer), origins: []string{"cluster.local.", "."}},
		// One probe, since lane and chain share how many searches a second may have.
		{name: "explain", h: stanza{zones: []string{"cluster.local.", "10.in-addr.arpa."}, explain: 1, negativeCache: 100}.handler(t, varied(t).Writer), origins: []string{"cluster.local.", "10.in-addr.arpa."}},
		{name: "noendpoints, ttl, no pods", h: stanza{noEndpoints: true, ignoreEmpty: true, ttl: 600, negativeCache: 100}.handler(t, varied(t).Writer), origins: []string{"cluster.local."}},
		{name: "stale", h: staleHandler(t), origins: []string{"cluster.local."}},
		{name: "stale, hosts and templates", h: staleHandler(t, "cluster.local.", "other.local.", "10.in-addr.arpa."),
			origins: []string{"cluster.local.", "other.local.", "10.in-addr.arpa."}, route: silent, plugins: inFront},
	} {
		t.Run(row.name, func(t *testing.T) {
			both := newBothWays(t, row.h, row.route, row.plugins...)
			answered, declined := askAll(t, random, row.origins, append(qtypes, dns.TypeHTTPS, dns.TypeDS, dns.TypeAXFR, dns.TypeCAA), packets, both.compare)
			t.Logf("%d answered by the lane, %d declined", answered, declined)
			if answered < 1000 || declined < 100 {
				t.Errorf("%d messages answered and %d declined: the corpus is not what it was meant to be", answered, declined)
			}
		})
	}
}

// staleHandler answers stale answers, for cluster.local. if no other zones are given.
func staleHandler(t testing.TB, zones ...string) *Handler {
	w := varied(t)
	setSilent(w.Writer, true)
	return stanza{zones: zones, ttl: 600, negativeCache: 100}.handler(t, w.Writer)
}

// FuzzLaneIsTheChain feeds datagrams of any kind.
func FuzzLaneIsTheChain(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for i, q := range questions {
		name, err := dnswire.AppendName(nil, strings.TrimPrefix(q+".cluster.local.", "."))
		if err != nil {
			continue
		}
		n := 0
		packets(random, name, qtypes[i%len(qtypes)], func(msg []byte) {
			if n++; n%3 == i%3 {
				f.Add(msg, i%4 == 0)
			}
		})
	}
	for _, addr := range []string{"10.96.0.10", "10.1.0.77", "10.3.0.9", "2001:db8::7"} {
		name, _ := dns.ReverseAddr(addr)
		wire, _ := dnswire.AppendName(nil, name)
		packets(random, wire, dns.TypePTR, func(msg []byte) { f.Add(msg, false) })
	}
	// What no resolver sends: sections, opcodes, header bits, classes, pointers,
	// several questions, a signature, more than one OPT, octets behind it.
	plain := "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x04shop\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01"
	for _, edit := range []func([]byte) []byte{
		func(m []byte) []byte { return m[:len(m)-1] },
		func(m []byte) []byte { return m[:12] },
		func(m []byte) []byte { return append(m, 0) },
		func(m []byte) []byte { m[2] |= 0x80; return m },
		func(m []byte) []byte { m[2] |= 0x28; return m },
		func(m []byte) []byte { m[3] = 0xff; return m },
		func(m []byte) []byte { m[5] = 2; return m },
		func(m []byte) []byte { m[7] = 1; return m },
		func(m []byte) []byte { m[9] = 1; return m },
		func(m []byte) []byte { m[len(m)-1] = 3; return m },
		func(m []byte) []byte { m[len(m)-1] = 255; return m },
		func(m []byte) []byte { m[20], m[21] = 0xc0, 12; return m },
		func(m []byte) []byte { m[11] = 1; return append(m, "\x00\x00\x29\x04\xd0\x00\x01\x80\x00\x00\x00"...) }, // version 1
		func(m []byte) []byte {
			m[11] = 1
			return append(m, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x04\x00\x03\x00\x00"...)
		},
		func(m []byte) []byte {
			m[11] = 2
			return append(m, "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"...)
		},
		func(m []byte) []byte { m[11] = 1; return append(m, "\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x00"...) },
	} {
		f.Add(edit([]byte(plain)), false)
	}
	five := newBothWays(f, variedHandler(f), responder.Route{Searched: []string{"."}})
	root := newBothWays(f, rootHandler(f), silent, inFront...)
	f.Fuzz(func(t *testing.T, msg []byte, ofRoot bool) {
		if len(msg) > fastlane.MaxMessage {
			return
		}
		both := five
		if ofRoot {
			both = root
		}
		if _, err := both.compare(msg); err != nil {
			t.Errorf("%x: %v", msg, err)
		}
	})
}

// TestLaneDeclines holds what the lane leaves to the chain, and how it is
// counted.
func TestLaneDeclines(t *testing.T) {
	edns.SetSupportedOption(dns.EDNS0DHU) // as the plugin rewrite does for "edns0 local set 6 x"
	h := variedHandler(t)
	unready := stanza{}.handler(t, zone.NewWriter())
	through := stanza{zones: []string{"through.local."}, fallthroughTo: []string{"elsewhere.", "svc.Through.local"}}.handler(t, varied(t).Writer)
	unready.view, _ = zone.NewView(zone.NewWriter().Index(), zone.Options{Zones: []string{"unready.local."}})
	plan := planOf(t, responder.Route{Zone: "stub.cluster.local."}, nil)
	addRoute(t, plan, responder.Route{Zone: "unready.local."}, unready)
	addRoute(t, plan, responder.Route{Zone: "through.local.", Types: []uint16{dns.TypeAAAA}}, through)
	addRoute(t, plan, responder.Route{Zone: "named.", Hosts: hostsOf(t, "hosts /dev/null named {\n192.0.2.1 node-1.named\nfallthrough\n}")}, nil)
	addRoute(t, plan, responder.Route{Zone: "."}, h)
	query := func(edit func(*dns.Msg)) *dns.Msg {
		m := new(dns.Msg).SetQuestion("web.shop.svc.cluster.local.", dns.TypeA)
		edit(m)
		return m
	}
	name := func(n string) *dns.Msg { return query(func(m *dns.Msg) { m.Question[0].Name = n }) }
	qtype := func(t uint16) *dns.Msg { return query(func(m *dns.Msg) { m.Question[0].Qtype = t }) }
	verdicts := map[string]fastlane.Verdict{"external": fastlane.Alias, "unready": fastlane.Local, "local type": fastlane.Local, "local server_block": fastlane.Local}
	for _, row := range []struct {
		what string // "local" in front: the chain asks nobody
		msg  *dns.Msg
	}{
		{"", query(func(*dns.Msg) {})},
		{"", name("STUBS.cluster.local.")},
		{"class", query(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })},
		{"local type", qtype(dns.TypeANY)},
		{"type", qtype(dns.TypeDS)},
		{"type", qtype(dns.TypeAXFR)},
		{"local type", qtype(dns.TypeCAA)},
		{"local type", qtype(0)},
		{"local type", query(func(m *dns.Msg) { m.SetQuestion("outside.shop.svc.cluster.local.", dns.TypeCAA) })},
		{"local type", query(func(m *dns.Msg) { m.SetQuestion("nothing.through.local.", dns.TypeCAA) })},
		{"type", query(func(m *dns.Msg) { m.SetQuestion("nothing.svc.through.local.", dns.TypeCAA) })},
		{"type", query(func(m *dns.Msg) { m.SetQuestion("www.example.org.", dns.TypeCAA) })},
		{"local type", query(func(m *dns.Msg) { m.SetQuestion("web.shop.svc.unready.local.", dns.TypeCAA) })},
		{"edns_version", query(func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) })},
		{"nsid", query(func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_NSID{Code: dns.EDNS0NSID}}
		})},
		{"edns_option", query(func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_DHU{Code: dns.EDNS0DHU, AlgCode: []uint8{1}}}
		})},
		{"server_block", name("web.STUB.cluster.local.")},
		{"server_block", name("stub.cluster.local.")},
		{"zone", name("www.example.com.")},
		{"local server_block", name("Node-1.NAMED.")},
		{"local server_block", query(func(m *dns.Msg) { m.SetQuestion("node-1.named.", dns.TypeCAA) })},
		{"server_block", name("node-2.named.")},
		{"", name("nothing.through.local.")},
		{"fallthrough", name("nothing.svc.THROUGH.local.")},
		{"", name("web.shop.svc.through.local.")},
		{"local type", query(func(m *dns.Msg) { m.SetQuestion("web.shop.svc.Through.local.", dns.TypeAAAA) })},
		{"external", name("outside.shop.svc.cluster.local.")},
		{"unready", name("web.shop.svc.unready.local.")},
		{"not_query", query(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })},
		{"other_sections", query(func(m *dns.Msg) { m.Ns = []dns.RR{anySOA} })},
	} {
		before := snapshot(plan)
		packet, err := row.msg.Pack()
		if err != nil {
			t.Fatal(err)
		}
		r := plan.NewResponder()
		_, verdict := r.Append(nil, packet, fastlane.Client{})
		r.Sent(0, 0)
		want := fastlane.Answered
		if row.what != "" {
			want = cmp.Or(verdicts[row.what], fastlane.Forward)
		}
		if verdict != want {
			t.Errorf("%s: %v: verdict %v, want %v", row.what, row.msg.Question[0], verdict, want)
		}
		what := strings.TrimPrefix(row.what, "local ")
		after := snapshot(plan)
		for _, name := range slices.Sorted(maps.Keys(after)) {
			n, want := after[name], before[name]
			if name == what || what == "" && name == "answered" {
				want++
			}
			if n != want {
				t.Errorf("%v: %s counted %d times, want %d", row.msg.Question[0], name, n-before[name], want-before[name])
			}
		}
	}
}

// TestLaneCompletes: of names that a search path may have made the lane declines
// what autopath may complete, and nothing else. An autopath that does not say what
// that is, CoreDNS's, may complete everything.
func TestLaneCompletes(t *testing.T) {
	const name = "www.example.org.shop.svc.cluster.local."
	h := variedHandler(t)
	both := newBothWays(t, h, responder.Route{Searched: []string{"."}})
	stock := planOf(t, responder.Route{Zone: ".", Searched: []string{"."}}, h).NewResponder()
	for _, row := range []struct {
		qtypes    string
		recursion bool
		completed bool
	}{
		{"A AAAA SRV TXT MX PTR NAPTR SVCB HTTPS", true, true},
		{"CNAME NS", true, false},
		{"A AAAA SRV CNAME NS", false, false},
	} {
		for qtype := range strings.FieldsSeq(row.qtypes) {
			m := new(dns.Msg).SetQuestion(name, dns.StringToType[qtype])
			m.RecursionDesired = row.recursion
			msg, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if answered, err := both.compare(msg); err != nil || answered == row.completed {
				t.Errorf("%s, recursion %v: answered: %v, %v", qtype, row.recursion, answered, err)
			}
			if _, verdict := stock.Append(nil, msg, fastlane.Client{}); verdict != fastlane.Forward {
				t.Errorf("%s, recursion %v, in front of CoreDNS's autopath: verdict %v", qtype, row.recursion, verdict)
			}
		}
	}
}

// countedBy returns a plugin prometheus that has h behind it.
func countedBy(h *Handler) *metrics.Metrics {
	m := metrics.New(":0")
	m.Next = h
	return m
}

// stockPlugin returns a plugin of CoreDNS's that is set up as text has it.
func stockPlugin(t testing.TB, text string) plugin.Plugin {
	t.Helper()
	c := caddy.NewTestController("dns", text)
	name, _, _ := strings.Cut(text, " ")
	setup, err := caddy.DirectiveAction("dns", name)
	if err != nil {
		t.Fatal(err)
	}
	if err := setup(c); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return dnsserver.GetConfig(c).Plugin[0]
}

// hostsOf returns a plugin hosts with these entries.
func hostsOf(t testing.TB, text string) *hosts.Hosts {
	h := stockPlugin(t, text)(nil).(hosts.Hosts)
	return &h
}

var anySOA, _ = dns.NewRR("cluster.local. SOA a. b. 1 2 3 4 5")

// snapshot returns the counters by name.
func snapshot(plan *responder.Plan) map[string]uint64 {
	m := maps.Collect(plan.Counts.Declined)
	m["answered"] = plan.Counts.Answered()
	return m
}

// TestLaneAllocations: an answered query allocates nothing, metrics included.
// The plugin hosts allocates itself, but is asked once for each name.
func TestLaneAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	h := benchHandler(t, town(t, 100), 0)
	counted := responder.Route{Zone: ".", Rotate: true, Metrics: countedBy(h)}
	silenced, beside, shown := counted, counted, counted
	shown.Hitters = hitters.New()
	silenced.Templates = []responder.Template{{Type: dns.TypeAAAA, Zones: []string{"."}, Empty: true}}
	beside.Hosts = hostsOf(t, "hosts /dev/null . {\n192.0.2.1 node-1\nfallthrough\n}")
	for _, variant := range []struct {
		name  string
		route responder.Route
		most  float64 // for a query that was asked before
	}{{"alone", counted, 0}, {"template", silenced, 0}, {"hosts", beside, 0}, {"console", shown, 0}} {
		r := planOf(t, variant.route, h).NewResponder()
		dst := make([]byte, 0, 64<<10)
		for _, row := range kinds {
			packet, err := dnstext.Cluster.Query(t, row.question).Pack()
			if err != nil {
				t.Fatal(err)
			}
			if got := testing.AllocsPerRun(100, func() {
				for range 10 {
					if _, verdict := r.Append(dst, packet, fastlane.Client{TCP: true}); verdict != fastlane.Answered {
						t.Fatalf("%s: declined", row.question)
					}
				}
				r.Sent(time.Microsecond, 0)
			}); got > 10*variant.most {
				t.Errorf("%s, %s: %v allocations for 10 queries", variant.name, row.question, got)
			}
		}
	}
}

// TestLaneCountsTemplates: the plugin template's metric counts what the lane
// answers in its place.
func TestLaneCountsTemplates(t *testing.T) {
	matches := func() (n float64) {
		families, err := prometheus.DefaultGatherer.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "coredns_template_matches_total" {
				continue
			}
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
		return n
	}
	both := newBothWays(t, variedHandler(t), silent, inFront...)
	packet, err := dnstext.Cluster.Query(t, "web.shop.svc AAAA").Pack()
	if err != nil {
		t.Fatal(err)
	}
	before := matches()
	if ok, err := both.compare(packet); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if n := matches() - before; n != 2 {
		t.Errorf("counted %v times by lane and chain together", n)
	}
}

// TestLaneCountsTruncatedTCP: a set of addresses that no message can hold.
func TestLaneCountsTruncatedTCP(t *testing.T) {
	var b strings.Builder
	b.WriteString("ns ns\nheadless ns/big http:TCP:80\nslice ns/big-1 big http:TCP:80")
	for i := range 5000 {
		fmt.Fprintf(&b, " 10.1.%d.%d", i>>8, i&255)
	}
	h := benchHandler(t, newWorld(t, b.String()), 0)
	packet, err := dnstext.Cluster.Query(t, "big.ns.svc A").Pack()
	if err != nil {
		t.Fatal(err)
	}
	before := value(t, truncatedTCP)
	wire, verdict := planOf(t, responder.Route{Zone: "."}, h).NewResponder().Append(nil, packet, fastlane.Client{TCP: true})
	m := new(dns.Msg)
	const fit = (65535 - 12 - 26 - 4) / 16 // less header and question
	if verdict != fastlane.Answered || m.Unpack(wire) != nil || !m.Truncated || len(m.Answer) != fit {
		t.Errorf("verdict %v, truncated: %v, %d records", verdict, m.Truncated, len(m.Answer))
	}
	if n := value(t, truncatedTCP) - before; n != 1 {
		t.Errorf("counted %v times", n)
	}
}

// TestLaneDatagram: a client may say that it takes 65,535 octets, but a datagram
// has no room for its headers then.
func TestLaneDatagram(t *testing.T) {
	var b strings.Builder
	b.WriteString("ns ns\nheadless ns/big http:TCP:80\nslice ns/big-1 big http:TCP:80")
	for i := range 5000 {
		fmt.Fprintf(&b, " 10.1.%d.%d", i>>8, i&255)
	}
	h := benchHandler(t, newWorld(t, b.String()), 0)
	q := dnstext.Cluster.Query(t, "big.ns.svc A")
	q.SetEdns0(65535, false)
	packet, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	const room = 65535 - 20 - 8 // less the headers of IPv4 and UDP
	wire, verdict := planOf(t, responder.Route{Zone: "."}, h).NewResponder().Append(nil, packet, fastlane.Client{})
	if verdict != fastlane.Answered || len(wire) > room || len(wire) < room-16 {
		t.Errorf("verdict %v, in %d octets", verdict, len(wire))
	}
}

// TestLaneRotates: every address is the first as often as any other.
func TestLaneRotates(t *testing.T) {
	h := benchHandler(t, town(t, 100), 0)
	packet, err := dnstext.Cluster.Query(t, "svc-80.ns.svc A").Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, rotate := range []bool{true, false} {
		plan := planOf(t, responder.Route{Zone: ".", Rotate: rotate}, h)
		r := plan.NewResponder()
		first := map[string]int{}
		for range 150 {
			wire, verdict := r.Append(nil, packet, fastlane.Client{})
			if verdict != fastlane.Answered {
				t.Fatal("declined")
			}
			m := new(dns.Msg)
			if err := m.Unpack(wire); err != nil {
				t.Fatal(err)
			}
			all := map[string]bool{}
			for _, rr := range m.Answer {
				all[rr.(*dns.A).A.String()] = true
			}
			if len(all) != 15 || len(m.Answer) != 15 {
				t.Fatalf("%d addresses in %d records, want 15", len(all), len(m.Answer))
			}
			first[m.Answer[0].(*dns.A).A.String()]++
		}
		want := 15
		if !rotate {
			want = 1
		}
		if len(first) != want {
			t.Errorf("rotate %v: %d addresses were the first one, want %d", rotate, len(first), want)
		}
		for addr, n := range first {
			if n != 150/want {
				t.Errorf("rotate %v: %s was the first %d times of 150", rotate, addr, n)
			}
		}
	}
}

func BenchmarkLane(b *testing.B) {
	h := benchHandler(b, town(b, 10000), 0)
	engine, stop := hitters.New(), make(chan struct{})
	defer close(stop)
	go engine.Run(stop)
	for _, with := range []struct {
		name  string
		route responder.Route
	}{
		{"alone", responder.Route{Zone: ".", Rotate: true}},
		{"metrics", responder.Route{Zone: ".", Rotate: true, Metrics: countedBy(h)}},
		{"console", responder.Route{Zone: ".", Rotate: true, Hitters: engine}},
		{"hosts", responder.Route{Zone: ".", Rotate: true, Hosts: hostsOf(b, "hosts /dev/null . {\n192.0.2.1 node-1\nfallthrough\n}")}},
	} {
		plan := planOf(b, with.route, h)
		for _, row := range kinds {
			b.Run(row.name+"/"+with.name, func(b *testing.B) {
				packet, err := dnstext.Cluster.Query(b, row.question).Pack()
				if err != nil {
					b.Fatal(err)
				}
				r := plan.NewResponder()
				dst := make([]byte, 0, 64<<10)
				client := netip.MustParseAddr("10.244.1.5")
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if _, verdict := r.Append(dst, packet, fastlane.Client{TCP: true, Addr: client}); verdict != fastlane.Answered {
						b.Fatal("declined")
					}
					if i++; i%16 == 0 {
						r.Sent(time.Microsecond, 0)
					}
				}
			})
		}
	}
}
