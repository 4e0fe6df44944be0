// Package e2e tests the whole server against a real control plane: a process
// that follows an API server over the network and is asked over UDP and TCP.
// What it should answer is taken from the API, never from the server.
//
// The tests on the shared cluster never disturb it, and run one after the
// other, each in a namespace of its own. TestOutage has a control plane to
// itself that it kills, pauses and restarts; it runs last, beside TestQuiet,
// which needs a minute in which nothing happens.
//
// TestWild, TestResolvers and TestKernelLane put servers and clients into network
// namespaces, as pods are. They need Linux, ip(8) and CAP_SYS_ADMIN, and are skipped without.
//
// In the folder above, with kubetest built ahead as its README says:
//
//	go test ./e2e
//	CLUSTERDNS_BUILDFLAGS=-race go test -v ./e2e
//
// The first takes two to three minutes. With -v the tests tell how many
// questions they asked, and how long what they waited for took.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

// Set by TestMain.
var (
	binary  string // clusterdns
	scratch string // a folder that goes away
	cluster *controlplane.ControlPlane
	client  *kubernetes.Clientset // an administrator of cluster
	shared  *server               // follows cluster during the whole run
)

// insecure is the zone that shared serves with pods insecure, and its TTL.
const (
	insecure    = "insecure.test."
	insecureTTL = 7
)

func TestMain(m *testing.M) {
	status, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func runTests(m *testing.M) (status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	scratch = dir
	if binary, err = build(ctx, dir); err != nil {
		return 1, err
	}
	if cluster, err = controlplane.Start(ctx, controlplane.Options{}); err != nil {
		return 1, err
	}
	defer cluster.Stop()
	if err = cluster.EnsureNodes(ctx, 2); err != nil {
		return 1, err
	}
	if client, err = kubernetes.NewForConfig(cluster.Config()); err != nil {
		return 1, err
	}
	// Two stanzas on one API server share what they know of it.
	shared, err = startServer(dir, config{
		stanza: []string{"kubeconfig " + cluster.Kubeconfig(), "pods verified"},
		blocks: fmt.Sprintf("%s {\n\tbind 127.0.0.1\n\terrors\n\tclusterdns {\n\t\tkubeconfig %s\n\t\tpods insecure\n\t\tttl %d\n\t}\n}\n",
			insecure+":$PORT", cluster.Kubeconfig(), insecureTTL),
	})
	if err != nil {
		return 1, err
	}
	defer func() {
		if failed := shared.stop(); failed != nil {
			err = fmt.Errorf("%w\n%s", failed, shared.logTail())
		}
	}()
	if err = shared.waitReady(ctx); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// build returns the server: that in CLUSTERDNS_BINARY, which make sets to what it
// has built, or one that it builds from this repository's root module. Flags in
// CLUSTERDNS_BUILDFLAGS are passed on: -race makes a server that fails the tests
// if it races.
func build(ctx context.Context, dir string) (string, error) {
	flags := strings.Fields(os.Getenv("CLUSTERDNS_BUILDFLAGS"))
	if path := os.Getenv("CLUSTERDNS_BINARY"); path != "" && len(flags) == 0 {
		return path, nil
	}
	path := filepath.Join(dir, "clusterdns")
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build", "-o", path}, flags, []string{"./cmd/clusterdns"})...)
	cmd.Dir = "../../.." // go test runs tests in their package's folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building clusterdns: %w\n%s", err, out)
	}
	return path, nil
}
