package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/question"
	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/world"
)

// afterwards is how long after a peak its memory may still be there.
const afterwards = 10 * time.Second

// peak measures what clusterdns keeps of memory when a cluster has had very many
// names, and then has none.
func (r *runner) peak(ctx context.Context) error {
	s, err := r.site(ctx, peakSpec, true)
	if err != nil {
		return err
	}
	empty := filepath.Join(s.dir, "empty.json")
	if err := world.New(world.Spec{Name: "0"}).WriteManifest(empty); err != nil {
		return err
	}
	full, shown := s.manifest, filepath.Join(s.dir, "shown.json")
	// What is followed is a name for one of the two files.
	show := func(file string) error {
		next := shown + ".next"
		if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) { // a rename to the same file leaves it
			return err
		}
		return errors.Join(os.Link(file, next), os.Rename(next, shown))
	}
	there := s.Questions("clusterip")[0]
	gone := question.New(there.Name, there.Type, dns.RcodeNameError)
	for round := range r.plan.rounds {
		if err := errors.Join(r.late(), show(empty)); err != nil {
			return err
		}
		err := r.peakOnce(ctx, s, shown, round, gone, func(p *peer.Peer) error {
			if err := show(full); err != nil {
				return err
			}
			if err := r.answers(ctx, p, there); err != nil {
				return err
			}
			if err := show(empty); err != nil {
				return err
			}
			return r.answers(ctx, p, gone)
		})
		if err := errors.Join(err, r.save()); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}

// peakOnce starts clusterdns with a manifest, and measures its memory before and
// after something happens.
func (r *runner) peakOnce(ctx context.Context, s *site, manifest string, round int, ready question.Question, happens func(*peer.Peer) error) (err error) {
	c, err := r.config(s, results.Ours, placed{})
	if err != nil {
		return err
	}
	c.Manifest = manifest
	p, err := peer.Start(c)
	if err != nil {
		return err
	}
	defer stop(&err, p)
	if err := r.answers(ctx, p, ready); err != nil {
		return err
	}
	measure := func(what string, after time.Duration) error {
		if err := sleep(ctx, after); err != nil {
			return err
		}
		u, err := peer.UsageOf(p.PID)
		r.add(results.Sample{What: what, World: s.Name, Peer: results.Ours, Round: round, Value: mb(u.RSS), Unit: "MB"})
		return err
	}
	if err := measure("rss_before_peak", r.plan.settle); err != nil {
		return err
	}
	if err := happens(p); err != nil {
		return err
	}
	return measure("rss_after_peak", afterwards)
}

// answers waits until a peer answers a question rightly.
func (r *runner) answers(ctx context.Context, p *peer.Peer, q question.Question) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	return p.Wait(ctx, 20*time.Millisecond, "the answer for "+q.Name, func() error { return peer.Ask(p.Addr, q, patience) })
}
