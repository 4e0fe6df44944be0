package hitters

// Slots is how many keys a sketch holds.
const Slots = 256

// sketch finds the keys with the most weight in a stream, in fixed memory: the
// Space-Saving algorithm of Metwally, Agrawal and El Abbadi ("Efficient
// computation of frequent and top-k elements in data streams", 2005).
//
//  1. A key that is held has its counter raised.
//  2. One that is not takes a free slot, or the slot with the least count. That
//     count becomes its error: so much of what it has then may be others'.
//
// With n the weight of all, an error is at most n/Slots, a key with more than
// n/Slots is held, and of one that is not held there was no more than the least
// count. That is so whatever the stream is.
//
// A key is known by its hash, which nobody outside of the process can choose,
// and carries what it stands for. Slots are in a heap, so that one step costs a
// handful of comparisons, and in a hash table. The zero sketch is empty.
type sketch[K any] struct {
	n     int               // slots in use
	slots [Slots]slot       // in no order
	keys  [Slots]K          // what the slots are of
	heap  [Slots]uint16     // of slots, the one with the least count first
	table [tableSize]uint16 // of slots, each more by one; 0 is none
}

// tableSize keeps runs in the table short: one place in four is taken.
const tableSize = 4 * Slots

type slot struct {
	hash  uint64
	count uint64
	err   uint64 // count is at most so much too high
	at    uint16 // in the heap
}

// add counts weight for the key with the hash. It returns where the key is to be
// written, nil if it is there.
func (s *sketch[K]) add(hash, weight uint64) *K {
	place := s.find(hash)
	if i := s.table[place]; i != 0 {
		s.slots[i-1].count += weight
		s.sink(s.slots[i-1].at)
		return nil
	}
	if s.n < Slots {
		i := uint16(s.n)
		s.n++
		s.slots[i] = slot{hash: hash, count: weight, at: i}
		s.heap[i] = i
		s.table[place] = i + 1
		s.rise(i)
		return &s.keys[i]
	}
	i := s.heap[0]
	least := s.slots[i].count
	s.remove(s.slots[i].hash)
	s.slots[i] = slot{hash: hash, count: least + weight, err: least}
	s.table[s.find(hash)] = i + 1
	s.sink(0)
	return &s.keys[i]
}

// least returns the most that a key which is not held may have had.
func (s *sketch[K]) least() uint64 {
	if s.n < Slots {
		return 0
	}
	return s.slots[s.heap[0]].count
}

// reset empties s.
func (s *sketch[K]) reset() {
	s.n = 0
	clear(s.table[:])
}

// find returns the place in the table of the hash, or the free one where it
// belongs.
func (s *sketch[K]) find(hash uint64) int {
	at := int(hash % tableSize)
	for s.table[at] != 0 && s.slots[s.table[at]-1].hash != hash {
		at = (at + 1) % tableSize
	}
	return at
}

// remove takes the hash out of the table, and moves those behind it up that
// would not be found any more.
func (s *sketch[K]) remove(hash uint64) {
	free := s.find(hash)
	for at := (free + 1) % tableSize; s.table[at] != 0; at = (at + 1) % tableSize {
		home := int(s.slots[s.table[at]-1].hash % tableSize)
		if (at-home+tableSize)%tableSize >= (at-free+tableSize)%tableSize {
			s.table[free] = s.table[at]
			free = at
		}
	}
	s.table[free] = 0
}

// sink moves the slot at a place in the heap behind those with less.
func (s *sketch[K]) sink(at uint16) {
	for {
		child := 2*at + 1
		if int(child) >= s.n {
			return
		}
		if right := child + 1; int(right) < s.n && s.less(right, child) {
			child = right
		}
		if !s.less(child, at) {
			return
		}
		s.swap(at, child)
		at = child
	}
}

// rise moves it in front of those with more.
func (s *sketch[K]) rise(at uint16) {
	for at > 0 && s.less(at, (at-1)/2) {
		s.swap(at, (at-1)/2)
		at = (at - 1) / 2
	}
}

func (s *sketch[K]) less(a, b uint16) bool {
	return s.slots[s.heap[a]].count < s.slots[s.heap[b]].count
}

func (s *sketch[K]) swap(a, b uint16) {
	s.heap[a], s.heap[b] = s.heap[b], s.heap[a]
	s.slots[s.heap[a]].at, s.slots[s.heap[b]].at = a, b
}
