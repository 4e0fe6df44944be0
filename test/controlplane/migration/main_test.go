// Package migration tests docs/migration.md: it runs the page's commands, with
// kubectl, against a real control plane, and asks kubeadm's own code what the
// page says of kubeadm. The tests run one after the other: each makes of the
// namespace kube-system the cluster that it begins with.
package migration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

// Set by TestMain.
var (
	kubetest string // the binary of the control plane, which has kubectl
	binary   string // clusterdns
	cluster  *controlplane.ControlPlane
	client   *kubernetes.Clientset // an administrator
)

const repository = "../../.." // go test runs tests in their package's folder

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
	dir, err := os.MkdirTemp("", "migration-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if binary = os.Getenv("CLUSTERDNS_BINARY"); binary == "" { // make sets it
		binary = filepath.Join(dir, "clusterdns")
		cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/clusterdns")
		cmd.Dir = repository
		if out, err := cmd.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("building clusterdns: %w\n%s", err, out)
		}
	}
	if kubetest, err = controlplane.Build(ctx); err != nil {
		return 1, err
	}
	if cluster, err = controlplane.Start(ctx, controlplane.Options{Binary: kubetest}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	if err = cluster.EnsureNodes(ctx, 2); err != nil {
		return 1, err
	}
	if client, err = kubernetes.NewForConfig(cluster.Config()); err != nil {
		return 1, err
	}
	// As kubelets do; the Deployments of DNS servers ask for it.
	const linux = `{"metadata": {"labels": {"kubernetes.io/os": "linux"}}}`
	for _, node := range []string{"node-0", "node-1"} {
		if _, err = client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, []byte(linux), metav1.PatchOptions{}); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}

// empty removes what DNS servers have in kube-system.
func empty(t *testing.T) {
	t.Helper()
	ctx, ns := t.Context(), metav1.NamespaceSystem
	gone := metav1.DeletePropagationForeground
	now := metav1.DeleteOptions{PropagationPolicy: &gone}
	var errs []error
	for _, name := range []string{"coredns", "kube-dns", "kube-dns-autoscaler", "clusterdns", "clusterdns-trial"} {
		errs = append(errs,
			client.AppsV1().Deployments(ns).Delete(ctx, name, now),
			client.CoreV1().ConfigMaps(ns).Delete(ctx, name, now),
			client.CoreV1().Services(ns).Delete(ctx, name, now),
			client.PolicyV1().PodDisruptionBudgets(ns).Delete(ctx, name, now))
	}
	for _, err := range errs {
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	err := cluster.Wait(ctx, "the Deployments' end", func(ctx context.Context) error {
		list, err := client.AppsV1().Deployments(ns).List(ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%s is still there", list.Items[0].Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// deployment returns a Deployment's first image and its number of replicas.
func deployment(t *testing.T, name string) (image string, replicas int32) {
	t.Helper()
	d, err := client.AppsV1().Deployments(metav1.NamespaceSystem).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template.Spec.Containers[0].Image, *d.Spec.Replicas
}
