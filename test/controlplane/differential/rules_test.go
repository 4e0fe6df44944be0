package differential

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// rule is a difference that is meant: a row of docs/differences.md, of the same
// name. It does not judge what ours says: it rewrites stock's reply, r, into the
// one that ours has to be equal to, from what is known of the world and from
// what stock says to other questions. It returns false where it does not apply.
// Several may apply to one question; each gets what the one before it made.
type rule struct {
	name string
	// share is how many questions of a thousand it may change at most, besides
	// those of the category known. A rule that changes none has lost its reason.
	share   float64
	rewrite func(x asked, r reply) (reply, bool)
}

// asked is a question to both servers.
type asked struct {
	question
	rules []rule
	v     variant
	facts *facts
	stock func(variant string, q question) reply
}

// facts are what rules have to know of the world's objects.
type facts struct {
	// unlabelled has the names in reverse zones of the addresses of slices
	// without a service.
	unlabelled map[string]bool
	// below has for <cluster>.<service>.<namespace>.svc, in lower case, the label
	// of an endpoint that the cluster has.
	below map[string]string
}

var rules = []rule{
	// Names and addresses that ours does not have.
	{"fqdn-slices", 2, func(x asked, r reply) (reply, bool) {
		// To ours it is as the headless service that has no slices.
		if alike, ok := x.asOf("fqdn.data", "none.data"); ok && r.err == "" {
			return alike, true
		}
		// An ExternalName that leads there, maybe over others.
		p := x.last()
		if p.external || !slices.ContainsFunc(r.answer, func(rr string) bool {
			return strings.EqualFold(fieldOf(rr, owner), "fqdn.data.svc."+strings.TrimPrefix(p.zone, "."))
		}) {
			return r, false
		}
		return x.nodata(p), true
	}},
	{"external-nowhere", 1.5, func(x asked, r reply) (reply, bool) {
		// To ours it is as the load balancer that has no ingress yet.
		if !x.last().external || r.err != "" {
			return r, false
		}
		return x.asOf("lb-nowhere.shop", "lb-pending.shop")
	}},
	{"unlabelled-slice-ptr", 0.5, func(x asked, r reply) (reply, bool) {
		// Stock answers a name with an empty label, which cannot be packed.
		if x.qtype != dns.TypePTR || r.err == "" || !x.facts.unlabelled[strings.ToLower(x.name)] {
			return r, false
		}
		return x.denied(), true
	}},
	{"root-zone-ptr", 4, func(x asked, r reply) (reply, bool) {
		// Stock ends the target in two dots, which cannot be packed. Another
		// variant, of the same objects, has another zone there, and another TTL.
		const other, zone = "kubeadm", "cluster.local."
		if x.v.name != "root" || x.qtype != dns.TypePTR || !isReverse(x.name) || r.err == "" {
			return r, false
		}
		r = x.ask(other, func(q *question) { q.tcp = true })
		inside, _ := x.v.ttls()
		r.answer = each(r.answer, func(rr string) string {
			return edit(rr, func(f []string) { f[ttl], f[data] = inside, strings.TrimSuffix(f[data], zone) })
		})
		return r, len(r.answer) > 0
	}},
	{"no-source-cluster", 0.5, func(x asked, r reply) (reply, bool) {
		// The same, of the targets.
		const service = "clusterless.data.svc"
		if _, mc := option(x.v.stanza, "multicluster"); !mc || x.qtype != dns.TypeSRV || r.err == "" || !atOrBelow(x.rel(), service) {
			return r, false
		}
		r = x.ask(x.v.name, func(q *question) { q.qtype, q.tcp = dns.TypeA, true })
		addrs := r.answer
		r.answer, r.extra = nil, nil
		for _, rr := range addrs {
			label := strings.ReplaceAll(fieldOf(rr, data), ".", "-")
			if label == "10-140-5-2" {
				label = "h"
			}
			target := label + "." + service + "." + x.last().zone
			r.answer = append(r.answer, fmt.Sprintf("%s\t%s\tIN\tSRV\t0 %d 8080 %s", x.name, fieldOf(rr, ttl), 100/len(addrs), target))
			r.extra = append(r.extra, edit(rr, func(f []string) { f[owner] = target }))
		}
		slices.Sort(r.answer)
		slices.Sort(r.extra)
		return r, len(addrs) > 0
	}},
	{"reverse-extra-labels", 3, func(x asked, r reply) (reply, bool) {
		n := dns.CountLabel(x.name) - (32 + 2)
		if !strings.HasSuffix(strings.ToLower(x.name), ".ip6.arpa.") || x.qtype != dns.TypePTR || n < 1 || n > 3 || r.err == "" && len(r.answer) == 0 {
			return r, false
		}
		return x.denied(), true
	}},
	{"hidden-ptr", 2, func(x asked, r reply) (reply, bool) {
		if x.qtype != dns.TypePTR || !isReverse(x.name) {
			return r, false
		}
		shown := each(r.answer, func(rr string) string {
			if x.v.hides(x.v.namespaceOf(fieldOf(rr, data))) {
				return ""
			}
			return rr
		})
		hid := len(shown) < len(r.answer)
		if r.answer = shown; hid && len(shown) == 0 {
			r = x.denied()
		}
		return r, hid
	}},

	// Names that stock denies, or to whom it says nothing, though they exist.
	{"reverse-nodata", 6, func(x asked, r reply) (reply, bool) {
		if x.qtype == dns.TypePTR || !isReverse(x.name) || len(x.v.placesOf(x.name)) == 0 {
			return r, false
		}
		ptr := x
		ptr.qtype, ptr.tcp = dns.TypePTR, true
		has, _ := ptr.expected(ptr.ask(x.v.name, nil))
		if len(has.answer) == 0 {
			return r, false
		}
		p := x.last()
		if x.v.ofExternal(fieldOf(has.answer[0], data)) {
			p = x.v.placesOf(x.name)[0]
		}
		if !p.external && x.qtype == dns.TypeAXFR {
			return r, false
		}
		return x.nodata(p), true
	}},
	{"dns-version-nodata", 2, func(x asked, r reply) (reply, bool) {
		if x.last().external || x.rel() != "dns-version" || x.qtype == dns.TypeTXT || !x.denies(r) {
			return r, false
		}
		return x.nodata(x.last()), true
	}},
	{"ns-dns", 2, func(x asked, r reply) (reply, bool) {
		if x.last().external || x.rel() != "ns.dns" || !x.denies(r) {
			return r, false
		}
		if r = x.lowerCase(); x.last().zone == "." {
			// Where stock never has the name. Another variant has the same addresses.
			r = x.ask("kubeadm", func(q *question) { q.name = "ns.dns.cluster.local." })
			inside, _ := x.v.ttls()
			r.answer = each(r.answer, func(rr string) string {
				return edit(rr, func(f []string) { f[owner], f[ttl] = x.name, inside })
			})
		}
		if len(r.answer) == 0 {
			r = x.nodata(x.last())
		}
		return r, true
	}},
	{"apex-ns-case", 2, func(x asked, r reply) (reply, bool) {
		if x.qtype != dns.TypeNS || x.last().external || x.name != x.last().zone || !r.isNODATA() {
			return r, false
		}
		return x.lowerCase(), true
	}},
	{"empty-non-terminal-txt", 3, func(x asked, r reply) (reply, bool) {
		labels := strings.Split(x.rel(), ".")
		kind := labels[len(labels)-1]
		if x.qtype != dns.TypeTXT || x.last().external || len(labels) > 2 || x.rel() != "" && kind != "svc" && kind != "pod" || !x.denies(r) {
			return r, false
		}
		r = x.ask(x.v.name, func(q *question) { q.qtype = dns.TypeA })
		return r, r.isNODATA()
	}},
	{"empty-non-terminal", 20, func(x asked, r reply) (reply, bool) {
		if x.last().external || !x.denies(r) {
			return r, false
		}
		if x.rel() == "dns" { // which ns.dns is below
			return x.nodata(x.last()), true
		}
		// Stock has a name below: <protocol>.<service>.<namespace>.svc with any port
		// in front, pin._zone and _zone with any topology zone, and a cluster with its
		// endpoint. It resolves nothing for CNAME, which could fail.
		labels := dns.SplitDomainName(x.rel())
		if n := len(labels); n < 4 || n > 5 || labels[n-1] != "svc" {
			return r, false
		}
		front := []string{"_"}
		if labels[0] == "_zone" {
			front = append(front, "_.pin")
		}
		if endpoint := x.facts.below[x.rel()]; endpoint != "" {
			front = append(front, endpoint)
		}
		for _, f := range front {
			child := x
			child.name, child.qtype, child.tcp = f+"."+x.name, dns.TypeCNAME, true
			if below, _ := child.expected(child.ask(x.v.name, nil)); below.err == "" && !child.denies(below) {
				return x.nodata(x.last()), true
			}
		}
		return r, false
	}},
	{"no-address-txt", 0.5, func(x asked, r reply) (reply, bool) {
		if _, mc := option(x.v.stanza, "multicluster"); !mc || x.qtype != dns.TypeTXT || !atOrBelow(x.rel(), "pending.shop.svc") || !x.denies(r) {
			return r, false
		}
		r = x.ask(x.v.name, func(q *question) { q.qtype = dns.TypeA })
		return r, r.isNODATA()
	}},

	// Answers.
	{"failed-chase", 2, func(x asked, r reply) (reply, bool) {
		to := func(target string) func(string) bool {
			return func(rr string) bool {
				return fieldOf(rr, rrtype) == "CNAME" && (target == "" || fieldOf(rr, data) == target)
			}
		}
		alone := len(slices.DeleteFunc(slices.Clone(r.answer), to(""))) == 0
		led := (x.qtype == dns.TypeA || x.qtype == dns.TypeAAAA) && alone && slices.ContainsFunc(r.answer, to("fail.example.com."))
		return r.failed(), led
	}},
	{"external-cname", 2, func(x asked, r reply) (reply, bool) {
		if !x.last().external || x.qtype != dns.TypeCNAME || !r.isNODATA() {
			return r, false
		}
		r.ns = nil
		for _, rr := range x.ask(x.v.name, func(q *question) { q.qtype, q.tcp = dns.TypeA, true }).answer {
			if fieldOf(rr, owner) == x.name && fieldOf(rr, rrtype) == "CNAME" {
				r.answer = append(r.answer, rr)
			}
		}
		return r, len(r.answer) > 0
	}},
	{"external-twice", 2, func(x asked, r reply) (reply, bool) {
		n := len(r.answer)
		r.answer = slices.Compact(slices.Clone(r.answer))
		return r, x.last().external && len(r.answer) < n
	}},
	{"external-ttl", 12, func(x asked, r reply) (reply, bool) {
		inside, outside := x.v.ttls()
		changed := false
		r.answer = each(r.answer, func(rr string) string {
			return edit(rr, func(f []string) {
				own := dns.IsSubDomain(externalZone, strings.ToLower(f[owner])) && (f[rrtype] == "SRV" || f[rrtype] == "CNAME")
				if own && f[ttl] == inside && inside != outside {
					f[ttl], changed = outside, true
				}
			})
		})
		return r, changed
	}},
	{"external-spelling", 60, func(x asked, r reply) (reply, bool) {
		first := x.v.placesOf(x.name)
		if len(first) == 0 || !first[0].external || r.err != "" {
			return r, false
		}
		return r.respell(first[0].zone), true
	}},
}

// expected returns what ours has to answer where stock answers r, and the names
// of the rules that changed that.
func (x asked) expected(r reply) (reply, []string) {
	var by []string
	if len(x.v.placesOf(x.name)) == 0 {
		return r, nil // not about what is compared
	}
	for _, rule := range x.rules {
		if changed, ok := rule.rewrite(x, r); ok && !changed.equal(r) {
			r, by = changed, append(by, rule.name)
		}
	}
	return r, by
}

// judge compares two replies to a question. It returns "" if ours is what it
// has to be, or else what it had to be, and the names of the rules that apply.
func (x asked) judge(stock, ours reply) (wrong string, by []string) {
	want, by := x.expected(stock)
	if ours.equal(want) {
		return "", by
	}
	cut, ourCut := stock.head.Truncated, ours.head.Truncated
	if x.tcp || stock.err == "" && !cut {
		return want.String(), by
	}
	full := x
	full.tcp = true
	whole, more := full.expected(full.ask(x.v.name, nil))
	if by = union(by, more); ourCut {
		// As many records as stock has room for, if it has an answer.
		least := 0
		if cut {
			least = want.size()
		}
		if ours.truncatedFrom(whole, least) {
			return "", by
		}
	} else if len(by) > 0 && ours.equal(whole) { // which may have made it shorter
		return "", by
	}
	return whole.String() + "\nmaybe truncated", by
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// ask asks stock the question, changed by change, and returns the reply as one
// to the question itself.
func (x asked) ask(variant string, change func(*question)) reply {
	q := x.question
	if change != nil {
		change(&q)
	}
	r := x.stock(variant, q)
	if r.err == "" {
		r.asked = questionText(x.message().Question)
	}
	return r
}

// last is the last place at which the question's name is looked for.
func (x asked) last() place {
	places := x.v.placesOf(x.name)
	return places[len(places)-1]
}

// rel returns the question's name in lower case without the zone, "" for the zone.
func (x asked) rel() string {
	return strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(x.name), strings.ToLower(x.last().zone)), ".")
}

// nodata is what a place says to the question if the name has no records of the
// type: the same as to the question for the zone's own address.
func (x asked) nodata(p place) reply {
	return x.ask(x.v.name, func(q *question) { q.name, q.qtype = p.zone, dns.TypeA })
}

// denied is what is said to the question if the name does not exist.
func (x asked) denied() reply {
	p := x.last()
	r := x.nodata(p)
	if p.falls {
		return r.failed()
	}
	r.head.Rcode = dns.RcodeNameError
	return r
}

// denies reports whether r says that the name does not exist.
func (x asked) denies(r reply) bool {
	return r.isNXDOMAIN() || x.last().falls && r.equal(r.failed())
}

// lowerCase is what stock says to the question in lower case, with the names as
// the question spells them.
func (x asked) lowerCase() reply {
	r := x.ask(x.v.name, func(q *question) { q.name = strings.ToLower(q.name) })
	if r.err == "" {
		r.answer = each(r.answer, func(rr string) string { return edit(rr, func(f []string) { f[owner] = x.name }) })
		r = r.respell(x.last().zone)
	}
	return r
}

// asOf is what stock says of another service to the question, which is about
// one of the services <name>.<namespace>, or something below it.
func (x asked) asOf(service, other string) (reply, bool) {
	p := x.last()
	if !p.external {
		service, other = service+".svc", other+".svc"
	}
	if !atOrBelow(x.rel(), service) {
		return reply{}, false
	}
	end := strings.TrimPrefix(p.zone, ".")
	at := len(x.name) - len(end) - len(service) - 1
	return x.ask(x.v.name, func(q *question) { q.name = x.name[:at] + other + "." + end }), true
}

// failed is a reply to the same question that says that the server failed.
func (r reply) failed() reply {
	r.head.Rcode, r.head.Authoritative, r.head.Truncated = dns.RcodeServerFailure, false, false
	r.answer, r.ns, r.extra = nil, nil, nil
	return r
}

func atOrBelow(name, parent string) bool {
	return name == parent || strings.HasSuffix(name, "."+parent)
}

// targetZone is the zone of k8s_external in which the targets of PTR records are.
func (v variant) targetZone() string {
	zones := append(strings.Fields(v.external), "")
	return dns.Fqdn(zones[0])
}

// ofExternal reports whether the target of a PTR record is k8s_external's.
func (v variant) ofExternal(target string) bool {
	return v.external != "" && dns.IsSubDomain(v.targetZone(), target)
}

// namespaceOf returns the namespace in the target of a PTR record.
func (v variant) namespaceOf(target string) string {
	labels := dns.SplitDomainName(target)
	i := slices.Index(labels, "svc")
	if v.ofExternal(target) {
		i = len(labels) - dns.CountLabel(v.targetZone())
	}
	return labels[max(i-1, 0)]
}

func isReverse(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, ".in-addr.arpa.") || strings.HasSuffix(name, ".ip6.arpa.")
}
