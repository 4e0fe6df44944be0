package controlplane

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// command is the import path of the multi-call binary.
const command = "github.com/clusterdns/clusterdns/test/controlplane/cmd/kubetest"

// kubernetesVersion is what the API server says it is; the go command does not
// tell it. The same as in go.mod.
const kubernetesVersion = "v1.36.3"

// Build returns the path of kubetest: the one in KUBETEST_BINARY, which make
// sets, or else one that it builds into the user's cache folder. For that it
// always runs the go command, which knows what is up to date: a cold build takes
// minutes, a repeated one a second or two.
func Build(ctx context.Context) (string, error) {
	if path := os.Getenv("KUBETEST_BINARY"); path != "" {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("building kubetest: %w", err)
	}
	binary := filepath.Join(cache, "clusterdns", "kubetest")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	// Without symbol tables (-s -w) it is a quarter smaller.
	ldflags := "-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=" + kubernetesVersion
	// A VCS stamp would mean to link again after every commit.
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", ldflags, "-o", binary, command)
	cmd.Dir = moduleDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building kubetest: %w\n%s", err, out)
	}
	return binary, nil
}

// moduleDir returns the folder of this source file, whose go.mod has all that
// the build needs, or "", the working directory, if the path was trimmed from
// the binary.
func moduleDir() string {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Dir(file)
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		return ""
	}
	return dir
}
