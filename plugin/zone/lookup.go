package zone

import (
	"bytes"
	"math/rand/v2"
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
	// Chase is a series of CNAMEs that leaves the zone: its records are those, and
	// Answer.Target is to be resolved elsewhere. In an external zone it is an
	// answer that refers to Answer.Hosts.
	Chase
)

// TextVersion is the version of the Kubernetes DNS specification that
// dns-version.<zone> announces.
const TextVersion = "1.1.0"

// Answer is what a View says to one question. It is filled in by View.Lookup,
// which reuses its memory; it refers to the question's name, which must stay
// as it is while the Answer is in use, and to a snapshot of the index, which is
// kept in memory until Release or the next Lookup. Not safe for concurrent use.
type Answer struct {
	Outcome Outcome
	Blocked Resource // what Unready waits for
	// Final says of a NameError that the name is below the name server's of an
	// external zone: no other plugin is to be asked for it, as CoreDNS has it.
	Final bool

	state

	// Memory for lookups and walks.
	q       query
	aliases []*service // ExternalName services passed, first to last
	picked  selection
	ports   portSet     // of a name
	numbers slicePorts  // of svc's slices
	byName  portsByName // in a zone transfer
	rec     Record
	scratch [64]byte      // the label of the record being walked
	below   [maxName]byte // the labels behind that one, if the service is imported
	packed  [16]byte      // its address
}

// state is what an Answer knows of one question.
type state struct {
	view     *View
	snap     *snapshot
	name     []byte // as asked
	originAt int    // where in name the origin begins
	qtype    uint16

	has       content
	svc       *service
	sel       selector
	label     []byte     // the pod's, as asked
	namespace *Namespace // the pod's
	addr      netip.Addr // the pod's, or the one that a PTR is asked for
	total     int        // what SRV weights are a share of
	most      int        // how many records of endpoints to give; 0 is all
	start     int        // if not all: the place in their order to begin at; none is chosen yet if negative
	port      uint32     // likewise, of a name's ports
	servers   *nameServers
	to        destination // in a gateway's zone

	deps  [2]uint64 // hashes whose generations a negative answer depends on
	stamp uint64    // the sum of their generations before the snapshot was read
	// stamped says that deps and stamp are all that the answer depends on.
	stamped bool

	leftOut  int  // records of which a name is too long
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
	hasHost             // what a name of a gateway's zone leads to
	hasExternal         // where svc is reached from outside, or of PTRs the services that are at addr
)

// Lookup answers a question of class IN for name, uncompressed in wire format,
// and qtype, any type but a zone transfer. It is false if name is in none of
// v's zones. It allocates nothing unless the answer is larger than the ones before, or
// about name servers and the index has changed.
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
	if a.Outcome == Chase && v.opt.External == nil && v.opt.Gateway == nil {
		a.chase(q, o)
	}
	return true
}

// begin makes a an answer to nothing but this question.
func (a *Answer) begin(v *View, name []byte, originAt int, qtype uint16) {
	a.Outcome, a.Blocked, a.Final = Success, 0, false
	a.state = state{view: v, name: name, originAt: originAt, qtype: qtype}
	a.aliases = a.aliases[:0]
}

// Release lets go of the snapshot and the question. Whoever keeps an Answer to
// use it again calls it when done with this one: what the index no longer has
// would stay in memory.
func (a *Answer) Release() {
	a.state = state{}
	a.rec.Packed, a.rec.Owner, a.rec.Target = nil, dnswire.Name{}, dnswire.Name{}
	a.q.name = nil
	clear(a.aliases[:cap(a.aliases)])
}

// Name returns the name that was asked for.
func (a *Answer) Name() []byte { return a.name }

// chase follows an ExternalName as far as the zone reaches. CNAMEs that are a
// loop, too many, or end at nothing in the zone answer NODATA, without any of
// them, as CoreDNS does.
func (a *Answer) chase(q *query, o *origin) {
	for {
		target := a.svc.target
		if len(a.aliases) > maxAliases || dnswire.IsSubdomain(target, q.name) || slices.ContainsFunc(a.aliases, func(s *service) bool {
			return bytes.Equal(s.target, target)
		}) {
			a.Outcome = NoData
			break
		}
		a.aliases = append(a.aliases, a.svc)
		q.parse(target)
		if !o.holds(q) {
			return // Outcome is Chase
		}
		if a.resolve(q, o); a.Outcome != Chase {
			break
		}
	}
	a.stamped = false
	if a.Outcome != Success && a.Outcome != Unready {
		a.Outcome = NoData
	}
	if a.Outcome != Success {
		a.aliases = a.aliases[:0]
	}
}

// maxAliases is how many CNAMEs may come before the last one; CoreDNS's limit.
const maxAliases = 10

// Target returns the name in wire format, spelled as the service has it, that
// an answer with the outcome Chase is to be continued at.
func (a *Answer) Target() []byte { return a.aliases[len(a.aliases)-1].target }

// resolve finds what q's name, at or below o, has of a.qtype.
func (a *Answer) resolve(q *query, o *origin) {
	switch {
	case a.view.opt.External != nil:
		a.resolveExternal(q, o)
		return
	case a.view.opt.Gateway != nil:
		a.resolveGateway(q, o)
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
	default:
		a.resolveBelow(q, o, &p)
	}
}

// resolveBelow is resolveService for what stands in front of the service's name
// too. Of that, some is the name of nothing, but others are below it, so that it
// exists (RFC 8020): the protocol of a port, as in _tcp.<service>, and what
// aboveEndpoints knows.
func (a *Answer) resolveBelow(q *query, o *origin, p *parts) {
	services := &a.snap.services
	if o.multicluster {
		services = &a.snap.imports
	}
	a.resolveService(p, services)
	if a.Outcome != NameError {
		return
	}
	if a.aboveEndpoints(q, o) {
		a.found(nothing, false)
		return
	}
	if p.sel.by != byEndpoint || len(p.sel.second) > 0 {
		return
	}
	p.sel = selectPorts(nil, p.sel.first)
	a.resolveService(p, services)
	if a.Outcome != NameError && a.Outcome != Unready {
		a.found(nothing, false)
	}
}

// aboveEndpoints reports whether q's name is one that names of a.svc's endpoints
// are below: _zone.<service>, pin._zone.<service> and prefer._zone.<service>, or,
// of a cluster that has endpoints, <cluster>.<service>.
func (a *Answer) aboveEndpoints(q *query, o *origin) bool {
	s := a.svc
	switch n := q.labels - o.labels; {
	case s == nil || s.obj == nil:
		return false
	case o.multicluster:
		return n == 4 && q.label(0)[0] != '_' && s.hasCluster(q.label(0))
	case !o.zonal || s.obj.Kind != Headless || a.view.opt.NoEndpoints:
		return false
	default:
		return n == 4 && q.is(0, "\x05_zone") || n == 5 && q.is(1, "\x05_zone") && (q.is(0, "\x03pin") || q.is(0, "\x06prefer"))
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
		a.stamped = false // the answer depends on that namespace as well
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
	if a.snap == nil { // and not behind a CNAME
		a.stamped = true
		ix := a.view.Index()
		a.stamp = ix.stamp(a.deps)
		a.snap = ix.current.Load()
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

// resolveService finds whether the service, and what the selector picks of it,
// exist, and then what of that is of the type asked for.
func (a *Answer) resolveService(p *parts, services *trie[*service]) {
	s := serviceOf(services, p.service, a.deps[1])
	a.svc, a.sel = s, p.sel
	if s == nil || s.obj == nil {
		a.Outcome = NameError
		return
	}
	if s.obj.Kind == ExternalName {
		a.resolveExternalName()
		return
	}
	ofEndpoints := !a.ofClusterIP()
	hidden := a.view.opt.NoEndpoints && !s.id.imported // its endpoints
	if (ofEndpoints || a.view.opt.IgnoreEmpty) && !hidden && !a.ready(EndpointSlices) {
		return
	}
	switch {
	case !a.serves(ofEndpoints, hidden):
		a.Outcome = NameError
	case a.count(ofEndpoints) > 0:
		a.resolveType()
	case p.sel.byZone(), !ofEndpoints && a.pending(): // zonal names exist whatever the zone is called
		a.found(nothing, false)
	default:
		a.Outcome = NameError
	}
}

// serves reports whether there can be what the selector asks for.
func (a *Answer) serves(ofEndpoints, hidden bool) bool {
	s := a.svc
	if ofEndpoints {
		return !hidden
	}
	switch {
	case a.sel.byZone(): // ClusterIPs are in no zone
		return false
	case a.view.opt.IgnoreEmpty && (hidden || s.n == 0):
		return false
	}
	return !s.id.imported || len(s.obj.Ports) > 0 // as CoreDNS has it
}

// count sets a.total, and returns it.
func (a *Answer) count(ofEndpoints bool) int {
	if !ofEndpoints {
		a.total = a.sel.numMatching(a.portsOf(a.svc.obj.Ports)) * len(a.svc.obj.ClusterIPs)
		return a.total
	}
	a.total = a.selectEndpoints()
	if a.total == 0 && a.sel.by == preferZone {
		a.sel = selector{}
		a.total = a.selectEndpoints()
	}
	return a.total
}

// pending reports whether the service has not yet been given an address.
func (a *Answer) pending() bool {
	return len(a.svc.obj.ClusterIPs) == 0 && a.sel.numMatching(a.svc.obj.Ports) > 0
}

// resolveType looks for records of the type asked for at a name that exists.
func (a *Answer) resolveType() {
	switch a.qtype {
	case dnswire.TypeA, dnswire.TypeAAAA:
		a.has = hasAddrs
	case dnswire.TypeSRV:
		a.has = hasSRV
	}
	a.found(a.has, a.has != nothing && !a.empty())
	if most := a.view.opt.MaxAnswers; most > 0 && most < a.total && a.has != nothing && !a.ofClusterIP() && !a.transfer {
		a.most, a.start, a.port = most, -1, rand.Uint32()
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
