package zone

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Claim is what the index keeps of an object that gives names outside of the
// cluster's zones to something: an Ingress, a Gateway, a route of the Gateway
// API, a DNSEndpoint, or a Service that says so in annotations.
type Claim struct {
	Key
	Of      Resource
	Version uint64
	Created int64      // metadata.creationTimestamp, in Unix seconds
	Class   string     // of an Ingress or a Gateway
	Names   []HostName // see SetNames
	To      *External  // what a Gateway's routes lead to
	// Parents are the Gateways that have accepted a route: those of its names
	// that a listener takes have their addresses.
	Parents   []Parent
	Listeners []Listener // of a Gateway
	// Hidden is that of a Service that no gateway's zone is to show.
	Hidden bool
	// Refused is a host name that was left out because it is none, if any was.
	Refused string
}

// Parent is a Gateway that a route is attached to, or one of its listeners.
type Parent struct {
	Key
	Section string // the listener's name; empty for any
	Port    int32  // the listener's; 0 for any
}

// Listener says which routes, with which names, a listener of a Gateway takes,
// as far as that is not said by the route's having been accepted: one accepted
// for one of its names, or by one listener, is not for the others.
type Listener struct {
	Name string
	Port int32
	Same bool     // only routes of the Gateway's own namespace
	Host HostName // the zero value is any
}

// takes reports whether l, of the Gateway g, takes the name asked for of a route
// whose parent p is.
func (l *Listener) takes(p *Parent, g, route *Claim, asked []byte) bool {
	switch {
	case p.Section != "" && p.Section != l.Name, p.Port != 0 && p.Port != l.Port, l.Same && route.Namespace != g.Namespace:
		return false
	case len(l.Host.name) == 0 || bytes.Equal(l.Host.name, asked):
		return true
	case l.Host.name[1] != '*':
		return false
	}
	for at := 1 + int(asked[0]); at < len(asked); at += 1 + int(asked[at]) {
		if bytes.Equal(asked[at:], l.Host.name[2:]) {
			return true
		}
	}
	return false
}

func (l Listener) equal(o Listener) bool {
	return l.Name == o.Name && l.Port == o.Port && l.Same == o.Same && l.Host.equal(o.Host)
}

// HostName is a name that a Claim has. A name may be a wildcard (RFC 4592).
type HostName struct {
	name  []byte // folded, in wire format without the root
	To    *External
	Texts []string // of TXT records, each of any length
	TTL   uint32   // 0: the view's
}

// maxHostLabels bounds the work, and the memory, of one name.
const maxHostLabels = 32

// NewHostName returns the host name that text spells, without anything that it
// leads to. It is false if text is none: host names have letters, digits,
// hyphens and underscores, and no more than 32 labels, of which the first may be
// an asterisk.
func NewHostName(text string) (HostName, bool) {
	labels := strings.TrimSuffix(text, ".")
	for i, c := range []byte(strings.TrimPrefix(labels, "*.")) {
		switch {
		case 'a' <= fold(c) && fold(c) <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.' && i > 0:
		default:
			return HostName{}, false
		}
	}
	wire, err := dnswire.AppendName(nil, labels)
	if err != nil || len(wire) == 1 || dnswire.CountLabels(wire) > maxHostLabels {
		return HostName{}, false
	}
	wire = dnswire.AppendLower(nil, wire)
	return HostName{name: wire[: len(wire)-1 : len(wire)-1]}, true
}

// String returns the name as zone files have it.
func (h HostName) String() string { return dnswire.NameString(append(slices.Clip(h.name), 0)) }

func (h HostName) equal(o HostName) bool {
	return bytes.Equal(h.name, o.name) && h.To.equal(o.To) && slices.Equal(h.Texts, o.Texts) && h.TTL == o.TTL
}

// ObjectKey returns the object's name.
func (c *Claim) ObjectKey() Key { return c.Key }

// Resource returns what the object is.
func (c *Claim) Resource() Resource { return c.Of }

func (c *Claim) version() uint64 { return c.Version }

func (c *Claim) sameRecords(other Object) bool { return c.equal(other.(*Claim)) }

func (c *Claim) equal(o *Claim) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.Created == o.Created && c.Class == o.Class && c.Hidden == o.Hidden && c.Refused == o.Refused && c.To.equal(o.To) &&
		slices.Equal(c.Parents, o.Parents) && slices.EqualFunc(c.Listeners, o.Listeners, Listener.equal) && slices.EqualFunc(c.Names, o.Names, HostName.equal)
}

// compare orders claims of one name by who was first. Of two of one second it is
// the one whose name is first.
func (c *Claim) compare(o *Claim) int {
	return cmp.Or(cmp.Compare(c.Created, o.Created), cmp.Compare(c.Of, o.Of),
		cmp.Compare(c.Namespace, o.Namespace), cmp.Compare(c.Name, o.Name))
}

// SetNames gives c the names in list, which it keeps and sorts. Of those that are
// the same name the first counts.
func (c *Claim) SetNames(list []HostName) {
	slices.SortStableFunc(list, func(a, b HostName) int { return bytes.Compare(a.name, b.name) })
	list = slices.CompactFunc(list, func(a, b HostName) bool { return bytes.Equal(a.name, b.name) })
	c.Names = slices.Clip(list)
}

// on returns what c says of a name, which it has.
func (c *Claim) on(name []byte) *HostName {
	i, _ := slices.BinarySearchFunc(c.Names, name, func(h HostName, name []byte) int { return bytes.Compare(h.name, name) })
	return &c.Names[i]
}

// leadsElsewhere reports whether two claims of a name say different things of it.
// A route and its Gateway do not.
func (c *Claim) leadsElsewhere(o *Claim, name []byte) bool {
	switch {
	case len(c.Parents) > 0 && o.Of == Gateways:
		return !c.hasParent(o.Key)
	case len(o.Parents) > 0 && c.Of == Gateways:
		return !o.hasParent(c.Key)
	}
	a, b := *c.on(name), *o.on(name)
	a.TTL, b.TTL = 0, 0
	return !slices.EqualFunc(c.Parents, o.Parents, func(a, b Parent) bool { return a.Key == b.Key }) || !a.equal(b)
}

func (c *Claim) hasParent(k Key) bool {
	return slices.ContainsFunc(c.Parents, func(p Parent) bool { return p.Key == k })
}

// claimSet is the claims of a name, the oldest first. Immutable once published.
type claimSet struct {
	name []byte
	list []*Claim
}

// maxClaims is how many of the claims of a name count, the oldest: what a
// question costs is not up to who claims a name that is taken.
const maxClaims = 64

func (s *claimSet) oldest() []*Claim { return s.list[:min(len(s.list), maxClaims)] }

// contested reports whether the claims do not agree on where the name leads.
func (s *claimSet) contested() bool {
	for _, c := range s.oldest()[1:] {
		if c.leadsElsewhere(s.list[0], s.name) {
			return true
		}
	}
	return false
}

func (s *snapshot) claimsOf(name []byte) *claimSet {
	for _, l := range s.claims.at(hashName(name)) {
		if bytes.Equal(l.value.name, name) {
			return l.value
		}
	}
	return nil
}

// kinds returns a bit for each Resource that has a claim in s; nil has none.
func (s *claimSet) kinds() (bits uint16) {
	if s == nil {
		return 0
	}
	for _, c := range s.list {
		bits |= 1 << c.Of
	}
	return bits
}

func (s *snapshot) below(hash uint64) (n uint32, ok bool) {
	for _, l := range s.parents.at(hash) {
		if l.hash == hash {
			return l.value, true
		}
	}
	return 0, false
}

// hashGateway returns the hash of a Gateway's key.
func hashGateway(k Key) uint64 { return hashName([]byte(k.Namespace + "/" + k.Name)) }

func (s *snapshot) gateway(k Key) *Claim {
	for _, l := range s.gateways.at(hashGateway(k)) {
		if l.value.Key == k {
			return l.value
		}
	}
	return nil
}

// hashNamespace returns the hash under which parents has the namespaces of
// services that are reached from outside. No name in wire format begins so.
func hashNamespace(name string) uint64 { return hashName(appendLabel([]byte{0}, name)) }

// setClaim notes that the claims of c's names are to have it, or not.
func (b *Batch) setClaim(c *Claim, there bool) {
	for _, h := range c.Names {
		if b.claims == nil {
			b.claims = map[string]map[*Claim]bool{}
		}
		if b.claims[string(h.name)] == nil {
			b.claims[string(h.name)] = map[*Claim]bool{}
		}
		b.claims[string(h.name)][c] = there
	}
	if c.Of == Gateways {
		hash, same := hashGateway(c.Key), func(o *Claim) bool { return o.Key == c.Key }
		if there {
			b.next.gateways.set(b.w.edit, hash, c, same)
		} else {
			b.next.gateways.remove(b.w.edit, hash, same)
		}
		b.touch(hash, c.Version)
	}
	if there && c.Refused != "" {
		b.w.ix.refusedHosts.Add(1)
		b.w.ix.lastRefusedHost.Store(&RefusedHost{c.Of, c.Key, c.Refused})
	}
}

// setOutside notes that a service is reached from outside, or no longer.
func (b *Batch) setOutside(s *Service, there bool) {
	if s.External != nil {
		b.count(hashNamespace(s.Namespace), there)
	}
	if s.Claim != nil {
		b.setClaim(s.Claim, there)
	}
}

// publishClaims brings the claims of a name up to date.
func (b *Batch) publishClaims(name []byte, change map[*Claim]bool) {
	old := b.next.claimsOf(name)
	var list, added []*Claim
	for c, there := range change {
		if there {
			added = append(added, c)
			b.version = max(b.version, c.Version)
		}
	}
	slices.SortFunc(added, (*Claim).compare)
	if old != nil {
		for _, c := range old.list {
			if _, ok := change[c]; ok {
				continue
			}
			for len(added) > 0 && added[0].compare(c) < 0 {
				list, added = append(list, added[0]), added[1:]
			}
			list = append(list, c)
		}
	}
	list = slices.Clip(append(list, added...))

	hash, same := hashName(name), func(o *claimSet) bool { return bytes.Equal(o.name, name) }
	b.changed = true
	b.touched = append(b.touched, hash)
	set := &claimSet{name, list}
	b.countParents(name, old.kinds(), set.kinds())
	if len(list) == 0 {
		b.next.claims.remove(b.w.edit, hash, same)
		b.next.contested.remove(b.w.edit, hash, same)
		return
	}
	b.next.claims.set(b.w.edit, hash, set, same)
	if set.contested() {
		b.next.contested.set(b.w.edit, hash, set, same)
	} else {
		b.next.contested.remove(b.w.edit, hash, same)
	}
}

// hashBelow returns the hash under which parents has how many names below this
// one objects of a kind claim. No name in wire format begins so.
func hashBelow(name []byte, of Resource) uint64 {
	var key [1 + maxName]byte
	return hashName(append(append(key[:0], 128+byte(of)), name...))
}

// countParents counts a name below each of those above it, or no longer, for the
// kinds of objects that claim it now and did not, or did.
func (b *Batch) countParents(name []byte, before, now uint16) {
	for of := range numResources {
		if bit := uint16(1) << of; (before^now)&bit != 0 {
			for at := 1 + int(name[0]); at < len(name); at += 1 + int(name[at]) {
				b.count(hashBelow(name[at:], of), now&bit != 0)
			}
		}
	}
}

// counted is a name more, or less, below the one whose hash it is.
type counted struct {
	hash  uint64
	delta int32
}

func (b *Batch) count(hash uint64, there bool) {
	delta := int32(-1)
	if there {
		delta = 1
	}
	b.counted = append(b.counted, counted{hash, delta})
}

// publishCounts brings the counts of names below others up to date: in the order
// of the trie, so that each of its nodes is come to once.
func (b *Batch) publishCounts() {
	slices.SortFunc(b.counted, func(x, y counted) int { return cmp.Compare(bits.Reverse64(x.hash), bits.Reverse64(y.hash)) })
	any := func(uint32) bool { return true } // hashes are 64 bits, and seeded
	for all := b.counted; len(all) > 0; {
		hash, delta := all[0].hash, int32(0)
		for len(all) > 0 && all[0].hash == hash {
			delta, all = delta+all[0].delta, all[1:]
		}
		before, _ := b.next.below(hash)
		switch now := int32(before) + delta; {
		case delta == 0:
		case now > 0:
			b.next.parents.set(b.w.edit, hash, uint32(now), any)
		default:
			b.next.parents.remove(b.w.edit, hash, any)
		}
	}
}

// RefusedHost is a host name that is none, and the object that has it.
type RefusedHost struct {
	Of Resource
	Key
	Host string
}

// RefusedHosts returns how many objects came with a host name that is none, and
// the last such.
func (ix *Index) RefusedHosts() (n uint64, last RefusedHost) {
	if r := ix.lastRefusedHost.Load(); r != nil {
		last = *r
	}
	return ix.refusedHosts.Load(), last
}

// Contest is a host name that objects claim which do not agree on where it
// leads. The first of Claims, the oldest, has it if it leads anywhere.
type Contest struct {
	Host   string
	Claims []*Claim
}

// Contested returns how many names are contested, and some of them, at most
// limit, with at most 64 claims each.
func (ix *Index) Contested(limit int) (n int, some []Contest) {
	s := ix.current.Load()
	s.contested.all(func(l leaf[*claimSet]) bool {
		if len(some) == limit {
			return false
		}
		some = append(some, Contest{HostName{name: l.value.name}.String(), l.value.oldest()})
		return true
	})
	slices.SortFunc(some, func(a, b Contest) int { return cmp.Compare(a.Host, b.Host) })
	return s.contested.len, some
}
