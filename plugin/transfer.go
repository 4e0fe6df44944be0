package clusterdns

import (
	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/coredns/plugin/transfer"
	"github.com/miekg/dns"
)

// Transfer implements CoreDNS's transfer.Transferer. A client that has the
// serial, or a newer one, gets the SOA alone (RFC 1995 §2); any other the whole
// zone, walked from the same index as queries are answered from.
func (h *Handler) Transfer(origin string, serial uint32) (<-chan []dns.RR, error) {
	ch := make(chan []dns.RR)
	started := make(chan error)
	go func() {
		defer close(ch)
		var soa []dns.RR
		upToDate := false
		authoritative, err := h.view.Transfer(origin, func(a *zone.Answer) bool {
			rrs := records(a)
			if soa == nil {
				soa = rrs
				upToDate = serial != 0 && int32(soa[0].(*dns.SOA).Serial-serial) <= 0 // RFC 1982 §3.2
				close(started)
			}
			ch <- rrs // the plugin divides it into messages
			return !upToDate
		})
		switch {
		case !authoritative:
			started <- transfer.ErrNotAuthoritative
		case err != nil:
			started <- err
		case !upToDate:
			ch <- soa
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return ch, nil
}

// records returns the answer section of a, and the addresses of name servers.
func records(a *zone.Answer) (rrs []dns.RR) {
	b := builder{question: dnswire.NameString(a.Name()), wire: a.Name()}
	a.Walk(func(rec *zone.Record) bool {
		if rec.Section == dnswire.Answer || len(rrs) > 0 && rrs[0].Header().Rrtype == dns.TypeNS {
			rrs = b.append(rrs, rec)
		}
		return true
	})
	return rrs
}
