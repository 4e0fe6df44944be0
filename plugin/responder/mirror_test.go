package responder

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane/kernel"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/miekg/dns"
)

// mirrored world: what a mirror's model is made of.
var (
	poolNamespaces = []string{"a", "b", "1st"}
	poolServices   = []string{"web", "db", "9lives"}
	poolIPs        = []netip.Addr{
		netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("10.96.0.2"), netip.MustParseAddr("10.97.0.1"), netip.MustParseAddr("fd96::1"), netip.MustParseAddr("fd96::2"),
	}
)

// mirrorModel drives a zone.Writer, with a mirror that follows its View.
type mirrorModel struct {
	t      *testing.T
	random *rand.Rand
	w      *zone.Writer
	v      *zone.View
	m      *Mirror
	counts *Counts

	mu     sync.Mutex
	images []*fakeImage // made so far
	refuse error        // of open
	opened int
	failed []error

	version uint64
	probes  []func() // stop those that look between Before and After

	answered int    // questions that the image had an answer to
	wrong    string // the first wrong one
}

func newMirrorModel(t *testing.T, opt zone.Options, change func(*Plan, *Route)) *mirrorModel {
	m := &mirrorModel{t: t, random: rand.New(rand.NewPCG(1, 2)), w: zone.NewWriter(), counts: new(Counts)}
	opt.TTL = 5
	opt.Zones = []string{"cluster.local.", "10.in-addr.arpa.", "ip6.arpa."}
	var err error
	if m.v, err = zone.NewView(m.w.Index(), opt); err != nil {
		t.Fatal(err)
	}
	plan := &Plan{Counts: m.counts}
	for _, z := range opt.Zones {
		r := Route{Zone: z, View: m.v, Kernel: true}
		change(plan, &r)
		if err := plan.Add(r, "dns://:53"); err != nil {
			t.Fatal(err)
		}
	}
	m.probe() // before the mirror follows
	m.m, _, err = plan.mirror(KernelOptions{
		Addr: ":53",
		Opened: func(int) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.opened++
		},
		Failed: func(err error, _ time.Duration) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.failed = append(m.failed, err)
		},
	}, func(c kernel.Config) (image, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.refuse != nil {
			return nil, m.refuse
		}
		im := newFakeImage(c)
		m.images = append(m.images, im)
		return im, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// probe looks at the image from outside while snapshots are published.
type probe struct{ m *mirrorModel }

func (p probe) Before(*zone.Change) { p.m.check("before it is published") }
func (p probe) After(*zone.Change)  { p.m.check("when it is published") }

// probe has one probe follow the view, behind all who do so far.
func (m *mirrorModel) probe() { m.probes = append(m.probes, m.v.Follow(probe{m})) }

func (m *mirrorModel) made() []*fakeImage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.images)
}

// said returns how often an image was opened, and what failed.
func (m *mirrorModel) said() (opened int, failed []error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opened, slices.Clone(m.failed)
}

// image returns the last image, nil if there was none.
func (m *mirrorModel) image() *fakeImage {
	made := m.made()
	if len(made) == 0 {
		return nil
	}
	return made[len(made)-1]
}

// answering reports whether the last image answers anything.
func (m *mirrorModel) answering() bool {
	im := m.image()
	if im == nil {
		return false
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.open && im.attached && !im.closed
}

// check compares all that the images would answer with the view.
func (m *mirrorModel) check(when string) {
	made := m.made()
	for i, im := range made {
		if im.mu.Lock(); i+1 < len(made) && !im.closed {
			m.wrong = when + ": two images at once"
		}
		im.mu.Unlock()
	}
	im := m.image()
	if im == nil || m.wrong != "" {
		return
	}
	ask := func(name string, qtype uint16) {
		wire, err := dnswire.AppendName(nil, name)
		if err != nil {
			m.t.Error(err)
			return
		}
		got := im.answer(wire, qtype)
		if got == "" {
			return
		}
		m.answered++
		if want := m.viewSays(wire, qtype); got != want && m.wrong == "" {
			m.wrong = fmt.Sprintf("%s: %s %s: the image says %q, the view %q", when, name, dns.TypeToString[qtype], got, want)
		}
	}
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeSOA, dns.TypePTR} {
		for _, labels := range []string{"svc.", "nope.", "pod.", "a.nope.", "dns.", "x.dns-version.", "dns-version."} {
			ask(labels+"cluster.local.", qtype)
		}
		for _, ns := range append([]string{"nope"}, poolNamespaces...) {
			ask(ns+".svc.cluster.local.", qtype)
			for _, svc := range append([]string{"nope"}, poolServices...) {
				ask(svc+"."+ns+".svc.cluster.local.", qtype)
				ask("x."+svc+"."+ns+".svc.cluster.local.", qtype)
			}
		}
	}
	for _, addr := range poolIPs {
		name, _ := dns.ReverseAddr(addr.String())
		ask(name, dns.TypePTR)
	}
}

func (m *mirrorModel) viewSays(name []byte, qtype uint16) string {
	var a zone.Answer
	if !m.v.Lookup(&a, name, qtype) {
		return "not in the view's zones"
	}
	var serial uint32
	var ptrs []string
	a.Walk(func(r *zone.Record) bool {
		serial = r.SOA.Serial
		if r.Type == dns.TypePTR {
			ptrs = append(ptrs, string(r.Target.Label)+dnswire.NameString(slices.Concat(r.Target.Labels, r.Target.Origin)))
		}
		return true
	})
	switch {
	case a.Stale():
		return "stale"
	case a.Outcome == zone.NameError:
		return fmt.Sprint("NXDOMAIN ", serial)
	case a.Outcome == zone.NoData:
		return fmt.Sprint("NODATA ", serial)
	case len(ptrs) > 0:
		return strings.Join(ptrs, " ")
	case a.Outcome == zone.Success:
		return fmt.Sprintf("%x", a.Addrs())
	}
	return fmt.Sprint("outcome ", a.Outcome)
}

func (m *mirrorModel) next() uint64 { m.version++; return m.version }

func (m *mirrorModel) service() *zone.Service {
	s := &zone.Service{
		Key:     zone.Key{Namespace: pick(m, poolNamespaces), Name: pick(m, poolServices)},
		Version: m.next(), Kind: zone.Kind(m.random.IntN(3)), Ports: []zone.Port{{Name: "http", Protocol: "TCP", Number: 80}},
	}
	switch s.Kind {
	case zone.ExternalName:
		s.ExternalName = pick(m, []string{"example.com", "web.a.svc.cluster.local", "db.b.svc.cluster.local"})
	case zone.ClusterIP:
		for range m.random.IntN(3) {
			s.ClusterIPs = append(s.ClusterIPs, pick(m, poolIPs))
		}
	}
	return s
}

func pick[T any](m *mirrorModel, pool []T) T { return pool[m.random.IntN(len(pool))] }

func (m *mirrorModel) slice() *zone.EndpointSlice {
	s := &zone.EndpointSlice{
		Key:     zone.Key{Namespace: pick(m, poolNamespaces), Name: fmt.Sprint("s", m.random.IntN(3))},
		Version: m.next(), Service: pick(m, poolServices), Ports: []zone.Port{{Name: "http", Protocol: "TCP", Number: 80}},
	}
	var list []zone.Endpoint
	for i := range m.random.IntN(4) {
		list = append(list, zone.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 244, 0, byte(i)})})
	}
	if m.random.IntN(4) == 0 { // an address that may be a ClusterIP too
		list = append(list, zone.Endpoint{Addr: pick(m, poolIPs)})
	}
	s.Ready = zone.NewEndpoints(list)
	return s
}

// event changes the index, or what it is worth.
func (m *mirrorModel) event(b *zone.Batch) {
	switch m.random.IntN(13) {
	case 12: // of no zone here, but it moves the serial
		b.Set(&zone.ServiceImport{Service: *m.service()})
	case 0:
		b.Set(&zone.Namespace{Name: pick(m, poolNamespaces), Version: m.next()})
	case 1:
		b.Delete(zone.Namespaces, zone.Key{Name: pick(m, poolNamespaces)}, m.next())
	case 2, 3:
		b.Delete(zone.Services, zone.Key{Namespace: pick(m, poolNamespaces), Name: pick(m, poolServices)}, m.next())
	case 4:
		b.SetSilent(zone.Services, m.random.IntN(3) == 0)
	case 5, 6, 7:
		b.Set(m.slice())
	default:
		b.Set(m.service())
	}
}

func (m *mirrorModel) sync() {
	m.w.Update(func(b *zone.Batch) {
		for r := range zone.Resource(zone.Pods + 1) {
			b.Replace(r, nil, m.next())
		}
	})
}

// end ends the mirror, and says what was wrong.
func (m *mirrorModel) end() {
	for _, stop := range m.probes {
		stop()
	}
	m.m.Close()
	m.m.Wait()
	if m.wrong != "" {
		m.t.Error(m.wrong)
	}
	for i, im := range m.images {
		if !im.closed {
			m.t.Errorf("image %d of %d is not closed", i+1, len(m.images))
		}
	}
}

func plain(*Plan, *Route) {}

// TestMirror has a world change at random and asks the image everything, at every
// step of each publication.
func TestMirror(t *testing.T) {
	for i, opt := range []zone.Options{
		{}, {IgnoreEmpty: true}, {NoEndpoints: true}, {Namespaces: []string{"a", "1st"}}, {SelectedNamespaces: true}, {MaxAnswers: 2},
		{Pods: zone.PodsVerified},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMirrorModel(t, opt, plain)
			defer m.end()
			m.sync()
			time.Sleep(2 * freshEvery)
			m.probe() // behind the mirror's image
			for step := range 300 {
				m.w.Update(func(b *zone.Batch) {
					for range 1 + m.random.IntN(3) {
						m.event(b)
					}
				})
				m.check("later")
				if m.wrong != "" {
					t.Fatalf("options %d, step %d: %s", i, step, m.wrong)
				}
				if m.random.IntN(50) == 0 {
					time.Sleep(time.Second)
				}
			}
			if opened, failed := m.said(); m.answered < 10000 || opened != 1 || len(failed) > 0 {
				t.Errorf("options %d: %d questions had an answer; opened %d times, failed %v", i, m.answered, opened, failed)
			}
		})
	}
}

// TestMirrorBeginsAnew: a mirror makes another image when all changes, and none
// before the index is complete and fresh.
func TestMirrorBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrorModel(t, zone.Options{}, plain)
		defer m.end()
		time.Sleep(time.Minute)
		if len(m.made()) > 0 {
			t.Error("an image of an index that is not complete")
		}
		m.sync()
		wants := func(what string, want bool, images int) {
			t.Helper()
			synctest.Wait()
			if m.check(what); m.answering() != want || len(m.made()) != images {
				t.Errorf("%s: it answers: %v, want %v; %d images, want %d", what, m.answering(), want, len(m.made()), images)
			}
		}
		time.Sleep(freshEvery)
		wants("complete", true, 1)
		m.w.Update(func(b *zone.Batch) { b.SetSilent(zone.Namespaces, true) })
		wants("stale", false, 1)
		m.w.Update(func(b *zone.Batch) { b.SetSilent(zone.Namespaces, false) })
		wants("fresh", true, 1)
		m.w.Update(func(b *zone.Batch) {
			for i := range 10_000 {
				b.Set(&zone.Service{Key: zone.Key{Namespace: "a", Name: fmt.Sprint("s", i)}, Version: m.next()})
			}
		})
		wants("very many", false, 1)
		time.Sleep(again)
		wants("after very many", true, 2)
		if n := m.image().Names(); n != 10_000 {
			t.Errorf("%d names", n)
		}
		other := zone.NewWriter()
		m.v.Show(other.Index())
		wants("an empty index", false, 2)
		m.v.Show(m.w.Index())
		time.Sleep(again + freshEvery + 2*again)
		wants("the index again", true, 3)
		m.m.Close()
		wants("closed", false, 3)
	})
}

// TestMirrorGrows: names for which an image has no room are no failure, and the next
// one has room.
func TestMirrorGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrorModel(t, zone.Options{}, plain)
		defer m.end()
		m.sync()
		time.Sleep(freshEvery)
		for batch := range 30 {
			m.w.Update(func(b *zone.Batch) {
				for i := range 500 {
					b.Set(&zone.Service{Key: zone.Key{Namespace: "a", Name: fmt.Sprintf("s%d-%d", batch, i)}, Version: m.next()})
				}
			})
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		m.check("grown")
		if _, failed := m.said(); !m.answering() || m.image().Names() != 15_000 || len(failed) > 0 {
			t.Errorf("it answers: %v, with %d names; failures %v", m.answering(), m.image().Names(), failed)
		}
	})
}

// TestMirrorMoves: an image whose addresses have changed has another take its place.
func TestMirrorMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrorModel(t, zone.Options{}, plain)
		defer m.end()
		m.sync()
		time.Sleep(time.Minute)
		if n := len(m.made()); n != 1 {
			t.Fatalf("%d images", n)
		}
		m.image().mu.Lock()
		m.image().moved = true
		m.image().mu.Unlock()
		time.Sleep(movedTicks*drainEvery + 2*again)
		synctest.Wait()
		if _, failed := m.said(); !m.answering() || len(m.made()) != 2 || len(failed) > 0 {
			t.Errorf("it answers: %v, %d images, failures %v", m.answering(), len(m.made()), failed)
		}
	})
}

// TestMirroredBetween: what is filled when a change is about to be published does not
// answer before it is.
func TestMirroredBetween(t *testing.T) {
	w := zone.NewWriter()
	v, err := zone.NewView(w.Index(), zone.Options{Zones: []string{"cluster.local."}})
	if err != nil {
		t.Fatal(err)
	}
	w.Update(func(b *zone.Batch) {
		for r := range zone.Resource(zone.Pods + 1) {
			b.Replace(r, nil, 1)
		}
	})
	im := newFakeImage(kernel.Config{Capacity: 10})
	m := newMirrored(inKernel{view: v, forward: []byte("\x07cluster\x05local\x00")}, im)
	c := &zone.Change{Services: [][]byte{[]byte("\x03web\x01a")}}
	m.Before(c)
	if !m.begin() || im.open {
		t.Error("it answers before a change is published that it was not told of when it was filled")
	}
	if m.After(c); !im.open || !im.serialKnown {
		t.Error("it does not answer afterwards")
	}
}

// TestMirrorAddrs: the kernel answers at the addresses that the lane listens at.
func TestMirrorAddrs(t *testing.T) {
	for addr, want := range map[string]string{
		":53": "[]", "0.0.0.0:53": "[0.0.0.0]", "[::]:53": "[::]", "10.96.0.10:53": "[10.96.0.10]", "[fd00::a%eth0]:53": "[fd00::a]",
	} {
		v, err := zone.NewView(zone.NewWriter().Index(), zone.Options{Zones: []string{"cluster.local."}})
		if err != nil {
			t.Fatal(err)
		}
		plan := &Plan{Counts: new(Counts)}
		if err := plan.Add(Route{Zone: "cluster.local.", View: v, Kernel: true}, "dns://:53"); err != nil {
			t.Fatal(err)
		}
		m, _, err := plan.mirror(KernelOptions{Addr: addr}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(m.config.Addrs); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
		m.Close()
		m.Wait()
	}
}

// TestMirrorBeginsInBetween: an image that is full while a snapshot is published
// answers when that is over.
func TestMirrorBeginsInBetween(t *testing.T) {
	m := newMirrorModel(t, zone.Options{}, plain)
	defer m.end()
	m.sync()
	plan := &Plan{Counts: new(Counts)}
	if err := plan.Add(Route{Zone: "cluster.local.", View: m.v, Kernel: true}, "dns://:53"); err != nil {
		t.Fatal(err)
	}
	im := newFakeImage(kernel.Config{Capacity: 10})
	now := newMirrored(plan.inKernel(), im)
	now.Before(new(zone.Change))
	if !now.begin() || im.open || im.serialKnown {
		t.Errorf("between: open %v, serial known %v", im.open, im.serialKnown)
	}
	now.After(new(zone.Change))
	if !im.open || !im.serialKnown {
		t.Errorf("afterwards: open %v, serial known %v", im.open, im.serialKnown)
	}
}

// TestMirrorGivesUp: an error closes the image; it is tried again, ever later, and
// not for ever.
func TestMirrorGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrorModel(t, zone.Options{}, plain)
		defer m.end()
		m.sync()
		time.Sleep(freshEvery)
		synctest.Wait()
		im, broken := m.image(), errors.New("broken")
		im.mu.Lock()
		im.fails = broken
		im.mu.Unlock()
		m.w.Update(func(b *zone.Batch) { b.Set(m.service()) })
		synctest.Wait()
		if _, failed := m.said(); m.answering() || len(failed) != 2 || !errors.Is(failed[0], broken) {
			t.Fatalf("it answers: %v, failures %v", m.answering(), failed)
		}
		im.mu.Lock()
		im.closed = true // which failed too
		im.mu.Unlock()
		m.mu.Lock()
		m.refuse = broken
		m.mu.Unlock()
		time.Sleep(10 * time.Minute)
		_, failed := m.said()
		if n := len(failed); n < maxFailures+1 || n > maxFailures+2 {
			t.Errorf("failed %d times", n)
		}
		time.Sleep(time.Hour)
		if _, again := m.said(); len(again) != len(failed) {
			t.Errorf("failed again: %v", again)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		m := newMirrorModel(t, zone.Options{}, plain)
		defer m.end()
		m.mu.Lock()
		m.refuse = fmt.Errorf("no kernel: %w", errors.ErrUnsupported)
		m.mu.Unlock()
		m.sync()
		time.Sleep(time.Hour)
		if _, failed := m.said(); len(failed) != 1 {
			t.Errorf("what is not supported was tried %d times", len(failed))
		}
	})
}
