package kube

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// What is read of the custom resources that have host names: fields that are the
// same in every version that was ever served of them. gateway.networking.k8s.io
// is the Gateway API (GEP-922 has its versions), externaldns.k8s.io ExternalDNS.
type (
	gateway struct {
		custom
		Spec struct {
			GatewayClassName string `json:"gatewayClassName"`
			Listeners        []struct {
				Name          string `json:"name"`
				Hostname      string `json:"hostname"`
				Port          int32  `json:"port"`
				AllowedRoutes struct {
					Namespaces struct {
						From string `json:"from"`
					} `json:"namespaces"`
				} `json:"allowedRoutes"`
			} `json:"listeners"`
		} `json:"spec"`
		Status struct {
			Addresses []struct {
				Value string `json:"value"` // an address or a host name
			} `json:"addresses"`
		} `json:"status"`
	}

	httpRoute struct{ route }
	grpcRoute struct{ route }
	tlsRoute  struct{ route }

	route struct {
		custom
		Spec struct {
			Hostnames []string `json:"hostnames"`
		} `json:"spec"`
		Status struct {
			Parents []struct {
				ParentRef  parentRef          `json:"parentRef"`
				Conditions []metav1.Condition `json:"conditions"`
			} `json:"parents"`
		} `json:"status"`
	}

	parentRef struct {
		Group       *string `json:"group"`
		Kind        *string `json:"kind"`
		Namespace   *string `json:"namespace"`
		Name        string  `json:"name"`
		SectionName string  `json:"sectionName"`
		Port        int32   `json:"port"`
	}

	dnsEndpoint struct {
		custom
		Spec struct {
			Endpoints []struct {
				DNSName    string   `json:"dnsName"`
				RecordType string   `json:"recordType"`
				Targets    []string `json:"targets"`
				RecordTTL  int64    `json:"recordTTL"`
			} `json:"endpoints"`
		} `json:"spec"`
	}

	customList struct {
		metav1.TypeMeta
		metav1.ListMeta `json:"metadata"`
		Items           []runtime.RawExtension `json:"items"`
	}
)

// custom is what every custom resource has.
type custom struct {
	metav1.TypeMeta
	metav1.ObjectMeta `json:"metadata"`
}

// None is ever changed, and so none copied.
func (o *gateway) DeepCopyObject() runtime.Object     { return o }
func (o *httpRoute) DeepCopyObject() runtime.Object   { return o }
func (o *grpcRoute) DeepCopyObject() runtime.Object   { return o }
func (o *tlsRoute) DeepCopyObject() runtime.Object    { return o }
func (o *dnsEndpoint) DeepCopyObject() runtime.Object { return o }
func (o *customList) DeepCopyObject() runtime.Object  { return o }

const gatewayAPI = "gateway.networking.k8s.io"

// claimant returns what raw, which has host names, is.
func claimant(raw object) zone.Resource {
	switch raw.(type) {
	case *gateway:
		return zone.Gateways
	case *httpRoute:
		return zone.HTTPRoutes
	case *grpcRoute:
		return zone.GRPCRoutes
	case *tlsRoute:
		return zone.TLSRoutes
	case *dnsEndpoint:
		return zone.DNSEndpoints
	}
	return zone.Ingresses
}

// Annotations of Services with the host names that they want, several with
// commas between them: those of ExternalDNS, and of the k8s_gateway plugin.
const (
	hostnameAnnotation         = "external-dns.alpha.kubernetes.io/hostname"
	internalHostnameAnnotation = "external-dns.alpha.kubernetes.io/internal-hostname"
	corednsHostnameAnnotation  = "coredns.io/hostname"
	// ignoreLabel keeps an object out of a gateway's zones if it is "true".
	ignoreLabel = "k8s-gateway.dns/ignore"
)

func ignored(raw metav1.Object) bool { return raw.GetLabels()[ignoreLabel] == "true" }

// claim returns a Claim of raw without names.
func (c *converter) claim(raw metav1.Object, of zone.Resource) *zone.Claim {
	return &zone.Claim{Key: c.key(raw), Of: of, Version: version(raw.GetResourceVersion()), Created: raw.GetCreationTimestamp().Unix()}
}

// hosts are the names of a claim in the making.
type hosts struct {
	names   []zone.HostName
	refused string
}

// add adds a host name that leads to a place, and returns it until the next is
// added. What is no name is left out: it returns nil.
func (h *hosts) add(host string, to *zone.External) *zone.HostName {
	if host == "" {
		return nil
	}
	name, ok := zone.NewHostName(host)
	if !ok {
		h.refused = host
		return nil
	}
	name.To = to
	h.names = append(h.names, name)
	return &h.names[len(h.names)-1]
}

// of gives them to claim, and returns it.
func (h *hosts) of(claim *zone.Claim) *zone.Claim {
	claim.SetNames(h.names)
	claim.Refused = h.refused
	return claim
}

// serviceClaim returns the host names in a Service's annotations, nil if there
// are none.
func (c *converter) serviceClaim(raw *corev1.Service, s *zone.Service) *zone.Claim {
	if ignored(raw) {
		claim := c.claim(raw, zone.Services)
		claim.Hidden = true
		return claim
	}
	var names hosts
	for _, row := range []struct {
		annotation string
		to         *zone.External
	}{
		{hostnameAnnotation, s.External}, {corednsHostnameAnnotation, s.External},
		{internalHostnameAnnotation, zone.NewExternal(s.ClusterIPs, nil)},
	} {
		for host := range strings.SplitSeq(raw.Annotations[row.annotation], ",") {
			names.add(strings.TrimSpace(host), row.to)
		}
	}
	if len(names.names) == 0 && names.refused == "" {
		return nil
	}
	return names.of(c.claim(raw, zone.Services))
}

func (c *converter) ingress(raw *networkingv1.Ingress) *zone.Claim {
	if ignored(raw) {
		return nil
	}
	claim := c.claim(raw, zone.Ingresses)
	claim.Class = c.strings.of(raw.Annotations["kubernetes.io/ingress.class"]) // before the field there was
	if class := raw.Spec.IngressClassName; class != nil {
		claim.Class = c.strings.of(*class)
	}
	var places []string
	for _, ingress := range raw.Status.LoadBalancer.Ingress {
		places = append(places, ingress.IP)
		if ingress.IP == "" {
			places = append(places, ingress.Hostname)
		}
	}
	to := leadsTo(places)
	var names hosts
	for _, rule := range raw.Spec.Rules {
		names.add(rule.Host, to)
	}
	return names.of(claim)
}

// leadsTo returns the addresses and host names in places, nil if there are none.
func leadsTo(places []string) *zone.External {
	var hosts []string
	for _, place := range places {
		if _, ok := parseAddr(place); !ok && place != "" {
			hosts = append(hosts, place)
		}
	}
	return zone.NewExternal(parseAddrs(places), hosts)
}

func (c *converter) gateway(raw *gateway) *zone.Claim {
	if ignored(raw) {
		return nil
	}
	claim := c.claim(raw, zone.Gateways)
	claim.Class = c.strings.of(raw.Spec.GatewayClassName)
	var places []string
	for _, a := range raw.Status.Addresses {
		places = append(places, a.Value)
	}
	claim.To = leadsTo(places)
	var names hosts
	for _, l := range raw.Spec.Listeners {
		listener := zone.Listener{Name: l.Name, Port: l.Port, Same: l.AllowedRoutes.Namespaces.From == "Same"}
		if host := names.add(l.Hostname, claim.To); host != nil {
			listener.Host = *host
		} else if l.Hostname != "" {
			continue
		}
		claim.Listeners = append(claim.Listeners, listener)
	}
	return names.of(claim)
}

// route: a Gateway's controller says which routes the Gateway has accepted. Only
// those count, or everybody could have the Gateway's addresses answered for any
// name, or keep a wildcard from standing for it.
func (c *converter) route(raw *route, of zone.Resource) *zone.Claim {
	if ignored(raw) {
		return nil
	}
	claim := c.claim(raw, of)
	for _, parent := range raw.Status.Parents {
		accepted := slices.ContainsFunc(parent.Conditions, func(c metav1.Condition) bool {
			return c.Type == "Accepted" && c.Status == metav1.ConditionTrue
		})
		if p, ok := parent.ParentRef.gateway(raw.Namespace); ok && accepted && !slices.Contains(claim.Parents, p) && len(claim.Parents) < maxParents {
			claim.Parents = append(claim.Parents, p)
		}
	}
	if len(claim.Parents) == 0 {
		return nil
	}
	var names hosts
	for _, host := range raw.Spec.Hostnames {
		names.add(host, nil)
	}
	return names.of(claim)
}

// maxParents is how many parents the Gateway API lets a route have.
const maxParents = 32

// gateway returns the Gateway that p, in a route of the namespace, refers to. It
// is false if p refers to something else.
func (p parentRef) gateway(namespace string) (zone.Parent, bool) {
	if p.Group != nil && *p.Group != gatewayAPI || p.Kind != nil && *p.Kind != "Gateway" || p.Name == "" {
		return zone.Parent{}, false
	}
	if p.Namespace != nil && *p.Namespace != "" {
		namespace = *p.Namespace
	}
	return zone.Parent{Key: zone.Key{Namespace: namespace, Name: p.Name}, Section: p.SectionName, Port: p.Port}, true
}

// dnsEndpoint takes A, AAAA, CNAME and TXT records; those of one name go
// together, and the lowest TTL holds.
func (c *converter) dnsEndpoint(raw *dnsEndpoint) *zone.Claim {
	if ignored(raw) {
		return nil
	}
	type records struct {
		places, texts []string
		ttl           uint32
	}
	byName := map[string]*records{}
	for _, e := range raw.Spec.Endpoints {
		name := strings.ToLower(strings.TrimSuffix(e.DNSName, "."))
		if byName[name] == nil {
			byName[name] = &records{}
		}
		r := byName[name]
		for _, target := range e.Targets {
			_, isAddr := parseAddr(target)
			switch e.RecordType {
			case "A", "AAAA", "": // A is what ExternalDNS takes for none
				if isAddr {
					r.places = append(r.places, target)
				}
			case "CNAME":
				if !isAddr {
					r.places = append(r.places, target)
				}
			case "TXT":
				if len(target) <= maxText {
					r.texts = append(r.texts, unquoted(target))
				}
			}
		}
		if ttl := uint32(min(max(e.RecordTTL, 0), maxRecordTTL)); ttl > 0 && (r.ttl == 0 || ttl < r.ttl) {
			r.ttl = ttl
		}
	}
	var names hosts
	for name, r := range byName {
		if host := names.add(name, leadsTo(r.places)); host != nil {
			host.Texts, host.TTL = r.texts, r.ttl
		}
	}
	return names.of(c.claim(raw, zone.DNSEndpoints))
}

// maxText is how long a text may be: no message has room for much more.
const maxText = 64000

// unquoted returns text without the quotes that ExternalDNS may put around it.
func unquoted(text string) string {
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		return text[1 : len(text)-1]
	}
	return text
}

// maxRecordTTL is a week, RFC 8767's advice to resolvers.
const maxRecordTTL = 7 * 24 * 3600
