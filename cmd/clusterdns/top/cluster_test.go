package top

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// apiServer is as much of an API server and of a kubelet as the command needs.
// Pods cannot run on the control plane of the tests, which has no kubelets.
type apiServer struct {
	*httptest.Server
	forbidden string            // a path that may not be asked for
	ports     map[string]string // where a port of a pod is, by pod:port

	mu    sync.Mutex
	paths []string
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.paths = append(a.paths, r.URL.Path)
	a.mu.Unlock()
	switch {
	case a.forbidden != "" && strings.HasPrefix(r.URL.Path, a.forbidden):
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: 403,
			Reason: metav1.StatusReasonForbidden, Message: `pods is forbidden: User "op" cannot list resource "pods" in API group "" in the namespace "kube-system"`})
	case r.URL.Path == "/api/v1/namespaces/kube-system/pods":
		if got := r.URL.Query().Get("labelSelector"); got != "k8s-app=kube-dns" {
			http.Error(w, got, http.StatusBadRequest)
			return
		}
		send(w, pod("kube-system", "dns-a", "10.244.0.2", corev1.PodRunning), pod("kube-system", "dns-b", "10.244.0.3", corev1.PodRunning),
			pod("kube-system", "dns-c", "", corev1.PodPending))
	case r.URL.Path == "/api/v1/pods":
		switch r.URL.Query().Get("fieldSelector") {
		case "status.podIP=10.244.1.5":
			send(w, pod("batch", "done", "10.244.1.5", corev1.PodSucceeded), pod("shop", "cart-0", "10.244.1.5", corev1.PodRunning))
		case "status.podIP=192.168.1.1":
			node := pod("kube-system", "proxy", "192.168.1.1", corev1.PodRunning)
			node.Spec.HostNetwork, node.Spec.NodeName = true, "node-1"
			send(w, node)
		default:
			send(w)
		}
	case strings.HasSuffix(r.URL.Path, "/portforward"):
		a.forward(w, r)
	default:
		http.NotFound(w, r)
	}
}

func pod(namespace, name, ip string, phase corev1.PodPhase) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Status: corev1.PodStatus{PodIP: ip, Phase: phase}}
}

func send(w http.ResponseWriter, pods ...corev1.Pod) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: pods})
}

// forward is what a kubelet does with a port-forward over SPDY: a pair of
// streams for each connection, one of which carries errors.
func (a *apiServer) forward(w http.ResponseWriter, r *http.Request) {
	if !httpstream.IsUpgradeRequest(r) || !strings.Contains(r.Header.Get("Upgrade"), "SPDY") {
		http.Error(w, "no websocket here", http.StatusBadRequest) // as old API servers say
		return
	}
	name := strings.Split(r.URL.Path, "/")[6]
	w.Header().Set(httpstream.HeaderProtocolVersion, "portforward.k8s.io")
	var mu sync.Mutex
	errors := map[string]httpstream.Stream{} // by request
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, replied <-chan struct{}) error {
		id, port := s.Headers().Get(corev1.PortForwardRequestIDHeader), s.Headers().Get(corev1.PortHeader)
		mu.Lock()
		defer mu.Unlock()
		if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
			errors[id] = s
			return nil
		}
		complain := errors[id]
		go func() {
			<-replied
			defer complain.Close()
			to, err := net.Dial("tcp", a.ports[name+":"+port])
			if err != nil {
				fmt.Fprintf(complain, "error forwarding port %s to pod: %v", port, err)
				s.Reset()
				return
			}
			defer to.Close()
			go io.Copy(to, s)
			io.Copy(s, to)
			s.Close()
		}()
		return nil
	})
	if conn != nil {
		<-conn.CloseChan()
	}
}

// start starts a, and returns a kubeconfig file for it.
func (a *apiServer) start(t *testing.T) string {
	t.Helper()
	a.Server = httptest.NewServer(a)
	t.Cleanup(func() {
		a.CloseClientConnections()
		a.Close()
	})
	file := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\n"+
		"contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n", a.URL)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// consoleOf starts a console that reports s, and metrics, and returns its
// address.
func consoleOf(t *testing.T, s *sample) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/report.json":
			json.NewEncoder(w).Encode(s.report)
		case "/metrics":
			fmt.Fprint(w, "# TYPE coredns_dns_request_duration_seconds histogram\ncoredns_dns_request_duration_seconds_bucket{le=\"0.001\"} 10\n"+
				"coredns_dns_request_duration_seconds_bucket{le=\"+Inf\"} 10\ncoredns_dns_request_duration_seconds_sum 1\ncoredns_dns_request_duration_seconds_count 10\n")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// once runs the command, and returns what it prints.
func once(args ...string) (string, error) {
	cmd := New(nil)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(append([]string{"--once"}, args...))
	var out strings.Builder
	cmd.SetOut(&out)
	err := cmd.Execute()
	return out.String(), err
}

// TestCluster reaches two consoles through the API server.
func TestCluster(t *testing.T) {
	host := consoleOf(t, at(10, 100))
	a := &apiServer{ports: map[string]string{"dns-a:8053": host, "dns-a:9153": host, "dns-b:8053": consoleOf(t, at(10, 50))}}
	config := a.start(t)
	out, err := once("--kubeconfig", config, "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var s Snapshot
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, server := range s.Servers {
		names = append(names, server.Name+server.Error)
	}
	if want := []string{"dns-a", "dns-b"}; !slices.Equal(names, want) {
		t.Errorf("servers %q, want %q", names, want)
	}
	if s.Questions != 750 || len(s.Clients) != 1 || s.Clients[0].Of != "shop/cart-0" || s.Latency.P99 == 0 {
		t.Errorf("%d questions, clients %v, latency %+v", s.Questions, s.Clients, s.Latency)
	}
	out, err = once("--kubeconfig", config, "--by", "client")
	if err != nil || !strings.Contains(out, "10.244.1.5  shop/cart-0") || !strings.Contains(out, "2 servers") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestClusterFails: one clear line each, and what is to be done.
func TestClusterFails(t *testing.T) {
	for _, row := range []struct {
		api       *apiServer
		args      string
		want, out string
	}{
		{&apiServer{forbidden: "/api/v1/namespaces/kube-system/pods"}, "",
			`listing pods in namespace kube-system: pods is forbidden: User "op" cannot list resource "pods"`, ""},
		{&apiServer{}, "-n default", "listing pods in namespace default: the server could not find the requested resource", ""},
		{&apiServer{}, "--context gone", `kubeconfig: context "gone" does not exist`, ""},
		// No console in either: the port-forward says so.
		{&apiServer{ports: map[string]string{"dns-a:8053": "127.0.0.1:1", "dns-b:8053": "127.0.0.1:1"}}, "",
			"pod kube-system/dns-a has no console at port 8053: the line `console` in a server block of the Corefile turns it on, and --port says where", ""},
		{&apiServer{forbidden: "/api/v1/namespaces/kube-system/pods/"}, "", "pod kube-system/dns-a: port-forward: ", ""},
		// One of two: its part is missing.
		{&apiServer{ports: map[string]string{"dns-a:8053": consoleOf(t, at(10, 100)), "dns-b:8053": "127.0.0.1:1"}}, "", "", "1 of 2 servers"},
		// No rights to look pods up: addresses.
		{&apiServer{forbidden: "/api/v1/pods", ports: map[string]string{"dns-a:8053": consoleOf(t, at(10, 100)), "dns-b:8053": consoleOf(t, at(10, 1))}},
			"--by client", "", "10.244.1.5"},
	} {
		out, err := once(append([]string{"--kubeconfig", row.api.start(t)}, strings.Fields(row.args)...)...)
		switch {
		case row.want == "" && (err != nil || !strings.Contains(out, row.out)):
			t.Errorf("%v, %s, want %s", err, out, row.out)
		case row.want != "" && (err == nil || !strings.HasPrefix(err.Error(), row.want)):
			t.Errorf("%v, want %s", err, row.want)
		}
	}
}

// TestPodNames: an address is looked up once a while, and those that ask most
// first.
func TestPodNames(t *testing.T) {
	a := &apiServer{}
	c, err := newCluster(a.start(t), "")
	if err != nil {
		t.Fatal(err)
	}
	p := &podNames{cluster: c, known: map[string]podName{}}
	s := at(10, 1)
	s.report.Clients = nil
	for i := range 30 {
		s.report.Clients = append(s.report.Clients, clientOf(fmt.Sprintf("192.168.1.%d", i), uint64(100-i)))
	}
	p.learn(t.Context(), []polled{{name: "a", now: s}})
	if len(a.paths) != lookups {
		t.Errorf("%d look-ups", len(a.paths))
	}
	p.learn(t.Context(), []polled{{name: "a", now: s}})
	p.learn(t.Context(), []polled{{name: "a", now: s}})
	if len(a.paths) != 30 {
		t.Errorf("%d look-ups of 30 addresses", len(a.paths))
	}
	if p.of("192.168.1.1") != "node node-1" || p.of("192.168.1.2") != "" {
		t.Errorf("%q, %q", p.of("192.168.1.1"), p.of("192.168.1.2"))
	}
	p.known["192.168.1.1"] = podName{"gone", time.Now().Add(-time.Second)}
	p.learn(t.Context(), []polled{{name: "a", now: s}})
	if p.of("192.168.1.1") != "node node-1" {
		t.Errorf("after its time: %q", p.of("192.168.1.1"))
	}
}
