package load

import "time"

// slot is the room for a query in flight. The query's ID is made of the slot's
// number within its socket and the slot's generation, which tells a reply that
// comes after its time from one to the next query in the same slot.
type slot struct {
	query      *query // nil while the slot is free
	sock       *socket
	due        time.Duration // by schedule where there is one
	sent       time.Duration
	generation uint16
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

// take takes a free slot of a socket, which must have one, and puts it behind
// those in flight.
func (s *slots) take(sock *socket) int32 {
	n := sock.free
	sock.free = s.all[n].next
	s.inFlight++
	s.all[n].prev, s.all[n].next = s.tail, -1
	if s.tail >= 0 {
		s.all[s.tail].next = n
	} else {
		s.head = n
	}
	s.tail = n
	return n
}

// release gives a slot back.
func (s *slots) release(n int32) {
	slot := &s.all[n]
	if slot.prev >= 0 {
		s.all[slot.prev].next = slot.next
	} else {
		s.head = slot.next
	}
	if slot.next >= 0 {
		s.all[slot.next].prev = slot.prev
	} else {
		s.tail = slot.prev
	}
	s.inFlight--
	slot.query = nil
	slot.generation++
	slot.next = slot.sock.free
	slot.sock.free = n
}

// id returns the ID of slot n's query.
func (s *slots) id(n int32) uint16 {
	slot := &s.all[n]
	return slot.generation<<s.bits | uint16(n-slot.sock.first)
}

// find returns the slot that a reply with an ID is for; false if none waits for
// it.
func (s *slots) find(sock *socket, id uint16) (n int32, ok bool) {
	n = sock.first + int32(id&(1<<s.bits-1))
	if int(n) >= len(s.all) || s.all[n].sock != sock {
		return 0, false
	}
	return n, s.all[n].query != nil && s.id(n) == id
}
