package kube

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clusterdns/clusterdns/plugin/snapshot"
	"github.com/clusterdns/clusterdns/plugin/zone"
)

// savedIn returns c with a snapshot that is written without delay.
func savedIn(c Config, dir string) Config {
	c.Snapshot = Snapshot{Dir: dir}
	c.saving = saving{look: 2 * time.Millisecond, changed: time.Millisecond, unchanged: 5 * time.Millisecond}
	return c
}

// endsSaved ends f, and returns the file that it leaves.
func endsSaved(t *testing.T, f *Feed, dir string) *snapshot.State {
	t.Helper()
	f.Release()
	return readState(t, f, dir)
}

func readState(t *testing.T, f *Feed, dir string) *snapshot.State {
	t.Helper()
	id, err := f.config.snapshotID()
	if err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Read(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rewrite changes the file that f left.
func rewrite(t *testing.T, f *Feed, dir string, change func(*snapshot.State)) {
	t.Helper()
	s := readState(t, f, dir)
	change(s)
	if _, err := snapshot.Write(dir, s); err != nil {
		t.Fatal(err)
	}
}

func acquire1(t *testing.T, c Config) *Feed {
	t.Helper()
	f, err := Acquire(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Release)
	return f
}

var core = []zone.Resource{zone.Namespaces, zone.Services, zone.EndpointSlices}

func shopOf(t *testing.T, watchList bool) *apiServer {
	api := newAPIServer(t, watchList)
	api.set(namespace("shop"))
	api.set(service("web", "10.0.0.1"))
	api.set(service("db", "None"))
	api.set(slice("db-1", "db", "10.1.0.1"))
	api.set(pod("web-0", "10.1.0.1"))
	return api
}

// The next process answers while the API server is away, says that it is stale, and
// follows when it is back.
func TestWarmStart(t *testing.T) {
	bothWays(t, func(t *testing.T, with *apiServer) {
		api, dir := shopOf(t, with.watchList), t.TempDir()
		c := savedIn(api.config(), dir)
		c.Pods = true
		first := acquireSynced(t, c)
		serial := first.Index().Serial()
		state := endsSaved(t, first, dir)
		before := time.Now()
		if !state.Last || state.Serial != serial || len(state.Sections) != 3 {
			t.Errorf("last %v, serial %d, want %d, %d sections", state.Last, state.Serial, serial, len(state.Sections))
		}
		for _, sec := range state.Sections {
			if sec.Resource == zone.Pods || sec.Contact.After(before) {
				t.Errorf("%s as of %v", sec.Resource, sec.Contact)
			}
		}

		api.stop()
		c.QPS = 999 // other limits are no other source
		f := acquire1(t, c)
		ix := f.Index()
		if !ix.Synced(core...) || !known(f, "web") || ix.Serial() != serial || ix.Synced(zone.Pods) {
			t.Fatalf("synced %v, serial %d, want %d", ix.Synced(core...), ix.Serial(), serial)
		}
		for _, s := range f.Status() {
			if s.Resource != zone.Pods && (!s.Synced || s.StaleSince.IsZero() || s.StaleSince.After(before) || !s.LastContact.IsZero()) {
				t.Errorf("%+v", s)
			}
		}
		if s := f.Snapshot(); s.Dir != dir || len(s.Loaded) != 3 || s.LoadError != nil || s.Contact.After(before) {
			t.Errorf("%+v", s)
		}
		// A process that never saw the API server has nothing to say of when it did.
		f.Release()
		if again := readState(t, f, dir); fmt.Sprint(again.Sections[0].Contact) != fmt.Sprint(state.Sections[0].Contact) {
			t.Errorf("last contact at %v became %v", state.Sections[0].Contact, again.Sections[0].Contact)
		}

		f = acquire1(t, c)
		api.delete(zone.Services, shop("db"))
		version := api.set(service("new", "10.0.0.2"))
		api.start()
		eventually(t, "followed", func() bool { return known(f, "new") && !known(f, "db") })
		eventually(t, "fresh", func() bool {
			return !slices.ContainsFunc(f.Status(), func(s Status) bool { return !s.StaleSince.IsZero() })
		})
		if got := f.Index().Serial(); got < uint32(version) {
			t.Errorf("serial %d, want %d or more", got, version)
		}
		eventually(t, "saved", func() bool { s := readState(t, f, dir); return len(s.Sections[1].Objects) == 2 && !s.Last })
	})
}

// A killed process saves no more: what the next one begins with may lack the last
// changes, and its serial comes from the lists.
func TestKilled(t *testing.T) {
	api, dir := shopOf(t, true), t.TempDir()
	f := acquireSynced(t, savedIn(api.config(), dir))
	eventually(t, "saved", func() bool { return f.Snapshot().Saves > 0 })
	f.Release()
	rewrite(t, f, dir, func(s *snapshot.State) { s.Last = false })
	created := api.set(service("brief", "10.0.0.9")) // came and went after the last save
	api.delete(zone.Services, shop("brief"))
	f = acquireSynced(t, savedIn(api.config(), dir))
	if got, want := f.Index().Serial(), uint32(created+1); got != want {
		t.Errorf("serial %d, want %d", got, want)
	}
}

// Nothing is wrong with the start, whatever is with the file, and it stays.
func TestUnusable(t *testing.T) {
	for _, tc := range []struct {
		reason  string
		restore []zone.Resource
		spoil   func(t *testing.T, f *Feed, dir, path string)
	}{
		{"", core, func(*testing.T, *Feed, string, string) {}},
		{"damaged", nil, func(t *testing.T, _ *Feed, _, path string) { writeFile(t, path, "cdnssnap, or not") }},
		{"source", nil, func(t *testing.T, f *Feed, dir, path string) {
			rewrite(t, f, dir, func(s *snapshot.State) { s.Source[31] ^= 1 }) // has the same name
		}},
		{"too_old", []zone.Resource{zone.Namespaces, zone.Services}, func(t *testing.T, f *Feed, dir, _ string) {
			rewrite(t, f, dir, func(s *snapshot.State) {
				for i := range s.Sections {
					s.Sections[i].Contact = time.Now().Add(-2 * time.Hour)
				}
			})
		}},
		{"future", nil, func(t *testing.T, f *Feed, dir, _ string) {
			rewrite(t, f, dir, func(s *snapshot.State) { s.Sections[0].Contact = time.Now().Add(time.Hour) })
		}},
		{"unreadable", nil, func(t *testing.T, _ *Feed, _, path string) {
			if err := os.Rename(path, path+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path+".old", path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			api, dir := shopOf(t, true), t.TempDir()
			f := acquireSynced(t, savedIn(api.config(), dir))
			state := endsSaved(t, f, dir)
			path := filepath.Join(dir, state.Source.Name())
			tc.spoil(t, f, dir, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			api.stop()
			f = acquire1(t, savedIn(api.config(), dir))
			var synced []zone.Resource
			for _, r := range core {
				if f.Index().Synced(r) {
					synced = append(synced, r)
				}
			}
			status := f.Snapshot()
			if !slices.Equal(synced, tc.restore) || (status.LoadError == nil) != (tc.reason == "") || status.LoadError != nil && snapshot.Reason(status.LoadError) != tc.reason {
				t.Errorf("restored %v, want %v; %v", synced, tc.restore, status.LoadError)
			}
			if status.LoadError != nil && !strings.Contains(status.LoadError.Error(), "snapshot") && tc.reason != "too_old" && tc.reason != "future" {
				t.Errorf("%v does not say what it is about", status.LoadError)
			}
			f.Release()
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("the file changed: %v", err)
			}
			api.start()
			f = acquireSynced(t, savedIn(api.config(), dir))
			if !known(f, "web") {
				t.Error("not followed")
			}
		})
	}
}

// What is not whole yet is not saved over what was.
func TestIncomplete(t *testing.T) {
	api, dir := shopOf(t, true), t.TempDir()
	f := acquireSynced(t, savedIn(api.config(), dir))
	state := endsSaved(t, f, dir)
	rewrite(t, f, dir, func(s *snapshot.State) {
		for i := range s.Sections {
			s.Sections[i].Contact = time.Now().Add(-25 * time.Hour)
		}
	})
	api.forbid(zone.EndpointSlices, true)
	f = acquire1(t, savedIn(api.config(), dir))
	if err := f.WaitSynced(t.Context(), zone.Namespaces, zone.Services); err != nil {
		t.Fatal(err)
	}
	eventually(t, "refused", func() bool { return statusOf(t, f, zone.EndpointSlices).LastError != nil })
	if f.Release(); f.Snapshot().Saves != 0 || len(readState(t, f, dir).Sections) != len(state.Sections) {
		t.Errorf("%+v", f.Snapshot())
	}
}

// What is restored and has not been listed yet is saved as old as it was.
func TestContactOfRestored(t *testing.T) {
	api, dir := shopOf(t, true), t.TempDir()
	f := acquireSynced(t, savedIn(api.config(), dir))
	endsSaved(t, f, dir)
	then := time.Now().Add(-30 * time.Minute)
	rewrite(t, f, dir, func(s *snapshot.State) {
		for i := range s.Sections {
			s.Sections[i].Contact = then
		}
	})
	api.forbid(zone.EndpointSlices, true)
	f = acquire1(t, savedIn(api.config(), dir))
	if err := f.WaitSynced(t.Context(), zone.Namespaces, zone.Services); err != nil {
		t.Fatal(err)
	}
	for _, sec := range endsSaved(t, f, dir).Sections {
		if old := sec.Contact.Equal(then); old != (sec.Resource == zone.EndpointSlices) {
			t.Errorf("%s are saved as of %v, restored ones were of %v", sec.Resource, sec.Contact, then)
		}
	}
}

// What nobody wants any more does not stay.
func TestRestoredAndUnwanted(t *testing.T) {
	api, dir := shopOf(t, true), t.TempDir()
	c := savedIn(api.config(), dir)
	endsSaved(t, acquireSynced(t, c), dir)
	api.stop()
	c.NoEndpoints = true
	f := acquire1(t, c)
	eventually(t, "dropped", func() bool { return !f.Index().Synced(zone.EndpointSlices) })
	if !f.Index().Synced(zone.Namespaces, zone.Services) || f.Index().Objects(zone.EndpointSlices) != 0 {
		t.Error("what is wanted was dropped")
	}
}

// A gateway's objects are in no snapshot, nor keep others from being in one; its
// zones wait for them, and for the host names of services.
func TestHostNamesAreNotSaved(t *testing.T) {
	api, dir := shopOf(t, true), t.TempDir()
	web := service("www", "10.0.0.3")
	web.Annotations = map[string]string{internalHostnameAnnotation: "www.example.org"}
	api.set(web)
	api.set(&networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: networkingv1.IngressSpec{
		Rules: []networkingv1.IngressRule{{Host: "shop.example.org"}}}})
	api.forbid(zone.Gateways, true)
	c := savedIn(api.config(), dir)
	gateway := savedIn(api.config(), "")
	gateway.Only = 1<<zone.Services | 1<<zone.Ingresses | 1<<zone.Gateways
	beside := acquire1(t, gateway)
	f := acquireSynced(t, c)
	if err := beside.WaitSynced(t.Context(), zone.Ingresses); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"new", "newer"} { // a save may have been under way
		before := f.Snapshot().Saves
		api.set(service(name, "10.0.0.4"))
		eventually(t, "saved", func() bool { return f.Snapshot().Saves > before })
	}
	if n := len(readState(t, f, dir).Sections); n != len(core) {
		t.Errorf("%d sections, want %d", n, len(core))
	}
	beside.Release()
	f.Release()

	api.stop()
	f = acquire1(t, c)
	view, err := zone.NewView(f.Index(), zone.Options{Zones: []string{"example.org."}, TTL: 60,
		Gateway: &zone.GatewayOptions{Apex: "ns", Resources: []zone.Resource{zone.Services}}})
	if err != nil {
		t.Fatal(err)
	}
	a, name := new(zone.Answer), []byte("\x03www\x07example\x03org\x00")
	if view.Lookup(a, name, 1); a.Outcome != zone.Unready || a.Blocked != zone.Services {
		t.Errorf("outcome %v before the API server is there, %v", a.Outcome, a.Blocked)
	}
	api.start()
	eventually(t, "answered", func() bool { return view.Lookup(a, name, 1) && a.Outcome == zone.Success })
	a.Release()
}

// That nothing can be written is told, and nothing else.
func TestCannotSave(t *testing.T) {
	api, dir := shopOf(t, true), t.TempDir()
	gone := filepath.Join(dir, "later")
	f := acquireSynced(t, savedIn(api.config(), gone))
	eventually(t, "an error", func() bool { s := f.Snapshot(); return s.SaveErrors > 1 && s.SaveError != nil })
	if s := f.Snapshot(); s.LoadError == nil || snapshot.Reason(s.LoadError) != "unreadable" || !strings.Contains(s.SaveError.Error(), gone) {
		t.Errorf("%+v", s)
	}
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "saved", func() bool { s := f.Snapshot(); return s.Saves > 0 && s.SaveError == nil && s.Size > 0 })
}

// Of several holders the last one that wants a snapshot says where.
func TestSnapshotOfHolders(t *testing.T) {
	api := shopOf(t, true)
	first, second := t.TempDir(), t.TempDir()
	without := savedIn(api.config(), "")
	saves := func(dir string) bool {
		entries, err := os.ReadDir(dir)
		return err == nil && len(entries) > 0
	}
	plain := acquireSynced(t, without)
	a := acquire1(t, savedIn(without, first))
	if plain.Index() != a.Index() {
		t.Fatal("two sources")
	}
	eventually(t, "saved", func() bool { return saves(first) })
	b := acquire1(t, savedIn(without, second))
	eventually(t, "saved in the second folder", func() bool { return saves(second) })
	b.Release()
	if got := plain.Snapshot().Dir; got != first {
		t.Errorf("saved in %q, want %q", got, first)
	}
	before := len(readState(t, a, first).Sections[1].Objects)
	api.set(service("late", "10.0.0.2"))
	eventually(t, "saved in the first folder again", func() bool { return len(readState(t, a, first).Sections[1].Objects) > before })
	a.Release()
	if got := plain.Snapshot().Dir; got != "" {
		t.Errorf("saved in %q, for nobody", got)
	}
}

// A killed process has no last save: the time of contact is saved without changes
// too.
func TestContactIsSaved(t *testing.T) {
	api, dir := shopOf(t, true), t.TempDir()
	f := acquireSynced(t, savedIn(api.config(), dir))
	eventually(t, "saved", func() bool { return f.Snapshot().Saves > 0 })
	contact := statusOf(t, f, zone.Services).LastContact
	api.bookmark(zone.Services)
	eventually(t, "saved again", func() bool {
		for _, sec := range readState(t, f, dir).Sections {
			if sec.Resource == zone.Services {
				return sec.Contact.After(contact)
			}
		}
		return false
	})
}

// What the API server says of itself, and not of the objects that are held, makes
// these no younger.
func TestSavedContactIsOfWhatIsHeld(t *testing.T) {
	api, dir := shopOf(t, true), t.TempDir()
	c := savedIn(api.config(), dir)
	c.saving.look = time.Hour
	f := acquireSynced(t, c)
	st := f.src.stores[zone.Services].Load()
	heard := timeOf(st.heard.Load(), time.Now())
	st.lastContact.Store(st.heard.Load() + int64(time.Minute)) // as the beginning of a list does
	if !f.src.saver.Load().save(dir, false) {
		t.Fatal(f.Snapshot().SaveError)
	}
	for _, sec := range readState(t, f, dir).Sections {
		if d := sec.Contact.Sub(heard); sec.Resource == zone.Services && d > time.Minute/2 {
			t.Errorf("saved as %v younger than it is", d)
		}
	}
}

// What two sources have in common is not enough for one's snapshot to be the other's.
func TestSnapshotID(t *testing.T) {
	base := Config{Endpoint: "https://192.0.2.1"}
	ids := map[snapshot.Source]string{}
	for what, change := range map[string]func(*Config){
		"base": func(*Config) {}, "host": func(c *Config) { c.Endpoint += ":6443" }, "labels": func(c *Config) { c.Labels = "a=b" },
		"namespace labels": func(c *Config) { c.NamespaceLabels = "a=b" }, "pod names": func(c *Config) { c.PodNames = true }, "zones": func(c *Config) { c.Zones = true },
		"CA":         func(c *Config) { c.CAFile = writeFile(t, filepath.Join(t.TempDir(), "ca"), "one") },
		"another CA": func(c *Config) { c.CAFile = writeFile(t, filepath.Join(t.TempDir(), "ca"), "two") },
	} {
		c := base
		change(&c)
		id, err := c.snapshotID()
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := ids[id]; ok {
			t.Errorf("%s and %s have the same", what, other)
		}
		ids[id] = what
	}
	same := base
	same.QPS, same.Pods, same.Multicluster, same.NoEndpoints, same.Snapshot.Dir = 1, true, true, true, "x"
	if id, err := same.snapshotID(); err != nil || ids[id] != "base" {
		t.Errorf("%v, %q: limits, and what is followed, make another", err, ids[id])
	}
}

// A feed of which nothing is heard for too long is stale, until it is heard again.
func TestStaleFeed(t *testing.T) {
	api := shopOf(t, true)
	f := acquireSynced(t, bounded(api.config(), bounds{events: 4 * short}))
	stale := func() bool { return !statusOf(t, f, zone.Services).StaleSince.IsZero() }
	view, err := zone.NewView(f.Index(), zone.Options{Zones: []string{"cluster.local."}, TTL: 5})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	version := strconv.Itoa(api.bookmark(zone.Services))
	eventually(t, "bookmark", func() bool { return statusOf(t, f, zone.Services).ResourceVersion == version })
	api.stop()
	eventually(t, "stale", func() bool { return stale() && view.Stale() })
	// On a slow machine there may be another contact, which says less.
	if s := statusOf(t, f, zone.Services); s.StaleSince.Before(before) || s.StaleSince.After(s.LastContact) {
		t.Errorf("stale since %v, last contact at %v, a bookmark was sent at %v", s.StaleSince, s.LastContact, before)
	}
	api.start()
	// Bookmarks come, as an API server's do.
	eventually(t, "fresh", func() bool {
		for _, r := range core {
			api.bookmark(r)
		}
		return !stale() && !view.Stale()
	})
}

// A watch that begins, and ends at once because it cannot go on where it was, makes
// nothing fresh.
func TestExpiredStaysStale(t *testing.T) {
	api := shopOf(t, false)
	f := acquireSynced(t, bounded(api.config(), bounds{events: 4 * short}))
	status := func() Status { return statusOf(t, f, zone.Services) }
	// A watch on which nothing came at all is not gone on with.
	api.set(service("more", "10.0.0.9"))
	eventually(t, "followed", func() bool { return status().Added > 0 })
	api.stop()
	eventually(t, "stale", func() bool { return !status().StaleSince.IsZero() })
	heard := f.src.stores[zone.Services].Load().heard.Load()
	api.fail(mute, "list services", "watchlist services")
	api.mu.Lock()
	api.version++
	api.history = append(api.history, change{zone.Services, expired, namespace("x"), api.version})
	api.mu.Unlock()
	api.start()
	eventually(t, "expired", func() bool { return status().Relist != nil })
	if now := f.src.stores[zone.Services].Load().heard.Load(); now != heard {
		t.Errorf("counts as heard of %v after it went", time.Duration(now-heard))
	}
	eventually(t, "stale still", func() bool { return !status().StaleSince.IsZero() })
}

// That there is no such resource is the API server's word too.
func TestAbsentIsNotStale(t *testing.T) {
	api := shopOf(t, true)
	c := api.config()
	c.Multicluster = true
	st := acquireSynced(t, c).src.stores[zone.ServiceImports].Load()
	st.heard.Store(0)
	if st.absent(); st.heard.Load() == 0 {
		t.Error("nothing was heard")
	}
}
