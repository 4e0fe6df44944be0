package main

import (
	"slices"
	"testing"

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
		for _, mix := range slices.Concat(p.mixes, p.tcp, p.latencyMixes, p.growthMixes) {
			if len(w.Questions(mix)) == 0 {
				t.Errorf("%s: no questions of mix %q", name, mix)
			}
		}
		for _, mix := range p.latencyMixes {
			if !slices.Contains(p.mixes, mix) {
				t.Errorf("%s: latency of %s depends on its maximum rate, which is not measured", name, mix)
			}
		}
	}
	if len(world.New(bigSpec).Questions("big")) != 10000 {
		t.Error("the big world has not two questions for each endpoint")
	}
}
