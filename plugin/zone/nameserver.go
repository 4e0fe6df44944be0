package zone

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// localRecord is an address of a name server: of the service id, of its
// endpoint of that label, or without a service of ns.dns, as in external zones
// of ns1. Those of an Answer are sorted, by name for NS records and by address
// for addresses.
type localRecord struct {
	label string
	id    *ident
	addr  netip.Addr
}

// resolveLocal answers with the services that this server is an endpoint of,
// or, if there are none, with its own addresses.
func (a *Answer) resolveLocal(has content) {
	a.stamped = false // it depends on every service with an endpoint here
	if !a.ready(Services) {
		return
	}
	if !a.view.opt.NoEndpoints && !a.ready(EndpointSlices) {
		return
	}
	known := false
	for _, addr := range a.view.local {
		if a.view.opt.NoEndpoints {
			break
		}
		for _, id := range a.snap.ownersOf(addr) {
			s := a.owned(id)
			if s == nil || !s.hasEndpoint(addr) {
				continue
			}
			known = true
			if s.obj != nil && (s.obj.Kind != ExternalName || a.view.opt.External != nil) {
				a.addLocal(s, addr)
			}
		}
	}
	if !known {
		for _, addr := range a.view.local {
			a.local = append(a.local, localRecord{addr: addr})
		}
	}
	byName := func(l, o localRecord) int {
		if l.id == nil || o.id == nil { // then both are: the addresses are of ns.dns
			return 0
		}
		return cmp.Or(cmp.Compare(l.id.Namespace, o.id.Namespace), cmp.Compare(l.id.Name, o.id.Name), cmp.Compare(l.label, o.label))
	}
	slices.SortFunc(a.local, func(l, o localRecord) int {
		if has == hasNS {
			return cmp.Or(byName(l, o), l.addr.Compare(o.addr))
		}
		return cmp.Or(l.addr.Compare(o.addr), byName(l, o))
	})
	a.local = slices.Compact(a.local)
	any := has == hasNS && (len(a.local) > 0 || a.view.opt.External != nil)
	for _, l := range a.local {
		any = any || a.qtype == typeOf(l.addr)
	}
	a.found(has, any)
}

// addLocal adds the addresses of s, of which addr is an endpoint: of a headless
// service those in the slices that have addr, as CoreDNS does, which bounds them
// to what an API server lets a slice have.
func (a *Answer) addLocal(s *service, addr netip.Addr) {
	x := a.view.opt.External
	if x != nil && !(x.Headless && s.obj.Kind == Headless) {
		for addr := range s.obj.External.addrs {
			a.local = append(a.local, localRecord{addr: addr})
		}
		return
	}
	if s.obj.Kind == ClusterIP {
		for _, addr := range s.obj.ClusterIPs {
			a.local = append(a.local, localRecord{id: s.id, addr: addr})
		}
		return
	}
	done := slices.Grow(a.picked.of[:0], len(s.slices))[:len(s.slices)]
	clear(done)
	a.picked.of = done
	from, to := s.at(addr)
	for i := from; i < to; i++ {
		slice := s.addrRef(i).set / setsPerSlice
		if done[slice] {
			continue
		}
		done[slice] = true
		for j := range uint32(setsPerSlice) {
			at := slice*setsPerSlice + j
			set, width, _ := s.set(at)
			for index := range uint32(len(set.packed) / width) {
				a.addLocalEndpoint(s, endpointRef{at, index})
			}
		}
	}
}

func (a *Answer) addLocalEndpoint(s *service, ref endpointRef) {
	addr, _ := netip.AddrFromSlice(s.addrAt(ref))
	l := localRecord{addr: addr}
	if a.view.opt.External == nil {
		l.label, l.id = string(s.appendName(nil, ref)), s.id
	}
	a.local = append(a.local, l)
}

// walkNS walks the zone's name servers and their addresses.
func (a *Answer) walkNS(r *Record, yield func(*Record) bool) bool {
	r.Type = dnswire.TypeNS
	names := a.local
	if a.view.opt.External != nil {
		names = externalServer[:] // whether or not it has an address
	}
	for i, l := range names {
		if i > 0 && names[i-1].id == l.id && names[i-1].label == l.label {
			continue
		}
		r.Target = a.localName(l)
		if !yield(r) {
			return false
		}
	}
	for _, l := range a.local {
		packed := a.pack(l.addr)
		*r = Record{Section: dnswire.Additional, Type: addrType(packed), TTL: r.TTL, Owner: a.localName(l), Packed: packed}
		if !yield(r) {
			return false
		}
	}
	return true
}

// externalServer is external zones' one name server.
var externalServer [1]localRecord

func (a *Answer) localName(l localRecord) dnswire.Name {
	if l.id == nil {
		return dnswire.Name{Labels: a.view.nameServer, At: a.zone()}
	}
	return dnswire.Name{Label: append(a.scratch[:0], l.label...), Labels: l.id.wire, At: a.zone()}
}

// walkLocal walks the addresses of the name server.
func (a *Answer) walkLocal(r *Record, yield func(*Record) bool) bool {
	r.Type = a.qtype
	for i, l := range a.local {
		if typeOf(l.addr) != a.qtype || i > 0 && a.local[i-1].addr == l.addr {
			continue
		}
		r.Packed = a.pack(l.addr)
		if !yield(r) {
			return false
		}
	}
	return true
}
