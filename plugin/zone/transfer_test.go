package zone

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// transferred returns the names and types of the answers of a transfer.
func transferred(t *testing.T, v *View, origin string) string {
	t.Helper()
	var got []string
	found, err := v.Transfer(origin, func(a *Answer) bool {
		types := map[uint16]string{dnswire.TypeA: "A", dnswire.TypeAAAA: "AAAA", dnswire.TypeSRV: "SRV", dnswire.TypeSOA: "SOA",
			dnswire.TypeNS: "NS", dnswire.TypeCNAME: "CNAME", dnswire.TypePTR: "PTR"}
		got = append(got, dnswire.NameString(a.Name())+" "+types[a.qtype])
		return true
	})
	if !found || err != nil {
		t.Fatalf("%s: %v, %v", origin, found, err)
	}
	return strings.Join(got, "\n")
}

func sorted(lines string) []string { return slices.Sorted(strings.SplitSeq(lines, "\n")) }

func TestTransfer(t *testing.T) {
	w := NewWriter()
	view := func(opt Options) *View {
		v, err := NewView(w.Index(), opt)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	all := Options{Zones: []string{"cluster.local.", "d.f.ip6.arpa."}, TTL: 5}
	if found, err := view(all).Transfer("cluster.local.", nil); !found || err == nil {
		t.Errorf("nothing synced: %v, %v", found, err)
	}
	w.Update(func(b *Batch) {
		b.Replace(Namespaces, []Object{&Namespace{Name: "a"}, &Namespace{Name: "b"}}, 1)
		b.Replace(Services, []Object{
			&Service{Key: Key{"a", "x"}, Kind: Headless},
			&Service{Key: Key{"b", "y"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("fd00::1")}, Ports: []Port{{"", "TCP", 80}}},
			&Service{Key: Key{"gone", "z"}, Kind: ExternalName, ExternalName: "example.org"},
		}, 1)
		b.Replace(EndpointSlices, []Object{
			// Two slices with a port of one name, and an endpoint in both.
			&EndpointSlice{Key: Key{"a", "x-1"}, Service: "x", Ports: []Port{{"p", "TCP", 1}, {"", "UDP", 2}},
				Ready: NewEndpoints([]Endpoint{{Addr: netip.MustParseAddr("fd00::2"), Name: "h"}, {Addr: netip.MustParseAddr("10.0.0.1")}})},
			&EndpointSlice{Key: Key{"a", "x-2"}, Service: "x", Ports: []Port{{"p", "TCP", 1}},
				Ready: NewEndpoints([]Endpoint{{Addr: netip.MustParseAddr("fd00::2"), Name: "h"}})},
		}, 1)
	})
	hidden := all
	hidden.Namespaces = []string{"b"}
	const y = "y.b.svc.cluster.local. AAAA\ny.b.svc.cluster.local. SRV"
	for _, row := range []struct {
		opt          Options
		origin, want string
	}{
		{all, "Cluster.Local.", "cluster.local. SOA\nx.a.svc.cluster.local. A\nx.a.svc.cluster.local. AAAA\n_p._tcp.x.a.svc.cluster.local. SRV\n" +
			"10-0-0-1.x.a.svc.cluster.local. A\nh.x.a.svc.cluster.local. AAAA\n" + y},
		{hidden, "cluster.local.", "cluster.local. SOA\n" + y},
		{all, "d.f.ip6.arpa.", "d.f.ip6.arpa. SOA\n1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR\n" +
			"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR"},
	} {
		if got := transferred(t, view(row.opt), row.origin); got != row.want {
			t.Errorf("%s: got\n%s\nwant\n%s", row.origin, got, row.want)
		}
	}
	for _, origin := range []string{"local.", "svc.cluster.local.", "..", ""} {
		if found, _ := view(all).Transfer(origin, nil); found {
			t.Errorf("%q is transferred", origin)
		}
	}
	mc := Options{Zones: []string{"cluster.local.", "set."}, Multicluster: []string{"set."}, Zonal: true, TTL: 5}
	set(t, w, `
		import a/x headless p:1/TCP
		import b/z 10.0.0.9 q:2/UDP
		slice a/i-1 -^x@c1 p:1/TCP 10.0.0.1=h
		slice a/i-2 -^x@c2 p:1/TCP 10.0.0.2=h 10.0.0.3
		slice a/i-3 -^x@ p:1/TCP 10.0.0.4=h
	`)
	w.Update(func(b *Batch) { b.Replace(ServiceImports, nil, 1) })
	set(t, w, "import a/x headless p:1/TCP\nimport b/z 10.0.0.9 q:2/UDP")
	want := "set. SOA\nx.a.svc.set. A\n_p._tcp.x.a.svc.set. SRV\nh.c1.x.a.svc.set. A\n10-0-0-3.c2.x.a.svc.set. A\nh.c2.x.a.svc.set. A\nh.x.a.svc.set. A\n" +
		"z.b.svc.set. A\nz.b.svc.set. SRV\n_q._udp.z.b.svc.set. SRV"
	if got := transferred(t, view(mc), "set."); slices.Compare(sorted(got), sorted(want)) != 0 {
		t.Errorf("set.: got\n%s\nwant\n%s", got, want)
	}
	if got := transferred(t, view(mc), "cluster.local."); strings.Contains(got, "10-0-0-3") || strings.Contains(got, "z.b") || strings.Contains(got, "_zone") {
		t.Errorf("cluster.local. with what is imported, or zonal:\n%s", got)
	}
	n := 0
	if _, err := view(all).Transfer("cluster.local.", func(*Answer) bool { n++; return n < 3 }); err != nil || n != 3 {
		t.Errorf("stopped after %d answers, %v", n, err)
	}
}
