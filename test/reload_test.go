package test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	coretest "github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// faulty is a plugin behind all others whose startup fails.
func init() {
	plugin.Register("faulty", func(c *caddy.Controller) error {
		c.OnStartup(func() error { return errors.New("faulty, as told") })
		dnsserver.GetConfig(c).AddPlugin(func(plugin.Handler) plugin.Handler { return coretest.ErrorHandler() })
		return nil
	})
}

const reloadCluster = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, ports: [{name: sql, port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: sql, port: 5432}]
endpoints: [{addresses: [10.244.1.30], hostname: db-0}]
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: shop}
spec: {type: ExternalName, externalName: web.shop.svc.cluster.local}
`

var reloadAnswers = []struct{ question, reply string }{
	{"web.shop.svc A", "NOERROR aa rd\nweb.shop.svc A 10.96.0.10"},
	{"web.shop.svc AAAA", "NOERROR aa rd soa"},
	{"nothing.shop.svc A", "NXDOMAIN aa rd soa"},
	{"db-0.db.shop.svc A", "NOERROR aa rd\ndb-0.db.shop.svc A 10.244.1.30"},
	{"alias.shop.svc A", "NOERROR aa rd\nalias.shop.svc CNAME web.shop.svc\nweb.shop.svc A 10.96.0.10"},
	{"10.0.96.10.in-addr.arpa. PTR", "NOERROR aa rd\n10.0.96.10.in-addr.arpa. PTR web.shop.svc"},
	{"_sql._tcp.db.shop.svc SRV", "NOERROR aa rd\n_sql._tcp.db.shop.svc SRV 0 100 5432 db-0.db.shop.svc\n;; additional\ndb-0.db.shop.svc A 10.244.1.30"},
}

// tally is what the clients of one kind saw.
type tally struct {
	sent, right, lost atomic.Int64
	wrong             sync.Map // what was wrong, once each
}

func (c *tally) String() string {
	return fmt.Sprintf("%d sent, %d answered rightly, %d without an answer", c.sent.Load(), c.right.Load(), c.lost.Load())
}

// ask sends one query over conn and judges the answer. It is false if conn is
// of no use any more.
func (c *tally) ask(conn *dns.Conn, r *dns.Msg, want *dnstext.Reply) bool {
	c.sent.Add(1)
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		c.lost.Add(1)
		return false
	}
	r.Id = dns.Id()
	if err := conn.WriteMsg(r); err != nil {
		c.lost.Add(1)
		return false
	}
	m, err := conn.ReadMsg()
	if err != nil {
		c.lost.Add(1)
		return false
	}
	diff := want.Diff(m)
	if m.Id != r.Id {
		diff = "the answer to another query: " + diff
	}
	if diff != "" {
		c.wrong.Store(r.Question[0].Name+" "+diff, nil)
		return true
	}
	c.right.Add(1)
	return true
}

// TestAnswersAcrossReloads asks all the time while the Corefile is reloaded,
// in vain every other time. Every answer must be right, and every connection
// be taken. CoreDNS itself leaves some queries without an answer: a server that
// is stopped closes the TCP connections it has accepted, those of which it has
// not read the query yet included. Those are counted.
func TestAnswersAcrossReloads(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	corefile := func(word, more string) string {
		return ".:0 {\nerrors\n" + word + " cluster.local in-addr.arpa {\nmanifests " + dir + "\n}\n" + more + "}\n"
	}
	s := start(t, corefile("clusterdns", ""))
	before := scrape(t)

	stop := make(chan struct{})
	var clients sync.WaitGroup
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var tallies [3]tally
	for kind, network := range []string{"udp", "tcp", "tcp"} {
		c, addr, persistent := &tallies[kind], s.addr(network), kind == 1
		for range 2 {
			clients.Go(func() {
				for i := 0; !stopped(); i++ {
					row := reloadAnswers[i%len(reloadAnswers)]
					r := dnstext.Cluster.Query(t, row.question)
					want, err := dnstext.Cluster.Parse(row.reply)
					if err != nil {
						t.Error(err)
						return
					}
					conn, err := dns.DialTimeout(network, addr, patience)
					if err != nil {
						t.Errorf("connecting over %s: %v", network, err)
						return
					}
					for c.ask(conn, r, want) && persistent && !stopped() {
					}
					conn.Close()
				}
			})
		}
	}
	const reloads = 20
	for i := range reloads {
		// Each instance answers some before its turn is over.
		for kind := range tallies {
			enough := tallies[kind].right.Load() + 10
			eventually(t, func() string {
				if tallies[kind].right.Load() < enough {
					return fmt.Sprintf("clients of kind %d: %v", kind, &tallies[kind])
				}
				return ""
			})
		}
		if err := s.reload(corefile([]string{"clusterdns", "kubernetes"}[i%2], "whoami\n")); err != nil {
			t.Fatal(err)
		}
		if err := s.reload(corefile("kubernetes", "faulty\n")); err == nil || !strings.Contains(err.Error(), "as told") {
			t.Fatalf("a reload that must fail: %v", err)
		}
	}
	close(stop)
	clients.Wait()

	for kind, name := range []string{"UDP", "TCP, connections kept", "TCP, a connection for each query"} {
		c := &tallies[kind]
		t.Logf("%s: %v, over %d reloads and as many failed ones", name, c, reloads)
		c.wrong.Range(func(what, _ any) bool {
			t.Errorf("%s: wrong: %v", name, what)
			return true
		})
	}
	// At worst what each client had under way when a server stopped.
	for kind := range tallies {
		if lost := tallies[kind].lost.Load(); lost > 2*reloads {
			t.Errorf("kind %d: %d queries were lost", kind, lost)
		}
	}
	// One index all the way.
	after := scrape(t)
	for name, value := range after {
		if strings.HasPrefix(name, "coredns_clusterdns_lists_total{") && strings.Contains(name, dir) && value != before[name] {
			t.Errorf("%s: %v, before the reloads %v", name, value, before[name])
		}
	}
}

// Without the stanza the feed ends, and with it again there is a new one.
func TestStanzaLeavesAndComesBack(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	with := ".:0 {\nclusterdns cluster.local {\nmanifests " + dir + "\n}\n}\n"
	s := start(t, with)
	feeds := func() (n int) {
		for name := range scrape(t) {
			if strings.HasPrefix(name, "coredns_clusterdns_serial{") && strings.Contains(name, dir) {
				n++
			}
		}
		return n
	}
	if n := feeds(); n != 1 {
		t.Fatalf("%d feeds at first", n)
	}
	if err := s.reload(".:0 {\nwhoami\n}\n"); err != nil {
		t.Fatal(err)
	}
	if n := feeds(); n != 0 {
		t.Errorf("%d feeds without the stanza", n)
	}
	// What changes meanwhile is there when it is back.
	if err := os.Remove(dir + "/cluster.yaml"); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "other.yaml", strings.ReplaceAll(reloadCluster, "10.96.0.10", "10.96.0.99"))
	if err := s.reload(with); err != nil {
		t.Fatal(err)
	}
	s.expect(t, dnstext.Cluster, "web.shop.svc A", "NOERROR aa rd\nweb.shop.svc A 10.96.0.99")
	if n := feeds(); n != 1 {
		t.Errorf("%d feeds with the stanza again", n)
	}
	s.stop(t)
	if n := feeds(); n != 0 {
		t.Errorf("%d feeds after the end", n)
	}
}

// A first start that fails says what is wrong, and where.
func TestStartFails(t *testing.T) {
	for _, row := range []struct{ corefile, want string }{
		{".:0 {\nclusterdns cluster.local {\nmanifests /nothing/there\n}\n}", "plugin/clusterdns: Corefile:2: "},
		{".:0 {\nkubernetes cluster.local {\nttl many\n}\n}", `plugin/clusterdns: Corefile:3 - Error during parsing: ttl: "many"`},
		{".:0 {\nclusterdns cluster.local\nkubernetes cluster.local\n}", "plugin/kubernetes: Corefile:3: the server block has it already, as clusterdns"},
	} {
		inst, err := caddy.Start(input(row.corefile))
		if err == nil {
			(&server{Instance: inst}).stop(t)
			t.Errorf("%s: no error", row.corefile)
		} else if !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got error %v, want one with %q", row.corefile, err, row.want)
		}
	}
}
