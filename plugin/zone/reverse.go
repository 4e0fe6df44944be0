package zone

import (
	"net/netip"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// resolvePTR answers for the name of an address. A ClusterIP wins over
// endpoints.
func (a *Answer) resolvePTR(addr netip.Addr) {
	if !a.ready(Services) {
		return
	}
	a.addr = addr
	for id := range ownersAt(&a.snap.clusterIPs, a.deps[1]).all {
		if s := a.owned(id); s.hasClusterIP(addr) {
			a.svc = s
			a.foundPTR()
			return
		}
	}
	if !a.view.opt.NoEndpoints {
		if !a.ready(EndpointSlices) {
			return
		}
		for id := range ownersAt(&a.snap.reverse, a.deps[1]).all {
			if s := a.owned(id); s != nil && s.hasEndpoint(addr) {
				a.foundPTR()
				return
			}
		}
	}
	a.Outcome = NameError
}

func (a *Answer) foundPTR() {
	a.found(hasPTR, a.qtype == dnswire.TypePTR)
	if a.Outcome == Success && a.empty() {
		a.Outcome = NoData // no name of it fits
	}
}

// walkPTR walks the names of the address a.addr: that of the service whose
// ClusterIP it is, or those of all endpoints that have it.
func (a *Answer) walkPTR(r *Record, yield func(*Record) bool) bool {
	r.Type = dnswire.TypePTR
	if a.svc != nil {
		r.Target = dnswire.Name{Labels: a.svc.id.wire, Origin: a.view.primary}
		return !a.fits(&r.Target) || yield(r)
	}
	for id := range a.snap.ownersOf(a.addr).all {
		s := a.owned(id)
		if s == nil {
			continue
		}
		from, to := s.at(a.addr)
		for i := from; i < to; i++ { // equal names come one after the other
			ref := s.addrRef(i)
			if i > from && compareFold(s.nameAt(s.addrRef(i-1)), s.nameAt(ref)) == 0 {
				continue
			}
			r.Target = dnswire.Name{Label: s.appendName(a.scratch[:0], ref), Labels: id.wire, Origin: a.view.primary}
			if a.fits(&r.Target) && !yield(r) {
				return false
			}
		}
	}
	return true
}
