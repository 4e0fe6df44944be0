package zone

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// ExternalOptions are what makes a View one of external zones: names of
// services without the label svc, at which they have the addresses that they
// are reached at from outside the cluster.
//
//	                         <namespace>.<origin>
//	               <service>.<namespace>.<origin>
//	    <endpoint>.<service>.<namespace>.<origin>
//	<port>.<protocol>.<service>.<namespace>.<origin>
//
// A label in front of a service that has such addresses stands for nothing, as
// CoreDNS has it: the name is the service's own.
type ExternalOptions struct {
	// Apex is the label below which the zones' name server has its name, ns1.
	// Every other name below it does not exist.
	Apex string
	// Headless gives headless services without external addresses their
	// endpoints' addresses, and endpoints of any service without them a name.
	Headless bool
}

// External is where a Service is reached from outside the cluster: the
// addresses of spec.externalIPs and status.loadBalancer.ingress, and the host
// names of the latter. Immutable.
type External struct {
	v4, v6 []byte   // packed, sorted, each address once
	hosts  [][]byte // in wire format, spelled as written, each once
	listed int      // addresses and host names, those listed twice counted twice
}

// NewExternal returns nil if there are neither addresses nor host names. Hosts
// that are no domain names are left out.
func NewExternal(addrs []netip.Addr, hosts []string) *External {
	x := &External{listed: len(addrs)}
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, netip.Addr.Compare) // IPv4 first
	for _, addr := range slices.Compact(addrs) {
		if addr.Is4() {
			x.v4 = append(x.v4, addr.AsSlice()...)
		} else {
			x.v6 = append(x.v6, addr.AsSlice()...)
		}
	}
	had := map[string]bool{}
	for _, host := range hosts {
		wire, err := dnswire.AppendName(nil, host)
		if err != nil {
			continue
		}
		x.listed++
		if folded := string(dnswire.AppendLower(nil, wire)); !had[folded] {
			had[folded] = true
			x.hosts = append(x.hosts, slices.Clip(wire))
		}
	}
	if x.listed == 0 {
		return nil
	}
	x.v4, x.v6, x.hosts = slices.Clip(x.v4), slices.Clip(x.v6), slices.Clip(x.hosts)
	return x
}

// Listed returns addresses and host names of which NewExternal makes the same.
func (x *External) Listed() (addrs []netip.Addr, hosts []string) {
	addrs = slices.Collect(x.addrs)
	for _, host := range x.hosts {
		hosts = append(hosts, dnswire.NameString(host))
	}
	for n := len(addrs) + len(hosts); n < x.listed; n++ {
		if len(addrs) > 0 {
			addrs = append(addrs, addrs[0])
		} else {
			hosts = append(hosts, hosts[0])
		}
	}
	return addrs, hosts
}

// has reports whether addr is one of x's; nil has none.
func (x *External) has(addr netip.Addr) bool {
	if x == nil {
		return false
	}
	set, b := addrSet{packed: x.v6}, addr.As16()
	packed := b[:]
	if addr.Is4() {
		set.packed, packed = x.v4, b[12:]
	}
	return set.has(packed)
}

// addrs yields the addresses; nil has none.
func (x *External) addrs(yield func(netip.Addr) bool) {
	if x == nil {
		return
	}
	all := Endpoints{v4: addrSet{packed: x.v4}, v6: addrSet{packed: x.v6}}
	all.All(func(e Endpoint) bool { return yield(e.Addr) })
}

func (x *External) equal(o *External) bool {
	if x == nil || o == nil {
		return x == o
	}
	return x.listed == o.listed && bytes.Equal(x.v4, o.v4) && bytes.Equal(x.v6, o.v6) &&
		slices.EqualFunc(x.hosts, o.hosts, bytes.Equal)
}

// external returns where s is reached from outside, nil if nowhere. s may be nil.
func (s *service) external() *External {
	if s == nil || s.obj == nil {
		return nil
	}
	return s.obj.External
}

// setExternal prepares v for external zones.
func (v *View) setExternal(x *ExternalOptions) error {
	label, err := dnswire.AppendName(nil, x.Apex)
	if err != nil || dnswire.CountLabels(label) != 1 {
		return fmt.Errorf("apex %q is no single label of a domain name", x.Apex)
	}
	label = label[:len(label)-1]
	v.apex = dnswire.AppendLower(nil, label)
	v.nameServer = append([]byte("\x03ns1"), label...)
	v.hostmaster = append([]byte("\x0ahostmaster"), label...)
	return nil
}

// splitExternal takes apart the first n labels of q, those below the origin of
// an external zone.
func (q *query) splitExternal(n int) (p parts) {
	switch {
	case n == 0:
		return parts{kind: atEmpty}
	case n > 4:
		return p
	}
	p.namespace = q.from(n-1, n)
	if n == 1 {
		p.kind = atNamespace
		return p
	}
	p.kind = atService
	p.service = q.from(n-2, n)
	switch n {
	case 3:
		p.sel = selector{byEndpoint, trimUnderscore(q.label(0)), nil}
	case 4:
		p.sel = selector{byPort, trimUnderscore(q.label(0)), trimUnderscore(q.label(1))}
	}
	if len(p.sel.first)+len(p.sel.second) == 0 {
		p.sel.by = byNothing
	}
	return p
}

// resolveExternal is resolve for an external zone.
func (a *Answer) resolveExternal(q *query, o *origin) {
	n := q.labels - o.labels
	p := q.splitExternal(n)
	addr, reverse := q.reverseAddr()
	a.depend(&p, addr, reverse)
	if !a.ready(Namespaces) || !a.ready(Services) {
		return
	}
	switch {
	case n == 0 && a.qtype == dnswire.TypeSOA:
		a.found(hasSOA, true)
	case n == 0 && a.qtype == dnswire.TypeNS:
		a.resolveLocal(hasNS)
	case n == 0:
		a.Outcome = NoData
	case string(q.from(n-1, n)) == string(a.view.apex):
		a.resolveApex(q, n)
	case reverse:
		a.resolveExternalPTR(addr)
	case p.kind == atNothing || !a.hasNamespace(&p):
		a.Outcome = NameError
	case p.kind == atNamespace:
		a.Outcome = NoData
	default:
		a.resolveExternalService(&p)
	}
}

// resolveApex answers for the n labels that end in the apex's.
func (a *Answer) resolveApex(q *query, n int) {
	switch {
	case n == 1:
		a.Outcome = NoData
	case n == 2 && q.is(0, "\x03ns1"):
		a.resolveLocal(hasLocal)
	default:
		a.Outcome, a.Final = NameError, true
	}
}

// resolveExternalPTR answers for the name of an address that services are
// reached at from outside.
func (a *Answer) resolveExternalPTR(addr netip.Addr) {
	a.addr = addr
	for id := range a.snap.ownersOf(addr).all {
		if a.owned(id).external().has(addr) {
			a.found(hasExternal, a.qtype == dnswire.TypePTR)
			return
		}
	}
	a.Outcome = NameError
}

func (a *Answer) resolveExternalService(p *parts) {
	opt := &a.view.opt
	s := serviceOf(&a.snap.services, p.service, a.deps[1])
	if s == nil || s.obj == nil {
		a.Outcome = NameError
		return
	}
	a.svc, a.sel = s, p.sel
	x := s.obj.External
	switch {
	case x != nil:
		if a.sel.by == byEndpoint {
			a.sel = selector{}
		}
		a.total = x.listed * a.sel.numMatching(a.portsOf(s.obj.Ports))
	case !opt.External.Headless || opt.NoEndpoints || s.obj.Kind != Headless && a.sel.by != byEndpoint:
	case !a.ready(EndpointSlices):
		return
	default:
		a.total = a.selectEndpoints()
	}
	if a.total == 0 {
		a.Outcome = NameError
		return
	}
	switch a.qtype {
	case dnswire.TypeA, dnswire.TypeAAAA:
		a.has = hasAddrs
	case dnswire.TypeSRV:
		a.has = hasSRV
	}
	if x != nil && (a.has != nothing || a.qtype == dnswire.TypeCNAME) {
		a.has = hasExternal
	}
	switch {
	case a.has == nothing || a.empty():
		a.Outcome = NoData
	case x != nil && len(x.hosts) > 0 && a.qtype != dnswire.TypeCNAME && !a.transfer:
		a.Outcome = Chase
	}
}

// Hosts returns the host names, in wire format, that an answer of an external or
// a gateway's zone with the outcome Chase refers to: in CNAME records beside those that the
// index has, or as targets of SRV records. It is nil in a cluster's zone.
func (a *Answer) Hosts() [][]byte {
	switch a.has {
	case hasExternal:
		return a.svc.obj.External.hosts
	case hasHost:
		return [][]byte{a.to.alias}
	}
	return nil
}

// walkExternal walks what a service is reached at from outside.
func (a *Answer) walkExternal(r *Record, yield func(*Record) bool) bool {
	switch a.qtype {
	case dnswire.TypePTR:
		return a.walkExternalPTR(r, yield)
	case dnswire.TypeSRV:
		return a.walkExternalSRV(r, yield)
	}
	x := a.svc.obj.External
	r.Type = dnswire.TypeCNAME
	for i, host := range x.hosts {
		// A zone has no CNAME beside other data (RFC 1034 §3.6.2). Answers may.
		if a.transfer && (i > 0 || len(x.v4)+len(x.v6) > 0) {
			break
		}
		r.Target = dnswire.Name{Origin: host}
		if !yield(r) {
			return false
		}
	}
	switch a.qtype {
	case dnswire.TypeA:
		r.Packed = x.v4
	case dnswire.TypeAAAA:
		r.Packed = x.v6
	}
	r.Type = a.qtype
	return len(r.Packed) == 0 || yield(r)
}

// walkExternalSRV walks an SRV record for each port number, to the service
// itself if it has addresses, and for each to every host name.
func (a *Answer) walkExternalSRV(r *Record, yield func(*Record) bool) bool {
	x, ports := a.svc.obj.External, a.portsOf(a.svc.obj.Ports)
	self := dnswire.Name{Labels: a.svc.id.labels(), At: a.zone()}
	hasAddr := len(x.v4)+len(x.v6) > 0
	r.Type, r.Weight = dnswire.TypeSRV, weight(a.total)
	a.ports.reset()
	for i := range ports {
		p := &ports[i]
		if !a.sel.matches(p) || p.Number < 0 || !a.ports.add(p.Number) {
			continue
		}
		r.Port = uint16(p.Number)
		if r.Target, r.TargetRef = self, 1; hasAddr && !yield(r) {
			return false
		}
		for j, host := range x.hosts {
			if r.Target, r.TargetRef = (dnswire.Name{Origin: host}), j+2; !yield(r) {
				return false
			}
		}
	}
	return !a.anyNumber(ports) || a.walkGlue(r.TTL, self, x.v4, x.v6, yield)
}

// walkExternalPTR walks the names of the services that a.addr is one of.
func (a *Answer) walkExternalPTR(r *Record, yield func(*Record) bool) bool {
	r.Type = dnswire.TypePTR
	for id := range a.snap.ownersOf(a.addr).all {
		if !a.owned(id).external().has(a.addr) {
			continue
		}
		r.Target = dnswire.Name{Labels: id.labels(), Origin: a.view.primary}
		if a.fits(&r.Target) && !yield(r) {
			return false
		}
	}
	return true
}
