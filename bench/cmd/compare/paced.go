package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/clusterdns/clusterdns/bench/load"
	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/results"
)

// pacedMix is what is asked at everyday rates.
const pacedMix = "clusterip"

// paced measures what a query costs and how long it takes at the rates of
// everyday life: with the server on a core of its own, and with two cores that
// it shares with whoever asks, as the kernel likes to place them. Then nobody
// asks.
func (r *runner) paced(ctx context.Context) (err error) {
	s, err := r.site(ctx, r.plan.world, r.plan.manifest)
	if err != nil {
		return err
	}
	defer stop(&err, s)
	var errs []error
	for round := range r.plan.rounds {
		for cores := 1; cores <= r.cores; cores++ {
			if err := r.late(); err != nil {
				return errors.Join(append(errs, err)...)
			}
			peers := slices.DeleteFunc(without(r.plan.peers, results.CoreDNSCache), func(name string) bool { return len(r.plan.ratesOf(name, cores)) == 0 })
			errs = append(errs, r.each(ctx, peers, s, round, placed{cores: cores}, "cpu_per_query", func(p *peer.Peer) error {
				var errs []error
				for _, rate := range r.plan.ratesOf(p.Config.Name, cores) {
					errs = append(errs, r.at(ctx, p, s, round, rate))
				}
				if cores == r.cores && p.Config.Name != results.Console {
					errs = append(errs, r.unasked(ctx, p, s, round))
				}
				return errors.Join(errs...)
			}))
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return errors.Join(errs...)
}

// at measures one rate once.
func (r *runner) at(ctx context.Context, p *peer.Peer, s *site, round, rate int) error {
	sample := results.Sample{Mix: pacedMix, World: s.Name, Proto: "udp", Load: results.PerSecond(rate), Cores: p.Config.Cores, Peer: p.Config.Name, Round: round}
	wrong, err := r.check(ctx, p, s, pacedMix, "udp")
	if err != nil {
		return err
	}
	l, used, why, err := r.pace(ctx, p, s, pacedMix, rate, r.plan.paced)
	if err != nil {
		return err
	}
	sample.Why = cmp.Or(wrong, why)
	sample.Void = sample.Why != ""
	for _, v := range []struct {
		what  string
		value float64
	}{
		{"cpu_per_query", micros(used.cpu) / float64(max(1, l.Answered))},
		{"machine_per_query", micros(used.machine) / float64(max(1, l.Answered))},
		{"latency_p50", l.Latency.P50},
		{"latency_p99", l.Latency.P99},
	} {
		sample.What, sample.Value, sample.Unit = v.what, v.value, "µs"
		r.add(sample)
	}
	return nil
}

// pace asks a mix at a rate, and returns what was used meanwhile, and why that does
// not count, or "".
func (r *runner) pace(ctx context.Context, p *peer.Peer, s *site, mix string, rate int, d time.Duration) (l load.Result, u used, why string, err error) {
	checked, _, err := s.files(mix)
	if err != nil {
		return l, u, "", err
	}
	// A first run wakes what sleeps, and is not measured.
	ask := func(d time.Duration) (load.Result, error) {
		return r.dnsload(ctx, p, checked, "-rate", strconv.Itoa(rate), "-sockets", "64", "-duration", d.String(), "-warmup", "0s")
	}
	if _, err := ask(200 * time.Millisecond); err != nil {
		return l, u, "", err
	}
	u, err = meter(p, func() (err error) {
		l, err = ask(d)
		return err
	})
	if err != nil {
		return l, u, "", fmt.Errorf("%d queries a second: %w", rate, err)
	}
	behind := ""
	if sent := float64(l.Sent) / l.Duration; sent < 0.98*float64(rate) {
		behind = fmt.Sprintf("the generator sent %.0f queries a second", sent)
	}
	return l, u, cmp.Or(l.FirstWrong, void(l), behind), nil
}

// unasked measures the CPU of a peer that nobody asks.
func (r *runner) unasked(ctx context.Context, p *peer.Peer, s *site, round int) error {
	used, err := meter(p, func() error { return sleep(ctx, r.plan.idle) })
	if err != nil {
		return err
	}
	r.add(results.Sample{What: "cpu_idle", World: s.Name, Peer: p.Config.Name, Round: round, Unit: "%",
		Value: used.share()})
	return nil
}

// used is what was used of the machine while something happened.
type used struct {
	wall    time.Duration
	cpu     time.Duration // of a peer, all of its threads and processes
	machine time.Duration // of all cores, by everybody
}

// share is the peer's part of a core, in percent.
func (u used) share() float64 { return 100 * u.cpu.Seconds() / u.wall.Seconds() }

// meter measures what is used while something happens.
func meter(p *peer.Peer, happens func() error) (u used, err error) {
	before, err := peer.UsageOf(p.PID)
	if err != nil {
		return u, err
	}
	idleBefore, cores, err := peer.MachineIdle()
	if err != nil {
		return u, err
	}
	begin := time.Now()
	if err := happens(); err != nil {
		return u, err
	}
	u.wall = time.Since(begin)
	idle, _, err := peer.MachineIdle()
	if err != nil {
		return u, err
	}
	after, err := peer.UsageOf(p.PID)
	u.cpu = after.CPU - before.CPU
	u.machine = max(0, time.Duration(cores)*u.wall-(idle-idleBefore))
	return u, err
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
