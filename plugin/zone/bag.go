package zone

import (
	"hash/maphash"
	"net/netip"
	"slices"
)

// bag is a set of what an address has: services, or pods. Nearly always that is
// one or two of them, and a list takes the least memory. Whoever writes objects
// may give an address any number: of many a bag makes a trie, so that taking one
// out costs no look at all of them. Nil is empty; immutable once published.
type bag[V bagged] struct {
	few  []V      // in no order; nil if there are many
	many *trie[V] // nil if there are few
	edit edit     // the batch that made it; it changes it in place
}

// bagged is what can be in a bag.
type bagged interface {
	comparable
	// sum returns a hash made with seed.
	sum() uint64
}

// maxFew is up to how many are a list. Half as many become one again.
const maxFew = 32

func (b *bag[V]) len() int {
	switch {
	case b == nil:
		return 0
	case b.many != nil:
		return b.many.len
	}
	return len(b.few)
}

// all yields what is in b.
func (b *bag[V]) all(yield func(V) bool) {
	if b == nil {
		return
	}
	for _, v := range b.few {
		if !yield(v) {
			return
		}
	}
	if b.many != nil {
		b.many.all(func(l leaf[V]) bool { return yield(l.value) })
	}
}

// with returns b with v, which is not in it.
func (b *bag[V]) with(e edit, v V) *bag[V] {
	b = b.own(e)
	if b.many == nil && len(b.few) < maxFew {
		b.few = append(b.few, v)
		return b
	}
	if b.many == nil {
		b.many = new(trie[V])
		for _, o := range b.few {
			b.many.set(e, o.sum(), o, func(V) bool { return false })
		}
		b.few = nil
	}
	b.many.set(e, v.sum(), v, func(o V) bool { return o == v })
	return b
}

// without returns b without v.
func (b *bag[V]) without(e edit, v V) *bag[V] {
	b = b.own(e)
	if b.many == nil {
		if i := slices.Index(b.few, v); i >= 0 {
			b.few = slices.Delete(b.few, i, i+1)
		}
		return b
	}
	b.many.remove(e, v.sum(), func(o V) bool { return o == v })
	if b.many.len <= maxFew/2 {
		for l := range b.many.all {
			b.few = append(b.few, l.value)
		}
		b.many = nil
	}
	return b
}

// own returns b if this batch made it, and otherwise a copy that it may change.
func (b *bag[V]) own(e edit) *bag[V] {
	if b == nil {
		return &bag[V]{edit: e}
	}
	if b.edit == e {
		return b
	}
	c := &bag[V]{edit: e}
	if b.many != nil {
		many := *b.many
		c.many = &many
	} else {
		c.few = append(make([]V, 0, len(b.few)+1), b.few...)
	}
	return c
}

// owners are the services that an address belongs to.
type owners = bag[*ident]

func (id *ident) sum() uint64 { return id.hash }

// owned returns o with id among its services, or without, as is says.
func owned(o *owners, e edit, id *ident, is bool) *owners {
	switch {
	case o == nil || o == &id.solo:
		if is {
			return &id.solo
		}
		return nil
	case is:
		return o.with(e, id)
	}
	if o = o.without(e, id); o.len() == 1 {
		return &o.few[0].solo
	}
	return o
}

func (p *Pod) sum() uint64 { return maphash.Comparable(seed, p.Key) }

// podSet is the pods with one address.
type podSet struct {
	addr netip.Addr
	bag[*Pod]
}
