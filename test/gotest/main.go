// Command gotest runs go test and watches over it: it says what is running when
// nothing has been printed for a while, and lists every test that was skipped.
// With CI set in the environment a skip that skips.go does not list is a failure,
// so that no check is lost without anybody's knowing.
//
//	gotest [-C folder] arguments of go test...
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// quiet is how long nothing is printed before a line of progress.
const quiet = 30 * time.Second

// limit is what the tests of a package may take, unless the arguments say
// otherwise: some build what they test, which on a slow machine with empty caches
// takes longer than the ten minutes of go test.
const limit = 30 * time.Minute

func main() {
	dir, args := ".", os.Args[1:]
	if len(args) > 1 && args[0] == "-C" {
		dir, args = args[1], args[2:]
	}
	r := &report{
		out:     os.Stdout,
		verbose: slices.Contains(args, "-v"),
		strict:  os.Getenv("CI") != "" && os.Getenv("CI") != "false",
		race:    slices.Contains(args, "-race"),
		logs:    map[string][]event{},
		results: map[test]string{},
		running: map[test]bool{},
		start:   time.Now(),
		printed: time.Now(),
	}
	cmd := exec.Command("go", append([]string{"test", "-json", "-timeout", limit.String()}, args...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(2)
	}
	go func() {
		for range time.Tick(time.Second) {
			r.progress(time.Now())
		}
	}()
	r.read(out)
	failed := cmd.Wait() != nil
	if bad := r.summary(); bad || failed {
		os.Exit(1)
	}
}

// event is one of go test -json; see go doc cmd/test2json.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

type test struct{ pkg, name string }

// report prints what go test does without -json, and remembers the skips.
type report struct {
	out                   io.Writer
	verbose, strict, race bool

	mu      sync.Mutex
	logs    map[string][]event // output of a package's tests, until it ends
	results map[test]string    // pass, skip, fail
	running map[test]bool
	skipped []skip
	start   time.Time
	printed time.Time // when something was last
}

// skip is a test that was skipped, and what it said.
type skip struct {
	test
	why string
}

func (r *report) read(in io.Reader) {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				e = event{Action: "build-output", Output: string(line)}
			}
			r.add(e)
		}
		if err != nil {
			return
		}
	}
}

func (r *report) add(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		r.print(e.Output)
	case "output":
		if r.verbose {
			r.print(e.Output)
		}
		r.logs[e.Package] = append(r.logs[e.Package], e)
	case "run":
		r.running[t] = true
	case "pass", "fail", "skip":
		delete(r.running, t)
		r.results[t] = e.Action
		if e.Test == "" {
			r.ended(e)
		} else if e.Action == "skip" {
			r.skipped = append(r.skipped, skip{t, r.whatSaid(t)})
		}
	}
}

// ended prints of a package what go test prints without -v: the output of tests
// that failed, or that did not end, and the last line.
func (r *report) ended(e event) {
	if !r.verbose {
		for _, line := range r.logs[e.Package] {
			said := r.results[test{e.Package, line.Test}]
			failed := e.Action == "fail" && (line.Test == "" || said == "fail" || said == "")
			last := line.Test == "" && (strings.HasPrefix(line.Output, "ok ") || strings.HasPrefix(line.Output, "FAIL\t"))
			if (failed || last) && !strings.HasPrefix(line.Output, "=== ") {
				r.print(line.Output)
			}
		}
	}
	delete(r.logs, e.Package)
	for t := range r.running {
		if t.pkg == e.Package {
			delete(r.running, t)
		}
	}
}

// whatSaid returns what a test printed that was skipped.
func (r *report) whatSaid(t test) string {
	var said []string
	for _, e := range r.logs[t.pkg] {
		if e.Test == t.name && !strings.HasPrefix(e.Output, "=== ") && !strings.HasPrefix(strings.TrimSpace(e.Output), "--- SKIP") {
			said = append(said, strings.TrimSpace(e.Output))
		}
	}
	return strings.Join(said, " ")
}

func (r *report) print(text string) {
	r.printed = time.Now()
	io.WriteString(r.out, text)
}

// progress prints what runs, if nothing has been printed for a while.
func (r *report) progress(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.printed) < quiet {
		return
	}
	var names []string
	for t := range r.running {
		if !strings.Contains(t.name, "/") {
			names = append(names, t.pkg[strings.LastIndexByte(t.pkg, '/')+1:]+"."+t.name)
		}
	}
	slices.Sort(names)
	what := "compiling, or between tests"
	if n := len(names); n > 0 {
		what = strings.Join(names[:min(n, 6)], " ") + strings.Repeat(" and others", min(1, n/7))
	}
	r.print(fmt.Sprintf("... %v: %s\n", now.Sub(r.start).Round(time.Second), what))
}

// summary prints what was skipped and reports whether any of that is a failure.
func (r *report) summary() (bad bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.skipped {
		reason := allowed(s.test, r.race)
		verdict := reason
		if reason == "" {
			verdict = "not one of those that may be, see test/gotest/skips.go"
			bad = bad || r.strict
		}
		fmt.Fprintf(r.out, "skipped: %s %s: %s (%s)\n", s.pkg, s.name, s.why, verdict)
	}
	if bad {
		fmt.Fprintln(r.out, "FAIL: with CI set, what is skipped has to be listed with its reason")
	}
	return bad
}
