package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/clusterdns/clusterdns/test/controlplane/netns"
)

const (
	clusterIP = "10.96.0.10"    // of kube-dns
	nodeLocal = "169.254.20.10" // of the DaemonSet
	// proxyLag is the time between the end of a pod and kube-proxy's knowing.
	proxyLag = time.Second
)

// node is a node's network: pods of servers and clients on links of their own, and
// the Service kube-dns, as kube-proxy makes it.
type node struct {
	netns.Namespace
	pods int
}

func newNode(t *testing.T, s *site) *node {
	t.Helper()
	n := &node{Namespace: netns.New(t)}
	outsideWorld(t, n.Namespace)
	s.relayAPI(t, n.Namespace)
	runIn(t, n.Namespace, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	n.endpoints(t)
	return n
}

// pod makes a pod's namespace, with an address and a route to everywhere.
func (n *node) pod(t *testing.T) (netns.Namespace, string) {
	t.Helper()
	n.pods++
	p := netns.New(t)
	gateway, addr := fmt.Sprintf("10.244.%d.1", n.pods), fmt.Sprintf("10.244.%d.2", n.pods)
	link := fmt.Sprintf("pod%d", n.pods)
	n.Connect(t, p, link, []string{gateway + "/24"}, []string{addr + "/24"})
	p.IP(t, "route", "add", "default", "via", gateway)
	return p, addr
}

// endpoints makes the Service's address lead to one of the pods, at random.
func (n *node) endpoints(t *testing.T, pods ...string) {
	t.Helper()
	rules := "drop"
	if len(pods) > 0 {
		var to []string
		for i, addr := range pods {
			to = append(to, fmt.Sprintf("%d : %s", i, addr))
		}
		rules = fmt.Sprintf("dnat to numgen random mod %d map { %s }", len(pods), strings.Join(to, ", "))
	}
	text := fmt.Sprintf(`table ip kube
delete table ip kube
table ip kube {
	chain services {
		type nat hook prerouting priority dstnat
		ip daddr %[1]s udp dport 53 %[2]s
		ip daddr %[1]s tcp dport 53 %[2]s
	}
}
`, clusterIP, rules)
	err := n.Do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w\n%s\n%s", err, out, text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// forget removes the node's UDP flows to a pod, as kube-proxy does with those of an
// endpoint that is gone: a client that comes to use a port again would follow them.
func (n *node) forget(t *testing.T, pod string) {
	t.Helper()
	err := n.Do(func() error {
		filter := &netlink.ConntrackFilter{}
		err := errors.Join(filter.AddProtocol(unix.IPPROTO_UDP), filter.AddIP(netlink.ConntrackReplySrcIP, net.ParseIP(pod)))
		if err == nil {
			_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
		}
		return err
	})
	if err != nil {
		t.Fatalf("removing flows to %s: %v", pod, err)
	}
}

// replica is a pod of the Deployment.
type replica struct {
	*server
	addr string
}

// newReplica starts a pod and waits until it may have queries.
func (n *node) newReplica(t *testing.T, s *site, binary string, pod corev1.PodTemplateSpec) replica {
	t.Helper()
	p, addr := n.pod(t)
	s.relayAPI(t, p)
	r := replica{s.start(t, p, binary, pod), addr}
	r.waitReady(t, addr+":8181")
	for _, network := range []string{"udp", "tcp"} {
		// As stock CoreDNS, it is ready a moment before it listens; a kubelet's
		// probe, and kube-proxy, take longer than that.
		r.wait(t, "answering over "+network, func() error {
			_, err := ask(p, network, addr+":53", "kubernetes.default.svc.cluster.local.", dns.TypeA)
			return err
		})
	}
	return r
}

// roll replaces one pod after the other, as a Deployment does with maxUnavailable
// 1 and one in surplus: the next is ready before one ends, which goes on for the
// time that kube-proxy takes to know.
func (n *node) roll(t *testing.T, s *site, replicas []replica, binary string, pod corev1.PodTemplateSpec) {
	t.Helper()
	for i, old := range replicas {
		replicas[i] = n.newReplica(t, s, binary, pod)
		both := []string{old.addr}
		var after []string
		for _, r := range replicas {
			both, after = append(both, r.addr), append(after, r.addr)
		}
		n.endpoints(t, both...)
		if err := old.Terminate(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(proxyLag)
		n.endpoints(t, after...)
		n.forget(t, old.addr)
		if err := old.Err(); err != nil {
			t.Errorf("a pod ended: %v\n%s", err, old.LogTail())
		}
	}
}

// lookups is a program that looks names up with getaddrinfo, one after the other,
// until its input ends. Arguments are names and the address that each has.
const lookups = `
#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
	struct pollfd in = {.fd = 0, .events = POLLIN};
	long asked = 0, failed = 0, slow = 0;
	while (poll(&in, 1, 2) == 0) {
		char **q = argv + 1 + asked % ((argc - 1) / 2) * 2;
		struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET}, *list = 0;
		struct timespec from, to;
		char got[NI_MAXHOST] = "";
		clock_gettime(CLOCK_MONOTONIC, &from);
		int err = getaddrinfo(q[0], 0, &hints, &list);
		clock_gettime(CLOCK_MONOTONIC, &to);
		if (!err) getnameinfo(list->ai_addr, list->ai_addrlen, got, sizeof got, 0, 0, NI_NUMERICHOST);
		if (strcmp(got, q[1])) {
			failed++;
			fprintf(stderr, "%s: %s %s\n", q[0], got, err ? gai_strerror(err) : "");
		}
		if (list) freeaddrinfo(list);
		/* musl asks again after 2.5 s, glibc after 5 */
		slow += (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 2400;
		asked++;
	}
	printf("%ld %ld %ld\n", asked, failed, slow);
	return 0;
}
`

// client asks from a pod until it is stopped, which returns how many lookups there
// were, failed, and took so long that something was asked again.
type client struct {
	name string
	stop func() (asked, failed, slow int64, detail string)
}

// library runs the program with a C library, in a pod with the kubelet's
// resolv.conf.
func (n *node) library(t *testing.T, compiler string, flags []string, nameserver string, questions ...string) client {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "lookups")
	cmd := exec.Command(compiler, append(flags, "-x", "c", "-o", path, "-")...)
	cmd.Stdin = strings.NewReader(lookups)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", compiler, err, out)
	}
	conf := filepath.Join(dir, "resolv.conf")
	text := "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver " + nameserver + "\noptions ndots:5\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p, _ := n.pod(t)
	run := exec.Command("unshare", append([]string{"--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, conf, path}, questions...)...)
	var out, complaints bytes.Buffer
	run.Stdout, run.Stderr = &out, &complaints
	in, err := run.StdinPipe()
	if err == nil {
		err = p.Do(run.Start)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run.Process.Kill() })
	return client{compiler + " " + nameserver, func() (asked, failed, slow int64, detail string) {
		in.Close()
		if err := run.Wait(); err != nil {
			return 0, 1, 0, err.Error() + complaints.String()
		}
		fmt.Sscan(out.String(), &asked, &failed, &slow)
		return asked, failed, slow, complaints.String()
	}}
}

// once asks without a second try: a resolver would ask again what gets lost.
func (n *node) once(t *testing.T, network, nameserver, name, want string) client {
	t.Helper()
	p, _ := n.pod(t)
	var asked, failed int64
	var detail strings.Builder
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			got, err := ask(p, network, nameserver+":53", name, dns.TypeA)
			asked++
			if err != nil || got != want {
				failed++
				fmt.Fprintf(&detail, "%s over %s: %q %v\n", name, network, got, err)
			}
		}
	}()
	end := sync.OnceFunc(func() { close(stop); <-done })
	t.Cleanup(end)
	return client{network + " " + nameserver, func() (int64, int64, int64, string) {
		end()
		return asked, failed, 0, detail.String()
	}}
}

// finish stops clients and requires that each asked, and that nothing failed.
func finish(t *testing.T, clients []client) {
	t.Helper()
	for _, c := range clients {
		asked, failed, slow, detail := c.stop()
		t.Logf("%-28s %6d lookups, %d failed, %d asked again", c.name, asked, failed, slow)
		if asked < 50 {
			t.Errorf("%s: %d lookups are too few to say anything", c.name, asked)
		}
		if failed > 0 || slow > 0 {
			t.Errorf("%s: %d of %d failed, %d asked again\n%.2000s", c.name, failed, asked, slow, detail)
		}
	}
}

// clients are those of one nameserver: both C libraries by the search path, and
// UDP and TCP without a second try, for a name of the cluster and one outside.
func (n *node) clients(t *testing.T, nameserver, serviceIP string) []client {
	t.Helper()
	questions := []string{
		"kubernetes", serviceHost, "web", serviceIP, "web.default.svc.cluster.local", serviceIP,
		"kubernetes.default", serviceHost, "outside.example", outsideAddr,
	}
	return []client{
		n.library(t, "gcc", nil, nameserver, questions...),
		n.library(t, "musl-gcc", []string{"-static"}, nameserver, questions...),
		n.once(t, "udp", nameserver, "web.default.svc.cluster.local.", serviceIP),
		n.once(t, "tcp", nameserver, "kubernetes.default.svc.cluster.local.", serviceHost),
		n.once(t, "udp", nameserver, "outside.example.", outsideAddr),
	}
}

// web makes a Service, and returns its address.
func (s *site) web(t *testing.T) string {
	t.Helper()
	services := s.client.CoreV1().Services("default")
	web, err := services.Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { services.Delete(context.Background(), "web", metav1.DeleteOptions{}) })
	return web.Spec.ClusterIP
}

// TestReplace puts clusterdns in the place of CoreDNS, another clusterdns in its
// place, and CoreDNS back, one pod after the other, while clients ask.
func TestReplace(t *testing.T) {
	s := theSite(t)
	before := s.kubeadm(t)
	after := podOf(t, kustomize(t, "replace-coredns"))
	n := newNode(t, s)
	web := s.web(t)
	replicas := []replica{n.newReplica(t, s, stock, before), n.newReplica(t, s, stock, before)}
	n.endpoints(t, replicas[0].addr, replicas[1].addr)
	clients := n.clients(t, clusterIP, web)
	for _, step := range []struct {
		name, binary string
		pod          corev1.PodTemplateSpec
	}{
		{"CoreDNS to clusterdns", clusterdns, after},
		{"clusterdns to clusterdns", clusterdns, after},
		{"clusterdns to CoreDNS", stock, before},
	} {
		start := time.Now()
		n.roll(t, s, replicas, step.binary, step.pod)
		t.Logf("%s: %v", step.name, time.Since(start).Round(time.Second/10))
	}
	finish(t, clients)
}

// TestNodeLocal updates a node's pod as the DaemonSet does: the next starts beside
// it, at the same address, counts as available when its process has been up for
// minReadySeconds, and then the one before is ended. One that cannot sync ends by
// itself before that. No lookup fails, none is asked again, and no datagram is
// lost.
func TestNodeLocal(t *testing.T) {
	s := theSite(t)
	o := kustomize(t, "node-local")
	set := find[appsv1.DaemonSet](t, o, "DaemonSet", "")
	ready, pod := time.Duration(set.Spec.MinReadySeconds)*time.Second, set.Spec.Template
	lost := *pod.DeepCopy()
	lost.Spec.Containers[0].Env = append(lost.Spec.Containers[0].Env, corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: "10.96.0.99"}) // nobody's
	if err := s.apply(t.Context(), o, nil); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, s)
	makeAddress(t, n.Namespace, pod)
	web := s.web(t)
	lane := func(r *server) {
		t.Helper()
		r.wait(t, "open", func() error {
			if !strings.Contains(r.LogTail(), "Fast lane at "+nodeLocal+":53 open") {
				return errors.New("it has no lane")
			}
			return nil
		})
	}
	current := s.start(t, n.Namespace, clusterdns, pod)
	lane(current)
	clients := n.clients(t, nodeLocal, web)
	for _, step := range []struct {
		name string
		pod  corev1.PodTemplateSpec
		ends bool
	}{{"an update", pod, false}, {"one that cannot reach the API server", lost, true}, {"another update", pod, false}} {
		next := s.start(t, n.Namespace, clusterdns, step.pod)
		select {
		case <-next.Exited:
			if !step.ends {
				t.Fatalf("%s ended: %v\n%s", step.name, next.Err(), next.LogTail())
			}
			if text := next.LogTail(); next.Err() == nil || !strings.Contains(text, "another process serves at "+nodeLocal+":53") {
				t.Errorf("%s ended: %v\n%s", step.name, next.Err(), text)
			}
		case <-time.After(ready):
			if step.ends {
				t.Errorf("%s: it is taken to be available", step.name)
			}
			if err := current.Stop(); err != nil {
				t.Errorf("a pod ended: %v\n%s", err, current.LogTail())
			}
			current = next
			lane(current)
		}
	}
	finish(t, clients)
}

// TestLoadNotices: the load would have noticed, were there a time without a pod.
func TestLoadNotices(t *testing.T) {
	s := theSite(t)
	pod := s.kubeadm(t)
	n := newNode(t, s)
	web := s.web(t)
	r := n.newReplica(t, s, stock, pod)
	n.endpoints(t, r.addr)
	c := n.once(t, "udp", clusterIP, "web.default.svc.cluster.local.", web)
	time.Sleep(time.Second)
	n.endpoints(t, "10.244.200.2") // nobody's
	time.Sleep(time.Second)
	if asked, failed, _, _ := c.stop(); failed == 0 || failed == asked {
		t.Errorf("%s: %d of %d failed", c.name, failed, asked)
	}
}
