package zone

import (
	"slices"
	"strings"
	"testing"
)

func TestNewView(t *testing.T) {
	ix := NewWriter().Index()
	for _, tc := range []struct {
		zones   []string
		primary string
		err     string
	}{
		{zones: []string{"cluster.local."}, primary: "\x07cluster\x05local\x00"},
		{zones: []string{"Cluster.LOCAL"}, primary: "\x07cluster\x05local\x00"},
		{zones: []string{"10.in-addr.arpa.", "ip6.arpa.", "b.", "a.b."}, primary: "\x01b\x00"},
		{zones: []string{"."}, primary: "\x00"},
		{zones: nil, err: "none that is not a reverse zone"},
		{zones: []string{"10.IN-ADDR.arpa."}, err: "none that is not a reverse zone"},
		{zones: []string{"a..b."}, err: `zone "a..b."`},
		{zones: []string{"a.", strings.Repeat("x", 64)}, err: "of more than 63 octets"},
	} {
		v, err := NewView(ix, Options{Zones: tc.zones})
		switch {
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: error %v, want %s", tc.zones, err, tc.err)
			}
		case err != nil || string(v.primary) != tc.primary || v.Index() != ix:
			t.Errorf("%q: %+v, %v", tc.zones, v, err)
		}
	}
}

func TestMulticlusterZones(t *testing.T) {
	v := mustView(t, NewWriter(), Options{Zones: []string{"cluster.local.", "Set.local.", "east.set.local.", "xset.local.", "local."}, Multicluster: []string{"sET.local"}})
	for _, o := range v.origins {
		if want := string(o.wire) == "\x03set\x05local\x00" || string(o.wire) == "\x04east\x03set\x05local\x00"; o.multicluster != want {
			t.Errorf("%q: %v", o.wire, o.multicluster)
		}
	}
	if _, err := NewView(NewWriter().Index(), Options{Zones: []string{"a."}, Multicluster: []string{"a..b."}}); err == nil || !strings.Contains(err.Error(), `multi-cluster zone "a..b."`) {
		t.Error(err)
	}
}

func TestNeeds(t *testing.T) {
	for _, tc := range []struct {
		opt  Options
		want []Resource
	}{
		{Options{}, []Resource{Namespaces, Services, EndpointSlices}},
		{Options{NoEndpoints: true, Pods: PodsInsecure}, []Resource{Namespaces, Services}},
		{Options{Pods: PodsVerified}, []Resource{Namespaces, Services, EndpointSlices, Pods}},
		{Options{Zones: []string{"a.", "b."}, Multicluster: []string{"b."}, NoEndpoints: true}, []Resource{Namespaces, Services, EndpointSlices, ServiceImports}},
		{Options{Zones: []string{"a."}, Multicluster: []string{"b."}, Zonal: true}, []Resource{Namespaces, Services, EndpointSlices}},
	} {
		if got := mustView(t, NewWriter(), tc.opt).Needs(); !slices.Equal(got, tc.want) {
			t.Errorf("%+v: %v, want %v", tc.opt, got, tc.want)
		}
	}
}

func TestIsReverse(t *testing.T) {
	for name, want := range map[string]bool{
		"in-addr.arpa.": true, "1.in-addr.arpa.": true, "ip6.arpa.": true, "0.ip6.arpa.": true, strings.Repeat("0.", 32) + "ip6.arpa.": true,
		"arpa.": false, ".": false, "xin-addr.arpa.": false, "in-addr.arpa.local.": false,
	} {
		if got := isReverse(wireName(t, name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What is hidden is hidden from every question, and shown once its namespace is
// selected.
func TestHiddenNamespaces(t *testing.T) {
	const world = "service a/web 10.96.0.1\nservice b/web 10.96.0.2\nservice b/db headless\nslice b/db-1 db - 10.0.0.1\nservice a/in external=web.b.svc.cluster.local\n"
	hidden := []qa{
		{"web.b.svc.cluster.local. A", "NXDOMAIN"}, {"web.b.svc.cluster.local. TXT", "NXDOMAIN"}, {"b.svc.cluster.local. A", "NXDOMAIN"}, {"10-0-0-1.b.pod.cluster.local. A", "NXDOMAIN"},
		{"2.0.96.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"2.0.96.10.in-addr.arpa. A", "NXDOMAIN"}, {"in.a.svc.cluster.local. A", "NODATA"},
		{"ns.dns.cluster.local. A", "ns.dns A 10.0.0.1"}, {"web.a.svc.cluster.local. A", "web.a.svc A 10.96.0.1"}, {"1.0.96.10.in-addr.arpa. PTR", "1.0.96.10.in-addr.arpa. PTR web.a.svc"},
	}
	zones := []string{"cluster.local.", "in-addr.arpa."}
	t.Run("not listed", func(t *testing.T) {
		w := worldOf(t, "namespace a\nnamespace b\n"+world)
		ask(t, mustView(t, w, Options{Zones: zones, Pods: PodsInsecure, Namespaces: []string{"a"}}, "10.0.0.1"), hidden)
	})
	t.Run("not selected", func(t *testing.T) {
		w := worldOf(t, "namespace a\n"+world)
		v := mustView(t, w, Options{Zones: zones, Pods: PodsInsecure, SelectedNamespaces: true}, "10.0.0.1")
		ask(t, v, hidden)
		c := newNegativeCache(t, 20)
		for _, row := range hidden {
			remember(t, c, v, row.question)
		}
		set(t, w, "namespace b")
		for _, row := range hidden[:9] {
			if _, ok := c.Get(w.Index(), row.question); ok {
				t.Errorf("%s: still cached", row.question)
			}
		}
		ask(t, v, []qa{{"2.0.96.10.in-addr.arpa. PTR", "2.0.96.10.in-addr.arpa. PTR web.b.svc"}, {"1.0.0.10.in-addr.arpa. PTR", "1.0.0.10.in-addr.arpa. PTR 10-0-0-1.db.b.svc"}, {"web.b.svc.cluster.local. A", "web.b.svc A 10.96.0.2"}})
	})
}

// The names in a zone's SOA record, hostmaster.<zone> the longest of them, have
// 255 octets at most.
func TestZoneTooLong(t *testing.T) {
	zone := func(octets int) string { // in wire format
		s := strings.Repeat(strings.Repeat("z", 59)+".", 4)
		return strings.Repeat("y", octets-4*60-2) + "." + s
	}
	apex := &ExternalOptions{Apex: "dns"}
	for _, tc := range []struct {
		zone string
		x    *ExternalOptions
		ok   bool
	}{{zone(244), nil, true}, {zone(245), nil, false}, {zone(255), nil, false}, {zone(244), apex, false}} {
		_, err := NewView(NewWriter().Index(), Options{Zones: []string{tc.zone}, External: tc.x})
		if (err == nil) != tc.ok || err != nil && !strings.Contains(err.Error(), tc.zone) {
			t.Errorf("%d octets: %v", len(tc.zone)+1, err)
		}
	}
	w := worldOf(t, "")
	ask(t, mustView(t, w, Options{Zones: []string{zone(244)}}), []qa{{zone(244) + " A", "NODATA"}})
}
