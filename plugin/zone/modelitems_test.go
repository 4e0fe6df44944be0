package zone

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/miekg/dns"
)

// items is Kubernetes.Records, but that a name that others are below exists.
func (a *asking) items() ([]item, status) {
	nothing := status{outcome: NameError}
	below := a.below()
	n := len(below)
	if n == 0 || n == 1 && (below[0] == "svc" || below[0] == "pod" || below[0] == "dns") {
		return nil, status{}
	}
	zonal := n > 5 && a.Zonal && !a.multicluster() && below[n-1] == "svc" && below[n-4] == "_zone" && (below[n-5] == "pin" || below[n-5] == "prefer")
	if root := below[n-1]; n == 1 || n > 5 && !zonal || root != "svc" && root != "pod" || dnsutil.IsReverse(strings.ToLower(a.name)) > 0 {
		return nil, nothing
	}
	ns := below[n-2]
	switch {
	case !a.namespaces[ns] || len(a.Namespaces) > 0 && !slices.Contains(a.Namespaces, ns):
		return nil, nothing
	case below[n-1] == "pod":
		if a.Pods == PodsDisabled {
			return nil, nothing
		}
		if n == 2 {
			return nil, status{}
		}
		return a.podItems(ns, below[n-3])
	case n == 2:
		return nil, status{}
	}
	var r recordRequest
	switch {
	case zonal:
		r.zone, r.prefer = strings.Join(below[:n-5], "."), below[n-5] == "prefer"
	case n == 4:
		r.endpoint = below[0]
	case n == 5 && a.multicluster() && below[0][0] != '_' && below[1][0] != '_':
		r.endpoint, r.cluster = below[0], below[1]
	case n == 5:
		r.port, r.protocol = strings.TrimPrefix(below[0], "_"), strings.TrimPrefix(below[1], "_")
	}
	of := func(r recordRequest) ([]item, status) {
		k := Key{ns, below[n-3]}
		if svc := a.imports[k]; a.multicluster() && svc != nil {
			return a.importItems(svc, r)
		}
		if svc := a.services[k]; !a.multicluster() && svc != nil {
			return a.serviceItems(svc, r)
		}
		return nil, nothing
	}
	items, st := of(r)
	if st.outcome == NameError && n == 4 { // there may be names below it
		_, st = of(recordRequest{protocol: strings.TrimPrefix(below[0], "_")})
	}
	if st.outcome == NameError && a.aboveEndpoints(Key{ns, below[n-3]}, below[:n-3]) {
		return nil, status{}
	}
	return items, st
}

// aboveEndpoints reports whether names of the service's endpoints are below
// those labels in front of it.
func (a *asking) aboveEndpoints(k Key, front []string) bool {
	if svc := a.services[k]; a.Zonal && !a.multicluster() && svc != nil && svc.Kind == Headless && !a.NoEndpoints {
		return slices.Contains([]string{"_zone", "pin._zone", "prefer._zone"}, strings.Join(front, "."))
	}
	if !a.multicluster() || a.imports[k] == nil || len(front) != 1 || front[0][0] == '_' {
		return false
	}
	for _, s := range a.slices {
		if s.imported != nil && s.Namespace == k.Namespace && s.imported.Service == k.Name && len(s.ready) > 0 && strings.EqualFold(s.imported.Cluster, front[0]) {
			return true
		}
	}
	return false
}

// recordRequest is CoreDNS's.
type recordRequest struct {
	endpoint, cluster, port, protocol, zone string
	prefer                                  bool
}

func (r *recordRequest) matches(p Port) bool {
	return (r.port == "" || strings.EqualFold(p.Name, r.port)) && (r.protocol == "" || strings.EqualFold(p.Protocol, r.protocol))
}

// orNone is the port that CoreDNS puts in where there is none.
func orNone(ports []Port) []Port {
	if len(ports) == 0 {
		return []Port{{Number: -1}}
	}
	return ports
}

// importItems is Kubernetes.findMultiClusterServices, but that an endpoint of
// no cluster has a name that can be asked for.
func (a *asking) importItems(svc *ServiceImport, r recordRequest) (items []item, st status) {
	name := svc.Name + "." + svc.Namespace + ".svc"
	st.outcome = NameError
	ofEndpoints := svc.Kind == Headless || r.endpoint != ""
	if ofEndpoints || a.IgnoreEmpty {
		if !a.synced[EndpointSlices] {
			return nil, status{Unready, EndpointSlices}
		}
	}
	count := 0
	for _, s := range a.slices {
		if s.imported == nil || s.Namespace != svc.Namespace || s.imported.Service != svc.Name {
			continue
		}
		for _, e := range s.ready {
			count++
			if r.endpoint != "" && (!strings.EqualFold(r.endpoint, hostname(e)) || !strings.EqualFold(r.cluster, s.imported.Cluster)) {
				continue
			}
			target := hostname(e) + "." + name
			if s.imported.Cluster != "" {
				target = hostname(e) + "." + s.imported.Cluster + "." + name
			}
			for _, p := range orNone(s.ports) {
				if ofEndpoints && r.matches(p) {
					st.outcome = Success
					items = append(items, item{e.Addr.String(), int(p.Number), a.join(target)})
				}
			}
		}
	}
	if a.IgnoreEmpty && svc.Kind == ClusterIP && count == 0 {
		return nil, status{outcome: NameError}
	}
	if ofEndpoints {
		return items, st
	}
	for _, p := range svc.Ports {
		if r.matches(p) {
			st.outcome = Success
			for _, ip := range svc.ClusterIPs {
				items = append(items, item{ip.String(), int(p.Number), a.join(name)})
			}
		}
	}
	return items, st
}

func (a *asking) podItems(ns, label string) (items []item, st status) {
	ip := strings.ReplaceAll(label, "-", ":")
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		ip = strings.ReplaceAll(label, "-", ".")
	}
	target := a.join(label + "." + ns + ".pod")
	if a.Pods == PodsInsecure {
		if parsed := net.ParseIP(ip); parsed != nil {
			return []item{{parsed.String(), 0, target}}, status{}
		}
		return nil, status{outcome: NameError}
	}
	if st, ok := a.needs(Pods); !ok {
		return nil, st
	}
	st.outcome = NameError
	for _, p := range a.pods {
		if p.Namespace == ns && slices.ContainsFunc(p.Addrs, func(x netip.Addr) bool { return x.String() == ip }) {
			items = append(items, item{ip, 0, target})
			st.outcome = Success
		}
	}
	return items, st
}

// serviceItems is Kubernetes.findServices.
func (a *asking) serviceItems(svc *Service, r recordRequest) (items []item, st status) {
	nothing := status{outcome: NameError}
	name := svc.Name + "." + svc.Namespace + ".svc"
	if svc.Kind == ExternalName {
		if r != (recordRequest{}) || net.ParseIP(svc.ExternalName) != nil {
			return nil, nothing
		}
		if _, err := dns.PackDomainName(dns.Fqdn(svc.ExternalName), make([]byte, 255), 0, nil, false); err != nil {
			return nil, nothing // CoreDNS would try
		}
		return []item{{host: svc.ExternalName}}, status{}
	}
	if a.IgnoreEmpty && svc.Kind == ClusterIP {
		if st, ok := a.needs(EndpointSlices); !ok {
			return nil, st
		}
		count := 0
		for _, s := range a.slicesOf(svc.Key) {
			count += len(a.endpoints(s))
		}
		if count == 0 || a.NoEndpoints {
			return nil, nothing
		}
	}
	st = nothing
	if svc.Kind == ClusterIP && r.zone != "" {
		return nil, nothing
	}
	if svc.Kind == ClusterIP && r.endpoint == "" {
		for _, p := range orNone(svc.Ports) {
			if !r.matches(p) {
				continue
			}
			st.outcome = Success
			for _, ip := range svc.ClusterIPs {
				items = append(items, item{ip.String(), int(p.Number), a.join(name)})
			}
		}
		return items, st
	}
	if st, ok := a.needs(EndpointSlices); !ok {
		return nil, st
	}
	if r.zone != "" {
		st.outcome = Success
	}
	for _, s := range a.slicesOf(svc.Key) {
		for _, e := range a.endpoints(s) {
			if a.NoEndpoints || r.endpoint != "" && !strings.EqualFold(r.endpoint, hostname(e)) || r.zone != "" && r.zone != e.Zone {
				continue
			}
			for _, p := range orNone(s.ports) {
				if r.matches(p) {
					st.outcome = Success
					items = append(items, item{e.Addr.String(), int(p.Number), a.join(hostname(e) + "." + name)})
				}
			}
		}
	}
	if len(items) == 0 && r.prefer {
		items, _ = a.serviceItems(svc, recordRequest{})
	}
	return items, st
}
