package clusterdns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// judged returns the verdict on a Corefile for a listener at port. files are
// what hosts files hold, by their path.
func judged(t testing.TB, corefile, port string, files map[string]string) laneVerdict {
	t.Helper()
	blocks, err := caddyfile.Parse("Corefile", strings.NewReader(corefile), caddy.ValidDirectives("dns"))
	if err != nil {
		t.Fatalf("%s\n%v", corefile, err)
	}
	return judgedBlocks(blocks, port, files)
}

func judgedBlocks(blocks []caddyfile.ServerBlock, port string, files map[string]string) laneVerdict {
	in := laneInput{path: "Corefile", blocks: blocks, port: port, ours: map[int]*config{}}
	in.readFile = func(path string) ([]byte, error) {
		if content, ok := files[path]; ok {
			return []byte(content), nil
		}
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	for i, b := range blocks {
		keys, err := blockZones(b.Keys, "")
		if err != nil {
			continue
		}
		for _, word := range []string{"clusterdns", "kubernetes"} {
			if tokens := b.Tokens[word]; tokens != nil {
				cfg, err := parse(&caddy.Controller{
					Dispenser:       caddyfile.NewDispenserTokens("Corefile", tokens),
					ServerBlockKeys: keys, ServerBlockIndex: i,
				})
				if err == nil {
					in.ours[i] = cfg
				}
			}
		}
	}
	return in.judge()
}

// who says how the verdict has names answered: each name with ! in front if it
// is the chain's.
func (v laneVerdict) who(names string) string {
	routes := map[string]laneRoute{}
	for _, r := range v.routes {
		routes[r.zone] = r
	}
	var out []string
	for name := range strings.FieldsSeq(names) {
		name = strings.TrimPrefix(name, "!")
		if longest(routes, dns.Fqdn(name)).block < 0 {
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
func TestLaneBlocks(t *testing.T) {
	const names = "cluster.local web.default.svc.cluster.local"
	for _, row := range []struct{ corefile, port, names, reason string }{
		{"cluster.local {\nkubernetes\n}\n. {\nforward . 192.0.2.1\n}", "53", names + " !example.org", ""},
		{"cluster.local:1053 dns://other.local:1053 {\nkubernetes\n}", "1053", names + " a.other.local", ""},
		{"cluster.local:1053 {\nkubernetes\n}", "53", "", "no server block on port 53 has a zone for clusterdns or kubernetes"},
		{"tls://cluster.local:53 {\ntls c k\nkubernetes\n}", "53", "", "no server block on port 53 has a zone for clusterdns or kubernetes"},
		{"example.org {\nkubernetes cluster.local\n}", "53", "", "no server block on port 53 has a zone for clusterdns or kubernetes"},
		{". {\nclusterdns cluster.local\n}", "53", names, ""},
		{". {\nclusterdns cluster.local\n}\nsvc.cluster.local {\nlog\nforward . 192.0.2.1\n}", "53", "cluster.local !web.default.svc.cluster.local", ""},
		{". {\nclusterdns cluster.local\n}\ncluster.local {\nforward . 192.0.2.1\n}", "53", "", "server block cluster.local has the zone cluster.local."},
		{". {\nclusterdns cluster.local\n}\ncluster.local:54 {\nforward . 192.0.2.1\n}", "53", names, ""},
		{". {\nclusterdns cluster.local\n}\ncluster.local {\n}", "53", "", "server block cluster.local has the zone cluster.local."},
		{". {\nlog\nclusterdns cluster.local\n}\nsvc.cluster.local {\nclusterdns cluster.local\n}", "53", "!cluster.local web.default.svc.cluster.local", ""},
		{". {\nhosts {\n192.0.2.1 a.svc.cluster.local svc.cluster.local a.cluster.local\nfallthrough\n}\nclusterdns cluster.local\n}\nsvc.cluster.local {\nclusterdns cluster.local\n}",
			"53", "!a.cluster.local a.svc.cluster.local svc.cluster.local", ""},

		// Networks: a zone for each that they have at their boundary.
		{"10.96.0.0/15 cluster.local {\nkubernetes\n}", "53", "1.0.97.10.in-addr.arpa !1.0.98.10.in-addr.arpa", ""},
		{". {\nkubernetes cluster.local 10.0.0.0/8\n}\n10.96.0.0/15 {\nforward . 192.0.2.1\n}", "53",
			"1.0.0.10.in-addr.arpa !1.0.97.10.in-addr.arpa 1.0.98.10.in-addr.arpa", ""},
		{". {\nkubernetes cluster.local 10.96.0.0/17\nhosts {\nfallthrough 10.96.0.0/16\n}\n}", "53", "!cluster.local 1.127.96.10.in-addr.arpa !1.128.96.10.in-addr.arpa", ""},

		// view in a block of the same zone, and of another.
		{". {\nclusterdns cluster.local\n}\n. {\nview v {\nexpr true\n}\nforward . 192.0.2.1\n}", "53", "",
			"view (Corefile:5) decides by more than the name which server block answers"},
		{"cluster.local {\nclusterdns\n}\n. {\nview v {\nexpr true\n}\nforward . 192.0.2.1\n}", "53", names, ""},
		{"cluster.local {\nclusterdns\n}\nsvc.cluster.local {\nview v {\nexpr true\n}\n}", "53", "cluster.local !a.svc.cluster.local", ""},

		// bind: only blocks that share an address may not have the same zone.
		{". {\nbind 192.0.2.1\nclusterdns cluster.local\n}\n. {\nbind 192.0.2.2\nforward . 192.0.2.9\n}", "53", names, ""},
		{". {\nclusterdns cluster.local\n}\n. {\nbind 192.0.2.2\nforward . 192.0.2.9\n}", "53", "", "server block . has the zone ."},
		{". {\nbind 192.0.2.1\nclusterdns cluster.local\n}\nsvc.cluster.local {\nbind 192.0.2.2\n}", "53", "cluster.local !a.svc.cluster.local", ""},

		// What any block can do to a listener, or to all.
		{". {\nclusterdns cluster.local\n}\nexample.org {\nbind 192.0.2.2\nshed\n}", "53", "", "shed (Corefile:6) sends the listener's answers itself"},
		{". {\nclusterdns cluster.local\n}\nexample.org:54 {\nshed\n}", "53", names, ""},
		{". {\nclusterdns cluster.local\n}\nexample.org:54 {\nlog\nacl\n}", "53", names, ""},
		{". {\nclusterdns cluster.local\n}\nexample.org {\nlog\nacl\n}", "53", names, ""},
		{". {\nclusterdns cluster.local\n}\ntls://example.org {\ntls\n}", "53", "", "tls (Corefile:5) answers ACME challenges in every server block"},
		{". {\nclusterdns cluster.local\n}\ntls://example.org {\ntls c k\n}", "53", names, ""},

		{". {\nclusterdns cluster.local {\nfastlane off\n}\n}", "53", "", "clusterdns (Corefile:2) says fastlane off"},
		{". {\nclusterdns cluster.local {\nfastlane workers 2\n}\n}", "53", names, ""},
		{". {\nclusterdns cluster.local {\nfastlane off\n}\n}\nother.local {\nclusterdns\n}", "53", "!cluster.local a.other.local", ""},
		{"cluster.local: {\nclusterdns\n}", "53", "", "server block cluster.local:: expecting data after last colon: \"cluster.local:\""},
	} {
		v := judged(t, row.corefile, row.port, map[string]string{"/etc/hosts": ""})
		if v.reason != row.reason {
			t.Errorf("%s\nreason %q, want %q", row.corefile, v.reason, row.reason)
		}
		if got := v.who(row.names); got != row.names {
			t.Errorf("%s\ngot  %s\nwant %s", row.corefile, got, row.names)
		}
	}
}

// Files are named whether or not the lane is open, so that a change is noticed.
func TestLaneFiles(t *testing.T) {
	for _, row := range []struct{ lines, want string }{
		{"", ""},
		{"hosts {\nfallthrough\n}", "/etc/hosts"},
		{"hosts /gone {\nfallthrough\n}", "/gone"},
		{"root /q\nroot /r\nhosts f {\nfallthrough\n}\nlog", "/r/f"},
	} {
		if got := strings.Join(judged(t, stock(row.lines), "53", nil).files, " "); got != row.want {
			t.Errorf("%s: got %q, want %q", row.lines, got, row.want)
		}
	}
}

// A directive that nobody has judged closes the lane, unless it is asked after us.
func TestLaneUnknown(t *testing.T) {
	old := dnsserver.Directives
	t.Cleanup(func() { dnsserver.Directives = old })
	dnsserver.Directives = append([]string{"blocker"}, append(slices.Clone(old), "tail")...)
	if v := judged(t, stock("tail"), "53", nil); v.reason != "" {
		t.Errorf("a plugin after ours: %s", v.reason)
	}
	v := judged(t, stock("blocker x"), "53", nil)
	if want := "blocker (Corefile:2) is not known to leave in-cluster names alone"; v.reason != want {
		t.Errorf("got %q, want %q", v.reason, want)
	}
}

// An import is read as CoreDNS reads it, and named by its own file.
func TestLaneImports(t *testing.T) {
	dir, err := filepath.Abs("../corefile-examples/k3s")
	if err != nil {
		t.Fatal(err)
	}
	corefile, err := os.ReadFile(filepath.Join(dir, "Corefile"))
	if err != nil {
		t.Fatal(err)
	}
	mounted := strings.ReplaceAll(string(corefile), "/etc/coredns/", dir+"/")
	v := judged(t, mounted, "53", map[string]string{filepath.Join(dir, "NodeHosts"): "172.18.0.3 node\n"})
	if want := "log (" + filepath.Join(dir, "custom/log.override") + ":2) logs queries"; v.reason != want {
		t.Errorf("got %q, want %q", v.reason, want)
	}
}

// FuzzLane: whatever parses has a verdict, and it is well-formed.
func FuzzLane(f *testing.F) {
	f.Add(stock("errors\nlog {\nclass error\n}\nhosts h example.org {\n192.0.2.1 a.cluster.local *.b.cluster.local\nreload 1s\nfallthrough\n}"))
	f.Add(stock("rewrite stop {\nname suffix a b answer auto\n}\nrewrite type A AAAA\ntemplate IN A x {\nmatch y\n}\nlocal {\nlocalhost_prefix off\n}"))
	f.Add(stock("autopath\nbufsize 4096\nbufsize 65536\ntsig {\nrequire\n}\nview\nloadbalance\ndnssec 10.0.0.0/17\nroot"))
	f.Add("dns://a:53 10.0.0.0/15 {\nbind 192.0.2.1\nclusterdns {\nfastlane off\n}\n}\ntls://. {\ntls {\n}\n}\na {\nview v\n}")
	f.Add(". {\nclusterdns .\nrewrite name suffix . x\nhosts {\n::1 \\000.cluster.local *.\n}\n}")
	f.Fuzz(func(t *testing.T, corefile string) {
		if strings.Contains(corefile, "import") {
			t.Skip("reads files")
		}
		blocks, err := caddyfile.Parse("Corefile", strings.NewReader(corefile), caddy.ValidDirectives("dns"))
		if err != nil {
			t.Skip(err)
		}
		v := judgedBlocks(blocks, "53", map[string]string{"/etc/hosts": corefile, "h": corefile})
		if (len(v.routes) == 0) != (v.reason != "") {
			t.Errorf("%d routes, reason %q", len(v.routes), v.reason)
		}
		seen, open := map[string]bool{}, 0
		for i, r := range v.routes {
			switch {
			case seen[r.zone]:
				t.Errorf("the zone %s twice", r.zone)
			case r.zone != strings.ToLower(dns.Fqdn(r.zone)):
				t.Errorf("the zone %q is not as promised", r.zone)
			case i > 0 && dns.CountLabel(r.zone) > dns.CountLabel(v.routes[i-1].zone):
				t.Errorf("the zone %s behind %s", r.zone, v.routes[i-1].zone)
			case r.block < 0 && r.why == "":
				t.Errorf("the zone %s is the chain's, and nobody says why", r.zone)
			case r.block >= 0 && blocks[r.block].Tokens["clusterdns"] == nil && blocks[r.block].Tokens["kubernetes"] == nil:
				t.Errorf("the zone %s is that of block %d", r.zone, r.block)
			case r.block >= 0:
				open++
			}
			if _, err := dns.PackDomainName(r.zone, make([]byte, 256), 0, nil, false); err != nil {
				t.Errorf("the zone %q: %v", r.zone, err)
			}
			seen[r.zone] = true
		}
		if len(v.routes) > 0 && open == 0 {
			t.Error("open for nothing")
		}
	})
}

// TestLaneExamples has every Corefile in corefile-examples, with why its lane is
// closed. Files of the container are those in the folder; of the folder custom
// they are only imported where the Corefile's path says so.
func TestLaneExamples(t *testing.T) {
	t.Setenv("POD_IP", "127.0.0.1")
	type verdict struct {
		reason string
		types  string // that are the chain's
	}
	want := map[string]verdict{
		"aks":                  {},
		"alibaba-ack":          {reason: "log (Corefile:4) logs queries"},
		"alibaba-ack-autopath": {reason: "log (Corefile:4) logs queries"},
		"eks":                  {},
		"gke":                  {},
		"huawei-cce":           {},
		"huawei-cce-servers":   {},
		"k3s":                  {},
		"kind":                 {},
		"kops":                 {},
		"kops-gossip-ipv6":     {types: "AAAA"}, // dns64
		"kube-dns":             {},
		"kubeadm":              {},
		"quickstart":           {},
		"ucloud-uk8s":          {types: "AAAA"}, // a template
	}
	dirs, err := filepath.Glob("../corefile-examples/*/Corefile")
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
		files := map[string]string{"/etc/hosts": "127.0.0.1 localhost\n"}
		for file, in := range map[string]string{"/etc/coredns/NodeHosts": "NodeHosts", "/rootfs/etc/hosts": "rootfs/etc/hosts"} {
			switch content, err := os.ReadFile(filepath.Join(dir, in)); {
			case err == nil:
				files[file] = string(content)
			case !errors.Is(err, fs.ErrNotExist):
				t.Fatal(err)
			}
		}
		blocks, err := caddyfile.Parse(path, strings.NewReader(string(content)), caddy.ValidDirectives("dns"))
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := plugin.SplitHostPort(blocks[0].Keys[0])
		if err != nil {
			t.Fatal(err)
		}
		v := judgedBlocks(blocks, port, files)
		if v.reason != expected.reason {
			t.Errorf("%s: reason %q, want %q", path, v.reason, expected.reason)
		}
		if v.reason != "" {
			continue
		}
		const names = "web.default.svc.cluster.local 10.0.96.10.in-addr.arpa !example.com !abc.com"
		if got := v.who(names); got != names {
			t.Errorf("%s: got %s, want %s", path, got, names)
		}
		for _, r := range v.routes {
			var types []string
			for _, qtype := range r.types {
				types = append(types, dns.TypeToString[qtype])
			}
			if got := strings.Join(types, " "); r.block >= 0 && got != expected.types {
				t.Errorf("%s: zone %s: the types %q are the chain's, want %q", path, r.zone, got, expected.types)
			}
		}
	}
	for name := range want {
		t.Errorf("%s is not in corefile-examples", name)
	}
}
