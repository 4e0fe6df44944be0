package load

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/miekg/dns"
)

// reply takes a message that came in at a socket.
func (e *engine) reply(s *socket, message []byte) {
	n, i, ok := e.match(s, message)
	if !ok {
		e.counts.Unmatched++
		return
	}
	now := e.now()
	slot := &e.slots.all[n]
	slot.pending &^= 1 << i
	rcode := message[3] & 15
	if slot.measured {
		e.counts.Answered++
		e.rcodes[rcode]++
		if message[2]&truncated != 0 {
			e.counts.Truncated++
		}
	}
	e.check(slot, i, message)
	if slot.pending != 0 {
		return
	}
	if last := int(slot.step) == len(slot.lookup.steps)-1; !last && !slot.found {
		slot.step++
		e.slots.unlink(n)
		e.slots.append(n)
		e.send(n)
		return
	}
	e.checkFound(slot)
	if slot.measured {
		e.latency.record(now - slot.begun)
	}
	e.slots.release(n)
}

// Bits in the third octet of a message.
const (
	response  = 0x80
	truncated = 0x02
)

// match returns the slot, and which of its queries, that a message answers.
func (e *engine) match(s *socket, message []byte) (n int32, i int, ok bool) {
	if len(message) < headerLength || message[2]&response == 0 {
		return 0, 0, false
	}
	n, i, ok = e.slots.find(s, binary.BigEndian.Uint16(message))
	if !ok {
		return 0, 0, false
	}
	if questions := binary.BigEndian.Uint16(message[4:]); questions == 0 {
		return n, i, true // an error, without the question that was none to the server
	}
	q := e.query(n, i)
	return n, i, len(message) >= q.end &&
		bytes.EqualFold(message[headerLength:q.end], q.frame[frameMessage+headerLength:frameMessage+q.end])
}

func (e *engine) query(n int32, i int) *query {
	slot := &e.slots.all[n]
	return slot.lookup.steps[slot.step][i]
}

// check checks a reply to query i of a slot, and notes whether its walk ends.
func (e *engine) check(slot *slot, i int, message []byte) {
	q := slot.lookup.steps[slot.step][i]
	last := int(slot.step) == len(slot.lookup.steps)-1
	if answers := binary.BigEndian.Uint16(message[6:]); answers > 0 {
		slot.found = true
	} else if !last {
		// The name may be further down the search list.
		if rcode := int(message[3] & 15); rcode != dns.RcodeSuccess && rcode != dns.RcodeNameError {
			e.wrong(q, fmt.Sprintf("expected NOERROR or NXDOMAIN, got %s", dns.RcodeToString[rcode]))
		}
		return
	}
	slot.answered |= 1 << i
	if q.isRight(message) {
		return
	}
	m := new(dns.Msg)
	if err := m.Unpack(message); err != nil {
		e.wrong(q, fmt.Sprintf("got a malformed message: %v", err))
		return
	}
	if err := q.question.Check(m); err != nil {
		e.wrong(q, err.Error())
		return
	}
	q.keepRight(message)
}

// checkFound checks at the end of a walk that neither of the last two queries
// was to have records but had none.
func (e *engine) checkFound(slot *slot) {
	for i, q := range slot.lookup.steps[slot.step] {
		if q == nil || slot.answered&(1<<i) != 0 {
			continue
		}
		if want := q.question.Expect; want != nil && want.Count > 0 {
			e.wrong(q, "expected records, got none")
		}
	}
}

func (e *engine) wrong(q *query, what string) {
	e.counts.Wrong++
	if e.counts.FirstWrong == "" {
		e.counts.FirstWrong = fmt.Sprintf("%s %s: %s", q.name(), dns.Type(q.question.Type), what)
	}
}

// isRight tells whether a reply is the one that was right before. The question
// has been compared already.
func (q *query) isRight(message []byte) bool {
	right := *q.right
	if len(right) == 0 || len(message) != len(right)+2+q.end-headerLength {
		return false
	}
	return bytes.Equal(message[2:headerLength], right[:headerLength-2]) &&
		bytes.Equal(message[q.end:], right[headerLength-2:])
}

func (q *query) keepRight(message []byte) {
	if len(message) < q.end || binary.BigEndian.Uint16(message[4:]) != 1 {
		return
	}
	*q.right = append(append((*q.right)[:0], message[2:headerLength]...), message[q.end:]...)
}
