package main

import (
	"strings"
	"testing"
	"time"
)

const pkg = "github.com/clusterdns/clusterdns/plugin"

// lines are what go test -json prints, with ' for ".
func lines(text string) *strings.Reader {
	text = strings.NewReplacer("'", `"`, "PKG", pkg).Replace(text)
	return strings.NewReader(text)
}

func newReport(strict, race bool) (*report, *strings.Builder) {
	var out strings.Builder
	return &report{out: &out, strict: strict, race: race, logs: map[string][]event{}, results: map[test]string{}, running: map[test]bool{}}, &out
}

const oneOfEach = `{'Action':'run','Package':'PKG','Test':'TestGood'}
{'Action':'output','Package':'PKG','Test':'TestGood','Output':'=== RUN   TestGood\n'}
{'Action':'output','Package':'PKG','Test':'TestGood','Output':'good says\n'}
{'Action':'pass','Package':'PKG','Test':'TestGood'}
{'Action':'run','Package':'PKG','Test':'TestLaneAllocations'}
{'Action':'output','Package':'PKG','Test':'TestLaneAllocations','Output':'    x_test.go:1: no namespaces\n'}
{'Action':'output','Package':'PKG','Test':'TestLaneAllocations','Output':'--- SKIP: TestLaneAllocations (0.00s)\n'}
{'Action':'skip','Package':'PKG','Test':'TestLaneAllocations'}
`

const good = `{'Action':'output','Package':'PKG','Output':'ok  \tPKG\t1s\n'}
{'Action':'pass','Package':'PKG'}
`

func TestSkips(t *testing.T) {
	for _, row := range []struct {
		name         string
		strict, race bool
		pkg          string
		bad          bool
	}{
		{"by hand", false, false, pkg, false},
		{"CI", true, false, pkg, true},
		{"CI, listed for the race detector alone", true, true, pkg, false},
		{"CI, another package", true, true, pkg + "/zone", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, out := newReport(row.strict, row.race)
			r.read(lines(strings.ReplaceAll(oneOfEach+good, "PKG", row.pkg)))
			if bad := r.summary(); bad != row.bad {
				t.Errorf("bad: %v, want %v", bad, row.bad)
			}
			for _, want := range []string{"ok  \t" + row.pkg + "\t1s\n", "skipped: " + row.pkg + " TestLaneAllocations: x_test.go:1: no namespaces ("} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
			if strings.Contains(out.String(), "good says") {
				t.Errorf("prints what a good test says:\n%s", out)
			}
		})
	}
}

// TestFailures: of a package that fails, what tests said that failed or, when
// the process died, did not end.
func TestFailures(t *testing.T) {
	r, out := newReport(false, false)
	r.read(lines(oneOfEach + `{'Action':'run','Package':'PKG','Test':'TestBad'}
{'Action':'output','Package':'PKG','Test':'TestBad','Output':'bad says\n'}
{'Action':'fail','Package':'PKG','Test':'TestBad'}
{'Action':'run','Package':'PKG','Test':'TestDies'}
{'Action':'output','Package':'PKG','Test':'TestDies','Output':'panic: dies\n'}
{'Action':'output','Package':'PKG','Output':'FAIL\tPKG\t1s\n'}
{'Action':'fail','Package':'PKG'}
{'ImportPath':'other','Action':'build-output','Output':'x.go:1: does not compile\n'}
not JSON
`))
	for _, want := range []string{"bad says\n", "panic: dies\n", "FAIL\t" + pkg + "\t1s\n", "does not compile", "not JSON"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out.String(), "good says") {
		t.Errorf("prints what a good test says:\n%s", out)
	}
}

func TestProgress(t *testing.T) {
	r, out := newReport(false, false)
	now := time.Now()
	r.start, r.printed = now, now
	r.progress(now.Add(quiet - 1))
	if out.Len() > 0 {
		t.Errorf("too early: %s", out)
	}
	r.progress(now.Add(quiet))
	r.read(lines("{'Action':'run','Package':'PKG','Test':'TestSlow'}\n"))
	r.printed = now
	r.progress(now.Add(2 * quiet))
	if want := "... 30s: compiling, or between tests\n... 1m0s: plugin.TestSlow\n"; out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
}
