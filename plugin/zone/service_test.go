package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Objects in awkward states: each step changes
// the world and says what is answered then.
func TestAwkwardStates(t *testing.T) {
	type step struct {
		set, drop string // drop: an object without its contents
		table     []qa
	}
	for what, steps := range map[string][]step{
		"slices before, after and without their service": {
			{set: "slice a/s1 db - 10.0.0.1", table: []qa{{"db.a.svc.cluster.local. A", "NXDOMAIN"}, {"1.0.0.10.in-addr.arpa. PTR", "1.0.0.10.in-addr.arpa. PTR 10-0-0-1.db.a.svc"}}},
			{set: "service a/db headless", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.1"}}},
			{set: "slice a/s2 db - 10.0.0.2", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.1\ndb.a.svc A 10.0.0.2"}}},
			{drop: "service a/db headless", table: []qa{{"db.a.svc.cluster.local. A", "NXDOMAIN"}, {"2.0.0.10.in-addr.arpa. PTR", "2.0.0.10.in-addr.arpa. PTR 10-0-0-2.db.a.svc"}}},
			{set: "service a/db headless", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.1\ndb.a.svc A 10.0.0.2"}}},
			{drop: "slice a/s1 db -", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.2"}, {"1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"}}},
			{drop: "slice a/s2 db -", table: []qa{{"db.a.svc.cluster.local. A", "NXDOMAIN"}}},
		},
		"a service that changes its kind": {
			{set: "service a/db 10.96.0.1 x:1/TCP\nslice a/s1 db x:1/TCP 10.0.0.1", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.96.0.1"}}},
			{set: "service a/db headless", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.1"}, {"1.0.96.10.in-addr.arpa. PTR", "NXDOMAIN"}}},
			{set: "service a/db external=example.org", table: []qa{{"db.a.svc.cluster.local. A", "CHASE example.org."}, {"10-0-0-1.db.a.svc.cluster.local. A", "NXDOMAIN"}}},
			{set: "service a/db 10.96.0.1", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.96.0.1"}, {"db.a.svc.cluster.local. SRV", "NODATA"}, {"1.0.96.10.in-addr.arpa. PTR", "1.0.96.10.in-addr.arpa. PTR db.a.svc"}}},
			{set: "service a/db fd96::1", table: []qa{{"db.a.svc.cluster.local. A", "NODATA"}, {"1.0.96.10.in-addr.arpa. PTR", "NXDOMAIN"}}},
		},
		"deleted and made again": {
			{set: "service a/db 10.96.0.1", table: []qa{{"1.0.96.10.in-addr.arpa. PTR", "1.0.96.10.in-addr.arpa. PTR db.a.svc"}}},
			{drop: "service a/db none", table: []qa{{"db.a.svc.cluster.local. A", "NXDOMAIN"}, {"1.0.96.10.in-addr.arpa. PTR", "NXDOMAIN"}}},
			{set: "service a/db 10.96.0.2\nservice a/new 10.96.0.1", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.96.0.2"}, {"1.0.96.10.in-addr.arpa. PTR", "1.0.96.10.in-addr.arpa. PTR new.a.svc"}}},
		},
		"an address in two slices": {
			{set: "service a/db headless\nslice a/s1 db p:1/TCP 10.0.0.1 10.0.0.2\nslice a/s2 db p:1/TCP,q:2/TCP 10.0.0.1", table: []qa{
				{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.1\ndb.a.svc A 10.0.0.2"},
				{"10-0-0-1.db.a.svc.cluster.local. A", "10-0-0-1.db.a.svc A 10.0.0.1"},
				{"_q._tcp.db.a.svc.cluster.local. A", "_q._tcp.db.a.svc A 10.0.0.1"},
				{"_p._tcp.db.a.svc.cluster.local. SRV", `_p._tcp.db.a.svc SRV 0 33 1 10-0-0-1.db.a.svc
					_p._tcp.db.a.svc SRV 0 33 1 10-0-0-2.db.a.svc
					+10-0-0-1.db.a.svc A 10.0.0.1
					+10-0-0-2.db.a.svc A 10.0.0.2`}}},
			{drop: "slice a/s1 db -", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.1"}, {"1.0.0.10.in-addr.arpa. PTR", "1.0.0.10.in-addr.arpa. PTR 10-0-0-1.db.a.svc"}}},
		},
		"one name for several addresses, one address with several names": {
			{set: "service a/db headless\nslice a/s1 db p:1/TCP 10.0.0.1=h 10.0.0.2=H fd00::1=h 10.0.0.3=x 10.0.0.3=y", table: []qa{
				{"h.db.a.svc.cluster.local. A", "h.db.a.svc A 10.0.0.1\nh.db.a.svc A 10.0.0.2"}, {"h.db.a.svc.cluster.local. AAAA", "h.db.a.svc AAAA fd00::1"},
				{"3.0.0.10.in-addr.arpa. PTR", "3.0.0.10.in-addr.arpa. PTR x.db.a.svc\n3.0.0.10.in-addr.arpa. PTR y.db.a.svc"},
				{"h.db.a.svc.cluster.local. SRV", `h.db.a.svc SRV 0 33 1 h.db.a.svc
					+h.db.a.svc A 10.0.0.1
					+h.db.a.svc A 10.0.0.2
					+h.db.a.svc AAAA fd00::1`}}},
		},
		// A hostname may read like the address of another endpoint.
		"a hostname that is another's dashed address": {
			{set: "service a/db headless\nslice a/s1 db p:1/TCP 10.0.0.1=10-0-0-2 10.0.0.2", table: []qa{
				{"10-0-0-2.db.a.svc.cluster.local. A", "10-0-0-2.db.a.svc A 10.0.0.1\n10-0-0-2.db.a.svc A 10.0.0.2"}, {"10-0-0-1.db.a.svc.cluster.local. A", "NXDOMAIN"},
				{"db.a.svc.cluster.local. SRV", "db.a.svc SRV 0 50 1 10-0-0-2.db.a.svc\n+10-0-0-2.db.a.svc A 10.0.0.1\n+10-0-0-2.db.a.svc A 10.0.0.2"}}},
		},
		"a namespace that comes last and goes first": {
			{drop: "namespace a", set: "service a/db 10.96.0.1", table: []qa{{"db.a.svc.cluster.local. A", "NXDOMAIN"}, {"a.svc.cluster.local. A", "NXDOMAIN"}}},
			{set: "namespace a", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.96.0.1"}, {"a.svc.cluster.local. A", "NODATA"}}},
			{drop: "namespace a", table: []qa{{"db.a.svc.cluster.local. A", "NXDOMAIN"}}},
		},
		"ports": {
			{set: "service a/db headless\nslice a/s1 db dns:53/UDP,dns:53/TCP,dns:5353/SCTP 10.0.0.1", table: []qa{
				{"_dns._udp.db.a.svc.cluster.local. SRV", "_dns._udp.db.a.svc SRV 0 100 53 10-0-0-1.db.a.svc\n+10-0-0-1.db.a.svc A 10.0.0.1"},
				{"db.a.svc.cluster.local. SRV", "db.a.svc SRV 0 33 53 10-0-0-1.db.a.svc\ndb.a.svc SRV 0 33 5353 10-0-0-1.db.a.svc\n+10-0-0-1.db.a.svc A 10.0.0.1"}}},
			{set: "slice a/s1 db dns:?/UDP 10.0.0.1", table: []qa{{"_dns._udp.db.a.svc.cluster.local. SRV", "NODATA"}, {"_dns._udp.db.a.svc.cluster.local. A", "_dns._udp.db.a.svc A 10.0.0.1"}}},
			{set: "slice a/s0 db - 10.0.0.1\nslice a/s1 db :53/UDP 10.0.0.1", table: []qa{ // the glue is not that of the slice without ports
				{"db.a.svc.cluster.local. SRV", "db.a.svc SRV 0 50 53 10-0-0-1.db.a.svc\n+10-0-0-1.db.a.svc A 10.0.0.1"}}},
		},
		"readiness": {
			{set: "service a/db headless\nslice a/s1 db - !10.0.0.1", table: []qa{{"db.a.svc.cluster.local. A", "NXDOMAIN"}, {"1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"}}},
			{set: "service a/db headless,publish", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.1"}, {"1.0.0.10.in-addr.arpa. PTR", "1.0.0.10.in-addr.arpa. PTR 10-0-0-1.db.a.svc"}}},
			{set: "slice a/s1 db - 10.0.0.2 !10.0.0.1 !10.0.0.2", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.1\ndb.a.svc A 10.0.0.2"}}},
			{set: "slice a/s1 db - 10.0.0.2 !10.0.0.3", table: []qa{ // only what is not ready changes
				{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.2\ndb.a.svc A 10.0.0.3"}, {"1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"}}},
			{set: "service a/db headless", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.2"}}},
		},
		"a slice that changes its service": {
			{set: "service a/db headless\nservice a/web headless\nslice a/s1 db - 10.0.0.1", table: []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.1"}}},
			{set: "slice a/s1 web - 10.0.0.1", table: []qa{{"db.a.svc.cluster.local. A", "NXDOMAIN"}, {"web.a.svc.cluster.local. A", "web.a.svc A 10.0.0.1"}, {"1.0.0.10.in-addr.arpa. PTR", "1.0.0.10.in-addr.arpa. PTR 10-0-0-1.web.a.svc"}}},
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := worldOf(t, "namespace a")
			v := mustView(t, w, Options{Zones: []string{"cluster.local.", "in-addr.arpa."}})
			for i, s := range steps {
				if s.drop != "" {
					o := parseObject(t, s.drop)
					drop(w, o.Resource(), o.ObjectKey().Namespace, o.ObjectKey().Name, uint64(100+i))
				}
				set(t, w, s.set)
				ask(t, v, s.table)
				if t.Failed() {
					t.Fatalf("at step %d", i)
				}
			}
		})
	}
}

// An endpoint that moves from slice to slice is there all the time: between
// any two changes it is in both, or both changes are one batch.
func TestMovingEndpoint(t *testing.T) {
	w := worldOf(t, "namespace a\nservice a/db headless\nslice a/s1 db - 10.0.0.1 10.0.0.2\nslice a/s2 db - 10.0.0.3")
	v := mustView(t, w, Options{Zones: []string{"cluster.local.", "in-addr.arpa."}})
	there := []qa{
		{"10-0-0-1.db.a.svc.cluster.local. A", "10-0-0-1.db.a.svc A 10.0.0.1"}, {"1.0.0.10.in-addr.arpa. PTR", "1.0.0.10.in-addr.arpa. PTR 10-0-0-1.db.a.svc"},
		{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.1\ndb.a.svc A 10.0.0.2\ndb.a.svc A 10.0.0.3"},
	}
	for _, change := range []string{
		"slice a/s2 db - 10.0.0.1 10.0.0.3", "slice a/s1 db - 10.0.0.2", // first there, then gone here
		"slice a/s2 db - 10.0.0.3\nslice a/s1 db - 10.0.0.1 10.0.0.2", // at once
		"slice a/s3 db - 10.0.0.1\nslice a/s1 db - 10.0.0.2",
	} {
		set(t, w, change)
		ask(t, v, there)
	}
}

// 5,000 endpoints in fifty slices: all are in the answer, and as many in the
// message as 65,535 octets hold.
func TestManyEndpoints(t *testing.T) {
	w := bigHeadless(t, 5000)
	v := mustView(t, w, Options{})
	var a Answer
	name := wireName(t, "db.a.svc.cluster.local.")
	if !v.Lookup(&a, name, dnswire.TypeA) || a.Outcome != Success {
		t.Fatalf("outcome %d", a.Outcome)
	}
	distinct := map[string]bool{}
	a.Walk(func(r *Record) bool {
		for addr := range slices.Chunk(r.Packed, 4) {
			distinct[string(addr)] = true
		}
		return true
	})
	if len(distinct) != 5000 {
		t.Errorf("%d distinct addresses in the answer", len(distinct))
	}
	m, err := render(&a, name, dnswire.TypeA, 65535)
	if err != nil {
		t.Fatal(err)
	}
	if fit := (65535 - 12 - len(name) - 4) / 16; !m.Truncated || len(m.Answer) != fit {
		t.Errorf("%d records, truncated %v, want %d", len(m.Answer), m.Truncated, fit)
	}
	ask(t, v, []qa{{"10-1-49-99.db.a.svc.cluster.local. A", "10-1-49-99.db.a.svc A 10.1.49.99"}})
}

// bigHeadless returns a world of a headless service with n endpoints, a hundred
// in a slice.
func bigHeadless(t testing.TB, n int) *Writer {
	w := worldOf(t, "namespace a\nservice a/db headless")
	w.Update(func(b *Batch) {
		for i := range n / 100 {
			b.Set(slice100(i, 2))
		}
	})
	if err := check(w); err != nil {
		t.Fatal(err)
	}
	return w
}

func slice100(i int, version uint64) *EndpointSlice {
	list := make([]Endpoint, 100)
	for j := range list {
		list[j].Addr = netip.AddrFrom4([4]byte{10, 1, byte(i), byte(j)})
	}
	return &EndpointSlice{Key: Key{"a", fmt.Sprint("s", i)}, Service: "db", Version: version, Ready: NewEndpoints(list)}
}

// The weight is what CoreDNS computes in floating point.
func TestWeight(t *testing.T) {
	for n := 1; n <= 20000; n++ {
		w1 := 100.0 / float64(100*n)
		w1 *= 100
		if want := max(1, uint16(w1)); weight(n) != want {
			t.Errorf("weight(%d) = %d, CoreDNS has %d", n, weight(n), want)
		}
	}
	if weight(0) != 100 {
		t.Errorf("weight(0) = %d", weight(0))
	}
}

func TestSizes(t *testing.T) {
	for _, tc := range []struct {
		name      string
		got, want uintptr
	}{
		{"trie node", unsafe.Sizeof(node[*service]{}), 64},
		{"trie leaf", unsafe.Sizeof(leaf[*service]{}), 16},
		{"service", unsafe.Sizeof(service{}), 192},
		{"endpointRef", unsafe.Sizeof(endpointRef{}), 8},
		{"Service", unsafe.Sizeof(Service{}), 128},
		{"EndpointSlice", unsafe.Sizeof(EndpointSlice{}), 160},
		{"Endpoints", unsafe.Sizeof(Endpoints{}), 64},
		{"Port", unsafe.Sizeof(Port{}), 40},
		{"Pod", unsafe.Sizeof(Pod{}), 72},
		{"Namespace", unsafe.Sizeof(Namespace{}), 24},
		{"ident", unsafe.Sizeof(ident{}), 112},
		{"owners", unsafe.Sizeof(owners{}), 40},
		{"podSet", unsafe.Sizeof(podSet{}), 64},
		{"serviceState", unsafe.Sizeof(serviceState{}), 48},
		{"snapshot", unsafe.Sizeof(snapshot{}), 272},
		{"Record", unsafe.Sizeof(Record{}), 416},
		{"Answer", unsafe.Sizeof(Answer{}), 1792},
	} {
		if tc.got != tc.want {
			t.Errorf("%s takes %d octets, not %d", tc.name, tc.got, tc.want)
		}
	}
}
