package clusterdns

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/coredns/core/dnsserver"
)

func TestSetup(t *testing.T) {
	c := controller("kubernetes cluster.local {\nmanifests x\nnegative_cache off\n}")
	if err := Setup(c); err != nil {
		t.Fatal(err)
	}
	plugins := dnsserver.GetConfig(c).Plugin
	if len(plugins) != 1 {
		t.Fatalf("%d plugins, want 1", len(plugins))
	}
	h := plugins[0](went).(*Handler)
	if h.Name() != "kubernetes" || h.Next == nil || h.upstream == nil || h.negatives != nil {
		t.Errorf("got %s, next %v, upstream %v, negatives %v", h.Name(), h.Next, h.upstream, h.negatives)
	}
	// The plugin ready may ask before the startup callback has run.
	if h.Ready() {
		t.Error("Ready before it has started")
	}
}

// Both words in one server block would be one plugin before itself.
func TestSetupTwice(t *testing.T) {
	for _, words := range [][2]string{{"clusterdns", "kubernetes"}, {"kubernetes", "clusterdns"}} {
		c := controller(words[0] + " cluster.local {\nmanifests x\n}")
		if err := Setup(c); err != nil {
			t.Fatal(err)
		}
		again := controller("\n\n" + words[1] + " other.local {\nmanifests x\n}")
		c.Dispenser = again.Dispenser
		err := Setup(c)
		want := "plugin/" + words[1] + ": Testfile:3: the server block has it already, as " + words[0]
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		// Another block may.
		other := controller(words[1] + " other.local {\nmanifests x\n}")
		c.Dispenser, c.ServerBlockIndex = other.Dispenser, 1
		if err := Setup(c); err != nil {
			t.Errorf("in another block: %v", err)
		}
	}
}

func TestSetupError(t *testing.T) {
	err := Setup(controller("clusterdns cluster.local {\ntttl 5\n}"))
	want := `plugin/clusterdns: Testfile:2 - Error during parsing: unknown option "tttl"; did you mean "ttl"?`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// started returns a handler of the stanza after its startup callback, and its
// error.
func started(t *testing.T, stanza string) (*Handler, error) {
	t.Helper()
	cfg, err := parse(controller(stanza))
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{cfg: cfg, negatives: newNegatives(cfg.negativeCache)}
	if err = h.open(nil); err == nil {
		h.wait(time.Now())
	}
	t.Cleanup(func() { giveUp(func(of *Handler) bool { return of == h }) })
	return h, err
}

func TestStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yaml")
	write(t, file, "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.96.0.10}\n")
	h, err := started(t, "clusterdns cluster.local {\nmanifests "+file+"\n}")
	if err != nil {
		t.Fatal(err)
	}
	if !h.Ready() {
		t.Error("not Ready")
	}
	expect(t, h, dnstext.Cluster, `
		? web.shop.svc A
		NOERROR aa rd
		web.shop.svc A 10.96.0.10`)
}

// What is wrong with the source of objects ends the start, or the reload.
func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	write(t, bad, "kind: Service\n---\n{}\n")
	for _, row := range []struct{ options, want string }{
		{"manifests " + filepath.Join(dir, "nothing"), "no such file"},
		{"manifests " + bad, bad + ": document 1"},
		{"kubeconfig " + filepath.Join(dir, "nothing"), "kubeconfig"},
		{"endpoint https://127.0.0.1:1\ntls c k ca", `client certificate "c"`},
	} {
		h, err := started(t, "clusterdns cluster.local {\n"+row.options+"\nstartup_timeout 0s\n}")
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got error %v, want one with %q", row.options, err, row.want)
		}
		if h.feed != nil {
			t.Errorf("%s: holds a feed", row.options)
		}
	}
}

// Without an API server to be had the server starts, and is not ready.
func TestStartTimeout(t *testing.T) {
	h, err := started(t, "clusterdns cluster.local {\nendpoint http://127.0.0.1:1\nstartup_timeout 10ms\n}")
	if err != nil {
		t.Fatal(err)
	}
	if h.Ready() {
		t.Error("Ready")
	}
	expect(t, h, dnstext.Cluster, `
		? web.shop.svc A
		SERVFAIL aa rd soa`)
}

func TestLocalAddrs(t *testing.T) {
	for _, row := range []struct{ hosts, want []string }{
		{[]string{"127.0.0.1", "192.0.2.53", "::1", "2001:db8::53"}, []string{"192.0.2.53", "2001:db8::53"}},
		{[]string{"169.254.20.10"}, []string{"169.254.20.10"}},
		{[]string{"fe80::1%eth0", "::ffff:192.0.2.1", "192.0.2.7/24", "name"}, []string{"fe80::1", "192.0.2.1", "192.0.2.7"}},
	} {
		var got []string
		for _, addr := range localAddrs(row.hosts) {
			got = append(got, addr.String())
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%v: got %v, want %v", row.hosts, got, row.want)
		}
	}
	// The wildcard stands for the addresses of every interface.
	have, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var want []netip.Addr
	for _, a := range have {
		if addr := netip.MustParsePrefix(a.String()).Addr().Unmap(); !addr.IsLoopback() {
			want = append(want, addr)
		}
	}
	for _, hosts := range [][]string{nil, {""}} {
		if got := localAddrs(hosts); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", hosts, got, want)
		}
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
