package clusterdns

import (
	"os"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// An index that began with a snapshot is ready without pods, and stays so when the
// rest has been replaced; one that began with nothing waits for them.
func TestReadyWarm(t *testing.T) {
	saved := newWorld(t, cluster).Save()
	for _, warm := range []bool{true, false} {
		w := zone.NewWriter()
		if warm {
			w.Update(func(b *zone.Batch) { b.Restore(saved) })
		}
		h := stanza{pods: zone.PodsVerified}.handler(t, w)
		if h.Ready() != warm {
			t.Errorf("warm %v: Ready is %v", warm, h.Ready())
		}
		w.Update(func(b *zone.Batch) {
			for r, objects := range saved.Objects {
				b.Replace(r, objects, 9)
			}
		})
		if h.Ready() != warm {
			t.Errorf("warm %v, but pods synced: Ready is %v", warm, h.Ready())
		}
		w.Update(func(b *zone.Batch) { b.Replace(zone.Pods, nil, 9) })
		if !h.Ready() {
			t.Errorf("warm %v: not Ready", warm)
		}
	}
}

// A start does not wait for the API server if there is a snapshot. What a running
// instance knows goes before one, until the new source has listed.
func TestStartWithSnapshot(t *testing.T) {
	api, dir := newClusterAPI(t, "10.96.0.1"), t.TempDir()
	api.up.Store(true)
	source := "\nendpoint " + api.URL + "\nsnapshot " + dir
	h, err := started(t, "clusterdns cluster.local {"+source+"\nstartup_timeout 1m\n}")
	if err != nil {
		t.Fatal(err)
	}
	giveUp(func(of *Handler) bool { return of == h })
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Fatalf("saved at the end: %v, %v", files, err)
	}

	api.up.Store(false)
	h, err = started(t, "clusterdns cluster.local {"+source+"\nstartup_timeout 1h\n}")
	if err != nil {
		t.Fatal(err)
	}
	if !h.Ready() || !h.view.Stale() {
		t.Errorf("ready %v, stale %v", h.Ready(), h.view.Stale())
	}
	if got := web(t, h); got != "10.96.0.1" {
		t.Errorf("web is at %s", got)
	}
	giveUp(func(of *Handler) bool { return of == h })

	running, err := started(t, "clusterdns cluster.local {\nmanifests "+manifestsFolder(t)+"\n}")
	if err != nil {
		t.Fatal(err)
	}
	next := &Handler{cfg: h.cfg, starts: new(startup), negatives: newNegatives(8)}
	t.Cleanup(func() { giveUp(func(of *Handler) bool { return of == next }) })
	if err := next.open(nil); err != nil {
		t.Fatal(err)
	}
	if next.view.Index() != running.view.Index() || !next.feed.Index().Restored(zone.Services) {
		t.Errorf("it shows the index of the snapshot, restored %v", next.feed.Index().Restored(zone.Services))
	}
	api.up.Store(true)
	eventually(t, "its own index", func() bool { return next.view.Index() == next.feed.Index() })
	if next.view.Stale() {
		t.Error("stale when it took over")
	}
}
