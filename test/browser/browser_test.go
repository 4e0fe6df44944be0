// Package browser tests the console in a real Chromium, on an empty cluster, a
// busy one, and ones whose API server is not there, or not any more.
package browser

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/miekg/dns"
)

var screenshots = flag.String("screenshots", "", "folder to write screenshots to; none are written without")

// patience is how long a test waits for what must happen.
const patience = time.Minute

// chromium returns where the browser is. A test without it is skipped, and says
// how to have it.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("it needs Chromium: make browser-packages installs it on Debian")
	return ""
}

// binary returns the server to test.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("CLUSTERDNS_BINARY")
	if path == "" {
		t.Fatal("CLUSTERDNS_BINARY says nothing: make test-browser sets it")
	}
	return path
}

// page is a console, and a tab of the browser.
type page struct {
	*testing.T
	ctx     context.Context
	url     string
	dnsPort string

	mu    sync.Mutex
	wrong []string // what the browser complained of
}

// port returns one that nobody has.
func port(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, p, _ := net.SplitHostPort(l.Addr().String())
		if u, err := net.ListenPacket("udp", "127.0.0.1:"+p); err == nil {
			u.Close()
			return p
		}
	}
	t.Fatal("no port is free")
	return ""
}

// open starts a server with a stanza, whose ports are its own, and a tab.
func open(t *testing.T, stanza string) *page {
	t.Helper()
	bin, browser := binary(t), chromium(t)
	p := &page{T: t, dnsPort: port(t)}
	web := port(t)
	p.url = "http://localhost:" + web
	dir := t.TempDir()
	corefile := filepath.Join(dir, "Corefile")
	text := fmt.Sprintf(".:%s {\n    bind 127.0.0.1\n    console 127.0.0.1:%s\n    clusterdns cluster.local in-addr.arpa {\n        %s\n    }\n    cache 30\n}\n",
		p.dnsPort, web, stanza)
	if err := os.WriteFile(corefile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(bin, "-conf", corefile)
	var out strings.Builder
	server.Stdout, server.Stderr = &out, &out
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Signal(os.Interrupt)
		server.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+web); err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the console does not listen: %s", out.String())
		}
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.UserDataDir(filepath.Join(dir, "profile")),
		chromedp.WSURLReadTimeout(4*patience))...) // its first start reads it from the disk
	t.Cleanup(cancel)
	ctx, cancel := context.WithTimeout(allocator, 20*patience)
	t.Cleanup(cancel)
	p.ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Listen(p.ctx, func(event any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			p.wrong = append(p.wrong, "exception: "+e.ExceptionDetails.Text)
		case *cdplog.EventEntryAdded: // what the policy refuses is among these
			if !strings.HasSuffix(e.Entry.URL, "/favicon.ico") {
				p.wrong = append(p.wrong, string(e.Entry.Level)+": "+e.Entry.Text+" "+e.Entry.URL)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	call(p, cdplog.Enable, cdp.Empty{})
	call(p, runtime.Enable, cdp.Empty{})
	return p
}

func (p *page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.Fatal(err)
	}
}

// call has the browser run a command of its protocol.
func call[P, R any](p *page, command cdp.Command[P, R], params P) R {
	p.Helper()
	result, err := chromedp.Call(p.ctx, command, params)
	if err != nil {
		p.Fatal(err)
	}
	return result
}

// eval returns what an expression of JavaScript is.
func eval[T any](p *page, expression string) T {
	p.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
	return v
}

// show has a page looked at in a window of a size and a scheme of colors.
func (p *page) show(path string, width, height int64, scheme string) {
	p.Helper()
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	p.do(chromedp.EmulateViewport(width, height), chromedp.Navigate(p.url+path))
}

// ask sends a question, and does not care for the answer.
func (p *page) ask(name string, qtype uint16) {
	p.Helper()
	c := dns.Client{Timeout: patience}
	if _, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, qtype), "127.0.0.1:"+p.dnsPort); err != nil {
		p.Fatal(err)
	}
}

// enter writes into a field by the keyboard, and sends the form.
func (p *page) enter(field, text string) {
	p.Helper()
	eval[bool](p, `document.getElementById("`+field+`").focus(); true`)
	p.do(chromedp.KeyEvent(text + kb.Enter))
}

// waitFor waits until the page has a text, which it gets by itself.
func (p *page) waitFor(text string) {
	p.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		// An error is that of a page that is being replaced by the next one.
		has, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
		if err == nil && strings.Contains(has, text) {
			return
		}
		if time.Now().After(end) {
			p.Fatalf("the page never has %q: %v\n%s", text, err, has)
		}
	}
}

// shoot writes a screenshot.
func (p *page) shoot(name string) {
	p.Helper()
	if *screenshots == "" {
		return
	}
	// Pictures are of any machine.
	eval[bool](p, `{ const e = document.querySelector("#live > p"); if (e) e.firstChild.data = "coredns-668d6bf9bc-x7k2p, version 1.0.0, as of "; true }`)
	data, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, "console-"+name+".png"), small(p.T, data), 0o644); err != nil {
		p.Fatal(err)
	}
}

// small returns a picture with the 128 colors that it has most of.
func small(t *testing.T, data []byte) []byte {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	count := map[color.Color]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			count[img.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] })
	few := image.NewPaletted(img.Bounds(), colors[:min(128, len(colors))])
	draw.Draw(few, few.Bounds(), img, image.Point{}, draw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, few); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sound is what holds of every page, however it is looked at.
func (p *page) sound(what string) {
	p.Helper()
	p.mu.Lock()
	for _, w := range p.wrong {
		p.Errorf("%s: the browser says %s", what, w)
	}
	p.wrong = nil
	p.mu.Unlock()
	if n := eval[int](p, `document.querySelectorAll("script").length`); n != 1 {
		p.Errorf("%s: %d scripts", what, n)
	}
	if wide := eval[int](p, `document.documentElement.scrollWidth - innerWidth`); wide > 0 {
		p.Errorf("%s: the page is %d pixels wider than the window", what, wide)
	}
	for _, bad := range eval[[]string](p, lowContrast) {
		p.Errorf("%s: too little contrast: %s", what, bad)
	}
	p.readable(what)
}

// lowContrast is the texts with a contrast below 4.5 to 1 (WCAG 2.2, 1.4.3).
const lowContrast = `(() => {
	const parts = c => c.match(/[\d.]+/g).map(Number);
	const light = c => { const [r, g, b] = parts(c).map(x => { x /= 255; return x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4 }); return .2126 * r + .7152 * g + .0722 * b };
	const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor, p = parts(c); if (p.length < 4 || p[3] > 0) return c } return "rgb(255, 255, 255)" };
	const bad = [];
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length) continue;
		const a = light(getComputedStyle(e).color), b = light(behind(e)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) bad.push(e.tagName + " " + ratio.toFixed(2) + " " + e.textContent.trim().slice(0, 40));
	}
	return bad;
})()`

// readable asks for the page as a screen reader has it.
func (p *page) readable(what string) {
	p.Helper()
	nodes := call(p, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
	text := func(v *accessibility.Value) string {
		if v == nil {
			return ""
		}
		return strings.Trim(string(v.Value), `"`)
	}
	roles := map[string]int{}
	for _, n := range nodes {
		if n.Ignored {
			continue
		}
		role := text(n.Role)
		roles[role]++
		switch role {
		case "link", "button", "textbox", "combobox", "checkbox", "image", "region", "heading", "columnheader", "navigation":
			if text(n.Name) == "" {
				p.Errorf("%s: a %s has no name", what, role)
			}
		}
	}
	for _, role := range []string{"main", "navigation", "heading"} {
		if roles[role] == 0 {
			p.Errorf("%s: no %s for those who hear the page", what, role)
		}
	}
	if roles["table"] > 0 && roles["columnheader"] == 0 {
		p.Errorf("%s: tables without headers", what)
	}
}

// reachable goes through the page with the key Tab, and requires that every place
// is to be seen.
func (p *page) reachable(what string, least int) {
	p.Helper()
	seen := map[string]bool{}
	for range 60 {
		p.do(chromedp.KeyEvent(kb.Tab))
		at := eval[string](p, `(() => { const e = document.activeElement; if (e === document.body) return "";
			const s = getComputedStyle(e); return e.tagName + " " + (e.id || e.getAttribute("aria-labelledby") || e.textContent.trim().slice(0, 20)) + (s.outlineStyle === "none" || s.outlineWidth === "0px" ? " unseen" : "") })()`)
		if at == "" || seen[at] {
			break
		}
		seen[at] = true
		if strings.HasSuffix(at, " unseen") {
			p.Errorf("%s: nothing shows that the keys are at %s", what, at)
		}
	}
	if len(seen) < least {
		p.Errorf("%s: with the keyboard one gets to %d places, not %d: %v", what, len(seen), least, seen)
	}
}

// everyWay looks at a page in light and dark, wide and narrow.
func (p *page) everyWay(what, path string) {
	p.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1100, 360} {
			p.show(path, width, 1000, scheme)
			p.sound(fmt.Sprintf("%s, %s, %d wide", what, scheme, width))
		}
	}
}

func TestEmpty(t *testing.T) {
	p := open(t, "manifests "+t.TempDir())
	p.everyWay("empty", "/")
	p.everyWay("empty, namespaces", "/namespace")
	p.show("/", 1100, 900, "light")
	p.waitFor("None.")
	p.shoot("empty")
}

// kubeconfig writes one of an API server.
func kubeconfig(t *testing.T, server string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: one
clusters: [{name: one, cluster: {server: %q}}]
contexts: [{name: one, context: {cluster: one, user: ""}}]
`, server), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// apiServer has one service and its namespace, and watches on which nothing
// happens.
func apiServer(t *testing.T) *httptest.Server {
	lists := map[string]string{
		"/api/v1/namespaces": `{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"shop","resourceVersion":"3"}}]}`,
		"/api/v1/services": `{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"web","namespace":"shop","resourceVersion":"5"},` +
			`"spec":{"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10"],"ports":[{"port":80,"protocol":"TCP"}]}}]}`,
		"/apis/discovery.k8s.io/v1/endpointslices": `{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"7"},"items":[]}`,
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		list, ok := lists[r.URL.Path]
		switch q := r.URL.Query(); {
		case !ok || q.Get("sendInitialEvents") == "true": // as one of before Kubernetes 1.32
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","message":"sendInitialEvents is forbidden","code":422}`)
		case q.Get("watch") == "true" || q.Get("watch") == "1":
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			fmt.Fprint(w, list)
		}
	}))
	t.Cleanup(api.CloseClientConnections)
	return api
}

// TestLost has an API server that goes away when all has been seen.
func TestLost(t *testing.T) {
	api := apiServer(t)
	p := open(t, "kubeconfig "+kubeconfig(t, api.URL))
	p.show("/", 1100, 900, "light")
	p.waitFor("followed")
	api.Listener.Close()
	api.CloseClientConnections()
	p.waitFor("lost")
	p.waitFor("connection refused")
	p.ask("web.shop.svc.cluster.local.", dns.TypeA)
	p.waitFor("web.shop.svc.cluster.local.")
	p.shoot("lost")
	p.everyWay("lost", "/")
}

func TestBroken(t *testing.T) {
	p := open(t, "kubeconfig "+kubeconfig(t, "http://127.0.0.1:1")+"\n        startup_timeout 1ms")
	p.show("/", 1100, 900, "light")
	p.ask("web.shop.svc.cluster.local.", dns.TypeA)
	p.waitFor("connection refused")
	p.waitFor("web.shop.svc.cluster.local.")
	p.shoot("broken")
	p.everyWay("broken", "/")
}

// quickstart returns a copy of the example cluster, at a path that says nothing of
// where this was made.
func quickstart(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "quickstart")
	if err := os.CopyFS(dir, os.DirFS("../../corefile-examples/quickstart/cluster")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestBusy asks the quick start's cluster what its pods may, and what a stranger
// may.
func TestBusy(t *testing.T) {
	p := open(t, "manifests "+quickstart(t))
	p.show("/", 1100, 1400, "dark")
	const bad = `<script>document.title="hacked"</script>.shop.svc.cluster.local.`
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			p.ask([]string{"web.shop.svc.cluster.local.", "api.shop.svc.cluster.local.", "web.shop.svc.cluster.local.", "cache.shop.svc.cluster.local.", "postgres-1.postgres.data.svc.cluster.local."}[i%5], dns.TypeA)
			if i%7 == 0 {
				p.ask("example.org.shop.svc.cluster.local.", dns.TypeA)
			}
			if i%23 == 0 {
				p.ask(fmt.Sprintf("random-%d.svc.cluster.local.", i), dns.TypeAAAA)
			}
			if i%40 == 0 {
				p.ask(bad, dns.TypeA)
				p.ask("example.org.", dns.TypeA)
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	t.Cleanup(func() { close(stop); asking.Wait() })
	// By itself, without being loaded again.
	eval[bool](p, `window.loadedOnce = true`)
	p.waitFor("web.shop.svc.cluster.local.")
	p.waitFor("<script>document.title")
	if !eval[bool](p, `window.loadedOnce === true`) || eval[string](p, `document.title`) != "clusterdns" {
		t.Error("the page was loaded again, or a question's name became part of it")
	}
	// It does not change under those who read it.
	eval[bool](p, `document.getElementById("keep").click(); window.kept = document.getElementById("live").firstElementChild; true`)
	for range 50 { // as many as it takes to be among those that are shown
		p.ask("unseen.shop.svc.cluster.local.", dns.TypeA)
	}
	p.do(chromedp.Sleep(6 * time.Second)) // more than one turn
	if !eval[bool](p, `window.kept.isConnected`) {
		t.Error("the page changes although it is told not to")
	}
	eval[bool](p, `document.getElementById("keep").click(); true`)
	p.waitFor("unseen.shop.svc.cluster.local.")
	if *screenshots != "" {
		p.do(chromedp.Sleep(90 * time.Second)) // for something to draw
	}
	for _, scheme := range []string{"dark", "light"} {
		p.show("/", 1100, 1250, scheme)
		p.shoot("busy-" + scheme)
	}
	p.everyWay("busy", "/")
	p.show("/", 1100, 1000, "light")
	p.reachable("busy", 10) // to the content, 4 links, the box, and 5 tables
	p.everyWay("a namespace", "/namespace?name=shop")
	p.everyWay("explain", "/explain?name=database&namespace=shop")
	p.show("/explain", 1100, 520, "light")
	p.enter("name", "web.shop.svc.cluster.local.")
	p.waitFor("10.96.0.10")
	p.reachable("explain", 8)
	p.show("/explain?name=database&namespace=data", 1100, 520, "light")
	p.shoot("explain")
	p.show("/namespace", 1100, 470, "light")
	p.enter("name", "shop")
	p.waitFor("10.96.0.10")
	p.reachable("a namespace", 6)
	p.shoot("namespace")
}

// TestWithoutScript: all but the way it keeps up to date works without
// JavaScript.
func TestWithoutScript(t *testing.T) {
	p := open(t, "manifests "+quickstart(t))
	p.ask("web.shop.svc.cluster.local.", dns.TypeA)
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	for end := time.Now().Add(patience); ; { // a report is as old as a second
		p.show("/", 1100, 1000, "light")
		text := eval[string](p, `document.body.innerText`)
		if strings.Contains(text, "web.shop.svc.cluster.local.") && strings.Contains(text, "Questions, a second") && strings.Contains(text, "endpointslices") {
			if strings.Contains(text, "Keep it up to date") {
				t.Error("there is a box that does nothing")
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal(text)
		}
	}
	p.show("/namespace", 1100, 1000, "light")
	p.enter("name", "shop")
	p.waitFor("10.96.0.10")
}
