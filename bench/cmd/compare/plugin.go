package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/clusterdns/clusterdns/bench/cluster"
	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/world"
)

// binaries measures the size of those that are built here, stripped.
func (r *runner) binaries(context.Context) error {
	for _, name := range r.plan.peers {
		if name == results.NSD || name == results.Knot || name == results.CoreDNSCache {
			continue
		}
		info, err := os.Stat(r.programs[name])
		if err != nil {
			return err
		}
		r.add(results.Sample{What: "binary_size", Peer: name, Value: mb(info.Size()), Unit: "MB"})
	}
	return nil
}

// idle measures resident memory in a cluster that has no services.
func (r *runner) idle(ctx context.Context) (err error) {
	s, err := r.site(ctx, world.Spec{Name: "0"}, false)
	if err != nil {
		return err
	}
	defer stop(&err, s)
	var errs []error
	for round := range r.plan.rounds {
		for _, name := range followers {
			errs = append(errs, r.steady(ctx, s, name, "rss_idle", round))
		}
	}
	return errors.Join(errs...)
}

// benchmarked maps the plugin's benchmarks of whole queries to mixes.
var benchmarked = map[string]string{
	"ClusterIP_A": "clusterip", "ClusterIP_AAAA,_none": "nodata", "ClusterIP_SRV": "srv", "headless-15_A": "headless15",
	"ExternalName_A": "externalname", "PTR": "ptr", "NXDOMAIN": "nxdomain",
}

// allocations counts those of a query in the plugin, with the plugin's own
// benchmarks, and in stock's with those of this module.
func (r *runner) allocations(ctx context.Context) error {
	var errs []error
	for name, where := range map[string][2]string{
		results.Chain:   {r.repo, "./plugin"},
		results.CoreDNS: {filepath.Join(r.repo, "bench"), "./stock"},
	} {
		cmd := exec.CommandContext(ctx, "taskset", "-c", cluster.AllCPUs, "go", "test", "-C", where[0], "-vet=off", "-run", "-", "-bench", "^BenchmarkServeDNS$", "-benchmem", "-benchtime", "300x", where[1])
		out, err := cmd.CombinedOutput()
		if err != nil {
			errs = append(errs, fmt.Errorf("benchmark of %s: %w\n%s", where[1], err, out))
			continue
		}
		counts := parseAllocations(string(out))
		if len(counts) == 0 {
			errs = append(errs, fmt.Errorf("benchmark of %s reports no allocations:\n%s", where[1], out))
		}
		for benchmark, mix := range benchmarked {
			if n, ok := counts[benchmark]; ok {
				r.add(results.Sample{What: "allocs_per_query", Mix: mix, Peer: name, Value: n, Unit: "allocs"})
			}
		}
	}
	return errors.Join(errs...)
}

// parseAllocations reads the output of go test -bench: allocations an operation
// by the name of the sub-benchmark.
func parseAllocations(text string) map[string]float64 {
	counts := map[string]float64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[len(fields)-1] != "allocs/op" {
			continue
		}
		_, name, ok := strings.Cut(fields[0], "/")
		if !ok {
			continue
		}
		if at := strings.LastIndexByte(name, '-'); at > 0 { // -GOMAXPROCS, unless that is 1
			if _, err := strconv.Atoi(name[at+1:]); err == nil {
				name = name[:at]
			}
		}
		if n, err := strconv.ParseFloat(fields[len(fields)-2], 64); err == nil {
			counts[name] = n
		}
	}
	return counts
}
