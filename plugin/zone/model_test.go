package zone

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/miekg/dns"
)

// naive says what a cluster's DNS answers, by scanning lists of objects, with
// names and addresses as text: CoreDNS's plugin/kubernetes and
// plugin/backend_lookup.go as they read, with the differences of
// docs/differences.md. It is the oracle of the model test.
type naive struct {
	namespaces map[string]bool
	services   map[Key]*Service
	slices     map[Key]*naiveSlice
	pods       map[Key]*Pod
	imports    map[Key]*ServiceImport
	synced     [numResources]bool
	restored   [numResources]bool
	silent     [numResources]bool
	serial     uint32 // not the model's to say
}

// naiveSlice is an EndpointSlice with its endpoints as lists.
type naiveSlice struct {
	Key
	service         string
	imported        *Imported
	ports           []Port
	ready, notReady []Endpoint
}

func newNaive() *naive {
	return &naive{namespaces: map[string]bool{}, services: map[Key]*Service{}, slices: map[Key]*naiveSlice{}, pods: map[Key]*Pod{}, imports: map[Key]*ServiceImport{}}
}

// reply is what a question is answered with. Records are as miekg/dns prints
// them, each section sorted.
type reply struct {
	outcome                       Outcome
	blocked                       Resource
	answer, authority, additional []string
	chase                         []string // the CNAME targets of the outcome Chase, or the host names
}

// naiveView is the options of a view, and where the server is reached.
type naiveView struct {
	Options
	local []netip.Addr
}

// asking is a question about a name in a zone.
type asking struct {
	*naive
	*naiveView
	zone  string // as asked
	name  string // as asked
	qtype uint16
}

// item is one of CoreDNS's msg.Service: an address, or a host name, that a
// name leads to.
type item struct {
	host   string
	port   int
	target string // for SRV
}

// status is what became of a lookup of items.
type status struct {
	outcome Outcome // Success also for no items
	blocked Resource
}

func (m *naive) ask(v *naiveView, name string, qtype uint16) (reply, bool) {
	best := ""
	for _, z := range v.Zones {
		if dns.IsSubDomain(z, name) && len(z) > len(best) {
			best = z
		}
	}
	if best == "" {
		return reply{}, false
	}
	a := &asking{m, v, name[len(name)-len(best):], name, qtype}
	if v.External != nil {
		return a.external(), true
	}
	return a.reply(), true
}

func (a *asking) reply() reply {
	var r reply
	var st status
	switch below := a.below(); {
	case len(below) == 1 && below[0] == "dns-version":
		if a.qtype == dns.TypeTXT {
			r.answer = []string{rr(a.name, 28800, "TXT", `"1.1.0"`)}
		}
	case !a.synced[Namespaces]:
		st = status{Unready, Namespaces}
	case a.multicluster() && !a.synced[ServiceImports]:
		st = status{Unready, ServiceImports}
	case !a.multicluster() && !a.synced[Services]:
		st = status{Unready, Services}
	case len(below) == 0 && a.qtype == dns.TypeNS:
		st = a.ns(&r)
	case len(below) == 2 && below[0] == "ns" && below[1] == "dns":
		st = a.nsAddrs(&r)
	case a.qtype == dns.TypeSOA:
		if len(below) == 0 {
			r.answer = a.soa()
		}
	case a.reverse() != "":
		st = a.ptr(&r)
		if len(below) == 0 && st.outcome == NameError {
			st.outcome = Success // an apex exists
		}
	case a.qtype == dns.TypeA || a.qtype == dns.TypeAAAA:
		r.answer, r.chase, st = a.addresses(nil)
	case a.qtype == dns.TypeSRV:
		st = a.srv(&r)
	case a.qtype == dns.TypeCNAME:
		var items []item
		items, st = a.items()
		if len(items) > 0 && net.ParseIP(items[0].host) == nil {
			r.answer = []string{a.rr(a.name, "CNAME", dns.Fqdn(items[0].host))}
		}
	default:
		_, st = a.items()
	}
	r.outcome, r.blocked = st.outcome, st.blocked
	switch {
	case r.outcome != Success:
		r.answer, r.chase, r.additional = nil, nil, nil
	case r.chase != nil:
		r.outcome, r.answer = Chase, nil
		return r
	case len(r.answer) == 0:
		r.outcome = NoData
	}
	if r.outcome != Success {
		r.authority = a.soa()
	}
	slices.Sort(r.answer)
	slices.Sort(r.additional)
	return r
}

func rr(owner string, ttl uint32, typ, data string) string {
	return fmt.Sprintf("%s\t%d\tIN\t%s\t%s", owner, ttl, typ, data)
}

func (a *asking) rr(owner, typ, data string) string { return rr(owner, a.ttl(), typ, data) }

func (a *asking) address(owner, ip string) string {
	if strings.Contains(ip, ":") {
		return a.rr(owner, "AAAA", ip)
	}
	return a.rr(owner, "A", ip)
}

// ttl returns the TTL of all but dns-version.
func (a *asking) ttl() uint32 {
	if a.stale() {
		return min(a.TTL, 5)
	}
	return a.TTL
}

// stale reports whether anything is that the view has to follow.
func (m *naive) staleFor(v *Options) bool {
	followed := map[Resource]bool{Namespaces: true, Services: true, EndpointSlices: !v.NoEndpoints, Pods: v.Pods == PodsVerified}
	for _, mz := range v.Multicluster {
		if slices.ContainsFunc(v.Zones, func(z string) bool { return dns.IsSubDomain(mz, z) }) {
			followed[EndpointSlices], followed[ServiceImports] = true, true
		}
	}
	for r := range numResources {
		if followed[r] && (m.restored[r] || m.silent[r]) {
			return true
		}
	}
	return false
}

func (a *asking) stale() bool { return a.staleFor(&a.Options) }

// join returns labels in front of the zone.
func (a *asking) join(labels string) string {
	if a.zone == "." {
		return labels + "."
	}
	return labels + "." + a.zone
}

func (a *asking) soa() []string {
	return []string{rr(a.zone, min(a.ttl(), 300), "SOA", fmt.Sprintf("%s %s %d 7200 1800 86400 %d",
		a.join("ns.dns"), a.join("hostmaster"), a.serial, a.ttl()))}
}

// multicluster reports whether the zone has the services of several clusters.
func (a *asking) multicluster() bool {
	return slices.ContainsFunc(a.Multicluster, func(mz string) bool { return dns.IsSubDomain(mz, a.zone) })
}

// below returns the labels in front of the zone, in lower case.
func (a *asking) below() []string {
	labels := dns.SplitDomainName(strings.ToLower(a.name))
	return labels[:len(labels)-dns.CountLabel(a.zone)]
}

// reverse returns the address that the name is the reverse name of, or "".
func (a *asking) reverse() string {
	name := strings.ToLower(a.name)
	if strings.HasSuffix(name, dnsutil.IP6arpa) && dns.CountLabel(name) != 34 {
		return ""
	}
	if text := dnsutil.ExtractAddressFromReverse(name); text != "" {
		return netip.MustParseAddr(text).Unmap().String()
	}
	return ""
}

// endpoints returns the published endpoints of a slice.
func (m *naive) endpoints(s *naiveSlice) []Endpoint {
	all := slices.Clone(s.ready)
	if svc := m.services[Key{s.Namespace, s.service}]; svc != nil && svc.PublishNotReady {
		all = append(all, s.notReady...)
	}
	return all
}

func (m *naive) slicesOf(k Key) (of []*naiveSlice) {
	for _, s := range m.slices {
		if s.Namespace == k.Namespace && s.service == k.Name {
			of = append(of, s)
		}
	}
	return of
}

// hostname is CoreDNS's endpointHostname.
func hostname(e Endpoint) string {
	if e.Name != "" {
		return e.Name
	}
	text := e.Addr.String()
	if strings.Contains(text, ".") {
		return strings.ReplaceAll(text, ".", "-")
	}
	text = strings.ReplaceAll(text, ":", "-")
	if strings.HasSuffix(text, "-") {
		text += "0"
	}
	return text
}

// hidden reports whether the view hides a namespace for reverse names, where
// otherwise it need not exist.
func (a *asking) hidden(ns string) bool {
	return len(a.Namespaces) > 0 && !slices.Contains(a.Namespaces, ns) || a.SelectedNamespaces && !a.namespaces[ns]
}

func (a *asking) needs(r Resource) (status, bool) {
	if a.synced[r] || r == EndpointSlices && a.NoEndpoints {
		return status{}, true
	}
	return status{Unready, r}, false
}

func (a *asking) ptr(r *reply) status {
	if st, ok := a.needs(Services); !ok {
		return st
	}
	ip := a.reverse()
	var targets []string
	for _, s := range a.services {
		if !a.hidden(s.Namespace) && len(targets) == 0 && slices.ContainsFunc(s.ClusterIPs, func(c netip.Addr) bool { return c.String() == ip }) {
			targets = []string{s.Name + "." + s.Namespace}
		}
	}
	if len(targets) == 0 {
		if st, ok := a.needs(EndpointSlices); !ok {
			return st
		}
		for _, s := range a.slices {
			for _, e := range a.endpoints(s) {
				if s.service != "" && !a.NoEndpoints && !a.hidden(s.Namespace) && e.Addr.String() == ip {
					targets = append(targets, hostname(e)+"."+s.service+"."+s.Namespace)
				}
			}
		}
	}
	if len(targets) == 0 {
		return status{outcome: NameError}
	}
	primary := slices.IndexFunc(a.Zones, func(z string) bool { return !strings.HasSuffix(z, ".arpa.") })
	slices.Sort(targets)
	for _, t := range slices.Compact(targets) {
		if a.qtype == dns.TypePTR {
			r.answer = append(r.answer, a.rr(a.name, "PTR", dnsutil.Join(t+".svc", a.Zones[primary])))
		}
	}
	return status{}
}

// server returns name and address of the zone's servers.
func (a *asking) server() (list [][2]string, st status) {
	if st, ok := a.needs(Services); !ok {
		return nil, st
	}
	if st, ok := a.needs(EndpointSlices); !ok {
		return nil, st
	}
	found := false
	for _, local := range a.local {
		for _, s := range a.slices {
			if s.service == "" || a.NoEndpoints || a.hidden(s.Namespace) || !slices.ContainsFunc(a.endpoints(s), func(e Endpoint) bool { return e.Addr == local }) {
				continue
			}
			found = true
			svc := a.services[Key{s.Namespace, s.service}]
			switch {
			case svc == nil:
			case svc.Kind == ClusterIP:
				for _, ip := range svc.ClusterIPs {
					list = append(list, [2]string{a.join(svc.Name + "." + svc.Namespace + ".svc"), ip.String()})
				}
			case svc.Kind == Headless:
				for _, e := range a.endpoints(s) {
					list = append(list, [2]string{a.join(hostname(e) + "." + svc.Name + "." + svc.Namespace + ".svc"), e.Addr.String()})
				}
			}
		}
	}
	if !found {
		for _, local := range a.local {
			list = append(list, [2]string{a.join("ns.dns"), local.String()})
		}
	}
	slices.SortFunc(list, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(list), status{}
}

func (a *asking) ns(r *reply) status {
	list, st := a.server()
	for _, l := range list {
		r.answer = append(r.answer, a.rr(a.name, "NS", l[0]))
		r.additional = append(r.additional, a.address(l[0], l[1]))
	}
	slices.Sort(r.answer)
	r.answer = slices.Compact(r.answer)
	return st
}

func (a *asking) nsAddrs(r *reply) status {
	list, st := a.server()
	for _, l := range list {
		if six := strings.Contains(l[1], ":"); six && a.qtype == dns.TypeAAAA || !six && a.qtype == dns.TypeA {
			r.answer = append(r.answer, a.address(a.name, l[1]))
		}
	}
	slices.Sort(r.answer)
	r.answer = slices.Compact(r.answer)
	return st
}

// addresses is plugin.A and plugin.AAAA.
func (a *asking) addresses(previous []string) (rrs, chase []string, st status) {
	if len(previous) > 0 {
		sub := &asking{a.naive, a.naiveView, a.zone, a.name, a.qtype}
		if below := a.below(); len(below) == 2 && below[0] == "ns" && below[1] == "dns" {
			var r reply
			st = sub.nsAddrs(&r)
			return r.answer, nil, st
		} else if a.reverse() != "" {
			return nil, nil, sub.ptr(new(reply))
		}
	}
	items, st := a.items()
	for _, i := range items {
		if ip := net.ParseIP(i.host); ip != nil {
			six := ip.To4() == nil
			if record := a.address(a.name, i.host); six == (a.qtype == dns.TypeAAAA) && !slices.Contains(rrs, record) {
				rrs = append(rrs, record)
			}
			continue
		}
		target := dns.Fqdn(i.host)
		if dns.IsSubDomain(a.name, target) || len(previous) > 10 || slices.Contains(previous, target) {
			continue
		}
		passed := append(slices.Clone(previous), target)
		if !dns.IsSubDomain(a.zone, target) {
			return nil, passed, status{}
		}
		next := &asking{a.naive, a.naiveView, a.zone, target, a.qtype}
		found, chase, st := next.addresses(passed)
		if chase != nil || st.outcome == Unready {
			return nil, chase, st
		}
		if len(found) > 0 {
			rrs = append(append(rrs, a.rr(a.name, "CNAME", target)), found...)
		}
	}
	return rrs, nil, st
}

// srv is plugin.SRV for items that are addresses.
func (a *asking) srv(r *reply) status {
	items, st := a.items()
	items = slices.DeleteFunc(items, func(i item) bool { return net.ParseIP(i.host) == nil })
	total := 0
	for range items {
		total += 100
	}
	for _, i := range items {
		if i.port == -1 {
			continue
		}
		weight := max(1, int(math.Floor(100.0/float64(total)*100)))
		r.answer = append(r.answer, a.rr(a.name, "SRV", fmt.Sprintf("0 %d %d %s", weight, i.port, i.target)))
		r.additional = append(r.additional, a.address(i.target, i.host))
	}
	slices.Sort(r.answer)
	r.answer = slices.Compact(r.answer)
	slices.Sort(r.additional)
	r.additional = slices.Compact(r.additional)
	return st
}
