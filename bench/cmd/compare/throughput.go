package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/clusterdns/clusterdns/bench/load"
	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/world"
)

// throughput measures CPU per query and the maximum rate of every mix.
func (r *runner) throughput(ctx context.Context) error {
	return r.rates(ctx, r.plan.world, r.plan.manifest, r.plan.peers, r.plan.rows)
}

// growth measures them for worlds of other sizes.
func (r *runner) growth(ctx context.Context) error {
	rows := func(string) (rows []asked) {
		for _, mix := range growthMix {
			rows = append(rows, asked{mix, "udp"})
		}
		return rows
	}
	return errors.Join(
		r.rates(ctx, growthFrom, false, without(r.plan.peers, results.CoreDNSCache, results.Chain, results.Console), rows),
		r.rates(ctx, growthTo, true, without(r.plan.peers, results.CoreDNS, results.CoreDNSCache, results.Chain, results.Console), rows))
}

// big measures them for one service with thousands of endpoints.
func (r *runner) big(ctx context.Context) error {
	return r.rates(ctx, bigSpec, false, without(r.plan.peers, results.CoreDNSCache, results.Console), func(string) []asked { return []asked{{"big", "udp"}} })
}

func (r *runner) rates(ctx context.Context, spec world.Spec, manifest bool, peers []string, rows func(peer string) []asked) (err error) {
	if err := r.late(); err != nil {
		return fmt.Errorf("world %s: %w", spec.Name, err)
	}
	s, err := r.site(ctx, spec, manifest)
	if err != nil {
		return err
	}
	defer stop(&err, s)
	var errs []error
	for round := range r.plan.rounds {
		if err := r.late(); err != nil {
			return errors.Join(append(errs, fmt.Errorf("world %s, round %d: %w", spec.Name, round, err))...)
		}
		for _, v6 := range []bool{false, true} {
			of := func(peer string) []asked {
				return slices.DeleteFunc(slices.Clone(rows(peer)), func(a asked) bool { return a.proto == "udp6" != v6 })
			}
			asked := slices.DeleteFunc(slices.Clone(peers), func(peer string) bool { return len(of(peer)) == 0 })
			errs = append(errs, r.each(ctx, asked, s, round, placed{cores: 1, v6: v6}, "cpu_per_query", func(p *peer.Peer) error {
				var errs []error
				for _, a := range of(p.Config.Name) {
					errs = append(errs, r.rate(ctx, p, s, round, a))
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

// rate measures one mix once.
func (r *runner) rate(ctx context.Context, p *peer.Peer, s *site, round int, a asked) error {
	sample := results.Sample{Mix: a.mix, World: s.Name, Proto: a.proto, Load: results.Saturated, Cores: p.Config.Cores, Peer: p.Config.Name, Round: round}
	var l load.Result
	var u used
	wrong, err := r.check(ctx, p, s, a.mix, a.proto)
	if err == nil {
		u, err = meter(p, func() (err error) {
			l, err = r.saturate(ctx, p, s, a, r.plan.seconds)
			return err
		})
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		sample.Why = err.Error()
	} else {
		sample.Why = cmp.Or(wrong, void(l))
	}
	sample.Void = sample.Why != ""
	with := func(what string, value float64, unit string) results.Sample {
		sample.What, sample.Value, sample.Unit = what, value, unit
		return sample
	}
	r.add(
		with("cpu_per_query", micros(u.cpu)/float64(max(1, l.Answered)), "µs"),
		with("max_rate", l.QPS, "q/s"),
		// Below results.Busy the generator, not the server, was the limit of max_rate.
		with("server_busy", 100*u.cpu.Seconds()/max(l.Duration, 1e-9), "%"),
	)
	if err != nil {
		return fmt.Errorf("%s %s: %w", a.mix, a.proto, err)
	}
	return nil
}
