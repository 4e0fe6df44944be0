package explain

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	_ "github.com/clusterdns/clusterdns/cmd/clusterdns/stock"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/miekg/dns"
)

// objects are those of the tests, one file of manifests.
const objects = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, ports: [{name: pg, port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: pg, port: 5432}]
endpoints:
  - {addresses: [10.244.0.1], hostname: db-0}
  - {addresses: [10.244.0.2], hostname: db-1, conditions: {ready: false}}
---
apiVersion: v1
kind: Service
metadata: {name: away, namespace: shop}
spec: {type: ExternalName, externalName: www.example.org}
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Pod
    metadata: {name: cart, namespace: shop}
    spec: {dnsPolicy: ClusterFirst, dnsConfig: {options: [{name: ndots, value: "1"}]}}
  - apiVersion: v1
    kind: Pod
    metadata: {name: node, namespace: shop}
    spec: {dnsPolicy: Default}
`

// execute returns the output and the exit status of a command line.
func execute(t *testing.T, args ...string) (out string, status int, err error) {
	t.Helper()
	cmd := New(func() {})
	var buf bytes.Buffer
	cmd.SetOut(&buf)
	cmd.SetErr(&buf)
	cmd.SetArgs(args)
	if err = cmd.ExecuteContext(t.Context()); err != nil {
		var coded interface{ ExitCode() int }
		if !errors.As(err, &coded) {
			t.Fatalf("%q: no exit status: %v", args, err)
		}
		status = coded.ExitCode()
	}
	return buf.String(), status, err
}

func manifests(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(objects), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// found is a question of a report: its name and type, what was answered, and
// from what.
func short(q Question) string {
	s := q.Name + " " + q.Type + " " + strings.Join(q.answers(), " | ")
	if from := q.from(); len(from) > 0 {
		s += " <- " + strings.Join(from, " ")
	}
	return s
}

func TestManifests(t *testing.T) {
	file := manifests(t)
	for _, row := range []struct {
		args   string
		status int
		want   string // in what -o json has: the questions, and texts of errors
	}{
		{"web --from shop --type A", 0, "web.shop.svc.cluster.local. A 10.96.0.10 <- Service shop/web"},
		{"web --from shop", 0, "web.shop.svc.cluster.local. A 10.96.0.10 <- Service shop/web\nweb.shop.svc.cluster.local. AAAA no records <- Service shop/web"},
		{"db --from shop --type a", 0, "db.shop.svc.cluster.local. A 10.244.0.1 <- Service shop/db EndpointSlice shop/db-1"},
		{"db-1.db --from shop --libc musl --type A", 1, `db-1.db.shop.svc.cluster.local. A NXDOMAIN <- Service shop/db
! endpoint "db-1" of service shop/db is not ready
db-1.db.svc.cluster.local. A NXDOMAIN
! no namespace "db" is served
db-1.db.cluster.local. A NXDOMAIN
! no service or pod can have such a name
db-1.db. A outside of the cluster: not asked`},
		{"wbe.shop --from shop/cart --type A", 1, `wbe.shop. A outside of the cluster: not asked
wbe.shop.shop.svc.cluster.local. A NXDOMAIN
! no service "shop" is served in namespace "shop"
wbe.shop.svc.cluster.local. A NXDOMAIN
! no service "wbe" is served in namespace "shop"; nearest is web
wbe.shop.cluster.local. A NXDOMAIN
! no service or pod can have such a name`},
		{"away --from shop", 0, `away.shop.svc.cluster.local. A CNAME www.example.org. | (outside of the cluster: not asked) <- Service shop/away
away.shop.svc.cluster.local. AAAA CNAME www.example.org. | (outside of the cluster: not asked) <- Service shop/away`},
		{"_http._tcp.web.shop.svc.cluster.local. --type SRV", 0, "_http._tcp.web.shop.svc.cluster.local. SRV 0 100 80 web.shop.svc.cluster.local. <- Service shop/web"},
	} {
		out, status, err := execute(t, append(strings.Fields(row.args), "-o", "json", "--manifests", file)...)
		if status != row.status || err != nil && err.Error() != "" {
			t.Errorf("%s: status %d, %v", row.args, status, err)
			continue
		}
		var r Report
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%s: %v: %s", row.args, err, out)
		}
		var got []string
		for _, q := range r.Questions {
			for _, rr := range q.Records {
				parsed, err := dns.NewRR(rr)
				if err != nil {
					t.Fatalf("%s: %v", rr, err)
				}
				data := strings.TrimPrefix(parsed.String(), parsed.Header().String())
				if dns.TypeToString[parsed.Header().Rrtype] != q.Type {
					data = dns.TypeToString[parsed.Header().Rrtype] + " " + data
				}
				q.data = append(q.data, data)
			}
			got = append(got, short(q))
			for _, why := range q.Why {
				got = append(got, "! "+why)
			}
		}
		if text := strings.Join(got, "\n"); text != row.want {
			t.Errorf("%s:\n%s\nwant\n%s", row.args, text, row.want)
		}
		if found := r.Result == "found"; found != (row.status == 0) {
			t.Errorf("%s: %s, status %d", row.args, r.Result, row.status)
		}
	}
}

func TestText(t *testing.T) {
	t.Setenv("TERM", "xterm")
	out, status, _ := execute(t, "wbe", "--from", "shop", "--type", "A", "--manifests", manifests(t))
	_, out, _ = strings.Cut(out, "\n\n")
	const want = `STEP  NAME                         TYPE  ANSWER                             FROM
1     wbe.shop.svc.cluster.local.  A     NXDOMAIN
2     wbe.svc.cluster.local.       A     NXDOMAIN
3     wbe.cluster.local.           A     NXDOMAIN
4     wbe.                         A     outside of the cluster: not asked

wbe.shop.svc.cluster.local.
  no service "wbe" is served in namespace "shop"; nearest is web

wbe.svc.cluster.local.
  no namespace "wbe" is served

wbe.cluster.local.
  no service or pod can have such a name

not found
`
	if out != want || status != 1 {
		t.Errorf("status %d\n%s\nwant\n%s", status, out, want)
	}
	r := &Report{Result: resultFound}
	var plain, coloured strings.Builder
	r.text(&plain, false)
	r.text(&coloured, true)
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(coloured.String(), "\x1b[32mfound") {
		t.Errorf("%q, %q", plain.String(), coloured.String())
	}
	t.Setenv("NO_COLOR", "1")
	if colours(os.Stdout) {
		t.Error("colours in spite of NO_COLOR")
	}
}

// Who answers is said by lines of the Corefile, whose options count.
func TestCorefile(t *testing.T) {
	file := manifests(t)
	for _, row := range []struct {
		name, corefile, args string
		want                 string // of each question, who answers and why
	}{
		{"open", ".:53 {\n  errors\n  clusterdns cluster.local {\n    manifests FILE\n  }\n  forward . 127.0.0.1\n}\n", "web --from shop --type A", "lane: clusterdns (Corefile:3)"},
		{"closed", ".:53 {\n  log\n  clusterdns cluster.local {\n    manifests FILE\n  }\n}\n", "web --from shop --type A", "chain: log (Corefile:2) logs queries"},
		{"falls through", ".:53 {\n  kubernetes cluster.local {\n    manifests FILE\n    fallthrough\n  }\n  forward . 127.0.0.1\n}\n", "wbe.shop.svc.cluster.local. --type A",
			"chain: there is no such name, and forward (Corefile:6) is asked next"},
		{"outside", ".:53 {\n  clusterdns cluster.local {\n    manifests FILE\n  }\n  forward . 127.0.0.1\n}\n", "example.org. --type A", "chain: forward (Corefile:5)"},
		{"hidden", ".:53 {\n  clusterdns cluster.local {\n    manifests FILE\n    namespaces other\n  }\n}\n", "web --from shop --type A",
			"lane: clusterdns (Corefile:2)\nlane: clusterdns (Corefile:2)\nlane: clusterdns (Corefile:2)\nchain: no plugin of the Corefile has the name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile("Corefile", []byte(strings.ReplaceAll(row.corefile, "FILE", file)), 0o644); err != nil {
				t.Fatal(err)
			}
			out, status, err := execute(t, append(strings.Fields(row.args), "-o", "json", "--conf", "Corefile", "--manifests", file)...)
			if status == 2 {
				t.Fatal(err)
			}
			var r Report
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, q := range r.Questions {
				got = append(got, q.AnsweredBy+": "+q.Because)
			}
			if text := strings.Join(got, "\n"); text != row.want {
				t.Errorf("%s\nwant\n%s", text, row.want)
			}
		})
	}
}

// dnsServer returns the address of a server that answers as handle does.
func dnsServer(t *testing.T, handle func(*dns.Msg) *dns.Msg) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up, done := make(chan struct{}), make(chan error, 1)
	s := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(up) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		if err := w.WriteMsg(handle(r)); err != nil {
			t.Error(err)
		}
	})}
	go func() { done <- s.ActivateAndServe() }()
	<-up
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return pc.LocalAddr().String()
}

func TestServer(t *testing.T) {
	var asked []string
	var mu sync.Mutex
	addr := dnsServer(t, func(r *dns.Msg) *dns.Msg {
		q := r.Question[0]
		mu.Lock()
		asked = append(asked, q.Name+" "+dns.TypeToString[q.Qtype])
		mu.Unlock()
		m := new(dns.Msg).SetReply(r)
		if r.IsEdns0() == nil {
			t.Error("asked without EDNS")
			return m
		}
		switch q.Name {
		case "web.svc.cluster.local.":
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.IPv4(10, 96, 0, 1)}}
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeStaleAnswer, ExtraText: "since \x1b[2J12:00"}}
		default:
			m.Rcode = dns.RcodeNameError
		}
		return m
	})
	out, status, err := execute(t, "web", "--from", "shop", "--type", "A", "--server", addr)
	if status != 0 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	for _, part := range []string{"server " + addr, "10.96.0.1", "since ?[2J12:00 (Stale Answer)", "\nfound\n"} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not in\n%s", part, out)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"web.shop.svc.cluster.local. A", "web.svc.cluster.local. A"}; !slices.Equal(asked, want) {
		t.Errorf("asked %v", asked)
	}
}

// apiServer returns a kubeconfig for an API server that answers every request so.
func apiServer(t *testing.T, code int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return kubeconfig(t, s.URL)
}

func kubeconfig(t *testing.T, url string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n" +
		"clusters: [{name: k, cluster: {server: " + url + "}}]\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Every mistake is one line that names it, and ends with status 2.
func TestBadInput(t *testing.T) {
	file := manifests(t)
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("kind: Service\nmetadata: ["), 0o644); err != nil {
		t.Fatal(err)
	}
	nobody := "127.0.0.1:1"
	for _, row := range []struct {
		args []string
		want string
	}{
		{nil, "one name is to be given"},
		{[]string{"web", "api"}, "one name is to be given"},
		{[]string{"web"}, "--server, --kubeconfig or --manifests"},
		{[]string{"web", "--server", "10.96.0.10", "--manifests", file}, "give one"},
		{[]string{"web", "--server", ""}, "whom to ask is not given"},
		{[]string{"web", "--server", ":"}, `--server ":" is no address and port`},
		{[]string{"a..b", "--manifests", file}, `"a..b" is no domain name`},
		{[]string{"", "--manifests", file}, `"" is no domain name`},
		{[]string{"web", "--type", "AB", "--manifests", file}, `--type "AB" is no type of records`},
		{[]string{"web", "--libc", "bionic", "--manifests", file}, `--libc "bionic" is none of glibc, musl, go`},
		{[]string{"web", "-o", "yaml", "--manifests", file}, `"yaml" is no format of output`},
		{[]string{"web", "--zone", "a..b", "--manifests", file}, `--zone "a..b" is no domain name`},
		{[]string{"web", "--context", "c", "--manifests", file}, "--context is one of a --kubeconfig"},
		{[]string{"web", "--from", "/p", "--manifests", file}, `--from "/p" is neither NAMESPACE nor NAMESPACE/POD`},
		{[]string{"web", "--from", "shop/cart", "--server", nobody}, "with --server give its namespace alone"},
		{[]string{"web", "--from", "shop/none", "--manifests", file}, "pod shop/none is not in the manifests"},
		{[]string{"web", "--from", "shop/node", "--manifests", file}, "pod shop/node has dnsPolicy Default"},
		{[]string{"web", "--manifests", "/does/not/exist"}, "/does/not/exist: no such file"},
		{[]string{"web", "--manifests", broken}, "broken.yaml: document 1"},
		{[]string{"web", "--conf", "/does/not/exist", "--manifests", file}, "open /does/not/exist: no such file"},
		{[]string{"web", "--conf", broken, "--manifests", file}, "broken.yaml"},
		{[]string{"web", "--kubeconfig", "/does/not/exist"}, "kubeconfig: open /does/not/exist: no such file"},
		{[]string{"web", "--kubeconfig", kubeconfig(t, "http://"+nobody), "--context", "d"}, `context "d" does not exist`},
		{[]string{"web", "--kubeconfig", kubeconfig(t, "http://"+nobody)}, "connection refused"},
		{[]string{"web", "--kubeconfig", apiServer(t, 403, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"namespaces is forbidden: User \"u\" cannot list resource \"namespaces\"","reason":"Forbidden","code":403}`)},
			`User "u" cannot list resource "namespaces"`},
		{[]string{"web", "--kubeconfig", apiServer(t, 401, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`)}, "Unauthorized"},
	} {
		_, status, err := execute(t, row.args...)
		if status != 2 || err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: status %d, %v; want %q", row.args, status, err, row.want)
		}
	}
	// Nobody answers: the report says so.
	out, status, err := execute(t, "web", "--type", "A", "--server", nobody)
	if status != 2 || err == nil || err.Error() != "" || !strings.Contains(out, "no answer: ") || !strings.HasSuffix(out, "\nfailed\n") {
		t.Errorf("status %d, %v:\n%s", status, err, out)
	}
}

// Neither a server nor who wrote objects speaks to the terminal.
func TestTerminalIsNotSpokenTo(t *testing.T) {
	const evil = "a\x1b[2J\u009b\tb"
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}, Option: []dns.EDNS0{&dns.EDNS0_EDE{ExtraText: evil}}}
	a := answer{records: []dns.RR{opt}, errors: []dns.EDNS0_EDE{{ExtraText: evil}}, objects: []zone.Source{{Resource: zone.Services, Key: zone.Key{Namespace: evil, Name: evil}}}}
	q := newQuestion(1, evil, dns.TypeA, a)
	q.AnsweredBy, q.Because = "chain", evil
	r := Report{Name: evil, From: evil, Search: []string{evil}, Notes: []string{evil}, Source: evil, Questions: []Question{q}}
	var text strings.Builder
	r.text(&text, false)
	if i := strings.IndexFunc(text.String(), func(c rune) bool { return c != '\n' && !strconv.IsPrint(c) }); i >= 0 {
		t.Errorf("%q", text.String())
	}
}
