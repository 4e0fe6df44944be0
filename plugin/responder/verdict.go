package responder

import (
	"github.com/clusterdns/clusterdns/plugin/fastlane"

	"github.com/miekg/dns"
)

// verdict returns what the chain may have to do for r.q, which was declined: ask
// nobody, ask for what an ExternalName service says, or, also where that is not
// known for sure, ask for what the question says.
func (r *responder) verdict(why decline) fastlane.Verdict {
	switch why {
	case declineHosts, declineUnready, declinePacking, declineRoom:
		return fastlane.Local
	case declineExternal:
		return fastlane.Alias
	case declineBlock:
		if route := r.plan.route(r.q.Name); route != nil && route.hosts != nil && r.hostsEnd(route.hosts, &r.q) {
			return fastlane.Local
		}
	case declineType:
		return r.verdictOfType()
	}
	return fastlane.Forward
}

// verdictOfType is verdict for a question in a zone of ours, of a type that is
// the chain's.
func (r *responder) verdictOfType() fastlane.Verdict {
	q, route := &r.q, r.plan.route(r.q.Name)
	switch q.Type {
	case dns.TypeDS, dns.TypeAXFR, dns.TypeIXFR: // DS may be another server block's
		return fastlane.Forward
	}
	if !route.view.Lookup(&r.answer, q.Name, q.Type) {
		return fastlane.Forward
	}
	if why := route.leaves(&r.answer, q); why != 0 {
		return r.verdict(why)
	}
	return fastlane.Local
}
