package dnswire

import (
	"encoding/binary"
	"errors"
	"slices"
)

// What a Builder can object to. Each is a fault of its caller or of the data
// it was given, never of lack of room for a record.
var (
	ErrQuestionRoom = errors.New("dnswire: no room for header, question and OPT")
	ErrSectionOrder = errors.New("dnswire: sections written out of order")
	ErrOffset       = errors.New("dnswire: offset of no name in the message")
	ErrRData        = errors.New("dnswire: bad record data")
	ErrRcode        = errors.New("dnswire: response code above 15")
)

// Section numbers the header's counts (RFC 1035 §4.1).
type Section uint8

// The sections records go to, in their order on the wire.
const (
	Answer Section = iota + 1
	Authority
	Additional
)

// Builder appends one reply to a caller's buffer, whole records at a time:
//
//  1. Reset writes header and question and sets aside room for an OPT when
//     the query had one.
//  2. Section opens answer, authority, additional, in that order; records go
//     to the answer before the first call.
//  3. Each record appender writes the record whole and returns true, or finds
//     that it does not fit the limit, leaves the message as it was, and
//     returns false. Shorter records may still fit afterwards.
//  4. OPT comes last and takes the room set aside.
//  5. Finish sets flags, response code and counts and returns the buffer.
//
// An error (a bad offset, an over-long name) sticks: from then on appenders
// return false, and Finish returns the error. Appenders allocate only where
// the buffer's capacity ends before the limit does.
//
// A Builder is a value: its zero value is ready for Reset, and it is reused by
// Reset, by one goroutine at a time. Names passed in are read during the call
// only.
type Builder struct {
	buf       []byte
	start     int // where the message begins in buf
	end       int // what len(buf) may grow to; the OPT's room lies beyond
	reserved  int // that room, in octets
	counts    [4]uint16
	section   Section
	truncated bool
	err       error
}

// Reset starts a reply to q behind what dst holds, such as TCP's two-octet
// length prefix: offsets count from len(dst), and so does limit, the octets
// that the message may take, 65,535 at most. ID and question are q's, verbatim.
// The Builder owns dst until Finish.
func (b *Builder) Reset(dst []byte, limit int, q *Query) {
	*b = Builder{buf: dst, start: len(dst), section: Answer}
	if q.HasOPT {
		b.reserved = optLen
	}
	b.end = b.start + min(limit, maxMessage) - b.reserved
	p := b.extend(headerLen + len(q.Name) + 4)
	if p == nil {
		b.err = ErrQuestionRoom
		return
	}
	binary.BigEndian.PutUint16(p, q.ID)
	clear(p[2:headerLen])
	n := headerLen + copy(p[headerLen:], q.Name)
	binary.BigEndian.PutUint16(p[n:], q.Type)
	binary.BigEndian.PutUint16(p[n+2:], q.Class)
	b.counts[0] = 1
}

// Reserve sets n octets more aside for the OPT, for its options. It does nothing if
// the query had none.
func (b *Builder) Reserve(n int) {
	if b.reserved > 0 {
		b.reserved += n
		b.end -= n
	}
}

// Section directs the records that follow to s. Sections are opened in their
// order, each at will.
func (b *Builder) Section(s Section) {
	if s < b.section || s > Additional {
		b.fail(ErrSectionOrder)
		return
	}
	b.section = s
}

// Len returns the length of the message so far, in octets: the offset of the
// next record's owner.
func (b *Builder) Len() int { return len(b.buf) - b.start }

// Truncated reports whether a record did not fit.
func (b *Builder) Truncated() bool { return b.truncated }

// Finish completes the header with flags, rcode and the counts, and returns
// Reset's dst with the message appended. TC is set if a record of any section
// did not fit: RFC 2181 §9 would have it for required records only, miekg/dns
// (Msg.Truncate) has it for all, and clients of either path see the same. On
// an error it returns dst alone.
func (b *Builder) Finish(rcode uint8, flags uint16) ([]byte, error) {
	if uint16(rcode) > maskRcode {
		b.fail(ErrRcode)
	}
	if b.err == nil && b.Len() < headerLen {
		b.err = ErrQuestionRoom // never Reset
	}
	if b.err != nil {
		return b.buf[:b.start], b.err
	}
	if b.truncated {
		flags |= FlagTC
	}
	h := b.buf[b.start : b.start+headerLen]
	binary.BigEndian.PutUint16(h[2:], flags&^maskRcode|uint16(rcode))
	for i, n := range b.counts {
		binary.BigEndian.PutUint16(h[4+2*i:], n)
	}
	return b.buf, nil
}

func (b *Builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// extend grows the message by n octets and returns them, or nil when they do
// not fit.
func (b *Builder) extend(n int) []byte {
	old := len(b.buf)
	if n > b.end-old {
		return nil
	}
	if n > cap(b.buf)-old {
		b.buf = slices.Grow(b.buf, n)
	}
	b.buf = b.buf[:old+n]
	return b.buf[old:]
}

// Name is a name about to be written, as the parts its writer holds: Label,
// then Labels, then what is at At, or Origin. Parts that are empty are left
// out; the zero value is the root.
//
// The parts are trusted to be well formed. Checked are Label's length, the
// whole name's, and At.
type Name struct {
	Label  []byte // one label, without its length octet
	Labels []byte // a run
	Origin []byte // a wire name; not looked at if At is set
	// At is the offset at which the rest of the name stands in the message
	// already, such as QuestionName; 0 for nowhere. Where a pointer may stand
	// it is used, elsewhere the labels found at At are copied: behind offset
	// 0x3FFF, which a pointer cannot reach (RFC 1035 §4.1.4), and in an SRV
	// target.
	At int
}

// nameSize returns the octets that writeName writes, or -1 after recording
// what is wrong with n, which it may put more shortly.
func (b *Builder) nameSize(n *Name, compress bool) int {
	if headerLen <= n.At && n.At < b.Len() && b.buf[b.start+n.At] == 0 {
		n.At, n.Origin = 0, nil // the root takes one octet, a pointer to it two
	}
	size := len(n.Labels)
	if len(n.Label) > 0 {
		if len(n.Label) > maxLabel {
			b.fail(ErrLabelTooLong)
			return -1
		}
		size += 1 + len(n.Label)
	}
	if n.At == 0 {
		size += max(len(n.Origin), 1)
		if size > maxName {
			b.fail(ErrNameTooLong)
			return -1
		}
		return size
	}
	if compress && size == 0 && QuestionName <= n.At && n.At <= MaxPointer && n.At < b.Len() {
		return 2 // an existing name, whose length was checked when it was written
	}
	rest := b.nameLenAt(n.At)
	if rest < 0 {
		b.fail(ErrOffset)
		return -1
	}
	if size+rest > maxName {
		b.fail(ErrNameTooLong)
		return -1
	}
	if compress && n.At <= MaxPointer {
		return size + 2
	}
	return size + rest
}

// writeName writes n to the beginning of p, which has the room that nameSize
// asked for, and returns the rest of p.
func (b *Builder) writeName(p []byte, n *Name, compress bool) []byte {
	if len(n.Label) > 0 {
		p[0] = byte(len(n.Label))
		p = p[1+copy(p[1:], n.Label):]
	}
	p = p[copy(p, n.Labels):]
	switch {
	case n.At == 0 && len(n.Origin) == 0:
		p[0] = 0
		return p[1:]
	case n.At == 0:
		return p[copy(p, n.Origin):]
	case compress && n.At <= MaxPointer:
		binary.BigEndian.PutUint16(p, pointerBits|uint16(n.At))
		return p[2:]
	}
	for at := n.At; ; {
		label, next := b.labelAt(at)
		p = p[copy(p, label):]
		if label[0] == 0 {
			return p
		}
		at = next
	}
}

// nameLenAt returns the length of the wire name that stands at the offset at,
// pointers followed, or -1 if none does.
func (b *Builder) nameLenAt(at int) int {
	// Pointers lead backwards, so a loop has labels in it and n ends it.
	for n := 0; n <= maxName; {
		label, next := b.labelAt(at)
		if label == nil {
			return -1
		}
		n += len(label)
		if label[0] == 0 {
			return n
		}
		at = next
	}
	return -1
}

// labelAt returns the label at the offset at, its length octet included, and
// the offset behind it, pointers followed; nil if none is there.
func (b *Builder) labelAt(at int) (label []byte, next int) {
	msg := b.buf[b.start:]
	for headerLen <= at && at < len(msg) {
		c := int(msg[at])
		if c <= maxLabel {
			next = at + 1 + c
			if next > len(msg) {
				return nil, 0
			}
			return msg[at:next], next
		}
		if c < pointerBits>>8 || at+1 >= len(msg) {
			return nil, 0
		}
		target := int(binary.BigEndian.Uint16(msg[at:])) & MaxPointer
		if target >= at {
			return nil, 0
		}
		at = target
	}
	return nil, 0
}
