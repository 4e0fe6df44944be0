package zone

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Outcome says what kind of answer an Answer is.
type Outcome uint8

const (
	// Success is an answer with records.
	Success Outcome = iota
	// NoData is a name that exists, without records of the type asked for.
	NoData
	// NameError is a name that does not exist (NXDOMAIN).
	NameError
	// Unready is an answer that cannot be given before Answer.Blocked has
	// synced (SERVFAIL).
	Unready
	// Chase is a CNAME chain that leaves the zone: its records are the CNAMEs,
	// and Answer.Target is to be resolved elsewhere. In an external zone it is an
	// answer that refers to Answer.Hosts.
	Chase
)

// TextVersion is the version of the Kubernetes DNS specification that
// dns-version.<zone> announces.
const TextVersion = "1.1.0"

// Answer is what a View says to one question. It is filled in by View.Lookup,
// which reuses its memory; it refers to the question's name, which must stay
// as it is while the Answer is in use, and to a snapshot of the index, which
// holds memory for as long as the Answer does. Not safe for concurrent use.
type Answer struct {
	Outcome Outcome
	Blocked Resource // what Unready waits for
	// Final says of a NameError that the name is below the name server's of an
	// external zone: no other plugin is to be asked for it, as CoreDNS has it.
	Final bool

	state

	// Memory for lookups and walks.
	q       query
	chain   []*service // ExternalName services passed, first to last
	local   []localRecord
	refs    []endpointRef
	rec     Record
	scratch [64]byte      // the label of the record being walked
	below   [maxName]byte // the labels behind that one, if the service is imported
	packed  [16]byte      // its address
}

// state is what an Answer knows of one question.
type state struct {
	view   *View
	snap   *snapshot
	name   []byte // as asked
	zoneAt int    // where in name the origin begins
	qtype  uint16

	has       content
	svc       *service
	sel       selector
	label     []byte     // the pod's, as asked
	namespace *Namespace // the pod's
	addr      netip.Addr // the pod's, or the one that a PTR is asked for
	total     int        // what SRV weights are a share of

	deps  [2]uint64 // hashes whose generations a negative answer depends on
	stamp uint64    // the sum of their generations before the snapshot was read
	plain bool      // deps and stamp are all that the answer depends on

	transfer bool // the answer is for a zone transfer
}

// content is where the records of an Answer come from.
type content uint8

const (
	nothing     content = iota
	hasText             // dns-version
	hasSOA              // the zone's SOA
	hasNS               // the zone's name servers
	hasLocal            // ns.dns
	hasAddrs            // addresses of svc or its endpoints
	hasSRV              // SRV of svc or its endpoints
	hasCNAME            // svc's ExternalName
	hasPod              // the address in a pod's name
	hasPTR              // the services that addr belongs to
	hasExternal         // where svc is reached from outside, or of PTRs the services that are at addr
)

// Lookup answers a question of class IN for name, uncompressed in wire format,
// and qtype, any type but a zone transfer. It is false if name is in none of
// v's zones. It allocates nothing unless the answer is about name servers, or
// longer than the ones before.
func (v *View) Lookup(a *Answer, name []byte, qtype uint16) bool {
	q := &a.q
	if !q.parse(name) {
		return false
	}
	o := v.match(q)
	if o == nil {
		return false
	}
	a.begin(v, name, q.offset(q.labels-o.labels), qtype)
	a.resolve(q, o)
	if a.Outcome == Chase && v.opt.External == nil {
		a.chase(q, o)
	}
	return true
}

// begin makes a an answer to nothing but this question.
func (a *Answer) begin(v *View, name []byte, zoneAt int, qtype uint16) {
	a.Outcome, a.Blocked, a.Final = Success, 0, false
	a.state = state{view: v, name: name, zoneAt: zoneAt, qtype: qtype}
	a.chain, a.local = a.chain[:0], a.local[:0]
}

// Name returns the name that was asked for.
func (a *Answer) Name() []byte { return a.name }

// chase follows an ExternalName as far as the zone reaches. A chain that is a
// loop, too long, or ends at nothing in the zone answers NODATA, without its
// CNAMEs, as CoreDNS does.
func (a *Answer) chase(q *query, o *origin) {
	for {
		target := a.svc.target
		if len(a.chain) > maxChain || dnswire.IsSubdomain(target, q.name) || slices.ContainsFunc(a.chain, func(s *service) bool {
			return bytes.Equal(s.target, target)
		}) {
			a.Outcome = NoData
			break
		}
		a.chain = append(a.chain, a.svc)
		q.parse(target)
		if !o.holds(q) {
			return // Outcome is Chase
		}
		if a.resolve(q, o); a.Outcome != Chase {
			break
		}
	}
	a.plain = false
	if a.Outcome != Success && a.Outcome != Unready {
		a.Outcome = NoData
	}
	if a.Outcome != Success {
		a.chain = a.chain[:0]
	}
}

// maxChain is how many CNAMEs may come before the last one; CoreDNS's limit.
const maxChain = 10

// Target returns the name in wire format, spelled as the service has it, that
// an answer with the outcome Chase is to be continued at.
func (a *Answer) Target() []byte { return a.chain[len(a.chain)-1].target }

// resolve finds what q's name, at or below o, has of a.qtype.
func (a *Answer) resolve(q *query, o *origin) {
	if a.view.opt.External != nil {
		a.resolveExternal(q, o)
		return
	}
	n := q.labels - o.labels
	p := q.split(n, o)
	addr, reverse := q.reverseAddr()
	a.depend(&p, addr, reverse)
	if n == 1 && q.is(0, "\x0bdns-version") { // depends on no resource
		a.found(hasText, a.qtype == dnswire.TypeTXT)
		return
	}
	services := Services
	if o.multicluster {
		services = ServiceImports
	}
	if !a.ready(Namespaces) || !a.ready(services) {
		return
	}
	switch {
	case n == 0 && a.qtype == dnswire.TypeSOA:
		a.found(hasSOA, true)
	case n == 0 && a.qtype == dnswire.TypeNS:
		a.resolveLocal(hasNS)
	case n == 2 && q.is(0, "\x02ns") && q.is(1, "\x03dns"):
		a.resolveLocal(hasLocal)
	case a.qtype == dnswire.TypeSOA:
		a.Outcome = NoData // whether or not the name exists, as CoreDNS has it
	case reverse:
		a.resolvePTR(addr)
		if n == 0 && a.Outcome == NameError {
			a.Outcome = NoData // an origin exists, that of one address too
		}
	case p.kind == atEmpty:
		a.Outcome = NoData
	case p.kind == atNothing || isReverse(q.folded[:len(q.name)]):
		a.Outcome = NameError
	case !a.hasNamespace(&p):
		a.Outcome = NameError
	case p.kind == atNamespace:
		a.found(nothing, false)
		if p.pod && a.view.opt.Pods == PodsDisabled {
			a.Outcome = NameError
		}
	case p.kind == atPod:
		a.resolvePod(&p)
	case o.multicluster:
		a.resolveService(&p, &a.snap.imports)
	default:
		a.resolveService(&p, &a.snap.services)
	}
}

func (a *Answer) hasNamespace(p *parts) bool {
	a.namespace = a.snap.namespace(p.namespace, a.deps[0])
	return a.namespace != nil && a.view.lists(a.namespace.Name)
}

// owned returns the service id as it is now, or nil if the view hides it.
func (a *Answer) owned(id *ident) *service {
	if !a.view.lists(id.Namespace) {
		return nil
	}
	if a.view.opt.SelectedNamespaces {
		label := id.labels()[1+id.wire[0]:]
		a.plain = false // the answer depends on that namespace as well
		if a.snap.namespace(label, hashName(label)) == nil {
			return nil
		}
	}
	return a.snap.serviceByID(id)
}

// depend notes what the answer depends on and then takes the snapshot.
func (a *Answer) depend(p *parts, addr netip.Addr, reverse bool) {
	a.deps = [2]uint64{}
	if p.namespace != nil {
		a.deps[0] = hashName(p.namespace)
	}
	switch {
	case reverse:
		a.deps[1] = hashAddr(addr)
	case p.kind == atPod:
		if pod, ok := podAddr(p.first); ok {
			a.addr = pod
			a.deps[1] = hashAddr(pod)
		}
	case p.kind == atService:
		a.deps[1] = hashName(p.service)
	}
	if a.snap == nil { // and not further down a chain
		a.plain = true
		a.stamp = a.view.ix.stamp(a.deps)
		a.snap = a.view.ix.current.Load()
	}
}

// stamp returns a number that changes when anything does that deps stand for.
func (ix *Index) stamp(deps [2]uint64) uint64 {
	return ix.generation(deps[0]).Load() + ix.generation(deps[1]).Load()
}

// ready reports whether r has synced, and makes the answer Unready if not.
func (a *Answer) ready(r Resource) bool {
	if !a.snap.has(r) {
		a.Outcome, a.Blocked = Unready, r
		return false
	}
	return true
}

// found ends the lookup of a name that exists and has records, of the type
// asked for or not.
func (a *Answer) found(has content, ofType bool) {
	a.has = has
	a.Outcome = Success
	if !ofType {
		a.Outcome = NoData
	}
}

func (a *Answer) resolveService(p *parts, services *trie[*service]) {
	opt := &a.view.opt
	s := serviceOf(services, p.service, a.deps[1])
	if s == nil || s.obj == nil {
		a.Outcome = NameError
		return
	}
	a.svc, a.sel = s, p.sel
	kind := s.obj.Kind
	if kind == ExternalName {
		a.resolveExternalName()
		return
	}
	ofEndpoints := kind == Headless || p.sel.by == byEndpoint
	noEndpoints := opt.NoEndpoints && !s.id.imported
	if (ofEndpoints || opt.IgnoreEmpty) && !noEndpoints && !a.ready(EndpointSlices) {
		return
	}
	zonal := p.sel.byZone()
	switch {
	case kind == ClusterIP && opt.IgnoreEmpty && (noEndpoints || !s.hasEndpoints()),
		ofEndpoints && noEndpoints,
		kind == ClusterIP && zonal,                             // its addresses are in no zone
		s.id.imported && !ofEndpoints && len(s.obj.Ports) == 0: // as CoreDNS has it
		a.Outcome = NameError
		return
	case ofEndpoints:
		a.total = a.countEndpoints()
		if a.total == 0 && p.sel.by == preferZone {
			a.sel = selector{}
			a.total = a.countEndpoints()
		}
		if a.total == 0 && zonal {
			a.found(nothing, false) // whatever the zone is called
			return
		}
	default:
		a.total = a.sel.numMatching(s.obj.Ports) * len(s.obj.ClusterIPs)
		if len(s.obj.ClusterIPs) == 0 && a.sel.numMatching(s.obj.Ports) > 0 {
			a.found(nothing, false) // not yet given an address
			return
		}
	}
	if a.total == 0 {
		a.Outcome = NameError
		return
	}
	switch a.qtype {
	case dnswire.TypeA, dnswire.TypeAAAA:
		a.found(hasAddrs, true)
	case dnswire.TypeSRV:
		a.found(hasSRV, true)
	default:
		a.found(nothing, false)
		return
	}
	if a.empty() {
		a.Outcome = NoData
	}
}

func (a *Answer) resolveExternalName() {
	if !a.sel.all() || a.svc.target == nil {
		a.Outcome = NameError
		return
	}
	switch a.qtype {
	case dnswire.TypeA, dnswire.TypeAAAA:
		a.Outcome = Chase
	default:
		a.found(hasCNAME, a.qtype == dnswire.TypeCNAME)
	}
}

// podAddr returns the address that a pod's label spells. Labels with colons, as
// nobody writes them, CoreDNS takes as well.
func podAddr(label []byte) (netip.Addr, bool) {
	if bytes.IndexByte(label, ':') < 0 {
		return parseDashed(label)
	}
	if bytes.IndexByte(label, '.') >= 0 || bytes.IndexByte(label, '%') >= 0 {
		return netip.Addr{}, false
	}
	text := bytes.ReplaceAll(label, []byte("-"), []byte(":"))
	if bytes.Count(label, []byte("-")) == 3 && !bytes.Contains(label, []byte("--")) {
		text = bytes.ReplaceAll(label, []byte("-"), []byte("."))
	}
	addr, err := netip.ParseAddr(string(text))
	return addr.Unmap(), err == nil
}

// resolvePod answers <dashed-ip>.<namespace>.pod. Labels further left are
// ignored, as CoreDNS does.
func (a *Answer) resolvePod(p *parts) {
	a.label = p.first
	a.total = 1
	switch a.view.opt.Pods {
	case PodsDisabled:
		a.Outcome = NameError
		return
	case PodsVerified:
		if !a.ready(Pods) {
			return
		}
		a.total = 0
		for _, pod := range a.snap.podsAt(a.addr) {
			if pod.Namespace == string(p.namespace[1:]) && isCanonical(p.first, a.addr) {
				a.total++
			}
		}
	}
	if !a.addr.IsValid() || a.total == 0 {
		a.Outcome = NameError
		return
	}
	a.found(hasPod, a.qtype == dnswire.TypeSRV || a.qtype == typeOf(a.addr))
}

// isCanonical reports whether label spells addr as the API server would, with
// dashes: a verified pod is found by that text alone.
func isCanonical(label []byte, addr netip.Addr) bool {
	var b [48]byte
	return dnswire.EqualFold(appendDashes(b[:0], addr), label)
}

// resolvePTR answers for the name of an address. A ClusterIP wins over
// endpoints.
func (a *Answer) resolvePTR(addr netip.Addr) {
	if !a.ready(Services) {
		return
	}
	a.addr = addr
	for _, id := range a.snap.ownersOf(addr) {
		if s := a.owned(id); s != nil && s.hasClusterIP(addr) {
			a.svc = s
			a.found(hasPTR, a.qtype == dnswire.TypePTR)
			return
		}
	}
	if !a.view.opt.NoEndpoints {
		if !a.ready(EndpointSlices) {
			return
		}
		for _, id := range a.snap.ownersOf(addr) {
			if s := a.owned(id); s != nil && s.hasEndpoint(addr) {
				a.found(hasPTR, a.qtype == dnswire.TypePTR)
				return
			}
		}
	}
	a.Outcome = NameError
}

// localRecord is an address of a name server: of the service id, of its
// endpoint of that label, or without a service of ns.dns, as in external zones
// of ns1. Those of an Answer are sorted, by name for NS records and by address
// for addresses.
type localRecord struct {
	label string
	id    *ident
	addr  netip.Addr
}

// resolveLocal answers with the services that this server is an endpoint of,
// or, if there are none, with its own addresses.
func (a *Answer) resolveLocal(has content) {
	a.plain = false // it depends on every service with an endpoint here
	if !a.ready(Services) {
		return
	}
	if !a.view.opt.NoEndpoints && !a.ready(EndpointSlices) {
		return
	}
	known := false
	for _, addr := range a.view.local {
		if a.view.opt.NoEndpoints {
			break
		}
		for _, id := range a.snap.ownersOf(addr) {
			s := a.owned(id)
			if s == nil || !s.hasEndpoint(addr) {
				continue
			}
			known = true
			if s.obj != nil && (s.obj.Kind != ExternalName || a.view.opt.External != nil) {
				a.addLocal(s)
			}
		}
	}
	if !known {
		for _, addr := range a.view.local {
			a.local = append(a.local, localRecord{addr: addr})
		}
	}
	byName := func(l, o localRecord) int {
		if l.id == nil || o.id == nil { // then both are: the addresses are of ns.dns
			return 0
		}
		return cmp.Or(cmp.Compare(l.id.Namespace, o.id.Namespace), cmp.Compare(l.id.Name, o.id.Name), cmp.Compare(l.label, o.label))
	}
	slices.SortFunc(a.local, func(l, o localRecord) int {
		if has == hasNS {
			return cmp.Or(byName(l, o), l.addr.Compare(o.addr))
		}
		return cmp.Or(l.addr.Compare(o.addr), byName(l, o))
	})
	a.local = slices.Compact(a.local)
	any := has == hasNS && (len(a.local) > 0 || a.view.opt.External != nil)
	for _, l := range a.local {
		any = any || a.qtype == typeOf(l.addr)
	}
	a.found(has, any)
}

func (a *Answer) addLocal(s *service) {
	x := a.view.opt.External
	if x != nil && !(x.Headless && s.obj.Kind == Headless) {
		for addr := range s.obj.External.addrs {
			a.local = append(a.local, localRecord{addr: addr})
		}
		return
	}
	if s.obj.Kind == ClusterIP {
		for _, addr := range s.obj.ClusterIPs {
			a.local = append(a.local, localRecord{id: s.id, addr: addr})
		}
		return
	}
	for r := range s.endpoints {
		addr, _ := netip.AddrFromSlice(s.addrAt(r))
		l := localRecord{addr: addr}
		if x == nil {
			l.label, l.id = string(s.appendName(nil, r)), s.id
		}
		a.local = append(a.local, l)
	}
}
