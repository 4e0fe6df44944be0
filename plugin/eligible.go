package clusterdns

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	pkgparse "github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/coredns/coredns/plugin/pkg/transport"
	"github.com/miekg/dns"
)

// laneInput is what decides whether a fast lane may answer in front of a
// listener of CoreDNS, and which names.
//
// The lane skips every plugin that stands before ours, so it may answer only
// where none of them could have changed the answer, nor anything else that the
// Corefile asks for. Its judge goes about it so:
//
//  1. The server blocks that share the listener's port say whose a name is, by
//     the longest zone, as dnsserver.Server.ServeDNS has it.
//  2. In each block with a stanza of ours, every plugin that is asked before us
//     is judged by its rule (laneRules): it takes names and question types
//     away, which the lane then hands to the chain, or has a wish that the lane
//     fulfils itself. A plugin without a rule takes everything.
//  3. If a name of the cluster is left, the lane opens.
//
// Where the Corefile alone does not tell, a name is the chain's: that is never
// wrong.
type laneInput struct {
	path   string                  // of the Corefile, for reasons
	blocks []caddyfile.ServerBlock // as caddyfile.Parse returns them
	port   string                  // of the listener, which speaks plain DNS
	// ours are the stanzas of ours, by caddy.Controller.ServerBlockIndex, in
	// those blocks that listen at the listener's address.
	ours map[int]*config
	// readFile reads the files of the plugin hosts: os.ReadFile.
	readFile func(path string) ([]byte, error)
}

// laneVerdict is what the judge found.
type laneVerdict struct {
	// routes say whose names are, by the longest zone that a name is at or
	// below; longest first, no zone twice. Names in none of them are the
	// chain's. There can be thousands: one for each name in a hosts file that
	// concerns us. There are none if the lane must stay closed.
	routes []laneRoute
	// reason, of a lane that must stay closed, names plugin, file and line.
	reason string
	// files are those that the verdict depends on, whether it is open or closed:
	// when one changes it is to be had anew.
	files []string
}

// laneRoute says who answers the names at and below a zone.
type laneRoute struct {
	zone  string // fully qualified, in lower case
	block int    // the server block with a stanza of ours; -1 is the chain
	why   string // it is the chain's

	// What the other plugins of the block ask of the lane.
	prometheus bool     // count queries as the plugin prometheus does
	rotate     bool     // answer addresses in another order each time
	bufsize    uint16   // take a larger EDNS size in a query for this one; 0 is none
	types      []uint16 // questions of these types are the chain's
}

// laneJudge judges one server block with a stanza of ours.
type laneJudge struct {
	*laneInput
	cfg    *config
	block  int
	keys   []string   // zones of the server block, those of other listeners too
	zones  []string   // of the stanza, as far as the server block has them at the listener
	root   string     // folder that relative paths start from, or ""
	stanza laneStanza // being judged

	wishes laneRoute         // what the routes of the block have in common
	taken  map[string]string // zone to why the chain is to answer it
	closed string            // why the first of zones that went as a whole is the chain's
	files  []string
}

// laneStanza is one use of a directive in a server block.
type laneStanza struct {
	directive string
	where     string     // file and line
	args      []string   // on its first line
	lines     [][]string // in its braces
}

func (in *laneInput) judge() laneVerdict {
	var v laneVerdict
	if v.reason = in.listenerTaken(); v.reason != "" {
		return v
	}
	owners, err := in.owners()
	if err != nil {
		v.reason = err.Error()
		return v
	}
	var judges []*laneJudge
	routes := map[string]laneRoute{}
	for zone, r := range owners {
		if r.block >= 0 { // what the stanza does not have of it
			r.block, r.why = -1, fmt.Sprintf("%s (%s) does not have it", in.ours[r.block].word, in.ours[r.block].where)
		}
		routes[zone] = r
	}
	for _, i := range slices.Sorted(maps.Keys(in.ours)) {
		j := in.judgeBlock(i, owners)
		judges = append(judges, j)
		v.files = append(v.files, j.files...)
		for _, zone := range j.zones {
			r := j.wishes
			r.zone, r.block = zone, i
			routes[zone] = r
		}
		for zone, why := range j.taken {
			if longest(owners, zone).block == i { // others are another block's anyway
				routes[zone] = laneRoute{zone: zone, block: -1, why: why}
			}
		}
	}
	for _, r := range routes {
		if r.block >= 0 {
			v.routes = slices.SortedFunc(maps.Values(routes), func(a, b laneRoute) int {
				return cmp.Or(cmp.Compare(dns.CountLabel(b.zone), dns.CountLabel(a.zone)), cmp.Compare(a.zone, b.zone))
			})
			return v
		}
	}
	for _, j := range judges {
		v.reason = cmp.Or(v.reason, j.closed)
	}
	v.reason = cmp.Or(v.reason, fmt.Sprintf("no server block on port %s has a zone for clusterdns or kubernetes", in.port))
	return v
}

// listenerTaken returns which plugin, in whichever block, does not let anybody
// else at the listener, or "".
func (in *laneInput) listenerTaken() string {
	for _, b := range in.blocks {
		zones, _ := blockZones(b.Keys, in.port)
		for _, directive := range slices.Sorted(maps.Keys(b.Tokens)) {
			rule := laneRules[directive]
			if rule.scope == scopeServer || rule.scope == scopeListener && len(zones) > 0 {
				for _, s := range in.stanzas(directive, b.Tokens[directive]) {
					if rule.closes == nil || rule.closes(s) {
						return s.says(rule.why)
					}
				}
			}
		}
	}
	return ""
}

// owners returns the zones of the server blocks that listen at the port, with
// the block if it has a stanza of ours. Whether a block with bind listens at the
// same address is not known here.
func (in *laneInput) owners() (map[string]laneRoute, error) {
	owners := map[string]laneRoute{}
	isOurs := func(i int) bool { return in.ours[i] != nil }
	for _, ours := range []bool{true, false} { // first those, to see who else has the zone
		for i, b := range in.blocks {
			if isOurs(i) != ours {
				continue
			}
			zones, err := blockZones(b.Keys, in.port)
			if err != nil {
				return nil, err
			}
			for _, zone := range zones {
				r := laneRoute{zone: zone, block: -1, why: fmt.Sprintf("server block %s has the zone %s", b.Keys[0], zone)}
				first, twice := owners[zone]
				switch views := in.stanzas("view", b.Tokens["view"]); {
				case ours && (!twice || first.block == i):
					r = laneRoute{zone: zone, block: i}
				case !twice || first.block < 0:
				case len(views) > 0:
					r.why = views[0].says(laneRules["view"].why)
				case ours:
				case b.Tokens["bind"] != nil && in.blocks[first.block].Tokens["bind"] != nil:
					// Without a view CoreDNS does not let two blocks have one zone
					// at one address.
					r = first
				}
				owners[zone] = r
			}
		}
	}
	return owners, nil
}

// blockZones returns the zones that a server block with these keys has at the
// plain DNS listeners at port, or those at any listener if port is "", as
// CoreDNS's InspectServerBlocks reads them.
func blockZones(keys []string, port string) (zones []string, err error) {
	for _, key := range keys {
		trans, rest := pkgparse.Transport(key)
		hosts, p, err := plugin.SplitHostPort(rest)
		if err != nil {
			return nil, fmt.Errorf("server block %s: %w", key, err)
		}
		if p == "" {
			p = dnsserver.Port
		}
		if port != "" && (trans != transport.DNS || p != port) {
			continue
		}
		for _, host := range hosts {
			zone := plugin.Name(host).Normalize()
			if _, ok := dns.IsDomainName(zone); !ok {
				return nil, fmt.Errorf("server block %s: %q is no domain name", key, zone)
			}
			zones = append(zones, zone)
		}
	}
	return zones, nil
}

// longest returns the route of the longest zone that name is at or below. That
// of a name in none is the chain's.
func longest(routes map[string]laneRoute, name string) laneRoute {
	for off, end := 0, false; !end; off, end = dns.NextLabel(name, off) {
		if r, ok := routes[name[off:]]; ok {
			return r
		}
	}
	if r, ok := routes["."]; ok {
		return r
	}
	return laneRoute{block: -1, why: "no server block has the zone " + name}
}

// judgeBlock judges the plugins that block i asks before ours.
func (in *laneInput) judgeBlock(i int, owners map[string]laneRoute) *laneJudge {
	b := in.blocks[i]
	j := &laneJudge{laneInput: in, cfg: in.ours[i], block: i, taken: map[string]string{}}
	j.keys, _ = blockZones(b.Keys, "")
	keys, _ := blockZones(b.Keys, in.port)
	for _, key := range keys {
		for _, zone := range j.cfg.view.Zones {
			both, ok := meet(key, zone)
			if !ok || slices.Contains(j.zones, both) {
				continue
			}
			if owner := longest(owners, both); owner.block == i {
				j.zones = append(j.zones, both)
			} else {
				j.closed = cmp.Or(j.closed, owner.why)
			}
		}
	}
	for _, s := range in.stanzas("root", b.Tokens["root"]) {
		if len(s.args) > 0 {
			j.root = s.args[0]
		}
	}
	if j.cfg.fastlane.off {
		j.stanza = laneStanza{directive: j.cfg.word, where: j.cfg.where}
		j.takeAll("says fastlane off")
	}

	place := func(directive string) int { return slices.Index(dnsserver.Directives, directive) }
	directives := slices.SortedFunc(maps.Keys(b.Tokens), func(a, b string) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b))
	})
	for _, directive := range directives {
		rule, ok := laneRules[directive]
		if directive == j.cfg.word || place(directive) > place(j.cfg.word) && rule.scope != scopeBlock {
			continue // asked after us, what the lane hands to the chain comes there
		}
		for _, s := range in.stanzas(directive, b.Tokens[directive]) {
			switch j.stanza = s; {
			case !ok:
				j.takeAll("is not known to leave in-cluster names alone")
			case s.directive != directive: // braces that this reader takes for something else
				j.takeAll("cannot be judged")
			case rule.judge != nil:
				rule.judge(j)
			}
		}
	}
	return j
}

// stanzas takes the tokens of a directive apart, into one stanza for each time
// that it stands in the server block.
func (in *laneInput) stanzas(directive string, tokens []caddyfile.Token) (list []laneStanza) {
	d := caddyfile.NewDispenserTokens(in.path, tokens)
	for d.Next() {
		s := laneStanza{directive: d.Val(), where: fmt.Sprintf("%s:%d", d.File(), d.Line()), args: d.RemainingArgs()}
		for d.NextBlock() {
			s.lines = append(s.lines, append([]string{d.Val()}, d.RemainingArgs()...))
		}
		list = append(list, s)
	}
	return list
}

// says returns a sentence on the stanza, that it does such and such.
func (s laneStanza) says(what string) string {
	return fmt.Sprintf("%s (%s) %s", s.directive, s.where, what)
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

// take leaves the names at and below zone to the chain, as far as they are ours.
func (j *laneJudge) take(zone, why string) {
	if _, ok := dns.IsDomainName(zone); !ok {
		zone = "."
	}
	zone = plugin.Name(zone).Normalize()
	for _, ours := range j.zones {
		both, ok := meet(zone, ours)
		if !ok {
			continue
		}
		if both == ours {
			j.closed = cmp.Or(j.closed, j.stanza.says(why))
		}
		if j.taken[both] == "" {
			j.taken[both] = j.stanza.says(why)
		}
	}
}

// takeName leaves one name, and those below it, to the chain. Above our zones
// it is nothing to us.
func (j *laneJudge) takeName(name, why string) {
	if _, ok := dns.IsDomainName(name); !ok {
		return // nobody can ask for it
	}
	for _, ours := range j.zones {
		if dns.IsSubDomain(ours, name) {
			j.take(name, why)
		}
	}
}

// takeAll leaves every name of the server block to the chain.
func (j *laneJudge) takeAll(why string) { j.take(".", why) }

// takeType leaves questions of a type to the chain.
func (j *laneJudge) takeType(qtype uint16) {
	if !slices.Contains(j.wishes.types, qtype) {
		j.wishes.types = append(j.wishes.types, qtype)
	}
}

// meets reports whether names in one of zones are ours.
func (j *laneJudge) meets(zones []string) bool {
	return slices.ContainsFunc(zones, func(zone string) bool {
		return slices.ContainsFunc(j.zones, func(ours string) bool { _, ok := meet(zone, ours); return ok })
	})
}

// origins returns the zones that a plugin with these arguments has: they, or
// those of the server block.
func (j *laneJudge) origins(args []string) []string {
	return plugin.OriginsFromArgsOrServerBlock(args, j.keys)
}

// endsLike reports whether a name at or below zone can end in suffix, which may
// begin inside a label.
func endsLike(zone, suffix string) bool {
	below := "." + zone
	return zone == "." || strings.HasSuffix(below, suffix) || strings.HasSuffix(suffix, below)
}
