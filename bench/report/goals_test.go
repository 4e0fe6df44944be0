package report

import (
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/bench/results"
)

func TestGoals(t *testing.T) {
	const ours, console, chain, stock, nsd, knot = results.Ours, results.Console, results.Chain, results.CoreDNS, results.NSD, results.Knot
	const kernel, echo = results.Kernel, results.Echo
	cpu := func(proto, mix string) subject {
		return subject{what: "cpu_per_query", mix: mix, proto: proto, load: results.Saturated, cores: 1}
	}
	everyday := func(what string) subject {
		return subject{what: what, mix: "clusterip", proto: "udp", load: results.PerSecond(4000), cores: 2}
	}
	veth := func(what string) subject {
		return subject{what: what, mix: "clusterip", proto: "veth", load: results.PerSecond(4000), cores: 2}
	}
	counted := func(load string) subject {
		return subject{what: "cpu_per_query", mix: "clusterip", proto: "udp", load: load, cores: 1}
	}
	for _, c := range []struct {
		subject
		unit     string
		medians  map[string]float64
		verdicts string // by goal, in the order of the table
	}{
		{everyday("cpu_per_query"), "µs", map[string]float64{ours: 10.8, stock: 44, nsd: 10, knot: 24}, "met,met"},
		{everyday("cpu_per_query"), "µs", map[string]float64{ours: 11.2, stock: 44, nsd: 20, knot: 10}, "**not met**,**not met**"},
		{counted(results.PerSecond(4000)), "µs", map[string]float64{ours: 10, console: 9, stock: 44, nsd: 10, knot: 24}, "met,met,met"},
		{counted(results.PerSecond(4000)), "µs", map[string]float64{ours: 10, console: 11.5, stock: 44, nsd: 10, knot: 24}, "met,met,**not met**"},
		{counted(results.PerSecond(1000)), "µs", map[string]float64{ours: 10, console: 11.5, stock: 44, nsd: 10, knot: 24}, "met,met"},
		{counted(results.Saturated), "µs", map[string]float64{console: 1}, "not measured,not measured,not measured,not measured"},
		{everyday("machine_per_query"), "µs", map[string]float64{ours: 11.2, stock: 44, nsd: 20, knot: 10}, ""},
		{everyday("latency_p50"), "µs", map[string]float64{ours: 49, nsd: 50, knot: 40}, "met"},
		{everyday("latency_p99"), "µs", map[string]float64{ours: 51, nsd: 50, knot: 60}, "**not met**"},
		{veth("added_per_query"), "µs", map[string]float64{kernel: 1, ours: 9, nsd: 4.1, knot: 5}, "met"},
		{veth("added_per_query"), "µs", map[string]float64{kernel: 1.1, ours: 0.1, nsd: 5, knot: 4}, "**not met**"},
		{veth("added_per_query"), "µs", map[string]float64{ours: 0.1, nsd: 5, knot: 4}, "not measured"},
		{veth("machine_per_query"), "µs", map[string]float64{kernel: 21, echo: 20, nsd: 24}, ""},
		{veth("latency_mean"), "µs", map[string]float64{kernel: 19, echo: 18, nsd: 60, knot: 40}, "met"},
		{veth("latency_mean"), "µs", map[string]float64{kernel: 21, echo: 18, nsd: 40, knot: 60}, "**not met**"},
		{veth("cpu_share"), "%", map[string]float64{kernel: 21}, "not measured"},
		{subject{what: "cpu_share", proto: "veth", load: results.Idle}, "%", map[string]float64{kernel: 21}, ""},
		{subject{what: "cpu_idle"}, "%", map[string]float64{ours: 0.19}, "met"},
		{subject{what: "cpu_idle"}, "%", map[string]float64{ours: 0.21}, "**not met**"},
		{cpu("udp", "clusterip"), "µs", map[string]float64{ours: 4.9, stock: 20, nsd: 5, knot: 6, chain: 14.9}, "met,met,met,not measured"},
		{cpu("udp6", "clusterip"), "µs", map[string]float64{ours: 5.1, stock: 20, nsd: 6, knot: 5, chain: 15.1}, "**not met**,**not met**,**not met**"},
		{cpu("udp", "nxdomain"), "µs", map[string]float64{ours: 5, stock: 24, knot: 6}, "met,met,not measured"},
		{cpu("udp", "nxdomain"), "µs", map[string]float64{ours: 5}, "not measured,not measured,not measured"},
		{cpu("udp", "nxdomain"), "µs", map[string]float64{chain: 5, stock: 24, nsd: 6}, "not measured,not measured,met"},
		{cpu("udp", "headless15"), "µs", map[string]float64{ours: 8, stock: 44, nsd: 9, chain: 30}, "**not met**,met,met"},
		{cpu("udp", "headless15"), "µs", map[string]float64{ours: 7, stock: 44, nsd: 6, chain: 34}, "met,**not met**,**not met**"},
		{cpu("udp", "srv"), "µs", map[string]float64{ours: 50, stock: 44, chain: 32}, "met"},
		{cpu("tcp", "clusterip"), "µs", map[string]float64{ours: 9, stock: 20}, "met"},
		{cpu("tcp1", "srv"), "µs", map[string]float64{chain: 11, stock: 20}, "**not met**"},
		{subject{what: "rss_peak_start"}, "MB", map[string]float64{ours: 79, stock: 240}, "met"},
		{subject{what: "rss_peak_relist_list"}, "MB", map[string]float64{ours: 81, stock: 240}, "**not met**"},
		{subject{what: "rss_peak_relist"}, "MB", map[string]float64{ours: 81}, "not measured"},
		{subject{what: "reload_missing"}, "", map[string]float64{ours: 0}, "met"},
		{subject{what: "reload_missing"}, "", map[string]float64{ours: 1}, "**not met**"},
		{subject{what: "start_to_answer"}, "ms", map[string]float64{ours: 420, stock: 430}, "met"},
		{subject{what: "start_to_answer", load: "api down"}, "ms", map[string]float64{ours: 199}, "met"},
		{subject{what: "start_to_answer", load: "snapshot"}, "s", map[string]float64{ours: 0.21}, "**not met**"},
		{subject{what: "start_to_answer", load: "snapshot"}, "fortnights", map[string]float64{ours: 0}, "not measured"},
		{subject{what: "programming_p99", load: "churn200"}, "ms", map[string]float64{ours: 2, stock: 1}, "**not met**"},
		{subject{what: "allocs_per_query", mix: "clusterip"}, "allocs", map[string]float64{chain: 11.9}, "met"},
		{subject{what: "allocs_per_query", mix: "srv"}, "allocs", map[string]float64{chain: 99}, ""},
		{subject{what: "binary_size"}, "MB", map[string]float64{ours: 61}, "**not met**"},
		{subject{what: "rss_idle"}, "MB", map[string]float64{ours: 44}, "met"},
		{subject{what: "max_rate", mix: "clusterip", proto: "udp"}, "q/s", map[string]float64{ours: 45}, ""},
	} {
		w := row{subject: c.subject, unit: c.unit, peers: make(map[string]stat)}
		for peer, v := range c.medians {
			w.peers[peer] = rounds(v)
		}
		texts, verdicts := new(table).goals(w)
		if got := strings.ReplaceAll(verdicts, "<br>", ","); got != c.verdicts {
			t.Errorf("%+v of %+v: %s of goals %s, want %s", c.medians, c.subject, got, texts, c.verdicts)
		}
	}
}

// rounds are five around a median.
func rounds(median float64) stat {
	return statOf([]float64{0.999, 0.9995, 1, 1.0005, 1.001}).times(median)
}

// Verdicts of goals that compare with other rows, and of rounds that leave it
// open.
func TestVerdicts(t *testing.T) {
	var samples []results.Sample
	add := func(what, world, load string, values ...float64) {
		for i, v := range values {
			samples = append(samples, results.Sample{What: what, World: world, Load: load, Cores: map[bool]int{true: 1}[load != ""], Peer: results.Ours, Round: i, Value: v, Unit: "MB",
				Mix: map[bool]string{true: "clusterip"}[load != ""], Proto: map[bool]string{true: "udp"}[load != ""]})
		}
	}
	add("rss_steady", "1", "", 100, 101, 102, 103, 104)
	add("rss_peak_reload", "1", "", 105, 106, 107, 108, 109)
	add("rss_steady", "2", "", 100, 101, 102, 103, 104)
	add("rss_peak_reload", "2", "", 120, 121, 122, 123, 124)
	add("rss_steady", "3", "", 100, 101, 102, 103, 104)
	add("rss_peak_reload", "3", "", 100, 110, 112, 115, 120)
	add("rss_peak_reload", "4", "", 1)
	add("rss_steady", "5", "", 100)
	add("rss_peak_reload", "5", "", 1, 1, 1, 1, 1)
	add("rss_steady", "6", "", 100, 101, 102, 103, 104)
	add("rss_peak_reload", "6", "", 1)
	add("rss_idle", "0", "", 44, 44, 44, 46, 46)
	add("reload_missing", "1", "", 0, 0, 1)
	add("cpu_per_query", "100", results.Saturated, 10, 10.1, 10.2, 10.3, 10.4)
	add("cpu_per_query", "1000", results.Saturated, 13, 13.1, 13.2, 13.3, 13.4)
	tab := newTable(&results.Results{Samples: samples})
	for s, want := range map[subject]verdict{
		{what: "rss_peak_reload", world: "1"}: met, {what: "rss_peak_reload", world: "2"}: notMet, {what: "rss_peak_reload", world: "3"}: noDifference,
		{what: "rss_peak_reload", world: "4"}: notMeasured, {what: "rss_peak_reload", world: "5"}: tooFew, {what: "rss_peak_reload", world: "6"}: tooFew, {what: "rss_idle", world: "0"}: noDifference,
		{what: "reload_missing", world: "1"}: notMet, {what: "cost_growth", mix: "clusterip", world: "100 → 1000", proto: "udp"}: notMet,
	} {
		w := tab.find(s)
		if _, got := tab.goals(w); got != string(want) {
			t.Errorf("%+v: %q, want %s", s, got, want)
		}
	}
	want := "| peak RSS, Corefile reload after a fresh start | ≤ 1.1 × steady | met in 1, no difference in 1, **not met** in 1, too few rounds in 2, not measured in 1 of 6 rows |\n"
	if !strings.Contains(tab.summary(), want) {
		t.Errorf("no line %s in\n%s", want, tab.summary())
	}
}

// TestUsesNothing tells what a server uses while its kernel lane answers from what it
// does when nobody asks.
func TestUsesNothing(t *testing.T) {
	for _, c := range []struct {
		asked []float64
		want  verdict
	}{
		{[]float64{0.6, 0.62, 0.64, 0.66, 0.7}, met},
		{[]float64{0.1, 0.1, 0.1, 0.1, 0.1}, met},
		{[]float64{0.8, 0.9, 1, 1.1, 1.2}, notMet},
		{[]float64{0.8, 0.9, 1, 1.1}, tooFew},
	} {
		var samples []results.Sample
		for load, values := range map[string][]float64{results.Idle: {0.5, 0.61, 0.65, 0.67, 0.71}, results.Saturated: c.asked} {
			for i, v := range values {
				s := results.Sample{What: "cpu_share", Proto: "veth", World: "100", Load: load, Cores: 2, Peer: results.Kernel, Round: i, Value: v, Unit: "%"}
				if load != results.Idle {
					s.Mix = "clusterip"
				}
				samples = append(samples, s)
			}
		}
		tab := newTable(&results.Results{Samples: samples})
		w := tab.find(subject{"cpu_share", "clusterip", "100", "veth", results.Saturated, 2})
		if _, got := tab.goals(w); got != string(c.want) {
			t.Errorf("%v: %q, want %s", c.asked, got, c.want)
		}
	}
}
