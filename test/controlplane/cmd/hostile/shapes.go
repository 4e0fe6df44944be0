package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// shape is what a tenant makes of the cluster, with a number to choose, and
// what somebody then asks or changes. One of question and change is set.
type shape struct {
	name string
	n    int // the smaller one
	// make makes the objects for n in a namespace.
	make func(ctx context.Context, w *world, ns string, n int) error
	// question is asked over UDP, with EDNS and 1,232 octets.
	question func(ns string) (name string, qtype uint16)
	// change changes the objects for the i-th time.
	change func(ctx context.Context, w *world, ns string, n, i int) error
}

// shapes are within what an API server lets a tenant write: 1,000 endpoints and
// 100 ports a slice, 1.5 MB an object.
var shapes = []shape{
	{name: "SRV, endpoints that share one hostname", n: 500,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			return w.headless(ctx, ns, n, func(i int) endpoint { return endpoint{addr(i), "pod"} })
		}, question: ask(dns.TypeSRV, "web")},
	{name: "SRV, one address in two slices", n: 500,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			if err := w.headless(ctx, ns, n, func(i int) endpoint { return endpoint{addr(i), ""} }); err != nil {
				return err
			}
			return w.slice(ctx, ns, "web", "again", []endpoint{{addr(0), ""}})
		}, question: ask(dns.TypeSRV, "web")},
	{name: "SRV, hostnames that differ", n: 500,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			return w.headless(ctx, ns, n, func(i int) endpoint { return endpoint{addr(i), fmt.Sprint("pod-", i)} })
		}, question: ask(dns.TypeSRV, "web")},
	{name: "SRV, many ports", n: 1000,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			return w.service(ctx, ns, "web", func(s *corev1.ServiceSpec) {
				s.Ports = nil
				for i := range n {
					s.Ports = append(s.Ports, corev1.ServicePort{Name: fmt.Sprint("p", i), Port: int32(i + 1), Protocol: corev1.ProtocolTCP})
				}
			})
		}, question: ask(dns.TypeSRV, "web")},
	{name: "A of many endpoints", n: 500,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			return w.headless(ctx, ns, n, func(i int) endpoint { return endpoint{addr(i), ""} })
		}, question: ask(dns.TypeA, "web")},
	{name: "SRV of one address in many endpoints", n: 500,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			return w.headless(ctx, ns, n, func(int) endpoint { return endpoint{addr(0), ""} })
		}, question: ask(dns.TypeSRV, addr(0).dashed()+".web")},
	{name: "PTR of an address of many services", n: 200,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			for i := range n {
				name := fmt.Sprint("web-", i)
				if err := w.service(ctx, ns, name, func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }); err != nil {
					return err
				}
				if err := w.slice(ctx, ns, name, name, []endpoint{{addr(n), ""}}); err != nil { // not the same for n and 10 n
					return err
				}
			}
			return nil
		}},
	{name: "change of a service with many externalIPs", n: 4000,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			return w.service(ctx, ns, "web", func(s *corev1.ServiceSpec) {
				for i := range n {
					s.ExternalIPs = append(s.ExternalIPs, addr(i).String())
				}
			})
		},
		change: func(ctx context.Context, w *world, ns string, n, i int) error {
			s, err := w.client.CoreV1().Services(ns).Get(ctx, "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			s.Spec.Ports[0].Port = int32(1000 + i)
			s.Spec.ExternalIPs[0] = addr(n + i).String()
			_, err = w.client.CoreV1().Services(ns).Update(ctx, s, metav1.UpdateOptions{})
			return err
		}},
	{name: "change of a slice among slices with one address", n: 1000,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			return w.headless(ctx, ns, n, func(int) endpoint { return endpoint{addr(0), ""} })
		}, change: changeSlice},
	{name: "change of a slice of a large service", n: 500,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			return w.headless(ctx, ns, n, func(i int) endpoint { return endpoint{addr(i), ""} })
		}, change: changeSlice},
	{name: "change of a slice of a large service with hostnames", n: 500,
		make: func(ctx context.Context, w *world, ns string, n int) error {
			return w.headless(ctx, ns, n, func(i int) endpoint { return endpoint{addr(i), fmt.Sprint("pod-", i)} })
		}, change: changeSlice},
}

func init() {
	for i := range shapes {
		if s := &shapes[i]; s.question == nil && s.change == nil { // PTR: which address depends on n
			s.question = func(ns string) (string, uint16) {
				name, _ := dns.ReverseAddr(addr(sizeOf(ns)).String())
				return name, dns.TypePTR
			}
		}
	}
}

// ask returns a question for a name in the shape's namespace.
func ask(qtype uint16, name string) func(string) (string, uint16) {
	return func(ns string) (string, uint16) { return name + "." + ns + ".svc.cluster.local.", qtype }
}

// changeSlice replaces an endpoint of the small slice that headless adds.
func changeSlice(ctx context.Context, w *world, ns string, n, i int) error {
	s, err := w.client.DiscoveryV1().EndpointSlices(ns).Get(ctx, "web-changing", metav1.GetOptions{})
	if err != nil {
		return err
	}
	s.Endpoints[0].Addresses[0] = addr(n + 1 + i).String()
	_, err = w.client.DiscoveryV1().EndpointSlices(ns).Update(ctx, s, metav1.UpdateOptions{})
	return err
}

// address is one of 10.0.0.0/8, by number from 10.16.0.0 on.
type address struct{ netip.Addr }

func addr(i int) address {
	i += 16 << 16
	return address{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
}

// dashed is the label of an endpoint without a hostname.
func (a address) dashed() string {
	b := a.As4()
	return fmt.Sprintf("%d-%d-%d-%d", b[0], b[1], b[2], b[3])
}

type endpoint struct {
	addr     address
	hostname string
}

// service makes a service with one port, of which edit may change what it likes.
func (w *world) service(ctx context.Context, ns, name string, edit func(*corev1.ServiceSpec)) error {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}},
	}
	edit(&s.Spec)
	_, err := w.client.CoreV1().Services(ns).Create(ctx, s, metav1.CreateOptions{})
	return err
}

// headless makes the service web with n endpoints in slices of 1,000, and one
// more slice with one more endpoint.
func (w *world) headless(ctx context.Context, ns string, n int, at func(i int) endpoint) error {
	if err := w.service(ctx, ns, "web", func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone }); err != nil {
		return err
	}
	const most = 1000
	for from := 0; from < n; from += most {
		var list []endpoint
		for i := from; i < min(n, from+most); i++ {
			list = append(list, at(i))
		}
		if err := w.slice(ctx, ns, "web", fmt.Sprint("web-", from), list); err != nil {
			return err
		}
	}
	return w.slice(ctx, ns, "web", "web-changing", []endpoint{{addr(n), ""}})
}

func (w *world) slice(ctx context.Context, ns, service, name string, list []endpoint) error {
	port, number, protocol := "http", int32(80), corev1.ProtocolTCP
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &port, Port: &number, Protocol: &protocol}},
	}
	for _, e := range list {
		ep := discoveryv1.Endpoint{Addresses: []string{e.addr.String()}}
		if e.hostname != "" {
			ep.Hostname = &e.hostname
		}
		s.Endpoints = append(s.Endpoints, ep)
	}
	_, err := w.client.DiscoveryV1().EndpointSlices(ns).Create(ctx, s, metav1.CreateOptions{})
	return err
}

// settled waits until s has the objects made last: a service made after them.
func (w *world) settled(ctx context.Context, s *server) error {
	for {
		r, err := exchange("udp", s.addr, w.last+".default.svc.cluster.local.", dns.TypeA, time.Second)
		if err == nil && len(r.Answer) > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
