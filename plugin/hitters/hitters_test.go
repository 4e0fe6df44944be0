package hitters

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

func wire(t testing.TB, name string) []byte {
	t.Helper()
	w, err := dnswire.AppendName(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var (
	someone = netip.MustParseAddr("10.244.1.5")
	other   = netip.MustParseAddr("fd00::5")
)

func TestTop(t *testing.T) {
	e := New()
	r := e.Recorder()
	for range 3 {
		r.Add(wire(t, "Web.Shop.svc.cluster.local."), someone, 0)
	}
	r.Add(wire(t, "web.shop.svc.cluster.LOCAL."), netip.MustParseAddr("::ffff:10.244.1.5"), 0)
	r.Sent(Lane, 2*time.Millisecond)
	e.Add(wire(t, "nope.shop.svc.cluster.local."), other, 3, Chain, time.Second)
	e.Add(wire(t, `a\.b\000.example.`), other, 2, Chain, time.Second)
	e.Add(wire(t, "refused.example."), other, 5, Chain, time.Second)

	top := e.Top(e.started.Add(7*time.Second), 10)
	want := Top{
		Window: 7 * time.Second, OneIn: 1,
		Names: []Hit[string]{
			{Key: "web.shop.svc.cluster.local.", Count: 4}, {Key: `a\.b\000.example.`, Count: 1}, {Key: "refused.example.", Count: 1},
		},
		NXDomain: []Hit[string]{{Key: "nope.shop.svc.cluster.local.", Count: 1}},
		Clients:  []Hit[netip.Addr]{{Key: someone, Count: 4}, {Key: other, Count: 3}},
	}
	if top.Names[1].Key != want.Names[1].Key { // of equals, in any order
		top.Names[1], top.Names[2] = top.Names[2], top.Names[1]
	}
	if !reflect.DeepEqual(top, want) {
		t.Errorf("%+v\nwant\n%+v", top, want)
	}
	_, totals := e.Totals()
	wantTotals := Totals{
		Lane:  {Outcomes: [numOutcomes]uint64{NoError: 4}, Took: 8 * time.Millisecond},
		Chain: {Outcomes: [numOutcomes]uint64{NXDomain: 1, ServFail: 1, Other: 1}, Took: 3 * time.Second},
	}
	if totals != wantTotals {
		t.Errorf("%+v, want %+v", totals, wantTotals)
	}
	if n := len(e.Top(time.Now(), 2).Names); n != 2 {
		t.Errorf("%d of at most 2", n)
	}
}

// TestMerge asks several shards, over several periods, and compares with what
// was counted exactly.
func TestMerge(t *testing.T) {
	e := New()
	now := e.started
	random := rand.New(rand.NewPCG(5, 6))
	z := rand.NewZipf(random, 1.2, 1, 1<<16)
	exact := map[string]uint64{}
	total := uint64(0)
	for p := range 5 {
		if p >= 3 { // the last period but this one, and this one
			if p == 3 {
				clear(exact)
				total = 0
			}
		}
		for i := range 3000 {
			name := fmt.Sprintf("n%d.example.", z.Uint64())
			if i%2 == 0 {
				name = fmt.Sprintf("p%d-%d.example.", p, i)
			}
			exact[name]++
			total++
			e.sample(e.shards[i%len(e.shards)], wire(t, name), someone, NoError, 1)
		}
		if p < 4 {
			now = now.Add(period)
			e.tick(now)
		}
	}
	top := e.Top(now.Add(time.Second), 1<<20)
	if want := period + time.Second; top.Window != want {
		t.Errorf("the window is %v, not %v", top.Window, want)
	}
	bound := total / Slots
	held := map[string]bool{}
	for i, h := range top.Names {
		held[h.Key] = true
		if n := exact[h.Key]; h.Count < n || h.AtLeast() > n {
			t.Errorf("%s was asked %d times; at least %d and at most %d are said", h.Key, n, h.AtLeast(), h.Count)
		}
		if h.Error > bound {
			t.Errorf("%s: an error of %d, more than %d", h.Key, h.Error, bound)
		}
		if i > 0 && h.AtLeast() > top.Names[i-1].AtLeast() {
			t.Errorf("%s is behind one with less", h.Key)
		}
	}
	for name, n := range exact {
		if n > bound && !held[name] {
			t.Errorf("%s was asked %d of %d times, and is not held", name, n, total)
		}
	}
	if n := top.Clients[0]; len(top.Clients) != 1 || n.Key != someone || n.Count != total || n.Error != 0 {
		t.Errorf("%+v, want %d of %v", top.Clients, total, someone)
	}
}

// TestWindow: what is older than the period before is forgotten.
func TestWindow(t *testing.T) {
	e := New()
	now := e.started
	asked := func() int { return len(e.Top(now, 10).Names) }
	e.Add(wire(t, "a."), someone, 0, Lane, 0)
	for i, want := range []int{1, 1, 0} {
		if got := asked(); got != want {
			t.Errorf("after %d periods: %d names, not %d", i, got, want)
		}
		for range int(period / time.Second) {
			now = now.Add(time.Second)
			e.tick(now)
		}
	}
}

// TestSampling: with many questions few are looked at, and the estimate stays
// right; with few again, all are.
func TestSampling(t *testing.T) {
	e := New()
	r := e.Recorder()
	now := e.started
	second := func(n int) {
		for range n {
			r.Add(wire(t, "web.example."), someone, 0)
		}
		r.Sent(Lane, 0)
		now = now.Add(time.Second)
		e.tick(now)
	}
	const many = 400_000
	asked := 0.0
	for range 10 {
		second(many)
		asked += many
	}
	oneIn := float64(r.shard.oneIn.Load())
	if taken := many / oneIn; taken > 2*sampleRate || taken < sampleRate/8 {
		t.Errorf("of %d questions a second one in %v is sampled: %v, not about %d", many, oneIn, taken, sampleRate)
	}
	// The samples' variance is largest with the largest weight; six standard
	// deviations fail once in a billion runs.
	top := e.Top(now, 1)
	if off, sigma := math.Abs(float64(top.Names[0].Count)-asked), math.Sqrt(asked*oneIn); off > 6*sigma {
		t.Errorf("%d were counted of %v: off by %v, the standard deviation is %v", top.Names[0].Count, asked, off, sigma)
	}
	if top.OneIn != uint32(oneIn) {
		t.Errorf("it says that one in %d is sampled, not %v", top.OneIn, oneIn)
	}
	for range 20 {
		second(10)
	}
	if n := r.shard.oneIn.Load(); n != 1 {
		t.Errorf("with 10 questions a second one in %d is sampled", n)
	}
	if _, totals := e.Totals(); totals[Lane].Sum() != 10*many+200 { // not sampled
		t.Errorf("%d questions were counted", totals[Lane].Sum())
	}
}

// TestHistory has more points than are kept.
func TestHistory(t *testing.T) {
	e := New()
	now := e.started
	const rounds = Points + 7
	for i := range rounds {
		for range i {
			e.Add(wire(t, "a."), someone, 3, Chain, time.Millisecond)
		}
		for range int(Step / time.Second) {
			now = now.Add(time.Second)
			e.tick(now)
		}
	}
	points := e.History()
	if len(points) != Points {
		t.Fatalf("%d points, not %d", len(points), Points)
	}
	for i, p := range points {
		n := uint64(rounds - Points + i)
		if got := p.Totals[Chain]; got.Outcomes[NXDomain] != n || got.Sum() != n || got.Took != time.Duration(n)*time.Millisecond || p.Over != Step {
			t.Errorf("point %d: %+v over %v, want %d", i, got, p.Over, n)
		}
	}
	if !points[Points-1].At.Equal(now) {
		t.Errorf("the last point is of %v, not %v", points[Points-1].At, now)
	}
}

// TestMemory holds an Engine to what docs/console.md says.
func TestMemory(t *testing.T) {
	const most = 340 << 10
	if size := reflect.TypeFor[shard]().Size(); size > most {
		t.Errorf("a shard has %d octets, more than %d", size, most)
	}
	if n := len(New().shards); n > maxShards {
		t.Errorf("%d shards, more than %d", n, maxShards)
	}
}

func TestAllocations(t *testing.T) {
	e := New()
	r := e.Recorder()
	names := make([][]byte, 4*Slots)
	for i := range names {
		names[i] = wire(t, fmt.Sprintf("n%d.example.", i))
	}
	i := 0
	if n := testing.AllocsPerRun(len(names), func() {
		i++
		e.sample(r.shard, names[i%len(names)], someone, NXDomain, 1)
		r.Add(names[i%len(names)], someone, 0)
		r.Sent(Lane, time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestConcurrent is for the race detector: workers, the chain, the clock and
// readers at once. Nothing is lost.
func TestConcurrent(t *testing.T) {
	e := New()
	const each = 2000
	stop := make(chan struct{})
	var background, workers sync.WaitGroup
	background.Go(func() { e.Run(stop) })
	background.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				e.Top(time.Now(), 5)
				e.History()
				e.tick(e.started)
			}
		}
	})
	for w := range 6 {
		workers.Go(func() {
			r := e.Recorder()
			name := wire(t, fmt.Sprintf("n%d.example.", w))
			for range each {
				if w%2 == 0 {
					r.Add(name, someone, 0)
					r.Sent(Lane, time.Millisecond)
				} else {
					e.Add(name, someone, 0, Chain, time.Millisecond)
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	background.Wait()
	_, totals := e.Totals()
	if totals[Lane].Sum() != 3*each || totals[Chain].Sum() != 3*each {
		t.Errorf("%d and %d, want %d", totals[Lane].Sum(), totals[Chain].Sum(), 3*each)
	}
	if n := len(e.Top(time.Now(), 10).Names); n != 6 {
		t.Errorf("%d names of 6", n)
	}
}

// BenchmarkRecorder is what a question costs: as it is sampled with many
// questions, and when every one is.
func BenchmarkRecorder(b *testing.B) {
	names := make([][]byte, 1<<14)
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, 1<<20)
	for i := range names {
		names[i] = wire(b, fmt.Sprintf("svc-%d.ns.svc.cluster.local.", z.Uint64()))
	}
	for _, oneIn := range []uint32{1, 64} {
		b.Run(fmt.Sprintf("one in %d", oneIn), func(b *testing.B) {
			e := New()
			r := e.Recorder()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.shard.oneIn.Store(oneIn)
				r.Add(names[i%len(names)], someone, 0)
			}
		})
	}
}
