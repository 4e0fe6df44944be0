package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/results"
)

// plainList makes client-go list before it watches, as it does where the API
// server has no WatchList.
const plainList = "KUBE_FEATURE_WatchListClient=false"

// memory measures resident memory of those peers that follow an API server,
// from their start through a restart of it to a reload of the Corefile, and how
// long a start takes.
func (r *runner) memory(ctx context.Context) (err error) {
	s, err := r.site(ctx, r.plan.world, false)
	if err != nil {
		return err
	}
	defer stop(&err, s)
	probe, err := newProbe(ctx, s.cluster)
	if err != nil {
		return err
	}
	var errs []error
	for round := range max(r.plan.memoryRounds, r.plan.starts) {
		for i := range r.followers() {
			name := r.followers()[(i+round)%2]
			if err := r.late(); err != nil {
				return errors.Join(append(errs, err)...)
			}
			if round < r.plan.memoryRounds {
				for _, list := range []bool{false, true} {
					err := r.life(ctx, s, probe, name, round, list)
					if err != nil {
						r.add(results.Sample{What: "rss_peak_start", World: s.Name, Peer: name, Round: round, Void: true, Why: err.Error()})
						errs = append(errs, fmt.Errorf("%s: %w", name, err))
						if ctx.Err() != nil {
							return ctx.Err()
						}
						// Whatever went wrong, those that follow have an API server.
						if err := errors.Join(s.cluster.KillAPIServer(), s.cluster.StartAPIServer(ctx, strconv.Itoa(r.load))); err != nil {
							return errors.Join(append(errs, err)...)
						}
					}
				}
			} else {
				errs = append(errs, r.startOnly(ctx, s, name, round))
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		errs = append(errs, r.save())
	}
	for _, name := range r.peers() {
		if name == results.NSD || name == results.Knot {
			errs = append(errs, r.staticMemory(ctx, s, name))
		}
	}
	return errors.Join(errs...)
}

// startOnly measures one more start.
func (r *runner) startOnly(ctx context.Context, s *site, name string, round int) (err error) {
	c, err := r.config(s, name)
	if err != nil {
		return err
	}
	p, err := peer.Start(c)
	if err != nil {
		return err
	}
	defer stop(&err, p)
	took, err := r.await(ctx, s, p)
	if err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	r.add(results.Sample{What: "start_to_answer", World: s.Name, Peer: name, Round: round, Value: took.Seconds() * 1000, Unit: "ms"})
	return nil
}

// staticMemory measures what a server of static zones holds.
func (r *runner) staticMemory(ctx context.Context, s *site, name string) error {
	return r.with(ctx, s, name, func(p *peer.Peer) error {
		if err := sleep(ctx, r.plan.settle); err != nil {
			return err
		}
		u, err := peer.UsageOf(p.PID)
		if err != nil {
			return err
		}
		r.add(results.Sample{What: "rss_steady", World: s.Name, Peer: name, Value: mb(u.RSS), Unit: "MB"})
		return nil
	})
}

// life measures one life of a peer: start, steady, API server killed and back,
// reload. With list, the feeds are plain lists, and only what differs by that
// is kept.
func (r *runner) life(ctx context.Context, s *site, probe *probe, name string, round int, list bool) (err error) {
	c, err := r.config(s, name)
	if err != nil {
		return err
	}
	if list {
		c.Env = append(c.Env, plainList)
	}
	p, err := peer.Start(c)
	if err != nil {
		return err
	}
	defer stop(&err, p)
	add := func(what string, value float64, unit string) {
		r.add(results.Sample{What: what, World: s.Name, Peer: name, Round: round, Value: value, Unit: unit})
	}
	w := watch(p)
	defer w.stop()

	took, err := r.await(ctx, s, p)
	if err != nil {
		return err
	}
	w.mark("synced")
	if err := sleep(ctx, r.plan.settle); err != nil {
		return err
	}
	u, err := peer.UsageOf(p.PID)
	if err != nil {
		return err
	}
	if list {
		add("rss_peak_start_list", mb(u.Peak), "MB")
	} else {
		add("start_to_answer", took.Seconds()*1000, "ms")
		add("rss_peak_start", mb(u.Peak), "MB")
		add("rss_steady", mb(u.RSS), "MB")
		heap, err := p.Metric(ctx, "go_memstats_heap_inuse_bytes")
		if err != nil {
			return err
		}
		add("heap_steady", mb(int64(heap)), "MB")
	}

	peak, err := r.peakOf(ctx, p, func() error {
		w.mark("killed")
		if err := s.cluster.KillAPIServer(); err != nil {
			return err
		}
		if err := s.cluster.StartAPIServer(ctx, strconv.Itoa(r.load)); err != nil {
			return err
		}
		w.mark("back")
		// Whoever tells of a change follows again.
		if err := probe.change(ctx); err != nil {
			return err
		}
		if _, err := p.Await(ctx, probe.question()); err != nil {
			return err
		}
		w.mark("followed")
		return nil
	})
	if err != nil {
		return fmt.Errorf("API server killed and back: %w", err)
	}
	if list {
		add("rss_peak_relist_list", peak, "MB")
		return nil // a reload lists as a start does
	}
	add("rss_peak_relist", peak, "MB")

	w.mark("reload")
	missing := 0
	peak, err = r.peakOf(ctx, p, func() (err error) {
		missing, err = r.reload(ctx, p, probe)
		return err
	})
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	add("rss_peak_reload", peak, "MB")
	r.res.Series = append(r.res.Series, w.series(name, s.Name)...)
	lost := results.Sample{What: "reload_missing", World: s.Name, Peer: name, Round: round, Load: "API up", Value: float64(missing), Unit: "answers"}
	r.add(lost)

	if err := s.cluster.KillAPIServer(); err != nil {
		return err
	}
	missing, err = r.reload(ctx, p, probe)
	if err := errors.Join(err, s.cluster.StartAPIServer(ctx, strconv.Itoa(r.load))); err != nil {
		return fmt.Errorf("reload with the API server down: %w", err)
	}
	lost.Load, lost.Value = "API down", float64(missing)
	r.add(lost)
	return nil
}

// patience is how long a client waits for a reply before it calls it lost.
const patience = 2 * time.Second

// reload reloads a peer's Corefile, and returns how many of the questions asked
// one after the other meanwhile, and a second longer, were not answered rightly.
func (r *runner) reload(ctx context.Context, p *peer.Peer, probe *probe) (missing int, err error) {
	const done = "Reloading complete"
	before := strings.Count(p.Logged(), done)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if err := peer.Ask(p.Addr, probe.question(), patience); err != nil {
				missing++
			}
		}
	})
	if err = p.Signal(syscall.SIGUSR1); err == nil {
		err = waitFor(ctx, p, "the reload", func() error {
			if strings.Count(p.Logged(), done) == before {
				return errors.New("the log does not say that it is complete")
			}
			return nil
		})
	}
	if err == nil {
		err = sleep(ctx, time.Second)
	}
	close(stop)
	asking.Wait()
	return missing, err
}

// waitFor waits on a peer for at most readyLimit.
func waitFor(ctx context.Context, p *peer.Peer, what string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	return p.Wait(ctx, 5*time.Millisecond, what, check)
}

// peakOf returns the highest RSS, in MB, while something happens and a while
// after.
func (r *runner) peakOf(ctx context.Context, p *peer.Peer, happens func() error) (float64, error) {
	if err := peer.ResetPeak(p.PID); err != nil {
		return 0, err
	}
	if err := happens(); err != nil {
		return 0, err
	}
	if err := sleep(ctx, r.plan.settle); err != nil {
		return 0, err
	}
	u, err := peer.UsageOf(p.PID)
	return mb(u.Peak), err
}

// watcher samples a peer's RSS.
type watcher struct {
	start time.Time
	done  chan struct{}
	ended sync.WaitGroup

	mu     sync.Mutex
	t, rss []float64
	marks  []results.Mark
}

// sampling is how often RSS is read.
const sampling = 20 * time.Millisecond

func watch(p *peer.Peer) *watcher {
	w := &watcher{start: p.Started, done: make(chan struct{})}
	w.mark("start")
	w.ended.Go(func() {
		tick := time.NewTicker(sampling)
		defer tick.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-tick.C:
			}
			rss, err := peer.RSS(p.PID)
			if err != nil {
				return // it ended, and somebody else says so
			}
			w.mu.Lock()
			w.t, w.rss = append(w.t, time.Since(w.start).Seconds()), append(w.rss, mb(rss))
			w.mu.Unlock()
		}
	})
	return w
}

func (w *watcher) mark(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := time.Since(w.start).Seconds()
	if name == "start" {
		t = 0
	}
	w.marks = append(w.marks, results.Mark{T: t, Name: name})
}

// stop ends the sampling; calling it again does nothing.
func (w *watcher) stop() {
	select {
	case <-w.done:
	default:
		close(w.done)
	}
	w.ended.Wait()
}

func (w *watcher) series(name, world string) []results.Series {
	w.stop()
	return []results.Series{{What: "rss", Peer: name, World: world, Unit: "MB", T: w.t, V: w.rss, Marks: w.marks}}
}
