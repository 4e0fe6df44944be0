package zone

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/miekg/dns"
)

// kinds is a question of each kind, for worldOfKinds.
var kinds = []struct {
	what, name string
	qtype      uint16
}{
	{"ClusterIP A", "web.shop.svc.cluster.local.", dns.TypeA},
	{"ClusterIP AAAA, NODATA", "web.shop.svc.cluster.local.", dns.TypeAAAA},
	{"NXDOMAIN", "nope.shop.svc.cluster.local.", dns.TypeA},
	{"NXDOMAIN of a search path", "www.example.org.shop.svc.cluster.local.", dns.TypeA},
	{"SOA", "cluster.local.", dns.TypeSOA},
	{"TXT", "dns-version.cluster.local.", dns.TypeTXT},
	{"headless A", "db.shop.svc.cluster.local.", dns.TypeA},
	{"headless A by port", "_pg._tcp.db.shop.svc.cluster.local.", dns.TypeA},
	{"ClusterIP SRV", "_http._tcp.web.shop.svc.cluster.local.", dns.TypeSRV},
	{"ClusterIP SRV, all ports", "web.shop.svc.cluster.local.", dns.TypeSRV},
	{"headless SRV", "_pg._tcp.db.shop.svc.cluster.local.", dns.TypeSRV},
	{"headless SRV with overlap", "over.shop.svc.cluster.local.", dns.TypeSRV},
	{"headless A by port with overlap", "_pg._tcp.over.shop.svc.cluster.local.", dns.TypeA},
	{"PTR of a ClusterIP", "1.0.96.10.in-addr.arpa.", dns.TypePTR},
	{"PTR of an endpoint", "1.0.1.10.in-addr.arpa.", dns.TypePTR},
	{"PTR NXDOMAIN", "1.2.3.10.in-addr.arpa.", dns.TypePTR},
	{"dashed address", "10-1-0-7.db.shop.svc.cluster.local.", dns.TypeA},
	{"dashed IPv6 address", "fd01--7.six.shop.svc.cluster.local.", dns.TypeAAAA},
	{"hostname", "pod-1.named.shop.svc.cluster.local.", dns.TypeA},
	{"CNAME chain", "alias2.shop.svc.cluster.local.", dns.TypeA},
	{"CNAME", "alias2.shop.svc.cluster.local.", dns.TypeCNAME},
	{"pod", "10-1-0-1.shop.pod.cluster.local.", dns.TypeA},
	{"pod SRV", "10-1-0-1.shop.pod.cluster.local.", dns.TypeSRV},
	{"mixed case", "wEb.ShOp.SVC.Cluster.LOCAL.", dns.TypeA},
	{"imported A", "web.shop.svc.set.local.", dns.TypeA},
	{"imported NODATA", "web.shop.svc.set.local.", dns.TypeAAAA},
	{"imported NXDOMAIN", "db.shop.svc.set.local.", dns.TypeA},
	{"imported SRV", "_http._tcp.web.shop.svc.set.local.", dns.TypeSRV},
	{"imported headless A", "all.shop.svc.set.local.", dns.TypeA},
	{"imported headless SRV", "_pg._tcp.all.shop.svc.set.local.", dns.TypeSRV},
	{"imported endpoint", "pod-0.east.all.shop.svc.set.local.", dns.TypeA},
	{"zonal A", "z1.pin._zone.zoned.shop.svc.cluster.local.", dns.TypeA},
	{"zonal A, all", "z3.prefer._zone.zoned.shop.svc.cluster.local.", dns.TypeA},
	{"zonal SRV", "Corp.example.com.prefer._zone.zoned.shop.svc.cluster.local.", dns.TypeSRV},
	{"zonal NODATA", "z3.pin._zone.zoned.shop.svc.cluster.local.", dns.TypeA},
}

func worldOfKinds(t testing.TB) *View {
	var db strings.Builder
	db.WriteString("slice shop/db-1 db pg:5432/TCP")
	for i := range 15 {
		fmt.Fprintf(&db, " 10.1.0.%d", i+1)
	}
	text := db.String()
	w := worldOf(t, `
		namespace shop
		service shop/web 10.96.0.1 http:80/TCP,https:443/TCP
		service shop/db headless
		service shop/over headless
		service shop/six headless
		service shop/named headless
		service shop/alias1 external=web.shop.svc.cluster.local
		service shop/alias2 external=alias1.shop.svc.cluster.local
		`+text+`
		`+strings.ReplaceAll(strings.ReplaceAll(text, "db", "over"), "10.1.0", "10.2.0")+` 10.2.0.3=h
		slice shop/six-1 six - fd01::7
		slice shop/named-1 named pg:5432/TCP 10.3.0.1=pod-0 10.3.0.2=pod-1
		pod shop/p 10.1.0.1
		service shop/zoned headless
		slice shop/zoned-1 zoned pg:5432/TCP 10.4.0.1/z1 10.4.0.2/corp.example.com 10.4.0.3/z1 10.4.0.4=h/z2 10.4.0.4/z1
		import shop/web 10.97.0.1 http:80/TCP
		import shop/all headless
		slice shop/all-e -^all@east pg:5432/TCP 10.5.0.1=pod-0 10.5.0.2=pod-1
		slice shop/all-w -^all@west pg:5432/TCP 10.5.0.1=pod-0 10.6.0.2
	`)
	return mustView(t, w, Options{Zones: []string{"cluster.local.", "in-addr.arpa.", "set.local."}, Pods: PodsVerified,
		Multicluster: []string{"set.local."}, Zonal: true})
}

// replyTo is what a fast path does with one query.
func replyTo(v *View, q *dnswire.Query, a *Answer, r *Renderer, buf []byte) ([]byte, error) {
	v.Lookup(a, q.Name, q.Type)
	return r.Append(buf, q, a, 1232)
}

func TestNoAllocs(t *testing.T) {
	v := worldOfKinds(t)
	for _, k := range kinds {
		noAllocs(t, v, k.what, k.name, k.qtype)
	}
}

// noAllocs checks that a question is answered as the word NXDOMAIN or NODATA in
// what says, or with CHASE, and without an allocation.
func noAllocs(t *testing.T, v *View, what, name string, qtype uint16) {
	t.Helper()
	var a Answer
	var r Renderer
	q := dnswire.Query{Name: wireName(t, name), Type: qtype, Class: dnswire.ClassIN, HasOPT: true}
	buf := make([]byte, 0, 4096)
	if _, err := replyTo(v, &q, &a, &r, buf); err != nil && a.Outcome != Chase {
		t.Errorf("%s: %v", what, err)
	}
	want := Success
	for word, outcome := range map[string]Outcome{"NXDOMAIN": NameError, "NODATA": NoData, "CHASE": Chase} {
		if strings.Contains(what, word) {
			want = outcome
		}
	}
	if a.Outcome != want {
		t.Errorf("%s: outcome %d", what, a.Outcome)
	}
	if n := testing.AllocsPerRun(100, func() { replyTo(v, &q, &a, &r, buf) }); n != 0 && !raceEnabled {
		t.Errorf("%s: %v allocations", what, n)
	}
}

// cluster is the world of the benchmarks: n services, one in ten of them
// headless, each with 15 IPv4 endpoints.
func cluster(t testing.TB, n int) *Writer {
	const perNamespace = 100
	var namespaces, services, epslices []Object
	for i := range n {
		ns := fmt.Sprintf("ns-%d", i/perNamespace)
		if i%perNamespace == 0 {
			namespaces = append(namespaces, &Namespace{Name: ns, Version: 1})
		}
		s := &Service{Key: Key{ns, fmt.Sprintf("svc-%d", i)}, Version: 1, Ports: httpPort}
		if i%10 == 0 {
			s.Kind = Headless
		} else {
			s.ClusterIPs = []netip.Addr{netip.AddrFrom4([4]byte{10, 96 + byte(i>>16), byte(i >> 8), byte(i)})}
		}
		services = append(services, s)
		epslices = append(epslices, clusterSlice(s.Key, i, 1))
	}
	w := NewWriter()
	w.Update(func(b *Batch) {
		b.Replace(Namespaces, namespaces, 1)
		b.Replace(Services, services, 1)
		b.Replace(EndpointSlices, epslices, 1)
	})
	return w
}

var httpPort = []Port{{"http", "TCP", 80}}

func clusterSlice(k Key, i int, version uint64) *EndpointSlice {
	var list [15]Endpoint
	for j := range list {
		at := i*15 + j
		list[j].Addr = netip.AddrFrom4([4]byte{10 + byte(at>>24), byte(at >> 16), byte(at >> 8), byte(at)})
	}
	return &EndpointSlice{Key: Key{k.Namespace, k.Name + "-abcde"}, Version: version, Service: k.Name, Ports: httpPort, Ready: NewEndpoints(list[:])}
}

// 150,000 endpoints with their reverse entries, services and all.
func TestIndexSize(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a large world")
	}
	const services, limit = 10_000, 20 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := cluster(t, services)
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	size := after.HeapAlloc - before.HeapAlloc
	s := w.ix.current.Load()
	if s.reverse.len != services*15 || s.clusterIPs.len != services*9/10 {
		t.Errorf("%d reverse entries of endpoints, %d of ClusterIPs", s.reverse.len, s.clusterIPs.len)
	}
	t.Logf("%d services, %d endpoints: %.1f MB, %.0f octets an endpoint", services, services*15, float64(size)/(1<<20), float64(size)/services/15)
	if size > limit {
		t.Errorf("%d octets, more than %d", size, limit)
	}
	runtime.KeepAlive(w)
}

func BenchmarkReply(b *testing.B) {
	v := worldOfKinds(b)
	for _, k := range kinds {
		b.Run(strings.ReplaceAll(k.what, " ", "_"), func(b *testing.B) { benchmarkReply(b, v, k.name, k.qtype) })
	}
}

func benchmarkReply(b *testing.B, v *View, name string, qtype uint16) {
	var a Answer
	var r Renderer
	q := dnswire.Query{Name: wireName(b, name), Type: qtype, Class: dnswire.ClassIN}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		replyTo(v, &q, &a, &r, buf)
	}
}

// The cost of a query does not grow with the cluster, but for the processor's
// caches: random asks for all names in turn, same for one.
func BenchmarkClusterSize(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		v := mustView(b, cluster(b, n), Options{})
		names := make([][]byte, min(n, 4096))
		for i := range names {
			at := i * (n / len(names))
			names[i] = wireName(b, fmt.Sprintf("svc-%d.ns-%d.svc.cluster.local.", at, at/100))
		}
		var a Answer
		var r Renderer
		buf := make([]byte, 0, 4096)
		for what, set := range map[string][][]byte{"same": names[1:2], "random": names} {
			b.Run(fmt.Sprintf("%s/%d", what, n), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				q := dnswire.Query{Type: dnswire.TypeA, Class: dnswire.ClassIN}
				for b.Loop() {
					q.Name = set[i%len(set)]
					i += 1021
					replyTo(v, &q, &a, &r, buf)
				}
			})
		}
	}
}

// An update costs what its service does, whatever the size of the cluster.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		w := cluster(b, n)
		k := Key{"ns-0", "svc-7"}
		forms := [2]*EndpointSlice{clusterSlice(k, 7, 2), clusterSlice(k, 7, 2)}
		forms[1].Ready = NewEndpoints([]Endpoint{{Addr: netip.MustParseAddr("10.0.0.105")}})
		b.Run(fmt.Sprintf("15_endpoints_of_%d", n*15), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				w.Update(func(batch *Batch) { batch.Set(forms[i&1]) })
				i++
			}
		})
	}
	for what, endpoint := range map[string]func(int) Endpoint{
		"address": func(i int) Endpoint { return Endpoint{Addr: netip.AddrFrom4([4]byte{10, byte(i), byte(i >> 8), 1})} },
		"hostname": func(i int) Endpoint {
			return Endpoint{Addr: netip.AddrFrom4([4]byte{10, byte(i), byte(i >> 8), 1}), Name: fmt.Sprintf("h%d", i)}
		},
	} {
		w := worldOf(b, "namespace a\nservice a/db headless")
		var forms [2]*EndpointSlice
		for from := 0; from < 5000; from += 100 {
			for form := range forms {
				var list []Endpoint
				for i := range 100 - form {
					list = append(list, endpoint((from+i)*7919%5000))
				}
				forms[form] = &EndpointSlice{Key: Key{"a", fmt.Sprint("s", from)}, Service: "db", Version: uint64(3 + form), Ports: httpPort, Ready: NewEndpoints(list)}
			}
			w.Update(func(batch *Batch) { batch.Set(forms[0]) })
		}
		b.Run("1_"+what+"_of_a_service_with_5000", func(b *testing.B) {
			b.ReportAllocs()
			i := 1
			for b.Loop() {
				w.Update(func(batch *Batch) { batch.Set(forms[i&1]) })
				i++
			}
		})
	}
	w := bigHeadless(b, 5000)
	forms := [2]*EndpointSlice{slice100(7, 3), slice100(7, 3)}
	forms[1].Ready = NewEndpoints([]Endpoint{{Addr: netip.MustParseAddr("10.1.7.1")}})
	b.Run("100_endpoints_of_a_service_with_5000", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			w.Update(func(batch *Batch) { batch.Set(forms[i&1]) })
			i++
		}
	})
}
