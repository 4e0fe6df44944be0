package test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/miekg/dns"
)

const autopathCluster = `
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: client}
status: {phase: Running, podIP: 127.0.0.1, podIPs: [{ip: 127.0.0.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: internal, namespace: client}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80}]}
`

// TestAutopathCacheRefresh is test/kubernetes_autopath_cache_test.go of CoreDNS
// 1.15.0: a name that was found along a pod's search path is refreshed in the
// cache, in the background, along the same path; the answer is never lost
// meanwhile, for one family of addresses as little as for the other.
func TestAutopathCacheRefresh(t *testing.T) {
	for _, options := range []struct{ name, corefile string }{
		{"prefetch-stale", "prefetch 20\nserve_stale"}, {"stale", "serve_stale"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(options.name+"/"+network, func(t *testing.T) { autopathCacheRefresh(t, options.corefile, network) })
		}
	}
}

func autopathCacheRefresh(t *testing.T, options, network string) {
	const base = "external.example."
	const expanded = base + "client.svc.cluster.local."
	// The first answer for A is old after a second, all others are not.
	var asked atomic.Int32
	upstream := dnstest.NewMultipleServer(func(w dns.ResponseWriter, r *dns.Msg) {
		text := "example. 30 IN SOA ns.example. hostmaster.example. 1 7200 1800 86400 30"
		m := new(dns.Msg).SetReply(r)
		switch q := r.Question[0]; {
		case q.Name == base && q.Qtype == dns.TypeA && asked.Add(1) == 1:
			text = base + " 1 IN A 192.0.2.1"
		case q.Name == base && q.Qtype == dns.TypeA:
			text = base + " 300 IN A 192.0.2.2"
		case q.Name == base && q.Qtype == dns.TypeAAAA:
			text = base + " 300 IN AAAA 2001:db8::1"
		default: // such as the search domains of this host
			m.Rcode = dns.RcodeNameError
		}
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Error(err)
		}
		if m.Rcode == dns.RcodeSuccess {
			m.Answer = []dns.RR{rr}
		} else {
			m.Ns = []dns.RR{rr}
		}
		if err := w.WriteMsg(m); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(upstream.Close)
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", autopathCluster)
	s := start(t, fmt.Sprintf(`.:0 {
    autopath @kubernetes
    kubernetes cluster.local {
        manifests %s
        pods verified
    }
    cache {
        success 1024 3600 0
        denial 1024 1800 0
        %s
    }
    forward . %s
    loadbalance
}`, dir, options, upstream.Addr))

	addresses := func(name string, qtype uint16) (got []string) {
		t.Helper()
		r := new(dns.Msg).SetQuestion(name, qtype).SetEdns0(1232, false)
		m, _, err := s.exchange(network, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, rr := range m.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				got = append(got, rr.A.String())
			case *dns.AAAA:
				got = append(got, rr.AAAA.String())
			}
		}
		return got
	}
	expect := func(name string, qtype uint16, want string) {
		t.Helper()
		if got := addresses(name, qtype); len(got) != 1 || got[0] != want {
			t.Fatalf("%s %s: %v, want %s", name, dns.TypeToString[qtype], got, want)
		}
	}
	expect("internal.client.svc.cluster.local.", dns.TypeA, "10.96.0.10")
	expect("127-0-0-1.client.pod.cluster.local.", dns.TypeA, "127.0.0.1")
	expect(expanded, dns.TypeAAAA, "2001:db8::1")
	expect(expanded, dns.TypeA, "192.0.2.1")
	eventually(t, func() string {
		switch got := addresses(expanded, dns.TypeA); {
		case slices.Equal(got, []string{"192.0.2.2"}):
			return ""
		case !slices.Equal(got, []string{"192.0.2.1"}):
			t.Fatalf("while it was refreshed: %v", got)
		}
		return fmt.Sprintf("not refreshed; the upstream was asked %d times", asked.Load())
	})
	expect(base, dns.TypeA, "192.0.2.2")
	expect(expanded, dns.TypeAAAA, "2001:db8::1")

	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.addr(network))
	}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ips, err := resolver.LookupHost(ctx, expanded)
	slices.Sort(ips)
	if err != nil || !slices.Equal(ips, []string{"192.0.2.2", "2001:db8::1"}) {
		t.Errorf("Go's resolver: %v, %v", ips, err)
	}
}
