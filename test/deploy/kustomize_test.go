package deploy

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
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
		for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
			if !pod.Spec.HostNetwork && probe.HTTPGet.Port.StrVal == "" {
				t.Errorf("%s: a probe of port %v, not by name", name, probe.HTTPGet.Port)
			}
		}
		if account := pod.Spec.ServiceAccountName; name != "replace-coredns" {
			find[corev1.ServiceAccount](t, o, "ServiceAccount", account)
			find[corev1.ConfigMap](t, o, "ConfigMap", pod.Spec.Volumes[0].ConfigMap.Name)
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

// TestSurge: two pods of a node must fit beside each other.
func TestSurge(t *testing.T) {
	set := find[appsv1.DaemonSet](t, kustomize(t, "node-local"), "DaemonSet", "")
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
