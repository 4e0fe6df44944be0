package clusterdns

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
)

// stockOutside is the world of the tables of CoreDNS 1.15.0,
// plugin/k8s_external/external_test.go; that of plugin/kubernetes/external_test.go
// is part of it.
const stockOutside = `
	ns testns
	svc testns/svc1 10.0.0.1 http:TCP:80 outside=1.2.3.4
	svc testns/svc6 10.0.0.3 http:TCP:80 outside=1:2::5
	svc testns/svc11 10.0.0.3 http:TCP:80 outside=2.3.4.5
	svc testns/svc12 10.0.0.3 http:TCP:80 outside=dummy.hostname
	headless testns/svc-headless http:TCP:80
	slice testns/svc-headless-1 svc-headless http:TCP:80 endpoint-svc-0=1.2.3.4 endpoint-svc-1=1.2.3.5`

// externalStanza is the stanza k8s_external of a test, beside the stanza of.
type externalStanza struct {
	of            stanza
	zones         []string // example.com. if there are none
	headless      bool
	fallthroughTo []string
	next          plugin.Handler
}

func (s externalStanza) handler(t testing.TB, w *zone.Writer) *Handler {
	t.Helper()
	cfg := &config{word: externalDirective, view: zone.Options{
		Zones: s.zones, TTL: 5, External: &zone.ExternalOptions{Apex: "dns", Headless: s.headless},
	}}
	if cfg.view.Zones == nil {
		cfg.view.Zones = []string{"example.com."}
	}
	if s.fallthroughTo != nil {
		cfg.fall.SetZonesFromArgs(s.fallthroughTo)
	}
	h := &Handler{Next: s.next, cfg: cfg, negatives: newNegatives(s.of.negativeCache)}
	if err := h.follow(s.of.handler(t, w), s.of.local); err != nil {
		t.Fatal(err)
	}
	return h
}

// expectOutside is expect for an external zone: the word soa stands for its SOA.
func expectOutside(t *testing.T, h plugin.Handler, ctx dnstext.Context, table string) {
	t.Helper()
	soa := "\n;; authority\n@ SOA ns1.dns hostmaster.dns 0 7200 1800 86400 5\n"
	expect(t, h, ctx, strings.ReplaceAll(table, " soa\n", soa))
}

var exampleCom = dnstext.Context{Origin: "example.com.", TTL: 5}

// TestExternalHidden hides a namespace in each of the two ways.
func TestExternalHidden(t *testing.T) {
	w := newWorld(t, moreOutside+"\nns other\nsvc other/web 10.96.1.1 http:TCP:80 outside=192.0.2.1")
	h := externalStanza{zones: []string{"example.com.", "in-addr.arpa."}}.handler(t, w.Writer)
	for _, hide := range []func(*zone.Options){
		func(o *zone.Options) { o.Namespaces = []string{"other"} },
		func(o *zone.Options) { o.SelectedNamespaces = true },
	} {
		cluster := stanza{}.handler(t, w.Writer)
		hide(&cluster.cfg.view)
		if cluster.cfg.view.SelectedNamespaces {
			w.remove(zone.Namespaces, "shop")
		}
		if err := h.follow(cluster, nil); err != nil {
			t.Fatal(err)
		}
		expectOutside(t, h, exampleCom, `
			? web.shop A
			NXDOMAIN aa rd soa
			? shop A
			NXDOMAIN aa rd soa
			? web.other A
			NOERROR aa rd
			web.other A 192.0.2.1
			? 1.2.0.192.in-addr.arpa. PTR
			NOERROR aa rd
			1.2.0.192.in-addr.arpa. PTR web.other
		`)
	}
}

// TestExternalFallthrough asks for names that another plugin may have, and for
// some that it may not.
func TestExternalFallthrough(t *testing.T) {
	w := newWorld(t, moreOutside)
	next := plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) { return dns.RcodeNotImplemented, nil })
	for _, to := range [][]string{{}, {"shop.example.com."}} {
		h := externalStanza{fallthroughTo: to, next: next}.handler(t, w.Writer)
		expectOutside(t, h, exampleCom, `
			? nothing.shop A
			NOTIMP
			? shop A
			NOERROR aa rd soa
			? web.shop TXT
			NOERROR aa rd soa
			? x.dns A
			NXDOMAIN aa rd soa
			? example.org. A
			NOTIMP
		`)
	}
}

// TestExternalServers asks for the name server, which is a service with an
// endpoint at this server's address.
func TestExternalServers(t *testing.T) {
	here := []netip.Addr{netip.MustParseAddr("10.244.9.9"), netip.MustParseAddr("fd00::9")}
	w := newWorld(t, `
		ns kube-system
		svc kube-system/dns 10.96.0.53 dns:UDP:53
		slice kube-system/dns-1 dns dns:UDP:53 10.244.9.9 10.244.9.8`)
	h := externalStanza{of: stanza{local: here}, headless: true}.handler(t, w.Writer)
	expectOutside(t, h, exampleCom, `
		? @ NS
		NOERROR aa rd
		@ NS ns1.dns
		? ns1.dns A
		NOERROR aa rd soa
	`)
	w.set(t, "svc kube-system/dns 10.96.0.53 dns:UDP:53 outside=192.0.2.53 outside=2001:db8::53 outside=ns.example.net")
	expectOutside(t, h, exampleCom, `
		? @ NS
		NOERROR aa rd
		@ NS ns1.dns
		;; additional
		ns1.dns A 192.0.2.53
		ns1.dns AAAA 2001:db8::53
		? NS1.dns.example.com. A
		NOERROR aa rd
		NS1.dns.example.com. A 192.0.2.53
	`)
	w.set(t, "headless kube-system/dns dns:UDP:53 outside=192.0.2.54")
	expectOutside(t, h, exampleCom, `
		? ns1.dns A
		NOERROR aa rd
		ns1.dns A 10.244.9.9
		ns1.dns A 10.244.9.8
	`)
	expectOutside(t, externalStanza{of: stanza{local: here}}.handler(t, w.Writer), exampleCom, `
		? ns1.dns A
		NOERROR aa rd
		ns1.dns A 192.0.2.54
	`)
}

// TestExternalUnready asks before the resources have been seen that an answer
// depends on: a name is not absent because it has not been seen yet.
func TestExternalUnready(t *testing.T) {
	objects := objectsOf(t, moreOutside)
	w := &world{Writer: zone.NewWriter()}
	next := plugin.HandlerFunc(func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) { return dns.RcodeNotImplemented, nil })
	h := externalStanza{fallthroughTo: []string{}, headless: true, next: next}.handler(t, w.Writer)
	const unready = "SERVFAIL aa rd"
	ask := func(question string) string {
		return strings.TrimSpace(strings.SplitN(dnstext.Of(ask(t, h, exampleCom.Query(t, question))).String(), "\n", 2)[0])
	}
	for _, r := range []zone.Resource{zone.Namespaces, zone.Services} {
		for _, q := range []string{"@ SOA", "web.shop A", "nothing.shop A", "shop TXT"} {
			if got := ask(q); got != unready {
				t.Errorf("before %s: %s is %s", r, q, got)
			}
		}
		w.Update(func(b *zone.Batch) { b.Replace(r, objects[r], 1) })
	}
	for q, want := range map[string]string{"web.shop A": "NOERROR aa rd", "nothing.shop A": "NOTIMP", "db.shop A": unready, "ns1.dns A": unready} {
		if got := ask(q); got != want {
			t.Errorf("before endpointslices: %s is %s, want %s", q, got, want)
		}
	}
	if h.Ready() {
		t.Error("ready without endpointslices")
	}
	w.Update(func(b *zone.Batch) { b.Replace(zone.EndpointSlices, objects[zone.EndpointSlices], 1) })
	if got := ask("db.shop A"); got != "NOERROR aa rd" || !h.Ready() {
		t.Errorf("all seen: %s, ready %v", got, h.Ready())
	}
}

// TestExternalChange changes where a service is reached and nothing else: the
// serial moves, and what was denied is there.
func TestExternalChange(t *testing.T) {
	w := newWorld(t, "ns shop\nsvc shop/web 10.96.0.10 http:TCP:80")
	h := externalStanza{zones: []string{"example.com.", "in-addr.arpa."}, of: stanza{negativeCache: 10}}.handler(t, w.Writer)
	expectOutside(t, h, exampleCom, `
		? web.shop A
		NXDOMAIN aa rd soa
		? 1.2.0.192.in-addr.arpa. PTR
		NXDOMAIN aa rd
		;; authority
		in-addr.arpa. SOA ns1.dns.in-addr.arpa. hostmaster.dns.in-addr.arpa. 0 7200 1800 86400 5
	`)
	for _, row := range []struct{ outside, a, ptr string }{
		{"outside=192.0.2.1", "web.shop A 192.0.2.1", "1.2.0.192.in-addr.arpa. PTR web.shop"},
		{"outside=192.0.2.1 outside=192.0.2.2", "web.shop A 192.0.2.1\nweb.shop A 192.0.2.2", "1.2.0.192.in-addr.arpa. PTR web.shop"},
	} {
		before := w.Index().Serial()
		w.set(t, "svc shop/web 10.96.0.10 http:TCP:80 "+row.outside)
		if w.Index().Serial() == before {
			t.Errorf("%s: the serial is still %d", row.outside, before)
		}
		expectOutside(t, h, exampleCom, "\n? web.shop A\nNOERROR aa rd\n"+row.a+"\n? 1.2.0.192.in-addr.arpa. PTR\nNOERROR aa rd\n"+row.ptr+"\n")
	}
	before := w.Index().Serial()
	w.set(t, "svc shop/web 10.96.0.10 http:TCP:80 outside=192.0.2.1 outside=192.0.2.2")
	if w.Index().Serial() != before {
		t.Error("the serial moved for nothing")
	}
	w.set(t, "svc shop/web 10.96.0.10 http:TCP:80 outside=192.0.2.2")
	if r := ask(t, h, exampleCom.Query(t, "1.2.0.192.in-addr.arpa. PTR")); r.Rcode != dns.RcodeNameError {
		t.Errorf("an address that went: %v", r)
	}
}

// TestExternalTransfer is CoreDNS 1.15.0's plugin/k8s_external/transfer_test.go:
// what is transferred is what the tables of TestExternalStock answer, and to whom
// has the serial the SOA alone. Beside that, a name with a CNAME has nothing else.
func TestExternalTransfer(t *testing.T) {
	var _ transfer.Transferer = new(Handler)
	w := newWorld(t, stockOutside+"\nsvc testns/mixed 10.0.0.9 http:TCP:80 outside=192.0.2.9 outside=a.example.net outside=b.example.net")
	h := externalStanza{zones: []string{"example.com.", "in-addr.arpa."}, headless: true,
		of: stanza{local: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}}.handler(t, w.Writer)
	get := func(zone string, serial uint32) (rrs []dns.RR) {
		ch, err := h.Transfer(zone, serial)
		if err != nil {
			t.Fatal(err)
		}
		for some := range ch {
			rrs = append(rrs, some...)
		}
		return rrs
	}
	for _, row := range []struct{ zone, want string }{
		{"example.com.", `
			@ SOA ns1.dns hostmaster.dns 0 7200 1800 86400 5
			@ SOA ns1.dns hostmaster.dns 0 7200 1800 86400 5
			@ NS ns1.dns
			ns1.dns A 127.0.0.1
			svc1.testns A 1.2.3.4
			svc1.testns SRV 0 100 80 svc1.testns
			_http._tcp.svc1.testns SRV 0 100 80 svc1.testns
			svc6.testns AAAA 1:2::5
			svc6.testns SRV 0 100 80 svc6.testns
			_http._tcp.svc6.testns SRV 0 100 80 svc6.testns
			svc11.testns A 2.3.4.5
			svc11.testns SRV 0 100 80 svc11.testns
			_http._tcp.svc11.testns SRV 0 100 80 svc11.testns
			svc12.testns CNAME dummy.hostname.
			_http._tcp.svc12.testns SRV 0 100 80 dummy.hostname.
			svc-headless.testns A 1.2.3.4
			svc-headless.testns A 1.2.3.5
			svc-headless.testns SRV 0 50 80 endpoint-svc-0.svc-headless.testns
			svc-headless.testns SRV 0 50 80 endpoint-svc-1.svc-headless.testns
			_http._tcp.svc-headless.testns SRV 0 50 80 endpoint-svc-0.svc-headless.testns
			_http._tcp.svc-headless.testns SRV 0 50 80 endpoint-svc-1.svc-headless.testns
			endpoint-svc-0.svc-headless.testns A 1.2.3.4
			endpoint-svc-0.svc-headless.testns SRV 0 100 80 endpoint-svc-0.svc-headless.testns
			endpoint-svc-1.svc-headless.testns A 1.2.3.5
			endpoint-svc-1.svc-headless.testns SRV 0 100 80 endpoint-svc-1.svc-headless.testns
			mixed.testns A 192.0.2.9
			mixed.testns SRV 0 33 80 mixed.testns
			mixed.testns SRV 0 33 80 a.example.net.
			mixed.testns SRV 0 33 80 b.example.net.
			_http._tcp.mixed.testns SRV 0 33 80 mixed.testns
			_http._tcp.mixed.testns SRV 0 33 80 a.example.net.
			_http._tcp.mixed.testns SRV 0 33 80 b.example.net.`},
		{"in-addr.arpa.", `
			in-addr.arpa. SOA ns1.dns.in-addr.arpa. hostmaster.dns.in-addr.arpa. 0 7200 1800 86400 5
			in-addr.arpa. SOA ns1.dns.in-addr.arpa. hostmaster.dns.in-addr.arpa. 0 7200 1800 86400 5
			in-addr.arpa. NS ns1.dns.in-addr.arpa.
			ns1.dns.in-addr.arpa. A 127.0.0.1
			4.3.2.1.in-addr.arpa. PTR svc1.testns
			5.4.3.2.in-addr.arpa. PTR svc11.testns
			9.2.0.192.in-addr.arpa. PTR mixed.testns`},
	} {
		rrs := get(row.zone, 0)
		want, err := exampleCom.Parse("NOERROR" + strings.ReplaceAll(row.want, "\t", ""))
		if err != nil {
			t.Fatal(err)
		}
		if diff := want.Diff(&dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: rrs}); diff != "" {
			t.Errorf("%s: %s", row.zone, diff)
		}
		if last := rrs[len(rrs)-1]; rrs[0].Header().Rrtype != dns.TypeSOA || last.String() != rrs[0].String() {
			t.Errorf("%s: no SOA around it", row.zone)
		}
	}
	if rrs := get("example.com.", w.Index().Serial()); len(rrs) != 1 || rrs[0].Header().Rrtype != dns.TypeSOA {
		t.Errorf("to whom has the serial: %v", rrs)
	}
	if _, err := h.Transfer("testns.example.com.", 0); err != transfer.ErrNotAuthoritative {
		t.Errorf("another zone: %v", err)
	}
}

// TestParseExternal is CoreDNS 1.15.0's plugin/k8s_external/setup_test.go, and
// what its README says of the options.
func TestParseExternal(t *testing.T) {
	for _, row := range []struct {
		stanza, zone string
		want         zone.ExternalOptions
		ttl          uint32
		fall         fall.F
	}{
		{"k8s_external", "block.example.", zone.ExternalOptions{Apex: "dns"}, 5, fall.Zero},
		{"k8s_external example.org", "example.org.", zone.ExternalOptions{Apex: "dns"}, 5, fall.Zero},
		{"k8s_external .", ".", zone.ExternalOptions{Apex: "dns"}, 5, fall.Zero},
		{"k8s_external 192.0.2.0/24 example.org", "2.0.192.in-addr.arpa.", zone.ExternalOptions{Apex: "dns"}, 5, fall.Zero},
		{"k8s_external example.org {\napex testdns\n}", "example.org.", zone.ExternalOptions{Apex: "testdns"}, 5, fall.Zero},
		{"k8s_external example.org {\nheadless\n}", "example.org.", zone.ExternalOptions{Apex: "dns", Headless: true}, 5, fall.Zero},
		{"k8s_external example.org {\nttl 0\n}", "example.org.", zone.ExternalOptions{Apex: "dns"}, 0, fall.Zero},
		{"k8s_external example.org {\nttl 3600\n}", "example.org.", zone.ExternalOptions{Apex: "dns"}, 3600, fall.Zero},
		{"k8s_external example.org {\nfallthrough\n}", "example.org.", zone.ExternalOptions{Apex: "dns"}, 5, fall.Root},
		{"k8s_external example.org {\nfallthrough ip6.arpa inaddr.arpa foo.com\n}", "example.org.", zone.ExternalOptions{Apex: "dns"}, 5,
			fall.F{Zones: []string{"ip6.arpa.", "inaddr.arpa.", "foo.com."}}},
	} {
		cfg, err := parseExternal(controller(row.stanza, "block.example"))
		if err != nil {
			t.Errorf("%s: %v", row.stanza, err)
			continue
		}
		if cfg.view.Zones[0] != row.zone || *cfg.view.External != row.want || cfg.view.TTL != row.ttl || !cfg.fall.Equal(row.fall) {
			t.Errorf("%s: got %+v %+v %+v", row.stanza, cfg.view, *cfg.view.External, cfg.fall)
		}
	}
	for _, row := range []struct{ options, want string }{
		{"apex", `Testfile:2 - Error during parsing: apex takes "LABEL", not ""`},
		{"apex a.b", `Testfile:2 - Error during parsing: apex: "a.b" is no single label`},
		{"apex a b", `Testfile:2 - Error during parsing: apex takes "LABEL", not "a b"`},
		{"ttl", `Testfile:2 - Error during parsing: ttl takes "SECONDS", not ""`},
		{"ttl 3601", `Testfile:2 - Error during parsing: ttl: "3601" is no number of seconds from 0 to 3600`},
		{"ttl -1", `Testfile:2 - Error during parsing: ttl: "-1" is no number of seconds from 0 to 3600`},
		{"headless yes", `Testfile:2 - Error during parsing: headless takes "", not "yes"`},
		{"headles", `Testfile:2 - Error during parsing: unknown option "headles"; did you mean "headless"?`},
		{"pods insecure", `Testfile:2 - Error during parsing: unknown option "pods"`},
		{"}\nk8s_external other {", `Testfile:3 - Error during parsing: a second k8s_external in one server block`},
	} {
		if _, err := parseExternal(controller("k8s_external example.org {\n" + row.options + "\n}")); err == nil || err.Error() != row.want {
			t.Errorf("%s: got  %v\nwant %s", row.options, err, row.want)
		}
	}
	if _, err := parseExternal(controller("k8s_external a..b")); err == nil || !strings.Contains(err.Error(), `zone "a..b"`) {
		t.Errorf("bad zone: %v", err)
	}
}

func TestSetupExternal(t *testing.T) {
	c := controller("k8s_external example.org {\nttl x\n}")
	err := SetupExternal(c)
	want := `plugin/k8s_external: Testfile:2 - Error during parsing: ttl: "x" is no number of seconds from 0 to 3600`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	c = controller("k8s_external example.org")
	if err := SetupExternal(c); err != nil {
		t.Fatal(err)
	}
	h := dnsserver.GetConfig(c).Plugin[0](went).(*Handler)
	if h.Name() != "k8s_external" || h.Next == nil || h.upstream == nil || h.Ready() {
		t.Errorf("got %s, next %v, upstream %v, ready %v", h.Name(), h.Next, h.upstream, h.Ready())
	}
}

// TestChaseHosts asks for services whose load balancers have host names. The
// case without any reply is TestExternalCNAMENilUpstreamResponse of CoreDNS
// 1.15.0's plugin/k8s_external/external_test.go, which only must not panic there.
func TestChaseHosts(t *testing.T) {
	w := newWorld(t, `
		ns shop
		svc shop/one 10.0.0.1 http:TCP:80 https:TCP:443 outside=lb.example.net
		svc shop/two 10.0.0.2 http:TCP:80 outside=lb.example.net outside=other.example.net
		svc shop/mixed 10.0.0.3 http:TCP:80 outside=192.0.2.1 outside=broken.example.net outside=lb.example.net
		svc shop/broken 10.0.0.4 http:TCP:80 outside=broken.example.net
		svc shop/dropped 10.0.0.5 http:TCP:80 outside=dropped.example.net
		svc shop/none 10.0.0.6 http:TCP:80 outside=none.example.net
		svc shop/inside 10.0.0.7 http:TCP:80 outside=one.shop.example.com
		svc shop/loop 10.0.0.8 http:TCP:80 outside=loop.shop.example.com
		svc shop/portless 10.0.0.9 outside=lb.example.net`)
	h := externalStanza{}.handler(t, w.Writer)
	s := newServer(t, &outside{replies: map[string]string{
		"lb.example.net. A":      "NOERROR\nlb.example.net. 60 IN A 198.51.100.1",
		"lb.example.net. AAAA":   "NOERROR\nlb.example.net. 60 IN AAAA 2001:db8::1",
		"other.example.net. A":   "NOERROR tc\nother.example.net. 60 IN A 198.51.100.2",
		"broken.example.net. A":  "SERVFAIL",
		"dropped.example.net. A": "DROP",
		"":                       "NXDOMAIN",
	}}, h)
	expectOutside(t, s, exampleCom, `
		? one.shop A
		NOERROR aa rd
		one.shop CNAME lb.example.net.
		lb.example.net. 60 A 198.51.100.1
		? one.shop AAAA
		NOERROR aa rd
		one.shop CNAME lb.example.net.
		lb.example.net. 60 AAAA 2001:db8::1
		? one.shop CNAME
		NOERROR aa rd
		one.shop CNAME lb.example.net.
		? one.shop TXT
		NOERROR aa rd soa
		? one.shop SRV
		NOERROR aa rd
		one.shop SRV 0 50 80 lb.example.net.
		one.shop SRV 0 50 443 lb.example.net.
		;; additional
		lb.example.net. 60 A 198.51.100.1
		lb.example.net. 60 AAAA 2001:db8::1
		? _https._tcp.one.shop A
		NOERROR aa rd
		_https._tcp.one.shop CNAME lb.example.net.
		lb.example.net. 60 A 198.51.100.1
		? two.shop A
		NOERROR aa tc rd
		two.shop CNAME lb.example.net.
		two.shop CNAME other.example.net.
		lb.example.net. 60 A 198.51.100.1
		other.example.net. 60 A 198.51.100.2
		? mixed.shop A
		NOERROR aa rd
		mixed.shop A 192.0.2.1
		mixed.shop CNAME lb.example.net.
		lb.example.net. 60 A 198.51.100.1
		? mixed.shop SRV
		NOERROR aa rd
		mixed.shop SRV 0 33 80 mixed.shop
		mixed.shop SRV 0 33 80 broken.example.net.
		mixed.shop SRV 0 33 80 lb.example.net.
		;; additional
		mixed.shop A 192.0.2.1
		lb.example.net. 60 A 198.51.100.1
		lb.example.net. 60 AAAA 2001:db8::1
		? broken.shop A
		SERVFAIL rd
		? dropped.shop A
		SERVFAIL rd
		? none.shop A
		NOERROR aa rd
		none.shop CNAME none.example.net.
		? inside.shop A
		NOERROR aa rd
		inside.shop CNAME one.shop
		one.shop CNAME lb.example.net.
		lb.example.net. 60 A 198.51.100.1
		? loop.shop A
		SERVFAIL rd
		? portless.shop SRV
		NOERROR aa rd soa
	`)
}
