package clusterdns

import (
	"net/netip"
	"testing"

	"github.com/clusterdns/clusterdns/test/dnstext"
)

// The tables of CoreDNS 1.15.0: plugin/k8s_external/external_test.go, apex_test.go
// and plugin/kubernetes/external_test.go, whose cases are among them. Different is
// the owner hostmaster.dns where external_test.go, which does not look at it,
// writes hostmaster. Outside of the zones, where it has no server, nothing exists.
func TestExternalStock(t *testing.T) {
	w := newWorld(t, stockOutside)
	h := externalStanza{zones: []string{"example.com.", "in-addr.arpa."}, headless: true,
		of: stanza{local: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}}.handler(t, w.Writer)
	s := newServer(t, &outside{replies: map[string]string{"": "NXDOMAIN"}}, h)
	expectOutside(t, s, exampleCom, `
		? 4.3.2.1.in-addr.arpa. PTR
		NOERROR aa rd
		4.3.2.1.in-addr.arpa. PTR svc1.testns
		? svc1.testns PTR
		NOERROR aa rd soa
		? not-existing.testns PTR
		NXDOMAIN aa rd soa
		? svc1.testns A
		NOERROR aa rd
		svc1.testns A 1.2.3.4
		? svc1.testns SRV
		NOERROR aa rd
		svc1.testns SRV 0 100 80 svc1.testns
		;; additional
		svc1.testns A 1.2.3.4
		? *._not-udp-or-tcp.svc1.testns SRV
		NXDOMAIN aa rd soa
		? _http._tcp.svc1.testns SRV
		NOERROR aa rd
		_http._tcp.svc1.testns SRV 0 100 80 svc1.testns
		;; additional
		svc1.testns A 1.2.3.4
		? _http._tcp.svc1.testns A
		NOERROR aa rd
		_http._tcp.svc1.testns A 1.2.3.4
		? svc1.testns AAAA
		NOERROR aa rd soa
		? svc0.testns AAAA
		NXDOMAIN aa rd soa
		? svc0.testns A
		NXDOMAIN aa rd soa
		? svc0.svc-nons A
		NXDOMAIN aa rd soa
		? endpoint-1.svc-nons.testns A
		NXDOMAIN aa rd soa
		? svc6.testns AAAA
		NOERROR aa rd
		svc6.testns AAAA 1:2::5
		? svc6.testns A
		NOERROR aa rd soa
		? _http._tcp.svc6.testns SRV
		NOERROR aa rd
		_http._tcp.svc6.testns SRV 0 100 80 svc6.testns
		;; additional
		svc6.testns AAAA 1:2::5
		? svc6.testns SRV
		NOERROR aa rd
		svc6.testns SRV 0 100 80 svc6.testns
		;; additional
		svc6.testns AAAA 1:2::5
		? testns A
		NOERROR aa rd soa
		? testns SOA
		NOERROR aa rd soa
		? svc11.testns A
		NOERROR aa rd
		svc11.testns A 2.3.4.5
		? _http._tcp.svc11.testns SRV
		NOERROR aa rd
		_http._tcp.svc11.testns SRV 0 100 80 svc11.testns
		;; additional
		svc11.testns A 2.3.4.5
		? svc11.testns SRV
		NOERROR aa rd
		svc11.testns SRV 0 100 80 svc11.testns
		;; additional
		svc11.testns A 2.3.4.5
		? svc12.testns A
		NOERROR aa rd
		svc12.testns CNAME dummy.hostname.
		? _http._tcp.svc12.testns SRV
		NOERROR aa rd
		_http._tcp.svc12.testns SRV 0 100 80 dummy.hostname.
		? svc12.testns SRV
		NOERROR aa rd
		svc12.testns SRV 0 100 80 dummy.hostname.
		? svc-headless.testns A
		NOERROR aa rd
		svc-headless.testns A 1.2.3.4
		svc-headless.testns A 1.2.3.5
		? svc-headless.testns SRV
		NOERROR aa rd
		svc-headless.testns SRV 0 50 80 endpoint-svc-0.svc-headless.testns
		svc-headless.testns SRV 0 50 80 endpoint-svc-1.svc-headless.testns
		;; additional
		endpoint-svc-0.svc-headless.testns A 1.2.3.4
		endpoint-svc-1.svc-headless.testns A 1.2.3.5
		? _http._tcp.svc-headless.testns SRV
		NOERROR aa rd
		_http._tcp.svc-headless.testns SRV 0 50 80 endpoint-svc-0.svc-headless.testns
		_http._tcp.svc-headless.testns SRV 0 50 80 endpoint-svc-1.svc-headless.testns
		;; additional
		endpoint-svc-0.svc-headless.testns A 1.2.3.4
		endpoint-svc-1.svc-headless.testns A 1.2.3.5
		? endpoint-svc-0.svc-headless.testns SRV
		NOERROR aa rd
		endpoint-svc-0.svc-headless.testns SRV 0 100 80 endpoint-svc-0.svc-headless.testns
		;; additional
		endpoint-svc-0.svc-headless.testns A 1.2.3.4
		? endpoint-svc-1.svc-headless.testns SRV
		NOERROR aa rd
		endpoint-svc-1.svc-headless.testns SRV 0 100 80 endpoint-svc-1.svc-headless.testns
		;; additional
		endpoint-svc-1.svc-headless.testns A 1.2.3.5
		? endpoint-svc-0.svc-headless.testns A
		NOERROR aa rd
		endpoint-svc-0.svc-headless.testns A 1.2.3.4
		? endpoint-svc-1.svc-headless.testns A
		NOERROR aa rd
		endpoint-svc-1.svc-headless.testns A 1.2.3.5

		? @ SOA
		NOERROR aa rd
		@ SOA ns1.dns hostmaster.dns 0 7200 1800 86400 5
		? @ NS
		NOERROR aa rd
		@ NS ns1.dns
		;; additional
		ns1.dns A 127.0.0.1
		? @ SRV
		NOERROR aa rd soa
		? dns SRV
		NOERROR aa rd soa
		? dns NS
		NOERROR aa rd soa
		? ns1.dns SRV
		NOERROR aa rd soa
		? ns1.dns NS
		NOERROR aa rd soa
		? ns1.dns AAAA
		NOERROR aa rd soa
		? ns1.dns A
		NOERROR aa rd
		ns1.dns A 127.0.0.1
	`)
}

// moreOutside is a service for each thing that stockOutside has none of.
const moreOutside = `
	ns shop
	svc shop/web 10.96.0.10 http:TCP:80 https:TCP:443 outside=192.0.2.1 outside=2001:db8::1 outside=192.0.2.1
	svc shop/twin 10.96.0.11 http:TCP:80 outside=192.0.2.1
	svc shop/inside 10.96.0.12 http:TCP:80
	slice shop/inside-1 inside http:TCP:8080 pod-0=10.244.0.1
	svc shop/portless 10.96.0.13 outside=192.0.2.3
	headless shop/both http:TCP:80 outside=192.0.2.4
	slice shop/both-1 both http:TCP:8080 10.244.0.2
	external shop/name example.org outside=192.0.2.5 http:TCP:80
	headless shop/db sql:TCP:5432
	slice shop/db-1 db sql:TCP:5432 10.244.0.3 !10.244.0.4 fd00::3
	svc gone/web 10.96.0.14 http:TCP:80 outside=192.0.2.6`

func TestExternalNames(t *testing.T) {
	w := newWorld(t, moreOutside)
	zones := []string{"example.com.", "2.0.192.in-addr.arpa.", "ip6.arpa."}
	h := externalStanza{zones: zones}.handler(t, w.Writer)
	expectOutside(t, h, exampleCom, `
		? web.shop A
		NOERROR aa rd
		web.shop A 192.0.2.1
		? wEb.SHOP.Example.COM. AAAA
		NOERROR aa rd
		wEb.SHOP.Example.COM. AAAA 2001:db8::1
		? web.shop.Example.COM. SRV
		NOERROR aa rd
		web.shop.Example.COM. SRV 0 16 80 web.shop.Example.COM.
		web.shop.Example.COM. SRV 0 16 443 web.shop.Example.COM.
		;; additional
		web.shop.Example.COM. A 192.0.2.1
		web.shop.Example.COM. AAAA 2001:db8::1
		? _https._tcp.web.shop SRV
		NOERROR aa rd
		_https._tcp.web.shop SRV 0 33 443 web.shop
		;; additional
		web.shop A 192.0.2.1
		web.shop AAAA 2001:db8::1
		? _https._udp.web.shop SRV
		NXDOMAIN aa rd soa
		? any-label.web.shop A
		NOERROR aa rd
		any-label.web.shop A 192.0.2.1
		? a.b.c.web.shop A
		NXDOMAIN aa rd soa
		? web.shop TXT
		NOERROR aa rd soa
		? web.shop CNAME
		NOERROR aa rd soa
		? web.shop SOA
		NOERROR aa rd soa
		? nothing.shop SOA
		NXDOMAIN aa rd soa
		? portless.shop A
		NOERROR aa rd
		portless.shop A 192.0.2.3
		? portless.shop SRV
		NOERROR aa rd soa
		? both.shop A
		NOERROR aa rd
		both.shop A 192.0.2.4
		? name.shop A
		NOERROR aa rd
		name.shop A 192.0.2.5
		? inside.shop A
		NXDOMAIN aa rd soa
		? pod-0.inside.shop A
		NXDOMAIN aa rd soa
		? db.shop A
		NXDOMAIN aa rd soa
		? web.gone A
		NXDOMAIN aa rd soa
		? web.shop.svc A
		NXDOMAIN aa rd soa
		? x.dns A
		NXDOMAIN aa rd soa
		? x.ns1.dns A
		NXDOMAIN aa rd soa
		? DNS.example.com. A
		NOERROR aa rd soa
		? 1.2.0.192.in-addr.arpa. PTR
		NOERROR aa rd
		1.2.0.192.in-addr.arpa. PTR web.shop
		1.2.0.192.in-addr.arpa. PTR twin.shop
	`)
	expectOutside(t, h, dnstext.Context{Origin: "2.0.192.in-addr.arpa.", TTL: 5}, `
		? 1 A
		NOERROR aa rd soa
		? 9 PTR
		NXDOMAIN aa rd soa
		? 6 PTR
		NOERROR aa rd
		6 PTR web.gone.example.com.
	`)
	expectOutside(t, externalStanza{headless: true}.handler(t, w.Writer), exampleCom, `
		? db.shop A
		NOERROR aa rd
		db.shop A 10.244.0.3
		? db.shop AAAA
		NOERROR aa rd
		db.shop AAAA fd00::3
		? 10-244-0-3.db.shop A
		NOERROR aa rd
		10-244-0-3.db.shop A 10.244.0.3
		? 10-244-0-4.db.shop A
		NXDOMAIN aa rd soa
		? both.shop A
		NOERROR aa rd
		both.shop A 192.0.2.4
		? inside.shop A
		NXDOMAIN aa rd soa
		? pod-0.inside.shop A
		NOERROR aa rd
		pod-0.inside.shop A 10.244.0.1
		? _pod-0.inside.shop SRV
		NOERROR aa rd
		_pod-0.inside.shop SRV 0 100 8080 pod-0.inside.shop
		;; additional
		pod-0.inside.shop A 10.244.0.1
	`)
}

// TestExternalUnseen asks the cluster's zones for what is only outside: it is
// not there.
func TestExternalUnseen(t *testing.T) {
	w := newWorld(t, moreOutside)
	h := stanza{zones: []string{"cluster.local.", "in-addr.arpa."}}.handler(t, w.Writer)
	expect(t, h, dnstext.Cluster, `
		? 1.2.0.192.in-addr.arpa. PTR
		NXDOMAIN aa rd
		;; authority
		in-addr.arpa. SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. 0 7200 1800 86400 5
		? web.shop.svc A
		NOERROR aa rd
		web.shop.svc A 10.96.0.10
	`)
}
