package clusterdns

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/coredns/coredns/plugin/pkg/nonwriter"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// autopath goes along a client's search path in its place. It stands where
// CoreDNS's plugin of that name does:
//
//  1. The question is asked of the next plugin. Any answer but NXDOMAIN is the
//     client's, and so is that if the question does not end in the path's first
//     domain.
//  2. The name in front of that is asked for in the domains above it, svc.<zone>
//     and <zone>, one after the other and of the next plugin too.
//  3. In all others, and as it is, it is asked for at once, and of the server,
//     as the client would ask: a stub domain may be another server block's. The
//     first of the path that exists counts.
//  4. A CNAME leads from the question to the name that was found, for every type,
//     with records of the type or without.
//  5. If none exists, the answer is that of 1.
//
// What is said of the question holds for as long as everything that it follows
// from. A name that cannot be resolved ends the walk with SERVFAIL: a later one
// might not be the client's.
type autopath struct {
	Next     plugin.Handler
	zones    []string
	path     func(request.Request) []string // nil: there is none
	upstream *upstream.Upstream
	slots    chan struct{} // one is held for each lookup of step 3
}

// maxLookups is how many names the clients of one server block are looking up
// outside at a time. When there are more, clients go along their search paths
// themselves. It is the max_concurrent of kubeadm's forward.
const maxLookups = 1000

// Name implements plugin.Handler.
func (*autopath) Name() string { return "autopath" }

// ServeDNS implements plugin.Handler.
func (a *autopath) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: r}
	inside, outside := a.candidates(ctx, state)
	if len(inside)+len(outside) == 0 {
		return plugin.NextOrFailure(a.Name(), a.Next, ctx, w, r)
	}
	first, rcode, err := a.next(ctx, w, r)
	if first == nil {
		return rcode, err
	}
	if first.Rcode != dns.RcodeNameError {
		return send(w, r, first), err
	}
	ctx = context.WithValue(ctx, walking{}, true)
	ttl := negativeTTL(first)
	for _, name := range inside {
		reply, rcode, err := a.next(ctx, w, state.NewWithQuestion(name, state.QType()).Req)
		if reply == nil {
			return rcode, err
		}
		if m := a.judge(ctx, r, name, reply, &ttl); m != nil {
			return send(w, r, m), nil
		}
	}
	replies := a.lookup(ctx, state, outside)
	if replies == nil {
		return send(w, r, shorter(first, 0)), nil
	}
	for i, name := range outside {
		if m := a.judge(ctx, r, name, <-replies[i], &ttl); m != nil {
			return send(w, r, m), nil
		}
	}
	return send(w, r, shorter(first, ttl)), nil
}

// walking is the key of a context in which a name of a search path is asked for.
// That is not made longer by another.
type walking struct{}

// candidates returns the names that a question for another may stand for: those
// in domains above the first of the search path, and others. There are none if
// it is not to be completed.
func (a *autopath) candidates(ctx context.Context, state request.Request) (inside, outside []string) {
	if a.path == nil || ctx.Value(walking{}) != nil || plugin.Zones(a.zones).Matches(state.Name()) == "" ||
		state.Req.Opcode != dns.OpcodeQuery || state.QClass() != dns.ClassINET || !a.Completes(state.QType(), state.Req.RecursionDesired) {
		return nil, nil
	}
	path := a.path(state)
	if len(path) < 2 {
		return nil, nil
	}
	first := path[0]
	qname := state.Req.Question[0].Name
	labels := dns.Split(qname)
	n := len(labels) - dns.CountLabel(first)
	if n < 1 || n == len(labels) || !dns.IsSubDomain(first, qname) {
		return nil, nil
	}
	base := qname[:labels[n]] // with a dot
	for _, domain := range path[1:] {
		name := base + strings.TrimPrefix(domain, ".")
		if _, ok := dns.IsDomainName(name); !ok || slices.Contains(inside, name) || slices.Contains(outside, name) {
			continue // too long, or for the second time
		}
		if len(domain) > 1 && dns.IsSubDomain(domain, first) {
			inside = append(inside, name)
		} else {
			outside = append(outside, name)
		}
	}
	return inside, outside
}

// Completes reports whether a question of a type, which asks for recursion or
// not, may be completed: whether it is what clients ask along search paths, and a
// CNAME stands for the records. The fast lane answers others.
func (*autopath) Completes(qtype uint16, recursion bool) bool {
	switch qtype {
	case dns.TypeCNAME, dns.TypeSOA, dns.TypeNS, dns.TypeDS, dns.TypeDNSKEY, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3:
		return false
	}
	return recursion && (qtype < 128 || qtype > 255) // those between ask for something else (RFC 6895 §3.1)
}

// next returns the next plugin's reply to r, or nil and what ServeDNS is to
// return.
func (a *autopath) next(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (*dns.Msg, int, error) {
	nw := nonwriter.New(w)
	rcode, err := plugin.NextOrFailure(a.Name(), a.Next, ctx, nw, r)
	if !plugin.ClientWrite(rcode) {
		return nil, rcode, err
	}
	return nw.Msg, rcode, err
}

// lookup asks the server for names, all at once, and returns where the replies
// will come, nil for those that have failed. It returns nil if that would be too
// many lookups.
func (a *autopath) lookup(ctx context.Context, state request.Request, names []string) (replies []chan *dns.Msg) {
	for i := range names {
		select {
		case a.slots <- struct{}{}:
		default:
			for range i {
				<-a.slots
			}
			return nil
		}
	}
	replies = make([]chan *dns.Msg, len(names))
	for i, name := range names {
		replies[i] = make(chan *dns.Msg, 1)
		// Of its own, since the reply to the client may be written before the
		// last of the others comes.
		own := request.Request{W: state.W, Req: state.Req.Copy()}
		ask := func() {
			defer func() { <-a.slots }()
			reply, err := a.upstream.Lookup(metadata.ContextWithMetadata(ctx), own, name, own.QType())
			if err != nil {
				reply = nil
			}
			replies[i] <- reply
		}
		if len(names) == 1 {
			ask()
		} else {
			go ask()
		}
	}
	return replies
}

// judge returns the reply to r that follows from the reply for a name of the
// search path, or nil if the name does not exist. The TTL is that of what is
// known so far.
func (a *autopath) judge(ctx context.Context, r *dns.Msg, name string, reply *dns.Msg, ttl *uint32) *dns.Msg {
	m := new(dns.Msg)
	switch {
	case reply == nil || reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return m.SetRcode(r, dns.RcodeServerFailure)
	case reply.Rcode == dns.RcodeNameError, len(reply.Answer) == 0:
		*ttl = min(*ttl, negativeTTL(reply))
	}
	for _, rr := range reply.Answer {
		*ttl = min(*ttl, rr.Header().Ttl)
	}
	if reply.Rcode == dns.RcodeNameError {
		return nil
	}
	m.SetReply(r)
	m.Authoritative, m.RecursionAvailable, m.Truncated = true, reply.RecursionAvailable, reply.Truncated
	cname := &dns.CNAME{Hdr: dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: *ttl}, Target: name}
	m.Answer = append([]dns.RR{cname}, reply.Answer...)
	m.Ns, m.Extra = reply.Ns, reply.Extra
	completed().WithLabelValues(metrics.WithServer(ctx)).Inc()
	return m
}

// shorter returns the negative reply m, not to be kept for longer than ttl
// seconds.
func shorter(m *dns.Msg, ttl uint32) *dns.Msg {
	m.Ns = slices.Clone(m.Ns) // the plugin cache keeps the other
	for i, rr := range m.Ns {
		if rr.Header().Ttl > ttl {
			m.Ns[i] = dns.Copy(rr)
			m.Ns[i].Header().Ttl = ttl
		}
	}
	return m
}

// AutoPath implements CoreDNS's autopath.AutoPather: the search path of who asks.
// The question itself names its first domain, that of a namespace. Which pod has
// the client's address says nothing of that: a node cache, a proxy and pods of the
// host network ask for others, and caches in front keep one answer for all clients.
func (h *Handler) AutoPath(state request.Request) []string {
	qname := state.Name()
	var buf [256]byte
	n, err := dns.PackDomainName(qname, buf[:], 0, nil, false)
	if err != nil {
		return nil
	}
	labels, ok := h.view.Searched(buf[:n])
	if !ok {
		return nil
	}
	at := dns.Split(qname)
	first := qname[at[labels]:]
	path := []string{first, qname[at[labels+1]:]}
	if labels+2 < len(at) { // not the root
		path = append(path, qname[at[labels+2]:])
	}
	return append(append(path, h.search...), "") // autopath wants an empty last
}

// searchDomains returns the search path of a resolv.conf.
func searchDomains(file string) ([]string, error) {
	rc, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, err
	}
	plugin.Zones(rc.Search).Normalize()
	return rc.Search, nil
}

// outsideOf returns those of domains that are in none of zones. The others are
// names of the cluster, where a client has those of its own namespace.
func outsideOf(zones, domains []string) (list []string) {
	for _, domain := range domains {
		if z := plugin.Zones(zones).Matches(domain); z == "" || z == "." {
			list = append(list, domain)
		}
	}
	return list
}

// completed counts questions that were answered from further along a search
// path, under the name that CoreDNS's plugin has for them. That may be in the
// same binary.
var completed = sync.OnceValue(func() *prometheus.CounterVec {
	return register(prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: "autopath", Name: "success_total",
		Help: "Counter of requests that did autopath.",
	}, []string{"server"}))
})

// SetupAutopath is the caddy.SetupFunc of the directive autopath, for a binary
// without CoreDNS's plugin of that name. It takes what that takes:
//
//	autopath [ZONE...] RESOLV-CONF|@PLUGIN
func SetupAutopath(c *caddy.Controller) error {
	a := &autopath{upstream: upstream.New(), slots: make(chan struct{}, maxLookups)}
	var from string // the plugin that knows search paths
	for c.Next() {  // the last line counts, as with CoreDNS's
		args := c.RemainingArgs()
		if len(args) == 0 {
			return plugin.Error(a.Name(), c.Err("no resolv.conf and no @PLUGIN to take the search path from"))
		}
		source := args[len(args)-1]
		a.zones = plugin.OriginsFromArgsOrServerBlock(args[:len(args)-1], c.ServerBlockKeys)
		if name, ok := strings.CutPrefix(source, "@"); ok {
			a.path, from = nil, name
			continue
		}
		path, err := searchDomains(source)
		if err != nil {
			return plugin.Error(a.Name(), c.Errf("%v", err))
		}
		path = append(path, "")
		a.path, from = func(request.Request) []string { return path }, ""
	}
	where := fmt.Sprintf("%s:%d", c.File(), c.Line())
	server := dnsserver.GetConfig(c)
	c.OnStartup(func() error {
		if from == "" {
			return nil
		}
		h := server.Handler(from)
		if ours := clusterOf(server); h == nil && ours != nil && (from == directive || from == "kubernetes") {
			h = ours
		}
		switch h := h.(type) {
		case nil: // as CoreDNS has it
			log.Warningf("autopath (%s) does nothing: the server block has no plugin %s", where, from)
		case interface {
			AutoPath(request.Request) []string
		}:
			a.path = h.AutoPath
		default:
			return plugin.Error(a.Name(), fmt.Errorf("%s: the plugin %s knows no search paths", where, from))
		}
		return nil
	})
	server.AddPlugin(func(next plugin.Handler) plugin.Handler {
		a.Next = next
		return a
	})
	return nil
}
