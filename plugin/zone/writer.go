package zone

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Writer keeps an Index in step with the objects it is given. It is the only
// one to write to its index; its methods may be called concurrently.
//
// # Serials
//
// The serial is the low 32 bits of the highest resourceVersion that changed a
// record, so that replicas following one API server agree on it. Where that
// would not move the serial forward, it moves by one: when watches of two
// resources deliver out of order, and after the API server's store was restored
// from a backup, until resourceVersions have caught up. Objects that have no
// resourceVersion of their own (manifest files) are given one by their feed
// that grows with every load. Pods do not move the serial: no zone transfer
// shows them.
type Writer struct {
	mu       sync.Mutex
	ix       *Index
	edit     edit
	numbered bool // a serial has been given
	services held[*serviceState]
	imports  held[*serviceState]
	held     [numResources]held[Object] // services are in services

	queue queue
}

// held is a map that takes no more memory than its elements for long: Go's maps
// never shrink.
type held[V any] struct {
	m    map[Key]V
	most int // elements since it was made
}

func (h *held[V]) set(k Key, v V) {
	if h.m == nil {
		h.m = map[Key]V{}
	}
	h.m[k] = v
	h.most = max(h.most, len(h.m))
}

// shrink makes the map anew if it has become much smaller. Its cost is that of
// the elements that went.
func (h *held[V]) shrink() {
	if h.most < 1024 || len(h.m) > h.most/4 {
		return
	}
	m := make(map[Key]V, len(h.m))
	maps.Copy(m, h.m)
	h.m, h.most = m, len(m)
}

// serviceState is a service, or an import, as its feed knows it: slices may
// arrive before it, and stay when it goes.
type serviceState struct {
	id       *ident
	obj      *Service
	slices   []*EndpointSlice // sorted by name
	compiled *service         // as last published
}

// NewWriter returns a Writer of a new Index that holds nothing.
func NewWriter() *Writer {
	return &Writer{ix: newIndex()}
}

// Index returns the index that w writes to.
func (w *Writer) Index() *Index { return w.ix }

// Batch is a set of changes that becomes visible at once.
type Batch struct {
	w    *Writer
	next snapshot
	// dirty is the services to compile, with their slices that came, or by name
	// and nil went.
	dirty   map[*serviceState]map[string]*EndpointSlice
	version uint64 // highest resourceVersion that changed a record, whatever its service is now
	changed bool   // a record changed
	touched []uint64
	all     bool // every answer changed
	objects bool // an object came, changed or went
}

// update calls the functions of changes, in their order, and then publishes everything that they did.
func (w *Writer) update(changes []change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.edit++
	b := &Batch{w: w, next: *w.ix.current.Load(), dirty: map[*serviceState]map[string]*EndpointSlice{}}
	b.next.edit = w.edit
	for i := range changes {
		changes[i].fn(b)
	}
	b.publish()
	w.services.shrink()
	w.imports.shrink()
	for r := range w.held {
		w.held[r].shrink()
	}
}

// Set adds o, or puts it in the place of the object of its key. Namespaces and
// services that no name can stand for are ignored.
func (b *Batch) Set(o Object) {
	if !servable(o) {
		return
	}
	old := b.held(o.Resource(), o.ObjectKey())
	if old != nil && old.sameRecords(o) {
		return
	}
	if old != nil {
		b.remove(old)
	}
	b.add(o)
}

// servable reports whether o's name fits into a DNS name. An API server has no
// other namespaces and services; a file might.
func servable(o Object) bool {
	switch o := o.(type) {
	case *Namespace:
		return isLabel(o.Name)
	case *Service:
		return isLabel(o.Name) && isLabel(o.Namespace)
	case *ServiceImport:
		return isLabel(o.Name) && isLabel(o.Namespace)
	}
	return true
}

// Delete takes the object out that r holds under k, if there is one. Version
// is the resourceVersion of the deletion.
func (b *Batch) Delete(r Resource, k Key, version uint64) {
	if old := b.held(r, k); old != nil {
		b.remove(old)
		if r != Pods {
			b.version = max(b.version, version)
		}
	}
}

// Replace makes objects the whole of r and marks r as synced. What was held and
// is not among them goes; what is held already stays untouched. Version is the
// resourceVersion of the list.
func (b *Batch) Replace(r Resource, objects []Object, version uint64) {
	keep := make(map[Key]struct{}, len(objects))
	for _, o := range objects {
		keep[o.ObjectKey()] = struct{}{}
		b.Set(o)
	}
	var gone []Key
	for k := range b.heldKeys(r) {
		if _, ok := keep[k]; !ok {
			gone = append(gone, k)
		}
	}
	for _, k := range gone {
		b.Delete(r, k, version)
	}
	if !b.next.has(r) {
		b.next.synced |= 1 << r
		b.all = true
	}
}

func (b *Batch) held(r Resource, k Key) Object {
	if r != Services {
		return b.w.held[r].m[k]
	}
	if st := b.w.services.m[k]; st != nil && st.obj != nil {
		return st.obj
	}
	return nil
}

func (b *Batch) heldKeys(r Resource) func(func(Key) bool) {
	return func(yield func(Key) bool) {
		if r != Services {
			for k := range b.w.held[r].m {
				if !yield(k) {
					return
				}
			}
			return
		}
		for k, st := range b.w.services.m {
			if st.obj != nil && !yield(k) {
				return
			}
		}
	}
}

// add takes in an object whose key is not held.
func (b *Batch) add(o Object) {
	b.objects = true
	b.next.objects[o.Resource()]++
	switch o := o.(type) {
	case *Namespace:
		b.w.held[Namespaces].set(o.ObjectKey(), o)
		b.setNamespace(o)
	case *Service:
		b.state(o.Key, false).obj = o
	case *ServiceImport:
		b.w.held[ServiceImports].set(o.Key, o)
		b.state(o.Key, true).obj = &o.Service
	case *EndpointSlice:
		b.w.held[EndpointSlices].set(o.Key, o)
		for st := range b.statesOf(o) {
			b.setSlice(st, o.Name, o)
		}
		b.noteRefused(o)
	case *Pod:
		b.w.held[Pods].set(o.Key, o)
		b.setPod(o, true)
	}
}

// remove takes out an object that is held.
func (b *Batch) remove(o Object) {
	b.objects = true
	b.next.objects[o.Resource()]--
	switch o := o.(type) {
	case *Namespace:
		delete(b.w.held[Namespaces].m, o.ObjectKey())
		b.deleteNamespace(o)
	case *Service:
		b.state(o.Key, false).obj = nil
	case *ServiceImport:
		delete(b.w.held[ServiceImports].m, o.Key)
		b.state(o.Key, true).obj = nil
	case *EndpointSlice:
		delete(b.w.held[EndpointSlices].m, o.Key)
		for st := range b.statesOf(o) {
			b.setSlice(st, o.Name, nil)
		}
	case *Pod:
		delete(b.w.held[Pods].m, o.Key)
		b.setPod(o, false)
	}
}

// setSlice notes that st has the slice o under a name, or if o is nil none.
func (b *Batch) setSlice(st *serviceState, name string, o *EndpointSlice) {
	if b.dirty[st] == nil {
		b.dirty[st] = map[string]*EndpointSlice{}
	}
	b.dirty[st][name] = o
}

// apply returns the slices of a service, sorted by name, with those changed.
func apply(old []*EndpointSlice, changed map[string]*EndpointSlice) []*EndpointSlice {
	if len(changed) == 0 {
		return old
	}
	added := make([]*EndpointSlice, 0, len(changed))
	for _, o := range changed {
		if o != nil {
			added = append(added, o)
		}
	}
	slices.SortFunc(added, func(a, b *EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	all := make([]*EndpointSlice, 0, len(old)+len(added))
	for _, o := range old {
		if _, ok := changed[o.Name]; ok {
			continue
		}
		for len(added) > 0 && added[0].Name < o.Name {
			all, added = append(all, added[0]), added[1:]
		}
		all = append(all, o)
	}
	return append(all, added...)
}

// noteRefused counts o if it has a name that was refused.
func (b *Batch) noteRefused(o *EndpointSlice) {
	if name := cmp.Or(o.Ready.refused(), o.NotReady.refused()); name != "" {
		b.w.ix.refused.Add(1)
		b.w.ix.lastRefused.Store(&RefusedName{o.Key, name})
	}
}

// statesOf yields the states of the service and the import that o belongs to.
func (b *Batch) statesOf(o *EndpointSlice) func(func(*serviceState) bool) {
	return func(yield func(*serviceState) bool) {
		if st := b.state(Key{o.Namespace, o.Service}, false); st != nil && !yield(st) || o.Imported == nil {
			return
		}
		if st := b.state(Key{o.Namespace, o.Imported.Service}, true); st != nil {
			yield(st)
		}
	}
}

// state returns the state of the service or import k, to be compiled at the end
// of the batch. It is nil if k is no DNS name.
func (b *Batch) state(k Key, imported bool) *serviceState {
	states := b.w.states(imported)
	st := states.m[k]
	if st == nil {
		id, ok := newIdent(k)
		if !ok {
			return nil
		}
		id.imported = imported
		st = &serviceState{id: id}
		states.set(k, st)
	}
	if _, ok := b.dirty[st]; !ok {
		b.dirty[st] = nil
	}
	return st
}

func (w *Writer) states(imported bool) *held[*serviceState] {
	if imported {
		return &w.imports
	}
	return &w.services
}

func (b *Batch) setNamespace(ns *Namespace) {
	label := appendLabel(nil, ns.Name)
	h := hashName(label)
	b.next.namespaces.set(b.w.edit, h, ns, func(o *Namespace) bool { return o.Name == ns.Name })
	b.touch(h, ns.Version)
}

func (b *Batch) deleteNamespace(ns *Namespace) {
	h := hashName(appendLabel(nil, ns.Name))
	b.next.namespaces.remove(b.w.edit, h, func(o *Namespace) bool { return o.Name == ns.Name })
	b.touch(h, 0)
}

// setPod adds p to the pods at its addresses, or takes it out.
func (b *Batch) setPod(p *Pod, there bool) {
	for _, addr := range p.Addrs {
		h := hashAddr(addr)
		b.touched = append(b.touched, h)
		same := func(o *podSet) bool { return o.addr == addr }
		set := b.next.podSetAt(addr)
		switch {
		case set == nil:
			set = &podSet{addr: addr, edit: b.w.edit}
		case set.edit != b.w.edit:
			set = &podSet{addr, append(make([]*Pod, 0, len(set.pods)+1), set.pods...), b.w.edit}
		}
		if there {
			set.pods = append(set.pods, p)
		} else if i := slices.Index(set.pods, p); i >= 0 {
			last := len(set.pods) - 1
			set.pods[i], set.pods[last] = set.pods[last], nil
			set.pods = set.pods[:last]
		}
		if len(set.pods) == 0 {
			b.next.pods.remove(b.w.edit, h, same)
		} else {
			b.next.pods.set(b.w.edit, h, set, same)
		}
	}
}

// touch notes that a record changed whose name hashes to h.
func (b *Batch) touch(h, version uint64) {
	b.changed = true
	b.version = max(b.version, version)
	b.touched = append(b.touched, h)
}

// publish compiles the services that changed and makes the batch visible.
func (b *Batch) publish() {
	if !b.objects && !b.all {
		return
	}
	for st, changed := range b.dirty {
		st.slices = apply(st.slices, changed)
		b.compile(st)
	}
	w := b.w
	if b.changed {
		b.next.serial = w.nextSerial(uint32(b.version))
	}
	next := b.next // the batch itself, and what it touched, is garbage
	w.ix.current.Store(&next)
	if b.all {
		for i := range w.ix.generations {
			w.ix.generations[i].Add(1)
		}
		return
	}
	for _, h := range b.touched {
		w.ix.generation(h).Add(1)
	}
}

// nextSerial returns version's low bits, or the serial after the current one if
// that moves it no further forward (RFC 1982 §3.2).
func (w *Writer) nextSerial(version uint32) uint32 {
	serial := w.ix.Serial()
	if (w.numbered || version == 0) && int32(version-serial) <= 0 {
		version = serial + 1
	}
	w.numbered = true
	return version
}

func (b *Batch) compile(st *serviceState) {
	old := st.compiled
	st.compiled = compileService(st.id, st.obj, st.slices, old)
	if st.obj == nil && len(st.slices) == 0 {
		delete(b.w.states(st.id.imported).m, st.id.Key)
	}
	if old.sameRecords(st.compiled) {
		st.compiled = old
		return
	}
	services := &b.next.services
	if st.id.imported {
		services = &b.next.imports
	}
	same := func(o *service) bool { return o.id == st.id }
	if st.compiled == nil {
		services.remove(b.w.edit, st.id.hash, same)
	} else {
		services.set(b.w.edit, st.id.hash, st.compiled, same)
	}
	b.touch(st.id.hash, st.compiled.changedBy(old))
	if !st.id.imported { // addresses are named in the cluster's own zone
		b.reindex(st.id, old, st.compiled)
	}
}

// reindex brings the reverse entries from what old gave rise to to what new
// does.
func (b *Batch) reindex(id *ident, old, new *service) {
	any := func(*owners) bool { return true }
	var addrs []netip.Addr
	changedAddrs(old, new, func(addr netip.Addr) { addrs = append(addrs, addr) })
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, addr := range slices.Compact(addrs) {
		h := hashAddr(addr)
		b.touched = append(b.touched, h)
		before, now := old.owns(addr), new.owns(addr)
		if before == now {
			continue
		}
		if after := b.next.ownersAt(h).change(b.w.edit, id, before, now); after == nil {
			b.next.reverse.remove(b.w.edit, h, any)
		} else {
			b.next.reverse.set(b.w.edit, h, after, any)
		}
	}
}

func (ix *Index) generation(h uint64) *atomic.Uint64 {
	return &ix.generations[h>>(64-generationBits)]
}
