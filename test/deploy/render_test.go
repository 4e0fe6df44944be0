package deploy

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	chartDir     = "../../deploy/chart"
	kustomizeDir = "../../deploy/kustomize"
)

// loadChart returns the chart as helm reads it.
func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// valuesFile returns a values file of testdata/values.
func valuesFile(t *testing.T, name string) chartutil.Values {
	t.Helper()
	values, err := chartutil.ReadValuesFile(filepath.Join("testdata/values", name))
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// template does what helm template does, and helm install before it sends
// anything: a release called clusterdns, in kube-system.
func template(t *testing.T, values map[string]any) (objects, string, error) {
	t.Helper()
	c := loadChart(t)
	release := chartutil.ReleaseOptions{Name: "clusterdns", Namespace: "kube-system", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, "", err
	}
	var out objects
	notes := ""
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range files {
			if !yield(name) {
				return
			}
		}
	}) {
		switch filepath.Ext(name) {
		case ".txt":
			notes = files[name]
		case ".yaml":
			found, err := decode([]byte(files[name]))
			if err != nil {
				return nil, "", fmt.Errorf("%s: %w\n%s", name, err, files[name])
			}
			out = append(out, found...)
		}
	}
	return out, notes, nil
}

// kustomize does what kustomize build does.
func kustomize(t *testing.T, name string) objects {
	t.Helper()
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // the kustomization's
	resources, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), filepath.Join(kustomizeDir, name))
	if err != nil {
		t.Fatal(err)
	}
	text, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	out, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// objects are those of one installation.
type objects []*unstructured.Unstructured

// decode reads a stream of YAML documents; empty ones are none.
func decode(text []byte) (objects, error) {
	var out objects
	for r := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		o := &unstructured.Unstructured{}
		err := r.Decode(&o.Object)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}

// names lists objects as "Kind name", sorted.
func (o objects) names() []string {
	var out []string
	for _, one := range o {
		out = append(out, one.GetKind()+" "+one.GetName())
	}
	slices.Sort(out)
	return out
}

// find returns the only object of a kind, or that with a name if one is given,
// as the API's type.
func find[T any](t *testing.T, o objects, kind, name string) *T {
	t.Helper()
	var found *T
	for _, one := range o {
		if one.GetKind() != kind || name != "" && one.GetName() != name {
			continue
		}
		if found != nil {
			t.Fatalf("several %ss", kind)
		}
		found = new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(one.Object, found, true); err != nil {
			t.Fatalf("%s %s: %v", kind, one.GetName(), err)
		}
	}
	if found == nil {
		t.Fatalf("no %s %s among %v", kind, name, o.names())
	}
	return found
}

// TestLint does what helm lint --strict does, with the default values and with
// those of testdata.
func TestLint(t *testing.T) {
	files, err := os.ReadDir("testdata/values")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	names := []string{""}
	for _, f := range files {
		names = append(names, f.Name())
	}
	for _, name := range names {
		values := chartutil.Values{}
		if name != "" {
			values = valuesFile(t, name)
		}
		for _, m := range lint.AllWithKubeVersion(chartDir, values, "kube-system", &chartutil.KubeVersion{Version: "v1.36.0", Major: "1", Minor: "36"}).Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// TestSchema gives the chart values with mistakes in them.
func TestSchema(t *testing.T) {
	for _, test := range []struct{ values, want string }{
		{"replicas: 2", "replicas"},
		{"servers: [{port: 70000, plugins: []}]", "65,535"},
		{"servers: [{plugin: [{name: errors}]}]", "plugin"},
		{"servers: [{plugins: [{parameters: x}]}]", "name"},
		{"servers: []", "servers"},
		{"servers: [{zones: [{zone: ., scheme: 'tcp://'}], plugins: []}]", "scheme"},
		{"deployment: {dnsPolicy: Node}", "dnsPolicy"},
		{"service: {clusterIp: 10.96.0.10}", "clusterIp"},
		{"zoneFiles: [{filename: ../x, contents: y}]", "filename"},
	} {
		values, err := chartutil.ReadValues([]byte(test.values))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := template(t, values); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", test.values, err, test.want)
		}
	}
}
