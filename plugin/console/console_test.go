package console

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/hitters"
	"github.com/clusterdns/clusterdns/plugin/zone"
)

// fake is a Source, with an index for its views.
type fake struct {
	feeds []Feed
	lanes []Lane
	views []View
}

func (f *fake) Feeds() []Feed { return f.feeds }
func (f *fake) Lanes() []Lane { return f.lanes }
func (f *fake) Views() []View { return f.views }

func key(name string) zone.Key { return zone.Key{Namespace: "shop", Name: name} }

// cluster has two stanzas that show one index, the second without the namespace
// data.
func cluster(t *testing.T) *fake {
	t.Helper()
	w := zone.NewWriter()
	w.Update(func(b *zone.Batch) {
		for _, r := range []zone.Resource{zone.Namespaces, zone.Services, zone.EndpointSlices} {
			b.Replace(r, nil, 1)
		}
		for _, ns := range []string{"shop", "data", "many"} {
			b.Set(&zone.Namespace{Name: ns, Version: 1})
		}
		b.Set(&zone.Service{Key: key("web"), Version: 41, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, Ports: []zone.Port{{Name: "http", Protocol: "TCP", Number: 80}}})
		b.Set(&zone.Service{Key: key("cache"), Version: 42, Kind: zone.Headless})
		b.Set(&zone.EndpointSlice{Key: key("cache-x"), Version: 43, Service: "cache", Ready: zone.NewEndpoints([]zone.Endpoint{{Addr: netip.MustParseAddr("10.244.1.21")}})})
		b.Set(&zone.Service{Key: key("db"), Version: 44, Kind: zone.ExternalName, ExternalName: "<script>alert(1)</script>.example"})
		b.Set(&zone.Service{Key: zone.Key{Namespace: "data", Name: "postgres"}, Version: 45, Kind: zone.Headless})
		for i := range pageRows + 3 {
			b.Set(&zone.Service{Key: zone.Key{Namespace: "many", Name: fmt.Sprintf("s-%03d", i)}, Kind: zone.Headless})
		}
	})
	f := &fake{
		feeds: []Feed{
			{Source: "https://10.0.0.1:6443", Resource: "services", Synced: true, Objects: 4, LastContact: time.Now(), Error: `dial "10.0.0.1:6443": <b>no route</b>`},
			{Source: "https://10.0.0.1:6443", Resource: "pods"},
			{Source: "https://10.0.0.2:6443", Resource: "services", Synced: true, StaleSince: time.Now().Add(-3*time.Minute - time.Second), Error: "gone"},
		},
		lanes: []Lane{{Addr: ":53", Open: true, Answered: 1234567, Declined: map[string]uint64{"type": 7}}, {Addr: ":54", Why: "log (Corefile:4) logs queries"}},
	}
	for _, opt := range []zone.Options{
		{Zones: []string{"cluster.local."}}, {Zones: []string{"tenant.local."}, Namespaces: []string{"shop"}},
	} {
		v, err := zone.NewView(w.Index(), opt)
		if err != nil {
			t.Fatal(err)
		}
		f.views = append(f.views, View{Where: "Corefile:3", Zones: opt.Zones, View: v})
	}
	return f
}

// shown returns a Console that shows f, and what it counts with.
func shown(t *testing.T, f *fake) (*Console, *hitters.Engine) {
	e := hitters.New()
	return New(e, f, "1.2.3", func(err error) { t.Error(err) }), e
}

func ask(t *testing.T, e *hitters.Engine, name string, rcode int) {
	t.Helper()
	wire, err := dnswire.AppendName(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	e.Add(wire, netip.MustParseAddr("10.244.1.5"), rcode, hitters.Lane, time.Millisecond)
}

// get asks a handler for a page of localhost.
func get(h http.Handler, path string) *httptest.ResponseRecorder {
	return do(h, http.MethodGet, "localhost:8053", path)
}

func do(h http.Handler, method, host, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// In a bubble: no time passes unless somebody sleeps.
func TestReport(t *testing.T) { synctest.Test(t, testReport) }

func testReport(t *testing.T) {
	c, e := shown(t, cluster(t))
	for range 3 {
		ask(t, e, "web.shop.svc.cluster.local.", 0)
	}
	ask(t, e, "nope.shop.svc.cluster.local.", 3)
	ask(t, e, "example.org.", 2)
	w := get(c.Handler(true), "/report.json")
	var got Report
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Header().Get("Content-Type") != "application/json" {
		t.Fatal(err, w.Header())
	}
	if n := got.Names[0]; n.Name != "web.shop.svc.cluster.local." || n.Namespace != "shop" || n.Count != 3 || n.Error != 0 {
		t.Errorf("%+v", n)
	}
	if n := got.Names[1]; n.Name != "example.org." || n.Namespace != "" {
		t.Errorf("%+v", n)
	}
	if n := got.NXDomain[0]; len(got.NXDomain) != 1 || n.Name != "nope.shop.svc.cluster.local." || n.Namespace != "shop" {
		t.Errorf("%+v", got.NXDomain)
	}
	if n := got.Clients[0]; n.Addr.String() != "10.244.1.5" || n.AtLeast() != 5 {
		t.Errorf("%+v", n)
	}
	if got.Totals.Lane != (Tally{NoError: 3, NXDomain: 1, ServFail: 1, Seconds: 0.005}) || got.Totals.Chain.Sum() != 0 {
		t.Errorf("%+v", got.Totals)
	}
	if got.OneIn != 1 || got.Version != "1.2.3" || len(got.Feeds) != 3 || got.Feeds[1].State() != "waiting" || got.Lanes[1].Why == "" {
		t.Errorf("%+v", got)
	}
	ask(t, e, "new.example.", 0)
	if again := c.Report(); len(again.Names) != 2 {
		t.Error("a report is made anew for each who asks")
	}
	time.Sleep(reportAge)
	if again := c.Report(); len(again.Names) != 3 {
		t.Error("a report is not made anew")
	}
}

var tag = regexp.MustCompile(`<[^>]*>`)

// text returns the page's words.
func text(page string) string {
	return strings.Join(strings.Fields(tag.ReplaceAllString(page, " ")), " ")
}

func TestOverview(t *testing.T) {
	c, e := shown(t, cluster(t))
	for range 30 {
		ask(t, e, "web.shop.svc.cluster.local.", 0)
	}
	page := get(c.Handler(true), "/").Body.String()
	for _, want := range []string{
		"This page shows who asks what.", "web.shop.svc.cluster.local. shop", "30 30",
		"services https://10.0.0.1:6443 lost 4 0 s never", "pods https://10.0.0.1:6443 waiting 0 never never",
		"services https://10.0.0.2:6443 stale, by 3 min 0 never never gone", ":53 open 1,234,567 type: 7", ":54 closed log (Corefile:4) logs queries", "10.244.1.5",
	} {
		if !strings.Contains(text(page), want) {
			t.Errorf("the page lacks %q:\n%s", want, text(page))
		}
	}
	empty, _ := shown(t, new(fake))
	if page := text(get(empty.Handler(true), "/").Body.String()); !strings.Contains(page, "follows no cluster") || !strings.Contains(page, "None.") {
		t.Error(page)
	}
}

// TestStrangersText: what strangers chose is text on every page, whatever it is.
func TestStrangersText(t *testing.T) {
	f := cluster(t)
	const bad = `"><script src=//evil.example></script><img/src=x/onerror=alert(1)>`
	f.lanes[1].Why = bad
	c, e := shown(t, f)
	ask(t, e, `<script>alert(1)</script>.shop.svc.cluster.local.`, 3)
	ask(t, e, `\034\062<img src=x onerror=alert(1)>.example.`, 0)
	for _, path := range []string{"/", "/namespace?name=shop", "/namespace?name=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "/namespace?name=shop&after=%3Cscript%3E", "/namespace?stanza=%3Cscript%3E", "/explain?name=db.shop.svc.cluster.local.&namespace=%22%3E%3Cscript%3E", "/explain?name=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"} {
		page := get(c.Handler(true), path).Body.String()
		if !strings.Contains(page, "</html>") {
			t.Errorf("%s is no page: %s", path, page)
		}
		for _, m := range regexp.MustCompile(`(?i)<(script|img|b)\b[^>]*>`).FindAllString(page, -1) {
			if m != `<script src="console.js" defer>` {
				t.Errorf("%s has the tag %s", path, m)
			}
		}
		if path == "/" && strings.Count(page, "&lt;script&gt;") < 1 {
			t.Errorf("%s does not show the name at all", path)
		}
		if path == "/namespace?name=shop" && !strings.Contains(page, "&lt;script&gt;alert(1)&lt;/script&gt;.example") {
			t.Errorf("%s does not show the target:\n%s", path, page)
		}
	}
}

func TestExplain(t *testing.T) {
	f := cluster(t)
	c, _ := shown(t, f)
	h := c.Handler(true)
	long := strings.Repeat(strings.Repeat("x", 63)+".", 4)
	for _, row := range []struct {
		query  string
		status int
		want   []string
		not    string
	}{
		{"", 200, []string{"Name Type"}, "What is asked"},
		{"name=web.shop.svc.cluster.local.", 200, []string{"web.shop.svc.cluster.local. A NOERROR", "IN A 10.96.0.10", "services shop/web, resourceVersion 41"}, ""},
		{"name=Web.shop.svc.cluster.local&type=AAAA", 200, []string{"Web.shop.svc.cluster.local. AAAA NOERROR, without records of this type"}, "IN AAAA"},
		{"name=wbe.shop.svc.cluster.local.", 200, []string{"NXDOMAIN", "nearest is web"}, ""},
		{"name=postgres.shop.svc.tenant.local.&stanza=1", 200, []string{"NXDOMAIN"}, "data"},
		{"name=web&namespace=shop", 200, []string{"web.shop.svc.cluster.local. A NOERROR"}, "web.svc.cluster.local."},
		{"name=web.shop&namespace=data", 200, []string{"web.shop.data.svc.cluster.local. A NXDOMAIN", "web.shop.svc.cluster.local. A NOERROR"}, "web.shop. A"},
		{"name=example.org&namespace=data", 200, []string{"example.org.svc.cluster.local. A NXDOMAIN", "example.org. A in no zone of the stanza"}, ""},
		{"name=web.shop.svc.cluster.local.&type=ANY", 200, []string{"web.shop.svc.cluster.local. A NOERROR"}, ""},
		{"name=postgres.data.svc.tenant.local&stanza=1", 200, []string{"NXDOMAIN"}, ""},
		{"name=cache.shop.svc.tenant.local&stanza=1", 200, []string{"IN A 10.244.1.21"}, ""},
		{"name=" + long, 200, []string{"not asked: it is no domain name"}, ""},
		{"name=a..b&namespace=shop", 200, []string{"a..b. A not asked"}, ""},
		{"name=%3Cscript%3Ealert(1)%3C/script%3E&namespace=%22%3E%3Cimg%3E", 200, []string{"NXDOMAIN"}, ""},
	} {
		wantPage(t, h, "/explain?"+row.query, row.status, row.want, row.not)
	}
	// Zones of addresses are in no search path, and the root adds no dot.
	f.views = f.views[:1]
	for zones, want := range map[string]string{
		"in-addr.arpa. cluster.local.": "web.shop.svc.cluster.local. A NOERROR",
		".":                            "web.shop.svc. A ", "ip6.arpa.": "web.shop.svc.ip6.arpa. A ",
	} {
		f.views[0].Zones = strings.Fields(zones)
		if page := text(get(h, "/explain?name=web&namespace=shop").Body.String()); !strings.Contains(page, want) || strings.Contains(page, "no domain name") {
			t.Errorf("%s: no %q:\n%s", zones, want, page)
		}
	}
	w := zone.NewWriter() // has seen nothing
	v, err := zone.NewView(w.Index(), zone.Options{Zones: []string{"cluster.local."}})
	if err != nil {
		t.Fatal(err)
	}
	f.views = []View{{Zones: []string{"cluster.local."}, View: v}}
	if page := text(get(h, "/explain?name=web.shop.svc.cluster.local.").Body.String()); !strings.Contains(page, "SERVFAIL namespaces have not been seen") {
		t.Error(page)
	}
}

func TestNamespace(t *testing.T) {
	c, _ := shown(t, cluster(t))
	h := c.Handler(true)
	for _, row := range []struct {
		path   string
		status int
		want   []string
		not    string
	}{
		{"/namespace", 200, []string{"data many shop"}, ""},
		{"/namespace?after=data", 200, []string{"many shop"}, "data"},
		{"/namespace?stanza=1", 200, []string{"shop"}, "data"},
		{"/namespace?name=shop", 200, []string{"web ClusterIP 10.96.0.10 http 80/TCP 0 0 41", "cache headless 1 0 42", "db ExternalName", "3 of 3."}, "postgres"},
		{"/namespace?name=data", 200, []string{"postgres headless 0 0 45"}, ""},
		{"/namespace?name=data&stanza=1", 404, []string{"no namespace data , or the stanza does not show it"}, "postgres"},
		{"/namespace?name=nope", 404, []string{"no namespace nope"}, ""},
		{"/namespace?name=" + strings.Repeat("x", 70), 404, nil, ""},
		{"/namespace?name=many", 200, []string{"200 of 203.", "s-000", "s-199"}, "s-200"},
		{"/namespace?name=many&after=s-199", 200, []string{"3 of 203.", "s-200", "s-202"}, "s-199"},
		{"/namespace?name=many&after=z", 200, []string{"None."}, "s-0"},
		{"/namespace?name=shop&stanza=7", 200, []string{"3 of 3."}, ""},
	} {
		wantPage(t, h, row.path, row.status, row.want, row.not)
	}
}

// wantPage gets a page, whose text has all of want and, unless it is empty, lacks not.
func wantPage(t *testing.T, h http.Handler, path string, status int, want []string, not string) {
	t.Helper()
	w := get(h, path)
	page := text(w.Body.String())
	if w.Code != status {
		t.Errorf("%s: %d, not %d", path, w.Code, status)
	}
	for _, s := range want {
		if !strings.Contains(page, s) {
			t.Errorf("%s lacks %q:\n%s", path, s, page)
		}
	}
	if not != "" && strings.Contains(page, not) {
		t.Errorf("%s has %q:\n%s", path, not, page)
	}
}

// TestManyNamespaces goes from page to page until all were shown.
func TestManyNamespaces(t *testing.T) {
	w := zone.NewWriter()
	w.Update(func(b *zone.Batch) {
		b.Replace(zone.Namespaces, nil, 1)
		for i := range 2*pageRows + 1 {
			b.Set(&zone.Namespace{Name: fmt.Sprintf("n-%03d", i), Version: 1})
		}
	})
	v, err := zone.NewView(w.Index(), zone.Options{Zones: []string{"cluster.local."}})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := shown(t, &fake{views: []View{{Zones: []string{"cluster.local."}, View: v}}})
	next := regexp.MustCompile(`href="(namespace\?stanza=0&amp;after=[^"]*)"`)
	seen, path := map[string]bool{}, "/namespace"
	for range 3 {
		page := get(c.Handler(true), path).Body.String()
		for _, name := range regexp.MustCompile(`n-\d{3}<`).FindAllString(page, -1) {
			seen[name] = true
		}
		m := next.FindStringSubmatch(page)
		if m == nil {
			break
		}
		path = "/" + html.UnescapeString(m[1])
	}
	if len(seen) != 2*pageRows+1 {
		t.Errorf("%d namespaces are shown", len(seen))
	}
}

// guarded is a Source, and one who reads, that notice whether a page is being made.
type guarded struct {
	*fake
	*httptest.ResponseRecorder
	making func() bool
	t      *testing.T
}

func (g *guarded) Views() []View {
	if !g.making() {
		g.t.Error("a page may be made beside another")
	}
	return g.fake.Views()
}

func (g *guarded) Write(b []byte) (int, error) {
	if g.making() {
		g.t.Error("who reads slowly keeps others waiting")
	}
	return g.ResponseRecorder.Write(b)
}

// TestOneAtATime: pages are made one after the other, and sent at the same time.
func TestOneAtATime(t *testing.T) {
	g := &guarded{fake: cluster(t), t: t}
	c := New(hitters.New(), g, "", func(err error) { t.Error(err) })
	g.making = func() bool {
		free := c.making.TryLock()
		if free {
			c.making.Unlock()
		}
		return !free
	}
	for _, path := range []string{"/", "/explain?name=web", "/namespace?name=shop"} {
		g.ResponseRecorder = httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "localhost"
		c.Handler(true).ServeHTTP(g, r)
		if g.Code != http.StatusOK || g.Body.Len() == 0 {
			t.Errorf("%s: %d", path, g.Code)
		}
	}
}

// TestRequests: which requests are answered, and how.
func TestRequests(t *testing.T) {
	c, _ := shown(t, cluster(t))
	for _, row := range []struct {
		local              bool
		method, host, path string
		status             int
	}{
		{true, "GET", "localhost:8053", "/", 200},
		{true, "GET", "localhost", "/", 200},
		{true, "HEAD", "127.0.0.1:9999", "/", 200},
		{true, "GET", "[::1]:8053", "/report.json", 200},
		{true, "GET", "[::1]", "/report.json", 200},
		{true, "GET", "evil.example:8053", "/report.json", 421},
		{true, "GET", "localhost.evil.example", "/", 421},
		{true, "GET", "127.0.0.1.evil.example:8053", "/", 421},
		{true, "GET", "10.0.0.1:8053", "/", 421},
		{true, "GET", "", "/", 421},
		{false, "GET", "console.example:8053", "/", 200},
		{true, "POST", "localhost", "/", 405},
		{true, "DELETE", "localhost", "/namespace?name=shop", 405},
		{true, "PUT", "localhost", "/report.json", 405},
		{true, "GET", "localhost", "/static/console.css", 404},
		{true, "GET", "localhost", "/overview.html", 404},
		{true, "GET", "localhost", "/console.css", 200},
		{true, "GET", "localhost", "/console.js", 200},
		{true, "GET", "localhost", "/%2e%2e/etc/passwd", 404},
	} {
		w := do(c.Handler(row.local), row.method, row.host, row.path)
		if w.Code != row.status && !(row.status == 404 && w.Code == 301) { // a path that is cleaned
			t.Errorf("%s %s of %q: %d, not %d", row.method, row.path, row.host, w.Code, row.status)
		}
		h := w.Header()
		if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none';") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: headers %v", row.method, row.path, h)
		}
	}
}

// TestPolicy: no page has what the policy would refuse.
func TestPolicy(t *testing.T) {
	c, e := shown(t, cluster(t))
	ask(t, e, "a.example.", 0)
	for _, path := range []string{"/", "/namespace", "/namespace?name=shop", "/explain", "/explain?name=web.shop.svc.cluster.local."} {
		page := get(c.Handler(true), path).Body.String()
		if m := regexp.MustCompile(`(?i)\s(style|on[a-z]+)="|<style|javascript:|https?://[^1]`).FindString(page); m != "" {
			t.Errorf("%s has %q", path, m)
		}
		// For readers of screens: every table has a head, every field a label.
		if tables, heads := strings.Count(page, "<table"), strings.Count(page, "<thead"); tables != heads {
			t.Errorf("%s: %d tables, %d heads", path, tables, heads)
		}
		for _, m := range regexp.MustCompile(`<(?:input|select) id="(\w+)"`).FindAllStringSubmatch(page, -1) {
			if !strings.Contains(page, `<label for="`+m[1]+`"`) {
				t.Errorf("%s: field %s has no label", path, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`aria-labelledby="(\w+)"`).FindAllStringSubmatch(page, -1) {
			if !strings.Contains(page, `id="`+m[1]+`"`) {
				t.Errorf("%s: nothing has the id %s", path, m[1])
			}
		}
	}
}

func TestParseAddr(t *testing.T) {
	for addr, want := range map[string]string{
		"localhost:8053": "127.0.0.1:8053", "127.0.0.1:0": "127.0.0.1:0", "[::1]:8053": "[::1]:8053", "0.0.0.0:80": "0.0.0.0:80",
		"[fe80::1%eth0]:80": "[fe80::1%eth0]:80",
		":8053":             "", "127.0.0.1": "", "8053": "", "127.0.0.1:-1": "", "127.0.0.1:65536": "", "127.0.0.1:http": "",
		"example.org:80": "", "224.0.0.1:80": "", "[ff02::1]:80": "", "http://127.0.0.1:80": "", "::1:80": "", "": "",
	} {
		got, err := ParseAddr(addr)
		switch {
		case (err != nil) != (want == ""):
			t.Errorf("%q: %v, %v", addr, got, err)
		case err == nil && got.String() != want:
			t.Errorf("%q is %v, not %s", addr, got, want)
		case err != nil && addr != "" && !strings.Contains(err.Error(), addr):
			t.Errorf("%q: the error does not have it: %v", addr, err)
		}
	}
}

// TestServer listens, ends, and listens again.
func TestServer(t *testing.T) {
	c, _ := shown(t, new(fake))
	addr := netip.MustParseAddrPort("127.0.0.1:0")
	s, err := Listen(addr, c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at := netip.MustParseAddrPort(s.Addr())
	r, err := http.Get("http://" + at.String() + "/report.json")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err != nil || !json.Valid(body) {
		t.Errorf("%v %s", err, body)
	}
	if _, err := Listen(at, c); err == nil {
		t.Error("two servers at one address")
	}
	s.Close()
	again, err := Listen(at, c)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestWords(t *testing.T) {
	now := time.Unix(1e9, 0)
	for d, want := range map[time.Duration]string{
		0: "0 s", -time.Second: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min", 3 * time.Hour: "3 h", 47 * time.Hour: "47 h", 72 * time.Hour: "3 days",
	} {
		if got := age(now, now.Add(-d)); got != want {
			t.Errorf("%v is %q, not %q", d, got, want)
		}
	}
	for x, want := range map[float64]string{0: "0.00", 9.876: "9.88", 12.34: "12.3", 123.6: "124", 1234567: "1,234,567"} {
		if got := rate(x); got != want {
			t.Errorf("%v is %q, not %q", x, got, want)
		}
	}
	for x, want := range map[float64]float64{0: 1, 0.3: 0.5, 1: 1, 1.1: 2, 4: 5, 7: 10, 12000: 20000} {
		if got := ceiling(x); got != want {
			t.Errorf("above %v is %v, not %v", x, got, want)
		}
	}
}

// TestCharts: what was counted is drawn where it belongs.
func TestCharts(t *testing.T) {
	now := time.Now()
	r := &Report{Time: now, History: []Point{
		{At: now.Add(-span), Seconds: 5, Paths: Paths{Lane: Tally{NoError: 50}}},
		{At: now.Add(-span / 2), Seconds: 5, Paths: Paths{Lane: Tally{NoError: 40, NXDomain: 10, Seconds: 0.001}, Chain: Tally{ServFail: 5}}},
		{At: now, Seconds: 5},
	}}
	all := charts(r)
	for i, want := range []line{
		{"fast lane", "a", "0.0,0.0 150.0,0.0 300.0,80.0", "0.00", "10.0"},
		{"plugin chain", "b", "0.0,80.0 150.0,72.0 300.0,80.0", "0.00", "1.00"},
		{"NXDOMAIN", "a", "0.0,80.0 150.0,0.0 300.0,80.0", "0.00", "2.00"},
		{"SERVFAIL", "b", "0.0,80.0 150.0,40.0 300.0,80.0", "0.00", "1.00"},
		{"fast lane", "a", "0.0,80.0 150.0,0.0", "20.0", "20.0"},
		{"plugin chain", "b", "150.0,80.0", "0.00", "0.00"},
	} {
		if got := all[i/2].Lines[i%2]; got != want {
			t.Errorf("%s: %+v, want %+v", all[i/2].Title, got, want)
		}
	}
}
