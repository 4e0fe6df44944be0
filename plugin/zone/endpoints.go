package zone

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// ofClusterIP reports whether the answer is about the service itself and its
// ClusterIPs, not about endpoints.
func (a *Answer) ofClusterIP() bool {
	return a.svc.obj.Kind == ClusterIP && a.sel.by != byEndpoint
}

// empty reports whether a walk would find no record.
func (a *Answer) empty() bool {
	if a.has == hasAddrs && (a.sel.all() || a.ofClusterIP()) {
		return len(a.svcAddrs()) == 0
	}
	return a.walk(a.record(), func(*Record) bool { return false })
}

// svcAddrs returns the addresses of the service's own name.
func (a *Answer) svcAddrs() []byte {
	if a.qtype == dnswire.TypeA {
		return a.svc.v4
	}
	return a.svc.v6
}

func (a *Answer) walkAddrs(r *Record, yield func(*Record) bool) bool {
	r.Type = a.qtype
	if a.sel.all() || a.ofClusterIP() {
		r.Packed = a.svcAddrs()
		return yield(r)
	}
	for ref := range a.endpoints {
		r.Packed = a.svc.addrAt(ref)
		if addrType(r.Packed) != a.qtype || a.svc.overlap && a.hadAddr(ref) {
			continue
		}
		if !yield(r) {
			return false
		}
	}
	return true
}

// walkClusterSRV walks the SRV records of a service with ClusterIPs: one for
// each port number, whatever its names and protocols, to the service itself.
func (a *Answer) walkClusterSRV(r *Record, yield func(*Record) bool) bool {
	obj := a.svc.obj
	self := dnswire.Name{Labels: a.svc.id.wire, At: a.zone()}
	any := false
	r.Type, r.Weight, r.Target, r.TargetRef = dnswire.TypeSRV, weight(a.total), self, 1
	for i := range obj.Ports {
		p := &obj.Ports[i]
		if !a.sel.matches(p) || p.Number < 0 || slices.ContainsFunc(obj.Ports[:i], func(o Port) bool {
			return o.Number == p.Number && a.sel.matches(&o)
		}) {
			continue
		}
		r.Port = uint16(p.Number)
		if !yield(r) {
			return false
		}
		any = true
	}
	if !any {
		return true // no ports, no glue
	}
	return a.walkGlue(r.TTL, self, a.svc.v4, a.svc.v6, yield)
}

// walkGlue walks the addresses of self, the target with the TargetRef 1.
func (a *Answer) walkGlue(ttl uint32, self dnswire.Name, v4, v6 []byte, yield func(*Record) bool) bool {
	r := &a.rec
	*r = Record{Section: dnswire.Additional, TTL: ttl, Owner: self, OwnerRef: 1}
	for _, set := range []struct {
		typ    uint16
		packed []byte
	}{{dnswire.TypeA, v4}, {dnswire.TypeAAAA, v6}} {
		r.Type, r.Packed = set.typ, set.packed
		if len(r.Packed) > 0 && !yield(r) {
			return false
		}
	}
	return true
}

// walkSRV walks the SRV records of endpoints, one for each endpoint and port
// number, and then the addresses of their targets.
func (a *Answer) walkSRV(r *Record, yield func(*Record) bool) bool {
	r.Type, r.Weight = dnswire.TypeSRV, weight(a.total)
	n := 0
	for ref := range a.endpoints {
		_, _, slice := a.svc.set(ref.set)
		n++
		r.Target, r.TargetRef = a.endpointName(ref), n
		for i := range slice.Ports {
			p := &slice.Ports[i]
			if !a.sel.matches(p) || p.Number < 0 || a.samePortBefore(slice.Ports, i) ||
				a.svc.overlap && a.hadTarget(ref, nil, p.Number) {
				continue
			}
			r.Port = uint16(p.Number)
			if !yield(r) {
				return false
			}
		}
	}
	*r = Record{Section: dnswire.Additional, TTL: r.TTL}
	n = 0
	for ref := range a.endpoints {
		_, _, slice := a.svc.set(ref.set)
		n++
		if !a.anyNumber(slice.Ports) {
			continue
		}
		r.Packed = a.svc.addrAt(ref)
		if a.svc.overlap && a.hadTarget(ref, r.Packed, -1) {
			continue
		}
		r.Type = addrType(r.Packed)
		r.Owner, r.OwnerRef = a.endpointName(ref), n
		if !yield(r) {
			return false
		}
	}
	return true
}

// endpointName returns an endpoint's name. Its label is in a.scratch, and those
// of an imported service's, which begin with the cluster's, in a.below.
func (a *Answer) endpointName(ref endpointRef) dnswire.Name {
	labels := a.view.labels(a.svc.id)
	if a.svc.id.imported {
		labels = append(a.svc.appendCluster(a.below[:0], ref), labels...)
	}
	return dnswire.Name{Label: a.svc.appendName(a.scratch[:0], ref), Labels: labels, At: a.zone()}
}

// appendCluster appends the label of an imported endpoint's cluster, with its
// length octet, if there is one.
func (s *service) appendCluster(dst []byte, ref endpointRef) []byte {
	cluster := s.clusterOf(ref.set)
	if !isLabel(cluster) {
		return dst
	}
	return append(append(dst, byte(len(cluster))), cluster...)
}

// samePortBefore reports whether a port selected before ports[i] has its number.
func (a *Answer) samePortBefore(ports []Port, i int) bool {
	for j := range i {
		if ports[j].Number == ports[i].Number && a.sel.matches(&ports[j]) {
			return true
		}
	}
	return false
}

// anyNumber reports whether a selected port has a number.
func (a *Answer) anyNumber(ports []Port) bool {
	for i := range ports {
		if ports[i].Number >= 0 && a.sel.matches(&ports[i]) {
			return true
		}
	}
	return false
}

// endpoints yields the endpoints of the service that the selector picks.
func (a *Answer) endpoints(yield func(endpointRef) bool) {
	if a.sel.by == byEndpoint {
		a.eachNamed(yield)
		return
	}
	for ref := range a.svc.endpoints {
		if _, _, slice := a.svc.set(ref.set); a.sel.numMatching(slice.Ports) > 0 && a.inTopology(ref) && !yield(ref) {
			return
		}
	}
}

// inTopology reports whether an endpoint is in the topology zone that is asked
// for, if one is.
func (a *Answer) inTopology(ref endpointRef) bool {
	return !a.sel.byZone() || a.svc.zoneAt(ref) == string(a.sel.first)
}

// eachNamed yields the endpoints that the selector names, of imported
// services those in the cluster that it names.
func (a *Answer) eachNamed(yield func(endpointRef) bool) {
	if !a.svc.id.imported {
		a.svc.called(a.sel.first, yield)
		return
	}
	a.svc.called(a.sel.first, func(ref endpointRef) bool {
		return compareFold(a.svc.clusterOf(ref.set), a.sel.second) != 0 || yield(ref)
	})
}

// called yields the endpoints that label is the name of, in any case: one given
// to them or their dashed address.
func (s *service) called(label []byte, yield func(endpointRef) bool) {
	for _, ref := range s.named(label) {
		if !yield(ref) {
			return
		}
	}
	s.unnamed(label, yield)
}

// unnamed yields the endpoints without a name whose dashed address label is.
func (s *service) unnamed(label []byte, yield func(endpointRef) bool) {
	addr, ok := parseDashed(label)
	if !ok || dashedDiffers(label, addr) {
		return
	}
	for ref := range s.at(addr) {
		if s.nameAt(ref) == "" && !yield(ref) {
			return
		}
	}
}

func dashedDiffers(label []byte, addr netip.Addr) bool {
	var b [48]byte
	return !dnswire.EqualFold(appendDashed(b[:0], addr), label)
}

// countEndpoints returns how many pairs of endpoint and port the selector
// picks; an endpoint without ports counts as one.
func (a *Answer) countEndpoints() (n int) {
	if a.sel.by == byEndpoint {
		for ref := range a.eachNamed {
			_, _, slice := a.svc.set(ref.set)
			n += max(1, len(slice.Ports))
		}
		return n
	}
	if a.sel.byZone() {
		for ref := range a.endpoints {
			_, _, slice := a.svc.set(ref.set)
			n += a.sel.numMatching(slice.Ports)
		}
		return n
	}
	for i := range a.svc.sets() {
		set, width, slice := a.svc.set(i)
		if len(set.packed) > 0 {
			n += len(set.packed) / width * a.sel.numMatching(slice.Ports)
		}
	}
	return n
}

// hadAddr reports whether an endpoint before ref, picked too, has its address.
func (a *Answer) hadAddr(ref endpointRef) bool {
	addr, _ := netip.AddrFromSlice(a.svc.addrAt(ref))
	for o := range a.svc.at(addr) {
		if o.before(ref) && a.picks(o) {
			return true
		}
	}
	return false
}

func (a *Answer) picks(o endpointRef) bool {
	if a.sel.by == byEndpoint {
		for ref := range a.eachNamed {
			if ref == o {
				return true
			}
		}
		return false
	}
	_, _, slice := a.svc.set(o.set)
	return a.sel.numMatching(slice.Ports) > 0 && a.inTopology(o)
}

// hadTarget reports whether an endpoint before ref, picked too, has its name
// and, if packed is given, that address, and otherwise a port of that number.
func (a *Answer) hadTarget(ref endpointRef, packed []byte, number int32) bool {
	had := func(o endpointRef) bool {
		if !o.before(ref) || packed != nil && !bytes.Equal(packed, a.svc.addrAt(o)) || !a.inTopology(o) ||
			a.svc.id.imported && a.svc.clusterOf(o.set) != a.svc.clusterOf(ref.set) {
			return false
		}
		_, _, slice := a.svc.set(o.set)
		for i := range slice.Ports {
			p := &slice.Ports[i]
			if a.sel.matches(p) && p.Number >= 0 && (p.Number == number || packed != nil) {
				return true
			}
		}
		return false
	}
	found := false
	var label [maxLabel]byte
	a.svc.called(a.svc.appendName(label[:0], ref), func(o endpointRef) bool {
		found = had(o)
		return !found
	})
	return found
}
