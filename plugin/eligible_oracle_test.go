package clusterdns

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/eligible"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/dns64"
	_ "github.com/coredns/coredns/plugin/header"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/local"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/siit"
	_ "github.com/coredns/coredns/plugin/template"
	"github.com/miekg/dns"
)

// TestLaneOracle asks CoreDNS itself, with its plugins and without: what is the
// lane's must be the same, for every type that the lane has. Names with ! in
// front are the chain's and must not, for some type: that is what the plugin is
// there for.
func TestLaneOracle(t *testing.T) {
	dir := manifestsFolder(t)
	resolvConf := filepath.Join(t.TempDir(), "resolv.conf") // the host's may have anything
	if err := os.WriteFile(resolvConf, []byte("search example.net\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	corefile := func(lines string) string {
		return ".:0 {\n" + lines + "\nkubernetes cluster.local in-addr.arpa ip6.arpa {\nmanifests " + dir + "\n}\n}\n"
	}
	const usual = "cluster.local web.shop.svc.cluster.local nothing.shop.svc.cluster.local x.web.shop.svc.cluster.local " +
		"dns-version.cluster.local localhost.cluster.local 1.2.0.192.in-addr.arpa 1.0.0.127.in-addr.arpa ip6.arpa 10.0.96.10.in-addr.arpa"
	without := strings.Fields(usual)
	except := func(names ...string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(without), func(n string) bool { return slices.Contains(names, n) }), " ")
	}
	types := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypePTR, dns.TypeSRV, dns.TypeSOA, dns.TypeNS, dns.TypeCNAME, dns.TypeHINFO}

	plain := serving(t, corefile(""))
	for _, row := range []struct{ lines, names string }{
		{"template ANY ANY shop.svc.cluster.local {\nrcode REFUSED\n}", "cluster.local !web.shop.svc.cluster.local 10.0.96.10.in-addr.arpa"},
		{"template ANY AAAA {\nrcode REFUSED\n}", usual},
		{"template CH ANY . {\nrcode REFUSED\n}", usual},
		{"template ANY ANY example.org {\nrcode REFUSED\n}", usual},
		{"rewrite name web.example.org web.shop.svc.cluster.local\nrewrite name suffix .example.net .cluster.local answer auto", usual},
		{"rewrite name exact nothing.shop.svc.cluster.local web.shop.svc.cluster.local", except("nothing.shop.svc.cluster.local") + " !nothing.shop.svc.cluster.local"},
		{"rewrite stop {\nname suffix .shop.svc.cluster.local .x.\n}", "!web.shop.svc.cluster.local 10.0.96.10.in-addr.arpa 1.2.0.192.in-addr.arpa"},
		{"rewrite type AAAA A", usual},
		{"rewrite class CH IN", usual},
		{"rewrite ttl web.shop.svc.cluster.local 77", except("web.shop.svc.cluster.local", "x.web.shop.svc.cluster.local") + " !web.shop.svc.cluster.local"},
		{"rewrite rcode suffix arpa NXDOMAIN NOERROR", "cluster.local web.shop.svc.cluster.local nothing.shop.svc.cluster.local !1.2.0.192.in-addr.arpa"},
		{"local {\nlocalhost_prefix off\n}", except("1.0.0.127.in-addr.arpa") + " !1.0.0.127.in-addr.arpa"},
		{"dns64 {\nallow_ipv4\n}", usual},
		{"siit", usual},
		{"autopath example.org " + resolvConf, usual},

		{"local", "!localhost.cluster.local"},
		{"header {\nresponse set ra\n}", "!web.shop.svc.cluster.local"},
	} {
		v := judgedBeside(t, strings.Replace(corefile(row.lines), ".:0", ".:53", 1))
		if got := who(v, row.names); got != row.names {
			t.Errorf("%s\ngot  %s\nwant %s", row.lines, got, row.names)
		}
		addr := serving(t, corefile(row.lines))
		for name := range strings.FieldsSeq(row.names) {
			name, chain := strings.CutPrefix(name, "!")
			differs := false
			for _, qtype := range types {
				want, got := replyOf(t, plain, name, qtype), replyOf(t, addr, name, qtype)
				if differs = differs || want != got; want != got && !chain && !slices.Contains(typesOf(v, name), qtype) {
					t.Errorf("%s\n%s %s is the lane's, but is with the plugin\n%s\nand without\n%s", row.lines, name, dns.TypeToString[qtype], got, want)
				}
			}
			if chain && !differs {
				t.Errorf("%s\nchanges nothing at %s", row.lines, name)
			}
		}
	}
}

// judgedBeside returns the verdict on a Corefile of one server block with the
// stanza kubernetes.
func judgedBeside(t *testing.T, corefile string) eligible.Verdict {
	t.Helper()
	blocks, err := caddyfile.Parse("Corefile", strings.NewReader(corefile), dnsserver.Directives)
	if err != nil {
		t.Fatal(err)
	}
	return eligible.Judge(eligible.Input{
		Path: "Corefile", Blocks: blocks, Port: "53",
		Ours: map[int]eligible.Stanza{0: {Word: "kubernetes", Zones: []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."}}},
	})
}

// routeOf returns the route of a name.
func routeOf(v eligible.Verdict, name string) eligible.Route {
	for _, r := range v.Routes {
		if dns.IsSubDomain(r.Zone, dns.Fqdn(name)) {
			return r
		}
	}
	return eligible.Route{Block: eligible.Chain}
}

// who says how the verdict has names answered: each name with ! in front if it
// is the chain's.
func who(v eligible.Verdict, names string) string {
	var out []string
	for name := range strings.FieldsSeq(names) {
		name = strings.TrimPrefix(name, "!")
		if routeOf(v, name).Block == eligible.Chain {
			name = "!" + name
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// typesOf returns the types at a name of the lane's that the chain answers, or a
// template: TestLaneIsTheChain compares those.
func typesOf(v eligible.Verdict, name string) (types []uint16) {
	r := routeOf(v, name)
	types = append(types, r.Types...)
	for _, t := range r.Templates {
		types = append(types, t.Type)
	}
	return types
}

// serving starts a server and returns its UDP address.
func serving(t *testing.T, corefile string) string {
	t.Helper()
	caddy.Quiet, dnsserver.Quiet = true, true
	inst, err := caddy.Start(input(corefile))
	if err != nil {
		t.Fatalf("%s\n%v", corefile, err)
	}
	t.Cleanup(func() {
		if err := errors.Join(append(inst.ShutdownCallbacks(), inst.Stop())...); err != nil {
			t.Error(err)
		}
	})
	return strings.Replace(inst.Servers()[0].LocalAddr().String(), "[::]", "127.0.0.1", 1)
}

// replyOf returns what is said about a name, in whatever order.
func replyOf(t *testing.T, addr, name string, qtype uint16) string {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), qtype)
	r, err := dns.Exchange(q, addr)
	if err != nil {
		t.Fatalf("%s %s at %s: %v", name, dns.TypeToString[qtype], addr, err)
	}
	r.Id = 0
	for _, section := range [][]dns.RR{r.Answer, r.Ns, r.Extra} {
		slices.SortFunc(section, func(a, b dns.RR) int { return cmp.Compare(a.String(), b.String()) })
	}
	return r.String()
}
