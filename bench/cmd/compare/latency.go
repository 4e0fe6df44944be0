package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/results"
)

// latency measures it at rates that stock CoreDNS can serve. The step
// throughput has to have run before.
func (r *runner) latency(ctx context.Context) (err error) {
	s, err := r.site(ctx, r.plan.world, r.plan.manifest)
	if err != nil {
		return err
	}
	defer stop(&err, s)
	var errs []error
	for round := range r.plan.latencyRounds {
		if err := r.late(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, r.each(ctx, s, round, "latency_p50", func(p *peer.Peer) error {
			var errs []error
			for _, mix := range r.plan.latencyMixes {
				for _, percent := range r.plan.loads {
					if err := r.latencyAt(ctx, p, s, round, mix, percent); err != nil {
						errs = append(errs, fmt.Errorf("%s at %d %%: %w", mix, percent, err))
					}
				}
			}
			return errors.Join(errs...)
		}))
	}
	return errors.Join(errs...)
}

func (r *runner) latencyAt(ctx context.Context, p *peer.Peer, s *site, round int, mix string, percent int) error {
	if r.stockMax[mix] == 0 {
		return fmt.Errorf("the maximum rate of %s is not known", r.reference())
	}
	wrong, err := r.check(ctx, p, s, mix, "udp")
	if err != nil {
		return err
	}
	checked, _, err := s.files(mix)
	if err != nil {
		return err
	}
	rate := r.stockMax[mix] * float64(percent) / 100
	l, err := r.dnsload(ctx, p, checked, "-rate", fmt.Sprintf("%.0f", rate), "-sockets", "16",
		"-duration", r.plan.seconds.String(), "-warmup", "300ms")
	if err != nil {
		return err
	}
	sample := results.Sample{Mix: mix, World: s.Name, Proto: "udp", Load: fmt.Sprintf("%d%%", percent), Peer: p.Config.Name, Round: round, Unit: "µs"}
	behind := ""
	if sent := float64(l.Sent) / l.Duration; sent < 0.98*rate {
		behind = fmt.Sprintf("the generator sent %.0f of %.0f queries a second", sent, rate)
	}
	if l.Wrong > 0 {
		wrong = l.FirstWrong
	}
	sample.Why = cmp.Or(wrong, l.void(), behind)
	sample.Void = sample.Why != ""
	for _, v := range []struct {
		what  string
		value float64
	}{{"latency_p50", l.Latency.P50}, {"latency_p99", l.Latency.P99}, {"latency_p999", l.Latency.P999}} {
		sample.What, sample.Value = v.what, v.value
		r.add(sample)
	}
	return nil
}
