package test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// TestStockTables compares docs/stock-tables.md with the modules whose test
// files it lists, and with where it says that their cases are.
func TestStockTables(t *testing.T) {
	page, err := os.ReadFile("../docs/stock-tables.md")
	if err != nil {
		t.Fatal(err)
	}
	questions := stockQuestions(t)
	tests := testFunctions(t)
	listed := map[string][]string{} // heading to files
	heading := ""
	for line := range strings.Lines(string(page)) {
		if h, ok := strings.CutPrefix(line, "## "); ok {
			heading = strings.TrimSpace(h)
		}
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		file := strings.Trim(cells[1], " `")
		listed[heading] = append(listed[heading], file)
		if strings.TrimSpace(cells[2]+cells[3]) == "" {
			t.Errorf("%s: neither where its cases are, nor why not", file)
		}
		for _, m := range casesIn.FindAllStringSubmatch(cells[2], -1) {
			where, key := m[2], stockKey{m[2], file}
			if !strings.HasSuffix(where, ".txtar") {
				if !tests[where] {
					t.Errorf("%s: no test function %s", file, where)
				}
				continue
			}
			if n, _ := strconv.Atoi(m[1]); questions[key] != n {
				t.Errorf("%s: %d cases in %s, not %d", file, questions[key], where, n)
			}
			delete(questions, key)
		}
	}
	for key, n := range questions {
		t.Errorf("%s has %d cases of %s, and the page does not say so", key.archive, n, key.origin)
	}

	dir, version := requiredModule(t, "..", "github.com/coredns/coredns")
	compareFiles(t, dir, listed["CoreDNS "+version], "plugin/kubernetes/*_test.go", "plugin/kubernetes/object/*_test.go",
		"plugin/autopath/*_test.go", "plugin/k8s_external/*_test.go", "test/*kubernetes*_test.go", "test/*autopath*_test.go")
	dir, version = requiredModule(t, "controlplane", "k8s.io/kubernetes")
	if dir == "" {
		t.Logf("k8s.io/kubernetes %s is not in the module cache: only its version was compared", version)
		if listed["Kubernetes "+version] == nil {
			t.Errorf("no table of Kubernetes %s", version)
		}
		return
	}
	compareFiles(t, dir, listed["Kubernetes "+version], "test/e2e/network/dns*.go")
}

var casesIn = regexp.MustCompile("(\\d+) in `([^`]+)`")

// stockKey is a test file of another project, and an archive with its cases.
type stockKey struct{ archive, origin string }

// stockQuestions counts what the archives in testdata/stock ask. A line "# = FILE"
// begins the cases of a file.
func stockQuestions(t *testing.T) map[stockKey]int {
	t.Helper()
	files, err := filepath.Glob("testdata/stock/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d archives", err, len(files))
	}
	counts := map[stockKey]int{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		key := stockKey{archive: filepath.Base(file)}
		for line := range strings.Lines(string(archive.Comment)) {
			if origin, ok := strings.CutPrefix(line, "# = "); ok {
				key.origin = strings.TrimSpace(origin)
			}
			switch command, _, _ := strings.Cut(line, " "); command {
			case "query", "wait", "corefile!":
				counts[key]++
			}
		}
	}
	return counts
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testFunctions returns the names of the tests in this module.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, pattern := range []string{"*_test.go", "../plugin/*_test.go", "../plugin/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range testFunction.FindAllSubmatch(content, -1) {
				names[string(m[1])] = true
			}
		}
	}
	return names
}

// requiredModule returns the folder of a module that the one in dir requires, empty if
// it was not downloaded, and its version without the v.
func requiredModule(t *testing.T, dir, path string) (folder, version string) {
	t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Version}}\t{{.Dir}}", path)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -m %s in %s: %v", path, dir, err)
	}
	version, folder, _ = strings.Cut(strings.TrimSpace(string(out)), "\t")
	return folder, strings.TrimPrefix(version, "v")
}

// compareFiles reports what of the files that patterns match in dir is not
// listed, and the other way round.
func compareFiles(t *testing.T, dir string, listed []string, patterns ...string) {
	t.Helper()
	there := map[string]bool{}
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s in %s: %v, %d files", pattern, dir, err, len(files))
		}
		for _, file := range files {
			name, err := filepath.Rel(dir, file)
			if err != nil {
				t.Fatal(err)
			}
			there[filepath.ToSlash(name)] = true
		}
	}
	for _, name := range listed {
		if !there[name] {
			t.Errorf("docs/stock-tables.md: no file %s in %s", name, dir)
		}
		delete(there, name)
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		t.Errorf("docs/stock-tables.md does not list %s of %s", name, dir)
	}
}
