package zone

import (
	"maps"
	"net/netip"
	"runtime/debug"
	"slices"
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
	ix       *Index // its mutex is held for all that follows but freeing and queue
	edit     edit
	numbered bool   // a serial has been given
	unsure   uint16 // resources that a list is to move the serial for: more may have been published than was saved
	services held[*serviceState]
	imports  held[*serviceState]
	held     [numResources]held[Object] // services are in services

	freeing atomic.Bool // memory goes back to the system
	queue   queue
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

// shrink makes the map anew if it has become much smaller, and returns how many
// elements went. Its cost is that of these.
func (h *held[V]) shrink() int {
	if h.most < 1024 || len(h.m) > h.most/4 {
		return 0
	}
	m := make(map[Key]V, len(h.m))
	maps.Copy(m, h.m)
	gone := h.most - len(m)
	h.m, h.most = m, len(m)
	return gone
}

// manyGone is from how many objects on that went the memory that they had is
// worth a collection at once. In a quiet cluster the next would be minutes away,
// and what it finds then goes back to the system little by little.
const manyGone = 16 << 10

// shrink lets go of the memory of what went.
func (w *Writer) shrink() {
	gone := w.services.shrink() + w.imports.shrink()
	for r := range w.held {
		gone += w.held[r].shrink()
	}
	if gone >= manyGone && w.freeing.CompareAndSwap(false, true) {
		go func() {
			defer w.freeing.Store(false)
			debug.FreeOSMemory()
		}()
	}
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

// update calls the functions of changes, in their order, and then publishes everything that they did.
func (w *Writer) update(changes []change) {
	w.ix.writing.Lock()
	defer w.ix.writing.Unlock()
	w.edit = edit(edits.Add(1))
	b := &Batch{w: w, next: *w.ix.current.Load(), dirty: map[*serviceState]map[string]*EndpointSlice{}, gone: map[*serviceState]uint64{}}
	b.next.edit = w.edit
	if len(w.ix.followers) > 0 {
		b.change = new(Change)
	}
	for i := range changes {
		changes[i].fn(b)
	}
	b.publish()
	w.shrink()
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
	if b.next.clusterIPs.root == nil {
		b.next.clusterIPs = indexOwners(b.w.edit, b.clusterIPs)
	}
	if b.next.reverse.root == nil {
		b.next.reverse = indexOwners(b.w.edit, b.reverse)
	}
	for name, change := range b.claims {
		b.publishClaims([]byte(name), change)
	}
	b.publishCounts()
	w := b.w
	switch {
	case b.serial != 0:
		b.next.serial, w.numbered = b.serial, true
	case b.changed:
		b.next.serial = w.nextSerial(uint32(b.version))
	}
	next := b.next // the batch itself, and what it touched, is garbage
	told := b.told(&next)
	for _, f := range told {
		f.Before(b.change)
	}
	w.ix.current.Store(&next)
	b.moveGenerations()
	for _, f := range told {
		f.After(b.change)
	}
}

// moveGenerations makes void what was derived from the snapshot before.
func (b *Batch) moveGenerations() {
	w := b.w
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
	services := &b.next.services
	if st.id.imported {
		services = &b.next.imports
	}
	same := func(o *service) bool { return o.id == st.id }
	if old.sameRecords(st.compiled) {
		if old.sameNotReady(st.compiled) {
			st.compiled = old
		} else { // explanations change, and no answer
			services.set(b.w.edit, st.id.hash, st.compiled, same)
		}
		return
	}
	if st.compiled == nil {
		services.remove(b.w.edit, st.id.hash, same)
	} else {
		services.set(b.w.edit, st.id.hash, st.compiled, same)
	}
	b.touch(st.id.hash, max(st.compiled.changedBy(old), b.gone[st]))
	if !st.id.imported { // addresses are named in the cluster's own zone
		b.reindex(st.id, old, st.compiled)
		b.noteService(st.id, old, st.compiled)
	}
}

// reindex brings the reverse entries from what old gave rise to to what new
// does.
func (b *Batch) reindex(id *ident, old, new *service) {
	var addrs []netip.Addr
	changedAddrs(old, new, func(addr netip.Addr) { addrs = append(addrs, addr) })
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, addr := range slices.Compact(addrs) {
		h := hashAddr(addr)
		if !b.all {
			b.touched = append(b.touched, h)
		}
		b.own(&b.next.clusterIPs, &b.clusterIPs, h, id, old.hasClusterIP(addr), new.hasClusterIP(addr))
		b.own(&b.next.reverse, &b.reverse, h, id, old.hasAddr(addr), new.hasAddr(addr))
	}
}

// own notes in t whether id is an owner of the address with the hash h; as long as
// t is empty, in added.
func (b *Batch) own(t *trie[*owners], added *[]leaf[*ident], h uint64, id *ident, before, now bool) {
	if before == now {
		return
	}
	if now && t.root == nil {
		*added = append(*added, leaf[*ident]{h, id})
		return
	}
	any := func(*owners) bool { return true }
	if after := owned(ownersAt(t, h), b.w.edit, id, now); after == nil {
		t.remove(b.w.edit, h, any)
	} else {
		t.set(b.w.edit, h, after, any)
	}
}

func (ix *Index) generation(h uint64) *atomic.Uint64 {
	return &ix.generations[h>>(64-generationBits)]
}
