package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clusterdns/clusterdns/bench/results"
)

// goal is a number to reach. Its numbers are what the project set out for: one
// that is not met stays as it is.
type goal struct {
	of      string // what the number is of
	text    string
	applies func(subject) bool // nil for what is not measured here
	// measure returns a value of ours and the limit that it must not exceed;
	// false if one of the two was not measured.
	measure func(row, *table) (ours, limit stat, measured bool)
}

// verdict is what came of a goal.
type verdict string

const (
	met          verdict = "met"
	notMet       verdict = "**not met**"
	noDifference verdict = "no difference" // from the limit: the rounds are on both sides of it
	tooFew       verdict = "too few rounds"
	notMeasured  verdict = "not measured"
)

func (g goal) verdict(w row, t *table) verdict {
	ours, limit, measured := g.measure(w, t)
	constant := limit.n == 0
	switch {
	case !measured:
		return notMeasured
	case w.exact():
		if ours.max <= limit.max { // the worst round counts
			return met
		}
		return notMet
	case ours.n < enough || !constant && limit.n < enough:
		return tooFew
	case constant && ours.min <= limit.median && ours.max > limit.median, !constant && !differ(ours, limit):
		if w.what == "cpu_share" {
			return met // that there is none is what is wanted
		}
		return noDifference
	case ours.median <= limit.median:
		return met
	}
	return notMet
}

// exact tells whether what was measured is counted, so that one round will do.
func (s subject) exact() bool {
	return slices.Contains([]string{"binary_size", "allocs_per_query", "reload_missing"}, s.what)
}

var goals = []goal{
	{"CPU per query at 1,000, 4,000 and 16,000 q/s, one core and two", "≤ 1.1 × the better of NSD and Knot", everyday("cpu_per_query"),
		atMost(results.Ours, 1.1, results.NSD, results.Knot)},
	{"the same", "≤ 1/4 of CoreDNS", everyday("cpu_per_query"), atMost(results.Ours, 1.0/4, results.CoreDNS)},
	{"latency at these rates, p50 and p99", "≤ NSD", everyday("latency_p50", "latency_p99"), atMost(results.Ours, 1, results.NSD)},
	{"CPU when nobody asks", "≤ 0.2 % of a core", what("cpu_idle"), constant(results.Ours, 0.2)},
	{"CPU per query at saturation, ClusterIP A and NXDOMAIN", "≤ 1/4 of CoreDNS", saturated([]string{"udp", "udp6"}, "clusterip", "nxdomain"), atMost(results.Ours, 1.0/4, results.CoreDNS)},
	{"CPU per query at saturation, headless A", "≤ 1/6 of CoreDNS", saturated([]string{"udp"}, "headless15"), atMost(results.Ours, 1.0/6, results.CoreDNS)},
	{"CPU per query at saturation, ClusterIP A, NXDOMAIN and headless A", "≤ the better of NSD and Knot", saturated([]string{"udp", "udp6"}, "clusterip", "nxdomain", "headless15"),
		atMost(results.Ours, 1, results.NSD, results.Knot)},
	{"CPU per query at saturation, UDP", "lane off ≤ 3/4 of CoreDNS", saturated([]string{"udp", "udp6"}), atMost(results.Chain, 3.0/4, results.CoreDNS)},
	{"CPU per query at saturation, TCP", "≤ 1/2 of CoreDNS", saturated([]string{"tcp", "tcp1"}), atMost(either, 1.0/2, results.CoreDNS)},
	{"CPU per query with who asks what counted, ClusterIP A at 4,000 q/s and at saturation", "console ≤ 1.02 × without", counted,
		atMost(results.Console, 1.02, results.Ours)},
	{"CPU of the whole machine per query that the kernel lane adds to an echo on a veth pair", "≤ 1/4 of what the better of NSD and Knot adds", what("added_per_query"),
		atMost(results.Kernel, 1.0/4, results.NSD, results.Knot)},
	{"mean latency of the kernel lane on a veth pair", "≤ 1/2 of the better of NSD and Knot", what("latency_mean"), atMost(results.Kernel, 1.0/2, results.NSD, results.Knot)},
	{"CPU of the server's process while the kernel lane answers", "as when nobody asks", answering, againstIdle},
	{"growth of the CPU per query with the cluster", "≤ 1.2 ×", what("cost_growth"), grown(1.2)},
	{"peak RSS, cold start and API server restarted", "≤ 1/3 of CoreDNS", what("rss_peak_start", "rss_peak_start_list", "rss_peak_relist", "rss_peak_relist_list"),
		atMost(either, 1.0/3, results.CoreDNS)},
	{"peak RSS, Corefile reload after a fresh start", "≤ 1.1 × steady", what("rss_peak_reload"), againstSteady},
	{"RSS after a peak of 1,000,000 names, then none", "≤ 1.2 × before", what("rss_after_peak"), againstBefore},
	{"missing answers during a Corefile reload", "0", what("reload_missing"), constant(either, 0)},
	{"start to first right answer", "≤ CoreDNS", start(true), atMost(either, 1, results.CoreDNS)},
	{"start to first right answer, API server down, with a snapshot", "≤ 0.2 s", start(false), seconds(0.2)},
	{"DNS programming latency", "≤ CoreDNS", what("programming_p50", "programming_p99"), atMost(either, 1, results.CoreDNS)},
	{"allocations per query, ClusterIP A", "≤ 12", func(s subject) bool { return s.what == "allocs_per_query" && s.mix == "clusterip" },
		constant(either, 12)},
	{"size of the binary", "≤ 60 MB", what("binary_size"), constant(either, 60)},
	{"RSS idle", "≤ 45 MB", what("rss_idle"), constant(either, 45)},
	// These are not measured here.
	{of: "any one question of 512 octets", text: "≤ 1 ms per 64 kB of answer; ratio at 10 n ≤ 15"},
	{of: "one slice event of a 5,000-endpoint service", text: "≤ 0.2 ms"},
	{of: "questions a pod's resolver asks for one outside name, ndots:5", text: "2, one upstream round trip"},
	{of: "cold .ci/run on two quiet cores", text: "≤ 8 min"},
}

func what(kinds ...string) func(subject) bool {
	return func(s subject) bool { return slices.Contains(kinds, s.what) }
}

// everyday selects what was measured at a rate.
func everyday(kinds ...string) func(subject) bool {
	return func(s subject) bool { return s.paced() && slices.Contains(kinds, s.what) }
}

// saturated selects the CPU per query over some transports, of some mixes or
// all.
func saturated(protos []string, mixes ...string) func(subject) bool {
	return func(s subject) bool {
		return s.what == "cpu_per_query" && s.load == results.Saturated && slices.Contains(protos, s.proto) && (mixes == nil || slices.Contains(mixes, s.mix))
	}
}

// counted selects what the plugin console is measured at.
func counted(s subject) bool {
	return s.what == "cpu_per_query" && s.mix == "clusterip" && s.proto == "udp" && s.cores == 1 &&
		(s.load == results.Saturated || s.load == results.PerSecond(4000))
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
func atMost(peer string, part float64, others ...string) func(row, *table) (stat, stat, bool) {
	return func(w row, _ *table) (stat, stat, bool) {
		ours, ok := w.of(peer)
		best, other := w.best(others...)
		return ours, best.times(part), ok && other
	}
}

// constant compares a peer with a number.
func constant(peer string, limit float64) func(row, *table) (stat, stat, bool) {
	return func(w row, _ *table) (stat, stat, bool) {
		ours, ok := w.of(peer)
		return ours, stat{median: limit, max: limit}, ok
	}
}

func seconds(limit float64) func(row, *table) (stat, stat, bool) {
	return func(w row, t *table) (stat, stat, bool) {
		perSecond, known := map[string]float64{"s": 1, "ms": 1e3, "µs": 1e6}[w.unit]
		ours, limit, ok := constant(either, limit*perSecond)(w, t)
		return ours, limit, ok && known
	}
}

// grown compares the cost of a query in the largest world with so many times
// that in the smallest.
func grown(limit float64) func(row, *table) (stat, stat, bool) {
	return func(w row, t *table) (stat, stat, bool) {
		s := subject{what: "cpu_per_query", mix: w.mix, proto: w.proto, load: results.Saturated, cores: 1}
		var from, to row
		s.world, _, _ = strings.Cut(w.world, " → ")
		from = t.find(s)
		_, s.world, _ = strings.Cut(w.world, " → ")
		to = t.find(s)
		small, ok := from.of(w.ours())
		large, also := to.of(w.ours())
		return large, small.times(limit), ok && also
	}
}

// againstSteady compares a peak with 1.1 times the memory of the same lives
// before.
func againstSteady(w row, t *table) (stat, stat, bool) { return against(w, t, "rss_steady", 1.1) }

// againstBefore compares what is left of a peak with 1.2 times what was before.
func againstBefore(w row, t *table) (stat, stat, bool) { return against(w, t, "rss_before_peak", 1.2) }

// answering selects what a server's process uses while it is asked.
func answering(s subject) bool { return s.what == "cpu_share" && s.load != results.Idle }

// againstIdle compares what the kernel lane's process uses with what it does when nobody
// asks.
func againstIdle(w row, t *table) (stat, stat, bool) {
	ours, ok := w.of(results.Kernel)
	s := w.subject
	s.mix, s.load = "", results.Idle
	idle, has := t.find(s).of(results.Kernel)
	return ours, idle, ok && has
}

func against(w row, t *table, what string, factor float64) (stat, stat, bool) {
	ours, ok := w.of(either)
	s := w.subject
	s.what = what
	before, has := t.find(s).of(w.ours())
	return ours, before.times(factor), ok && has
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
	for _, peer := range []string{results.Kernel, results.Ours} {
		if _, ok := w.peers[peer]; ok {
			return peer
		}
	}
	return results.Chain
}

// summary returns a table of all goals, and what came of each in how many rows.
func (t *table) summary() string {
	var b strings.Builder
	b.WriteString("| | goal | |\n| --- | --- | --- |\n")
	for _, g := range goals {
		count := make(map[verdict]int)
		rows := 0
		for _, w := range t.rows {
			if g.applies != nil && g.applies(w.subject) {
				count[g.verdict(w, t)]++
				rows++
			}
		}
		var came []string
		for _, v := range []verdict{met, noDifference, notMet, tooFew, notMeasured} {
			switch n := count[v]; {
			case n == rows && n > 0:
				came = append(came, string(v))
			case n > 0:
				came = append(came, fmt.Sprintf("%s in %d", v, n))
			}
		}
		text := strings.Join(came, ", ")
		switch {
		case g.applies == nil:
			text = "not measured here"
		case rows == 0:
			text = string(notMeasured)
		case len(came) > 1:
			text += fmt.Sprintf(" of %d rows", rows)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", g.of, g.text, text)
	}
	return b.String()
}

// best returns the rounds of that of some peers with the smallest median, or
// for a rate the largest.
func (w row) best(peers ...string) (best stat, ok bool) {
	for _, p := range peers {
		if s, has := w.peers[p]; has && (!ok || s.median < best.median != (w.what == "max_rate")) {
			best, ok = s, true
		}
	}
	return best, ok
}
