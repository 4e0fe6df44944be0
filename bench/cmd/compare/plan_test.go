package main

import (
	"slices"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/bench/world"
)

// TestPlans makes sure that a plan asks for nothing that there is not: that
// would show after half an hour.
func TestPlans(t *testing.T) {
	for name, p := range plans {
		for _, s := range p.steps {
			if !slices.ContainsFunc(steps, func(have step) bool { return have.name == s }) {
				t.Errorf("%s: no step %q", name, s)
			}
		}
		w := world.New(world.Spec{Services: 100, Endpoints: 15})
		for _, peer := range p.peers {
			for _, a := range p.rows(peer) {
				if len(w.Questions(a.mix)) == 0 || transportOf[a.proto].mode == "" {
					t.Errorf("%s: no questions of mix %q, or no transport %q", name, a.mix, a.proto)
				}
			}
		}
		if fits := 42 * time.Minute; name == "full" && p.takes() > fits || name == "paced" && p.takes() > 10*time.Minute || p.budget > 0 && p.takes() > p.budget && p.steps != nil {
			t.Errorf("%s takes %v", name, p.takes())
		}
	}
	if qs := world.New(bigSpec).Questions("big"); len(qs) != 1 || len(qs[0].Records) != bigSpec.BigSize {
		t.Error("the big world is not asked for all endpoints of its service")
	}
}

// takes is about how long the steps of a plan take.
func (p plan) takes() (sum time.Duration) {
	for _, s := range steps {
		if p.has(s.name) {
			sum += s.takes(p)
		}
	}
	return sum
}

// TestTakes prints what the steps of the whole comparison take.
func TestTakes(t *testing.T) {
	for _, name := range []string{"full", "paced", "quick", "smoke"} {
		for _, s := range steps {
			if plans[name].has(s.name) {
				t.Logf("%s: %s about %.0f s", name, s.name, s.takes(plans[name]).Seconds())
			}
		}
		t.Logf("%s: about %v", name, plans[name].takes())
	}
}
