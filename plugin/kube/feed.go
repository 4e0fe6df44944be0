package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// Feed is a holder's reference to a source, which it may share with other
// holders. Its methods may be called concurrently, and until Release.
type Feed struct {
	src     *source
	config  Config
	wanted  []zone.Resource
	release sync.Once
}

// source keeps an index in step with an API server or with manifests.
type source struct {
	key     sourceKey
	name    string // the API server's address, or paths of manifests, and what tells it from others
	writer  *zone.Writer
	conv    converter
	latency atomic.Pointer[LatencyFunc]
	stores  [len(resources)]atomic.Pointer[store] // nil: not followed
	clients *clients                              // nil: manifests
	limiter *limiter
	saver   atomic.Pointer[saver] // nil: nobody wants it saved
	ctx     context.Context       // until the last Release
	cancel  context.CancelFunc
	running sync.WaitGroup

	// Guarded by sources.
	holders   []*Feed
	following [len(resources)]following
}

// following is the reflector of a resource, the last one if there were several.
type following struct {
	stop  context.CancelFunc // nil: nobody wants the resource, or it is of manifests
	ended chan struct{}      // closed when the index has nothing of it any more; nil: there was none
}

// sources is every source of the process that somebody holds.
var sources = struct {
	sync.Mutex
	m map[sourceKey]*source
}{m: map[sourceKey]*source{}}

// Acquire returns a Feed from the API server that c describes, and starts to
// follow what c wants of it that is not followed yet. If a source with the same
// configuration is running, the Feed shares it as it is: its index, and its
// connections. A resource is followed until the last holder that asked for it
// is gone.
//
// It does not wait for the API server; see Feed.WaitSynced. An error names the
// file, option or context that is wrong.
func Acquire(c Config) (*Feed, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	return acquire(key, c, c.resources(), func(s *source) error {
		s.conv.podNames, s.conv.zones = c.PodNames, c.Zones
		if s.clients, s.name, err = c.clients(s.limiter); err == nil {
			s.running.Go(func() { s.noteSilence(c.bounds.orDefault().events) })
		}
		return err
	})
}

// acquire returns a Feed from the source of the key, which open prepares if
// nobody holds it yet.
func acquire(key sourceKey, c Config, wanted []zone.Resource, open func(*source) error) (*Feed, error) {
	sources.Lock()
	defer sources.Unlock()
	s := sources.m[key]
	if s == nil {
		s = &source{key: key, writer: zone.NewWriter(), limiter: newLimiter()}
		s.ctx, s.cancel = context.WithCancel(context.Background())
		if err := open(s); err != nil {
			s.cancel()
			return nil, err
		}
		s.name = uniqueName(s.name + key.config.distinction())
		sources.m[key] = s
	}
	return s.hold(c, wanted), nil
}

// uniqueName returns a name for a source that none has, so that metrics can
// tell them apart. Sources are locked.
func uniqueName(name string) string {
	taken := func(name string) bool {
		for _, s := range sources.m {
			if s.name == name {
				return true
			}
		}
		return false
	}
	unique := name
	for n := 2; taken(unique); n++ {
		unique = fmt.Sprintf("%s #%d", name, n)
	}
	return unique
}

// hold gives s another holder. Sources are locked.
func (s *source) hold(c Config, wanted []zone.Resource) *Feed {
	f := &Feed{src: s, config: c, wanted: wanted}
	s.holders = append(s.holders, f)
	s.limiter.set(c) // before anything is asked for
	s.keep()         // before anything is followed
	for _, r := range wanted {
		s.follow(r)
	}
	return f
}

// Share returns another Feed from the same source, to be released by itself, or
// nil if the source has stopped.
func (f *Feed) Share() *Feed {
	sources.Lock()
	defer sources.Unlock()
	if len(f.src.holders) == 0 {
		return nil
	}
	g := &Feed{src: f.src, config: f.config, wanted: f.wanted}
	f.src.holders = append([]*Feed{g}, f.src.holders...) // its limits are no news
	return g
}

// follow makes sure that s has a store for r, and a reflector that fills it.
func (s *source) follow(r zone.Resource) {
	if s.stores[r].Load() != nil {
		return
	}
	st := newStore(r, s.writer, &s.conv, &s.latency)
	s.stores[r].Store(st)
	if s.clients == nil {
		return
	}
	f := &reflection{resource: resources[r], labels: s.key.config.selector(r), clients: s.clients[r], store: st,
		bounds: s.key.config.bounds.orDefault(), delays: s.key.config.delays.orDefault()}
	before, ended := s.following[r].ended, make(chan struct{})
	ctx, stop := context.WithCancel(s.ctx)
	s.following[r] = following{stop, ended}
	s.running.Go(func() {
		defer close(ended)
		if before != nil {
			<-before
		}
		f.run(ctx)
		s.drop(r, ended)
	})
}

// unfollow ends what no holder wants. Its objects leave the index as soon as the
// reflector has ended, so that an answer is never made of what nobody follows.
// Sources are locked.
func (s *source) unfollow() {
	for r := range s.following {
		stop := s.following[r].stop
		if stop == nil || slices.ContainsFunc(s.holders, func(f *Feed) bool { return slices.Contains(f.wanted, zone.Resource(r)) }) {
			continue
		}
		stop()
		s.following[r].stop = nil
		s.stores[r].Store(nil)
	}
}

// drop takes r out of the index, others using it still. But not if r is followed
// again, by one that waits for ended: that goes on from what there is, as after an
// outage, and nobody is told that r has synced who then sees it go.
func (s *source) drop(r zone.Resource, ended chan struct{}) {
	sources.Lock()
	defer sources.Unlock()
	if s.ctx.Err() == nil && s.following[r].ended == ended {
		s.writer.Update(func(b *zone.Batch) { b.Drop(r) })
	}
}

// Release ends the holder's use of the feed. With the last holder that wants it,
// a resource leaves the index, soon after Release has returned. With the last of
// all the source stops, and its index is left to the garbage collector; if it has a
// snapshot, Release returns when that is written. More calls do nothing.
func (f *Feed) Release() {
	f.release.Do(func() {
		if !f.drop() {
			return
		}
		if v := f.src.saver.Load(); v != nil {
			select {
			case <-v.done:
			case <-time.After(lastSave):
			}
		}
	})
}

// drop ends the holder's use of the source, and reports whether it has stopped.
func (f *Feed) drop() bool {
	sources.Lock()
	defer sources.Unlock()
	s := f.src
	s.holders = slices.DeleteFunc(s.holders, func(g *Feed) bool { return g == f })
	if len(s.holders) == 0 {
		delete(sources.m, s.key)
		s.cancel()
		return true
	}
	s.unfollow()
	s.limiter.set(s.holders[len(s.holders)-1].config)
	s.keep()
	return false
}

// Index returns the index that the feed keeps in step. All holders of a source
// get the same.
func (f *Feed) Index() *zone.Index { return f.src.writer.Index() }

// Source is the address of the API server, or the paths of manifests, and what
// tells the source from others of the same. No two sources have the same.
func (f *Feed) Source() string { return f.src.name }

// LatencyFunc is told how long it took from a change of endpoints to its
// publication in the index: Kubernetes' DNS programming latency SLI. Kind is
// that of the service whose endpoints changed.
type LatencyFunc func(kind zone.Kind, d time.Duration)

// OnProgrammed has fn called after each EndpointSlice event that is published,
// if its service is known and its controller wrote when the change happened
// (annotation endpoints.kubernetes.io/last-change-trigger-time). Initial lists
// do not count. The time is between two clocks: the controller's and ours. Fn
// replaces that of every other holder of the source; it must not block, and
// should belong to the process rather than to the holder.
func (f *Feed) OnProgrammed(fn LatencyFunc) { f.src.latency.Store(&fn) }

// Status is what is known of one resource of a feed. Counters count from the
// start of the source. Its times have monotonic readings: they compare, and have
// ages, as if nobody had set the clock in between.
type Status struct {
	Resource zone.Resource
	Source   string // the feed's, see Feed.Source

	Synced  bool // the index has had the whole of the resource at least once, be it from a snapshot
	Objects int  // in the index

	// Watch events, by type. Manifests have none.
	Added, Modified, Deleted uint64
	// Lists counts how often the resource was replaced whole: lists of an API
	// server, loads of manifests.
	Lists uint64
	// Ignored counts the objects of other kinds in the last load of manifests,
	// the same for every resource.
	Ignored int
	// IgnoredKinds are theirs, sorted, such as "apps/v1 Deployment"; 20 at most.
	IgnoredKinds []string

	// LastEvent is when a watch event, or a changed load of manifests, was
	// last published. In a quiet cluster that may be long ago.
	LastEvent time.Time
	// LastContact is when the API server was last heard of: an event, a
	// bookmark, or the answer to a request. API servers send a bookmark on each
	// watch every one or two minutes, so a feed that is silent for several
	// minutes is dead. For manifests it is when the files were last looked at
	// and found in order. Zero if never.
	LastContact time.Time
	// StaleSince is when what the index has was last known to be so, if that is out
	// of a snapshot or the feed is silent for longer than it may be; otherwise zero.
	StaleSince time.Time
	// ResourceVersion is up to which the resource is followed, as the API
	// server spells it; of manifests, the version of their last load.
	ResourceVersion string

	// LastError is what last went wrong, nil if nothing ever did. See Fails.
	LastError     error
	LastErrorTime time.Time

	// Relist is why the last watch could not go on where it was, and the resource
	// was listed anew: the API server remembers so much and no more. That is
	// routine and no failure. Nil if it never happened.
	Relist     error
	RelistTime time.Time
}

// Fails reports whether LastError is of now: nothing was heard since.
func (s *Status) Fails() bool { return s.LastError != nil && s.LastErrorTime.After(s.LastContact) }

// Status returns a Status for each resource that the source follows.
func (f *Feed) Status() []Status {
	var all []Status
	for i := range f.src.stores {
		if st := f.src.stores[i].Load(); st != nil {
			status := st.status(time.Now())
			status.Source = f.src.name
			if v := f.src.saver.Load(); v != nil && f.src.writer.Index().Restored(status.Resource) {
				status.StaleSince = v.restored[status.Resource]
			}
			all = append(all, status)
		}
	}
	return all
}

// WaitSynced waits until the index has the whole of each of rs, or of
// everything that the holder wanted if rs is empty. If ctx ends first, the
// error wraps its error, and names the resources that block and what last went
// wrong with each.
func (f *Feed) WaitSynced(ctx context.Context, rs ...zone.Resource) error {
	if len(rs) == 0 {
		rs = f.wanted
	}
	for _, r := range rs {
		st := f.src.stores[r].Load()
		if st == nil {
			return fmt.Errorf("%s of %s are not followed", r, f.src.name)
		}
		select {
		case <-st.synced:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %s", f.src.name, context.Cause(ctx), f.blocked(rs))
		}
	}
	return nil
}

// blocked says which of rs are not synced, and why.
func (f *Feed) blocked(rs []zone.Resource) string {
	var why []string
	for _, r := range rs {
		st := f.src.stores[r].Load()
		if st == nil {
			continue
		}
		switch s := st.status(time.Now()); {
		case s.Synced:
		case s.LastError != nil:
			why = append(why, fmt.Sprintf("%s not synced: %v", r, s.LastError))
		case s.LastContact.IsZero():
			why = append(why, fmt.Sprintf("%s not synced: no answer yet", r))
		default:
			why = append(why, fmt.Sprintf("%s not synced: list has not ended yet", r))
		}
	}
	return strings.Join(why, "; ")
}
