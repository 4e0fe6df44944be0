// Package eligible judges a Corefile: whether a fast lane may answer in front of
// a listener of CoreDNS, and which names.
//
// The lane skips every plugin that stands before ours, so it may answer only
// where none of them could have changed the answer, nor anything else that the
// Corefile asks for:
//
//  1. The server blocks that share the listener's port say whose a name is, by
//     the longest zone, as dnsserver.Server.ServeDNS has it.
//  2. In each block with a stanza of ours, every plugin that is asked before us
//     is judged by its rule: it takes names and question types away, which the
//     lane then leaves to the chain, or gives the lane a duty. A plugin without
//     a rule takes everything.
//  3. If a name of the cluster is left, the lane opens.
//
// Where the Corefile alone does not tell, a name is the chain's: that is never
// wrong.
//
// The chain is CoreDNS's plugins, the stanza of ours behind the others.
package eligible

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// Input is what there is to judge.
type Input struct {
	Path   string                  // of the Corefile, for reasons
	Blocks []caddyfile.ServerBlock // as caddyfile.Parse returns them
	Port   string                  // of the listener, which speaks plain DNS
	// Ours are the stanzas of ours, by caddy.Controller.ServerBlockIndex, in
	// those blocks that listen at the listener's address.
	Ours map[int]Stanza
}

// Stanza is what the judge has to know of a stanza of ours.
type Stanza struct {
	Word  string   // the directive as written
	Where string   // its file and line
	Zones []string // fully qualified, in lower case
	Off   bool     // there is to be no lane
}

// Verdict is what the judge found.
type Verdict struct {
	// Routes say whose names are, by the longest zone that a name is at or
	// below; longest first, no zone twice. Names in none of them are the
	// chain's. There are none if the lane must stay closed.
	Routes []Route
	// Reason, of a lane that must stay closed, names plugin, file and line.
	Reason string
}

// Chain is, in the place of a server block, that the chain answers.
const Chain = -1

// Route says who answers the names at and below a zone.
type Route struct {
	Zone  string // fully qualified, in lower case
	Block int    // the server block with a stanza of ours, or Chain
	Why   string // it is the chain's
	// Owner is the server block with a stanza of ours that has the zone, whether
	// the lane answers or the chain; Chain if there is none. Of a zone that is
	// the chain's, Hosts alone of the Duties is set.
	Owner int
	Duties
}

// Duties are what the lane has to do in the place of the plugins that it skips.
type Duties struct {
	Prometheus bool   // count queries as the plugin prometheus does
	Console    bool   // count who asks what, as the plugin console does
	Rotate     bool   // answer addresses in another order each time
	Bufsize    uint16 // take a larger EDNS size in a query for this one; 0 is none
	// Hosts: what the running plugin hosts has, or does not let through, is the
	// chain's. It reads its file again and again: it is to be asked for each
	// query.
	Hosts bool
	// Templates are those of the plugin template, in the order in which it asks
	// them.
	Templates []Template
	Types     []uint16 // questions of these types are the chain's
	// Searched are zones, fully qualified and in lower case, in which names that
	// do not exist are the chain's if a search path may have made them.
	Searched []string
}

// Template answers questions of a type in its zones.
type Template struct {
	Type  uint16
	Zones []string // fully qualified, in lower case
	// Empty: with nothing but the response code Rcode, whatever the name.
	// Otherwise only the chain can tell.
	Empty bool
	Rcode uint8
}

// Judge returns the verdict on in. It reads no files.
func Judge(in Input) Verdict {
	if reason := in.listenerTaken(); reason != "" {
		return Verdict{Reason: reason}
	}
	owners, err := in.owners()
	if err != nil {
		return Verdict{Reason: err.Error()}
	}
	var judges []*judge
	routes := map[string]Route{}
	for zone, r := range owners {
		if r.Block != Chain { // what the stanza does not have of it
			s := in.Ours[r.Block]
			r.Block, r.Why = Chain, fmt.Sprintf("%s (%s) does not have it", s.Word, s.Where)
		}
		routes[zone] = r
	}
	for _, i := range slices.Sorted(maps.Keys(in.Ours)) {
		j := in.judgeBlock(i, owners)
		judges = append(judges, j)
		for _, zone := range j.zones {
			routes[zone] = Route{Zone: zone, Block: i, Owner: i, Duties: j.duties}
		}
		for zone, why := range j.taken {
			if longest(owners, zone).Block == i { // others are another block's anyway
				routes[zone] = Route{Zone: zone, Block: Chain, Owner: i, Why: why}
			}
		}
		for zone, r := range routes {
			if r.Block == Chain && r.Owner == i {
				r.Hosts = j.duties.Hosts
				routes[zone] = r
			}
		}
	}
	for _, r := range routes {
		if r.Block != Chain {
			return Verdict{Routes: slices.SortedFunc(maps.Values(routes), func(a, b Route) int {
				return cmp.Or(cmp.Compare(dns.CountLabel(b.Zone), dns.CountLabel(a.Zone)), cmp.Compare(a.Zone, b.Zone))
			})}
		}
	}
	var v Verdict
	for _, j := range judges {
		v.Reason = cmp.Or(v.Reason, j.closed)
	}
	v.Reason = cmp.Or(v.Reason, fmt.Sprintf("no server block on port %s has a zone for clusterdns or kubernetes", in.Port))
	return v
}

// Touch is that a plugin which is asked before ours keeps questions from us, or
// changes them or our answers. With neither zones nor types it depends on what
// the running plugin has.
type Touch struct {
	Directive string
	Where     string   // file and line
	Why       string   // a sentence of which the plugin is the subject
	Zones     []string // in which, of ours; each for all types
	Types     []uint16 // of which questions
}

// Touches returns what the plugins in front of our stanzas do with in-cluster
// names, whether or not the lane may open, in the order in which they are asked.
func Touches(in Input) (list []Touch) {
	owners, err := in.owners()
	if err != nil {
		return nil
	}
	for _, i := range slices.Sorted(maps.Keys(in.Ours)) {
		list = append(list, in.judgeBlock(i, owners).touches...)
	}
	return list
}

// listenerTaken returns which plugin, in whichever block, does not let anybody
// else at the listener, or "".
func (in *Input) listenerTaken() string {
	for _, b := range in.Blocks {
		zones, _ := blockZones(b.Keys, in.Port)
		for _, directive := range slices.Sorted(maps.Keys(b.Tokens)) {
			rule := rules[directive]
			if rule.scope == scopeServer || rule.scope == scopeListener && len(zones) > 0 {
				for _, u := range in.uses(directive, b.Tokens[directive]) {
					if rule.closes == nil || rule.closes(u) {
						return u.says(rule.why)
					}
				}
			}
		}
	}
	return ""
}

// use is one use of a directive in a server block.
type use struct {
	directive string
	where     string     // file and line
	args      []string   // on its first line
	lines     [][]string // in its braces
}

// uses takes the tokens of a directive apart, into one use for each time that it
// stands in the server block.
func (in *Input) uses(directive string, tokens []caddyfile.Token) (list []use) {
	d := caddyfile.NewDispenserTokens(in.Path, tokens)
	for d.Next() {
		u := use{directive: d.Val(), where: fmt.Sprintf("%s:%d", d.File(), d.Line()), args: d.RemainingArgs()}
		for d.NextBlock() {
			u.lines = append(u.lines, append([]string{d.Val()}, d.RemainingArgs()...))
		}
		list = append(list, u)
	}
	return list
}

// says returns a sentence on the use, that it does such and such.
func (u use) says(what string) string {
	return fmt.Sprintf("%s (%s) %s", u.directive, u.where, what)
}

// longest returns the route of the longest zone that name is at or below. That
// of a name in none is the chain's.
func longest(routes map[string]Route, name string) Route {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if r, ok := routes[name[off:]]; ok {
			return r
		}
	}
	if r, ok := routes["."]; ok {
		return r
	}
	return Route{Block: Chain, Why: "no server block has the zone " + name}
}

// meet returns the zone that holds the names of both a and b.
func meet(a, b string) (zone string, ok bool) {
	switch {
	case dns.IsSubDomain(a, b):
		return b, true
	case dns.IsSubDomain(b, a):
		return a, true
	}
	return "", false
}

// normal returns zone fully qualified and in lower case; the root if it is no
// domain name.
func normal(zone string) string {
	if _, ok := dns.IsDomainName(zone); !ok {
		return "."
	}
	return plugin.Name(zone).Normalize()
}
