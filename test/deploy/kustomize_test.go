package deploy

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write deploy/kubernetes.yaml anew")

// overlays are the kustomizations, with what each has.
var overlays = map[string]string{
	"fresh": "ClusterRole clusterdns, ClusterRoleBinding clusterdns, ConfigMap clusterdns, Deployment clusterdns, " +
		"PodDisruptionBudget clusterdns, Service kube-dns, ServiceAccount clusterdns",
	"replace-coredns": "Deployment coredns, PodDisruptionBudget coredns",
	"multicluster": "ClusterRole clusterdns, ClusterRoleBinding clusterdns, ConfigMap clusterdns, Deployment clusterdns, " +
		"PodDisruptionBudget clusterdns, Service kube-dns, ServiceAccount clusterdns",
	"kernel": "ClusterRole clusterdns, ClusterRoleBinding clusterdns, ConfigMap clusterdns, Deployment clusterdns, " +
		"PodDisruptionBudget clusterdns, Service kube-dns, ServiceAccount clusterdns",
	"node-local": "ClusterRole clusterdns-node-local, ClusterRoleBinding clusterdns-node-local, ConfigMap clusterdns-node-local, " +
		"DaemonSet clusterdns-node-local, ServiceAccount clusterdns-node-local",
}

// TestOverlays builds every kustomization, and checks what all of their pods
// have in common.
func TestOverlays(t *testing.T) {
	for name, want := range overlays {
		o := kustomize(t, name)
		if got := strings.Join(o.names(), ", "); got != want {
			t.Errorf("%s has\n%s\nwant\n%s", name, got, want)
		}
		for _, one := range o {
			if ns := one.GetNamespace(); ns != "kube-system" && !strings.HasPrefix(one.GetKind(), "Cluster") {
				t.Errorf("%s: %s %s is in namespace %q", name, one.GetKind(), one.GetName(), ns)
			}
		}
		pod := podOf(t, o)
		c := pod.Spec.Containers[0]
		if pod.Spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || !*c.SecurityContext.ReadOnlyRootFilesystem ||
			*c.SecurityContext.AllowPrivilegeEscalation || *c.SecurityContext.RunAsUser != 65532 || !strings.HasPrefix(pod.Spec.PriorityClassName, "system-") {
			t.Errorf("%s: the pod is not confined: %+v", name, c.SecurityContext)
		}
		var added []corev1.Capability
		if name == "kernel" {
			added = []corev1.Capability{"NET_ADMIN", "BPF", "PERFMON"}
		}
		if got, want := c.SecurityContext.Capabilities, append([]corev1.Capability{"NET_BIND_SERVICE"}, added...); !slices.Equal(got.Add, want) || !slices.Equal(got.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s: capabilities %+v, want %v and no others", name, got, want)
		}
		if !pod.Spec.HostNetwork {
			for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
				if probe.HTTPGet.Port.StrVal == "" {
					t.Errorf("%s: a probe of port %v, not by name", name, probe.HTTPGet.Port)
				}
			}
		}
		if account := pod.Spec.ServiceAccountName; name != "replace-coredns" {
			find[corev1.ServiceAccount](t, o, "ServiceAccount", account)
			find[corev1.ConfigMap](t, o, "ConfigMap", pod.Spec.Volumes[0].ConfigMap.Name)
		}
	}
}

// TestKernel: the overlay differs from the fresh install by what the lane in the
// kernel needs, and by nothing else.
func TestKernel(t *testing.T) {
	corefile := func(o objects) string { return find[corev1.ConfigMap](t, o, "ConfigMap", "").Data["Corefile"] }
	fresh, kernel := kustomize(t, "fresh"), kustomize(t, "kernel")
	if got := strings.Replace(corefile(kernel), "       fastlane kernel\n", "", 1); got != corefile(fresh) || got == corefile(kernel) {
		t.Errorf("the Corefile is\n%s", corefile(kernel))
	}
	of := func(o objects) *corev1.Container { pod := podOf(t, o); return &pod.Spec.Containers[0] }
	want, got := of(fresh), of(kernel)
	if got.Resources.Limits.Memory().Cmp(*want.Resources.Limits.Memory()) <= 0 {
		t.Errorf("no more memory than %v", want.Resources.Limits.Memory())
	}
	got.Resources.Limits, got.SecurityContext.Capabilities = want.Resources.Limits, want.SecurityContext.Capabilities
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the container is %+v, want %+v", got, want)
	}
}

// TestSelectors: what selects pods selects those of its own Deployment, which
// are not all that have k8s-app: kube-dns: kube-dns's are beside them for a while.
func TestSelectors(t *testing.T) {
	for name := range overlays {
		if name == "node-local" {
			continue
		}
		o := kustomize(t, name)
		pod := podOf(t, o)
		budget := find[policyv1.PodDisruptionBudget](t, o, "PodDisruptionBudget", "")
		apart := pod.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm
		for what, selector := range map[string]*metav1.LabelSelector{
			"the Deployment":               find[appsv1.Deployment](t, o, "Deployment", "").Spec.Selector,
			"the PodDisruptionBudget":      budget.Spec.Selector,
			"the affinity":                 apart.LabelSelector,
			"the topologySpreadConstraint": pod.Spec.TopologySpreadConstraints[0].LabelSelector,
		} {
			if !maps.Equal(selector.MatchLabels, pod.Labels) {
				t.Errorf("%s: %s selects %v, and pods have %v", name, what, selector.MatchLabels, pod.Labels)
			}
		}
	}
}

// podOf returns the template of an installation's server: of a DaemonSet, or of
// a Deployment that is not the autoscaler's.
func podOf(t *testing.T, o objects) corev1.PodTemplateSpec {
	t.Helper()
	for _, one := range o {
		switch {
		case one.GetKind() == "DaemonSet":
			return find[appsv1.DaemonSet](t, o, "DaemonSet", one.GetName()).Spec.Template
		case one.GetKind() == "Deployment" && !strings.HasSuffix(one.GetName(), "-autoscaler"):
			return find[appsv1.Deployment](t, o, "Deployment", one.GetName()).Spec.Template
		}
	}
	t.Fatalf("no pods in %v", o.names())
	panic("unreachable")
}

// startupTimeout is the option in a Corefile.
var startupTimeout = regexp.MustCompile(`startup_timeout (\S+)`)

// TestSurge: two pods of a node must fit beside each other. A readiness probe of
// either would be answered by both, and the controller deletes the pod before as
// soon as that is not ready (pkg/controller/daemon, podsShouldBeOnNode).
func TestSurge(t *testing.T) {
	o := kustomize(t, "node-local")
	set := find[appsv1.DaemonSet](t, o, "DaemonSet", "")
	if probe := set.Spec.Template.Spec.Containers[0].ReadinessProbe; probe != nil {
		t.Errorf("a readiness probe that two pods share: %v", probe)
	}
	config := find[corev1.ConfigMap](t, o, "ConfigMap", "").Data["Corefile"]
	timeout, err := time.ParseDuration(startupTimeout.FindStringSubmatch(config)[1])
	if ready := time.Duration(set.Spec.MinReadySeconds) * time.Second; err != nil || ready < timeout+5*time.Second {
		t.Errorf("a pod that has no index counts after %v, and ends after %v (%v)", ready, timeout, err)
	}
	rolling := set.Spec.UpdateStrategy.RollingUpdate
	if rolling.MaxSurge.IntVal != 1 || rolling.MaxUnavailable.IntVal != 0 || set.Spec.MinReadySeconds == 0 {
		t.Errorf("update by %+v", rolling)
	}
	if ports := set.Spec.Template.Spec.Containers[0].Ports; !set.Spec.Template.Spec.HostNetwork || len(ports) > 0 {
		t.Errorf("ports in the host's network that a second pod would want too: %v", ports)
	}
}

const manifest = "../../deploy/kubernetes.yaml"

const manifestHead = `# clusterdns as a cluster's DNS, all of it: for a cluster that has none, or has
# kube-dns. One that has CoreDNS changes an image and needs nothing of this:
# docs/migration.md. It is deploy/kustomize/fresh, written by
# go test -C test/deploy -run TestManifest -update
#
# Two things are yours to fill in:
#   image      registry.example/clusterdns:VERSION does not exist: make push
#   clusterIP  10.96.0.10 is where kubeadm's kubelets send their pods' questions;
#              take yours, clusterDNS in the kubelets' configuration, or
#              kubectl -n kube-system get service kube-dns -o jsonpath='{.spec.clusterIP}'
`

// TestManifest: deploy/kubernetes.yaml is the kustomization for a fresh install.
func TestManifest(t *testing.T) {
	var want bytes.Buffer
	want.WriteString(manifestHead)
	for i, one := range kustomize(t, "fresh") {
		if i > 0 {
			want.WriteString("---\n")
		}
		text, err := yaml.Marshal(one.Object)
		if err != nil {
			t.Fatal(err)
		}
		want.Write(text)
	}
	if *update {
		if err := os.WriteFile(manifest, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(manifest)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("deploy/kubernetes.yaml is not what deploy/kustomize/fresh makes (%v): run this test with -update", err)
	}
}
