package zone

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// nameServers is who serves the zones, in one snapshot. Finding out takes more
// than other answers, and no question changes it, so that a View keeps what it
// found until the index changes.
type nameServers struct {
	of      edit          // the snapshot's
	records []localRecord // sorted by name, then address; each once
	v4, v6  []byte        // their addresses, sorted, each once. Packed.
}

// localRecord is an address of a name server: of the service id, of its
// endpoint of that label, or without a service of ns.dns, as in external zones
// of ns1.
type localRecord struct {
	label string
	id    *ident
	addr  netip.Addr
}

func (l localRecord) compareName(o localRecord) int {
	if l.id == nil || o.id == nil { // then both are: the addresses are of ns.dns
		return 0
	}
	if c := cmp.Compare(l.id.Namespace, o.id.Namespace); c != 0 {
		return c
	}
	if c := cmp.Compare(l.id.Name, o.id.Name); c != 0 {
		return c
	}
	return cmp.Compare(l.label, o.label)
}

func (l localRecord) compare(o localRecord) int {
	if c := l.compareName(o); c != 0 {
		return c
	}
	return l.addr.Compare(o.addr)
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
	if a.servers = a.view.servers.Load(); a.servers == nil || a.servers.of != a.snap.edit {
		a.servers = a.findServers()
		a.view.servers.Store(a.servers)
	}
	switch s := a.servers; {
	case has == hasNS:
		a.found(has, len(s.records) > 0 || a.view.opt.External != nil)
	case a.qtype == dnswire.TypeA:
		a.found(has, len(s.v4) > 0)
	default:
		a.found(has, a.qtype == dnswire.TypeAAAA && len(s.v6) > 0)
	}
}

func (a *Answer) findServers() *nameServers {
	found := &nameServers{of: a.snap.edit}
	known := false
	for _, addr := range a.view.local {
		if a.view.opt.NoEndpoints {
			break
		}
		for id := range a.snap.ownersOf(addr).all {
			s := a.owned(id)
			if s == nil || !s.hasEndpoint(addr) {
				continue
			}
			known = true
			if s.obj != nil && (s.obj.Kind != ExternalName || a.view.opt.External != nil) {
				found.add(s, addr, a.view.opt.External)
			}
		}
	}
	if !known {
		for _, addr := range a.view.local {
			found.records = append(found.records, localRecord{addr: addr})
		}
	}
	slices.SortFunc(found.records, localRecord.compare)
	found.records = slices.Compact(found.records)
	addrs := make([]netip.Addr, len(found.records))
	for i, l := range found.records {
		addrs[i] = l.addr
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, addr := range slices.Compact(addrs) {
		if addr.Is4() {
			found.v4 = append(found.v4, addr.AsSlice()...)
		} else {
			found.v6 = append(found.v6, addr.AsSlice()...)
		}
	}
	return found
}

// add adds the addresses of s, of which addr is an endpoint: of a headless
// service those in the slices that have addr, as CoreDNS does.
func (n *nameServers) add(s *service, addr netip.Addr, x *ExternalOptions) {
	if x != nil && !(x.Headless && s.obj.Kind == Headless) {
		for addr := range s.obj.External.addrs {
			n.records = append(n.records, localRecord{addr: addr})
		}
		return
	}
	if s.obj.Kind == ClusterIP {
		for _, addr := range s.obj.ClusterIPs {
			n.records = append(n.records, localRecord{id: s.id, addr: addr})
		}
		return
	}
	with := make([]bool, len(s.slices))
	for i, to := s.at(addr); i < to; i++ {
		with[s.addrRef(i).set/setsPerSlice] = true
	}
	for i := range s.n {
		ref := s.addrRef(i)
		if !with[ref.set/setsPerSlice] {
			continue
		}
		addr, _ := netip.AddrFromSlice(s.addrAt(ref))
		l := localRecord{addr: addr}
		if x == nil {
			l.label, l.id = string(s.appendName(nil, ref)), s.id
		}
		n.records = append(n.records, l)
	}
}

// externalServer is external zones' one name server.
var externalServer [1]localRecord

// walkNS walks the zone's name servers and their addresses.
func (a *Answer) walkNS(r *Record, yield func(*Record) bool) bool {
	if a.view.opt.Gateway != nil {
		return a.walkGatewayNS(r, yield)
	}
	r.Type = dnswire.TypeNS
	names := a.servers.records
	if a.view.opt.External != nil {
		names = externalServer[:] // whether or not it has an address
	}
	for i, l := range names {
		if i > 0 && names[i-1].compareName(l) == 0 {
			continue
		}
		r.Target = a.localName(l)
		if a.fits(&r.Target) && !yield(r) {
			return false
		}
	}
	for _, l := range a.servers.records {
		packed := a.pack(l.addr)
		*r = Record{Section: dnswire.Additional, Type: addrType(packed), TTL: r.TTL, Owner: a.localName(l), Packed: packed}
		if a.NameLen(&r.Owner) <= maxName && !yield(r) {
			return false
		}
	}
	return true
}

func (a *Answer) localName(l localRecord) dnswire.Name {
	if l.id == nil {
		return dnswire.Name{Labels: a.view.nameServer, At: a.zone()}
	}
	return dnswire.Name{Label: append(a.scratch[:0], l.label...), Labels: l.id.wire, At: a.zone()}
}

// walkLocal walks the addresses of the name server.
func (a *Answer) walkLocal(r *Record, yield func(*Record) bool) bool {
	r.Type, r.Packed = a.qtype, a.servers.v4
	if a.qtype == dnswire.TypeAAAA {
		r.Packed = a.servers.v6
	}
	return yield(r)
}
