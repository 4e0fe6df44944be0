package kube

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

func TestDelayLimit(t *testing.T) {
	d := delays{}.orDefault()
	services := schema.GroupResource{Resource: "services"}
	for _, test := range []struct {
		err  error
		want time.Duration
	}{
		{nil, 30 * time.Second},
		{io.ErrUnexpectedEOF, time.Second},
		{errNoAnswer, time.Second},
		{errors.New("no such host"), time.Second},
		{apierrors.NewForbidden(services, "", nil), 30 * time.Second},
		{fmt.Errorf("failed to list services: %w", apierrors.NewUnauthorized("")), 5 * time.Second},
		{apierrors.NewNotFound(services, ""), 30 * time.Second},
		{fmt.Errorf("failed to list services: %w", apierrors.NewServiceUnavailable("starting")), time.Second},
		{apierrors.NewTooManyRequests("", 1), time.Second},
		{apierrors.NewInternalError(io.EOF), time.Second},
		{apierrors.NewTimeoutError("", 1), time.Second},
	} {
		if got := d.limit(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}

// Each row is one attempt after the other, with the delays behind them.
func TestBackoff(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	late := attempt{err: io.ErrUnexpectedEOF, listed: true}
	away := attempt{err: errNoAnswer}
	forbidden := attempt{err: apierrors.NewForbidden(schema.GroupResource{}, "", nil)}
	gone := attempt{listed: true, followed: 10 * ms} // the watch behind a list ends at once
	good := attempt{listed: true, followed: 10 * s}
	for name, test := range map[string]struct {
		attempts []attempt
		want     []time.Duration
	}{
		"late": {[]attempt{late, late, late, late, late, late, late, late, late},
			[]time.Duration{250 * ms, 500 * ms, s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s}},
		"late, and the API server ends of it": {[]attempt{late, away, away, away, away, late, away, late, away, late},
			[]time.Duration{250 * ms, 250 * ms, 500 * ms, s, s, 500 * ms, s, s, s, 2 * s}},
		"watches that end": {[]attempt{gone, late, gone, late}, []time.Duration{250 * ms, 500 * ms, s, 2 * s}},
		"then one in order": {[]attempt{late, late, late, good, late, away},
			[]time.Duration{250 * ms, 500 * ms, s, 250 * ms, 500 * ms, 250 * ms}},
		"answers of two kinds": {[]attempt{forbidden, forbidden, forbidden, forbidden, away, forbidden},
			[]time.Duration{250 * ms, 500 * ms, s, 2 * s, s, 2 * s}},
	} {
		b := backoff{delays: delays{}.orDefault()}
		for i, a := range test.attempts {
			if got := b.after(a); got != test.want[i] {
				t.Errorf("%s: %v after attempt %d, want %v", name, got, i+1, test.want[i])
			}
		}
	}
}

// Lists that fail late are asked for ever less often, however long each took.
func TestLateLists(t *testing.T) {
	for _, broken := range []fault{cut, garbled} {
		api := newAPIServer(t, false)
		for i := range 10 {
			api.set(service(fmt.Sprint("web-", i), "10.0.0.1"))
		}
		api.fail(broken, "list services")
		c := api.config()
		c.delays = delays{first: time.Millisecond, away: time.Millisecond, refused: time.Hour, good: time.Nanosecond}
		start := time.Now()
		f, err := Acquire(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Release)
		eventually(t, "lists", func() bool { return api.requested("list services") >= 10 })
		// 1, 2, 4 to 256 ms. Load makes it only longer.
		if took := time.Since(start); took < 511*time.Millisecond {
			t.Errorf("fault %d: 10 lists within %v", broken, took)
		}
		if known(f, "web-0") || f.Index().Synced(zone.Services) {
			t.Error("half a list is taken")
		}
	}
}

// After a WatchList that did not end there are lists, but not for ever.
func TestWatchListIsTriedAgain(t *testing.T) {
	api := newAPIServer(t, true)
	api.fail(silent, "watchlist services")
	api.fail(mute, "list services") // so that the last error is of the WatchList
	c := bounded(api.config(), bounds{initial: short})
	c.delays.stalled = time.Millisecond
	f := acquire1(t, c)
	wantError(t, f, "waited for 100ms")
	api.fail(inOrder, "watchlist services", "list services")
	before := api.requested("watchlist services")
	for n := 0; api.requested("watchlist services") == before; n++ {
		if n > 100 {
			t.Fatal("100 more lists, and no WatchList")
		}
		api.compact()
		lists := statusOf(t, f, zone.Services).Lists
		api.stop()
		api.start()
		eventually(t, "listed", func() bool { return statusOf(t, f, zone.Services).Lists > lists })
	}
}

func TestStallsDouble(t *testing.T) {
	f := &reflection{delays: delays{stalled: time.Hour}}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 64} {
		f.stalls()
		if got := f.stall.Load().delay; got != want*time.Hour || !f.stalled() {
			t.Errorf("stall %d: no WatchList for %v, want %vh", i, got, int(want))
		}
	}
	f.stall.Store(&stall{time.Now().Add(-time.Second), time.Hour})
	if f.stalled() {
		t.Error("the time is over")
	}
}

// That an API server does not remember where a watch was is no failure.
func TestExpiredIsRoutine(t *testing.T) {
	bothWays(t, func(t *testing.T, api *apiServer) {
		api.set(service("web", "10.0.0.1"))
		f := acquireSynced(t, api.config())
		api.mu.Lock()
		api.version++
		api.history = append(api.history, change{zone.Services, expired, namespace("x"), api.version})
		api.changed.Broadcast()
		api.mu.Unlock()
		eventually(t, "listed", func() bool { return statusOf(t, f, zone.Services).Lists > 1 })
		s := statusOf(t, f, zone.Services)
		if s.LastError != nil || s.Relist == nil || !isExpired(s.Relist) || s.RelistTime.IsZero() {
			t.Errorf("error %v, listed anew for %v at %v", s.LastError, s.Relist, s.RelistTime)
		}
	})
	err := fmt.Errorf("failed to list: %w", apierrors.NewResourceExpired("old"))
	if !isExpired(err) || isExpired(errors.New("old")) {
		t.Error("not told apart")
	}
}
