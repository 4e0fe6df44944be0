package zone

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
)

// check walks all that w holds and has published and returns what is not as it
// must be. It recomputes by scanning, without the functions that lookups use.
func check(w *Writer) error {
	w.ix.writing.Lock()
	defer w.ix.writing.Unlock()
	s := w.ix.current.Load()
	return errors.Join(
		checkTrie("namespaces", s.namespaces), checkTrie("services", s.services),
		checkTrie("reverse", s.reverse), checkTrie("clusterIPs", s.clusterIPs), checkTrie("pods", s.pods),
		checkTrie("imports", s.imports), checkNamespaces(w, s), checkServices(w, s), checkReverse(s), checkPods(w, s), checkCounts(w, s),
	)
}

// checkTrie checks the structure of t: what trie's comment promises.
func checkTrie[V any](what string, t trie[V]) error {
	n, err := t.root.check(0, 0)
	if err == nil && n != t.len {
		err = fmt.Errorf("%d leaves, len is %d", n, t.len)
	}
	if err != nil {
		return fmt.Errorf("trie %s: %w", what, err)
	}
	return nil
}

// check checks the node at prefix, the lowest shift bits of all hashes below
// it, and returns the number of leaves.
func (n *node[V]) check(shift int, prefix uint64) (count int, err error) {
	if n == nil {
		return 0, nil
	}
	at := fmt.Sprintf("node %#x/%d", prefix, shift)
	if cap(n.leaves) > cap(append([]leaf[V](nil), n.leaves...)) || cap(n.children) > cap(append([]*node[V](nil), n.children...)) {
		return 0, fmt.Errorf("%s: room to grow", at)
	}
	if len(n.leaves)+len(n.children) == 0 {
		return 0, fmt.Errorf("%s: empty", at)
	}
	if shift > 0 && len(n.leaves) == 1 && len(n.children) == 0 {
		return 0, fmt.Errorf("%s: lone leaf", at)
	}
	if shift >= maxShift {
		if n.leafMap != 0 || n.childMap != 0 || n.children != nil {
			return 0, fmt.Errorf("%s: list of equal hashes with bitmaps or children", at)
		}
		for _, l := range n.leaves {
			if l.hash != n.leaves[0].hash || l.hash != prefix {
				return 0, fmt.Errorf("%s: hash %#x in the list", at, l.hash)
			}
		}
		return len(n.leaves), nil
	}
	if n.leafMap&n.childMap != 0 || bits.OnesCount32(n.leafMap) != len(n.leaves) || bits.OnesCount32(n.childMap) != len(n.children) {
		return 0, fmt.Errorf("%s: bitmaps %#x and %#x, %d leaves, %d children", at, n.leafMap, n.childMap, len(n.leaves), len(n.children))
	}
	leaves, children := n.leaves, n.children
	for slot := range uint64(slotMask + 1) {
		below := prefix | slot<<shift
		switch {
		case n.leafMap>>slot&1 != 0:
			if mask := uint64(1)<<min(shift+slotBits, 63) - 1; shift+slotBits < 64 && leaves[0].hash&mask != below ||
				shift+slotBits >= 64 && leaves[0].hash != below {
				return 0, fmt.Errorf("%s slot %d: leaf of hash %#x", at, slot, leaves[0].hash)
			}
			count++
			leaves = leaves[1:]
		case n.childMap>>slot&1 != 0:
			sub, err := children[0].check(shift+slotBits, below)
			if err != nil {
				return 0, err
			}
			count += sub
			children = children[1:]
		}
	}
	return count, nil
}

func checkNamespaces(w *Writer, s *snapshot) error {
	if s.namespaces.len != len(w.held[Namespaces].m) {
		return fmt.Errorf("%d namespaces published, %d held", s.namespaces.len, len(w.held[Namespaces].m))
	}
	for k, o := range w.held[Namespaces].m {
		label := appendLabel(nil, k.Name)
		if s.namespace(label, hashName(label)) != o {
			return fmt.Errorf("namespace %s is not found", k.Name)
		}
	}
	return nil
}

func checkServices(w *Writer, s *snapshot) error {
	attached, belong := 0, 0
	for _, o := range w.held[EndpointSlices].m {
		slice := o.(*EndpointSlice)
		for _, name := range []string{slice.Service, slice.imported().Service} {
			if isLabel(name) && isLabel(slice.Namespace) {
				belong++
			}
		}
	}
	for _, imported := range []bool{false, true} {
		n, err := checkJoined(w, s, imported)
		if err != nil {
			return err
		}
		attached += n
	}
	if attached != belong {
		return fmt.Errorf("%d slices attached to services and imports, %d belong to any", attached, belong)
	}
	return nil
}

// checkJoined checks services, or imports, and returns how many slices are
// theirs.
func checkJoined(w *Writer, s *snapshot, imported bool) (attached int, err error) {
	published, unpublished := s.services, 0
	if imported {
		published = s.imports
	}
	for k, st := range w.states(imported).m {
		attached += len(st.slices)
		labels := appendLabel(appendLabel(nil, k.Name), k.Namespace)
		for i, slice := range st.slices {
			of := slice.Service
			if imported {
				of = slice.imported().Service
			}
			if slice.Namespace != k.Namespace || of != k.Name || w.held[EndpointSlices].m[slice.Key] != slice {
				return 0, fmt.Errorf("service %v: slice %v does not belong", k, slice.Key)
			}
			if i > 0 && st.slices[i-1].Name >= slice.Name {
				return 0, fmt.Errorf("service %v: slices out of order", k)
			}
		}
		if imported && (w.held[ServiceImports].m[k] == nil) != (st.obj == nil) {
			return 0, fmt.Errorf("import %v: object %p", k, st.obj)
		}
		if imported && st.obj == nil {
			if unpublished++; st.compiled != nil || len(st.slices) == 0 {
				return 0, fmt.Errorf("import %v: compiled without an object, or nothing at all", k)
			}
			continue
		}
		switch found := serviceOf(&published, labels, hashName(labels)); {
		case found == nil || found != st.compiled || st.id.imported != imported || !imported && s.serviceByID(st.id) != found:
			return 0, fmt.Errorf("service %v is not found", k)
		case st.id.Key != k || found.id != st.id || len(st.id.solo.few) != 1 || st.id.solo.few[0] != st.id:
			return 0, fmt.Errorf("service %v: another's identity", k)
		case !bytes.Equal(st.id.wire, append(labels, "\x03svc"...)):
			return 0, fmt.Errorf("service %v: wire %q", k, st.id.wire)
		case found.obj != st.obj || st.obj == nil && len(st.slices) == 0:
			return 0, fmt.Errorf("service %v: object %p published, %p held", k, found.obj, st.obj)
		case !found.sameRecords(compileService(st.id, st.obj, st.slices, nil)):
			return 0, fmt.Errorf("service %v is stale", k)
		}
		if err := checkCompiled(st.compiled); err != nil {
			return 0, fmt.Errorf("service %v: %w", k, err)
		}
	}
	if known := len(w.states(imported).m) - unpublished; published.len != known {
		return 0, fmt.Errorf("%d services published, %d known", published.len, known)
	}
	return attached, nil
}

// located is an endpoint of a service and where it stands.
type located struct {
	Endpoint
	ref endpointRef
}

// scan returns every endpoint that s may answer.
func (s *service) scan() (all []located) {
	for i, slice := range s.slices {
		published := []*Endpoints{&slice.Ready, nil}
		if s.obj != nil && s.obj.PublishNotReady {
			published[1] = slice.NotReady
		}
		for j, set := range published {
			if set == nil {
				continue
			}
			var n [2]uint32
			for e := range set.All {
				family := uint32(0)
				if e.Addr.Is6() {
					family = 1
				}
				all = append(all, located{e, endpointRef{uint32(i*setsPerSlice+j*2) + family, n[family]}})
				n[family]++
			}
		}
	}
	return all
}

// label returns the endpoint's label, folded.
func (e *Endpoint) label() string {
	if e.Name != "" {
		return string(bytes.ToLower([]byte(e.Name)))
	}
	return string(appendDashed(nil, e.Addr))
}

// checkCompiled checks what compileService derived.
func checkCompiled(s *service) error {
	for _, slice := range s.slices {
		for _, set := range []*Endpoints{&slice.Ready, slice.NotReady} {
			if set == nil {
				continue
			}
			if err := errors.Join(checkPacked(&set.v4, 4), checkPacked(&set.v6, 16)); err != nil {
				return fmt.Errorf("slice %s: %w", slice.Name, err)
			}
		}
	}
	var addrs []netip.Addr
	for _, e := range s.scan() {
		if got := s.nameAt(e.ref); got != e.Name || s.topologyOf(e.ref) != e.Zone || !bytes.Equal(s.addrAt(e.ref), e.Addr.AsSlice()) {
			return fmt.Errorf("endpoint %v is %s %x", e, got, s.addrAt(e.ref))
		}
		addrs = append(addrs, e.Addr)
	}
	if err := checkOrder(s); err != nil {
		return err
	}
	if s.obj == nil {
		if s.v4 != nil || s.v6 != nil {
			return errors.New("addresses of a service that is not known")
		}
		return nil
	}
	switch s.obj.Kind {
	case ClusterIP:
		addrs = s.obj.ClusterIPs
	case ExternalName:
		addrs = nil
	default:
		slices.SortFunc(addrs, netip.Addr.Compare)
		addrs = slices.Compact(addrs)
	}
	var v4, v6 []byte
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a.AsSlice()...)
		} else {
			v6 = append(v6, a.AsSlice()...)
		}
	}
	if !bytes.Equal(v4, s.v4) || !bytes.Equal(v6, s.v6) {
		return fmt.Errorf("addresses %x %x, not %x %x", s.v4, s.v6, v4, v6)
	}
	return nil
}

// checkOrder checks that both orders have every endpoint once, that they are
// what they say, and that they find every address and every label.
func checkOrder(s *service) error {
	all := s.scan()
	n4, pairs := 0, 0
	byAddr, byLabel := map[netip.Addr]int{}, map[string]int{}
	of := map[endpointRef]located{}
	target := func(e located) string {
		if s.id.imported {
			return e.label() + " " + strings.ToLower(s.clusterOf(e.ref.set))
		}
		return e.label()
	}
	for _, e := range all {
		if e.Addr.Is4() {
			n4++
		}
		_, _, slice := s.set(e.ref.set)
		pairs += max(1, len(slice.Ports))
		byAddr[e.Addr]++
		byLabel[target(e)]++
		of[e.ref] = e
	}
	if s.n != len(all) || s.n4 != n4 || s.pairs != pairs {
		return fmt.Errorf("%d endpoints, %d of IPv4, %d pairs; want %d, %d and %d", s.n, s.n4, s.pairs, len(all), n4, pairs)
	}
	for what, at := range map[string]func(int) endpointRef{"address": s.addrRef, "label": s.labelRef} {
		seen, passed := map[endpointRef]bool{}, map[string]bool{}
		var last located
		for i := range s.n {
			e, ok := of[at(i)]
			if !ok || seen[e.ref] {
				return fmt.Errorf("order by %s: place %d has no endpoint, or one that was before", what, i)
			}
			seen[e.ref] = true
			group := e.Addr.String()
			if what == "label" {
				group = target(e)
				if i > 0 && (target(last) == group) != s.sameTarget(last.ref, e.ref) {
					return fmt.Errorf("names of %v and %v are, or are not, the same", last, e)
				}
			}
			lastGroup := last.Addr.String()
			if what == "label" && i > 0 {
				lastGroup = target(last)
			}
			switch {
			case i > 0 && group == lastGroup && last.Addr.Compare(e.Addr) > 0:
				return fmt.Errorf("order by %s: %v behind %v", what, e, last)
			case i > 0 && group == lastGroup:
			case passed[group]:
				return fmt.Errorf("order by %s: %v is apart from its like", what, e)
			case what == "address" && i > 0 && last.Addr.Compare(e.Addr) > 0:
				return fmt.Errorf("order by address: %v behind %v", e, last)
			}
			passed[group] = true
			last = e
		}
	}
	for _, e := range all {
		if from, to := s.at(e.Addr); to-from != byAddr[e.Addr] || of[s.addrRef(from)].Addr != e.Addr {
			return fmt.Errorf("%d endpoints at %v, not %d", to-from, e.Addr, byAddr[e.Addr])
		}
		from, to := s.called([]byte(strings.ToUpper(e.label())), []byte(s.clusterOf(e.ref.set)))
		if to-from != byLabel[target(e)] || target(of[s.labelRef(from)]) != target(e) {
			return fmt.Errorf("%d endpoints called %s, not %d", to-from, e.label(), byLabel[target(e)])
		}
	}
	return nil
}

func checkPacked(set *addrSet, width int) error {
	n := len(set.packed) / width
	switch {
	case len(set.packed)%width != 0:
		return fmt.Errorf("%d octets of %d", len(set.packed), width)
	case cap(set.packed) > cap(append([]byte(nil), set.packed...)):
		return errors.New("packed with room to grow")
	}
	if d := set.more; d != nil {
		switch {
		case d.names == nil && d.zones == nil && d.refused == "":
			return errors.New("details without any")
		case d.names != nil && len(d.names) != n || d.zones != nil && len(d.zones) != n:
			return fmt.Errorf("%d addresses, %d names, %d zones", n, len(d.names), len(d.zones))
		case cap(d.names) > n || cap(d.zones) > n || cap(d.zoneNames) > len(d.zoneNames):
			return errors.New("details with room to grow")
		case d.names != nil && !slices.ContainsFunc(d.names, func(s string) bool { return s != "" }):
			return errors.New("names without a name")
		case d.zones != nil && (d.zoneNames[0] != "" || int(slices.Max(d.zones)) != len(d.zoneNames)-1):
			return fmt.Errorf("zones %v of %q", d.zones, d.zoneNames)
		}
	}
	for i := 1; i < n; i++ {
		c := bytes.Compare(set.packed[(i-1)*width:i*width], set.packed[i*width:(i+1)*width])
		if c > 0 || c == 0 && strings.ToLower(set.name(i-1)) > strings.ToLower(set.name(i)) || c == 0 && set.name(i-1) == set.name(i) && set.zone(i-1) > set.zone(i) {
			return fmt.Errorf("not sorted at %d", i)
		}
	}
	return nil
}

// list returns the addresses of x, read without the functions that lookups use.
func (x *External) list() (addrs []netip.Addr) {
	if x == nil {
		return nil
	}
	for p := range slices.Chunk(x.v4, 4) {
		addrs = append(addrs, netip.AddrFrom4([4]byte(p)))
	}
	for p := range slices.Chunk(x.v6, 16) {
		addrs = append(addrs, netip.AddrFrom16([16]byte(p)))
	}
	return addrs
}

// checkReverse checks that the reverse entries are just the ClusterIPs, external
// addresses and endpoints of all services.
func checkReverse(s *snapshot) error {
	ips, addrs := ownedAddrs{}, ownedAddrs{}
	for l := range s.services.all {
		if o := l.value.obj; o != nil {
			ips.note(l.value.id, o.ClusterIPs)
			addrs.note(l.value.id, o.External.list())
		}
		for _, e := range l.value.scan() {
			addrs.note(l.value.id, []netip.Addr{e.Addr})
		}
	}
	return errors.Join(ips.check("ClusterIPs", &s.clusterIPs), addrs.check("reverse", &s.reverse))
}

// ownedAddrs are the services that addresses belong to.
type ownedAddrs map[netip.Addr]map[*ident]bool

func (want ownedAddrs) note(id *ident, addrs []netip.Addr) {
	for _, a := range addrs {
		if want[a] == nil {
			want[a] = map[*ident]bool{}
		}
		want[a][id] = true
	}
}

func (want ownedAddrs) check(what string, t *trie[*owners]) error {
	if t.len != len(want) {
		return fmt.Errorf("%s: %d entries for %d addresses", what, t.len, len(want))
	}
	for a, services := range want {
		o := ownersAt(t, hashAddr(a))
		got := slices.Collect(o.all)
		if len(got) != len(services) || o.len() != len(services) || len(got) == 1 && o != &got[0].solo {
			return fmt.Errorf("%s: %v has %d owners, not %d, or one that is not alone", what, a, len(got), len(services))
		}
		if err := checkBag(o); err != nil {
			return fmt.Errorf("%s: %v: %w", what, a, err)
		}
		for _, id := range got {
			if !services[id] {
				return fmt.Errorf("%s: %v does not belong to %v", what, a, id.Key)
			}
		}
	}
	return nil
}

// checkBag checks what bag's comment promises.
func checkBag[V bagged](b *bag[V]) error {
	seen := map[V]bool{}
	for v := range b.all {
		if seen[v] {
			return fmt.Errorf("%v is in a bag twice", v)
		}
		seen[v] = true
	}
	switch {
	case b.many == nil && len(b.few) > maxFew, b.many != nil && (b.few != nil || b.many.len <= maxFew/2):
		return fmt.Errorf("a bag of %d has a list of %d", b.len(), len(b.few))
	case b.many != nil:
		return checkTrie("of a bag", *b.many)
	}
	return nil
}

func checkPods(w *Writer, s *snapshot) error {
	want := map[netip.Addr]int{}
	for _, o := range w.held[Pods].m {
		p := o.(*Pod)
		for _, a := range p.Addrs {
			if !slices.Contains(slices.Collect(s.podsAt(a).all), p) {
				return fmt.Errorf("pod %v is not found at %v", p.Key, a)
			}
			want[a]++
		}
	}
	if s.pods.len != len(want) {
		return fmt.Errorf("%d pod addresses, not %d", s.pods.len, len(want))
	}
	for a, n := range want {
		if s.podsAt(a).len() != n {
			return fmt.Errorf("%d pods at %v, not %d", s.podsAt(a).len(), a, n)
		}
		if err := checkBag(s.podsAt(a)); err != nil {
			return err
		}
	}
	return nil
}

func checkCounts(w *Writer, s *snapshot) error {
	want := [numResources]int{}
	for r := range numResources {
		want[r] = len(w.held[r].m)
	}
	for _, st := range w.services.m {
		if st.obj != nil {
			want[Services]++
		}
	}
	if lost := (s.restored | s.silent) &^ s.synced; lost != 0 || s.restored>>Pods&1 != 0 {
		return fmt.Errorf("synced %b, restored %b, silent %b", s.synced, s.restored, s.silent)
	}
	if s.objects != want {
		return fmt.Errorf("objects counted %v, held %v", s.objects, want)
	}
	return nil
}
