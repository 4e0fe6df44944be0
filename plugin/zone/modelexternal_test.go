package zone

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/miekg/dns"
)

// external is reply for an external zone: CoreDNS's plugin/k8s_external and
// plugin/kubernetes/external.go as they read, with the differences of
// docs/differences.md.
func (a *asking) external() (r reply) {
	var st status
	below := a.below()
	n := len(below)
	address := a.qtype == dns.TypeA || a.qtype == dns.TypeAAAA
	switch {
	case !a.synced[Namespaces]:
		st = status{Unready, Namespaces}
	case !a.synced[Services]:
		st = status{Unready, Services}
	case n == 0 && a.qtype == dns.TypeSOA:
		r.answer = a.externalSOA()
	case n == 0 && a.qtype == dns.TypeNS:
		var addrs []string
		addrs, st = a.externalServers()
		r.answer = []string{a.rr(a.name, "NS", a.join("ns1."+a.External.Apex))}
		for _, ip := range addrs {
			r.additional = append(r.additional, a.address(a.join("ns1."+a.External.Apex), ip))
		}
	case n == 0 || n == 1 && below[0] == "dns":
	case n == 2 && below[0] == "ns1" && below[1] == "dns":
		var addrs []string
		addrs, st = a.externalServers()
		for _, ip := range addrs {
			if strings.Contains(ip, ":") == (a.qtype == dns.TypeAAAA) && address {
				r.answer = append(r.answer, a.address(a.name, ip))
			}
		}
	case below[n-1] == "dns":
		st.outcome = NameError
	case a.reverse() != "":
		st.outcome = NameError
		for _, s := range a.services {
			for _, addr := range s.External.list() {
				if addr.String() == a.reverse() && !a.hidden(s.Namespace) {
					st.outcome = Success
					if a.qtype == dns.TypePTR {
						r.answer = append(r.answer, a.rr(a.name, "PTR", s.Name+"."+s.Namespace+"."+a.Zones[0]))
					}
				}
			}
		}
	default:
		st = a.externalService(&r, below)
	}
	r.outcome, r.blocked = st.outcome, st.blocked
	switch {
	case r.outcome != Success:
		r.answer, r.additional, r.chase = nil, nil, nil
	case len(r.answer) == 0:
		r.outcome, r.chase = NoData, nil
	case r.chase != nil:
		r.outcome = Chase
	}
	if r.outcome != Success && r.outcome != Chase {
		r.authority = a.externalSOA()
	}
	for _, rrs := range []*[]string{&r.answer, &r.additional} {
		slices.Sort(*rrs)
		*rrs = slices.Compact(*rrs)
	}
	return r
}

func (a *asking) externalSOA() []string {
	return []string{a.rr(a.zone, "SOA", fmt.Sprintf("%s %s %d 7200 1800 86400 %d", a.join("ns1."+a.External.Apex), a.join("hostmaster."+a.External.Apex), a.serial, a.ttl()))}
}

// externalServers returns the addresses of ns1.
func (a *asking) externalServers() (addrs []string, st status) {
	if st, ok := a.needs(EndpointSlices); !ok {
		return nil, st
	}
	found := false
	for _, local := range a.local {
		for _, s := range a.slices {
			if a.NoEndpoints || a.hidden(s.Namespace) || !slices.ContainsFunc(a.endpoints(s), func(e Endpoint) bool { return e.Addr == local }) {
				continue
			}
			found = true
			svc := a.services[Key{s.Namespace, s.service}]
			switch {
			case svc == nil:
			case a.External.Headless && svc.Kind == Headless:
				for _, e := range a.endpoints(s) {
					addrs = append(addrs, e.Addr.String())
				}
			default:
				for _, addr := range svc.External.list() {
					addrs = append(addrs, addr.String())
				}
			}
		}
	}
	if !found {
		for _, local := range a.local {
			addrs = append(addrs, local.String())
		}
	}
	slices.Sort(addrs)
	return slices.Compact(addrs), status{}
}

func (a *asking) externalService(r *reply, below []string) status {
	nothing := status{outcome: NameError}
	n := len(below)
	ns := below[n-1]
	switch {
	case n > 4 || !a.namespaces[ns] || len(a.Namespaces) > 0 && !slices.Contains(a.Namespaces, ns):
		return nothing
	case n == 1:
		return status{}
	}
	var endpoint, port, protocol string
	switch n {
	case 3:
		endpoint = strings.TrimPrefix(below[0], "_")
	case 4:
		port, protocol = strings.TrimPrefix(below[0], "_"), strings.TrimPrefix(below[1], "_")
	}
	svc := a.services[Key{ns, below[n-2]}]
	if svc == nil {
		return nothing
	}
	name := svc.Name + "." + svc.Namespace
	ports := func(of []Port) (list []Port) {
		if len(of) == 0 {
			of = []Port{{Number: -1}}
		}
		for _, p := range of {
			if (port == "" || strings.EqualFold(p.Name, port)) && (protocol == "" || strings.EqualFold(p.Protocol, protocol)) {
				list = append(list, p)
			}
		}
		return list
	}
	var items []item
	total := 0
	switch x := svc.External; {
	case x != nil:
		for _, p := range ports(svc.Ports) {
			for _, addr := range x.list() {
				items = append(items, item{addr.String(), int(p.Number), a.join(name)})
			}
			for _, host := range x.hosts {
				items = append(items, item{port: int(p.Number), target: dnswire.NameString(host)})
			}
			total += x.listed
		}
	case a.External.Headless && !a.NoEndpoints && (svc.Kind == Headless || endpoint != ""):
		if st, ok := a.needs(EndpointSlices); !ok {
			return st
		}
		for _, s := range a.slicesOf(svc.Key) {
			for _, e := range a.endpoints(s) {
				if endpoint != "" && !strings.EqualFold(endpoint, hostname(e)) {
					continue
				}
				for _, p := range ports(s.ports) {
					items = append(items, item{e.Addr.String(), int(p.Number), a.join(hostname(e) + "." + name)})
					total++
				}
			}
		}
	}
	if total == 0 {
		return nothing
	}
	for _, i := range items {
		six := strings.Contains(i.host, ":")
		switch {
		case a.qtype == dns.TypeSRV && i.port >= 0:
			weight := max(1, int(math.Floor(100/float64(total*100)*100)))
			r.answer = append(r.answer, a.rr(a.name, "SRV", fmt.Sprintf("0 %d %d %s", weight, i.port, i.target)))
			if i.host != "" {
				r.additional = append(r.additional, a.address(i.target, i.host))
			}
		case i.host == "" && slices.Contains([]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeCNAME}, a.qtype):
			r.answer = append(r.answer, a.rr(a.name, "CNAME", i.target))
		case i.host != "" && (a.qtype == dns.TypeA && !six || a.qtype == dns.TypeAAAA && six):
			r.answer = append(r.answer, a.address(a.name, i.host))
		}
		if i.host == "" && a.qtype != dns.TypeCNAME && !slices.Contains(r.chase, i.target) {
			r.chase = append(r.chase, i.target)
		}
	}
	return status{}
}
