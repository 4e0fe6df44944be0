package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/clusterdns/clusterdns/test/controlplane/netns"
)

// kernelFile is kubeadm's Corefile with the kernel lane, and files in the place of an
// API server. $N is 1 for the first server of a namespace.
const kernelFile = `.:53 {
    errors
    health 127.0.0.1:808$N
    ready 127.0.0.1:818$N
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       manifests /manifests
       fastlane kernel
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus 127.0.0.1:915$N
    forward . ` + resolver + `
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loadbalance
}
`

// Objects of the kernel lane's servers, beside the service swap, which changes.
const kernelObjects = `{apiVersion: v1, kind: Namespace, metadata: {name: default}}
---
{apiVersion: v1, kind: Service, metadata: {name: kubernetes, namespace: default}, spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{name: https, port: 443}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.8.1, clusterIPs: [10.96.8.1], ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: dual, namespace: shop}, spec: {clusterIP: 10.96.8.2, clusterIPs: [10.96.8.2, "fd00:96::82"], ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: six, namespace: shop}, spec: {clusterIP: "fd00:96::83", clusterIPs: ["fd00:96::83"], ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: ext, namespace: shop}, spec: {type: ExternalName, externalName: outside.example}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None, ports: [{name: sql, port: 5432}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}, addressType: IPv4,
 ports: [{name: sql, port: 5432}], endpoints: [{addresses: [10.244.8.1], hostname: db-0}, {addresses: [10.244.8.2]}, {addresses: [10.244.8.3]}]}
`

// swapObject is the service swap with an address.
func swapObject(addr string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: swap, namespace: shop}, spec: {clusterIP: %[1]s, clusterIPs: [%[1]s], ports: [{name: http, port: 80}]}}\n", addr)
}

const swapName = "swap.shop.svc.cluster.local."

// kernelAnswers is what the kernel lane answers, and is asked again and again.
var kernelAnswers = map[question]string{
	a("web.shop.svc.cluster.local."):           "A 10.96.8.1",
	a("kubernetes.default.svc.cluster.local."): "A 10.96.0.1",
	aaaa("web.shop.svc.cluster.local."):        nodata,
	aaaa("dual.shop.svc.cluster.local."):       "AAAA fd00:96::82",
	a("db.shop.svc.cluster.local."):            text("A 10.244.8.1", "A 10.244.8.2", "A 10.244.8.3"),
	ptr("10.96.8.1"):                           "PTR web.shop.svc.cluster.local.",
	a("no-such.shop.svc.cluster.local."):       nxdomain,
	aaaa("web.no-such.svc.cluster.local."):     nxdomain,
	a("outside.example.cluster.local."):        nxdomain, // a search path's
}

// The addresses of the server's namespace and of its clients'.
var (
	kernelAddrs  = []string{"10.244.0.1", "fd00:10:244::1"}
	kernelPrefix = [2][]string{{"10.244.0.1/24", "fd00:10:244::1/64"}, {"10.244.0.2/24", "fd00:10:244::2/64"}}
)

// kernelServer is a container whose clusterdns has a kernel lane.
type kernelServer struct {
	*container
	root   string // its file system
	number int
}

// newKernelServer starts the server of that number in a namespace. It is not waited
// for, and ends with the test.
func newKernelServer(t *testing.T, n netns.Namespace, number int) *kernelServer {
	t.Helper()
	bin, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	const cpus = "sys/devices/system/cpu" // pods have all of /sys
	for _, dir := range []string{"etc", "proc", "manifests", cpus} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	possible, missing := os.ReadFile(filepath.Join("/", cpus, "possible"))
	err = errors.Join(err, missing, os.WriteFile(filepath.Join(root, cpus, "possible"), possible, 0o444))
	err = errors.Join(err, os.Link(bin, filepath.Join(root, "clusterdns")))
	for file, content := range map[string]string{
		"Corefile":            strings.ReplaceAll(kernelFile, "$N", fmt.Sprint(number)),
		"etc/hosts":           "127.0.0.1 localhost\n",
		"manifests/all.yaml":  kernelObjects,
		"manifests/swap.yaml": swapObject("10.96.9.0"),
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(root, file), []byte(content), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	proc, err := n.Start(netns.Spec{
		Root: root, Args: []string{"/clusterdns", "-conf", "/Corefile"}, User: nonroot, Log: filepath.Join(root, "log"),
		Caps: []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &kernelServer{&container{Namespace: n, Process: proc, dns: "127.0.0.1:53"}, root, number}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil && err.Error() != "it ended: signal: killed" {
			t.Errorf("clusterdns: %v", err)
		}
		if t.Failed() {
			t.Logf("server %d:\n%s", number, s.LogTail())
		}
	})
	return s
}

// metric returns the sum of a metric; -1 while the server does not listen.
func (s *kernelServer) metric(name string) float64 {
	body, err := s.fetch(fmt.Sprintf("http://127.0.0.1:915%d/metrics", s.number))
	if err != nil {
		return -1
	}
	sum, err := sumOf(body, name)
	if err != nil {
		return -1
	}
	return sum
}

// inKernel is how many queries the kernel has answered.
func (s *kernelServer) inKernel() float64 {
	return s.metric("coredns_clusterdns_fastlane_kernel_answered_total")
}

// open waits until the kernel lane is open.
func (s *kernelServer) open(t *testing.T) {
	t.Helper()
	wait(t, "the kernel lane", func() error {
		select {
		case <-s.Exited:
			t.Fatalf("clusterdns has ended: %v", s.Err())
		default:
		}
		if is := s.metric("coredns_clusterdns_fastlane_kernel_open"); is != 1 {
			return fmt.Errorf("coredns_clusterdns_fastlane_kernel_open is %v", is)
		}
		return nil
	})
}

// logs waits until the log has text so many times.
func (s *kernelServer) logs(t *testing.T, text string, times int) {
	t.Helper()
	wait(t, text, func() error {
		log, err := os.ReadFile(s.Log)
		if n := bytes.Count(log, []byte(text)); err == nil && n < times {
			err = fmt.Errorf("the log has it %d times", n)
		}
		return err
	})
}

// put replaces the file of the service swap as a whole, or removes it for nxdomain.
func (s *kernelServer) put(t *testing.T, answer string) {
	t.Helper()
	file, part := filepath.Join(s.root, "manifests/swap.yaml"), filepath.Join(s.root, "swap.part")
	var err error
	if answer == nxdomain {
		err = os.Remove(file)
	} else if err = os.WriteFile(part, []byte(swapObject(strings.TrimPrefix(answer, "A "))), 0o644); err == nil {
		err = os.Rename(part, file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// kernelLane is a server with a kernel lane in a namespace of its own, opposite one of
// clients.
type kernelLane struct {
	node, clients netns.Namespace
	*kernelServer
}

// TestKernelLane has all kinds of clients ask a server with `fastlane kernel`, in
// another network namespace, as pods do, while its objects change, it is reloaded, and
// killed.
func TestKernelLane(t *testing.T) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	release := unix.ByteSliceToString(name.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil || major < 6 || major == 6 && minor < 6 {
		t.Skipf("the kernel lane needs Linux 6.6; this is %s", release)
	}
	l := &kernelLane{node: netns.New(t), clients: netns.New(t)}
	l.node.Connect(t, l.clients, "pod", kernelPrefix[0], kernelPrefix[1])
	newResolvers(t, l.node, map[string]string{resolver: outsideZone})
	l.kernelServer = newKernelServer(t, l.node, 1)
	l.open(t)
	for _, addr := range kernelAddrs { // a new link may take a second
		client := &container{Namespace: l.clients, dns: net.JoinHostPort(addr, "53")}
		wait(t, "the link", func() error {
			_, err := client.exchange("udp", "", a("kubernetes.default.svc.cluster.local."))
			return err
		})
	}
	for _, test := range []struct {
		name string
		run  func(*kernelLane, *testing.T)
	}{
		{"tools", (*kernelLane).testTools},
		{"resolvers", (*kernelLane).testResolvers},
		{"dnsperf", (*kernelLane).testDnsperf},
		{"change", (*kernelLane).testChange},
		{"reload", (*kernelLane).testReload},
		{"kill", (*kernelLane).testKill}, // last: it ends the server
	} {
		t.Run(test.name, func(t *testing.T) { test.run(l, t) })
	}
}

// stream asks what kernelAnswers has until it is stopped.
func (l *kernelLane) stream(t *testing.T) *stream {
	var qs []question
	for q := range kernelAnswers {
		qs = append(qs, q)
	}
	return newStream(t, l.clients, kernelAddrs, qs, func(q question, got string, _ time.Time) string {
		if want := kernelAnswers[q]; got != want {
			return fmt.Sprintf("%v: %s, want %s", q, got, want)
		}
		return ""
	})
}

// answeredMost requires that more than half of n queries since were the kernel's: else
// the socket lane is what was tested. They are counted up to a second late.
func (s *kernelServer) answeredMost(t *testing.T, since float64, n int) {
	t.Helper()
	wait(t, "the kernel's count", func() error {
		if in := s.inKernel() - since; in < float64(n)/2 {
			return fmt.Errorf("it has answered %v of %d queries", in, n)
		}
		return nil
	})
}

// run runs a program among the clients.
func (l *kernelLane) run(args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	var out []byte
	err := l.clients.Do(func() (err error) {
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		err = fmt.Errorf("%v: %w\n%s", args, err, out)
	}
	return string(out), err
}

// testTools asks with dig and kdig, which show all of an answer, with and without EDNS.
func (l *kernelLane) testTools(t *testing.T) {
	before, asked := l.inKernel(), 0
	for _, tool := range []string{"dig", "kdig"} {
		t.Run(tool, func(t *testing.T) {
			path, err := exec.LookPath(tool)
			if err != nil {
				t.Skipf("no %s (Debian packages bind9-dnsutils, knot-dnsutils)", tool)
			}
			for _, server := range kernelAddrs {
				for _, options := range [][]string{{"+noedns"}, {"+edns=0", "+nocookie"}, {"+dnssec", "+nocookie"}} {
					for q, want := range kernelAnswers {
						args := slices.Concat([]string{path, "@" + server, "+time=10", q.name, dns.Type(q.qtype).String()}, options)
						asked++
						if out, err := l.run(args...); err != nil {
							t.Error(err)
						} else if got := shown(q, out); got != want {
							t.Errorf("%v: %s, want %s\n%s", args, got, want, out)
						}
					}
				}
			}
		})
	}
	l.answeredMost(t, before, asked)
}

// shown returns the answer in what dig or kdig shows.
func shown(q question, out string) string {
	_, status, _ := strings.Cut(out, "status: ")
	status = status[:max(0, strings.IndexAny(status, ",;"))]
	if status != "NOERROR" {
		return status
	}
	var lines []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 4 && f[0] == q.name && f[3] != "SOA" {
			lines = append(lines, strings.Join(f[3:], " "))
		}
	}
	if lines == nil {
		return nodata
	}
	return text(lines...)
}

// testResolvers looks names up with the resolvers of C libraries and of Go, by a search
// path.
func (l *kernelLane) testResolvers(t *testing.T) {
	want := map[string]string{
		"web":                       "10.96.8.1",
		"web.shop":                  "10.96.8.1",
		"web.shop.svc":              "10.96.8.1",
		"WEB.shop":                  "10.96.8.1",
		"kubernetes.default":        "10.96.0.1",
		"dual":                      sorted("10.96.8.2", "fd00:96::82"),
		"six":                       "fd00:96::83",
		"db":                        "10.244.8.1 10.244.8.2 10.244.8.3",
		"db-0.db":                   "10.244.8.1",
		"ext":                       sorted("198.51.100.7", "2001:db8::7"),
		"outside.example":           sorted("198.51.100.7", "2001:db8::7"),
		"no-such":                   "not found",
		"web.no-such":               "not found",
		"no-such.example":           "not found",
		"web.shop.svc.no-such.":     "not found",
		"10.96.8.1":                 "web.shop.svc.cluster.local",
		"fd00:96::83":               "six.shop.svc.cluster.local",
		"10.244.8.1":                "db-0.db.shop.svc.cluster.local",
		"10.99.99.99":               "not found",
		"web.shop.svc.cluster.loca": "not found",
	}
	before := l.inKernel()
	asked := 0
	for name, command := range libraries(t) {
		t.Run(name, func(t *testing.T) {
			for _, server := range kernelAddrs {
				p := newPod(t, l.clients, "shop", server)
				for what, want := range want {
					args, env := command(what)
					asked++
					if got, err := p.run(args, env); err != nil || got != want {
						t.Errorf("%s from %s: %q, want %q (%v)", what, server, got, want, err)
					}
				}
			}
		})
	}
	l.answeredMost(t, before, asked)
}

// testDnsperf asks for some seconds faster than any other client here.
func (l *kernelLane) testDnsperf(t *testing.T) {
	dnsperf, err := exec.LookPath("dnsperf")
	if err != nil {
		t.Skip("no dnsperf (Debian package dnsperf)")
	}
	byRcode := map[string]string{}
	for q, answer := range kernelAnswers {
		rcode := "NOERROR"
		if answer == nxdomain {
			rcode = nxdomain
		}
		byRcode[rcode] += q.String() + "\n"
	}
	for rcode, lines := range byRcode {
		file := filepath.Join(t.TempDir(), "questions")
		if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, server := range kernelAddrs {
			before := l.inKernel()
			out, err := l.run(dnsperf, "-s", server, "-d", file, "-l", "2", "-c", "16", "-q", "64", "-Q", "20000")
			if err != nil {
				t.Fatal(err)
			}
			var sent, lost int
			_, after, _ := strings.Cut(out, "Queries sent:")
			fmt.Sscan(after, &sent)
			_, after, ok := strings.Cut(out, "Queries lost:")
			fmt.Sscan(after, &lost)
			if !ok || sent == 0 || lost > 0 || !strings.Contains(out, fmt.Sprintf("%s %d (100.00%%)", rcode, sent)) {
				t.Errorf("not all of them are %s, or not all answered:\n%s", rcode, out)
			}
			t.Logf("%s from %s: %d queries", rcode, server, sent)
			l.answeredMost(t, before, sent)
		}
	}
}

// testChange changes an object under questions: the new answer comes, and the old one
// never after it. Then the object goes, and comes back.
func (l *kernelLane) testChange(t *testing.T) {
	var mu sync.Mutex
	var seen time.Time // the first new answer
	was, is := "A 10.96.9.0", "A 10.96.9.0"
	before := l.inKernel()
	s := newStream(t, l.clients, kernelAddrs, []question{a(swapName)}, func(q question, got string, sent time.Time) string {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case got == is:
			if seen.IsZero() {
				seen = time.Now()
			}
		case got != was:
			return fmt.Sprintf("%s: neither %s nor %s", got, was, is)
		case !seen.IsZero() && sent.After(seen):
			return fmt.Sprintf("%s, asked %v after the first %s", got, sent.Sub(seen), is)
		}
		return ""
	})
	for i := range 20 {
		next := fmt.Sprintf("A 10.96.9.%d", i+1)
		if i%5 == 4 {
			next = nxdomain
		}
		mu.Lock()
		was, is, seen = is, next, time.Time{}
		mu.Unlock()
		begin := time.Now()
		l.put(t, next)
		wait(t, next, func() error {
			mu.Lock()
			defer mu.Unlock()
			if seen.IsZero() {
				return fmt.Errorf("it is %s still", was)
			}
			return nil
		})
		mu.Lock()
		t.Logf("%s after %v", next, seen.Sub(begin))
		mu.Unlock()
		s.more(100)
	}
	l.answeredMost(t, before, s.stop())
}

// testReload reloads the Corefile under questions.
func (l *kernelLane) testReload(t *testing.T) {
	s := l.stream(t)
	for i := range 50 {
		if err := l.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		l.logs(t, "Reloading complete", i+1)
		if i%5 == 4 { // the others find the kernel closed still
			l.open(t)
			s.more(100)
		}
	}
	l.open(t)
	before := l.inKernel()
	s.more(1000)
	l.answeredMost(t, before, 1000)
	s.stop()
}

// testKill kills the server under questions while another one waits at its address.
func (l *kernelLane) testKill(t *testing.T) {
	next := newKernelServer(t, l.node, 2)
	next.logs(t, "CoreDNS-", 1) // it listens
	next.logs(t, "another process", 1)
	s := l.stream(t)
	s.more(1000)
	if err := l.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-l.Exited
	next.open(t)
	s.more(1000)
	next.answeredMost(t, 0, 1000)
	s.stop()
}
