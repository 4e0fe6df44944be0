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

// memory measures resident memory of those peers that follow an API server, in
// lives of their own: at their start and through a reload of the Corefile,
// through a restart of the API server, and through that with plain lists.
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
	lives := []struct {
		what string
		at   placed
		live func(*life, context.Context) error
	}{
		{"rss_peak_reload", placed{}, (*life).reloaded},
		{"rss_peak_relist", placed{}, (*life).relisted},
		{"rss_peak_relist_list", placed{env: []string{plainList}}, (*life).relistedPlainly},
	}
	var errs []error
	for round := range r.plan.rounds {
		for i := range followers {
			name := followers[(i+round)%len(followers)]
			for _, l := range lives {
				if err := r.late(); err != nil {
					return errors.Join(append(errs, err)...)
				}
				err := r.with(ctx, s, name, l.at, func(p *peer.Peer, took time.Duration) error {
					life := &life{runner: r, peer: p, site: s, probe: probe, round: round, took: took, rss: watch(p)}
					defer life.rss.stop()
					return l.live(life, ctx)
				})
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err == nil {
					continue
				}
				r.add(results.Sample{What: l.what, World: s.Name, Peer: name, Round: round, Void: true, Why: err.Error()})
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
				// Whatever went wrong, those that follow have an API server.
				if err := errors.Join(s.cluster.KillAPIServer(), s.cluster.StartAPIServer(ctx, strconv.Itoa(r.load))); err != nil {
					return errors.Join(append(errs, err)...)
				}
			}
		}
		errs = append(errs, r.save())
	}
	for _, name := range []string{results.NSD, results.Knot} {
		errs = append(errs, r.steady(ctx, s, name, "rss_steady", 0))
	}
	return errors.Join(errs...)
}

// steady measures what a server holds that nobody asks.
func (r *runner) steady(ctx context.Context, s *site, name, what string, round int) error {
	return r.with(ctx, s, name, placed{}, func(p *peer.Peer, _ time.Duration) error {
		if err := sleep(ctx, r.plan.settle); err != nil {
			return err
		}
		u, err := peer.UsageOf(p.PID)
		if err != nil {
			return err
		}
		r.add(results.Sample{What: what, World: s.Name, Peer: name, Round: round, Value: mb(u.RSS), Unit: "MB"})
		return nil
	})
}

// life is a peer from its start on.
type life struct {
	*runner
	peer  *peer.Peer
	site  *site
	probe *probe
	round int
	took  time.Duration // until the first right answer
	rss   *watcher
}

func (l *life) note(what, load string, value float64, unit string) {
	l.add(results.Sample{What: what, World: l.site.Name, Peer: l.peer.Config.Name, Round: l.round, Load: load, Value: value, Unit: unit})
}

// settled waits, and returns what was used until then.
func (l *life) settled(ctx context.Context) (peer.Usage, error) {
	l.rss.mark("synced")
	if err := sleep(ctx, l.plan.settle); err != nil {
		return peer.Usage{}, err
	}
	return peer.UsageOf(l.peer.PID)
}

// reloaded is a start and a reload of the Corefile.
func (l *life) reloaded(ctx context.Context) error {
	u, err := l.settled(ctx)
	if err != nil {
		return err
	}
	heap, err := l.peer.Metric(ctx, "go_memstats_heap_inuse_bytes")
	if err != nil {
		return err
	}
	l.note("start_to_answer", "", l.took.Seconds()*1000, "ms")
	l.note("rss_peak_start", "", mb(u.Peak), "MB")
	l.note("rss_steady", "", mb(u.RSS), "MB")
	l.note("heap_steady", "", mb(int64(heap)), "MB")
	missing := 0
	peak, err := l.peakOf(ctx, func() (err error) {
		l.rss.mark("reload")
		missing, err = l.reload(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	l.note("rss_peak_reload", "", peak, "MB")
	l.note("reload_missing", "API up", float64(missing), "answers")
	l.keep("reload")
	return nil
}

// relisted is a start and a restart of the API server, and then a reload
// while that is down.
func (l *life) relisted(ctx context.Context) error {
	if _, err := l.settled(ctx); err != nil {
		return err
	}
	peak, err := l.outage(ctx)
	if err != nil {
		return err
	}
	l.note("rss_peak_relist", "", peak, "MB")
	l.keep("API server restarted")
	if err := l.site.cluster.KillAPIServer(); err != nil {
		return err
	}
	missing, err := l.reload(ctx)
	if err := errors.Join(err, l.site.cluster.StartAPIServer(ctx, strconv.Itoa(l.load))); err != nil {
		return fmt.Errorf("reload with the API server down: %w", err)
	}
	l.note("reload_missing", "API down", float64(missing), "answers")
	return nil
}

// relistedPlainly is a start and a restart of the API server with plain lists.
func (l *life) relistedPlainly(ctx context.Context) error {
	u, err := l.settled(ctx)
	if err != nil {
		return err
	}
	peak, err := l.outage(ctx)
	if err != nil {
		return err
	}
	l.note("rss_peak_start_list", "", mb(u.Peak), "MB")
	l.note("rss_peak_relist_list", "", peak, "MB")
	return nil
}

// outage kills the API server, starts it again, and returns the peak until the
// peer has followed again for a while.
func (l *life) outage(ctx context.Context) (float64, error) {
	peak, err := l.peakOf(ctx, func() error {
		l.rss.mark("killed")
		if err := l.site.cluster.KillAPIServer(); err != nil {
			return err
		}
		if err := l.site.cluster.StartAPIServer(ctx, strconv.Itoa(l.load)); err != nil {
			return err
		}
		l.rss.mark("back")
		// Whoever tells of a change follows again.
		if err := l.probe.change(ctx); err != nil {
			return err
		}
		if _, err := l.peer.Await(ctx, l.probe.question()); err != nil {
			return err
		}
		l.rss.mark("followed")
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("API server killed and back: %w", err)
	}
	return peak, nil
}

// keep adds the memory over time to the results, once for each peer.
func (l *life) keep(what string) {
	if l.round == 0 {
		l.res.Series = append(l.res.Series, l.rss.series(what, l.peer.Config.Name, l.site.Name))
	}
}

// patience is how long a client waits for a reply before it calls it lost.
const patience = 2 * time.Second

// reload reloads a peer's Corefile, and returns how many of the questions asked
// one after the other meanwhile, and a second longer, were not answered rightly.
func (l *life) reload(ctx context.Context) (missing int, err error) {
	p, question := l.peer, l.probe.question()
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
			if err := p.Ask(question, patience); err != nil {
				missing++
			}
		}
	})
	if err = p.Signal(syscall.SIGUSR1); err == nil {
		limited, cancel := context.WithTimeout(ctx, readyLimit)
		defer cancel()
		err = p.Wait(limited, 5*time.Millisecond, "the reload", func() error {
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

// peakOf returns the highest RSS, in MB, while something happens and a while
// after.
func (l *life) peakOf(ctx context.Context, happens func() error) (float64, error) {
	if err := peer.ResetPeak(l.peer.PID); err != nil {
		return 0, err
	}
	if err := happens(); err != nil {
		return 0, err
	}
	if err := sleep(ctx, l.plan.settle); err != nil {
		return 0, err
	}
	u, err := peer.UsageOf(l.peer.PID)
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

func (w *watcher) series(load, name, world string) results.Series {
	w.stop()
	return results.Series{What: "rss", Load: load, Peer: name, World: world, Unit: "MB", T: w.t, V: w.rss, Marks: w.marks}
}
