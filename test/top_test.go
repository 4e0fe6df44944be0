package test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/cmd/clusterdns/top"
	"github.com/clusterdns/clusterdns/test/freeport"

	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/miekg/dns"
)

// topOnce runs the subcommand top.
func topOnce(t testing.TB, args ...string) string {
	t.Helper()
	defer clog.SetOutput(os.Stdout)
	cmd := top.New(nil)
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetArgs(append([]string{"--once"}, args...))
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestTop asks a server a known number of questions, on the lane and in the
// chain, and has top say so.
func TestTop(t *testing.T) {
	needLane(t)
	t.Chdir("..")
	port, at, metrics := freeport.Of(t), freeport.Of(t), freeport.Of(t)
	s := start(t, fmt.Sprintf(`.:%s {
    console 127.0.0.1:%s
    prometheus 127.0.0.1:%s
    clusterdns cluster.local {
        manifests corefile-examples/quickstart/cluster
    }
}
`, port, at, metrics))
	eventually(t, func() string {
		if !laneAt(t, ":"+port).open {
			return "no lane"
		}
		return ""
	})
	ask := func(n int, name string, qtype uint16) {
		for range n {
			if _, _, err := s.exchange("udp", new(dns.Msg).SetQuestion(name, qtype)); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask(30, "web.shop.svc.cluster.local.", dns.TypeA)
	ask(6, "web.shop.svc.cluster.local.", dns.TypeANY) // the chain's
	ask(12, "gone.shop.svc.cluster.local.", dns.TypeA)
	ask(2, "example.org.", dns.TypeA) // nobody's: SERVFAIL
	var snap top.Snapshot
	eventually(t, func() string {
		out := topOnce(t, "--server", "127.0.0.1:"+at, "--metrics-port", metrics, "-o", "json")
		snap = top.Snapshot{}
		if err := json.Unmarshal([]byte(out), &snap); err != nil {
			t.Fatal(err)
		}
		if snap.Questions < 50 {
			return out
		}
		return ""
	})
	rows := func(list []top.Row) (text string) {
		for _, r := range list {
			text += fmt.Sprintf("%s %s %d %d\n", r.Key, r.Of, r.Count, r.Error)
		}
		return text
	}
	if got, want := rows(snap.Names), "web.shop.svc.cluster.local. shop 36 0\nexample.org.  2 0\n"; got != want {
		t.Errorf("names\n%swant\n%s", got, want)
	}
	if got, want := rows(snap.NXDomain), "gone.shop.svc.cluster.local. shop 12 0\n"; got != want {
		t.Errorf("NXDOMAIN\n%swant\n%s", got, want)
	}
	if got, want := rows(snap.Clients), "127.0.0.1  50 0\n"; got != want {
		t.Errorf("clients\n%swant\n%s", got, want)
	}
	if got, want := rows(snap.Namespaces), "shop  48 0\n(none)  2 0\n"; got != want {
		t.Errorf("namespaces\n%swant\n%s", got, want)
	}
	if snap.Questions != 50 || snap.OneIn != 1 || snap.PerSecond <= 0 || snap.Lane != 42.0/50 {
		t.Errorf("%d questions, one in %d, %v a second, lane %v", snap.Questions, snap.OneIn, snap.PerSecond, snap.Lane)
	}
	for i, want := range []float64{36.0 / 50, 12.0 / 50, 2.0 / 50, 0} {
		if got := snap.RCodes[i].Share; got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%s: %v, want %v", snap.RCodes[i].Key, got, want)
		}
	}
	if l := snap.Latency; l.Lane <= 0 || l.Chain <= 0 || l.P99 <= 0 || l.P99 < l.P50 {
		t.Errorf("%+v", l)
	}
	text := topOnce(t, "--server", "http://127.0.0.1:"+at, "--metrics-port", "0", "--by", "nxdomain")
	if !strings.Contains(text, "1 server ") || !strings.Contains(text, "gone.shop.svc.cluster.local.  shop") || strings.Contains(text, "web.shop") || strings.Contains(text, "99 %") {
		t.Error(text)
	}
}
