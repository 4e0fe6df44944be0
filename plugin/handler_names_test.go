package clusterdns

import (
	"net/netip"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"
)

// cluster holds one object of each sort that names are made from.
const cluster = `
	ns shop
	ns data
	svc shop/web 10.96.0.10 http:TCP:80 https:TCP:443
	slice shop/web-1 web http:TCP:8080 https:TCP:8443 10.244.1.10
	svc shop/dual 10.96.0.20 fd00:10:96::20 grpc:TCP:9090
	svc shop/six fd00:10:96::6 http:TCP:80
	svc shop/dns 10.96.0.53 dns:UDP:53 dns-tcp:TCP:53 metrics:TCP:9153
	svc shop/unnamed 10.96.0.54 :TCP:70
	svc shop/pending http:TCP:80
	svc shop/7even 10.96.0.7 http:TCP:80
	svc hidden/web 10.96.9.9 http:TCP:80
	headless shop/cache redis:TCP:6379
	slice shop/cache-1 cache redis:TCP:6379 10.244.1.21 10.244.2.21 !10.244.3.21
	headless shop/early redis:TCP:6379 all
	slice shop/early-1 early redis:TCP:6379 10.244.1.22 !10.244.2.22
	headless shop/none redis:TCP:6379
	slice shop/none-1 none redis:TCP:6379 !10.244.3.23
	headless shop/portless
	slice shop/portless-1 portless 10.244.1.24
	headless shop/six-pods http:TCP:80
	slice shop/six-pods-1 six-pods http:TCP:80 fd00:10:244::
	headless data/sql sql:TCP:5432
	slice data/sql-1 sql sql:TCP:5432 sql-0=10.244.1.30 sql-1=10.244.2.30
	slice data/sql-2 sql sql:TCP:5432 sql-0=fd00:10:244::30
	external shop/db sql-1.sql.data.svc.cluster.local
	external shop/DB-of-old Sql-1.SQL.data.svc.Cluster.Local
	external shop/alias db.shop.svc.cluster.local
	external shop/dead nobody.shop.svc.cluster.local
	external shop/loop-a loop-b.shop.svc.cluster.local
	external shop/loop-b loop-a.shop.svc.cluster.local
	external shop/selfie selfie.shop.svc.cluster.local
	external shop/ip 192.0.2.1
	pod shop/p 10.244.1.10`

func TestNames(t *testing.T) {
	w := newWorld(t, cluster)
	h := stanza{local: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}}.handler(t, w.Writer)
	expect(t, h, dnstext.Cluster, `
		? @ A
		NOERROR aa rd soa
		? @ TXT
		NOERROR aa rd soa
		? svc A
		NOERROR aa rd soa
		? svc TXT
		NOERROR aa rd soa
		? pod AAAA
		NOERROR aa rd soa
		? shop.svc SRV
		NOERROR aa rd soa
		? shop.svc TXT
		NOERROR aa rd soa
		? shop.pod A
		NXDOMAIN aa rd soa
		? foo A
		NXDOMAIN aa rd soa
		? nowhere.svc A
		NXDOMAIN aa rd soa
		? nothing.shop.svc A
		NXDOMAIN aa rd soa
		? nothing.shop.svc TXT
		NXDOMAIN aa rd soa
		? a.b.c.web.shop.svc A
		NXDOMAIN aa rd soa
		? web.hidden.svc A
		NXDOMAIN aa rd soa

		? @ SOA
		NOERROR aa rd
		@ SOA ns.dns hostmaster 0 7200 1800 86400 5
		? web.shop.svc SOA
		NOERROR aa rd soa
		? @ NS
		NOERROR aa rd
		@ NS ns.dns
		;; additional
		ns.dns A 192.0.2.53
		ns.dns AAAA 2001:db8::53
		? CLUSTER.local. NS
		NOERROR aa rd
		CLUSTER.local. NS ns.dns.CLUSTER.local.
		;; additional
		ns.dns.CLUSTER.local. A 192.0.2.53
		ns.dns.CLUSTER.local. AAAA 2001:db8::53
		? web.shop.svc NS
		NOERROR aa rd soa
		? ns.dns A
		NOERROR aa rd
		ns.dns A 192.0.2.53
		? nS.DNS.CLUSTER.local. AAAA
		NOERROR aa rd
		nS.DNS.CLUSTER.local. AAAA 2001:db8::53
		? ns.dns TXT
		NOERROR aa rd soa
		? dns-version TXT
		NOERROR aa rd
		dns-version 28800 TXT "1.1.0"
		? DNS-Version TXT
		NOERROR aa rd
		DNS-Version 28800 TXT "1.1.0"
		? dns-version A
		NOERROR aa rd soa

		? web.shop.svc A
		NOERROR aa rd
		web.shop.svc A 10.96.0.10
		? web.shop.svc AAAA
		NOERROR aa rd soa
		? web.shop.svc TXT
		NOERROR aa rd soa
		? web.shop.svc MX
		NOERROR aa rd soa
		? web.shop.svc CNAME
		NOERROR aa rd soa
		? WEB.Shop.SVC.cluster.LOCAL. A
		NOERROR aa rd
		WEB.Shop.SVC.cluster.LOCAL. A 10.96.0.10
		? dual.shop.svc A
		NOERROR aa rd
		dual.shop.svc A 10.96.0.20
		? dual.shop.svc AAAA
		NOERROR aa rd
		dual.shop.svc AAAA fd00:10:96::20
		? six.shop.svc AAAA
		NOERROR aa rd
		six.shop.svc AAAA fd00:10:96::6
		? six.shop.svc A
		NOERROR aa rd soa
		? 7even.shop.svc A
		NOERROR aa rd
		7even.shop.svc A 10.96.0.7
		? _http._tcp.web.shop.svc A
		NOERROR aa rd
		_http._tcp.web.shop.svc A 10.96.0.10
		? _ftp._tcp.web.shop.svc A
		NXDOMAIN aa rd soa
		? 10-244-1-10.web.shop.svc A
		NOERROR aa rd
		10-244-1-10.web.shop.svc A 10.244.1.10
		? 10-244-1-11.web.shop.svc A
		NXDOMAIN aa rd soa

		? _http._tcp.web.shop.svc SRV
		NOERROR aa rd
		_http._tcp.web.shop.svc SRV 0 100 80 web.shop.svc
		;; additional
		web.shop.svc A 10.96.0.10
		? _http._udp.web.shop.svc SRV
		NXDOMAIN aa rd soa
		? web.shop.svc SRV
		NOERROR aa rd
		web.shop.svc SRV 0 50 80 web.shop.svc
		web.shop.svc SRV 0 50 443 web.shop.svc
		;; additional
		web.shop.svc A 10.96.0.10
		? _grpc._tcp.dual.shop.svc SRV
		NOERROR aa rd
		_grpc._tcp.dual.shop.svc SRV 0 50 9090 dual.shop.svc
		;; additional
		dual.shop.svc A 10.96.0.20
		dual.shop.svc AAAA fd00:10:96::20
		? dns.shop.svc SRV
		NOERROR aa rd
		dns.shop.svc SRV 0 33 53 dns.shop.svc
		dns.shop.svc SRV 0 33 9153 dns.shop.svc
		;; additional
		dns.shop.svc A 10.96.0.53
		? unnamed.shop.svc SRV
		NOERROR aa rd
		unnamed.shop.svc SRV 0 100 70 unnamed.shop.svc
		;; additional
		unnamed.shop.svc A 10.96.0.54
		? WEB.shop.svc.Cluster.local. SRV
		NOERROR aa rd
		WEB.shop.svc.Cluster.local. SRV 0 50 80 web.shop.svc.Cluster.local.
		WEB.shop.svc.Cluster.local. SRV 0 50 443 web.shop.svc.Cluster.local.
		;; additional
		web.shop.svc.Cluster.local. A 10.96.0.10

		? cache.shop.svc A
		NOERROR aa rd
		cache.shop.svc A 10.244.1.21
		cache.shop.svc A 10.244.2.21
		? cache.shop.svc AAAA
		NOERROR aa rd soa
		? 10-244-1-21.cache.shop.svc A
		NOERROR aa rd
		10-244-1-21.cache.shop.svc A 10.244.1.21
		? 10-244-3-21.cache.shop.svc A
		NXDOMAIN aa rd soa
		? _redis._tcp.cache.shop.svc SRV
		NOERROR aa rd
		_redis._tcp.cache.shop.svc SRV 0 50 6379 10-244-1-21.cache.shop.svc
		_redis._tcp.cache.shop.svc SRV 0 50 6379 10-244-2-21.cache.shop.svc
		;; additional
		10-244-1-21.cache.shop.svc A 10.244.1.21
		10-244-2-21.cache.shop.svc A 10.244.2.21
		? early.shop.svc A
		NOERROR aa rd
		early.shop.svc A 10.244.1.22
		early.shop.svc A 10.244.2.22
		? none.shop.svc A
		NXDOMAIN aa rd soa
		? portless.shop.svc A
		NOERROR aa rd
		portless.shop.svc A 10.244.1.24
		? portless.shop.svc SRV
		NOERROR aa rd soa
		? fd00-10-244--0.six-pods.shop.svc AAAA
		NOERROR aa rd
		fd00-10-244--0.six-pods.shop.svc AAAA fd00:10:244::
		? six-pods.shop.svc SRV
		NOERROR aa rd
		six-pods.shop.svc SRV 0 100 80 fd00-10-244--0.six-pods.shop.svc
		;; additional
		fd00-10-244--0.six-pods.shop.svc AAAA fd00:10:244::

		? sql-0.sql.data.svc A
		NOERROR aa rd
		sql-0.sql.data.svc A 10.244.1.30
		? SQL-0.sql.data.svc AAAA
		NOERROR aa rd
		SQL-0.sql.data.svc AAAA fd00:10:244::30
		? 10-244-1-30.sql.data.svc A
		NXDOMAIN aa rd soa
		? sql.data.svc SRV
		NOERROR aa rd
		sql.data.svc SRV 0 33 5432 sql-0.sql.data.svc
		sql.data.svc SRV 0 33 5432 sql-1.sql.data.svc
		;; additional
		sql-0.sql.data.svc A 10.244.1.30
		sql-0.sql.data.svc AAAA fd00:10:244::30
		sql-1.sql.data.svc A 10.244.2.30

		? db.shop.svc CNAME
		NOERROR aa rd
		db.shop.svc CNAME sql-1.sql.data.svc
		? db.shop.svc A
		NOERROR aa rd
		db.shop.svc CNAME sql-1.sql.data.svc
		sql-1.sql.data.svc A 10.244.2.30
		? DB.shop.svc A
		NOERROR aa rd
		DB.shop.svc CNAME sql-1.sql.data.svc
		sql-1.sql.data.svc A 10.244.2.30
		? db-of-old.shop.svc A
		NOERROR aa rd
		db-of-old.shop.svc CNAME Sql-1.SQL.data.svc.Cluster.Local.
		Sql-1.SQL.data.svc.Cluster.Local. A 10.244.2.30
		? alias.shop.svc A
		NOERROR aa rd
		alias.shop.svc CNAME db.shop.svc
		db.shop.svc CNAME sql-1.sql.data.svc
		sql-1.sql.data.svc A 10.244.2.30
		? alias.shop.svc AAAA
		NOERROR aa rd soa
		? alias.shop.svc SRV
		NOERROR aa rd soa
		? x.db.shop.svc A
		NXDOMAIN aa rd soa
		? dead.shop.svc A
		NOERROR aa rd soa
		? dead.shop.svc CNAME
		NOERROR aa rd
		dead.shop.svc CNAME nobody.shop.svc
		? loop-a.shop.svc A
		NOERROR aa rd soa
		? selfie.shop.svc A
		NOERROR aa rd soa
		? ip.shop.svc A
		NXDOMAIN aa rd soa

		? 10-244-1-10.shop.pod A
		NXDOMAIN aa rd soa
		? 10.0.96.10.in-addr.arpa. PTR
		SERVFAIL`)
}

// The table above has the zone's own spelling throughout the SOA record; it is
// the question's.
func TestNegativeSpelling(t *testing.T) {
	h := stanza{ttl: 600}.handler(t, newWorld(t, cluster).Writer)
	expect(t, h, dnstext.Context{Origin: "cluster.local.", TTL: 600}, `
		? Nothing.shop.SVC.Cluster.LOCAL. A
		NXDOMAIN aa rd
		;; authority
		Cluster.LOCAL. 300 SOA ns.dns.Cluster.LOCAL. hostmaster.Cluster.LOCAL. 0 7200 1800 86400 600
		? @ SOA
		NOERROR aa rd
		@ 300 SOA ns.dns hostmaster 0 7200 1800 86400 600
		? web.shop.svc A
		NOERROR aa rd
		web.shop.svc 600 A 10.96.0.10
		? web.shop.svc AAAA
		NOERROR aa rd
		;; authority
		@ 300 SOA ns.dns hostmaster 0 7200 1800 86400 600`)
}

// A server that is itself an endpoint of services names those in NS records.
func TestNameServers(t *testing.T) {
	w := newWorld(t, `
		ns kube-system
		svc kube-system/kube-dns 10.96.0.2 fd00:10:96::2 dns:UDP:53
		slice kube-system/kube-dns-1 kube-dns dns:UDP:53 10.244.9.53
		headless kube-system/pods dns:UDP:53
		slice kube-system/pods-1 pods dns:UDP:53 10.244.9.53 10.244.9.54`)
	h := stanza{local: []netip.Addr{netip.MustParseAddr("10.244.9.53")}}.handler(t, w.Writer)
	expect(t, h, dnstext.Cluster, `
		? @ NS
		NOERROR aa rd
		@ NS kube-dns.kube-system.svc
		@ NS 10-244-9-53.pods.kube-system.svc
		@ NS 10-244-9-54.pods.kube-system.svc
		;; additional
		kube-dns.kube-system.svc A 10.96.0.2
		kube-dns.kube-system.svc AAAA fd00:10:96::2
		10-244-9-53.pods.kube-system.svc A 10.244.9.53
		10-244-9-54.pods.kube-system.svc A 10.244.9.54
		? ns.dns A
		NOERROR aa rd
		ns.dns A 10.96.0.2
		ns.dns A 10.244.9.53
		ns.dns A 10.244.9.54
		? ns.dns AAAA
		NOERROR aa rd
		ns.dns AAAA fd00:10:96::2`)
}

func TestReverseZones(t *testing.T) {
	w := newWorld(t, cluster+`
		svc shop/shared 10.244.1.21 http:TCP:80
		headless data/both redis:TCP:6379
		slice data/both-1 both redis:TCP:6379 10.244.2.21
		slice shop/orphan-1 orphan http:TCP:80 10.244.7.7`)
	h := stanza{zones: []string{"cluster.local.", "10.in-addr.arpa.", "ip6.arpa."}}.handler(t, w.Writer)
	const soa = `
		;; authority
		10.in-addr.arpa. SOA ns.dns.10.in-addr.arpa. hostmaster.10.in-addr.arpa. 0 7200 1800 86400 5`
	expect(t, h, dnstext.Cluster, `
		? 10.0.96.10.in-addr.arpa. PTR
		NOERROR aa rd
		10.0.96.10.in-addr.arpa. PTR web.shop.svc
		? 10.0.96.10.IN-ADDR.arpa. PTR
		NOERROR aa rd
		10.0.96.10.IN-ADDR.arpa. PTR web.shop.svc
		? 10.1.244.10.in-addr.arpa. PTR
		NOERROR aa rd
		10.1.244.10.in-addr.arpa. PTR 10-244-1-10.web.shop.svc
		? 21.1.244.10.in-addr.arpa. PTR
		NOERROR aa rd
		21.1.244.10.in-addr.arpa. PTR shared.shop.svc
		? 21.2.244.10.in-addr.arpa. PTR
		NOERROR aa rd
		21.2.244.10.in-addr.arpa. PTR 10-244-2-21.cache.shop.svc
		21.2.244.10.in-addr.arpa. PTR 10-244-2-21.both.data.svc
		? 30.1.244.10.in-addr.arpa. PTR
		NOERROR aa rd
		30.1.244.10.in-addr.arpa. PTR sql-0.sql.data.svc
		? 7.7.244.10.in-addr.arpa. PTR
		NOERROR aa rd
		7.7.244.10.in-addr.arpa. PTR 10-244-7-7.orphan.shop.svc
		? 0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa. PTR
		NOERROR aa rd
		0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa. PTR dual.shop.svc
		? 99.0.96.10.in-addr.arpa. PTR
		NXDOMAIN aa rd`+soa+`
		? 21.3.244.10.in-addr.arpa. PTR
		NXDOMAIN aa rd`+soa+`
		? 010.0.96.10.in-addr.arpa. PTR
		NXDOMAIN aa rd`+soa+`
		? 10.0.96.10.in-addr.arpa. A
		NOERROR aa rd`+soa+`
		? 10.in-addr.arpa. A
		NOERROR aa rd`+soa)
}

// With several zones a name is answered in the one with the most labels, and
// PTR records point to the first.
func TestZones(t *testing.T) {
	w := newWorld(t, `
		ns shop
		ns eu
		svc shop/web 10.96.0.10 http:TCP:80`)
	h := stanza{zones: []string{"Cluster.local.", "eu.svc.cluster.local.", "example.", "10.in-addr.arpa."}}.handler(t, w.Writer)
	expect(t, h, dnstext.Cluster, `
		? web.shop.svc.example. A
		NOERROR aa rd
		web.shop.svc.example. A 10.96.0.10
		? web.shop.svc A
		NOERROR aa rd
		web.shop.svc A 10.96.0.10
		? web.shop.svc.eu.svc A
		NOERROR aa rd
		web.shop.svc.eu.svc A 10.96.0.10
		? x.eu.svc A
		NXDOMAIN aa rd
		;; authority
		eu.svc SOA ns.dns.eu.svc hostmaster.eu.svc 0 7200 1800 86400 5
		? 10.0.96.10.in-addr.arpa. PTR
		NOERROR aa rd
		10.0.96.10.in-addr.arpa. PTR web.shop.svc`)
}

func TestRootZone(t *testing.T) {
	h := stanza{zones: []string{"."}}.handler(t, newWorld(t, cluster).Writer)
	expect(t, h, dnstext.Context{Origin: ".", TTL: 5}, `
		? web.shop.svc. A
		NOERROR aa rd
		web.shop.svc. A 10.96.0.10
		? web.shop.svc. SRV
		NOERROR aa rd
		web.shop.svc. SRV 0 50 80 web.shop.svc.
		web.shop.svc. SRV 0 50 443 web.shop.svc.
		;; additional
		web.shop.svc. A 10.96.0.10
		? nothing. A
		NXDOMAIN aa rd soa
		? . A
		NOERROR aa rd soa
		? . SOA
		NOERROR aa rd
		. SOA ns.dns. hostmaster. 0 7200 1800 86400 5
		? . NS
		NOERROR aa rd soa`)
}

func TestOptionsOfAnswers(t *testing.T) {
	w := newWorld(t, cluster)
	t.Run("pods insecure", func(t *testing.T) {
		expect(t, stanza{pods: zone.PodsInsecure}.handler(t, w.Writer), dnstext.Cluster, `
			? 10-244-1-10.shop.pod A
			NOERROR aa rd
			10-244-1-10.shop.pod A 10.244.1.10
			? 192-0-2-7.shop.pod A
			NOERROR aa rd
			192-0-2-7.shop.pod A 192.0.2.7
			? 2001-db8--7.shop.pod AAAA
			NOERROR aa rd
			2001-db8--7.shop.pod AAAA 2001:db8::7
			? 192-0-2-7.shop.pod AAAA
			NOERROR aa rd soa
			? 192-0-2-7.nowhere.pod A
			NXDOMAIN aa rd soa
			? 192-0-2-777.shop.pod A
			NXDOMAIN aa rd soa
			? shop.pod A
			NOERROR aa rd soa`)
	})
	t.Run("pods verified", func(t *testing.T) {
		expect(t, stanza{pods: zone.PodsVerified}.handler(t, w.Writer), dnstext.Cluster, `
			? 10-244-1-10.shop.pod A
			NOERROR aa rd
			10-244-1-10.shop.pod A 10.244.1.10
			? 10-244-1-10.data.pod A
			NXDOMAIN aa rd soa
			? 192-0-2-7.shop.pod A
			NXDOMAIN aa rd soa`)
	})
	t.Run("noendpoints", func(t *testing.T) {
		expect(t, stanza{noEndpoints: true}.handler(t, w.Writer), dnstext.Cluster, `
			? cache.shop.svc A
			NXDOMAIN aa rd soa
			? 10-244-1-10.web.shop.svc A
			NXDOMAIN aa rd soa
			? web.shop.svc A
			NOERROR aa rd
			web.shop.svc A 10.96.0.10`)
	})
	t.Run("ignore empty_service", func(t *testing.T) {
		expect(t, stanza{ignoreEmpty: true}.handler(t, w.Writer), dnstext.Cluster, `
			? dual.shop.svc A
			NXDOMAIN aa rd soa
			? web.shop.svc A
			NOERROR aa rd
			web.shop.svc A 10.96.0.10`)
	})
}
