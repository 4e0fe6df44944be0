package hitters

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Hit is a key with many questions.
type Hit[K any] struct {
	Key K
	// Count is how many questions there were, as far as samples tell, and at
	// most; Count-Error is how many there were at least.
	Count, Error uint64
}

// AtLeast returns how many questions are certain.
func (h Hit[K]) AtLeast() uint64 { return h.Count - h.Error }

// Top is what was asked most, most first.
type Top struct {
	// Window is how long the questions were counted for, until now.
	Window time.Duration
	// OneIn is that every so-manieth question was looked at, of the shard
	// where that were fewest: 1 is all.
	OneIn uint32
	// Names are those that exist, or of which nobody can tell: answered with
	// another response code than NXDOMAIN. Names are fully qualified, in lower
	// case, and escaped as zone files have them.
	Names    []Hit[string]
	NXDomain []Hit[string] // names that do not exist
	Clients  []Hit[netip.Addr]
}

// Top returns what was asked most, at most most of each.
func (e *Engine) Top(now time.Time, most int) Top {
	e.mu.Lock() // no new period meanwhile
	defer e.mu.Unlock()
	names, missing, clients := merged[name]{}, merged[name]{}, merged[client]{}
	top := Top{Window: now.Sub(e.before), OneIn: 1}
	for _, s := range e.shards {
		top.OneIn = max(top.OneIn, s.oneIn.Load())
		for i := range s.panes {
			p := &e.copied // so that the shard's lock is held for a copy only
			s.mu.Lock()
			*p = s.panes[i]
			s.mu.Unlock()
			names.add(&p.names)
			missing.add(&p.missing)
			clients.add(&p.clients)
		}
	}
	text := func(n name) string { return dnswire.NameString(n.octets[:n.n]) }
	top.Names, top.NXDomain = topOf(names, most, text), topOf(missing, most, text)
	top.Clients = topOf(clients, most, func(c client) netip.Addr { return netip.AddrFrom16(c).Unmap() })
	return top
}

// merged is several sketches as one. A key that one of them does not hold may
// have had its least count there: that is added to both count and error, so that
// both keep their meaning.
type merged[K any] struct {
	hits  map[uint64]*mergedHit[K]
	least uint64 // of all
}

type mergedHit[K any] struct {
	Hit[K]
	least uint64 // of those that hold it
}

func (m *merged[K]) add(s *sketch[K]) {
	if m.hits == nil {
		m.hits = map[uint64]*mergedHit[K]{}
	}
	least := s.least()
	m.least += least
	for i := range s.slots[:s.n] {
		slot := &s.slots[i]
		h := m.hits[slot.hash]
		if h == nil {
			h = &mergedHit[K]{Hit: Hit[K]{Key: s.keys[i]}}
			m.hits[slot.hash] = h
		}
		h.Count += slot.count
		h.Error += slot.err
		h.least += least
	}
}

// topOf returns the most certain hits of m.
func topOf[K, T any](m merged[K], most int, to func(K) T) []Hit[T] {
	list := make([]*mergedHit[K], 0, len(m.hits))
	for _, h := range m.hits {
		h.Count += m.least - h.least
		h.Error += m.least - h.least
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b *mergedHit[K]) int {
		return cmp.Or(cmp.Compare(b.AtLeast(), a.AtLeast()), cmp.Compare(b.Count, a.Count))
	})
	top := make([]Hit[T], 0, min(most, len(list)))
	for _, h := range list[:min(most, len(list))] {
		top = append(top, Hit[T]{to(h.Key), h.Count, h.Error})
	}
	return top
}

// Tally is how many questions were answered by one Path, by Outcome, and how
// long that took, together.
type Tally struct {
	Outcomes [numOutcomes]uint64
	Took     time.Duration
}

// Sum returns how many questions they are.
func (t Tally) Sum() (n uint64) {
	for _, of := range t.Outcomes {
		n += of
	}
	return n
}

func (t Tally) minus(o Tally) Tally {
	for i := range t.Outcomes {
		t.Outcomes[i] -= o.Outcomes[i]
	}
	t.Took -= o.Took
	return t
}

// Totals are the Tallies of every Path.
type Totals [numPaths]Tally

func (e *Engine) totals() (t Totals) {
	for _, s := range e.shards {
		for p := range s.counted {
			for o := range s.counted[p].outcomes {
				t[p].Outcomes[o] += s.counted[p].outcomes[o].Load()
			}
			t[p].Took += time.Duration(s.counted[p].nanos.Load())
		}
	}
	return t
}

// Totals returns what was counted since the Engine was made, at the time that is
// returned.
func (e *Engine) Totals() (since time.Time, t Totals) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.started, e.totals()
}

// Step is the least time between two points of the history, and Points is how
// many there are.
const (
	Step   = 5 * time.Second
	Points = 60
)

// Point is what was counted from the point before to At.
type Point struct {
	At   time.Time
	Over time.Duration
	Totals
}

// ring is the history, of a fixed length.
type ring struct {
	points []Point
	first  int
	last   time.Time // point
	totals Totals    // at the last point
}

func (r *ring) add(now time.Time, totals Totals) {
	over := now.Sub(r.last)
	if over < Step-Step/10 { // the ticker may be early
		return
	}
	p := Point{At: now, Over: over}
	for path := range totals {
		p.Totals[path] = totals[path].minus(r.totals[path])
	}
	r.last, r.totals = now, totals
	if len(r.points) < Points {
		r.points = append(r.points, p)
		return
	}
	r.points[r.first] = p
	r.first = (r.first + 1) % Points
}

// History returns what was counted, oldest first.
func (e *Engine) History() []Point {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := &e.ring
	return append(slices.Clone(r.points[r.first:]), r.points[:r.first]...)
}
