package zone

// Saved is what an index held at some time, as far as another may begin with it:
// everything that Saves names, and of services all but the host names in their
// annotations. It shares its objects with the index.
type Saved struct {
	Serial uint32
	// Last says that nothing was published after Serial. If that is not known,
	// the serial moves to the version of each list that replaces what was saved.
	Last bool
	// Objects has the whole of each resource that had synced.
	Objects map[Resource][]Object
}

// Saves reports whether a Saved has r. It has no pods, whose addresses are not to
// be theirs for longer than they live, and nothing of which host names alone are
// wanted: a gateway's zones wait for the API server (Answer.Unready).
func (r Resource) Saves() bool { return r != Pods && r < Ingresses }

// Save returns what w holds, with everything that was enqueued before. It copies
// references: its cost is some nanoseconds for each object.
func (w *Writer) Save() *Saved {
	w.Update(func(*Batch) {})
	w.ix.writing.Lock()
	defer w.ix.writing.Unlock()
	snap := w.ix.current.Load()
	s := &Saved{Serial: snap.serial, Last: w.unsure == 0, Objects: map[Resource][]Object{}}
	for r := range numResources {
		if !r.Saves() || !snap.has(r) {
			continue
		}
		objects := make([]Object, 0, snap.objects[r])
		if r == Services {
			for _, st := range w.services.m {
				if st.obj != nil {
					objects = append(objects, st.obj)
				}
			}
		}
		for _, o := range w.held[r].m {
			objects = append(objects, o)
		}
		s.Objects[r] = objects
	}
	return s
}

// Restore makes what was saved the whole of those resources that have not synced
// yet, and marks them as synced and stale, until Replace has the truth. The
// serial goes on from the saved one, if none has been given.
func (b *Batch) Restore(s *Saved) {
	for r, objects := range s.Objects {
		if !r.Saves() || b.next.has(r) {
			continue
		}
		for _, o := range objects {
			b.Set(o)
		}
		b.next.synced |= 1 << r
		b.next.restored |= 1 << r
		b.next.warm = true
	}
	if !b.w.numbered && s.Serial != 0 {
		b.serial = s.Serial
	}
	if !s.Last {
		b.w.unsure |= b.next.restored
		if len(s.Objects) == 0 {
			b.w.unsure |= 1 << Services // one list is enough to be ahead
		}
	}
	b.all = true
}

// SetSilent says whether r's feed has not been heard of for so long that what it
// said last is stale.
func (b *Batch) SetSilent(r Resource, silent bool) {
	bit := uint16(1) << r
	if silent == (b.next.silent&bit != 0) || !b.next.has(r) {
		return
	}
	b.next.silent ^= bit
	b.all = true
}

// replaced notes that r is what a list of the given version says it is.
func (b *Batch) replaced(r Resource, version uint64) {
	bit := uint16(1) << r
	if b.next.synced&bit == 0 || b.next.restored&bit != 0 {
		b.next.synced |= bit
		b.next.restored &^= bit
		b.all = true
	}
	if b.w.unsure&bit != 0 {
		b.w.unsure &^= bit
		if int32(uint32(version)-b.next.serial) > 0 { // RFC 1982 §3.2
			b.changed, b.version = true, max(b.version, version)
		}
	}
}

// stale returns a bit for each resource whose objects are saved ones, or those of
// a feed that is silent.
func (s *snapshot) stale() uint16 { return s.restored | s.silent }

// Restored reports whether r is what was saved, and not replaced since.
func (ix *Index) Restored(r Resource) bool { return ix.current.Load().restored>>r&1 != 0 }

// Warm reports whether the index began with what was saved.
func (ix *Index) Warm() bool { return ix.current.Load().warm }

// Stale reports whether any of what v's answers depend on is stale: saved, or of
// a feed that is silent.
func (v *View) Stale() bool { return v.Index().current.Load().stale()&v.depends != 0 }

// StaleTTL bounds the TTL of stale answers, in seconds.
const StaleTTL = 5

// Stale reports whether the answer is made of what may be out of date.
func (a *Answer) Stale() bool {
	return a.snap != nil && a.snap.stale()&a.view.depends != 0 && (a.has != hasText || a.Outcome != Success)
}

// ttl returns the TTL of the answer's records. Who is given a whole zone asks
// again when its SOA says so.
func (a *Answer) ttl() uint32 {
	if a.transfer || !a.Stale() {
		return a.view.opt.TTL
	}
	return min(a.view.opt.TTL, StaleTTL)
}
