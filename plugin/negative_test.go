package clusterdns

import (
	"fmt"
	"sync"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/miekg/dns"
)

// An object that appears is seen by the very next query, whatever was cached.
func TestNegativeCacheSeesNewObjects(t *testing.T) {
	for _, row := range []struct {
		name, before, question, cached string
		change                         string
		want                           string
	}{
		{"service", "ns shop", "new.shop.svc A", "NXDOMAIN aa rd soa",
			"svc shop/new 10.96.7.1 http:TCP:80", "NOERROR aa rd\nnew.shop.svc A 10.96.7.1"},
		{"service, in the question's spelling", "ns shop", "NeW.shop.svc A", "NXDOMAIN aa rd soa",
			"svc shop/new 10.96.7.1 http:TCP:80", "NOERROR aa rd\nNeW.shop.svc A 10.96.7.1"},
		{"port", "ns shop\nsvc shop/web 10.96.7.1 http:TCP:80", "_dns._udp.web.shop.svc SRV", "NXDOMAIN aa rd soa",
			"svc shop/web 10.96.7.1 http:TCP:80 dns:UDP:53",
			"NOERROR aa rd\n_dns._udp.web.shop.svc SRV 0 100 53 web.shop.svc\n;; additional\nweb.shop.svc A 10.96.7.1"},
		{"second family", "ns shop\nsvc shop/web 10.96.7.1 http:TCP:80", "web.shop.svc AAAA", "NOERROR aa rd soa",
			"svc shop/web 10.96.7.1 fd00::7:1 http:TCP:80", "NOERROR aa rd\nweb.shop.svc AAAA fd00::7:1"},
		{"first endpoint", "ns shop\nheadless shop/pods http:TCP:80", "pods.shop.svc A", "NXDOMAIN aa rd soa",
			"slice shop/pods-1 pods http:TCP:80 10.244.0.9", "NOERROR aa rd\npods.shop.svc A 10.244.0.9"},
		{"endpoint that gets ready", "ns shop\nheadless shop/pods http:TCP:80\nslice shop/pods-1 pods http:TCP:80 !10.244.0.9",
			"10-244-0-9.pods.shop.svc A", "NXDOMAIN aa rd soa",
			"slice shop/pods-1 pods http:TCP:80 10.244.0.9", "NOERROR aa rd\n10-244-0-9.pods.shop.svc A 10.244.0.9"},
		{"hostname", "ns shop\nheadless shop/pods http:TCP:80\nslice shop/pods-1 pods http:TCP:80 a-0=10.244.0.9",
			"a-1.pods.shop.svc A", "NXDOMAIN aa rd soa",
			"slice shop/pods-1 pods http:TCP:80 a-0=10.244.0.9 a-1=10.244.0.10", "NOERROR aa rd\na-1.pods.shop.svc A 10.244.0.10"},
		{"namespace of services known before", "svc late/web 10.96.7.1 http:TCP:80", "web.late.svc A", "NXDOMAIN aa rd soa",
			"ns late", "NOERROR aa rd\nweb.late.svc A 10.96.7.1"},
		{"the namespace's own name", "", "late.svc A", "NXDOMAIN aa rd soa", "ns late", "NOERROR aa rd soa"},
		{"PTR of a ClusterIP", "ns shop", "1.7.96.10.in-addr.arpa. PTR", "NXDOMAIN aa rd" + reverseSOA,
			"svc shop/web 10.96.7.1 http:TCP:80", "NOERROR aa rd\n1.7.96.10.in-addr.arpa. PTR web.shop.svc"},
		{"PTR of an endpoint", "ns shop", "9.0.244.10.in-addr.arpa. PTR", "NXDOMAIN aa rd" + reverseSOA,
			"slice shop/pods-1 pods http:TCP:80 10.244.0.9", "NOERROR aa rd\n9.0.244.10.in-addr.arpa. PTR 10-244-0-9.pods.shop.svc"},
		{"pod", "ns shop", "10-244-0-9.shop.pod A", "NXDOMAIN aa rd soa",
			"pod shop/p 10.244.0.9", "NOERROR aa rd\n10-244-0-9.shop.pod A 10.244.0.9"},
		{"alias", "ns shop\nsvc shop/web 10.96.7.1 http:TCP:80", "alias.shop.svc A", "NXDOMAIN aa rd soa",
			"external shop/alias web.shop.svc.cluster.local",
			"NOERROR aa rd\nalias.shop.svc CNAME web.shop.svc\nweb.shop.svc A 10.96.7.1"},
		{"an alias's target", "ns shop\nexternal shop/alias web.shop.svc.cluster.local", "alias.shop.svc A", "NOERROR aa rd soa",
			"svc shop/web 10.96.7.1 http:TCP:80",
			"NOERROR aa rd\nalias.shop.svc CNAME web.shop.svc\nweb.shop.svc A 10.96.7.1"},
		{"from ClusterIP to alias", "ns shop\nsvc shop/web 10.96.7.1 http:TCP:80\nsvc shop/db 10.96.7.2 x:TCP:1", "web.shop.svc CNAME", "NOERROR aa rd soa",
			"external shop/web db.shop.svc.cluster.local", "NOERROR aa rd\nweb.shop.svc CNAME db.shop.svc"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.before)
			h := stanza{zones: []string{"cluster.local.", "10.in-addr.arpa."}, pods: zone.PodsVerified, negativeCache: 16}.handler(t, w.Writer)
			table := func(reply string) string { return "? " + row.question + "\n" + reply }
			expect(t, h, dnstext.Cluster, table(row.cached))
			expect(t, h, dnstext.Cluster, table(row.cached))
			w.set(t, row.change)
			expect(t, h, dnstext.Cluster, table(row.want))
		})
	}
}

const reverseSOA = "\n;; authority\n10.in-addr.arpa. SOA ns.dns.10.in-addr.arpa. hostmaster.10.in-addr.arpa. 0 7200 1800 86400 5"

// From NXDOMAIN to NODATA and back.
func TestNegativeCacheChangesKind(t *testing.T) {
	w := newWorld(t, "ns shop")
	h := stanza{negativeCache: 16}.handler(t, w.Writer)
	for range 3 {
		expect(t, h, dnstext.Cluster, "? web.shop.svc AAAA\nNXDOMAIN aa rd soa")
		w.set(t, "svc shop/web 10.96.7.1 http:TCP:80")
		expect(t, h, dnstext.Cluster, "? web.shop.svc AAAA\nNOERROR aa rd soa")
		w.remove(zone.Services, "shop/web")
	}
}

func TestNegativeCacheCounts(t *testing.T) {
	w := newWorld(t, "ns shop\nsvc shop/web 10.96.7.1 http:TCP:80")
	h := stanza{negativeCache: 2}.handler(t, w.Writer)
	questions := func(questions ...string) {
		for _, q := range questions {
			ask(t, h, dnstext.Cluster.Query(t, q))
		}
	}
	counts := func(when string, want zone.NegativeStats) {
		t.Helper()
		if got := h.negatives.stats(); got != want {
			t.Errorf("%s: got %+v, want %+v", when, got, want)
		}
	}
	questions("a.shop.svc A")
	counts("a first question", zone.NegativeStats{Misses: 1, Size: 1})
	questions("a.shop.svc A", "a.shop.svc A")
	counts("the same again", zone.NegativeStats{Hits: 2, Misses: 1, Size: 1})
	questions("a.shop.svc AAAA", "A.shop.svc A")
	counts("another type, and spelling, past the size", zone.NegativeStats{Hits: 2, Misses: 3, Size: 2})
	questions("web.shop.svc A", "web.shop.svc A")
	counts("positive answers", zone.NegativeStats{Hits: 2, Misses: 5, Size: 2})
	w.set(t, "svc shop/a 10.96.7.2 http:TCP:80")
	questions("A.shop.svc A")
	counts("an answer that is one now", zone.NegativeStats{Hits: 2, Misses: 6, Invalidations: 1, Size: 1})
	questions("A.shop.svc AAAA")
	counts("NODATA", zone.NegativeStats{Hits: 2, Misses: 7, Invalidations: 1, Size: 2})
}

func TestNegativeCacheOff(t *testing.T) {
	h := stanza{}.handler(t, newWorld(t, "ns shop").Writer)
	for range 2 {
		expect(t, h, dnstext.Cluster, "? a.shop.svc A\nNXDOMAIN aa rd soa")
	}
	if got := h.negatives.stats(); got != (zone.NegativeStats{}) {
		t.Errorf("got %+v", got)
	}
}

// A cached reply has the serial of now, and is the caller's to change.
func TestNegativeCacheReplies(t *testing.T) {
	w := newWorld(t, "ns shop\nns elsewhere")
	h := stanza{negativeCache: 16}.handler(t, w.Writer)
	r := dnstext.Cluster.Query(t, "a.shop.svc A")
	serial := func(m *dns.Msg) uint32 { return m.Ns[0].(*dns.SOA).Serial }
	first := ask(t, h, r)
	for _, m := range []*dns.Msg{first, ask(t, h, r), ask(t, h, r)} {
		if got, want := serial(m), w.Index().Serial(); got != want {
			t.Errorf("serial %d, want %d", got, want)
		}
		// As the plugins rewrite and cache do.
		soa := m.Ns[0].(*dns.SOA)
		soa.Hdr.Name, soa.Hdr.Ttl, soa.Ns, soa.Serial = "spoilt.", 0, "spoilt.", 0
		m.Rcode, m.Ns = dns.RcodeRefused, nil
	}
	hits := h.negatives.stats().Hits
	if hits != 2 {
		t.Fatalf("%d hits, want 2", hits)
	}
	// A change elsewhere moves the serial, and the entry stays: with as many
	// generations as there are, one of these services leaves it alone.
	for i := range 20 {
		w.set(t, fmt.Sprintf("svc elsewhere/s%d 10.96.8.%d http:TCP:80", i, i))
		m := ask(t, h, r)
		if got, want := serial(m), w.Index().Serial(); got != want {
			t.Errorf("serial %d after a change, want %d", got, want)
		}
		want, err := dnstext.Cluster.Parse(fmt.Sprintf("NXDOMAIN aa rd\n;; authority\n@ SOA ns.dns hostmaster %d 7200 1800 86400 5", w.Index().Serial()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := want.Diff(m); diff != "" {
			t.Error(diff)
		}
	}
	if got := h.negatives.stats().Hits; got < hits+15 {
		t.Errorf("%d of 20 replies came from the cache", got-hits)
	}
}

// The header is the query's, not that of the one which filled the cache.
func TestNegativeCacheHeader(t *testing.T) {
	h := stanza{negativeCache: 16}.handler(t, newWorld(t, "ns shop").Writer)
	r := dnstext.Cluster.Query(t, "a.shop.svc A")
	ask(t, h, r)
	r.Id++
	r.RecursionDesired, r.CheckingDisabled = false, true
	want, err := dnstext.Cluster.Parse("NXDOMAIN aa cd soa")
	if err != nil {
		t.Fatal(err)
	}
	if diff := want.Diff(ask(t, h, r)); diff != "" {
		t.Error(diff)
	}
	if h.negatives.stats().Hits != 1 {
		t.Error("not from the cache")
	}
}

// Services come and go while others ask: who knows of a service (the change
// was published) never gets a negative answer, nor the other way round.
func TestNegativeCacheConcurrently(t *testing.T) {
	w := newWorld(t, "ns shop")
	h := stanza{negativeCache: 4}.handler(t, w.Writer)
	stop := make(chan struct{})
	var crowd sync.WaitGroup
	defer crowd.Wait()
	defer close(stop)
	for range 4 {
		crowd.Go(func() { // keeps the cache filled, at any moment
			r := dnstext.Cluster.Query(t, "on-off.shop.svc A")
			for {
				select {
				case <-stop:
					return
				default:
					ask(t, h, r)
				}
			}
		})
	}
	r := dnstext.Cluster.Query(t, "on-off.shop.svc A")
	for range 500 {
		w.set(t, "svc shop/on-off 10.96.7.1 http:TCP:80")
		if m := ask(t, h, r); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
			t.Fatalf("after the service was published: %v", dnstext.Of(m))
		}
		w.remove(zone.Services, "shop/on-off")
		if m := ask(t, h, r); m.Rcode != dns.RcodeNameError {
			t.Fatalf("after the service was taken out: %v", dnstext.Of(m))
		}
	}
}
