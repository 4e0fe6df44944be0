package clusterdns

import (
	"context"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/request"
)

// Under both prefixes, and with the client's; all that CoreDNS's table has is in
// TestStockMetadata.
func TestMetadata(t *testing.T) {
	w := newWorld(t, cluster+"\npod data/q 127.0.0.1") // where recorder says that queries are from
	for _, row := range []struct {
		name string
		want map[string]string // what is not there is ""
	}{
		{"foo.bar.notapod.cluster.local.", map[string]string{"parse-error": "invalid query name"}},
		{"web.shop.svc.example.org.", map[string]string{"client-namespace": "data", "client-pod-name": "q", "kind": ""}},
		{"10-240-0-1.Podns.pod", map[string]string{"kind": "pod", "namespace": "podns", "service": "10-240-0-1"}},
		{"s.ns.svc", map[string]string{"kind": "svc", "namespace": "ns", "service": "s", "endpoint": "", "port-name": ""}},
		{"_http._TCP.s.ns.svc", map[string]string{"kind": "svc", "service": "s", "port-name": "http", "protocol": "tcp"}},
		{"ep.s.ns.svc", map[string]string{"service": "s", "endpoint": "ep", "client-pod-name": "q"}},
		{"ns.svc", map[string]string{"kind": "svc", "namespace": "ns", "service": ""}},
		{"@", map[string]string{"kind": "", "parse-error": ""}},
	} {
		h := stanza{pods: zone.PodsVerified}.handler(t, w.Writer)
		ctx := metadata.ContextWithMetadata(context.Background())
		ctx = h.Metadata(ctx, request.Request{W: &recorder{}, Req: dnstext.Cluster.Query(t, row.name+" A")})
		for label, want := range row.want {
			for _, prefix := range metadataPrefixes {
				got := ""
				if f := metadata.ValueFunc(ctx, prefix+label); f != nil {
					got = f()
				}
				if got != want {
					t.Errorf("%s: %s%s is %q, want %q", row.name, prefix, label, got, want)
				}
			}
		}
	}
}

// The labels "cluster" and "zone" are there where names can have them.
func TestMetadataMulticlusterAndZonal(t *testing.T) {
	w := newWorld(t, cluster)
	both := stanza{zones: []string{"cluster.local.", "set.local."}, multicluster: []string{"set.local."}, zonal: true}
	for _, row := range []struct {
		stanza     stanza
		name, want string // cluster, zone, endpoint, port-name, service; "-" is not there
	}{
		{both, "EP.C1.s.ns.svc.set.local.", "c1, , ep, , s"},
		{both, "ep.s.ns.svc.set.local.", ", , ep, , s"},
		{both, "_http._tcp.s.ns.svc.set.local.", ", , , http, s"},
		{both, "ep.c1.s.ns.svc.cluster.local.", "-, , , ep, s"},
		{both, "Z.Corp.pin._zone.s.ns.svc.cluster.local.", "-, z.corp, , , s"},
		{both, "z.prefer._zone.s.ns.svc.cluster.local.", "-, z, , , s"},
		{both, "z.pin._zone.s.ns.svc.set.local.", "-, -, -, -, -"},
		{stanza{}, "ep.s.ns.svc.cluster.local.", "-, -, ep, , s"},
	} {
		h := row.stanza.handler(t, w.Writer)
		for _, prefix := range metadataPrefixes {
			ctx := metadata.ContextWithMetadata(context.Background())
			ctx = h.Metadata(ctx, request.Request{W: &recorder{}, Req: dnstext.Cluster.Query(t, row.name+" A")})
			var got []string
			for _, label := range []string{"cluster", "zone", "endpoint", "port-name", "service"} {
				value := "-"
				if f := metadata.ValueFunc(ctx, prefix+label); f != nil {
					value = f()
				}
				got = append(got, value)
			}
			if text := strings.Join(got, ", "); text != row.want {
				t.Errorf("%s: %q, want %q", row.name, text, row.want)
			}
		}
	}
}

// Without pods followed nobody is known.
func TestMetadataClientUnknown(t *testing.T) {
	h := stanza{pods: zone.PodsInsecure}.handler(t, newWorld(t, cluster+"\npod data/q 127.0.0.1").Writer)
	ctx := metadata.ContextWithMetadata(context.Background())
	ctx = h.Metadata(ctx, request.Request{W: &recorder{}, Req: dnstext.Cluster.Query(t, "web.shop.svc A")})
	if metadata.ValueFunc(ctx, "kubernetes/client-pod-name") != nil {
		t.Error("a client is known")
	}
	if f := metadata.ValueFunc(ctx, "kubernetes/service"); f == nil || f() != "web" {
		t.Error("the question is not")
	}
}
