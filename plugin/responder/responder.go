package responder

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/hitters"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/miekg/dns"
)

// responder answers the fast lane's messages as the chain would. It is a
// fastlane.Responder.
type responder struct {
	plan    *Plan
	q       dnswire.Query
	answer  zone.Answer
	render  zone.Renderer
	tally   tally
	hits    *hitters.Recorder // nil: nobody counts
	waiting int               // answers that Sent has not been called for

	empty       dnswire.Builder // of replies without records
	lower, text []byte          // a question's name in lower case, on the wire and as text
	said        map[*hostsFile]*said
}

// NewResponder returns a Responder that answers as p has it.
func (p *Plan) NewResponder() fastlane.Responder {
	r := &responder{plan: p}
	r.render.Rotate = rand.Uint32()
	if p.hitters != nil {
		r.hits = p.hitters.Recorder()
	}
	return r
}

// maxUDP is the most that a datagram can carry: 65,535 less the headers of IPv4
// and UDP.
const maxUDP = 65535 - 20 - 8

// Append implements fastlane.Responder.
func (r *responder) Append(dst, msg []byte, from fastlane.Client) ([]byte, fastlane.Verdict) {
	reply, why := r.append(dst, msg, from)
	verdict := fastlane.Answered
	if why != 0 {
		r.plan.Counts.declined[why].Add(1)
		verdict, reply = r.verdict(why), dst
	} else {
		r.waiting++
	}
	r.answer.Release() // an idle worker keeps no snapshot in memory
	return reply, verdict
}

// append returns why it declines, or 0.
func (r *responder) append(dst, msg []byte, from fastlane.Client) ([]byte, decline) {
	q := &r.q
	if why := dnswire.ParseQuery(msg, q); why != dnswire.Accepted {
		return nil, decline(why)
	}
	switch {
	case q.Class != dns.ClassINET:
		return nil, declineClass
	case q.Version != 0:
		return nil, declineEDNSVersion
	case len(q.Options) > 0 && q.HasOption(dns.EDNS0NSID):
		return nil, declineNSID // which server this is, is the plugin nsid's to say
	case len(q.Options) > 0 && echoed(q):
		return nil, declineOption
	}
	route := r.plan.route(q.Name)
	if route == nil || route.view == nil {
		return nil, declineBlock
	}
	if q.Type >= uint16(len(route.types)) || !route.types[q.Type] {
		return nil, declineType
	}
	if t := route.template(q); t != nil {
		return r.appendEmpty(dst, q, route, t, from, len(msg))
	}
	if route.hosts != nil && r.hostsHas(route.hosts, q) {
		return nil, declineHosts
	}
	a := &r.answer
	if !route.view.Lookup(a, q.Name, q.Type) {
		return nil, declineZone
	}
	if why := route.leaves(a, q); why != 0 {
		return nil, why
	}
	limit := route.limit(q, from)
	if !a.Tight() && a.Length(limit)+sizeOPT(q, a) > limit {
		return nil, declinePacking
	}
	if route.rotate {
		r.render.Rotate++
	} else {
		r.render.Rotate = 0
	}
	reply, err := r.render.Append(dst, q, a, limit)
	if err != nil {
		return nil, declineRoom
	}
	if binary.BigEndian.Uint16(reply[len(dst)+2:])&dnswire.FlagTC != 0 {
		if q.Type == dns.TypeSRV {
			return nil, declinePacking
		}
		if from.TCP {
			r.plan.TruncatedTCP.Inc()
		}
	}
	r.count(route, a.Outcome.Rcode(), from, len(msg), len(reply)-len(dst))
	return reply, 0
}

// count counts the answer to r.q for those of the plugins that the lane skips
// which count.
func (r *responder) count(route *route, rcode uint8, from fastlane.Client, query, reply int) {
	if route.meters != nil {
		r.tally.add(route, &r.q, rcode, from, query, reply)
	}
	if route.hitters {
		r.hits.Add(r.q.Name, from.Addr, int(rcode))
	}
}

// Sent implements fastlane.Responder.
func (r *responder) Sent(elapsed time.Duration, lost int) {
	r.plan.Counts.answered.Add(uint64(max(0, r.waiting-lost))) // less than 0 after a panic, when another Responder waits
	r.waiting = 0
	r.tally.report(elapsed)
	if r.hits != nil {
		r.hits.Sent(hitters.Lane, elapsed)
	}
}

// sizeOPT returns the length of the OPT record in the reply to q.
func sizeOPT(q *dnswire.Query, a *zone.Answer) int {
	if !q.HasOPT {
		return 0
	}
	return 11 + len(q.Options) + a.SizeOptions() // some of the former are echoed
}

// limit returns how many octets the reply to q may have, after it has held q to
// the plugin bufsize.
func (r *route) limit(q *dnswire.Query, from fastlane.Client) int {
	if q.HasOPT && r.bufsize > 0 {
		q.UDPSize = min(q.UDPSize, r.bufsize)
	}
	switch {
	case from.TCP:
		return dns.MaxMsgSize
	case !q.HasOPT:
		return dns.MinMsgSize
	}
	return min(max(dns.MinMsgSize, int(q.UDPSize)), maxUDP)
}

// optionCodes are the EDNS options that dnswire.ParseQuery lets pass.
var optionCodes = [...]uint16{dns.EDNS0NSID, dns.EDNS0DAU, dns.EDNS0DHU, dns.EDNS0N3U, dns.EDNS0COOKIE, dns.EDNS0PADDING}

// echoed reports whether the chain's reply to q has one of its options: those
// that the plugin rewrite registered, whichever server block it stands in and for
// as long as the process runs (request.Request.SizeAndDo).
func echoed(q *dnswire.Query) bool {
	for _, code := range optionCodes {
		if q.HasOption(code) && edns.SupportedOption(code) {
			return true
		}
	}
	return false
}

// leaves returns why a, the answer to q, is the chain's to give, or 0.
func (r *route) leaves(a *zone.Answer, q *dnswire.Query) decline {
	switch {
	case a.Outcome == zone.Chase:
		return declineExternal
	case a.Outcome == zone.Unready:
		return declineUnready
	case a.Outcome == zone.NameError && isIn(q.Name, r.through):
		return declineFallthrough
	case a.Outcome == zone.NameError && r.isSearched(q):
		return declineAutopath
	}
	return 0
}

// isSearched reports whether q is for a name, one that does not exist, that the
// plugin autopath may complete.
func (r *route) isSearched(q *dnswire.Query) bool {
	if !isIn(q.Name, r.searched) || r.completes != nil && !r.completes(q.Type, q.Flags&dnswire.FlagRD != 0) {
		return false
	}
	_, ok := r.view.Searched(q.Name)
	return ok
}
