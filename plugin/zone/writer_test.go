package zone

import (
	"fmt"
	"strings"
	"testing"
)

// serialStep is a batch of lines of objects and the serial after it. "-" deletes the
// object of its line, with the version behind its "@"; "=" in front makes the
// objects all that there is of their resource.
type serialStep struct {
	batch string
	want  uint32
}

func TestSerials(t *testing.T) {
	for _, tc := range []struct {
		what  string
		steps []serialStep
	}{
		{"the highest version of a batch", []serialStep{{"namespace a @5\nservice a/x 10.96.0.1 @9\nservice a/y headless @7", 9}, {"slice a/s x - 10.0.0.1 @20", 20}}},
		{"every kind of visible change", []serialStep{
			{"namespace a @10", 10}, {"service a/x 10.96.0.1 p:1/TCP @11", 11}, {"service a/x 10.96.0.2 p:1/TCP @12", 12}, {"service a/x 10.96.0.2 q:1/TCP @13", 13},
			{"service a/x headless q:1/TCP @14", 14}, {"service a/x external=b @15", 15}, {"service a/x external=c @16", 16}, {"service a/x headless @17", 17},
			{"slice a/s x - 10.0.0.1 @18", 18}, {"slice a/s x - 10.0.0.1=h @19", 19}, {"slice a/s x p:1/TCP 10.0.0.1=h @20", 20}, {"slice a/s x p:1/TCP 10.0.0.2=h @21", 21},
			{"-slice a/s x - @22", 22}, {"-service a/x none @23", 23}, {"-namespace a @24", 24},
		}},
		{"what changes no record", []serialStep{
			{"service a/x 10.96.0.1 @5", 5}, {"service a/x 10.96.0.1 @6", 5}, {"namespace a @7", 7}, {"namespace a @8", 7}, {"slice a/s x - 10.0.0.1 !10.0.0.2 @9", 9},
			{"slice a/s x - 10.0.0.1 !10.0.0.3 @10", 9}, {"pod a/p 10.0.0.1 @11", 9}, {"-pod a/p 10.0.0.1 @12", 9}, {"-service a/nope none @13", 9}, {"", 9},
			{"=service a/x 10.96.0.1 @14", 9}, {"=pod a/p 10.0.0.1 @15", 9}, {"=pod a/q 10.0.0.1 @16", 9}, {"=slice a/s x - 10.0.0.1 !10.0.0.9 @17", 9},
			{"slice a/s x - 10.0.0.1 !10.0.0.3 @18\nnamespace b @12", 12}, // its version changed no record
		}},
		{"the version of a deletion", []serialStep{
			{"namespace a @5\nservice a/x headless @6\nslice a/s x - 10.0.0.1 @7", 7}, {"-slice a/s x - @20", 20}, {"-service a/x none @40", 40}, {"-namespace a @60", 60},
			{"service a/x headless @61", 61}, {"=service a/y headless @80", 80},
		}},
		{"a deletion that changes no record, and a change with it", []serialStep{
			{"namespace a @5\nslice a/1 -^y@c1 - 10.0.0.1 @6", 5}, {"-slice a/1 -^y@c1 - @20\nnamespace b @12", 12}, // nothing imports y
			{"service a/x headless @14", 14}, {"-service a/x none @20\n-service a/nope none @30", 20},
		}},
		{"a slice that leaves its service", []serialStep{{"namespace a @5\nservice a/x headless @6\nslice a/s x - 10.0.0.1 @7", 7}, {"slice a/s -^y@c1 - 10.0.0.1 @20", 20}}},
		{"out of order", []serialStep{{"slice a/s x - 10.0.0.1 @50", 50}, {"service a/x headless @45", 51}, {"namespace a @46", 52}, {"slice a/s x - 10.0.0.2 @53", 53}}},
		{"a restored store", []serialStep{{"namespace a @1000", 1000}, {"=namespace b @10", 1001}, {"service b/x headless @11", 1002}, {"-service b/x headless @12", 1003}, {"service b/x headless @1005", 1005}}},
		{"objects without a version", []serialStep{{"namespace a @0", 1}, {"service a/x headless @0", 2}, {"service a/x headless @0", 2}, {"-service a/x none @0", 3}}},
		{"replaced", []serialStep{{"service a/x 10.96.0.1 @5\nservice a/y 10.96.0.2 @6", 6}, {"=service a/x 10.96.0.1 @5", 7}, {"=service a/x 10.96.0.1 @5\nservice a/z headless @30", 30}}},
		{"32 bits", []serialStep{{"namespace a @4294967295", 4294967295}, {"namespace b @4294967296", 0}, {"namespace c @4294967297", 1}, {"namespace d @8589934600", 8}}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			w := NewWriter()
			for i, s := range tc.steps {
				before, ix := w.ix.current.Load(), w.Index()
				w.Update(func(b *Batch) { applyLines(t, b, s.batch) })
				if got := ix.Serial(); got != s.want {
					t.Errorf("step %d, %q: serial %d, want %d", i, s.batch, got, s.want)
				}
				if ix.Serial() != before.serial && w.ix.current.Load() == before {
					t.Errorf("step %d: a published snapshot changed", i)
				}
				if err := check(w); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func applyLines(t testing.TB, b *Batch, batch string) {
	var lists [numResources][]Object
	lines, replace := strings.CutPrefix(batch, "=")
	for _, line := range splitLines(lines) {
		switch o := parseObject(t, strings.TrimPrefix(line, "-")); {
		case line[0] == '-':
			b.Delete(o.Resource(), o.ObjectKey(), o.version())
		case replace:
			lists[o.Resource()] = append(lists[o.Resource()], o)
		default:
			b.Set(o)
		}
	}
	for r, list := range lists {
		if list != nil {
			b.Replace(Resource(r), list, list[0].version())
		}
	}
}

// What does not change anything does not publish anything.
func TestNothingToPublish(t *testing.T) {
	w := worldOf(t, shop)
	published, serial := w.ix.current.Load(), w.Index().Serial()
	same := func(what string) {
		t.Helper()
		if w.ix.current.Load() != published || w.Index().Serial() != serial {
			t.Errorf("%s: published", what)
		}
	}
	w.Update(func(*Batch) {})
	same("an empty batch")
	set(t, w, shop)
	same("the same objects")
	replaceAll(t, w, shop, Namespaces, Services, EndpointSlices, Pods)
	same("the same lists")
	drop(w, Services, "shop", "absent", 99)
	drop(w, Pods, "shop", "absent", 99)
	same("deletes of what is not there")
	set(t, w, "pod shop/p 10.9.9.9")
	if w.ix.current.Load() == published || w.Index().Serial() != serial {
		t.Error("a pod's change was not published, or moved the serial")
	}
}

// Replace leaves what stays alone, to the pointer, and never takes it away in
// between.
func TestReplaceDiffs(t *testing.T) {
	w := worldOf(t, shop)
	find := func(ns, name string) *service {
		id, _ := newIdent(Key{ns, name})
		return serviceOf(&w.ix.current.Load().services, id.labels(), id.hash)
	}
	web, db := find("shop", "web"), find("shop", "db")
	slice := db.slices[0]
	kept := []string{
		"service shop/web 10.96.0.10 http:80/TCP,https:443/TCP,dns:80/UDP @70", "service shop/db headless pg:5432/TCP @71", "service shop/extra 10.96.0.77 @72",
	}
	replaceAll(t, w, kept[0]+"\n"+kept[1]+"\n"+kept[2], Services)
	if find("shop", "web") != web || find("shop", "db") != db || db.slices[0] != slice {
		t.Error("what stayed was compiled anew")
	}
	if find("shop", "extra") == nil {
		t.Error("what came is not there")
	}
	if s := find("shop", "dual"); s != nil {
		t.Errorf("what went is still there: %+v", s)
	}
	if s := find("shop", "plain"); s == nil || s.obj != nil {
		t.Errorf("the slices of a service that went: %+v", s)
	}
	if n := w.Index().Objects(Services); n != 3 {
		t.Errorf("%d services", n)
	}
	v := mustView(t, w, Options{Zones: []string{"cluster.local.", "in-addr.arpa."}})
	ask(t, v, []qa{{"11.0.96.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"77.0.96.10.in-addr.arpa. PTR", "77.0.96.10.in-addr.arpa. PTR extra.shop.svc"}})
}

// A batch is seen whole or not at all.
func TestBatchIsAtomic(t *testing.T) {
	w := worldOf(t, "namespace a")
	v := mustView(t, w, Options{Zones: []string{"cluster.local.", "in-addr.arpa."}})
	w.Update(func(b *Batch) {
		b.Set(parseObject(t, "service a/x 10.96.0.1"))
		ask(t, v, []qa{{"x.a.svc.cluster.local. A", "NXDOMAIN"}})
		b.Set(parseObject(t, "service a/y 10.96.0.2"))
		b.Delete(Services, Key{"a", "x"}, 2)
	})
	ask(t, v, []qa{{"x.a.svc.cluster.local. A", "NXDOMAIN"}, {"y.a.svc.cluster.local. A", "y.a.svc A 10.96.0.2"}, {"1.0.96.10.in-addr.arpa. PTR", "NXDOMAIN"}})
	if err := check(w); err != nil {
		t.Fatal(err)
	}
	// Two keep one ClusterIP for a moment: when the first goes, the second has it.
	set(t, w, "service a/z 10.96.0.2")
	drop(w, Services, "a", "y", 5)
	ask(t, v, []qa{{"2.0.96.10.in-addr.arpa. PTR", "2.0.96.10.in-addr.arpa. PTR z.a.svc"}})
}

// Objects whose names are no labels are not served; no API server has any, but
// a file might. Whatever is held goes again.
func TestUnservableNames(t *testing.T) {
	long := fmt.Sprintf("%064d", 0)
	w := worldOf(t, "namespace a")
	for range 2 {
		set(t, w, "service a/"+long+" 10.96.0.1\nservice a/ 10.96.0.1\nslice a/s "+long+" - 10.0.0.1")
		set(t, w, "namespace "+long)
	}
	if n := w.Index().Objects(Services); n != 0 {
		t.Errorf("%d services counted", n)
	}
	ask(t, mustView(t, w, Options{Zones: []string{"cluster.local.", "in-addr.arpa."}}), []qa{{"1.0.96.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"a.svc.cluster.local. A", "NODATA"}})
	w.Update(func(b *Batch) {
		b.Delete(Services, Key{"a", long}, 3)
		b.Delete(EndpointSlices, Key{"a", "s"}, 3)
		b.Delete(Namespaces, Key{Name: long}, 3)
	})
	if err := check(w); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.Index().ServiceKind(Key{"a", long}); ok {
		t.Error("an unservable service has a kind")
	}
}

// What is imported moves the serial when it changes what is answered, and so do
// topology zones.
func TestSerialOfImportsAndZones(t *testing.T) {
	w := worldOf(t, "namespace a\nservice a/s headless\nimport a/x headless")
	v := mustView(t, w, Options{Zones: []string{"cluster.local.", "set.local."}, Multicluster: []string{"set.local."}, Zonal: true})
	for i, step := range []struct {
		change       string
		moves        bool
		name, answer string
	}{
		{"slice a/1 -^y@c1 - 10.0.0.1=h", false, "h.c1.y.a.svc.set.local.", ""}, // no such import
		{"slice a/1 -^x@c1 - 10.0.0.1=h", true, "h.c1.x.a.svc.set.local.", "10.0.0.1"},
		{"slice a/1 -^x@c2 - 10.0.0.1=h", true, "h.c2.x.a.svc.set.local.", "10.0.0.1"},
		{"slice a/1 -^x@c2 - 10.0.0.1=h !10.0.0.9=h", false, "h.c2.x.a.svc.set.local.", "10.0.0.1"},
		{"slice a/1 s^x@c2 - 10.0.0.1=h", true, "h.s.a.svc.cluster.local.", "10.0.0.1"},
		{"slice a/1 s^x@c3 - 10.0.0.1=h", true, "h.c3.x.a.svc.set.local.", "10.0.0.1"},
		{"import a/x 10.97.0.1 http:80/TCP", true, "x.a.svc.set.local.", "10.97.0.1"},
		{"import a/x 10.97.0.1 http:80/TCP", false, "x.a.svc.set.local.", "10.97.0.1"},
		{"import a/x 10.97.0.2 http:80/TCP", true, "x.a.svc.set.local.", "10.97.0.2"},
		{"slice a/1 s - 10.0.0.1/z1 10.0.0.2/z1 10.0.0.3/z2", true, "z2.pin._zone.s.a.svc.cluster.local.", "10.0.0.3"},
		{"slice a/1 s - 10.0.0.1/z1 10.0.0.2/z2 10.0.0.3/z1", true, "z2.pin._zone.s.a.svc.cluster.local.", "10.0.0.2"},
		{"slice a/1 s - 10.0.0.1/z1 10.0.0.2/z3 10.0.0.3/z1", true, "z3.pin._zone.s.a.svc.cluster.local.", "10.0.0.2"},
		{"slice a/1 s - 10.0.0.1/z1 10.0.0.2/z3 10.0.0.3/z1", false, "z3.pin._zone.s.a.svc.cluster.local.", "10.0.0.2"},
	} {
		before := w.Index().Serial()
		set(t, w, step.change+fmt.Sprintf(" @%d", 10+i))
		if moved := w.Index().Serial() != before; moved != step.moves {
			t.Errorf("%s: the serial moved: %v", step.change, moved)
		}
		want := "NXDOMAIN"
		if step.answer != "" {
			want = step.name + " A " + step.answer
		}
		ask(t, v, []qa{{step.name + " A", want}})
	}
	before := w.Index().Serial()
	drop(w, ServiceImports, "a", "x", 99)
	if w.Index().Serial() == before {
		t.Error("a deleted import does not move the serial")
	}
	ask(t, v, []qa{{"x.a.svc.set.local. A", "NXDOMAIN"}})
	if err := check(w); err != nil {
		t.Error(err)
	}
}

// What nobody follows any more is unknown, and not absent.
func TestDrop(t *testing.T) {
	slice := parseObject(t, "slice a/s db - 10.0.0.1 @7")
	w := worldOf(t, "namespace a\nservice a/db headless\npod a/p 10.0.0.1")
	w.Update(func(b *Batch) { b.Set(slice) })
	v := mustView(t, w, Options{Pods: PodsVerified})
	const db, pod = "db.a.svc.cluster.local. A", "10-0-0-1.a.pod.cluster.local. A"
	there := []qa{{db, "db.a.svc A 10.0.0.1"}, {pod, "10-0-0-1.a.pod A 10.0.0.1"}}
	ask(t, v, there)
	before := make([]uint64, len(w.ix.generations))
	for i := range before {
		before[i] = w.ix.generations[i].Load()
	}
	w.Update(func(b *Batch) {
		b.Drop(EndpointSlices)
		b.Drop(Pods)
	})
	ask(t, v, []qa{{db, "SERVFAIL endpointslices"}, {pod, "SERVFAIL pods"}})
	for i := range before {
		if w.ix.generations[i].Load() == before[i] {
			t.Fatalf("what was cached in generation %d is still valid", i)
		}
	}
	if ix := w.Index(); ix.Objects(EndpointSlices)+ix.Objects(Pods) > 0 || !ix.Synced(Namespaces, Services) {
		t.Errorf("%d slices, %d pods, others synced: %v", ix.Objects(EndpointSlices), ix.Objects(Pods), ix.Synced(Namespaces, Services))
	}
	if err := check(w); err != nil {
		t.Error(err)
	}
	w.Update(func(b *Batch) {
		b.Replace(EndpointSlices, []Object{slice}, 8)
		b.Replace(Pods, []Object{parseObject(t, "pod a/p 10.0.0.1")}, 8)
	})
	ask(t, v, there)
}
