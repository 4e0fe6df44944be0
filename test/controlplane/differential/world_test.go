package differential

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// world makes the objects that both servers are asked about: first one of
// every awkward state that objects can be in, then services at random.
// EndpointSlices are made by hand, for services without a selector, so that
// no controller changes them while the servers are compared.
type world struct {
	client kubernetes.Interface
	rand   *rand.Rand
	// refused counts objects that the API server did not accept: spellings
	// that only older ones let pass.
	refused int
}

var namespaces = []string{"shop", "data", "team-a", "empty", "n1", strings.Repeat("n", 63)}

func (w *world) create(ctx context.Context, services int) error {
	for _, n := range namespaces {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n, Labels: map[string]string{"env": "test"}}}
		if n == "shop" || n == "data" {
			ns.Labels["env"] = "prod"
		}
		if _, err := w.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	if err := w.awkward(ctx); err != nil {
		return err
	}
	for i := range services {
		if err := w.random(ctx, i); err != nil {
			return err
		}
	}
	if err := w.outside(ctx); err != nil {
		return err
	}
	if err := w.reachSome(ctx, w.rand); err != nil {
		return err
	}
	if err := w.imports(ctx); err != nil {
		return err
	}
	return w.pods(ctx)
}

// service makes a service; kind is ClusterIP, Headless or ExternalName.
func (w *world) service(ctx context.Context, ns, name, kind, detail string, ports ...corev1.ServicePort) error {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: tier(name)}}
	s.Spec.Ports = ports
	require, prefer := corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack
	switch kind {
	case "Headless":
		s.Spec.ClusterIP = corev1.ClusterIPNone
		s.Spec.IPFamilyPolicy = &require
	case "ExternalName":
		s.Spec.Type = corev1.ServiceTypeExternalName
		s.Spec.ExternalName = detail
	case "ClusterIP":
		s.Spec.IPFamilyPolicy = &prefer
		for f := range strings.SplitSeq(detail, "+") {
			s.Spec.IPFamilies = append(s.Spec.IPFamilies, corev1.IPFamily(f))
		}
		if len(s.Spec.IPFamilies) > 1 {
			s.Spec.IPFamilyPolicy = &require
		}
	}
	_, err := w.client.CoreV1().Services(ns).Create(ctx, s, metav1.CreateOptions{})
	return w.tolerate(err, "service", ns, name)
}

// tolerate lets pass what the API server finds invalid.
func (w *world) tolerate(err error, kind, ns, name string) error {
	if apierrors.IsInvalid(err) {
		w.refused++
		return nil
	}
	if err != nil {
		return fmt.Errorf("creating %s %s/%s: %w", kind, ns, name, err)
	}
	return nil
}

// tier returns the labels of a service called name, and of its slices.
func tier(name string) map[string]string {
	if len(name)%2 == 0 {
		return map[string]string{"tier": "even"}
	}
	return map[string]string{"tier": "odd"}
}

// endpoint is an endpoint of a slice. ready is t, f or empty for nil.
type endpoint struct {
	addr, ready, hostname, pod, zone string
}

func (w *world) slice(ctx context.Context, ns, name, service string, ports []discoveryv1.EndpointPort, endpoints ...endpoint) error {
	return w.labelledSlice(ctx, ns, name, service, tier(service), ports, endpoints...)
}

func (w *world) labelledSlice(ctx context.Context, ns, name, service string, labels map[string]string, ports []discoveryv1.EndpointPort, endpoints ...endpoint) error {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}, Ports: ports}
	if service != "" {
		s.Labels[discoveryv1.LabelServiceName] = service
	}
	s.AddressType = discoveryv1.AddressTypeIPv4
	for _, e := range endpoints {
		if strings.Contains(e.addr, ":") {
			s.AddressType = discoveryv1.AddressTypeIPv6
		} else if strings.ContainsAny(e.addr, "abcdefghijklmnopqrstuvwxyz") {
			s.AddressType = discoveryv1.AddressTypeFQDN
		}
		ep := discoveryv1.Endpoint{Addresses: []string{e.addr}}
		if e.ready != "" {
			ready := e.ready == "t"
			ep.Conditions.Ready = &ready
		}
		if e.hostname != "" {
			ep.Hostname = &e.hostname
		}
		if e.zone != "" {
			ep.Zone = &e.zone
		}
		if e.pod != "" {
			ep.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: ns, Name: e.pod}
		}
		s.Endpoints = append(s.Endpoints, ep)
	}
	_, err := w.client.DiscoveryV1().EndpointSlices(ns).Create(ctx, s, metav1.CreateOptions{})
	return w.tolerate(err, "endpointslice", ns, name)
}

func svcPort(name, protocol string, number int32) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Protocol: corev1.Protocol(protocol), Port: number}
}

func epPort(name, protocol string, number int32) discoveryv1.EndpointPort {
	p := discoveryv1.EndpointPort{Name: &name}
	proto := corev1.Protocol(protocol)
	p.Protocol = &proto
	if number > 0 {
		p.Port = &number
	}
	return p
}

// awkward makes one object for every row of "Objects in awkward states".
func (w *world) awkward(ctx context.Context) error {
	http := []discoveryv1.EndpointPort{epPort("http", "TCP", 8080)}
	two := []discoveryv1.EndpointPort{epPort("http", "TCP", 8080), epPort("metrics", "TCP", 9090)}
	dns := []discoveryv1.EndpointPort{epPort("dns", "UDP", 53), epPort("dns-tcp", "TCP", 53)}
	many := func(n int) (eps []endpoint) {
		for i := range n {
			eps = append(eps, endpoint{addr: fmt.Sprintf("10.130.%d.%d", i/250, i%250+1)})
		}
		return eps
	}
	steps := []func() error{
		func() error {
			return w.service(ctx, "shop", "web", "ClusterIP", "IPv4", svcPort("http", "TCP", 80), svcPort("https", "TCP", 443))
		},
		func() error {
			return w.slice(ctx, "shop", "web-1", "web", http, endpoint{addr: "10.129.0.1"}, endpoint{addr: "10.129.0.2", ready: "f"}, endpoint{addr: "10.129.0.3", ready: "t", hostname: "named"})
		},
		func() error { return w.service(ctx, "shop", "unnamed", "ClusterIP", "IPv4", svcPort("", "TCP", 80)) },
		func() error {
			return w.service(ctx, "shop", "kube-dns", "ClusterIP", "IPv4+IPv6", svcPort("dns", "UDP", 53), svcPort("dns-tcp", "TCP", 53), svcPort("metrics", "TCP", 9153))
		},
		func() error {
			return w.slice(ctx, "shop", "kube-dns-1", "kube-dns", dns, endpoint{addr: "10.129.1.1"}, endpoint{addr: "10.129.1.2"})
		},
		func() error {
			return w.slice(ctx, "shop", "kube-dns-2", "kube-dns", dns, endpoint{addr: "fd00:10:129::1"})
		},
		func() error { return w.service(ctx, "shop", "six", "ClusterIP", "IPv6", svcPort("http", "TCP", 80)) },
		func() error {
			return w.service(ctx, "shop", "six-four", "ClusterIP", "IPv6+IPv4", svcPort("http", "TCP", 80))
		},
		func() error {
			return w.service(ctx, "shop", "sctp", "ClusterIP", "IPv4", svcPort("signal", "SCTP", 9), svcPort("signal-t", "TCP", 9))
		},
		func() error { return w.service(ctx, "shop", "9lives", "ClusterIP", "IPv4", svcPort("http", "TCP", 80)) },
		func() error {
			return w.service(ctx, "shop", strings.Repeat("s", 63), "ClusterIP", "IPv4", svcPort("http", "TCP", 80))
		},
		func() error {
			return w.service(ctx, strings.Repeat("n", 63), strings.Repeat("s", 63), "Headless", "", svcPort("http", "TCP", 80))
		},
		func() error {
			return w.slice(ctx, strings.Repeat("n", 63), "long-1", strings.Repeat("s", 63), http, endpoint{addr: "10.129.9.9", hostname: strings.Repeat("h", 63)})
		},
		// Headless ones.
		func() error { return w.service(ctx, "data", "none", "Headless", "", svcPort("http", "TCP", 80)) },
		func() error { return w.service(ctx, "data", "unready", "Headless", "", svcPort("http", "TCP", 80)) },
		func() error {
			return w.slice(ctx, "data", "unready-1", "unready", http, endpoint{addr: "10.129.2.1", ready: "f"})
		},
		func() error { return w.service(ctx, "data", "portless", "Headless", "") },
		func() error {
			return w.slice(ctx, "data", "portless-1", "portless", nil, endpoint{addr: "10.129.3.1"}, endpoint{addr: "10.129.3.2", hostname: "two"})
		},
		func() error { return w.service(ctx, "data", "nilport", "Headless", "") },
		func() error {
			return w.slice(ctx, "data", "nilport-1", "nilport", []discoveryv1.EndpointPort{epPort("any", "TCP", 0)}, endpoint{addr: "10.129.3.9"})
		},
		func() error { return w.service(ctx, "data", "db", "Headless", "", svcPort("sql", "TCP", 5432)) },
		func() error {
			return w.slice(ctx, "data", "db-1", "db", two, endpoint{addr: "10.129.4.1", hostname: "db-0", pod: "db-0"},
				endpoint{addr: "10.129.4.2", hostname: "db-1", pod: "db-1", zone: "Z1"}, endpoint{addr: "10.129.4.3", pod: "db-anon", zone: "corp.example.com"},
				endpoint{addr: "10.129.4.4", pod: strings.Repeat("p", 64)}, endpoint{addr: "10.129.4.5", hostname: "db-5", ready: "f"})
		},
		func() error {
			return w.slice(ctx, "data", "db-2", "db", two, endpoint{addr: "fd00:10:129::4:1", hostname: "db-0"}, endpoint{addr: "fd00:10:129:4::"}, endpoint{addr: "::10:129:0:4"})
		},
		// One address in two slices, one hostname for two addresses, an
		// address under two names, different ports.
		func() error { return w.service(ctx, "data", "overlap", "Headless", "", svcPort("http", "TCP", 80)) },
		func() error {
			return w.slice(ctx, "data", "overlap-1", "overlap", http, endpoint{addr: "10.129.5.1"}, endpoint{addr: "10.129.5.2", hostname: "twin"})
		},
		func() error {
			return w.slice(ctx, "data", "overlap-2", "overlap", two, endpoint{addr: "10.129.5.1"}, endpoint{addr: "10.129.5.3", hostname: "twin"}, endpoint{addr: "10.129.5.2", hostname: "other"})
		},
		func() error {
			return w.service(ctx, "data", "overlap-too", "ClusterIP", "IPv4", svcPort("http", "TCP", 80))
		},
		func() error {
			return w.slice(ctx, "data", "overlap-too-1", "overlap-too", http, endpoint{addr: "10.129.5.1"}, endpoint{addr: "10.129.5.2"})
		},
		func() error { return w.service(ctx, "data", "big", "Headless", "", svcPort("http", "TCP", 80)) },
		func() error { return w.slice(ctx, "data", "big-1", "big", http, many(100)...) },
		func() error { return w.slice(ctx, "data", "big-2", "big", http, many(220)[100:]...) },
		// Slices of no service, without a service, of names instead of addresses.
		func() error { return w.slice(ctx, "data", "orphan-1", "orphan", http, endpoint{addr: "10.129.6.1"}) },
		func() error { return w.slice(ctx, "data", "nobody", "", http, endpoint{addr: "10.129.6.2"}) },
		func() error { return w.service(ctx, "data", "fqdn", "Headless", "") },
		func() error { return w.slice(ctx, "data", "fqdn-1", "fqdn", http, endpoint{addr: "host.example.com"}) },
		// Spellings.
		func() error { return w.service(ctx, "data", "spelling", "Headless", "") },
		func() error {
			return w.slice(ctx, "data", "spelling-1", "spelling", http, endpoint{addr: "FD00:10:129:0:0:0:7:1"}, endpoint{addr: "fd00:10:129:0::7:2"})
		},
		func() error {
			return w.slice(ctx, "data", "spelling-2", "spelling", http, endpoint{addr: "::ffff:10.129.7.3"})
		},
		// External names.
		func() error { return w.service(ctx, "shop", "ext", "ExternalName", "there.example.com") },
		func() error { return w.service(ctx, "shop", "ext-dot", "ExternalName", "there.example.com.") },
		func() error { return w.service(ctx, "shop", "ext-alias", "ExternalName", "alias.example.com") },
		func() error { return w.service(ctx, "shop", "ext-fail", "ExternalName", "fail.example.com") },
		func() error { return w.service(ctx, "shop", "ext-none", "ExternalName", "none.example.com") },
		func() error { return w.service(ctx, "shop", "ext-ip", "ExternalName", "192.0.2.7") },
		func() error { return w.service(ctx, "shop", "ext-in", "ExternalName", "db.data.svc.cluster.local") },
		func() error {
			return w.service(ctx, "shop", "ext-pod", "ExternalName", "db-0.db.data.svc.cluster.local")
		},
		func() error {
			return w.service(ctx, "shop", "ext-missing", "ExternalName", "nope.data.svc.cluster.local")
		},
		func() error { return w.service(ctx, "shop", "ext-apex", "ExternalName", "cluster.local") },
		func() error {
			return w.service(ctx, "shop", "ext-self", "ExternalName", "ext-self.shop.svc.cluster.local")
		},
		func() error {
			return w.service(ctx, "shop", "ext-below", "ExternalName", "a.ext-below.shop.svc.cluster.local")
		},
		func() error { return w.service(ctx, "shop", "loop-a", "ExternalName", "loop-b.shop.svc.cluster.local") },
		func() error { return w.service(ctx, "shop", "loop-b", "ExternalName", "loop-a.shop.svc.cluster.local") },
		func() error {
			return w.service(ctx, "shop", "ext-ports", "ExternalName", "there.example.com", svcPort("http", "TCP", 80))
		},
	}
	for i := range 14 { // a chain longer than is followed
		target := fmt.Sprintf("chain-%d.shop.svc.cluster.local", i+1)
		if i == 13 {
			target = "web.shop.svc.cluster.local"
		}
		steps = append(steps, func() error {
			return w.service(ctx, "shop", fmt.Sprintf("chain-%d", i), "ExternalName", target)
		})
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// random makes a service like those that clusters are full of.
func (w *world) random(ctx context.Context, i int) error {
	r := w.rand
	ns := namespaces[r.IntN(3)]
	name := fmt.Sprintf("s%d", i)
	var ports []corev1.ServicePort
	var eps []discoveryv1.EndpointPort
	for j := range 1 + r.IntN(3) {
		p := fmt.Sprintf("p%d", j)
		proto := []string{"TCP", "UDP", "SCTP"}[r.IntN(3)]
		number := int32(8000 + r.IntN(3))
		clash := false
		for _, o := range ports {
			clash = clash || o.Port == number && string(o.Protocol) == proto
		}
		if clash {
			continue
		}
		ports = append(ports, svcPort(p, proto, number))
		eps = append(eps, epPort(p, proto, number+int32(r.IntN(2))))
	}
	kind, detail := "ClusterIP", []string{"IPv4", "IPv4", "IPv6", "IPv4+IPv6", "IPv6+IPv4"}[r.IntN(5)]
	switch r.IntN(10) {
	case 0, 1, 2, 3:
		kind = "Headless"
	case 4:
		kind, detail = "ExternalName", fmt.Sprintf("s%d.%s.svc.cluster.local", r.IntN(i+1), namespaces[r.IntN(3)])
	}
	if err := w.service(ctx, ns, name, kind, detail, ports...); err != nil {
		return err
	}
	for s := range r.IntN(3) {
		six := r.IntN(4) == 0
		var list []endpoint
		for range r.IntN(12) {
			e := endpoint{addr: fmt.Sprintf("10.131.%d.%d", i%200, 1+r.IntN(40)), ready: []string{"", "t", "t", "f"}[r.IntN(4)]}
			if six {
				e.addr = fmt.Sprintf("fd00:10:131::%x:%x", i+1, 1+r.IntN(40))
			}
			// By the address, of which stock knows one zone in a slice.
			e.zone = []string{"z1", "Z2", "corp.example.com", ""}[e.addr[len(e.addr)-1]%4]
			if r.IntN(3) == 0 {
				e.hostname = fmt.Sprintf("h%d", r.IntN(10))
			}
			if r.IntN(2) == 0 {
				e.pod = fmt.Sprintf("pod-%d", r.IntN(10))
			}
			list = append(list, e)
		}
		if len(list) == 0 {
			continue
		}
		if err := w.slice(ctx, ns, fmt.Sprintf("%s-%d", name, s), name, eps, list...); err != nil {
			return err
		}
	}
	return nil
}

// pods makes pods with addresses, two of them sharing theirs.
func (w *world) pods(ctx context.Context) error {
	for i, ips := range [][]string{{"10.129.0.1"}, {"10.129.4.1", "fd00:10:129::4:1"}, {"10.129.8.8"}, {"10.129.8.8"}, {"fd00:10:129:4::"}} {
		ns := namespaces[i%2]
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("pod-%d", i)}}
		p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
		made, err := w.client.CoreV1().Pods(ns).Create(ctx, p, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		made.Status.Phase = corev1.PodRunning
		for _, ip := range ips {
			made.Status.PodIPs = append(made.Status.PodIPs, corev1.PodIP{IP: ip})
		}
		made.Status.PodIP = ips[0]
		if _, err := w.client.CoreV1().Pods(ns).UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// change deletes, recreates as something else, and edits what random made. The
// last change, which a client sees when it has seen all others of the same
// resource, is the headless service changed-<round>.
func (w *world) change(ctx context.Context, round int) error {
	services, err := w.client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i, s := range services.Items {
		if !strings.HasPrefix(s.Name, "s") || len(s.Name) > 5 || s.Namespace == "default" || w.rand.IntN(3) > 0 {
			continue
		}
		if err := w.client.CoreV1().Services(s.Namespace).Delete(ctx, s.Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		kind, detail := []string{"ClusterIP", "Headless", "ExternalName", ""}[w.rand.IntN(4)], "IPv4"
		if kind == "ExternalName" {
			detail = services.Items[w.rand.IntN(i+1)].Name + "." + s.Namespace + ".svc.cluster.local"
		}
		if kind == "" {
			continue
		}
		if err := w.service(ctx, s.Namespace, s.Name, kind, detail, s.Spec.Ports...); err != nil {
			return err
		}
	}
	list, err := w.client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range list.Items {
		if s.Namespace == "default" {
			continue
		}
		api := w.client.DiscoveryV1().EndpointSlices(s.Namespace)
		switch w.rand.IntN(6) {
		case 0:
			if len(s.Name) > 5 { // an awkward one stays
				continue
			}
			err = api.Delete(ctx, s.Name, metav1.DeleteOptions{})
		case 1, 2:
			for i := range s.Endpoints {
				ready := w.rand.IntN(2) == 0
				s.Endpoints[i].Conditions.Ready = &ready
			}
			_, err = api.Update(ctx, &s, metav1.UpdateOptions{})
		}
		if err != nil {
			return err
		}
	}
	if err := w.reachSome(ctx, w.rand); err != nil {
		return err
	}
	name := fmt.Sprintf("changed-%d", round)
	if err := w.service(ctx, "shop", name, "Headless", ""); err != nil {
		return err
	}
	if err := w.slice(ctx, "shop", name, name, nil, endpoint{addr: fmt.Sprintf("10.129.10.%d", round), zone: "z1"}); err != nil {
		return err
	}
	return w.changeImports(ctx, round)
}
