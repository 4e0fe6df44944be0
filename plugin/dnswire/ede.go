package dnswire

import "encoding/binary"

// OptionEDE is the EDNS option code of Extended DNS Errors (RFC 8914 §2).
const OptionEDE = 15

// Info codes of Extended DNS Errors (RFC 8914 §4) that this server gives.
const (
	// EDEOther is for what no other code says: a client is to read the text. The
	// codes 15 to 18, of answers that were blocked, censored, filtered or
	// prohibited, are for names that exist elsewhere or for others.
	EDEOther       uint16 = 0
	EDEStaleAnswer uint16 = 3
	EDENotReady    uint16 = 14
)

// OPTSize is the length in octets of an OPT record without options (RFC 6891
// §6.1.2).
const OPTSize = optLen

// EDESize is the length in octets of an Extended DNS Error without its text.
const EDESize = 4 + 2

// AppendEDE appends the EDNS option, code and length included, that says code
// and text (RFC 8914 §2). Text is UTF-8, of 65,533 octets at most.
func AppendEDE[T string | []byte](dst []byte, code uint16, text T) []byte {
	dst = binary.BigEndian.AppendUint16(dst, OptionEDE)
	dst = binary.BigEndian.AppendUint16(dst, uint16(2+len(text)))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, text...)
}
