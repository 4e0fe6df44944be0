package kube

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/watch"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// bounded returns c with bounds that silence reaches within a test. Those that
// are not tested stay as long as they are.
func bounded(c Config, b bounds) Config {
	c.bounds = b
	return c
}

const short = 100 * time.Millisecond

func wantError(t *testing.T, f *Feed, text string) {
	t.Helper()
	eventually(t, text, func() bool {
		err := statusOf(t, f, zone.Services).LastError
		return err != nil && strings.Contains(err.Error(), text)
	})
}

// An open watch on which nothing comes.
func TestSilentWatch(t *testing.T) {
	bothWays(t, func(t *testing.T, api *apiServer) {
		api.set(service("web", "10.0.0.1"))
		f := acquireSynced(t, bounded(api.config(), bounds{events: short}))
		api.fail(silent, "watchlist services", "watch services")
		api.set(service("late", "10.0.0.2"))
		wantError(t, f, "silent for 100ms")
		api.fail(inOrder, "watchlist services", "watch services")
		eventually(t, "followed again", func() bool { return known(f, "late") })
	})
}

// While watches are answered and silent, the feed is lost.
func TestSilenceIsLoss(t *testing.T) {
	api := newAPIServer(t, true)
	f := acquireSynced(t, bounded(api.config(), bounds{initial: short, events: short}))
	api.set(service("web", "10.0.0.1"))
	eventually(t, "event", func() bool { return known(f, "web") })
	lists := func() int { return api.requested("list services") + api.requested("watchlist services") }
	watches := func() int { return api.requested("watch services") }
	api.fail(mute, "list services")
	api.fail(silent, "watchlist services", "watch services")
	// With one watch more, or a WatchList, what was sent before this has been taken in.
	before, watched := lists(), watches()
	eventually(t, "another request", func() bool { return lists() > before || watches() > watched })
	f.src.writer.Update(func(*zone.Batch) {})
	start := time.Now()
	eventually(t, "lost", func() bool { return statusOf(t, f, zone.Services).LastErrorTime.After(start) })
	eventually(t, "lists", func() bool {
		s := statusOf(t, f, zone.Services)
		if s.LastContact.After(s.LastErrorTime) {
			t.Fatalf("in contact at %v, after %v at %v", s.LastContact, s.LastError, s.LastErrorTime)
		}
		return lists() > before
	})
}

// New watches that are silent from their first moment on: what is known comes
// from lists.
func TestSilentWatchesLead(t *testing.T) {
	bothWays(t, func(t *testing.T, api *apiServer) {
		f := acquireSynced(t, bounded(api.config(), bounds{events: short, initial: short}))
		api.fail(silent, "watchlist services", "watch services")
		api.set(service("late", "10.0.0.2"))
		eventually(t, "listed", func() bool { return known(f, "late") })
	})
}

func TestSilentWatchList(t *testing.T) {
	for _, broken := range []fault{mute, silent, endless, cut} {
		api := newAPIServer(t, true)
		api.set(service("web", "10.0.0.1"))
		api.fail(broken, "watchlist services")
		api.fail(mute, "list services") // so that the last error is of the WatchList
		initial, answer := short, time.Duration(0)
		if broken == endless {
			initial = 10 * short // bookmarks are more frequent by far
		}
		if broken == mute {
			answer = short
		}
		f, err := Acquire(bounded(api.config(), bounds{answer: answer, initial: initial}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Release)
		stop := make(chan struct{})
		go func() { // keeps the watch from being silent
			for {
				select {
				case <-stop:
					return
				case <-time.After(short / 4):
					api.bookmark(zone.Services)
				}
			}
		}()
		wantError(t, f, map[fault]string{mute: "no answer within 100ms", silent: "waited for 100ms",
			endless: "waited for 1s", cut: "ended before its initial events"}[broken])
		api.fail(inOrder, "list services")
		eventually(t, "listed", func() bool { return known(f, "web") })
		close(stop)
		api.set(service("late", "10.0.0.2"))
		eventually(t, "watched", func() bool { return known(f, "late") })
	}
}

func TestSilentList(t *testing.T) {
	for broken, text := range map[fault]string{mute: "no answer within 100ms", silent: "a list stood still for 100ms"} {
		api := newAPIServer(t, false)
		api.set(service("web", "10.0.0.1"))
		api.fail(broken, "list services")
		f, err := Acquire(bounded(api.config(), bounds{answer: short, initial: short}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Release)
		wantError(t, f, text)
		if f.Index().Synced(zone.Services) {
			t.Error("synced with half a list")
		}
		api.fail(inOrder, "list services")
		eventually(t, "listed", func() bool { return known(f, "web") })
	}
}

func TestMuteWatch(t *testing.T) {
	api := newAPIServer(t, false)
	api.fail(mute, "watch services")
	f := acquireSynced(t, bounded(api.config(), bounds{answer: short}))
	wantError(t, f, "no answer within 100ms")
	api.fail(inOrder, "watch services")
	api.set(service("late", "10.0.0.1"))
	eventually(t, "watched", func() bool { return known(f, "late") })
}

// Watches that end behind their first event are no reason to hurry.
func TestCutWatches(t *testing.T) {
	bothWays(t, func(t *testing.T, api *apiServer) {
		c := api.config()
		c.delays = delays{first: short / 2, away: short / 2}
		f := acquireSynced(t, c)
		api.fail(cut, "watchlist services", "watch services")
		start, before, seen := time.Now(), api.requested("watch services"), -1
		eventually(t, "four more watches", func() bool {
			n := api.requested("watch services")
			if n != seen {
				seen = n
				api.bookmark(zone.Services) // ends it
			}
			return n >= before+4
		})
		// Load makes it only longer.
		if took := time.Since(start); took < 3*short/2 {
			t.Errorf("4 watches within %v", took)
		}
		api.set(service("late", "10.0.0.1"))
		eventually(t, "watched", func() bool { return known(f, "late") })
	})
}

// What an API server says in a watch goes to the status.
func TestWatchError(t *testing.T) {
	api := newAPIServer(t, true)
	f := acquireSynced(t, api.config())
	api.mu.Lock()
	api.version++
	api.history = append(api.history, change{zone.Services, watch.Error, namespace("x"), api.version})
	api.changed.Broadcast()
	api.mu.Unlock()
	wantError(t, f, "the store is on fire")
}
