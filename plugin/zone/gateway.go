package zone

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// GatewayOptions make a View one of zones whose names are those that objects
// claim: host names of Ingresses, of the Gateway API and of DNSEndpoints, and
// Services that are reached from outside of the cluster, by annotation or as
// <service>.<namespace>.<origin>. Of several claims the oldest that leads
// anywhere has the name. The names that exist, and what wildcards stand for, is
// as RFC 4592 has it.
type GatewayOptions struct {
	// Resources are what the zones show: Services, Ingresses, Gateways,
	// HTTPRoutes, GRPCRoutes, TLSRoutes and DNSEndpoints, or some of them.
	Resources []Resource
	// IngressClasses and GatewayClasses are the only classes of Ingresses, and
	// of Gateways with their routes, that are shown, if there are any.
	IngressClasses, GatewayClasses []string
	// Apex and Secondary are the names of the zones' name servers below them,
	// <service>.<namespace> as a rule. Secondary is empty if there is but one.
	// The name server Apex is this one: if it is no service that is reached
	// from outside, it has this server's addresses.
	Apex, Secondary string
}

// Needs returns the resources that answers may depend on.
func (g *GatewayOptions) Needs() []Resource {
	rs := slices.Clone(g.Resources)
	if slices.ContainsFunc(rs, isRoute) && !slices.Contains(rs, Gateways) {
		rs = append(rs, Gateways)
	}
	return rs
}

func isRoute(r Resource) bool { return r == HTTPRoutes || r == GRPCRoutes || r == TLSRoutes }

// setGateway prepares v for the zones of a gateway.
func (v *View) setGateway(g *GatewayOptions) error {
	for _, name := range []struct {
		option, text string
		labels       *[]byte
	}{{"apex", g.Apex, &v.nameServer}, {"secondary", g.Secondary, &v.secondary}} {
		if name.text == "" && name.option == "secondary" {
			continue
		}
		h, ok := NewHostName(name.text)
		if !ok || h.name[1] == '*' {
			return fmt.Errorf("%s %q is no domain name", name.option, name.text)
		}
		*name.labels = h.name
	}
	return nil
}

// destination is what a name of a gateway's zone leads to.
type destination struct {
	v4, v6 []byte // packed; alias counts where there are neither
	alias  []byte // in wire format
	texts  []string
	ttl    uint32
}

func (d *destination) empty() bool {
	return len(d.v4)+len(d.v6)+len(d.alias)+len(d.texts) == 0
}

// add makes d lead to x as well; nil is nowhere.
func (d *destination) add(x *External) {
	if x == nil {
		return
	}
	d.v4, d.v6 = union(d.v4, x.v4, 4), union(d.v6, x.v6, 16)
	if d.alias == nil && len(x.hosts) > 0 {
		d.alias = x.hosts[0]
	}
}

// union returns the packed addresses in a or b, each once. Both are sorted, and so
// is it.
func union(a, b []byte, width int) []byte {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	all := make([]byte, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		c := bytes.Compare(a[:width], b[:width])
		if c <= 0 {
			all, a = append(all, a[:width]...), a[width:]
		} else {
			all = append(all, b[:width]...)
		}
		if c >= 0 {
			b = b[width:]
		}
	}
	return append(append(all, a...), b...)
}

// resolveGateway is resolve for a gateway's zone.
func (a *Answer) resolveGateway(q *query, o *origin) {
	a.depend(&parts{}, netip.Addr{}, false)
	a.stamped = false // a name depends on wildcards and on the names below it
	for _, r := range a.view.Needs() {
		if !a.ready(r) {
			return
		}
		if a.snap.restored>>r&1 != 0 { // without host names, and which services are not to be shown
			a.Outcome, a.Blocked = Unready, r
			return
		}
	}
	n := q.labels - o.labels
	name := q.from(0, q.labels)
	server := n > 0 && string(q.from(0, n)) == string(a.view.nameServer)
	var d destination
	var exists bool
	if server || n > 0 && string(q.from(0, n)) == string(a.view.secondary) {
		exists = a.outside(q.from(0, n), &d) // whoever claims it: who has it has the zone
	} else {
		exists = a.find(q, n, &d)
	}
	switch {
	case n == 0 && a.qtype == dnswire.TypeSOA:
		a.found(hasSOA, true)
		return
	case n == 0 && a.qtype == dnswire.TypeNS:
		a.found(hasNS, true)
		return
	case server && len(d.v4)+len(d.v6) == 0:
		d.v4, d.v6, d.alias = a.view.localAddrs(4), a.view.localAddrs(16), nil
	case exists, n == 0, a.hasBelow(name), a.aboveServer(q, n):
	case n == 1 && a.shows(Services) && a.hasOutside(q):
	default:
		a.Outcome = NameError
		return
	}
	a.to = d
	addrs := len(d.v4)+len(d.v6) > 0
	switch {
	case a.qtype == dnswire.TypeA && addrs:
		a.found(hasHost, len(d.v4) > 0)
	case a.qtype == dnswire.TypeAAAA && addrs:
		a.found(hasHost, len(d.v6) > 0)
	case a.qtype == dnswire.TypeTXT && len(d.texts) > 0:
		a.found(hasHost, true)
	case d.alias == nil || addrs || len(d.texts) > 0: // a CNAME stands alone (RFC 1034 §3.6.2)
		a.found(nothing, false)
	case a.qtype == dnswire.TypeCNAME:
		a.found(hasHost, true)
	default:
		a.has, a.Outcome = hasHost, Chase
	}
}

// shows reports whether the zones have names of r.
func (a *Answer) shows(r Resource) bool { return slices.Contains(a.view.opt.Gateway.Resources, r) }

// hasBelow reports whether an object of a kind that the zones show claims a name
// below this one, whatever its class and namespace are.
func (a *Answer) hasBelow(name []byte) bool {
	return slices.ContainsFunc(a.view.opt.Gateway.Resources, func(of Resource) bool {
		_, ok := a.snap.below(hashBelow(name, of))
		return ok
	})
}

// find finds what the name of q leads to, its first n labels being below the
// origin. It is false if the name is neither claimed, nor a service, nor one that
// a wildcard stands for.
func (a *Answer) find(q *query, n int, d *destination) bool {
	name := q.from(0, q.labels)
	if own := (destination{}); n == 2 && a.isOutside(q, &own) {
		// A service's name is its namespace's: what others claim does not count.
		if a.claimed(name, name, string(q.from(1, 2)[1:]), d); d.empty() {
			*d = own
		}
		return true
	}
	if a.claimed(name, name, "", d) {
		return true
	}
	if a.hasBelow(name) {
		return false
	}
	for i := 1; i <= n; i++ {
		encloser := q.from(i, q.labels)
		if i < n && !a.hasBelow(encloser) && !a.claimed(encloser, encloser, "", &destination{}) {
			continue
		}
		// The closest encloser: no wildcard but its own counts (RFC 4592 §3.3.1).
		wildcard := append(append(a.below[:0], 1, '*'), encloser...)
		return len(wildcard) < maxName && a.claimed(wildcard, name, "", d)
	}
	return false
}

// claimed finds what the name asked for leads to by the oldest claim of name, that
// or a wildcard above it, that leads anywhere. If a namespace is given, only claims
// of its objects count. It is false if there is no claim that the view shows.
func (a *Answer) claimed(name, asked []byte, namespace string, d *destination) (ok bool) {
	set := a.snap.claimsOf(name)
	if set == nil {
		return false
	}
	for _, c := range set.oldest() {
		if namespace != "" && c.Namespace != namespace || !a.admits(c, asked) {
			continue
		}
		ok = true
		if a.follow(c, c.on(name), asked, d); !d.empty() {
			return true
		}
	}
	return ok
}

// admits reports whether the view shows an object's claim of the name asked for.
func (a *Answer) admits(c *Claim, asked []byte) bool {
	g := a.view.opt.Gateway
	switch {
	case !a.shows(c.Of) || !a.view.lists(c.Namespace):
		return false
	case c.Of == Ingresses:
		return len(g.IngressClasses) == 0 || slices.Contains(g.IngressClasses, c.Class)
	case c.Of == Gateways:
		return a.admitsGateway(c)
	case isRoute(c.Of):
		return slices.ContainsFunc(c.Parents, func(p Parent) bool { return a.through(&p, c, asked) != nil })
	}
	return true
}

func (a *Answer) admitsGateway(c *Claim) bool {
	classes := a.view.opt.Gateway.GatewayClasses
	return c != nil && (len(classes) == 0 || slices.Contains(classes, c.Class))
}

// through returns the Gateway that leads a route to the name asked for, nil if the
// view does not show it or no listener takes that of the route.
func (a *Answer) through(p *Parent, route *Claim, asked []byte) *Claim {
	g := a.snap.gateway(p.Key)
	if !a.admitsGateway(g) || !slices.ContainsFunc(g.Listeners, func(l Listener) bool { return l.takes(p, g, route, asked) }) {
		return nil
	}
	return g
}

// follow finds where c leads with one of its names.
func (a *Answer) follow(c *Claim, h *HostName, asked []byte, d *destination) {
	d.add(h.To)
	d.texts, d.ttl = h.Texts, h.TTL
	for i := range c.Parents {
		if g := a.through(&c.Parents[i], c, asked); g != nil {
			d.add(g.To)
		}
	}
}

// isOutside finds the service that q's first two labels name.
func (a *Answer) isOutside(q *query, d *destination) bool {
	return a.shows(Services) && a.outside(q.from(0, 2), d)
}

// outside finds where the service of these labels, its own and its namespace's,
// is reached from outside.
func (a *Answer) outside(labels []byte, d *destination) bool {
	s := serviceOf(&a.snap.services, labels, hashName(labels))
	if s == nil || s.external() == nil || s.obj.Claim != nil && s.obj.Claim.Hidden || !a.view.lists(s.obj.Namespace) {
		return false
	}
	d.add(s.external())
	return true
}

// hasOutside reports whether a service of the namespace that q's first label
// names is reached from outside.
func (a *Answer) hasOutside(q *query) bool {
	namespace := string(q.from(0, 1)[1:])
	_, ok := a.snap.below(hashNamespace(namespace))
	return ok && a.view.lists(namespace)
}

// aboveServer reports whether q's first n labels are the last of a name
// server's.
func (a *Answer) aboveServer(q *query, n int) bool {
	for _, server := range [][]byte{a.view.nameServer, a.view.secondary} {
		for at := 0; at < len(server); at += 1 + int(server[at]) {
			if string(server[at:]) == string(q.from(0, n)) {
				return true
			}
		}
	}
	return false
}

// localAddrs returns those of the server's addresses that have width octets,
// packed.
func (v *View) localAddrs(width int) (packed []byte) {
	for _, addr := range v.local {
		if b := addr.AsSlice(); len(b) == width {
			packed = append(packed, b...)
		}
	}
	return packed
}

// walkHost walks what a name of a gateway's zone leads to.
func (a *Answer) walkHost(r *Record, yield func(*Record) bool) bool {
	if a.to.ttl > 0 {
		r.TTL = a.to.ttl
	}
	r.Type = a.qtype
	switch {
	case a.Outcome == Chase || a.qtype == dnswire.TypeCNAME:
		r.Type, r.Target = dnswire.TypeCNAME, dnswire.Name{Origin: a.to.alias}
	case a.qtype == dnswire.TypeA:
		r.Packed = a.to.v4
	case a.qtype == dnswire.TypeAAAA:
		r.Packed = a.to.v6
	default:
		for _, r.Text = range a.to.texts {
			if !yield(r) {
				return false
			}
		}
		return true
	}
	return yield(r)
}

// walkGatewayNS walks the name servers of a gateway's zone, and their addresses.
func (a *Answer) walkGatewayNS(r *Record, yield func(*Record) bool) bool {
	servers := [][]byte{a.view.nameServer, a.view.secondary}
	if a.view.secondary == nil {
		servers = servers[:1]
	}
	r.Type = dnswire.TypeNS
	for _, labels := range servers {
		r.Target = dnswire.Name{Labels: labels, At: a.zone()}
		if a.fits(&r.Target) && !yield(r) {
			return false
		}
	}
	for i, labels := range servers {
		var d destination
		if !a.outside(labels, &d) && i == 0 {
			d.v4, d.v6 = a.view.localAddrs(4), a.view.localAddrs(16)
		}
		owner := dnswire.Name{Labels: labels, At: a.zone()}
		for _, glue := range []Record{{Type: dnswire.TypeA, Packed: d.v4}, {Type: dnswire.TypeAAAA, Packed: d.v6}} {
			*r = Record{Section: dnswire.Additional, Type: glue.Type, TTL: a.view.opt.TTL, Owner: owner, Packed: glue.Packed}
			if len(r.Packed) > 0 && a.NameLen(&owner) <= maxName && !yield(r) {
				return false
			}
		}
	}
	return true
}
