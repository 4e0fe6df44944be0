package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

// outage is a cluster without controllers whose API server the tests end.
// Each finds it up and leaves it so.
type outage struct {
	*controlplane.ControlPlane
	client  kubernetes.Interface
	cert    clientCert
	started time.Time // the API server's last start

	// What every test asks for, from the API. None of it changes.
	space *space
	want  map[question]string
}

// newOutage starts one, with objects of several kinds.
func newOutage(t *testing.T) *outage {
	t.Helper()
	cert := newClientCert(t)
	c, err := controlplane.Start(t.Context(), controlplane.Options{
		APIOnly:       true,
		APIServerArgs: []string{"--client-ca-file=" + cert.ca},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.APIServer.LogTail())
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	o := &outage{ControlPlane: c, client: kubernetes.NewForConfigOrDie(c.Config()), cert: cert}
	o.fill(newSpace(t, o.client))
	return o
}

// TestOutage ends, stops and restarts the API server.
func TestOutage(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	t.Run("endpoint", o.testEndpoint)
	t.Run("kill", o.testKill)
	t.Run("pause", o.testPause)
	t.Run("missed", o.testMissed)
	t.Run("absent", o.testAbsent)
	t.Run("warm", o.testWarm)
	t.Run("reload", o.testReload)
	t.Run("source", o.testSource)
	t.Run("plain list", o.testPlainList)
}

// fill makes services of several kinds.
func (o *outage) fill(s *space) {
	o.space = s
	ip := s.create(families(dual, service("ip")))
	s.create(headless(service("headless")))
	s.createSlice("headless", 80, endpoint("198.51.100.1", "one"), endpoint("198.51.100.2", ""))
	s.createSlice("headless", 80, endpoint("198.51.100.2", ""), endpoint("198.51.100.3", ""))
	s.create(external("alias", strings.TrimSuffix(s.fqdn("ip"), ".")))
	s.create(external("away", "db."+outside))

	ips := ip.Spec.ClusterIPs
	name, endpoints := s.fqdn("ip"), a(s.fqdn("headless"))
	o.want = map[question]string{
		a(name):                            addrText(a(name), ips...),
		aaaa(name):                         addrText(aaaa(name), ips...),
		srv(name):                          text(append(glue(name, ips...), "SRV 0 50 80 "+name)...),
		ptr(ips[1]):                        "PTR " + name,
		{name, dns.TypeTXT}:                nodata,
		endpoints:                          addrText(endpoints, "198.51.100.1", "198.51.100.2", "198.51.100.3"),
		a(s.fqdn("one.headless")):          addrText(endpoints, "198.51.100.1"),
		ptr("198.51.100.3"):                "PTR " + s.fqdn("198-51-100-3.headless"),
		a(s.fqdn("alias")):                 text("CNAME "+name, name+" "+addrText(a(name), ips...)),
		a(s.fqdn("away")):                  text("CNAME db."+outside, "db."+outside+" A 192.0.2.53"),
		a(s.fqdn("no-such")):               nxdomain,
		a("ip.no-such.svc.cluster.local."): nxdomain,
		{s.name + ".svc.cluster.local.", dns.TypeA}: nodata,
	}
}

// server starts a server that follows the cluster, and waits until it does.
func (o *outage) server(t *testing.T) *server {
	t.Helper()
	s := newServer(t, o.config())
	if err := s.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (o *outage) config(options ...string) config {
	return config{stanza: append([]string{"kubeconfig " + o.Kubeconfig()}, options...)}
}

func (o *outage) kill(t *testing.T) {
	t.Helper()
	if err := o.APIServer.Kill(); err != nil {
		t.Fatal(err)
	}
}

func (o *outage) start(t *testing.T) {
	t.Helper()
	if err := o.APIServer.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.started = time.Now()
}

// changes makes changes of each sort that the test's server has to notice.
func (o *outage) changes(t *testing.T, name string) (noticed func(*server)) {
	t.Helper()
	s := *o.space
	s.t = t
	created := s.create(service(name))
	s.create(headless(service(name + "-headless")))
	s.createSlice(name+"-headless", 80, endpoint("198.51.100.9", ""))
	return func(srv *server) {
		t.Helper()
		q, endpoints := a(s.fqdn(name)), a(s.fqdn(name+"-headless"))
		srv.becomes(t, q, addrText(q, created.Spec.ClusterIP))
		srv.becomes(t, endpoints, addrText(endpoints, "198.51.100.9"))
	}
}

// testKill kills the API server and starts it again.
func (o *outage) testKill(t *testing.T) {
	server := o.server(t)
	s := *o.space
	s.t = t
	doomed := s.create(service("doomed"))
	server.becomes(t, ptr(doomed.Spec.ClusterIP), "PTR "+s.fqdn("doomed"))
	load := server.load(t, o.want)
	for range 2 {
		o.kill(t)
		load.more(1500)
		o.start(t)
	}
	s.delete("doomed")
	noticed := o.changes(t, "after-kill")
	changed := time.Now()
	noticed(server)
	server.becomes(t, a(s.fqdn("doomed")), nxdomain)
	server.becomes(t, ptr(doomed.Spec.ClusterIP), nxdomain)
	t.Logf("changes noticed %v after they were made, %v after the API server was ready; lists since the start: %v",
		time.Since(changed), time.Since(o.started), server.metric(t, "coredns_clusterdns_lists_total"))
	load.stop()
}

// testPause stops the API server from running, with its connections open.
func (o *outage) testPause(t *testing.T) {
	server := o.server(t)
	load := server.load(t, o.want)
	if err := o.APIServer.Pause(); err != nil {
		t.Fatal(err)
	}
	load.more(3000)
	if err := o.APIServer.Resume(); err != nil {
		t.Fatal(err)
	}
	resumed := time.Now()
	noticed := o.changes(t, "after-pause")
	noticed(server)
	t.Logf("changes noticed %v after the API server went on", time.Since(resumed))
	load.stop()
}

// testMissed cuts the server off the API server, which is changed and
// restarted meanwhile: it forgets its history, so that the server has to list
// anew, and to find out by itself what is gone.
func (o *outage) testMissed(t *testing.T) {
	s := *o.space
	s.t = t
	gone := s.create(service("gone"))
	s.create(headless(service("gone-headless")))
	slice := s.createSlice("gone-headless", 80, endpoint("198.51.100.20", ""))
	replaced := s.create(service("replaced"))

	link := newLink(t, o.ControlPlane)
	server := newServer(t, config{stanza: []string{"kubeconfig " + link.kubeconfig}})
	if err := server.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	q := a(s.fqdn("gone-headless"))
	before := map[question]string{
		a(s.fqdn("gone")):            addrText(q, gone.Spec.ClusterIP),
		ptr(gone.Spec.ClusterIP):     "PTR " + s.fqdn("gone"),
		q:                            addrText(q, "198.51.100.20"),
		a(s.fqdn("replaced")):        addrText(q, replaced.Spec.ClusterIP),
		ptr(replaced.Spec.ClusterIP): "PTR " + s.fqdn("replaced"),
	}
	for q, want := range before {
		server.is(t, q, want)
	}
	load := server.load(t, o.want)

	link.cut()
	s.delete("gone")
	s.delete("replaced")
	anew := s.create(service("replaced"))
	err := o.client.DiscoveryV1().EndpointSlices(s.name).Delete(t.Context(), slice.Name, metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	noticed := o.changes(t, "unseen")
	o.kill(t)
	o.start(t)
	for q, want := range before { // it cannot know yet
		server.is(t, q, want)
	}
	link.restore(t)
	restored := time.Now()
	server.becomes(t, a(s.fqdn("gone")), nxdomain)
	server.becomes(t, ptr(gone.Spec.ClusterIP), nxdomain)
	server.becomes(t, q, nxdomain)
	server.becomes(t, a(s.fqdn("replaced")), addrText(q, anew.Spec.ClusterIP))
	server.becomes(t, ptr(replaced.Spec.ClusterIP), nxdomain)
	noticed(server)
	t.Logf("all of it noticed %v after the link was back", time.Since(restored))
	if lists := server.metric(t, "coredns_clusterdns_lists_total", `resource="services"`); lists < 2 {
		t.Errorf("%v lists of services: the server did not list anew, and nothing was tested", lists)
	}
	load.stop()
}

// testAbsent starts the server while there is no API server. It says so, and
// guesses nothing.
func (o *outage) testAbsent(t *testing.T) {
	o.kill(t)
	server := newServer(t, o.config("startup_timeout 1s", "pods verified"))
	wait(t, "an answer", func() error {
		_, err := server.exchange("udp", a("cluster.local."))
		return err
	})
	for q := range o.want {
		server.is(t, q, servfail)
	}
	for _, name := range []string{"cluster.local.", "svc.cluster.local.", "198-51-100-1.default.pod.cluster.local.", "1.100.51.198.in-addr.arpa."} {
		server.is(t, a(name), servfail)
		server.is(t, question{name, dns.TypeSOA}, servfail)
	}
	if err := server.checkReady(t.Context()); err == nil {
		t.Error("/ready says that it is")
	}
	if status, body, err := server.get(t.Context(), health, "/health"); status != http.StatusOK {
		t.Errorf("/health: %d %s %v", status, body, err)
	}
	for _, resource := range []string{"namespaces", "services", "endpointslices", "pods"} {
		if server.metric(t, "coredns_clusterdns_synced", fmt.Sprintf("resource=%q", resource)) != 0 {
			t.Errorf("metrics say that %s are synced", resource)
		}
		if want := resource + " not synced"; !strings.Contains(server.logged(), want) {
			t.Errorf("the log does not have %q", want)
		}
	}
	if n := server.metric(t, "coredns_clusterdns_unready_responses_total"); n == 0 {
		t.Error("metrics count no SERVFAIL for want of a resource")
	}
	o.start(t)
	if err := server.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("ready %v after the API server", time.Since(o.started))
	for q, want := range o.want {
		server.is(t, q, want)
	}
}

// testPlainList has an API server that does not know WatchList.
func (o *outage) testPlainList(t *testing.T) {
	args := slices.Clone(o.APIServer.Args)
	o.kill(t)
	o.APIServer.Args = append(o.APIServer.Args, "--feature-gates=WatchList=false")
	defer func() { o.APIServer.Args = args }()
	o.start(t)
	before := o.lists(t)
	server := o.server(t)
	for q, want := range o.want {
		server.is(t, q, want)
	}
	for resource, n := range o.lists(t) {
		if n -= before[resource]; n != 1 {
			t.Errorf("the API server was asked for %v lists of %s, want one", n, resource)
		}
	}
	load := server.load(t, o.want)
	o.changes(t, "plain")(server)
	o.kill(t)
	load.more(500)
	o.start(t)
	noticed := o.changes(t, "plain-again")
	noticed(server)
	t.Logf("changes noticed %v after the API server was ready", time.Since(o.started))
	for _, name := range []string{"request", "rate_limiter"} {
		name = "coredns_kubernetes_rest_client_" + name + "_duration_seconds_count"
		if server.metric(t, name) == 0 {
			t.Errorf("%s is 0", name)
		}
	}
	load.stop()
}

// lists returns how many lists of each resource the API server has counted
// that were not streamed.
func (o *outage) lists(t *testing.T) map[string]float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	body, err := o.client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		t.Fatal(err)
	}
	lists := map[string]float64{"services": 0, "namespaces": 0, "endpointslices": 0}
	for line := range strings.Lines(string(body)) {
		if !strings.HasPrefix(line, "apiserver_request_total{") || !strings.Contains(line, `verb="LIST"`) {
			continue
		}
		for resource := range lists {
			if strings.Contains(line, fmt.Sprintf("resource=%q", resource)) {
				n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
				if err != nil {
					t.Fatalf("metric %q: %v", line, err)
				}
				lists[resource] += n
			}
		}
	}
	return lists
}
