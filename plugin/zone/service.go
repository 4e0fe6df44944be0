package zone

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"sort"

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
	// names finds the endpoints that have a name, by name.
	names []endpointRef
	// overlap says that an address or a label stands among the endpoints more
	// than once, so that records must be checked for duplicates.
	overlap bool
}

// endpointRef refers to an endpoint of a service: to the set it is in and its
// place there.
type endpointRef struct{ set, index uint32 }

// before reports whether r comes before o when sets are read in their order.
func (r endpointRef) before(o endpointRef) bool {
	return r.set < o.set || r.set == o.set && r.index < o.index
}

// compileService joins obj, which may be nil, and its slices. It returns nil if
// there is neither, or if what is imported has no obj: it would answer nothing.
func compileService(id *ident, obj *Service, sliceList []*EndpointSlice) *service {
	if obj == nil && (len(sliceList) == 0 || id.imported) {
		return nil
	}
	s := &service{id: id, obj: obj, slices: slices.Clone(sliceList)}
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
	}
	v4, v6 := s.mergeAddrs(4), s.mergeAddrs(16)
	if obj.Kind == Headless {
		s.v4, s.v6 = v4, v6
	}
	s.names = s.sortNames()
	n := 0
	for i := range s.sets() {
		set, _, _ := s.set(i)
		n += len(set.packed)
	}
	s.overlap = n != len(v4)+len(v6)
	for i, ref := range s.names {
		name := s.nameAt(ref)
		s.overlap = s.overlap || i > 0 && compareFold(s.nameAt(s.names[i-1]), name) == 0
		s.unnamed([]byte(name), func(endpointRef) bool {
			s.overlap = true // named like another's address
			return false
		})
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

// A service has four sets of endpoints for each slice, numbered through; those
// that are not to be answered are empty.
const setsPerSlice = 4

var noEndpoints Endpoints

// set returns the endpoints numbered i, the length of an address in it and the
// slice it is of.
func (s *service) set(i uint32) (*addrSet, int, *EndpointSlice) {
	slice := s.slices[i/setsPerSlice]
	from := &slice.Ready
	if i%setsPerSlice >= 2 {
		from = &noEndpoints
		if slice.NotReady != nil && s.obj != nil && s.obj.PublishNotReady {
			from = slice.NotReady
		}
	}
	if i%2 == 0 {
		return &from.v4, 4, slice
	}
	return &from.v6, 16, slice
}

// hasEndpoints reports whether any endpoint may be answered.
func (s *service) hasEndpoints() bool {
	for i := range s.sets() {
		if set, _, _ := s.set(i); len(set.packed) > 0 {
			return true
		}
	}
	return false
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

// mergeAddrs returns every address of one family once, sorted. Where one set
// already is just that, the result is that set's memory.
func (s *service) mergeAddrs(width int) []byte {
	var from [][]byte
	total := 0
	for i := range s.sets() {
		if set, w, _ := s.set(i); w == width && len(set.packed) > 0 {
			from = append(from, set.packed)
			total += len(set.packed)
		}
	}
	if len(from) == 1 && distinct(from[0], width) {
		return from[0]
	}
	refs := make([][]byte, 0, total/width)
	for _, packed := range from {
		refs = slices.AppendSeq(refs, slices.Chunk(packed, width))
	}
	slices.SortFunc(refs, bytes.Compare)
	refs = slices.CompactFunc(refs, bytes.Equal)
	if len(refs) == 0 {
		return nil
	}
	return bytes.Join(refs, nil)
}

// distinct reports whether no address of a sorted packed set stands in it twice.
func distinct(packed []byte, width int) bool {
	for i := width; i < len(packed); i += width {
		if bytes.Equal(packed[i-width:i], packed[i:i+width]) {
			return false
		}
	}
	return true
}

func (s *service) sortNames() (refs []endpointRef) {
	for i := range s.sets() {
		set, _, _ := s.set(i)
		if set.more == nil {
			continue
		}
		for j, name := range set.more.names {
			if name != "" {
				refs = append(refs, endpointRef{i, uint32(j)})
			}
		}
	}
	slices.SortFunc(refs, func(a, b endpointRef) int {
		return cmp.Or(compareFold(s.nameAt(a), s.nameAt(b)), cmp.Compare(a.set, b.set), cmp.Compare(a.index, b.index))
	})
	return slices.Clip(refs)
}

func (s *service) nameAt(r endpointRef) string {
	set, _, _ := s.set(r.set)
	return set.name(int(r.index))
}

func (s *service) zoneAt(r endpointRef) string {
	set, _, _ := s.set(r.set)
	return set.zone(int(r.index))
}

// clusterOf returns the cluster of the endpoints of a set, if they are imported.
func (s *service) clusterOf(set uint32) string { return s.slices[set/setsPerSlice].imported().Cluster }

// named returns the references to the endpoints called label, in any case.
func (s *service) named(label []byte) []endpointRef {
	i := sort.Search(len(s.names), func(i int) bool { return compareFold(s.nameAt(s.names[i]), label) >= 0 })
	j := i
	for j < len(s.names) && compareFold(s.nameAt(s.names[j]), label) == 0 {
		j++
	}
	return s.names[i:j]
}

// endpoints yields every endpoint.
func (s *service) endpoints(yield func(endpointRef) bool) {
	for i := range s.sets() {
		set, width, _ := s.set(i)
		for j := range uint32(len(set.packed) / width) {
			if !yield(endpointRef{i, j}) {
				return
			}
		}
	}
}

// at returns the endpoints with the address addr. It is small enough to be
// inlined, so that the function it returns costs no allocation.
func (s *service) at(addr netip.Addr) func(func(endpointRef) bool) {
	return func(yield func(endpointRef) bool) { s.eachAt(addr, yield) }
}

func (s *service) eachAt(addr netip.Addr, yield func(endpointRef) bool) {
	full := addr.As16()
	packed := full[:]
	if addr.Is4() {
		packed = full[12:]
	}
	for i := range s.sets() {
		set, width, _ := s.set(i)
		if width != len(packed) {
			continue
		}
		from, to := set.find(packed)
		for j := from; j < to; j++ {
			if !yield(endpointRef{i, uint32(j)}) {
				return
			}
		}
	}
}

// hasEndpoint reports whether an endpoint has the address addr.
func (s *service) hasEndpoint(addr netip.Addr) bool {
	for range s.at(addr) {
		return true
	}
	return false
}

func compareFold[B string | []byte](a string, b B) int {
	for i := range min(len(a), len(b)) {
		if c := cmp.Compare(fold(a[i]), fold(b[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// find returns the positions in set of addr, of the set's family.
func (s *addrSet) find(addr []byte) (from, to int) {
	width := len(addr)
	n := len(s.packed) / width
	at := func(i int) []byte { return s.packed[i*width : (i+1)*width] }
	lo, hi := 0, n
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); bytes.Compare(at(mid), addr) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	to = lo
	for to < n && bytes.Equal(at(to), addr) {
		to++
	}
	return lo, to
}

// hasClusterIP reports whether addr is one of the service's ClusterIPs.
func (s *service) hasClusterIP(addr netip.Addr) bool {
	return s.obj != nil && s.obj.Kind == ClusterIP && slices.Contains(s.obj.ClusterIPs, addr)
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
	for _, slice := range s.slices {
		if old != nil {
			i, ok := slices.BinarySearchFunc(old.slices, slice.Name, bySliceName)
			if ok && s.sameSlice(slice, old.slices[i]) {
				continue
			}
		}
		v = max(v, slice.Version)
	}
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

// sameSlice reports whether s has the same records from either of two slices.
func (s *service) sameSlice(a, b *EndpointSlice) bool {
	return a == b || a.Name == b.Name && slices.Equal(a.Ports, b.Ports) && a.Ready.equal(&b.Ready) &&
		(!s.id.imported || a.imported().Cluster == b.imported().Cluster) &&
		(s.obj == nil || !s.obj.PublishNotReady || a.NotReady.equal(b.NotReady))
}

// diffAddrs calls changed for every address that new, but not old, has as a
// ClusterIP, external address or endpoint, and for every one the other way
// round. An address that one of them has n times more often is told n times.
// Either may be nil.
func diffAddrs(old, new *service, changed func(addr netip.Addr, added bool)) {
	oldIPs, newIPs := old.clusterIPs(), new.clusterIPs()
	if !slices.Equal(oldIPs, newIPs) {
		for _, a := range oldIPs {
			changed(a, false)
		}
		for _, a := range newIPs {
			changed(a, true)
		}
	}
	if from, to := old.external(), new.external(); !from.equal(to) {
		for a := range from.addrs {
			changed(a, false)
		}
		for a := range to.addrs {
			changed(a, true)
		}
	}
	var i, j uint32
	for i < old.sets() || j < new.sets() {
		c := 0
		switch {
		case i >= old.sets():
			c = 1
		case j >= new.sets():
			c = -1
		default:
			c = cmp.Compare(old.slices[i/setsPerSlice].Name, new.slices[j/setsPerSlice].Name)
		}
		for range setsPerSlice {
			var a, b *addrSet = &noEndpoints.v4, &noEndpoints.v4
			width := 0
			if c <= 0 {
				a, width, _ = old.set(i)
				i++
			}
			if c >= 0 {
				b, width, _ = new.set(j)
				j++
			}
			diffSorted(a.packed, b.packed, width, changed)
		}
	}
}

func (s *service) clusterIPs() []netip.Addr {
	if s == nil || s.obj == nil {
		return nil
	}
	return s.obj.ClusterIPs
}

func (s *service) sets() uint32 {
	if s == nil {
		return 0
	}
	return uint32(len(s.slices) * setsPerSlice)
}

// diffSorted merges two sorted packed sets.
func diffSorted(old, new []byte, width int, changed func(addr netip.Addr, added bool)) {
	for len(old) > 0 || len(new) > 0 {
		c := 0
		switch {
		case len(old) == 0:
			c = 1
		case len(new) == 0:
			c = -1
		default:
			c = bytes.Compare(old[:width], new[:width])
		}
		if c < 0 {
			addr, _ := netip.AddrFromSlice(old[:width])
			changed(addr, false)
		}
		if c > 0 {
			addr, _ := netip.AddrFromSlice(new[:width])
			changed(addr, true)
		}
		if c <= 0 {
			old = old[width:]
		}
		if c >= 0 {
			new = new[width:]
		}
	}
}
