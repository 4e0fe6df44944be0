package test

import (
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"math"
	"net"
	"os"
	"regexp"
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
	defer clog.SetOutput(&logged)
	cmd := top.New(nil)
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetArgs(append([]string{"--once"}, args...))
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestTopPicture asks a server what a cluster might, and compares the screen of
// top with docs/top.svg, but for the figures. With -update it draws that anew.
func TestTopPicture(t *testing.T) {
	needLane(t)
	t.Chdir("..")
	port, at := freeport.Of(t), freeport.Of(t)
	s := start(t, fmt.Sprintf(`.:%s {
    console 127.0.0.1:%s
    clusterdns cluster.local in-addr.arpa {
        manifests corefile-examples/quickstart/cluster
    }
    template ANY ANY example.com {
        answer "{{ .Name }} 60 IN A 192.0.2.1"
    }
}
`, port, at))
	eventually(t, func() string {
		if !laneAt(t, ":"+port).open {
			return "no lane"
		}
		return ""
	})
	total := uint64(0)
	for name, n := range map[string]int{
		"web.shop.svc.cluster.local.": 90, "api.shop.svc.cluster.local.": 70, "cache.shop.svc.cluster.local.": 50,
		"postgres.data.svc.cluster.local.": 40, "postgres-1.postgres.data.svc.cluster.local.": 20, "www.example.com.": 10,
		"web.shop.svc.cluster.local.shop.svc.cluster.local.": 15, "web.shop.svc.cluster.local.svc.cluster.local.": 14,
	} {
		for i := range n {
			if _, _, err := s.exchangeFrom(net.IPv4(127, 0, 0, byte(1+i%3)), "udp", new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
				t.Fatal(err)
			}
			total++
		}
	}
	var snap top.Snapshot
	eventually(t, func() string {
		out := topOnce(t, "--server", "127.0.0.1:"+at, "--metrics-port", "0", "-o", "json")
		snap = top.Snapshot{}
		if err := json.Unmarshal([]byte(out), &snap); err != nil {
			t.Fatal(err)
		}
		if snap.Questions < total {
			return out
		}
		return ""
	})
	picture := drawn(top.Frame(snap, 100, 18))
	if *update {
		if err := os.WriteFile("docs/top.svg", []byte(picture), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile("docs/top.svg")
	if err != nil {
		t.Fatal(err)
	}
	words := func(svg string) string {
		return masked("top", regexp.MustCompile(`<[^>]*>`).ReplaceAllString(svg, ""))
	}
	if got, want := words(picture), words(string(committed)); got != want {
		t.Errorf("docs/top.svg shows\n%s\nand top\n%s", want, got)
	}
}

var update = flag.Bool("update", false, "draw docs/top.svg")

// drawn returns a screen of a terminal as SVG.
func drawn(screen string) string {
	const width, height, margin = 8, 18, 12
	lines := strings.Split(screen, "\n")
	columns := 0
	var text strings.Builder
	for i, line := range lines {
		columns = max(columns, len([]rune(regexp.MustCompile("\x1b[^m]*m").ReplaceAllString(line, ""))))
		y, x, class := margin+height*i, margin, ""
		for j, part := range strings.Split(line, "\x1b[") {
			if j > 0 {
				var code string
				code, part, _ = strings.Cut(part, "m")
				class = map[string]string{"1": "b", "2": "d", "7": "i"}[code]
			}
			if part == "" {
				continue
			}
			if n := len([]rune(part)); class == "i" {
				fmt.Fprintf(&text, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>", x, y, n*width, height)
			}
			fmt.Fprintf(&text, "<text x=\"%d\" y=\"%d\" class=\"%s\" textLength=\"%d\">%s</text>",
				x, y+height-5, class, len([]rune(part))*width, html.EscapeString(part))
			x += len([]rune(part)) * width
		}
		text.WriteString("\n")
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13">
<style>text{fill:#d8dee9;white-space:pre}.b{font-weight:bold}.d{fill:#8b95a5}.i{fill:#1c2128}rect{fill:#d8dee9}</style>
<rect width="100%%" height="100%%" rx="6" style="fill:#1c2128"/>
%s</svg>
`, columns*width+2*margin, len(lines)*height+2*margin, text.String())
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
	if snap.Questions != 50 || snap.OneIn != 1 || snap.PerSecond <= 0 || math.Abs(snap.Lane-42.0/50) > 1e-9 {
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
