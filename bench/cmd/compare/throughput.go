package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/world"
)

// throughput measures CPU per query and the maximum rate of every mix.
func (r *runner) throughput(ctx context.Context) error {
	return r.rates(ctx, r.plan.world, r.plan.manifest, r.plan.rounds, r.plan.mixes, r.plan.tcp)
}

// growth measures them for worlds of other sizes.
func (r *runner) growth(ctx context.Context) error {
	var errs []error
	for _, spec := range r.plan.growth {
		errs = append(errs, r.rates(ctx, spec, r.plan.manifest, r.plan.growthRounds, r.plan.growthMixes, nil))
	}
	for _, spec := range r.plan.growthFile {
		errs = append(errs, r.rates(ctx, spec, true, r.plan.growthRounds, r.plan.growthMixes, nil))
	}
	return errors.Join(errs...)
}

// big measures them for one service with thousands of endpoints.
func (r *runner) big(ctx context.Context) error {
	return r.rates(ctx, bigSpec, r.plan.manifest, r.plan.growthRounds, []string{"big"}, nil)
}

func (r *runner) rates(ctx context.Context, spec world.Spec, manifest bool, rounds int, mixes, tcp []string) (err error) {
	if err := r.late(); err != nil {
		return fmt.Errorf("world %s: %w", spec.Name, err)
	}
	s, err := r.site(ctx, spec, manifest)
	if err != nil {
		return err
	}
	defer stop(&err, s)
	var errs []error
	for round := range rounds {
		if err := r.late(); err != nil {
			errs = append(errs, fmt.Errorf("world %s, round %d: %w", spec.Name, round, err))
			break
		}
		errs = append(errs, r.each(ctx, s, round, "cpu_per_query", func(p *peer.Peer) error {
			var errs []error
			for _, mix := range mixes {
				errs = append(errs, r.rate(ctx, p, s, round, mix, "udp"))
			}
			for _, mix := range tcp {
				errs = append(errs, r.rate(ctx, p, s, round, mix, "tcp"))
			}
			return errors.Join(errs...)
		}))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for _, mix := range mixes {
		if rate := r.median("max_rate", mix, "udp", s.Name, r.reference()); rate > 0 && spec == r.plan.world {
			r.stockMax[mix] = rate
		}
	}
	return errors.Join(errs...)
}

// reference is the peer whose maximum rate is the measure of the rates at which
// latency is measured.
func (r *runner) reference() string {
	if slices.Contains(r.plan.peers, results.CoreDNS) {
		return results.CoreDNS
	}
	return results.Chain
}

// rate measures one mix once.
func (r *runner) rate(ctx context.Context, p *peer.Peer, s *site, round int, mix, proto string) error {
	sample := results.Sample{Mix: mix, World: s.Name, Proto: proto, Peer: p.Config.Name, Round: round}
	wrong, err := r.check(ctx, p, s, mix, proto)
	var before, after peer.Usage
	if err == nil {
		before, err = peer.UsageOf(p.PID)
	}
	begin := time.Now()
	var l load
	if err == nil {
		l, err = r.saturate(ctx, p, s, mix, proto, r.plan.seconds)
	}
	wall := time.Since(begin)
	if err == nil {
		after, err = peer.UsageOf(p.PID)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		sample.Void, sample.Why = true, err.Error()
	} else if why := cmp.Or(wrong, l.void()); why != "" {
		sample.Void, sample.Why = true, why
	}
	cpu := after.CPU - before.CPU
	with := func(what string, value float64, unit string) results.Sample {
		sample.What, sample.Value, sample.Unit = what, value, unit
		return sample
	}
	r.add(
		with("cpu_per_query", float64(cpu.Microseconds())/float64(max(1, l.Answered)), "µs"),
		with("max_rate", l.QPS, "q/s"),
		// Below 100 the generator, not the server, was the limit of max_rate.
		with("server_busy", 100*cpu.Seconds()/wall.Seconds(), "%"),
	)
	if err != nil {
		return fmt.Errorf("%s %s: %w", mix, proto, err)
	}
	return nil
}

// median returns that of the samples that count, or 0.
func (r *runner) median(what, mix, proto, world, peer string) float64 {
	var values []float64
	for _, s := range r.res.Samples {
		if s.What == what && s.Mix == mix && s.Proto == proto && s.World == world && s.Peer == peer && !s.Void {
			values = append(values, s.Value)
		}
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
