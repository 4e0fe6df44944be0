package kube

import (
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// converter turns raw objects into values. Values share nothing with the raw
// object but strings, each of which is an allocation of its own when it comes
// from the decoders of client-go, so that the raw object can be collected.
type converter struct {
	podNames bool // endpoints without a hostname are named after their pods
	zones    bool // topology zones of endpoints are kept
	strings  interner
}

// value returns what zone keeps of raw, or nil if it keeps nothing of such an
// object: if zone held the object, it has to go.
func (c *converter) value(raw object) zone.Object {
	switch raw := raw.(type) {
	case *corev1.Namespace:
		return &zone.Namespace{Name: c.strings.of(raw.Name), Version: version(raw.ResourceVersion)}
	case *corev1.Service:
		return c.service(raw)
	case *discoveryv1.EndpointSlice:
		if s := c.endpointSlice(raw); s != nil {
			return s
		}
	case *corev1.Pod:
		if p := c.pod(raw); p != nil {
			return p
		}
	case *mcsv1alpha1.ServiceImport:
		return c.serviceImport(raw)
	}
	if claim := c.claimOf(raw); claim != nil {
		return claim
	}
	return nil
}

// claimOf returns the host names of raw, nil if it is none that has any.
func (c *converter) claimOf(raw object) *zone.Claim {
	switch raw := raw.(type) {
	case *networkingv1.Ingress:
		return c.ingress(raw)
	case *gateway:
		return c.gateway(raw)
	case *httpRoute:
		return c.route(&raw.route, zone.HTTPRoutes)
	case *grpcRoute:
		return c.route(&raw.route, zone.GRPCRoutes)
	case *tlsRoute:
		return c.route(&raw.route, zone.TLSRoutes)
	case *dnsEndpoint:
		return c.dnsEndpoint(raw)
	}
	return nil
}

func (c *converter) service(raw *corev1.Service) *zone.Service {
	s := &zone.Service{
		Key:             c.key(raw),
		Version:         version(raw.ResourceVersion),
		PublishNotReady: raw.Spec.PublishNotReadyAddresses,
	}
	// spec.clusterIP is always equal to spec.clusterIPs[0] on an API server
	// since 1.20, but not in files written by hand.
	clusterIPs := raw.Spec.ClusterIPs
	if len(clusterIPs) == 0 {
		clusterIPs = []string{raw.Spec.ClusterIP}
	}
	switch {
	case raw.Spec.Type == corev1.ServiceTypeExternalName:
		s.Kind, s.ExternalName = zone.ExternalName, raw.Spec.ExternalName
	case clusterIPs[0] == corev1.ClusterIPNone:
		s.Kind = zone.Headless
	default:
		s.ClusterIPs = parseAddrs(clusterIPs)
	}
	s.External = external(raw)
	s.Claim = c.serviceClaim(raw, s)
	if n := len(raw.Spec.Ports); n > 0 {
		s.Ports = make([]zone.Port, n)
	}
	for i, p := range raw.Spec.Ports {
		s.Ports[i] = zone.Port{Name: c.strings.of(p.Name), Protocol: c.strings.of(string(p.Protocol)), Number: p.Port}
	}
	return s
}

// external returns where a service is reached from outside. An ingress that has
// both an address and a host name counts as its address.
func external(raw *corev1.Service) *zone.External {
	addrs := parseAddrs(raw.Spec.ExternalIPs)
	var hosts []string
	for _, ingress := range raw.Status.LoadBalancer.Ingress {
		text := ingress.IP
		if text == "" {
			text = ingress.Hostname
		}
		if addr, ok := parseAddr(text); ok {
			addrs = append(addrs, addr)
		} else if ingress.IP == "" && text != "" {
			hosts = append(hosts, text)
		}
	}
	return zone.NewExternal(addrs, hosts)
}

func (c *converter) serviceImport(raw *mcsv1alpha1.ServiceImport) *zone.ServiceImport {
	s := &zone.ServiceImport{Service: zone.Service{Key: c.key(raw), Version: version(raw.ResourceVersion)}}
	if raw.Spec.Type == mcsv1alpha1.Headless {
		s.Kind = zone.Headless
	} else {
		s.ClusterIPs = parseAddrs(raw.Spec.IPs)
	}
	if n := len(raw.Spec.Ports); n > 0 {
		s.Ports = make([]zone.Port, n)
	}
	for i, p := range raw.Spec.Ports {
		s.Ports[i] = zone.Port{Name: c.strings.of(p.Name), Protocol: c.strings.of(string(p.Protocol)), Number: p.Port}
	}
	return s
}

// endpointSlice returns nil for slices that no service answers with.
func (c *converter) endpointSlice(raw *discoveryv1.EndpointSlice) *zone.EndpointSlice {
	service, imported := raw.Labels[discoveryv1.LabelServiceName], raw.Labels[mcsv1alpha1.LabelServiceName]
	if service == "" && imported == "" || raw.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	s := &zone.EndpointSlice{Key: c.key(raw), Version: version(raw.ResourceVersion), Service: service}
	if imported != "" {
		s.Imported = &zone.Imported{Service: imported, Cluster: c.strings.of(raw.Labels[mcsv1alpha1.LabelSourceCluster])}
	}
	if n := len(raw.Ports); n > 0 {
		s.Ports = make([]zone.Port, n)
	}
	for i, p := range raw.Ports {
		port := zone.Port{Number: -1}
		if p.Name != nil {
			port.Name = c.strings.of(*p.Name)
		}
		if p.Protocol != nil {
			port.Protocol = c.strings.of(string(*p.Protocol))
		}
		if p.Port != nil {
			port.Number = *p.Port
		}
		s.Ports[i] = port
	}
	ready := make([]zone.Endpoint, 0, len(raw.Endpoints))
	var notReady []zone.Endpoint
	for i := range raw.Endpoints {
		e := &raw.Endpoints[i]
		// "A nil value should be interpreted as true" (discovery/v1
		// EndpointConditions). Terminating endpoints are not ready, unless
		// their service publishes them.
		to := &ready
		if e.Conditions.Ready != nil && !*e.Conditions.Ready {
			to = &notReady
		}
		topology := ""
		if c.zones && e.Zone != nil {
			topology = c.strings.of(strings.ToLower(*e.Zone))
		}
		for _, text := range e.Addresses {
			if addr, ok := parseAddr(text); ok {
				*to = append(*to, zone.Endpoint{Addr: addr, Name: c.endpointName(e, text, addr), Zone: topology})
			}
		}
	}
	s.Ready = zone.NewEndpoints(ready)
	if len(notReady) > 0 {
		packed := zone.NewEndpoints(notReady)
		s.NotReady = &packed
	}
	return s
}

// endpointName returns the label of an endpoint's address below its service if
// that is not the dashed address.
func (c *converter) endpointName(e *discoveryv1.Endpoint, text string, addr netip.Addr) string {
	if e.Hostname != nil && *e.Hostname != "" {
		return *e.Hostname
	}
	// A pod's name may have 253 characters, a label 63.
	if c.podNames && e.TargetRef != nil && e.TargetRef.Name != "" && len(e.TargetRef.Name) <= 63 {
		return e.TargetRef.Name
	}
	var canonical [46]byte // longer than any textual address
	if string(addr.AppendTo(canonical[:0])) == text {
		return ""
	}
	if name := dashed(text); !strings.EqualFold(name, dashed(addr.String())) {
		return name
	}
	return ""
}

// dashed returns the label that the kubernetes plugin of CoreDNS gives an
// address as it is spelled. An IPv4-mapped address keeps its colons there.
func dashed(text string) string {
	if strings.Contains(text, ".") {
		return strings.ReplaceAll(text, ".", "-")
	}
	text = strings.ReplaceAll(text, ":", "-")
	if strings.HasSuffix(text, "-") { // no label ends in a hyphen (RFC 952)
		text += "0"
	}
	return text
}

// pod returns nil for pods that have ended. An API server's watch reports them
// as deleted, as long as the request has podFields for its field selector. A
// pod that is being deleted counts until it is gone: it still sends queries,
// and metadata goes by who it is.
func (c *converter) pod(raw *corev1.Pod) *zone.Pod {
	switch raw.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown:
		return nil
	}
	p := &zone.Pod{Key: c.key(raw), Version: version(raw.ResourceVersion)}
	for _, ip := range raw.Status.PodIPs {
		if addr, ok := parseAddr(ip.IP); ok {
			p.Addrs = append(p.Addrs, addr)
		}
	}
	if len(raw.Status.PodIPs) == 0 {
		p.Addrs = parseAddrs([]string{raw.Status.PodIP})
	}
	if len(raw.Labels) > 0 {
		p.Labels = make(map[string]string, len(raw.Labels))
	}
	for k, v := range raw.Labels {
		p.Labels[c.strings.of(k)] = c.strings.of(v)
	}
	return p
}

func (c *converter) key(raw metav1.Object) zone.Key {
	return zone.Key{Namespace: c.strings.of(raw.GetNamespace()), Name: raw.GetName()}
}

// version returns a resourceVersion as the number that it is (KEP-5504). One
// that is no number counts as 0, which never moves a serial by itself: an
// object is better served under an old serial than not at all.
func version(resourceVersion string) uint64 {
	n, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// parseAddr parses an address in any spelling. Addresses with a zone mean
// nothing to anyone but the host that they are from, and are refused.
func parseAddr(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// parseAddrs returns those of texts that are addresses.
func parseAddrs(texts []string) (addrs []netip.Addr) {
	for _, text := range texts {
		if addr, ok := parseAddr(text); ok {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// triggerTime returns when the change happened that made the endpoints
// controller write raw, as it says in an annotation; zero if it does not.
func triggerTime(raw metav1.Object) time.Time {
	text, ok := raw.GetAnnotations()[corev1.EndpointsLastChangeTriggerTime]
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// interner keeps one copy of strings that many objects repeat: names of ports,
// protocols, namespaces, zones and clusters, labels of pods. The zero value is ready for use,
// also concurrently.
type interner struct {
	mu   sync.Mutex
	held map[string]string
}

// maxInterned bounds what an interner keeps alive: 64 bytes each with the map's
// overhead make 1 MB. When it is full it forgets everything; what is in use
// then stays shared, and what comes later is shared again among itself.
const maxInterned = 16 << 10

func (in *interner) of(s string) string {
	if s == "" {
		return ""
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if held, ok := in.held[s]; ok {
		return held
	}
	if in.held == nil || len(in.held) >= maxInterned {
		in.held = map[string]string{}
	}
	in.held[s] = s
	return s
}
