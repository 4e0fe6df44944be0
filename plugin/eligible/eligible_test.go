package eligible

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	"golang.org/x/tools/txtar"
)

// judged returns the verdict on a Corefile for a listener at port.
func judged(t testing.TB, corefile, port string) Verdict {
	t.Helper()
	blocks, err := caddyfile.Parse("Corefile", strings.NewReader(corefile), dnsserver.Directives)
	if err != nil {
		t.Fatalf("%s\n%v", corefile, err)
	}
	return judgedBlocks(blocks, port)
}

// As cmd/clusterdns has it.
func init() {
	order := slices.Clone(dnsserver.Directives)
	order = slices.Insert(order, slices.Index(order, "kubernetes"), "clusterdns")
	order = slices.Insert(order, slices.Index(order, "k8s_external"), "k8s_gateway")
	dnsserver.Directives = slices.Insert(order, slices.Index(order, "prometheus"), "console")
}

func judgedBlocks(blocks []caddyfile.ServerBlock, port string) Verdict {
	in := Input{Path: "Corefile", Blocks: blocks, Port: port, Ours: map[int]Stanza{}}
	for i, b := range blocks {
		keys, err := Zones(b.Keys)
		if err != nil {
			continue
		}
		for _, word := range []string{"clusterdns", "kubernetes"} {
			for _, u := range in.uses(word, b.Tokens[word]) {
				in.Ours[i] = Stanza{
					Word: word, Where: u.where, Zones: plugin.OriginsFromArgsOrServerBlock(u.args, keys),
					Off: slices.ContainsFunc(u.lines, func(line []string) bool { return slices.Equal(line, []string{"fastlane", "off"}) }),
				}
			}
		}
	}
	return Judge(in)
}

// who says how the verdict has names answered: each name with ! in front if it
// is the chain's.
func (v Verdict) who(names string) string {
	routes := map[string]Route{}
	for _, r := range v.Routes {
		routes[r.Zone] = r
	}
	var out []string
	for name := range strings.FieldsSeq(names) {
		name = strings.TrimPrefix(name, "!")
		if longest(routes, dns.Fqdn(name)).Block == Chain {
			name = "!" + name
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// stock is a Corefile with more lines in its block.
func stock(lines string) string {
	return ".:53 {\n" + lines + "\nkubernetes cluster.local in-addr.arpa ip6.arpa {\nfallthrough in-addr.arpa ip6.arpa\n}\nforward . 192.0.2.1\n}\n"
}

// Whole Corefiles: which block has a name, at which port.
func TestBlocks(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/blocks.txtar")
	if err != nil || len(archive.Files) == 0 {
		t.Fatal(len(archive.Files), err)
	}
	for _, f := range archive.Files {
		t.Run(f.Name, func(t *testing.T) {
			want := map[string]string{"port": "53"}
			for line := range strings.Lines(string(f.Data)) {
				if comment, ok := strings.CutPrefix(strings.TrimSpace(line), "# "); ok {
					key, value, _ := strings.Cut(comment, ": ")
					want[key] = value
				}
			}
			if want["closed"] == "" && want["whose"] == "" {
				t.Fatal("nothing is expected")
			}
			v := judged(t, string(f.Data), want["port"])
			if v.Reason != want["closed"] {
				t.Errorf("closed: %q, want %q", v.Reason, want["closed"])
			}
			if got := v.who(want["whose"]); got != want["whose"] {
				t.Errorf("whose: %s, want %s", got, want["whose"])
			}
		})
	}
}

// A directive that nobody has judged closes the lane, unless it is asked after us.
func TestUnknown(t *testing.T) {
	old := dnsserver.Directives
	t.Cleanup(func() { dnsserver.Directives = old })
	dnsserver.Directives = append([]string{"blocker"}, append(slices.Clone(old), "tail")...)
	if v := judged(t, stock("tail"), "53"); v.Reason != "" {
		t.Errorf("a plugin after ours: %s", v.Reason)
	}
	v := judged(t, stock("blocker x"), "53")
	if want := "blocker (Corefile:2) is not known to leave in-cluster names alone"; v.Reason != want {
		t.Errorf("got %q, want %q", v.Reason, want)
	}
}

// An import is read as CoreDNS reads it, and named by its own file.
func TestImports(t *testing.T) {
	dir, err := filepath.Abs("../../corefile-examples/k3s")
	if err != nil {
		t.Fatal(err)
	}
	corefile, err := os.ReadFile(filepath.Join(dir, "Corefile"))
	if err != nil {
		t.Fatal(err)
	}
	mounted := strings.ReplaceAll(string(corefile), "/etc/coredns/", dir+"/")
	v := judged(t, mounted, "53")
	if want := "log (" + filepath.Join(dir, "custom/log.override") + ":2) logs queries"; v.Reason != want {
		t.Errorf("got %q, want %q", v.Reason, want)
	}
}

// FuzzJudge: whatever parses has a verdict, and it is well-formed.
func FuzzJudge(f *testing.F) {
	f.Add(stock("errors\nlog {\nclass error\n}\nhosts h example.org {\n192.0.2.1 a.cluster.local *.b.cluster.local\nreload 1s\nfallthrough\n}"))
	f.Add(stock("rewrite stop {\nname suffix a b answer auto\n}\nrewrite type A AAAA\ntemplate IN A x {\nmatch y\n}\nlocal {\nlocalhost_prefix off\n}"))
	f.Add(stock("autopath\nbufsize 4096\nbufsize 65536\ntsig {\nrequire\n}\nview\nloadbalance\ndnssec 10.0.0.0/17\nroot"))
	f.Add("dns://a:53 10.0.0.0/15 {\nbind 192.0.2.1\nclusterdns {\nfastlane off\n}\n}\ntls://. {\ntls {\n}\n}\na {\nview v\n}")
	f.Add(". {\nclusterdns .\nrewrite name suffix . x\nhosts {\n::1 \\000.cluster.local *.\n}\n}")
	f.Fuzz(func(t *testing.T, corefile string) {
		if strings.Contains(corefile, "import") {
			t.Skip("reads files")
		}
		blocks, err := caddyfile.Parse("Corefile", strings.NewReader(corefile), dnsserver.Directives)
		if err != nil {
			t.Skip(err)
		}
		v := judgedBlocks(blocks, "53")
		if (len(v.Routes) == 0) != (v.Reason != "") {
			t.Errorf("%d routes, reason %q", len(v.Routes), v.Reason)
		}
		seen, open := map[string]bool{}, 0
		for i, r := range v.Routes {
			switch {
			case seen[r.Zone]:
				t.Errorf("the zone %s twice", r.Zone)
			case r.Zone != strings.ToLower(dns.Fqdn(r.Zone)):
				t.Errorf("the zone %q is not as promised", r.Zone)
			case i > 0 && dns.CountLabel(r.Zone) > dns.CountLabel(v.Routes[i-1].Zone):
				t.Errorf("the zone %s behind %s", r.Zone, v.Routes[i-1].Zone)
			case r.Block == Chain && r.Why == "":
				t.Errorf("the zone %s is the chain's, and nobody says why", r.Zone)
			case r.Block != Chain && blocks[r.Block].Tokens["clusterdns"] == nil && blocks[r.Block].Tokens["kubernetes"] == nil:
				t.Errorf("the zone %s is that of block %d", r.Zone, r.Block)
			case r.Block != Chain:
				open++
			}
			if _, err := dns.PackDomainName(r.Zone, make([]byte, 256), 0, nil, false); err != nil {
				t.Errorf("the zone %q: %v", r.Zone, err)
			}
			seen[r.Zone] = true
		}
		if len(v.Routes) > 0 && open == 0 {
			t.Error("open for nothing")
		}
	})
}

// TestExamples has every Corefile in corefile-examples, with why its lane is
// closed. Files of the container are those in the folder; of the folder custom
// they are only imported where the Corefile's path says so.
func TestExamples(t *testing.T) {
	t.Setenv("POD_IP", "127.0.0.1")
	type verdict struct {
		reason string
		types  string // that are the chain's
	}
	want := map[string]verdict{
		"aks":                   {},
		"alibaba-ack":           {reason: "log (Corefile:4) logs queries"},
		"alibaba-ack-autopath":  {reason: "log (Corefile:4) logs queries"},
		"eks":                   {},
		"gke":                   {},
		"huawei-cce":            {},
		"huawei-cce-servers":    {},
		"k3s":                   {},
		"kind":                  {},
		"kops":                  {},
		"kops-gossip-ipv6":      {types: "AAAA"}, // dns64
		"kube-dns":              {},
		"kubeadm":               {},
		"quickstart":            {},
		"ucloud-uk8s":           {},
		"tenants":               {},
		"stub-domains":          {},
		"split-horizon":         {},
		"offline-dump":          {reason: "log (Corefile:10) logs queries"},
		"node-local":            {},
		"multicluster":          {},
		"laptop":                {},
		"home-lab":              {reason: "no server block on port 53 has a zone for clusterdns or kubernetes"},
		"split-horizon-ingress": {},
		"external-names":        {reason: "no server block on port 53 has a zone for clusterdns or kubernetes"},
		"dual-stack":            {},
		"dot-upstream":          {},
	}
	dirs, err := filepath.Glob("../../corefile-examples/*/Corefile")
	if err != nil || len(dirs) == 0 {
		t.Fatal(dirs, err)
	}
	for _, path := range dirs {
		dir := filepath.Dir(path)
		name := filepath.Base(dir)
		expected, ok := want[name]
		if !ok {
			t.Errorf("%s: no verdict is expected", path)
			continue
		}
		delete(want, name)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := caddyfile.Parse(path, strings.NewReader(string(content)), dnsserver.Directives)
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := plugin.SplitHostPort(blocks[0].Keys[0])
		if err != nil {
			t.Fatal(err)
		}
		v := judgedBlocks(blocks, port)
		if v.Reason != expected.reason {
			t.Errorf("%s: reason %q, want %q", path, v.Reason, expected.reason)
		}
		if v.Reason != "" {
			continue
		}
		const names = "web.default.svc.cluster.local 10.0.96.10.in-addr.arpa !example.com !abc.com"
		if got := v.who(names); got != names {
			t.Errorf("%s: got %s, want %s", path, got, names)
		}
		for _, r := range v.Routes {
			var types []string
			for _, qtype := range r.Types {
				types = append(types, dns.TypeToString[qtype])
			}
			if got := strings.Join(types, " "); r.Block != Chain && got != expected.types {
				t.Errorf("%s: zone %s: the types %q are the chain's, want %q", path, r.Zone, got, expected.types)
			}
		}
	}
	for name := range want {
		t.Errorf("%s is not in corefile-examples", name)
	}
}
