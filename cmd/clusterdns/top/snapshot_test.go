package top

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/console"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// at returns a sample of a server that has answered n questions for web and 3 n
// for db on the lane, and n for a name that does not exist in the chain, after
// seconds since noon.
func at(seconds int, n uint64) *sample {
	return &sample{report: &console.Report{
		Time: noon.Add(time.Duration(seconds) * time.Second), Since: noon, Version: "1", Window: 10, OneIn: 1,
		Totals: console.Paths{
			Lane:  console.Tally{NoError: 4 * n, Seconds: float64(4*n) * 1e-6},
			Chain: console.Tally{NXDomain: n, Seconds: float64(n) * 1e-3},
		},
		Names: []console.Name{
			{Name: "web.shop.svc.cluster.local.", Namespace: "shop", Count: n},
			{Name: "db.data.svc.cluster.local.", Namespace: "data", Count: 3 * n},
		},
		NXDomain: []console.Name{{Name: "gone.shop.svc.cluster.local.", Namespace: "shop", Count: n}},
		Clients:  []console.Client{{Addr: netip.MustParseAddr("::ffff:10.244.1.5"), Count: 5 * n, Error: n}},
	}}
}

func clientOf(addr string, count uint64) console.Client {
	return console.Client{Addr: netip.MustParseAddr(addr), Count: count}
}

func nobody(string) string { return "" }

func TestMerge(t *testing.T) {
	s := merge(noon.Add(10*time.Second), []polled{
		{name: "a", before: at(0, 100), now: at(10, 200)}, // 50 questions a second
		{name: "b", now: at(10, 100)},                     // 50 too, since its start
		{name: "c", err: errors.New("away")},
	}, func(addr string) string { return "shop/asks-" + addr })
	if s.PerSecond != 100 || s.Lane != 0.8 || s.Questions != 1500 {
		t.Errorf("%v questions a second, lane %v, %d questions", s.PerSecond, s.Lane, s.Questions)
	}
	var got []string
	for _, list := range [][]Row{s.Names, s.NXDomain, s.Clients, s.Namespaces, s.RCodes} {
		for _, r := range list {
			got = append(got, fmt.Sprintf("%s %s %v %.2f %d %d", r.Key, r.Of, r.PerSecond, r.Share, r.Count, r.Error))
		}
	}
	want := []string{
		"db.data.svc.cluster.local. data 90 0.75 900 0",
		"web.shop.svc.cluster.local. shop 30 0.25 300 0",
		"gone.shop.svc.cluster.local. shop 30 1.00 300 0",
		"10.244.1.5 shop/asks-10.244.1.5 120 1.00 1500 300",
		"data  90 0.60 900 0",
		"shop  60 0.40 600 0",
		"NOERROR  80 0.80 0 0", "NXDOMAIN  20 0.20 0 0", "SERVFAIL  0 0.00 0 0", "other  0 0.00 0 0",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if l := s.Latency; math.Abs(l.Lane-1e-6) > 1e-9 || math.Abs(l.Chain-1e-3) > 1e-9 || math.Abs(l.Mean-0.2008e-3) > 1e-9 || l.P99 != 0 {
		t.Errorf("latency %+v", l)
	}
	if got, want := s.Servers, []Server{{Name: "a", Version: "1", PerSecond: 50}, {Name: "b", Version: "1", PerSecond: 50}, {Name: "c", Error: "away"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestRestarted: a server that counts from zero again has no rate below zero.
func TestRestarted(t *testing.T) {
	now := at(10, 5)
	now.report.Since = noon.Add(8 * time.Second)
	lane, chain := polled{before: at(0, 1000), now: now}.rates()
	if lane.sum() != 10 || chain.sum() != 2.5 {
		t.Errorf("%v, %v", lane.sum(), chain.sum())
	}
	// One that was asked once, and has a history: the last half minute's.
	now = at(600, 1000)
	for i := range 60 {
		now.report.History = append(now.report.History, console.Point{
			At: noon.Add(time.Duration(10*(i+1)) * time.Second), Seconds: 10, Paths: console.Paths{Lane: console.Tally{NoError: uint64(10 * (i + 1))}},
		})
	}
	if lane, chain = (polled{now: now}).rates(); lane.sum() != 59 || chain.sum() != 0 {
		t.Errorf("%v, %v, want 59, 0", lane.sum(), chain.sum())
	}
}

// TestNothing: no division by nothing.
func TestNothing(t *testing.T) {
	empty := &sample{report: &console.Report{}}
	s := merge(noon, []polled{{name: "a", now: empty}, {name: "b", before: empty, now: empty}}, nobody)
	if s.PerSecond != 0 || s.Lane != 0 || s.Latency != (Latency{}) || len(s.Names) != 0 {
		t.Errorf("%+v", s)
	}
	for _, line := range heading(&s) {
		if strings.Contains(line, "NaN") || strings.Contains(line, "Inf") {
			t.Error(line)
		}
	}
}

// TestNonsense: what a server says that is no sense is no error of JSON.
func TestNonsense(t *testing.T) {
	evil := at(10, math.MaxUint64/4)
	evil.report.Window = 5e-324
	evil.report.Totals.Chain.Seconds = math.MaxFloat64
	evil.report.History = []console.Point{{At: evil.report.Time, Seconds: 5e-324, Paths: evil.report.Totals}, {At: evil.report.Time, Seconds: -1}}
	evil.report.Names[0].Error = math.MaxUint64
	evil.duration = histogram{math.Inf(1): math.MaxFloat64, 1: math.MaxFloat64}
	for _, p := range []polled{{name: "a", now: evil}, {name: "a", before: at(9, 1), now: evil}, {name: "a", before: evil, now: at(10, 1)}} {
		s := merge(noon, []polled{p, p}, nobody)
		if _, err := json.Marshal(s); err != nil {
			t.Errorf("%v: %+v", err, s)
		}
	}
}

// TestExplainArgs: a name is never taken for a flag.
func TestExplainArgs(t *testing.T) {
	for _, row := range []struct {
		o    options
		want string
	}{
		{options{servers: []string{"a"}, dns: "10.96.0.10"}, "--server 10.96.0.10 -- --context=x."},
		{options{kubeconfig: "k", context: "c"}, "--kubeconfig k --context c -- --context=x."},
		{options{servers: []string{"a"}, kubeconfig: "k"}, "--kubeconfig k -- --context=x."},
	} {
		if got := strings.Join(row.o.explainArgs("--context=x."), " "); got != row.want {
			t.Errorf("%s, want %s", got, row.want)
		}
	}
}

// TestClean: a terminal is sent nothing but text, whatever a server says.
func TestClean(t *testing.T) {
	evil := at(10, 1)
	evil.report.Version = "\x1b]0;title\a"
	evil.report.Names[0].Name = "a\x1b[2Jb."
	evil.report.Names[0].Namespace = "\u202e"
	evil.report.Lanes = []console.Lane{{Addr: "x\n", Why: "\u009b"}}
	evil.report.Clients = nil
	s := merge(noon, []polled{{name: "\r", now: evil}, {name: "b", err: errors.New("\x1b")}}, nobody)
	if text := fmt.Sprintf("%+v", s); strings.ContainsAny(text, "\x1b\a\n\r\u009b\u202e") || !strings.Contains(text, "a?[2Jb.") {
		t.Errorf("%q", text)
	}
}

// TestManyRows: a table has a bound, whatever servers send.
func TestManyRows(t *testing.T) {
	var list []polled
	for i := range 20 {
		s := at(10, 1)
		for j := range 100 {
			s.report.Names = append(s.report.Names, console.Name{Name: fmt.Sprintf("n%d.s%d.", j, i), Count: 1})
		}
		list = append(list, polled{name: fmt.Sprint(i), now: s})
	}
	if s := merge(noon, list, nobody); len(s.Names) != maxRows {
		t.Errorf("%d rows", len(s.Names))
	}
}

func TestQuantile(t *testing.T) {
	h := histogram{0.001: 50, 0.002: 90, 0.004: 100, math.Inf(1): 100}
	for q, want := range map[float64]float64{0.5: 0.001, 0.25: 0.0005, 0.7: 0.0015, 0.95: 0.003, 1: 0.004} {
		if got := h.quantile(q); math.Abs(got-want) > 1e-12 {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	if got := (histogram{0.001: 1, math.Inf(1): 2}).quantile(0.99); got != 0.001 {
		t.Errorf("beyond the last bound: %v", got)
	}
	for _, h := range []histogram{nil, {}, {1: 0, math.Inf(1): 0}} {
		if got := h.quantile(0.5); got != 0 {
			t.Errorf("%v: %v", h, got)
		}
	}
}

func TestReadDurations(t *testing.T) {
	h, err := readDurations(strings.NewReader(`# TYPE coredns_dns_request_duration_seconds histogram
coredns_dns_request_duration_seconds_bucket{server="a",le="0.001"} 5
coredns_dns_request_duration_seconds_bucket{server="a",le="+Inf"} 7
coredns_dns_request_duration_seconds_sum{server="a"} 1
coredns_dns_request_duration_seconds_count{server="a"} 7
coredns_dns_request_duration_seconds_bucket{server="b",le="0.001"} 1
coredns_dns_request_duration_seconds_bucket{server="b",le="+Inf"} 1
coredns_dns_request_duration_seconds_sum{server="b"} 1
coredns_dns_request_duration_seconds_count{server="b"} 1
`))
	if want := (histogram{0.001: 6, math.Inf(1): 8}); err != nil || !reflect.DeepEqual(h, want) {
		t.Errorf("%v, %v, want %v", h, err, want)
	}
	if _, err := readDurations(strings.NewReader("<html>")); err == nil {
		t.Error("a page is no metrics")
	}
}
