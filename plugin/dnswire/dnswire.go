// Package dnswire reads one-question DNS queries and writes replies to them in
// wire format (RFC 1035 §4), without allocating and without knowing any zone.
// It is the fast paths' only view of the wire; everything it declines goes to
// miekg/dns.
//
// The words, smallest to largest:
//
//   - label: the octets between two dots of a name, at most 63, length octet
//     excluded unless said otherwise.
//   - wire name: labels, each behind its length octet, closed by the root
//     label (a zero octet), never compressed, at most 255 octets in all.
//   - run: labels with their length octets and no root label; the inside of a
//     wire name.
//   - offset: a position in a message counted from its first header octet.
//   - pointer: two octets that stand for the rest of a name and hold an
//     offset (RFC 1035 §4.1.4).
//   - [Name]: a name about to be written, composed of label, run and origin or
//     offset.
//   - [Query]: a parsed request; it aliases the packet.
//   - [Builder]: one reply being appended to a caller's buffer.
//
// A fast path declines, never guesses: what [ParseQuery] accepts, miekg/dns
// unpacks to the same meaning, and the fuzzers hold it to that.
package dnswire

// Sizes and bounds of the wire format.
const (
	headerLen   = 12     // RFC 1035 §4.1.1
	maxLabel    = 63     // RFC 1035 §2.3.4: two of the length octet's bits are the label type
	maxName     = 255    // RFC 1035 §2.3.4: length octets and root label included
	pointerBits = 0xC000 // RFC 1035 §4.1.4: the two bits that tell a pointer from a label
	maxMessage  = 65535  // RFC 1035 §4.2.2: the TCP length prefix has 16 bits
	optLen      = 11     // RFC 6891 §6.1.2: root owner 1, type 2, class 2, ttl 4, rdlength 2
)

// QuestionName is the offset of the question's name in every reply: it follows
// the header. The suffix of the name that begins n octets into it is at
// QuestionName+n.
const QuestionName = headerLen

// MaxPointer is the highest offset that a pointer can hold, in 14 bits (RFC
// 1035 §4.1.4). A name that stands farther back has to be written again.
const MaxPointer = 0x3FFF

// Record types this package writes (RFC 1035 §3.2.2, RFC 3596 §2.1, RFC 2782,
// RFC 6891 §6.1.1).
const (
	TypeA     uint16 = 1
	TypeNS    uint16 = 2
	TypeCNAME uint16 = 5
	TypeSOA   uint16 = 6
	TypePTR   uint16 = 12
	TypeTXT   uint16 = 16
	TypeAAAA  uint16 = 28
	TypeSRV   uint16 = 33
	TypeOPT   uint16 = 41
)

// ClassIN is the Internet class, the only one records are written in
// (RFC 1035 §3.2.4).
const ClassIN uint16 = 1

// Bits of the header's second word (RFC 1035 §4.1.1, RFC 4035 §3.1.6 and
// §3.2.2 for AD and CD).
const (
	FlagQR uint16 = 1 << 15
	FlagAA uint16 = 1 << 10
	FlagTC uint16 = 1 << 9
	FlagRD uint16 = 1 << 8
	FlagRA uint16 = 1 << 7
	FlagAD uint16 = 1 << 5
	FlagCD uint16 = 1 << 4

	flagZ      uint16 = 1 << 6
	maskOpcode uint16 = 0xF << 11
	maskRcode  uint16 = 0xF
)

// Response codes (RFC 1035 §4.1.1).
const (
	RcodeNoError  uint8 = 0
	RcodeServFail uint8 = 2
	RcodeNXDomain uint8 = 3
	RcodeRefused  uint8 = 5
)
