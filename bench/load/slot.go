package load

import "time"

// slot is the room for a lookup in flight. Its queries' IDs are made of the
// slot's number within its socket, which of two queries it is, and the slot's
// generation, which tells a reply that comes after its time from one to the
// next lookup in the same slot.
type slot struct {
	lookup     *lookup
	random     *lookup // the slot's own, where names are random
	sock       *socket
	begun      time.Duration // by schedule where there is one
	sent       time.Duration // its queries of this step
	generation uint16
	step       uint8 // of the lookup, that its queries are of
	pending    uint8 // bit i is set while query i has no reply
	answered   uint8 // bit i is set once a reply to query i had addresses, or was of the last step
	found      bool  // a name of the walk has addresses
	measured   bool

	prev, next int32 // in the list of those in flight; next also in that of free slots
}

// slots holds all slots, those in flight in the order in which they were sent.
type slots struct {
	all      []slot
	bits     int // of the number of a slot within its socket
	head     int32
	tail     int32
	inFlight int
}

// newSlots gives each socket perSocket slots.
func newSlots(sockets []*socket, perSocket int) *slots {
	s := &slots{all: make([]slot, len(sockets)*perSocket), head: -1, tail: -1}
	for 1<<s.bits < perSocket {
		s.bits++
	}
	for i, sock := range sockets {
		sock.first, sock.free = int32(i*perSocket), -1
		for j := perSocket - 1; j >= 0; j-- {
			n := sock.first + int32(j)
			s.all[n].sock, s.all[n].next = sock, sock.free
			sock.free = n
		}
	}
	return s
}

// take takes a free slot of a socket, which must have one.
func (s *slots) take(sock *socket) int32 {
	n := sock.free
	sock.free = s.all[n].next
	s.inFlight++
	s.append(n)
	return n
}

// release gives a slot back.
func (s *slots) release(n int32) {
	s.unlink(n)
	s.inFlight--
	slot := &s.all[n]
	slot.lookup, slot.pending = nil, 0
	slot.generation++
	slot.next = slot.sock.free
	slot.sock.free = n
}

// append puts n behind those in flight.
func (s *slots) append(n int32) {
	s.all[n].prev, s.all[n].next = s.tail, -1
	if s.tail >= 0 {
		s.all[s.tail].next = n
	} else {
		s.head = n
	}
	s.tail = n
}

func (s *slots) unlink(n int32) {
	prev, next := s.all[n].prev, s.all[n].next
	if prev >= 0 {
		s.all[prev].next = next
	} else {
		s.head = next
	}
	if next >= 0 {
		s.all[next].prev = prev
	} else {
		s.tail = prev
	}
}

// id returns the ID of query i of slot n.
func (s *slots) id(n int32, i int) uint16 {
	slot := &s.all[n]
	return slot.generation<<(s.bits+1) | uint16(n-slot.sock.first)<<1 | uint16(i)
}

// find returns the slot and which of its queries a reply with an ID is for;
// false if it waits for none.
func (s *slots) find(sock *socket, id uint16) (n int32, i int, ok bool) {
	number := int32(id >> 1 & (1<<s.bits - 1))
	n, i = sock.first+number, int(id&1)
	if int(n) >= len(s.all) || s.all[n].sock != sock {
		return 0, 0, false
	}
	return n, i, s.all[n].pending&(1<<i) != 0 && s.id(n, i) == id
}
