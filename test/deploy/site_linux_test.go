package deploy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	mcs "sigs.k8s.io/mcs-api/config/crd"

	"github.com/clusterdns/clusterdns/test/controlplane"
	"github.com/clusterdns/clusterdns/test/controlplane/netns"
)

const (
	serviceHost = "10.96.0.1"    // of the service kubernetes
	resolver    = "192.0.2.53"   // of nodes: outside of the cluster
	outsideAddr = "198.51.100.7" // of outside.example
	limit       = time.Minute    // for whatever is waited for, on a machine that does other things
	pollEvery   = 10 * time.Millisecond
)

// site is what the tests on a real API server share: it, and the binaries.
type site struct {
	cluster *controlplane.ControlPlane
	client  *kubernetes.Clientset
	dir     string
	binary  map[string]string // clusterdns and stock CoreDNS
}

// The binaries.
const (
	clusterdns = "clusterdns"
	stock      = "stock"
)

var startSite = sync.OnceValues(func() (*site, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "deploy-")
	if err != nil {
		return nil, err
	}
	s := &site{dir: dir, binary: map[string]string{clusterdns: filepath.Join(dir, clusterdns), stock: filepath.Join(dir, stock)}}
	for name, module := range map[string][2]string{clusterdns: {"../..", "./cmd/clusterdns"}, stock: {"../../bench", "./cmd/coredns"}} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", s.binary[name], module[1])
		cmd.Dir = module[0]
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return s, fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
	}
	// Nothing here needs controllers: Services get addresses from the API server.
	if s.cluster, err = controlplane.Start(ctx, controlplane.Options{APIOnly: true}); err != nil {
		return s, err
	}
	if s.client, err = kubernetes.NewForConfig(s.cluster.Config()); err != nil {
		return s, err
	}
	for _, crd := range []string{string(mcs.ServiceImportCRD), serviceMonitorCRD} {
		found, err := decode([]byte(crd))
		if err == nil {
			err = s.apply(ctx, found, nil)
		}
		if err != nil {
			return s, fmt.Errorf("CustomResourceDefinition: %w", err)
		}
	}
	return s, s.cluster.Wait(ctx, "the CustomResourceDefinitions", func(ctx context.Context) error {
		for _, path := range []string{"multicluster.x-k8s.io/v1alpha1/serviceimports", "monitoring.coreos.com/v1/servicemonitors"} {
			if err := s.client.Discovery().RESTClient().Get().AbsPath("/apis/" + path).Do(ctx).Error(); err != nil {
				return err
			}
		}
		return nil
	})
})

// serviceMonitorCRD has no schema: what is in a ServiceMonitor is not checked.
const serviceMonitorCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: ServiceMonitor, listKind: ServiceMonitorList, plural: servicemonitors, singular: servicemonitor}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func TestMain(m *testing.M) {
	status := m.Run()
	if started {
		s, _ := startSite()
		if s != nil {
			if s.cluster != nil {
				s.cluster.Stop()
			}
			os.RemoveAll(s.dir)
		}
	}
	os.Exit(status)
}

var started bool

// theSite starts what is shared. With -short, nothing that needs it runs.
func theSite(t *testing.T) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no API server")
	}
	started = true
	s, err := startSite()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// apply does what kubectl apply --server-side --force-conflicts does with each
// object; the API server refuses fields that it does not know.
func (s *site) apply(ctx context.Context, o objects, options map[string]string) error {
	config := rest.CopyConfig(s.cluster.Config())
	config.ContentConfig = rest.ContentConfig{NegotiatedSerializer: scheme.Codecs}
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return err
	}
	var errs []error
	for _, one := range o {
		path := "/apis/" + one.GetAPIVersion()
		if !strings.Contains(one.GetAPIVersion(), "/") {
			path = "/api/" + one.GetAPIVersion()
		}
		if ns := one.GetNamespace(); ns != "" {
			path += "/namespaces/" + ns
		}
		body, err := one.MarshalJSON()
		if err != nil {
			return err
		}
		r := client.Patch(types.ApplyPatchType).AbsPath(path + "/" + strings.ToLower(one.GetKind()) + "s/" + one.GetName()).Body(body)
		params := map[string]string{"fieldManager": "deploy", "fieldValidation": "Strict", "force": "true"}
		maps.Copy(params, options)
		for name, value := range params {
			r.Param(name, value)
		}
		if err := r.Do(ctx).Error(); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", one.GetKind(), one.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// kubeadm puts into the cluster what kubeadm does, and returns CoreDNS's pods.
func (s *site) kubeadm(t *testing.T) corev1.PodTemplateSpec {
	t.Helper()
	text, err := os.ReadFile("testdata/kubeadm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	o, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	corefile, err := os.ReadFile("../../corefile-examples/kubeadm/Corefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range o {
		if one.GetKind() == "ConfigMap" {
			one.Object["data"] = map[string]any{"Corefile": string(corefile)}
		}
	}
	if err := s.apply(t.Context(), o, nil); err != nil {
		t.Fatal(err)
	}
	return find[appsv1.Deployment](t, o, "Deployment", "coredns").Spec.Template
}

// server is a process that runs as a pod template says, in a namespace.
type server struct {
	netns.Namespace
	*netns.Process
}

// start starts a pod's first container with a binary: the ConfigMaps, Secrets and
// the token of the service account are those of the cluster, and the API server
// is at the address of the service kubernetes. The caller stops it.
func (s *site) start(t *testing.T, n netns.Namespace, binary string, pod corev1.PodTemplateSpec) *server {
	t.Helper()
	root := t.TempDir()
	account, err := s.cluster.ServiceAccount(t.Context(), "kube-system", pod.Spec.ServiceAccountName)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"etc/resolv.conf": []byte("nameserver " + resolver + "\n"),
		"etc/hosts":       []byte("127.0.0.1 localhost\n"),
	}
	for _, name := range []string{"token", "ca.crt", "namespace"} {
		content, err := os.ReadFile(filepath.Join(account, name))
		if err != nil {
			t.Fatal(err)
		}
		files["var/run/secrets/kubernetes.io/serviceaccount/"+name] = content
	}
	c := pod.Spec.Containers[0]
	for _, mount := range c.VolumeMounts {
		for name, content := range s.volume(t, pod, mount.Name) {
			files[strings.TrimPrefix(mount.MountPath, "/")+"/"+name] = content
		}
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(root, 0o755), os.Mkdir(filepath.Join(root, "proc"), 0o555), os.Link(s.binary[binary], filepath.Join(root, "coredns"))); err != nil {
		t.Fatal(err)
	}
	env := []string{"KUBERNETES_SERVICE_HOST=" + serviceHost, "KUBERNETES_SERVICE_PORT=443"}
	for _, v := range c.Env { // which come before those of Services
		env = append(env, v.Name+"="+v.Value)
	}
	user := uint32(0)
	if security := c.SecurityContext; security != nil && security.RunAsUser != nil {
		user = uint32(*security.RunAsUser)
	}
	process, err := n.Start(netns.Spec{Root: root, Args: append([]string{"/coredns"}, c.Args...), Env: env, User: user, Log: filepath.Join(root, "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Stop()
		if t.Failed() {
			t.Log(process.LogTail())
		}
	})
	return &server{n, process}
}

// volume returns the files of a pod's volume.
func (s *site) volume(t *testing.T, pod corev1.PodTemplateSpec, name string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.Name != name:
		case v.Secret != nil:
			files["tls.crt"], files["tls.key"] = certificate(t)
		case v.ConfigMap != nil:
			config, err := s.client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), v.ConfigMap.Name, metav1.GetOptions{})
			if err != nil && v.ConfigMap.Optional != nil && *v.ConfigMap.Optional {
				return nil
			}
			if err != nil {
				t.Fatal(err)
			}
			for key, text := range config.Data {
				files[key] = []byte(text)
			}
		}
	}
	return files
}

func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// relayAPI has the service kubernetes lead to the API server, in a namespace.
func (s *site) relayAPI(t *testing.T, n netns.Namespace) {
	t.Helper()
	n.IP(t, "addr", "add", serviceHost+"/32", "dev", "lo")
	n.Relay(t, net.JoinHostPort(serviceHost, "443"), net.JoinHostPort(s.cluster.HostPort()))
}

// waitReady waits until a server's /ready says OK.
func (s *server) waitReady(t *testing.T, addr string) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(_ context.Context, network, addr string) (net.Conn, error) { return s.Dial(network, "", addr) },
	}}
	s.wait(t, "ready at "+addr, func() error {
		resp, err := client.Get("http://" + addr + "/ready")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", resp.Status, body)
		}
		return err
	})
}

// wait calls check until it returns nil; the server has to stay up meanwhile.
func (s *server) wait(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-s.Exited:
			t.Fatalf("it ended before it was %s: %v\n%s", what, s.Err(), s.LogTail())
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s: %v\n%s", what, err, s.LogTail())
		}
	}
}

// ask returns the answer to one question, asked once: the addresses of A records,
// or the response code.
func ask(n netns.Namespace, network, addr, name string, qtype uint16) (string, error) {
	conn, err := n.Dial(network, "", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	r, _, err := (&dns.Client{Timeout: 5 * time.Second}).ExchangeWithConn(new(dns.Msg).SetQuestion(name, qtype), &dns.Conn{Conn: conn})
	if err != nil {
		return "", err
	}
	var words []string
	for _, rr := range r.Answer {
		if a, ok := rr.(*dns.A); ok {
			words = append(words, a.A.String())
		}
	}
	if len(words) == 0 {
		return dns.RcodeToString[r.Rcode], nil
	}
	return strings.Join(words, " "), nil
}

// outsideWorld is a resolver at resolver's address that knows a few names, in a
// namespace of its own, and n's way to the world.
func outsideWorld(t *testing.T, n netns.Namespace) {
	t.Helper()
	outside := netns.New(t)
	n.Connect(t, outside, "outside", []string{"203.0.113.2/30"}, []string{"203.0.113.1/30"})
	n.IP(t, "route", "add", "default", "via", "203.0.113.1")
	outside.IP(t, "route", "add", "10.244.0.0/16", "via", "203.0.113.2")
	outside.IP(t, "addr", "add", resolver+"/32", "dev", "lo")
	udp, tcp := outside.Listen(t, net.JoinHostPort(resolver, "53"))
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		switch q.Question[0].Name {
		case "outside.example.", "db.corp.example.":
			if q.Question[0].Qtype == dns.TypeA {
				m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(outsideAddr)}}
			}
		default:
			m.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: answer}, {Listener: tcp, Handler: answer}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go s.ActivateAndServe()
		<-up
		t.Cleanup(func() { s.Shutdown() })
	}
}
