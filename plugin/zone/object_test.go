package zone

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func TestNewEndpoints(t *testing.T) {
	e := func(addr, name string) Endpoint { return Endpoint{Addr: netip.MustParseAddr(addr), Name: name} }
	for _, tc := range []struct {
		what       string
		list, want []Endpoint
	}{
		{what: "none"},
		{"sorted, IPv4 first", []Endpoint{e("fd00::1", ""), e("10.0.0.2", ""), e("9.0.0.3", "")}, []Endpoint{e("9.0.0.3", ""), e("10.0.0.2", ""), e("fd00::1", "")}},
		{"twice is twice", []Endpoint{e("10.0.0.1", "h"), e("10.0.0.1", "h")}, []Endpoint{e("10.0.0.1", "h"), e("10.0.0.1", "h")}},
		{"several names", []Endpoint{e("10.0.0.1", "b"), e("10.0.0.1", ""), e("10.0.0.1", "a")}, []Endpoint{e("10.0.0.1", ""), e("10.0.0.1", "a"), e("10.0.0.1", "b")}},
		{"a name that says nothing", []Endpoint{e("10.0.0.1", "10-0-0-1"), e("fd00:1::", "FD00-1--0")}, []Endpoint{e("10.0.0.1", ""), e("fd00:1::", "")}},
		{"a name that is spelled otherwise", []Endpoint{e("fd00::1", "fd00-0--1"), e("fd00:1::", "fd00-1--")}, []Endpoint{e("fd00::1", "fd00-0--1"), e("fd00:1::", "fd00-1--")}},
	} {
		got := NewEndpoints(slices.Clone(tc.list))
		if all := slices.Collect(got.All); !slices.Equal(all, tc.want) || got.Len() != len(tc.want) {
			t.Errorf("%s: %v, want %v", tc.what, all, tc.want)
		}
	}
}

// A hostname that is no label is refused, and counted: the endpoint has the name
// of its address.
func TestRefusedNames(t *testing.T) {
	w := worldOf(t, "namespace a\nservice a/db headless")
	v := mustView(t, w, Options{Zones: []string{"cluster.local.", "in-addr.arpa."}})
	long := strings.Repeat("x", 64)
	for i, name := range []string{long, "web.0", long} {
		set(t, w, fmt.Sprintf("slice a/s%d db p:1/TCP 10.0.0.%d=%s !10.0.1.1=h", i, i, name))
		n, last := w.Index().RefusedNames()
		if want := (RefusedName{Key{"a", fmt.Sprint("s", i)}, name}); n != uint64(i+1) || last != want {
			t.Errorf("%d refused, the last %v", n, last)
		}
	}
	set(t, w, "slice a/s0 db p:1/TCP 10.0.0.0="+long+" !10.0.1.1=h") // as before
	if n, _ := w.Index().RefusedNames(); n != 3 {
		t.Errorf("%d refused", n)
	}
	ask(t, v, []qa{
		{"10-0-0-1.db.a.svc.cluster.local. A", "10-0-0-1.db.a.svc A 10.0.0.1"},
		{"1.0.0.10.in-addr.arpa. PTR", "1.0.0.10.in-addr.arpa. PTR 10-0-0-1.db.a.svc"},
		{"_p._tcp.db.a.svc.cluster.local. SRV", `
			_p._tcp.db.a.svc SRV 0 33 1 10-0-0-0.db.a.svc
			_p._tcp.db.a.svc SRV 0 33 1 10-0-0-1.db.a.svc
			_p._tcp.db.a.svc SRV 0 33 1 10-0-0-2.db.a.svc
			+10-0-0-0.db.a.svc A 10.0.0.0
			+10-0-0-1.db.a.svc A 10.0.0.1
			+10-0-0-2.db.a.svc A 10.0.0.2`},
	})
}

// Packing forgets nothing and does not depend on the order.
func TestNewEndpointsRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		list := make([]Endpoint, rng.IntN(12))
		for i := range list {
			list[i] = Endpoint{pick(rng, poolAddrs), pick(rng, poolHostnames), pick(rng, poolZones)}
		}
		packed := NewEndpoints(slices.Clone(list))
		for _, set := range []struct {
			set   *addrSet
			width int
		}{{&packed.v4, 4}, {&packed.v6, 16}} {
			if err := checkPacked(set.set, set.width); err != nil {
				t.Fatalf("%v: %v", list, err)
			}
		}
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		shuffled := NewEndpoints(slices.Clone(list))
		if !packed.equal(&shuffled) || packed.Len() != len(list) {
			t.Fatalf("%v packs to %v and %v", list, slices.Collect(packed.All), slices.Collect(shuffled.All))
		}
		for _, e := range list {
			if found := slices.ContainsFunc(slices.Collect(packed.All), func(o Endpoint) bool { return o.Addr == e.Addr && hostname(o) == hostname(e) && o.Zone == e.Zone }); !found {
				t.Fatalf("%v lost of %v", e, list)
			}
		}
		for stop := range list {
			n := 0
			for range packed.All {
				if n++; n > stop {
					break
				}
			}
			if n != stop+1 {
				t.Fatalf("stopped after %d, not %d", n, stop+1)
			}
		}
	}
}

// What an Endpoints costs is what its comment says.
func TestEndpointsSize(t *testing.T) {
	list := []Endpoint{{Addr: netip.MustParseAddr("10.0.0.1")}, {Addr: netip.MustParseAddr("10.0.0.2")}, {Addr: netip.MustParseAddr("fd00::1"), Name: "h"}}
	e := NewEndpoints(list)
	if len(e.v4.packed) != 8 || e.v4.more != nil || len(e.v6.packed) != 16 || len(e.v6.more.names) != 1 || e.v6.more.zones != nil {
		t.Errorf("%+v", e)
	}
	list[0].Zone, list[1].Zone = "a", "a"
	e = NewEndpoints(list)
	if m := e.v4.more; m.names != nil || len(m.zones) != 2 || unsafe.Sizeof(m.zones[0]) != 2 || len(m.zoneNames) != 2 {
		t.Errorf("%+v", m)
	}
}

func TestResourceNames(t *testing.T) {
	for r, want := range map[Resource]string{Namespaces: "namespaces", Services: "services", EndpointSlices: "endpointslices", Pods: "pods", ServiceImports: "serviceimports"} {
		if r.String() != want {
			t.Errorf("%d is %s, want %s", r, r, want)
		}
	}
	for _, line := range []string{"namespace a @7", "service a/b none @7", "slice a/b c - @7", "pod a/b 10.0.0.1 @7", "import a/b none @7"} {
		if o := parseObject(t, line); o.version() != 7 || o.ObjectKey().Name == "" {
			t.Errorf("%s: version %d, key %v", line, o.version(), o.ObjectKey())
		}
	}
}
