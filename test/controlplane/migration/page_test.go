package migration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	mdns "github.com/miekg/dns"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

const page = repository + "/docs/migration.md"

// flat returns the page as one line.
func flat(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

var shell = regexp.MustCompile("(?ms)^ *```sh\n(.*?)^ *```")

// commands returns the blocks of shell commands below each heading of the page.
func commands(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for section := range strings.SplitSeq("#"+string(text), "\n#") {
		heading, body, _ := strings.Cut(section, "\n")
		for _, m := range shell.FindAllStringSubmatch(body, -1) {
			heading := strings.TrimLeft(heading, "# ")
			found[heading] = append(found[heading], strings.Replace(m[1], "IMAGE=registry.example/clusterdns:VERSION", "IMAGE="+ours, 1))
		}
	}
	return found
}

// terminal runs commands in a folder that has what a clone of the repository has
// after `make build`.
type terminal struct {
	dir string
	env []string
}

// newTerminal returns a terminal in which kubectl is kubetest's. Its dig and
// curl ask server, wherever they are told to. What needs a pod that runs does
// nothing.
func newTerminal(t *testing.T, server *server) *terminal {
	t.Helper()
	dir, bin := t.TempDir(), t.TempDir()
	scripts := map[string]string{
		"kubectl": "case \" $* \" in *' logs '*|*' port-forward '*) exit 0;; esac\nexec " + kubetest + " kubectl \"$@\"\n",
	}
	if server != nil {
		_, port, _ := net.SplitHostPort(server.dns)
		for _, tool := range []string{"dig", "curl"} {
			path, err := exec.LookPath(tool)
			if err != nil {
				t.Skipf("no %s: %v", tool, err)
			}
			sed := "s/^@.*/@127.0.0.1/"
			if tool == "curl" {
				sed = "s|http://127.0.0.1:9153|http://" + server.metrics + "|"
			}
			scripts[tool] = fmt.Sprintf("args=()\nfor a; do case $a in -p|1053) ;; *) args+=(\"$(sed '%s' <<<\"$a\")\");; esac; done\nexec %s %s \"${args[@]}\"\n",
				sed, path, map[string]string{"dig": "-p " + port + " +tries=1 +time=20"}[tool])
		}
	}
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/usr/bin/env bash\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	manifest, err := os.ReadFile(repository + "/deploy/kubernetes.yaml")
	err = errors.Join(err,
		os.MkdirAll(dir+"/deploy", 0o755), os.MkdirAll(dir+"/bin", 0o755),
		os.WriteFile(dir+"/deploy/kubernetes.yaml", manifest, 0o644),
		os.Symlink(binary, dir+"/bin/clusterdns"))
	if err != nil {
		t.Fatal(err)
	}
	return &terminal{dir: dir, env: append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig(), "PATH="+bin+":"+os.Getenv("PATH"))}
}

// run runs blocks in one shell, which ends at the first error, and returns what
// they print.
func (term *terminal) run(t *testing.T, blocks ...string) string {
	t.Helper()
	script := strings.Join(blocks, "\n")
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = term.dir, term.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s\n%s%v", script, out, err)
	}
	return string(out)
}

func expect(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("no %q among\n%s", text, out)
		}
	}
}

// server is a clusterdns that follows the control plane.
type server struct{ dns, metrics string }

func start(t *testing.T) *server {
	t.Helper()
	ports, err := controlplane.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	port := ports[0]
	s := &server{dns: net.JoinHostPort("127.0.0.1", port), metrics: net.JoinHostPort("127.0.0.1", ports[1])}
	corefile := filepath.Join(t.TempDir(), "Corefile")
	text := fmt.Sprintf(`.:%s {
	bind 127.0.0.1
	errors
	prometheus %s
	kubernetes cluster.local in-addr.arpa ip6.arpa {
		kubeconfig %s
	}
	template IN A kubernetes.io abc.com {
		answer "{{ .Name }} 60 IN A 203.0.113.9"
	}
}
`, port, s.metrics, cluster.Kubeconfig())
	if err := os.WriteFile(corefile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-conf", corefile)
	log := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := cmd.Process.Signal(syscall.SIGTERM)
		if err = errors.Join(err, cmd.Wait()); err != nil {
			t.Errorf("%v\n%s", err, log)
		}
	})
	err = cluster.Wait(t.Context(), "an answer", func(context.Context) error {
		m, err := mdns.Exchange(new(mdns.Msg).SetQuestion("kubernetes.default.svc.cluster.local.", mdns.TypeA), s.dns)
		if err == nil && len(m.Answer) == 0 {
			err = errors.New(mdns.RcodeToString[m.Rcode])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// verify runs the section Verify.
func (term *terminal) verify(t *testing.T, page map[string][]string) {
	t.Helper()
	out := strings.Join(strings.Fields(term.run(t, page["Verify"]...)), " ")
	expect(t, out,
		ours+" true",
		"kubernetes.default.svc.cluster.local. 5 IN A 10.96.0.1",
		"1.0.96.10.in-addr.arpa. 5 IN PTR kubernetes.default.svc.cluster.local.",
		"5 IN SRV 0 100 443 kubernetes.default.svc.cluster.local.",
		"status: NXDOMAIN", "cluster.local. 5 IN SOA ns.dns.cluster.local.",
		"kubernetes.io. 60 IN A 203.0.113.9",
		"abc.com. 60 IN A 203.0.113.9",
		`coredns_clusterdns_synced{resource="services"`, "coredns_dns_responses_total{")
}

// TestFromCoreDNS goes from kubeadm's CoreDNS to clusterdns, and back after the
// Corefile has been changed.
func TestFromCoreDNS(t *testing.T) {
	installed(t, "", "")
	page, term := commands(t), newTerminal(t, start(t))
	setup := page["Moving a cluster to clusterdns, and back"]
	steps := page["From CoreDNS"]
	if len(setup) != 1 || len(steps) != 6 {
		t.Fatalf("the page has %d and %d blocks of commands, this test knows 1 and 6", len(setup), len(steps))
	}
	old := kubeadmCorefile(t)
	expect(t, term.run(t, steps[0]), old, "\nclusterdns\n", "\nkubernetes\n")
	expect(t, term.run(t, steps[1]), "list namespaces: yes", "watch endpointslices.discovery.k8s.io: yes", "watch pods: yes")
	term.run(t, setup[0], steps[2])
	expect(t, term.run(t, setup[0], steps[3]), "deployment.apps/clusterdns-trial created", "successfully rolled out", "10.96.0.1")
	if image, replicas := deployment(t, "clusterdns-trial"); image != ours || replicas != 1 {
		t.Errorf("on trial: %d of %s", replicas, image)
	}
	term.run(t, steps[4])
	expect(t, term.run(t, setup[0], steps[5]), "image updated", "successfully rolled out")
	term.verify(t, page)

	// A copy that has the resourceVersion is refused, once the ConfigMap has changed.
	term.run(t, "kubectl -n kube-system get configmap coredns -o yaml > stale.yaml",
		`kubectl -n kube-system patch configmap coredns --type merge -p '{"data": {"Corefile": ". {\n    clusterdns cluster.local\n}\n"}}'`)
	expect(t, term.run(t, "! kubectl apply -f stale.yaml"), "Conflict")

	back := page["Roll back"]
	expect(t, term.run(t, back[0]), "rolled back", "successfully rolled out", coredns)
	if now := kubeadmCorefile(t); now != old {
		t.Errorf("the Corefile is\n%s", now)
	}
}

func kubeadmCorefile(t *testing.T) string {
	t.Helper()
	m, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(t.Context(), "coredns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m.Data["Corefile"]
}

// TestFromKubeDNS goes from a kube-dns of three replicas, with its autoscaler,
// and back.
func TestFromKubeDNS(t *testing.T) {
	empty(t)
	ns := metav1.NamespaceSystem
	for name, replicas := range map[string]int32{"kube-dns": 3, "kube-dns-autoscaler": 1} {
		labels := map[string]string{"k8s-app": name}
		d := &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Spec: appsv1.DeploymentSpec{
				Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "dns", Image: "registry.example/" + name}}}},
			},
		}
		if _, err := client.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-dns"}, Data: map[string]string{"stubDomains": `{"abc.com": ["1.2.3.4"]}`},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const at = "10.96.0.53" // not the manifest's
	_, err = client.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-dns"},
		Spec: corev1.ServiceSpec{ClusterIP: at, Selector: map[string]string{"k8s-app": "kube-dns"},
			Ports: []corev1.ServicePort{{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	page, term := commands(t), newTerminal(t, start(t))
	setup, steps := page["Moving a cluster to clusterdns, and back"], page["From kube-dns"]
	if len(steps) != 3 {
		t.Fatalf("the page has %d blocks of commands, this test knows 3", len(steps))
	}
	expect(t, term.run(t, steps[0]), `{"abc.com": ["1.2.3.4"]}`)
	term.run(t, setup[0], steps[1])
	if image, replicas := deployment(t, "clusterdns"); image != ours || replicas != 3 {
		t.Errorf("%d replicas of %s, want 3 of %s", replicas, image, ours)
	}
	term.run(t, steps[2])
	for _, name := range []string{"kube-dns", "kube-dns-autoscaler"} {
		if _, replicas := deployment(t, name); replicas != 0 {
			t.Errorf("%s has %d replicas", name, replicas)
		}
	}
	if s, err := client.CoreV1().Services(ns).Get(t.Context(), "kube-dns", metav1.GetOptions{}); err != nil || s.Spec.ClusterIP != at || len(s.Spec.Ports) != 3 {
		t.Errorf("the Service is %v, %v", s, err)
	}
	term.verify(t, page)

	term.run(t, setup[0], steps[1]) // once more: what was saved stays
	term.run(t, page["Roll back"][1])
	for name, want := range map[string]int32{"kube-dns": 3, "kube-dns-autoscaler": 1} {
		if _, replicas := deployment(t, name); replicas != want {
			t.Errorf("%s has %d replicas again, not %d", name, replicas, want)
		}
	}
}

// TestFresh installs clusterdns where nothing is, and verifies.
func TestFresh(t *testing.T) {
	empty(t)
	page, term := commands(t), newTerminal(t, start(t))
	term.run(t, append(page["Moving a cluster to clusterdns, and back"], page["In a cluster without DNS"]...)...)
	term.verify(t, page)
}

// TestEveryCommand makes sure that no section has commands that no test runs.
func TestEveryCommand(t *testing.T) {
	run := map[string]int{"Moving a cluster to clusterdns, and back": 1, "From CoreDNS": 6, "From kube-dns": 3, "In a cluster without DNS": 1, "Verify": 2, "Roll back": 2}
	found := commands(t)
	for heading, blocks := range found {
		if run[heading] != len(blocks) {
			t.Errorf("%q has %d blocks of commands, and %d are run", heading, len(blocks), run[heading])
		}
	}
	if len(found) != len(run) {
		t.Errorf("%d sections with commands, want %d", len(found), len(run))
	}
}
