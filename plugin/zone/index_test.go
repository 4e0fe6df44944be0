package zone

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

func TestIndexLookups(t *testing.T) {
	w := worldOf(t, shop+"\nservice shop/out external=example.org")
	ix := w.Index()
	for name, want := range map[string]Kind{"web": ClusterIP, "WEB": ClusterIP, "db": Headless, "out": ExternalName} {
		if kind, ok := ix.ServiceKind(Key{"shop", name}); !ok || kind != want {
			t.Errorf("%s: kind %d, %v", name, kind, ok)
		}
	}
	for _, k := range []Key{{"shop", "nope"}, {"shop", "stray"}, {"nope", "web"}, {"", "web"}, {"shop", strings.Repeat("x", 64)}} {
		if kind, ok := ix.ServiceKind(k); ok {
			t.Errorf("%v: kind %d", k, kind)
		}
	}
	for r, want := range map[Resource]int{Namespaces: 3, Services: 16, EndpointSlices: 13, Pods: 3} {
		if got := ix.Objects(r); got != want {
			t.Errorf("%d %s, want %d", got, r, want)
		}
	}
	for addr, want := range map[string]string{"10.1.0.2": "r", "fd01::1": "p", "::ffff:10.1.0.2": "r", "10.1.0.3": ""} {
		got := ""
		if p := ix.PodAt(netip.MustParseAddr(addr)); p != nil {
			got = p.Name
		}
		if got != want {
			t.Errorf("the pod at %s is %q, want %q", addr, got, want)
		}
	}
}

// Two services of one hash are told apart by name, and so are two addresses.
func TestCollidingHashes(t *testing.T) {
	w := worldOf(t, "namespace a")
	w.Update(func(b *Batch) {
		s := &b.next
		for _, name := range []string{"x", "y"} {
			id, _ := newIdent(Key{"a", name})
			id.hash = 77
			c := compileService(id, &Service{Key: id.Key, ClusterIPs: addrList("10.0.0.1")}, nil, nil)
			s.services.set(w.edit, id.hash, c, func(o *service) bool { return o.id == id })
		}
		for _, addr := range []string{"10.0.0.1", "10.0.0.2"} {
			set := &podSet{netip.MustParseAddr(addr), bag[*Pod]{few: []*Pod{{Key: Key{"a", addr}}}}}
			s.pods.set(w.edit, hashAddr(netip.MustParseAddr("10.0.0.1")), set, func(o *podSet) bool { return o.addr == set.addr })
		}
		for _, name := range []string{"x", "y", "z"} {
			labels := appendLabel(appendLabel(nil, name), "a")
			if got := serviceOf(&s.services, labels, 77); (got == nil) != (name == "z") || got != nil && got.id.Name != name {
				t.Errorf("%s: %+v", name, got)
			}
		}
		if pods := slices.Collect(s.podsAt(netip.MustParseAddr("10.0.0.1")).all); len(pods) != 1 || pods[0].Name != "10.0.0.1" {
			t.Errorf("pods %v", pods)
		}
	})
}

// Readers see every batch whole: the ClusterIP, the address that a headless
// service has and the reverse entries change together. Meant for -race.
func TestConcurrentReaders(t *testing.T) {
	w := worldOf(t, "namespace a")
	v := mustView(t, w, Options{Zones: []string{"cluster.local.", "in-addr.arpa."}})
	batch := func(i int) {
		w.Update(func(b *Batch) {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 4)})
			b.Set(&Service{Key: Key{"a", "x"}, Version: uint64(i), ClusterIPs: []netip.Addr{addr}})
			b.Set(&EndpointSlice{Key: Key{"a", "s"}, Version: uint64(i), Service: "db", Ready: NewEndpoints([]Endpoint{{Addr: addr}})})
			b.Set(&Service{Key: Key{"a", "db"}, Kind: Headless})
		})
	}
	batch(0)
	stop := make(chan struct{})
	var running sync.WaitGroup
	for range 3 {
		running.Go(func() {
			var a Answer
			last := v.Index().Serial()
			name, db := wireName(t, "x.a.svc.cluster.local."), []byte("\x02db\x01a")
			for {
				select {
				case <-stop:
					return
				default:
				}
				v.Lookup(&a, name, dnswire.TypeA)
				s := a.snap
				addr, _ := netip.AddrFromSlice(a.svc.v4)
				if other := serviceOf(&s.services, db, hashName(db)); other == nil || string(other.v4) != string(a.svc.v4) || ownersAt(&s.clusterIPs, hashAddr(addr)).len() != 1 || s.ownersOf(addr).len() != 1 || int32(s.serial-last) < 0 {
					t.Errorf("torn: %v %+v, serial %d after %d", addr, other, s.serial, last)
					return
				}
				last = s.serial
			}
		})
	}
	for i, deadline := 1, time.Now().Add(300*time.Millisecond); time.Now().Before(deadline); i++ {
		batch(i)
	}
	close(stop)
	running.Wait()
	if err := check(w); err != nil {
		t.Fatal(err)
	}
	t.Logf("serial %d", w.Index().Serial())
}
