package check

import (
	"fmt"
	"slices"
	"strings"

	clusterdns "github.com/clusterdns/clusterdns/plugin"
	"github.com/clusterdns/clusterdns/plugin/eligible"

	"github.com/miekg/dns"
)

// Answerer is who answers a question.
type Answerer struct {
	Lane bool // the fast lane, and not CoreDNS's plugins
	// Why is a plugin with file and line: who answers, or because of whom it is
	// not the lane.
	Why string
	// Next are plugins that are asked, in the chain, if there is no such name.
	Next []string
}

// Stanza returns the stanza of ours that has the zone.
func (r *Report) Stanza(zone string) (s clusterdns.Stanza, ok bool) {
	for _, s := range r.stanzas {
		if slices.Contains(s.Zones, zone) {
			return s, true
		}
	}
	return s, false
}

// Answerer says who answers a question for name.
func (r *Report) Answerer(name string, qtype uint16) (a Answerer) {
	var in *Zone
	for i, z := range r.Zones {
		if dns.IsSubDomain(z.Zone, name) && (in == nil || dns.CountLabel(z.Zone) > dns.CountLabel(in.Zone)) {
			in = &r.Zones[i]
		}
	}
	if in == nil || len(in.AnsweredBy) == 0 {
		return Answerer{Why: "no plugin of the Corefile has the name"}
	}
	a.Why = in.AnsweredBy[0]
	ours := slices.IndexFunc(in.AnsweredBy, func(plugin string) bool {
		word, _, _ := strings.Cut(plugin, " ")
		return slices.Contains(words, word)
	})
	if ours < 0 {
		return a
	}
	a.Why, a.Next = in.AnsweredBy[ours], in.AnsweredBy[ours+1:]
	for i := range r.Lanes {
		if l := &r.Lanes[i]; slices.Contains(in.Listeners, l.Listener) {
			l.judge(&a, name, qtype)
			break
		}
	}
	return a
}

// judge says in a whether l answers a question for a name of ours.
func (l *Lane) judge(a *Answerer, name string, qtype uint16) {
	if !l.Open {
		a.Why = l.Reason
		return
	}
	at := slices.IndexFunc(l.verdict.Routes, func(r eligible.Route) bool { return dns.IsSubDomain(r.Zone, name) }) // the longest first
	if at < 0 {
		return
	}
	r := &l.verdict.Routes[at]
	touch := func(types bool, directive string) string {
		for _, t := range eligible.Touches(l.input) {
			if types && slices.Contains(t.Types, qtype) || t.Directive == directive {
				return fmt.Sprintf("%s (%s) %s", t.Directive, t.Where, t.Why)
			}
		}
		return directive
	}
	switch {
	case r.Block == eligible.Chain:
		a.Why = r.Why
		return
	case qtype == dns.TypeANY || qtype == dns.TypeDS || qtype == dns.TypeAXFR || qtype == dns.TypeIXFR:
		a.Why = "questions of this type are the chain's"
		return
	case slices.Contains(r.Types, qtype):
		a.Why = touch(true, "")
		return
	}
	for _, t := range r.Templates {
		if t.Type == qtype && slices.ContainsFunc(t.Zones, func(zone string) bool { return dns.IsSubDomain(zone, name) }) {
			a.Lane, a.Why, a.Next = t.Empty, touch(true, "template"), nil
			return
		}
	}
	a.Lane = true
	if r.Hosts {
		a.Why += ", unless " + touch(false, "hosts")
	}
}
