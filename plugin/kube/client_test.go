package kube

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

func writeFile(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const kubeconfig = `apiVersion: v1
kind: Config
current-context: one
clusters:
- name: c
  cluster: {server: "SERVER"}
users:
- name: u
  user: {}
- name: certified
  user: {client-certificate: missing.crt, client-key: missing.key}
contexts:
- name: one
  context: {cluster: c, user: u}
- name: certified
  context: {cluster: c, user: certified}
- name: nowhere
  context: {cluster: none, user: u}
`

func TestConfigErrors(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	good := writeFile(t, filepath.Join(dir, "kubeconfig"), kubeconfig)
	empty := writeFile(t, filepath.Join(dir, "empty"), "")
	broken := writeFile(t, filepath.Join(dir, "broken"), "clusters: [")
	missing := filepath.Join(dir, "missing")
	for name, test := range map[string]struct {
		config Config
		parts  []string // of the error; none: no error
	}{
		"kubeconfig":           {Config{Kubeconfig: good}, nil},
		"kubeconfig missing":   {Config{Kubeconfig: missing}, []string{"kubeconfig", missing, "no such file"}},
		"kubeconfig empty":     {Config{Kubeconfig: empty}, []string{"kubeconfig", empty}},
		"kubeconfig broken":    {Config{Kubeconfig: broken}, []string{"kubeconfig", broken, "line 1"}},
		"no such context":      {Config{Kubeconfig: good, Context: "two"}, []string{"kubeconfig", good, `"two"`, "does not exist"}},
		"no such cluster":      {Config{Kubeconfig: good, Context: "nowhere"}, []string{good, `"none"`}},
		"certificate missing":  {Config{Kubeconfig: good, Context: "certified"}, []string{filepath.Join(dir, "missing.crt")}},
		"in no cluster":        {Config{}, []string{"endpoint", "kubeconfig", "KUBERNETES_SERVICE_HOST"}},
		"endpoint":             {Config{Endpoint: "http://127.0.0.1:1"}, nil},
		"endpoint without URL": {Config{Endpoint: "127.0.0.1:1"}, nil},
		"endpoint bad":         {Config{Endpoint: "http://[::1"}, []string{"http://[::1"}},
		"CA missing":           {Config{Endpoint: "https://h", CAFile: missing}, []string{"CA", missing, "no such file"}},
		"CA empty":             {Config{Endpoint: "https://h", CAFile: empty}, []string{"CA", empty}},
		"key without cert":     {Config{Endpoint: "https://h", KeyFile: missing}, []string{"certificate", missing}},
		"cert not a cert":      {Config{Endpoint: "https://h", CertFile: empty, KeyFile: broken}, []string{"certificate", empty, broken}},
	} {
		f, err := Acquire(test.config)
		if err == nil {
			f.Release()
		}
		if len(test.parts) == 0 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		for _, part := range test.parts {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v does not say %q", name, err, part)
			}
		}
	}
	if len(sources.m) > 0 {
		t.Errorf("%d sources left over", len(sources.m))
	}
}

func TestKubeconfig(t *testing.T) {
	api := newAPIServer(t, true)
	api.set(service("web", "10.0.0.1"))
	path := filepath.Join(t.TempDir(), "kubeconfig")
	writeFile(t, path, strings.Replace(kubeconfig, "SERVER", "http://"+api.addr, 1))
	f := acquireSynced(t, Config{Kubeconfig: path})
	if !known(f, "web") {
		t.Error("no service")
	}
	if accept := api.header("Accept"); !strings.HasPrefix(accept, "application/vnd.kubernetes.protobuf") {
		t.Errorf("Accept: %s", accept)
	}
	// Edited, it may be another cluster.
	writeFile(t, path, strings.Replace(kubeconfig, "SERVER", "http://"+api.addr, 1)+"# edited\n")
	if g := acquireSynced(t, Config{Kubeconfig: path}); f.Index() == g.Index() {
		t.Error("one source for two kubeconfigs")
	}
}

func TestTLS(t *testing.T) {
	requests := make(chan string, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.URL.Path
		w.WriteHeader(http.StatusForbidden)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the end breaks handshakes
	server.StartTLS()
	defer server.Close()
	ca := writeFile(t, filepath.Join(t.TempDir(), "ca.crt"),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	f, err := Acquire(Config{Endpoint: server.URL, CAFile: ca})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	<-requests
	eventually(t, "refusal", func() bool { return statusOf(t, f, zone.Services).LastError != nil })
}

// Watches do not keep their slots.
func TestMaxInflight(t *testing.T) {
	api := newAPIServer(t, true)
	c := api.config()
	c.MaxInflight, c.QPS, c.Burst, c.Pods = 1, 100, 100, true
	f := acquireSynced(t, c)
	api.set(service("web", "10.0.0.1"))
	eventually(t, "event", func() bool { return known(f, "web") })
}
