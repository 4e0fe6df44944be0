package clusterdns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// world is a cluster that a test writes down, one object to a line:
//
//	ns NAMESPACE
//	svc NAMESPACE/NAME ADDR... PORT...          ClusterIP
//	headless NAMESPACE/NAME PORT... [all]       all: publishNotReadyAddresses
//	external NAMESPACE/NAME TARGET
//	slice NAMESPACE/NAME SERVICE PORT... ENDPOINT...
//	pod NAMESPACE/NAME ADDR...
//
// PORT is NAME:PROTOCOL:NUMBER, NAME empty for an unnamed one. ENDPOINT is ADDR
// or HOSTNAME=ADDR, with a ! before it if it is not ready. A service may have
// outside=ADDR and outside=HOST, where it is reached from outside the cluster.
type world struct {
	*zone.Writer
	version uint64 // resourceVersion of what was last written
}

// newWorld returns a world of the objects in text; every resource has synced.
func newWorld(t testing.TB, text string) *world {
	t.Helper()
	w := &world{Writer: zone.NewWriter()}
	w.Update(func(b *zone.Batch) {
		for _, r := range []zone.Resource{zone.Namespaces, zone.Services, zone.EndpointSlices, zone.Pods} {
			b.Replace(r, nil, 1)
		}
	})
	w.set(t, text)
	return w
}

// set adds or changes the objects in text, all at once.
func (w *world) set(t testing.TB, text string) {
	t.Helper()
	w.version++
	w.Update(func(b *zone.Batch) {
		for line := range strings.Lines(text) {
			if words := strings.Fields(line); len(words) > 0 {
				b.Set(w.object(t, words))
			}
		}
	})
}

// remove takes out the object of that name.
func (w *world) remove(r zone.Resource, name string) {
	w.version++
	ns, name, _ := strings.Cut(name, "/")
	k := zone.Key{Namespace: ns, Name: name}
	if r == zone.Namespaces {
		k = zone.Key{Name: ns}
	}
	w.Update(func(b *zone.Batch) { b.Delete(r, k, w.version) })
}

func (w *world) object(t testing.TB, words []string) zone.Object {
	t.Helper()
	kind := words[0]
	ns, name, _ := strings.Cut(words[1], "/")
	key := zone.Key{Namespace: ns, Name: name}
	args := words[2:]
	var addrs []netip.Addr
	var ports []zone.Port
	var rest, hosts []string
	var outside []netip.Addr
	for _, arg := range args {
		if addr, err := netip.ParseAddr(arg); err == nil && (kind == "svc" || kind == "pod") {
			addrs = append(addrs, addr)
		} else if p := strings.Split(arg, ":"); len(p) == 3 && (p[1] == "TCP" || p[1] == "UDP") {
			n, err := strconv.ParseInt(p[2], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, zone.Port{Name: p[0], Protocol: p[1], Number: int32(n)})
		} else if text, ok := strings.CutPrefix(arg, "outside="); ok {
			if addr, err := netip.ParseAddr(text); err == nil {
				outside = append(outside, addr)
			} else {
				hosts = append(hosts, text)
			}
		} else {
			rest = append(rest, arg)
		}
	}
	reached := zone.NewExternal(outside, hosts)
	switch kind {
	case "ns":
		return &zone.Namespace{Name: ns, Version: w.version}
	case "svc":
		return &zone.Service{Key: key, Version: w.version, ClusterIPs: addrs, Ports: ports, External: reached}
	case "headless":
		return &zone.Service{Key: key, Version: w.version, Kind: zone.Headless, Ports: ports, External: reached,
			PublishNotReady: len(rest) == 1 && rest[0] == "all"}
	case "external":
		return &zone.Service{Key: key, Version: w.version, Kind: zone.ExternalName, ExternalName: rest[0], Ports: ports, External: reached}
	case "pod":
		return &zone.Pod{Key: key, Version: w.version, Addrs: addrs}
	case "slice":
		return w.slice(t, key, rest[0], ports, rest[1:])
	}
	t.Fatalf("%q is no kind of object", kind)
	return nil
}

func (w *world) slice(t testing.TB, key zone.Key, service string, ports []zone.Port, endpoints []string) *zone.EndpointSlice {
	t.Helper()
	s := &zone.EndpointSlice{Key: key, Version: w.version, Service: service, Ports: ports}
	var ready, notReady []zone.Endpoint
	for _, text := range endpoints {
		to := &ready
		if rest, ok := strings.CutPrefix(text, "!"); ok {
			to, text = &notReady, rest
		}
		hostname, addr, ok := strings.Cut(text, "=")
		if !ok {
			hostname, addr = "", text
		}
		*to = append(*to, zone.Endpoint{Addr: netip.MustParseAddr(addr), Name: hostname})
	}
	s.Ready = zone.NewEndpoints(ready)
	if len(notReady) > 0 {
		packed := zone.NewEndpoints(notReady)
		s.NotReady = &packed
	}
	return s
}

// stanza is what the handler of a test is made from.
type stanza struct {
	zones         []string // cluster.local. if there are none
	ttl           uint32   // 5 if it is 0
	pods          zone.PodMode
	noEndpoints   bool
	ignoreEmpty   bool
	fallthroughTo []string // nil for none, empty for all zones
	negativeCache int
	local         []netip.Addr
	next          plugin.Handler
	multicluster  []string
	zonal         bool
	maxAnswers    int
	explain       int
}

func (s stanza) handler(t testing.TB, w *zone.Writer) *Handler {
	t.Helper()
	cfg := &config{word: directive, negativeCache: s.negativeCache, view: zone.Options{
		Zones: s.zones, TTL: s.ttl, Pods: s.pods, NoEndpoints: s.noEndpoints, IgnoreEmpty: s.ignoreEmpty,
		Multicluster: s.multicluster, Zonal: s.zonal, MaxAnswers: s.maxAnswers, Explain: s.explain,
	}}
	if cfg.view.Zones == nil {
		cfg.view.Zones = []string{"cluster.local."}
	}
	if cfg.view.TTL == 0 {
		cfg.view.TTL = 5
	}
	if s.fallthroughTo != nil {
		cfg.fall.SetZonesFromArgs(s.fallthroughTo)
	}
	v, err := zone.NewView(w.Index(), cfg.view)
	if err != nil {
		t.Fatal(err)
	}
	v.SetLocalAddrs(s.local)
	return &Handler{Next: s.next, cfg: cfg, view: v, negatives: newNegatives(cfg.negativeCache)}
}

// recorder keeps the message that a handler writes.
type recorder struct {
	dns.ResponseWriter
	msg *dns.Msg
}

func (r *recorder) RemoteAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40212}
}
func (r *recorder) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53} }
func (r *recorder) WriteMsg(m *dns.Msg) error {
	if r.msg != nil {
		return fmt.Errorf("a second reply: %v", m)
	}
	r.msg = m
	return nil
}

// ask returns the reply to a question, or if the handler wrote none a message
// with nothing but the response code that it returned.
func ask(t testing.TB, h plugin.Handler, r *dns.Msg) *dns.Msg {
	t.Helper()
	rec := &recorder{}
	rcode, err := h.ServeDNS(context.Background(), rec, r)
	if err != nil {
		t.Logf("%v: %v", r.Question, err)
	}
	if (rec.msg != nil) != plugin.ClientWrite(rcode) {
		t.Fatalf("%v: a reply was written: %v; but the response code %s says otherwise", r.Question, rec.msg != nil, dns.RcodeToString[rcode])
	}
	if rec.msg == nil {
		return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Rcode: rcode}}
	}
	if rec.msg.Id != r.Id || len(rec.msg.Question) != 1 || rec.msg.Question[0] != r.Question[0] {
		t.Fatalf("the reply to %d %v is to %d %v", r.Id, r.Question, rec.msg.Id, rec.msg.Question)
	}
	return rec.msg
}

// expect asks h the questions of a table, and compares the replies with those
// that it holds. Each row is a line "? NAME TYPE" and a reply as dnstext has it.
func expect(t *testing.T, h plugin.Handler, ctx dnstext.Context, table string) {
	t.Helper()
	rows := strings.Split("\n"+strings.ReplaceAll(table, "\t", ""), "\n? ")
	if strings.TrimSpace(rows[0]) != "" || len(rows) < 2 {
		t.Fatalf("the table does not begin with a question: %q", rows[0])
	}
	for _, row := range rows[1:] {
		question, reply, _ := strings.Cut(row, "\n")
		want, err := ctx.Parse(reply)
		if err != nil {
			t.Fatalf("%s: %v", question, err)
		}
		t.Run(question, func(t *testing.T) {
			t.Helper()
			if diff := want.Diff(ask(t, h, ctx.Query(t, question))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// objectsOf returns the objects in text by resource.
func objectsOf(t testing.TB, text string) map[zone.Resource][]zone.Object {
	t.Helper()
	m := map[zone.Resource][]zone.Object{zone.Namespaces: nil, zone.Services: nil, zone.EndpointSlices: nil, zone.Pods: nil}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 {
			o := (&world{version: 9}).object(t, words)
			m[o.Resource()] = append(m[o.Resource()], o)
		}
	}
	return m
}

// value returns what a counter stands at.
func value(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func requestOf(w dns.ResponseWriter, r *dns.Msg) request.Request {
	return request.Request{W: w, Req: r}
}
