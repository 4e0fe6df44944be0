package zone

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Change is what the publication of a snapshot changes of a cluster's services,
// as far as it can be told by their names and ClusterIPs. A list may have what
// did not change, and may have it twice.
type Change struct {
	// All says that everything may change, and that the lists are not to be read.
	All bool
	// Stale says that answers begin or cease to be stale, all of them.
	Stale bool
	// Services are folded labels in wire format, "<service>.<namespace>", whose
	// answers or existence change, and Namespaces likewise "<namespace>".
	Services, Namespaces [][]byte
	// Addrs are ClusterIPs that services get or lose.
	Addrs []netip.Addr
}

// maxChange is how many names a Change has at most. Of more, All is true: who
// keeps a copy of a whole cluster makes it anew sooner than it corrects it, and
// nothing is published meanwhile.
const maxChange = 512

// Follower is told of every snapshot: Before what it changes is visible, and
// After it is. The index's Writer waits for both, so neither may write to the
// index nor stop following. What a Follower knows must hold before and after
// between the two: it forgets in Before what the change has, and looks it up again
// in After.
type Follower interface {
	Before(*Change)
	After(*Change)
}

// followers are those of a View, or of an Index.
type followers []*following

// following has an identity, which a Follower may not have.
type following struct{ Follower }

func (all followers) without(one *following) followers {
	return slices.DeleteFunc(all, func(f *following) bool { return f == one })
}

// viewFollowers are a View's, while it shows one index and then another.
type viewFollowers struct {
	sync.Mutex
	list followers
}

// Follow has f told of what changes v's answers, from the next snapshot on. When
// v is made to show another index, all changes. When stop has returned, nobody
// tells f anything any more.
func (v *View) Follow(f Follower) (stop func()) {
	one := &following{f}
	v.following.Lock()
	defer v.following.Unlock()
	v.following.list = append(v.following.list, one)
	ix := v.Index()
	ix.writing.Lock()
	defer ix.writing.Unlock()
	ix.followers = append(ix.followers, one)
	return func() {
		v.following.Lock()
		defer v.following.Unlock()
		v.following.list = v.following.list.without(one)
		ix := v.Index()
		ix.writing.Lock()
		defer ix.writing.Unlock()
		ix.followers = ix.followers.without(one)
	}
}

// Show makes v show ix from the next lookup on. Answers that were looked up
// before stay those of the index before.
func (v *View) Show(ix *Index) {
	v.following.Lock()
	defer v.following.Unlock()
	if len(v.following.list) == 0 {
		v.ix.Store(ix)
		return
	}
	all := &Change{All: true}
	v.leave(ix, all)
	ix.writing.Lock()
	defer ix.writing.Unlock()
	ix.followers = append(ix.followers, v.following.list...)
	for _, f := range v.following.list {
		f.After(all)
	}
}

// leave has v's followers follow the index that it shows no longer, and v show ix.
func (v *View) leave(ix *Index, all *Change) {
	old := v.Index()
	old.writing.Lock()
	defer old.writing.Unlock()
	for _, f := range v.following.list {
		f.Before(all)
		old.followers = old.followers.without(f)
	}
	v.ix.Store(ix)
}

// Walk calls yield with all that v's index has, some hundred names at a time,
// until it returns false. The Writer waits during each call and publishes between
// two, so that who follows v has everything at the end.
func (v *View) Walk(yield func(*Change) bool) {
	const names = 256
	ix := v.Index()
	s := ix.current.Load()
	c, ok := new(Change), true
	tell := func() {
		ix.writing.Lock()
		defer ix.writing.Unlock()
		ok = yield(c)
		c = new(Change)
	}
	for l := range s.namespaces.all {
		if c.Namespaces = append(c.Namespaces, appendLabel(nil, l.value.Name)); len(c.Namespaces) == names {
			if tell(); !ok {
				return
			}
		}
	}
	for l := range s.services.all {
		c.Services = append(c.Services, l.value.id.labels())
		c.Addrs = append(c.Addrs, l.value.clusterIPs()...)
		if len(c.Services)+len(c.Addrs) >= names {
			if tell(); !ok {
				return
			}
		}
	}
	tell()
}

// Exists reports whether v shows the namespace, or the service, with the folded
// labels "<namespace>" or "<service>.<namespace>" in wire format. That a service
// does not exist means that neither its name does nor any below it, whatever the
// namespace.
func (v *View) Exists(labels []byte) bool {
	s := v.Index().current.Load()
	hash := hashName(labels)
	if len(labels) == 1+int(labels[0]) {
		ns := s.namespace(labels, hash)
		return ns != nil && v.lists(ns.Name)
	}
	svc := serviceOf(&s.services, labels, hash)
	return svc != nil && svc.obj != nil && v.lists(svc.id.Namespace)
}

// Size returns how many names there are for Exists, at most, and how many
// ClusterIPs.
func (ix *Index) Size() (names, addrs int) {
	s := ix.current.Load()
	return s.namespaces.len + s.services.len, s.clusterIPs.len
}

// Rules are how a View answers in a zone, for who does so in its place.
type Rules struct {
	TTL      uint32
	Reverse  bool     // below in-addr.arpa or ip6.arpa
	Explains bool     // replies without records to queries with EDNS may say why
	Primary  []byte   // the zone that PTRs point into, in wire format and lower case
	Below    [][]byte // likewise, others of the view's zones that are below this one
}

// Rules returns how v answers in a zone, given in wire format and lower case. If
// names in it are not those of a cluster's services alone, or it is none of v's
// zones, why says so.
func (v *View) Rules(zone []byte) (r Rules, why string) {
	if v.opt.External != nil || v.opt.Gateway != nil {
		return r, "it is no cluster's zone"
	}
	r = Rules{TTL: v.opt.TTL, Reverse: isReverse(zone), Explains: v.opt.Explain > 0, Primary: v.primary}
	why = "it is part of another zone"
	for _, o := range v.origins {
		switch {
		case bytes.Equal(o.wire, zone) && o.multicluster:
			why = "it is a multi-cluster zone"
		case bytes.Equal(o.wire, zone):
			why = ""
		case dnswire.IsSubdomain(o.wire, zone):
			r.Below = append(r.Below, o.wire)
		}
	}
	switch {
	case why != "":
	case dnswire.IsSubdomain(inAddrArpa, zone) && !r.Reverse, dnswire.IsSubdomain(ip6Arpa, zone) && !r.Reverse:
		why = "reverse zones are below it"
	case r.Reverse && v.opt.SelectedNamespaces: // Follower is not told of these
		why = "addresses have other names when namespace_labels selects another namespace"
	}
	return r, why
}

var inAddrArpa, ip6Arpa = []byte("\x07in-addr\x04arpa\x00"), []byte("\x03ip6\x04arpa\x00")

// noteService notes that a service changed, for followers.
func (b *Batch) noteService(id *ident, old, new *service) {
	c := b.change
	if c == nil || c.All {
		return
	}
	c.Services = append(c.Services, id.labels())
	if from, to := old.clusterIPs(), new.clusterIPs(); old.kind() != new.kind() || !slices.Equal(from, to) {
		c.Addrs = append(append(c.Addrs, from...), to...)
	}
	c.limit()
}

// noteNamespace notes that the namespace with a folded label changed.
func (b *Batch) noteNamespace(label []byte) {
	if c := b.change; c != nil && !c.All {
		c.Namespaces = append(c.Namespaces, label)
		c.limit()
	}
}

func (c *Change) limit() {
	if len(c.Services)+len(c.Namespaces)+len(c.Addrs) > maxChange {
		*c = Change{All: true}
	}
}

// told returns who is to be told of b, of which next is what is published.
func (b *Batch) told(next *snapshot) followers {
	if b.change == nil {
		return nil
	}
	c, now := b.change, b.w.ix.current.Load()
	c.Stale = next.stale() != now.stale()
	switch {
	case next.synced != now.synced:
		*c = Change{All: true} // what was Unready is not any more, or now is
	case c.All, c.Stale, len(c.Services)+len(c.Namespaces)+len(c.Addrs) > 0, next.serial != now.serial:
	default:
		return nil // pods, and what explanations have
	}
	return b.w.ix.followers
}
