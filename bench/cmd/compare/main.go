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

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/clusterdns/clusterdns/bench/results"
)

func main() {
	planName := flag.String("plan", "full", "what to measure: full, paced, quick, smoke, or profile for -profile")
	out := flag.String("out", "", "`file` for the results; written again after every step")
	bin := flag.String("bin", "", "`folder` with clusterdns, coredns, dnsload and kubetest")
	repo := flag.String("repo", "..", "`folder` of clusterdns' source, for the benchmarks of the plugin")
	only := flag.String("only", "", "comma-separated `steps` to run instead of all")
	peers := flag.String("peers", "", "comma-separated `servers` to measure instead of all")
	var profile profiled
	flag.StringVar(&profile.mix, "profile", "", "leave CPU and heap profiles of clusterdns under the load of this `mix` beside -out, and measure nothing")
	flag.IntVar(&profile.rate, "rate", 0, "`queries` a second while profiling; without it as many as are answered")
	flag.Parse()
	if err := pin(loadCPU()); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *planName, *out, *bin, *repo, list(*only), list(*peers), profile); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// list returns the parts of a comma-separated list, nil if it is empty.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func run(ctx context.Context, planName, out, bin, repo string, only, peers []string, profile profiled) (err error) {
	p, ok := plans[planName]
	if !ok || out == "" || bin == "" || flag.NArg() > 0 {
		return errors.New("usage: compare -plan full|paced|quick|smoke|profile -bin FOLDER -out FILE [-repo FOLDER] [-only STEP,...] [-peers NAME,...] [-profile MIX [-rate N]]")
	}
	if peers != nil {
		if p, err = p.only(peers); err != nil {
			return fmt.Errorf("plan %s: %w", planName, err)
		}
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
		load: loadCPU(), cores: loadCPU() + 1, deadline: time.Now().Add(p.budget), only: only,
		res: &results.Results{Machine: machine(), Commit: commit(repo), Started: time.Now().UTC().Truncate(time.Second), Plan: planName,
			Versions: map[string]string{}, LeftOut: map[string]string{}},
		wrong: map[string]string{},
	}
	if err := r.findPrograms(); err != nil {
		return err
	}
	if profile.mix != "" {
		r.programs["dnsperf"], _ = lookPath("dnsperf") // dnsload has to do where it is missing
		return r.profile(ctx, profile)
	}
	return r.all(ctx)
}

// runner runs a plan. Not for several goroutines.
type runner struct {
	plan      plan
	bin, repo string // folders
	work      string // temporary folder
	out       string

	load  int // the core of everything but the server that is measured
	cores int // that a server may have: 1 or 2

	programs map[string]string // paths, by peer or tool
	deadline time.Time
	only     []string      // steps; none for all of the plan
	later    time.Duration // that the steps after this one will take
	stepEnd  time.Time     // when this one should end

	res   *results.Results
	wrong map[string]string // first wrong answer, by world, peer, protocol and mix
}

// step is a part of a run that may fail without failing the others.
type step struct {
	name  string
	run   func(*runner, context.Context) error
	takes func(plan) time.Duration // about, on two cores with nothing else to do
}

// steps in order of importance: what comes last is left out if time runs out.
var steps = []step{
	{"binary", (*runner).binaries, func(plan) time.Duration { return 0 }},
	{"paced", (*runner).paced, plan.pacedTakes},
	{"throughput", (*runner).throughput, plan.throughputTakes},
	{"kernel", (*runner).kernel, plan.kernelTakes},
	{"memory", (*runner).memory, plan.memoryTakes},
	{"programming", (*runner).programming, plan.programmingTakes},
	{"growth", (*runner).growth, plan.growthTakes},
	{"big", (*runner).big, plan.bigTakes},
	{"idle", (*runner).idle, plan.idleTakes},
	{"peak", (*runner).peak, plan.peakTakes},
	{"allocations", (*runner).allocations, func(plan) time.Duration { return 30 * time.Second }},
}

// chosen returns the steps of this run.
func (r *runner) chosen() ([]step, error) {
	for _, name := range r.only {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.name == name }) {
			return nil, fmt.Errorf("no step %q", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(steps), func(s step) bool {
		return !r.plan.has(s.name) || len(r.only) > 0 && !slices.Contains(r.only, s.name)
	}), nil
}

func (r *runner) all(ctx context.Context) error {
	chosen, err := r.chosen()
	if err != nil {
		return err
	}
	for _, s := range chosen {
		r.later += s.takes(r.plan)
	}
	if err := r.save(); err != nil {
		return err
	}
	failed := 0
	for _, s := range chosen {
		begin, takes := time.Now(), s.takes(r.plan)
		r.later, r.stepEnd = r.later-takes, begin.Add(takes)
		r.logf("== %s, about %.0f s", s.name, takes.Seconds())
		err := r.late()
		if err == nil {
			err = s.run(r, ctx)
		}
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			r.logf("%s is left out: %v", s.name, err)
			r.res.LeftOut[s.name] = err.Error()
		case err != nil:
			failed++
			r.logf("%s: %v", s.name, err)
			r.add(results.Sample{What: "step " + s.name, Void: true, Why: err.Error()})
		}
		r.logf("== %s took %.0f s", s.name, time.Since(begin).Seconds())
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
	cores := ""
	if s.Cores > 0 {
		cores = fmt.Sprintf("%d cores", s.Cores)
	}
	for _, w := range []string{s.Peer, s.World, s.What, s.Mix, s.Proto, s.Load, cores} {
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
	left := r.later + max(0, time.Until(r.stepEnd))
	fmt.Fprintf(os.Stderr, "%5.0f s, %2.0f min left  %s\n", time.Since(r.res.Started).Seconds(), left.Minutes(), fmt.Sprintf(format, args...))
}

// followers are those peers that follow an API server, ours as it is best.
var followers = []string{results.Ours, results.CoreDNS}

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
	var uname unix.Utsname
	if err := unix.Uname(&uname); err == nil {
		m["kernel"] = unix.ByteSliceToString(uname.Sysname[:]) + " " + unix.ByteSliceToString(uname.Release[:])
	}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return m
	}
	if cpus, err := fs.CPUInfo(); err == nil && len(cpus) > 0 {
		m["cores"], m["cpu"] = strconv.Itoa(len(cpus)), cpus[0].ModelName
	}
	if memory, err := fs.Meminfo(); err == nil && memory.MemTotal != nil {
		m["memory"] = fmt.Sprintf("%d kB", *memory.MemTotal)
	}
	if load, err := fs.LoadAvg(); err == nil {
		m["load before"] = fmt.Sprintf("%.2f %.2f %.2f", load.Load1, load.Load5, load.Load15)
	}
	if text, err := os.ReadFile("/etc/debian_version"); err == nil {
		m["debian"] = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		_, name, _ := strings.Cut("\n"+string(text), "\nPRETTY_NAME=")
		name, _, _ = strings.Cut(name, "\n")
		m["os"] = strings.Trim(name, `"`)
	}
	return m
}

// commit says which of the repository's is measured, "" if git does not know.
func commit(repo string) string {
	out, err := exec.Command("git", "-C", repo, "-c", "safe.directory=*", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
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
