package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/cmd/clusterdns/check"
	"github.com/clusterdns/clusterdns/cmd/clusterdns/explain"
	"github.com/clusterdns/clusterdns/cmd/clusterdns/top"
	"github.com/clusterdns/clusterdns/test/freeport"

	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/miekg/dns"
	"github.com/spf13/cobra"
)

// dig is a command line of dig, as far as the documentation uses it.
type dig struct {
	name  string
	qtype uint16
	short bool
	tcp   bool
}

// parseDig reads a command line, and returns an error for what dig would not
// take either.
func parseDig(line string) (d dig, err error) {
	words := strings.Fields(line)
	d.qtype = dns.TypeA
	server := false
	for i := 1; i < len(words); i++ {
		switch w := words[i]; {
		case strings.HasPrefix(w, "@") && len(w) > 1:
			server = true
		case w == "-p":
			i++
		case w == "-x" && i+1 < len(words):
			i++
			d.qtype = dns.TypePTR
			if d.name, err = dns.ReverseAddr(words[i]); err != nil {
				return d, err
			}
		case w == "+short":
			d.short = true
		case w == "+tcp":
			d.tcp = true
		case dns.StringToType[w] != 0:
			d.qtype = dns.StringToType[w]
		case d.name == "" && !strings.HasPrefix(w, "+") && !strings.HasPrefix(w, "-"):
			d.name = dns.Fqdn(w)
		default:
			return d, fmt.Errorf("%q", w)
		}
	}
	if !server || d.name == "" {
		return d, fmt.Errorf("it asks nobody, or nothing")
	}
	return d, nil
}

// TestQuickstart runs the commands of README.md's first example and requires the
// output that it shows; what `make run` prints has the same ones.
func TestQuickstart(t *testing.T) {
	t.Chdir("..")
	corefile, err := os.ReadFile("corefile-examples/quickstart/Corefile")
	if err != nil {
		t.Fatal(err)
	}
	port, console := freeport.Of(t), freeport.Of(t)
	s := start(t, strings.Replace(withPort(anywhere(string(corefile)), port), "console 127.0.0.1:0", "console 127.0.0.1:"+console, 1))
	needLane(t)
	eventually(t, func() string {
		if !laneAt(t, ":"+port).open {
			return "no lane"
		}
		return ""
	})
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	try, err := os.ReadFile("corefile-examples/quickstart/TRY")
	if err != nil {
		t.Fatal(err)
	}
	asked, commands := 0, 0
	for _, m := range fence.FindAllStringSubmatch(string(readme), -1) {
		if m[1] != "console" {
			continue
		}
		for _, session := range strings.Split("\n"+m[2], "\n$ ")[1:] {
			lines := strings.Split(strings.TrimSpace(session), "\n")
			if args, ok := strings.CutPrefix(lines[0], "bin/clusterdns "); ok {
				runsAs(t, strings.ReplaceAll(args, "127.0.0.1:8053", "127.0.0.1:"+console), port, lines[1:])
				commands++
				continue
			}
			d, err := parseDig(lines[0])
			if err != nil || !d.short {
				t.Fatalf("%s: %v", lines[0], err)
			}
			reply, _, err := s.exchange("udp", new(dns.Msg).SetQuestion(d.name, d.qtype))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, rr := range reply.Answer {
				got = append(got, strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			slices.Sort(got) // addresses rotate
			want := slices.Sorted(slices.Values(lines[1:]))
			if !slices.Equal(got, want) {
				t.Errorf("%s\nanswers\n%s\nnot\n%s", lines[0], strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if !strings.Contains(string(try), "  "+lines[0]) {
				t.Errorf("make run does not print %s", lines[0])
			}
			asked++
		}
	}
	if commands < 2 {
		t.Errorf("%d sessions of commands in README.md", commands)
	}
	if asked < 5 || asked != strings.Count(string(try), "  dig @") {
		t.Errorf("%d questions in README.md, and others in TRY", asked)
	}
}

// runsAs runs a subcommand, and requires the output that is shown, but for
// figures that a machine decides. Port is that of the server on 1053.
func runsAs(t *testing.T, commandLine, port string, shown []string) {
	t.Helper()
	words := strings.Fields(strings.Replace(commandLine, " -conf ", " --conf ", 1))
	for i := range words {
		words[i] = strings.Replace(words[i], "127.0.0.1:1053", "127.0.0.1:"+port, 1)
	}
	command := map[string]func() *cobra.Command{
		"check":   func() *cobra.Command { return check.New(func() {}) },
		"explain": func() *cobra.Command { return explain.New(func() {}) },
		"top":     func() *cobra.Command { return top.New(nil) },
	}[words[0]]
	if command == nil {
		t.Fatalf("%s: no such command", commandLine)
	}
	defer clog.SetOutput(&logged)
	want := masked(words[0], strings.Join(shown, "\n"))
	eventually(t, func() string { // top tells of what was asked a second ago
		cmd := command()
		var out strings.Builder
		cmd.SetOut(&out)
		cmd.SetArgs(words[1:])
		if err := cmd.Execute(); err != nil && err.Error() != "" { // explain says by its exit status that there is no such name
			t.Fatalf("%s: %v", commandLine, err)
		}
		if got := masked(words[0], strings.ReplaceAll(strings.TrimSpace(out.String()), "127.0.0.1:"+port, "127.0.0.1:1053")); got != want {
			return fmt.Sprintf("%s\nprints\n%s\nREADME.md shows\n%s", commandLine, got, want)
		}
		return ""
	})
}

var (
	duration = regexp.MustCompile(`[0-9.]+ (µs|ms|s)\b`)
	figure   = regexp.MustCompile(`\b[0-9]+(\.[0-9]+)?( %)?`)
	blanks   = regexp.MustCompile(` +`)
)

// masked leaves out rates and times in what top prints.
func masked(command, text string) string {
	if command != "top" {
		return text
	}
	text = figure.ReplaceAllString(duration.ReplaceAllString(text, "TIME"), "N")
	return blanks.ReplaceAllString(text, " ")
}

var digLine = regexp.MustCompile("`(dig [^`]*)`")

// TestDigLines reads every dig line in the text of the documentation.
func TestDigLines(t *testing.T) {
	t.Chdir("..")
	found := 0
	for _, file := range pages(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range digLine.FindAllStringSubmatch(string(content), -1) {
			if _, err := parseDig(m[1]); err != nil {
				t.Errorf("%s: %s: %v", file, m[1], err)
			}
			found++
		}
	}
	if found < 8 {
		t.Errorf("only %d", found)
	}
}

// TestManual compares the manual page with the table of options.
func TestManual(t *testing.T) {
	manual, err := os.ReadFile("../docs/clusterdns.7.md")
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	options := 0
	for file, directive := range map[string]string{"options.go": "clusterdns", "external.go": "k8s_external"} {
		source, err := os.ReadFile("../plugin/" + file)
		if err != nil {
			t.Fatal(err)
		}
		_, syntax, _ := strings.Cut(string(manual), "\n"+directive+" [ZONES...] {\n")
		syntax, _, ok := strings.Cut(syntax, "\n}\n")
		if !ok {
			t.Fatalf("no syntax of %s", directive)
		}
		count := 0
		for _, m := range regexp.MustCompile(`(?m)^\t\{"(\w+)", "([^"]*)", -?\d`).FindAllStringSubmatch(string(source), -1) {
			if m[1] == "upstream" { // without effect; Bugs has it
				continue
			}
			line := strings.TrimSpace(m[1] + " " + m[2])
			if !slices.Contains(strings.Split(syntax, "\n"), "    "+line) {
				missing = append(missing, "the syntax of "+directive+": "+line)
			}
			if !strings.Contains(string(manual), "`"+m[1]+"`") && !strings.Contains(string(manual), "`"+line+"`") {
				missing = append(missing, "the table: "+m[1])
			}
			count++
		}
		if have := strings.Count(syntax, "\n") + 1; directive == "clusterdns" && have != count { // the other has some of its options too
			t.Errorf("%s has %d options, and the manual %d", directive, count, have)
		}
		options += count
	}
	if len(missing) > 0 || options < 18 {
		t.Errorf("of %d options the manual lacks:\n%s", options, strings.Join(missing, "\n"))
	}
	at := 0
	for _, section := range []string{"Name", "Description", "Syntax", "Ready", "Metrics", "Examples", "Bugs", "See also"} {
		i := strings.Index(string(manual), "\n## "+section+"\n")
		if i < at {
			t.Errorf("no section %s where CoreDNS's pages have it", section)
		}
		at = i
	}
}

// TestMaps requires of CONTRIBUTING.md every package's folder, and of the list of
// Corefiles every Corefile.
func TestMaps(t *testing.T) {
	t.Chdir("..")
	contributing, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(string(contributing), -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			if info, err := os.Stat(strings.Trim(name, "`")); err != nil || !info.IsDir() {
				t.Errorf("CONTRIBUTING.md has a folder %s: %v", name, err)
			}
		}
	}
	packages, err := filepath.Glob("plugin/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range packages {
		if dir := filepath.Dir(file); !strings.Contains(string(contributing), "`"+dir+"`") {
			t.Errorf("CONTRIBUTING.md does not have %s", dir)
		}
	}
	list, err := os.ReadFile("corefile-examples/README.md")
	if err != nil {
		t.Fatal(err)
	}
	corefiles, err := filepath.Glob("corefile-examples/*/Corefile")
	if err != nil || len(corefiles) < 20 {
		t.Fatalf("%d Corefiles, %v", len(corefiles), err)
	}
	for _, file := range corefiles {
		name := filepath.Base(filepath.Dir(file))
		if !strings.Contains(string(list), "["+name+"]("+name+"/Corefile)") {
			t.Errorf("corefile-examples/README.md does not have %s", name)
		}
	}
}
