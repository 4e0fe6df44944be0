package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestNegativeCache creates services whose names are known, and remembered, not
// to exist. As soon as the serial tells that a service is published, the name
// resolves. The cache is the chain's; the fast lane has no use for one.
func TestNegativeCache(t *testing.T) {
	const services = 200
	server := newServer(t, config{stanza: []string{"kubeconfig " + cluster.Kubeconfig(), "fastlane off"}})
	if err := server.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := newSpace(t, client)
	hits := server.metric(t, "coredns_clusterdns_negative_cache_hits_total")
	invalidations := server.metric(t, "coredns_clusterdns_negative_cache_invalidations_total")
	s.create(service("first"))
	server.becomes(t, a(s.fqdn("no-such")), nxdomain)

	var latencies []time.Duration
	queries := 0
	for i := range services {
		svc := service(fmt.Sprintf("web-%d", i))
		q := a(s.fqdn(svc.Name))
		for range 2 {
			if got := server.ask("udp", q); got != nxdomain {
				t.Fatalf("%v: %s before it is created", q, got)
			}
		}
		svc = s.create(svc)
		acknowledged := time.Now()
		version, err := strconv.ParseUint(svc.ResourceVersion, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		want := addrText(q, svc.Spec.ClusterIP)
		for {
			queries++
			published := server.serial(t) >= uint32(version)
			got := server.ask("udp", q)
			if got == want {
				break
			}
			if got != nxdomain || published || time.Since(acknowledged) > limit {
				t.Fatalf("%v, %v after the service was created: %s; published: %v", q, time.Since(acknowledged), got, published)
			}
		}
		latencies = append(latencies, time.Since(acknowledged))
	}
	slices.Sort(latencies)
	t.Logf("write acknowledged to first right answer of %d services: p50 %v, p99 %v, worst %v; %d queries",
		services, latencies[services/2], latencies[services*99/100], latencies[services-1], queries)

	hits = server.metric(t, "coredns_clusterdns_negative_cache_hits_total") - hits
	invalidations = server.metric(t, "coredns_clusterdns_negative_cache_invalidations_total") - invalidations
	if hits < services || invalidations < services {
		t.Errorf("the negative cache had %v hits and %v invalidations, want %d at least", hits, invalidations, services)
	}
}

// serial returns the zone's serial.
func (s *server) serial(t *testing.T) uint32 {
	t.Helper()
	r, err := s.exchange("udp", question{"cluster.local.", dns.TypeSOA})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Answer) != 1 {
		t.Fatalf("SOA: %v", r)
	}
	return r.Answer[0].(*dns.SOA).Serial
}
