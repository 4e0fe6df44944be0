package zone

import (
	"bytes"
	"math/rand/v2"
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
	empty := a.walk(a.record(), func(*Record) bool { return false })
	if empty {
		a.countLeftOut() // nobody will walk them
	}
	return empty
}

// svcAddrs returns the addresses of the service's own name.
func (a *Answer) svcAddrs() []byte {
	if a.qtype == dnswire.TypeA {
		return a.svc.v4
	}
	return a.svc.v6
}

// selection is the endpoints that a selector picks.
type selection struct {
	// from and to are places in the order by label.
	from, to int
	// of says for each slice whether it has a port that is picked; nil if ports
	// are not asked for. It is memory that is used again.
	of []bool
}

// selectEndpoints finds the endpoints that the selector picks, and returns how
// many pairs of endpoint and port they are, where an endpoint without ports
// counts as one. If that is for no SRV records, it may be any number but 0.
func (a *Answer) selectEndpoints() (pairs int) {
	s, picked := a.svc, &a.picked
	picked.from, picked.to, picked.of = 0, s.n, picked.of[:0]
	switch a.sel.by {
	case byNothing:
		return s.pairs
	case byEndpoint:
		picked.from, picked.to = s.called(a.sel.first, a.sel.second)
		if a.qtype != dnswire.TypeSRV {
			return picked.to - picked.from
		}
		for i := picked.from; i < picked.to; i++ {
			_, _, slice := s.set(s.labelRef(i).set)
			pairs += max(1, len(slice.Ports))
		}
		return pairs
	case byPort:
		picked.of = slices.Grow(picked.of, len(s.slices))[:len(s.slices)]
		for i, slice := range s.slices {
			matching := a.sel.numMatching(a.portsOf(slice.Ports))
			picked.of[i] = matching > 0
			for j := range uint32(setsPerSlice) {
				set, width, _ := s.set(uint32(i)*setsPerSlice + j)
				pairs += len(set.packed) / width * matching
			}
		}
		return pairs
	}
	for i := range s.sets() {
		set, _, slice := s.set(i)
		pairs += set.inZone(a.sel.first) * max(1, len(slice.Ports))
	}
	return pairs
}

// picks reports whether an endpoint in the selection's range is picked.
func (a *Answer) picks(ref endpointRef) bool {
	switch a.sel.by {
	case byPort:
		return a.picked.of[ref.set/setsPerSlice]
	case byZone, preferZone:
		return a.svc.topologyOf(ref) == string(a.sel.first)
	}
	return true
}

// endpoints yields the endpoints that are picked, in the order by label; another
// says that this one has another name than the one before.
func (a *Answer) endpoints(yield func(ref endpointRef, another bool) bool) {
	s := a.svc
	from, to := a.picked.from, a.picked.to
	first := a.turn(from, to, (*service).labelRef, func(i int) bool { return s.sameTarget(s.labelRef(i-1), s.labelRef(i)) })
	_ = a.between(first, to, yield) && a.between(from, first, yield)
}

// between is endpoints for some places of the order.
func (a *Answer) between(from, to int, yield func(ref endpointRef, another bool) bool) bool {
	s := a.svc
	for i := from; i < to; {
		another := true
		for end := s.targetEnd(i, to); i < end; i++ {
			ref := s.labelRef(i)
			if !a.picks(ref) {
				continue
			}
			if !yield(ref, another) {
				return false
			}
			another = false
		}
	}
	return true
}

// turn returns at which of the places between from and to, in the order that at
// is, a walk begins, which goes on from the first when it has come to the end: at
// the first, or, if not all records are to be given, at a random one. Like says that
// a place is like the one before, and gives no record of its own.
func (a *Answer) turn(from, to int, at func(*service, int) endpointRef, like func(i int) bool) int {
	if a.most == 0 || from == to {
		return from
	}
	// Among places that give a record each is as likely, unless they are very few.
	for tries := 0; a.start < 0; tries++ {
		i := from + rand.IntN(to-from)
		if tries == 16 || (i == from || !like(i)) && a.picks(at(a.svc, i)) {
			a.start = i
		}
	}
	for a.start > from && a.start < to && like(a.start) {
		a.start++
	}
	return a.start
}

func (a *Answer) walkAddrs(r *Record, yield func(*Record) bool) bool {
	r.Type = a.qtype
	if a.sel.all() || a.ofClusterIP() {
		for _, some := range a.someAddrs() {
			if r.Packed = some; len(some) > 0 && !yield(r) {
				return false
			}
		}
		return true
	}
	// In both orders, equal addresses of what is picked come one after the other.
	s := a.svc
	at, from, to := (*service).addrRef, 0, s.n4
	switch {
	case a.sel.by == byEndpoint:
		at, from, to = (*service).labelRef, a.picked.from, a.picked.to
	case a.qtype == dnswire.TypeAAAA:
		from, to = s.n4, s.n
	}
	first := a.turn(from, to, at, func(i int) bool { return bytes.Equal(s.addrAt(at(s, i-1)), s.addrAt(at(s, i))) })
	given := 0
	var last []byte
	for n := range to - from {
		i := first + n
		if i >= to {
			i -= to - from
		}
		ref := at(s, i)
		addr := s.addrAt(ref)
		if addrType(addr) != a.qtype || bytes.Equal(addr, last) || !a.picks(ref) {
			continue
		}
		last, r.Packed = addr, addr
		if !yield(r) {
			return false
		}
		if given++; given == a.most {
			break
		}
	}
	return true
}

// someAddrs returns the addresses of the service's own name that are to be given,
// in two parts.
func (a *Answer) someAddrs() [2][]byte {
	all, width := a.svcAddrs(), 4
	if a.qtype == dnswire.TypeAAAA {
		width = 16
	}
	n := len(all) / width
	if a.most == 0 || n <= a.most {
		return [2][]byte{all}
	}
	if a.start < 0 {
		a.start = rand.IntN(n)
	}
	end := a.start + a.most
	return [2][]byte{all[a.start*width : min(end, n)*width], all[:max(0, end-n)*width]}
}

// walkClusterSRV walks the SRV records of a service with ClusterIPs: one for
// each port number, whatever its names and protocols, to the service itself.
func (a *Answer) walkClusterSRV(r *Record, yield func(*Record) bool) bool {
	self := dnswire.Name{Labels: a.svc.id.wire, At: a.zone()}
	any := false
	r.Type, r.Weight, r.Target, r.TargetRef = dnswire.TypeSRV, weight(a.total), self, 1
	a.ports.reset()
	ports := a.portsOf(a.svc.obj.Ports)
	for i := range ports {
		p := &ports[i]
		if !a.sel.matches(p) || p.Number < 0 || !a.ports.add(p.Number) {
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

// walkSRV walks the SRV records of endpoints, one for each name and port number,
// and then the addresses of those names.
func (a *Answer) walkSRV(r *Record, yield func(*Record) bool) bool {
	s := a.svc
	r.Type, r.Weight = dnswire.TypeSRV, weight(a.total)
	n, named, fits := 0, false, false
	given, names := 0, 0 // records, and names in them
	a.numbers.begin(len(s.slices))
	var last portNumbers
srv:
	for ref, another := range a.endpoints {
		if another {
			n++
			named, last = false, portNumbers{}
			a.ports.reset()
		}
		numbers := a.numbersOf(ref)
		if numbers == last {
			continue
		}
		last = numbers
		list := numbers.in(&a.numbers)
		if len(list) > 0 && !named { // of very many endpoints none may have a port
			r.Target, r.TargetRef, named = a.endpointName(ref), n, true
			fits = a.fits(&r.Target)
		}
		if !fits {
			continue
		}
		for i := range list {
			number := list[(i+int(a.port))%len(list)]
			if !a.ports.add(number) {
				continue
			}
			r.Port = uint16(number)
			if !yield(r) {
				return false
			}
			names = n
			if given++; given == a.most {
				break srv
			}
		}
	}
	*r = Record{Section: dnswire.Additional, TTL: r.TTL}
	n = 0
	var had []byte
	for ref, another := range a.endpoints {
		if another {
			if n++; n > names {
				break
			}
			r.Owner, r.OwnerRef = a.endpointName(ref), n
			fits = a.NameLen(&r.Owner) <= maxName
			had = nil
		}
		addr := s.addrAt(ref)
		if !fits || bytes.Equal(addr, had) || len(a.numbersOf(ref).in(&a.numbers)) == 0 {
			continue
		}
		had, r.Packed, r.Type = addr, addr, addrType(addr)
		if !yield(r) {
			return false
		}
	}
	return true
}

// numbersOf returns the port numbers that are picked of an endpoint's slice.
func (a *Answer) numbersOf(ref endpointRef) portNumbers {
	i := ref.set / setsPerSlice
	return a.numbers.of(i, a.portsOf(a.svc.slices[i].Ports), &a.sel)
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
