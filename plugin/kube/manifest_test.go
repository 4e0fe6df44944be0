package kube

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

const shopYAML = `# the shop
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.0.0.1
  ports: [{port: 80}]
---
# nothing here
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: shop
  labels: {kubernetes.io/service-name: web}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1]}]
ports: [{port: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
apiVersion: v1
kind: Endpoints
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0}
status: {podIP: 10.1.0.1}
`

const importsYAML = `
apiVersion: v1
kind: List
items:
- apiVersion: multicluster.x-k8s.io/v1beta1
  kind: ServiceImport
  metadata: {name: web, namespace: shop}
  spec: {type: ClusterSetIP, ips: [10.97.0.1], ports: [{port: 80}]}
- apiVersion: multicluster.x-k8s.io/v1alpha1
  kind: ServiceImport
  metadata: {name: db}
  spec: {type: Headless, ports: []}
- apiVersion: multicluster.x-k8s.io/v1alpha1
  kind: ServiceExport
  metadata: {name: db}
`

const shopJSON = `{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
  {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "shop"}, "spec": {"clusterIP": "None"}}
]}
{"apiVersion": "v1", "kind": "ServiceList", "items": [{"metadata": {"name": "api", "namespace": "shop"}}]}
`

func acquireManifests(t *testing.T, paths ...string) *Feed {
	t.Helper()
	f, err := AcquireManifests(paths, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Release)
	return f
}

func TestManifests(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a.yaml"), shopYAML)
	writeFile(t, filepath.Join(dir, "b.json"), shopJSON)
	writeFile(t, filepath.Join(dir, "c.yml"), "")
	writeFile(t, filepath.Join(dir, "README.md"), "not: [a manifest")
	writeFile(t, filepath.Join(dir, ".hidden.yaml"), "not: [a manifest")
	if err := os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := acquireManifests(t, dir, filepath.Join(dir, "a.yaml")) // once is enough
	if err := f.WaitSynced(t.Context()); err != nil {
		t.Error(err)
	}
	for r, want := range []int{2, 3, 1, 1} { // namespaces shop and, implied, default
		s := statusOf(t, f, zone.Resource(r))
		if !s.Synced || s.Objects != want || s.Ignored != 2 || s.Lists != 1 || s.LastError != nil || s.LastContact.IsZero() || s.LastEvent.IsZero() {
			t.Errorf("%+v, want %d objects, 2 ignored", s, want)
		}
		if !strings.HasPrefix(s.Source, dir+", ") || s.ResourceVersion != fmt.Sprint(f.Index().Serial()) {
			t.Errorf("%+v, serial %d", s, f.Index().Serial())
		}
	}
	for name, want := range map[string]zone.Kind{"web": zone.ClusterIP, "db": zone.Headless, "api": zone.ClusterIP} {
		if kind, ok := f.Index().ServiceKind(shop(name)); !ok || kind != want {
			t.Errorf("%s is %v, %v", name, kind, ok)
		}
	}
	if again := acquireManifests(t, dir, filepath.Join(dir, "a.yaml")); again.Index() != f.Index() {
		t.Error("two sources of the same paths")
	}
}

func TestManifestDefaults(t *testing.T) {
	dir := t.TempDir()
	selects, err := Config{}.selectors()
	if err != nil {
		t.Fatal(err)
	}
	set := newManifestSet(new(converter), selects, 9)
	if err := set.addFile(writeFile(t, filepath.Join(dir, "a.yaml"), shopYAML), io.Discard); err != nil {
		t.Fatal(err)
	}
	web := set.values[zone.Services][0].(*zone.Service)
	if web.Ports[0] != (zone.Port{Protocol: "TCP", Number: 80}) || web.Version != 9 {
		t.Errorf("%+v", web)
	}
	slice := set.values[zone.EndpointSlices][0].(*zone.EndpointSlice)
	if slice.Ports[0] != (zone.Port{Protocol: "TCP", Number: 8080}) {
		t.Errorf("%+v", slice)
	}
	if k := set.values[zone.Pods][0].ObjectKey(); k.Namespace != "default" {
		t.Errorf("pod %v", k)
	}
}

func TestManifestErrors(t *testing.T) {
	const web = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
	for name, test := range map[string]struct {
		file, content string
		parts         []string
	}{
		"no YAML":       {"a.yaml", web + "---\nkind: Service\n  name: x\n", []string{"a.yaml", "document 2 (line 5)", "yaml: line 6"}},
		"separator":     {"a.yaml", web + "--- {}\n", []string{"a.yaml", "document 1"}},
		"no kind":       {"a.yaml", "apiVersion: v1\nmetadata: {name: x}\n", []string{"document 1", "kind is missing"}},
		"no version":    {"a.yaml", "kind: Service\nmetadata: {name: x}\n", []string{"document 1", "apiVersion is missing"}},
		"no name":       {"a.yaml", "apiVersion: v1\nkind: Service\n", []string{"document 1", "metadata.name is missing"}},
		"wrong type":    {"a.yaml", web + "---\n" + web + "spec: {ports: [{port: eighty}]}\n", []string{"document 2 (line 5)", "ports.port"}},
		"not an object": {"a.yaml", "- 1\n", []string{"document 1"}},
		"duplicate":     {"a.yaml", "---\n" + web + "---\n#\n---\n" + web, []string{"document 2", "services default/web", "a.yaml: document 1 (line 1)"}},
		"in a list": {"a.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: x}}\n- {apiVersion: v1, kind: Pod, metadata: {name: x}}\n",
			[]string{"item 2", "pods default/x", "item 1"}},
		"in a long list": {"a.yaml", "# a dump\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: x}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: web}\n  spec: {ports: [{port: eighty}]}\nkind: List\n",
			[]string{"a.yaml: document 1 (line 1), item 2 (line 7)", "ports.port"}},
		"no YAML in a list": {"a.yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  x\n",
			[]string{"item 1 (line 4)", "yaml: line 7"}},
		"namespace in upper case": {"a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: Shop}\n", []string{"document 1", `namespace "Shop"`, "lower case"}},
		"name in upper case":      {"a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: Shop}\n", []string{"document 1", `name "Shop"`}},
		"neither YAML nor JSON":   {"a.yaml", "{apiVersion: v1, kind: ]\n", []string{"document 1"}},
		"no JSON":                 {"a.json", "{\"apiVersion\": \"v1\",\n \"kind\": ]", []string{"a.json", "document 1", "line 2"}},
		"half JSON":               {"a.json", "{\"apiVersion\": \"v1\",\n", []string{"a.json", "document 1", "unexpected EOF"}},
		"second JSON":             {"a.json", "{\"apiVersion\": \"v1\", \"kind\": \"Node\"}\n\n{\"kind\": \"Pod\"}", []string{"document 2 (line 3)"}},
		"link nowhere":            {"b.txt", "", []string{"lost.yaml", "no such file"}},
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, test.file), test.content)
		if test.file == "b.txt" {
			if err := os.Symlink("nowhere", filepath.Join(dir, "lost.yaml")); err != nil {
				t.Fatal(err)
			}
		}
		f, err := AcquireManifests([]string{dir}, Config{})
		if err == nil {
			f.Release()
		}
		for _, part := range test.parts {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v does not say %q", name, err, part)
			}
		}
	}
	for _, paths := range [][]string{nil, {filepath.Join(t.TempDir(), "missing.yaml")}, {filepath.Join(t.TempDir(), "no", "folder")}} {
		if _, err := AcquireManifests(paths, Config{}); err == nil || len(paths) > 0 && !strings.Contains(err.Error(), filepath.Dir(paths[0])) {
			t.Errorf("%v: %v", paths, err)
		}
	}
}

func yamlService(name, clusterIP string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {clusterIP: %s}\n", name, clusterIP)
}

func TestManifestChanges(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	writeFile(t, a, yamlService("web", "10.0.0.1"))
	f := acquireManifests(t, dir)
	serial := f.Index().Serial()

	writeFile(t, b, yamlService("db", "None"))
	eventually(t, "new file", func() bool { return known(f, "db") })
	if next := f.Index().Serial(); int32(next-serial) <= 0 {
		t.Errorf("serial %d after %d", next, serial)
	}

	// An error changes nothing, and says where it is.
	writeFile(t, a, yamlService("web", "None")+"---\nnot: [yaml\n")
	var err error
	eventually(t, "error", func() bool {
		s := statusOf(t, f, zone.Pods)
		err = s.LastError
		return err != nil && !errors.Is(err, errWriting) && s.LastErrorTime.After(s.LastContact)
	})
	for _, part := range []string{a, "document 2", "line 7"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	if kind, ok := f.Index().ServiceKind(shop("web")); !ok || kind != zone.ClusterIP {
		t.Errorf("after an error web is %v, %v", kind, ok)
	}

	// As editors save: another file is renamed to the name.
	writeFile(t, filepath.Join(dir, "a.yaml~"), yamlService("web", "None"))
	if err := os.Rename(filepath.Join(dir, "a.yaml~"), a); err != nil {
		t.Fatal(err)
	}
	eventually(t, "renamed file", func() bool { kind, _ := f.Index().ServiceKind(shop("web")); return kind == zone.Headless })
	eventually(t, "in order", func() bool {
		s := statusOf(t, f, zone.Services)
		return s.LastContact.After(s.LastErrorTime)
	})

	serial = f.Index().Serial()
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	eventually(t, "removed file", func() bool { return !known(f, "db") })
	if next := f.Index().Serial(); int32(next-serial) <= 0 {
		t.Errorf("serial %d after %d", next, serial)
	}
}

// The volume of a ConfigMap: a.yaml -> ..data/a.yaml, ..data -> ..1, which a
// kubelet replaces by renaming. Given the folder or the file.
func TestManifestsInConfigMap(t *testing.T) {
	for _, path := range []string{"", "a.yaml"} {
		dir := t.TempDir()
		version := func(n int, content string) {
			name := fmt.Sprintf("..%d", n)
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, name, "a.yaml"), content)
			if err := os.Symlink(name, filepath.Join(dir, "..data_tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		version(1, yamlService("web", "10.0.0.1"))
		if err := os.Symlink("..data/a.yaml", filepath.Join(dir, "a.yaml")); err != nil {
			t.Fatal(err)
		}
		f := acquireManifests(t, filepath.Join(dir, path))
		for n := 2; n < 5; n++ {
			version(n, yamlService(fmt.Sprintf("web-%d", n), "10.0.0.1"))
			if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", n-1))); err != nil {
				t.Fatal(err)
			}
			eventually(t, "swap", func() bool { return known(f, fmt.Sprintf("web-%d", n)) })
		}
		if n := f.Index().Objects(zone.Services); n != 1 {
			t.Errorf("%d services", n)
		}
	}
}

// A link in a folder leads elsewhere, over another link, through the volume of a
// ConfigMap. Each of these may change.
func TestManifestLinks(t *testing.T) {
	top := t.TempDir()
	in := func(path ...string) string { return filepath.Join(append([]string{top}, path...)...) }
	for _, dir := range []string{"dir", "links", "volume", "volume/..1", "volume/..2", "files"} {
		if err := os.Mkdir(in(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target string, path ...string) {
		t.Helper()
		if err := os.Symlink(target, in(path...)+"~"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(in(path...)+"~", in(path...)); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, in("volume", "..1", "a.yaml"), yamlService("v1", "10.0.0.1"))
	writeFile(t, in("volume", "..2", "a.yaml"), yamlService("v2", "10.0.0.1"))
	writeFile(t, in("files", "a.yaml"), yamlService("file", "10.0.0.1"))
	link("..1", "volume", "..data")
	link("..data/a.yaml", "volume", "a.yaml")
	link(in("volume", "a.yaml"), "links", "a")
	link("../links/a", "dir", "a.yaml")
	link("a.yaml", "dir", "again.txt") // not taken
	f := acquireManifests(t, in("dir"))
	becomes := func(name string) {
		t.Helper()
		eventually(t, name, func() bool { return known(f, name) && f.Index().Objects(zone.Services) == 1 })
	}
	becomes("v1")
	writeFile(t, in("volume", "..1", "a.yaml"), yamlService("v1-changed", "10.0.0.1"))
	becomes("v1-changed")
	link("..2", "volume", "..data")
	becomes("v2")
	link("../files/a.yaml", "links", "a")
	becomes("file")
	writeFile(t, in("files", "a.yaml~"), yamlService("replaced", "10.0.0.1"))
	if err := os.Rename(in("files", "a.yaml~"), in("files", "a.yaml")); err != nil {
		t.Fatal(err)
	}
	becomes("replaced")
	if err := os.Remove(in("files", "a.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an error", func() bool { return statusOf(t, f, zone.Services).LastError != nil })
	writeFile(t, in("files", "a.yaml"), yamlService("back", "10.0.0.1"))
	becomes("back")
	link("a.yaml", "dir", "a.yaml") // a circle
	eventually(t, "an error", func() bool {
		return strings.Contains(fmt.Sprint(statusOf(t, f, zone.Services).LastError), "too many")
	})
	link(in("files", "a.yaml"), "dir", "a.yaml")
	becomes("back")
}

// removeFolder removes a folder at once: there is no moment when it is empty.
func removeFolder(t *testing.T, dir string) {
	t.Helper()
	if err := os.Rename(dir, dir+"~"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir + "~"); err != nil {
		t.Fatal(err)
	}
}

// A folder that is replaced as a whole is found again.
func TestManifestFolderReplaced(t *testing.T) {
	parent := t.TempDir()
	dir, next := filepath.Join(parent, "dir"), filepath.Join(parent, "next")
	for path, name := range map[string]string{dir: "web", next: "db"} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(path, "a.yaml"), yamlService(name, "10.0.0.1"))
	}
	f := acquireManifests(t, dir)
	removeFolder(t, dir)
	eventually(t, "error", func() bool { return statusOf(t, f, zone.Services).LastError != nil })
	if !known(f, "web") {
		t.Error("nothing left")
	}
	if err := os.Rename(next, dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "new folder", func() bool { return known(f, "db") && !known(f, "web") })
	writeFile(t, filepath.Join(dir, "b.yaml"), yamlService("api", "10.0.0.2"))
	eventually(t, "change in it", func() bool { return known(f, "api") })

	// One of the same content is nothing new, and it may be emptied.
	if err := os.Rename(dir, next); err != nil {
		t.Fatal(err)
	}
	failed := statusOf(t, f, zone.Services).LastErrorTime
	eventually(t, "error", func() bool { return statusOf(t, f, zone.Services).LastErrorTime.After(failed) })
	if err := os.Rename(next, dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "in order", func() bool {
		s := statusOf(t, f, zone.Services)
		return s.LastContact.After(s.LastErrorTime)
	})
	for _, name := range []string{"a.yaml", "b.yaml"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "emptied", func() bool { return f.Index().Objects(zone.Services) == 0 })
}

// Two services that are always of one kind in the files are so in the index.
func TestManifestReloadIsAtomic(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	content := func(n int) string {
		clusterIP := []string{"None", "10.0.0.1"}[n%2]
		var b strings.Builder
		for i := range 50 {
			b.WriteString(yamlService(fmt.Sprintf("s%d", i), clusterIP))
		}
		return b.String()
	}
	writeFile(t, file, content(0))
	f := acquireManifests(t, file)
	done := make(chan struct{})
	checks := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				checks <- n
				return
			default:
			}
			// The serial tells whether both were read of one snapshot.
			serial := f.Index().Serial()
			first, ok1 := f.Index().ServiceKind(shop("s0"))
			last, ok2 := f.Index().ServiceKind(shop("s49"))
			if f.Index().Serial() != serial {
				continue
			}
			if n++; !ok1 || !ok2 || first != last {
				t.Errorf("one is %v %v, the other %v %v", first, ok1, last, ok2)
			}
		}
	}()
	for n := 1; n < 6; n++ {
		want := statusOf(t, f, zone.Services).Lists + 1
		writeFile(t, file+"~", content(n))
		if err := os.Rename(file+"~", file); err != nil {
			t.Fatal(err)
		}
		eventually(t, "reload", func() bool { return statusOf(t, f, zone.Services).Lists == want })
	}
	close(done)
	if n := <-checks; n == 0 {
		t.Error("nothing was checked")
	}
}

func TestManifestImports(t *testing.T) {
	conv := new(converter)
	selects, err := Config{Labels: "none=of-these"}.selectors() // which does not concern them
	if err != nil {
		t.Fatal(err)
	}
	set := newManifestSet(conv, selects, 3)
	file := filepath.Join(t.TempDir(), "imports.yaml")
	if err := os.WriteFile(file, []byte(importsYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := set.addFile(file, io.Discard); err != nil {
		t.Fatal(err)
	}
	values := set.complete()
	want := []zone.Object{
		&zone.ServiceImport{Service: zone.Service{Key: zone.Key{Namespace: "shop", Name: "web"}, Version: 3, ClusterIPs: addrs("10.97.0.1"),
			Ports: []zone.Port{{Protocol: "TCP", Number: 80}}}},
		&zone.ServiceImport{Service: zone.Service{Key: zone.Key{Namespace: "default", Name: "db"}, Version: 3, Kind: zone.Headless}},
	}
	if got := values[zone.ServiceImports]; !reflect.DeepEqual(got, want) || len(values[zone.Namespaces]) != 2 || set.ignored != 1 {
		t.Errorf("%+v, %d namespaces, %d ignored", got, len(values[zone.Namespaces]), set.ignored)
	}
}

// What was published stays while a file or a folder is being written.
func TestManifestBeingWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a.yaml")
	writeFile(t, file, yamlService("web", "10.0.0.1"))
	f := acquireManifests(t, dir)
	fails := func(text string) {
		t.Helper()
		eventually(t, text, func() bool {
			s := statusOf(t, f, zone.Services)
			return s.LastError != nil && strings.Contains(s.LastError.Error(), text)
		})
		if !known(f, "web") {
			t.Errorf("%s: nothing left", text)
		}
	}
	writeFile(t, file, "") // as a shell's > does
	fails("is empty, and was not")
	var written time.Time
	eventually(t, "unfinished", func() bool {
		if time.Since(written) > unfinished/2 { // on a slow machine it has become old
			writeFile(t, file, yamlService("web", "10.0.0.1")+"---\napiVersion: v1\nki")
			written = time.Now()
		}
		err := statusOf(t, f, zone.Services).LastError
		return err != nil && strings.Contains(err.Error(), "no newline at its end")
	})
	if !known(f, "web") {
		t.Error("unfinished: nothing left")
	}
	writeFile(t, file, yamlService("web", "10.0.0.1")+yamlService("db", "None"))
	eventually(t, "whole", func() bool { return known(f, "db") })

	removeFolder(t, dir)
	fails("no such file")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	fails("made anew and is empty")
	writeFile(t, file, yamlService("api", "10.0.0.2"))
	eventually(t, "whole", func() bool { return known(f, "api") && !known(f, "web") })

	// An old file without a newline, and a folder that was emptied, are what
	// they are.
	writeFile(t, file, strings.TrimSuffix(yamlService("last", "10.0.0.2"), "\n"))
	eventually(t, "without a newline", func() bool { return known(f, "last") })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "emptied", func() bool { return !known(f, "last") })
}

// A file that replaces another of the same size and time is another.
func TestManifestOfEqualSizeAndTime(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "a.yaml"), yamlService("web", "10.0.0.1"))
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	f := acquireManifests(t, dir)
	next := writeFile(t, filepath.Join(dir, "a.yaml~"), yamlService("api", "10.0.0.1"))
	if err := os.Chtimes(next, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "replaced", func() bool { return known(f, "api") })
}

// All forms of the same two services.
func TestManifestForms(t *testing.T) {
	const web = `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}}`
	const db = `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "shop"}}`
	const flow = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}}\n"
	const item = "apiVersion: v1\n  kind: Service\n  metadata:\n    name: NAME\n    namespace: shop\n    annotations:\n      text: |\n        - no item\n\n        items:\n      list:\n"
	items := func(indent string) string {
		return indent + strings.ReplaceAll("- "+strings.Replace(item, "NAME", "web", 1)+"- "+strings.Replace(item, "NAME", "db", 1), "\n", "\n"+indent) + "\n"
	}
	for name, content := range map[string]string{
		"JSON after JSON":     web + db,
		"--- after JSON":      web + "\n---\n" + db,
		"YAML after JSON":     web + "\n---\n" + yamlService("db", "None"),
		"flow":                flow + "---\n" + strings.Replace(flow, "web", "db", 1),
		"flow List":           "{apiVersion: v1, kind: List, items: [" + web + "," + db + "]}",
		"List":                "apiVersion: v1\nitems:\n" + items("") + "kind: List\nmetadata:\n  resourceVersion: \"\"\n",
		"List, items last":    "apiVersion: v1\nkind: List\nitems: # two\n" + items(""),
		"List, indented":      "apiVersion: v1\nkind: List\nitems:\n# comment\n" + items("  "),
		"List, CRLF":          strings.ReplaceAll("apiVersion: v1\nkind: List\nitems:\n"+items(""), "\n", "\r\n"),
		"List of its kind":    "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: web, namespace: shop}\n- metadata: {name: db, namespace: shop}\n",
		"List with an anchor": "apiVersion: v1\nkind: List\nitems:\n- &web\n  apiVersion: v1\n  kind: Service\n  metadata: {name: web, namespace: shop}\n- <<: *web\n  metadata: {name: db, namespace: shop}\n",
		"List with an alias in brackets": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: &web web, namespace: &shop shop}\n" +
			"- {apiVersion: v1, kind: Service, metadata: {name: db, namespace: *shop, finalizers: [*web]}}\n",
		"List with an item that is an alias": "apiVersion: v1\nkind: List\nitems:\n- &web\n  apiVersion: v1\n  kind: Service\n  metadata: {name: web, namespace: shop, labels: &labels {a: b}}\n- apiVersion: v1\n  kind: Service\n" +
			"  metadata: {name: db, namespace: shop, labels: *labels}\n- {apiVersion: apps/v1, kind: Deployment, metadata: *labels}\n",
		"List in a List": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n  - " + web + "\n  - " + db + "\n",
	} {
		f := acquireManifests(t, writeFile(t, filepath.Join(t.TempDir(), "a.yaml"), content))
		if n := f.Index().Objects(zone.Services); n != 2 || !known(f, "web") || !known(f, "db") {
			t.Errorf("%s: %d services, error %v", name, n, statusOf(t, f, zone.Services).LastError)
		}
		f.Release()
	}
}

func TestManifestIgnoredKinds(t *testing.T) {
	const old = "---\napiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: web-1}\n"
	f := acquireManifests(t, writeFile(t, filepath.Join(t.TempDir(), "a.yaml"), shopYAML+old+old))
	s := statusOf(t, f, zone.Services)
	want := []string{"apps/v1 Deployment", "discovery.k8s.io/v1beta1 EndpointSlice", "v1 Endpoints"}
	if s.Ignored != 4 || !reflect.DeepEqual(s.IgnoredKinds, want) {
		t.Errorf("%d ignored, of %q, want 4 of %q", s.Ignored, s.IgnoredKinds, want)
	}
}

// A List is parsed item by item: the peak is that of the file, a few times over.
func TestManifestListMemory(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nitems:\n")
	for i := range 4000 {
		fmt.Fprintf(&b, "- apiVersion: v1\n  kind: Service\n  metadata:\n    name: s%d\n    namespace: shop\n    labels:\n", i)
		for l := range 30 {
			fmt.Fprintf(&b, "      label-%d: value\n", l)
		}
		b.WriteString("  spec:\n    clusterIP: None\n")
	}
	// What looks like an alias is in a text, or its anchor is in the item.
	b.WriteString("- apiVersion: v1\n  kind: Service\n  metadata:\n    name: &name last\n    namespace: shop\n    labels:\n      name: *name\n    annotations:\n      text: |\n        bold: *really*\n        - *list*\n")
	b.WriteString("kind: List\n")
	content := []byte(b.String())
	b.Reset()
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	items, ok := splitYAMLList(content)
	if !ok || len(items) != 4001 {
		t.Fatalf("%d items, %v", len(items), ok)
	}
	largest := 0
	for _, item := range items {
		largest = max(largest, len(item.text))
	}
	if largest > len(content)/1000 {
		t.Errorf("an item of %d bytes in a List of %d", largest, len(content))
	}
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	base := heapInUse()
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		for {
			select {
			case <-done:
				peak <- most
				return
			case <-time.After(time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	f := acquireManifests(t, file)
	close(done)
	grown := int64(<-peak) - int64(base)
	t.Logf("heap grew by %d KiB while reading %d KiB", grown>>10, len(content)>>10)
	if f.Index().Objects(zone.Services) != 4001 || grown > 8*int64(len(content)) {
		t.Errorf("%d services, the heap grew by %d bytes for a file of %d", f.Index().Objects(zone.Services), grown, len(content))
	}
}

// A List is parsed whole for an alias if it is small.
func TestManifestListOfAliases(t *testing.T) {
	const head = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: web, namespace: &shop shop}\n"
	const last = "- apiVersion: v1\n  kind: Service\n  metadata: {name: db, namespace: *shop}\n"
	item := "- {apiVersion: apps/v1, kind: Deployment, metadata: {name: x, annotations: {big: " + strings.Repeat("x", 1<<20) + "}}}\n"
	file := writeFile(t, filepath.Join(t.TempDir(), "a.yaml"), head+strings.Repeat(item, 4)+last)
	_, err := AcquireManifests([]string{file}, Config{})
	for _, part := range []string{file, "item 6 (line 11)", "unknown anchor 'shop'", "up to 4194304 bytes"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	f := acquireManifests(t, writeFile(t, file, head+item+last))
	if !known(f, "web") || !known(f, "db") || statusOf(t, f, zone.Services).Ignored != 1 {
		t.Errorf("%+v", statusOf(t, f, zone.Services))
	}
}
