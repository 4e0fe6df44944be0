package zone

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// After a peak of names the index takes hardly more than before, and an Answer
// and a Renderer that were used at the peak hold nothing of it.
func TestMemoryAfterPeak(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a large world")
	}
	const few, many = 1000, 20_000
	w := cluster(t, few)
	v := mustView(t, w, Options{Zones: []string{"cluster.local.", "in-addr.arpa."}})
	var a Answer
	var r Renderer
	buf := make([]byte, 0, 4096)
	before := heap()
	var services, epslices, pods []Object
	for i := range many {
		s := &Service{Key: Key{"ns-0", fmt.Sprintf("more-%d", i)}, Ports: httpPort, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})}}
		services = append(services, s)
		epslices = append(epslices, clusterSlice(s.Key, few+i, 1))
		pods = append(pods, &Pod{Key: s.Key, Addrs: s.ClusterIPs})
	}
	set := func(list []Object) {
		w.Update(func(b *Batch) {
			for _, o := range list {
				b.Set(o)
			}
		})
	}
	set(services)
	set(epslices)
	set(pods)
	for _, name := range []string{"more-7.ns-0.svc.cluster.local.", "7.0.0.11.in-addr.arpa."} {
		for _, qtype := range []uint16{dnswire.TypeA, dnswire.TypeSRV, dnswire.TypePTR} {
			q := dnswire.Query{Name: wireName(t, name), Type: qtype, Class: dnswire.ClassIN}
			if _, err := replyTo(v, &q, &a, &r, buf); err != nil {
				t.Fatal(err)
			}
			a.Release()
		}
	}
	peak := heap()
	w.Update(func(b *Batch) {
		for _, list := range [][]Object{services, epslices, pods} {
			for _, o := range list {
				b.Delete(o.Resource(), o.ObjectKey(), 2)
			}
		}
	})
	services, epslices, pods = nil, nil, nil
	after := heap()
	t.Logf("%.1f MB, at the peak %.1f, then %.1f", float64(before)/1e6, float64(peak)/1e6, float64(after)/1e6)
	if after > before+before/5 {
		t.Errorf("%d octets before a peak of %d and %d after", before, peak, after)
	}
	runtime.KeepAlive(&a)
	runtime.KeepAlive(&r)
	runtime.KeepAlive(w)
	if err := check(w); err != nil {
		t.Error(err)
	}
}

// The memory of very many objects that go at once goes back to the system; that
// of a few is left to the next collection.
func TestMemoryGoesBack(t *testing.T) {
	forced := func() uint32 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.NumForcedGC
	}
	for _, row := range []struct {
		n     int
		freed bool
	}{{manyGone/2 - 1, false}, {manyGone / 2, true}} { // each with a slice
		w, before := cluster(t, row.n), forced()
		w.update([]change{{fn: func(b *Batch) {
			for k := range b.heldKeys(Services) {
				b.Delete(Services, k, 2)
			}
			for r := EndpointSlices; r < numResources; r++ {
				b.Replace(r, nil, 2)
			}
		}}})
		if freeing := w.freeing.Load() || forced() > before; freeing != row.freed {
			t.Errorf("%d objects: given back is %v", row.n, freeing)
		}
		for w.freeing.Load() {
			runtime.Gosched()
		}
	}
}
