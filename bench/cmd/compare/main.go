// Command compare measures clusterdns beside other DNS servers: all on this
// machine, one at a time, each on one core with the load on another, with the
// same names and the same questions. See the README of the module.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clusterdns/clusterdns/bench/results"
)

func main() {
	planName := flag.String("plan", "full", "what to measure: full, quick, smoke, or profile for -profile")
	out := flag.String("out", "", "`file` for the results; written again after every step")
	bin := flag.String("bin", "", "`folder` with clusterdns, coredns, dnsload and kubetest")
	repo := flag.String("repo", "..", "`folder` of clusterdns' source, for the benchmarks of the plugin")
	only := flag.String("only", "", "comma-separated `steps` to run instead of all")
	profileMix := flag.String("profile", "", "leave CPU and heap profiles of clusterdns under the load of this `mix` beside -out, and measure nothing")
	flag.Parse()
	if err := pin(loadCPU()); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *planName, *out, *bin, *repo, *only, *profileMix); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, planName, out, bin, repo, only, profileMix string) (err error) {
	p, ok := plans[planName]
	if !ok || out == "" || bin == "" || flag.NArg() > 0 {
		return errors.New("usage: compare -plan full|quick|smoke|profile -bin FOLDER -out FILE [-repo FOLDER] [-only STEP,...] [-profile MIX]")
	}
	work, err := os.MkdirTemp("", "clusterdns-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	r := &runner{
		plan: p, bin: bin, repo: repo, work: work, out: out,
		server: 0, load: loadCPU(), deadline: time.Now().Add(p.budget),
		res:   &results.Results{Machine: machine(), Started: time.Now().UTC().Truncate(time.Second), Quick: planName != "full", Versions: map[string]string{}},
		wrong: map[string]string{}, stockMax: map[string]float64{},
	}
	if err := r.findPrograms(ctx); err != nil {
		return err
	}
	if profileMix != "" {
		r.programs["dnsperf"], _ = lookPath("dnsperf") // dnsload has to do where it is missing
		return r.profile(ctx, profileMix)
	}
	return r.all(ctx, strings.FieldsFunc(only, func(c rune) bool { return c == ',' }))
}

// runner runs a plan. Not for several goroutines.
type runner struct {
	plan      plan
	bin, repo string // folders
	work      string // temporary folder
	out       string

	server, load int // cores of the server that is measured and of everything else

	programs map[string]string // paths, by peer or tool
	lane     bool              // clusterdns has a fast lane
	deadline time.Time

	res      *results.Results
	wrong    map[string]string  // first wrong answer, by world, peer, protocol and mix
	stockMax map[string]float64 // queries a second, by mix
}

// step is a part of a run that may fail without failing the others.
type step struct {
	name string
	run  func(*runner, context.Context) error
}

// steps in order of importance: what comes last is left out if time runs out.
var steps = []step{
	{"binary", (*runner).binaries},
	{"throughput", (*runner).throughput},
	{"memory", (*runner).memory},
	{"latency", (*runner).latency},
	{"programming", (*runner).programming},
	{"growth", (*runner).growth},
	{"big", (*runner).big},
	{"idle", (*runner).idle},
	{"allocations", (*runner).allocations},
}

func (r *runner) all(ctx context.Context, only []string) error {
	for _, name := range only {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.name == name }) {
			return fmt.Errorf("no step %q", name)
		}
	}
	if err := r.save(); err != nil {
		return err
	}
	failed := 0
	for _, s := range steps {
		if len(only) > 0 && !slices.Contains(only, s.name) || !r.plan.has(s.name) {
			continue
		}
		begin := time.Now()
		r.logf("== %s", s.name)
		err := r.late()
		if err == nil {
			err = s.run(r, ctx)
		}
		if err != nil {
			failed++
			r.logf("%s: %v", s.name, err)
			r.add(results.Sample{What: "step " + s.name, Void: true, Why: err.Error()})
		}
		r.logf("== %s: %.0f s", s.name, time.Since(begin).Seconds())
		if err := r.save(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted in step %s; %s has what was measured until then", s.name, r.out)
		}
	}
	if failed > 0 {
		r.logf("%d steps failed in part; %s says which and why", failed, r.out)
	}
	if !r.plan.strict {
		return nil
	}
	return strictly(r.res)
}

// strictly returns an error if a figure is void: a wrong answer, a lost one, a
// step that failed.
func strictly(res *results.Results) error {
	var errs []error
	for _, s := range res.Samples {
		if s.Void {
			errs = append(errs, fmt.Errorf("void: %s", describe(s)))
		}
	}
	return errors.Join(errs...)
}

// late returns an error once the time for the whole run is used up.
func (r *runner) late() error {
	if time.Now().After(r.deadline) {
		return fmt.Errorf("the %v for this run are used up", r.plan.budget)
	}
	return nil
}

func (r *runner) add(samples ...results.Sample) {
	for _, s := range samples {
		r.logf("%s", describe(s))
	}
	r.res.Samples = append(r.res.Samples, samples...)
}

func describe(s results.Sample) string {
	var words []string
	for _, w := range []string{s.Peer, s.World, s.What, s.Mix, s.Proto, s.Load} {
		if w != "" {
			words = append(words, w)
		}
	}
	text := fmt.Sprintf("%s: %.4g %s", strings.Join(words, " "), s.Value, s.Unit)
	if s.Void {
		text += " (void)"
	}
	if s.Why != "" {
		text += ": " + s.Why
	}
	return text
}

func (r *runner) save() error { return r.res.Write(r.out) }

func (r *runner) logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0fs  %s\n", time.Since(r.res.Started).Seconds(), fmt.Sprintf(format, args...))
}

// peers returns the names of those that are compared, clusterdns only with the
// lane once it has one.
func (r *runner) peers() []string {
	return slices.DeleteFunc(slices.Clone(r.plan.peers), func(name string) bool { return name == results.Ours && !r.lane })
}

// followers returns those peers that follow an API server, ours as it is best.
func (r *runner) followers() []string {
	ours := results.Chain
	if r.lane {
		ours = results.Ours
	}
	return []string{ours, results.CoreDNS}
}

// loadCPU is the core of everything but the server that is measured: the second,
// if there is one.
func loadCPU() int {
	cores, _ := strconv.Atoi(machine()["cores"]) // runtime.NumCPU is 1 once this program is pinned
	return max(0, min(1, cores-1))
}

// pin makes this program, and what it starts, run on one core: it starts itself
// again there, because a running Go program has threads already.
func pin(cpu int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return fmt.Errorf("which cores are ours: %w", err)
	}
	if set.Count() == 1 {
		return nil
	}
	if !set.IsSet(0) || !set.IsSet(cpu) {
		return fmt.Errorf("cores 0 and %d are needed, and not both are ours", cpu)
	}
	set.Zero()
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("going to core %d: %w", cpu, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, os.Environ())
}

// machine describes what is measured on.
func machine() map[string]string {
	m := map[string]string{"go": runtime.Version(), "arch": runtime.GOARCH}
	if out, err := exec.Command("uname", "-sr").Output(); err == nil {
		m["kernel"] = strings.TrimSpace(string(out))
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m["cores"] = fmt.Sprint(strings.Count("\n"+string(text), "\nprocessor"))
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m["cpu"] = strings.TrimSpace(value)
			}
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, "MemTotal:"); ok {
				m["memory"] = strings.TrimSpace(value)
			}
		}
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m["load before"] = strings.Join(strings.Fields(string(text))[:3], " ")
	}
	return m
}

// sleep waits, or returns early with the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// mb is a size in the unit of the results.
func mb(bytes int64) float64 { return float64(bytes) / 1e6 }

// stop ends a peer or a cluster and joins what went wrong to err.
func stop(err *error, what interface{ Stop() error }) { *err = errors.Join(*err, what.Stop()) }
