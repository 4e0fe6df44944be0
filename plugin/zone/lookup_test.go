package zone

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

const shop = `
	namespace shop
	namespace empty
	namespace kube-system
	service shop/web 10.96.0.10 http:80/TCP,https:443/TCP,dns:80/UDP
	service shop/dual fd96::11,10.96.0.11 :80/TCP
	service shop/portless 10.96.0.12
	service shop/pending none http:80/TCP
	service shop/lonely 10.96.0.13 http:80/TCP
	service shop/7up 10.96.0.14 http:80/TCP
	service shop/db headless pg:5432/TCP
	service shop/mixed headless pg:5432/TCP
	service shop/void headless pg:5432/TCP
	service shop/plain headless
	service shop/all headless,publish
	service shop/ready headless
	service shop/six headless
	service gone/web 10.96.0.20 http:80/TCP
	slice shop/web-1 web http:8080/TCP 10.1.0.1 10.1.0.2=front
	slice shop/db-1 db pg:5432/TCP,:9187/TCP 10.1.0.5=db-0 10.1.0.6=db-1
	slice shop/db-2 db pg:5432/TCP fd01::5=db-0
	slice shop/mixed-1 mixed pg:5432/TCP 10.1.0.7 10.1.0.8
	slice shop/mixed-2 mixed - 10.1.0.8 10.1.0.9
	slice shop/mixed-3 mixed pg:?/TCP 10.1.0.10
	slice shop/plain-1 plain - 10.1.0.11
	slice shop/all-1 all - 10.1.0.12 !10.1.0.13
	slice shop/ready-1 ready - 10.1.0.12 !10.1.0.13
	slice shop/six-1 six a:1/TCP fd01:2:: ::1:0 2001:db8::1=2001-db8-0-0-0-0-0-1
	slice shop/stray-1 stray http:80/TCP 10.1.0.30
	slice gone/web-1 web http:80/TCP 10.1.0.31
	service kube-system/kube-dns 10.96.0.2 dns:53/UDP
	slice kube-system/kube-dns-1 kube-dns dns:53/UDP 10.1.0.53
	pod shop/p 10.1.0.1,fd01::1
	pod shop/q 10.1.0.1
	pod empty/r 10.1.0.2
`

// What every kind of name answers.
func TestNames(t *testing.T) {
	w := worldOf(t, shop)
	v := mustView(t, w, Options{Zones: []string{"cluster.local.", "10.in-addr.arpa.", "ip6.arpa."}}, "192.0.2.53", "2001:db8::53")
	for what, table := range map[string][]qa{
		"what is always there": {
			{"cluster.local. A", "NODATA"}, {"cluster.local. TXT", "NODATA"}, {"cluster.local. ANY", "NODATA"},
			{"svc.cluster.local. A", "NODATA"}, {"svc.cluster.local. TXT", "NODATA"}, {"pod.cluster.local. SRV", "NODATA"},
			{"shop.svc.cluster.local. A", "NODATA"}, {"empty.svc.cluster.local. TXT", "NODATA"}, {"SHOP.svc.cluster.local. PTR", "NODATA"},
			{"cluster.local. SOA", "@ SOA ns.dns hostmaster 1 7200 1800 86400 5"},
			{"shop.svc.cluster.local. SOA", "NODATA"}, {"nope.cluster.local. SOA", "NODATA"},
			{"dns-version.cluster.local. TXT", `dns-version 28800 TXT "1.1.0"`}, {"dns-version.cluster.local. A", "NODATA"},
			{"DNS-Version.cluster.LOCAL. TXT", `DNS-Version.cluster.LOCAL. 28800 TXT "1.1.0"`}, {"dns-version.cluster.local. ANY", "NODATA"},
		},
		"what is not": {
			{"foo.cluster.local. A", "NXDOMAIN"}, {"nope.svc.cluster.local. A", "NXDOMAIN"}, {"nope.shop.svc.cluster.local. TXT", "NXDOMAIN"},
			{"shop.pod.cluster.local. A", "NXDOMAIN"}, {"web.gone.svc.cluster.local. A", "NXDOMAIN"}, {"gone.svc.cluster.local. A", "NXDOMAIN"},
			{"a.b.c.web.shop.svc.cluster.local. A", "NXDOMAIN"}, {"ns.cluster.local. A", "NXDOMAIN"}, {"x.ns.dns.cluster.local. A", "NXDOMAIN"},
			{"web.shop.svc.cluster.local.cluster.local. A", "NXDOMAIN"}, {"x.dns-version.cluster.local. TXT", "NXDOMAIN"},
			{"example.org. A", "ELSEWHERE"}, {"local. A", "ELSEWHERE"}, {". A", "ELSEWHERE"}, {"xcluster.local. A", "ELSEWHERE"},
		},
		"a service with a ClusterIP": {
			{"web.shop.svc.cluster.local. A", "web.shop.svc A 10.96.0.10"}, {"web.shop.svc.cluster.local. AAAA", "NODATA"},
			{"web.shop.svc.cluster.local. MX", "NODATA"}, {"web.shop.svc.cluster.local. CNAME", "NODATA"}, {"web.shop.svc.cluster.local. NS", "NODATA"},
			{"dual.shop.svc.cluster.local. A", "dual.shop.svc A 10.96.0.11"}, {"dual.shop.svc.cluster.local. AAAA", "dual.shop.svc AAAA fd96::11"},
			{"portless.shop.svc.cluster.local. A", "portless.shop.svc A 10.96.0.12"}, {"portless.shop.svc.cluster.local. SRV", "NODATA"},
			{"pending.shop.svc.cluster.local. A", "NODATA"}, {"pending.shop.svc.cluster.local. SRV", "NODATA"},
			{"7up.shop.svc.cluster.local. A", "7up.shop.svc A 10.96.0.14"},
			{"wEb.ShOp.SvC.cLuStEr.LoCaL. A", "wEb.ShOp.SvC.cLuStEr.LoCaL. A 10.96.0.10"},
			{"_http._tcp.web.shop.svc.cluster.local. SRV", "_http._tcp.web.shop.svc SRV 0 100 80 web.shop.svc\n+web.shop.svc A 10.96.0.10"},
			{"_HTTP._Tcp.WEB.shop.svc.Cluster.local. SRV", "_HTTP._Tcp.WEB.shop.svc.Cluster.local. SRV 0 100 80 web.shop.svc.Cluster.local.\n+web.shop.svc.Cluster.local. A 10.96.0.10"},
			{"web.shop.svc.cluster.local. SRV", "web.shop.svc SRV 0 33 80 web.shop.svc\nweb.shop.svc SRV 0 33 443 web.shop.svc\n+web.shop.svc A 10.96.0.10"},
			{"_._tcp.web.shop.svc.cluster.local. SRV", "_._tcp.web.shop.svc SRV 0 50 80 web.shop.svc\n_._tcp.web.shop.svc SRV 0 50 443 web.shop.svc\n+web.shop.svc A 10.96.0.10"},
			{"dual.shop.svc.cluster.local. SRV", "dual.shop.svc SRV 0 50 80 dual.shop.svc\n+dual.shop.svc A 10.96.0.11\n+dual.shop.svc AAAA fd96::11"},
			{"_http._tcp.web.shop.svc.cluster.local. A", "_http._tcp.web.shop.svc A 10.96.0.10"}, {"_http._tcp.web.shop.svc.cluster.local. AAAA", "NODATA"},
			{"_http._udp.web.shop.svc.cluster.local. SRV", "NXDOMAIN"}, {"_http._udp.web.shop.svc.cluster.local. A", "NXDOMAIN"},
			{"_x._tcp.portless.shop.svc.cluster.local. A", "NXDOMAIN"}, {"_tcp.web.shop.svc.cluster.local. SRV", "NODATA"},
			{"_TCP.web.shop.svc.cluster.local. A", "NODATA"}, {"tcp.web.shop.svc.cluster.local. TXT", "NODATA"}, {"_.web.shop.svc.cluster.local. A", "NODATA"},
			{"_udp.web.shop.svc.cluster.local. SRV", "NODATA"}, {"_sctp.web.shop.svc.cluster.local. SRV", "NXDOMAIN"}, {"_tc.web.shop.svc.cluster.local. A", "NXDOMAIN"}, {"_http.web.shop.svc.cluster.local. A", "NXDOMAIN"},
			{"_tcp.portless.shop.svc.cluster.local. A", "NXDOMAIN"}, {"_tcp.nope.shop.svc.cluster.local. A", "NXDOMAIN"}, {"x._tcp.web.shop.svc.cluster.local. A", "NXDOMAIN"},
			{"_tcp.db.shop.svc.cluster.local. SRV", "NODATA"}, {"_tcp.void.shop.svc.cluster.local. SRV", "NXDOMAIN"}, {"_tcp.plain.shop.svc.cluster.local. SRV", "NXDOMAIN"}, {"_tcp.web.gone.svc.cluster.local. A", "NXDOMAIN"},
			{"10-1-0-1.web.shop.svc.cluster.local. A", "10-1-0-1.web.shop.svc A 10.1.0.1"}, {"10-1-0-1.web.shop.svc.cluster.local. AAAA", "NODATA"},
			{"10-1-0-2.web.shop.svc.cluster.local. A", "NXDOMAIN"}, {"front.web.shop.svc.cluster.local. A", "front.web.shop.svc A 10.1.0.2"},
			{"10-96-0-10.web.shop.svc.cluster.local. A", "NXDOMAIN"},
			{"front.web.shop.svc.cluster.local. SRV", "front.web.shop.svc SRV 0 100 8080 front.web.shop.svc\n+front.web.shop.svc A 10.1.0.2"},
		},
		"a headless service": {
			{"db.shop.svc.cluster.local. A", "db.shop.svc A 10.1.0.5\ndb.shop.svc A 10.1.0.6"}, {"db.shop.svc.cluster.local. AAAA", "db.shop.svc AAAA fd01::5"},
			{"db-0.db.shop.svc.cluster.local. A", "db-0.db.shop.svc A 10.1.0.5"}, {"db-0.db.shop.svc.cluster.local. AAAA", "db-0.db.shop.svc AAAA fd01::5"},
			{"DB-1.db.shop.svc.cluster.local. A", "DB-1.db.shop.svc A 10.1.0.6"}, {"db-1.db.shop.svc.cluster.local. AAAA", "NODATA"}, {"db-2.db.shop.svc.cluster.local. A", "NXDOMAIN"},
			{"_pg._tcp.db.shop.svc.cluster.local. SRV", `
				_pg._tcp.db.shop.svc SRV 0 33 5432 db-0.db.shop.svc
				_pg._tcp.db.shop.svc SRV 0 33 5432 db-1.db.shop.svc
				+db-0.db.shop.svc A 10.1.0.5
				+db-1.db.shop.svc A 10.1.0.6
				+db-0.db.shop.svc AAAA fd01::5`},
			{"db-1.db.shop.svc.cluster.local. SRV", "db-1.db.shop.svc SRV 0 50 5432 db-1.db.shop.svc\ndb-1.db.shop.svc SRV 0 50 9187 db-1.db.shop.svc\n+db-1.db.shop.svc A 10.1.0.6"},
			{"_pg._tcp.db.shop.svc.cluster.local. A", "_pg._tcp.db.shop.svc A 10.1.0.5\n_pg._tcp.db.shop.svc A 10.1.0.6"}, {"_no._tcp.db.shop.svc.cluster.local. A", "NXDOMAIN"},
			{"mixed.shop.svc.cluster.local. A", "mixed.shop.svc A 10.1.0.7\nmixed.shop.svc A 10.1.0.8\nmixed.shop.svc A 10.1.0.9\nmixed.shop.svc A 10.1.0.10"},
			{"mixed.shop.svc.cluster.local. SRV", `
				mixed.shop.svc SRV 0 20 5432 10-1-0-7.mixed.shop.svc
				mixed.shop.svc SRV 0 20 5432 10-1-0-8.mixed.shop.svc
				+10-1-0-7.mixed.shop.svc A 10.1.0.7
				+10-1-0-8.mixed.shop.svc A 10.1.0.8`},
			{"_pg._tcp.mixed.shop.svc.cluster.local. A", "_pg._tcp.mixed.shop.svc A 10.1.0.7\n_pg._tcp.mixed.shop.svc A 10.1.0.8\n_pg._tcp.mixed.shop.svc A 10.1.0.10"},
			{"void.shop.svc.cluster.local. A", "NXDOMAIN"}, {"void.shop.svc.cluster.local. TXT", "NXDOMAIN"},
			{"plain.shop.svc.cluster.local. A", "plain.shop.svc A 10.1.0.11"}, {"plain.shop.svc.cluster.local. SRV", "NODATA"}, {"_a._b.plain.shop.svc.cluster.local. A", "NXDOMAIN"},
			{"all.shop.svc.cluster.local. A", "all.shop.svc A 10.1.0.12\nall.shop.svc A 10.1.0.13"}, {"ready.shop.svc.cluster.local. A", "ready.shop.svc A 10.1.0.12"},
			{"10-1-0-13.all.shop.svc.cluster.local. A", "10-1-0-13.all.shop.svc A 10.1.0.13"}, {"10-1-0-13.ready.shop.svc.cluster.local. A", "NXDOMAIN"},
			{"fd01-2--0.six.shop.svc.cluster.local. AAAA", "fd01-2--0.six.shop.svc AAAA fd01:2::"}, {"fd01-2--.six.shop.svc.cluster.local. AAAA", "NXDOMAIN"},
			{"--1-0.six.shop.svc.cluster.local. AAAA", "--1-0.six.shop.svc AAAA ::1:0"}, {"0-0-0-0-0-0-1-0.six.shop.svc.cluster.local. AAAA", "NXDOMAIN"},
			{"2001-DB8-0-0-0-0-0-1.six.shop.svc.cluster.local. AAAA", "2001-DB8-0-0-0-0-0-1.six.shop.svc AAAA 2001:db8::1"}, {"2001-db8--1.six.shop.svc.cluster.local. AAAA", "NXDOMAIN"},
		},
		"addresses": {
			{"10.0.96.10.in-addr.arpa. PTR", "10.0.96.10.in-addr.arpa. PTR web.shop.svc"}, {"10.0.96.10.IN-addr.arpa. PTR", "10.0.96.10.IN-addr.arpa. PTR web.shop.svc"},
			{"10.0.96.10.in-addr.arpa. A", "NODATA"}, {"11.0.96.10.in-addr.arpa. PTR", "11.0.96.10.in-addr.arpa. PTR dual.shop.svc"},
			{"1.0.1.10.in-addr.arpa. PTR", "1.0.1.10.in-addr.arpa. PTR 10-1-0-1.web.shop.svc"}, {"2.0.1.10.in-addr.arpa. PTR", "2.0.1.10.in-addr.arpa. PTR front.web.shop.svc"},
			{"12.0.1.10.in-addr.arpa. PTR", "12.0.1.10.in-addr.arpa. PTR 10-1-0-12.all.shop.svc\n12.0.1.10.in-addr.arpa. PTR 10-1-0-12.ready.shop.svc"},
			{"8.0.1.10.in-addr.arpa. PTR", "8.0.1.10.in-addr.arpa. PTR 10-1-0-8.mixed.shop.svc"}, {"13.0.1.10.in-addr.arpa. PTR", "13.0.1.10.in-addr.arpa. PTR 10-1-0-13.all.shop.svc"},
			{"30.0.1.10.in-addr.arpa. PTR", "30.0.1.10.in-addr.arpa. PTR 10-1-0-30.stray.shop.svc"}, {"99.0.1.10.in-addr.arpa. PTR", "NXDOMAIN"},
			{"010.0.96.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"0.96.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"1.10.0.96.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"10.in-addr.arpa. A", "NODATA"},
			{"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.F.ip6.arpa. PTR", "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.F.ip6.arpa. PTR db-0.db.shop.svc"},
			{"svc.ip6.arpa. A", "NODATA"}, {"shop.svc.ip6.arpa. A", "NXDOMAIN"},
			{"10.in-addr.arpa. SOA", "10.in-addr.arpa. SOA ns.dns.10.in-addr.arpa. hostmaster.10.in-addr.arpa. 1 7200 1800 86400 5"},
		},
		"name servers": {
			{"cluster.local. NS", "@ NS ns.dns\n+ns.dns A 192.0.2.53\n+ns.dns AAAA 2001:db8::53"}, {"ns.dns.cluster.local. A", "ns.dns A 192.0.2.53"},
			{"ns.dns.cluster.local. AAAA", "ns.dns AAAA 2001:db8::53"}, {"ns.dns.cluster.local. TXT", "NODATA"},
			{"NS.dns.CLUSTER.local. A", "NS.dns.CLUSTER.local. A 192.0.2.53"},
			{"Cluster.Local. NS", "Cluster.Local. NS ns.dns.Cluster.Local.\n+ns.dns.Cluster.Local. A 192.0.2.53\n+ns.dns.Cluster.Local. AAAA 2001:db8::53"},
			{"shop.svc.cluster.local. NS", "NODATA"}, {"dns.cluster.local. A", "NODATA"}, {"DNS.cluster.local. TXT", "NODATA"},
			{"x.dns.cluster.local. A", "NXDOMAIN"}, {"dns.shop.svc.cluster.local. A", "NXDOMAIN"}, {"dns.10.in-addr.arpa. A", "NODATA"},
		},
	} {
		t.Run(what, func(t *testing.T) { ask(t, v, table) })
	}
	t.Run("name servers found by address", func(t *testing.T) {
		ask(t, mustView(t, w, Options{}, "10.1.0.53", "192.0.2.53"), []qa{
			{"cluster.local. NS", "@ NS kube-dns.kube-system.svc\n+kube-dns.kube-system.svc A 10.96.0.2"},
			{"ns.dns.cluster.local. A", "ns.dns A 10.96.0.2"}, {"ns.dns.cluster.local. AAAA", "NODATA"},
		})
		ask(t, mustView(t, w, Options{}, "10.1.0.5"), []qa{{"cluster.local. NS", `
			@ NS db-0.db.shop.svc
			@ NS db-1.db.shop.svc
			+db-0.db.shop.svc A 10.1.0.5
			+db-1.db.shop.svc A 10.1.0.6`}}) // not what is in another slice
		ask(t, mustView(t, w, Options{}, "10.1.0.30"), []qa{{"cluster.local. NS", "NODATA"}, {"ns.dns.cluster.local. A", "NODATA"}})
		ask(t, mustView(t, w, Options{NoEndpoints: true}, "10.1.0.53"), []qa{{"ns.dns.cluster.local. A", "ns.dns A 10.1.0.53"}})
		ask(t, mustView(t, w, Options{}), []qa{{"cluster.local. NS", "NODATA"}})
	})
}

func TestPodNames(t *testing.T) {
	w := worldOf(t, shop)
	ask(t, mustView(t, w, Options{}), []qa{{"10-1-0-1.shop.pod.cluster.local. A", "NXDOMAIN"}, {"shop.pod.cluster.local. A", "NXDOMAIN"}})
	both := []qa{
		{"shop.pod.cluster.local. A", "NODATA"}, {"nope.pod.cluster.local. A", "NXDOMAIN"}, {"10-1-0-1.nope.pod.cluster.local. A", "NXDOMAIN"},
		{"10-1-0-1.shop.pod.cluster.local. A", "10-1-0-1.shop.pod A 10.1.0.1"}, {"10-1-0-1.shop.pod.cluster.local. AAAA", "NODATA"},
		{"FD01--1.shop.pod.cluster.local. AAAA", "FD01--1.shop.pod AAAA fd01::1"}, {"10-1-0-256.shop.pod.cluster.local. A", "NXDOMAIN"},
		{"web.shop.pod.cluster.local. A", "NXDOMAIN"}, {"x.10-1-0-1.shop.pod.cluster.local. A", "x.10-1-0-1.shop.pod A 10.1.0.1"},
		{"10-1-0-1.shop.pod.cluster.local. TXT", "NODATA"}, {"10-1-0-01.shop.pod.cluster.local. A", "NXDOMAIN"},
	}
	t.Run("insecure", func(t *testing.T) {
		ask(t, mustView(t, w, Options{Pods: PodsInsecure}), append(both, []qa{
			{"1-2-3-4.empty.pod.cluster.local. A", "1-2-3-4.empty.pod A 1.2.3.4"}, {"--.shop.pod.cluster.local. AAAA", "--.shop.pod AAAA ::"},
			{"fd01-0-0-0-0-0-0-1.shop.pod.cluster.local. AAAA", "fd01-0-0-0-0-0-0-1.shop.pod AAAA fd01::1"},
			{"--ffff-102-304.shop.pod.cluster.local. A", "--ffff-102-304.shop.pod A 1.2.3.4"}, {"fd01::1.shop.pod.cluster.local. AAAA", "fd01::1.shop.pod AAAA fd01::1"},
			{"10-1-0-1.shop.pod.cluster.local. SRV", "10-1-0-1.shop.pod SRV 0 100 0 10-1-0-1.shop.pod\n+10-1-0-1.shop.pod A 10.1.0.1"},
			{"fd01--0001%.shop.pod.cluster.local. AAAA", "NXDOMAIN"}, {`fd01\.1::2.shop.pod.cluster.local. AAAA`, "NXDOMAIN"},
		}...))
	})
	t.Run("verified", func(t *testing.T) {
		ask(t, mustView(t, w, Options{Pods: PodsVerified}), append(both, []qa{
			{"1-2-3-4.shop.pod.cluster.local. A", "NXDOMAIN"}, {"10-1-0-2.shop.pod.cluster.local. A", "NXDOMAIN"}, {"10-1-0-2.empty.pod.cluster.local. A", "10-1-0-2.empty.pod A 10.1.0.2"},
			{"fd01-0-0-0-0-0-0-1.shop.pod.cluster.local. AAAA", "NXDOMAIN"},
			// Two pods share the address: each has half of the weight.
			{"10-1-0-1.SHOP.pod.cluster.local. SRV", "10-1-0-1.SHOP.pod SRV 0 50 0 10-1-0-1.shop.pod\n+10-1-0-1.shop.pod A 10.1.0.1"},
		}...))
	})
}

func TestExternalNames(t *testing.T) {
	var chain strings.Builder
	for i := range 14 {
		fmt.Fprintf(&chain, "service shop/c%d external=c%d.shop.svc.cluster.local\n", i+1, i)
	}
	v := mustView(t, worldOf(t, shop+chain.String()+`
		service shop/c0 10.96.0.99
		service shop/out external=WWW.Example.com.
		service shop/ip4 external=192.0.2.1
		service shop/ip6 external=2001:db8::1
		service shop/bad external=bad..name
		service shop/in external=Web.shop.svc.Cluster.local
		service shop/twice external=out.shop.svc.cluster.local
		service shop/self external=SELF.shop.svc.cluster.local
		service shop/below external=x.below.shop.svc.cluster.local
		service shop/ping external=pong.shop.svc.cluster.local
		service shop/pong external=ping.shop.svc.cluster.local
		service shop/missing external=nope.shop.svc.cluster.local
		service shop/other external=web.shop.svc.cluster.example
		service shop/apex external=cluster.local
		service shop/ns external=ns.dns.cluster.local
		service shop/host external=front.web.shop.svc.cluster.local
	`), Options{Zones: []string{"cluster.local.", "cluster.example."}, Pods: PodsInsecure}, "192.0.2.53")
	eleven := ""
	for i := 11; i > 0; i-- {
		eleven += fmt.Sprintf("c%d.shop.svc CNAME c%d.shop.svc\n", i, i-1)
	}
	ask(t, v, []qa{
		{"in.shop.svc.cluster.local. A", "in.shop.svc CNAME Web.shop.svc.Cluster.local.\nWeb.shop.svc.Cluster.local. A 10.96.0.10"},
		{"in.shop.svc.cluster.local. AAAA", "NODATA"}, {"in.shop.svc.cluster.local. TXT", "NODATA"}, {"in.shop.svc.cluster.local. SRV", "NODATA"}, {"in.shop.svc.cluster.local. MX", "NODATA"}, {"out.shop.svc.cluster.local. HTTPS", "NODATA"}, {"in.shop.svc.cluster.local. ANY", "NODATA"},
		{"IN.shop.svc.cluster.local. CNAME", "IN.shop.svc CNAME Web.shop.svc.Cluster.local."}, {"host.shop.svc.cluster.local. A", "host.shop.svc CNAME front.web.shop.svc\nfront.web.shop.svc A 10.1.0.2"},
		{"out.shop.svc.cluster.local. A", "CHASE WWW.Example.com."}, {"out.shop.svc.cluster.local. CNAME", "out.shop.svc CNAME WWW.Example.com."}, {"_._.out.shop.svc.cluster.local. A", "CHASE WWW.Example.com."},
		{"twice.shop.svc.cluster.local. AAAA", "CHASE out.shop.svc.cluster.local. WWW.Example.com."}, {"other.shop.svc.cluster.local. A", "CHASE web.shop.svc.cluster.example."},
		{"x.out.shop.svc.cluster.local. A", "NXDOMAIN"}, {"_http._tcp.out.shop.svc.cluster.local. SRV", "NXDOMAIN"},
		{"_tcp.out.shop.svc.cluster.local. A", "NXDOMAIN"}, {"_.out.shop.svc.cluster.local. A", "NODATA"}, {"10-1-0-1.in.shop.svc.cluster.local. A", "NXDOMAIN"},
		{"ip4.shop.svc.cluster.local. A", "NXDOMAIN"}, {"ip6.shop.svc.cluster.local. CNAME", "NXDOMAIN"}, {"bad.shop.svc.cluster.local. A", "NXDOMAIN"},
		{"self.shop.svc.cluster.local. A", "NODATA"}, {"below.shop.svc.cluster.local. A", "NODATA"}, {"ping.shop.svc.cluster.local. A", "NODATA"}, {"missing.shop.svc.cluster.local. A", "NODATA"},
		{"self.shop.svc.cluster.local. CNAME", "self.shop.svc CNAME SELF.shop.svc"}, {"apex.shop.svc.cluster.local. A", "NODATA"},
		{"ns.shop.svc.cluster.local. A", "ns.shop.svc CNAME ns.dns\nns.dns A 192.0.2.53"},
		{"c11.shop.svc.cluster.local. A", eleven + "c0.shop.svc A 10.96.0.99"}, {"c12.shop.svc.cluster.local. A", "NODATA"},
	})
}

func TestOptions(t *testing.T) {
	w := worldOf(t, shop)
	ask(t, mustView(t, w, Options{NoEndpoints: true}), []qa{
		{"web.shop.svc.cluster.local. A", "web.shop.svc A 10.96.0.10"}, {"db.shop.svc.cluster.local. A", "NXDOMAIN"}, {"10-1-0-1.web.shop.svc.cluster.local. A", "NXDOMAIN"},
		{"_tcp.web.shop.svc.cluster.local. A", "NODATA"}, {"_tcp.db.shop.svc.cluster.local. A", "NXDOMAIN"},
	})
	ask(t, mustView(t, w, Options{Zones: []string{".", "in-addr.arpa."}, NoEndpoints: true}), []qa{{"1.0.1.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"10.0.96.10.in-addr.arpa. PTR", "10.0.96.10.in-addr.arpa. PTR web.shop.svc."}})
	ask(t, mustView(t, w, Options{IgnoreEmpty: true}), []qa{
		{"web.shop.svc.cluster.local. A", "web.shop.svc A 10.96.0.10"}, {"lonely.shop.svc.cluster.local. A", "NXDOMAIN"}, {"_http._tcp.lonely.shop.svc.cluster.local. SRV", "NXDOMAIN"},
		{"_tcp.lonely.shop.svc.cluster.local. SRV", "NXDOMAIN"}, {"_tcp.web.shop.svc.cluster.local. SRV", "NODATA"},
	})
	ask(t, mustView(t, w, Options{IgnoreEmpty: true, NoEndpoints: true}), []qa{{"web.shop.svc.cluster.local. A", "NXDOMAIN"}})
	ask(t, mustView(t, w, Options{TTL: 3600}), []qa{
		{"web.shop.svc.cluster.local. A", "web.shop.svc 3600 A 10.96.0.10"}, {"cluster.local. SOA", "@ 300 SOA ns.dns hostmaster 1 7200 1800 86400 3600"},
	})
}

// What CoreDNS's plugin/kubernetes answers in multi-cluster zones (KEP-1645).
func TestMulticluster(t *testing.T) {
	w := worldOf(t, `
		namespace shop
		namespace test
		service shop/local 10.96.0.1 http:80/TCP
		service shop/both headless http:80/TCP
		import shop/web 10.97.0.10,fd97::10 http:80/TCP,https:443/TCP
		import shop/db headless pg:5432/TCP
		import shop/void headless pg:5432/TCP
		import shop/pending none http:80/TCP
		import shop/portless 10.97.0.11
		import shop/lonely 10.97.0.12 http:80/TCP
		import shop/both headless http:80/TCP
		import test/web 10.97.0.20 http:80/TCP
		import gone/web 10.97.0.30 http:80/TCP
		slice shop/web-e -^web@east http:8080/TCP 10.1.0.1 !10.1.0.2
		slice shop/db-e -^db@East pg:5432/TCP 10.1.0.5=db-0 10.1.0.6=db-1 !10.1.0.7=db-2
		slice shop/db-w -^db@west pg:5432/TCP 10.2.0.5=db-0 fd02::5=db-0 10.1.0.6
		slice shop/db-x -^db@ pg:5432/TCP 10.3.0.5=db-0
		slice shop/both-1 both^both@east http:80/TCP 10.4.0.1
		slice shop/stray -^stray@east http:80/TCP 10.5.0.1
		pod shop/p 10.1.0.1
	`)
	zones := []string{"cluster.local.", "set.cluster.local.", "in-addr.arpa."}
	opt := Options{Zones: zones, Multicluster: zones[1:2], Pods: PodsVerified, Zonal: true}
	v := mustView(t, w, opt, "192.0.2.53")
	for what, table := range map[string][]qa{
		"what is always there": {
			{"set.cluster.local. A", "NODATA"}, {"svc.set.cluster.local. TXT", "NODATA"}, {"shop.svc.set.cluster.local. A", "NODATA"}, {"nope.svc.set.cluster.local. A", "NXDOMAIN"},
			{"set.cluster.local. SOA", "set SOA ns.dns.set hostmaster.set 1 7200 1800 86400 5"}, {"dns-version.set.cluster.local. TXT", `dns-version.set 28800 TXT "1.1.0"`},
			{"set.cluster.local. NS", "set NS ns.dns.set\n+ns.dns.set A 192.0.2.53"}, {"10-1-0-1.shop.pod.set.cluster.local. A", "10-1-0-1.shop.pod.set A 10.1.0.1"},
		},
		"what is in one kind of zone is not in the other": {
			{"local.shop.svc.cluster.local. A", "local.shop.svc A 10.96.0.1"}, {"local.shop.svc.set.cluster.local. A", "NXDOMAIN"}, {"web.shop.svc.cluster.local. A", "NXDOMAIN"},
			{"both.shop.svc.cluster.local. A", "both.shop.svc A 10.4.0.1"}, {"both.shop.svc.set.cluster.local. A", "both.shop.svc.set A 10.4.0.1"},
			{"10-4-0-1.both.shop.svc.cluster.local. A", "10-4-0-1.both.shop.svc A 10.4.0.1"}, {"10-4-0-1.both.shop.svc.set.cluster.local. A", "NXDOMAIN"},
			{"10-4-0-1.east.both.shop.svc.set.cluster.local. A", "10-4-0-1.east.both.shop.svc.set A 10.4.0.1"}, {"10-4-0-1.east.both.shop.svc.cluster.local. A", "NXDOMAIN"},
			{"both.shop.svc.cluster.local. SRV", "both.shop.svc SRV 0 100 80 10-4-0-1.both.shop.svc\n+10-4-0-1.both.shop.svc A 10.4.0.1"},
		},
		"a service with addresses": {
			{"web.shop.svc.set.cluster.local. A", "web.shop.svc.set A 10.97.0.10"}, {"WEB.shop.svc.Set.cluster.local. AAAA", "WEB.shop.svc.Set.cluster.local. AAAA fd97::10"}, {"web.shop.svc.set.cluster.local. MX", "NODATA"},
			{"_http._tcp.web.shop.svc.set.cluster.local. SRV", "_http._tcp.web.shop.svc.set SRV 0 50 80 web.shop.svc.set\n+web.shop.svc.set A 10.97.0.10\n+web.shop.svc.set AAAA fd97::10"},
			{"_nope._tcp.web.shop.svc.set.cluster.local. SRV", "NXDOMAIN"}, {"http.tcp.web.shop.svc.set.cluster.local. SRV", "NXDOMAIN"}, // an endpoint http of a cluster tcp
			{"10-1-0-1.east.web.shop.svc.set.cluster.local. A", "10-1-0-1.east.web.shop.svc.set A 10.1.0.1"}, {"10-1-0-1.web.shop.svc.set.cluster.local. A", "NXDOMAIN"},
			{"10-1-0-2.east.web.shop.svc.set.cluster.local. A", "NXDOMAIN"}, {"east.web.shop.svc.set.cluster.local. A", "NODATA"},
			{"pending.shop.svc.set.cluster.local. A", "NODATA"}, {"portless.shop.svc.set.cluster.local. A", "NXDOMAIN"}, {"lonely.shop.svc.set.cluster.local. A", "lonely.shop.svc.set A 10.97.0.12"},
			{"web.gone.svc.set.cluster.local. A", "NXDOMAIN"}, {"a.b.c.web.shop.svc.set.cluster.local. A", "NXDOMAIN"},
		},
		"a headless one": {
			{"db.shop.svc.set.cluster.local. A", "db.shop.svc.set A 10.1.0.5\ndb.shop.svc.set A 10.1.0.6\ndb.shop.svc.set A 10.2.0.5\ndb.shop.svc.set A 10.3.0.5"},
			{"db.shop.svc.set.cluster.local. AAAA", "db.shop.svc.set AAAA fd02::5"}, {"void.shop.svc.set.cluster.local. A", "NXDOMAIN"},
			{"db-0.east.db.shop.svc.set.cluster.local. A", "db-0.east.db.shop.svc.set A 10.1.0.5"}, {"DB-0.WEST.db.shop.svc.set.cluster.local. AAAA", "DB-0.WEST.db.shop.svc.set AAAA fd02::5"},
			{"db-0.db.shop.svc.set.cluster.local. A", "db-0.db.shop.svc.set A 10.3.0.5"}, {"db-1.west.db.shop.svc.set.cluster.local. A", "NXDOMAIN"}, {"db-1.east.db.shop.svc.set.cluster.local. TXT", "NODATA"},
			{"db-0.east.db.shop.svc.set.cluster.local. SRV", "db-0.east.db.shop.svc.set SRV 0 100 5432 db-0.East.db.shop.svc.set\n+db-0.East.db.shop.svc.set A 10.1.0.5"},
			{"_pg._tcp.db.shop.svc.set.cluster.local. SRV", `
				_pg._tcp.db.shop.svc.set SRV 0 16 5432 db-0.East.db.shop.svc.set
				_pg._tcp.db.shop.svc.set SRV 0 16 5432 db-1.East.db.shop.svc.set
				_pg._tcp.db.shop.svc.set SRV 0 16 5432 db-0.west.db.shop.svc.set
				_pg._tcp.db.shop.svc.set SRV 0 16 5432 10-1-0-6.west.db.shop.svc.set
				_pg._tcp.db.shop.svc.set SRV 0 16 5432 db-0.db.shop.svc.set
				+db-0.East.db.shop.svc.set A 10.1.0.5
				+db-1.East.db.shop.svc.set A 10.1.0.6
				+db-0.west.db.shop.svc.set A 10.2.0.5
				+10-1-0-6.west.db.shop.svc.set A 10.1.0.6
				+db-0.west.db.shop.svc.set AAAA fd02::5
				+db-0.db.shop.svc.set A 10.3.0.5`},
		},
		"addresses are named in the cluster's zone": {
			{"10.0.97.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"5.0.1.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"1.0.4.10.in-addr.arpa. PTR", "1.0.4.10.in-addr.arpa. PTR 10-4-0-1.both.shop.svc"},
		},
		"not defined there": {{"z.pin._zone.db.shop.svc.set.cluster.local. A", "NXDOMAIN"}, {"z.pin._zone.both.shop.svc.cluster.local. A", "NODATA"}},
		"names that others are below": {
			{"east.db.shop.svc.set.cluster.local. A", "NODATA"}, {"WEST.db.shop.svc.set.cluster.local. SRV", "NODATA"}, {"north.db.shop.svc.set.cluster.local. A", "NXDOMAIN"},
			{"west.web.shop.svc.set.cluster.local. A", "NXDOMAIN"}, {"east.both.shop.svc.cluster.local. A", "NXDOMAIN"}, {"_zone.db.shop.svc.set.cluster.local. A", "NXDOMAIN"},
		},
	} {
		t.Run(what, func(t *testing.T) { ask(t, v, table) })
	}
	with := func(change func(*Options)) *View {
		o := opt
		change(&o)
		return mustView(t, w, o)
	}
	ask(t, with(func(o *Options) { o.NoEndpoints, o.Zonal = true, false }), []qa{ // as in CoreDNS, only of the cluster's own zones
		{"db-0.east.db.shop.svc.set.cluster.local. A", "db-0.east.db.shop.svc.set A 10.1.0.5"}, {"both.shop.svc.cluster.local. A", "NXDOMAIN"},
	})
	ask(t, with(func(o *Options) { o.IgnoreEmpty = true }), []qa{
		{"lonely.shop.svc.set.cluster.local. A", "NXDOMAIN"}, {"web.shop.svc.set.cluster.local. A", "web.shop.svc.set A 10.97.0.10"},
	})
	ask(t, with(func(o *Options) { o.Namespaces = []string{"test"} }), []qa{
		{"web.shop.svc.set.cluster.local. A", "NXDOMAIN"}, {"shop.svc.set.cluster.local. A", "NXDOMAIN"}, {"web.test.svc.set.cluster.local. A", "web.test.svc.set A 10.97.0.20"},
	})
}

// The rows of CoreDNS's plugin/kubernetes zonal_test.go, and some more.
func TestZonal(t *testing.T) {
	w := worldOf(t, `
		namespace testns
		namespace hidden
		service testns/hdls headless http:80/TCP
		service testns/clstr 10.0.0.10 http:80/TCP
		service testns/ext external=example.org
		service testns/none headless
		service testns/over headless
		service hidden/hdls headless
		slice testns/hdls-1 hdls http:80/TCP 172.0.0.1/us-west-2a 172.0.0.2/us-west-2b 172.0.0.3/us-west-2b 172.0.0.4
		slice testns/hdls-2 hdls http:80/TCP fd00::1=six/us-west-2a !172.0.0.9/us-west-2a 172.0.0.5/corp.example.com
		slice testns/clstr-1 clstr http:80/TCP 172.0.1.1/us-west-2a
		slice testns/over-1 over a:1/TCP,b:1/UDP 172.0.2.1/z1 172.0.2.1=h/z2 172.0.2.2=h/z1
		slice testns/over-2 over a:1/TCP 172.0.2.1/z1 172.0.2.1/z2
		slice hidden/hdls-1 hdls http:80/TCP 172.0.3.1/us-west-2a
	`)
	v := mustView(t, w, Options{Zonal: true, Namespaces: []string{"testns"}})
	all := func(name string) (records string) {
		for i := range 5 {
			records += fmt.Sprintf("%s A 172.0.0.%d\n", name, i+1)
		}
		return records
	}
	ask(t, v, []qa{
		{"us-west-2a.pin._zone.hdls.testns.svc.cluster.local. A", "us-west-2a.pin._zone.hdls.testns.svc A 172.0.0.1"},
		{"us-west-2a.pin._zone.hdls.testns.svc.cluster.local. AAAA", "us-west-2a.pin._zone.hdls.testns.svc AAAA fd00::1"},
		{"US-west-2B.Pin._ZONE.hdls.testns.svc.cluster.local. A", "US-west-2B.Pin._ZONE.hdls.testns.svc A 172.0.0.2\nUS-west-2B.Pin._ZONE.hdls.testns.svc A 172.0.0.3"},
		{"us-west-2b.pin._zone.hdls.testns.svc.cluster.local. AAAA", "NODATA"}, {"us-west-2c.pin._zone.hdls.testns.svc.cluster.local. A", "NODATA"},
		{"us-west-2a.prefer._zone.hdls.testns.svc.cluster.local. A", "us-west-2a.prefer._zone.hdls.testns.svc A 172.0.0.1"},
		// The zone has endpoints, if of the other family: nothing else is preferred.
		{"us-west-2b.prefer._zone.hdls.testns.svc.cluster.local. AAAA", "NODATA"},
		{"us-west-2c.prefer._zone.hdls.testns.svc.cluster.local. A", all("us-west-2c.prefer._zone.hdls.testns.svc")},
		{"corp.Example.com.pin._zone.hdls.testns.svc.cluster.local. A", "corp.Example.com.pin._zone.hdls.testns.svc A 172.0.0.5"},
		{"example.com.pin._zone.hdls.testns.svc.cluster.local. A", "NODATA"}, {`corp\.example.com.pin._zone.hdls.testns.svc.cluster.local. A`, "NODATA"},
		{"us-west-2a.pin._zone.ghost.testns.svc.cluster.local. A", "NXDOMAIN"}, {"us-west-2a.florp._zone.hdls.testns.svc.cluster.local. A", "NXDOMAIN"}, {"us-west-2a.pin.zone.hdls.testns.svc.cluster.local. A", "NXDOMAIN"},
		{"us-west-2a.pin._zone.clstr.testns.svc.cluster.local. A", "NXDOMAIN"}, {"us-west-2a.pin._zone.ext.testns.svc.cluster.local. A", "NXDOMAIN"},
		{"us-west-2a.prefer._zone.clstr.testns.svc.cluster.local. SRV", "NXDOMAIN"}, {"us-west-2a.pin._zone.hdls.hidden.svc.cluster.local. A", "NXDOMAIN"},
		{"us-west-2a.pin._zone.hdls.testns.pod.cluster.local. A", "NXDOMAIN"},
		{"us-west-2c.pin._zone.hdls.testns.svc.cluster.local. TXT", "NODATA"}, {"us-west-2a.pin._zone.hdls.testns.svc.cluster.local. HTTPS", "NODATA"}, {"us-west-2c.prefer._zone.hdls.testns.svc.cluster.local. TXT", "NODATA"},
		{"z.pin._zone.none.testns.svc.cluster.local. A", "NODATA"}, {"z.prefer._zone.none.testns.svc.cluster.local. A", "NODATA"}, {"none.testns.svc.cluster.local. A", "NXDOMAIN"},
		{"us-west-2b.pin._zone.hdls.testns.svc.cluster.local. SRV", `
			us-west-2b.pin._zone.hdls.testns.svc SRV 0 50 80 172-0-0-2.hdls.testns.svc
			us-west-2b.pin._zone.hdls.testns.svc SRV 0 50 80 172-0-0-3.hdls.testns.svc
			+172-0-0-2.hdls.testns.svc A 172.0.0.2
			+172-0-0-3.hdls.testns.svc A 172.0.0.3`},
		{"us-west-2c.prefer._zone.hdls.testns.svc.cluster.local. SRV", `
			us-west-2c.prefer._zone.hdls.testns.svc SRV 0 16 80 172-0-0-1.hdls.testns.svc
			us-west-2c.prefer._zone.hdls.testns.svc SRV 0 16 80 172-0-0-2.hdls.testns.svc
			us-west-2c.prefer._zone.hdls.testns.svc SRV 0 16 80 172-0-0-3.hdls.testns.svc
			us-west-2c.prefer._zone.hdls.testns.svc SRV 0 16 80 172-0-0-4.hdls.testns.svc
			us-west-2c.prefer._zone.hdls.testns.svc SRV 0 16 80 172-0-0-5.hdls.testns.svc
			us-west-2c.prefer._zone.hdls.testns.svc SRV 0 16 80 six.hdls.testns.svc
			+172-0-0-1.hdls.testns.svc A 172.0.0.1
			+172-0-0-2.hdls.testns.svc A 172.0.0.2
			+172-0-0-3.hdls.testns.svc A 172.0.0.3
			+172-0-0-4.hdls.testns.svc A 172.0.0.4
			+172-0-0-5.hdls.testns.svc A 172.0.0.5
			+six.hdls.testns.svc AAAA fd00::1`},
		// One address in several zones, under several names, in two slices:
		// six pairs of endpoint and port in z1 and z2 each have 100/5 and 100/3.
		{"z1.pin._zone.over.testns.svc.cluster.local. A", "z1.pin._zone.over.testns.svc A 172.0.2.1\nz1.pin._zone.over.testns.svc A 172.0.2.2"},
		{"z2.pin._zone.over.testns.svc.cluster.local. A", "z2.pin._zone.over.testns.svc A 172.0.2.1"},
		{"z1.pin._zone.over.testns.svc.cluster.local. SRV", `
			z1.pin._zone.over.testns.svc SRV 0 20 1 172-0-2-1.over.testns.svc
			z1.pin._zone.over.testns.svc SRV 0 20 1 h.over.testns.svc
			+172-0-2-1.over.testns.svc A 172.0.2.1
			+h.over.testns.svc A 172.0.2.2`},
		{"z2.pin._zone.over.testns.svc.cluster.local. SRV", `
			z2.pin._zone.over.testns.svc SRV 0 33 1 h.over.testns.svc
			z2.pin._zone.over.testns.svc SRV 0 33 1 172-0-2-1.over.testns.svc
			+172-0-2-1.over.testns.svc A 172.0.2.1
			+h.over.testns.svc A 172.0.2.1`},
	})
	ask(t, v, []qa{
		{"_zone.hdls.testns.svc.cluster.local. A", "NODATA"}, {"_ZONE.hdls.testns.svc.cluster.local. TXT", "NODATA"}, {"pin._zone.hdls.testns.svc.cluster.local. A", "NODATA"},
		{"Prefer._zone.hdls.testns.svc.cluster.local. SRV", "NODATA"}, {"_zone.none.testns.svc.cluster.local. A", "NODATA"}, {"florp._zone.hdls.testns.svc.cluster.local. A", "NXDOMAIN"},
		{"_pin._zone.hdls.testns.svc.cluster.local. A", "NXDOMAIN"}, {"pin.zone.hdls.testns.svc.cluster.local. A", "NXDOMAIN"}, {"_zone.clstr.testns.svc.cluster.local. A", "NXDOMAIN"},
		{"pin._zone.clstr.testns.svc.cluster.local. A", "NXDOMAIN"}, {"_zone.ext.testns.svc.cluster.local. A", "NXDOMAIN"}, {"_zone.nope.testns.svc.cluster.local. A", "NXDOMAIN"},
		{"_zone.hdls.hidden.svc.cluster.local. A", "NXDOMAIN"}, {"_zone.hdls.testns.pod.cluster.local. A", "NXDOMAIN"},
	})
	ask(t, mustView(t, w, Options{Zonal: true, NoEndpoints: true}), []qa{{"_zone.hdls.testns.svc.cluster.local. A", "NXDOMAIN"}})
	ask(t, mustView(t, w, Options{}), []qa{{"us-west-2a.pin._zone.hdls.testns.svc.cluster.local. A", "NXDOMAIN"}, {"_zone.hdls.testns.svc.cluster.local. A", "NXDOMAIN"}})
	serial := w.Index().Serial()
	set(t, w, "slice testns/clstr-1 clstr http:80/TCP 172.0.1.1/us-west-2b @9")
	if w.Index().Serial() == serial {
		t.Error("a change of zone does not move the serial")
	}
}

// Names as long as they can be.
func TestLongNames(t *testing.T) {
	svc, ns, port := strings.Repeat("s", 63), strings.Repeat("n", 63), strings.Repeat("p", 15)
	w := worldOf(t, fmt.Sprintf(`
		namespace %[2]s
		service %[2]s/%[1]s 10.96.0.1 %[3]s:80/TCP
		service %[2]s/h headless %[3]s:80/TCP
		slice %[2]s/h h - 10.1.0.1=%[4]s
	`, svc, ns, port, strings.Repeat("e", 63)))
	base := svc + "." + ns + ".svc."
	ask(t, mustView(t, w, Options{}), []qa{
		{base + "cluster.local. A", base + "cluster.local. A 10.96.0.1"},
		{"_" + port + "._tcp." + base + "cluster.local. SRV", "_" + port + "._tcp." + base + "cluster.local. SRV 0 100 80 " + base + "cluster.local.\n+" + base + "cluster.local. A 10.96.0.1"},
		{strings.Repeat("E", 63) + ".h." + ns + ".svc.cluster.local. A", strings.Repeat("E", 63) + ".h." + ns + ".svc.cluster.local. A 10.1.0.1"},
		{svc[1:] + "." + ns + ".svc.cluster.local. A", "NXDOMAIN"},
	})
	// A zone that makes a service's name 255 octets long.
	zone := strings.Repeat("y", 60) + "." + strings.Repeat("z", 60) + "."
	if n := len(wireName(t, base+zone)); n != 255 {
		t.Fatalf("%d octets", n)
	}
	v := mustView(t, w, Options{Zones: []string{zone}})
	ask(t, v, []qa{{base + zone + " A", base + zone + " A 10.96.0.1"}, {"x" + base[1:] + zone + " A", "NXDOMAIN"}, {zone + " A", "NODATA"}})
	// 127 labels, the most there are.
	ask(t, mustView(t, w, Options{Zones: []string{"."}}), []qa{{strings.Repeat("a.", 127) + " A", "NXDOMAIN"}})
}

// The longest match decides which zone a name is in.
func TestZones(t *testing.T) {
	v := mustView(t, worldOf(t, shop), Options{Zones: []string{"local.", "Cluster.Local.", "."}})
	for _, row := range []struct {
		name string
		at   int
	}{
		{"web.shop.svc.cluster.local.", 13}, {"web.shop.svc.local.", 13}, {"web.shop.svc.", 13}, {"web.shop.svc.xlocal.", 20}, {".", 0}, {"local.", 0},
	} {
		var a Answer
		if !v.Lookup(&a, wireName(t, row.name), dnswire.TypeA) || a.originAt != row.at {
			t.Errorf("%s: the zone is at %d, want %d", row.name, a.originAt, row.at)
		}
	}
	ask(t, v, []qa{{"web.shop.svc. A", "web.shop.svc. A 10.96.0.10"}, {". SOA", ". SOA ns.dns. hostmaster. 1 7200 1800 86400 5"}, {"example.org. A", "NXDOMAIN"}, {"arpa. A", "NXDOMAIN"}})
}

// Before what an answer depends on has synced there is none, and no answer
// waits for anything else.
func TestUnready(t *testing.T) {
	zones := []string{"cluster.local.", "in-addr.arpa."}
	const (
		ns, svc, eps, pod = "SERVFAIL namespaces", "SERVFAIL services", "SERVFAIL endpointslices", "SERVFAIL pods"
		version           = `dns-version 28800 TXT "1.1.0"`
	)
	questions := []string{
		"dns-version.cluster.local. TXT", "dns-version.cluster.local. A", "cluster.local. SOA", "cluster.local. A", "nope.cluster.local. A", "shop.svc.cluster.local. A", "nope.svc.cluster.local. A",
		"web.shop.svc.cluster.local. A", "web.shop.svc.cluster.local. TXT", "nope.shop.svc.cluster.local. A", "db.shop.svc.cluster.local. A", "db.shop.svc.cluster.local. TXT", "10-1-0-1.web.shop.svc.cluster.local. A",
		"out.shop.svc.cluster.local. A", "in.shop.svc.cluster.local. A", "x.out.shop.svc.cluster.local. A", "10-1-0-1.shop.pod.cluster.local. A", "10.0.96.10.in-addr.arpa. PTR", "1.0.1.10.in-addr.arpa. PTR", "99.0.1.10.in-addr.arpa. PTR",
		"ns.dns.cluster.local. A", "cluster.local. NS",
	}
	w := NewWriter()
	text := shop + "\nservice shop/out external=example.org\nservice shop/in external=db.shop.svc.cluster.local\n"
	v := mustView(t, w, Options{Zones: zones, Pods: PodsVerified}, "192.0.2.53")
	noEndpoints := mustView(t, w, Options{Zones: zones, Pods: PodsInsecure, NoEndpoints: true}, "192.0.2.53")
	ignoreEmpty := mustView(t, w, Options{Zones: zones, IgnoreEmpty: true})
	step := func(want ...string) {
		t.Helper()
		for i, q := range questions {
			if got := answerText(t, v, q); got != wantText(t, want[i]) {
				t.Errorf("%s: %s, want %s", q, got, want[i])
			}
		}
	}
	step(version, "NODATA", ns, ns, ns, ns, ns, ns, ns, ns, ns, ns, ns, ns, ns, ns, ns, ns, ns, ns, ns, ns)
	replaceAll(t, w, text, Namespaces)
	step(version, "NODATA", svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc)
	set(t, w, "slice shop/web-1 web http:8080/TCP 10.1.0.1") // one slice is not all slices
	step(version, "NODATA", svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc, svc)
	replaceAll(t, w, text, Services)
	soa := fmt.Sprintf("@ SOA ns.dns hostmaster %d 7200 1800 86400 5", w.Index().Serial())
	web := "web.shop.svc A 10.96.0.10"
	step(version, "NODATA", soa, "NODATA", "NXDOMAIN", "NODATA", "NXDOMAIN", web, "NODATA", "NXDOMAIN", eps, eps, eps,
		"CHASE example.org.", eps, "NXDOMAIN", pod, "10.0.96.10.in-addr.arpa. PTR web.shop.svc", eps, eps, eps, eps)
	ask(t, noEndpoints, []qa{
		{"db.shop.svc.cluster.local. A", "NXDOMAIN"}, {"1.0.1.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"ns.dns.cluster.local. A", "ns.dns A 192.0.2.53"},
		{"10-1-0-1.shop.pod.cluster.local. A", "10-1-0-1.shop.pod A 10.1.0.1"},
	})
	ask(t, ignoreEmpty, []qa{{"web.shop.svc.cluster.local. A", eps}, {"out.shop.svc.cluster.local. A", "CHASE example.org."}})
	if ix := w.Index(); ix.Synced(v.Needs()...) || ix.Synced(ignoreEmpty.Needs()...) || !ix.Synced(noEndpoints.Needs()...) {
		t.Errorf("synced: %v %v %v", ix.Synced(v.Needs()...), ix.Synced(ignoreEmpty.Needs()...), ix.Synced(noEndpoints.Needs()...))
	}
	replaceAll(t, w, text, EndpointSlices)
	ask(t, v, []qa{{"10-1-0-1.shop.pod.cluster.local. A", pod}, {"99.0.1.10.in-addr.arpa. PTR", "NXDOMAIN"}, {"void.shop.svc.cluster.local. A", "NXDOMAIN"}})
	replaceAll(t, w, text, Pods)
	ask(t, v, []qa{{"10-1-0-1.shop.pod.cluster.local. A", "10-1-0-1.shop.pod A 10.1.0.1"}})
	if !w.Index().Synced(v.Needs()...) {
		t.Error("not synced")
	}
	// Multi-cluster zones have a resource of their own, and wait for no other's.
	mc := mustView(t, w, Options{Zones: append(zones, "set.local."), Multicluster: []string{"set.local."}}, "192.0.2.53")
	const imports = "SERVFAIL serviceimports"
	ask(t, mc, []qa{
		{"set.local. SOA", imports}, {"web.shop.svc.set.local. A", imports}, {"shop.svc.set.local. A", imports}, {"dns-version.set.local. A", "NODATA"},
		{"web.shop.svc.cluster.local. A", web}, {"1.0.1.10.in-addr.arpa. PTR", "1.0.1.10.in-addr.arpa. PTR 10-1-0-1.web.shop.svc"},
	})
	if _, err := mc.Transfer("set.local.", func(*Answer) bool { return true }); err == nil || !strings.Contains(err.Error(), "serviceimports have not synced") {
		t.Error(err)
	}
	if _, err := mc.Transfer("cluster.local.", func(*Answer) bool { return true }); err != nil {
		t.Error(err)
	}
	other := NewWriter()
	replaceAll(t, other, "namespace shop\nimport shop/web 10.97.0.1 http:80/TCP\nimport shop/db headless", Namespaces, ServiceImports)
	ask(t, mustView(t, other, Options{Zones: []string{"cluster.local.", "set.local."}, Multicluster: []string{"set.local."}}, "192.0.2.53"), []qa{
		{"web.shop.svc.set.local. A", "web.shop.svc.set.local. A 10.97.0.1"}, {"db.shop.svc.set.local. A", eps}, {"nope.shop.svc.set.local. A", "NXDOMAIN"},
		{"ns.dns.set.local. A", svc}, {"cluster.local. A", svc},
	})
	// What once was synced stays so, however little there is.
	replaceAll(t, w, "", Namespaces, Services, EndpointSlices, Pods)
	ask(t, v, []qa{{"web.shop.svc.cluster.local. A", "NXDOMAIN"}, {"cluster.local. A", "NODATA"}})
}
