package report

import (
	"fmt"
	"strings"

	"github.com/clusterdns/clusterdns/bench/results"
)

// headline selects the rows for the README, in their order. Where several
// worlds were measured, it is the one that Headline chooses.
var headline = []subject{
	{what: "cpu_per_query", mix: "clusterip", proto: "udp", load: results.PerSecond(4000), cores: 2},
	{what: "cpu_per_query", mix: "clusterip", proto: "udp", load: results.PerSecond(4000), cores: 1},
	{what: "latency_p99", mix: "clusterip", proto: "udp", load: results.PerSecond(4000), cores: 2},
	{what: "cpu_per_query", mix: "clusterip", proto: "udp", load: results.PerSecond(1000), cores: 2},
	{what: "cpu_per_query", mix: "clusterip", proto: "udp", load: results.PerSecond(16000), cores: 2},
	{what: "cpu_idle"},
	{what: "cpu_per_query", mix: "clusterip", proto: "udp", load: results.Saturated, cores: 1},
	{what: "cpu_per_query", mix: "nxdomain", proto: "udp", load: results.Saturated, cores: 1},
	{what: "cpu_per_query", mix: "headless15", proto: "udp", load: results.Saturated, cores: 1},
	{what: "cpu_per_query", mix: "clusterip", proto: "tcp", load: results.Saturated, cores: 1},
	{what: "cpu_per_query", mix: "clusterip", proto: "tcp1", load: results.Saturated, cores: 1},
	{what: "max_rate", mix: "clusterip", proto: "udp", load: results.Saturated, cores: 1},
	{what: "rss_peak_start"},
	{what: "rss_peak_relist"},
	{what: "rss_peak_reload"},
	{what: "start_to_answer"},
	{what: "programming_p99", load: "idle"},
	{what: "binary_size"},
}

// headlineNames are what the rows are called where no heading says it.
var headlineNames = map[string]string{
	"cpu_per_query":   "CPU per query",
	"cpu_idle":        "CPU when nobody asks, of a core",
	"max_rate":        "Maximum rate on one core",
	"latency_p99":     "Latency, p99",
	"rss_peak_start":  "Peak memory, cold start",
	"rss_peak_relist": "Peak memory, API server restarted",
	"rss_peak_reload": "Peak memory, Corefile reload",
	"start_to_answer": "Start to first right answer",
	"programming_p99": "Change acknowledged to new answer, p99",
	"binary_size":     "Binary",
}

// Headline returns the table for the README: the figures that matter most, of
// the world that most was measured of.
func Headline(r *results.Results) string {
	t := newTable(r)
	world := t.mainWorld()
	var chosen []row
	for _, s := range headline {
		for _, w := range []string{world, ""} {
			s.world = w
			if found := t.find(s); len(found.peers) > 0 {
				chosen = append(chosen, found)
				break
			}
		}
	}
	columns := []column{{"", "---", headlineLabel}}
	for _, p := range peers {
		if p.id == results.CoreDNSCache || p.id == results.Console {
			continue // the report has it
		}
		columns = append(columns, column{p.name, "--:", func(w row) string {
			s, ok := w.peers[p.id]
			if !ok {
				return ""
			}
			return w.emphasize(p.id, w.bound(p.id)+format(s.median))
		}})
	}
	columns = append(columns,
		column{"÷ CoreDNS", "--:", func(w row) string { return w.ratio(results.CoreDNS) }},
		column{"÷ best of NSD, Knot", "--:", func(w row) string { return w.ratio(results.NSD, results.Knot) }})
	caption := "Medians"
	if world != "" {
		caption += " with " + worldName(world)
	}
	if cpu := r.Machine["cpu"]; cpu != "" {
		caption += " on " + cpu
	}
	caption += ". At saturation the server has one core and is asked as fast as it answers"
	text := markdown(chosen, columns)
	if strings.Contains(text, "≥") {
		caption += "; ≥ says that whoever asked was the limit"
	}
	if strings.Contains(text, "?") {
		caption += "; ? that there were too few rounds to be sure"
	}
	return text + "\n" + caption + ".\n"
}

func headlineLabel(w row) string {
	name := headlineNames[w.what]
	if w.mix != "" {
		name += ", " + mixName(w.mix)
	}
	if proto := protoName(w.proto); proto != "" && w.proto != "" {
		name += ", " + proto
	}
	if w.paced() {
		name += ", " + loadName(w.load) + ", " + coresName(w.cores)
	} else if w.load == results.Saturated && w.what != "max_rate" {
		name += ", at saturation"
	}
	return name + unitSuffix(w.unit)
}

// mainWorld returns the world with the most measurements, the larger of two
// with as many.
func (t *table) mainWorld() (world string) {
	count := make(map[string]int)
	for _, w := range t.rows {
		if w.world != "" && w.what != "cost_growth" {
			count[w.world] += len(w.peers)
		}
	}
	for w, n := range count {
		if n > count[world] || n == count[world] && compareNumbers(w, world) > 0 {
			world = w
		}
	}
	return world
}

const (
	readmeBegin = "<!-- bench:begin -->\n"
	readmeEnd   = "<!-- bench:end -->"
)

// Replace returns a README with the block between the lines of comments that
// mark it replaced.
func Replace(readme, block string) (string, error) {
	before, rest, ok := strings.Cut(readme, readmeBegin)
	_, after, closed := strings.Cut(rest, readmeEnd)
	if !ok || !closed {
		return "", fmt.Errorf("no block between %q and %q", strings.TrimSpace(readmeBegin), readmeEnd)
	}
	return before + readmeBegin + block + readmeEnd + after, nil
}
