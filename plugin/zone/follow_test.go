package zone

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/miekg/dns"
)

// mapFollower keeps maps of what a view answers in the zone cluster.local, and of
// PTRs, as somebody would who answers from them alone, and checks at every step
// that they say what the view does, or nothing.
type mapFollower struct {
	t     testing.TB
	v     *View
	names map[string]mappedName // by folded labels
	ptrs  map[netip.Addr]string
	// open is false while nothing is to be answered: the maps are not complete, or
	// namespaces change.
	open, serialKnown bool
	serial            uint32
	void              bool   // all changed
	wrong             string // what the maps said first that the view did not
}

// mappedName says which addresses a name has; nil: that is not known.
type mappedName struct{ a, aaaa *[]byte }

// followedBy returns a follower of every third view that has cluster.local, as a
// plain zone of its own, and nil for others.
func followedBy(t testing.TB, v *View, i int) *mapFollower {
	if i%3 != 0 || v.opt.External != nil || !slices.Contains(v.opt.Zones, "cluster.local.") {
		return nil
	}
	f := &mapFollower{t: t, v: v, void: true, names: map[string]mappedName{}, ptrs: map[netip.Addr]string{}}
	v.Follow(f)
	return f
}

// fill makes the maps anew if all changed.
func (f *mapFollower) fill() {
	if f == nil {
		return
	}
	if f.wrong != "" {
		f.t.Fatal(f.wrong)
	}
	if !f.void {
		f.check("later")
		return
	}
	f.void = false
	clear(f.names)
	clear(f.ptrs)
	f.v.Walk(func(c *Change) bool {
		f.look(c)
		f.check("while it is filled")
		return true
	})
	f.open, f.serialKnown, f.serial = f.ready(), true, f.v.Index().Serial()
	f.check("when it is filled")
}

func (f *mapFollower) ready() bool { return f.v.Index().Synced(f.v.Needs()...) && !f.v.Stale() }

func (f *mapFollower) Before(c *Change) {
	f.check("when it is told")
	f.serialKnown = false
	if c.All || c.Stale || len(c.Namespaces) > 0 { // a service's name needs its namespace
		f.open = false
	}
	for _, labels := range c.Services {
		f.names[string(labels)] = mappedName{}
	}
	for _, addr := range c.Addrs {
		delete(f.ptrs, addr)
	}
	f.check("before it is published")
}

func (f *mapFollower) After(c *Change) {
	f.check("after it was published")
	if f.void = f.void || c.All; f.void {
		return
	}
	f.look(c)
	f.open, f.serialKnown, f.serial = f.ready(), true, f.v.Index().Serial()
	f.check("at the end")
}

// look has the maps say what the view says of everything in c.
func (f *mapFollower) look(c *Change) {
	for _, labels := range slices.Concat(c.Namespaces, c.Services) {
		if !f.v.Exists(labels) {
			delete(f.names, string(labels))
			continue
		}
		var name mappedName
		if len(labels) > 1+int(labels[0]) {
			name = mappedName{f.addrs(labels, dns.TypeA), f.addrs(labels, dns.TypeAAAA)}
		}
		f.names[string(labels)] = name
	}
	for _, addr := range c.Addrs {
		if labels := f.ptr(addr); labels != "" && !f.v.opt.SelectedNamespaces { // those of which change without their services
			f.ptrs[addr] = labels
		} else {
			delete(f.ptrs, addr)
		}
	}
}

func (f *mapFollower) addrs(labels []byte, qtype uint16) *[]byte {
	var a Answer
	f.v.Lookup(&a, slices.Concat(labels, []byte("\x03svc\x07cluster\x05local\x00")), qtype)
	switch packed := a.Addrs(); {
	case a.Outcome == NoData && !a.Stale():
		return new([]byte)
	case packed != nil:
		packed = bytes.Clone(packed)
		return &packed
	}
	return nil
}

// ptr returns the labels of the one service whose ClusterIP addr is, or "".
func (f *mapFollower) ptr(addr netip.Addr) (labels string) {
	text, err := dns.ReverseAddr(addr.String())
	if err != nil {
		f.t.Fatal(err)
	}
	var a Answer
	if !f.v.Lookup(&a, wireName(f.t, text), dns.TypePTR) || a.Outcome != Success {
		return ""
	}
	n := 0
	a.Walk(func(r *Record) bool {
		n++
		if len(r.Target.Label) == 0 {
			labels = string(r.Target.Labels)
		}
		return true
	})
	if n != 1 {
		return ""
	}
	return labels
}

// says returns what the maps answer to a question for labels below cluster.local,
// "" for nothing.
func (f *mapFollower) says(labels string, qtype uint16) string {
	l := dns.SplitDomainName(labels)
	n := len(l)
	of := func(l []string) (mappedName, bool) {
		var b []byte
		for _, label := range l {
			b = appendLabel(b, label)
		}
		name, ok := f.names[string(b)]
		return name, ok
	}
	negative := func(text string) string {
		if !f.serialKnown {
			return ""
		}
		return fmt.Sprint(text, " ", f.serial)
	}
	if !f.open || n == 0 || qtype == dns.TypeSOA {
		return ""
	}
	switch l[n-1] {
	case "pod", "dns", "dns-version":
		return ""
	case "svc":
	default:
		return negative("NXDOMAIN")
	}
	if n == 1 {
		return ""
	}
	_, space := of(l[n-2 : n-1])
	if n == 2 {
		if !space {
			return negative("NXDOMAIN")
		}
		return ""
	}
	name, ok := of(l[n-3 : n-1])
	packed := name.a
	if qtype == dns.TypeAAAA {
		packed = name.aaaa
	}
	switch {
	case !ok:
		return negative("NXDOMAIN")
	case n > 3 || !space || qtype != dns.TypeA && qtype != dns.TypeAAAA || packed == nil:
		return ""
	case len(*packed) == 0:
		return negative("NODATA")
	}
	return fmt.Sprintf("%x", *packed)
}

// viewSays is says for what the view answers.
func (f *mapFollower) viewSays(labels string, qtype uint16) string {
	var a Answer
	f.v.Lookup(&a, wireName(f.t, labels+".cluster.local."), qtype)
	serial := a.snap.serial
	if a.Stale() {
		return "stale"
	}
	switch a.Outcome {
	case NameError:
		return fmt.Sprint("NXDOMAIN ", serial)
	case NoData:
		return fmt.Sprint("NODATA ", serial)
	case Success:
		return fmt.Sprintf("%x", a.Addrs())
	}
	return fmt.Sprint("outcome ", a.Outcome)
}

// check compares all that the maps would answer now with the view.
func (f *mapFollower) check(when string) {
	compare := func(labels string, qtype uint16) {
		got := f.says(labels, qtype)
		if got == "" {
			return
		}
		if want := f.viewSays(labels, qtype); got != want && f.wrong == "" {
			f.wrong = fmt.Sprintf("%s: %s %s: the maps say %q, the view %q", when, labels, dns.TypeToString[qtype], got, want)
		}
	}
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeSOA} {
		for _, labels := range []string{"svc", "nope", "pod", "svc.nope", "a.nope", "dns", "x.dns-version"} {
			compare(labels, qtype)
		}
		for _, ns := range append([]string{"nope"}, poolNamespaces...) {
			compare(ns+".svc", qtype)
			for _, svc := range append([]string{"nope"}, poolServices...) {
				compare(svc+"."+ns+".svc", qtype)
				compare("h0."+svc+"."+ns+".svc", qtype)
			}
		}
	}
	for _, addr := range append(poolIPs, poolAddrs...) {
		if f.open && f.ptrs[addr] != "" && f.ptrs[addr] != f.ptr(addr) {
			f.wrong = fmt.Sprintf("%s: PTR of %v: the map says %q, the view %q", when, addr, f.ptrs[addr], f.ptr(addr))
		}
	}
}

// script is a Follower that writes down what it is told.
type script struct {
	v     *View
	lines []string
}

func (s *script) Before(c *Change) { s.note("before", c) }
func (s *script) After(c *Change)  { s.note("after", c) }

func (s *script) note(when string, c *Change) {
	line := []string{when, fmt.Sprint(s.v.Index().Serial())}
	if c.All {
		line = append(line, "all")
	}
	if c.Stale {
		line = append(line, "stale")
	}
	for _, labels := range slices.Concat(c.Namespaces, c.Services) {
		line = append(line, dnswire.NameString(append(slices.Clip(labels), 0)))
	}
	for _, addr := range c.Addrs {
		line = append(line, addr.String())
	}
	s.lines = append(s.lines, strings.Join(line, " "))
}

func TestFollow(t *testing.T) {
	w := worldOf(t, "namespace shop\nservice shop/web 10.96.0.1")
	v := mustView(t, w, Options{})
	s := &script{v: v}
	stop := v.Follow(s)
	want := func(what string, lines ...string) {
		t.Helper()
		if !slices.Equal(s.lines, lines) {
			t.Errorf("%s: told %q, want %q", what, s.lines, lines)
		}
		s.lines = nil
	}
	set(t, w, "service shop/db 10.96.0.2 @5")
	want("a service", "before 1 db.shop. 10.96.0.2", "after 5 db.shop. 10.96.0.2")
	set(t, w, "service shop/db 10.96.0.2 @6")
	want("nothing")
	set(t, w, "slice shop/db-1 db - 10.0.0.1 @7")
	want("an endpoint", "before 5 db.shop.", "after 7 db.shop.")
	set(t, w, "pod shop/p 10.0.0.1 @8")
	want("a pod")
	set(t, w, "service shop/db 10.96.0.3 @9")
	want("another address", "before 7 db.shop. 10.96.0.2 10.96.0.3", "after 9 db.shop. 10.96.0.2 10.96.0.3")
	drop(w, Namespaces, "", "shop", 10)
	want("a namespace", "before 9 shop.", "after 10 shop.")
	w.Update(func(b *Batch) { b.SetSilent(Services, true) })
	want("silence", "before 10 stale", "after 10 stale")
	w.Update(func(b *Batch) { b.Drop(Pods) })
	want("what is not synced any more", "before 10 all", "after 10 all")
	var many strings.Builder
	for i := range maxChange + 1 {
		fmt.Fprintf(&many, "service shop/s%d none @%d\n", i, 20+i)
	}
	set(t, w, many.String())
	want("many", "before 10 all", fmt.Sprint("after ", 20+maxChange, " all"))

	other := worldOf(t, "namespace shop @30")
	v.Show(other.Index())
	want("another index", fmt.Sprint("before ", 20+maxChange, " all"), "after 30 all")
	set(t, w, "namespace x @999")
	want("the index before")
	set(t, other, "namespace x @31")
	want("the other index", "before 30 x.", "after 31 x.")
	stop()
	set(t, other, "namespace y @32")
	want("after stop")
}

// TestWalk: everything comes, the Writer publishes between two calls, and the end
// comes when it is wanted.
func TestWalk(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "namespace ns%d\nservice ns%d/web 10.96.%d.%d\n", i, i, i>>8, i&255)
	}
	w := worldOf(t, b.String())
	v := mustView(t, w, Options{})
	calls, namespaces, services, addrs := 0, map[string]bool{}, map[string]bool{}, map[netip.Addr]bool{}
	v.Walk(func(c *Change) bool {
		calls++
		for _, labels := range c.Namespaces {
			namespaces[string(labels)] = true
		}
		for _, labels := range c.Services {
			services[string(labels)] = true
		}
		for _, addr := range c.Addrs {
			addrs[addr] = true
		}
		if w.Index().writing.TryLock() {
			t.Error("a snapshot can be published during a call")
		}
		return true
	})
	if len(namespaces) != 1000 || len(services) != 1000 || len(addrs) != 1000 || calls < 8 {
		t.Errorf("%d namespaces, %d services, %d addresses in %d calls", len(namespaces), len(services), len(addrs), calls)
	}
	calls = 0
	v.Walk(func(*Change) bool { calls++; return false })
	if calls != 1 {
		t.Errorf("%d calls, of which the first was to be the last", calls)
	}
	set(t, w, "namespace x @5") // nothing is locked
}
