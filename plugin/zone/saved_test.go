package zone

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/miekg/dns"
)

const savedWorld = `
	namespace shop @5
	service shop/web 10.96.0.1 http:80/TCP @6
	service shop/old 10.96.0.2 http:80/TCP @7
	service shop/db headless @8
	slice shop/db-1 db pg:5432/TCP 10.1.0.1 10.1.0.2=pod-1 @9
	pod shop/p 10.1.0.1 @10`

// reopened returns a Writer that begins with what w holds.
func reopened(w *Writer, last bool) *Writer {
	saved := w.Save()
	saved.Last = last
	after := NewWriter()
	after.Update(func(b *Batch) { b.Restore(saved) })
	return after
}

// answered returns the addresses, or the outcome, of a question for an address, and
// the TTL of its first record.
func answered(t *testing.T, v *View, name string) (text string, ttl uint32) {
	t.Helper()
	wire, err := dnswire.AppendName(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	var a Answer
	if !v.Lookup(&a, wire, dns.TypeA) {
		t.Fatalf("%s is in no zone", name)
	}
	m, err := render(&a, wire, dns.TypeA, 512)
	if err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for _, rr := range slices.Concat(m.Answer, m.Ns) {
		ttl = rr.Header().Ttl
		if a, ok := rr.(*dns.A); ok {
			addrs = append(addrs, a.A.String())
		}
	}
	if len(addrs) == 0 {
		return dns.RcodeToString[m.Rcode], ttl
	}
	slices.Sort(addrs)
	return strings.Join(addrs, " "), ttl
}

// What is in the snapshot and in the cluster is answered at every moment, and what
// is gone from the cluster until its kind is replaced.
func TestRestore(t *testing.T) {
	w := reopened(worldOf(t, savedWorld), true)
	v := mustView(t, w, Options{Zones: []string{"cluster.local."}, TTL: 30})
	const web, old, db, young = "web.shop.svc.cluster.local.", "old.shop.svc.cluster.local.", "db.shop.svc.cluster.local.", "new.shop.svc.cluster.local."
	steps := []struct {
		what, list         string
		of                 Resource
		web, old, db, news string
		ttl                uint32
	}{
		{"restored", "", numResources, "10.96.0.1", "10.96.0.2", "10.1.0.1 10.1.0.2", "NXDOMAIN", 5},
		{"namespaces", "namespace shop @5", Namespaces, "10.96.0.1", "10.96.0.2", "10.1.0.1 10.1.0.2", "NXDOMAIN", 5},
		{"services", "service shop/web 10.96.0.1 http:80/TCP @6\nservice shop/db headless @8\nservice shop/new 10.96.0.3 http:80/TCP @20", Services,
			"10.96.0.1", "NXDOMAIN", "10.1.0.1 10.1.0.2", "10.96.0.3", 5},
		{"slices", "slice shop/db-1 db pg:5432/TCP 10.1.0.2=pod-1 10.1.0.3 @21", EndpointSlices, "10.96.0.1", "NXDOMAIN", "10.1.0.2 10.1.0.3", "10.96.0.3", 30},
	}
	serial := w.Index().Serial()
	for _, s := range steps {
		if s.of < numResources {
			replaceAll(t, w, s.list, s.of)
		}
		for name, want := range map[string]string{web: s.web, old: s.old, db: s.db, young: s.news} {
			if got, ttl := answered(t, v, name); got != want || ttl != s.ttl {
				t.Errorf("%s: %s is %s with TTL %d, want %s with %d", s.what, name, got, ttl, want, s.ttl)
			}
		}
		if now := w.Index().Serial(); int32(now-serial) < 0 {
			t.Errorf("%s: serial %d after %d", s.what, now, serial)
		} else {
			serial = now
		}
	}
	if serial != 21 {
		t.Errorf("serial %d at the end, want 21", serial)
	}
}

// No pod is saved: what asks for one waits.
func TestRestoreHasNoPods(t *testing.T) {
	w := reopened(worldOf(t, savedWorld), true)
	ix := w.Index()
	if ix.Synced(Pods) || ix.Objects(Pods) != 0 || !ix.Synced(Namespaces, Services, EndpointSlices) || !ix.Warm() {
		t.Errorf("pods synced %v, %d of them, warm %v", ix.Synced(Pods), ix.Objects(Pods), ix.Warm())
	}
	w.Update(func(b *Batch) {
		b.Restore(&Saved{Objects: map[Resource][]Object{Pods: {parseObject(t, "pod shop/p 10.1.0.1")}}})
	})
	if ix.Objects(Pods) != 0 {
		t.Error("a pod was restored")
	}
}

// What has synced is not restored.
func TestRestoreTooLate(t *testing.T) {
	w := worldOf(t, "namespace new @50")
	w.Update(func(b *Batch) { b.Restore(worldOf(t, savedWorld).Save()) })
	if ix := w.Index(); ix.Objects(Services) != 0 || ix.Restored(Services) || ix.Serial() != 50 {
		t.Errorf("%d services, restored %v, serial %d", ix.Objects(Services), ix.Restored(Services), ix.Serial())
	}
}

func TestSerialsOverARestart(t *testing.T) {
	for _, tc := range []struct {
		what  string
		last  bool
		steps []serialStep
	}{
		{"nothing changed", true, []serialStep{{"", 9}, {"=namespace shop @30", 9}, {"=slice shop/db-1 db pg:5432/TCP 10.1.0.1 10.1.0.2=pod-1 @9", 9}}},
		{"nothing changed, but perhaps before the end", false, []serialStep{{"", 9}, {"=namespace shop @30", 30}, {"=slice shop/db-1 db pg:5432/TCP 10.1.0.1 10.1.0.2=pod-1 @31", 31}, {"=namespace shop @40", 31}}},
		{"a deletion", true, []serialStep{{"", 9}, {"=slice shop/db-1 db pg:5432/TCP 10.1.0.1 @31", 31}}},
		{"an older store", true, []serialStep{{"", 9}, {"=namespace shop @2", 9}, {"=slice shop/db-1 db pg:5432/TCP 10.1.0.1 @3", 10}}},
		{"an older store, and perhaps a change before the end", false, []serialStep{{"", 9}, {"=namespace shop @2", 9}}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			w := reopened(worldOf(t, savedWorld), tc.last)
			for i, s := range tc.steps {
				w.Update(func(b *Batch) { applyLines(t, b, s.batch) })
				if got := w.Index().Serial(); got != s.want {
					t.Errorf("step %d, %q: serial %d, want %d", i, s.batch, got, s.want)
				}
			}
		})
	}
	// Of objects that are too old the serial remains.
	w := NewWriter()
	w.Update(func(b *Batch) { b.Restore(&Saved{Serial: 70}) })
	replaceAll(t, w, "namespace shop @5", Namespaces)
	replaceAll(t, w, "service shop/web 10.96.0.1 @6", Services)
	if got := w.Index().Serial(); got < 71 || w.Index().Restored(Services) {
		t.Errorf("serial %d behind 70", got)
	}
}

func TestSilent(t *testing.T) {
	w := worldOf(t, savedWorld)
	services := mustView(t, w, Options{Zones: []string{"cluster.local."}, TTL: 30, NoEndpoints: true})
	all := mustView(t, w, Options{Zones: []string{"cluster.local."}, TTL: 30})
	for _, silent := range []bool{true, false} {
		w.Update(func(b *Batch) { b.SetSilent(EndpointSlices, silent) })
		if services.Stale() || all.Stale() != silent {
			t.Errorf("silent slices: %v and without endpoints %v", all.Stale(), services.Stale())
		}
		want := map[bool]uint32{true: 5, false: 30}[silent]
		if _, ttl := answered(t, all, "web.shop.svc.cluster.local."); ttl != want {
			t.Errorf("TTL %d, want %d", ttl, want)
		}
	}
	// TTLs that are lower already stay, and so does that of dns-version.
	w.Update(func(b *Batch) { b.SetSilent(Services, true); b.SetSilent(Pods, true) })
	low := mustView(t, w, Options{Zones: []string{"cluster.local."}, TTL: 2})
	if _, ttl := answered(t, low, "web.shop.svc.cluster.local."); ttl != 2 {
		t.Errorf("TTL %d, want 2", ttl)
	}
	w.Update(func(b *Batch) { b.Drop(Pods) })
	if err := check(w); err != nil {
		t.Error(err)
	}
}

// A reply to a query with EDNS says that it is stale, and costs no more than one
// that is not: the room for that is set aside.
func TestStaleOption(t *testing.T) {
	w := worldOf(t, savedWorld)
	v := mustView(t, w, Options{Zones: []string{"cluster.local."}, TTL: 30})
	name, _ := dnswire.AppendName(nil, "db.shop.svc.cluster.local.")
	for _, tc := range []struct {
		opt, stale bool
		limit      int
		want       string
	}{
		{true, false, 512, "2 records, no error"}, {true, true, 512, "2 records, error 3"}, {false, true, 512, "2 records, no OPT"},
		{true, true, len(name) + 16 + 2*16 + 11 + 6, "2 records, error 3"}, {true, true, len(name) + 16 + 2*16 + 11 + 5, "1 records, error 3, TC"},
	} {
		w.Update(func(b *Batch) { b.SetSilent(Services, tc.stale) })
		var a Answer
		v.Lookup(&a, name, dns.TypeA)
		var r Renderer
		q := &dnswire.Query{Name: name, Type: dns.TypeA, Class: dnswire.ClassIN, HasOPT: tc.opt, UDPSize: 1232}
		msg, err := r.Append(nil, q, &a, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(msg); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%d records, no OPT", len(m.Answer))
		if opt := m.IsEdns0(); opt != nil {
			got = fmt.Sprintf("%d records, no error", len(m.Answer))
			for _, o := range opt.Option {
				got = fmt.Sprintf("%d records, error %d", len(m.Answer), o.(*dns.EDNS0_EDE).InfoCode)
			}
		}
		if m.Truncated {
			got += ", TC"
		}
		if got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
		if n := testing.AllocsPerRun(100, func() { v.Lookup(&a, name, dns.TypeA); msg, _ = r.Append(msg[:0], q, &a, tc.limit) }); n > 0 && !raceEnabled {
			t.Errorf("%+v: %v allocations", tc, n)
		}
	}
}
