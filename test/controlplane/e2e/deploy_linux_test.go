package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

const deployManifest = "../../../deploy/kubernetes.yaml"

// object is what a document of a manifest says of itself.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct{ Name, Namespace string }
	text       []byte
}

// deployed returns the objects of deploy/kubernetes.yaml.
func deployed(t *testing.T) (objects []object) {
	t.Helper()
	text, err := os.ReadFile(deployManifest)
	if err != nil {
		t.Fatal(err)
	}
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		o := object{text: append(bytes.Clone(document), '\n')}
		if err := yaml.Unmarshal(document, &o); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	return objects
}

// apply does what kubectl apply --server-side does; the API server refuses
// fields that it does not know.
func (o object) apply(t *testing.T, options map[string]string) error {
	t.Helper()
	root := "/apis/" + o.APIVersion
	if !strings.Contains(o.APIVersion, "/") {
		root = "/api/" + o.APIVersion
	}
	config := rest.CopyConfig(cluster.Config())
	config.ContentConfig = rest.ContentConfig{NegotiatedSerializer: scheme.Codecs}
	c, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	path := root
	if o.Metadata.Namespace != "" {
		path += "/namespaces/" + o.Metadata.Namespace
	}
	path += "/" + strings.ToLower(o.Kind) + "s/" + o.Metadata.Name
	r := c.Verb(http.MethodPatch).AbsPath(path).Body(o.text).
		SetHeader("Content-Type", string(types.ApplyYAMLPatchType)).
		Param("fieldManager", "e2e").Param("fieldValidation", "Strict")
	for name, value := range options {
		r.Param(name, value)
	}
	return r.Do(t.Context()).Error()
}

// TestDeploy gives deploy/kubernetes.yaml to the API server, and runs what it
// describes as it describes it: with that ConfigMap, and with that service
// account and no other right.
func TestDeploy(t *testing.T) {
	kinds := ""
	for _, o := range deployed(t) {
		kinds += " " + o.Kind
		if err := o.apply(t, map[string]string{"dryRun": "All"}); err != nil {
			t.Errorf("%s %s: %v", o.Kind, o.Metadata.Name, err)
		}
	}
	const want = " ServiceAccount ClusterRole ClusterRoleBinding ConfigMap Deployment PodDisruptionBudget Service"
	if kinds != want {
		t.Errorf("it has%s, want%s", kinds, want)
	}
	typo := object{APIVersion: "v1", Kind: "Service", text: []byte("apiVersion: v1\nkind: Service\nmetadata: {name: typo}\nspec: {portz: []}")}
	typo.Metadata.Name, typo.Metadata.Namespace = "typo", "kube-system"
	if err := typo.apply(t, map[string]string{"dryRun": "All"}); err == nil || !strings.Contains(err.Error(), "portz") {
		t.Errorf("an unknown field: %v", err)
	}

	corefile := ""
	for _, o := range deployed(t) {
		if o.Kind == "ConfigMap" {
			var config corev1.ConfigMap
			if err := yaml.UnmarshalStrict(o.text, &config); err != nil {
				t.Fatal(err)
			}
			corefile = config.Data["Corefile"]
		}
	}
	// It is kubeadm's, whose own first line is a comment of ours, with a snapshot.
	kubeadm, err := os.ReadFile(filepath.Join(examples, "kubeadm/Corefile"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(kubeadm), "\n")
	text = strings.Replace(text, "       ttl 30\n", "       ttl 30\n       snapshot /var/lib/clusterdns\n", 1)
	if corefile != text {
		t.Errorf("the ConfigMap has\n%swant\n%s", corefile, text)
	}
}

// account returns a folder with the files of deploy/kubernetes.yaml's service
// account, whose rights it puts into the cluster.
func account(t *testing.T) string {
	t.Helper()
	name := ""
	for _, o := range deployed(t) {
		switch o.Kind {
		case "ServiceAccount":
			name = o.Metadata.Name
			fallthrough
		case "ClusterRole", "ClusterRoleBinding":
			if err := o.apply(t, map[string]string{"force": "true"}); err != nil {
				t.Fatal(fmt.Errorf("%s %s: %w", o.Kind, o.Metadata.Name, err))
			}
		}
	}
	dir, err := cluster.ServiceAccount(t.Context(), "kube-system", name)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
