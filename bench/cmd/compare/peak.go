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
	there := s.ready[0]
	gone := question.New(there.Name, there.Type, dns.RcodeNameError)
	s.manifest, s.ready = shown, []question.Question{gone}
	for round := range r.plan.rounds {
		if err := errors.Join(r.late(), show(empty)); err != nil {
			return err
		}
		err := r.with(ctx, s, results.Ours, placed{}, func(p *peer.Peer, _ time.Duration) error {
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
			if err := show(full); err != nil {
				return err
			}
			if _, err := r.await(ctx, p, there); err != nil {
				return err
			}
			if err := show(empty); err != nil {
				return err
			}
			if _, err := r.await(ctx, p, gone); err != nil {
				return err
			}
			return measure("rss_after_peak", afterwards)
		})
		if err := errors.Join(err, r.save()); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	return nil
}
