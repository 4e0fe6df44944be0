package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterdns/clusterdns/bench/load"
	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/veth"
)

// echoMix is what the echo is asked in the place of pacedMix: the same names and
// sizes, and its reply is right, that there is no such record.
const echoMix = "nodata"

// kernel measures servers in a network namespace of their own, and the clients in
// another, as in pods: what each adds to an echo in the kernel, which no server is
// faster than.
func (r *runner) kernel(ctx context.Context) (err error) {
	if err := hasTCX(); err != nil {
		return err
	}
	pair, err := veth.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	s, err := r.site(ctx, r.plan.world, r.plan.manifest)
	if err != nil {
		return err
	}
	defer stop(&err, s)
	if s.cluster != nil {
		api, err := s.cluster.API()
		if err != nil {
			return err
		}
		relay, err := pair.Server.Relay(net.JoinHostPort(api.Host, api.Port))
		if err != nil {
			return err
		}
		defer relay.Close()
	}
	var errs []error
	for round := range r.plan.rounds {
		if err := r.late(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, r.each(ctx, r.plan.veth, s, round, placed{cores: r.cores, pair: pair}, "machine_per_query", func(p *peer.Peer) error {
			if p.Config.Name == results.Kernel {
				if err := opened(ctx, p); err != nil {
					return err
				}
			}
			var errs []error
			for _, rate := range append([]int{0}, r.plan.vethRates...) {
				errs = append(errs, r.paired(ctx, p, s, round, rate))
			}
			return errors.Join(append(errs, r.resting(ctx, p, s, round))...)
		}))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

// hasTCX returns an error where the kernel cannot have programs at tcx.
func hasTCX() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	release := unix.ByteSliceToString(name.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("version of the kernel, %q: %w", release, err)
	}
	if major < 6 || major == 6 && minor < 6 {
		return fmt.Errorf("%w: it takes Linux 6.6, and this is %s", errors.ErrUnsupported, release)
	}
	return nil
}

const countedAfter = 1500 * time.Millisecond

// opened waits until clusterdns' kernel lane answers.
func opened(ctx context.Context, p *peer.Peer) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return p.Wait(ctx, 20*time.Millisecond, "the kernel lane to open", func() error {
		open, err := p.Metric(ctx, "coredns_clusterdns_fastlane_kernel_open")
		if err == nil && open == 0 {
			err = errors.New("it is closed")
		}
		return err
	})
}

// paired measures one rate once, or as many as are answered if it is 0.
func (r *runner) paired(ctx context.Context, p *peer.Peer, s *site, round, rate int) error {
	sample := results.Sample{Mix: pacedMix, World: s.Name, Proto: "veth", Load: results.Saturated, Cores: p.Config.Cores, Peer: p.Config.Name, Round: round, Unit: "µs"}
	mix := pacedMix
	if p.Config.Name == results.Echo {
		mix = echoMix
	}
	wrong, err := r.check(ctx, p, s, mix, "veth")
	if err != nil {
		return err
	}
	before, err := answeredInKernel(ctx, p)
	if err != nil {
		return err
	}
	var l load.Result
	var u used
	var why string
	err = s.alone(func() (err error) {
		if rate > 0 {
			sample.Load = results.PerSecond(rate)
			l, u, why, err = r.pace(ctx, p, s, mix, rate, r.plan.vethFor(rate))
			return err
		}
		u, err = meter(p, func() (err error) {
			l, err = r.saturate(ctx, p, s, asked{mix, "veth"}, r.plan.paced)
			return err
		})
		why = void(l)
		return err
	})
	if err != nil {
		return err
	}
	after, err := answeredInKernel(ctx, p)
	if err != nil {
		return err
	}
	if in := after - before; p.Config.Name == results.Kernel && in < enough*float64(l.Answered) {
		why = cmp.Or(why, fmt.Sprintf("of %d answers %.0f were the kernel's", l.Answered, in))
	}
	sample.Why = cmp.Or(wrong, why)
	sample.Void = sample.Why != ""
	sample.What, sample.Value = "machine_per_query", micros(u.machine)/float64(max(1, l.Answered))
	r.add(sample)
	if rate > 0 {
		sample.What, sample.Value = "latency_mean", l.Latency.Mean
		r.add(sample)
	}
	sample.What, sample.Value, sample.Unit = "cpu_share", u.share(), "%"
	r.add(sample)
	return nil
}

// answeredInKernel is how many answers clusterdns' kernel lane has given; 0 for
// others. It waits, because they are counted up to a second late.
func answeredInKernel(ctx context.Context, p *peer.Peer) (float64, error) {
	if p.Config.Name != results.Kernel {
		return 0, nil
	}
	if err := sleep(ctx, countedAfter); err != nil {
		return 0, err
	}
	return p.Metric(ctx, "coredns_clusterdns_fastlane_kernel_answered_total")
}

// resting measures the CPU of a peer that nobody asks.
func (r *runner) resting(ctx context.Context, p *peer.Peer, s *site, round int) error {
	var u used
	err := s.alone(func() (err error) {
		u, err = meter(p, func() error { return sleep(ctx, r.plan.idle) })
		return err
	})
	if err == nil {
		r.add(results.Sample{What: "cpu_share", World: s.Name, Proto: "veth", Load: results.Idle, Cores: p.Config.Cores, Peer: p.Config.Name, Round: round, Unit: "%", Value: u.share()})
	}
	return err
}

// alone runs f while the control plane, if there is one, uses nothing of the machine.
func (s *site) alone(f func() error) (err error) {
	if s.cluster == nil {
		return f()
	}
	resume, err := s.cluster.Pause()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resume()) }()
	return f()
}
