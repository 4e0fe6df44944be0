package responder

import (
	"errors"
	"fmt"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// Template is one template of the plugin of that name, which answers questions
// of a type in its zones.
type Template struct {
	Type  uint16
	Zones []string // fully qualified, in lower case
	Empty bool     // with nothing but Rcode; otherwise only the plugin can tell
	Rcode uint8
}

// template is a Template, ready for use: one for each zone.
type template struct {
	qtype   uint16
	zone    []byte // in wire format and lower case
	empty   bool
	rcode   uint8
	matches prometheus.Counter // the plugin's own, of those that are empty
}

// newTemplates returns the templates of a server in the order in which they are
// asked: of one template's zones the longest first, as the plugin counts them.
func newTemplates(list []Template, server string) (all []template, err error) {
	for _, t := range list {
		zones, err := wireNames(t.Zones)
		if err != nil {
			return nil, fmt.Errorf("template's zone %w", err)
		}
		slices.SortStableFunc(zones, func(a, b []byte) int { return dnswire.CountLabels(b) - dnswire.CountLabels(a) })
		for _, zone := range zones {
			ready := template{qtype: t.Type, zone: zone, empty: t.Empty, rcode: t.Rcode}
			if vec := templateMatches(); vec != nil && t.Empty {
				ready.matches = vec.WithLabelValues(server, dnswire.NameString(zone), "", "IN", dns.TypeToString[t.Type])
			} else {
				ready.empty = false // it would not be counted
			}
			all = append(all, ready)
		}
	}
	return all, nil
}

// templateMatches returns the counter of the plugin template, nil if the plugin
// is not as it was.
func templateMatches() *prometheus.CounterVec {
	same := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: "template", Name: "matches_total",
		Help: "Counter of template regex matches.",
	}, []string{"server", "zone", "view", "class", "type"})
	err := prometheus.Register(same)
	var registered prometheus.AlreadyRegisteredError
	if errors.As(err, &registered) {
		vec, _ := registered.ExistingCollector.(*prometheus.CounterVec)
		return vec
	}
	if err == nil {
		prometheus.Unregister(same)
	}
	return nil
}

// template returns the template that answers q, nil if there is none.
func (r *route) template(q *dnswire.Query) *template {
	for i := range r.templates {
		if t := &r.templates[i]; t.qtype == q.Type && dnswire.IsSubdomain(q.Name, t.zone) {
			return t
		}
	}
	return nil
}

// appendEmpty appends the reply of t to q, which has no records.
func (r *responder) appendEmpty(dst []byte, q *dnswire.Query, route *route, t *template, from fastlane.Client, received int) ([]byte, decline) {
	if !t.empty {
		return nil, declineTemplate
	}
	r.empty.Reset(dst, route.limit(q, from), q)
	if q.HasOPT {
		r.empty.OPT(q.UDPSize, q.EDNSReplyFlags(), nil)
	}
	reply, err := r.empty.Finish(t.rcode, q.ReplyFlags()|dnswire.FlagAA)
	if err != nil {
		return nil, declineRoom
	}
	t.matches.Inc()
	r.count(route, t.rcode, from, received, len(reply)-len(dst))
	return reply, 0
}
