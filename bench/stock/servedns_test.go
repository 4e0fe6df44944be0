// Package stock has no code but a benchmark: the plugin kubernetes of stock
// CoreDNS on the objects of a world, to compare allocations a query with those of
// BenchmarkServeDNS in clusterdns' own plugin. Rows have the same names there.
package stock

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/coredns/coredns/plugin/kubernetes"
	"github.com/coredns/coredns/plugin/kubernetes/object"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"

	"github.com/clusterdns/clusterdns/bench/world"
)

// controller holds what the plugin's watches would have brought, in maps in the
// place of client-go's indexers. The plugin's reads are the same.
type controller struct {
	services          map[string][]*object.Service
	servicesByAddr    map[string][]*object.Service
	endpoints         map[string][]*object.Endpoints
	endpointsByAddr   map[string][]*object.Endpoints
	namespaces        map[string]*object.Namespace
	allServices       []*object.Service
	allEndpointSlices []*object.Endpoints
}

func newController(tb testing.TB, w *world.World) *controller {
	c := &controller{
		services: map[string][]*object.Service{}, servicesByAddr: map[string][]*object.Service{},
		endpoints: map[string][]*object.Endpoints{}, endpointsByAddr: map[string][]*object.Endpoints{},
		namespaces: map[string]*object.Namespace{},
	}
	for _, name := range w.Namespaces {
		c.namespaces[name] = &object.Namespace{Name: name}
	}
	for _, s := range w.All() {
		o, err := object.ToService(s.Object())
		if err != nil {
			tb.Fatal(err)
		}
		service := o.(*object.Service)
		c.services[service.Index] = append(c.services[service.Index], service)
		c.allServices = append(c.allServices, service)
		for _, ip := range service.ClusterIPs {
			c.servicesByAddr[ip] = append(c.servicesByAddr[ip], service)
		}
		for _, slice := range s.Slices(false) {
			o, err := object.EndpointSliceToEndpoints(slice)
			if err != nil {
				tb.Fatal(err)
			}
			ends := o.(*object.Endpoints)
			c.endpoints[ends.Index] = append(c.endpoints[ends.Index], ends)
			c.allEndpointSlices = append(c.allEndpointSlices, ends)
			for _, ip := range ends.IndexIP {
				c.endpointsByAddr[ip] = append(c.endpointsByAddr[ip], ends)
			}
		}
	}
	return c
}

func (c *controller) ServiceList() []*object.Service                   { return c.allServices }
func (c *controller) EndpointsList() []*object.Endpoints               { return c.allEndpointSlices }
func (c *controller) ServiceImportList() []*object.ServiceImport       { return nil }
func (c *controller) SvcIndex(key string) []*object.Service            { return c.services[key] }
func (c *controller) SvcIndexReverse(ip string) []*object.Service      { return c.servicesByAddr[ip] }
func (c *controller) SvcExtIndexReverse(string) []*object.Service      { return nil }
func (c *controller) SvcImportIndex(string) []*object.ServiceImport    { return nil }
func (c *controller) PodIndex(string) []*object.Pod                    { return nil }
func (c *controller) EpIndex(key string) []*object.Endpoints           { return c.endpoints[key] }
func (c *controller) EpIndexReverse(ip string) []*object.Endpoints     { return c.endpointsByAddr[ip] }
func (c *controller) McEpIndex(string) []*object.MultiClusterEndpoints { return nil }
func (c *controller) Run()                                             {}
func (c *controller) HasSynced() bool                                  { return true }
func (c *controller) Stop() error                                      { return nil }
func (c *controller) Modified(kubernetes.ModifiedMode) int64           { return 1 }
func (c *controller) GetNodeByName(context.Context, string) (*corev1.Node, error) {
	return nil, errors.New("no nodes")
}

func (c *controller) GetNamespaceByName(name string) (*object.Namespace, error) {
	if ns := c.namespaces[name]; ns != nil {
		return ns, nil
	}
	return nil, errors.New("no such namespace")
}

// recorder keeps the last message.
type recorder struct {
	test.ResponseWriter
	msg *dns.Msg
}

func (r *recorder) WriteMsg(m *dns.Msg) error { r.msg = m; return nil }

func BenchmarkServeDNS(b *testing.B) {
	w := world.New(world.Spec{Name: "10000", Services: 10000, Endpoints: 15})
	k := kubernetes.New([]string{world.Zone, world.Reverse})
	k.APIConn = newController(b, w)
	for _, row := range []struct {
		name, question string
		qtype          uint16
		answer, ns     int
	}{
		{"ClusterIP A", "svc-77.ns17.svc.cluster.local.", dns.TypeA, 1, 0},
		{"ClusterIP AAAA, none", "svc-77.ns17.svc.cluster.local.", dns.TypeAAAA, 0, 1},
		{"ClusterIP SRV", "_http._tcp.svc-77.ns17.svc.cluster.local.", dns.TypeSRV, 1, 0},
		{"headless-15 A", "svc-80.ns0.svc.cluster.local.", dns.TypeA, 15, 0},
		{"headless-15 SRV", "_http._tcp.svc-80.ns0.svc.cluster.local.", dns.TypeSRV, 15, 0},
		{"PTR", world.ReverseName(netip.MustParseAddr("10.96.1.77")), dns.TypePTR, 1, 0},
		{"NXDOMAIN", "nope.ns0.svc.cluster.local.", dns.TypeA, 0, 1},
	} {
		b.Run(row.name, func(b *testing.B) {
			q := new(dns.Msg)
			q.SetQuestion(row.question, row.qtype)
			ctx, rec := context.Background(), &recorder{}
			b.ReportAllocs()
			for b.Loop() {
				rec.msg = nil
				if _, err := k.ServeDNS(ctx, rec, q); err != nil {
					b.Fatal(err)
				}
			}
			if len(rec.msg.Answer) != row.answer || len(rec.msg.Ns) != row.ns {
				b.Fatalf("%v", rec.msg)
			}
		})
	}
}
