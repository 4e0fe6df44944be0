package clusterdns

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/plugin/transfer"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// The tables of CoreDNS 1.15.0's plugin/kubernetes that a whole server on
// loopback cannot be asked, because they are about the server's own addresses,
// the stanza alone, or what is handed to other plugins. The others are in
// test/testdata/stock; docs/stock-tables.md has the list.

// kubernetes_apex_test.go.
func TestStockApex(t *testing.T) {
	h := stanza{local: addrs("192.0.2.1")}.handler(t, newWorld(t, "").Writer)
	expect(t, h, dnstext.Cluster, `
		? @ SOA
		NOERROR aa rd
		@ SOA ns.dns hostmaster 0 7200 1800 86400 5
		? @ HINFO
		NOERROR aa rd soa
		? @ NS
		NOERROR aa rd
		@ NS ns.dns
		;; additional
		ns.dns A 192.0.2.1
		? @ A
		NOERROR aa rd soa
		? @ AAAA
		NOERROR aa rd soa
		? @ SRV
		NOERROR aa rd soa`)
}

// TestServicesAuthority of kubernetes_test.go. The last row there, NS at
// ns.dns, shows what is found before the type is looked at.
func TestStockAuthority(t *testing.T) {
	four, six := "1.2.3.4", "1:2::3:4"
	for _, row := range []struct {
		local []netip.Addr
		table string
	}{
		{addrs(four), "? ns.dns A\nNOERROR aa rd\nns.dns A 1.2.3.4"},
		{addrs(four), "? ns.dns AAAA\nNOERROR aa rd soa"},
		{addrs(six), "? ns.dns A\nNOERROR aa rd soa"},
		{addrs(six), "? ns.dns AAAA\nNOERROR aa rd\nns.dns AAAA 1:2::3:4"},
		{addrs(four, six), "? @ NS\nNOERROR aa rd\n@ NS ns.dns\n;; additional\nns.dns A 1.2.3.4\nns.dns AAAA 1:2::3:4"},
	} {
		expect(t, stanza{local: row.local}.handler(t, newWorld(t, "").Writer), dnstext.Cluster, row.table)
	}
}

// TestNsAddrs of ns_test.go: the services that select this server are the name
// servers, a headless one by the endpoint's name.
func TestStockNameServers(t *testing.T) {
	w := newWorld(t, `
		ns kube-system
		svc kube-system/dns-service 10.0.0.111
		headless kube-system/hdls-dns-service
		svc kube-system/dns6-service 10::111
		slice kube-system/dns-service-slice1 dns-service 10.244.0.20
		slice kube-system/hdls-dns-service-slice1 hdls-dns-service 10.244.0.20
		slice kube-system/dns6-service-slice1 dns6-service 10.244.0.20`)
	h := stanza{zones: []string{"inter.webs.test."}, local: addrs("10.244.0.20")}.handler(t, w.Writer)
	expect(t, h, dnstext.Context{Origin: "inter.webs.test.", TTL: 5}, `
		? @ NS
		NOERROR aa rd
		@ NS dns-service.kube-system.svc
		@ NS 10-244-0-20.hdls-dns-service.kube-system.svc
		@ NS dns6-service.kube-system.svc
		;; additional
		dns-service.kube-system.svc A 10.0.0.111
		10-244-0-20.hdls-dns-service.kube-system.svc A 10.244.0.20
		dns6-service.kube-system.svc AAAA 10::111`)
}

func addrs(texts ...string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

// stockCluster is what handler_test.go and xfr_test.go serve.
const stockCluster = `
	ns testns
	ns kube-system
	svc kube-system/kubedns 10.0.0.10 dns:UDP:53
	slice kube-system/kubedns kubedns dns:UDP:53 172.0.0.100
	svc testns/svc1 10.0.0.1 http:TCP:80
	slice testns/svc1-slice1 svc1 http:TCP:80 ep1a=172.0.0.1
	svc testns/svcempty 10.0.0.1 http:TCP:80
	slice testns/svcempty-slice1 svcempty http:TCP:80
	svc testns/svc6 1234:abcd::1 http:TCP:80
	svc testns/svc-dual-stack 10.0.0.3 10::3 http:TCP:80
	headless testns/hdls1
	slice testns/hdls1-slice1 hdls1 http:TCP:80 172.0.0.2 172.0.0.3 dup-name=172.0.0.4 dup-name=172.0.0.5
	slice testns/hdls1-slice2 hdls1 http:TCP:80 5678:abcd::1 5678:abcd::2
	headless testns/hdlsprtls
	slice testns/hdlsprtls-slice1 hdlsprtls 172.0.0.20
	external testns/external ext.interwebs.test
	external testns/external-to-service svc1.testns.svc.cluster.local`

// xfr_test.go. It has SRV weights of 100 for svc-dual-stack; ours are those of
// answers, see "zone transfers" in docs/differences.md. A record that it sends
// twice, because two endpoints share a name, stands here once.
const stockZone = `NOERROR
	@ SOA ns.dns hostmaster 0 7200 1800 86400 5
	@ NS ns.dns
	ns.dns A 10.0.0.10
	external.testns.svc CNAME ext.interwebs.test.
	external-to-service.testns.svc CNAME svc1.testns.svc
	hdls1.testns.svc A 172.0.0.2
	hdls1.testns.svc A 172.0.0.3
	hdls1.testns.svc A 172.0.0.4
	hdls1.testns.svc A 172.0.0.5
	hdls1.testns.svc AAAA 5678:abcd::1
	hdls1.testns.svc AAAA 5678:abcd::2
	172-0-0-2.hdls1.testns.svc A 172.0.0.2
	172-0-0-3.hdls1.testns.svc A 172.0.0.3
	dup-name.hdls1.testns.svc A 172.0.0.4
	dup-name.hdls1.testns.svc A 172.0.0.5
	5678-abcd--1.hdls1.testns.svc AAAA 5678:abcd::1
	5678-abcd--2.hdls1.testns.svc AAAA 5678:abcd::2
	_http._tcp.hdls1.testns.svc SRV 0 16 80 172-0-0-2.hdls1.testns.svc
	_http._tcp.hdls1.testns.svc SRV 0 16 80 172-0-0-3.hdls1.testns.svc
	_http._tcp.hdls1.testns.svc SRV 0 16 80 dup-name.hdls1.testns.svc
	_http._tcp.hdls1.testns.svc SRV 0 16 80 5678-abcd--1.hdls1.testns.svc
	_http._tcp.hdls1.testns.svc SRV 0 16 80 5678-abcd--2.hdls1.testns.svc
	hdlsprtls.testns.svc A 172.0.0.20
	172-0-0-20.hdlsprtls.testns.svc A 172.0.0.20
	kubedns.kube-system.svc A 10.0.0.10
	kubedns.kube-system.svc SRV 0 100 53 kubedns.kube-system.svc
	_dns._udp.kubedns.kube-system.svc SRV 0 100 53 kubedns.kube-system.svc
	svc-dual-stack.testns.svc A 10.0.0.3
	svc-dual-stack.testns.svc AAAA 10::3
	svc-dual-stack.testns.svc SRV 0 50 80 svc-dual-stack.testns.svc
	_http._tcp.svc-dual-stack.testns.svc SRV 0 50 80 svc-dual-stack.testns.svc
	svc1.testns.svc A 10.0.0.1
	svc1.testns.svc SRV 0 100 80 svc1.testns.svc
	_http._tcp.svc1.testns.svc SRV 0 100 80 svc1.testns.svc
	svc6.testns.svc AAAA 1234:abcd::1
	svc6.testns.svc SRV 0 100 80 svc6.testns.svc
	_http._tcp.svc6.testns.svc SRV 0 100 80 svc6.testns.svc
	svcempty.testns.svc A 10.0.0.1
	svcempty.testns.svc SRV 0 100 80 svcempty.testns.svc
	_http._tcp.svcempty.testns.svc SRV 0 100 80 svcempty.testns.svc
	@ SOA ns.dns hostmaster 0 7200 1800 86400 5`

func TestStockTransfer(t *testing.T) {
	w := newWorld(t, "")
	w.version = 2
	w.set(t, stockCluster) // the serial is 3, as there
	for _, row := range []struct {
		name   string
		local  []netip.Addr
		serial uint32
		want   string
	}{
		{"AXFR", addrs("10.0.0.10"), 0, stockZone},
		{"IXFR from an older serial", addrs("10.0.0.10"), 1, stockZone},
		{"IXFR from the current serial", addrs("10.0.0.10"), 3, "NOERROR\n@ SOA ns.dns hostmaster 3 7200 1800 86400 5"},
		{"two addresses", addrs("10.0.0.10", "fd00::10"), 0, stockZone + "\nns.dns AAAA fd00::10"},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := stanza{local: row.local}.handler(t, w.Writer)
			ch, err := h.Transfer("cluster.local.", row.serial)
			if err != nil {
				t.Fatal(err)
			}
			got := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}}
			for rrs := range ch {
				got.Answer = append(got.Answer, rrs...)
			}
			for _, rr := range []dns.RR{got.Answer[0], got.Answer[len(got.Answer)-1]} {
				if soa, ok := rr.(*dns.SOA); !ok || soa.Serial != 3 {
					t.Errorf("at an end: %v", rr)
				}
			}
			want, err := dnstext.Cluster.Parse(row.want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := want.Diff(got); diff != "" {
				t.Error(diff)
			}
		})
	}
	h := stanza{}.handler(t, w.Writer)
	if _, err := h.Transfer("example.com.", 0); err != transfer.ErrNotAuthoritative {
		t.Errorf("a zone of others: %v", err)
	}
}

// metadata_test.go: all that the plugin says of a query, under its prefix.
func TestStockMetadata(t *testing.T) {
	name := func(kind, namespace, service, endpoint, port, protocol string) map[string]string {
		return map[string]string{"kind": kind, "namespace": namespace, "service": service, "endpoint": endpoint, "port-name": port, "protocol": protocol}
	}
	for _, row := range []struct {
		name string
		want map[string]string
	}{
		{"foo.bar.notapod", map[string]string{"parse-error": "invalid query name"}},
		{"10-240-0-1.podns.pod", name("pod", "podns", "10-240-0-1", "", "", "")},
		{"s.ns.svc", name("svc", "ns", "s", "", "", "")},
		{"_http._tcp.s.ns.svc", name("svc", "ns", "s", "", "http", "tcp")},
		{"ep.s.ns.svc", name("svc", "ns", "s", "ep", "", "")},
		{"example.com.", map[string]string{}},
	} {
		// Clients that are no pods, which is the difference of some rows there,
		// are those of an index without any.
		for _, pods := range []zone.PodMode{zone.PodsDisabled, zone.PodsVerified} {
			h := stanza{pods: pods}.handler(t, newWorld(t, "").Writer)
			if got := stockMetadata(t, h, row.name); !maps.Equal(got, row.want) {
				t.Errorf("%s, pods %d: got %v, want %v", row.name, pods, got, row.want)
			}
		}
	}
	w := newWorld(t, "")
	w.Update(func(b *zone.Batch) {
		b.Set(&zone.Pod{Key: zone.Key{Namespace: "podns", Name: "foo"}, Version: 2, Addrs: addrs("127.0.0.1"),
			Labels: map[string]string{"app.kubernetes.io/name": "foo", "bar": "baz"}})
	})
	want := map[string]string{"client-namespace": "podns", "client-pod-name": "foo", "client-label/app.kubernetes.io/name": "foo", "client-label/bar": "baz"}
	if got := stockMetadata(t, stanza{pods: zone.PodsVerified}.handler(t, w.Writer), "example.com."); !maps.Equal(got, want) {
		t.Errorf("a pod: got %v, want %v", got, want)
	}
}

func stockMetadata(t *testing.T, h *Handler, name string) map[string]string {
	t.Helper()
	ctx := metadata.ContextWithMetadata(context.Background())
	ctx = h.Metadata(ctx, request.Request{W: &recorder{}, Req: dnstext.Cluster.Query(t, name+" A")})
	got := map[string]string{}
	for _, label := range metadata.Labels(ctx) {
		if short, ok := strings.CutPrefix(label, "kubernetes/"); ok {
			got[short] = metadata.ValueFunc(ctx, label)()
		}
	}
	return got
}

// TestServiceModified, TestPodModified and TestDetectChangesPodUpdate of
// controller_test.go, TestSubsetsEquivalent and TestEndpointsEquivalent of
// controller_equivalence_test.go: which changes move the SOA's serial. Pods have
// no records in a transfer and do not move ours, see "SOA serial" in
// docs/differences.md.
func TestStockSerial(t *testing.T) {
	const base = "slice a/s x http:TCP:80 a=10.0.0.1"
	for _, row := range []struct {
		name, before, after string
		moves               bool
	}{
		{"a service comes", "", "svc a/y", true},
		{"an ExternalName", "external a/y 10.0.0.1", "external a/y 10.0.0.2", true},
		{"a port's name", "svc a/y 10.96.0.1 test1:TCP:0", "svc a/y 10.96.0.1 test2:TCP:0", true},
		{"more ports", "svc a/y 10.96.0.1 test1:TCP:0", "svc a/y 10.96.0.1 test2:TCP:0 test3:TCP:0", true},

		{"a pod's version", "pod a/p 10.240.0.1", "pod a/p 10.240.0.1", false},
		{"a pod's first address", "pod a/p", "pod a/p 10.240.0.1", false},
		{"a pod's address", "pod a/p 10.240.0.1", "pod a/p 10.240.0.2", false},
		{"the version of a pod with two", "pod a/p 10.240.0.1 fd00::1", "pod a/p 10.240.0.1 fd00::1", false},

		{"an identical slice", base, base, false},
		{"no address", base, "slice a/s x http:TCP:80", true},
		{"no port", base, "slice a/s x a=10.0.0.1", true},
		{"another address", base, "slice a/s x http:TCP:80 a=10.0.0.2", true},
		{"another hostname", base, "slice a/s x http:TCP:80 b=10.0.0.1", true},
		{"another number", base, "slice a/s x http:TCP:8080 a=10.0.0.1", true},
		{"another protocol", base, "slice a/s x http:UDP:80 a=10.0.0.1", true},
		{"a slice comes", "", base, true},
	} {
		w := newWorld(t, "ns a\nheadless a/x")
		w.set(t, row.before)
		before := w.Index().Serial()
		w.set(t, row.after)
		if got := w.Index().Serial(); (got != before) != row.moves {
			t.Errorf("%s: from %d to %d", row.name, before, got)
		}
	}
	for _, gone := range []struct {
		r            zone.Resource
		text, object string
	}{{zone.Services, "svc a/y", "a/y"}, {zone.EndpointSlices, base, "a/s"}} {
		w := newWorld(t, "ns a\nheadless a/x\n"+gone.text)
		before := w.Index().Serial()
		w.remove(gone.r, gone.object)
		if got := w.Index().Serial(); got == before {
			t.Errorf("%s goes: still %d", gone.text, got)
		}
	}
}

// metrics_test.go: Prometheus panics at a label that is no UTF-8.
func TestStockLabels(t *testing.T) {
	for in, want := range map[string]string{
		"example.com": "example.com", "例え.jp": "例え.jp", "": "", "host\xff:443": "host\uFFFD:443",
		"\xff\xfe\xfd": "\uFFFD", "ok\xffok\xfeok": "ok\uFFFDok\uFFFDok",
	} {
		vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"code", "method", "host"})
		result{vec}.Increment(context.Background(), "200", "GET", in)
		if got := value(t, vec.WithLabelValues("200", "GET", want)); got != 1 {
			t.Errorf("%q is not counted as %q", in, want)
		}
	}
}

// setup_test.go and setup_ttl_test.go, but for multicluster and zonal.
func TestStockStanza(t *testing.T) {
	const wrong = "error: "
	for _, row := range []struct{ zones, options, want string }{
		{"coredns.local", "", "zones 1"},
		{"coredns.local test.local", "", "zones 2"},
		{"coredns.local", "{\n}", "zones 1"},
		{"coredns.local", "endpoint http://localhost:9090 http://localhost:9091", "zones 1, endpoint http://localhost:9090"},
		{"coredns.local", "namespaces demo", "zones 1, namespaces 1"},
		{"coredns.local", "namespaces demo test", "zones 1, namespaces 2"},
		{"coredns.local", "labels environment=prod", "zones 1, labels environment=prod"},
		{"coredns.local", "labels environment in (production, staging, qa),application=nginx",
			"zones 1, labels application=nginx,environment in (production,qa,staging)"},
		{"coredns.local", "namespace_labels istio-injection=enabled", "zones 1, namespace_labels istio-injection=enabled"},
		{"coredns.local", "namespaces foo bar\nnamespace_labels istio-injection=enabled", wrong + "namespaces and namespace_labels"},
		{"coredns.local test.local", "endpoint http://localhost:8080\nnamespaces demo test\nlabels environment in (production, staging, qa),application=nginx\nfallthrough",
			"zones 2, endpoint http://localhost:8080, namespaces 2, labels application=nginx,environment in (production,qa,staging), fallthrough [.]"},
		{"coredns.local", "endpoint", wrong + "endpoint takes"},
		{"coredns.local", "namespaces", wrong + "namespaces takes"},
		{"coredns.local", "labels", wrong + "labels takes"},
		{"coredns.local", "labels environment in (production, qa", wrong + "no label selector"},
		{"coredns.local", "pods disabled", "zones 1"},
		{"coredns.local", "pods insecure", "zones 1, pods insecure"},
		{"coredns.local", "pods verified", "zones 1, pods verified"},
		{"coredns.local", "pods giant_seed", wrong + `"giant_seed" is none of`},
		{"coredns.local", "fallthrough ip6.arpa inaddr.arpa foo.com", "zones 1, fallthrough [ip6.arpa. inaddr.arpa. foo.com.]"},
		{"coredns.local\nkubernetes cluster.local", "", wrong + "a second kubernetes"},
		{"coredns.local", "kubeconfig", wrong + "kubeconfig takes"},
		{"coredns.local", "kubeconfig file context extraarg", wrong + "kubeconfig takes"},
		{"coredns.local", "kubeconfig file", "zones 1, kubeconfig file"},
		{"coredns.local", "kubeconfig file context", "zones 1, kubeconfig file context"},
		{"coredns.local", "kubeconfig file context\nstartup_timeout 1s", "zones 1, kubeconfig file context, startup_timeout 1s"},

		{"coredns.local", "endpoint_pod_names", "zones 1, endpoint_pod_names"},
		{"coredns.local", "endpoint_pod_names giant_seed", wrong + "endpoint_pod_names takes"},
		{"coredns.local", "noendpoints", "zones 1, noendpoints"},
		{"coredns.local", "noendpoints ixnay on the endpointsay", wrong + "noendpoints takes"},
		{"coredns.local", "ignore empty_service", "zones 1, ignore empty_service"},
		{"coredns.local", "ignore ixnay on the endpointsay", wrong + "ignore takes"},
		// Accepted there; see "an argument too many" in docs/differences.md.
		{"coredns.local", "ignore empty_service ixnay on the endpointsay", wrong + "ignore takes"},

		{"coredns.local", "apiserver_qps 50.0\napiserver_burst 100\napiserver_max_inflight 25", "zones 1, qps 50, burst 100, max_inflight 25"},
		{"coredns.local", "apiserver_qps -10", wrong + "apiserver_qps: "},
		{"coredns.local", "apiserver_burst -5", wrong + "apiserver_burst: "},
		{"coredns.local", "apiserver_max_inflight -1", wrong + "apiserver_max_inflight: "},

		{"cluster.local", "", "zones 1"},
		{"cluster.local", "ttl 56", "zones 1, ttl 56"},
		{"cluster.local", "ttl -1", wrong + "ttl: "},
		{"cluster.local", "ttl 3601", wrong + "ttl: "},
	} {
		text := "kubernetes " + row.zones
		if row.options == "{\n}" {
			text += " {\n}"
		} else if row.options != "" {
			text += " {\n" + row.options + "\n}"
		}
		cfg, err := parse(controller(text))
		if why, fails := strings.CutPrefix(row.want, wrong); fails {
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s: got error %v, want one with %q", text, err, why)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := stockConfig(cfg); got != row.want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, row.want)
		}
	}

	// TestBoundIPs; its other rows accept anything. A server block's bind may
	// give an interface's prefix.
	for host, want := range map[string][]netip.Addr{"192.168.1.1/24": addrs("192.168.1.1"), "127.0.0.1/8": nil} {
		if got := localAddrs([]string{host}); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}

// stockConfig tells what is not the default in cfg, of what those tables look
// at.
func stockConfig(cfg *config) string {
	said := []string{fmt.Sprintf("zones %d", len(cfg.view.Zones))}
	say := func(unless bool, format string, args ...any) {
		if !unless {
			said = append(said, fmt.Sprintf(format, args...))
		}
	}
	f := cfg.feed
	say(f.Endpoint == "", "endpoint %s", f.Endpoint)
	say(f.Kubeconfig == "", "%s", strings.TrimSpace("kubeconfig "+f.Kubeconfig+" "+f.Context))
	say(len(cfg.view.Namespaces) == 0, "namespaces %d", len(cfg.view.Namespaces))
	say(f.Labels == "", "labels %s", f.Labels)
	say(f.NamespaceLabels == "", "namespace_labels %s", f.NamespaceLabels)
	say(cfg.view.Pods == zone.PodsDisabled, "pods %s", []string{"", "insecure", "verified"}[cfg.view.Pods])
	say(cfg.fall.Zones == nil, "fallthrough %v", cfg.fall.Zones)
	say(cfg.startupTimeout == defaultStartupTimeout, "startup_timeout %v", cfg.startupTimeout)
	say(!f.PodNames, "endpoint_pod_names")
	say(!cfg.view.NoEndpoints, "noendpoints")
	say(!cfg.view.IgnoreEmpty, "ignore empty_service")
	say(f.QPS == 0, "qps %v", f.QPS)
	say(f.Burst == 0, "burst %d", f.Burst)
	say(f.MaxInflight == 0, "max_inflight %d", f.MaxInflight)
	say(cfg.view.TTL == defaultTTL, "ttl %d", cfg.view.TTL)
	return strings.Join(said, ", ")
}
