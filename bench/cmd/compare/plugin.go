package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/bench/cluster"
	"github.com/clusterdns/clusterdns/bench/peer"
	"github.com/clusterdns/clusterdns/bench/results"
	"github.com/clusterdns/clusterdns/bench/world"
)

// binaries measures the size of those that are built here, stripped.
func (r *runner) binaries(context.Context) error {
	for _, name := range r.peers() {
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
	for _, name := range r.followers() {
		errs = append(errs, r.with(ctx, s, name, func(p *peer.Peer) error {
			if err := sleep(ctx, r.plan.settle); err != nil {
				return err
			}
			u, err := peer.UsageOf(p.PID)
			if err != nil {
				return err
			}
			r.add(results.Sample{What: "rss_idle", World: s.Name, Peer: name, Value: mb(u.RSS), Unit: "MB"})
			return nil
		}))
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

// profile leaves profiles of clusterdns under load beside the results' file.
func (r *runner) profile(ctx context.Context, mix string) (err error) {
	s, err := r.site(ctx, r.plan.world, true)
	if err != nil {
		return err
	}
	if _, _, err := s.files(mix); err != nil {
		return err
	}
	name := r.followers()[0]
	c, err := r.config(s, name)
	if err != nil {
		return err
	}
	ports, err := peer.FreePorts(1)
	if err != nil {
		return err
	}
	pprof := fmt.Sprintf("127.0.0.1:%d", ports[0])
	c.Plugins = []string{"pprof " + pprof}
	p, err := peer.Start(c)
	if err != nil {
		return err
	}
	defer stop(&err, p)
	if _, err := r.await(ctx, s, p); err != nil {
		return err
	}
	const seconds = 10
	loaded := make(chan error, 1)
	go func() {
		_, err := r.saturate(ctx, p, s, mix, "udp", (seconds+2)*time.Second)
		loaded <- err
	}()
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	var files []string
	for _, kind := range []string{"cpu", "heap"} {
		query := map[string]string{"cpu": fmt.Sprintf("profile?seconds=%d", seconds), "heap": "heap"}[kind]
		file := filepath.Join(filepath.Dir(r.out), fmt.Sprintf("profile-%s-%s.pb.gz", kind, mix))
		if err := fetch(ctx, "http://"+pprof+"/debug/pprof/"+query, file); err != nil {
			return fmt.Errorf("%s profile: %w", kind, err)
		}
		files = append(files, file)
	}
	if err := <-loaded; err != nil {
		return err
	}
	for _, file := range files {
		out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-nodecount=15", r.programs[name], file).CombinedOutput()
		if err != nil {
			return fmt.Errorf("pprof of %s: %w\n%s", file, err, out)
		}
		fmt.Printf("%s\n%s\n", file, out)
	}
	return nil
}

func fetch(ctx context.Context, url, file string) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(resp.Body)
	return errors.Join(err, f.Close())
}
