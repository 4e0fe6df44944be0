package zone

// A trie that was empty is made of all its leaves at once: that copies no node on
// the way, which is most of what a start costs.

// indexOwners returns the trie of the services that addresses belong to, each
// given with the hash of an address. The order of leaves changes.
func indexOwners(e edit, leaves []leaf[*ident]) (t trie[*owners]) {
	if len(leaves) > 0 {
		t.root, t.len = ownersNode(e, 0, leaves, make([]leaf[*ident], len(leaves)))
	}
	return t
}

// ownersNode returns the node of leaves, of which there is one at least, and how
// many leaves it and those below it have. Spare is room for as many.
func ownersNode(e edit, shift int, leaves, spare []leaf[*ident]) (n *node[*owners], count int) {
	const slots = 1 << slotBits
	var from [slots + 1]int // where the leaves of a slot begin
	for i := range leaves {
		from[leaves[i].hash>>shift&slotMask+1]++
	}
	for slot := range slots {
		from[slot+1] += from[slot]
	}
	next := from
	for _, l := range leaves {
		slot := l.hash >> shift & slotMask
		spare[next[slot]] = l
		next[slot]++
	}
	n = &node[*owners]{edit: e}
	children := 0
	for slot := range slots {
		switch part := spare[from[slot]:from[slot+1]]; {
		case len(part) == 0:
		case oneHash(part):
			n.leafMap |= 1 << slot
			count++
		default:
			n.childMap |= 1 << slot
			children++
		}
	}
	if count > 0 {
		n.leaves = make([]leaf[*owners], 0, count)
	}
	if children > 0 {
		n.children = make([]*node[*owners], 0, children)
	}
	for slot := range slots {
		part := spare[from[slot]:from[slot+1]]
		switch bit := uint32(1) << slot; {
		case n.leafMap&bit != 0:
			var all *owners
			for i := range part {
				all = owned(all, e, part[i].value, true)
			}
			n.leaves = append(n.leaves, leaf[*owners]{part[0].hash, all})
		case n.childMap&bit != 0:
			c, below := ownersNode(e, shift+slotBits, part, leaves[from[slot]:from[slot+1]])
			n.children = append(n.children, c)
			count += below
		}
	}
	return n, count
}

// oneHash reports whether all leaves have the same hash.
func oneHash(leaves []leaf[*ident]) bool {
	for i := range leaves {
		if leaves[i].hash != leaves[0].hash {
			return false
		}
	}
	return true
}
