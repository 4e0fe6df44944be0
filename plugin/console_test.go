package clusterdns

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/console"
	"github.com/clusterdns/clusterdns/plugin/hitters"
	"github.com/clusterdns/clusterdns/test/freeport"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	_ "github.com/coredns/coredns/plugin/cache"
	"github.com/miekg/dns"
)

// reportAt asks a console for what it knows, until enough holds: a batch is
// counted when it is on its way, and a report is as old as a second.
func reportAt(t *testing.T, port string, enough func(*console.Report) bool) (r console.Report) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		reply, err := client.Get("http://127.0.0.1:" + port + "/report.json")
		if err != nil {
			t.Fatal(err)
		}
		r = console.Report{}
		err = json.NewDecoder(reply.Body).Decode(&r)
		reply.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if enough(&r) {
			return r
		}
		if time.Now().After(end) {
			t.Fatalf("the console never has what was asked: %+v", r)
		}
	}
}

// hasConsole reports whether anybody listens at a port.
func hasConsole(port string) bool {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, 10*time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// TestConsole asks lane and chain, and looks at what the console has of it.
func TestConsole(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the fast lane is for Linux")
	}
	port, at := freeport.Of(t), freeport.Of(t)
	newLife(t, laneCorefile(t, port, "console 127.0.0.1:"+at+"\nprometheus localhost:0\ncache 30\nwhoami"))
	ask := func(network, name string, qtype uint16) {
		askPort(t, network, port, new(dns.Msg).SetQuestion(name, qtype))
	}
	for range 3 {
		ask("udp", "Web.shop.svc.cluster.local.", dns.TypeA)
	}
	ask("tcp", "web.shop.svc.cluster.local.", dns.TypeA)
	ask("udp", "nope.shop.svc.cluster.local.", dns.TypeA)
	ask("udp", "web.shop.svc.cluster.local.", dns.TypeANY) // the chain's
	for range 2 {
		ask("tcp", "example.org.", dns.TypeA)
	}
	r := reportAt(t, at, func(r *console.Report) bool { return r.Totals.Lane.Sum()+r.Totals.Chain.Sum() >= 8 })
	if l, c := r.Totals.Lane, r.Totals.Chain; l.NoError != 4 || l.NXDomain != 1 || l.Sum() != 5 || c.Sum() != 3 || l.Seconds <= 0 || c.Seconds <= 0 {
		t.Errorf("the lane answered %+v, the chain %+v", l, c)
	}
	names := map[string]uint64{}
	for _, n := range r.Names {
		names[n.Name] = n.Count
	}
	if len(names) != 2 || names["web.shop.svc.cluster.local."] != 5 || names["example.org."] != 2 {
		t.Errorf("names: %v", names)
	}
	if n := r.NXDomain; len(n) != 1 || n[0].Name != "nope.shop.svc.cluster.local." || n[0].Namespace != "shop" || n[0].Count != 1 {
		t.Errorf("names that do not exist: %+v", n)
	}
	if c := r.Clients; len(c) != 1 || c[0].Addr.String() != "127.0.0.1" || c[0].Count != 8 {
		t.Errorf("clients: %+v", c)
	}
	var lane console.Lane
	for _, l := range r.Lanes {
		if l.Addr == ":"+port {
			lane = l
		}
	}
	if !lane.Open || lane.Answered != 5 || len(lane.Declined) == 0 {
		t.Errorf("lane: %+v", lane)
	}
	synced := false
	for _, f := range r.Feeds {
		synced = synced || f.Resource == "services" && f.Synced && f.Objects == 1 && f.Error == "" && !f.LastContact.IsZero()
	}
	if !synced {
		t.Errorf("feeds: %+v", r.Feeds)
	}
}

// TestConsoleReloads: an address that stays is never closed, what was counted
// stays, and what is not asked for any more ends.
func TestConsoleReloads(t *testing.T) {
	dir := manifestsFolder(t)
	first, second := freeport.Of(t), freeport.Of(t)
	block := func(zone, more string) string {
		return zone + ":0 {\n" + more + "\n" + stanzaOf("clusterdns", dir) + "}\n"
	}
	at := func(port string) string { return "console 127.0.0.1:" + port }
	l := newLife(t, block(".", at(first)))
	since := reportAt(t, first, func(*console.Report) bool { return true }).Since
	open, err := net.Dial("tcp", "127.0.0.1:"+first)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	for _, row := range []struct {
		corefile      string
		fails         bool
		first, second bool // listens afterwards
	}{
		{block(".", at(first)), false, true, false},
		{block(".", at(first)+"\nfaulty startup"), true, true, false},
		{block(".", at(second)+"\nfaulty startup"), true, true, false},
		{block(".", at(second)+" too"), true, true, false},
		{block("a.local", at(first)) + block("b.local", at(first)), false, true, false},
		{block("a.local", at(first)) + block("b.local", at(second)), false, true, true},
		{block(".", at(first)+"\nfaulty shutdown"), false, true, false},
		{block(".", at(first)), true, true, false}, // the one before fails to shut down
	} {
		if row.fails {
			l.failToReload(row.corefile)
			for _, i := range caddy.Instances() { // after a shutdown that failed
				l.Instance = i
			}
		} else {
			l.reload(row.corefile)
		}
		if hasConsole(first) != row.first || hasConsole(second) != row.second {
			t.Errorf("after\n%s\nthe first address listens: %v, the second: %v", row.corefile, hasConsole(first), hasConsole(second))
		}
	}
	if got := reportAt(t, first, func(*console.Report) bool { return true }).Since; !got.Equal(since) {
		t.Errorf("it counts since %v, not %v", got, since)
	}
	// The connection from before the first reload still answers.
	open.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(open, "GET /console.css HTTP/1.1\r\nHost: localhost\r\n\r\n")
	var start [12]byte
	if _, err := open.Read(start[:]); err != nil || string(start[:]) != "HTTP/1.1 200" {
		t.Errorf("%q, %v", start, err)
	}
	l.reload(block(".", at(second)))
	if hasConsole(first) || !hasConsole(second) {
		t.Error("the console has not moved")
	}
	l.reload(block(".", ""))
	if hasConsole(first) || hasConsole(second) {
		t.Error("there is a console that nobody asks for")
	}
	consoles.Lock()
	defer consoles.Unlock()
	if consoles.engine != nil || len(consoles.holders)+len(consoles.servers) > 0 {
		t.Error("something of the consoles is left")
	}
}

func TestConsoleErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for lines, want := range map[string]string{
		"console :8053":                    `Corefile:2 - Error during parsing: ":8053" is at every address`,
		"console localhost:8053 ::1":       `Corefile:2 - Error during parsing: console takes "[ADDRESS:PORT]", not "localhost:8053 ::1"`,
		"console pods.example:8053":        `"pods.example" is no address to listen at`,
		"console {\ntop 5\n}":              `console has no options such as "top"`,
		"console\nconsole":                 "a second console in one server block",
		"console " + taken.Addr().String(): "plugin/console: Corefile:2: listen tcp " + taken.Addr().String(),
	} {
		inst, err := caddy.Start(input(corefile(lines)))
		if err == nil {
			inst.Stop()
			t.Errorf("%s: no error", lines)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", lines, err)
		}
	}
	consoles.Lock()
	defer consoles.Unlock()
	if consoles.engine != nil || len(consoles.holders) > 0 {
		t.Error("an instance that never started holds a console")
	}
}

// TestConsoleCounts: what the chain's questions count as.
func TestConsoleCounts(t *testing.T) {
	reply := func(rcode int) plugin.HandlerFunc {
		return func(_ context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
			return 0, w.WriteMsg(new(dns.Msg).SetRcode(r, rcode))
		}
	}
	silent := func(rcode int) plugin.HandlerFunc {
		return func(context.Context, dns.ResponseWriter, *dns.Msg) (int, error) { return rcode, nil }
	}
	background := context.Background()
	for _, row := range []struct {
		name string
		next plugin.Handler
		ctx  context.Context
		want [4]uint64 // NOERROR, NXDOMAIN, SERVFAIL, others
	}{
		{"answered", reply(dns.RcodeSuccess), background, [4]uint64{1}},
		{"does not exist", reply(dns.RcodeNameError), background, [4]uint64{0, 1}},
		{"the server is to say SERVFAIL", silent(dns.RcodeServerFailure), background, [4]uint64{0, 0, 1}},
		{"the server is to say REFUSED", silent(dns.RcodeRefused), background, [4]uint64{0, 0, 0, 1}},
		{"nobody is there", nil, background, [4]uint64{0, 0, 1}},
		{"asked by the client", reply(dns.RcodeSuccess), context.WithValue(background, dnsserver.LoopKey{}, 0), [4]uint64{1}},
		{"asked by the server itself", reply(dns.RcodeSuccess), context.WithValue(background, dnsserver.LoopKey{}, 1), [4]uint64{}},
	} {
		h := &consoleHandler{next: row.next, engine: hitters.New()}
		h.ServeDNS(row.ctx, &recorder{}, new(dns.Msg).SetQuestion("a.example.", dns.TypeA))
		if _, totals := h.engine.Totals(); totals[hitters.Chain].Outcomes != row.want {
			t.Errorf("%s: %v, want %v", row.name, totals[hitters.Chain].Outcomes, row.want)
		}
	}
}
