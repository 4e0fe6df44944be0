package zone

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// service is a Service, or a ServiceImport, joined with its EndpointSlices and
// compiled for answering. Immutable. What it can share with the objects it is made from it shares.
type service struct {
	id     *ident
	obj    *Service         // nil if only slices are known: they answer PTR
	slices []*EndpointSlice // sorted by name

	// v4 and v6 are the addresses of the service's own name: its ClusterIPs in
	// their order, or its endpoints' addresses, sorted and each once. Packed.
	v4, v6 []byte
	// target is the ExternalName in wire format, spelled as written.
	target []byte
	endpointOrder
}

// compileService joins obj, which may be nil, and its slices. It returns nil if
// there is neither, or if what is imported has no obj: it would answer nothing.
// Old is the service as it was before, or nil: what did not change is not
// sorted again.
func compileService(id *ident, obj *Service, sliceList []*EndpointSlice, old *service) *service {
	if obj == nil && (len(sliceList) == 0 || id.imported) {
		return nil
	}
	s := &service{id: id, obj: obj, slices: sliceList}
	s.sortEndpoints(old)
	if obj == nil {
		return s
	}
	switch obj.Kind {
	case ExternalName:
		s.target = wireTarget(obj.ExternalName)
	case ClusterIP:
		for _, addr := range obj.ClusterIPs {
			if addr.Is4() {
				s.v4 = append(s.v4, addr.AsSlice()...)
			} else {
				s.v6 = append(s.v6, addr.AsSlice()...)
			}
		}
	case Headless:
		s.v4, s.v6 = s.distinctAddrs(0, s.n4, 4), s.distinctAddrs(s.n4, s.n, 16)
	}
	return s
}

// wireTarget returns an ExternalName in wire format, or nil if it is not served:
// the Kubernetes API documents that an external name that looks like an IP
// address is not resolved, and CoreDNS does as much.
func wireTarget(name string) []byte {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	wire, err := dnswire.AppendName(nil, name)
	if err != nil {
		return nil
	}
	return slices.Clip(wire)
}

// endpointRef refers to an endpoint of a service: to the set it is in and its
// place there.
type endpointRef struct{ set, index uint32 }

// A service has four sets of endpoints for each slice: the ready IPv4 and IPv6
// ones, then those that are not ready, which are empty unless they are to be
// answered. Sets are counted across slices.
const setsPerSlice = 4

var noEndpoints Endpoints

// set returns the endpoints of the set i, the length of an address in it and the
// slice it is of.
func (s *service) set(i uint32) (*addrSet, int, *EndpointSlice) {
	slice := s.slices[i/setsPerSlice]
	from := &slice.Ready
	if i%setsPerSlice >= 2 {
		from = &noEndpoints
		if slice.NotReady != nil && s.publishes() {
			from = slice.NotReady
		}
	}
	if i%2 == 0 {
		return &from.v4, 4, slice
	}
	return &from.v6, 16, slice
}

// publishes reports whether endpoints that are not ready are answered too.
func (s *service) publishes() bool { return s.obj != nil && s.obj.PublishNotReady }

func (s *service) sets() uint32 {
	if s == nil {
		return 0
	}
	return uint32(len(s.slices) * setsPerSlice)
}

// addrAt returns the packed address of an endpoint.
func (s *service) addrAt(r endpointRef) []byte {
	set, width, _ := s.set(r.set)
	return set.packed[int(r.index)*width : (int(r.index)+1)*width]
}

// appendName appends the label of an endpoint.
func (s *service) appendName(dst []byte, r endpointRef) []byte {
	if name := s.nameAt(r); name != "" {
		return append(dst, name...)
	}
	addr, _ := netip.AddrFromSlice(s.addrAt(r))
	return appendDashed(dst, addr)
}

func (s *service) nameAt(r endpointRef) string {
	set, _, _ := s.set(r.set)
	return set.name(int(r.index))
}

// topologyOf returns the topology zone of an endpoint.
func (s *service) topologyOf(r endpointRef) string {
	set, _, _ := s.set(r.set)
	return set.zone(int(r.index))
}

// clusterOf returns the cluster of the endpoints of a set, if they are imported.
func (s *service) clusterOf(set uint32) string { return s.slices[set/setsPerSlice].imported().Cluster }

// hasCluster reports whether an imported endpoint is in a cluster.
func (s *service) hasCluster(cluster []byte) bool {
	for i := range s.sets() {
		if set, _, _ := s.set(i); len(set.packed) > 0 && compareFold(s.clusterOf(i), cluster) == 0 {
			return true
		}
	}
	return false
}

// hasEndpoint reports whether an endpoint has the address addr.
func (s *service) hasEndpoint(addr netip.Addr) bool {
	from, to := s.at(addr)
	return from < to
}

// hasClusterIP reports whether addr is one of the service's ClusterIPs; nil has
// none.
func (s *service) hasClusterIP(addr netip.Addr) bool {
	return s != nil && s.obj != nil && s.obj.Kind == ClusterIP && slices.Contains(s.obj.ClusterIPs, addr)
}

// hasAddr reports whether addr is that of an endpoint, or an external one; nil
// has none.
func (s *service) hasAddr(addr netip.Addr) bool {
	return s != nil && (s.hasEndpoint(addr) || s.external().has(addr))
}

// kind returns the service's kind, or -1 if it is nil or only slices are known.
func (s *service) kind() int {
	if s == nil || s.obj == nil {
		return -1
	}
	return int(s.obj.Kind)
}

func (s *service) clusterIPs() []netip.Addr {
	if s == nil || s.obj == nil {
		return nil
	}
	return s.obj.ClusterIPs
}

// changedBy returns the highest resourceVersion of what s is made from and old,
// which may be nil, was not, or not so that records differed.
func (s *service) changedBy(old *service) (v uint64) {
	if s == nil {
		return 0
	}
	if s.obj != nil && (old == nil || s.obj != old.obj) {
		v = s.obj.Version
	}
	pairSlices(old, s, func(i, j int) {
		if j >= 0 && (i < 0 || !s.sameSlice(s.slices[j], old.slices[i])) {
			v = max(v, s.slices[j].Version)
		}
	})
	return v
}

// sameRecords reports whether s and o answer the same. Endpoints that moved
// from one slice to another count as different.
func (s *service) sameRecords(o *service) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.obj == o.obj && slices.EqualFunc(s.slices, o.slices, s.sameSlice)
}

// sameNotReady reports whether s and o, which have the same records, have the same
// endpoints that are not ready.
func (s *service) sameNotReady(o *service) bool {
	return s == nil || slices.EqualFunc(s.slices, o.slices, func(a, b *EndpointSlice) bool { return a.NotReady.equal(b.NotReady) })
}

// sameSlice reports whether s has the same records from either of two slices.
func (s *service) sameSlice(a, b *EndpointSlice) bool {
	return a == b || a.Name == b.Name && slices.Equal(a.Ports, b.Ports) && a.Ready.equal(&b.Ready) &&
		(!s.id.imported || a.imported().Cluster == b.imported().Cluster) &&
		(!s.publishes() || a.NotReady.equal(b.NotReady))
}

// pairSlices calls pair for every slice of old and new, in the order of their
// names, with its place in both; -1 where it is in one only. Either service may
// be nil.
func pairSlices(old, new *service, pair func(i, j int)) {
	var a, b []*EndpointSlice
	if old != nil {
		a = old.slices
	}
	if new != nil {
		b = new.slices
	}
	for i, j := 0, 0; i < len(a) || j < len(b); {
		c := 0
		switch {
		case i == len(a):
			c = 1
		case j == len(b):
			c = -1
		case a[i] != b[j]:
			c = cmp.Compare(a[i].Name, b[j].Name)
		}
		switch {
		case c < 0:
			pair(i, -1)
			i++
		case c > 0:
			pair(-1, j)
			j++
		default:
			pair(i, j)
			i, j = i+1, j+1
		}
	}
}

// changedAddrs calls changed for every address that old or new has as a
// ClusterIP, external address or endpoint, if the other has it not, or not as
// often or in the same slices. An address may come several times. Either service
// may be nil.
func changedAddrs(old, new *service, changed func(netip.Addr)) {
	if from, to := old.clusterIPs(), new.clusterIPs(); !slices.Equal(from, to) {
		for _, a := range slices.Concat(from, to) {
			changed(a)
		}
	}
	var from, to External
	if x := old.external(); x != nil {
		from = *x
	}
	if x := new.external(); x != nil {
		to = *x
	}
	differing(from.v4, to.v4, 4, changed)
	differing(from.v6, to.v6, 16, changed)
	same := old != nil && new != nil && old.publishes() == new.publishes()
	pairSlices(old, new, func(i, j int) {
		if i >= 0 && j >= 0 && same && old.slices[i] == new.slices[j] {
			return
		}
		for k := range setsPerSlice {
			a, b, width := &noEndpoints.v4, &noEndpoints.v4, 0
			if i >= 0 {
				a, width, _ = old.set(uint32(i*setsPerSlice + k))
			}
			if j >= 0 {
				b, width, _ = new.set(uint32(j*setsPerSlice + k))
			}
			differing(a.packed, b.packed, width, changed)
		}
	})
}

// differing calls differs for every address that stands in one of two sorted
// packed sets more often than in the other.
func differing(a, b []byte, width int, differs func(netip.Addr)) {
	var last []byte
	tell := func(packed []byte) {
		if addr, _ := netip.AddrFromSlice(packed); !bytes.Equal(packed, last) {
			last = packed
			differs(addr)
		}
	}
	for len(a) > 0 || len(b) > 0 {
		c := 0
		switch {
		case len(a) == 0:
			c = 1
		case len(b) == 0:
			c = -1
		default:
			c = bytes.Compare(a[:width], b[:width])
		}
		if c < 0 {
			tell(a[:width])
		}
		if c > 0 {
			tell(b[:width])
		}
		if c <= 0 {
			a = a[width:]
		}
		if c >= 0 {
			b = b[width:]
		}
	}
}
