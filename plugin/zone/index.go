// Package zone holds a cluster's names and answers questions about them.
//
// Vocabulary, smallest to largest:
//
//	Object    what Kubernetes says: a Namespace, Service, EndpointSlice, Pod,
//	          ServiceImport, or a Claim to host names outside of the cluster's
//	service   a Service, or an import, joined with its EndpointSlices and compiled
//	          for answering
//	snapshot  all services and what else is known at one moment; immutable
//	Index     the published snapshot
//	Writer    makes the next snapshot from changed objects and publishes it
//	View      an Index seen through one Corefile stanza: its zones and options
//	Answer    what a View says to one question; a value that is walked record
//	          by record to become a *dns.Msg, wire format or a zone transfer
//
// The package knows nothing of Kubernetes' types, nor of CoreDNS. Names are in
// wire format (RFC 1035 §3.1) without compression.
package zone

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Index is what a Writer publishes. Readers take no lock:
//
//  1. A reader loads the snapshot, one atomic load, and has names, reverse
//     entries, serial and synced resources as they stood together.
//  2. The Writer, holding the index's lock, copies what it changes, stores the new
//     snapshot, and then moves the generations of the names it touched. Followers
//     are told before and after that.
//  3. Whatever was derived from a snapshot (a cached negative answer) is good
//     as long as the generations that it read before the snapshot stand.
type Index struct {
	current     atomic.Pointer[snapshot]
	generations [1 << generationBits]atomic.Uint64

	writing   sync.Mutex // while a snapshot is made and published, and followers are told
	followers followers  // with writing locked

	leftOut     atomic.Uint64
	refused     atomic.Uint64
	lastRefused atomic.Pointer[RefusedName]

	refusedHosts    atomic.Uint64
	lastRefusedHost atomic.Pointer[RefusedHost]
}

// RefusedName is a name of an endpoint that is no label of a domain name, and the
// EndpointSlice that has it.
type RefusedName struct {
	Slice Key
	Name  string
}

// generationBits sets how many names share a generation: the more names, the
// more cached negatives one change drops. 8 KB of counters keep an unrelated
// change from dropping more than one in a thousand.
const generationBits = 10

// snapshot is immutable once published.
type snapshot struct {
	namespaces trie[*Namespace]
	services   trie[*service]
	imports    trie[*service]  // of ServiceImports
	clusterIPs trie[*owners]   // by address: whose ClusterIP it is
	reverse    trie[*owners]   // by address: whose endpoint or external address it is
	pods       trie[*podSet]   // by address
	claims     trie[*claimSet] // by host name
	contested  trie[*claimSet] // those of claims that do not agree
	parents    trie[uint32]    // how many names are claimed below one, by its hash
	gateways   trie[*Claim]    // by key
	edit       edit            // the batch that it was published by
	serial     uint32
	synced     uint16 // bit r: Resource r
	restored   uint16 // those that have not been replaced since they were restored
	silent     uint16 // those whose feeds are silent
	warm       bool   // something was restored
	objects    [numResources]int
}

func newIndex() *Index {
	ix := new(Index)
	ix.current.Store(new(snapshot))
	// No two indexes have a generation in common: what was cached of one does
	// not hold in another that a View shows later.
	first := indexes.Add(1) << 40
	for i := range ix.generations {
		ix.generations[i].Store(first)
	}
	return ix
}

var indexes atomic.Uint64 // made so far

// Serial returns the serial of the SOA records of zones in the index. It moves
// forward (RFC 1982) with every change that a zone transfer would show.
func (ix *Index) Serial() uint32 { return ix.current.Load().serial }

// Synced reports whether every one of rs has been replaced whole at least once.
func (ix *Index) Synced(rs ...Resource) bool {
	s := ix.current.Load()
	for _, r := range rs {
		if !s.has(r) {
			return false
		}
	}
	return true
}

// Objects returns how many objects of r the index holds.
func (ix *Index) Objects(r Resource) int { return ix.current.Load().objects[r] }

// LeftOut returns how many records were left out of answers because a name in
// them would have more than 255 octets (RFC 1035 §2.3.4).
func (ix *Index) LeftOut() uint64 { return ix.leftOut.Load() }

// RefusedNames returns how many EndpointSlices came with a name of an endpoint
// that is no label of a domain name, and the last such name. The endpoints are
// answered under their dashed addresses.
func (ix *Index) RefusedNames() (n uint64, last RefusedName) {
	if r := ix.lastRefused.Load(); r != nil {
		last = *r
	}
	return ix.refused.Load(), last
}

// ServiceKind returns the kind of the service k, if it is known.
func (ix *Index) ServiceKind(k Key) (Kind, bool) {
	wire, ok := serviceName(k)
	if !ok {
		return 0, false
	}
	labels := wire[:len(wire)-len(svcLabel)]
	s := serviceOf(&ix.current.Load().services, labels, hashName(labels))
	if s == nil || s.obj == nil {
		return 0, false
	}
	return s.obj.Kind, true
}

// PodAt returns a pod with the address, if the index follows pods and there is
// one. Should several share the address, as pods of the host network do, it is
// any of them.
func (ix *Index) PodAt(addr netip.Addr) *Pod {
	for p := range ix.current.Load().podsAt(addr.Unmap()).all {
		return p
	}
	return nil
}

// seed makes hashes differ from process to process, so that nobody can choose
// names or addresses that collide.
var seed = maphash.MakeSeed()

func hashName(folded []byte) uint64 { return maphash.Bytes(seed, folded) }

func hashAddr(a netip.Addr) uint64 {
	b := a.As16()
	return maphash.Bytes(seed, b[:])
}

// has reports whether r has synced.
func (s *snapshot) has(r Resource) bool { return s.synced>>r&1 != 0 }

// namespace returns the namespace whose folded wire-format label, and its hash,
// are given.
func (s *snapshot) namespace(label []byte, hash uint64) *Namespace {
	for _, l := range s.namespaces.at(hash) {
		if l.hash == hash && string(label[1:]) == l.value.Name {
			return l.value
		}
	}
	return nil
}

// serviceOf returns the service of a trie whose folded labels, its own and its
// namespace's, are given in wire format, and their hash.
func serviceOf(t *trie[*service], labels []byte, hash uint64) *service {
	for _, l := range t.at(hash) {
		if l.hash == hash && string(labels) == string(l.value.id.labels()) { // most that do not exist end at the hash
			return l.value
		}
	}
	return nil
}

func (s *snapshot) serviceByID(id *ident) *service {
	for _, l := range s.services.at(id.hash) {
		if l.value.id == id {
			return l.value
		}
	}
	return nil
}

// ownersOf returns the services that may have addr as an endpoint or external
// address. The caller looks the address up in each, which also tells apart
// addresses of equal hash.
func (s *snapshot) ownersOf(addr netip.Addr) *owners { return ownersAt(&s.reverse, hashAddr(addr)) }

// ownersAt returns the owners of the addresses with that hash, nil if none.
func ownersAt(t *trie[*owners], hash uint64) *owners {
	for _, l := range t.at(hash) {
		if l.hash == hash {
			return l.value
		}
	}
	return nil
}

// podsAt returns the pods with that address, nil if there are none.
func (s *snapshot) podsAt(addr netip.Addr) *bag[*Pod] {
	for _, l := range s.pods.at(hashAddr(addr)) {
		if l.value.addr == addr {
			return &l.value.bag
		}
	}
	return nil
}

// ident is a service's identity, stable while the service or slices of it are
// known.
type ident struct {
	Key
	wire []byte // folded labels of "<service>.<namespace>.svc", without the root
	hash uint64 // of labels()
	solo owners // just this service: the owners of nearly every address
	// imported says that it is a ServiceImport: the names of its endpoints have
	// the cluster's label in between.
	imported bool
}

const (
	svcLabel = "\x03svc"
	podLabel = "\x03pod"
)

// labels returns the service's and the namespace's label.
func (id *ident) labels() []byte { return id.wire[:len(id.wire)-len(svcLabel)] }

func newIdent(k Key) (*ident, bool) {
	wire, ok := serviceName(k)
	if !ok {
		return nil, false
	}
	id := &ident{Key: k, wire: wire}
	id.hash = hashName(id.labels())
	id.solo.few = []*ident{id}
	return id, true
}

// serviceName returns the folded labels of <name>.<namespace>.svc. It is false
// for names that are no labels, which the API server never accepts.
func serviceName(k Key) ([]byte, bool) {
	if !isLabel(k.Name) || !isLabel(k.Namespace) {
		return nil, false
	}
	b := make([]byte, 0, len(k.Name)+len(k.Namespace)+2+len(svcLabel))
	b = appendLabel(b, k.Name)
	b = appendLabel(b, k.Namespace)
	return append(b, svcLabel...), true
}

// labels returns the labels of the service id below v's origins.
func (v *View) labels(id *ident) []byte {
	if v.opt.External != nil {
		return id.labels()
	}
	return id.wire
}

func isLabel(s string) bool { return len(s) > 0 && len(s) <= 63 }

func appendLabel(dst []byte, s string) []byte {
	dst = append(dst, byte(len(s)))
	for i := range len(s) {
		dst = append(dst, fold(s[i]))
	}
	return dst
}

// fold lowers an ASCII letter (RFC 4343). Applied to a whole name in wire format
// it leaves length octets alone: they are at most 63, below 'A'.
func fold(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
