package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const input = "../../report/testdata/results.json"

func TestRun(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "bench", "results")
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	readme := filepath.Join(dir, "README.md")
	if err := os.WriteFile(readme, []byte("# x\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nrest\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds what the first wrote
		if err := run([]string{"-in", input, "-out", out, "-readme", readme}, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	for file, texts := range map[string][]string{
		readme: {"# x\n", "| CPU per query, ClusterIP A, at saturation (µs) | **5.00** |", "[All figures](bench/results/report.md)",
			"![cpu rate](bench/results/cpu-rate.svg)", "\nrest\n"},
		filepath.Join(out, "report.md"): {"# Comparison\n", "![cpu per query](cpu-per-query.svg)"},
	} {
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			if strings.Count(string(got), text) != 1 {
				t.Errorf("%s has not once %q:\n%s", file, text, got)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(out, "cpu-per-query.svg")); err != nil {
		t.Error(err)
	}
}

func TestRunErrors(t *testing.T) {
	dir := t.TempDir()
	readme := filepath.Join(dir, "README.md")
	if err := os.WriteFile(readme, []byte("no block\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-in", filepath.Join(dir, "none")}, "none: no such file"},
		{[]string{"-in", input, "-out", filepath.Join(dir, "none")}, "drawing cpu-rate"},
		{[]string{"-in", input, "-out", dir, "-readme", readme}, "README.md: no block between"},
		{[]string{"-in", input, "x"}, `unexpected argument "x"`},
	} {
		if err := run(c.args, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %s", c.args, err, c.want)
		}
	}
}
