package test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/clusterdns/clusterdns/"

// forbidden says what a package must not depend on, directly or not, and why.
// A pattern is a path and what is below it, or with $ at its end that path
// alone; "!std" is everything outside of the standard library but what the row
// allows.
var forbidden = []struct {
	pkg     string
	pattern string
	allowed []string
	why     string
}{
	{"plugin/dnswire", "!std", nil,
		"it is the fast path's parser: it can be read, fuzzed and moved on its own"},
	{"plugin/dnswire", "net$", nil,
		"it knows octets; whoever receives and sends them is above it"},
	{"plugin/zone", "!std", []string{module + "plugin/dnswire", "github.com/hashicorp/golang-lru/v2"},
		"the index and its answers must be testable without Kubernetes and CoreDNS"},
	{"plugin/zone", "k8s.io/", nil,
		"it has its own values for what Kubernetes says; package kube converts"},
	{"plugin/zone", "github.com/miekg/dns", nil,
		"an answer is a value, which the plugin turns into a *dns.Msg and the fast lane into octets"},
	{"plugin/kube", "github.com/coredns/", nil,
		"feeds belong to the process, not to a Corefile's instance; leaves return errors and do not log"},
	{"plugin/kube", "github.com/miekg/dns", nil,
		"it feeds the index, and knows nothing of questions"},
	{"plugin/kube", "github.com/prometheus/", nil,
		"leaves expose counters (Feed.Status); the plugin registers metrics"},
	{"plugin/kube", module + "plugin$", nil,
		"imports run one way: the plugin imports kube"},
	{"plugin/kube", "k8s.io/client-go/kubernetes", nil,
		"the clientset links every API group there is"},
	{"plugin/snapshot", "!std", []string{module + "plugin/zone", module + "plugin/dnswire", "golang.org/x/sys/unix", "github.com/hashicorp/golang-lru/v2"},
		"it writes and reads a file: whose index that is, and when it is saved, is kube's to know"},
	{"plugin/fastlane", "!std", []string{
		module + "plugin/fastlane/mmsg", module + "plugin/fastlane/procnet$", "github.com/miekg/dns",
		"github.com/coredns/coredns/plugin/pkg/reuseport$", "github.com/coredns/coredns/plugin/pkg/log$", // the former needs the latter
		"golang.org/x/net", "golang.org/x/sys",
	}, "it moves messages: what they say, and whose they are, is the plugin's to know"},
	{"plugin/fastlane/mmsg", "!std", []string{"golang.org/x/net", "golang.org/x/sys/unix"},
		"it moves datagrams and knows nothing of DNS"},
	{"plugin/fastlane/procnet", "!std", nil,
		"it reads a table: whose sockets those are is for who asks"},
	{"plugin/fastlane/kernel", "!std", []string{module + "plugin/dnswire", module + "plugin/fastlane/procnet$", "github.com/cilium/ebpf", "github.com/dchest/siphash$", "golang.org/x/sys/unix$", "golang.org/x/sys/windows"},
		"it holds names and addresses for a program in the kernel: whose they are, and when they change, is above it"},
	{"plugin/hitters", "!std", []string{module + "plugin/dnswire"},
		"it counts what it is told, in fixed memory: who asks and who answers is above it"},
	{"plugin/console", module + "plugin/kube", nil,
		"it shows what it is told: a page waits for no feed"},
	{"plugin/console", "github.com/coredns/", nil,
		"it shows what it is told: whose page it is, and for how long, the plugin knows"},
	{"plugin/eligible", module, nil,
		"it judges a Corefile's text: neither what answers nor what receives changes the verdict"},
	{"plugin/responder", module + "plugin/kube", nil,
		"it answers from the index, whoever feeds it"},
	{"plugin/responder", module + "plugin/eligible", nil,
		"it does what it is told, and does not ask why"},
	{"plugin/responder", module + "plugin/lanes", nil,
		"a plan does not know whose it is, nor how long"},
	{"plugin/lanes", module + "plugin/kube", nil,
		"sockets follow the Corefile, and the index its sources: neither waits for the other"},
	{"plugin/lanes", module + "plugin$", nil,
		"imports run one way: the plugin imports lanes"},
	{"cmd/clusterdns", module + "test", nil,
		"the binary ships no tests"},
	{"plugin", module + "test", nil,
		"the plugin ships no tests"},
}

// direct says what a package may import itself, besides the standard library.
var direct = []struct {
	pkg     string
	allowed []string
	why     string
}{
	{"cmd/clusterdns/stock", []string{module + "plugin$", "github.com/coredns/"},
		"it is a list of plugins"},
	{"cmd/clusterdns", []string{module + "cmd/clusterdns/", module + "plugin", "github.com/coredns/", "github.com/KimMachineGun/automemlimit/memlimit$", "golang.org/x/sys/unix$",
		"github.com/spf13/cobra$", "github.com/spf13/pflag$"},
		"it is a list of plugins, of subcommands, and CoreDNS's main: what it did itself, other builds would lack; capabilities and limits belong to our image"},
	{"plugin/eligible", []string{"github.com/coredns/caddy/caddyfile$", "github.com/coredns/coredns/core/dnsserver$",
		"github.com/coredns/coredns/plugin$", "github.com/coredns/coredns/plugin/pkg/", "github.com/miekg/dns"},
		"it is a function of text, which neither counts nor asks what runs"},
	{"plugin/responder", []string{module + "plugin/dnswire", module + "plugin/fastlane$", module + "plugin/fastlane/kernel$", module + "plugin/hitters$", module + "plugin/zone",
		"github.com/coredns/coredns/plugin", "github.com/miekg/dns", "github.com/prometheus/client_golang/prometheus$"},
		"of CoreDNS it knows plugins and their metrics: servers, instances and Corefiles are for lanes"},
	{"plugin/lanes", []string{module + "plugin/eligible", module + "plugin/fastlane$", module + "plugin/hitters$", module + "plugin/responder", module + "plugin/zone",
		"github.com/coredns/", "github.com/miekg/dns", "github.com/prometheus/client_golang/prometheus$"},
		"what a message says is for the responder, and sockets are for the fast lane"},
	{"plugin/fastlane", []string{module + "plugin/fastlane/mmsg", module + "plugin/fastlane/procnet$", "github.com/coredns/coredns/plugin/pkg/reuseport$", "github.com/miekg/dns", "golang.org/x/net/bpf$", "golang.org/x/sys/unix$"},
		"of CoreDNS it needs the socket option alone; system calls are for opening sockets, those of every datagram are mmsg's"},
}

type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

func goList(t *testing.T, args ...string) (pkgs []goPackage) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	for in := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		switch err := in.Decode(&p); err {
		case nil:
			pkgs = append(pkgs, p)
		case io.EOF:
			return pkgs
		default:
			t.Fatal(err)
		}
	}
}

// matches reports whether path is below prefix, or it if prefix ends in $.
func matches(path, prefix string) bool {
	if exact, ok := strings.CutSuffix(prefix, "$"); ok {
		return path == exact
	}
	return path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}

func isAllowed(path string, allowed []string) bool {
	for _, a := range allowed {
		if matches(path, a) {
			return true
		}
	}
	return false
}

func TestImports(t *testing.T) {
	deps := map[string][]goPackage{}
	for _, row := range forbidden {
		if deps[row.pkg] == nil {
			deps[row.pkg] = goList(t, "-deps", "./"+row.pkg)
		}
		if len(deps[row.pkg]) < 2 {
			t.Fatalf("%s has no dependencies: go list failed", row.pkg)
		}
		for _, p := range deps[row.pkg] {
			if p.ImportPath == module+row.pkg || isAllowed(p.ImportPath, row.allowed) {
				continue
			}
			if bad := row.pattern == "!std" && !p.Standard || row.pattern != "!std" && matches(p.ImportPath, row.pattern); bad {
				t.Errorf("%s depends on %s (rule %q): %s", row.pkg, p.ImportPath, row.pattern, row.why)
			}
		}
	}
	for _, row := range direct {
		p := goList(t, "./"+row.pkg)[0]
		for _, path := range p.Imports {
			standard := !strings.Contains(strings.Split(path, "/")[0], ".")
			if !standard && !isAllowed(path, row.allowed) {
				t.Errorf("%s imports %s: %s", row.pkg, path, row.why)
			}
		}
	}
}

// TestUnsafe checks that one package alone handles memory by itself, so that
// its layouts can be asserted in one place. The command has one system call for
// which the standard library takes addresses as numbers, and the kernel lane a word
// that it shares with a program in the kernel.
func TestUnsafe(t *testing.T) {
	const only, command, kernel = module + "plugin/fastlane/mmsg", module + "cmd/clusterdns", module + "plugin/fastlane/kernel"
	for _, p := range goList(t, "./...") {
		if p.ImportPath != only && p.ImportPath != command && p.ImportPath != kernel && slices.Contains(p.Imports, "unsafe") {
			t.Errorf("%s imports unsafe: %s is for that", p.ImportPath, only)
		}
	}
}

// TestSystemCalls checks that the lane's other files than those that open its
// sockets leave system calls to package mmsg, which has a twin for every system.
func TestSystemCalls(t *testing.T) {
	files, err := filepath.Glob("../plugin/fastlane/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	found := false
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range parsed.Imports {
			if !strings.HasPrefix(i.Path.Value, `"golang.org/x/sys/`) {
				continue
			}
			found = true
			if !strings.HasPrefix(filepath.Base(file), "socket_") {
				t.Errorf("%s imports %s", file, i.Path.Value)
			}
		}
	}
	if !found {
		t.Error("no file makes system calls: the rule has lost its object")
	}
}

// A rule about nothing would never fail.
func TestImportRulesApply(t *testing.T) {
	for _, row := range []struct {
		pkg, pattern string
	}{
		{"plugin", "github.com/coredns/"}, {"plugin", "github.com/miekg/dns"}, {"plugin", "github.com/prometheus/"},
		{"plugin", module + "plugin/kube"}, {"plugin/kube", module + "plugin/zone"}, {"plugin/kube", "k8s.io/"},
		{"plugin/lanes", module + "plugin/eligible"}, {"plugin/responder", module + "plugin/zone"}, {"plugin", module + "plugin/lanes"},
		{"plugin/kube", module + "plugin/snapshot"}, {"plugin/snapshot", module + "plugin/zone"}, {"plugin/zone", module + "plugin/dnswire"}, {"plugin/zone", "github.com/hashicorp/golang-lru/v2"},
	} {
		found := false
		for _, p := range goList(t, "-deps", "./"+row.pkg) {
			found = found || matches(p.ImportPath, row.pattern)
		}
		if !found {
			t.Errorf("%s does not depend on %s: the rules above have lost their object", row.pkg, row.pattern)
		}
	}
}
