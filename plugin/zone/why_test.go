package zone

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/miekg/dns"
)

// whyText is what Why says of a question, behind its code unless that is 0.
func whyText(t testing.TB, v *View, question string) string {
	t.Helper()
	name, typ, _ := strings.Cut(question, " ")
	var a Answer
	if !v.Lookup(&a, wireName(t, name), dns.StringToType[typ]) {
		t.Fatalf("%s: in no zone", question)
	}
	text, code := a.Why([]byte("before"))
	if !strings.HasPrefix(string(text), "before") || len(text) > len("before")+MaxWhy {
		t.Fatalf("%s: %q", question, text)
	}
	if code != dnswire.EDEOther {
		return fmt.Sprint(code, " ", string(text[6:]))
	}
	return string(text[6:])
}

const whys = shop + `
	namespace prod-eu
	service kube-system/metrics-server 10.96.0.3 https:443/TCP
	service shop/dns-path external=10.1.2.3 -
	service shop/loop external=loop.shop.svc.cluster.local -
	service shop/lost external=nope.shop.svc.cluster.local -
	service shop/away external=example.org -
	service shop/half headless pg:5432/TCP
	service shop/five headless pg:5432/TCP
	service shop/none headless pg:5432/TCP
	slice shop/half-1 half pg:5432/TCP 10.1.1.1=half-0 !10.1.1.2=half-1 !10.1.1.3
	slice shop/none-1 none pg:5432/TCP !10.1.2.2=none-0 !10.1.2.3
	service prod-eu/queue-service 10.96.0.40 -
	service prod-eu/cart 10.96.0.41 -
	import shop/far 10.97.0.1 http:80/TCP
	import shop/bare 10.97.0.2 -
`

// What every kind of negative answer says.
func TestWhy(t *testing.T) {
	w := worldOf(t, whys)
	all := Options{Zones: []string{"cluster.local.", "set.local.", "10.in-addr.arpa."}, Multicluster: []string{"set.local."}, Explain: DefaultProbes}
	with := func(change func(*Options)) Options {
		opt := all
		change(&opt)
		return opt
	}
	for _, group := range []struct {
		name  string
		opt   Options
		table []qa
	}{
		{"all", all, []qa{
			{"web.shop.svc.cluster.local. A", ""},
			{"web.shop.svc.cluster.local. AAAA", ""},
			{"web.shop.svc.cluster.local. TXT", ""},
			{"cluster.local. A", ""}, {"svc.cluster.local. A", ""}, {"shop.svc.cluster.local. A", ""},
			{"away.shop.svc.cluster.local. A", ""}, {"away.shop.svc.cluster.local. TXT", ""},
			{"in-addr.arpa.cluster.local. PTR", "no service or pod can have such a name"},
			{"2.1.10.in-addr.arpa. PTR", ""},
			// Namespaces.
			{"web.shpo.svc.cluster.local. A", `no namespace "shpo" is served; nearest is shop`},
			{"shpo.svc.cluster.local. A", `no namespace "shpo" is served; nearest is shop`},
			{"_http._tcp.web.Sshop.svc.cluster.local. SRV", `no namespace "sshop" is served; nearest is shop`},
			{"web.sho.svc.cluster.local. A", `no namespace "sho" is served; nearest is shop`},
			{"web.shot.svc.cluster.local. A", `no namespace "shot" is served; nearest is shop`},
			{"web.prodeu.svc.cluster.local. A", `no namespace "prodeu" is served; nearest is prod-eu`},
			{"web.gone.svc.cluster.local. A", `no namespace "gone" is served`},
			{"shop.web.svc.cluster.local. A", `no namespace "web" is served; there is web.shop`},
			{"10-1-0-1.shpo.pod.cluster.local. A", `no namespace "shpo" is served; nearest is shop`},
			// Services.
			{"wbe.shop.svc.cluster.local. A", `no service "wbe" is served in namespace "shop"; nearest is web`},
			{"webb.shop.svc.cluster.local. A", `no service "webb" is served in namespace "shop"; nearest is web`},
			{"cart-service.prod-eu.svc.cluster.local. A", `no service "cart-service" is served in namespace "prod-eu"; nearest is cart`},
			{"queue.prod-eu.svc.cluster.local. A", `no service "queue" is served in namespace "prod-eu"; nearest is queue-service`},
			{"metrics-server.shop.svc.cluster.local. A", `no service "metrics-server" is served in namespace "shop"; it is in namespace kube-system`},
			{"WEB.empty.svc.cluster.local. A", `no service "web" is served in namespace "empty"; it is in namespace shop`},
			{"stray.shop.svc.cluster.local. A", `no service "stray" is served in namespace "shop"`}, // slices alone
			{"a.b.wbe.shop.svc.cluster.local. SRV", `no service "wbe" is served in namespace "shop"; nearest is web`},
			{"web.shop.cluster.local. A", "no service or pod can have such a name; there is web.shop.svc"},
			{"web.gone.cluster.local. A", "no service or pod can have such a name"},
			{"www.google.com.cluster.local. A", "no service or pod can have such a name"},
			{"web.shop.svc.set.local. A", `no service "web" is served in namespace "shop"`},
			{"fra.shop.svc.set.local. A", `no service "fra" is served in namespace "shop"; nearest is far`},
			{"bare.shop.svc.set.local. A", "service shop/bare has no ports"},
			// Ports.
			{"_htp._tcp.web.shop.svc.cluster.local. SRV", `service shop/web has no port "htp" with protocol "tcp"; it has _http._tcp _https._tcp _dns._udp`},
			{"_pg._udp.db.shop.svc.cluster.local. SRV", `service shop/db has no port "pg" with protocol "udp"; it has _pg._tcp _tcp`},
			{"_a._tcp.portless.shop.svc.cluster.local. SRV", `service shop/portless has no port "a" with protocol "tcp"; it has none`},
			// Endpoints.
			{"void.shop.svc.cluster.local. A", "service shop/void has no ready endpoint, 0 not ready"},
			{"none.shop.svc.cluster.local. A", "service shop/none has no ready endpoint, 2 not ready"},
			{"none-0.none.shop.svc.cluster.local. A", `endpoint "none-0" of service shop/none is not ready`},
			{"HALF-1.half.shop.svc.cluster.local. A", `endpoint "half-1" of service shop/half is not ready`},
			{"10-1-1-3.half.shop.svc.cluster.local. A", `endpoint "10-1-1-3" of service shop/half is not ready`},
			{"half-7.half.shop.svc.cluster.local. A", `service shop/half has no endpoint "half-7"; it has 1 ready, 2 not ready`},
			{"back.web.shop.svc.cluster.local. A", `service shop/web has no endpoint "back"; it has 2 ready, 0 not ready`},
			{"pending.shop.svc.cluster.local. A", "service shop/pending has no ClusterIP yet"},
			// Others.
			{"dns-path.shop.svc.cluster.local. A", "the externalName of service shop/dns-path is no domain name"},
			{"loop.shop.svc.cluster.local. A", "the externalName of service shop/loop leads to no service"},
			{"lost.shop.svc.cluster.local. AAAA", "the externalName of service shop/lost leads to no service"},
			{"a.away.shop.svc.cluster.local. A", "service shop/away is an ExternalName, with no names below it"},
			{"9.9.9.10.in-addr.arpa. PTR", "no service or endpoint that is served has the address 10.9.9.9"},
			{"10-1-0-1.shop.pod.cluster.local. A", "pods are not served: option pods is disabled"},
			{"shop.pod.cluster.local. A", "pods are not served: option pods is disabled"},
			// What nobody called so.
			{`a\000b\"\027[31m.shop.svc.cluster.local. A`, `no service "a?b???31m" is served in namespace "shop"`},
			{`w\.eb.shop.svc.cluster.local. A`, `no service "w.eb" is served in namespace "shop"; nearest is web`},
			{`\195\188ber.shop.svc.cluster.local. A`, `no service "??ber" is served in namespace "shop"`},
			{strings.Repeat("a", 63) + ".shop.svc.cluster.local. A", `no service "` + strings.Repeat("a", 32) + `..." is served in namespace "shop"`},
		}},
		{"off", with(func(o *Options) { o.Explain = 0 }), []qa{{"wbe.shop.svc.cluster.local. A", ""}}},
		{"one probe", with(func(o *Options) { o.Explain = 1 }), []qa{
			{"ewb.shop.svc.cluster.local. A", `no service "ewb" is served in namespace "shop"; nearest is web`},
			{"wbe.shop.svc.cluster.local. A", `no service "wbe" is served in namespace "shop"`},
		}},
		{"namespaces", with(func(o *Options) { o.Namespaces = []string{"shop", "gone"} }), []qa{
			{"metrics-server.kube-system.svc.cluster.local. A", `no namespace "kube-system" is served, only those of option namespaces`},
			{"metrics-server.nowhere.svc.cluster.local. A", `no namespace "nowhere" is served, only those of option namespaces`},
			{"metrics-server.kube-sytem.svc.cluster.local. A", `no namespace "kube-sytem" is served, only those of option namespaces`},
			{"kube-system.metrics-server.svc.cluster.local. A", `no namespace "metrics-server" is served, only those of option namespaces`},
			{"metrics-server.kube-system.cluster.local. A", "no service or pod can have such a name"},
			{"metrics-server.shop.svc.cluster.local. A", `no service "metrics-server" is served in namespace "shop"`},
			{"2.0.96.10.in-addr.arpa. PTR", "no service or endpoint that is served has the address 10.96.0.2"},
			{"9.9.9.10.in-addr.arpa. PTR", "no service or endpoint that is served has the address 10.9.9.9"},
			{"web.shpo.svc.cluster.local. A", `no namespace "shpo" is served, only those of option namespaces; nearest is shop`},
		}},
		{"selections", with(func(o *Options) { o.SelectedNamespaces, o.SelectedObjects = true, true }), []qa{
			{"web.gone.svc.cluster.local. A", `no namespace "gone" is served, only those that option namespace_labels selects`},
			{"web.empty.svc.cluster.local. A", `no service "web" is served in namespace "empty", only those that option labels selects; it is in namespace shop`},
		}},
		{"noendpoints", with(func(o *Options) { o.NoEndpoints = true }), []qa{
			{"db.shop.svc.cluster.local. A", "endpoints are not served: option noendpoints"},
			{"front.web.shop.svc.cluster.local. A", "endpoints are not served: option noendpoints"},
		}},
		{"ignore empty_service", with(func(o *Options) { o.IgnoreEmpty = true }), []qa{
			{"lonely.shop.svc.cluster.local. A", "service shop/lonely has no ready endpoint, 0 not ready"},
		}},
		{"ignore empty_service, noendpoints", with(func(o *Options) { o.IgnoreEmpty, o.NoEndpoints = true, true }), []qa{
			{"web.shop.svc.cluster.local. A", "option noendpoints leaves service shop/web empty"},
		}},
		{"pods verified", with(func(o *Options) { o.Pods = PodsVerified }), []qa{
			{"10-1-0-9.shop.pod.cluster.local. A", "no pod in namespace shop has the address 10.1.0.9"},
			{"10-1-0-2.shop.pod.cluster.local. A", "no pod in namespace shop has the address 10.1.0.2"},
			{"web.shop.pod.cluster.local. A", `"web" is no address with dashes`},
			{"10-1-0-1.shop.pod.cluster.local. AAAA", ""},
		}},
		{"zonal", with(func(o *Options) { o.Zonal = true }), []qa{
			{"eu-1.pin._zone.db.shop.svc.cluster.local. A", `service shop/db has no ready endpoint in zone "eu-1"`},
			{"eu-1.pin._zone.web.shop.svc.cluster.local. A", "service shop/web is not headless: zones are of endpoints"},
		}},
		{"external", with(func(o *Options) { o.External = &ExternalOptions{Apex: "dns"} }), []qa{
			{"wbe.shop.cluster.local. A", ""}, {"web.shpo.cluster.local. A", ""},
		}},
	} {
		t.Run(group.name, func(t *testing.T) {
			v := mustView(t, w, group.opt)
			for _, row := range group.table {
				if got := whyText(t, v, row.question); got != row.want {
					t.Errorf("%s:\n%s\nwant:\n%s", row.question, got, row.want)
				}
			}
		})
	}
}

func TestWhyUnready(t *testing.T) {
	w := NewWriter()
	w.Update(func(b *Batch) {
		b.Replace(Namespaces, []Object{&Namespace{Name: "shop"}}, 1)
		b.Replace(Services, []Object{&Service{Key: Key{"shop", "db"}, Kind: Headless}}, 1)
	})
	v := mustView(t, w, Options{Explain: 1})
	const want = "14 endpointslices have not been seen whole since the start"
	if got := whyText(t, v, "db.shop.svc.cluster.local. A"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What a view hides is as what does not exist, in every text: the objects of a
// namespace that is hidden, or their lack, change none.
func TestWhyHides(t *testing.T) {
	const shown = "namespace shop\nservice shop/web 10.96.0.1 http:80/TCP\n"
	const hidden = `
		namespace vault
		service vault/secret headless a:1/TCP
		service vault/web 10.96.0.2 -
		service vault/wbe 10.96.0.3 -
		slice vault/secret-1 secret a:1/TCP 10.1.0.1=s-0 !10.1.0.2=s-1
		pod vault/p 10.1.0.1
	`
	questions := []string{
		"secret.vault.svc.cluster.local. A", "scret.vault.svc.cluster.local. A", "vault.svc.cluster.local. A", "vualt.svc.cluster.local. A",
		"_b._tcp.secret.vault.svc.cluster.local. SRV", "s-1.secret.vault.svc.cluster.local. A", "secret.shop.svc.cluster.local. A",
		"wbe.shop.svc.cluster.local. A", "web.vualt.svc.cluster.local. A", "vault.secret.svc.cluster.local. A", "secret.vault.cluster.local. A",
		"10-1-0-1.vault.pod.cluster.local. A", "10-1-0-1.shop.pod.cluster.local. A", "1.0.1.10.in-addr.arpa. PTR", "2.0.96.10.in-addr.arpa. PTR",
	}
	for name, row := range map[string]struct {
		opt  Options
		with string
	}{
		"namespaces": {Options{Namespaces: []string{"shop"}}, shown + hidden},
		// The namespace itself is not in the index then.
		"namespace_labels": {Options{SelectedNamespaces: true}, shown + strings.Replace(hidden, "namespace vault\n", "", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			row.opt.Zones, row.opt.Pods, row.opt.Explain = []string{"cluster.local.", "10.in-addr.arpa."}, PodsVerified, DefaultProbes
			with, without := mustView(t, worldOf(t, row.with), row.opt), mustView(t, worldOf(t, shown), row.opt)
			for _, q := range questions {
				if a, b := whyText(t, with, q), whyText(t, without, q); a != b || a == "" {
					t.Errorf("%s:\n%s\nwithout what is hidden:\n%s", q, a, b)
				}
			}
		})
	}
}

// Texts are whole and within their bound for the longest names, and the reply
// without one where it does not fit.
func TestWhyFits(t *testing.T) {
	long := func(c string) string { return strings.Repeat(c, maxLabel) }
	ports := make([]string, 40)
	for i := range ports {
		ports[i] = fmt.Sprintf("port-%09d:%d/SCTP", i, i+1)
	}
	w := worldOf(t, fmt.Sprintf("namespace %[1]s\nnamespace %[2]s\nservice %[1]s/%[3]s 10.96.0.1 %[4]s\nservice %[2]s/%[2]s headless a:1/TCP\nslice %[2]s/s %[2]s a:1/TCP 10.1.0.1 !10.1.0.2",
		long("a"), long("b"), long("c"), strings.Join(ports, ",")))
	v := mustView(t, w, Options{Explain: 1 << 14, SelectedNamespaces: true, SelectedObjects: true})
	short := func(c string) string { return `"` + strings.Repeat(c, longestQuote) + `..."` }
	for question, want := range map[string]string{
		long("c") + "." + long("b") + ".svc.cluster.local. A":                                      "; it is in namespace " + long("a"),
		long("c")[1:] + "." + long("a") + ".svc.cluster.local. A":                                  "; nearest is " + long("c"),
		long("a") + "." + long("c") + ".svc.cluster.local. A":                                      "; there is " + long("c") + "." + long("a"),
		long("x") + "." + long("a")[1:] + ".svc.cluster.local. A":                                  "; nearest is " + long("a"),
		"_" + long("x")[23:] + "._sctp." + long("c") + "." + long("a") + ".svc.cluster.local. SRV": ", and more",
		long("x") + "." + long("b") + "." + long("b") + ".svc.cluster.local. A":                    short("x") + "; it has 1 ready, 1 not ready",
	} {
		v.searches.Store(0)
		if got := whyText(t, v, question); !strings.HasSuffix(got, want) {
			t.Errorf("%s:\n%s\n%d octets, want in the end %q", question, got, len(got), want)
		}
		q := dnswire.Query{Name: wireName(t, strings.Fields(question)[0]), Type: dns.StringToType[strings.Fields(question)[1]], Class: dnswire.ClassIN, HasOPT: true}
		sizes := map[int]int{}
		for limit := 300; limit < 1232; limit++ {
			var a Answer
			var r Renderer
			v.Lookup(&a, q.Name, q.Type)
			got, err := r.Append(nil, &q, &a, limit)
			m := new(dns.Msg)
			if err != nil || len(got) > limit || m.Unpack(got) != nil || m.IsEdns0() == nil {
				t.Fatalf("%s in %d octets: %d octets, %v", question, limit, len(got), err)
			}
			if n := len(m.IsEdns0().Option); n > 0 && (len(m.Ns) != 1 || m.Truncated) {
				t.Errorf("%s in %d octets: explained, and truncated", question, limit)
			} else {
				sizes[n]++
			}
		}
		if sizes[0] == 0 || sizes[1] < 500 {
			t.Errorf("%s: %d without and %d with a text", question, sizes[0], sizes[1])
		}
	}
}

// probesOf is how many names Why compares with one, in a cluster of n services.
func probesOf(t *testing.T, w *Writer, name string) int {
	v := mustView(t, w, Options{Explain: 1 << 20})
	var a Answer
	v.Lookup(&a, wireName(t, name), dnswire.TypeA)
	y := why{Answer: &a, limit: MaxWhy, probes: v.opt.Explain}
	y.say()
	return v.opt.Explain - y.probes
}

// What a search costs depends on the length of the name, and with a budget on
// nothing: ten times the services are no more probes but for their namespaces,
// of which a third of the budget is looked into.
func TestWhyBounded(t *testing.T) {
	small, large := cluster(t, 1000), cluster(t, 10000)
	const name = "nothing-like-it.ns-1.svc.cluster.local."
	if a, b := probesOf(t, small, name), probesOf(t, large, name); b-a != 90 || a < 100 {
		t.Errorf("%d probes among 1,000 services in 10 namespaces, %d among 10,000 in 100", a, b)
	}
	for _, w := range []*Writer{small, large} {
		for _, labels := range []int{1, 20, 63} {
			v := mustView(t, w, Options{Explain: DefaultProbes})
			var a Answer
			v.Lookup(&a, wireName(t, strings.Repeat("z", labels)+".ns-1.svc.cluster.local."), dnswire.TypeA)
			y := why{Answer: &a, limit: MaxWhy, probes: v.opt.Explain}
			y.say()
			if y.probes < -1 {
				t.Errorf("%d probes more than allowed", -y.probes)
			}
		}
	}
}

// A flood of names that do not exist is told no nearest name after a while, and
// others neither, for the rest of that second.
func TestWhySearches(t *testing.T) {
	v := mustView(t, worldOf(t, whys), Options{Explain: DefaultProbes})
	count := func(second uint64) (n int) {
		for range 2 * searchesPerSecond {
			if v.maySearch(second) {
				n++
			}
		}
		return n
	}
	for second := range uint64(3) {
		if n := count(1_800_000_000 + second); n != searchesPerSecond {
			t.Errorf("%d searches in second %d, want %d", n, second, searchesPerSecond)
		}
	}
}

func TestWhyAllocatesNothing(t *testing.T) {
	v := mustView(t, worldOf(t, whys), Options{Explain: DefaultProbes})
	for _, name := range []string{"wbe.shop", "web.shpo", "web.empty", "nothing-near.shop", "void.shop", "half-1.half.shop", "_a._b.web.shop"} {
		noAllocs(t, v, "NXDOMAIN of "+name, name+".svc.cluster.local.", dnswire.TypeA)
	}
}

// BenchmarkWhy is a reply to a name that does not exist among 100,000 services:
// plain, explained without a search, and with one that finds nothing.
func BenchmarkWhy(b *testing.B) {
	w := cluster(b, 100000)
	for _, row := range []struct {
		name   string
		probes int
		label  string
	}{{"off", 0, "nothing-like-it"}, {"searched", DefaultProbes, "nothing-like-it"}, {"longest", DefaultProbes, strings.Repeat("x-", 31)}} {
		b.Run(row.name, func(b *testing.B) {
			v := mustView(b, w, Options{Explain: row.probes})
			q := dnswire.Query{Type: dnswire.TypeA, Class: dnswire.ClassIN, HasOPT: true}
			var names [][]byte
			for i := range 1000 {
				names = append(names, wireName(b, fmt.Sprintf("%s%d.ns-%d.svc.cluster.local.", row.label, i%10, i)))
			}
			var a Answer
			var r Renderer
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				v.searches.Store(0) // no flood
				q.Name = names[i%len(names)]
				i++
				if _, err := replyTo(v, &q, &a, &r, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
