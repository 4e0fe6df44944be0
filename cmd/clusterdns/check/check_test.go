package check

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/clusterdns/clusterdns/cmd/clusterdns/stock"

	"github.com/coredns/caddy"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what check says into testdata")

// text returns what the command prints for a Corefile.
func text(t *testing.T, corefile string) string {
	t.Helper()
	var out bytes.Buffer
	if err := writeText(&out, Corefile("Corefile", []byte(corefile))); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestReports has whole Corefiles, each with the report on it, in testdata.
func TestReports(t *testing.T) {
	for _, file := range []string{"testdata/good.txtar", "testdata/broken.txtar"} {
		archive, err := txtar.ParseFile(file)
		if err != nil || len(archive.Files) < 2 {
			t.Fatal(len(archive.Files), err)
		}
		t.Setenv("UPSTREAM", "192.0.2.53")
		for i := 0; i < len(archive.Files); i += 2 {
			corefile, want := archive.Files[i], &archive.Files[i+1]
			t.Run(corefile.Name, func(t *testing.T) {
				got := text(t, string(corefile.Data))
				if *update {
					want.Data = []byte(got)
				}
				if got != string(want.Data) {
					t.Errorf("%s\ngot\n%s\nwant\n%s", corefile.Data, got, want.Data)
				}
				starts := strings.Contains(got, "the server would start with it\n")
				if starts != (file == "testdata/good.txtar") {
					t.Errorf("%s: starts %v", file, starts)
				}
			})
		}
		if *update {
			if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestExamples reads every Corefile of corefile-examples where it stands.
func TestExamples(t *testing.T) {
	t.Setenv("POD_IP", "127.0.0.1")
	t.Chdir("../../..") // paths of manifests
	files, err := filepath.Glob("corefile-examples/*/Corefile")
	if err != nil || len(files) < 20 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		corefile, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := Corefile(file, corefile)
		for _, p := range r.Errors {
			t.Error(p)
		}
		answered := slices.ContainsFunc(r.Zones, func(z Zone) bool {
			return slices.ContainsFunc(z.AnsweredBy, func(by string) bool {
				return strings.HasPrefix(by, "kubernetes (") || strings.HasPrefix(by, "clusterdns (") || strings.HasPrefix(by, "k8s_external (") || strings.HasPrefix(by, "k8s_gateway (")
			})
		})
		ofOthers := bytes.Contains(corefile, []byte("k8s_gateway ")) && !bytes.Contains(corefile, []byte("kubernetes ")) // its names are no lane's
		if !answered || len(r.Lanes) == 0 && !ofOthers {
			t.Errorf("%s: no zone is ours, or no lane: %+v", file, r)
		}
	}
}

// TestNothingHappens has a Corefile whose ports are taken, whose API server
// counts, and that names files which the server would make.
func TestNothingHappens(t *testing.T) {
	asked := 0
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	zone := filepath.Join(dir, "zone")
	if err := os.WriteFile(zone, []byte("@ 60 IN SOA ns.dyn.example. me.dyn.example. 1 60 60 60 60\n@ 60 IN NS ns.dyn.example.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r := Corefile("Corefile", fmt.Appendf(nil, `.:%[1]s {
    bind 127.0.0.1
    prometheus 127.0.0.1:%[1]s
    health 127.0.0.1:%[1]s
    ready 127.0.0.1:%[1]s
    kubernetes cluster.local {
        endpoint %[2]s
    }
    dnstap %[3]s/tap
}
dyn.example:%[1]s {
    bind 127.0.0.1
    tsig {
        secret key. aGVsbG8=
    }
    dynupdate {
        file %[3]s/zone
        database %[3]s/database
        allow key. * *
    }
}
tls://tls.example:%[1]s {
    tls testdata/tls/cert.pem testdata/tls/key.pem {
        keylog %[3]s/keys
    }
}
`, port, api.URL, dir))
	api.Close()
	if len(r.Errors) > 0 {
		t.Fatal(r.Errors)
	}
	if asked > 0 {
		t.Errorf("the API server was asked %d times", asked)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// TestWithoutKeylog leaves out the line of an option, not its name elsewhere.
func TestWithoutKeylog(t *testing.T) {
	f := setUp("Corefile", []byte("a {\n tls keylog keylog {\n  keylog x\n  client_auth keylog\n }\n}\n"))
	u := f.uses("tls", withoutKeylog("tls", f.blocks[0].Tokens["tls"]))[0]
	if got := fmt.Sprint(u.args, len(u.options), u.options[0].words); got != "[keylog keylog] 1 [client_auth keylog]" {
		t.Error(got)
	}
}

// TestRules compares the rights with those of the deployment, which has them for
// every option but multicluster, and with those of the documentation.
func TestRules(t *testing.T) {
	rules := func(options string) map[string][]string {
		r := Corefile("Corefile", []byte(". {\nkubernetes cluster.local {\n"+options+"\n}\n}\n"))
		if len(r.Errors) > 0 {
			t.Fatal(r.Errors)
		}
		return byGroup(t, roleOf(r.Rules))
	}
	base, err := os.ReadFile("../../../deploy/kustomize/base/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	role := ""
	for doc := range strings.SplitSeq(string(base), "---\n") {
		if strings.Contains(doc, "\nkind: ClusterRole\n") {
			role = doc
		}
	}
	if got, want := rules("pods verified"), byGroup(t, role); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, and the deployment's role has %v", got, want)
	}
	for options, want := range map[string]map[string][]string{
		"":                           {"": {"namespaces", "services"}, "discovery.k8s.io": {"endpointslices"}},
		"noendpoints":                {"": {"namespaces", "services"}},
		"noendpoints\npods verified": {"": {"namespaces", "pods", "services"}},
		"multicluster cluster.local": {"": {"namespaces", "services"}, "discovery.k8s.io": {"endpointslices"},
			"multicluster.x-k8s.io": {"serviceimports"}},
		"manifests x": {},
	} {
		if got := rules(options); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", options, got, want)
		}
	}
	chart, err := os.ReadFile("../../../deploy/chart/templates/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manual, err := os.ReadFile("../../../docs/clusterdns.7.md")
	if err != nil {
		t.Fatal(err)
	}
	for group, resources := range rules("multicluster cluster.local") {
		for _, resource := range resources {
			if !bytes.Contains(chart, []byte(resource)) || !bytes.Contains(chart, []byte(group)) {
				t.Errorf("the chart has no rule for %s of %q", resource, group)
			}
			if group == "multicluster.x-k8s.io" && (!bytes.Contains(manual, []byte("`"+resource+"`")) || !bytes.Contains(manual, []byte("`"+group+"`"))) {
				t.Errorf("the manual does not say that %s of %s is needed", resource, group)
			}
		}
	}
}

// byGroup returns the resources of a role by API group.
func byGroup(t *testing.T, role string) map[string][]string {
	t.Helper()
	var r struct{ Rules []Rule }
	if err := yaml.Unmarshal([]byte(role), &r); err != nil {
		t.Fatal(err)
	}
	groups := map[string][]string{}
	for _, rule := range r.Rules {
		for _, group := range rule.APIGroups {
			groups[group] = append(groups[group], rule.Resources...)
			slices.Sort(groups[group])
		}
		if slices.Sort(rule.Verbs); !slices.Equal(rule.Verbs, []string{"list", "watch"}) {
			t.Errorf("verbs %v", rule.Verbs)
		}
	}
	return groups
}

// TestDifferences compares the table with the page's.
func TestDifferences(t *testing.T) {
	page, err := os.ReadFile("../../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	answers, _, _ := strings.Cut(string(page), "\nHeld by tests of their own")
	var want, got []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z0-9-]+) \| `).FindAllStringSubmatch(answers, -1) {
		if m[1] != "rule" {
			want = append(want, m[1])
		}
	}
	for _, d := range differences {
		got = append(got, d.rule)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%v\nand docs/differences.md\n%v", got, want)
	}
}

// TestStock compares the words that are said to be CoreDNS's, or not, with its
// source and with our parser's: a word that is added shows here.
func TestStock(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/coredns/coredns").Output()
	if err != nil {
		t.Fatal(err)
	}
	words := func(file, pattern string) (list []string) {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			list = append(list, string(m[1]))
		}
		if len(list) < 10 {
			t.Fatalf("%s: only %q", file, list)
		}
		slices.Sort(list)
		return list
	}
	stock := strings.TrimSpace(string(out))
	if got := words(stock+"/plugin/kubernetes/setup.go", `(?m)^\t\tcase "(\w+)":`); !slices.Equal(got, stockOptions) {
		t.Errorf("CoreDNS's kubernetes has the options\n%q, here are\n%q", got, stockOptions)
	}
	page, err := os.ReadFile("../../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	_, stanza, _ := strings.Cut(string(page), "\n## Stanza\n")
	said := func(word string) {
		t.Helper()
		if !strings.Contains(stanza, "`"+word) {
			t.Errorf("docs/differences.md does not say that CoreDNS lacks %s", word)
		}
	}
	for _, option := range words("../../../plugin/options.go", `(?m)^\t\{"(\w+)", "`) {
		if slices.Contains(stockOptions, option) {
			continue
		}
		said(option)
		if got := text(t, ". {\n    kubernetes cluster.local {\n        "+option+"\n    }\n}\n"); strings.Contains(got, "unknown option") {
			t.Errorf("%s is not an option: %s", option, got)
		}
	}
	directives := words(stock+"/core/dnsserver/zdirectives.go", `(?m)^\t"(\w+)",$`)
	for _, directive := range caddy.ValidDirectives("dns") {
		if directive != "clusterdns" && slices.Contains(directives, directive) == slices.Contains(ours, directive) {
			t.Errorf("%s: is it a plugin of CoreDNS's?", directive)
		}
	}
	for _, directive := range ours {
		said(directive)
		if !strings.Contains(text(t, ". {\n    "+directive+"\n    kubernetes cluster.local\n}\n"), "CoreDNS does not have the plugin") {
			t.Errorf("nothing is said of %s", directive)
		}
	}
}

// TestOld compares the words of old Corefiles with the page that has them.
func TestOld(t *testing.T) {
	page, err := os.ReadFile("../../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## Words that this build does not have\n")
	var want []string
	for _, m := range regexp.MustCompile("(?m)^\\| (?:option )?`(\\w+)`(?: of `kubernetes`)? \\| CoreDNS").FindAllStringSubmatch(table, -1) {
		want = append(want, m[1])
	}
	slices.Sort(want)
	var got []string
	for word := range old {
		got = append(got, word)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the table has %v, and docs/migration.md %v", got, want)
	}
}

// TestJSON reads the report back.
func TestJSON(t *testing.T) {
	cmd := New(func() {})
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetIn(strings.NewReader(". {\nkubernetes cluster.local {\nttl never\n}\n}\n"))
	cmd.SetArgs([]string{"--conf", "stdin", "-o", "json"})
	if err := cmd.Execute(); err == nil || err.Error() != "" {
		t.Errorf("%v", err)
	}
	var r Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	want := []Problem{{File: "stdin", Line: 3, Directive: "kubernetes", Text: `ttl: "never" is no number of seconds from 0 to 3600`}}
	if !reflect.DeepEqual(r.Errors, want) {
		t.Errorf("%+v, want %+v", r.Errors, want)
	}
}
