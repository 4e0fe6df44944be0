package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// binary is the program as `make build` makes it. TestMain builds it, once.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "clusterdns")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "clusterdns")
	build := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out) + err.Error())
	}
	return m.Run()
}

// run returns what the binary prints with these arguments, for a folder that
// has this Corefile, and whether it ended without an error.
func run(t *testing.T, corefile string, args ...string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(cmd.Dir, "Corefile"), []byte(corefile), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("clusterdns %s did not end: %s", strings.Join(args, " "), out)
	}
	return string(out), err == nil
}

func TestVersion(t *testing.T) {
	out, ok := run(t, "", "-version")
	if want := "clusterdns-devel (CoreDNS-1.15.0)\n"; !ok || !strings.HasPrefix(out, want) {
		t.Errorf("-version printed %q, want %q first", out, want)
	}
}

// TestSize holds the stripped binary to 60 MB, about half of stock CoreDNS.
func TestSize(t *testing.T) {
	const most = 60_000_000
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > most {
		t.Errorf("the stripped binary has %d bytes, more than %d", info.Size(), most)
	}
}

// sdks are the vendors' SDKs and clients that no linked plugin may bring in.
var sdks = []string{
	"cloud.google.com/",
	"github.com/Azure/",
	"github.com/DataDog/",
	"github.com/aws/",
	"github.com/coredns/coredns/plugin/kubernetes",
	"github.com/hashicorp/nomad/",
	"github.com/openzipkin/",
	"go.etcd.io/etcd/",
	"google.golang.org/api/",
}

func TestNoSDK(t *testing.T) {
	// Stock dnssec can read its keys from AWS Secrets Manager. That is 3.8 MB
	// of the binary, and the only way in for an SDK.
	const dnssec = "github.com/coredns/coredns/plugin/dnssec"

	out, err := exec.Command("go", "list", "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		imports := strings.Fields(line)
		importer := imports[0]
		if isSDK(importer) {
			continue // how it got in is told by who imports it
		}
		for _, path := range imports[1:] {
			if isSDK(path) && !(importer == dnssec && strings.HasPrefix(path, "github.com/aws/")) {
				t.Errorf("%s brings in %s", importer, path)
			}
		}
	}
}

func isSDK(path string) bool {
	for _, prefix := range sdks {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}
