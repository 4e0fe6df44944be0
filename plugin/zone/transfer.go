package zone

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Transfer yields the answers that make up a zone, each to a question of its
// own, all from one snapshot, until yield returns false: the SOA, the name
// servers, and what Lookup says to questions for every service and, of headless
// ones, every endpoint and named port. In a reverse zone it is the names of
// all addresses. What answers to anything, names of pods and labels that stand
// for any port, is left out, as are the endpoints of services with ClusterIPs.
// In an external zone, a service reached at addresses and host names has the
// addresses alone: no CNAME stands beside other data (RFC 1034 §3.6.2).
//
// The Answer is valid until yield returns. A gateway's zone is not transferred.
// Transfer reports false if zone is
// not exactly one of v's zones, and an error if a resource has not synced.
func (v *View) Transfer(zone string, yield func(*Answer) bool) (bool, error) {
	apex, err := dnswire.AppendName(nil, zone)
	if err != nil || v.opt.Gateway != nil {
		return false, nil
	}
	apex = dnswire.AppendLower(nil, apex)
	i := slices.IndexFunc(v.origins, func(o *origin) bool { return string(o.wire) == string(apex) })
	if i < 0 {
		return false, nil
	}
	t := &transfer{view: v, origin: v.origins[i], snap: v.Index().current.Load(), yield: yield}
	for _, r := range v.needs(t.origin.multicluster) {
		if !t.snap.has(r) {
			return true, fmt.Errorf("%s have not synced", r)
		}
	}
	t.walk()
	return true, nil
}

// transfer is a zone transfer under way.
type transfer struct {
	view   *View
	origin *origin
	snap   *snapshot
	yield  func(*Answer) bool
	a      Answer
}

func (t *transfer) walk() {
	if !t.ask(nil, dnswire.TypeSOA) || !t.ask(nil, dnswire.TypeNS) {
		return
	}
	from := &t.snap.services
	if t.origin.multicluster && !isReverse(t.origin.wire) {
		from = &t.snap.imports
	}
	var services []*service
	for l := range from.all {
		services = append(services, l.value)
	}
	slices.SortFunc(services, func(a, b *service) int {
		return cmp.Or(cmp.Compare(a.id.Namespace, b.id.Namespace), cmp.Compare(a.id.Name, b.id.Name))
	})
	if isReverse(t.origin.wire) {
		t.addrs(services)
		return
	}
	for _, s := range services {
		if s.obj != nil && !t.service(s) {
			return
		}
	}
}

// ask yields the answer to a question for the labels below the zone, if there
// are records.
func (t *transfer) ask(labels []byte, qtype uint16) bool {
	name := append(slices.Clip(labels), t.origin.wire...)
	if !t.a.q.parse(name) {
		return true // too long for a name: nobody can ask for it
	}
	t.a.begin(t.view, name, len(labels), qtype)
	t.a.transfer = true
	t.a.snap = t.snap
	t.a.resolve(&t.a.q, t.origin)
	return t.a.Outcome != Success || t.yield(&t.a)
}

func (t *transfer) service(s *service) bool {
	t.a.byName = portsByName{}
	if t.view.opt.External != nil {
		return t.external(s)
	}
	base := s.id.wire
	switch s.obj.Kind {
	case ExternalName:
		return t.ask(base, dnswire.TypeCNAME)
	case ClusterIP:
		return t.askAll(base, addrTypes) && t.ask(base, dnswire.TypeSRV) && t.ports(base, s.obj.Ports, map[Port]struct{}{})
	}
	return t.headless(s, base, addrTypes)
}

// external is service for an external zone. There, endpoints have SRV records
// too.
func (t *transfer) external(s *service) bool {
	base := s.id.labels()
	x := s.obj.External
	switch {
	case x == nil && s.obj.Kind != Headless:
		return true
	case x == nil:
		return t.headless(s, base, externalTypes)
	case len(x.v4)+len(x.v6) == 0: // a CNAME, which stands alone
		return t.ask(base, dnswire.TypeCNAME) && t.ports(base, s.obj.Ports, map[Port]struct{}{})
	}
	return t.askAll(base, externalTypes) && t.ports(base, s.obj.Ports, map[Port]struct{}{})
}

var (
	externalTypes = []uint16{dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeSRV}
	addrTypes     = externalTypes[:2]
)

// askAll is ask for several types.
func (t *transfer) askAll(labels []byte, qtypes []uint16) bool {
	for _, qtype := range qtypes {
		if !t.ask(labels, qtype) {
			return false
		}
	}
	return true
}

// headless asks for a headless service, its named ports and its endpoints.
func (t *transfer) headless(s *service, base []byte, qtypes []uint16) bool {
	if !t.askAll(base, qtypes) {
		return false
	}
	seen := map[Port]struct{}{}
	for _, slice := range s.slices {
		if !t.ports(base, slice.Ports, seen) {
			return false
		}
	}
	labels := map[string]struct{}{}
	for i := range s.n {
		ref := s.addrRef(i)
		label := appendLabel(nil, string(s.appendName(nil, ref)))
		if s.id.imported {
			label = s.appendCluster(label, ref)
		}
		if _, had := labels[string(label)]; had {
			continue
		}
		labels[string(label)] = struct{}{}
		if !t.askAll(append(label, base...), qtypes) {
			return false
		}
	}
	return true
}

// ports asks for the SRV records of named ports that are not among seen, and
// adds them there.
func (t *transfer) ports(base []byte, ports []Port, seen map[Port]struct{}) bool {
	for _, p := range ports {
		p.Number = 0
		if _, had := seen[p]; had || p.Name == "" {
			continue
		}
		seen[p] = struct{}{}
		name := append(appendLabel(appendLabel(nil, "_"+p.Name), "_"+p.Protocol), base...)
		if !t.ask(name, dnswire.TypeSRV) {
			return false
		}
	}
	return true
}

// addrs asks for the names of every address in a reverse zone.
func (t *transfer) addrs(services []*service) {
	var addrs []netip.Addr
	for _, s := range services {
		if t.view.opt.External != nil {
			addrs = slices.AppendSeq(addrs, s.external().addrs)
			continue
		}
		addrs = append(addrs, s.clusterIPs()...)
		for i := range s.n {
			addr, _ := netip.AddrFromSlice(s.addrAt(s.addrRef(i)))
			addrs = append(addrs, addr)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, addr := range slices.Compact(addrs) {
		name := appendReverse(nil, addr)
		below := len(name) - len(t.origin.wire)
		if below < 0 || string(name[below:]) != string(t.origin.wire) {
			continue
		}
		if !t.ask(name[:below], dnswire.TypePTR) {
			return
		}
	}
}

// appendReverse appends the name of addr below in-addr.arpa (RFC 1035 §3.5) or
// ip6.arpa (RFC 3596 §2.5).
func appendReverse(dst []byte, addr netip.Addr) []byte {
	b := addr.AsSlice()
	slices.Reverse(b)
	if addr.Is4() {
		for _, octet := range b {
			dst = appendLabel(dst, fmt.Sprint(octet))
		}
		return append(dst, "\x07in-addr\x04arpa\x00"...)
	}
	for _, octet := range b {
		dst = appendLabel(appendLabel(dst, fmt.Sprintf("%x", octet&15)), fmt.Sprintf("%x", octet>>4))
	}
	return append(dst, "\x03ip6\x04arpa\x00"...)
}
