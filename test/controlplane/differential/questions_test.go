package differential

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	mcs "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
)

// question is one question, how it is asked, and the category it counts for.
type question struct {
	category string
	name     string
	qtype    uint16
	tcp      bool
	edns     *dns.OPT // nil for none
	flags    func(*dns.Msg)
}

func (q question) String() string {
	s := fmt.Sprintf("[%s] %s %s", q.category, q.name, dns.TypeToString[q.qtype])
	if q.tcp {
		s += " tcp"
	}
	if q.edns != nil {
		s += fmt.Sprintf(" bufsize %d", q.edns.UDPSize())
	}
	return s
}

// known is the category of questions that a rule is known for.
const known = "known"

var types = []uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeTXT, dns.TypeCNAME, dns.TypePTR, dns.TypeNS, dns.TypeSOA,
	dns.TypeMX, dns.TypeANY, dns.TypeHTTPS, dns.TypeDS, dns.TypeAXFR,
}

// names are the names and addresses that the world's objects give rise to.
type names struct {
	zone  string
	exist []string
	addrs []netip.Addr
	known []ask // where the servers differ, on purpose: asked also in a short run
}

type ask struct {
	name  string
	qtype uint16
}

// collect returns the names that v is asked about.
func (v variant) collect(ctx context.Context, client kubernetes.Interface) (*names, error) {
	if v.external != "" {
		return collectExternal(ctx, client)
	}
	return collect(ctx, client, v.zone)
}

// collect reads the API server, so that what is asked does not depend on what
// either server thinks.
func collect(ctx context.Context, client kubernetes.Interface, zone string) (*names, error) {
	seen := map[string]bool{}
	n := &names{zone: zone, known: knownInCluster(zone)}
	add := func(parts ...string) {
		name := strings.Join(parts, ".") + "." + zone
		if zone == "." {
			name = strings.Join(parts, ".") + "."
		}
		if _, ok := dns.IsDomainName(name); ok && !seen[name] {
			seen[name] = true
			n.exist = append(n.exist, name)
		}
	}
	addrs := map[netip.Addr]bool{}
	addr := func(text string) {
		if a, err := netip.ParseAddr(text); err == nil && !addrs[a.Unmap()] {
			addrs[a.Unmap()] = true
			n.addrs = append(n.addrs, a.Unmap())
		}
	}
	for _, s := range []string{"svc", "pod", "dns-version", "ns.dns", "dns"} {
		add(s)
	}
	n.exist = append(n.exist, zone)
	nsList, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, ns := range nsList.Items {
		add(ns.Name, "svc")
		add(ns.Name, "pod")
	}
	services, err := client.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, s := range services.Items {
		add(s.Name, s.Namespace, "svc")
		for _, p := range s.Spec.Ports {
			addPort(add, p.Name, string(p.Protocol), s.Name, s.Namespace, "svc")
		}
		for _, ip := range s.Spec.ClusterIPs {
			addr(ip)
		}
		for _, ip := range s.Spec.ExternalIPs {
			addr(ip)
		}
		for _, zonal := range []string{"z1.pin._zone", "z1.prefer._zone", "nowhere.pin._zone", "a.nowhere.prefer._zone", "z1.both._zone", "pin._zone", "_zone"} {
			add(zonal, s.Name, s.Namespace, "svc")
		}
		add("_", "_", s.Name, s.Namespace, "svc")
		add("foo", s.Name, s.Namespace, "svc")
	}
	slicesList, err := client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	imports, err := listImports(ctx, client)
	if err != nil {
		return nil, err
	}
	for _, s := range imports {
		add(s.Name, s.Namespace, "svc")
		for _, p := range s.Spec.Ports {
			addPort(add, p.Name, string(p.Protocol), s.Name, s.Namespace, "svc")
		}
		add("foo", "c1", s.Name, s.Namespace, "svc")
		add("c1", s.Name, s.Namespace, "svc")
		add("foo", "_c1", s.Name, s.Namespace, "svc")
	}
	for _, s := range slicesList.Items {
		service := s.Labels["kubernetes.io/service-name"]
		if of := s.Labels[mcs.LabelServiceName]; of != "" {
			addImported(add, s, of)
			if service == "" {
				continue // its addresses have no names
			}
		}
		if service == "" {
			service = "none"
		}
		for _, p := range s.Ports {
			if p.Name != nil {
				addPort(add, *p.Name, string(*p.Protocol), service, s.Namespace, "svc")
			}
		}
		for _, e := range s.Endpoints {
			for _, a := range e.Addresses {
				addr(a)
				dashed := strings.NewReplacer(".", "-", ":", "-").Replace(a)
				for _, label := range []string{dashed, dashed + "0", strings.ReplaceAll(a, ".", "-")} {
					add(label, service, s.Namespace, "svc")
				}
				add(dashed, s.Namespace, "pod")
			}
			if e.Hostname != nil {
				add(*e.Hostname, service, s.Namespace, "svc")
			}
			if e.TargetRef != nil {
				add(e.TargetRef.Name, service, s.Namespace, "svc")
			}
			if e.Zone != nil {
				add(*e.Zone, "pin", "_zone", service, s.Namespace, "svc")
				add(*e.Zone, "prefer", "_zone", service, s.Namespace, "svc")
			}
		}
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		for _, ip := range p.Status.PodIPs {
			addr(ip.IP)
			add(strings.NewReplacer(".", "-", ":", "-").Replace(ip.IP), p.Namespace, "pod")
			add("x", strings.NewReplacer(".", "-", ":", "-").Replace(ip.IP), p.Namespace, "pod")
		}
	}
	for _, label := range []string{
		"1-2-3-4", "01-2-3-4", "1-2-3", "1-2-3-4-5", "256-1-1-1", "a-b-c-d", "--1", "1--", "--", "-", "2001-db8--1", "2001-DB8--1",
		"2001-db8-0-0-0-0-0-1", "1-2-3-4-5-6-7-8", "1-2-3-4-5-6-7-8-9", "--ffff-a00-1", "1---2", "12345--1", "fe80--1", "fe80::1", "::ffff:1-2-3-4",
	} {
		add(label, "shop", "pod")
		add(label, "nonesuch", "pod")
		add("x", label, "shop", "pod")
		add("_x", "_y", label, "shop", "pod")
		add("a", "b", "c", label, "shop", "pod")
	}
	return n, nil
}

// collectFacts reads what rules have to know.
func collectFacts(ctx context.Context, client kubernetes.Interface) (*facts, error) {
	list, err := client.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	f := &facts{unlabelled: map[string]bool{}, below: map[string]string{}}
	for _, s := range list.Items {
		if cluster := s.Labels[mcs.LabelSourceCluster]; cluster != "" {
			for _, e := range s.Endpoints {
				if e.Conditions.Ready == nil || *e.Conditions.Ready {
					label := dashed(e.Addresses[0])
					if e.Hostname != nil {
						label = *e.Hostname
					}
					name := strings.ToLower(strings.Join([]string{cluster, s.Labels[mcs.LabelServiceName], s.Namespace, "svc"}, "."))
					f.below[name] = cmp.Or(f.below[name], label)
				}
			}
		}
		if s.Labels[discoveryv1.LabelServiceName] != "" || s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for _, e := range s.Endpoints {
			name, err := dns.ReverseAddr(e.Addresses[0])
			if err != nil {
				return nil, err
			}
			f.unlabelled[name] = true
		}
	}
	return f, nil
}

func dashed(addr string) string { return strings.NewReplacer(".", "-", ":", "-").Replace(addr) }

// addImported adds names of the endpoints of an import's slice.
func addImported(add func(...string), s discoveryv1.EndpointSlice, of string) {
	cluster := s.Labels[mcs.LabelSourceCluster]
	label := func(name string) {
		add(name, of, s.Namespace, "svc")
		add(name, "c1", of, s.Namespace, "svc")
		if cluster != "" {
			add(name, cluster, of, s.Namespace, "svc")
		}
	}
	for _, p := range s.Ports {
		addPort(add, *p.Name, string(*p.Protocol), of, s.Namespace, "svc")
	}
	for _, e := range s.Endpoints {
		label(dashed(e.Addresses[0]))
		if e.Hostname != nil {
			label(*e.Hostname)
		}
		if e.TargetRef != nil {
			label(e.TargetRef.Name)
		}
	}
}

// addPort adds names of a port of the service whose labels are given.
func addPort(add func(...string), port, protocol string, service ...string) {
	protocol = strings.ToLower(protocol)
	for _, labels := range [][2]string{
		{"_" + port, "_" + protocol}, {port, protocol}, {"_", "_" + protocol}, {"_" + port, "_"}, {"_" + port, "_sctp"}, {"_" + port + "x", "_" + protocol},
	} {
		add(append(labels[:], service...)...)
	}
}

// nearMiss returns names that differ from name by little.
func nearMiss(r *rand.Rand, name string) []string {
	labels := dns.SplitDomainName(name)
	if len(labels) == 0 {
		return nil
	}
	i := r.IntN(len(labels))
	join := func(l []string) string { return dns.Fqdn(strings.Join(l, ".")) }
	changed := slices.Clone(labels)
	switch l := changed[i]; r.IntN(4) {
	case 0:
		changed[i] = l + "x"
	case 1:
		changed[i] = "x" + l
	case 2:
		changed[i] = l[:len(l)-1] + "-"
	case 3:
		changed[i] = strings.TrimPrefix(l, "_") + `\.`
	}
	if len(changed[i]) > 60 {
		changed[i] = "x"
	}
	return []string{
		join(changed),
		join(append([]string{"extra"}, labels...)),
		join(append([]string{"_a", "_b"}, labels...)),
		join(labels[min(1, len(labels)-1):]),
		join(slices.Delete(slices.Clone(labels), i, i+1)),
	}
}

// mixCase spells name at random (draft-vixie-dnsext-dns0x20).
func mixCase(r *rand.Rand, name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'a' <= c && c <= 'z' && r.IntN(2) == 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

func opt(size uint16, ttl uint32) *dns.OPT {
	return &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT, Class: size, Ttl: ttl}}
}

// knownInCluster is what a cluster's zone is asked in any case.
func knownInCluster(zone string) []ask {
	below := func(name string) string { return name + "." + strings.TrimPrefix(zone, ".") }
	return []ask{
		{below("svc"), dns.TypeTXT}, {below("dns"), dns.TypeA}, {below("_tcp.web.shop.svc"), dns.TypeSRV}, {below("dns-version"), dns.TypeA}, {below("nS.DnS"), dns.TypeA}, {below("ns.dns"), dns.TypeTXT},
		{strings.ToUpper(zone), dns.TypeNS}, {"1.0.129.10.in-addr.arpa.", dns.TypeA}, {below("fqdn.data.svc"), dns.TypeA},
		{"2.6.129.10.in-addr.arpa.", dns.TypePTR}, {below("ext-fail.shop.svc"), dns.TypeA}, {"1.0.129.10.in-addr.arpa.", dns.TypePTR},
		{"x.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.2.1.0.0.1.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR},
		{"x.1.0.0.0.4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.2.1.0.0.1.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR},
		{"1.4.140.10.in-addr.arpa.", dns.TypePTR}, {below("clusterless.data.svc"), dns.TypeSRV}, {below("pending.shop.svc"), dns.TypeTXT},
	}
}

// questions returns what to ask about names.
func questions(r *rand.Rand, n *names) (qs []question) {
	add := func(category, name string, qtype uint16) {
		if _, ok := dns.IsDomainName(name); !ok {
			return
		}
		q := question{category: category, name: name, qtype: qtype, tcp: r.IntN(4) == 0}
		switch r.IntN(5) {
		case 0:
			q.edns = opt([]uint16{512, 1232, 4096}[r.IntN(3)], 0)
		case 1:
			q.edns = opt(4096, uint32(r.IntN(2))<<15|uint32(r.IntN(1<<15)))
		case 2:
			q.edns = opt([]uint16{0, 100, 511, 700, 65535}[r.IntN(5)], 0)
		}
		switch r.IntN(6) {
		case 0:
			q.flags = func(m *dns.Msg) { m.RecursionDesired = false }
		case 1:
			q.flags = func(m *dns.Msg) { m.CheckingDisabled, m.AuthenticatedData = true, true }
		}
		qs = append(qs, q)
	}
	for _, name := range n.exist {
		for _, t := range types {
			add("name", name, t)
		}
		mixed := mixCase(r, name)
		for _, t := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeTXT, dns.TypeNS, dns.TypeSOA} {
			add("case", mixed, t)
		}
		for _, miss := range nearMiss(r, name) {
			add("near miss", miss, types[r.IntN(3)])
			add("near miss", miss, types[r.IntN(len(types))])
		}
	}
	for _, a := range n.addrs {
		for _, b := range []netip.Addr{a, a.Next(), a.Prev()} {
			rev, err := dns.ReverseAddr(b.String())
			if err != nil {
				continue
			}
			add("reverse", rev, dns.TypePTR)
			if b == a {
				add("reverse", mixCase(r, rev), dns.TypePTR)
				add("reverse", rev, types[r.IntN(len(types))])
				add("reverse", rev[strings.Index(rev, ".")+1:], dns.TypePTR)
				add("reverse", "x."+rev, dns.TypePTR)
			}
		}
	}
	for _, zone := range []string{n.zone, "in-addr.arpa.", "ip6.arpa.", "10.in-addr.arpa.", "svc.in-addr.arpa.", "foo.svc.in-addr.arpa.", "other.", "."} {
		for _, t := range types {
			add("apex", zone, t)
			add("apex", mixCase(r, zone), t)
		}
	}
	for _, q := range n.known {
		add(known, q.name, q.qtype)
	}
	r.Shuffle(len(qs), func(i, j int) { qs[i], qs[j] = qs[j], qs[i] })
	return qs
}
