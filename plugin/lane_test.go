package clusterdns

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/lanes"
	"github.com/clusterdns/clusterdns/plugin/responder"
	"github.com/clusterdns/clusterdns/test/dnstext"
	"github.com/clusterdns/clusterdns/test/freeport"

	"github.com/coredns/caddy"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/multisocket"
	_ "github.com/coredns/coredns/plugin/shed"
	_ "github.com/coredns/coredns/plugin/timeouts"
	_ "github.com/coredns/coredns/plugin/whoami"
	"github.com/miekg/dns"
)

func laneCorefile(t *testing.T, port, more string) string {
	return ".:" + port + " {\n" + more + "\nclusterdns cluster.local {\nmanifests " + manifestsFolder(t) + "\n}\n}\n"
}

// useLane has a lane answer a query and decline another.
func useLane(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the fast lane is for Linux")
	}
	port := freeport.Of(t)
	newLife(t, strings.Replace(laneCorefile(t, port, ""), "manifests", "fastlane kernel absent0\nmanifests", 1))
	for _, qtype := range []uint16{dns.TypeTXT, dns.TypeANY} {
		askPort(t, "udp", port, new(dns.Msg).SetQuestion("dns-version.cluster.local.", qtype))
	}
	laneAt(":"+port).Counts.Pass("closed", 1) // as a kernel would
}

func askPort(t *testing.T, network, port string, m *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: 10 * time.Second}
	r, _, err := c.Exchange(m, net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		t.Fatalf("%s: %v", network, err)
	}
	return r
}

// laneAt returns the lane at an address. On a slow machine sockets that a reload has
// closed may still be listed, as if another process had them: the lane comes with the
// next try then.
func laneAt(addr string) lanes.State {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		states := lanes.States()
		i := slices.IndexFunc(states, func(s lanes.State) bool { return s.Addr == addr })
		if i < 0 {
			return lanes.State{Why: "nobody arrived", Counts: new(responder.Counts)}
		}
		if s := states[i]; !strings.Contains(s.Why, "another process") || time.Now().After(end) {
			return s
		}
	}
}

// laneState returns whether a lane is open at port, how many queries lanes have
// answered there so far, and why there is none.
func laneState(port string) (open bool, answered uint64, why string) {
	s := laneAt(":" + port)
	return s.Open, s.Counts.Answered(), s.Why
}

// answeredAtLast returns how many queries lanes have answered at port, after
// waiting for want: they count when the reply is on its way.
func answeredAtLast(port string, want uint64) (n uint64) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, n, _ = laneState(port); n >= want {
			break
		}
	}
	return n
}

// declinedAt returns how many messages lanes have left to the chain at port.
func declinedAt(port string) (n uint64) {
	for _, declined := range laneAt(":" + port).Counts.Declined {
		n += declined
	}
	return n
}

// TestLaneFollowsTheCorefile reloads from one Corefile to the next, and sees who
// answers.
func TestLaneFollowsTheCorefile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the fast lane is for Linux")
	}
	port, other := freeport.Of(t), freeport.Of(t)
	life := newLife(t, laneCorefile(t, port, ""))
	version := new(dns.Msg).SetQuestion("dns-version.cluster.local.", dns.TypeTXT)
	check := func(what, port string, wantOpen bool, wantWhy string) {
		t.Helper()
		open, before, why := laneState(port)
		if open != wantOpen || !strings.Contains(why, wantWhy) || (why == "") != (wantWhy == "") {
			t.Errorf("%s: the lane is open: %v, because %q; want %v and %q", what, open, why, wantOpen, wantWhy)
		}
		for _, network := range []string{"udp", "tcp"} {
			if r := askPort(t, network, port, version); len(r.Answer) != 1 {
				t.Errorf("%s: %v", what, dnstext.Of(r))
			}
		}
		want := before
		if open {
			want += 2
		}
		if n := answeredAtLast(port, want); n != want {
			t.Errorf("%s: the lane answered %d of 2", what, n-before)
		}
	}
	check("at first", port, true, "")
	life.reload(laneCorefile(t, port, "loadbalance"))
	check("with loadbalance", port, true, "")
	life.failToReload(laneCorefile(t, port, "faulty startup"))
	check("after a reload that failed", port, true, "")
	life.reload(laneCorefile(t, port, "log"))
	check("with log", port, false, "log (Corefile:2) logs queries")
	life.reload(laneCorefile(t, port, "multisocket 3"))
	check("with three sockets", port, true, "")
	life.reload(laneCorefile(t, port, "multisocket 2\ntimeouts {\nidle 3s\n}"))
	check("with two sockets", port, true, "")
	life.reload(strings.Replace(laneCorefile(t, port, ""), "manifests", "fastlane workers 3\nmanifests", 1))
	check("with three workers", port, true, "")
	life.reload(strings.Replace(laneCorefile(t, port, ""), "manifests", "fastlane off\nmanifests", 1))
	check("off", port, false, "fastlane off")
	life.reload(laneCorefile(t, port, "") + laneCorefile(t, other, "bind 127.0.0.1 ::1"))
	check("at two ports", port, true, "")
	at := net.JoinHostPort("127.0.0.1", other)
	if !laneAt(at).Open || !laneAt(net.JoinHostPort("::1", other)).Open {
		t.Error("there is no lane at an address of bind")
	}
	life.reload(laneCorefile(t, other, ""))
	check("at the other", other, true, "")
	if open, _, _ := laneState(port); open {
		t.Error("the lane is open at a port that has been left")
	}
	life.reload(".:" + port + " {\nwhoami\n}\n")
	for _, port := range []string{port, other} {
		if open, _, _ := laneState(port); open {
			t.Errorf("the lane at port %s is open without a stanza", port)
		}
	}
	life.reload(laneCorefile(t, port, ""))
	check("with a stanza again", port, true, "")
}

// answeredBy asks for the TXT record of a name and says who answered.
func answeredBy(t *testing.T, port, name string) string {
	t.Helper()
	open, _, _ := laneState(port)
	before := declinedAt(port) // counted before the chain is asked
	askPort(t, "udp", port, new(dns.Msg).SetQuestion(name, dns.TypeTXT))
	if open && declinedAt(port) == before {
		return "lane"
	}
	return "chain"
}

// TestLaneAsksHosts: what the plugin hosts has is that plugin's, from the query
// on at which it has it.
func TestLaneAsksHosts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the fast lane is for Linux")
	}
	port := freeport.Of(t)
	file := filepath.Join(t.TempDir(), "hosts")
	write(t, file, "192.0.2.1 node-1\n")
	newLife(t, laneCorefile(t, port, "hosts "+file+" {\nreload 10ms\nfallthrough\n}"))
	name := "web.shop.svc.cluster.local."
	addr := func() string {
		t.Helper()
		r := askPort(t, "udp", port, new(dns.Msg).SetQuestion(name, dns.TypeA))
		if len(r.Answer) != 1 {
			t.Fatal(dnstext.Of(r))
		}
		return r.Answer[0].(*dns.A).A.String()
	}
	if by, a := answeredBy(t, port, name), addr(); by != "lane" || a != "10.96.0.10" {
		t.Errorf("%s is answered by the %s with %s", name, by, a)
	}
	for _, want := range []string{"192.0.2.3", "192.0.2.4", "10.96.0.10"} {
		line := want + " " + name + "\n"
		if want == "10.96.0.10" {
			line = ""
		}
		write(t, file, line+strings.Repeat("192.0.2.1 node-1\n", len(want)))
		for end := time.Now().Add(10 * time.Second); addr() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the file has %s, the answer is %s", want, addr())
			}
		}
		by := "chain"
		if line == "" {
			by = "lane"
		}
		if got := answeredBy(t, port, name); got != by {
			t.Errorf("with %q in the file the %s answers", line, got)
		}
		if by := answeredBy(t, port, "other.cluster.local."); by != "lane" {
			t.Errorf("another name is answered by the %s", by)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if open, _, why := laneState(port); !open {
		t.Errorf("without the file there is no lane: %s", why)
	}
}

// TestLaneReadsTheCorefileOnce: the chain goes by the imports as they were when
// the Corefile was read, and so does the lane.
func TestLaneReadsTheCorefileOnce(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the fast lane is for Linux")
	}
	port := freeport.Of(t)
	imported := filepath.Join(t.TempDir(), "imported")
	write(t, imported, "template ANY ANY shop.svc.cluster.local {\nrcode REFUSED\n}\n")
	atStartup = func() { write(t, imported, "") }
	newLife(t, "example.org:"+port+" {\nwhoami\n}\n"+laneCorefile(t, port, early+" hook\nimport "+imported))
	if by := answeredBy(t, port, "web.shop.svc.cluster.local."); by != "chain" {
		t.Errorf("a name of a template that was imported is answered by the %s", by)
	}
	if by := answeredBy(t, port, "dns-version.cluster.local."); by != "lane" {
		t.Errorf("another is answered by the %s", by)
	}
	r := askPort(t, "udp", port, new(dns.Msg).SetQuestion("web.shop.svc.cluster.local.", dns.TypeA))
	if r.Rcode != dns.RcodeRefused {
		t.Errorf("the template does not answer: %v", dnstext.Of(r))
	}
}

// TestLaneWithWriter: where another plugin writes the replies, shed that is, it
// writes those to what the lane leaves to the chain as well, whichever of the
// listener's blocks it stands in.
func TestLaneWithWriter(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the fast lane is for Linux")
	}
	port := freeport.Of(t)
	block := func(more string) string { return "example.org:" + port + " {\nwhoami\n" + more + "\n}\n" }
	var life *life
	for _, row := range []struct {
		name, corefile string
		counted        bool
	}{
		{"in our block", laneCorefile(t, port, early+" writer"), true},
		{"before ours", block(early+" writer") + laneCorefile(t, port, ""), true},
		{"behind ours", laneCorefile(t, port, "") + block(early+" writer"), true},
		{"in both", block("shed") + laneCorefile(t, port, early+" writer"), true},
		{"at another port", laneCorefile(t, port, "") + strings.Replace(block(early+" writer"), port, freeport.Of(t), 1), false},
		{"shed", laneCorefile(t, port, "shed"), false},
		{"shed in another block", block("shed") + laneCorefile(t, port, ""), false},
		{"nowhere", laneCorefile(t, port, ""), false},
	} {
		if life == nil {
			life = newLife(t, row.corefile)
		} else {
			life.reload(row.corefile)
		}
		if open, _, why := laneState(port); !open {
			t.Errorf("%s: no lane: %s", row.name, why)
		}
		before := writes.Load()
		if by := answeredBy(t, port, "dns-version.cluster.local."); by != "lane" || writes.Load() != before {
			t.Errorf("%s: an in-cluster name is answered by the %s, and written %d times", row.name, by, writes.Load()-before)
		}
		askPort(t, "udp", port, new(dns.Msg).SetQuestion("dns-version.cluster.local.", dns.TypeANY))
		if n := writes.Load() - before; (n == 1) != row.counted || n > 1 {
			t.Errorf("%s: the reply of the chain is written %d times", row.name, n)
		}
		gather(t)
	}
}

// TestLaneAfterAFaultyShutdown: CoreDNS tells nobody that a reload is over if
// another plugin of the old instance fails to shut down.
func TestLaneAfterAFaultyShutdown(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the fast lane is for Linux")
	}
	for _, fault := range []string{early + " shutdown", "faulty shutdown"} {
		t.Run(fault, func(t *testing.T) {
			port := freeport.Of(t)
			second := strings.Replace(laneCorefile(t, port, "multisocket 2"), "clusterdns cluster.local", "clusterdns second.local", 1)
			life := newLife(t, strings.Replace(laneCorefile(t, port, fault), "manifests", "fastlane off\nmanifests", 1))
			old := life.Instance
			life.failToReload(second)
			for _, i := range caddy.Instances() {
				if i != old {
					life.Instance = i // in its place
				}
			}
			if by := answeredBy(t, port, "dns-version.second.local."); by != "lane" {
				_, _, why := laneState(port)
				t.Errorf("a name of the new Corefile is answered by the %s: %s", by, why)
			}
			life.reload(laneCorefile(t, port, ""))
			if by := answeredBy(t, port, "dns-version.cluster.local."); by != "lane" {
				_, _, why := laneState(port)
				t.Errorf("after another reload a name is answered by the %s: %s", by, why)
			}
		})
	}
}
