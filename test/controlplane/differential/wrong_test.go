package differential

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// told is what stock answers: by question, and in another variant than the row's
// with that one's name in front. A reply is its code, or "silence", and records;
// those of the authority section begin with -, additional ones with +.
type told map[string]string

const (
	silence = "silence"
	inSOA   = "- cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 0 7200 1800 86400 5"
	mcSOA   = "- clusterset.local. 5 IN SOA ns.dns.clusterset.local. hostmaster.clusterset.local. 0 7200 1800 86400 5"
	revSOA  = "- in-addr.arpa. 5 IN SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. 0 7200 1800 86400 5"
	extSOA  = "- example.org. 5 IN SOA ns1.dns.example.org. hostmaster.dns.example.org. 0 7200 1800 86400 5"
	nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.2.1.0.0.1.0.0.0.0.d.f.ip6.arpa."
	rootSOA = "- . 5 IN SOA ns.dns. hostmaster. 0 7200 1800 86400 5"
	ip6SOA  = "- ip6.arpa. 5 IN SOA ns.dns.ip6.arpa. hostmaster.ip6.arpa. 0 7200 1800 86400 5"
)

// verdicts have for each rule a question that it is about, and questions that
// it must leave alone although they look alike. What ours has to say is want, and
// refused are wrong answers that have been excused once.
var verdicts = []struct {
	rules, variant, question string
	stock                    told
	want                     string
	refused                  []string
}{
	{"fqdn-slices", "verified", "fqdn.data.svc.cluster.local. A", told{"": "NOERROR\nfqdn.data.svc.cluster.local. 5 IN CNAME host.example.com.", "none.data.svc.cluster.local. A": "NXDOMAIN\n" + inSOA}, "NXDOMAIN\n" + inSOA, nil},
	{"fqdn-slices", "verified", "s1.data.svc.cluster.local. A",
		told{"": "NOERROR\ns1.data.svc.cluster.local. 5 IN CNAME fqdn.data.svc.cluster.local.\nfqdn.data.svc.cluster.local. 5 IN CNAME host.example.com."}, "NOERROR\n" + inSOA, nil},
	{"", "verified", "db.data.svc.cluster.local. A", told{"": "NOERROR\ndb.data.svc.cluster.local. 5 IN A 10.129.4.1"}, "NOERROR\ndb.data.svc.cluster.local. 5 IN A 10.129.4.1",
		[]string{"NXDOMAIN\n" + inSOA}},

	{"external-nowhere", "external", "lb-nowhere.shop.example.org. A", told{"": "NOERROR\nlb-nowhere.shop.example.org. 30 IN CNAME .", "lb-pending.shop.example.org. A": "NXDOMAIN\n" + extSOA}, "NXDOMAIN\n" + extSOA, nil},
	{"", "external", "lb-nowhere.shop.svc.cluster.local. A", told{"": "NOERROR\nlb-nowhere.shop.svc.cluster.local. 30 IN A 10.96.0.1"},
		"NOERROR\nlb-nowhere.shop.svc.cluster.local. 30 IN A 10.96.0.1", nil},

	{"unlabelled-slice-ptr", "verified", "2.6.129.10.in-addr.arpa. PTR", told{"": silence}, "NXDOMAIN\n" + revSOA, nil},
	{"", "verified", "3.6.129.10.in-addr.arpa. PTR", told{"": silence}, silence, []string{"NXDOMAIN\n" + revSOA}},

	{"root-zone-ptr", "root", "1.0.129.10.in-addr.arpa. PTR",
		told{"": silence, "kubeadm 1.0.129.10.in-addr.arpa. PTR": "NOERROR\n1.0.129.10.in-addr.arpa. 30 IN PTR 10-129-0-1.web.shop.svc.cluster.local."},
		"NOERROR\n1.0.129.10.in-addr.arpa. 5 IN PTR 10-129-0-1.web.shop.svc.", nil},
	// A stock that does not answer in any other variant, or where no name is known.
	{"", "verified", "1.0.129.10.in-addr.arpa. PTR",
		told{"": silence, "kubeadm 1.0.129.10.in-addr.arpa. PTR": "NOERROR\n1.0.129.10.in-addr.arpa. 30 IN PTR 10-129-0-1.web.shop.svc.cluster.local."},
		silence, []string{"NOERROR\n1.0.129.10.in-addr.arpa. 5 IN PTR 10-129-0-1.web.shop.svc."}},
	{"", "root", "9.0.129.10.in-addr.arpa. PTR", told{"": silence}, silence, []string{"NOERROR\n9.0.129.10.in-addr.arpa. 5 IN PTR any.name."}},

	{"no-source-cluster", "multicluster", "clusterless.data.svc.clusterset.local. SRV",
		told{"": silence, "clusterless.data.svc.clusterset.local. A": "NOERROR\nclusterless.data.svc.clusterset.local. 5 IN A 10.140.5.1\nclusterless.data.svc.clusterset.local. 5 IN A 10.140.5.2"},
		"NOERROR\nclusterless.data.svc.clusterset.local. 5 IN SRV 0 50 8080 10-140-5-1.clusterless.data.svc.clusterset.local.\n" +
			"clusterless.data.svc.clusterset.local. 5 IN SRV 0 50 8080 h.clusterless.data.svc.clusterset.local.\n" +
			"+ 10-140-5-1.clusterless.data.svc.clusterset.local. 5 IN A 10.140.5.1\n+ h.clusterless.data.svc.clusterset.local. 5 IN A 10.140.5.2",
		[]string{"NOERROR\nclusterless.data.svc.clusterset.local. 5 IN SRV 1 2 3 any.name."}},
	{"", "kubeadm", "clusterless.data.svc.cluster.local. SRV", told{"": silence}, silence, []string{"NOERROR\nclusterless.data.svc.cluster.local. 5 IN SRV 0 50 8080 any.name."}},

	{"reverse-extra-labels", "verified", "x." + nibbles + " PTR", told{"": "NOERROR\nx." + nibbles + " 5 IN PTR web.shop.svc.cluster.local."}, "NXDOMAIN\n" + ip6SOA, nil},
	{"", "verified", nibbles + " PTR", told{"": "NOERROR\n" + nibbles + " 5 IN PTR web.shop.svc.cluster.local."}, "NOERROR\n" + nibbles + " 5 IN PTR web.shop.svc.cluster.local.", nil},

	{"hidden-ptr", "selected", "1.0.131.10.in-addr.arpa. PTR",
		told{"": "NOERROR\n1.0.131.10.in-addr.arpa. 5 IN PTR a.s1.shop.svc.cluster.local.\n1.0.131.10.in-addr.arpa. 5 IN PTR a.s2.team-a.svc.cluster.local."},
		"NOERROR\n1.0.131.10.in-addr.arpa. 5 IN PTR a.s1.shop.svc.cluster.local.", nil},
	{"hidden-ptr", "selected", "1.0.131.10.in-addr.arpa. PTR", told{"": "NOERROR\n1.0.131.10.in-addr.arpa. 5 IN PTR a.s2.team-a.svc.cluster.local."},
		"NXDOMAIN\n" + revSOA, []string{"SERVFAIL"}}, // there is no fallthrough
	// A variant that hides nothing.
	{"", "verified", "1.0.131.10.in-addr.arpa. PTR",
		told{"": "NOERROR\n1.0.131.10.in-addr.arpa. 5 IN PTR a.s1.shop.svc.cluster.local.\n1.0.131.10.in-addr.arpa. 5 IN PTR a.s2.team-a.svc.cluster.local."},
		"NOERROR\n1.0.131.10.in-addr.arpa. 5 IN PTR a.s1.shop.svc.cluster.local.\n1.0.131.10.in-addr.arpa. 5 IN PTR a.s2.team-a.svc.cluster.local.",
		[]string{"NOERROR\n1.0.131.10.in-addr.arpa. 5 IN PTR a.s1.shop.svc.cluster.local."}},

	{"reverse-nodata", "verified", "1.0.129.10.in-addr.arpa. TXT",
		told{"": "NXDOMAIN\n" + revSOA, "1.0.129.10.in-addr.arpa. PTR": "NOERROR\n1.0.129.10.in-addr.arpa. 5 IN PTR web.shop.svc.cluster.local."}, "NOERROR\n" + revSOA, nil},
	{"reverse-nodata", "kubeadm", "1.0.129.10.in-addr.arpa. TXT",
		told{"": "SERVFAIL", "1.0.129.10.in-addr.arpa. PTR": "NOERROR\n1.0.129.10.in-addr.arpa. 30 IN PTR web.shop.svc.cluster.local."}, "NOERROR\n" + revSOA, nil},
	// An address that has no name, and one whose names are hidden.
	{"", "verified", "9.9.129.10.in-addr.arpa. TXT", told{"": "NXDOMAIN\n" + revSOA}, "NXDOMAIN\n" + revSOA, []string{"NOERROR\n" + revSOA, "SERVFAIL"}},
	{"", "selected", "1.0.131.10.in-addr.arpa. TXT",
		told{"": "NXDOMAIN\n" + revSOA, "1.0.131.10.in-addr.arpa. PTR": "NOERROR\n1.0.131.10.in-addr.arpa. 5 IN PTR a.s2.team-a.svc.cluster.local."},
		"NXDOMAIN\n" + revSOA, []string{"NOERROR\n" + revSOA}},

	{"dns-version-nodata", "verified", "dns-version.cluster.local. A", told{"": "NXDOMAIN\n" + inSOA}, "NOERROR\n" + inSOA, nil},
	{"", "verified", "dns-version.shop.svc.cluster.local. A", told{"": "NXDOMAIN\n" + inSOA}, "NXDOMAIN\n" + inSOA, []string{"NOERROR\n" + inSOA}},
	{"", "verified", "dns-version.cluster.local. TXT", told{"": "NXDOMAIN\n" + inSOA}, "NXDOMAIN\n" + inSOA, []string{"NOERROR\n" + inSOA}},

	{"ns-dns", "verified", "ns.dns.cluster.LOCAL. A",
		told{"": "NXDOMAIN\n" + strings.ReplaceAll(inSOA, "local.", "LOCAL."), "ns.dns.cluster.local. A": "NOERROR\nns.dns.cluster.local. 5 IN A 192.0.2.1"},
		"NOERROR\nns.dns.cluster.LOCAL. 5 IN A 192.0.2.1", []string{"NOERROR\nns.dns.cluster.LOCAL. 5 IN A 192.0.2.99"}},
	{"ns-dns", "root", "ns.dns. A", told{"": "SERVFAIL", "kubeadm ns.dns.cluster.local. A": "NOERROR\nns.dns.cluster.local. 30 IN A 192.0.2.1"},
		"NOERROR\nns.dns. 5 IN A 192.0.2.1", []string{"NOERROR\nns.dns. 5 IN A 192.0.2.99"}},
	{"ns-dns", "verified", "ns.dns.cluster.local. TXT", told{"": "NXDOMAIN\n" + inSOA}, "NOERROR\n" + inSOA, nil},
	{"", "verified", "ns.dns.shop.svc.cluster.local. TXT", told{"": "NXDOMAIN\n" + inSOA}, "NXDOMAIN\n" + inSOA, []string{"NOERROR\n" + inSOA}},

	{"apex-ns-case", "verified", "cluster.LOCAL. NS",
		told{"": "NOERROR\n" + strings.ReplaceAll(inSOA, "local.", "LOCAL."), "cluster.local. NS": "NOERROR\ncluster.local. 5 IN NS ns.dns.cluster.local.\n+ ns.dns.cluster.local. 5 IN A 192.0.2.1"},
		"NOERROR\ncluster.LOCAL. 5 IN NS ns.dns.cluster.LOCAL.\n+ ns.dns.cluster.LOCAL. 5 IN A 192.0.2.1", []string{"NOERROR\ncluster.LOCAL. 5 IN NS any.name."}},
	{"", "verified", "svc.cluster.LOCAL. NS", told{"": "NOERROR\n" + inSOA}, "NOERROR\n" + inSOA, nil},

	{"empty-non-terminal-txt", "verified", "shop.svc.cluster.local. TXT", told{"": "NXDOMAIN\n" + inSOA, "shop.svc.cluster.local. A": "NOERROR\n" + inSOA}, "NOERROR\n" + inSOA, nil},
	{"empty-non-terminal-txt", "root", "svc. TXT", told{"": "SERVFAIL", "svc. A": "NOERROR\n" + rootSOA},
		"NOERROR\n" + rootSOA, nil},
	// A failure, where there is no fallthrough.
	{"", "verified", "shop.svc.cluster.local. TXT", told{"": "SERVFAIL", "shop.svc.cluster.local. A": "NOERROR\n" + inSOA}, "SERVFAIL", []string{"NOERROR\n" + inSOA}},
	{"", "verified", "nonesuch.svc.cluster.local. TXT", told{"": "NXDOMAIN\n" + inSOA, "nonesuch.svc.cluster.local. A": "NXDOMAIN\n" + inSOA}, "NXDOMAIN\n" + inSOA,
		[]string{"NOERROR\n" + inSOA, "SERVFAIL"}},

	{"empty-non-terminal", "verified", "dns.cluster.LOCAL. A", told{"": "NXDOMAIN\n" + strings.ReplaceAll(inSOA, "local.", "LOCAL."), "cluster.LOCAL. A": "NOERROR\n" + strings.ReplaceAll(inSOA, "local.", "LOCAL.")},
		"NOERROR\n" + strings.ReplaceAll(inSOA, "local.", "LOCAL."), nil},
	{"empty-non-terminal", "root", "dns. TXT", told{"": "SERVFAIL"}, "NOERROR\n" + rootSOA, nil},
	{"empty-non-terminal", "verified", "_tcp.web.shop.svc.cluster.local. SRV", told{"": "NXDOMAIN\n" + inSOA, "_._tcp.web.shop.svc.cluster.local. CNAME": "NOERROR\n" + inSOA}, "NOERROR\n" + inSOA, nil},
	{"empty-non-terminal", "root", "tcp.web.shop.svc. A", told{"": "SERVFAIL", "_.tcp.web.shop.svc. CNAME": "NOERROR\n" + rootSOA}, "NOERROR\n" + rootSOA, nil},
	{"empty-non-terminal", "zonal", "_zone.web.shop.svc.cluster.local. A", told{"": "NXDOMAIN\n" + inSOA, "_.pin._zone.web.shop.svc.cluster.local. CNAME": "NOERROR\n" + inSOA}, "NOERROR\n" + inSOA, nil},
	{"empty-non-terminal", "zonal", "Prefer._zone.web.shop.svc.cluster.local. A", told{"": "NXDOMAIN\n" + inSOA, "_.Prefer._zone.web.shop.svc.cluster.local. CNAME": "NOERROR\n" + inSOA}, "NOERROR\n" + inSOA, nil},
	{"empty-non-terminal", "multicluster", "C1.web.shop.svc.clusterset.local. A", told{"": "NXDOMAIN\n" + mcSOA, "10-140-1-1.C1.web.shop.svc.clusterset.local. CNAME": "NOERROR\n" + mcSOA}, "NOERROR\n" + mcSOA, nil},
	{"", "multicluster", "c2.web.shop.svc.clusterset.local. A", told{"": "NXDOMAIN\n" + mcSOA, "10-140-1-1.c1.web.shop.svc.clusterset.local. CNAME": "NOERROR\n" + mcSOA}, "NXDOMAIN\n" + mcSOA, []string{"NOERROR\n" + mcSOA}},
	{"", "zonal", "both._zone.web.shop.svc.cluster.local. A", told{"": "NXDOMAIN\n" + inSOA, "_.pin._zone.web.shop.svc.cluster.local. CNAME": "NOERROR\n" + inSOA}, "NXDOMAIN\n" + inSOA, []string{"NOERROR\n" + inSOA}},
	// Nothing is below.
	{"", "verified", "_udp.web.shop.svc.cluster.local. SRV", told{"": "NXDOMAIN\n" + inSOA}, "NXDOMAIN\n" + inSOA, []string{"NOERROR\n" + inSOA, "SERVFAIL"}},
	{"", "root", "_udp.web.shop.svc. SRV", told{"": "SERVFAIL", "_._udp.web.shop.svc. CNAME": "SERVFAIL"}, "SERVFAIL", []string{"NOERROR\n" + rootSOA, "NXDOMAIN\n" + rootSOA}},
	{"", "verified", "_tcp.web.shop.svc.cluster.local. SRV", told{"": "NXDOMAIN\n" + inSOA, "_._tcp.web.shop.svc.cluster.local. CNAME": silence}, "NXDOMAIN\n" + inSOA, []string{"NOERROR\n" + inSOA}},
	{"", "verified", "dns.shop.svc.cluster.local. A", told{"": "NXDOMAIN\n" + inSOA}, "NXDOMAIN\n" + inSOA, []string{"NOERROR\n" + inSOA}},
	{"", "verified", "_tcp.web.shop.pod.cluster.local. A", told{"": "NXDOMAIN\n" + inSOA, "_._tcp.web.shop.pod.cluster.local. CNAME": "NOERROR\n" + inSOA}, "NXDOMAIN\n" + inSOA, []string{"NOERROR\n" + inSOA}},
	// A failure, where there is no fallthrough, and another plugin's zone.
	{"", "verified", "dns.cluster.local. A", told{"": "SERVFAIL"}, "SERVFAIL", []string{"NOERROR\n" + inSOA}},
	{"", "external", "dns.example.org. A", told{"": "NXDOMAIN\n" + extSOA}, "NXDOMAIN\n" + extSOA, []string{"NOERROR\n" + extSOA}},
	// A prefix of addresses.
	{"", "verified", "0.129.10.in-addr.arpa. PTR", told{"": "NXDOMAIN\n" + revSOA, "1.0.129.10.in-addr.arpa. PTR": "NOERROR\n1.0.129.10.in-addr.arpa. 5 IN PTR web.shop.svc.cluster.local."},
		"NXDOMAIN\n" + revSOA, []string{"NOERROR\n" + revSOA}},

	{"no-address-txt", "multicluster", "pending.shop.svc.clusterset.local. TXT",
		told{"": "NXDOMAIN\n" + mcSOA, "pending.shop.svc.clusterset.local. A": "NOERROR\n" + mcSOA}, "NOERROR\n" + mcSOA, nil},
	{"", "multicluster", "web.shop.svc.clusterset.local. TXT",
		told{"": "NXDOMAIN\n" + mcSOA, "web.shop.svc.clusterset.local. A": "NOERROR\n" + mcSOA}, "NXDOMAIN\n" + mcSOA, []string{"NOERROR\n" + mcSOA}},

	{"failed-chase", "verified", "ext-fail.shop.svc.cluster.local. A", told{"": "NOERROR\next-fail.shop.svc.cluster.local. 5 IN CNAME fail.example.com."}, "SERVFAIL", nil},
	{"", "verified", "ext-none.shop.svc.cluster.local. A", told{"": "NOERROR\next-none.shop.svc.cluster.local. 5 IN CNAME none.example.com."},
		"NOERROR\next-none.shop.svc.cluster.local. 5 IN CNAME none.example.com.", []string{"SERVFAIL"}},
	{"", "verified", "ext-fail.shop.svc.cluster.local. CNAME", told{"": "NOERROR\next-fail.shop.svc.cluster.local. 5 IN CNAME fail.example.com."},
		"NOERROR\next-fail.shop.svc.cluster.local. 5 IN CNAME fail.example.com.", []string{"SERVFAIL"}},

	{"external-cname external-ttl", "external", "lb-host.shop.example.org. CNAME",
		told{"": "NOERROR\n" + extSOA, "lb-host.shop.example.org. A": "NOERROR\nlb-host.shop.example.org. 30 IN CNAME there.example.com.\nthere.example.com. 60 IN A 192.0.2.1"},
		"NOERROR\nlb-host.shop.example.org. 5 IN CNAME there.example.com.", []string{"NOERROR\nlb-host.shop.example.org. 5 IN CNAME any.name."}},
	{"", "external", "lb-ip.shop.example.org. CNAME", told{"": "NOERROR\n" + extSOA, "lb-ip.shop.example.org. A": "NOERROR\nlb-ip.shop.example.org. 5 IN A 192.0.2.10"},
		"NOERROR\n" + extSOA, []string{"NOERROR\nlb-ip.shop.example.org. 5 IN CNAME any.name."}},

	{"external-twice", "external-selected", "lb-host-ports.shop.example.org. A",
		told{"": "NOERROR" + strings.Repeat("\nlb-host-ports.shop.example.org. 60 IN CNAME there.example.com.\nthere.example.com. 60 IN A 192.0.2.1", 2)},
		"NOERROR\nlb-host-ports.shop.example.org. 60 IN CNAME there.example.com.\nthere.example.com. 60 IN A 192.0.2.1", nil},
	{"", "verified", "web.shop.svc.cluster.local. A", told{"": "NOERROR" + strings.Repeat("\nweb.shop.svc.cluster.local. 5 IN A 10.96.0.1", 2)},
		"NOERROR" + strings.Repeat("\nweb.shop.svc.cluster.local. 5 IN A 10.96.0.1", 2), nil},

	{"external-ttl", "external", "lb-ip.shop.example.org. SRV",
		told{"": "NOERROR\nlb-ip.shop.example.org. 30 IN SRV 0 100 80 lb-ip.shop.example.org.\n+ lb-ip.shop.example.org. 5 IN A 192.0.2.10"},
		"NOERROR\nlb-ip.shop.example.org. 5 IN SRV 0 100 80 lb-ip.shop.example.org.\n+ lb-ip.shop.example.org. 5 IN A 192.0.2.10", nil},
	{"", "external", "lb-ip.shop.example.org. A", told{"": "NOERROR\nlb-ip.shop.example.org. 30 IN A 192.0.2.10"}, "NOERROR\nlb-ip.shop.example.org. 30 IN A 192.0.2.10", nil},

	{"external-spelling", "external", "none.shop.Example.ORG. A", told{"": "NXDOMAIN\n" + extSOA},
		"NXDOMAIN\n- Example.ORG. 5 IN SOA ns1.dns.Example.ORG. hostmaster.dns.Example.ORG. 0 7200 1800 86400 5", nil},
	// Outside of external zones an owner is spelled as the question is.
	{"", "verified", "web.shop.svc.cluster.LOCAL. A", told{"": "NOERROR\nweb.shop.svc.cluster.LOCAL. 5 IN A 10.96.0.1"}, "NOERROR\nweb.shop.svc.cluster.LOCAL. 5 IN A 10.96.0.1",
		[]string{"NOERROR\nweb.shop.svc.cluster.local. 5 IN A 10.96.0.1"}},
}

// TestRulesRefuse gives every rule replies of ours that are wrong: those of the
// table, and what small mistakes make of the right one.
func TestRulesRefuse(t *testing.T) {
	ruled := map[string]bool{}
	for _, row := range verdicts {
		t.Run(row.variant+" "+row.question, func(t *testing.T) {
			x := row.stock.asked(t, row.variant, row.question)
			stock := x.stock(row.variant, x.question)
			want, by := x.expected(stock)
			if strings.Join(by, " ") != row.rules {
				t.Errorf("rules %v apply, want %q", by, row.rules)
			}
			for _, name := range by {
				ruled[name] = true
			}
			right := parse(t, x.question, row.want)
			if !want.equal(right) {
				t.Fatalf("ours has to say\n%v\nwant\n%v", want, right)
			}
			if stock.err == "" || len(by) > 0 {
				if wrong, _ := x.judge(stock, right); wrong != "" {
					t.Errorf("the right answer is refused: ours has to say\n%s", wrong)
				}
			}
			bad := mistakes(right)
			for _, text := range row.refused {
				bad = append(bad, parse(t, x.question, text))
			}
			if len(by) > 0 {
				bad = append(bad, stock)
			}
			for _, ours := range bad {
				if wrong, by := x.judge(stock, ours); wrong == "" {
					t.Errorf("let pass by %v:\n%v", by, ours)
				}
			}
		})
	}
	for _, r := range rules {
		if !ruled[r.name] {
			t.Errorf("rule %s is not tested", r.name)
		}
	}
}

// TestTruncated gives replies of ours to a question that stock's reply has not
// room for.
func TestTruncated(t *testing.T) {
	const owner = "db.data.svc.cluster.local. 5 IN A 10.129.4."
	three := "NOERROR\n" + owner + "1\n" + owner + "2\n" + owner + "3"
	x := told{"": three}.asked(t, "verified", "db.data.svc.cluster.local. A")
	cut := func(text string) reply {
		r := parse(t, x.question, text)
		r.head.Truncated = true
		return r
	}
	stock := cut("NOERROR\n" + owner + "1\n" + owner + "2")
	for _, row := range []struct {
		ours reply
		good bool
	}{
		{stock, true},
		{cut("NOERROR\n" + owner + "3\n" + owner + "1"), true},
		{cut("NOERROR\n" + owner + "1"), false},
		{cut("NOERROR\n" + owner + "1\n" + owner + "1"), false},
		{cut("NOERROR\n" + owner + "1\n" + owner + "9"), false},
		{cut(three), false},
		{cut("NXDOMAIN"), false},
		{parse(t, x.question, "NOERROR\n"+owner+"1\n"+owner+"2"), false},
	} {
		if wrong, _ := x.judge(stock, row.ours); (wrong == "") != row.good {
			t.Errorf("ours says\n%v\nlet pass: %v", row.ours, !row.good)
		}
	}
	// One that stock has room for.
	if wrong, _ := x.judge(parse(t, x.question, three), stock); wrong == "" {
		t.Error("truncated without need")
	}
}

// mistakes returns replies that differ from r in one thing each.
func mistakes(r reply) (bad []reply) {
	add := func(change func(*reply)) {
		c := r
		c.answer, c.ns, c.extra = slices.Clone(r.answer), slices.Clone(r.ns), slices.Clone(r.extra)
		change(&c)
		if !c.equal(r) {
			bad = append(bad, c)
		}
	}
	add(func(c *reply) { *c = reply{err: "timeout"} })
	if r.err != "" {
		return bad
	}
	for rcode := range dns.RcodeToString {
		add(func(c *reply) { c.head.Rcode = rcode })
	}
	add(func(c *reply) { *c = c.failed() })
	add(func(c *reply) { c.head.Authoritative = !c.head.Authoritative })
	add(func(c *reply) { c.head.Truncated = true })
	add(func(c *reply) { c.answer = append(c.answer, "more.example.\t5\tIN\tA\t192.0.2.99") })
	add(func(c *reply) { c.answer, c.ns = c.ns, c.answer })
	for _, section := range []func(*reply) *[]string{
		func(c *reply) *[]string { return &c.answer }, func(c *reply) *[]string { return &c.ns }, func(c *reply) *[]string { return &c.extra },
	} {
		for i := range *section(&r) {
			change := func(field int, f func(string) string) {
				add(func(c *reply) {
					rrs := *section(c)
					rrs[i] = edit(rrs[i], func(fields []string) { fields[field] = f(fields[field]) })
				})
			}
			add(func(c *reply) { s := section(c); *s = slices.Delete(*s, i, i+1) })
			add(func(c *reply) { s := section(c); *s = slices.Insert(*s, i, (*s)[i]) })
			change(owner, strings.ToUpper)
			change(owner, func(s string) string { return "x." + s })
			change(ttl, func(s string) string { return s + "0" })
			change(data, func(s string) string { return s + "9" })
			change(data, strings.ToUpper)
		}
	}
	return bad
}

// asked returns a question to a stock that tells what is in a. To what is not in
// it, stock says that the name does not exist; but zones do.
func (a told) asked(t *testing.T, name, text string) asked {
	t.Helper()
	i := slices.IndexFunc(variants, func(v variant) bool { return v.name == name })
	if i < 0 {
		t.Fatalf("no variant %s", name)
	}
	words := strings.Fields(text)
	x := asked{question: question{name: words[0], qtype: dns.StringToType[words[1]]}, rules: rules, v: variants[i],
		facts: &facts{unlabelled: map[string]bool{"2.6.129.10.in-addr.arpa.": true}, below: map[string]string{"c1.web.shop.svc": "10-140-1-1"}}}
	x.stock = func(other string, q question) reply {
		key := q.name + " " + dns.TypeToString[q.qtype]
		if key == text && other == name {
			return parse(t, q, a[""])
		}
		if other != name {
			key = other + " " + key
		}
		if said, ok := a[key]; ok {
			return parse(t, q, said)
		}
		for _, soa := range []string{inSOA, mcSOA, revSOA, ip6SOA, extSOA, rootSOA} {
			if zone := strings.Fields(soa)[1]; strings.EqualFold(zone, q.name) {
				return parse(t, q, "NOERROR\n"+soa)
			}
		}
		return parse(t, q, "NXDOMAIN")
	}
	return x
}

// parse returns a reply to q.
func parse(t *testing.T, q question, text string) reply {
	t.Helper()
	if text == silence {
		return reply{err: "timeout"}
	}
	lines := strings.Split(text, "\n")
	m := new(dns.Msg).SetReply(q.message())
	rcode, ok := dns.StringToRcode[lines[0]]
	if m.Rcode = rcode; !ok {
		t.Fatalf("no code: %s", lines[0])
	}
	m.Authoritative = rcode != dns.RcodeServerFailure
	for _, line := range lines[1:] {
		section := &m.Answer
		switch line[0] {
		case '-':
			section = &m.Ns
		case '+':
			section = &m.Extra
		}
		rr, err := dns.NewRR(strings.TrimLeft(line, "-+ "))
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", line, err))
		}
		*section = append(*section, rr)
	}
	return reduce(m, nil)
}
