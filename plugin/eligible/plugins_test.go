package eligible

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
)

// Each row is a Corefile's block, with the names that are the lane's and, after
// an exclamation mark, the chain's; or why the lane is closed.
func TestNames(t *testing.T) {
	const all = "cluster.local web.default.svc.cluster.local 1.0.96.10.in-addr.arpa"
	const none = "!cluster.local !web.default.svc.cluster.local !1.0.96.10.in-addr.arpa"
	for _, row := range []struct{ lines, names, reason string }{
		{"", all + " !example.org 1.ip6.arpa", ""},

		// Plugins that change nothing.
		{"errors\nlog {\nclass error\n}\nhealth {\nlameduck 5s\n}\nready :8181\npprof\nreload 10s\ndebug\nroot /x", all, ""},
		{"cache 30 {\nserve_stale\nprefetch 2\ndisable success cluster.local\n}\nany\nchaos v a\nnsid x\ncancel 1s\nmetadata", all, ""},
		{"transfer {\nto *\n}\ntimeouts {\nread 3s\n}\nmultisocket 2\nbind 192.0.2.1\nquic {\nmax_streams 1\n}", all, ""},
		// Plugins that are asked after ours.
		{"loop\nfile db cluster.local\nauto\nsecondary\nerratic\nwhoami\nsign db cluster.local", all, ""},

		// Those that take everything.
		{"errors\nacl {\nallow net *\n}", none, "acl (Corefile:3) looks at the client's address, and counts"},
		{"acl other.example {\nblock\n}", none, "acl (Corefile:2) looks at the client's address, and counts"},
		{"dnstap /tmp/x", none, "dnstap (Corefile:2) records queries"},
		{"trace", none, "trace (Corefile:2) samples queries"},
		{"minimal", none, "minimal (Corefile:2) cuts answers"},
		{"header {\nresponse set ra\n}", none, "header (Corefile:2) changes flags of queries and answers"},
		{"shed", all, ""},
		{"proxyproto", none, "proxyproto (Corefile:2) takes the client's address from the packet"},
		{"tls", none, "tls (Corefile:2) answers ACME challenges in every server block"},
		{"tls cert key", all, ""},
		{"view v {\nexpr true\n}", none, "view (Corefile:2) decides by more than the name which server block answers"},
		{"route53 cluster.local.:Z", none, "route53 (Corefile:2) may answer in-cluster names"},

		// Zones as arguments.
		{"autopath @kubernetes", all, ""},
		{"autopath svc.cluster.local @clusterdns", all, ""},
		{"autopath /etc/resolv.conf", none, "autopath (Corefile:2) completes names by the client's search path"},
		{"autopath @erratic", none, "autopath (Corefile:2) completes names by the client's search path"},
		{"autopath", none, "autopath (Corefile:2) completes names by the client's search path"},
		{"autopath other.example /etc/resolv.conf", all, ""},
		{"autopath svc.cluster.local /etc/resolv.conf", "cluster.local !web.default.svc.cluster.local 1.0.96.10.in-addr.arpa", ""},
		{"dnssec", none, "dnssec (Corefile:2) signs answers"},
		{"dnssec example.org cluster.local {\nkey file k\n}", "!cluster.local 1.0.96.10.in-addr.arpa", ""},
		{"dnssec example.org 10.96.0.0/16", "cluster.local !1.0.96.10.in-addr.arpa 1.0.97.10.in-addr.arpa", ""},
		{"dynupdate dyn.cluster.local {\nfile db\n}", none, "dynupdate (Corefile:2) takes other messages than queries"},
		{"k8s_external example.org", all, ""},
		{"tsig {\nsecret k. aaaa\nrequire AXFR IXFR\n}", none, "tsig (Corefile:2) signs what the listener sends"},

		// log
		{"log", none, "log (Corefile:2) logs queries"},
		{"log . {\nclass error\nclass error error\n}", all, ""},
		{"log . {\nclass denial error\n}", none, "log (Corefile:2) logs queries"},
		{"log . {\nclass all\n}", none, "log (Corefile:2) logs queries"},
		{"log . {\nclass error\nclass success\n}", none, "log (Corefile:2) logs queries"},
		{"log . \"{remote} {name}\"", none, "log (Corefile:2) logs queries"},
		{"log example.org \"{remote}\"", all, ""},
		{"log example.org", all, ""},
		{"log example.org team.svc.CLUSTER.local", "cluster.local !web.team.svc.cluster.local", ""},
		{"log {\nclass error\n}\nlog example.org\nlog local", "!cluster.local 1.0.96.10.in-addr.arpa", ""},

		// hosts: which names it has, the one that runs is asked
		{"hosts {\n10.0.0.2 in.cluster.local *.cluster.local\nno_reverse\nttl 3\nreload 0s\nfallthrough\n}", all, ""},
		{"hosts /gone {\nfallthrough\n}", all, ""},
		{"hosts /f example.org", all, ""},
		{"hosts /f", none, "hosts (Corefile:2) does not fall through"},
		{"hosts /f cluster.local", "!cluster.local 1.0.96.10.in-addr.arpa", ""},
		{"hosts /f {\nfallthrough cluster.local\n}", "cluster.local !1.0.96.10.in-addr.arpa", ""},
		{"hosts /f {\nfallthrough example.org\n}", none, "hosts (Corefile:2) does not fall through"},

		// template
		{"template ANY ANY example.org {\nrcode NXDOMAIN\n}", all, ""},
		{"template ANY ANY {\nrcode NXDOMAIN\n}", none, "template (Corefile:2) may answer in-cluster names"},
		{"template IN ANY local {\nmatch x\nfallthrough\n}", "!cluster.local 1.0.96.10.in-addr.arpa", ""},
		{"template IN ANY web.cluster.local", "cluster.local !a.web.cluster.local", ""},
		{"template CH ANY .", all, ""},
		{"template IN NONSENSE .", none, "template (Corefile:2) cannot be judged"},

		// rewrite
		{"rewrite name a.example.org web.default.svc.cluster.local", all, ""},
		{"rewrite stop name exact a.Cluster.local b.cluster.local answer auto", all + " !a.cluster.local !x.a.cluster.local", ""},
		{"rewrite continue {\nname suffix .example.org .cluster.local answer auto\n}", all, ""},
		{"rewrite name suffix example.org cluster.local", all, ""},
		{"rewrite name suffix .team.svc.cluster.local .x.", "!cluster.local 1.0.96.10.in-addr.arpa", ""},
		{"rewrite name suffix local x.", "!cluster.local 1.0.96.10.in-addr.arpa", ""},
		{"rewrite name suffix a. x.", "cluster.local !1.0.96.10.in-addr.arpa", ""},
		{"rewrite stop {\nname regex (.*)\\.example\\.org\\.$ {1}.cluster.local\nanswer name (.*) {1}\n}", none, "rewrite (Corefile:2) may rewrite in-cluster names"},
		{"rewrite name prefix a b", none, "rewrite (Corefile:2) may rewrite in-cluster names"},
		{"rewrite name substring a b", none, "rewrite (Corefile:2) may rewrite in-cluster names"},
		{"rewrite class CH IN", all, ""},
		{"rewrite class IN CH", none, "rewrite (Corefile:2) may rewrite in-cluster names"},
		{"rewrite ttl example.org 30", all, ""},
		{"rewrite ttl a.cluster.local 30", all + " !a.cluster.local", ""},
		{"rewrite ttl exact a.cluster.local 30-60", all + " !a.cluster.local", ""},
		{"rewrite ttl suffix cluster.local 30", "!cluster.local 1.0.96.10.in-addr.arpa", ""},
		{"rewrite rcode a.cluster.local NXDOMAIN NOERROR", all + " !a.cluster.local", ""},
		{"rewrite rcode regex .* NXDOMAIN NOERROR", none, "rewrite (Corefile:2) may rewrite in-cluster names"},
		{"rewrite edns0 local set 0xffee abcd", none, "rewrite (Corefile:2) may rewrite in-cluster names"},
		{"rewrite cname exact a.example.org b.example.org", none, "rewrite (Corefile:2) may rewrite in-cluster names"},
		{"rewrite name", none, "rewrite (Corefile:2) cannot be judged"},

		{"local", none, "local (Corefile:2) answers every name that begins with the label localhost"},
		{"local {\nlocalhost_prefix on\n}", none, "local (Corefile:2) answers every name that begins with the label localhost"},
		{"local {\nlocalhost_prefix off\n}", all + " !1.0.0.127.in-addr.arpa !0.in-addr.arpa", ""},
		{"loadbalance weighted f", none, "loadbalance (Corefile:2) orders the addresses in answers by weight or subnet"},
		{"loadbalance {\nprefer 10.0.0.0/8\n}", none, "loadbalance (Corefile:2) orders the addresses in answers by weight or subnet"},
		{"bufsize many", none, "bufsize (Corefile:2) cannot be judged"},
	} {
		v := judged(t, stock(row.lines), "53")
		if v.Reason != row.reason {
			t.Errorf("%s\nreason %q, want %q", row.lines, v.Reason, row.reason)
		}
		if got := v.who(row.names); got != row.names {
			t.Errorf("%s\ngot  %s\nwant %s", row.lines, got, row.names)
		}
		if (v.Routes == nil) != (row.reason != "") {
			t.Errorf("%s\n%d routes with the reason %q", row.lines, len(v.Routes), v.Reason)
		}
	}
}

// What the lane has to do itself, on every route of the block and on no other.
func TestDuties(t *testing.T) {
	template := func(rcode uint8, empty bool) Duties {
		return Duties{Templates: []Template{{Type: dns.TypeAAAA, Zones: []string{"."}, Empty: empty, Rcode: rcode}}}
	}
	for _, row := range []struct {
		lines string
		want  Duties
	}{
		{"", Duties{}},
		{"prometheus :9153", Duties{Prometheus: true}},
		{"console 127.0.0.1:8053", Duties{Console: true}},
		{"loadbalance", Duties{Rotate: true}},
		{"loadbalance round_robin", Duties{Rotate: true}},
		{"bufsize", Duties{Bufsize: 1232}},
		{"bufsize 512", Duties{Bufsize: 512}},
		{"dns64", Duties{Types: []uint16{dns.TypeAAAA}}},
		{"siit", Duties{Types: []uint16{dns.TypeA}}},
		{"autopath @kubernetes", Duties{Searched: []string{"."}}},
		{"autopath 10.0.0.0/8 Svc.cluster.local @clusterdns", Duties{Searched: []string{"10.in-addr.arpa.", "svc.cluster.local."}}},
		{"rewrite stop type AAAA A", Duties{Types: []uint16{dns.TypeAAAA}}},
		{"hosts {\nfallthrough\n}", Duties{Hosts: true}},
		{"template ANY AAAA {\nrcode NOERROR\n}", Duties{Templates: []Template{{Type: dns.TypeAAAA, Zones: []string{"."}, Empty: true}}}},
		{"template IN TXT web.svc.Cluster.local 10.96.0.0/16", Duties{Templates: []Template{
			{Type: dns.TypeTXT, Zones: []string{"web.svc.cluster.local.", "96.10.in-addr.arpa."}, Empty: true},
		}}},
		{"template IN TXT example.org", Duties{}},
		{"template CH TXT .", Duties{}},
		{"template ANY AAAA . {\nrcode NOERROR\nrcode NXDOMAIN\nfallthrough\nupstream\n}", template(dns.RcodeNameError, true)},
		{"template ANY AAAA . {\nrcode REFUSED\n}", template(0, false)}, // an error, for log
		{"template ANY AAAA . {\nrcode SERVFAIL\n}", template(0, false)},
		{"template ANY AAAA . {\nmatch .*\n}", template(0, false)},
		{"template ANY AAAA . {\nanswer \"{{ .Name }} 1 IN AAAA ::1\"\n}", template(0, false)},
		{"template ANY AAAA . {\nauthority \". 1 IN SOA . . 1 1 1 1 1\"\n}", template(0, false)},
		{"template ANY AAAA . {\nederror 21\n}", template(0, false)},
		{"template ANY AAAA . {\nexpr true\n}", template(0, false)},
		{"log {\nclass error\n}\ntemplate ANY AAAA . {\nrcode NXDOMAIN\n}", template(dns.RcodeNameError, false)},
		{"log {\nclass error\n}\ntemplate ANY AAAA .", template(0, true)},
		{"rewrite type any HINFO", Duties{Types: []uint16{dns.TypeANY}}},
	} {
		v := judged(t, stock(row.lines)+"example.org {\nprometheus\n}", "53")
		want := []Route{
			{}, {Zone: "example.org.", Block: Chain, Owner: Chain, Why: "server block example.org has the zone example.org."}, {}, {},
			{Zone: ".", Block: Chain, Why: fmt.Sprintf("kubernetes (Corefile:%d) does not have it", 3+strings.Count(row.lines, "\n")), Duties: Duties{Hosts: row.want.Hosts}},
		}
		for i, zone := range map[int]string{0: "cluster.local.", 2: "in-addr.arpa.", 3: "ip6.arpa."} {
			want[i] = Route{Zone: zone, Duties: row.want}
		}
		if got, want := fmt.Sprintf("%+v", v.Routes), fmt.Sprintf("%+v", want); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", row.lines, got, want)
		}
	}
}

// The documentation's table is the one that judges, and every stock plugin that
// is asked before ours has a rule.
func TestRules(t *testing.T) {
	page, err := os.ReadFile("../../docs/fastlane.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ = bytes.Cut(page, []byte("\n## When it opens\n"))
	rows := map[string]string{} // plugin to the rest of its row
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 3 || !strings.HasPrefix(cells[0], "| `") {
			continue
		}
		for name := range strings.SplitSeq(strings.TrimPrefix(cells[0], "| "), ", ") {
			name = strings.Trim(name, "`")
			if rows[name] != "" {
				t.Errorf("docs/fastlane.md has %s twice", name)
			}
			rows[name] = cells[1] + " | " + cells[2]
		}
	}
	for name, rule := range rules {
		if want := rule.verdict + " | " + rule.why + " |"; rows[name] != want {
			t.Errorf("%s in docs/fastlane.md:\ngot  %s\nwant %s", name, rows[name], want)
		}
		delete(rows, name)
		if !slices.Contains(dnsserver.Directives, name) {
			t.Errorf("%s has a rule, but is no directive", name)
		}
	}
	for name := range rows {
		t.Errorf("docs/fastlane.md has %s, which has no rule", name)
	}
	for _, name := range dnsserver.Directives {
		if name == "clusterdns" || name == "kubernetes" {
			break
		}
		if _, ok := rules[name]; !ok {
			t.Errorf("%s is asked before ours and has no rule", name)
		}
	}
}
