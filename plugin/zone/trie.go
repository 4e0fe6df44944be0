package zone

import (
	"math/bits"
	"sync/atomic"
)

// trie is a persistent hash trie (a HAMT): an immutable map from 64-bit hashes
// to values, of which any version can be read without locks while the next is
// being made. A write copies the path from the root to the changed node, at
// most one node per 5 bits of hash, and shares the rest.
//
//  1. A node is indexed by 5 bits of the hash. Bits in its two bitmaps say
//     which of the 32 slots hold a leaf and which a child.
//  2. A slot with two hashes becomes a child that tells them apart by the
//     next 5 bits.
//  3. Below the last bits of the hash nothing tells them apart: there a node
//     has no bitmaps and keeps equal hashes as a list.
//
// The trie does not know keys. A value carries its own, and the caller picks
// among the leaves of one hash, nearly always a single one. The zero trie is
// empty.
type trie[V any] struct {
	root *node[V]
	len  int
}

type leaf[V any] struct {
	hash  uint64
	value V
}

type node[V any] struct {
	leafMap, childMap uint32
	edit              edit
	leaves            []leaf[V]  // in the order of their slots
	children          []*node[V] // likewise
}

// edit marks the nodes made since a batch of writes began. Such a node is not
// yet visible to readers and is changed in place. Zero marks none. No two Writers
// of a process use the same, since a View may go from one index to another, and
// what it remembers of a snapshot goes by that.
type edit uint64

// edits is the last one used.
var edits atomic.Uint64

const (
	slotBits = 5
	slotMask = 1<<slotBits - 1
	maxShift = 65 // first multiple of slotBits past the hash's 64 bits
)

// at returns the leaves whose hash may be hash. The caller compares keys.
func (t trie[V]) at(hash uint64) []leaf[V] {
	n := t.root
	for shift := 0; n != nil; shift += slotBits {
		if shift >= maxShift {
			return n.leaves
		}
		bit := uint32(1) << (hash >> shift & slotMask)
		switch {
		case n.leafMap&bit != 0:
			i := bits.OnesCount32(n.leafMap & (bit - 1))
			return n.leaves[i : i+1]
		case n.childMap&bit == 0:
			return nil
		}
		n = n.children[bits.OnesCount32(n.childMap&(bit-1))]
	}
	return nil
}

// all calls yield for every leaf, in no order that means anything.
func (t trie[V]) all(yield func(leaf[V]) bool) { t.root.all(yield) }

func (n *node[V]) all(yield func(leaf[V]) bool) bool {
	if n == nil {
		return true
	}
	for _, l := range n.leaves {
		if !yield(l) {
			return false
		}
	}
	for _, c := range n.children {
		if !c.all(yield) {
			return false
		}
	}
	return true
}

// set puts v at hash, in the place of the value for which same holds if there
// is one.
func (t *trie[V]) set(e edit, hash uint64, v V, same func(V) bool) {
	if t.root == nil {
		t.root = &node[V]{edit: e}
	}
	var added bool
	t.root, added = t.root.set(e, 0, leaf[V]{hash, v}, same)
	if added {
		t.len++
	}
}

func (n *node[V]) set(e edit, shift int, l leaf[V], same func(V) bool) (*node[V], bool) {
	n = n.own(e)
	if shift >= maxShift {
		for i := range n.leaves {
			if same(n.leaves[i].value) {
				n.leaves[i] = l
				return n, false
			}
		}
		n.leaves = insertAt(n.leaves, len(n.leaves), l)
		return n, true
	}
	bit := uint32(1) << (l.hash >> shift & slotMask)
	li := bits.OnesCount32(n.leafMap & (bit - 1))
	ci := bits.OnesCount32(n.childMap & (bit - 1))
	switch {
	case n.childMap&bit != 0:
		c, added := n.children[ci].set(e, shift+slotBits, l, same)
		n.children[ci] = c
		return n, added
	case n.leafMap&bit == 0:
		n.leafMap |= bit
		n.leaves = insertAt(n.leaves, li, l)
		return n, true
	}
	old := n.leaves[li]
	if old.hash == l.hash && same(old.value) {
		n.leaves[li] = l
		return n, false
	}
	c := &node[V]{edit: e}
	never := func(V) bool { return false }
	c, _ = c.set(e, shift+slotBits, old, never)
	c, _ = c.set(e, shift+slotBits, l, never)
	n.leafMap &^= bit
	n.leaves = removeAt(n.leaves, li)
	n.childMap |= bit
	n.children = insertAt(n.children, ci, c)
	return n, true
}

// remove takes the value at hash for which same holds out, if there is one.
func (t *trie[V]) remove(e edit, hash uint64, same func(V) bool) {
	var removed bool
	t.root, removed = t.root.remove(e, 0, hash, same)
	if removed {
		t.len--
	}
}

func (n *node[V]) remove(e edit, shift int, hash uint64, same func(V) bool) (*node[V], bool) {
	if n == nil {
		return nil, false
	}
	if shift >= maxShift {
		for i := range n.leaves {
			if same(n.leaves[i].value) {
				n = n.own(e)
				n.leaves = removeAt(n.leaves, i)
				return n.orNil(), true
			}
		}
		return n, false
	}
	bit := uint32(1) << (hash >> shift & slotMask)
	if n.leafMap&bit != 0 {
		i := bits.OnesCount32(n.leafMap & (bit - 1))
		if n.leaves[i].hash != hash || !same(n.leaves[i].value) {
			return n, false
		}
		n = n.own(e)
		n.leafMap &^= bit
		n.leaves = removeAt(n.leaves, i)
		return n.orNil(), true
	}
	if n.childMap&bit == 0 {
		return n, false
	}
	i := bits.OnesCount32(n.childMap & (bit - 1))
	c, removed := n.children[i].remove(e, shift+slotBits, hash, same)
	if !removed {
		return n, false
	}
	n = n.own(e)
	switch {
	case c == nil:
		n.childMap &^= bit
		n.children = removeAt(n.children, i)
	case len(c.children) == 0 && len(c.leaves) == 1: // pull a lone leaf up
		n.childMap &^= bit
		n.children = removeAt(n.children, i)
		n.leafMap |= bit
		n.leaves = insertAt(n.leaves, bits.OnesCount32(n.leafMap&(bit-1)), c.leaves[0])
	default:
		n.children[i] = c
	}
	return n.orNil(), true
}

// own returns n if this batch made it, and otherwise a copy that it may change.
func (n *node[V]) own(e edit) *node[V] {
	if e != 0 && n.edit == e {
		return n
	}
	c := &node[V]{leafMap: n.leafMap, childMap: n.childMap, edit: e}
	c.leaves = append(c.leaves, n.leaves...)
	c.children = append(c.children, n.children...)
	return c
}

func (n *node[V]) orNil() *node[V] {
	if len(n.leaves) == 0 && len(n.children) == 0 {
		return nil
	}
	return n
}

// insertAt and removeAt return exactly sized copies: a node's slices live long
// and room to grow would be most of their size.
func insertAt[T any](s []T, i int, v T) []T {
	out := make([]T, len(s)+1)
	copy(out, s[:i])
	out[i] = v
	copy(out[i+1:], s[i:])
	return out
}

func removeAt[T any](s []T, i int) []T {
	if len(s) == 1 {
		return nil
	}
	out := make([]T, len(s)-1)
	copy(out, s[:i])
	copy(out[i:], s[i+1:])
	return out
}
