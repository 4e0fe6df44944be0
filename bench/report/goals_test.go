package report

import (
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/bench/results"
)

func TestGoals(t *testing.T) {
	const ours, chain, stock, nsd, knot = results.Ours, results.Chain, results.CoreDNS, results.NSD, results.Knot
	cpu := func(proto, mix string) subject { return subject{what: "cpu_per_query", mix: mix, proto: proto} }
	for _, c := range []struct {
		subject
		unit     string
		medians  map[string]float64
		verdicts string // by goal, in the order of the table
	}{
		{cpu("udp", "clusterip"), "µs", map[string]float64{ours: 5, stock: 20, nsd: 5, knot: 6, chain: 15}, "met,met,met"},
		{cpu("udp", "clusterip"), "µs", map[string]float64{ours: 5.1, stock: 20, nsd: 6, knot: 5, chain: 15.1}, "**not met**,**not met**,**not met**"},
		{cpu("udp", "nxdomain"), "µs", map[string]float64{ours: 5, stock: 24, knot: 6}, "met,met,not measured"},
		{cpu("udp", "nxdomain"), "µs", map[string]float64{ours: 5}, "not measured,not measured,not measured"},
		{cpu("udp", "nxdomain"), "µs", map[string]float64{chain: 5, stock: 24, nsd: 6}, "not measured,not measured,met"},
		{cpu("udp", "headless15"), "µs", map[string]float64{ours: 8, stock: 44, nsd: 8, chain: 30}, "**not met**,met,met"},
		{cpu("udp", "headless15"), "µs", map[string]float64{ours: 7, stock: 44, nsd: 6, chain: 34}, "met,**not met**,**not met**"},
		{cpu("udp", "srv"), "µs", map[string]float64{ours: 50, stock: 44, chain: 33}, "met"},
		{cpu("tcp", "clusterip"), "µs", map[string]float64{ours: 10, stock: 20}, "met"},
		{cpu("tcp", "srv"), "µs", map[string]float64{chain: 11, stock: 20}, "**not met**"},
		{subject{what: "cost_growth"}, "×", map[string]float64{ours: 1.2}, "met"},
		{subject{what: "cost_growth"}, "×", map[string]float64{chain: 1.21}, "**not met**"},
		{subject{what: "rss_peak_start"}, "MB", map[string]float64{ours: 80, stock: 240}, "met"},
		{subject{what: "rss_peak_relist_list"}, "MB", map[string]float64{ours: 81, stock: 240}, "**not met**"},
		{subject{what: "rss_peak_relist"}, "MB", map[string]float64{ours: 81}, "not measured"},
		{subject{what: "reload_missing"}, "", map[string]float64{ours: 0}, "met"},
		{subject{what: "reload_missing"}, "", map[string]float64{ours: 1}, "**not met**"},
		{subject{what: "start_to_answer"}, "ms", map[string]float64{ours: 430, stock: 430}, "met"},
		{subject{what: "start_to_answer", load: "api down"}, "ms", map[string]float64{ours: 200}, "met"},
		{subject{what: "start_to_answer", load: "snapshot"}, "s", map[string]float64{ours: 0.21}, "**not met**"},
		{subject{what: "start_to_answer", load: "snapshot"}, "fortnights", map[string]float64{ours: 0}, "not measured"},
		{subject{what: "programming_p99", load: "churn200"}, "ms", map[string]float64{ours: 2, stock: 1}, "**not met**"},
		{subject{what: "allocs_per_query", mix: "clusterip"}, "allocs", map[string]float64{chain: 12}, "met"},
		{subject{what: "allocs_per_query", mix: "srv"}, "allocs", map[string]float64{chain: 99}, ""},
		{subject{what: "binary_size"}, "MB", map[string]float64{ours: 61}, "**not met**"},
		{subject{what: "rss_idle"}, "MB", map[string]float64{ours: 45}, "met"},
		{subject{what: "max_rate", mix: "clusterip", proto: "udp"}, "q/s", map[string]float64{ours: 45}, ""},
	} {
		w := row{c.subject, c.unit, make(map[string]stat)}
		for peer, v := range c.medians {
			w.peers[peer] = stat{v, v, v, 1}
		}
		texts, verdicts := new(table).goals(w)
		if got := strings.ReplaceAll(verdicts, "<br>", ","); got != c.verdicts {
			t.Errorf("%+v of %+v: %s of goals %s, want %s", c.medians, c.subject, got, texts, c.verdicts)
		}
	}
}

func TestGoalOfReload(t *testing.T) {
	memory := func(what, world string, value float64) results.Sample {
		return results.Sample{What: what, World: world, Peer: results.Ours, Value: value, Unit: "MB"}
	}
	reload := func(world string, before float64) results.Series {
		return results.Series{What: "rss", Peer: results.Ours, World: world, Unit: "MB",
			T: []float64{0, 5, 6, 7}, V: []float64{50, before, before, 1000}, Marks: []results.Mark{{T: 0, Name: "start"}, {T: 5.5, Name: "reload"}}}
	}
	tab := newTable(&results.Results{Samples: []results.Sample{
		memory("rss_peak_reload", "100", 110), memory("rss_peak_reload", "1000", 111), memory("rss_peak_reload", "10000", 1),
	}, Series: []results.Series{reload("100", 100), reload("1000", 100)}})
	for world, want := range map[string]verdict{"100": met, "1000": notMet, "10000": notMeasured} {
		w := tab.find(subject{what: "rss_peak_reload", world: world})
		if _, got := tab.goals(w); got != string(want) {
			t.Errorf("world %s: %s, want %s", world, got, want)
		}
	}
	if want := "| peak RSS, Corefile reload | no peak: ≤ 1.1 × before | **not met** in 1 of 2 rows |\n"; !strings.Contains(tab.summary(), want) {
		t.Errorf("no line %s in\n%s", want, tab.summary())
	}
}
