package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
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
	s := start(t, anywhere(string(corefile)))
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	try, err := os.ReadFile("corefile-examples/quickstart/TRY")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, m := range fence.FindAllStringSubmatch(string(readme), -1) {
		if m[1] != "console" {
			continue
		}
		for _, session := range strings.Split("\n"+m[2], "\n$ ")[1:] {
			lines := strings.Split(strings.TrimSpace(session), "\n")
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
	if asked < 5 || asked != strings.Count(string(try), "  dig @") {
		t.Errorf("%d questions in README.md, and others in TRY", asked)
	}
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
