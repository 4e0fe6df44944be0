package kube

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
	"weak"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}}}
}

func pod(name, ip string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: ip}}}}
}

func shop(name string) zone.Key { return zone.Key{Namespace: "shop", Name: name} }

// known reports whether the index has the service.
func known(f *Feed, name string) bool {
	_, ok := f.Index().ServiceKind(shop(name))
	return ok
}

func statusOf(t *testing.T, f *Feed, r zone.Resource) Status {
	t.Helper()
	for _, s := range f.Status() {
		if s.Resource == r {
			return s
		}
	}
	t.Fatalf("no status of %s", r)
	return Status{}
}

func acquireSynced(t *testing.T, c Config) *Feed {
	t.Helper()
	f, err := Acquire(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Release)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.WaitSynced(ctx); err != nil {
		t.Fatal(err)
	}
	return f
}

// bothWays runs a test against an API server with and without WatchList.
func bothWays(t *testing.T, test func(*testing.T, *apiServer)) {
	for _, watchList := range []bool{true, false} {
		t.Run(fmt.Sprintf("watchList=%v", watchList), func(t *testing.T) { test(t, newAPIServer(t, watchList)) })
	}
}

func TestFollow(t *testing.T) {
	bothWays(t, func(t *testing.T, api *apiServer) {
		api.set(namespace("shop"))
		api.set(service("web", "10.0.0.1"))
		api.set(service("db", "None"))
		api.set(slice("db-1", "db", "10.1.0.1"))
		api.set(slice("stray", ""))
		api.set(pod("db-0", "10.1.0.1"))
		ended := pod("job-0", "10.1.0.9")
		ended.Status.Phase = corev1.PodSucceeded
		api.set(ended)
		c := api.config()
		c.Pods = true
		f := acquireSynced(t, c)

		if kind, ok := f.Index().ServiceKind(shop("db")); !ok || kind != zone.Headless {
			t.Errorf("db is %v, %v", kind, ok)
		}
		for r, want := range []int{1, 2, 1, 1} {
			s := statusOf(t, f, zone.Resource(r))
			if !s.Synced || s.Objects != want || s.Lists != 1 || s.Added+s.Modified+s.Deleted != 0 {
				t.Errorf("%s: %+v, want %d objects of one list", s.Resource, s, want)
			}
			if s.LastContact.IsZero() || !s.LastEvent.IsZero() || s.LastError != nil || s.ResourceVersion == "" || s.Source != c.Endpoint {
				t.Errorf("%s: %+v", s.Resource, s)
			}
		}
		listed := "watchlist services"
		if !api.watchList {
			listed = "list services"
		}
		if n := api.requested(listed); n != 1 {
			t.Errorf("%d requests to %s", n, listed)
		}
		if accept := api.header("Accept"); !strings.HasPrefix(accept, "application/vnd.kubernetes.protobuf") || !strings.Contains(accept, "application/json") {
			t.Errorf("Accept: %s", accept)
		}
		if agent := api.header("User-Agent"); !strings.HasPrefix(agent, "clusterdns/") || !strings.Contains(agent, " git_commit:") {
			t.Errorf("User-Agent: %s", agent)
		}

		api.set(service("api", "10.0.0.2"))
		eventually(t, "added", func() bool { return known(f, "api") })
		api.set(service("api", "None"))
		eventually(t, "modified", func() bool { kind, _ := f.Index().ServiceKind(shop("api")); return kind == zone.Headless })
		api.delete(zone.Services, shop("api"))
		eventually(t, "deleted", func() bool { return !known(f, "api") })
		// Objects of which nothing is kept any more go.
		api.set(slice("db-1", ""))
		eventually(t, "slice gone", func() bool { return f.Index().Objects(zone.EndpointSlices) == 0 })
		over := pod("db-0", "10.1.0.1")
		over.Status.Phase = corev1.PodSucceeded
		api.set(over)
		eventually(t, "pod gone", func() bool { return f.Index().Objects(zone.Pods) == 0 })
		eventually(t, "events counted", func() bool {
			s := statusOf(t, f, zone.Services)
			return s.Added == 1 && s.Modified == 1 && s.Deleted == 1 && !s.LastEvent.IsZero() && s.Lists == 1
		})
	})
}

func TestBookmarks(t *testing.T) {
	api := newAPIServer(t, true)
	f := acquireSynced(t, api.config())
	api.set(service("web", "10.0.0.1"))
	eventually(t, "event", func() bool { return !statusOf(t, f, zone.Services).LastEvent.IsZero() })
	before := statusOf(t, f, zone.Services)
	version := strconv.Itoa(api.bookmark(zone.Services))
	eventually(t, "bookmark", func() bool { return statusOf(t, f, zone.Services).ResourceVersion == version })
	after := statusOf(t, f, zone.Services)
	if !after.LastContact.After(before.LastContact) {
		t.Errorf("last contact %v, before the bookmark %v", after.LastContact, before.LastContact)
	}
	if !after.LastEvent.Equal(before.LastEvent) {
		t.Errorf("last event %v, before the bookmark %v", after.LastEvent, before.LastEvent)
	}
}

// What vanished while the API server was away goes, what stayed is never absent.
func TestRelist(t *testing.T) {
	bothWays(t, func(t *testing.T, api *apiServer) {
		for _, name := range []string{"stays", "goes", "changes"} {
			api.set(service(name, "10.0.0.1"))
		}
		f := acquireSynced(t, api.config())
		done := make(chan struct{})
		absent := make(chan bool, 1)
		go func() {
			defer close(absent)
			for {
				select {
				case <-done:
					return
				default:
				}
				if !known(f, "stays") {
					absent <- true
					return
				}
				runtime.Gosched()
			}
		}()

		api.stop()
		eventually(t, "error", func() bool {
			s := statusOf(t, f, zone.Services)
			return s.LastError != nil && s.LastErrorTime.After(s.LastContact)
		})
		api.set(service("changes", "None"))
		api.set(service("comes", "10.0.0.2"))
		api.delete(zone.Services, shop("goes"))
		api.compact() // the watch cannot go on from where it was
		api.start()
		eventually(t, "relist", func() bool {
			kind, _ := f.Index().ServiceKind(shop("changes"))
			return kind == zone.Headless && known(f, "comes") && !known(f, "goes")
		})
		eventually(t, "noted", func() bool { // after it was published
			s := statusOf(t, f, zone.Services)
			return s.Lists == 2 && !s.LastErrorTime.After(s.LastContact)
		})
		close(done)
		if <-absent {
			t.Error("a service that stayed was absent")
		}
	})
}

// A watch that broke goes on where it was, without a list.
func TestResume(t *testing.T) {
	api := newAPIServer(t, true)
	f := acquireSynced(t, api.config())
	// The reflector lists anew after a watch of under a second without events.
	api.set(service("first", "10.0.0.1"))
	eventually(t, "event", func() bool { return known(f, "first") })
	api.stop()
	eventually(t, "error", func() bool { return statusOf(t, f, zone.Services).LastError != nil })
	api.set(service("web", "10.0.0.1"))
	api.start()
	eventually(t, "event", func() bool { return known(f, "web") })
	if s := statusOf(t, f, zone.Services); s.Lists != 1 || s.Added != 2 {
		t.Errorf("%+v, want one list and two events", s)
	}
}

func TestProgrammingLatency(t *testing.T) {
	at := func(s *discoveryv1.EndpointSlice, when string) *discoveryv1.EndpointSlice {
		s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: when}
		return s
	}
	past := time.Now().Add(-time.Minute).Format(time.RFC3339Nano)
	api := newAPIServer(t, true)
	api.set(service("web", "10.0.0.1"))
	api.set(service("db", "None"))
	api.set(at(slice("web-1", "web", "10.1.0.1"), past))
	type sample struct {
		kind zone.Kind
		d    time.Duration
	}
	samples := make(chan sample, 10)
	f, err := Acquire(api.config())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	f.OnProgrammed(func(kind zone.Kind, d time.Duration) { samples <- sample{kind, d} })
	if err := f.WaitSynced(t.Context()); err != nil {
		t.Fatal(err)
	}
	api.set(at(slice("none-1", "none", "10.1.0.2"), past))    // unknown service
	api.set(slice("web-1", "web", "10.1.0.3"))                // no time
	api.set(at(slice("web-1", "web", "10.1.0.4"), "just so")) // no time
	api.set(at(slice("db-1", "db", "10.1.0.5"), past))
	api.set(at(slice("web-1", "web", "10.1.0.6"), past))
	for _, kind := range []zone.Kind{zone.Headless, zone.ClusterIP} {
		if s := <-samples; s.kind != kind || s.d < time.Minute || s.d > 2*time.Minute {
			t.Errorf("%+v, want kind %d and a minute", s, kind)
		}
	}
	if len(samples) > 0 {
		t.Errorf("and %+v", <-samples)
	}
}

// Nothing that a store is given stays alive because of what it keeps.
func TestRawObjectsAreNotRetained(t *testing.T) {
	var gone []func() bool
	watched := func(raw object, give func(object)) {
		// The annotation is shared with nothing.
		raw.SetAnnotations(map[string]string{"big": strings.Repeat("x", 1<<10),
			corev1.EndpointsLastChangeTriggerTime: time.Now().Format(time.RFC3339Nano)})
		raw.SetLabels(map[string]string{discoveryv1.LabelServiceName: "web"})
		switch raw := raw.(type) {
		case *corev1.Service:
			p := weak.Make(raw)
			gone = append(gone, func() bool { return p.Value() == nil })
		case *discoveryv1.EndpointSlice:
			p := weak.Make(raw)
			gone = append(gone, func() bool { return p.Value() == nil })
		case *corev1.Pod:
			p := weak.Make(raw)
			gone = append(gone, func() bool { return p.Value() == nil })
		}
		give(raw)
	}
	w, conv := zone.NewWriter(), new(converter)
	var latency atomic.Pointer[LatencyFunc]
	report := LatencyFunc(func(zone.Kind, time.Duration) {})
	latency.Store(&report)
	kinds := []func(i int) object{
		func(i int) object { return service(fmt.Sprint("s", i), "10.0.0.1") },
		func(i int) object { return slice(fmt.Sprint("s", i), "web", "10.1.0.1", "10.1.0.2") },
		func(i int) object { return pod(fmt.Sprint("p", i), "10.1.0.1") },
	}
	var stores []*store
	for _, new := range kinds {
		st := newStore(resourceOf(new(0)), w, conv, &latency)
		stores = append(stores, st)
		var values []any
		for i := range 5 {
			watched(new(i), func(raw object) {
				v, err := st.Transformer()(raw)
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, v)
			})
		}
		if err := st.Replace(values, "1"); err != nil {
			t.Fatal(err)
		}
	}
	// What follows stays in the Writer's queue until the end.
	end := make(chan struct{})
	w.Enqueue(func(*zone.Batch) { <-end }, nil)
	for k, new := range kinds {
		for i := range 5 {
			watched(new(5+i), func(raw object) { _ = stores[k].Add(raw) })
			watched(new(i), func(raw object) { _ = stores[k].Update(raw) })
		}
	}
	runtime.GC()
	for i, gone := range gone {
		if !gone() {
			t.Errorf("raw object %d of %d is still there", i, len(kinds)*15)
		}
	}
	close(end)
	w.Update(func(*zone.Batch) {}) // and all before it
	for _, st := range stores {
		if n := w.Index().Objects(st.id); n != 10 {
			t.Errorf("%d %s, want 10", n, st.id)
		}
	}
	runtime.KeepAlive(stores)
}

// stepped is what the clock says at t after somebody set it forward: the
// monotonic reading is the same.
func stepped(t time.Time, by time.Duration) time.Time {
	const nanoseconds = 30 // bits of them, below the seconds
	*(*int64)(unsafe.Pointer(&t)) += int64(by/time.Second) << nanoseconds
	return t
}

// What happened first, and how long ago, has nothing to do with who set the clock.
func TestSteppedClock(t *testing.T) {
	now := time.Now()
	if d := stepped(now, time.Hour); d.Sub(now) != 0 || d.Round(0).Sub(now.Round(0)) != time.Hour {
		t.Fatalf("a clock that was set is %v", d)
	}
	for _, by := range []time.Duration{0, time.Hour, -time.Hour} {
		s := newStore(zone.Services, zone.NewWriter(), new(converter), new(atomic.Pointer[LatencyFunc]))
		s.contact()
		before := s.status(time.Now())
		s.fail(io.EOF)
		now := stepped(time.Now(), by)
		st := s.status(now)
		if !st.LastErrorTime.After(st.LastContact) {
			t.Errorf("clock set by %v: no failure", by)
		}
		if age := now.Round(0).Sub(st.LastContact.Round(0)); age < 0 || age > time.Minute {
			t.Errorf("clock set by %v: contact %v ago", by, age)
		}
		s.contact()
		if st := s.status(stepped(time.Now(), by)); st.LastErrorTime.After(st.LastContact) || !st.LastContact.After(before.LastContact) {
			t.Errorf("clock set by %v: failure after contact", by)
		}
	}
}
