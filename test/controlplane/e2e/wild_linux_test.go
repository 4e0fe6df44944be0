package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"

	"github.com/clusterdns/clusterdns/test/controlplane/netns"
)

const examples = "../../../corefile-examples"

// outsideZone is what the resolver of a container's resolv.conf knows.
const outsideZone = `
outside.example. 60 A 198.51.100.7
outside.example. 60 AAAA 2001:db8::7
v4only.example. 60 A 198.51.100.8
brief.example. 5 A 198.51.100.9
7.100.51.198.in-addr.arpa. 60 PTR outside.example.
www.example.com. 60 A 198.51.100.10
a.b.internal.cloudapp.net. 60 A 198.51.100.11
a.b.c.d.internal.cloudapp.net. 60 A 198.51.100.12
x.reddog.microsoft.com. 60 A 198.51.100.13
k3d-demo-server-0. 60 A 198.51.100.14
api.internal.demo.k8s.local. 60 A 198.51.100.15
db.corp.example. 60 A 198.51.100.16
1.2.3.4.deep.example. 60 A 198.51.100.17
`

// stub is a zone with a name that only the resolver of a stub domain has.
func stub(zone string) string { return "db." + zone + " 60 A 203.0.113.9\n" }

// wild says of a Corefile of corefile-examples what is its own.
type wild struct {
	ttl       uint32            // of the cluster's records
	pod       string            // where it listens, with its address from POD_IP
	ready     string            // port of /ready if not 8181
	resolvers map[string]string // zones by address, in place of outsideZone at resolver
	stub      string            // a stub domain
	verified  bool              // pods verified
	noIPv6    bool              // AAAA has no answers
	check     func(*testing.T, *container, *resolvers)
}

// podIP is what the environment of a pod calls POD_IP.
const podIP = "10.244.99.2"

var wilds = map[string]wild{
	"kubeadm": {ttl: 30},
	"kind":    {ttl: 30},
	"kops":    {ttl: 30},
	"eks":     {ttl: 5},
	"k3s": {ttl: 5, stub: "corp.example.", resolvers: map[string]string{resolver: outsideZone, "10.150.0.1": stub("corp.example.")},
		check: func(t *testing.T, c *container, _ *resolvers) {
			c.is(t, "", a("k3d-demo-server-0."), "A 172.18.0.3")
			c.is(t, "", ptr("172.18.0.3"), "PTR k3d-demo-server-0.")
			c.is(t, "", a("host.k3d.internal."), "A 192.168.65.254")
			if text, err := os.ReadFile(c.Log); err != nil || !strings.Contains(string(text), `"A IN host.k3d.internal. `) {
				t.Errorf("custom/log.override: the log has no query, %v", err)
			}
		}},
	"kops-gossip-ipv6": {ttl: 30, check: func(t *testing.T, c *container, _ *resolvers) {
		c.is(t, "", a("api.internal.demo.k8s.local."), "A 10.20.0.11")
		c.is(t, "", aaaa("v4only.example."), nodata)
		c.dns = "[::1]:53" // dns64 is for questions over IPv6
		c.is(t, "", aaaa("v4only.example."), "AAAA 64:ff9b::c633:6408")
		c.is(t, "", aaaa("outside.example."), "AAAA 2001:db8::7")
	}},
	"aks": {ttl: 30, stub: "stub.example.", resolvers: map[string]string{resolver: outsideZone, "10.150.0.1": stub("stub.example.")},
		check: func(t *testing.T, c *container, _ *resolvers) {
			c.is(t, "", a("db.corp.example."), "A 10.0.0.1") // custom/hosts.override
			c.is(t, "", a("a.b.internal.cloudapp.net."), "A 198.51.100.11")
			c.is(t, "", a("a.b.c.d.internal.cloudapp.net."), nxdomain)
			c.is(t, "", a("x.reddog.microsoft.com."), nxdomain)
		}},
	"gke": {ttl: 5, stub: "example.com.", resolvers: map[string]string{
		"8.8.8.8": outsideZone + stub("example.com."), "1.1.1.1": outsideZone + stub("example.com."),
		"8.8.4.4": stub("example.com."), "1.0.0.1": stub("example.com."),
	}},
	"kube-dns": {ttl: 5, stub: "my.cluster.local.",
		resolvers: map[string]string{
			"8.8.8.8": outsideZone, "8.8.4.4": outsideZone,
			"1.2.3.4": stub("abc.com."), "2.3.4.5": stub("my.cluster.local."),
		},
		check: func(t *testing.T, c *container, _ *resolvers) { c.is(t, "", a("db.abc.com."), "A 203.0.113.9") }},
	"huawei-cce": {ttl: 5, pod: podIP + ":5353", ready: "8081", stub: "consul.local.",
		resolvers: map[string]string{resolver: outsideZone, "10.150.0.1": stub("consul.local.")}},
	"huawei-cce-servers": {ttl: 5, pod: podIP + ":5353", ready: "8081",
		check: func(t *testing.T, c *container, r *resolvers) {
			c.is(t, "", a("www.example.com."), "A 192.168.1.1")
			preferUDP(t, c, r)
			serveStale(t, c, r)
		}},
	"alibaba-ack":          {ttl: 5, verified: true, check: preferUDP},
	"alibaba-ack-autopath": {ttl: 5, verified: true, check: preferUDP},
	"ucloud-uk8s": {ttl: 30, noIPv6: true, stub: "ucloudk8s.com.",
		resolvers: map[string]string{resolver: outsideZone, "10.9.10.8": stub("ucloudk8s.com.")}},
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// preferUDP asks over TCP and requires that the resolver was asked over UDP.
func preferUDP(t *testing.T, c *container, r *resolvers) {
	before := r.tcp.Load()
	if _, err := c.exchange("tcp", "", a("over-udp.example.")); err != nil {
		t.Error(err)
	}
	if after := r.tcp.Load(); after != before {
		t.Error("prefer_udp: the resolver was asked over TCP")
	}
}

// serveStale waits until an answer has expired while the resolver is away.
func serveStale(t *testing.T, c *container, r *resolvers) {
	c.is(t, "", a("brief.example."), "A 198.51.100.9")
	r.silent.Store(true)
	defer r.silent.Store(false)
	wait(t, "a stale answer", func() error {
		m, err := c.exchange("udp", "", a("brief.example."))
		if err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
			t.Fatalf("serve_stale: %v %v", m, err)
		}
		if ttl := m.Answer[0].Header().Ttl; ttl != 0 {
			return fmt.Errorf("it has %d seconds to live", ttl)
		}
		return nil
	})
}

// TestWild runs every Corefile of corefile-examples as it is: not a letter of
// it, or of the files that it imports, is made for this test. The rights are
// those of deploy/kubernetes.yaml.
func TestWild(t *testing.T) {
	rights := account(t)
	s := newSpace(t, client)
	web := s.create(service("web"))
	dual := s.create(families(corev1.IPFamilyPolicyPreferDualStack, service("dual")))
	s.create(headless(service("db")))
	s.createSlice("db", 5432, endpoint("10.244.7.1", "db-0"), endpoint("10.244.7.2", ""))
	s.create(external("ext", "outside.example"))
	s.deploy("client", 1)
	pod := s.pods("client", 1)[0].Status.PodIPs[0].IP

	// The answers that all of them give.
	podOf := func(addr string) question { return a(dashed(addr) + "." + s.name + ".pod.cluster.local.") }
	common := map[question]string{
		a(s.fqdn("web")):                          "A " + web.Spec.ClusterIP,
		a(s.fqdn("dual")):                         "A " + dual.Spec.ClusterIPs[0],
		aaaa(s.fqdn("web")):                       nodata,
		a(s.fqdn("db")):                           text("A 10.244.7.1", "A 10.244.7.2"),
		a(s.fqdn("db-0.db")):                      "A 10.244.7.1",
		srv("_http._tcp." + s.fqdn("web")):        text("SRV 0 100 80 "+s.fqdn("web"), "+ "+s.fqdn("web")+" A "+web.Spec.ClusterIP),
		ptr(web.Spec.ClusterIP):                   "PTR " + s.fqdn("web"),
		ptr("10.244.7.1"):                         "PTR " + s.fqdn("db-0.db"),
		a(s.fqdn("no-such")):                      nxdomain,
		a("no-such-namespace.svc.cluster.local."): "NXDOMAIN",
		a(s.fqdn("ext")):                          text("CNAME outside.example.", "outside.example. A 198.51.100.7"),
		podOf(pod):                                "A " + pod,
		a("outside.example."):                     "A 198.51.100.7",
		ptr("198.51.100.7"):                       "PTR outside.example.", // fallthrough in-addr.arpa
		a("no-such.example."):                     nxdomain,
	}

	entries, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, entry := range entries {
		name := entry.Name()
		w, ok := wilds[name]
		switch {
		case ok:
			found++
		case !entry.IsDir(): // the list of them
			continue
		case name == "quickstart": // has manifests in the place of an API server
			continue
		case exists(filepath.Join(examples, name, "answers")): // no distribution's: TestExampleAnswers in test
			continue
		default:
			t.Errorf("corefile-examples/%s: this test does not know what to ask", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := netns.New(t)
			n.IP(t, "addr", "add", pod+"/32", "dev", "lo")
			at, env := "127.0.0.1", []string(nil)
			if w.pod != "" {
				at, env = podIP, []string{"POD_IP=" + podIP}
				n.IP(t, "addr", "add", podIP+"/32", "dev", "lo")
			}
			zones := w.resolvers
			if zones == nil {
				zones = map[string]string{resolver: outsideZone}
			}
			r := newResolvers(t, n, zones)
			port := "8181"
			if w.ready != "" {
				port = w.ready
			}
			c := newContainer(t, n, filepath.Join(examples, name), rights, cmp.Or(w.pod, "127.0.0.1:53"), "http://"+at+":"+port+"/ready", env...)

			m, err := c.exchange("udp", "", a(s.fqdn("web")))
			if err != nil || len(m.Answer) != 1 || m.Answer[0].Header().Ttl != w.ttl {
				t.Errorf("the first answer is not one with TTL %d: %v %v", w.ttl, m, err)
			}
			for q, want := range common {
				c.is(t, "", q, want)
			}
			v6 := map[question]string{aaaa(s.fqdn("dual")): "AAAA " + dual.Spec.ClusterIPs[1], aaaa("outside.example."): "AAAA 2001:db8::7"}
			for q, want := range v6 {
				if w.noIPv6 {
					want = nodata
				}
				c.is(t, "", q, want)
			}
			unknown := "A 10.9.9.9"
			if w.verified {
				unknown = nxdomain
			}
			c.is(t, "", podOf("10.9.9.9"), unknown)
			if w.stub != "" {
				c.is(t, "", a("db."+w.stub), "A 203.0.113.9")
			}
			// autopath answers a client's first question for a name outside,
			// whether a pod's or another's. They differ for cache's sake.
			search := "." + strings.TrimPrefix(s.fqdn(""), ".")
			for client, answer := range map[string][2]string{"": {"outside.example.", "198.51.100.7"}, pod: {"v4only.example.", "198.51.100.8"}} {
				want := nxdomain
				if strings.HasSuffix(name, "-autopath") {
					want = text("CNAME "+answer[0], answer[0]+" A "+answer[1])
				}
				c.is(t, client, a(strings.TrimSuffix(answer[0], ".")+search), want)
			}
			if w.check != nil {
				w.check(t, c, r)
			}
			for url, body := range map[string]string{
				"http://" + at + ":8080/health":  "OK",
				"http://" + at + ":9153/metrics": "\ncoredns_dns_requests_total{",
			} {
				if err := c.get(url, body); err != nil {
					t.Error(err)
				}
			}
			if line, err := c.laneWarning(); err != nil || line != "" {
				t.Errorf("%s %v", line, err)
			}
			t.Logf("%d questions", c.asked.Load())
		})
	}
	if found != len(wilds) {
		t.Errorf("of %d Corefiles that this test knows, %d are there", len(wilds), found)
	}
}
