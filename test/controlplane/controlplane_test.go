package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// TestControlPlane walks one cluster through what the package promises. The
// steps build on each other.
func TestControlPlane(t *testing.T) {
	ctx := t.Context()
	c := start(t, Options{})
	client := kubernetes.NewForConfigOrDie(c.Config())
	if err := c.EnsureNodes(ctx, 2); err != nil {
		t.Fatal(err)
	}

	version, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if gomod := read(t, "go.mod"); !strings.Contains(gomod, "k8s.io/kubernetes "+version.GitVersion+"\n") {
		t.Errorf("go.mod does not require the version the API server tells, %s", version.GitVersion)
	}

	service, set := webService(), webSet(3)
	if service, err = client.CoreV1().Services("default").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err = client.AppsV1().StatefulSets("default").Create(ctx, set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitEndpoints(t, c, client, "web-0", "web-1", "web-2")

	t.Run("kill API server", func(t *testing.T) {
		mustKill(t, c.APIServer)
		if pid := c.APIServer.PID(); pid != 0 {
			t.Errorf("killed API server has process id %d", pid)
		}
		if _, err := getService(ctx, client); err == nil {
			t.Error("killed API server answered")
		}
		mustStart(t, c.APIServer)
		got, err := getService(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		if got.UID != service.UID {
			t.Errorf("after restart service is %s, was %s", got.UID, service.UID)
		}
	})

	t.Run("controllers and kwok reconnect", func(t *testing.T) {
		patch := []byte(`{"spec":{"replicas":4}}`)
		_, err := client.AppsV1().StatefulSets("default").Patch(ctx, "web", types.MergePatchType, patch, metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		waitEndpoints(t, c, client, "web-0", "web-1", "web-2", "web-3")
	})

	t.Run("pause API server", func(t *testing.T) {
		if err := c.APIServer.Pause(); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if _, err := getService(short, client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("paused API server: %v, want deadline exceeded", err)
		}
		if err := c.APIServer.Resume(); err != nil {
			t.Fatal(err)
		}
		waitService(t, c, client)
	})

	t.Run("kill etcd", func(t *testing.T) {
		mustKill(t, c.Etcd)
		mustStart(t, c.Etcd)
		waitService(t, c, client)
	})

	t.Run("service account", func(t *testing.T) { testServiceAccount(t, c, client) })
}

// testServiceAccount uses the files as a pod's client does: through RBAC.
func testServiceAccount(t *testing.T, c *ControlPlane, admin kubernetes.Interface) {
	ctx := t.Context()
	dir, err := c.ServiceAccount(ctx, "kube-system", "dns")
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(dir, "namespace")); got != "kube-system" {
		t.Errorf("namespace file holds %q", got)
	}
	config := c.Config()
	config.BearerToken = read(t, filepath.Join(dir, "token"))
	config.CAFile = filepath.Join(dir, "ca.crt")
	client := kubernetes.NewForConfigOrDie(config)
	if _, err := getService(ctx, client); !apierrors.IsForbidden(err) {
		t.Fatalf("without a role: %v, want forbidden", err)
	}
	_, err = admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "dns"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "kube-system", Name: "dns"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	waitService(t, c, client) // the authorizer sees the binding a little later
}

// TestKeptFolder starts a second control plane on the folder of a first one.
func TestKeptFolder(t *testing.T) {
	opts := Options{DataDir: t.TempDir(), APIOnly: true, APIServerArgs: []string{"--feature-gates=WatchList=false"}}
	first := start(t, opts)
	client := kubernetes.NewForConfigOrDie(first.Config())
	_, err := client.CoreV1().Services("default").Create(t.Context(), webService(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	second := start(t, opts)
	config, err := clientcmd.BuildConfigFromFlags("", second.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if config.BearerToken != first.Config().BearerToken {
		t.Error("the token changed")
	}
	if _, err := getService(t.Context(), kubernetes.NewForConfigOrDie(config)); err != nil {
		t.Error(err)
	}
	if pid := second.Scheduler.PID(); pid != 0 {
		t.Errorf("APIOnly started a scheduler, process %d", pid)
	}
}

func TestStartFails(t *testing.T) {
	dir := t.TempDir()
	_, err := Start(t.Context(), Options{DataDir: dir, APIServerArgs: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "--no-such-flag") {
		t.Errorf("error is %v, want what the API server said about its flag", err)
	}
}

// start starts a control plane that ends with the test, and shows the logs'
// tails if the test fails.
func start(t *testing.T, opts Options) *ControlPlane {
	t.Helper()
	c, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range c.parts() {
			if t.Failed() {
				t.Log(p.LogTail())
			}
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func mustKill(t *testing.T, p *Part) {
	t.Helper()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}

func mustStart(t *testing.T, p *Part) {
	t.Helper()
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func getService(ctx context.Context, client kubernetes.Interface) (*corev1.Service, error) {
	return client.CoreV1().Services("default").Get(ctx, "web", metav1.GetOptions{})
}

func waitService(t *testing.T, c *ControlPlane, client kubernetes.Interface) {
	t.Helper()
	err := c.Wait(t.Context(), "service web", func(ctx context.Context) error {
		_, err := getService(ctx, client)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// waitEndpoints waits until the slices of both address families hold just
// these hostnames, all ready.
func waitEndpoints(t *testing.T, c *ControlPlane, client kubernetes.Interface, want ...string) {
	t.Helper()
	began := time.Now()
	err := c.Wait(t.Context(), "endpoints of web", func(ctx context.Context) error {
		slicesOf := metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"}
		list, err := client.DiscoveryV1().EndpointSlices("default").List(ctx, slicesOf)
		if err != nil {
			return err
		}
		ready := map[discoveryv1.AddressType][]string{}
		for _, slice := range list.Items {
			for _, e := range slice.Endpoints {
				if *e.Conditions.Ready && e.Hostname != nil {
					ready[slice.AddressType] = append(ready[slice.AddressType], *e.Hostname)
				}
			}
		}
		for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
			slices.Sort(ready[family])
			if !slices.Equal(ready[family], want) {
				return fmt.Errorf("ready: %v, want %v", ready, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d endpoints ready after %v", len(want), time.Since(began).Round(time.Millisecond))
}

func webService() *corev1.Service {
	dual := corev1.IPFamilyPolicyRequireDualStack
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{
			ClusterIP:      corev1.ClusterIPNone,
			IPFamilyPolicy: &dual,
			Selector:       map[string]string{"app": "web"},
			Ports:          []corev1.ServicePort{{Name: "http", Port: 80}},
		},
	}
}

func webSet(replicas int32) *appsv1.StatefulSet {
	labels := map[string]string{"app": "web"}
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.StatefulSetSpec{
			ServiceName: "web",
			Replicas:    &replicas,
			Selector:    &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web"}}},
			},
		},
	}
}
