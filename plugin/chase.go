package clusterdns

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// chase completes an answer whose CNAME chain leaves the zone. It returns nil if
// that failed, which is a server failure: a bare CNAME would tell the client
// that the name has no address.
func (h *Handler) chase(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, name []byte, a *zone.Answer) *dns.Msg {
	reply := h.resolve(ctx, w, r, a.Target(), r.Question[0].Qtype)
	if reply == nil {
		return nil
	}
	m := message(r, name, a)
	if a.Stale() {
		addExtendedError(r, m, dns.ExtendedErrorCodeStaleAnswer, "")
	}
	m.Truncated = reply.Truncated
	m.Answer = append(m.Answer, reply.Answer...)
	return m
}

// resolve looks host, a name in wire format, up through this server, as any
// client's question would be. It returns nil if that failed; a reply may have no
// answer.
//
// The lookup may come back to us, in another zone or through another plugin,
// and chase again. Those are counted together with the lookups of CoreDNS's
// other plugins (dnsserver.LoopKey), so that no circle of names overflows the
// stack, which would end the process.
func (h *Handler) resolve(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, host []byte, qtype uint16) *dns.Msg {
	target := dnswire.NameString(host)
	key := negativeKey{name: strings.ToLower(target), qtype: qtype, target: true}
	if v, ok := h.negatives.get(h.view.Index(), key); ok {
		if v.rcode == dns.RcodeServerFailure {
			return nil
		}
		return new(dns.Msg)
	}
	depth, _ := ctx.Value(dnsserver.LoopKey{}).(int)
	if depth > maxDepth {
		return nil
	}
	ctx = context.WithValue(ctx, dnsserver.LoopKey{}, depth+1)
	reply, err := h.upstream.Lookup(ctx, request.Request{W: w, Req: r}, target, qtype)
	if err != nil || reply == nil || reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		// That the client gave up, may not ask (acl) or has the query dropped says
		// nothing of the target.
		if ctx.Err() == nil && reply != nil && reply.Rcode == dns.RcodeServerFailure {
			h.negatives.addUntil(key, negative{rcode: dns.RcodeServerFailure}, time.Now().Add(failureTTL))
		}
		return nil
	}
	if len(reply.Answer) == 0 && !reply.Truncated {
		h.negatives.addUntil(key, negative{rcode: reply.Rcode}, time.Now().Add(min(maxNegativeTTL, time.Duration(negativeTTL(reply))*time.Second)))
	}
	return reply
}

// maxDepth is how many lookups may nest; the limit of CoreDNS's plugin file.
const maxDepth = 8

const (
	// maxNegativeTTL bounds what is remembered of a target without records:
	// nothing tells us when that changes.
	maxNegativeTTL = 5 * time.Second
	// failureTTL is how long a target that could not be resolved is not asked
	// for again (RFC 9520 §3.2 wants at least a second).
	failureTTL = time.Second
)

// negativeTTL returns for how many seconds the negative reply m may be remembered
// (RFC 2308 §5).
func negativeTTL(m *dns.Msg) uint32 {
	i := slices.IndexFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA })
	if i < 0 {
		return 0
	}
	soa := m.Ns[i].(*dns.SOA)
	return min(soa.Hdr.Ttl, soa.Minttl)
}
