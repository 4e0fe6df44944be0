package zone

import (
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// NegativeCache remembers negative answers for the most recently asked names,
// each under a key of the caller's with a value of the caller's making. An
// entry is dropped as soon as the index changes in what its answer depends on:
// an object that appears is never hidden by one.
//
// An entry carries the sum of the generations of what its answer depends on,
// read before the answer's snapshot was. The Writer moves generations forward
// after it has published, so equal sums mean that no change was published since.
//
// Answers that depend on more than the index have a time until which they hold.
//
// It takes a mutex for every Get, and so is not for the fast lane.
type NegativeCache[K comparable, V any] struct {
	entries *lru.Cache[K, negative[V]]

	hits, misses, invalidations atomic.Uint64
}

type negative[V any] struct {
	value V
	deps  [2]uint64
	stamp uint64
	until time.Time // zero: for as long as stamp holds
}

// NewNegativeCache returns a cache of at most size entries, at least one.
func NewNegativeCache[K comparable, V any](size int) (*NegativeCache[K, V], error) {
	entries, err := lru.New[K, negative[V]](size)
	return &NegativeCache[K, V]{entries: entries}, err
}

// Get returns the value for k if its answer still holds in ix.
func (c *NegativeCache[K, V]) Get(ix *Index, k K) (v V, ok bool) {
	e, ok := c.entries.Get(k)
	if ok && !e.holds(ix) {
		c.entries.Remove(k)
		c.invalidations.Add(1)
		ok = false
	}
	if !ok {
		c.misses.Add(1)
		return v, false
	}
	c.hits.Add(1)
	return e.value, true
}

func (e *negative[V]) holds(ix *Index) bool {
	if !e.until.IsZero() {
		return time.Now().Before(e.until)
	}
	return ix.stamp(e.deps) == e.stamp
}

// Add remembers v for k, if the outcome of a is NoData or NameError and a
// depends on its own name alone.
func (c *NegativeCache[K, V]) Add(k K, a *Answer, v V) {
	if a.stamped && (a.Outcome == NoData || a.Outcome == NameError) {
		c.entries.Add(k, negative[V]{value: v, deps: a.deps, stamp: a.stamp})
	}
}

// AddUntil remembers v for k until the given time.
func (c *NegativeCache[K, V]) AddUntil(k K, v V, until time.Time) {
	c.entries.Add(k, negative[V]{value: v, until: until})
}

// NegativeStats is what a NegativeCache counted since it was made. A miss that
// was an invalidation counts as both.
type NegativeStats struct{ Hits, Misses, Invalidations, Size uint64 }

// Stats returns the counts so far, and the number of entries.
func (c *NegativeCache[K, V]) Stats() NegativeStats {
	return NegativeStats{c.hits.Load(), c.misses.Load(), c.invalidations.Load(), uint64(c.entries.Len())}
}

// Add adds o to s.
func (s *NegativeStats) Add(o NegativeStats) {
	s.Hits += o.Hits
	s.Misses += o.Misses
	s.Invalidations += o.Invalidations
	s.Size += o.Size
}
