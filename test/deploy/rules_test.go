package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"helm.sh/helm/v3/pkg/chartutil"
)

const observability = "../../deploy/observability/"

var jobRegex = regexp.MustCompile(`job=~"([^"]*)"`)

// jobs returns what the rules take the job to be.
func jobs(t *testing.T) *regexp.Regexp {
	t.Helper()
	text, err := os.ReadFile(observability + "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range jobRegex.FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) != 1 {
		t.Fatalf("rules.yaml has the jobs %q", all)
	}
	return regexp.MustCompile("^(?:" + all[0] + ")$")
}

// TestJobs: the rules know the jobs that our Services and monitors make. That of
// a ServiceMonitor is called as its Service is.
func TestJobs(t *testing.T) {
	known := jobs(t)
	for _, values := range []string{
		"{}", "{nameOverride: coredns}", "{fullnameOverride: kube-dns}", "{nameOverride: coredns, fullnameOverride: dns-coredns}",
	} {
		v, err := chartutil.ReadValues([]byte(values))
		if err != nil {
			t.Fatal(err)
		}
		v["prometheus"] = map[string]any{"service": map[string]any{"enabled": true}, "monitor": map[string]any{"enabled": true}}
		o, _, err := template(t, v)
		if err != nil {
			t.Fatal(err)
		}
		monitor := find[unstructured.Unstructured](t, o, "ServiceMonitor", "")
		wanted, _, _ := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
		found := 0
		for _, one := range o {
			if one.GetKind() != "Service" || !subset(wanted, one.GetLabels()) {
				continue
			}
			found++
			if !known.MatchString(one.GetName()) {
				t.Errorf("%s: the rules do not know the job %s", values, one.GetName())
			}
		}
		if found != 1 {
			t.Errorf("%s: the ServiceMonitor selects %d Services", values, found)
		}
	}
	for job, want := range map[string]bool{"kube-dns": true, "clusterdns-node-local": true, "kube-dns-autoscaler": false, "node-exporter": false} {
		if known.MatchString(job) != want {
			t.Errorf("the job %s: not %v", job, want)
		}
	}
}

func subset(of, labels map[string]string) bool {
	for name, value := range of {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// TestPodMonitor: it selects the node-local pods, asks the port of their Corefile,
// as their annotations do, and makes a job that the rules know.
func TestPodMonitor(t *testing.T) {
	text, err := os.ReadFile(observability + "podmonitor-node-local.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	o := kustomize(t, "node-local")
	pod := find[appsv1.DaemonSet](t, o, "DaemonSet", "").Spec.Template
	wanted, _, _ := unstructured.NestedStringMap(found[0].Object, "spec", "selector", "matchLabels")
	if found[0].GetNamespace() != "kube-system" || len(wanted) == 0 || !subset(wanted, pod.Labels) {
		t.Errorf("it selects %v in %s", wanted, found[0].GetNamespace())
	}
	label, _, _ := unstructured.NestedString(found[0].Object, "spec", "jobLabel")
	if job := pod.Labels[label]; !jobs(t).MatchString(job) {
		t.Errorf("the rules do not know the job %q", job)
	}
	port := pod.Annotations["prometheus.io/port"]
	if corefile := find[corev1.ConfigMap](t, o, "ConfigMap", "").Data["Corefile"]; !strings.Contains(corefile, "prometheus :"+port+"\n") ||
		!bytes.Contains(text, []byte("replacement: $1:"+port+"\n")) {
		t.Errorf("port %q", port)
	}
}

// TestPrometheusRule runs the command of docs/operations.md that makes one of the
// rules, up to kubectl.
func TestPrometheusRule(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?s)\{ printf.*?\n\}`).Find(page)
	cmd := exec.Command("sh", "-c", string(command))
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	found, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(observability + "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.Unmarshal(rules, &want); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].GetKind() != "PrometheusRule" || found[0].GetLabels()["release"] == "" || !reflect.DeepEqual(found[0].Object["spec"], any(want)) {
		t.Errorf("it makes\n%.300s", out)
	}
}
