package report

import (
	"fmt"
	"strings"

	"github.com/clusterdns/clusterdns/bench/results"
)

// headline selects the rows for the README, in their order. Where several
// worlds were measured, it is the one that Headline chooses.
var headline = []subject{
	{what: "cpu_per_query", mix: "clusterip", proto: "udp"},
	{what: "cpu_per_query", mix: "nxdomain", proto: "udp"},
	{what: "cpu_per_query", mix: "headless15", proto: "udp"},
	{what: "cpu_per_query", mix: "clusterip", proto: "tcp"},
	{what: "max_rate", mix: "clusterip", proto: "udp"},
	{what: "latency_p99", mix: "clusterip", proto: "udp", load: "50%"},
	{what: "rss_peak_start"},
	{what: "rss_peak_relist"},
	{what: "start_to_answer"},
	{what: "programming_p99", load: "idle"},
	{what: "binary_size"},
}

// headlineNames are what the rows are called where no heading says it.
var headlineNames = map[string]string{
	"cpu_per_query":   "CPU per query",
	"max_rate":        "Maximum rate on one core",
	"latency_p99":     "Latency, p99",
	"rss_peak_start":  "Peak memory, cold start",
	"rss_peak_relist": "Peak memory, API server restarted",
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
		if p.id == results.CoreDNSCache {
			continue // the report has it
		}
		columns = append(columns, column{p.name, "--:", func(w row) string {
			s, ok := w.peers[p.id]
			if !ok {
				return ""
			}
			return w.emphasize(p.id, format(s.median))
		}})
	}
	columns = append(columns, column{"÷ CoreDNS", "--:", func(w row) string { return w.ratio(results.CoreDNS) }})
	caption := "Medians"
	if world != "" {
		caption += " with " + worldName(world)
	}
	if cpu := r.Machine["cpu"]; cpu != "" {
		caption += " on " + cpu
	}
	return markdown(chosen, columns) + "\n" + caption + ", the server on one core.\n"
}

func headlineLabel(w row) string {
	name := headlineNames[w.what]
	if w.mix != "" {
		name += ", " + mixName(w.mix)
	}
	if w.proto == "tcp" {
		name += ", TCP"
	}
	if w.load != "" && w.load != "idle" {
		name += ", " + loadName(w.load)
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
