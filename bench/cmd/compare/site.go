package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/clusterdns/clusterdns/bench/cluster"
	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/question"
	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/veth"
	"github.com/clusterdns/clusterdns/bench/world"
)

// site is a world with everything that peers have it from.
type site struct {
	*world.World
	dir      string
	zones    []string
	manifest string               // if there is no API server
	cluster  *cluster.Cluster     // nil without one
	ready    []question.Question  // that a peer answers once it knows services and endpoints
	written  map[string][2]string // question files by mix
}

// site prepares a world. Its Stop ends the API server.
func (r *runner) site(ctx context.Context, spec world.Spec, manifest bool) (*site, error) {
	s := &site{World: world.New(spec), dir: filepath.Join(r.work, "world-"+spec.Name)}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if s.zones, err = s.WriteZones(s.dir); err != nil {
		return nil, err
	}
	s.ready = []question.Question{kubernetesService}
	if spec.Services > 0 {
		s.ready = []question.Question{s.Questions("clusterip")[0], s.Questions("podname")[0]}
	}
	if manifest {
		s.manifest = filepath.Join(s.dir, "objects.json")
		return s, s.WriteManifest(s.manifest)
	}
	version, err := r.kubetestVersion()
	if err != nil {
		return nil, err
	}
	r.logf("starting an API server with world %s, and creating it first if it is not in the cache", spec.Name)
	s.cluster, err = cluster.Start(ctx, r.programs["kubetest"], s.World, version, s.dir, strconv.Itoa(r.load))
	return s, err
}

func (s *site) Stop() error {
	if s.cluster == nil {
		return nil
	}
	return s.cluster.Stop()
}

// placed is where a peer runs and listens, and what else is special about it.
type placed struct {
	cores   int  // 1, if not set
	v6      bool // on ::1
	pair    veth.Pair
	env     []string
	plugins []string // more lines of the server block
}

// lanes are what peers have for the option fastlane.
var lanes = map[string]string{results.Chain: "off", results.Kernel: "kernel"}

// config returns how a peer is started with this site.
func (r *runner) config(s *site, name string, at placed) (peer.Config, error) {
	c := peer.Config{Name: name, Binary: r.programs[name], Dir: filepath.Join(s.dir, name), Lane: lanes[name],
		Cores: max(1, at.cores), CPUs: "0", IP: "127.0.0.1", Pair: at.pair, Env: at.env, Plugins: at.plugins}
	if name == results.Console {
		c.Plugins = append(slices.Clone(c.Plugins), "console 127.0.0.1:0")
	}
	if c.Cores > 1 {
		c.CPUs = fmt.Sprintf("0-%d", c.Cores-1)
	}
	if at.v6 {
		c.IP = "::1"
	}
	if at.pair.Server != nil {
		c.IP = veth.ServerIP
	}
	switch {
	case name == results.Echo:
	case name == results.NSD || name == results.Knot:
		c.Zones = s.zones
	case s.cluster != nil:
		var err error
		if c.API, err = s.cluster.API(); err != nil {
			return c, err
		}
	case name == results.Ours || name == results.Chain || name == results.Console || name == results.Kernel:
		c.Manifest = s.manifest
	default:
		return c, fmt.Errorf("%s has no source but an API server", name)
	}
	return c, nil
}

// readyLimit is how long a peer may take until it answers. The largest world
// from a file takes some 10 s of CPU.
const readyLimit = 2 * time.Minute

// with starts a peer, waits until it answers, and ends it after use. Took is
// the time from the start to the first right answer.
func (r *runner) with(ctx context.Context, s *site, name string, at placed, use func(p *peer.Peer, took time.Duration) error) (err error) {
	c, err := r.config(s, name, at)
	if err != nil {
		return err
	}
	p, err := peer.Start(c)
	if err != nil {
		return err
	}
	defer stop(&err, p)
	ready := s.ready
	if name == results.Echo {
		ready = s.Questions(echoMix)[:1]
	}
	took, err := r.await(ctx, p, ready...)
	if err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	return use(p, took)
}

// await waits until a peer answers questions, and returns how long after its
// start it answered all.
func (r *runner) await(ctx context.Context, p *peer.Peer, questions ...question.Question) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	for _, q := range questions {
		one, err := p.Await(ctx, q)
		if err != nil {
			return 0, err
		}
		took = max(took, one)
	}
	return took, nil
}

// each starts peers in turn, in an order that moves on with the round, and
// notes those that fail as void samples of what.
func (r *runner) each(ctx context.Context, peers []string, s *site, round int, at placed, what string, use func(*peer.Peer) error) error {
	var errs []error
	for i := range peers {
		name := peers[(i+round)%len(peers)]
		err := r.with(ctx, s, name, at, func(p *peer.Peer, _ time.Duration) error { return use(p) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			r.add(results.Sample{What: what, World: s.Name, Peer: name, Cores: at.cores, Round: round, Void: true, Why: err.Error()})
		}
		if err := r.save(); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}
