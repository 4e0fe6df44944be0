package zone

import (
	"bytes"
	"net/netip"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// podAddr returns the address that a pod's label spells. Labels with colons, as
// nobody writes them, CoreDNS takes as well.
func podAddr(label []byte) (netip.Addr, bool) {
	if bytes.IndexByte(label, ':') < 0 {
		return parseDashed(label)
	}
	if bytes.IndexByte(label, '.') >= 0 || bytes.IndexByte(label, '%') >= 0 {
		return netip.Addr{}, false
	}
	text := bytes.ReplaceAll(label, []byte("-"), []byte(":"))
	if bytes.Count(label, []byte("-")) == 3 && !bytes.Contains(label, []byte("--")) {
		text = bytes.ReplaceAll(label, []byte("-"), []byte("."))
	}
	addr, err := netip.ParseAddr(string(text))
	return addr.Unmap(), err == nil
}

// resolvePod answers <dashed-ip>.<namespace>.pod. Labels further left are
// ignored, as CoreDNS does.
func (a *Answer) resolvePod(p *parts) {
	a.label = p.first
	a.total = 1
	switch a.view.opt.Pods {
	case PodsDisabled:
		a.Outcome = NameError
		return
	case PodsVerified:
		if !a.ready(Pods) {
			return
		}
		a.total = 0
		for pod := range a.snap.podsAt(a.addr).all {
			if pod.Namespace == string(p.namespace[1:]) && isCanonical(p.first, a.addr) {
				a.total++
			}
		}
	}
	if !a.addr.IsValid() || a.total == 0 {
		a.Outcome = NameError
		return
	}
	a.found(hasPod, a.qtype == dnswire.TypeSRV || a.qtype == typeOf(a.addr))
}

// isCanonical reports whether label spells addr as the API server would, with
// dashes: a verified pod is found by that text alone.
func isCanonical(label []byte, addr netip.Addr) bool {
	var b [48]byte
	return dnswire.EqualFold(appendDashes(b[:0], addr), label)
}

// walkPod walks the record in a pod's name: its address, or the SRV record to
// itself that CoreDNS makes of it.
func (a *Answer) walkPod(r *Record, yield func(*Record) bool) bool {
	packed := a.pack(a.addr)
	if a.qtype != dnswire.TypeSRV {
		r.Type, r.Packed = a.qtype, packed
		return yield(r)
	}
	below := a.q.folded[a.originAt-len(podLabel)-len(a.namespace.Name)-1 : a.originAt] // <namespace>.pod
	self := dnswire.Name{Label: dnswire.AppendLower(a.scratch[:0], a.label), Labels: below, At: a.zone()}
	r.Type, r.Weight, r.Target = dnswire.TypeSRV, weight(a.total), self
	if !yield(r) {
		return false
	}
	*r = Record{Section: dnswire.Additional, Type: addrType(packed), TTL: r.TTL, Owner: self, Packed: packed}
	return yield(r)
}
