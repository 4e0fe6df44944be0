package clusterdns

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/coredns/plugin/metrics"
	"github.com/miekg/dns"
)

// lanePlan is what a Corefile makes of the fast lane at one address.
type lanePlan struct {
	routes []*planRoute          // longest zone first
	byZone map[string]*planRoute // the same, if they are many
	counts *laneCounts
}

// planRoute is a laneRoute, ready for use.
type planRoute struct {
	h       *Handler // nil: the chain answers
	wire    []byte   // the zone, in wire format and lower case
	rotate  bool
	bufsize uint16
	types   [256]bool // those that the lane answers for
	through [][]byte  // zones, like wire, in which names that do not exist are the next plugin's
	meters  []meter   // longest zone first; nil: not counted
}

// fewRoutes is up to how many routes a look at each is quicker than a hash. A
// hosts file can make thousands.
const fewRoutes = 8

// add adds a route behind those of longer zones; server is what metrics call the
// server.
func (p *lanePlan) add(route laneRoute, h *Handler, server string) error {
	wire, err := dnswire.AppendName(nil, route.zone)
	if err != nil {
		return fmt.Errorf("zone %q: %w", route.zone, err)
	}
	r := &planRoute{h: h, wire: wire, rotate: route.rotate, bufsize: route.bufsize, types: laneTypes}
	for _, t := range route.types {
		if t < uint16(len(r.types)) {
			r.types[t] = false
		}
	}
	if h != nil {
		for _, zone := range h.cfg.fall.Zones {
			wire, err := dnswire.AppendName(nil, strings.ToLower(zone))
			if err != nil {
				return fmt.Errorf("fallthrough zone %q: %w", zone, err)
			}
			r.through = append(r.through, wire)
		}
	}
	if route.prometheus {
		if m, ok := h.server.Handler("prometheus").(*metrics.Metrics); ok {
			if r.meters, err = newMeters(m, server); err != nil {
				return err
			}
		}
	}
	p.routes = append(p.routes, r)
	if len(p.routes) == fewRoutes {
		p.byZone = map[string]*planRoute{}
		for _, r := range p.routes {
			p.byZone[string(r.wire)] = r
		}
	} else if p.byZone != nil {
		p.byZone[string(r.wire)] = r
	}
	return nil
}

// route returns the route of the longest zone that name is at or below, nil if
// there is none.
func (p *lanePlan) route(name []byte) *planRoute {
	if p.byZone == nil {
		for _, r := range p.routes {
			if dnswire.IsSubdomain(name, r.wire) {
				return r
			}
		}
		return nil
	}
	var buf [255]byte
	for rest := dnswire.AppendLower(buf[:0], name); ; rest = rest[1+rest[0]:] {
		if r := p.byZone[string(rest)]; r != nil || rest[0] == 0 {
			return r
		}
	}
}

// laneCounts are what the lane at an address did, for as long as the process
// runs.
type laneCounts struct {
	answered atomic.Uint64
	declined [numDeclines]atomic.Uint64
	stalled  atomic.Uint64 // lanes that the watchdog closed
}

// decline says why a responder left a message to the chain. The first ones are
// dnswire's reasons.
type decline int

const (
	declineClass decline = decline(dnswire.NumReasons) + iota
	declineType
	declineEDNSVersion
	declineNSID
	declineBlock
	declineZone
	declineFallthrough
	declineExternal
	declineUnready
	declinePacking
	declineRoom
	numDeclines
)

var declineNames = [numDeclines]string{
	declineClass:       "class",        // other than IN
	declineType:        "type",         // zone transfers, ANY, DS and what is not looked up
	declineEDNSVersion: "edns_version", // other than 0
	declineNSID:        "nsid",         // asks which server this is
	declineBlock:       "server_block", // another server block's or plugin's name
	declineZone:        "zone",         // no name in the cluster's zones
	declineFallthrough: "fallthrough",  // does not exist, and the next plugin is to be asked
	declineExternal:    "external",     // an ExternalName outside of the cluster
	declineUnready:     "unready",      // not synced
	declinePacking:     "packing",      // more records than fit, of a kind that the chain packs better
	declineRoom:        "room",         // the question alone does not fit
}

func (d decline) String() string {
	if d < decline(dnswire.NumReasons) {
		return dnswire.Reason(d).String()
	}
	return declineNames[d]
}

// responder answers the fast lane's messages as the chain would. It is a
// fastlane.Responder.
type responder struct {
	plan    *lanePlan
	q       dnswire.Query
	answer  zone.Answer
	render  zone.Renderer
	tally   tally
	waiting int // answers that Sent has not been called for
}

func (p *lanePlan) newResponder() fastlane.Responder {
	r := &responder{plan: p}
	r.render.Rotate = rand.Uint32()
	return r
}

// maxUDP is the most that a datagram can carry: 65,535 less the headers of IPv4
// and UDP.
const maxUDP = 65535 - 20 - 8

// Append implements fastlane.Responder.
func (r *responder) Append(dst, msg []byte, from fastlane.Client) ([]byte, bool) {
	reply, why := r.append(dst, msg, from)
	if why != 0 {
		r.plan.counts.declined[why].Add(1)
		return dst, false
	}
	r.waiting++
	return reply, true
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
	case q.Type == dns.TypePTR && bytes.IndexByte(q.Name, ':') >= 0:
		return nil, declineZone // the plugin hosts makes addresses of some such names
	}
	route := r.plan.route(q.Name)
	if route == nil || route.h == nil {
		return nil, declineBlock
	}
	if q.Type >= uint16(len(route.types)) || !route.types[q.Type] {
		return nil, declineType
	}
	a := &r.answer
	if !route.h.view.Lookup(a, q.Name, q.Type) {
		return nil, declineZone
	}
	switch {
	case a.Outcome == zone.Chase:
		return nil, declineExternal
	case a.Outcome == zone.Unready:
		return nil, declineUnready
	case a.Outcome == zone.NameError && route.fallsThrough(q.Name):
		return nil, declineFallthrough
	}
	if q.HasOPT && route.bufsize > 0 {
		q.UDPSize = min(q.UDPSize, route.bufsize)
	}
	limit := dns.MaxMsgSize
	if !from.TCP {
		limit = dns.MinMsgSize
		if q.HasOPT {
			limit = min(max(limit, int(q.UDPSize)), maxUDP)
		}
	}
	if !a.Tight() && a.Length()+sizeOPT(q) > limit {
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
			truncatedTCP.Inc()
		}
	}
	if route.meters != nil {
		r.tally.add(route, q, a.Outcome.Rcode(), from, len(msg), len(reply)-len(dst))
	}
	return reply, 0
}

// Sent implements fastlane.Responder.
func (r *responder) Sent(elapsed time.Duration) {
	r.plan.counts.answered.Add(uint64(r.waiting))
	r.waiting = 0
	r.tally.report(elapsed)
}

// sizeOPT returns the length of the OPT record in the reply to q.
func sizeOPT(q *dnswire.Query) int {
	if !q.HasOPT {
		return 0
	}
	return 11 + len(q.Options) // some options are echoed
}

// laneTypes are the types that the lane answers for, with records or without.
// Those left out are the chain's: zone transfers, ANY and DS, which CoreDNS
// treats apart, and what nobody asks a cluster.
var laneTypes = func() (types [256]bool) {
	for _, t := range []uint16{
		dns.TypeA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeTXT,
		dns.TypeAAAA, dns.TypeSRV, dns.TypeNAPTR, dns.TypeSVCB, dns.TypeHTTPS,
	} {
		types[t] = true
	}
	return types
}()

// fallsThrough reports whether name, should it not exist, is the next plugin's.
func (r *planRoute) fallsThrough(name []byte) bool {
	return slices.ContainsFunc(r.through, func(zone []byte) bool { return dnswire.IsSubdomain(name, zone) })
}
