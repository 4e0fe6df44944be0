package kube

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/tools/cache"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// store takes what a reflector of one resource reports and passes it on to a
// zone.Writer as values. It keeps nothing but counters.
//
// It implements cache.TransformingStore, so that a list that is streamed
// (WatchList) waits for its end as values, and cache.ReflectorBookmarkStore,
// because bookmarks, one every minute or two, are all that is heard of a quiet
// cluster. The reflector calls it from one goroutine at a time.
type store struct {
	id      zone.Resource
	writer  *zone.Writer
	conv    *converter
	latency *atomic.Pointer[LatencyFunc]

	added, modified, deleted, lists atomic.Uint64
	lastEvent, lastContact          atomic.Int64 // moments; 0: none yet
	replacedAt                      atomic.Int64 // moment, in the reflector's attempt; 0: not in this one
	heard                           atomic.Int64 // moment when it was last known to be current
	silent                          atomic.Bool  // that is too long ago
	ignored                         atomic.Int64 // of the last load of manifests
	ignoredKinds                    atomic.Pointer[[]string]
	resourceVersion                 atomic.Pointer[string]
	failure, relist                 atomic.Pointer[failure]
	syncOnce                        sync.Once
	synced                          chan struct{} // closed once replaced whole
}

var (
	_ cache.TransformingStore      = (*store)(nil)
	_ cache.ReflectorBookmarkStore = (*store)(nil)
	_ cache.ResourceVersionUpdater = (*store)(nil)
)

type failure struct {
	err error
	at  int64 // moment
}

// Moments are nanoseconds on the clock that nobody sets, from 1 on. What happened
// before what, and how long ago, is told by them; times of day that are derived
// from them are those that the clock on the wall shows now.
var began = time.Now()

func moment() int64 { return int64(time.Since(began)) + 1 }

// timeOf returns when m was, zero for 0. Like now it has a monotonic reading,
// by which such times compare.
func timeOf(m int64, now time.Time) time.Time {
	if m == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(m-1) - now.Sub(began))
}

func newStore(id zone.Resource, w *zone.Writer, conv *converter, latency *atomic.Pointer[LatencyFunc]) *store {
	return &store{id: id, writer: w, conv: conv, latency: latency, synced: make(chan struct{})}
}

// Add takes the object of a watch event.
func (s *store) Add(raw any) error {
	s.added.Add(1)
	s.set(raw.(object))
	return nil
}

// Update takes the object of a watch event.
func (s *store) Update(raw any) error {
	s.modified.Add(1)
	s.set(raw.(object))
	return nil
}

func (s *store) set(raw object) {
	v := s.conv.value(raw)
	if v == nil {
		s.remove(raw)
		return
	}
	// Nothing of raw waits in the Writer's queue.
	published := s.event
	if slice, ok := v.(*zone.EndpointSlice); ok {
		if since := triggerTime(raw); !since.IsZero() {
			published = func() {
				s.event()
				s.observe(slice, since)
			}
		}
	}
	s.writer.Enqueue(func(b *zone.Batch) { b.Set(v) }, published)
}

// Delete takes the object of a watch event: its last state, with the
// resourceVersion of its deletion.
func (s *store) Delete(raw any) error {
	s.deleted.Add(1)
	s.remove(raw.(object))
	return nil
}

func (s *store) remove(raw object) {
	k := zone.Key{Namespace: raw.GetNamespace(), Name: raw.GetName()}
	v := version(raw.GetResourceVersion())
	s.writer.Enqueue(func(b *zone.Batch) { b.Delete(s.id, k, v) }, s.event)
}

// observe reports how long it took from since, when the change happened that
// made the controller write the slice, until now that it is published.
func (s *store) observe(slice *zone.EndpointSlice, since time.Time) {
	report := s.latency.Load()
	if report == nil {
		return
	}
	if kind, ok := s.writer.Index().ServiceKind(zone.Key{Namespace: slice.Namespace, Name: slice.Service}); ok {
		(*report)(kind, time.Since(since))
	}
}

// Replace takes a list: values of a WatchList (nil for objects of which nothing
// is kept), or those that decodeList wrapped for the reflector.
func (s *store) Replace(list []any, resourceVersion string) error {
	values := make([]zone.Object, 0, len(list))
	for _, o := range list {
		switch o := o.(type) {
		case listed:
			values = append(values, o.Object)
		case zone.Object:
			values = append(values, o)
		}
	}
	s.writer.Update(func(b *zone.Batch) { b.Replace(s.id, values, version(resourceVersion)) })
	s.replaced(resourceVersion)
	return nil
}

// absent notes that there is no such resource on the API server, so that there is
// no object of it either.
func (s *store) absent() {
	if s.writer.Index().Objects(s.id) > 0 || !s.writer.Index().Synced(s.id) {
		s.writer.Update(func(b *zone.Batch) { b.Replace(s.id, nil, 0) })
		s.replaced("")
		return
	}
	s.follows()
}

// replaced notes that the Writer has the whole of the resource.
func (s *store) replaced(resourceVersion string) {
	s.lists.Add(1)
	s.replacedAt.Store(moment())
	s.UpdateResourceVersion(resourceVersion)
	s.follows()
	s.syncOnce.Do(func() { close(s.synced) })
}

// Transformer returns the conversion for objects that the reflector gathers
// before a Replace.
func (s *store) Transformer() cache.TransformFunc {
	return func(raw any) (any, error) {
		s.contact()
		if v := s.conv.value(raw.(object)); v != nil {
			return v, nil
		}
		return nil, nil
	}
}

// Bookmark takes a sign of life.
func (s *store) Bookmark(string) error {
	s.follows()
	return nil
}

// UpdateResourceVersion takes the version up to which the store is current.
func (s *store) UpdateResourceVersion(v string) { s.resourceVersion.Store(&v) }

// Resync does nothing: there is nobody to tell again.
func (s *store) Resync() error { return nil }

func (s *store) event() {
	s.follows()
	s.lastEvent.Store(s.lastContact.Load())
}

func (s *store) contact() { s.lastContact.Store(moment()) }

// follows notes that what the index has is current, as far as one can know.
func (s *store) follows() {
	s.contact()
	s.heard.Store(s.lastContact.Load())
}

func (s *store) fail(err error) { s.failure.Store(&failure{err, moment()}) }

// ended notes why a watch did.
func (s *store) ended(err error) {
	if isExpired(err) {
		s.relist.Store(&failure{err, moment()})
		return
	}
	s.fail(err)
}

// status fills in what the store knows, at the time now.
func (s *store) status(now time.Time) Status {
	st := Status{
		Resource:    s.id,
		Synced:      s.writer.Index().Synced(s.id),
		Objects:     s.writer.Index().Objects(s.id),
		Added:       s.added.Load(),
		Modified:    s.modified.Load(),
		Deleted:     s.deleted.Load(),
		Lists:       s.lists.Load(),
		Ignored:     int(s.ignored.Load()),
		LastEvent:   timeOf(s.lastEvent.Load(), now),
		LastContact: timeOf(s.lastContact.Load(), now),
	}
	if kinds := s.ignoredKinds.Load(); kinds != nil {
		st.IgnoredKinds = *kinds
	}
	if v := s.resourceVersion.Load(); v != nil {
		st.ResourceVersion = *v
	}
	if s.silent.Load() {
		st.StaleSince = timeOf(s.heard.Load(), now)
	}
	if f := s.failure.Load(); f != nil {
		st.LastError, st.LastErrorTime = f.err, timeOf(f.at, now)
	}
	if f := s.relist.Load(); f != nil {
		st.Relist, st.RelistTime = f.err, timeOf(f.at, now)
	}
	return st
}
