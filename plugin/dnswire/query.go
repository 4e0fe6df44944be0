package dnswire

import "encoding/binary"

// Query is a parsed request: one question and at most one OPT. Its slices
// alias the packet, so it lives no longer than the packet's buffer. It takes 64 bytes, one cache line.
type Query struct {
	// Name is the question's wire name, spelled as asked.
	Name []byte
	// Options is the OPT's RDATA, every option's length checked to fit
	// (RFC 6891 §6.1.2); empty without OPT or without options.
	Options []byte

	ID    uint16
	Flags uint16 // the header's second word as received; only RD, AD and CD can be set
	Type  uint16
	Class uint16

	HasOPT   bool   // the fields below are zero without OPT
	DO       bool   // DNSSEC OK (RFC 3225)
	UDPSize  uint16 // octets, as advertised: neither raised to 512 nor bounded
	Z        uint16 // the 15 flag bits beside DO (RFC 6891 §6.1.4)
	Version  uint8  // EDNS version; other than 0 asks for BADVERS (RFC 6891 §6.1.3)
	ExtRcode uint8  // upper eight bits of the response code, without meaning in a request
}

// Reason tells why [ParseQuery] declined a message. The zero value is
// Accepted.
type Reason uint8

// What ParseQuery can say of a message.
const (
	Accepted      Reason = iota
	Short                // ends before the question or the OPT does
	NotQuery             // QR set, or an opcode other than QUERY
	HeaderBits           // AA, TC, RA, Z or a response code, which no plain query carries
	QuestionCount        // not exactly one question
	OtherSections        // answer or authority records (IXFR, NOTIFY, updates)
	NotOPT               // more than one additional record, or one that is no OPT at the root
	Compressed           // a pointer in the question's name
	LabelType            // a label of the reserved types 01 and 10 (RFC 1035 §4.1.4)
	NameTooLong          // a name of more than 255 octets
	OptionLength         // an EDNS option longer than the OPT
	OptionCode           // an EDNS option other than NSID, DAU, DHU, N3U, COOKIE and PADDING
	TrailingBytes        // octets after the last record

	// NumReasons is the number of reasons, for arrays of counters.
	NumReasons = int(iota)
)

var reasonNames = [NumReasons]string{
	Accepted:      "accepted",
	Short:         "short",
	NotQuery:      "not_query",
	HeaderBits:    "header_bits",
	QuestionCount: "question_count",
	OtherSections: "other_sections",
	NotOPT:        "not_opt",
	Compressed:    "compressed",
	LabelType:     "label_type",
	NameTooLong:   "name_too_long",
	OptionLength:  "option_length",
	OptionCode:    "option_code",
	TrailingBytes: "trailing_bytes",
}

// String returns r in lower case with underscores, fit for a metric label.
func (r Reason) String() string {
	if int(r) >= NumReasons {
		return "unknown"
	}
	return reasonNames[r]
}

// EDNS option codes whose contents miekg/dns takes as they come. Every other
// code declines: miekg answers FORMERR where it checks contents (client subnet,
// keepalive, EXPIRE, …) and they displease it, and an upgrade of it may learn
// to check codes it does not know today.
const (
	optionNSID    = 3  // RFC 5001
	optionDAU     = 5  // RFC 6975, with DHU (6) and N3U (7)
	optionN3U     = 7  // RFC 6975
	optionCookie  = 10 // RFC 7873
	optionPadding = 12 // RFC 7830
)

// ParseQuery reads msg, one whole DNS message without TCP length prefix, into
// q and returns Accepted, or the reason why msg is not a plain query; q is
// then unspecified. q aliases msg.
//
// A plain query has QR clear, opcode QUERY, one question with an uncompressed
// name, nothing else but at most one OPT at the root, and no octet more. Its
// type, class, EDNS version and message length are the caller's to judge, and
// so are its options: the chain answers NSID where the plugin nsid is on
// (coredns plugin/nsid), echoes what the plugin rewrite registered
// (request.SizeAndDo) and ignores the rest.
func ParseQuery(msg []byte, q *Query) Reason {
	if len(msg) < headerLen {
		return Short
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	if flags&^(FlagRD|FlagAD|FlagCD) != 0 {
		if flags&(FlagQR|maskOpcode) != 0 {
			return NotQuery
		}
		return HeaderBits
	}
	// QDCOUNT, ANCOUNT, NSCOUNT and ARCOUNT in one word.
	counts := binary.BigEndian.Uint64(msg[4:])
	if counts&^1 != 1<<48 {
		return countsReason(counts)
	}

	off := headerLen
	for {
		if off >= len(msg) {
			return Short
		}
		c := int(msg[off])
		off++
		if c == 0 {
			break
		}
		if c > maxLabel {
			if c >= pointerBits>>8 {
				return Compressed
			}
			return LabelType
		}
		off += c
		if off-headerLen >= maxName { // the root label is still to come
			return NameTooLong
		}
	}
	if len(msg)-off < 4 {
		return Short
	}
	*q = Query{
		Name:  msg[headerLen:off:off],
		ID:    binary.BigEndian.Uint16(msg),
		Flags: flags,
		Type:  binary.BigEndian.Uint16(msg[off:]),
		Class: binary.BigEndian.Uint16(msg[off+2:]),
	}
	rest := msg[off+4:]
	if counts&1 != 0 {
		return parseOPT(rest, q)
	}
	if len(rest) != 0 {
		return TrailingBytes
	}
	return Accepted
}

func countsReason(counts uint64) Reason {
	switch {
	case counts>>48 != 1:
		return QuestionCount
	case uint32(counts>>16) != 0:
		return OtherSections
	default:
		return NotOPT
	}
}

// parseOPT reads rest, the whole additional section, into q (RFC 6891 §6.1.2).
func parseOPT(rest []byte, q *Query) Reason {
	if len(rest) < optLen {
		return Short
	}
	if rest[0] != 0 || binary.BigEndian.Uint16(rest[1:]) != TypeOPT {
		return NotOPT
	}
	q.HasOPT = true
	q.UDPSize = binary.BigEndian.Uint16(rest[3:])
	q.ExtRcode = rest[5]
	q.Version = rest[6]
	flags := binary.BigEndian.Uint16(rest[7:])
	q.DO = flags&(1<<15) != 0
	q.Z = flags &^ (1 << 15)
	rdlen := int(binary.BigEndian.Uint16(rest[9:]))
	rest = rest[optLen:]
	if rdlen > len(rest) {
		return Short
	}
	if rdlen < len(rest) {
		return TrailingBytes
	}
	q.Options = rest
	for len(rest) > 0 {
		code, _, tail, ok := cutOption(rest)
		switch {
		case !ok:
			return OptionLength
		case code == optionNSID, optionDAU <= code && code <= optionN3U, code == optionCookie, code == optionPadding:
		default:
			return OptionCode
		}
		rest = tail
	}
	return Accepted
}

// cutOption splits the first option off options; !ok when it does not fit.
func cutOption(options []byte) (code uint16, data, rest []byte, ok bool) {
	if len(options) < 4 {
		return 0, nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(options[2:]))
	if n > len(options)-4 {
		return 0, nil, nil, false
	}
	return binary.BigEndian.Uint16(options), options[4 : 4+n], options[4+n:], true
}

// HasOption reports whether q carries the EDNS option code.
func (q *Query) HasOption(code uint16) bool {
	for rest := q.Options; len(rest) > 0; {
		c, _, tail, ok := cutOption(rest)
		if !ok {
			return false
		}
		if c == code {
			return true
		}
		rest = tail
	}
	return false
}

// ReplyFlags returns the header bits of a reply to q: QR, and RD and CD as
// asked (RFC 1035 §4.1.1, RFC 4035 §3.2.2). AD is not copied, as in miekg/dns
// SetReply.
func (q *Query) ReplyFlags() uint16 {
	return FlagQR | q.Flags&(FlagRD|FlagCD)
}

// EDNSReplyFlags returns the flag bits of the OPT in a reply to q: DO, and of
// Z the upper seven bits, 0x7F00, as coredns request.SizeAndDo has them.
func (q *Query) EDNSReplyFlags() uint16 {
	flags := q.Z & 0x7F00
	if q.DO {
		flags |= 1 << 15
	}
	return flags
}
