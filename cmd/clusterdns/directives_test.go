package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
)

// stock is the order of the directives of CoreDNS 1.15.0.
const stock = `root metadata geoip cancel proxyproto quic grpc_server https https3 timeouts
	multisocket reload nsid bufsize bind debug trace ready health pprof shed prometheus errors log
	dnstap local dns64 siit any chaos loadbalance tsig rewrite autopath acl cache header dnssec tls
	minimal template transfer dynupdate hosts route53 azure clouddns k8s_external kubernetes file
	auto secondary etcd loop forward grpc erratic whoami on sign view nomad`

func TestOrder(t *testing.T) {
	want := strings.Fields(strings.NewReplacer(
		" k8s_external kubernetes ", " k8s_gateway k8s_external clusterdns kubernetes ", " prometheus ", " console prometheus ",
	).Replace(stock))
	if got := caddy.ValidDirectives("dns"); !slices.Equal(got, want) {
		t.Errorf("the order of the directives is\n%s\nwant\n%s", got, want)
	}
}

// TestRegistered looks at what -plugins lists: every directive of the order,
// unless it is left out.
func TestRegistered(t *testing.T) {
	want := slices.Clone(dnsserver.Directives)
	for _, p := range leftOut {
		at := slices.Index(want, p.name)
		if at < 0 {
			t.Fatalf("%s is left out, but is not a directive of CoreDNS", p.name)
		}
		want = slices.Delete(want, at, at+1)
	}
	slices.Sort(want)
	out, ok := run(t, "", "-plugins")
	got := strings.Fields(out)
	slices.Sort(got)
	if !ok || !slices.Equal(got, want) {
		t.Errorf("-plugins lists\n%s\nwant\n%s", got, want)
	}
}

// TestLeftOut names each left-out plugin on line 3 of a Corefile, and one of
// them in an imported file.
func TestLeftOut(t *testing.T) {
	for _, p := range leftOut {
		t.Run(p.name, func(t *testing.T) {
			out, ok := run(t, fmt.Sprintf(".:0 {\n    errors\n    %s example.org {\n        option\n    }\n}\n", p.name))
			wantError(t, out, ok, "plugin/"+p.name+": Corefile:3 - ", p.name+" is not in this binary")
		})
	}
	t.Run("imported", func(t *testing.T) {
		snippet := filepath.Join(t.TempDir(), "snippet")
		if err := os.WriteFile(snippet, []byte("errors\ntrace\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		out, ok := run(t, ".:0 {\n    import "+snippet+"\n}\n")
		wantError(t, out, ok, "plugin/trace: ", "snippet:2 - ")
	})
}

// TestUnknown makes sure that a word that never was a plugin is caddy's to
// report.
func TestUnknown(t *testing.T) {
	out, ok := run(t, ".:0 {\n    rout53\n}\n")
	wantError(t, out, ok, "Corefile:2 - ", "Unknown directive 'rout53'")
}

// TestWords starts with a mistake behind both words of our plugin, so that the
// error shows which plugin read it.
func TestWords(t *testing.T) {
	for _, word := range []string{"clusterdns", "kubernetes"} {
		out, ok := run(t, fmt.Sprintf(".:0 {\n    %s cluster.local {\n        no_such_option\n    }\n}\n", word))
		wantError(t, out, ok, "plugin/clusterdns: ", "Corefile:3", "no_such_option")
	}
}

func wantError(t *testing.T, out string, ok bool, parts ...string) {
	t.Helper()
	if ok {
		t.Errorf("no error, but %q", out)
	}
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("%q lacks %q", out, part)
		}
	}
}
