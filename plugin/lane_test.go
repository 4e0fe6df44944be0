package clusterdns

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/lanes"
	"github.com/clusterdns/clusterdns/plugin/responder"
	"github.com/clusterdns/clusterdns/test/dnstext"
	"github.com/clusterdns/clusterdns/test/freeport"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/multisocket"
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
	newLife(t, laneCorefile(t, port, ""))
	for _, qtype := range []uint16{dns.TypeTXT, dns.TypeANY} {
		askPort(t, "udp", port, new(dns.Msg).SetQuestion("dns-version.cluster.local.", qtype))
	}
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

// laneAt returns the lane at an address.
func laneAt(addr string) lanes.State {
	for _, s := range lanes.States() {
		if s.Addr == addr {
			return s
		}
	}
	return lanes.State{Why: "nobody arrived", Counts: new(responder.Counts)}
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
