package zone

import (
	"bytes"
	"cmp"
	"math"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// endpointOrder has a service's endpoints in two orders, so that what belongs
// together stands together: a question finds its endpoints by binary search, and
// what would be a duplicate record comes right behind the first.
type endpointOrder struct {
	// byAddr is the endpoints by address, IPv4 first, and those of one address
	// by name. It is nil if there is one set of each family at most, which is in
	// that order itself.
	byAddr []endpointRef
	// byLabel is the endpoints by label, and cluster if they are imported; those
	// of one label by address. It is nil if that is the order by address: if none
	// has a name, and imported ones are in one set of each family.
	byLabel []endpointRef
	first   [2]uint32 // of IPv4 and IPv6, the first set that is not empty
	n4, n   int       // how many endpoints there are: IPv4, and all
	pairs   int       // of endpoint and port; an endpoint without ports counts as one
}

// sortEndpoints fills in the order. Where old has one, it costs a copy of that,
// and sorting what changed.
func (s *service) sortEndpoints(old *service) {
	var filled [2]int
	named := false
	for i := range s.sets() {
		set, width, slice := s.set(i)
		n := len(set.packed) / width
		if n == 0 {
			continue
		}
		if filled[i%2]++; filled[i%2] == 1 {
			s.first[i%2] = i
		}
		if s.n += n; i%2 == 0 {
			s.n4 += n
		}
		s.pairs += n * max(1, len(slice.Ports))
		named = named || set.more != nil && set.more.names != nil
	}
	many := filled[0] > 1 || filled[1] > 1
	if !many && !named {
		return
	}
	moved, added := s.since(old)
	if many {
		slices.SortFunc(added, s.compareAddr)
		s.byAddr = s.reorder(old, (*service).addrRef, moved, added, s.compareAddr)
	}
	if named || many && s.id.imported {
		slices.SortFunc(added, s.compareLabel)
		s.byLabel = s.reorder(old, (*service).labelRef, moved, added, s.compareLabel)
	}
}

// move says where the endpoints of a set went: to which set, and which place each
// has there; nil if it is the same. What is not there is gone.
type move struct {
	to    uint32
	index []uint32
}

const gone = math.MaxUint32

// since returns where the endpoints of old's sets went, and the endpoints that
// old has not. An endpoint that keeps its address and name stays, whatever else
// of its slice changes.
func (s *service) since(old *service) (moved []move, added []endpointRef) {
	if old == nil || old.publishes() != s.publishes() {
		old = nil
	} else {
		moved = make([]move, old.sets())
	}
	pairSlices(old, s, func(i, j int) {
		for k := range uint32(setsPerSlice) {
			from, to := uint32(i)*setsPerSlice+k, uint32(j)*setsPerSlice+k
			switch {
			case j < 0:
				moved[from] = move{to: gone}
			case i < 0:
				set, width, _ := s.set(to)
				for index := range uint32(len(set.packed) / width) {
					added = append(added, endpointRef{to, index})
				}
			case old.slices[i] == s.slices[j]:
				moved[from] = move{to: to}
			default:
				a, width, _ := old.set(from)
				b, _, _ := s.set(to)
				var more []uint32
				moved[from].to = to
				moved[from].index, more = a.since(b, width)
				for _, index := range more {
					added = append(added, endpointRef{to, index})
				}
			}
		}
	})
	return moved, added
}

// since returns which place each endpoint of s has in the set now, or gone, and
// the places of those that s has not.
func (s *addrSet) since(now *addrSet, width int) (index, added []uint32) {
	n, m := len(s.packed)/width, len(now.packed)/width
	index = make([]uint32, n)
	for i, j := 0, 0; i < n || j < m; {
		c := 0
		switch {
		case i == n:
			c = 1
		case j == m:
			c = -1
		default:
			if c = bytes.Compare(s.packed[i*width:(i+1)*width], now.packed[j*width:(j+1)*width]); c == 0 {
				c = compareNames(s.name(i), now.name(j))
			}
		}
		switch {
		case c < 0:
			index[i] = gone
			i++
		case c > 0:
			added = append(added, uint32(j))
			j++
		default:
			index[i] = uint32(j)
			i, j = i+1, j+1
		}
	}
	return index, added
}

// reorder returns an order of s's endpoints: old's, read by at, without those that
// are gone, and with those added, which are sorted.
func (s *service) reorder(old *service, at func(*service, int) endpointRef, moved []move, added []endpointRef,
	compare func(a, b endpointRef) int) []endpointRef {
	kept := make([]endpointRef, 0, s.n)
	if moved != nil {
		for i := range old.n {
			ref := at(old, i)
			m := &moved[ref.set]
			if m.index != nil {
				ref.index = m.index[ref.index]
			}
			if ref.set = m.to; ref.set != gone && ref.index != gone {
				kept = append(kept, ref)
			}
		}
	}
	// From the back, so that each moves once.
	end := len(kept)
	kept = kept[:s.n]
	for i := len(added) - 1; i >= 0; i-- {
		at, _ := slices.BinarySearchFunc(kept[:end], added[i], compare)
		copy(kept[at+i+1:], kept[at:end])
		kept[at+i] = added[i]
		end = at
	}
	return kept
}

// compareAddr is the order by address.
func (s *service) compareAddr(a, b endpointRef) int {
	if c := cmp.Compare(a.set%2, b.set%2); c != 0 {
		return c
	}
	if c := bytes.Compare(s.addrAt(a), s.addrAt(b)); c != 0 {
		return c
	}
	if c := compareFold(s.nameAt(a), s.nameAt(b)); c != 0 {
		return c
	}
	return a.compare(b)
}

// compareLabel is the order by label.
func (s *service) compareLabel(a, b endpointRef) int {
	if c := s.compareTarget(a, b); c != 0 {
		return c
	}
	return s.compareAddr(a, b)
}

// compareTarget compares the labels in front of the service's: two endpoints
// with equal ones have one name.
func (s *service) compareTarget(a, b endpointRef) int {
	key := s.keyOf(b)
	c := compareKey(s.keyOf(a), key.addr, key.name)
	if c == 0 && s.id.imported {
		c = compareFold(s.clusterOf(a.set), s.clusterOf(b.set))
	}
	return c
}

func (r endpointRef) compare(o endpointRef) int {
	if c := cmp.Compare(r.set, o.set); c != 0 {
		return c
	}
	return cmp.Compare(r.index, o.index)
}

// labelKey is what labels are sorted by: the address of which the label is the
// dashed form, or else the label, which comes before all of those.
type labelKey struct {
	addr netip.Addr
	name string
}

func (s *service) keyOf(r endpointRef) (k labelKey) {
	set, width, _ := s.set(r.set)
	k.name = set.name(int(r.index))
	if k.name == "" {
		k.addr, _ = netip.AddrFromSlice(set.packed[int(r.index)*width : (int(r.index)+1)*width])
	} else if set.more.spelling {
		k.addr, _ = spelledAddr([]byte(k.name))
	}
	return k
}

// compareKey compares a key with that of the address addr, or if it is none of
// the label name.
func compareKey[B string | []byte](k labelKey, addr netip.Addr, name B) int {
	if k.addr.IsValid() || addr.IsValid() {
		return k.addr.Compare(addr) // none is before all
	}
	return compareFold(k.name, name)
}

// spelledAddr returns the address whose dashed form label is.
func spelledAddr(label []byte) (netip.Addr, bool) {
	addr, ok := parseDashed(label)
	var b [48]byte
	if !ok || !dnswire.EqualFold(appendDashed(b[:0], addr), label) {
		return netip.Addr{}, false
	}
	return addr, true
}

// addrRef returns the endpoint at place i of the order by address.
func (s *service) addrRef(i int) endpointRef {
	switch {
	case s.byAddr != nil:
		return s.byAddr[i]
	case i < s.n4:
		return endpointRef{s.first[0], uint32(i)}
	}
	return endpointRef{s.first[1], uint32(i - s.n4)}
}

// labelRef returns the endpoint at place i of the order by label.
func (s *service) labelRef(i int) endpointRef {
	if s.byLabel != nil {
		return s.byLabel[i]
	}
	return s.addrRef(i)
}

// sameTarget reports whether two endpoints have one name.
func (s *service) sameTarget(a, b endpointRef) bool {
	if s.byLabel == nil { // none has a name, and each family is of one cluster
		return a.set%2 == b.set%2 && bytes.Equal(s.addrAt(a), s.addrAt(b))
	}
	var label [48]byte
	switch x, y := s.nameAt(a), s.nameAt(b); {
	case x == "" && y == "":
		if !bytes.Equal(s.addrAt(a), s.addrAt(b)) {
			return false
		}
	case x == "":
		if compareFold(y, s.appendName(label[:0], a)) != 0 {
			return false
		}
	case y == "":
		if compareFold(x, s.appendName(label[:0], b)) != 0 {
			return false
		}
	case compareFold(x, y) != 0:
		return false
	}
	return !s.id.imported || compareFold(s.clusterOf(a.set), s.clusterOf(b.set)) == 0
}

// at returns the places of the endpoints with the address addr in the order by
// address.
func (s *service) at(addr netip.Addr) (from, to int) {
	full := addr.As16()
	packed := full[:]
	lo, hi := s.n4, s.n
	if addr.Is4() {
		packed = full[12:]
		lo, hi = 0, s.n4
	}
	return span(lo, hi, func(i int) int { return bytes.Compare(s.addrAt(s.addrRef(i)), packed) })
}

// called returns the places of the endpoints with the given label in the order
// by label; if the service is imported, of those in the given cluster.
func (s *service) called(label, cluster []byte) (from, to int) {
	addr, _ := spelledAddr(label)
	if s.byLabel == nil {
		if !addr.IsValid() {
			return 0, 0
		}
		from, to = s.at(addr)
		if from < to && s.id.imported && compareFold(s.clusterOf(s.addrRef(from).set), cluster) != 0 {
			return 0, 0 // all of them are in one set
		}
		return from, to
	}
	return span(0, s.n, func(i int) int {
		ref := s.byLabel[i]
		c := compareKey(s.keyOf(ref), addr, label)
		if c == 0 && s.id.imported {
			c = compareFold(s.clusterOf(ref.set), cluster)
		}
		return c
	})
}

// targetEnd returns the place behind the last endpoint, before the place to, that
// has the name of the one at place i in the order by label.
func (s *service) targetEnd(i, to int) int {
	ref := s.labelRef(i)
	return endOf(i+1, to, func(j int) bool { return s.sameTarget(ref, s.labelRef(j)) })
}

// span returns the places between lo and hi at which compare is 0; before them
// it is negative and behind them positive.
func span(lo, hi int, compare func(int) int) (from, to int) {
	end := hi
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); compare(mid) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, endOf(lo, end, func(i int) bool { return compare(i) == 0 })
}

// endOf returns the first place between lo and hi at which is does not hold, or
// hi. It holds nowhere behind. Its cost is the logarithm of how many places that
// takes, mostly one.
func endOf(lo, hi int, is func(int) bool) int {
	for step := 1; lo < hi; step *= 2 {
		next := min(lo+step, hi)
		if !is(next - 1) {
			hi = next - 1
			break
		}
		lo = next
	}
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); is(mid) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// distinctAddrs returns the addresses of the endpoints from one place to another
// in the order by address, packed, each once. Where that is what a set holds, the
// result is the set's memory.
func (s *service) distinctAddrs(from, to, width int) []byte {
	if from == to {
		return nil
	}
	if s.byAddr == nil {
		set, _, _ := s.set(s.addrRef(from).set)
		if distinct(set.packed, width) {
			return set.packed
		}
	}
	sets := make([][]byte, s.sets()) // what set says of each, once
	for i := range sets {
		set, _, _ := s.set(uint32(i))
		sets[i] = set.packed
	}
	packed := make([]byte, 0, (to-from)*width)
	for i := from; i < to; i++ {
		ref := s.addrRef(i)
		addr := sets[ref.set][int(ref.index)*width:][:width]
		if n := len(packed); n == 0 || !bytes.Equal(packed[n-width:], addr) {
			packed = append(packed, addr...)
		}
	}
	if len(packed) < cap(packed) {
		packed = bytes.Clone(packed)
	}
	return packed
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

func compareFold[B string | []byte](a string, b B) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		if c := cmp.Compare(fold(a[i]), fold(b[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// compareNames is the order of the names of endpoints at one address.
func compareNames(a, b string) int { return cmp.Or(compareFold(a, b), cmp.Compare(a, b)) }
