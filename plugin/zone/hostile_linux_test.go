package zone

import (
	"fmt"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// What a stranger may make large: whoever may write Services, EndpointSlices or
// Pods, or send questions. A question about n times as much may cost n times as
// much, and so may an event; nothing may cost the square.

// mostRatio is what ten times as much of something may cost: ten times, and some
// for the caches of processors and for logarithms.
const mostRatio = 15

// hostile is a world of which n is chosen by a stranger, and what is asked there.
type hostile struct {
	what      string
	world     func(n int) []Object
	opt       Options
	local     string
	questions []string // "<name> <type>"
}

func ip(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }

// slicesOf returns n endpoints of the service a/db, so many in each slice.
func slicesOf(n, each int, endpoint func(i int) Endpoint) (all []Object) {
	for from := 0; from < n; from += each {
		list := make([]Endpoint, min(each, n-from))
		for i := range list {
			list[i] = endpoint(from + i)
		}
		all = append(all, &EndpointSlice{Key: Key{"a", fmt.Sprintf("s%d", from)}, Service: "db", Imported: &Imported{"db", fmt.Sprintf("c%d", from%2)},
			Ports: httpPort, Ready: NewEndpoints(list)})
	}
	return all
}

func manyPorts(n int) (ports []Port) {
	for i := range n {
		ports = append(ports, Port{fmt.Sprintf("p%d", i), "TCP", int32(i)})
	}
	return ports
}

func withPorts(ports []Port, all []Object) []Object {
	for _, o := range all {
		o.(*EndpointSlice).Ports = ports
	}
	return all
}

func endpointsWithPorts(n int) []Object {
	return withPorts(slices.Repeat(httpPort, n), slicesOf(n, n, plainEndpoint))
}

var (
	headless    = &Service{Key: Key{"a", "db"}, Kind: Headless}
	dbQuestions = []string{"db.a.svc.c. A", "db.a.svc.c. SRV", "db.a.svc.c. AAAA", "_http._tcp.db.a.svc.c. SRV", "_http._tcp.db.a.svc.c. A", "_nope._tcp.db.a.svc.c. A",
		"h.db.a.svc.c. A", "h.db.a.svc.c. SRV", "h7.db.a.svc.c. A", "10-0-0-7.db.a.svc.c. A", "10-0-0-7.db.a.svc.c. SRV", "7.0.0.10.in-addr.arpa. PTR",
		"z.pin._zone.db.a.svc.c. A", "z.prefer._zone.db.a.svc.c. SRV", "z7.pin._zone.db.a.svc.c. A", "_tcp.db.a.svc.c. A", "0.0.10.in-addr.arpa. A",
		"db.a.svc.set. SRV", "h.c0.db.a.svc.set. SRV", "h.c1.db.a.svc.set. A", "db.a.svc.set. A"}
	hostiles = []hostile{
		{what: "endpoints", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, 100, func(i int) Endpoint { return Endpoint{Addr: ip(i)} })
		}},
		{what: "endpoints of one hostname", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, 100, func(i int) Endpoint { return Endpoint{Addr: ip(i), Name: "h"} })
		}},
		{what: "endpoints of one hostname, each in a slice", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, 1, func(i int) Endpoint { return Endpoint{Addr: ip(i), Name: "h"} })
		}},
		{what: "hostnames", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, 100, func(i int) Endpoint { return Endpoint{Addr: ip(i), Name: fmt.Sprintf("h%d", i)} })
		}},
		{what: "hostnames of one address", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, 100, func(i int) Endpoint { return Endpoint{Addr: ip(7), Name: fmt.Sprintf("h%d", i)} })
		}},
		{what: "hostnames that spell addresses", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, 100, func(i int) Endpoint { return Endpoint{Addr: ip(i), Name: string(appendDashed(nil, ip(i/2)))} })
		}},
		{what: "an address in two slices", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, 100, func(i int) Endpoint { return Endpoint{Addr: ip(i % (n - 1))} })
		}},
		{what: "times one address", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, 100, func(int) Endpoint { return Endpoint{Addr: ip(7)} })
		}},
		{what: "times one address and hostname in a slice", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, n, func(int) Endpoint { return Endpoint{Addr: ip(7), Name: "h"} })
		}},
		{what: "slices", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, 1, func(i int) Endpoint { return Endpoint{Addr: ip(i)} })
		}},
		{what: "slices without endpoints", questions: dbQuestions, world: func(n int) []Object {
			all := slicesOf(n, 1, func(i int) Endpoint { return Endpoint{Addr: ip(i)} })
			for _, o := range all[1:] {
				o.(*EndpointSlice).Ready = Endpoints{}
			}
			return all
		}},
		{what: "endpoints of one zone", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, 100, func(i int) Endpoint { return Endpoint{Addr: ip(i), Zone: "z"} })
		}},
		{what: "zones in a slice", questions: dbQuestions, world: func(n int) []Object {
			return slicesOf(n, n, func(i int) Endpoint { return Endpoint{Addr: ip(i), Zone: fmt.Sprintf("z%d", i)} })
		}},
		{what: "ports of an EndpointSlice", questions: dbQuestions, world: func(n int) []Object {
			return withPorts(manyPorts(n), slicesOf(2, 1, func(i int) Endpoint { return Endpoint{Addr: ip(i), Name: "h"} }))
		}},
		{what: "endpoints with as many ports", questions: []string{"_p7._tcp.db.a.svc.c. SRV", "_p7._tcp.db.a.svc.c. A", "_nope._tcp.db.a.svc.c. SRV", "10-0-0-7.db.a.svc.c. A"}, world: func(n int) []Object {
			return withPorts(manyPorts(n), slicesOf(n, n, plainEndpoint))
		}},
		{what: "endpoints with as many ports of one number", questions: dbQuestions, world: endpointsWithPorts},
		{what: "endpoints with as many ports without a number", questions: dbQuestions, world: func(n int) []Object {
			return withPorts(slices.Repeat([]Port{{"http", "TCP", -1}}, n), slicesOf(n, n, plainEndpoint))
		}},
		{what: "ports of a Service", questions: []string{"web.a.svc.c. A", "web.a.svc.c. SRV", "_p7._tcp.web.a.svc.c. SRV", "_nope._tcp.web.a.svc.c. A", "_._tcp.web.a.svc.c. SRV",
			"_tcp.web.a.svc.c. A", "web.a.svc.set. SRV"},
			world: func(n int) []Object {
				s := Service{Key: Key{"a", "web"}, ClusterIPs: []netip.Addr{ip(1)}, Ports: manyPorts(n)}
				return []Object{&s, &ServiceImport{s}}
			}},
		{what: "services of one address", questions: []string{"7.0.0.10.in-addr.arpa. PTR", "7.0.0.10.in-addr.arpa. A", "s7.a.svc.c. A", "0.0.10.in-addr.arpa. A"}, world: servicesOfOneAddress},
		{what: "services of one address, all but one hidden", questions: []string{"7.0.0.10.in-addr.arpa. PTR"}, opt: Options{Namespaces: []string{"b"}}, world: servicesOfOneAddress},
		{what: "services of one address, in namespaces that are not selected", questions: []string{"7.0.0.10.in-addr.arpa. PTR"}, opt: Options{SelectedNamespaces: true},
			world: func(n int) []Object {
				all := servicesOfOneAddress(n)
				for _, o := range all {
					switch o := o.(type) {
					case *Service:
						o.Namespace = "nope"
					case *EndpointSlice:
						o.Namespace = "nope"
					}
				}
				return all
			}},
		{what: "services with the server's address", questions: []string{"c. NS", "ns.dns.c. A"}, local: "10.0.0.7", world: servicesOfOneAddress},
		{what: "endpoints beside the server", questions: []string{"c. NS", "ns.dns.c. A"}, local: "10.0.0.7", world: func(n int) []Object {
			return slicesOf(n, n, func(i int) Endpoint { return Endpoint{Addr: ip(i)} })
		}},
		{what: "names of the server", questions: []string{"c. NS", "ns.dns.c. A"}, local: "10.0.0.7", world: func(n int) []Object {
			return slicesOf(n, n/10, func(i int) Endpoint { return Endpoint{Addr: ip(7), Name: fmt.Sprintf("h%d", i)} })
		}},
		{what: "ExternalNames in a row", questions: []string{"x0.a.svc.c. A", "x0.a.svc.c. CNAME", "x7.a.svc.c. HTTPS"}, world: func(n int) (all []Object) {
			for i := range n {
				all = append(all, &Service{Key: Key{"a", fmt.Sprintf("x%d", i)}, Kind: ExternalName, ExternalName: fmt.Sprintf("x%d.a.svc.c", i+1)})
			}
			return all
		}},
		{what: "namespaces", questions: []string{"n7.svc.c. A", "x.n7.svc.c. A", "nope.svc.c. A"}, world: func(n int) (all []Object) {
			for i := range n {
				all = append(all, &Namespace{Name: fmt.Sprintf("n%d", i)})
			}
			return all
		}},
		{what: "pods of one address", questions: []string{"10-0-0-7.a.pod.c. A", "10-0-0-7.a.pod.c. SRV", "10-0-0-7.b.pod.c. A"}, opt: Options{Pods: PodsVerified}, world: func(n int) (all []Object) {
			for i := range n {
				all = append(all, &Pod{Key: Key{"a", fmt.Sprint(i)}, Addrs: []netip.Addr{ip(7)}})
			}
			return all
		}},
		{what: "external addresses", questions: externalQuestions, opt: externalOptions, world: func(n int) []Object {
			return []Object{&Service{Key: Key{"a", "web"}, Ports: httpPort, External: NewExternal(ips(n), nil)}}
		}},
		{what: "external host names", questions: externalQuestions, opt: externalOptions, world: func(n int) []Object {
			return []Object{&Service{Key: Key{"a", "web"}, Ports: httpPort, External: NewExternal(nil, hosts(n))}}
		}},
		{what: "ports of a service with an external address", questions: externalQuestions, opt: externalOptions, world: func(n int) []Object {
			return []Object{&Service{Key: Key{"a", "web"}, Ports: manyPorts(n), External: NewExternal(ips(2), []string{"lb.example.com"})}}
		}},
		{what: "services of one external address", questions: []string{"7.0.0.10.in-addr.arpa. PTR"}, opt: externalOptions, world: func(n int) (all []Object) {
			for i := range n {
				all = append(all, &Service{Key: Key{"a", fmt.Sprint("s", i)}, Ports: httpPort, External: NewExternal([]netip.Addr{ip(7)}, nil)})
			}
			return all
		}},
		{what: "endpoints, from outside", questions: []string{"db.a.e. A", "db.a.e. SRV", "h.db.a.e. A", "h.db.a.e. SRV", "_http._tcp.db.a.e. SRV"},
			opt: Options{Zones: []string{"e."}, External: &ExternalOptions{Apex: "dns", Headless: true}}, world: func(n int) []Object {
				return slicesOf(n, 100, func(i int) Endpoint { return Endpoint{Addr: ip(i), Name: "h"} })
			}},
	}
	externalOptions   = Options{Zones: []string{"e.", "in-addr.arpa."}, External: &ExternalOptions{Apex: "dns"}}
	externalQuestions = []string{"web.a.e. A", "web.a.e. SRV", "web.a.e. CNAME", "x.web.a.e. A", "_p7._tcp.web.a.e. SRV", "7.0.0.10.in-addr.arpa. PTR"}
)

func ips(n int) (addrs []netip.Addr) {
	for i := range n {
		addrs = append(addrs, ip(i))
	}
	return addrs
}

func hosts(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("lb%d.example.com", i))
	}
	return names
}

func servicesOfOneAddress(n int) (all []Object) {
	for i := range n {
		k := Key{"a", fmt.Sprint("s", i)}
		all = append(all, &Service{Key: k, Kind: Headless}, &EndpointSlice{Key: k, Service: k.Name, Ports: httpPort, Ready: NewEndpoints([]Endpoint{{Addr: ip(7)}})})
	}
	return all
}

// of returns a Writer that holds the world for n.
func (h *hostile) of(n int) *Writer {
	w := NewWriter()
	w.Update(func(b *Batch) { replaceWith(b, h.objects(n)) })
	return w
}

func (h *hostile) objects(n int) []Object {
	all := []Object{&Namespace{Name: "a"}, &Namespace{Name: "b"}, headless, &ServiceImport{*headless}}
	for _, o := range h.world(n) {
		all = slices.DeleteFunc(all, func(x Object) bool { return x.Resource() == o.Resource() && x.ObjectKey() == o.ObjectKey() })
		all = append(all, o)
	}
	return all
}

func replaceWith(b *Batch, objects []Object) {
	var lists [numResources][]Object
	for _, o := range objects {
		lists[o.Resource()] = append(lists[o.Resource()], o)
	}
	for r, list := range lists {
		b.Replace(Resource(r), list, 1)
	}
}

func (h *hostile) view(t testing.TB, w *Writer) *View {
	opt := h.opt
	if opt.Zones == nil {
		opt.Zones, opt.Multicluster, opt.Zonal = []string{"c.", "in-addr.arpa.", "set."}, []string{"set."}, true
	}
	return mustView(t, w, opt, strings.Fields(h.local)...)
}

// hostileSize is the smaller n of the table.
func hostileSize() int {
	if raceEnabled || testing.Short() {
		return 200
	}
	return 1000
}

func TestHostileQuestions(t *testing.T) {
	n := hostileSize()
	perOctet := plainCost(t)
	short := 8192 * perOctet()
	for _, h := range hostiles {
		small, large := h.view(t, h.of(n)), h.view(t, h.of(10*n))
		for _, question := range h.questions {
			name, typ, _ := strings.Cut(question, " ")
			for _, limit := range []int{512, 65535, everything} {
				few, many := asked(t, small, name, typ, limit), asked(t, large, name, typ, limit)
				within(t, fmt.Sprintf("%d %s, %s, %d octets", n, h.what, question, limit), few.do, many.do, short)
				// A reply takes what its octets take, not what the answer has. Those that
				// do not fit 64 KiB may take what that much takes.
				bounded(t, fmt.Sprintf("%d %s, %s, %d octets", 10*n, h.what, question, limit), many.do, perOctet, max(1<<16, many.octets))
			}
		}
	}
}

// A zone transfer costs what its records take.
func TestHostileTransfers(t *testing.T) {
	n := hostileSize()
	plain := 65536 * plainCost(t)()
	for _, h := range hostiles {
		if h.what == "endpoints with as many ports" {
			continue // every one of them is a record
		}
		small, large := h.view(t, h.of(n)), h.view(t, h.of(10*n))
		for _, zone := range small.opt.Zones {
			do := func(v *View) func() {
				return func() {
					v.Transfer(zone, func(a *Answer) bool { return a.Walk(func(*Record) bool { return true }) })
				}
			}
			within(t, fmt.Sprintf("%d %s, transfer of %s", n, h.what, zone), do(small), do(large), plain)
		}
	}
}

// everything is the limit for all of an answer to be walked, or as much of it as
// may go into a message.
const everything = 1 << 30

type costly struct {
	do     func()
	octets int // that all of the answer would take
}

func asked(t testing.TB, v *View, name, typ string, limit int) costly {
	a, r := new(Answer), new(Renderer)
	wire := wireName(t, name)
	qtype := dns.StringToType[typ]
	q := &dnswire.Query{Name: wire, Type: qtype, Class: dnswire.ClassIN}
	buf := make([]byte, 0, 1<<16)
	do := func() {
		if !v.Lookup(a, wire, qtype) {
			t.Fatalf("%s is not ours", name)
		}
		if limit == everything { // what one makes who does not know the limit
			n := 0
			a.Walk(func(r *Record) bool { n += r.Least(); return n <= 65535 })
			return
		}
		if !a.Tight() {
			a.Length(limit)
		}
		r.Append(buf, q, a, limit)
	}
	do()
	return costly{do, a.Length(everything)}
}

// plainCost returns what measures the nanoseconds that an octet may take at the
// moment: some times what it takes in an answer with nothing strange to it, SRV of
// endpoints without names. A quiet processor of 2020 writes 64 KiB of that in a
// sixth of a millisecond.
func plainCost(t testing.TB) func() float64 {
	h := &hostiles[0]
	v := h.view(t, h.of(1000))
	q := asked(t, v, "db.a.svc.c.", "SRV", everything)
	return func() float64 { return 6 * float64(cost(q.do)) / float64(q.octets) }
}

// cost returns the least of several times that do takes, in time of the processor:
// what others do on the machine does not count. The first time finds nothing in the
// processor's caches, so that it is no less than three times if that is not long.
func cost(do func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	best, repeat := time.Hour, 1
	for runs, spent := 0, time.Duration(0); spent < time.Millisecond || runs < 3 && spent < 20*time.Millisecond; runs++ {
		ran, start := repeat, threadTime()
		for range ran {
			do()
		}
		took := threadTime() - start
		spent += took
		if took < 20*time.Microsecond {
			repeat *= 2
		}
		best = min(best, max(1, took/time.Duration(ran)))
	}
	return best
}

func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// within checks that large costs no more than mostRatio times what small and a
// short plain answer do: caches and branch prediction of a processor make small
// things cheaper than they are. The small one is measured before and after.
func within(t testing.TB, what string, small, large func(), plain float64) {
	t.Helper()
	holds(t, what, func() (bool, string) { return isWithin(small, large, plain) })
}

func isWithin(small, large func(), plain float64) (bool, string) {
	few, many := cost(small), cost(large)
	few = min(few, cost(small))
	return float64(many) <= mostRatio*(float64(few)+plain), fmt.Sprintf("%v, and ten times that %v", few, many)
}

// bounded checks that do takes no more than so many octets of a plain answer.
func bounded(t testing.TB, what string, do func(), perOctet func() float64, octets int) {
	t.Helper()
	most := perOctet() * float64(octets)
	holds(t, what, func() (bool, string) {
		took := cost(do)
		if float64(took) <= most {
			return true, ""
		}
		most = perOctet() * float64(octets)
		return float64(took) <= most, fmt.Sprintf("%v, more than %v", took, time.Duration(most))
	})
}

// holds checks that compare says yes, which measures and says what it found. On a
// busy machine all is slower, and not all alike: others take room in the
// processor's caches for seconds. So it is asked again, without a collection of
// garbage in between: what costs the square fails each time.
func holds(t testing.TB, what string, compare func() (ok bool, found string)) {
	t.Helper()
	ok, found := compare()
	if ok {
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for try, start := 1, time.Now(); try < 6 || try < 100 && time.Since(start) < 5*time.Second; try++ {
		runtime.GC()
		if ok, found = compare(); ok {
			return
		}
	}
	t.Errorf("%s: %s", what, found)
}
