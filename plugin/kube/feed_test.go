package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

func TestAcquireShares(t *testing.T) {
	api := newAPIServer(t, true)
	api.set(service("web", "10.0.0.1"))
	api.set(pod("web-0", "10.1.0.1"))
	c := api.config()
	c.NoEndpoints = true
	first := acquireSynced(t, c)
	if n := len(first.Status()); n != 2 {
		t.Errorf("%d resources followed, want 2", n)
	}
	if err := first.WaitSynced(t.Context(), zone.Pods); err == nil {
		t.Error("waited for what is not followed")
	}

	c.NoEndpoints, c.Pods = false, true
	second := acquireSynced(t, c)
	if first.Index() != second.Index() {
		t.Error("two indexes")
	}
	for what, want := range map[string]int{"watchlist namespaces": 1, "watchlist services": 1, "watchlist endpointslices": 1, "watchlist pods": 1} {
		if n := api.requested(what); n != want {
			t.Errorf("%d times %s, want %d", n, what, want)
		}
	}

	other := c
	other.PodNames = true
	third := acquireSynced(t, other)
	if third.Index() == first.Index() {
		t.Error("one index for different configurations")
	}
	if want := first.Source() + " (endpoint_pod_names)"; third.Source() != want {
		t.Errorf("the source of another configuration is called %q, want %q", third.Source(), want)
	}
	other.bounds.events = time.Hour
	if fourth, err := Acquire(other); err != nil || fourth.Source() != third.Source()+" #2" {
		t.Errorf("%v, %v; want the name of the third with #2", fourth, err)
	} else {
		fourth.Release()
	}
	third.Release()

	// Releasing again is not releasing for another.
	second.Release()
	second.Release()
	api.set(service("late", "10.0.0.2"))
	eventually(t, "still followed", func() bool { return known(first, "late") })

	src := first.src
	first.Release()
	src.running.Wait()
	fourth := acquireSynced(t, c)
	if fourth.Index() == first.Index() {
		t.Error("a stopped source came back")
	}
}

// A resource is followed for as long as there is a holder that wants it.
func TestReleaseOfAResource(t *testing.T) {
	bothWays(t, func(t *testing.T, api *apiServer) {
		api.set(namespace("shop"))
		api.set(service("db", "None"))
		api.set(slice("db-1", "db", "10.1.0.1"))
		api.set(pod("web-0", "10.1.0.1"))
		c := api.config()
		c.NoEndpoints = true
		stays := acquireSynced(t, c)
		c.NoEndpoints, c.Pods = false, true
		first, second := acquireSynced(t, c), acquireSynced(t, c)
		ix := stays.Index()
		first.Release()
		api.set(pod("web-1", "10.1.0.2"))
		eventually(t, "still followed", func() bool { return ix.Objects(zone.Pods) == 2 })

		shared := second.Share()
		second.Release()
		api.set(pod("web-2", "10.1.0.3"))
		eventually(t, "still shared", func() bool { return ix.Objects(zone.Pods) == 3 })
		shared.Release()
		gone := []zone.Resource{zone.EndpointSlices, zone.Pods}
		eventually(t, "gone", func() bool {
			return !slices.ContainsFunc(gone, func(r zone.Resource) bool { return ix.Synced(r) || ix.Objects(r) > 0 })
		})
		if n := len(stays.Status()); n != 2 {
			t.Errorf("%d resources followed, want 2", n)
		}
		api.set(service("late", "10.0.0.2"))
		eventually(t, "others followed", func() bool { return known(stays, "late") })

		again := acquireSynced(t, c)
		if again.Index() != ix || !ix.Synced(gone...) || ix.Objects(zone.Pods) != 3 || ix.Objects(zone.EndpointSlices) != 1 {
			t.Errorf("%+v", again.Status())
		}
		again.Release()
		eventually(t, "gone again", func() bool { return !ix.Synced(zone.Pods) && !ix.Synced(zone.EndpointSlices) })

		// The next reflector begins when the one before is gone from the index.
		end := occupy(t, stays)
		if again, err := Acquire(c); err != nil {
			t.Error(err)
		} else {
			listWaits(t, again, zone.Pods)
			again.Release()
		}
		last, err := Acquire(c)
		if err != nil {
			t.Fatal(err)
		}
		defer last.Release()
		lists := func() int { return api.requested("list pods") + api.requested("watchlist pods") }
		before := lists()
		c.PodNames = true // another source, which has synced before long
		acquireSynced(t, c)
		want := before + 1
		if !api.watchList {
			want++ // it is tried
		}
		if n := lists(); n != want {
			t.Errorf("%d lists of pods, want %d", n, want)
		}
		end()
		if err := last.WaitSynced(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !ix.Synced(gone...) || ix.Objects(zone.Pods) != 3 {
			t.Errorf("%+v", last.Status())
		}
	})
}

// occupy keeps the writer of f busy until the function is called.
func occupy(t *testing.T, f *Feed) func() {
	begun, over := make(chan struct{}), make(chan struct{})
	f.src.writer.Enqueue(func(*zone.Batch) { close(begun); <-over }, nil)
	<-begun
	end := sync.OnceFunc(func() { close(over) })
	t.Cleanup(end)
	return end
}

// listWaits waits until the whole list of r has come and waits for the writer.
// Status speaks only of what is before: the answer's header, and objects. So it is a
// goroutine's stack that tells.
func listWaits(t *testing.T, f *Feed, r zone.Resource) {
	t.Helper()
	call := fmt.Appendf(nil, "(*store).Replace(%p,", f.src.stores[r].Load())
	stacks := make([]byte, 4<<20)
	eventually(t, fmt.Sprint("waiting list of ", r), func() bool {
		return bytes.Contains(stacks[:runtime.Stack(stacks, true)], call)
	})
}

// A resource that is wanted again before its reflector has ended stays in the index:
// who finds it synced does not see it go.
func TestFollowedAgainAtOnce(t *testing.T) {
	bothWays(t, func(t *testing.T, api *apiServer) {
		api.set(pod("web-0", "10.1.0.1"))
		c := bounded(api.config(), bounds{answer: short})
		stays := acquireSynced(t, c)
		c.Pods = true
		acquire := func() *Feed {
			f, err := Acquire(c)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(f.Release)
			return f
		}
		end := occupy(t, stays)
		first := acquire()
		listWaits(t, first, zone.Pods)
		api.fail(mute, "list pods", "watchlist pods", "watch pods")
		sources.Lock()
		ended := stays.src.following[zone.Pods].ended
		sources.Unlock()
		first.Release()
		again := acquire()
		end()
		<-ended
		if ix := stays.Index(); !ix.Synced(zone.Pods) || ix.Objects(zone.Pods) != 1 {
			t.Errorf("%d pods, synced: %v", ix.Objects(zone.Pods), ix.Synced(zone.Pods))
		}
		api.fail(inOrder, "list pods", "watchlist pods", "watch pods")
		if err := again.WaitSynced(t.Context()); err != nil {
			t.Error(err)
		}
		again.Release()
		eventually(t, "gone", func() bool { return !stays.Index().Synced(zone.Pods) })
	})
}

// ServiceImports are custom resources: in JSON, and perhaps not there.
func TestFollowImports(t *testing.T) {
	for _, watchList := range []bool{true, false} {
		api := newAPIServer(t, watchList)
		api.imports = nil
		web := &mcsv1alpha1.ServiceImport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
		web.Spec.IPs = []string{"10.97.0.1"}
		api.set(web)
		without := acquireSynced(t, api.config())
		c := api.config()
		c.Multicluster, c.NoEndpoints = true, true
		feed, err := Acquire(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(feed.Release)
		if feed.Index() != without.Index() {
			t.Error("two indexes")
		}
		if err := feed.WaitSynced(t.Context(), zone.Namespaces, zone.Services, zone.EndpointSlices); err != nil {
			t.Error(err)
		}
		var status Status
		eventually(t, "an error", func() bool {
			status = feed.Status()[zone.ServiceImports-1] // Pods are not followed
			return status.LastError != nil
		})
		if text := status.LastError.Error(); status.Resource != zone.ServiceImports || status.Synced || !strings.Contains(text, "could not find the requested resource") {
			t.Errorf("%+v", status)
		}
		api.mu.Lock()
		api.imports = []string{"v1alpha1"}
		api.mu.Unlock()
		eventually(t, "synced", func() bool { return feed.Index().Synced(zone.ServiceImports) })
		if n := feed.Index().Objects(zone.ServiceImports); n != 1 {
			t.Errorf("%d imports", n)
		}
		web.Name = "late"
		api.set(web)
		eventually(t, "a watch event", func() bool { return feed.Index().Objects(zone.ServiceImports) == 2 })
		api.delete(zone.ServiceImports, zone.Key{Namespace: "shop", Name: "web"})
		eventually(t, "a deletion", func() bool { return feed.Index().Objects(zone.ServiceImports) == 1 })
	}
}

// The newest version of imports that is served is followed, also when that
// changes.
func TestVersionsOfImports(t *testing.T) {
	bothWays(t, func(t *testing.T, api *apiServer) {
		serve := func(versions ...string) {
			api.mu.Lock()
			defer api.mu.Unlock()
			api.imports, api.requests = versions, nil
		}
		n := 0
		follows := func(f *Feed, when string) {
			t.Helper()
			n++
			web := &mcsv1alpha1.ServiceImport{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("web-", n)}}
			api.set(web)
			eventually(t, when, func() bool { return f.Index().Objects(zone.ServiceImports) == n })
			// A watch without any event would not be gone on with.
			version := strconv.Itoa(api.bookmark(zone.ServiceImports))
			eventually(t, when, func() bool { return statusOf(t, f, zone.ServiceImports).ResourceVersion == version })
		}
		serve("v1alpha1", "v1beta1")
		c := api.config()
		c.Multicluster = true
		f := acquireSynced(t, c)
		follows(f, "both are served")
		if n := api.requested("v1alpha1"); n > 0 {
			t.Errorf("%d requests for v1alpha1 where v1beta1 is served", n)
		}
		for _, versions := range [][]string{{"v1alpha1"}, {"v1beta1"}, {"v1alpha1"}, {"v1alpha1", "v1beta1"}} {
			api.stop()
			serve(versions...)
			api.start()
			follows(f, fmt.Sprint(versions, " are served"))
		}
		// With the next list it is the newest again.
		api.stop()
		api.compact()
		serve("v1alpha1", "v1beta1")
		api.start()
		follows(f, "both are served, and there was a list")
		if api.requested("v1beta1") == 0 {
			t.Error("the old version is followed for good")
		}
		if !api.watchList && api.requested("watch serviceimports") == 0 || api.watchList && api.requested("list serviceimports") > 0 {
			t.Error("the other version is not followed as the first is")
		}
	})
}

// A server that is reconfigured while the API server is away loses nothing.
func TestReloadWithoutAPIServer(t *testing.T) {
	api := newAPIServer(t, true)
	api.set(service("web", "10.0.0.1"))
	before := acquireSynced(t, api.config())
	api.stop()
	after := acquireSynced(t, api.config()) // does not wait
	before.Release()
	if !known(after, "web") {
		t.Error("service lost")
	}
	api.set(service("new", "10.0.0.2"))
	api.start()
	eventually(t, "followed again", func() bool { return known(after, "new") })
}

func TestReleaseBeforeAnyAnswer(t *testing.T) {
	api := newAPIServer(t, true)
	api.stop()
	f, err := Acquire(api.config())
	if err != nil {
		t.Fatal(err)
	}
	f.Release()
	f.src.running.Wait()
}

func TestWaitSyncedSaysWhy(t *testing.T) {
	api := newAPIServer(t, true)
	api.forbid(zone.EndpointSlices, true)
	f, err := Acquire(api.config())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	if err := f.WaitSynced(t.Context(), zone.Namespaces, zone.Services); err != nil {
		t.Fatal(err)
	}
	eventually(t, "error", func() bool { return statusOf(t, f, zone.EndpointSlices).LastError != nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = f.WaitSynced(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not wrap the context's error", err)
	}
	for _, part := range []string{api.addr, "endpointslices not synced", "forbidden", "discovery.k8s.io", `user "dns" may not`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	if err != nil && strings.Contains(err.Error(), "services not synced") {
		t.Errorf("%v names what is synced", err)
	}
	// And it goes on as soon as it may.
	api.forbid(zone.EndpointSlices, false)
	if err := f.WaitSynced(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWaitSyncedWithoutAnswer(t *testing.T) {
	api := newAPIServer(t, true)
	api.stop()
	f, err := Acquire(api.config())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	eventually(t, "error", func() bool { return statusOf(t, f, zone.Namespaces).LastError != nil })
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if err := f.WaitSynced(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}

// An initial list through the API costs about what its values do. Here that is
// 2,000 slices of 100 endpoints, with 20 MB of annotations in all.
func TestFollowMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("large")
	}
	bothWays(t, func(t *testing.T, api *apiServer) {
		ips := make([]string, 100)
		for i := range ips {
			ips[i] = fmt.Sprintf("10.1.0.%d", i)
		}
		for i := range 2000 {
			s := slice(fmt.Sprintf("web-%d", i), "web", ips...)
			s.Annotations = map[string]string{"big": strings.Repeat("x", 10<<10)}
			api.set(s)
		}
		base := heapInUse()
		f := acquireSynced(t, api.config())
		var grown int64
		eventually(t, "heap small", func() bool {
			grown = int64(heapInUse()) - int64(base)
			return grown < 8<<20
		})
		t.Logf("heap grew by %d KiB for %d endpoints", grown>>10, 2000*100)
		runtime.KeepAlive(f)
	})
}
