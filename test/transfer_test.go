package test

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

const transferCorefile = `.:0 {
    errors
    transfer {
        to *
    }
    clusterdns cluster.local 10.in-addr.arpa {
        manifests ../corefile-examples/quickstart/cluster
        pods insecure
    }
}`

// axfr returns the records of a zone transfer, in the presentation format and
// without the serial.
func (s *server) axfr(t *testing.T, m *dns.Msg) (rrs []dns.RR) {
	t.Helper()
	in, err := (&dns.Transfer{DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience}).In(m, s.addr("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	for envelope := range in {
		if envelope.Error != nil {
			t.Fatal(envelope.Error)
		}
		rrs = append(rrs, envelope.RR...)
	}
	return rrs
}

// TestTransfer compares a transfer of the example cluster with what is in it,
// and every record with the answer to a question for it.
func TestTransfer(t *testing.T) {
	s := start(t, transferCorefile)
	m := new(dns.Msg)
	m.SetAxfr("cluster.local.")
	rrs := s.axfr(t, m)
	if n := len(rrs); n < 3 || rrs[0].Header().Rrtype != dns.TypeSOA || rrs[n-1].String() != rrs[0].String() {
		t.Fatalf("no SOA around %v", rrs)
	}
	var got []string
	for _, rr := range rrs {
		h := rr.Header()
		if strings.HasPrefix(h.Name, "ns.dns.") || h.Rrtype == dns.TypeSOA || h.Rrtype == dns.TypeNS {
			continue // this machine's addresses
		}
		got = append(got, strings.Join(strings.Fields(rr.String()), " "))
		q := new(dns.Msg)
		q.SetQuestion(h.Name, h.Rrtype)
		reply, _, err := s.exchange("tcp", q)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(reply.Answer, func(o dns.RR) bool { return o.String() == rr.String() }) {
			t.Errorf("transferred %v, answered %v", rr, reply.Answer)
		}
	}
	want := []string{
		"web.shop 5 IN A 10.96.0.10",
		"web.shop 5 IN SRV 0 50 80 web.shop", "web.shop 5 IN SRV 0 50 443 web.shop",
		"_http._tcp.web.shop 5 IN SRV 0 100 80 web.shop", "_https._tcp.web.shop 5 IN SRV 0 100 443 web.shop",
		"api.shop 5 IN A 10.96.0.20", "api.shop 5 IN AAAA fd00:10:96::20",
		"api.shop 5 IN SRV 0 50 9090 api.shop", "_grpc._tcp.api.shop 5 IN SRV 0 50 9090 api.shop",
		"cache.shop 5 IN A 10.244.1.21", "cache.shop 5 IN A 10.244.2.21",
		"10-244-1-21.cache.shop 5 IN A 10.244.1.21", "10-244-2-21.cache.shop 5 IN A 10.244.2.21",
		"_redis._tcp.cache.shop 5 IN SRV 0 50 6379 10-244-1-21.cache.shop", "_redis._tcp.cache.shop 5 IN SRV 0 50 6379 10-244-2-21.cache.shop",
		"database.shop 5 IN CNAME postgres.data", "payments.shop 5 IN CNAME payments.example.com.",
		"postgres.data 5 IN A 10.244.1.30", "postgres.data 5 IN A 10.244.2.30", "postgres.data 5 IN A 10.244.3.30",
		"postgres-0.postgres.data 5 IN A 10.244.1.30", "postgres-1.postgres.data 5 IN A 10.244.2.30", "postgres-2.postgres.data 5 IN A 10.244.3.30",
		"_postgres._tcp.postgres.data 5 IN SRV 0 33 5432 postgres-0.postgres.data", "_postgres._tcp.postgres.data 5 IN SRV 0 33 5432 postgres-1.postgres.data",
		"_postgres._tcp.postgres.data 5 IN SRV 0 33 5432 postgres-2.postgres.data",
	}
	for i := range want {
		want[i] = strings.NewReplacer(".shop", ".shop.svc.cluster.local.", ".data", ".data.svc.cluster.local.").Replace(want[i])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestTransferReverse transfers a reverse zone: IPv4 alone, each address once.
func TestTransferReverse(t *testing.T) {
	s := start(t, transferCorefile)
	m := new(dns.Msg)
	m.SetAxfr("10.in-addr.arpa.")
	var got []string
	for _, rr := range s.axfr(t, m) {
		if ptr, ok := rr.(*dns.PTR); ok {
			got = append(got, ptr.Hdr.Name+" "+ptr.Ptr)
		}
	}
	want := []string{
		"10.0.96.10.in-addr.arpa. web.shop.svc.cluster.local.",
		"10.1.244.10.in-addr.arpa. 10-244-1-10.web.shop.svc.cluster.local.",
		"10.2.244.10.in-addr.arpa. 10-244-2-10.web.shop.svc.cluster.local.",
		"20.0.96.10.in-addr.arpa. api.shop.svc.cluster.local.",
		"21.1.244.10.in-addr.arpa. 10-244-1-21.cache.shop.svc.cluster.local.",
		"21.2.244.10.in-addr.arpa. 10-244-2-21.cache.shop.svc.cluster.local.",
		"30.1.244.10.in-addr.arpa. postgres-0.postgres.data.svc.cluster.local.",
		"30.2.244.10.in-addr.arpa. postgres-1.postgres.data.svc.cluster.local.",
		"30.3.244.10.in-addr.arpa. postgres-2.postgres.data.svc.cluster.local.",
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestTransferIncremental asks as secondaries do that have a serial already.
func TestTransferIncremental(t *testing.T) {
	s := start(t, transferCorefile)
	m := new(dns.Msg)
	m.SetAxfr("cluster.local.")
	all := s.axfr(t, m)
	serial := all[0].(*dns.SOA).Serial
	for _, row := range []struct {
		name   string
		serial uint32
		want   int
	}{
		{"the current one", serial, 1}, {"a newer one", serial + 1, 1}, {"an older one", serial - 1, len(all)}, {"far behind", serial - 1<<31 + 1, len(all)},
	} {
		m := new(dns.Msg)
		m.SetIxfr("cluster.local.", row.serial, "ns.", "hostmaster.")
		if rrs := s.axfr(t, m); len(rrs) != row.want {
			t.Errorf("%s: %d records, want %d", row.name, len(rrs), row.want)
		}
	}
}
