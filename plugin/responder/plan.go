// Package responder answers the fast lane's messages as CoreDNS's chain would.
//
// Vocabulary, smallest to largest:
//
//	route      who answers the names at and below a zone: a View of the index,
//	           with what the plugins in front of it do, or the chain
//	Plan       the routes in front of one server of CoreDNS
//	Responder  what a worker answers with: a Plan, and memory of its own
package responder

import (
	"fmt"
	"strings"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/hitters"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/coredns/plugin/hosts"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// Plan is what is to be answered in front of one server of CoreDNS.
type Plan struct {
	// Counts count what Responders of the plan do.
	Counts *Counts
	// TruncatedTCP counts replies of which TCP could not carry all.
	TruncatedTCP prometheus.Counter

	routes  []*route          // longest zone first
	hitters *hitters.Engine   // of routes that have them
	byZone  map[string]*route // the same, if they are many
}

// Route says who answers the names at and below a zone.
type Route struct {
	Zone string // fully qualified, in lower case
	// View is asked for them. Nil: the chain answers, and of the rest Hosts alone
	// is read, to tell what the chain answers by itself.
	View *zone.View
	// Fallthrough are zones in which names that do not exist are the next
	// plugin's.
	Fallthrough []string
	// Searched are zones in which names that do not exist are the chain's, if
	// zone.View.Searched has them, and Completes, unless nil, says yes to the
	// question's type and whether it asks for recursion.
	Searched  []string
	Completes func(qtype uint16, recursion bool) bool
	// Types are question types that the chain answers.
	Types   []uint16
	Rotate  bool   // answer addresses in another order each time
	Bufsize uint16 // take a larger EDNS size in a query for this one; 0 is none

	// The plugins that run in front of View, nil where they do not.
	Hosts     *hosts.Hosts
	Metrics   *metrics.Metrics
	Templates []Template
	// Hitters count who asks what, as the plugin console does; nil: nobody does.
	Hitters *hitters.Engine
	// Kernel says that a kernel.Image may answer what it can: see Plan.Mirror.
	Kernel bool
}

// route is a Route, ready for use.
type route struct {
	view      *zone.View
	wire      []byte // the zone, in wire format and lower case
	rotate    bool
	bufsize   uint16
	types     [256]bool // those that the lane answers for
	through   [][]byte  // zones, like wire, in which names that do not exist are the next plugin's
	searched  [][]byte  // zones, like wire, of Route.Searched
	completes func(qtype uint16, recursion bool) bool
	meters    []meter // longest zone first; nil: not counted
	hitters   bool    // count in the Plan's
	hosts     *hostsFile
	templates []template
	kernel    bool
}

// fewRoutes is up to how many routes a look at each is quicker than a hash. A
// Corefile can have a server block for each of many zones.
const fewRoutes = 8

// Add adds a route behind those of longer zones; server is what metrics call the
// server.
func (p *Plan) Add(r Route, server string) error {
	added := &route{
		view: r.View, rotate: r.Rotate, bufsize: r.Bufsize, types: answered, completes: r.Completes, kernel: r.Kernel,
	}
	var err error
	if added.wire, err = dnswire.AppendName(nil, r.Zone); err != nil {
		return fmt.Errorf("zone %q: %w", r.Zone, err)
	}
	for _, t := range r.Types {
		if t < uint16(len(added.types)) {
			added.types[t] = false
		}
	}
	if added.through, err = wireNames(r.Fallthrough); err != nil {
		return fmt.Errorf("fallthrough zone %w", err)
	}
	if added.searched, err = wireNames(r.Searched); err != nil {
		return fmt.Errorf("autopath's zone %w", err)
	}
	if r.Hosts != nil {
		if added.hosts, err = newHostsFile(r.Hosts); err != nil {
			return err
		}
	}
	if r.Metrics != nil {
		if added.meters, err = newMeters(r.Metrics, server); err != nil {
			return err
		}
	}
	if added.templates, err = newTemplates(r.Templates, server); err != nil {
		return err
	}
	if r.Hitters != nil {
		p.hitters, added.hitters = r.Hitters, true
	}
	p.routes = append(p.routes, added)
	if len(p.routes) == fewRoutes {
		p.byZone = map[string]*route{}
		for _, r := range p.routes {
			p.byZone[string(r.wire)] = r
		}
	} else if p.byZone != nil {
		p.byZone[string(added.wire)] = added
	}
	return nil
}

// wireNames returns names in wire format and lower case.
func wireNames(names []string) (wire [][]byte, err error) {
	for _, name := range names {
		w, err := dnswire.AppendName(nil, strings.ToLower(name))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		wire = append(wire, w)
	}
	return wire, nil
}

// route returns the route of the longest zone that name is at or below, nil if
// there is none.
func (p *Plan) route(name []byte) *route {
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

// answered are the types that Responders answer for, with records or without.
// Those left out are the chain's: zone transfers, ANY and DS, which CoreDNS
// treats apart, and what nobody asks a cluster.
var answered = func() (types [256]bool) {
	for _, t := range []uint16{
		dns.TypeA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeTXT,
		dns.TypeAAAA, dns.TypeSRV, dns.TypeNAPTR, dns.TypeSVCB, dns.TypeHTTPS,
	} {
		types[t] = true
	}
	return types
}()
