package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/world"
)

// plan says what a run measures and for how long.
type plan struct {
	steps  []string // nil: all
	peers  []string
	budget time.Duration // steps that would begin later are left out
	strict bool          // a void figure fails the run

	// patience is after how long dnsload takes a query for lost; 0 is its own
	// choice, which is fit for figures and not for a machine that does other things.
	patience time.Duration

	world    world.Spec // that everything but growth and big is measured with
	manifest bool       // without a control plane; clusterdns has objects from a file
	debian   bool       // with dnsperf, NSD and Knot

	rounds  int           // of everything; 5 are the fewest that a verdict can be drawn from
	seconds time.Duration // one measurement of throughput takes so long

	rates []int         // queries a second, paced
	paced time.Duration // one measurement at such a rate takes so long

	veth        []string      // peers that are measured over a veth pair
	vethRates   []int         // queries a second, over it
	vethQueries int           // that a measurement over it has at the least; the machine's idle time has steps of 10 ms
	idle        time.Duration // for which nobody asks, and CPU is measured

	main []string // mixes over UDP
	rest []string // mixes over UDP that stock CoreDNS with cache is not asked
	more []asked  // mixes over other transports, likewise

	settle  time.Duration // before memory is called steady
	changes int           // DNS programming latencies of a round, each idle and under churn
	churn   time.Duration // for which the CPU of churn is measured in a round
}

// asked is a mix over a transport.
type asked struct{ mix, proto string }

func (p plan) has(step string) bool { return p.steps == nil || slices.Contains(p.steps, step) }

// rows are what a peer is asked in a round of throughput.
func (p plan) rows(peer string) (rows []asked) {
	if peer == results.Console {
		return []asked{{pacedMix, "udp"}}
	}
	mixes := p.main
	if peer != results.CoreDNSCache {
		mixes = slices.Concat(p.main, p.rest)
	}
	for _, mix := range mixes {
		rows = append(rows, asked{mix, "udp"})
	}
	if peer != results.CoreDNSCache {
		rows = append(rows, p.more...)
	}
	return rows
}

// ratesOf are the rates that a peer is asked at, on so many cores. The console is
// measured for what it adds to the lane, which one rate tells.
func (p plan) ratesOf(peer string, cores int) []int {
	if peer != results.Console {
		return p.rates
	}
	if cores > 1 {
		return nil
	}
	return []int{p.rates[len(p.rates)/2]}
}

// only returns the plan with some of its peers; an error names those that it does
// not have.
func (p plan) only(peers []string) (plan, error) {
	for _, name := range peers {
		if !slices.Contains(p.peers, name) && !slices.Contains(p.veth, name) {
			return p, fmt.Errorf("no server %q: %s", name, strings.Join(p.everyone(), ", "))
		}
	}
	unwanted := func(name string) bool { return name != results.Echo && !slices.Contains(peers, name) }
	p.peers = slices.DeleteFunc(slices.Clone(p.peers), unwanted)
	p.veth = slices.DeleteFunc(slices.Clone(p.veth), unwanted)
	return p, nil
}

// everyone are the peers of all steps.
func (p plan) everyone() []string {
	all := slices.Clone(p.peers)
	if p.has("kernel") {
		all = append(all, without(p.veth, p.peers...)...)
	}
	return all
}

func without(peers []string, some ...string) []string {
	return slices.DeleteFunc(slices.Clone(peers), func(name string) bool { return slices.Contains(some, name) })
}

var everybody = []string{results.Ours, results.Console, results.Chain, results.CoreDNS, results.CoreDNSCache, results.NSD, results.Knot}

// inPairs are those that are measured over a veth pair.
var inPairs = []string{results.Echo, results.Kernel, results.Ours, results.Chain, results.CoreDNS, results.NSD, results.Knot}

func services(n int, name string) world.Spec {
	return world.Spec{Name: name, Services: n, Endpoints: 15}
}

// bigSpec is one headless service with 5,000 endpoints among 100 others.
var bigSpec = world.Spec{Name: "big", Services: 100, Endpoints: 15, BigSize: 5000}

// The worlds of growth: the larger would take a quarter of an hour to fill an
// API server with, and is read from a file.
var (
	growthFrom = services(100, "100")
	growthTo   = services(100000, "100000")
	growthMix  = []string{"clusterip", "nxdomain"}
)

// peakSpec has 1,000,000 names: those of the services and of their endpoints.
var peakSpec = services(62500, "62500")

var (
	mainMixes  = []string{"clusterip", "nxdomain", "headless15"}
	otherMixes = []string{"srv", "ptr", "externalname", "podname", "nodata", "walk", "mixed"}
	transports = []asked{{"clusterip", "udp6"}, {"clusterip", "tcp"}, {"clusterip", "tcp1"}}
	pacedRates = []int{1000, 4000, 16000}
	vethRates  = []int{4000, 16000}
)

var plans = map[string]plan{
	"full": {
		peers: everybody, budget: 43 * time.Minute,
		world: services(10000, "10000"), debian: true,
		rounds: 5, seconds: 800 * time.Millisecond, rates: pacedRates, paced: 1500 * time.Millisecond, idle: 2 * time.Second,
		veth: inPairs, vethRates: vethRates, vethQueries: 16000,
		main: mainMixes, rest: otherMixes, more: transports,
		settle: 2 * time.Second, changes: 100, churn: 2 * time.Second,
	},
	// What a query costs, at everyday rates and at saturation.
	"paced": {
		peers: []string{results.Ours, results.CoreDNS, results.NSD, results.Knot}, budget: 11 * time.Minute,
		steps: []string{"paced", "throughput"},
		world: services(10000, "10000"), debian: true,
		rounds: 5, seconds: time.Second, rates: pacedRates, paced: 1500 * time.Millisecond, idle: time.Second,
		main: mainMixes, more: []asked{{"clusterip", "tcp"}},
	},
	"quick": {
		peers: everybody, budget: 10 * time.Minute,
		world: services(1000, "1000"), debian: true,
		rounds: 1, seconds: time.Second, rates: pacedRates, paced: time.Second, idle: time.Second,
		veth: inPairs, vethRates: vethRates,
		main: mainMixes, rest: []string{"walk"}, more: transports,
		settle: time.Second, changes: 50, churn: 2 * time.Second,
	},
	"smoke": {
		peers: []string{results.Ours, results.Console, results.Chain}, budget: 20 * time.Minute, strict: true,
		patience: time.Minute, // it takes half a minute in all, but for a machine that does other things
		steps:    []string{"binary", "paced", "throughput", "kernel"},
		world:    services(100, "100"), manifest: true,
		rounds: 1, seconds: 300 * time.Millisecond, rates: []int{1000}, paced: 300 * time.Millisecond, idle: 100 * time.Millisecond,
		veth: []string{results.Echo, results.Kernel, results.Ours}, vethRates: []int{4000},
		main: mainMixes, rest: otherMixes, more: transports,
	},
	"profile": {
		peers: []string{results.Ours}, budget: 11 * time.Minute,
		world: services(10000, "10000"), manifest: true,
	},
}

// What a step takes, about, in a world of 10,000 services: a start with its end,
// a measurement beyond its own time, an API server, and it down and back.
const (
	startTakes   = 1300 * time.Millisecond
	measureTakes = 250 * time.Millisecond
	checkTakes   = 600 * time.Millisecond
	siteTakes    = 12 * time.Second
	outageTakes  = 4500 * time.Millisecond
)

func times(n int, d time.Duration) time.Duration { return time.Duration(n) * d }

func (p plan) pacedTakes() time.Duration {
	took := siteTakes
	for _, peer := range without(p.peers, results.CoreDNSCache) {
		for cores := 1; cores <= 2; cores++ {
			if n := len(p.ratesOf(peer, cores)); n > 0 {
				took += times(p.rounds, startTakes+times(n, p.paced+measureTakes+450*time.Millisecond))
			}
		}
		if peer != results.Console {
			took += times(p.rounds, p.idle)
		}
	}
	return took
}

func (p plan) throughputTakes() time.Duration {
	took := siteTakes
	for _, peer := range p.peers {
		n := len(p.rows(peer))
		took += times(n, checkTakes) + times(p.rounds, times(n, p.seconds+measureTakes)+2*startTakes)
		if n > len(p.main) {
			took += times(2*p.rounds, connects)
		}
	}
	return took
}

func (p plan) kernelTakes() time.Duration {
	one := startTakes + checkTakes + p.idle + p.paced + measureTakes
	for _, rate := range p.vethRates {
		one += p.vethFor(rate) + measureTakes + 450*time.Millisecond
	}
	counts := times(2*(1+len(p.vethRates)), countedAfter) // of the kernel lane alone
	return siteTakes + times(p.rounds, times(len(p.veth), one)+counts)
}

// vethFor is how long a measurement over a veth pair takes at a rate.
func (p plan) vethFor(rate int) time.Duration {
	return max(p.paced, times(p.vethQueries, time.Second/time.Duration(rate)))
}

func (p plan) memoryTakes() time.Duration {
	reload, restart, list := startTakes+2*p.settle+1200*time.Millisecond, startTakes+2*p.settle+2*outageTakes+1200*time.Millisecond, startTakes+2*p.settle+outageTakes
	return siteTakes + times(p.rounds*len(followers), reload+restart+list)
}

func (p plan) programmingTakes() time.Duration {
	return siteTakes + times(p.rounds*len(followers), startTakes+time.Second+p.churn+times(2*p.changes, 10*time.Millisecond))
}

func (p plan) growthTakes() time.Duration {
	one := times(len(growthMix), p.seconds+measureTakes)
	large := times(p.rounds*(len(p.peers)-4), 9*time.Second+one)
	return 2*siteTakes + times(p.rounds*(len(p.peers)-3), startTakes+one) + large
}

func (p plan) bigTakes() time.Duration {
	return siteTakes + times(p.rounds*(len(p.peers)-2), startTakes+p.seconds+measureTakes)
}

func (p plan) idleTakes() time.Duration {
	return siteTakes + times(p.rounds*len(followers), startTakes+p.settle)
}

func (p plan) peakTakes() time.Duration {
	return 5*time.Second + times(p.rounds, p.settle+afterwards+9*time.Second)
}
