package clusterdns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
	dto "github.com/prometheus/client_model/go"
)

func TestHeaderFlags(t *testing.T) {
	h := stanza{}.handler(t, newWorld(t, cluster).Writer)
	for _, row := range []struct {
		name string
		set  func(*dns.Msg)
		want string
	}{
		{"RD", func(*dns.Msg) {}, "NOERROR aa rd"},
		{"nothing", func(m *dns.Msg) { m.RecursionDesired = false }, "NOERROR aa"},
		{"AD is not copied", func(m *dns.Msg) { m.AuthenticatedData = true }, "NOERROR aa rd"},
		{"CD is", func(m *dns.Msg) { m.CheckingDisabled = true }, "NOERROR aa rd cd"},
		{"Z is not", func(m *dns.Msg) { m.Zero = true }, "NOERROR aa rd"},
		{"RA and TC of a query are not", func(m *dns.Msg) { m.RecursionAvailable, m.Truncated = true, true }, "NOERROR aa rd"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := dnstext.Cluster.Query(t, "web.shop.svc A")
			row.set(r)
			want, err := dnstext.Cluster.Parse(row.want + "\nweb.shop.svc A 10.96.0.10")
			if err != nil {
				t.Fatal(err)
			}
			if diff := want.Diff(ask(t, h, r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// went is a reply code that this plugin never gives: of the plugin after it.
var went = test.NextHandler(dns.RcodeNotImplemented, nil)

func TestFallthrough(t *testing.T) {
	w := newWorld(t, cluster)
	zones := []string{"cluster.local.", "example.", "10.in-addr.arpa."}
	t.Run("none", func(t *testing.T) {
		expect(t, stanza{zones: zones, next: went}.handler(t, w.Writer), dnstext.Cluster, `
			? nothing.shop.svc A
			NXDOMAIN aa rd soa
			? example.org. A
			NOTIMP`)
	})
	t.Run("all zones", func(t *testing.T) {
		expect(t, stanza{zones: zones, next: went, fallthroughTo: []string{}}.handler(t, w.Writer), dnstext.Cluster, `
			? nothing.shop.svc A
			NOTIMP
			? nothing.shop.svc.EXAMPLE. TXT
			NOTIMP
			? 99.0.96.10.in-addr.arpa. PTR
			NOTIMP
			? web.shop.svc TXT
			NOERROR aa rd soa
			? dead.shop.svc A
			NOERROR aa rd soa
			? web.shop.svc A
			NOERROR aa rd
			web.shop.svc A 10.96.0.10`)
	})
	t.Run("some zones", func(t *testing.T) {
		h := stanza{zones: zones, next: went, fallthroughTo: []string{"10.in-addr.arpa", "data.svc.cluster.local"}, negativeCache: 8}.handler(t, w.Writer)
		for range 2 { // the second time some come from the cache
			expect(t, h, dnstext.Cluster, `
				? 99.0.96.10.in-addr.arpa. PTR
				NOTIMP
				? nothing.DATA.svc A
				NOTIMP
				? nothing.shop.svc A
				NXDOMAIN aa rd soa`)
		}
	})
	t.Run("without a next plugin", func(t *testing.T) {
		expect(t, stanza{}.handler(t, w.Writer), dnstext.Cluster, `
			? example.org. A
			SERVFAIL`)
	})
}

func TestTransferIsRefused(t *testing.T) {
	for _, s := range []stanza{{}, {fallthroughTo: []string{}, next: went}} {
		expect(t, s.handler(t, newWorld(t, cluster).Writer), dnstext.Cluster, `
			? @ AXFR
			REFUSED
			? @ IXFR
			REFUSED
			? nothing.shop.svc AXFR
			REFUSED`)
	}
}

// ANY and types without a meaning here are like any other that a name lacks.
func TestOtherTypes(t *testing.T) {
	h := stanza{}.handler(t, newWorld(t, cluster).Writer)
	for _, qtype := range []uint16{dns.TypeANY, dns.TypeDS, dns.TypeHTTPS, dns.TypeNone, 65280} {
		for name, rcode := range map[string]int{"web.shop.svc.cluster.local.": dns.RcodeSuccess, "no.shop.svc.cluster.local.": dns.RcodeNameError} {
			r := new(dns.Msg)
			r.SetQuestion(name, qtype)
			m := ask(t, h, r)
			if m.Rcode != rcode || len(m.Answer) != 0 || len(m.Ns) != 1 {
				t.Errorf("%s type %d: %v", name, qtype, dnstext.Of(m))
			}
		}
	}
}

// Until what an answer depends on has synced it is SERVFAIL, and nothing else.
func TestUnready(t *testing.T) {
	all := []zone.Resource{zone.Namespaces, zone.Services, zone.EndpointSlices, zone.Pods}
	names := []string{
		"web.shop.svc A", "nothing.shop.svc A", "web.nowhere.svc A", "foo A", "@ A", "@ SOA", "svc A", "shop.svc A",
		"db.shop.svc CNAME", "10.0.96.10.in-addr.arpa. PTR", "99.0.96.10.in-addr.arpa. PTR", "ns.dns A",
		"db.shop.svc A", "cache.shop.svc A", "_redis._tcp.cache.shop.svc SRV", "10-244-1-10.web.shop.svc A", "@ NS",
		"21.1.244.10.in-addr.arpa. PTR", "10-244-1-10.shop.pod A",
	}
	const ofSlices = 10 // names from here on need more than namespaces and services
	const ofPods = 18   // and from here on, pods
	for _, missing := range all {
		t.Run(missing.String(), func(t *testing.T) {
			full := newWorld(t, cluster)
			w := zone.NewWriter()
			// The objects are there, as in a list that has not ended; only
			// the one resource has not synced.
			w.Update(func(b *zone.Batch) {
				for _, r := range all {
					if r != missing {
						b.Replace(r, nil, 1)
					}
				}
			})
			partial := &world{Writer: w}
			partial.set(t, cluster)
			s := stanza{
				zones: []string{"cluster.local.", "10.in-addr.arpa."}, pods: zone.PodsVerified, fallthroughTo: []string{},
				next: went, negativeCache: 8, local: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
			}
			h, synced := s.handler(t, partial.Writer), s.handler(t, full.Writer)
			if h.Ready() || !synced.Ready() {
				t.Errorf("Ready: unsynced %v, synced %v", h.Ready(), synced.Ready())
			}
			counter := unreadyResponses.WithLabelValues(missing.String())
			before, unready := value(t, counter), 0
			for i, question := range names {
				needed := missing <= zone.Services && i < ofPods || missing == zone.EndpointSlices && i >= ofSlices && i < ofPods ||
					i >= ofPods && missing != zone.EndpointSlices
				m := ask(t, h, dnstext.Cluster.Query(t, question))
				if got := m.Rcode == dns.RcodeServerFailure; got != needed {
					t.Errorf("%s: SERVFAIL is %v, want %v: %v", question, got, needed, dnstext.Of(m))
				}
				if needed {
					unready++
				} else if want := ask(t, synced, dnstext.Cluster.Query(t, question)); want.Rcode != m.Rcode || len(want.Answer) != len(m.Answer) {
					t.Errorf("%s: %v, synced it is %v", question, dnstext.Of(m), dnstext.Of(want))
				}
			}
			if unready == 0 {
				t.Error("no name of the table depends on it")
			}
			if got := value(t, counter) - before; got != float64(unready) {
				t.Errorf("coredns_clusterdns_unready_responses_total{resource=%q} rose by %v, want %d", missing, got, unready)
			}
			// Nothing of that is remembered.
			w.Update(func(b *zone.Batch) {
				for r, objects := range objectsOf(t, cluster) {
					b.Replace(r, objects, 9)
				}
			})
			if !h.Ready() {
				t.Error("not Ready after the sync")
			}
			for _, question := range names {
				m, want := ask(t, h, dnstext.Cluster.Query(t, question)), ask(t, synced, dnstext.Cluster.Query(t, question))
				if want.Rcode != m.Rcode || len(want.Answer) != len(m.Answer) {
					t.Errorf("%s after the sync: %v, want %v", question, dnstext.Of(m), dnstext.Of(want))
				}
			}
		})
	}
}

// What a stanza does not use it does not wait for.
func TestReadyNeeds(t *testing.T) {
	for _, row := range []struct {
		name   string
		stanza stanza
		needs  []zone.Resource
	}{
		{"default", stanza{}, []zone.Resource{zone.Namespaces, zone.Services, zone.EndpointSlices}},
		{"noendpoints", stanza{noEndpoints: true}, []zone.Resource{zone.Namespaces, zone.Services}},
		{"pods insecure", stanza{pods: zone.PodsInsecure}, []zone.Resource{zone.Namespaces, zone.Services, zone.EndpointSlices}},
		{"pods verified", stanza{pods: zone.PodsVerified}, []zone.Resource{zone.Namespaces, zone.Services, zone.EndpointSlices, zone.Pods}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := zone.NewWriter()
			h := row.stanza.handler(t, w)
			for _, r := range row.needs {
				if h.Ready() {
					t.Fatalf("Ready before %s", r)
				}
				w.Update(func(b *zone.Batch) { b.Replace(r, nil, 1) })
			}
			if !h.Ready() {
				t.Errorf("not Ready after %v", row.needs)
			}
		})
	}
}

// A reply that cannot be sent is nobody's: the server must not try another.
func TestWriteFails(t *testing.T) {
	h := stanza{}.handler(t, newWorld(t, cluster).Writer)
	rcode, err := h.ServeDNS(context.Background(), &deaf{}, dnstext.Cluster.Query(t, "web.shop.svc A"))
	if rcode != dns.RcodeSuccess || err != nil {
		t.Errorf("got %s, %v", dns.RcodeToString[rcode], err)
	}
}

// A reply that is no DNS message is SERVFAIL, and counted.
func TestUnpackable(t *testing.T) {
	r := dnstext.Cluster.Query(t, "web.shop.svc A")
	m := new(dns.Msg)
	m.SetReply(r)
	m.Answer = []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET}, Target: strings.Repeat("x", 64) + "."}}
	before := value(t, unpackable)
	if rcode := send(&deaf{}, r, m); rcode != dns.RcodeServerFailure || value(t, unpackable) != before+1 {
		t.Errorf("got %s", dns.RcodeToString[rcode])
	}
}

type deaf struct{ recorder }

func (*deaf) WriteMsg(*dns.Msg) error { return errors.New("broken pipe") }
func (*deaf) RemoteAddr() net.Addr    { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// overTCP is a recorder whose client came over TCP.
type overTCP struct{ recorder }

func (*overTCP) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// TestTruncatedTCP counts replies that not even TCP can carry: more than 4,094
// addresses of 16 octets each.
func TestTruncatedTCP(t *testing.T) {
	for _, row := range []struct {
		endpoints int
		w         dns.ResponseWriter
		counted   float64
	}{
		{4000, &overTCP{}, 0},
		{5000, &overTCP{}, 1},
		{5000, &recorder{}, 0},
	} {
		w := zone.NewWriter()
		w.Update(func(b *zone.Batch) {
			var list []zone.Endpoint
			for i := range row.endpoints {
				list = append(list, zone.Endpoint{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})
			}
			key := zone.Key{Namespace: "shop", Name: "pods"}
			b.Replace(zone.Namespaces, []zone.Object{&zone.Namespace{Name: "shop"}}, 1)
			b.Replace(zone.Services, []zone.Object{&zone.Service{Key: key, Kind: zone.Headless}}, 1)
			b.Replace(zone.EndpointSlices, []zone.Object{&zone.EndpointSlice{Key: key, Service: "pods", Ready: zone.NewEndpoints(list)}}, 1)
		})
		count := func() float64 {
			var m dto.Metric
			if err := truncatedTCP.Write(&m); err != nil {
				t.Fatal(err)
			}
			return m.GetCounter().GetValue()
		}
		before := count()
		if _, err := (stanza{}).handler(t, w).ServeDNS(context.Background(), row.w, dnstext.Cluster.Query(t, "pods.shop.svc A")); err != nil {
			t.Fatal(err)
		}
		if got := count() - before; got != row.counted {
			t.Errorf("%d endpoints to %T: counted %v, want %v", row.endpoints, row.w, got, row.counted)
		}
	}
}

func TestName(t *testing.T) {
	for _, word := range []string{"clusterdns", "kubernetes"} {
		if got := (&Handler{cfg: &config{word: word}}).Name(); got != word {
			t.Errorf("got %q, want %q", got, word)
		}
	}
}
