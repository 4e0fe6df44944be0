package test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/test/dnstext"
	"github.com/clusterdns/clusterdns/test/freeport"

	"github.com/miekg/dns"
)

// outside is a folder with a service that is reached at n addresses from outside
// the cluster.
func outside(t *testing.T, n int) string {
	dir := t.TempDir()
	var ips []string
	for i := range n {
		ips = append(ips, fmt.Sprintf("192.0.2.%d", i+1))
	}
	put(t, dir, "cluster.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"+
		"spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80}], externalIPs: ["+strings.Join(ips, ", ")+"]}\n")
	return dir
}

// TestExternalTruncated asks for more addresses than fit into 512 octets, which
// are all there over TCP.
func TestExternalTruncated(t *testing.T) {
	s := start(t, fmt.Sprintf(".:0 {\n errors\n k8s_external example.org\n clusterdns cluster.local {\n manifests %s\n }\n}", outside(t, 60)))
	r := new(dns.Msg)
	r.SetQuestion("web.shop.example.org.", dns.TypeA)
	m, size, err := s.exchange("udp", r)
	if err != nil || !m.Truncated || size > dns.MinMsgSize || len(m.Answer) < (dns.MinMsgSize-12-26)/16-1 {
		t.Errorf("UDP: %d octets, %d records, tc %v, %v", size, len(m.Answer), m.Truncated, err)
	}
	if m, _, err = s.exchange("tcp", r); err != nil || m.Truncated || len(m.Answer) != 60 {
		t.Errorf("TCP: %d records, tc %v, %v", len(m.Answer), m.Truncated, err)
	}
}

// TestExternalTransfer transfers an external zone beside a cluster's, and a
// reverse zone that only the external stanza has.
func TestExternalTransfer(t *testing.T) {
	s := start(t, fmt.Sprintf(`.:0 {
		errors
		transfer {
			to *
		}
		bind 127.0.0.1
		k8s_external example.org 2.0.192.in-addr.arpa
		kubernetes cluster.local {
			manifests %s
		}
	}`, outside(t, 2)))
	for _, row := range []struct {
		zone string
		want []string
	}{
		{"example.org.", []string{"_http._tcp.web.shop.example.org. SRV", "example.org. NS", "example.org. SOA", "example.org. SOA",
			"web.shop.example.org. A", "web.shop.example.org. A", "web.shop.example.org. SRV"}},
		{"2.0.192.in-addr.arpa.", []string{"1.2.0.192.in-addr.arpa. PTR", "2.0.192.in-addr.arpa. NS", "2.0.192.in-addr.arpa. SOA",
			"2.0.192.in-addr.arpa. SOA", "2.2.0.192.in-addr.arpa. PTR"}},
		{"cluster.local.", []string{"_http._tcp.web.shop.svc.cluster.local. SRV", "cluster.local. SOA", "cluster.local. SOA",
			"web.shop.svc.cluster.local. A", "web.shop.svc.cluster.local. SRV"}},
	} {
		m := new(dns.Msg)
		m.SetAxfr(row.zone)
		rrs := s.axfr(t, m)
		var got []string
		for _, rr := range rrs {
			got = append(got, rr.Header().Name+" "+dns.TypeToString[rr.Header().Rrtype])
		}
		slices.Sort(got)
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", row.zone, strings.Join(got, "\n"), strings.Join(row.want, "\n"))
		}
		m.SetIxfr(row.zone, rrs[0].(*dns.SOA).Serial, "ns.", "hostmaster.")
		if rrs := s.axfr(t, m); len(rrs) != 1 {
			t.Errorf("%s, up to date: %v", row.zone, rrs)
		}
	}
}

// TestExternalWithoutServer starts without an API server: SERVFAIL, whatever
// there is to fall through to, and not ready.
func TestExternalWithoutServer(t *testing.T) {
	ready := freeport.Of(t)
	s := start(t, fmt.Sprintf(`.:0 {
		ready 127.0.0.1:%s
		k8s_external example.org {
			fallthrough
		}
		clusterdns cluster.local {
			endpoint http://127.0.0.1:%s
			startup_timeout 1ms
		}
		whoami
	}`, ready, freeport.Of(t)))
	const soa = "SERVFAIL aa rd\n;; authority\nexample.org. SOA ns1.dns.example.org. hostmaster.dns.example.org. 0 7200 1800 86400 5"
	for _, q := range []string{"web.shop.example.org. A", "example.org. SOA", "nothing.shop.example.org. TXT"} {
		s.expect(t, dnstext.Cluster, q, soa)
	}
	if status, body := get(t, fmt.Sprintf("http://127.0.0.1:%s/ready", ready)); status != http.StatusServiceUnavailable || !strings.Contains(body, "k8s_external") {
		t.Errorf("ready: %d %s", status, body)
	}
}
