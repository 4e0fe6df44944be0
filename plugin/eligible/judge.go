package eligible

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// judge judges one server block with a stanza of ours.
type judge struct {
	*Input
	ours  Stanza
	block int
	keys  []string // zones of the server block, those of other listeners too
	zones []string // of the stanza, as far as the server block has them at the listener
	use   use      // being judged

	duties     Duties            // what the routes of the block have in common
	logsErrors bool              // by the plugin log
	taken      map[string]string // zone to why the chain is to answer it
	closed     string            // why the first of zones that went as a whole is the chain's
	touches    []Touch
}

// judgeBlock judges the plugins that block i asks before ours.
func (in *Input) judgeBlock(i int, owners map[string]Route) *judge {
	b := in.Blocks[i]
	j := &judge{Input: in, ours: in.Ours[i], block: i, taken: map[string]string{}}
	j.keys, _ = blockZones(b.Keys, "")
	keys, _ := blockZones(b.Keys, in.Port)
	for _, key := range keys {
		for _, zone := range j.ours.Zones {
			both, ok := meet(key, zone)
			if !ok || slices.Contains(j.zones, both) {
				continue
			}
			if owner := longest(owners, both); owner.Block == i {
				j.zones = append(j.zones, both)
			} else {
				j.closed = cmp.Or(j.closed, owner.Why)
			}
		}
	}
	if j.ours.Off {
		j.use = use{directive: j.ours.Word, where: j.ours.Where}
		j.takeAll("says fastlane off")
	}

	place := func(directive string) int { return slices.Index(dnsserver.Directives, directive) }
	directives := slices.SortedFunc(maps.Keys(b.Tokens), func(a, b string) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b))
	})
	for _, directive := range directives {
		rule, ok := rules[directive]
		if directive == j.ours.Word || place(directive) > place(j.ours.Word) && rule.scope != scopeBlock {
			continue // asked after us, what the lane leaves to the chain comes there
		}
		for _, u := range in.uses(directive, b.Tokens[directive]) {
			switch j.use = u; {
			case !ok:
				j.takeAll("is not known to leave in-cluster names alone")
			case u.directive != directive: // braces that this reader takes for something else
				j.takeAll("cannot be judged")
			case rule.judge != nil:
				rule.judge(j)
			}
		}
	}
	for i := range j.duties.Templates {
		// An NXDOMAIN without a SOA is an error for the plugin log.
		if t := &j.duties.Templates[i]; j.logsErrors && t.Rcode != dns.RcodeSuccess {
			t.Empty = false
		}
	}
	return j
}

// take leaves the names at and below zone to the chain, as far as they are ours.
func (j *judge) take(zone, why string) {
	zone = normal(zone)
	for _, ours := range j.zones {
		both, ok := meet(zone, ours)
		if !ok {
			continue
		}
		t := j.touch(why)
		if !slices.Contains(t.Zones, both) {
			t.Zones = append(t.Zones, both)
		}
		if both == ours {
			j.closed = cmp.Or(j.closed, j.use.says(why))
		}
		if j.taken[both] == "" {
			j.taken[both] = j.use.says(why)
		}
	}
}

// takeName leaves one name, and those below it, to the chain. Above our zones
// it is nothing to us.
func (j *judge) takeName(name, why string) {
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
func (j *judge) takeAll(why string) { j.take(".", why) }

// takeType leaves questions of a type to the chain.
func (j *judge) takeType(qtype uint16) {
	if t := j.touch(rules[j.use.directive].why); !slices.Contains(t.Types, qtype) {
		t.Types = append(t.Types, qtype)
	}
	if !slices.Contains(j.duties.Types, qtype) {
		j.duties.Types = append(j.duties.Types, qtype)
	}
}

// touch returns the entry of touches for j.use.
func (j *judge) touch(why string) *Touch {
	for i := len(j.touches) - 1; i >= 0 && j.touches[i].Where == j.use.where; i-- {
		if j.touches[i].Why == why {
			return &j.touches[i]
		}
	}
	j.touches = append(j.touches, Touch{Directive: j.use.directive, Where: j.use.where, Why: why})
	return &j.touches[len(j.touches)-1]
}

// meets reports whether names in one of zones are ours.
func (j *judge) meets(zones []string) bool {
	return slices.ContainsFunc(zones, func(zone string) bool {
		return slices.ContainsFunc(j.zones, func(ours string) bool { _, ok := meet(zone, ours); return ok })
	})
}

// origins returns the zones that a plugin with these arguments has: they, or
// those of the server block.
func (j *judge) origins(args []string) []string {
	return plugin.OriginsFromArgsOrServerBlock(args, j.keys)
}

// endsLike reports whether a name at or below zone can end in suffix, which may
// begin inside a label.
func endsLike(zone, suffix string) bool {
	below := "." + zone
	return zone == "." || strings.HasSuffix(below, suffix) || strings.HasSuffix(suffix, below)
}
