package differential

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// rule is a difference that is meant: a row of docs/differences.md, of the same
// name. It states what both sides answer, and may excuse no more questions
// than most of a full run; a rule that excuses none has lost its reason.
type rule struct {
	name  string
	most  int
	match func(q question, stock, ours reply) bool
}

var rules = []rule{
	{"empty-non-terminal-txt", 400, func(q question, stock, ours reply) bool {
		labels := dns.SplitDomainName(strings.ToLower(q.name))
		depth := 0
		for depth < len(labels) && labels[depth] != "svc" && labels[depth] != "pod" {
			depth++
		}
		atNamespace := depth < len(labels) && depth <= 1
		return q.qtype == dns.TypeTXT && (atNamespace || isZone(q.name)) && noName(stock) && noData(ours)
	}},
	{"dns-version-nodata", 200, func(q question, stock, ours reply) bool {
		return strings.HasPrefix(strings.ToLower(q.name), "dns-version.") && noName(stock) && noData(ours)
	}},
	{"ns-dns", 200, func(q question, stock, ours reply) bool {
		address := q.qtype == dns.TypeA || q.qtype == dns.TypeAAAA
		return strings.HasPrefix(strings.ToLower(q.name), "ns.dns.") && noName(stock) &&
			(address && ours.rcode == dns.RcodeSuccess && len(ours.answer) > 0 || noData(ours))
	}},
	{"apex-ns-case", 100, func(q question, stock, ours reply) bool {
		return q.qtype == dns.TypeNS && isZone(q.name) && q.name != strings.ToLower(q.name) && noData(stock) && len(ours.answer) > 0
	}},
	{"reverse-nodata", 2000, func(q question, stock, ours reply) bool {
		// With fallthrough in an external zone, stock's is what kubernetes says to
		// a name that it has not: to SOA NODATA, to AXFR REFUSED.
		fell := noData(ours) && strings.Contains(ours.ns[0], "ns1.names.") &&
			(q.qtype == dns.TypeSOA && noData(stock) || q.qtype == dns.TypeAXFR && stock.rcode == dns.RcodeRefused)
		return isReverse(q.name) && q.qtype != dns.TypePTR && noData(ours) && (noName(stock) || fell)
	}},
	{"reverse-extra-labels", 800, func(q question, stock, ours reply) bool {
		return strings.HasSuffix(strings.ToLower(q.name), ".ip6.arpa.") && dns.CountLabel(q.name) > 34 &&
			(len(stock.answer) > 0 || stock.err != "") && noName(ours)
	}},
	{"fqdn-slices", 1500, func(q question, stock, ours reply) bool {
		is := func(name string) bool {
			name = strings.ToLower(name)
			return strings.Contains(name, "fqdn.data.svc.") || strings.Contains(name, "fqdn.data.example.org.")
		}
		aliased := noData(ours) && slices.ContainsFunc(stock.answer, is) // an ExternalName led there
		return stock.rcode == dns.RcodeSuccess && (is(q.name) && noName(ours) || aliased)
	}},
	{"unlabelled-slice-ptr", 60, func(q question, stock, ours reply) bool {
		// Stock answers a name with an empty label, which cannot be packed.
		name := strings.ToLower(q.name)
		return (strings.HasPrefix(name, "2.6.129.10.in-") || strings.HasPrefix(name, "1.4.140.10.in-")) && stock.err != "" && noName(ours)
	}},
	{"no-source-cluster", 100, func(q question, stock, ours reply) bool {
		// The same, of the targets.
		return q.qtype == dns.TypeSRV && strings.Contains(strings.ToLower(q.name), "clusterless.data.svc.clusterset.") && stock.err != "" && len(ours.answer) > 0
	}},
	{"no-address-txt", 60, func(q question, stock, ours reply) bool {
		return q.qtype == dns.TypeTXT && strings.Contains(strings.ToLower(q.name), "pending.shop.svc.clusterset.") && noName(stock) && noData(ours)
	}},
	{"failed-chase", 300, func(q question, stock, ours reply) bool {
		name := strings.ToLower(q.name)
		return (strings.Contains(name, "ext-fail.shop.svc.") || strings.HasSuffix(name, "lb-fail.shop.example.org.")) && len(stock.answer) == 1 && ours.rcode == dns.RcodeServerFailure
	}},
	{"hidden-ptr", 3000, func(q question, stock, ours reply) bool {
		hidden := func(rr string) bool {
			return !strings.Contains(rr, ".shop.") && !strings.Contains(rr, ".data.") && !strings.Contains(rr, ".default.")
		}
		shown := slices.DeleteFunc(slices.Clone(stock.answer), hidden)
		return q.qtype == dns.TypePTR && isReverse(q.name) && len(shown) < len(stock.answer) &&
			(noName(ours) && len(shown) == 0 || len(shown) > 0 && slices.Equal(ours.answer, shown))
	}},
	{"root-zone-ptr", 4000, func(q question, stock, ours reply) bool {
		// Stock ends the target in two dots, which cannot be packed.
		return q.qtype == dns.TypePTR && isReverse(q.name) && stock.err != "" && len(ours.answer) > 0
	}},
	{"external-cname", 400, func(q question, stock, ours reply) bool {
		return isExternal(q.name) && q.qtype == dns.TypeCNAME && noData(stock) && len(ours.answer) > 0
	}},
	{"external-nowhere", 400, func(q question, stock, ours reply) bool {
		// Stock's CNAME, and target of SRV records, is the root.
		return strings.HasSuffix(strings.ToLower(q.name), "lb-nowhere.shop.example.org.") && stock.rcode == dns.RcodeSuccess && noName(ours)
	}},
	{"external-ttl", 6000, externalRule("external-ttl")},
	{"external-twice", 600, externalRule("external-twice")},
	{"external-spelling", 25000, externalRule("external-spelling")},
}

// noName is a name error, or where there is fallthrough that of the next
// plugin, which the variants do not have.
func noName(r reply) bool {
	return r.rcode == dns.RcodeNameError || r.rcode == dns.RcodeServerFailure && r.size() == 0
}

func noData(r reply) bool {
	return r.rcode == dns.RcodeSuccess && len(r.answer) == 0 && len(r.ns) == 1
}

func isReverse(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, ".in-addr.arpa.") || strings.HasSuffix(name, ".ip6.arpa.")
}

// isZone reports whether name is the origin of one of the variants' zones.
func isZone(name string) bool {
	for _, v := range variants {
		for z := range strings.FieldsSeq(v.zones) {
			if strings.EqualFold(name, dns.Fqdn(z)) {
				return true
			}
		}
	}
	return false
}
