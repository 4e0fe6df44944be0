package test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/test/dnstext"
)

// TestManyServices is test/e2e/network/dns_scale_records.go of Kubernetes
// 1.36.3: as many services as a cluster may have, in two namespaces, and one in
// twenty of them asked for.
func TestManyServices(t *testing.T) {
	const services, namespaces, every = 10000, 2, 20
	addr := netip.MustParseAddr("10.96.0.1")
	addrs := make([]netip.Addr, services)
	var list strings.Builder
	list.WriteString(`{"apiVersion":"v1","kind":"List","items":[`)
	for i := range addrs {
		addrs[i], addr = addr, addr.Next()
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"svc-%d","namespace":"performancedns-%d"},`+
			`"spec":{"clusterIP":"%s","ports":[{"port":80}]}}`, i, i%namespaces, addrs[i])
	}
	list.WriteString("]}")
	dir := t.TempDir()
	put(t, dir, "services.json", list.String())
	s := start(t, ".:0 {\n kubernetes cluster.local {\n manifests "+dir+"\n }\n}")
	for i := 0; i < services; i += every {
		name := fmt.Sprintf("svc-%d.performancedns-%d.svc", i, i%namespaces)
		s.expect(t, dnstext.Cluster, name+" A", "NOERROR aa rd\n"+name+" A "+addrs[i].String())
	}
}
