package clusterdns

import (
	"bytes"
	"errors"
	"fmt"
	golog "log"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// As cmd/clusterdns has it, and besides a plugin that fails at the moment that
// its argument names: "faulty" behind everything else, and early before ours,
// under the name of one that does nothing to the lane and is not linked here.
const early = "geoip"

func init() {
	order := slices.Clone(dnsserver.Directives)
	order = slices.Insert(order, slices.Index(order, "kubernetes"), directive)
	order = slices.Insert(order, slices.Index(order, "prometheus"), consoleDirective)
	if err := dnsserver.SetDirectives(append(order, "faulty")); err != nil {
		panic(err)
	}
	plugin.Register("kubernetes", Setup)
	plugin.Register("faulty", setupFault)
	plugin.Register(early, setupFault)
}

// atStartup is what the plugin early calls, as a hook, when it starts.
var atStartup func()

// writes counts replies that went past the plugin early as a writer.
var writes atomic.Int64

type countingWriter struct{ dns.Writer }

func (w countingWriter) Write(p []byte) (int, error) {
	writes.Add(1)
	return w.Writer.Write(p)
}

func setupFault(c *caddy.Controller) error {
	fault := func() error { return errors.New("faulty, as told") }
	c.Next()
	name := c.Val()
	switch when := c.RemainingArgs()[0]; when {
	case "never":
	case "hook":
		c.OnStartup(func() error { atStartup(); return nil })
	case "writer":
		dnsserver.GetConfig(c).UDPDecorateWriterFunc = func(*dnsserver.Server) dns.DecorateWriter {
			return func(w dns.Writer) dns.Writer { return countingWriter{w} }
		}
	case "setup":
		return fault()
	case "startup":
		c.OnStartup(fault)
	case "restart":
		c.OnRestart(fault)
	case "shutdown":
		c.OnShutdown(fault)
	case "look":
		c.OnShutdown(func() error { lookedAt = handlers(); return nil })
	default:
		return fmt.Errorf("no such moment: %s", when)
	}
	if name == "faulty" {
		dnsserver.GetConfig(c).AddPlugin(func(plugin.Handler) plugin.Handler { return went })
	}
	return nil
}

// lookedAt is who held feeds when an instance with "faulty look" shut down.
var lookedAt []*Handler

// life is a CoreDNS instance, and those that come after it.
type life struct {
	*testing.T
	*caddy.Instance
}

func input(corefile string) caddy.Input {
	return caddy.CaddyfileInput{Contents: []byte(corefile), Filepath: "Corefile", ServerTypeName: "dns"}
}

func newLife(t *testing.T, corefile string) *life {
	t.Helper()
	caddy.Quiet, dnsserver.Quiet = true, true
	inst, err := caddy.Start(input(corefile))
	if err != nil {
		t.Fatal(err)
	}
	l := &life{t, inst}
	t.Cleanup(func() {
		for _, err := range l.ShutdownCallbacks() {
			if err.Error() != "faulty, as told" {
				t.Error(err)
			}
		}
		if err := l.Stop(); err != nil {
			t.Error(err)
		}
		l.holds("after the end")
	})
	return l
}

func (l *life) reload(corefile string) {
	l.Helper()
	inst, err := l.Restart(input(corefile))
	if err != nil {
		l.Fatalf("reloading %s: %v", corefile, err)
	}
	l.Instance = inst
}

func (l *life) failToReload(corefile string) {
	l.Helper()
	if _, err := l.Restart(input(corefile)); err == nil {
		l.Fatalf("reloading %s: no error", corefile)
	}
}

// handlers returns the handlers whose feeds are claimed.
func handlers() (hs []*Handler) {
	claims.Lock()
	defer claims.Unlock()
	for _, c := range claims.list {
		hs = append(hs, c.h)
	}
	return hs
}

// holds checks which feeds are held: those of the handlers of this life's
// instance, which have these words in the Corefile's order.
func (l *life) holds(when string, words ...string) []*Handler {
	l.Helper()
	hs := handlers()
	var got []string
	for _, h := range hs {
		got = append(got, h.cfg.word)
		if when != "after the end" && l.Storage[h] == nil {
			l.Errorf("%s: a feed is held for an instance that does not run", when)
		}
	}
	if !slices.Equal(got, words) {
		l.Fatalf("%s: feeds are held by %q, want %q", when, got, words)
	}
	return hs
}

// manifestsFolder returns a new folder with one service.
func manifestsFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "web.yaml"),
		"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.96.0.10}\n")
	return dir
}

func corefile(block string) string { return ".:0 {\n" + block + "\n}\n" }

func stanzaOf(word, dir string) string {
	return word + " cluster.local {\nmanifests " + dir + "\n}\n"
}

// services returns how often services were listed for the feed.
func services(t *testing.T, f *kube.Feed) kube.Status {
	t.Helper()
	for _, s := range f.Status() {
		if s.Resource == zone.Services {
			return s
		}
	}
	t.Fatal("no status of services")
	return kube.Status{}
}

func TestReloadKeepsTheIndex(t *testing.T) {
	dir := manifestsFolder(t)
	l := newLife(t, corefile(stanzaOf("clusterdns", dir)))
	first := l.holds("at first", "clusterdns")[0]
	for _, word := range []string{"clusterdns", "kubernetes", "kubernetes", "clusterdns"} {
		l.reload(corefile(stanzaOf(word, dir)))
		h := l.holds("after a reload", word)[0]
		if h == first {
			t.Fatal("the first handler still holds its feed")
		}
		if h.feed.Index() != first.feed.Index() {
			t.Error("another index")
		}
		if got := services(t, h.feed).Lists; got != 1 {
			t.Errorf("services were listed %d times", got)
		}
	}
}

// Another folder, that is another source: the first one stops.
func TestReloadToAnotherSource(t *testing.T) {
	l := newLife(t, corefile(stanzaOf("clusterdns", manifestsFolder(t))))
	first := l.holds("at first", "clusterdns")[0].feed.Index()
	l.reload(corefile(stanzaOf("clusterdns", manifestsFolder(t))))
	if l.holds("after the reload", "clusterdns")[0].feed.Index() == first {
		t.Error("the same index")
	}
}

func TestReloadFails(t *testing.T) {
	dir := manifestsFolder(t)
	stanza := stanzaOf("clusterdns", dir)
	l := newLife(t, corefile(stanza))
	first := l.holds("at first", "clusterdns")[0]
	for _, bad := range []string{
		corefile("clusterdns {"),
		corefile("clusterdns cluster.local {\ntttl 5\n}"),
		corefile(stanza + "faulty setup"),
		corefile(stanza + "faulty startup"),
		corefile(stanzaOf("kubernetes", dir) + "faulty startup"),
		corefile(stanzaOf("clusterdns", manifestsFolder(t)) + "faulty startup"),
		corefile(stanzaOf("clusterdns", filepath.Join(dir, "nothing"))),
		// The first block claims a feed, and then the second fails.
		"a.local:0 {\n" + stanza + "}\nb.local:0 {\n" + stanzaOf("clusterdns", filepath.Join(dir, "nothing")) + "}",
		corefile(stanza + "tls nothing.pem nothing.key"),
	} {
		l.failToReload(bad)
		if got := l.holds("after "+bad, "clusterdns")[0]; got != first {
			t.Fatalf("after %s: the feed is held by another handler", bad)
		}
	}
	if !first.Ready() {
		t.Error("not Ready")
	}
	// It still follows.
	write(t, filepath.Join(dir, "api.yaml"),
		"apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: shop}\nspec: {clusterIP: 10.96.0.11}\n")
	follows(t, first, 2)
	l.reload(corefile(stanza))
	if got := l.holds("after a good one", "clusterdns")[0]; got == first {
		t.Error("the feed is held by the old handler")
	}
}

// follows waits until h's index has n services.
func follows(t *testing.T, h *Handler, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); h.view.Index().Objects(zone.Services) != n; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the index has %d services, want %d", h.view.Index().Objects(zone.Services), n)
		}
	}
}

// When another plugin fails to shut down, the old instance has stopped and the
// new one serves, although CoreDNS speaks of a failed reload.
func TestReloadWithFailingShutdown(t *testing.T) {
	l := newLife(t, corefile(stanzaOf("clusterdns", manifestsFolder(t))+"faulty shutdown"))
	old := l.holds("at first", "clusterdns")[0]
	dir := manifestsFolder(t)
	l.failToReload(corefile(stanzaOf("kubernetes", dir)))
	hs := handlers()
	if len(hs) != 1 || hs[0] == old {
		t.Fatalf("feeds are held by %v, want that of the new handler alone", hs)
	}
	write(t, filepath.Join(dir, "api.yaml"),
		"apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: shop}\nspec: {clusterIP: 10.96.0.11}\n")
	follows(t, hs[0], 2)
	// What caddy returned is the old instance; the one that runs is:
	for _, inst := range caddy.Instances() {
		if inst.Storage[hs[0]] != nil {
			l.Instance = inst
		}
	}
	l.holds("by the running one", "kubernetes")
}

// A plugin that refuses the reload before it began.
func TestReloadRefused(t *testing.T) {
	dir := manifestsFolder(t)
	l := newLife(t, corefile(stanzaOf("clusterdns", dir)+"faulty restart"))
	first := l.holds("at first", "clusterdns")[0]
	l.failToReload(corefile(stanzaOf("clusterdns", dir)))
	if l.holds("after it was refused", "clusterdns")[0] != first {
		t.Error("the feed is held by another handler")
	}
}

func TestStanzaDroppedAndBack(t *testing.T) {
	dir := manifestsFolder(t)
	without := corefile("faulty never")
	l := newLife(t, corefile(stanzaOf("clusterdns", dir)))
	l.holds("at first", "clusterdns")
	l.reload(without)
	l.holds("without the stanza")
	// The running instance has no stanza of ours, so nobody tells us that this
	// one was discarded; the next reload does.
	l.failToReload(corefile(stanzaOf("clusterdns", dir) + "faulty startup"))
	l.reload(without)
	l.holds("after a reload that failed, and one without the stanza")
	l.reload(corefile(stanzaOf("clusterdns", dir)))
	h := l.holds("back", "clusterdns")[0]
	if got := services(t, h.feed).Lists; got != 1 {
		t.Errorf("services were listed %d times: it is not a new source", got)
	}
}

// Stanzas of one source share it; each holds it.
func TestStanzasShareASource(t *testing.T) {
	dir := manifestsFolder(t)
	two := "a.local:0 {\nclusterdns {\nmanifests " + dir + "\n}\n}\n" + "b.local:0 {\nkubernetes {\nmanifests " + dir + "\n}\n}\n"
	l := newLife(t, two)
	hs := l.holds("at first", "clusterdns", "kubernetes")
	if hs[0].feed.Index() != hs[1].feed.Index() {
		t.Error("two indexes")
	}
	l.reload("b.local:0 {\nclusterdns {\nmanifests " + dir + "\n}\n}\n")
	h := l.holds("one of them", "clusterdns")[0]
	if h.feed.Index() != hs[0].feed.Index() || services(t, h.feed).Lists != 1 {
		t.Error("not the same source")
	}
}

// Kinds that are ignored are logged once.
func TestIgnoredKindsAreLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	golog.SetOutput(&out)
	defer golog.SetOutput(os.Stderr)
	known := map[string]bool{}
	for _, kinds := range [][]string{{"apps/v1 Deployment"}, {"apps/v1 Deployment"}, {"apps/v1 Deployment", "v1 Endpoints"}, nil} {
		reportIgnored(kube.Status{Source: "/manifests", IgnoredKinds: kinds}, known)
	}
	if got := out.String(); strings.Count(got, "Deployment") != 1 || strings.Count(got, "v1 Endpoints") != 1 || !strings.Contains(got, "Manifests /manifests: ") {
		t.Errorf("logged %s", got)
	}
}

// That an API server does not go on from where a watch was is no error, and it is
// said once each time, with the reason.
func TestRelistsAreLogged(t *testing.T) {
	var out bytes.Buffer
	golog.SetOutput(&out)
	defer golog.SetOutput(os.Stderr)
	before, failing := map[string]time.Time{}, map[string]bool{}
	s := kube.Status{Resource: zone.Services, Source: "api", Synced: true, LastContact: time.Now()}
	for i, want := range []int{0, 1, 1, 2} {
		if i%2 == 1 {
			s.Relist, s.RelistTime = errors.New("too old"), time.Now()
		}
		reportStatus(s, failing, "")
		reportRelist(s, before)
		if got := out.String(); strings.Count(got, "[INFO] plugin/clusterdns: Listing services of api anew") != want || strings.Contains(got, "[ERROR]") ||
			want > 0 && !strings.Contains(got, "too old") {
			t.Errorf("step %d: logged %q, want %d lines", i, got, want)
		}
	}
}

// Hostnames that are refused are logged once, and later ones as what was added.
func TestRefusedNamesAreLogged(t *testing.T) {
	var out bytes.Buffer
	golog.SetOutput(&out)
	defer golog.SetOutput(os.Stderr)
	w := zone.NewWriter()
	before := map[string]uint64{}
	slice := func(name, hostname string) *zone.EndpointSlice {
		return &zone.EndpointSlice{Key: zone.Key{Namespace: "ns", Name: name}, Service: "db",
			Ready: zone.NewEndpoints([]zone.Endpoint{{Addr: netip.MustParseAddr("10.0.0.1"), Name: hostname}})}
	}
	for i, step := range []struct {
		add  []*zone.EndpointSlice
		want string // what is logged; "" if nothing
	}{
		{nil, ""},
		{[]*zone.EndpointSlice{slice("s0", "db-0")}, ""},
		{[]*zone.EndpointSlice{slice("s1", "a.b"), slice("s2", "c.d")}, `2 EndpointSlices of /manifests came with a hostname that is no label of a domain name, the last, ns/s2, with "c.d"`},
		{nil, ""},
		{[]*zone.EndpointSlice{slice("s3", "e.f")}, `1 EndpointSlices of /manifests came with a hostname that is no label of a domain name, the last, ns/s3, with "e.f"`},
		{nil, ""},
	} {
		w.Update(func(b *zone.Batch) {
			for _, s := range step.add {
				b.Set(s)
			}
		})
		out.Reset()
		reportRefused("/manifests", w.Index(), before)
		if got := out.String(); step.want == "" && got != "" || !strings.Contains(got, step.want) || strings.Count(got, "\n") > 1 {
			t.Errorf("step %d: logged %q, want %q", i, got, step.want)
		}
	}
	out.Reset()
	if reportRefused("another", w.Index(), before); !strings.Contains(out.String(), "3 EndpointSlices of another came") {
		t.Errorf("of another source: logged %q", out.String())
	}
}
