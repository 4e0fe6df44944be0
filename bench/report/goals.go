package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clusterdns/clusterdns/bench/results"
)

// goal is a number to reach. It compares medians.
type goal struct {
	of      string // what the number is of
	text    string
	applies func(subject) bool
	// measure returns a value of ours and the limit that it must not exceed;
	// false if one of the two was not measured.
	measure func(row, *table) (value, limit float64, measured bool)
}

// verdict is what came of a goal.
type verdict string

const (
	met         verdict = "met"
	notMet      verdict = "**not met**"
	notMeasured verdict = "not measured"
)

func (g goal) verdict(w row, t *table) verdict {
	value, limit, measured := g.measure(w, t)
	switch {
	case !measured:
		return notMeasured
	case value <= limit:
		return met
	}
	return notMet
}

var goals = []goal{
	{"CPU per query, ClusterIP A and NXDOMAIN", "≤ 1/4 of CoreDNS", queries("udp", "clusterip", "nxdomain"), atMost(results.Ours, 1.0/4, results.CoreDNS)},
	{"CPU per query, headless A", "≤ 1/6 of CoreDNS", queries("udp", "headless15"), atMost(results.Ours, 1.0/6, results.CoreDNS)},
	{"CPU per query, ClusterIP A, NXDOMAIN and headless A", "≤ the better of NSD and Knot", queries("udp", "clusterip", "nxdomain", "headless15"),
		atMost(results.Ours, 1, results.NSD, results.Knot)},
	{"CPU per query, UDP", "lane off ≤ 3/4 of CoreDNS", queries("udp"), atMost(results.Chain, 3.0/4, results.CoreDNS)},
	{"CPU per query, TCP", "≤ 1/2 of CoreDNS", queries("tcp"), atMost(either, 1.0/2, results.CoreDNS)},
	{"growth of the CPU per query with the cluster", "≤ 1.2 ×", what("cost_growth"), constant(either, 1.2)},
	{"peak RSS, cold start and API server restarted", "≤ 1/3 of CoreDNS", what("rss_peak_start", "rss_peak_start_list", "rss_peak_relist", "rss_peak_relist_list"),
		atMost(either, 1.0/3, results.CoreDNS)},
	{"peak RSS, Corefile reload", "no peak: ≤ 1.1 × before", what("rss_peak_reload"), againstBefore},
	{"missing answers during a Corefile reload", "0", what("reload_missing"), constant(either, 0)},
	{"start to first right answer", "≤ CoreDNS", start(true), atMost(either, 1, results.CoreDNS)},
	{"start to first right answer, API server down, with a snapshot", "≤ 0.2 s", start(false), seconds(0.2)},
	{"DNS programming latency", "≤ CoreDNS", what("programming_p50", "programming_p99"), atMost(either, 1, results.CoreDNS)},
	{"allocations per query, ClusterIP A", "≤ 12", func(s subject) bool { return s.what == "allocs_per_query" && s.mix == "clusterip" },
		constant(either, 12)},
	{"size of the binary", "≤ 60 MB", what("binary_size"), constant(either, 60)},
	{"RSS idle", "≤ 45 MB", what("rss_idle"), constant(either, 45)},
}

func what(kinds ...string) func(subject) bool {
	return func(s subject) bool { return slices.Contains(kinds, s.what) }
}

// queries selects the CPU per query over a transport, of some mixes or all.
func queries(proto string, mixes ...string) func(subject) bool {
	return func(s subject) bool {
		return s.what == "cpu_per_query" && s.proto == proto && (mixes == nil || slices.Contains(mixes, s.mix))
	}
}

// start selects starts with the API server up, or down with a snapshot to load.
func start(up bool) func(subject) bool {
	return func(s subject) bool {
		down := strings.Contains(s.load, "down") || strings.Contains(s.load, "snapshot")
		return s.what == "start_to_answer" && up == !down
	}
}

// either stands for clusterdns with the fast lane, or without where it was not
// measured with it: for what the lane has no part in.
const either = ""

// atMost compares a peer with the given part of the best of others.
func atMost(peer string, part float64, others ...string) func(row, *table) (float64, float64, bool) {
	return func(w row, _ *table) (float64, float64, bool) {
		ours, ok := w.of(peer)
		best, other := w.best(others...)
		return ours.median, part * best, ok && other
	}
}

func constant(peer string, limit float64) func(row, *table) (float64, float64, bool) {
	return func(w row, _ *table) (float64, float64, bool) {
		ours, ok := w.of(peer)
		return ours.median, limit, ok
	}
}

func seconds(limit float64) func(row, *table) (float64, float64, bool) {
	return func(w row, _ *table) (float64, float64, bool) {
		ours, ok := w.of(either)
		perSecond, known := map[string]float64{"s": 1, "ms": 1e3, "µs": 1e6}[w.unit]
		return ours.median, limit * perSecond, ok && known
	}
}

// againstBefore compares a peak with the memory at the moment that the reload
// began, the median of the rounds. It is not that of the start: the API server
// has been restarted in between.
func againstBefore(w row, t *table) (float64, float64, bool) {
	ours, ok := w.of(either)
	var before []float64
	for _, s := range t.results.Series {
		i := slices.IndexFunc(s.Marks, func(m results.Mark) bool { return m.Name == "reload" })
		if s.What != "rss" || s.Peer != w.ours() || s.World != w.world || i < 0 {
			continue
		}
		at, _ := slices.BinarySearch(s.T, s.Marks[i].T)
		before = append(before, s.V[min(at, len(s.V)-1)])
	}
	if len(before) == 0 {
		return 0, 0, false
	}
	slices.Sort(before)
	return ours.median, 1.1 * before[len(before)/2], ok
}

// of returns what was measured of a peer, or of either.
func (w row) of(peer string) (stat, bool) {
	if peer == either {
		peer = w.ours()
	}
	s, ok := w.peers[peer]
	return s, ok
}

// ours is the peer that ratios are of.
func (w row) ours() string {
	if _, ok := w.peers[results.Ours]; ok {
		return results.Ours
	}
	return results.Chain
}

// summary returns a table of all goals, and in how many rows each is met.
func (t *table) summary() string {
	var b strings.Builder
	b.WriteString("| | goal | |\n| --- | --- | --- |\n")
	for _, g := range goals {
		count := make(map[verdict]int)
		for _, w := range t.rows {
			if g.applies(w.subject) {
				count[g.verdict(w, t)]++
			}
		}
		came := notMeasured
		switch measured := count[met] + count[notMet]; {
		case measured > 0 && count[notMet] == 0:
			came = met
		case measured > 1 && count[met] > 0:
			came = verdict(fmt.Sprintf("%s in %d of %d rows", notMet, count[notMet], measured))
		case measured > 0:
			came = notMet
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", g.of, g.text, came)
	}
	return b.String()
}

// best returns the smallest median of some peers.
func (w row) best(peers ...string) (best float64, ok bool) {
	for _, p := range peers {
		if s, has := w.peers[p]; has && (!ok || s.median < best) {
			best, ok = s.median, true
		}
	}
	return best, ok
}
