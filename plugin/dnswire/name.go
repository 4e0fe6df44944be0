package dnswire

import (
	"encoding/binary"
	"errors"
)

// What AppendName can object to.
var (
	ErrEmptyLabel   = errors.New("dnswire: empty label")
	ErrLabelTooLong = errors.New("dnswire: label of more than 63 octets")
	ErrNameTooLong  = errors.New("dnswire: name of more than 255 octets")
	ErrEscape       = errors.New("dnswire: bad escape")
)

// AppendName appends the wire name of s and returns the extended slice. s is
// in presentation format (RFC 1035 §5.1: \X for a character other than a
// digit, \DDD for an octet); it is taken as fully qualified whether or not it
// ends in a dot. On an error dst is returned as it was.
//
// It is stricter than miekg/dns, which bounds no name at 255 octets, takes
// \DDD modulo 256, and a backslash before one or two digits or at the end.
func AppendName(dst []byte, s string) ([]byte, error) {
	if s == "." {
		return append(dst, 0), nil
	}
	orig := dst
	start := len(dst)
	length := start // where the current label's length octet is
	dst = append(dst, 0)
	dot := false // the last octet read was a separating dot
	for i := 0; i < len(s); i++ {
		c := s[i]
		dot = false
		switch c {
		case '.':
			if err := closeLabel(dst, length); err != nil {
				return orig, err
			}
			length = len(dst)
			dst = append(dst, 0)
			dot = true
			continue
		case '\\':
			var n int
			if c, n = unescape(s[i+1:]); n == 0 {
				return orig, ErrEscape
			}
			i += n
		}
		dst = append(dst, c)
	}
	if !dot {
		if err := closeLabel(dst, length); err != nil {
			return orig, err
		}
		dst = append(dst, 0)
	}
	if len(dst)-start > maxName {
		return orig, ErrNameTooLong
	}
	return dst, nil
}

// closeLabel sets the length octet at dst[length] of the label that ends dst.
func closeLabel(dst []byte, length int) error {
	n := len(dst) - length - 1
	if n == 0 {
		return ErrEmptyLabel
	}
	if n > maxLabel {
		return ErrLabelTooLong
	}
	dst[length] = byte(n)
	return nil
}

// unescape returns the octet that s, the text behind a backslash, stands for
// and how many of its bytes say so; 0 when s is no escape.
func unescape(s string) (c byte, n int) {
	if s == "" {
		return 0, 0
	}
	if s[0]-'0' > 9 {
		return s[0], 1
	}
	if len(s) < 3 || s[1]-'0' > 9 || s[2]-'0' > 9 {
		return 0, 0
	}
	v := int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
	if v > 255 {
		return 0, 0
	}
	return byte(v), 3
}

// AppendNameString appends name, a wire name, in presentation format with the
// final dot, escaped exactly as miekg/dns does.
func AppendNameString(dst, name []byte) []byte {
	label, rest := NextLabel(name)
	if len(label) == 0 {
		return append(dst, '.')
	}
	for len(label) > 0 {
		for _, c := range label {
			switch c {
			case '.', ' ', '\'', '@', ';', '(', ')', '"', '\\':
				dst = append(dst, '\\', c)
			default:
				if c < ' ' || c > '~' {
					dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
				} else {
					dst = append(dst, c)
				}
			}
		}
		dst = append(dst, '.')
		label, rest = NextLabel(rest)
	}
	return dst
}

// NameString returns name, a wire name, as AppendNameString writes it.
func NameString(name []byte) string {
	return string(AppendNameString(make([]byte, 0, maxName), name))
}

// NextLabel splits the first label off name, a wire name or a run. The label
// is empty at the root label, at the end of a run, and where name is cut short.
// Both results alias name.
func NextLabel(name []byte) (label, rest []byte) {
	if len(name) == 0 {
		return nil, nil
	}
	n := int(name[0])
	if n >= len(name) {
		return nil, nil
	}
	return name[1 : 1+n], name[1+n:]
}

// CountLabels returns the number of labels of name, a wire name or a run; the
// root label does not count.
func CountLabels(name []byte) int {
	n := 0
	for label, rest := NextLabel(name); len(label) > 0; label, rest = NextLabel(rest) {
		n++
	}
	return n
}

// EqualFold reports whether a and b, two labels, two runs or two wire names,
// are equal with ASCII letters compared without case (RFC 4343 §3). Length
// octets take part as they are: they are at most 63, below 'A' (65), so
// folding letters cannot touch them.
func EqualFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for len(a) >= 8 {
		x, y := binary.LittleEndian.Uint64(a), binary.LittleEndian.Uint64(b)
		if x != y && lower8(x) != lower8(y) {
			return false
		}
		a, b = a[8:], b[8:]
	}
	if len(a) != len(b) { // never; tells the compiler that b[i] is in bounds
		return false
	}
	for i, c := range a {
		if c != b[i] && lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

// IsSubdomain reports whether name is at or below zone, two wire names without
// compression, of which name is well formed; case does not matter (RFC 4343 §3).
func IsSubdomain(name, zone []byte) bool {
	for len(name) > len(zone) {
		name = name[1+name[0]:]
	}
	return EqualFold(name, zone)
}

// AppendLower appends name, a label, run or wire name, with ASCII letters in
// lower case and length octets as they are (see [EqualFold]).
func AppendLower(dst, name []byte) []byte {
	for len(name) >= 8 {
		dst = binary.LittleEndian.AppendUint64(dst, lower8(binary.LittleEndian.Uint64(name)))
		name = name[8:]
	}
	for _, c := range name {
		dst = append(dst, lower(c))
	}
	return dst
}

func lower(c byte) byte {
	if c-'A' < 26 {
		c |= 'a' - 'A'
	}
	return c
}

// lower8 is lower on eight octets at once. Adding to the lower seven bits of
// each octet sets its top bit from 'A' on, or past 'Z'; the sums stay below
// 256 and so carry into no neighbour.
func lower8(x uint64) uint64 {
	const (
		ones = 0x0101010101010101
		tops = ones << 7
	)
	low := x &^ tops
	fromA := low + ones*(0x80-'A')
	pastZ := low + ones*(0x80-'Z'-1)
	upper := (fromA ^ pastZ) & tops &^ x
	return x | upper>>2 // 0x80>>2 is 0x20, the distance between the cases
}
