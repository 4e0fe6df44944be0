package test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
)

// example is a Corefile that the documentation shows.
type example struct{ name, corefile string }

// TestExamples loads every Corefile in README.md, docs, deploy and corefile-examples
// into a server. Files that they name are those of this repository; what they
// say of ports is left out.
func TestExamples(t *testing.T) {
	t.Chdir("..")
	var examples []example
	for _, pattern := range []string{"*.md", "docs/*.md", "deploy/*.md", "deploy/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			examples = append(examples, fenced(t, file)...)
		}
	}
	err := filepath.WalkDir("corefile-examples", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "Corefile" {
			return err
		}
		content, err := os.ReadFile(path)
		examples = append(examples, example{path, mounted(t, filepath.Dir(path), string(content))})
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	quickstart := false
	for _, e := range examples {
		quickstart = quickstart || e.name == "corefile-examples/quickstart/Corefile"
		t.Run(e.name, func(t *testing.T) { load(t, e.corefile) })
	}
	if !quickstart {
		t.Error("the example of the quick start was not found")
	}
}

// pages are the files of documentation in the repository.
func pages(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "bin" || d.Name() == "results") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 15 {
		t.Fatalf("%d pages, %v", len(files), err)
	}
	return files
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	code    = regexp.MustCompile("(?s)```.*?\n *```|`[^`\n]*`")
)

// anchors returns what links to a page can have behind their #, as GitHub makes
// it of headings.
func anchors(t *testing.T, file string) map[string]bool {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(string(content), ""), -1) {
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		found[anchor] = true
	}
	return found
}

// TestLinks follows every link of the documentation that stays in the repository,
// to the heading if it has one.
func TestLinks(t *testing.T) {
	t.Chdir("..")
	followed := 0
	for _, file := range pages(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(content), ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			} else if anchor != "" && !anchors(t, target)[anchor] {
				t.Errorf("%s links to %s: %s has no such heading", file, m[1], target)
			}
			followed++
		}
	}
	if followed < 50 {
		t.Errorf("only %d links", followed)
	}
}

// TestCommands has bash read every block of shell commands, and make know every
// target that they and the text name.
func TestCommands(t *testing.T) {
	t.Chdir("..")
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, file := range pages(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllStringSubmatch(string(content), -1) {
			if m[1] != "sh" {
				continue
			}
			blocks++
			bash := exec.Command("bash", "-n")
			bash.Stdin = strings.NewReader(m[2])
			if out, err := bash.CombinedOutput(); err != nil {
				t.Errorf("%s: %v %s in\n%s", file, err, out, m[2])
			}
		}
		for _, m := range makeTarget.FindAllStringSubmatch(string(content), -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:`).Match(makefile) {
				t.Errorf("%s: make has no target %s", file, m[1])
			}
		}
	}
	if blocks < 15 {
		t.Errorf("only %d blocks of commands", blocks)
	}
}

var makeTarget = regexp.MustCompile("(?m)(?:`|^)make ([a-z-]+)")

var fence = regexp.MustCompile("(?ms)^[ \t]*```[ \t]*([a-z]*)[ \t]*\n(.*?)^[ \t]*```")

// fenced returns the blocks of a page that are marked as Corefiles, or are not
// marked and begin with a zone.
func fenced(t *testing.T, file string) (examples []example) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fence.FindAllSubmatchIndex(content, -1) {
		language, text := string(content[m[2]:m[3]]), string(content[m[4]:m[5]])
		if language == "corefile" || language == "" && beginsWithZone.MatchString(text) {
			line := 1 + bytes.Count(content[:m[0]], []byte("\n"))
			examples = append(examples, example{fmt.Sprintf("%s line %d", file, line), text})
		}
	}
	return examples
}

// beginsWithZone matches the first line of a Corefile that is no comment: names
// of zones and a brace.
var beginsWithZone = regexp.MustCompile(`\A(\s*#[^\n]*\n)*\s*(([a-z]+://)?[A-Za-z0-9._/-]*[A-Za-z0-9.](:\d+)?\s+)+\{\s*\n`)

// load starts a server with a Corefile that asks for no fixed port.
func load(t *testing.T, corefile string) {
	t.Helper()
	blocks, err := caddyfile.Parse("Corefile", strings.NewReader(corefile), nil)
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for _, b := range blocks {
		for word := range b.Tokens {
			ours = ours || word == "clusterdns" || word == "kubernetes" || word == "k8s_gateway"
		}
	}
	if !ours {
		t.Error("a Corefile without a stanza of ours")
	}
	if err := caddy.ValidateAndExecuteDirectives(input(corefile), nil, true); err != nil {
		t.Fatal(err)
	}
	s := start(t, anywhere(corefile))
	if len(s.Servers()) == 0 {
		t.Error("no server")
	}
	s.stop(t)
}

var importLine = regexp.MustCompile(`(?m)^([ \t]*)import\s+(\S+)\n`)

// mounted makes of a Corefile that is for a container one that finds what the
// container has in dir: the files below /etc/coredns, /rootfs as it is there,
// and the address of the pod. Imports are replaced by what they import, so that
// what follows applies to that too.
func mounted(t *testing.T, dir, corefile string) string {
	t.Helper()
	corefile = strings.NewReplacer("/etc/coredns/", dir+"/", "/rootfs/", dir+"/rootfs/", "{$POD_IP}", "127.0.0.1").Replace(corefile)
	return importLine.ReplaceAllStringFunc(corefile, func(line string) string {
		m := importLine.FindStringSubmatch(line)
		indent, pattern := m[1], m[2]
		if !strings.HasPrefix(pattern, dir) {
			pattern = filepath.Join(dir, pattern)
		}
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s/Corefile imports %s: %d files, %v", dir, pattern, len(files), err)
		}
		var text strings.Builder
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(content)) {
				text.WriteString(indent + line)
			}
		}
		return text.String()
	})
}

var (
	zoneLine   = regexp.MustCompile(`(?m)^([^\s#{][^#{\n]*)\{\s*$`)
	zonePort   = regexp.MustCompile(`:\d+$`)
	httpPlugin = regexp.MustCompile(`(?m)^(\s+(?:prometheus|health|ready|pprof|console)\b)[^\n{]*`)
	bindLine   = regexp.MustCompile(`(?m)^(\s+bind )[^\n]*`)
	lameduck   = regexp.MustCompile(`(lameduck\s+)\S+`)
	stanza     = regexp.MustCompile(`(?m)^(\s+(?:clusterdns|kubernetes|k8s_gateway)\b[^\n{]*)(\{[^}]*\})?`)
	apiServer  = regexp.MustCompile(`(?m)^\s*(endpoint|kubeconfig|tls|startup_timeout)\s.*\n`)
)

// anywhere makes a Corefile one that can run on any machine: the operating
// system chooses ports, nothing ends slowly, and instead of an API server that is not there one is
// followed that refuses connections.
func anywhere(corefile string) string {
	corefile = zoneLine.ReplaceAllStringFunc(corefile, func(line string) string {
		zones := strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), "{"))
		for i, z := range zones {
			zones[i] = zonePort.ReplaceAllString(z, "") + ":0"
		}
		return strings.Join(zones, " ") + " {"
	})
	corefile = httpPlugin.ReplaceAllString(corefile, "${1} 127.0.0.1:0 ")
	corefile = bindLine.ReplaceAllString(corefile, "${1}127.0.0.1")
	corefile = lameduck.ReplaceAllString(corefile, "${1}1ms")
	return stanza.ReplaceAllStringFunc(corefile, func(text string) string {
		if strings.Contains(text, "manifests ") {
			return text
		}
		head, options, _ := strings.Cut(strings.TrimSuffix(text, "}"), "{")
		return head + " {\nendpoint http://127.0.0.1:1\nstartup_timeout 1ms\n" + apiServer.ReplaceAllString(options, "") + "}"
	})
}
