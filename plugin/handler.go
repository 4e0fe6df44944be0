package clusterdns

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// Handler answers the questions of one Corefile stanza. It is a plugin.Handler.
type Handler struct {
	Next plugin.Handler

	cfg       *config
	upstream  *upstream.Upstream
	search    []string // the search path of /etc/resolv.conf outside of the zones, for autopath
	negatives *negatives

	external *Handler // of the stanza k8s_external in the same server block, if there is one
	// within are, of k8s_gateway, the zones of the cluster that the same server
	// block answers: of two zones that a name is in the longer has it.
	within plugin.Zones

	// Set when the stanza starts up, before the first query, but not before
	// the first question to Ready: until then starting is true.
	feed     *kube.Feed
	view     *zone.View // shows feed's index, or for a while another's: see claimed
	starting atomic.Bool
	starts   *startup // that of the stanzas of the same Corefile
	listens  string   // the port and hosts of its server block
}

// Name implements plugin.Handler. It is the word that the Corefile used, so
// that what refers to the plugin by name keeps working under the alias.
func (h *Handler) Name() string { return h.cfg.word }

// Ready implements CoreDNS's ready.Readiness: every feed has synced, be it from a
// snapshot. That an API server is away later does not change it: it is away for all
// replicas, and stale answers are better than none.
func (h *Handler) Ready() bool {
	return !h.starting.Load() && h.view.Index().Synced(h.needs()...)
}

var answers = sync.Pool{New: func() any { return new(zone.Answer) }}

// putAnswer gives an Answer back, without the snapshot that it refers to: an idle
// one would keep in memory what the index no longer has.
func putAnswer(a *zone.Answer) {
	a.Release()
	answers.Put(a)
}

// ServeDNS implements plugin.Handler.
func (h *Handler) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	var m *dns.Msg
	if !h.explains(r) {
		m = h.negatives.reply(h.view.Index(), r)
	}
	if m == nil {
		var rcode int
		var err error
		if m, rcode, err = h.answer(ctx, w, r); m == nil {
			return rcode, err
		}
	} else if h.view.Stale() {
		addExtendedError(r, m, dns.ExtendedErrorCodeStaleAnswer, "")
	}
	return send(w, r, m), nil
}

// send sends m, the reply to r, and returns the response code for the server.
func send(w dns.ResponseWriter, r, m *dns.Msg) int {
	err := w.WriteMsg(m)
	if err == nil {
		return dns.RcodeSuccess
	}
	if _, err := m.Pack(); err != nil { // nothing was sent, nor can be
		unpackable.Inc()
		log.Errorf("The reply for %s is no DNS message: %v", r.Question[0].Name, err)
		return dns.RcodeServerFailure
	}
	// The reply is lost: a response code would only have the server try to send
	// another one the same way.
	log.Debugf("Writing the reply for %s to %s: %v", r.Question[0].Name, w.RemoteAddr(), err)
	return dns.RcodeSuccess
}

// explains reports whether the reply to r says why it is negative, if it is. The
// negative cache has none of those: what they say depends on more than the names
// by which it knows that an entry still holds.
func (h *Handler) explains(r *dns.Msg) bool {
	return h.cfg.view.Explain > 0 && r.IsEdns0() != nil
}

// answer returns the reply to r, or nil and what ServeDNS is to return.
func (h *Handler) answer(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (*dns.Msg, int, error) {
	q := &r.Question[0]
	next := func() (*dns.Msg, int, error) {
		rcode, err := plugin.NextOrFailure(h.Name(), h.Next, ctx, w, r)
		return nil, rcode, err
	}
	var buf [256]byte
	n, err := dns.PackDomainName(q.Name, buf[:], 0, nil, false)
	if err != nil {
		return next()
	}
	name := buf[:n]
	a := answers.Get().(*zone.Answer)
	defer putAnswer(a)
	switch {
	case len(h.within) > 0 && len(h.within.Matches(q.Name)) > len(plugin.Zones(h.cfg.view.Zones).Matches(q.Name)):
		return next()
	case !h.view.Lookup(a, name, q.Qtype):
		return next()
	case (q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR) && h.cfg.view.External == nil:
		return nil, dns.RcodeRefused, nil // the plugin transfer, in front of us, does those
	case a.Outcome == zone.NameError && !a.Final && h.cfg.fall.Through(strings.ToLower(q.Name)):
		return next()
	case a.Outcome == zone.Chase && a.Hosts() != nil:
		m := h.chaseHosts(ctx, w, r, name, a)
		return m, dns.RcodeServerFailure, nil
	case a.Outcome == zone.Chase:
		m := h.chase(ctx, w, r, name, a)
		return m, dns.RcodeServerFailure, nil
	case a.Outcome == zone.Unready:
		unreadyResponses.WithLabelValues(a.Blocked.String()).Inc()
	}
	state := request.Request{W: w, Req: r}
	m := fitting(r, name, a, &state)
	if q.Qtype == dns.TypeSRV && len(m.Answer) > 1 {
		shortestFirst(m, state.Size())
	}
	if (m.Truncated || exceedsTCP(m)) && state.Proto() == "tcp" {
		truncatedTCP.Inc()
	}
	why, code := []byte(nil), uint16(0)
	if h.explains(r) {
		why, code = a.Explain(nil, state.Size())
	} else {
		h.negatives.addReply(r, m, a)
	}
	switch {
	case a.Outcome == zone.Unready:
		addExtendedError(r, m, dns.ExtendedErrorCodeNotReady, string(why))
		return m, 0, nil
	case a.Stale():
		addExtendedError(r, m, dns.ExtendedErrorCodeStaleAnswer, "")
	}
	if len(why) > 0 {
		addExtendedError(r, m, code, string(why))
	}
	return m, 0, nil
}
