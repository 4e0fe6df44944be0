package zone

import (
	"strings"
	"testing"
)

func TestSearched(t *testing.T) {
	const world = `
		namespace shop
		namespace data
		namespace hidden
		service shop/web 10.96.0.1
		service shop/app 10.96.0.2
		service data/sql headless
		slice data/sql-1 sql - 10.0.0.1=sql-0
		import shop/far 10.97.0.1 http:80/TCP`
	w := worldOf(t, strings.ReplaceAll(strings.TrimSpace(world), "\t", ""))
	zones := []string{"cluster.local.", "east.cluster.local.", "set.local.", "in-addr.arpa."}
	of := func(opt Options) *View {
		opt.Zones, opt.Multicluster = zones, []string{"set.local."}
		return mustView(t, w, opt)
	}
	all, two, zonal := of(Options{}), of(Options{Namespaces: []string{"shop", "data"}}), of(Options{Zonal: true})
	root := mustView(t, w, Options{Zones: []string{"."}})
	for _, tc := range []struct {
		v    *View
		name string
		want int // labels in front; 0: not searched
	}{
		{all, "www.example.org.shop.svc.cluster.local.", 3},
		{all, "WWW.Example.ORG.Shop.SVC.Cluster.Local.", 3},
		{all, "example.org.data.svc.cluster.local.", 2},
		{all, "www.example.org.shop.svc.east.cluster.local.", 3},
		{all, "www.example.org.shop.svc.cluster.local.shop.svc.cluster.local.", 7},
		{all, strings.Repeat("a.", 115) + "shop.svc.cluster.local.", 115},
		{root, "www.example.org.shop.svc.", 3},

		// Not one that a search path makes.
		{all, "www.example.org.", 0},
		{all, "www.example.org.svc.cluster.local.", 0},
		{all, "www.example.org.cluster.local.", 0},
		{all, "www.example.org.shop.pod.cluster.local.", 0},
		{all, "shop.svc.cluster.local.", 0},
		{all, "1.0.96.10.shop.svc.in-addr.arpa.", 0},
		{root, "1.0.96.10.shop.svc.in-addr.arpa.", 0},

		// Namespaces that are not there, or hidden.
		{all, "www.example.org.nowhere.svc.cluster.local.", 0},
		{all, "www.example.org.hidden.svc.cluster.local.", 3},
		{two, "www.example.org.hidden.svc.cluster.local.", 0},
		{two, "www.example.org.shop.svc.cluster.local.", 3},

		// A service that is not there.
		{all, "web.shop.svc.cluster.local.", 0},
		{all, "wbe.shop.svc.cluster.local.", 0},

		// Endpoints and ports of one that is, and of one that is not.
		{all, "sql-0.sql.data.svc.cluster.local.", 0},
		{all, "sql-1.SQL.data.svc.cluster.local.", 0},
		{all, "sql-1.sql.shop.svc.cluster.local.", 2},
		{all, "_tcp.web.shop.svc.cluster.local.", 0},
		{all, "_http._tcp.web.shop.svc.cluster.local.", 0},
		{all, "_http._tcp.wbe.shop.svc.cluster.local.", 3},
		{all, "_http._tcp.example.org.shop.svc.cluster.local.", 4},
		{all, "example.app.shop.svc.cluster.local.", 0},
		{all, "www.example.app.shop.svc.cluster.local.", 3},
		{all, "www.example.app.shop.svc.set.local.", 3},
		{all, "pod.east.far.shop.svc.set.local.", 0},
		{all, "pod.east.far.shop.svc.cluster.local.", 3},
		{zonal, "west.pin._zone.sql.data.svc.cluster.local.", 0},
		{zonal, "west.other._zone.sql.data.svc.cluster.local.", 0},
	} {
		got, ok := tc.v.Searched(wireName(t, tc.name))
		if got != tc.want || ok != (tc.want > 0) {
			t.Errorf("%s: %d, %v, want %d", tc.name, got, ok, tc.want)
		}
	}
	for _, bad := range []string{"", "\x05abc", "\xc0\x0c", strings.Repeat("\x01a", 127) + "\x00\x00"} {
		if _, ok := all.Searched([]byte(bad)); ok {
			t.Errorf("%q is no name", bad)
		}
	}
	external := mustView(t, w, Options{Zones: []string{"example.org."}, External: &ExternalOptions{Apex: "dns"}})
	if _, ok := external.Searched(wireName(t, "www.example.org.shop.svc.example.org.")); ok {
		t.Error("an external zone has no search path")
	}
}

// A namespace counts from when it is there until it is gone.
func TestSearchedNamespaceComesAndGoes(t *testing.T) {
	w := worldOf(t, "")
	v := mustView(t, w, Options{Zones: []string{"cluster.local."}})
	name := wireName(t, "www.example.org.shop.svc.cluster.local.")
	expect := func(want bool) {
		t.Helper()
		if _, ok := v.Searched(name); ok != want {
			t.Errorf("searched: %v, want %v", ok, want)
		}
	}
	expect(false)
	set(t, w, "namespace shop")
	expect(true)
	w.Update(func(b *Batch) { b.Delete(Namespaces, Key{Name: "shop"}, 9) })
	expect(false)
}
