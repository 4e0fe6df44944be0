package zone

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/miekg/dns"
)

type negativeCache = NegativeCache[string, Outcome]

func newNegativeCache(t testing.TB, size int) *negativeCache {
	t.Helper()
	c, err := NewNegativeCache[string, Outcome](size)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// remember looks a question up and offers the answer to c.
func remember(t testing.TB, c *negativeCache, v *View, question string) Outcome {
	t.Helper()
	name, qtype := parseQuestion(question)
	var a Answer
	if !v.Lookup(&a, wireName(t, name), qtype) {
		t.Fatalf("%s is in no zone", question)
	}
	c.Add(question, &a, a.Outcome)
	return a.Outcome
}

func parseQuestion(question string) (name string, qtype uint16) {
	var typ string
	fmt.Sscan(question, &name, &typ)
	return name, dns.StringToType[typ]
}

// What makes a name or type appear takes its cached negative answer away, as
// soon as Update returns.
func TestNegativeInvalidation(t *testing.T) {
	const base = `
		namespace a
		service a/web 10.96.0.1
		service a/db headless
		service a/dns 10.96.0.53
		service a/lonely 10.96.0.3
		service a/out external=nope.a.svc.cluster.local
		slice a/dns-1 dns - 10.0.0.53
	`
	for _, tc := range []struct {
		question, change, want string
		never                  bool // nothing is cached to begin with
	}{
		{question: "new.a.svc.cluster.local. A", change: "service a/new 10.96.0.9", want: "new.a.svc A 10.96.0.9"},
		{question: "new.a.svc.cluster.local. MX", change: "service a/new 10.96.0.9", want: "NODATA"},
		{question: "web.a.svc.cluster.local. AAAA", change: "service a/web 10.96.0.1,fd96::1", want: "web.a.svc AAAA fd96::1"},
		{question: "web.a.svc.cluster.local. SRV", change: "service a/web 10.96.0.1 x:1/TCP", want: "web.a.svc SRV 0 100 1 web.a.svc\n+web.a.svc A 10.96.0.1"},
		{question: "_x._tcp.web.a.svc.cluster.local. A", change: "service a/web 10.96.0.1 x:1/TCP", want: "_x._tcp.web.a.svc A 10.96.0.1"},
		{question: "web.a.svc.cluster.local. CNAME", change: "service a/web external=example.org", want: "web.a.svc CNAME example.org."},
		{question: "db.a.svc.cluster.local. A", change: "slice a/s db - 10.0.0.1", want: "db.a.svc A 10.0.0.1"},
		{question: "h.db.a.svc.cluster.local. A", change: "slice a/s db - 10.0.0.1=h", want: "h.db.a.svc A 10.0.0.1"},
		{question: "10-0-0-1.web.a.svc.cluster.local. A", change: "slice a/s web - 10.0.0.1", want: "10-0-0-1.web.a.svc A 10.0.0.1"},
		{question: "web.b.svc.cluster.local. A", change: "namespace b\nservice b/web 10.96.0.9", want: "web.b.svc A 10.96.0.9"},
		{question: "b.svc.cluster.local. A", change: "namespace b", want: "NODATA"},
		{question: "nope.b.svc.cluster.local. A", change: "namespace b", want: "NXDOMAIN"},
		{question: "10-0-0-1.b.pod.cluster.local. A", change: "namespace b\npod b/p 10.0.0.1", want: "10-0-0-1.b.pod A 10.0.0.1"},
		{question: "10-0-0-1.a.pod.cluster.local. A", change: "pod a/p 10.0.0.1", want: "10-0-0-1.a.pod A 10.0.0.1"},
		{question: "fd00--1.a.pod.cluster.local. AAAA", change: "pod a/p fd00::1", want: "fd00--1.a.pod AAAA fd00::1"},
		{question: "9.0.96.10.in-addr.arpa. PTR", change: "service a/new 10.96.0.9", want: "9.0.96.10.in-addr.arpa. PTR new.a.svc"},
		{question: "9.0.0.10.in-addr.arpa. PTR", change: "slice a/s db - 10.0.0.9", want: "9.0.0.10.in-addr.arpa. PTR 10-0-0-9.db.a.svc"},
		{question: "9.0.0.10.in-addr.arpa. PTR", change: "slice a/s ghost - 10.0.0.9", want: "9.0.0.10.in-addr.arpa. PTR 10-0-0-9.ghost.a.svc"},
		// What depends on more than its own name is not cached.
		{question: "out.a.svc.cluster.local. A", change: "service a/nope 10.96.0.9", want: "out.a.svc CNAME nope.a.svc\nnope.a.svc A 10.96.0.9", never: true},
		{question: "ns.dns.cluster.local. AAAA", change: "service a/dns 10.96.0.53,fd96::53", want: "ns.dns AAAA fd96::53", never: true},
		{question: "web.a.svc.cluster.local. A", change: "namespace c", want: "web.a.svc A 10.96.0.1", never: true},
	} {
		w := worldOf(t, base)
		v := mustView(t, w, Options{Zones: []string{"cluster.local.", "in-addr.arpa."}, Pods: PodsVerified}, "10.0.0.53")
		c := newNegativeCache(t, 10)
		outcome := remember(t, c, v, tc.question)
		if got, ok := c.Get(w.Index(), tc.question); ok == tc.never || ok && got != outcome {
			t.Errorf("%s: before the change the cache has %v, %v", tc.question, got, ok)
		}
		set(t, w, tc.change)
		if _, ok := c.Get(w.Index(), tc.question); ok {
			t.Errorf("%s: still cached after %s", tc.question, tc.change)
		}
		ask(t, v, []qa{{tc.question, tc.want}})
		want := NegativeStats{Hits: 1, Misses: 1, Invalidations: 1}
		if tc.never {
			want = NegativeStats{Misses: 2}
		}
		if got := c.Stats(); got != want {
			t.Errorf("%s: stats %+v, want %+v", tc.question, got, want)
		}
	}
	t.Run("ignore empty_service", func(t *testing.T) {
		w := worldOf(t, base)
		v, c := mustView(t, w, Options{IgnoreEmpty: true}), newNegativeCache(t, 10)
		const question = "lonely.a.svc.cluster.local. A"
		remember(t, c, v, question)
		set(t, w, "slice a/s lonely - 10.0.0.1")
		if _, ok := c.Get(w.Index(), question); ok {
			t.Error("still cached after the service got its first endpoint")
		}
	})
	t.Run("synced", func(t *testing.T) {
		w := NewWriter()
		v, c := mustView(t, w, Options{}), newNegativeCache(t, 10)
		replaceAll(t, w, "namespace a", Namespaces, Services)
		remember(t, c, v, "nope.a.svc.cluster.local. A")
		if o := remember(t, c, v, "ns.dns.cluster.local. A"); o != Unready || c.Stats().Size != 1 {
			t.Errorf("outcome %d, %d entries", o, c.Stats().Size)
		}
		replaceAll(t, w, "", EndpointSlices)
		if _, ok := c.Get(w.Index(), "nope.a.svc.cluster.local. A"); ok {
			t.Error("still cached after a resource synced")
		}
	})
}

// A change drops what shares a generation with it, one in a thousand or so, and
// nothing else.
func TestNegativeUnrelated(t *testing.T) {
	w := worldOf(t, "namespace a")
	v, c := mustView(t, w, Options{}), newNegativeCache(t, 1000)
	name := func(i int) string { return fmt.Sprintf("nope-%d.a.svc.cluster.local. A", i) }
	for i := range 1000 {
		remember(t, c, v, name(i))
	}
	set(t, w, "service a/new 10.96.0.1\nslice a/s new - 10.0.0.1 10.0.0.2\npod a/p 10.0.0.1")
	left := 0
	for i := range 1000 {
		if _, ok := c.Get(w.Index(), name(i)); ok {
			left++
		}
	}
	// Six touches drop 0.1 % each, or all if one shares the namespace's
	// generation, which one run in two hundred sees.
	if left < 970 && left != 0 {
		t.Errorf("%d of 1000 left after an unrelated change", left)
	}
}

func TestNegativeBoundAndUntil(t *testing.T) {
	if _, err := NewNegativeCache[string, Outcome](0); err == nil {
		t.Error("a cache of size 0")
	}
	w := worldOf(t, "namespace a")
	v, c := mustView(t, w, Options{}), newNegativeCache(t, 3)
	for _, n := range []string{"a", "b", "c"} {
		remember(t, c, v, n+".a.svc.cluster.local. A")
	}
	c.Get(w.Index(), "a.a.svc.cluster.local. A") // not the least recently used any more
	remember(t, c, v, "d.a.svc.cluster.local. A")
	for n, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if _, ok := c.Get(w.Index(), n+".a.svc.cluster.local. A"); ok != want {
			t.Errorf("%s is cached: %v", n, ok)
		}
	}
	if c.Stats().Size != 3 {
		t.Errorf("%d entries", c.Stats().Size)
	}
	c.AddUntil("past", NoData, time.Now().Add(-time.Nanosecond))
	c.AddUntil("future", NameError, time.Now().Add(time.Hour))
	set(t, w, "namespace b\nservice a/x 10.96.0.1") // which says nothing about either
	if _, ok := c.Get(w.Index(), "past"); ok {
		t.Error("an entry outlived its time")
	}
	if got, ok := c.Get(w.Index(), "future"); !ok || got != NameError {
		t.Errorf("an entry is gone before its time: %v, %v", got, ok)
	}
	sum := NegativeStats{1, 2, 3, 4}
	sum.Add(NegativeStats{10, 20, 30, 40})
	if sum != (NegativeStats{11, 22, 33, 44}) {
		t.Errorf("sum %+v", sum)
	}
}

// Readers cache negatives while a writer lets services come and go. Once an
// Update that made one appear has returned, no Get that begins may find a
// negative for it, until the next Update that takes it away begins.
func TestNegativeRace(t *testing.T) {
	const names, readers = 2, 3
	w := worldOf(t, "namespace a")
	v, c := mustView(t, w, Options{}), newNegativeCache(t, names)
	// phase[i] is odd while service i is certainly there. Even, it is gone or
	// on its way in or out.
	var phase [names]atomic.Uint64
	var wires [names][]byte
	var keys [names]string
	for i := range names {
		keys[i] = fmt.Sprintf("x%d.a.svc.cluster.local.", i)
		wires[i] = wireName(t, keys[i])
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	var hits, wrong atomic.Uint64
	for r := range readers {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 0))
			var a Answer
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rng.IntN(names)
				before := phase[i].Load()
				cached := false
				if rng.IntN(2) > 0 {
					_, cached = c.Get(w.Index(), keys[i])
				}
				if !cached {
					v.Lookup(&a, wires[i], dnswire.TypeA)
					c.Add(keys[i], &a, a.Outcome)
					cached = a.Outcome != Success
				} else {
					hits.Add(1)
				}
				if cached && before&1 == 1 && phase[i].Load() == before {
					wrong.Add(1)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(99, 0))
	// A second is nothing on a slow machine; without any hits there is an end too.
	end := time.Now().Add(time.Second)
	for n := 0; time.Now().Before(end) || n < 1000 || hits.Load() < 1000 && n < 1_000_000; n++ {
		i := rng.IntN(names)
		k := Key{"a", fmt.Sprint("x", i)}
		if phase[i].Load()&1 == 1 {
			phase[i].Add(1)
			w.Update(func(b *Batch) { b.Delete(Services, k, 1) })
		} else {
			s := &Service{Key: k, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(i)})}}
			w.Update(func(b *Batch) { b.Set(s) })
			phase[i].Add(1)
		}
	}
	close(stop)
	running.Wait()
	if wrong.Load() > 0 {
		t.Errorf("%d stale negatives", wrong.Load())
	}
	if hits.Load() == 0 {
		t.Error("the cache was never hit: nothing was tested")
	}
	t.Logf("serial %d, %d hits", w.Index().Serial(), hits.Load())
}

// What was cached of one index is nothing in another, which a View may show
// later: not even where both have seen as many changes.
func TestNegativeOfAnotherIndex(t *testing.T) {
	var views []*View
	for _, objects := range []string{"namespace a", "namespace a\nservice a/web 10.96.0.1"} {
		views = append(views, mustView(t, worldOf(t, objects), Options{Zones: []string{"cluster.local."}}))
	}
	c := newNegativeCache(t, 10)
	const question = "web.a.svc.cluster.local. A"
	if got := remember(t, c, views[0], question); got != NameError {
		t.Fatalf("outcome %d", got)
	}
	if _, ok := c.Get(views[0].Index(), question); !ok {
		t.Error("not cached")
	}
	if _, ok := c.Get(views[1].Index(), question); ok {
		t.Error("held in another index")
	}
	views[0].Show(views[1].Index())
	if got := remember(t, c, views[0], question); got == NameError {
		t.Error("the view shows the index before")
	}
}

// Nor are the name servers that were found in it.
func TestNameServersOfAnotherIndex(t *testing.T) {
	var views []*View
	for _, name := range []string{"old", "new"} {
		w := worldOf(t, "namespace kube\nservice kube/"+name+" 10.96.0.10\nslice kube/"+name+"-1 "+name+" dns:53/UDP 192.0.2.53")
		views = append(views, mustView(t, w, Options{}, "192.0.2.53"))
	}
	ns := func() string { return answerText(t, views[0], "cluster.local. NS") }
	if got := ns(); !strings.Contains(got, "old") {
		t.Fatalf("name servers %q", got)
	}
	views[0].Show(views[1].Index())
	if got := ns(); !strings.Contains(got, "new") {
		t.Errorf("name servers %q: those of the index before", got)
	}
}
