package clusterdns

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/coredns/coredns/plugin/pkg/transport"
)

// clusterAPI is an API server of a cluster with the service web in namespace
// shop. It is away until it is up.
type clusterAPI struct {
	*httptest.Server
	ip  string // of the service
	up  atomic.Bool
	end chan struct{}
}

func newClusterAPI(t *testing.T, ip string) *clusterAPI {
	a := &clusterAPI{ip: ip, end: make(chan struct{})}
	a.Server = httptest.NewServer(a)
	t.Cleanup(func() {
		close(a.end)
		a.Close()
	})
	return a
}

func (a *clusterAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if !a.up.Load() {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case q.Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
	case q.Get("watch") != "":
		w.(http.Flusher).Flush()
		select {
		case <-a.end:
		case <-r.Context().Done():
		}
	case strings.HasSuffix(r.URL.Path, "/services"):
		fmt.Fprintf(w, `{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"namespace":"shop","name":"web","resourceVersion":"5"},"spec":{"clusterIP":%q}}]}`, a.ip)
	case strings.HasSuffix(r.URL.Path, "/namespaces"):
		fmt.Fprint(w, `{"metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"shop","resourceVersion":"4"}}]}`)
	default:
		fmt.Fprint(w, `{"metadata":{"resourceVersion":"7"},"items":[]}`)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// web returns the address that h answers for web.shop.svc.
func web(t *testing.T, h *Handler) string {
	t.Helper()
	m := ask(t, h, dnstext.Cluster.Query(t, "web.shop.svc A"))
	if len(m.Answer) != 1 {
		return fmt.Sprint(m.Rcode)
	}
	return strings.Fields(m.Answer[0].String())[4]
}

func stanzaFor(api *clusterAPI, options ...string) string {
	return "clusterdns cluster.local {\nendpoint " + api.URL + "\napiserver_qps 1000\napiserver_burst 1000\nstartup_timeout 10ms\n" + strings.Join(options, "\n") + "\n}\n"
}

// stopped reports whether nobody holds the feed's source.
func stopped(feed *kube.Feed) bool {
	f := feed.Share()
	if f != nil {
		f.Release()
	}
	return f == nil
}

// A source that has nothing yet does not take the place of one that has.
func TestNewSourceTakesOverWhenItHasSynced(t *testing.T) {
	first, second, third := newClusterAPI(t, "10.96.0.1"), newClusterAPI(t, "10.96.0.2"), newClusterAPI(t, "10.96.0.3")
	first.up.Store(true)
	l := newLife(t, corefile(strings.Replace(stanzaFor(first), "10ms", "20s", 1)))
	running := func(when string) *Handler {
		t.Helper()
		return l.holds(when, "clusterdns")[0]
	}
	answers := func(h *Handler, ip string) {
		t.Helper()
		if got := web(t, h); got != ip {
			t.Fatalf("web is at %s, want %s", got, ip)
		}
		if !h.Ready() {
			t.Error("not Ready")
		}
	}
	answers(running("at first"), "10.96.0.1")
	source := running("at first").feed.Source()

	// Selections and names of endpoints make other sources, of the same server
	// or not; the ones before go on answering and being followed.
	first.up.Store(false)
	for _, options := range []string{"endpoint_pod_names", "labels a=b", "zonal", "apiserver_qps 7"} {
		l.reload(corefile(stanzaFor(first, options)))
		h := running("after " + options)
		answers(h, "10.96.0.1")
		families := gather(t)
		if got := sample(t, families, "coredns_clusterdns_synced", "resource", "services", "source", source); got != 1 {
			t.Errorf("after %s: the old source is shown as synced: %v", options, got)
		}
		if mine := h.feed.Source(); mine != source {
			if got := sample(t, families, "coredns_clusterdns_synced", "resource", "services", "source", mine); got != 0 {
				t.Errorf("after %s: the new source is shown as synced: %v", options, got)
			}
		}
	}
	l.reload(corefile(stanzaFor(second)))
	h := running("after the endpoint")
	answers(h, "10.96.0.1")

	// Discarded instances leave everything as it is.
	l.failToReload(corefile(stanzaFor(third) + "faulty startup"))
	answers(running("after a reload that failed"), "10.96.0.1")
	if running("after a reload that failed") != h {
		t.Fatal("another handler")
	}
	claims.Lock()
	old := claims.list[0].old
	claims.Unlock()
	second.up.Store(true)
	eventually(t, "the new source has taken over", func() bool { return web(t, h) == "10.96.0.2" })
	answers(h, "10.96.0.2")
	eventually(t, "the old one is released", func() bool { return stopped(old) })
	for _, m := range gather(t)["coredns_clusterdns_synced"].GetMetric() {
		for _, label := range m.GetLabel() {
			if label.GetValue() == source {
				t.Errorf("%v is shown after its release", m)
			}
		}
	}

	// One that waits is given up with its instance.
	l.reload(corefile(stanzaFor(third)))
	pending := running("while it waits").feed
	l.reload(corefile(stanzaFor(second)))
	answers(running("back"), "10.96.0.2")
	if !stopped(pending) {
		t.Error("a source that waited is still followed")
	}
}

// What is cached, and who else answers from the index, follows the swap.
func TestTakeOverReachesAll(t *testing.T) {
	dir := manifestsFolder(t)
	api := newClusterAPI(t, "10.96.0.2")
	old, err := started(t, "clusterdns cluster.local {\nmanifests "+dir+"\nnegative_cache 100\n}")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := parse(controller("clusterdns cluster.local {\nendpoint " + api.URL + "\nnegative_cache 100\n}"))
	if err != nil {
		t.Fatal(err)
	}
	outside, err := parseExternal(controller("k8s_external example.org"))
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{cfg: cfg, negatives: newNegatives(100), starts: new(startup), external: &Handler{cfg: outside}}
	t.Cleanup(func() { giveUp(func(of *Handler) bool { return of == h }) })
	if err := h.open(nil); err != nil {
		t.Fatal(err)
	}
	if h.external.view.Index() != old.view.Index() || web(t, h) != "10.96.0.10" {
		t.Error("not the old index")
	}
	view := h.view
	for range 2 { // the second from the cache
		expect(t, h, dnstext.Cluster, `
			? none.shop.svc A
			NXDOMAIN aa rd soa`)
	}
	before := h.negatives.stats().Invalidations
	api.up.Store(true)
	eventually(t, "taken over", func() bool { return web(t, h) == "10.96.0.2" })
	eventually(t, "the external zones too", func() bool { return h.external.view.Index() == h.feed.Index() })
	if h.view != view {
		t.Error("another view: the lane has the one before")
	}
	expect(t, h, dnstext.Cluster, `
		? none.shop.svc A
		NXDOMAIN aa rd soa`)
	if got := h.negatives.stats().Invalidations - before; got != 1 {
		t.Errorf("%d invalidations: a negative answer of another index", got)
	}
}

// All stanzas have begun to follow before the first waits, and count from then.
func TestStartupTimeoutsDoNotAddUp(t *testing.T) {
	all := new(startup)
	for i := range 3 {
		cfg, err := parse(controller(strings.Replace(stanzaFor(newClusterAPI(t, "10.96.0.1")), "cluster.local", fmt.Sprintf("a%d.local", i), 1)))
		if err != nil {
			t.Fatal(err)
		}
		h := &Handler{cfg: cfg, starts: all}
		all.stanzas = append(all.stanzas, starting{h, new(dnsserver.Config)})
		t.Cleanup(func() { giveUp(func(of *Handler) bool { return of == h }) })
	}
	if err := all.start(all.stanzas[0].h); err != nil {
		t.Fatal(err)
	}
	began := all.began
	for i, of := range all.stanzas {
		if of.h.feed == nil {
			t.Errorf("stanza %d is not followed while the first waits", i)
		}
	}
	if err := all.start(all.stanzas[1].h); err != nil || all.began != began {
		t.Errorf("%v, and counts from %v instead of %v", err, all.began, began)
	}
}

// A reload by signal begins with forgetting event hooks, and without a stanza of
// ours nobody asks for them again: the old instance's end has to do.
func TestStanzaDroppedWithoutEvent(t *testing.T) {
	l := newLife(t, corefile(stanzaOf("clusterdns", manifestsFolder(t))+"faulty look"))
	feed := l.holds("at first", "clusterdns")[0].feed
	l.reload(corefile("faulty never"))
	if len(lookedAt) != 0 {
		t.Error("the feed is held until the event")
	}
	if !stopped(feed) {
		t.Error("the feed goes on")
	}
}

// Whose place a stanza takes in a reload, where several have its zone.
func TestPredecessor(t *testing.T) {
	before, after := new(startup), new(startup)
	handler := func(starts *startup, listens string, zones ...string) *Handler {
		return &Handler{
			starts: starts, view: new(zone.View), cfg: &config{view: zone.Options{Zones: zones}},
			listens: listens,
		}
	}
	const z = "cluster.local."
	one, other, reverse := handler(before, "53", z), handler(before, "1053", z), handler(before, "53", z, "10.in-addr.arpa.")
	lone := handler(before, "2053", "lone.local.")
	claims.Lock()
	defer claims.Unlock()
	held := claims.list
	defer func() { claims.list = held }()
	claims.list = nil
	for _, h := range []*Handler{one, other, reverse, lone, handler(after, "53", z)} {
		claims.list = append(claims.list, &claimed{h: h})
	}
	for _, row := range []struct {
		what string
		h    *Handler
		want *Handler
	}{
		{"the same zones at the same port", handler(after, "53", z), one},
		{"another port", handler(after, "1053", z), other},
		{"more zones", handler(after, "53", z, "10.in-addr.arpa."), reverse},
		{"a zone in common at the port", handler(after, "1053", z, "other.local."), other},
		{"a port that nobody had, and several it may be", handler(after, "5353", z), nil},
		{"a port that nobody had, and one it may be", handler(after, "5353", "lone.local."), lone},
		{"no zone in common", handler(after, "53", "other.local."), nil},
	} {
		var got *Handler
		if c := predecessor(row.h); c != nil {
			got = c.h
		}
		if got != row.want {
			t.Errorf("%s: another's place", row.what)
		}
	}
}

// A process that has no index does not begin where another one serves: what is
// sent there would be shared between the two.
func TestLeavesAddressToAnother(t *testing.T) {
	other, err := reuseport.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, port, _ := net.SplitHostPort(other.LocalAddr().String())
	begin := func() error {
		cfg, err := parse(controller("clusterdns cluster.local {\nendpoint http://127.0.0.1:1\nstartup_timeout 10ms\n}"))
		if err != nil {
			t.Fatal(err)
		}
		h, s := &Handler{cfg: cfg}, new(startup)
		h.starts = s
		s.stanzas = []starting{{h, &dnsserver.Config{Port: port, ListenHosts: []string{"127.0.0.1"}, Transport: transport.DNS}}}
		t.Cleanup(func() { giveUp(func(of *Handler) bool { return of == h }) })
		return s.start(h)
	}
	if runtime.GOOS != "linux" {
		t.Skip("no table of sockets")
	}
	want := "the index is not complete after 10ms, and another process serves at 127.0.0.1:" + port + ", which goes on"
	if err := begin(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want one with %q", err, want)
	}
	if err := begin(); err != nil { // the first one's claim is held
		t.Errorf("in a reload: %v", err)
	}
}
