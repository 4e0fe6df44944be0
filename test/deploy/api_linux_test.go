package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/clusterdns/clusterdns/test/controlplane/netns"
)

// question is asked for its A records; want is those or a response code.
type question struct{ name, want string }

var inCluster = []question{
	{"kubernetes.default.svc.cluster.local.", serviceHost},
	{"no-such.default.svc.cluster.local.", "NXDOMAIN"},
}

// installations are all that this repository describes, with what their servers
// answer beside inCluster, and where.
var installations = map[string]struct {
	port   string // 53
	addr   string // 127.0.0.1
	closed string // why there is no fast lane
	extra  []question
}{
	"chart": {extra: []question{{"outside.example.", outsideAddr}}},
	"chart cluster-dns.yaml": {extra: []question{
		{"outside.example.", outsideAddr}, {"db.corp.example.", outsideAddr}, {"no-such.corp.example.", "NXDOMAIN"},
	}},
	"chart external.yaml": {port: "1053", extra: []question{
		{"www.example.com.", "192.0.2.80"}, {"no-such.k8s.example.com.", "NXDOMAIN"}, {"outside.example.", outsideAddr},
	}},
	"chart homelab.yaml":        {extra: []question{{"nas.home.example.", "192.0.2.2"}, {"no-such.default.svc.clusterset.local.", "NXDOMAIN"}}},
	"kustomize fresh":           {extra: []question{{"outside.example.", outsideAddr}}},
	"kustomize replace-coredns": {extra: []question{{"outside.example.", outsideAddr}}},
	"kustomize multicluster":    {extra: []question{{"outside.example.", outsideAddr}, {"no-such.default.svc.clusterset.local.", "NXDOMAIN"}}},
	"kustomize kernel":          {extra: []question{{"outside.example.", outsideAddr}}},
	"kustomize node-local":      {addr: "169.254.20.10", extra: []question{{"outside.example.", outsideAddr}}},
}

// install renders one of the installations.
func install(t *testing.T, name string) objects {
	t.Helper()
	words := strings.Fields(name)
	if words[0] == "kustomize" {
		return kustomize(t, words[1])
	}
	values := chartutil.Values{}
	if len(words) > 1 {
		values = valuesFile(t, words[1])
	}
	o, _, err := template(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestAccepted gives every object of every installation to the API server, which
// checks it as it would one that it keeps.
func TestAccepted(t *testing.T) {
	s := theSite(t)
	for name := range installations {
		if name == "kustomize replace-coredns" {
			s.kubeadm(t)
		} else if err := s.client.AppsV1().Deployments("kube-system").Delete(t.Context(), "coredns", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err) // its selector cannot be changed
		}
		if err := s.apply(t.Context(), install(t, name), map[string]string{"dryRun": "All"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	wrong := install(t, "chart")
	wrong = slices.DeleteFunc(wrong, func(o *unstructured.Unstructured) bool { return o.GetKind() != "Service" })
	wrong[0].Object["spec"].(map[string]any)["portz"] = "x"
	if err := s.apply(t.Context(), wrong, map[string]string{"dryRun": "All"}); err == nil || !strings.Contains(err.Error(), "portz") {
		t.Errorf("an unknown field: %v", err)
	}
}

// TestTakesOver: the Service kube-dns of a cluster belongs to whoever made it, and
// is taken over with --force-conflicts only, as deploy/README.md says.
func TestTakesOver(t *testing.T) {
	s := theSite(t)
	o := slices.DeleteFunc(kustomize(t, "fresh"), func(o *unstructured.Unstructured) bool { return o.GetKind() != "Service" })
	before := o[0].DeepCopy()
	before.Object["metadata"].(map[string]any)["labels"] = map[string]any{"k8s-app": "kube-dns", "kubernetes.io/name": "KubeDNS"}
	if err := s.apply(t.Context(), objects{before}, map[string]string{"fieldManager": "kubectl"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.client.CoreV1().Services("kube-system").Delete(context.Background(), "kube-dns", metav1.DeleteOptions{})
	})
	if err := s.apply(t.Context(), o, map[string]string{"force": "false"}); err == nil || !strings.Contains(err.Error(), "conflict") {
		t.Errorf("without force: %v", err)
	}
	if err := s.apply(t.Context(), o, nil); err != nil {
		t.Errorf("with force: %v", err)
	}
}

// TestServes runs what each installation describes, as it describes it: its
// Corefile, arguments, environment and user, and with the rights of its service
// account and no others.
func TestServes(t *testing.T) {
	s := theSite(t)
	for _, name := range slices.Sorted(maps.Keys(installations)) {
		test := installations[name]
		t.Run(name, func(t *testing.T) {
			s.kubeadm(t)
			o := install(t, name)
			pod := podOf(t, o)
			o = slices.DeleteFunc(o, func(one *unstructured.Unstructured) bool {
				return !slices.Contains([]string{"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap"}, one.GetKind())
			})
			if err := s.apply(t.Context(), o, nil); err != nil {
				t.Fatal(err)
			}
			n := netns.New(t)
			outsideWorld(t, n)
			s.relayAPI(t, n)
			addr, port := "127.0.0.1", "53"
			if test.addr != "" {
				addr = test.addr
				makeAddress(t, n, pod)
			}
			if test.port != "" {
				port = test.port
			}
			server := s.start(t, n, clusterdns, pod)
			server.waitReady(t, addr+":8181")
			for _, q := range append(slices.Clone(inCluster), test.extra...) {
				for _, network := range []string{"udp", "tcp"} {
					// CoreDNS is ready a moment before it listens.
					var got string
					server.wait(t, "listening", func() (err error) {
						got, err = ask(n, network, addr+":"+port, q.name, dns.TypeA)
						return err
					})
					if got != q.want {
						t.Errorf("%s over %s: %s, want %s", q.name, network, got, q.want)
					}
				}
			}
			// The lane opens a moment after CoreDNS has answered.
			line := "Fast lane at "
			if test.closed != "" {
				line = "No fast lane at :53: " + test.closed
			}
			server.wait(t, "saying "+line, func() error {
				if !strings.Contains(server.LogTail(), line) {
					return errors.New("no such line")
				}
				return nil
			})
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// makeAddress runs the script of a pod's init container, which gives the node
// its address, as a node's that has the link already: not every kernel has links
// of type dummy.
func makeAddress(t *testing.T, n netns.Namespace, pod corev1.PodTemplateSpec) {
	t.Helper()
	n.IP(t, "link", "add", "clusterdns", "type", "bridge")
	for range 2 { // the next pod does it again
		runIn(t, n, pod.Spec.InitContainers[0].Command...)
	}
}

// runIn runs a command in a namespace.
func runIn(t *testing.T, n netns.Namespace, args ...string) {
	t.Helper()
	err := n.Do(func() error {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
