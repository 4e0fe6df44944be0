// Package differential asks stock CoreDNS and clusterdns, side by side on one
// API server, the same questions, and demands the same answers.
package differential

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"k8s.io/client-go/kubernetes"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

var (
	seed     = flag.Uint64("seed", 1, "seed of the world and the questions")
	services = flag.Int("services", 120, "services made at random")
	rounds   = flag.Int("rounds", 2, "how often to change the world and ask again")
	only     = flag.String("variants", "", "names of the variants to compare, with commas between them; all if empty")
	limit    = flag.Int("questions", 3000, "about how many questions to ask each variant; 0 for all there are")
)

// The servers' first ports; variant i is served i ports further. They are below
// those that the control plane chooses from.
const stockPort, oursPort = 19000, 19100

// variants are the stanzas compared. Each is a server block of its own. Those
// with a stanza k8s_external are asked about that one's names, in externalZone.
var variants = []variant{
	{name: "kubeadm", zones: "cluster.local in-addr.arpa ip6.arpa", stanza: "pods insecure\nfallthrough in-addr.arpa ip6.arpa\nttl 30", zone: "cluster.local."},
	{name: "verified", zones: "cluster.local in-addr.arpa ip6.arpa", stanza: "pods verified\nendpoint_pod_names", zone: "cluster.local."},
	{name: "empty", zones: "cluster.local 10.in-addr.arpa", stanza: "ignore empty_service\nttl 0", zone: "cluster.local."},
	{name: "noendpoints", zones: "cluster.local in-addr.arpa", stanza: "noendpoints\nttl 3600", zone: "cluster.local."},
	{name: "namespaces", zones: "cluster.local in-addr.arpa ip6.arpa", stanza: "namespaces shop default\npods insecure", zone: "cluster.local."},
	{name: "selected", zones: "cluster.local in-addr.arpa ip6.arpa", stanza: "namespace_labels env notin (test)", zone: "cluster.local."},
	{name: "labels", zones: "cluster.local in-addr.arpa ip6.arpa", stanza: "labels tier notin (odd)", zone: "cluster.local."},
	{name: "root", zones: ".", stanza: "pods insecure\nfallthrough", zone: "."},
	{name: "external", zones: "cluster.local", stanza: "ttl 30\nendpoint_pod_names", zone: "cluster.local.",
		external: "example.org in-addr.arpa ip6.arpa {\nheadless\n}"},
	{name: "external-selected", zones: "cluster.local in-addr.arpa", stanza: "ttl 60\nnamespace_labels env notin (test)", zone: "cluster.local.",
		external: "10.in-addr.arpa example.org 192.in-addr.arpa {\napex names\nttl 60\nfallthrough in-addr.arpa\n}"},
	{name: "multicluster", zones: "cluster.local clusterset.local 10.in-addr.arpa", stanza: "pods insecure\nignore empty_service\nmulticluster clusterset.local", zone: "clusterset.local."},
	{name: "narrow", zones: "cluster.local clusterset.local", stanza: "namespace_labels env notin (test)\nlabels tier notin (odd)\nnoendpoints\nmulticluster clusterset.local", zone: "clusterset.local."},
	{name: "zonal", zones: "cluster.local clusterset.local 10.in-addr.arpa", stanza: "zonal\nendpoint_pod_names\nmulticluster clusterset.local", zone: "cluster.local."},
}

type variant struct {
	name, zones, stanza, zone string
	external                  string // zones and options of k8s_external; empty for none
}

// externalZone is a zone of every stanza k8s_external.
const externalZone = "example.org."

// upstream is where ExternalNames lead.
const upstream = `example.com:%d {
    hosts {
        192.0.2.1 there.example.com
        2001:db8::1 there.example.com
        fallthrough
    }
    template IN A alias.example.com {
        answer "{{ .Name }} 60 IN CNAME there.example.com."
        answer "there.example.com. 60 IN A 192.0.2.1"
    }
    template ANY ANY fail.example.com {
        rcode SERVFAIL
    }
    template ANY ANY {
        rcode NXDOMAIN
        authority "example.com. 60 IN SOA ns.example.com. hostmaster.example.com. 1 60 60 60 60"
    }
}
`

func corefile(kubeconfig string, port int) string {
	var b strings.Builder
	for i, v := range variants {
		external := ""
		if v.external != "" {
			external = "    k8s_external " + strings.ReplaceAll(v.external, "\n", "\n    ") + "\n"
		}
		fmt.Fprintf(&b, ".:%d {\n    errors\n%s    kubernetes %s {\n        kubeconfig %s\n        startup_timeout 30s\n        %s\n    }\n}\n",
			port+i, external, v.zones, kubeconfig, strings.ReplaceAll(v.stanza, "\n", "\n        "))
		fmt.Fprintf(&b, upstream, port+i)
	}
	return b.String()
}

// build builds a command of the module in the folder of that name below the
// top of the repository.
func build(t *testing.T, module, command string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(command))
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", binary, command)
	cmd.Dir = filepath.Join("..", "..", "..", module)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", command, err, out)
	}
	return binary
}

// serve starts a server and returns when it answers on every port.
func serve(t *testing.T, binary, kubeconfig string, port int) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(conf, []byte(corefile(kubeconfig, port)), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-conf", conf)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", binary, text[max(0, len(text)-3000):])
		}
	})
	for i, v := range variants {
		await(t, port+i, "kubernetes.default.svc."+strings.TrimPrefix(v.zone, "."))
	}
}

// await asks for name's address until there is one.
func await(t *testing.T, port int, name string) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		r, _, err := (&dns.Client{Timeout: time.Second}).Exchange(m, fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil && len(r.Answer) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("port %d has no address for %s: %v\n%v", port, name, err, r)
		}
	}
}

func (q question) ask(addr string) reply {
	m := new(dns.Msg)
	m.SetQuestion(q.name, q.qtype)
	if q.edns != nil {
		m.Extra = append(m.Extra, q.edns)
	}
	if q.flags != nil {
		q.flags(m)
	}
	c := &dns.Client{Timeout: 2 * time.Second, UDPSize: 65535}
	if q.tcp {
		c.Net = "tcp"
	}
	r, _, err := c.Exchange(m, addr)
	return reduce(r, err)
}

func TestDifferential(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	if *only != "" {
		variants = slices.DeleteFunc(variants, func(v variant) bool { return !slices.Contains(strings.Split(*only, ","), v.name) })
	}
	cluster, err := controlplane.Start(ctx, controlplane.Options{APIOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop()
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := installCRD(ctx, client); err != nil {
		t.Fatal(err)
	}
	w := &world{client: client, rand: rand.New(rand.NewPCG(*seed, 0))}
	if err := w.create(ctx, *services); err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, %d objects refused", *seed, w.refused)
	serve(t, build(t, "bench", "./cmd/coredns"), cluster.Kubeconfig(), stockPort)
	serve(t, build(t, ".", "./cmd/clusterdns"), cluster.Kubeconfig(), oursPort)

	total := &tally{categories: map[string]int{}, rules: map[string]int{}}
	for round := range *rounds + 1 {
		if round > 0 {
			if err := w.change(ctx, round); err != nil {
				t.Fatal(err)
			}
			for _, port := range []int{stockPort, oursPort} {
				for i, v := range variants {
					switch last := fmt.Sprint(round) + ".shop.svc." + strings.TrimPrefix(v.zone, "."); v.name {
					case "noendpoints", "labels": // which have no such name
					case "narrow":
						await(t, port+i, "lately-"+last)
					case "multicluster":
						await(t, port+i, fmt.Sprintf("10-140-10-%d.c1.changed-%s", round, last))
					default:
						await(t, port+i, "changed-"+last)
					}
				}
			}
		}
		for i, v := range variants {
			t.Run(fmt.Sprintf("%d-%s", round, v.name), func(t *testing.T) {
				r := rand.New(rand.NewPCG(*seed, uint64(round*len(variants)+i+1)))
				n, err := v.collect(ctx, client)
				if err != nil {
					t.Fatal(err)
				}
				qs := sample(questions(r, n), *limit)
				compareAll(t, qs, fmt.Sprintf("127.0.0.1:%d", stockPort+i), fmt.Sprintf("127.0.0.1:%d", oursPort+i), total)
			})
		}
	}
	t.Logf("seed %d: asked %d questions, equal %d, allowed differences %d, unequal %d", *seed, total.asked, total.equal, total.allowed(), total.unequal)
	for c, n := range total.categories {
		t.Logf("  category %-10s %6d", c, n)
		if n < minPerCategory && c != known && *only == "" {
			t.Errorf("category %s: %d questions are fewer than %d", c, n, minPerCategory)
		}
	}
	for _, rule := range rules {
		n := total.rules[rule.name]
		t.Logf("  allowed by %-24s %6d", rule.name, n)
		if n > rule.most {
			t.Errorf("rule %s excused %d, more than %d", rule.name, n, rule.most)
		}
		if n == 0 && *only == "" {
			t.Errorf("rule %s excused nothing: it has lost its reason", rule.name)
		}
	}
}

// minPerCategory is how many questions a category has at least, also in a short
// run.
const minPerCategory = 200

// tally counts, over all variants.
type tally struct {
	sync.Mutex
	asked, equal, unequal int
	categories, rules     map[string]int
}

func (n *tally) allowed() (sum int) {
	for _, c := range n.rules {
		sum += c
	}
	return sum
}

// sample returns at most limit of the shuffled qs, and of the rest so many that
// no category that has questions is left without.
func sample(qs []question, limit int) []question {
	if limit <= 0 || limit >= len(qs) {
		return qs
	}
	have := map[string]int{}
	for i, q := range qs {
		if i < limit {
			have[q.category]++
		} else if q.category == known || have[q.category] < minPerCategory/len(variants) {
			have[q.category]++
			qs[limit] = q
			limit++
		}
	}
	return qs[:limit]
}

// maxShown bounds what a failing run prints.
const maxShown = 25

func compareAll(t *testing.T, qs []question, stock, ours string, total *tally) {
	work := make(chan question)
	var workers sync.WaitGroup
	shown := 0
	for range 16 {
		workers.Go(func() {
			for q := range work {
				a, b := q.ask(stock), q.ask(ours)
				rule := ""
				equal := a.equal(b) || truncatedAlike(q, a, b, stock)
				if !equal {
					rule = excuse(q, a, b)
				}
				total.Lock()
				total.asked++
				total.categories[q.category]++
				switch {
				case equal:
					total.equal++
				case rule != "":
					total.rules[rule]++
				default:
					total.unequal++
					if shown++; shown <= maxShown {
						t.Errorf("%v\nstock: %v\nours:  %v", q, a, b)
					} else {
						t.Fail()
					}
				}
				total.Unlock()
			}
		})
	}
	for _, q := range qs {
		work <- q
	}
	close(work)
	workers.Wait()
}

// truncatedAlike reports whether a, stock's, and b are truncated, hold nothing
// but records of the full reply, and b as many as a at least. What external zones
// differ in, canonical evens out.
func truncatedAlike(q question, a, b reply, stock string) bool {
	if !a.tc || !b.tc || a.header != b.header || a.opt != b.opt || q.tcp {
		return false
	}
	q.tcp = true
	full := q.ask(stock)
	if isExternal(q.name) {
		a, _, _, _ = a.canonical()
		b, _, _, _ = b.canonical()
		full, _, _, _ = full.canonical()
	}
	return a.within(full) && b.within(full) && b.size() >= a.size()
}

func excuse(q question, stock, ours reply) string {
	for _, r := range rules {
		if r.match(q, stock, ours) {
			return r.name
		}
	}
	return ""
}
