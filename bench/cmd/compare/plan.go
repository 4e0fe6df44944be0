package main

import (
	"slices"
	"time"

	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/world"
)

// plan says what a run measures and for how long.
type plan struct {
	steps  []string // nil: all
	peers  []string
	budget time.Duration // steps that would begin later are left out
	strict bool          // a step that fails fails the run

	world    world.Spec // that everything but growth and big is measured with
	manifest bool       // without a control plane; clusterdns has objects from a file
	perf     bool       // with dnsperf, NSD and Knot from Debian

	rounds  int           // of throughput
	seconds time.Duration // one measurement of throughput or latency takes so long
	mixes   []string      // over UDP
	tcp     []string      // mixes over TCP

	latencyMixes  []string
	latencyRounds int
	loads         []int // percent of stock's maximum rate

	growth       []world.Spec // from an API server
	growthFile   []world.Spec // from a manifest: too large to fill an API server with in time
	growthMixes  []string
	growthRounds int // and of big

	memoryRounds int
	settle       time.Duration // before memory is called steady
	starts       int

	changes int           // samples of DNS programming latency, each idle and under churn
	churn   time.Duration // for which the CPU of churn is measured
}

func (p plan) has(step string) bool { return p.steps == nil || slices.Contains(p.steps, step) }

var everybody = []string{results.Ours, results.Chain, results.CoreDNS, results.CoreDNSCache, results.NSD, results.Knot}

func services(n int, name string) world.Spec {
	return world.Spec{Name: name, Services: n, Endpoints: 15}
}

// bigSpec is one headless service with 5,000 endpoints among 100 others.
var bigSpec = world.Spec{Name: "big", Services: 100, Endpoints: 15, BigSize: 5000}

var plans = map[string]plan{
	"full": {
		peers: everybody, budget: 36 * time.Minute,
		world: services(10000, "10000"), perf: true,
		rounds: 3, seconds: 2500 * time.Millisecond,
		mixes: []string{"clusterip", "headless15", "srv", "ptr", "externalname", "podname", "nxdomain", "nodata", "walk", "mixed"},
		tcp:   []string{"clusterip", "mixed"},

		latencyMixes: []string{"clusterip", "mixed"}, latencyRounds: 2, loads: []int{10, 50, 80},
		growth:      []world.Spec{services(100, "100"), services(1000, "1000")},
		growthFile:  []world.Spec{services(100000, "100000")},
		growthMixes: []string{"clusterip", "nxdomain"}, growthRounds: 2,

		memoryRounds: 3, settle: 5 * time.Second, starts: 7,
		changes: 300, churn: 10 * time.Second,
	},
	"quick": {
		peers: everybody, budget: 4*time.Minute + 15*time.Second,
		steps: []string{"binary", "throughput", "memory", "latency", "programming", "idle", "allocations"},
		world: services(1000, "1000"), perf: true,
		rounds: 1, seconds: 1500 * time.Millisecond,
		mixes: []string{"clusterip", "headless15", "nxdomain", "walk"}, tcp: []string{"clusterip"},
		latencyMixes: []string{"clusterip"}, latencyRounds: 1, loads: []int{10, 50, 80},
		memoryRounds: 1, settle: time.Second, starts: 3,
		changes: 100, churn: 4 * time.Second,
	},
	"smoke": {
		peers: []string{results.Ours, results.Chain}, budget: 2 * time.Minute, strict: true,
		steps: []string{"binary", "throughput", "latency"},
		world: services(100, "100"), manifest: true,
		rounds: 1, seconds: 500 * time.Millisecond,
		mixes: []string{"clusterip", "headless15", "srv", "ptr", "externalname", "podname", "nxdomain", "nodata", "walk", "mixed"}, tcp: []string{"clusterip"},
		latencyMixes: []string{"clusterip"}, latencyRounds: 1, loads: []int{10},
	},
	"profile": {
		peers: []string{results.Ours, results.Chain}, budget: 10 * time.Minute,
		world: services(10000, "10000"), manifest: true,
	},
}
