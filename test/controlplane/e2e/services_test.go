package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	dual = corev1.IPFamilyPolicyPreferDualStack
	v4   = corev1.IPv4Protocol
	v6   = corev1.IPv6Protocol
)

// TestServices has a Service of every kind in front of one Deployment, whose
// EndpointSlices its controller makes.
func TestServices(t *testing.T) {
	s := newSpace(t, client)
	ports := []corev1.ServicePort{
		{Name: "http", Port: 80},
		{Name: "metrics", Port: 9090},
		{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
	}
	var services []*corev1.Service
	add := func(svc *corev1.Service) { services = append(services, s.create(selecting("web", svc))) }
	add(service("cluster-ip", ports...))
	add(ofType(corev1.ServiceTypeNodePort, service("node-port", ports...)))
	add(ofType(corev1.ServiceTypeLoadBalancer, service("load-balancer", ports...)))
	add(families(dual, service("dual", ports...)))
	add(headless(service("headless", ports...)))
	add(families(dual, headless(service("headless-dual", ports...))))
	start := time.Now()
	s.deploy("web", 3)
	pods := s.pods("web", 3)
	t.Logf("3 pods ready after %v", time.Since(start))

	for _, svc := range services {
		t.Run(svc.Name, func(t *testing.T) {
			if svc.Spec.ClusterIP == corev1.ClusterIPNone {
				s.checkHeadless(t, svc, pods)
			} else {
				s.checkClusterIP(t, svc)
			}
			s.checkEndpoints(t, svc, pods)
			shared.is(t, a(s.fqdn("_http._tcp.no-such")), nxdomain)
			shared.is(t, question{s.fqdn(svc.Name), dns.TypeTXT}, nodata)
		})
	}
	t.Run("PTR of pods", func(t *testing.T) {
		for _, addr := range addrsOf(pods...) {
			var lines []string
			for _, svc := range services {
				if slices.Contains(svc.Spec.IPFamilies, familyOf(addr)) {
					lines = append(lines, "PTR "+s.fqdn(dashed(addr)+"."+svc.Name))
				}
			}
			shared.becomes(t, ptr(addr), text(lines...))
		}
	})
}

func familyOf(addr string) corev1.IPFamily {
	if isIPv4(addr) {
		return v4
	}
	return v6
}

func (s *space) checkClusterIP(t *testing.T, svc *corev1.Service) {
	t.Helper()
	ips := svc.Spec.ClusterIPs
	name := s.fqdn(svc.Name)
	for _, q := range []question{a(name), aaaa(name)} {
		shared.becomes(t, q, addrText(q, ips...))
	}
	var every []string
	for _, p := range svc.Spec.Ports {
		target := fmt.Sprintf("%d %s", p.Port, name)
		one := fmt.Sprintf("SRV 0 %d %s", 100/len(ips), target)
		shared.is(t, srv(s.fqdn(portName(p)+"."+svc.Name)), text(append(glue(name, ips...), one)...))
		every = append(every, fmt.Sprintf("SRV 0 %d %s", 100/len(ips)/len(svc.Spec.Ports), target))
	}
	shared.is(t, srv(name), text(append(glue(name, ips...), every...)...))
	shared.is(t, srv(s.fqdn("_http._udp."+svc.Name)), nxdomain)
	for _, ip := range ips {
		shared.is(t, ptr(ip), "PTR "+name)
	}
}

func portName(p corev1.ServicePort) string {
	return strings.ToLower("_" + p.Name + "._" + string(p.Protocol))
}

// checkHeadless expects the pods' addresses of the service's families.
func (s *space) checkHeadless(t *testing.T, svc *corev1.Service, pods []corev1.Pod) {
	t.Helper()
	addrs := ofFamilies(svc, addrsOf(pods...))
	name := s.fqdn(svc.Name)
	for _, q := range []question{a(name), aaaa(name)} {
		shared.becomes(t, q, addrText(q, addrs...))
	}
	for _, p := range svc.Spec.Ports {
		var lines []string
		for _, addr := range addrs {
			target := s.fqdn(dashed(addr) + "." + svc.Name)
			lines = append(lines, fmt.Sprintf("SRV 0 %d %d %s", 100/len(addrs), p.Port, target))
			lines = append(lines, glue(target, addr)...)
		}
		shared.is(t, srv(s.fqdn(portName(p)+"."+svc.Name)), text(lines...))
	}
	shared.is(t, srv(s.fqdn("_http._udp."+svc.Name)), nxdomain)
}

func ofFamilies(svc *corev1.Service, addrs []string) []string {
	return slices.DeleteFunc(addrs, func(addr string) bool {
		return !slices.Contains(svc.Spec.IPFamilies, familyOf(addr))
	})
}

// checkEndpoints expects a name for each endpoint, of ClusterIP services too.
func (s *space) checkEndpoints(t *testing.T, svc *corev1.Service, pods []corev1.Pod) {
	t.Helper()
	for _, addr := range ofFamilies(svc, addrsOf(pods...)) {
		name := s.fqdn(dashed(addr) + "." + svc.Name)
		for _, q := range []question{a(name), aaaa(name)} {
			shared.becomes(t, q, addrText(q, addr))
		}
	}
	shared.is(t, a(s.fqdn("192-0-2-1."+svc.Name)), nxdomain)
}

// TestNotReady has a headless service without a ready pod, which does not
// exist, and one that publishes it.
func TestNotReady(t *testing.T) {
	s := newSpace(t, client)
	s.create(selecting("web", headless(service("strict"))))
	lax := selecting("web", headless(service("lax")))
	lax.Spec.PublishNotReadyAddresses = true
	s.create(lax)
	s.deploy("web", 1)
	pod := s.pods("web", 1)[0]
	strict, published := a(s.fqdn("strict")), a(s.fqdn("lax"))
	want := addrText(strict, addrsOf(pod)...)
	shared.becomes(t, strict, want)
	shared.becomes(t, published, want)

	patch := `{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`
	_, err := client.CoreV1().Pods(s.name).Patch(t.Context(), pod.Name, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("unready pod gone after %v", shared.becomes(t, strict, nxdomain))
	shared.is(t, published, want)
	shared.is(t, a(s.fqdn(dashed(pod.Status.PodIP)+".strict")), nxdomain)
	shared.is(t, a(s.fqdn(dashed(pod.Status.PodIP)+".lax")), want)
}

func TestExternalName(t *testing.T) {
	s := newSpace(t, client)
	db := s.create(families(dual, service("db")))
	for name, target := range map[string]string{
		"alias":   strings.TrimSuffix(s.fqdn("db"), "."),
		"second":  strings.TrimSuffix(s.fqdn("alias"), "."),
		"away":    "db." + strings.TrimSuffix(outside, "."),
		"missing": strings.TrimSuffix(s.fqdn("no-such"), "."),
	} {
		s.create(external(name, target))
	}
	address := func(owner string, q question, addrs ...string) string {
		return owner + " " + addrText(q, addrs...)
	}
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		q := question{s.fqdn("alias"), qtype}
		toDB := address(s.fqdn("db"), q, db.Spec.ClusterIPs...)
		shared.becomes(t, q, text("CNAME "+s.fqdn("db"), toDB))

		q.name = s.fqdn("second")
		shared.becomes(t, q, text("CNAME "+s.fqdn("alias"), s.fqdn("alias")+" CNAME "+s.fqdn("db"), toDB))

		q.name = s.fqdn("away")
		shared.becomes(t, q, text("CNAME db."+outside, address("db."+outside, q, "192.0.2.53", "2001:db8::53")))
	}
	shared.becomes(t, question{s.fqdn("away"), dns.TypeCNAME}, "CNAME db."+outside)
	shared.becomes(t, a(s.fqdn("missing")), nodata)
	shared.is(t, a(s.fqdn("below.away")), nxdomain)
}

// TestHandMadeSlices has services without a selector, whose EndpointSlices
// somebody else makes.
func TestHandMadeSlices(t *testing.T) {
	s := newSpace(t, client)
	t.Cleanup(func() { // another run has the same addresses
		err := client.DiscoveryV1().EndpointSlices(s.name).DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	s.createSlice("late", 80, endpoint("198.51.100.10", "")) // before its service
	for _, name := range []string{"late", "legacy"} {
		s.create(headless(service(name)))
	}
	s.create(service("fronted"))
	for _, name := range []string{"legacy", "fronted"} {
		s.createSlice(name, 8080, endpoint("198.51.100.1", "one"), endpoint("198.51.100.2", ""))
	}
	slice := s.createSlice("legacy", 8080, endpoint("198.51.100.2", ""), endpoint("198.51.100.3", "one"))

	legacy := a(s.fqdn("legacy"))
	shared.becomes(t, legacy, addrText(legacy, "198.51.100.1", "198.51.100.2", "198.51.100.3"))
	shared.is(t, a(s.fqdn("one.legacy")), addrText(legacy, "198.51.100.1", "198.51.100.3"))
	shared.is(t, a(s.fqdn("198-51-100-2.legacy")), addrText(legacy, "198.51.100.2"))
	shared.becomes(t, a(s.fqdn("one.fronted")), addrText(legacy, "198.51.100.1"))
	shared.becomes(t, a(s.fqdn("late")), addrText(legacy, "198.51.100.10"))
	shared.is(t, ptr("198.51.100.1"), text("PTR "+s.fqdn("one.legacy"), "PTR "+s.fqdn("one.fronted")))

	err := client.DiscoveryV1().EndpointSlices(s.name).Delete(t.Context(), slice.Name, metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	shared.becomes(t, legacy, addrText(legacy, "198.51.100.1", "198.51.100.2"))
	shared.is(t, ptr("198.51.100.3"), nxdomain)
}

func TestDualStack(t *testing.T) {
	const required, single = corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack
	s := newSpace(t, client)
	for _, svc := range []*corev1.Service{
		families(dual, service("v4-first"), v4, v6),
		families(dual, service("v6-first"), v6, v4),
		families(required, service("required")),
		families(single, service("v4-only"), v4),
		families(single, service("v6-only"), v6),
	} {
		t.Run(svc.Name, func(t *testing.T) {
			svc = s.create(svc)
			if first := svc.Spec.IPFamilies[0]; familyOf(svc.Spec.ClusterIP) != first {
				t.Fatalf("the API server gave %v to families %v", svc.Spec.ClusterIPs, svc.Spec.IPFamilies)
			}
			t.Logf("%s has %v", svc.Name, svc.Spec.ClusterIPs)
			s.checkClusterIP(t, svc)
		})
	}
}
