package clusterdns

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
func TestLaneNames(t *testing.T) {
	files := map[string]string{
		"/etc/hosts": "127.0.0.1 localhost\n10.1.2.3 coredns-1\n",
		"/k3s":       "172.18.0.3 k3d-demo-server-0 # a node\nfd00::3 k3d-demo-server-0\n",
		"/cluster":   "10.9.9.9\tDB.default.svc.cluster.local. out.example\n192.0.2.1%eth0 a.cluster.local\n# 192.0.2.2 no.cluster.local\nnonsense no.cluster.local\n",
		"/wild":      "10.9.9.9 *.team.svc.cluster.local",
		"/wildapex":  "10.9.9.9 *.local",
		"/wildabove": "10.9.9.9 *.",
		"/dir/hosts": "10.9.9.9 in.cluster.local",
	}
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
		{"shed", none, "shed (Corefile:2) sends the listener's answers itself"},
		{"proxyproto", none, "proxyproto (Corefile:2) takes the client's address from the packet"},
		{"tls", none, "tls (Corefile:2) answers ACME challenges in every server block"},
		{"tls cert key", all, ""},
		{"view v {\nexpr true\n}", none, "view (Corefile:2) decides by more than the name which server block answers"},
		{"route53 cluster.local.:Z", none, "route53 (Corefile:2) may answer in-cluster names"},

		// Zones as arguments.
		{"autopath @kubernetes", none, "autopath (Corefile:2) completes names by the client's search path"},
		{"autopath other.example /etc/resolv.conf", all, ""},
		{"autopath svc.cluster.local @kubernetes", "cluster.local !web.default.svc.cluster.local 1.0.96.10.in-addr.arpa", ""},
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

		// hosts
		{"hosts {\nfallthrough\n}", all + " !3.2.1.10.in-addr.arpa !1.0.0.127.in-addr.arpa 2.0.0.127.in-addr.arpa", ""},
		{"hosts {\n10.0.0.1 db.corp.example\n10.0.0.2 In.Cluster.Local\nfallthrough\n}",
			all + " !in.cluster.local !x.in.cluster.local !1.0.0.10.in-addr.arpa !2.0.0.10.in-addr.arpa", ""},
		{"hosts {\nno_reverse\nttl 3\nfallthrough\n}", all + " 3.2.1.10.in-addr.arpa", ""},
		{"hosts /k3s {\nttl 60\nreload 15s\nfallthrough\n}", all + " !3.0.18.172.in-addr.arpa " +
			"!3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa " +
			"!3.0.0.0.2.1.c.a.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa 1.ip6.arpa", ""},
		{"hosts /cluster {\nfallthrough\n}", all + " !db.default.svc.cluster.local !a.cluster.local no.cluster.local " +
			"!9.9.9.10.in-addr.arpa !1.2.0.192.in-addr.arpa 2.2.0.192.in-addr.arpa", ""},
		{"hosts /cluster example.org {\nfallthrough\n}", all + " db.default.svc.cluster.local 9.9.9.10.in-addr.arpa", ""},
		{"hosts /cluster example.org", all + " db.default.svc.cluster.local 9.9.9.10.in-addr.arpa", ""},
		{"hosts /cluster", none, "hosts (Corefile:2) does not fall through"},
		{"hosts /k3s cluster.local", "!cluster.local 1.0.96.10.in-addr.arpa", ""},
		{"hosts /k3s {\nfallthrough cluster.local\n}", "cluster.local !1.0.96.10.in-addr.arpa", ""},
		{"hosts /k3s {\nfallthrough example.org\n}", none, "hosts (Corefile:2) does not fall through"},
		{"hosts /wild {\nfallthrough\n}", all + " !team.svc.cluster.local !a.team.svc.cluster.local svc.cluster.local 9.9.9.10.in-addr.arpa", ""},
		{"hosts /wildapex {\nfallthrough\n}", "!cluster.local 1.0.96.10.in-addr.arpa", ""},
		{"hosts /wildabove {\nfallthrough\n}", all, ""},
		{"root /dir\nhosts hosts {\nfallthrough\n}", all + " !in.cluster.local", ""},
		{"hosts /gone {\nfallthrough\n}", none, "hosts (Corefile:2) has a file that cannot be read: /gone: file does not exist"},
		{"hosts /k3s {\nreload 0s\nfallthrough\n}", none, "hosts (Corefile:2) does not follow changes of /k3s"},

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
		v := judged(t, stock(row.lines), "53", files)
		if v.reason != row.reason {
			t.Errorf("%s\nreason %q, want %q", row.lines, v.reason, row.reason)
		}
		if got := v.who(row.names); got != row.names {
			t.Errorf("%s\ngot  %s\nwant %s", row.lines, got, row.names)
		}
		if (v.routes == nil) != (row.reason != "") {
			t.Errorf("%s\n%d routes with the reason %q", row.lines, len(v.routes), v.reason)
		}
	}
}

// What the lane has to do itself, on every route of the block and on no other.
func TestLaneWishes(t *testing.T) {
	for _, row := range []struct {
		lines string
		want  laneRoute
	}{
		{"", laneRoute{}},
		{"prometheus :9153", laneRoute{prometheus: true}},
		{"loadbalance", laneRoute{rotate: true}},
		{"loadbalance round_robin", laneRoute{rotate: true}},
		{"bufsize", laneRoute{bufsize: 1232}},
		{"bufsize 512", laneRoute{bufsize: 512}},
		{"dns64", laneRoute{types: []uint16{dns.TypeAAAA}}},
		{"siit", laneRoute{types: []uint16{dns.TypeA}}},
		{"template ANY AAAA {\nrcode NOERROR\n}\nrewrite stop type AAAA A", laneRoute{types: []uint16{dns.TypeAAAA}}},
		{"template IN TXT web.svc.cluster.local", laneRoute{types: []uint16{dns.TypeTXT}}},
		{"template IN TXT example.org", laneRoute{}},
		{"rewrite type any HINFO", laneRoute{types: []uint16{dns.TypeANY}}},
	} {
		v := judged(t, stock(row.lines)+"example.org {\nprometheus\n}", "53", nil)
		want := []laneRoute{
			{}, {zone: "example.org.", block: -1, why: "server block example.org has the zone example.org."}, {}, {},
			{zone: ".", block: -1, why: fmt.Sprintf("kubernetes (Corefile:%d) does not have it", 3+strings.Count(row.lines, "\n"))},
		}
		for i, zone := range map[int]string{0: "cluster.local.", 2: "in-addr.arpa.", 3: "ip6.arpa."} {
			want[i] = row.want
			want[i].zone = zone
		}
		if got, want := fmt.Sprintf("%+v", v.routes), fmt.Sprintf("%+v", want); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", row.lines, got, want)
		}
	}
}

// The documentation's table is the one that judges, and every stock plugin that
// is asked before ours has a rule.
func TestLaneRules(t *testing.T) {
	page, err := os.ReadFile("../docs/fastlane.md")
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
	for name, rule := range laneRules {
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
		if name == directive || name == "kubernetes" {
			break
		}
		if _, ok := laneRules[name]; !ok {
			t.Errorf("%s is asked before ours and has no rule", name)
		}
	}
}
