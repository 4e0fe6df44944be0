package report

import (
	"encoding/xml"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/bench/results"
)

// all has something for each of the plots.
func all() *results.Results {
	r := new(results.Results)
	for _, peer := range []string{results.Ours, results.CoreDNS} {
		r.Samples = append(r.Samples, sample("clusterip", "100", peer, 4), sample("clusterip", "1000", peer, 5), sample("clusterip", "1000", peer, 6))
		for _, rate := range []int{1000, 4000} {
			for _, what := range []string{"cpu_per_query", "latency_p50", "latency_p99"} {
				for _, cores := range []int{1, 2} {
					r.Samples = append(r.Samples, results.Sample{What: what, Mix: "clusterip", World: "1000", Proto: "udp", Load: results.PerSecond(rate), Cores: cores, Peer: peer, Value: 30, Unit: "µs"})
				}
			}
		}
		for i, load := range []string{results.PerSecond(4000), results.Saturated} {
			r.Samples = append(r.Samples,
				results.Sample{What: "machine_per_query", World: "1000", Mix: "clusterip", Proto: "veth", Load: load, Cores: 2, Peer: peer, Value: 30, Unit: "µs"},
				results.Sample{What: "machine_per_query", World: "1000", Mix: "clusterip", Proto: "veth", Load: load, Cores: 2, Peer: results.Echo, Round: i, Value: 31, Unit: "µs"},
				results.Sample{What: "latency_mean", World: "1000", Mix: "clusterip", Proto: "veth", Load: load, Cores: 2, Peer: peer, Value: 18, Unit: "µs"})
		}
		r.Series = append(r.Series, results.Series{What: "rss", Peer: peer, World: "1000", Unit: "MB",
			T: []float64{0, 1, 2}, V: []float64{10, 30, 20}, Marks: []results.Mark{{T: 0, Name: "start"}, {T: 1, Name: "synced"}, {T: 1.01, Name: "relist"}}})
	}
	return r
}

func TestPlots(t *testing.T) {
	dir := t.TempDir()
	files, err := Plots(all(), dir)
	if want := []string{"cpu-rate", "rate-latency", "cpu-per-query", "memory", "world-size", "kernel-lane"}; err != nil || !slices.Equal(files, want) {
		t.Fatalf("plots %q, %v; want %q", files, err, want)
	}
	// Texts that each must have: names of peers, units, what was marked.
	texts := map[string][]string{
		"cpu-per-query": {"CPU per query at saturation over UDP, 1,000 services", "ClusterIP A", "(µs)", "clusterdns", "CoreDNS", "5.5"},
		"cpu-rate":      {"one core", "two cores", "queries a second", "4,000", "clusterdns"},
		"rate-latency":  {"median", "99th percentile", "queries a second", "clusterdns"},
		"memory":        {"RSS (MB)", "clusterdns", "CoreDNS", "synced", "relist", "seconds since the start"},
		"kernel-lane":   {"Over a veth pair, ClusterIP A, 1,000 services", "4,000", "saturation", "mean latency", "beyond an echo", "clusterdns", "CoreDNS", "18"},
		"world-size":    {"services in the cluster", "1,000", "clusterdns"},
	}
	for _, file := range files {
		svg, err := os.ReadFile(filepath.Join(dir, file+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(svg, new(struct{})); err != nil {
			t.Errorf("%s.svg: %v", file, err)
		}
		for _, text := range texts[file] {
			if !strings.Contains(string(svg), text) {
				t.Errorf("%s.svg does not say %s", file, text)
			}
		}
		picture, err := os.Open(filepath.Join(dir, file+".png"))
		if err != nil {
			t.Fatal(err)
		}
		defer picture.Close()
		if _, err := png.Decode(picture); err != nil {
			t.Errorf("%s.png: %v", file, err)
		}
	}
}

// What was not measured, or is zero where the scale has none, is left out.
func TestPlotsOfLittle(t *testing.T) {
	zeros := all()
	for i := range zeros.Samples {
		zeros.Samples[i].Value = 0
	}
	zeros.Series = nil
	medians := all()
	medians.Samples = slices.DeleteFunc(medians.Samples, func(s results.Sample) bool { return s.What != "latency_p50" })
	medians.Series = []results.Series{{What: "rss", Peer: results.Ours, T: []float64{0}, V: []float64{1}}}
	for _, c := range []struct {
		of   *results.Results
		want []string
	}{
		{new(results.Results), nil},
		{medians, []string{"rate-latency"}},
		{zeros, []string{"cpu-per-query", "world-size", "kernel-lane"}},
	} {
		files, err := Plots(c.of, t.TempDir())
		if err != nil || !slices.Equal(files, c.want) {
			t.Errorf("plots %q, %v; want %q", files, err, c.want)
		}
	}
}
