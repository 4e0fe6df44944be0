package zone

import (
	"cmp"
	"slices"
)

// Batch is a set of changes that becomes visible at once.
type Batch struct {
	w    *Writer
	next snapshot
	// dirty is the services to compile, with their slices that came, or by name
	// and nil went.
	dirty   map[*serviceState]map[string]*EndpointSlice
	gone    map[*serviceState]uint64   // highest resourceVersion by which something of a service went
	claims  map[string]map[*Claim]bool // by host name: who came, and who went
	counted []counted
	version uint64 // highest resourceVersion that changed a record
	changed bool   // a record changed
	touched []uint64
	all     bool    // every answer changed
	objects bool    // an object came, changed or went
	serial  uint32  // to begin with, if not 0
	change  *Change // for followers; nil: there are none

	// What clusterIPs and reverse of next get that are empty, at the end.
	clusterIPs, reverse []leaf[*ident]
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
		b.remove(old, leaves(old, o))
	}
	b.add(o)
}

// leaves returns the resourceVersion by which an EndpointSlice left a service for
// another, and 0 for any other change: that is for who has the new one to count.
func leaves(old, new Object) uint64 {
	was, ok := old.(*EndpointSlice)
	if !ok {
		return 0
	}
	if is := new.(*EndpointSlice); was.Service != is.Service || was.imported().Service != is.imported().Service {
		return is.Version
	}
	return 0
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
		b.remove(old, version)
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
	b.replaced(r, version)
}

// Drop takes all of r out, and marks it as not synced: nobody says any more what
// is in it. The serial may be one ahead of other replicas' until the next change.
func (b *Batch) Drop(r Resource) {
	b.Replace(r, nil, 0)
	b.next.synced &^= 1 << r
	b.next.silent &^= 1 << r
	b.all = true
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
		b.setOutside(o, true)
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
	case *Claim:
		b.w.held[o.Of].set(o.Key, o)
		b.setClaim(o, true)
	}
}

// remove takes out an object that is held. Version is that by which it went, or
// 0 if another is to take its place.
func (b *Batch) remove(o Object, version uint64) {
	b.objects = true
	b.next.objects[o.Resource()]--
	switch o := o.(type) {
	case *Namespace:
		delete(b.w.held[Namespaces].m, o.ObjectKey())
		b.deleteNamespace(o, version)
	case *Service:
		b.removeObj(b.state(o.Key, false), version)
		b.setOutside(o, false)
	case *ServiceImport:
		delete(b.w.held[ServiceImports].m, o.Key)
		b.removeObj(b.state(o.Key, true), version)
	case *EndpointSlice:
		delete(b.w.held[EndpointSlices].m, o.Key)
		for st := range b.statesOf(o) {
			b.setSlice(st, o.Name, nil)
			b.gone[st] = max(b.gone[st], version)
		}
	case *Pod:
		delete(b.w.held[Pods].m, o.Key)
		b.setPod(o, false)
	case *Claim:
		delete(b.w.held[o.Of].m, o.Key)
		b.setClaim(o, false)
		b.version = max(b.version, version)
	}
}

func (b *Batch) removeObj(st *serviceState, version uint64) {
	st.obj = nil
	b.gone[st] = max(b.gone[st], version)
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
	b.noteNamespace(label)
}

func (b *Batch) deleteNamespace(ns *Namespace, version uint64) {
	label := appendLabel(nil, ns.Name)
	h := hashName(label)
	b.next.namespaces.remove(b.w.edit, h, func(o *Namespace) bool { return o.Name == ns.Name })
	b.touch(h, version)
	b.noteNamespace(label)
}

// setPod adds p to the pods at its addresses, or takes it out.
func (b *Batch) setPod(p *Pod, there bool) {
	for _, addr := range p.Addrs {
		h := hashAddr(addr)
		b.touched = append(b.touched, h)
		same := func(o *podSet) bool { return o.addr == addr }
		pods := b.next.podsAt(addr)
		if there {
			pods = pods.with(b.w.edit, p)
		} else {
			pods = pods.without(b.w.edit, p)
		}
		if pods.len() == 0 {
			b.next.pods.remove(b.w.edit, h, same)
		} else {
			b.next.pods.set(b.w.edit, h, &podSet{addr, *pods}, same)
		}
	}
}

// touch notes that a record changed whose name hashes to h.
func (b *Batch) touch(h, version uint64) {
	b.changed = true
	b.version = max(b.version, version)
	b.touched = append(b.touched, h)
}
