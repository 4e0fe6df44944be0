package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clusterdns/clusterdns/bench/cluster"
	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/question"
	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/world"
)

// churnRate is how many changes a second churn is.
const churnRate = 200

// kubernetesService is a name that every cluster has.
var kubernetesService = question.New("kubernetes.default.svc."+world.Zone, dns.TypeA, dns.RcodeSuccess, "10.96.0.1")

// programming measures DNS programming latency: from the moment that a write is
// acknowledged to the first reply with the new answer. And what churn costs.
func (r *runner) programming(ctx context.Context) (err error) {
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
	for round := range r.plan.rounds {
		if err := r.late(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, r.each(ctx, followers, s, round, placed{}, "programming_p50", func(p *peer.Peer) error {
			return errors.Join(
				r.programmingAt(ctx, p, s, probe, round, "idle", ""),
				r.underChurn(ctx, p, s, round, func(why string) error {
					return r.programmingAt(ctx, p, s, probe, round, fmt.Sprintf("churn%d", churnRate), why)
				}))
		}))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

func (r *runner) programmingAt(ctx context.Context, p *peer.Peer, s *site, probe *probe, round int, load, why string) error {
	poller, err := newPoller(p.Addr, probe.question().Name)
	if err != nil {
		return err
	}
	defer poller.stop()
	var took []time.Duration
	for range r.plan.changes {
		d, err := probe.measure(ctx, poller)
		if err != nil {
			return fmt.Errorf("change %d, %s: %w", len(took), load, err)
		}
		took = append(took, d)
	}
	slices.Sort(took)
	for what, q := range map[string]float64{"programming_p50": 0.50, "programming_p99": 0.99} {
		r.add(results.Sample{What: what, World: s.Name, Load: load, Peer: p.Config.Name, Round: round, Unit: "ms", Why: why,
			Value: took[int(q*float64(len(took)-1))].Seconds() * 1000})
	}
	return nil
}

// underChurn changes services all over the world, measures the peer's CPU for
// it, and then calls measure while that goes on.
func (r *runner) underChurn(ctx context.Context, p *peer.Peer, s *site, round int, measure func(why string) error) error {
	churn := startChurn(ctx, s)
	defer churn.stop()
	if err := sleep(ctx, time.Second); err != nil { // until it has settled
		return err
	}
	changes := churn.changes.Load()
	u, err := meter(p, func() error { return sleep(ctx, r.plan.churn) })
	if err != nil {
		return err
	}
	changes = churn.changes.Load() - changes
	if changes == 0 {
		return errors.Join(errors.New("churn: nothing could be changed"), churn.err())
	}
	rate := float64(changes) / u.wall.Seconds()
	why := ""
	if rate < 0.95*churnRate {
		why = fmt.Sprintf("the API server took %.0f changes a second", rate)
	}
	r.add(results.Sample{What: "churn_cpu", World: s.Name, Load: fmt.Sprintf("churn%d", churnRate), Peer: p.Config.Name, Round: round, Unit: "µs", Why: why,
		Value: micros(u.cpu) / float64(changes)})
	return errors.Join(measure(why), churn.err())
}

// churn changes the first address of services taken at random, headless or not,
// back and forth.
type churn struct {
	changes atomic.Int64
	cancel  context.CancelFunc
	ended   sync.WaitGroup

	mu    sync.Mutex
	first error
}

func startChurn(ctx context.Context, s *site) *churn {
	ctx, cancel := context.WithCancel(ctx)
	c := &churn{cancel: cancel}
	// Those with hostnames stay: a peer that starts is asked for one of them.
	services := slices.DeleteFunc(slices.Clone(s.All()), func(s world.Service) bool { return s.Kind == world.ExternalName || s.Endpoints[0].Hostname != "" })
	tick := time.NewTicker(time.Second / churnRate)
	const writers = 16
	for i := range writers {
		c.ended.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for {
				select {
				case <-ctx.Done():
					tick.Stop()
					return
				case <-tick.C:
				}
				slice := services[random.IntN(len(services))].Slices(false)[0]
				slice.Endpoints[0].Addresses[0] = netip.AddrFrom4([4]byte{10, 127, byte(random.UintN(256)), byte(random.UintN(256))}).String()
				_, err := s.cluster.Client.DiscoveryV1().EndpointSlices(slice.Namespace).Update(ctx, slice, metav1.UpdateOptions{})
				switch {
				case err == nil:
					c.changes.Add(1)
				case ctx.Err() == nil && !apierrors.IsConflict(err):
					c.mu.Lock()
					c.first = cmp.Or(c.first, fmt.Errorf("churn: %w", err))
					c.mu.Unlock()
				}
			}
		})
	}
	return c
}

func (c *churn) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

func (c *churn) stop() {
	c.cancel()
	c.ended.Wait()
}

// probe is a headless service with one endpoint, which changes.
type probe struct {
	cluster *cluster.Cluster
	service world.Service
	n       uint32
}

func newProbe(ctx context.Context, c *cluster.Cluster) (*probe, error) {
	p := &probe{cluster: c, service: world.Service{Namespace: "ns0", Name: "probe", Kind: world.Headless, Endpoints: make([]world.Endpoint, 1)}}
	p.next()
	if err := cluster.Create(ctx, c.Client, p.service); err != nil {
		return nil, fmt.Errorf("creating the service to be changed: %w", err)
	}
	return p, nil
}

// next gives the endpoint an address that it never had.
func (p *probe) next() {
	p.n++
	p.service.Endpoints[0].Addr = netip.AddrFrom4([4]byte{10, 126, byte(p.n >> 8), byte(p.n)})
}

// question is that for the present address.
func (p *probe) question() question.Question {
	return question.New(p.service.FQDN(), dns.TypeA, dns.RcodeSuccess, p.service.Endpoints[0].Addr.String())
}

// change writes a new address.
func (p *probe) change(ctx context.Context) error {
	p.next()
	slice := p.service.Slices(false)[0]
	if _, err := p.cluster.Client.DiscoveryV1().EndpointSlices(slice.Namespace).Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("changing service probe: %w", err)
	}
	return nil
}

// measure returns how long after the write's acknowledgement the new answer was
// served: 0 if it was before.
func (p *probe) measure(ctx context.Context, poller *poller) (time.Duration, error) {
	p.next()
	addr := p.service.Endpoints[0].Addr
	seen := poller.await(addr)
	slice := p.service.Slices(false)[0]
	if _, err := p.cluster.Client.DiscoveryV1().EndpointSlices(slice.Namespace).Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
		return 0, fmt.Errorf("changing service probe: %w", err)
	}
	acknowledged := time.Now()
	select {
	case at := <-seen:
		return max(0, at.Sub(acknowledged)), nil
	case <-time.After(10 * time.Second):
		return 0, fmt.Errorf("%v is not served after 10 s", addr)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
