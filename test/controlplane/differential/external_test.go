package differential

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// collectExternal is collect for externalZone.
func collectExternal(ctx context.Context, client kubernetes.Interface) (*names, error) {
	n := &names{zone: externalZone, exist: []string{externalZone}, known: []ask{
		{"lb-fail.shop.example.org.", dns.TypeA}, {"fqdn.data.example.org.", dns.TypeA},
		{"lb-host.shop.example.org.", dns.TypeCNAME}, {"lb-host-ports.shop.example.org.", dns.TypeA}, {"lb-nowhere.shop.example.org.", dns.TypeA},
		{"lb-dual.shop.example.org.", dns.TypeSRV}, {"lb-dual.shop.Example.ORG.", dns.TypeAAAA}, {"lb-dual.shop.Example.ORG.", dns.TypeTXT},
	}}
	add := func(labels ...string) {
		name := strings.Join(labels, ".") + "." + externalZone
		if _, ok := dns.IsDomainName(name); ok && !slices.Contains(n.exist, name) {
			n.exist = append(n.exist, name)
		}
	}
	addr := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil && !slices.Contains(n.addrs, a.Unmap()) {
			n.addrs = append(n.addrs, a.Unmap())
		}
	}
	for _, label := range []string{"dns", "ns1.dns", "x.dns", "x.ns1.dns", "names", "ns1.names", "x.names", "svc", "dns-version"} {
		add(label)
	}
	nsList, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, ns := range nsList.Items {
		add(ns.Name)
	}
	services, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i, s := range services.Items {
		add(s.Name, s.Namespace)
		for _, p := range s.Spec.Ports {
			addPort(add, p.Name, string(p.Protocol), s.Name, s.Namespace)
		}
		add("foo", s.Name, s.Namespace)
		add("_", s.Name, s.Namespace)
		for _, ip := range s.Spec.ExternalIPs {
			addr(ip)
		}
		for _, ingress := range s.Status.LoadBalancer.Ingress {
			addr(ingress.IP)
		}
		if i%10 == 0 && s.Spec.ClusterIP != "" {
			addr(s.Spec.ClusterIP)
		}
	}
	slicesList, err := client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, s := range slicesList.Items {
		service := s.Labels["kubernetes.io/service-name"]
		for _, e := range s.Endpoints {
			add(strings.NewReplacer(".", "-", ":", "-").Replace(e.Addresses[0]), service, s.Namespace)
			if e.Hostname != nil {
				add(*e.Hostname, service, s.Namespace)
				add("_"+*e.Hostname, service, s.Namespace)
			}
			if e.TargetRef != nil {
				add(e.TargetRef.Name, service, s.Namespace)
			}
		}
	}
	return n, nil
}

// reach says where a service is reached from outside: at spec.externalIPs and,
// with the type LoadBalancer, at ingresses, which are addresses, host names or
// nothing at all.
func (w *world) reach(ctx context.Context, ns, name string, ips []string, ingresses ...string) error {
	api := w.client.CoreV1().Services(ns)
	s, err := api.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	s.Spec.ExternalIPs = ips
	if len(ingresses) > 0 {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
	}
	made, err := api.Update(ctx, s, metav1.UpdateOptions{})
	if err != nil {
		return w.tolerate(err, "service", ns, name)
	}
	if len(ingresses) == 0 {
		return nil
	}
	made.Status.LoadBalancer.Ingress = nil
	for _, text := range ingresses {
		ingress := corev1.LoadBalancerIngress{Hostname: text}
		if _, err := netip.ParseAddr(text); err == nil {
			ingress = corev1.LoadBalancerIngress{IP: text}
		}
		made.Status.LoadBalancer.Ingress = append(made.Status.LoadBalancer.Ingress, ingress)
	}
	_, err = api.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	return w.tolerate(err, "status of service", ns, name)
}

// outside makes a service for each sort of places at which one can be reached.
func (w *world) outside(ctx context.Context) error {
	http, https := svcPort("http", "TCP", 80), svcPort("https", "TCP", 443)
	for _, s := range []struct {
		ns, name, kind string
		ips, ingresses []string
		ports          []corev1.ServicePort
	}{
		{"shop", "lb-ip", "ClusterIP", nil, []string{"192.0.2.10"}, []corev1.ServicePort{http}},
		{"shop", "lb-dual", "ClusterIP", nil, []string{"192.0.2.11", "2001:db8::11"}, []corev1.ServicePort{http, https}},
		{"shop", "lb-host", "ClusterIP", nil, []string{"there.example.com"}, []corev1.ServicePort{http}},
		{"shop", "lb-host-ports", "ClusterIP", nil, []string{"there.example.com"}, []corev1.ServicePort{http, https}},
		{"shop", "lb-alias", "ClusterIP", nil, []string{"alias.example.com"}, []corev1.ServicePort{http}},
		{"shop", "lb-fail", "ClusterIP", nil, []string{"fail.example.com"}, []corev1.ServicePort{http}},
		{"shop", "lb-none", "ClusterIP", nil, []string{"none.example.com"}, []corev1.ServicePort{http}},
		{"shop", "lb-mixed", "ClusterIP", nil, []string{"192.0.2.12", "there.example.com"}, []corev1.ServicePort{http}},
		{"shop", "lb-twins", "ClusterIP", nil, []string{"there.example.com", "none.example.com"}, []corev1.ServicePort{http}},
		{"shop", "lb-nowhere", "ClusterIP", nil, []string{""}, []corev1.ServicePort{http}},
		{"shop", "lb-pending", "ClusterIP", nil, nil, []corev1.ServicePort{http}},
		{"shop", "lb-listed-twice", "ClusterIP", []string{"192.0.2.13"}, []string{"192.0.2.13", "192.0.2.14"}, []corev1.ServicePort{http}},
		{"shop", "ips", "ClusterIP", []string{"192.0.2.10", "2001:db8::15"}, nil, []corev1.ServicePort{http, svcPort("alt", "UDP", 80), svcPort("dns", "UDP", 53)}},
		{"data", "headless-ips", "Headless", []string{"192.0.2.16"}, nil, []corev1.ServicePort{http}},
		{"data", "portless-ips", "Headless", []string{"192.0.2.17", "192.0.2.18"}, nil, nil},
		{"data", "name-ips", "ExternalName", []string{"192.0.2.19"}, nil, []corev1.ServicePort{http}},
		{"team-a", "lb-hidden", "ClusterIP", nil, []string{"192.0.2.20"}, []corev1.ServicePort{http}},
	} {
		detail := "IPv4"
		if s.kind == "ExternalName" {
			detail = "there.example.com"
		}
		if err := w.service(ctx, s.ns, s.name, s.kind, detail, s.ports...); err != nil {
			return err
		}
		if err := w.reach(ctx, s.ns, s.name, s.ips, s.ingresses...); err != nil {
			return err
		}
	}
	return nil
}

// reachSome gives a third of the services with ClusterIPs that random made, and
// those that change left, other places to be reached at.
func (w *world) reachSome(ctx context.Context, r *rand.Rand) error {
	services, err := w.client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range services.Items {
		if !strings.HasPrefix(s.Name, "s") || len(s.Name) > 5 || s.Spec.Type == corev1.ServiceTypeExternalName || r.IntN(3) > 0 {
			continue
		}
		places := func() (list []string) {
			for range r.IntN(3) {
				list = append(list, []string{
					fmt.Sprintf("192.0.2.%d", 100+r.IntN(50)), fmt.Sprintf("2001:db8::%x", 0x100+r.IntN(50)),
				}[r.IntN(2)])
			}
			return list
		}
		ips, ingresses := places(), places()
		if s.Spec.ClusterIP == corev1.ClusterIPNone {
			ingresses = nil
		} else if r.IntN(5) == 0 {
			ingresses = append(ingresses, "there.example.com")
		}
		if err := w.reach(ctx, s.Namespace, s.Name, ips, ingresses...); err != nil {
			return err
		}
	}
	return nil
}
