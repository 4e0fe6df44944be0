package zone

import (
	"bytes"
	"net/netip"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// maxName is the length of the longest wire-format name, root included, and
// maxLabel that of the longest label, without its length octet (RFC 1035
// §2.3.4); a name has at most 127 labels.
const maxName, maxLabel, maxLabels = 255, 63, 127

// query is a question's name taken apart.
type query struct {
	name   []byte           // as asked, in wire format
	folded [maxName]byte    // name in lower case
	at     [maxLabels]uint8 // where each label begins
	labels int              // how many there are, the root not counted
}

// parse reads name. It is false for what is no uncompressed wire-format name.
func (q *query) parse(name []byte) bool {
	if len(name) == 0 || len(name) > maxName {
		return false
	}
	q.name, q.labels = name, 0
	i := 0
	for name[i] != 0 {
		next := i + 1 + int(name[i])
		if name[i] > maxLabel || next >= len(name) { // RFC 1035 §4.1.4: above are pointers
			return false
		}
		q.at[q.labels] = uint8(i)
		q.labels++
		i = next
	}
	if i != len(name)-1 {
		return false
	}
	dnswire.AppendLower(q.folded[:0], name)
	return true
}

// label returns label i, counted from the left, as asked and without its
// length octet.
func (q *query) label(i int) []byte {
	at := int(q.at[i])
	return q.name[at+1 : at+1+int(q.name[at])]
}

// from returns the folded name from label i on, up to but without label j.
func (q *query) from(i, j int) []byte { return q.folded[q.offset(i):q.offset(j)] }

// offset returns where label i begins, or the root.
func (q *query) offset(i int) int {
	if i == q.labels {
		return len(q.name) - 1
	}
	return int(q.at[i])
}

// is reports whether label i is the folded label, given with its length octet.
func (q *query) is(i int, label string) bool { return string(q.from(i, i+1)) == label }

// parts is what a name below an origin asks for.
//
//	                        svc.<origin>    (and pod., dns., and the origin itself)
//	            <namespace>.svc.<origin>
//	  <service>.<namespace>.svc.<origin>
//	         <endpoint>.<service>.<namespace>.svc.<origin>
//	<port>.<protocol>.<service>.<namespace>.svc.<origin>
//	      <dashed-ip>.<namespace>.pod.<origin>
//
// Of the services of other clusters, in a multi-cluster zone (KEP-1645), and of
// the endpoints in a topology zone, in other zones if the view has zonal names:
//
//	       <endpoint>.<cluster>.<service>.<namespace>.svc.<origin>
//	<topology zone>.pin._zone.<service>.<namespace>.svc.<origin>   (or prefer)
type parts struct {
	kind      partsKind
	pod       bool   // below pod., not svc.
	namespace []byte // folded label with its length octet
	service   []byte // folded labels of service and namespace, with length octets
	first     []byte // the label of the service or the pod's address, as asked
	sel       selector
}

type partsKind uint8

const (
	atNothing partsKind = iota // nothing can have this name
	atEmpty                    // svc., pod., dns. or the origin: always there, never with records of objects
	atNamespace
	atService
	atPod
)

// selector picks from a service what the labels in front of it ask for. Its
// labels alias the question's name. The zero value picks all.
type selector struct {
	by            selectBy
	first, second []byte
}

// selectBy says what first and second are.
type selectBy uint8

const (
	byNothing  selectBy = iota
	byPort              // port and protocol, without leading underscores; one of them may be empty and picks all
	byEndpoint          // the endpoint's label and its cluster's, empty for those of no cluster
	byZone              // a topology zone, folded, with dots between its labels
	preferZone          // the same; but all if there are none
)

// split takes apart the first n labels of q, those below o: the shapes of parts,
// one to a case. Where they have a topology zone, it is written over the folded
// labels.
func (q *query) split(n int, o *origin) (p parts) {
	if n == 0 || n == 1 && q.is(0, "\x03dns") { // ns.dns.<origin> is always there
		return parts{kind: atEmpty}
	}
	p.pod = q.is(n-1, podLabel)
	if !p.pod && !q.is(n-1, svcLabel) {
		return parts{}
	}
	if n >= 2 {
		p.namespace = q.from(n-2, n-1)
	}
	if n >= 3 {
		p.service, p.first = q.from(n-3, n-1), q.label(n-3)
	}
	p.kind = atService
	switch {
	case n == 1:
		p.kind = atEmpty
	case n == 2:
		p.kind = atNamespace
	case p.pod && n <= 5: // what is in front of the address is ignored
		p.kind = atPod
	case n == 3:
	case n == 4:
		p.sel = selector{by: byEndpoint, first: q.label(0)}
	case n == 5 && o.multicluster && q.label(0)[0] != '_' && q.label(1)[0] != '_':
		p.sel = selector{byEndpoint, q.label(0), q.label(1)}
	case n == 5:
		p.sel = selectPorts(q.label(0), q.label(1))
	case p.pod || !o.zonal || !q.is(n-4, "\x05_zone"):
		return parts{}
	case q.is(n-5, "\x03pin"):
		p.sel = selector{by: byZone, first: q.joinFolded(n - 5)}
	case q.is(n-5, "\x06prefer"):
		p.sel = selector{by: preferZone, first: q.joinFolded(n - 5)}
	default:
		return parts{}
	}
	return p
}

// selectPorts returns the selector of the labels of a port and a protocol.
func selectPorts(port, protocol []byte) selector {
	s := selector{byPort, trimUnderscore(port), trimUnderscore(protocol)}
	if len(s.first)+len(s.second) == 0 {
		s.by = byNothing
	}
	return s
}

// joinFolded returns the first n folded labels as text, made in their place. A
// dot that is part of a label is none in the text.
func (q *query) joinFolded(n int) []byte {
	text := q.folded[1:q.offset(n)]
	for i, c := range text {
		if c == '.' {
			text[i] = 0
		}
	}
	for i := 1; i < n; i++ {
		q.folded[q.at[i]] = '.'
	}
	return text
}

func trimUnderscore(label []byte) []byte { return bytes.TrimPrefix(label, underscore) }

var underscore = []byte("_")

// all reports whether the selector leaves nothing out, as for the bare name.
func (s *selector) all() bool { return s.by == byNothing }

// byZone reports whether the selector picks by topology zone.
func (s *selector) byZone() bool { return s.by >= byZone }

// matches reports whether the selector's port and protocol labels pick p.
func (s *selector) matches(p *Port) bool {
	return s.by != byPort || (len(s.first) == 0 || compareFold(p.Name, s.first) == 0) &&
		(len(s.second) == 0 || compareFold(p.Protocol, s.second) == 0)
}

// noPort stands for the ports of a service or slice without any: it has
// addresses, but no SRV records.
var noPort = []Port{{Number: -1}}

// numMatching returns how many of ports the selector picks, counting a lack of
// ports as one unnamed port.
func (s *selector) numMatching(ports []Port) (n int) {
	if len(ports) == 0 {
		ports = noPort
	}
	for i := range ports {
		if s.matches(&ports[i]) {
			n++
		}
	}
	return n
}

// appendDashed appends the label of an endpoint without a hostname: its address
// with dashes for dots and colons, and a 0 behind a final dash, which would be
// no hostname (RFC 1123 §2.1).
func appendDashed(dst []byte, addr netip.Addr) []byte {
	dst = appendDashes(dst, addr)
	if dst[len(dst)-1] == '-' {
		dst = append(dst, '0')
	}
	return dst
}

// appendDashes appends an address with dashes for dots and colons.
func appendDashes(dst []byte, addr netip.Addr) []byte {
	n := len(dst)
	dst = addr.AppendTo(dst)
	for i := n; i < len(dst); i++ {
		if dst[i] == '.' || dst[i] == ':' {
			dst[i] = '-'
		}
	}
	return dst
}

// parseDashed reads an address written with dashes for dots, if there are
// exactly three and no two in a row, and otherwise for colons.
func parseDashed(label []byte) (netip.Addr, bool) {
	dashes, double := 0, false
	for i, c := range label {
		if c == '-' {
			dashes++
			double = double || i > 0 && label[i-1] == '-'
		}
	}
	if dashes == 3 && !double {
		return parseDashed4(label)
	}
	return parseDashed6(label)
}

func parseDashed4(label []byte) (netip.Addr, bool) {
	var b [4]byte
	n, digits, value := 0, 0, 0
	for _, c := range label {
		switch {
		case c == '-' && digits > 0 && n < 3:
			b[n] = byte(value)
			n, digits, value = n+1, 0, 0
		case '0' <= c && c <= '9' && !(digits > 0 && value == 0): // no leading zeros
			digits, value = digits+1, value*10+int(c-'0')
			if value > 255 {
				return netip.Addr{}, false
			}
		default:
			return netip.Addr{}, false
		}
	}
	b[n] = byte(value)
	return netip.AddrFrom4(b), n == 3 && digits > 0
}

func parseDashed6(label []byte) (netip.Addr, bool) {
	var b [16]byte
	n, gap := 0, -1 // octets so far; where "--" stood
	for i := 0; i < len(label); {
		if label[i] == '-' {
			if i+1 == len(label) || label[i+1] != '-' || gap >= 0 {
				return netip.Addr{}, false
			}
			gap = n
			i += 2
			continue
		}
		value, digits := 0, 0
		for ; i < len(label) && label[i] != '-'; i++ {
			d := hexDigit(label[i])
			if d < 0 || digits == 4 {
				return netip.Addr{}, false
			}
			value, digits = value<<4|d, digits+1
		}
		if n == len(b) {
			return netip.Addr{}, false
		}
		b[n], b[n+1] = byte(value>>8), byte(value)
		n += 2
		if i+1 < len(label) && label[i+1] != '-' {
			i++ // a single dash, with a group behind it
		}
	}
	if gap >= 0 && n < len(b) {
		copy(b[len(b)-(n-gap):], b[gap:n])
		clear(b[gap : len(b)-(n-gap)])
	} else if gap >= 0 || n < len(b) {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16(b).Unmap(), true
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// reverseAddr returns the address that a name below in-addr.arpa
// (RFC 1035 §3.5) or ip6.arpa (RFC 3596 §2.5) stands for.
func (q *query) reverseAddr() (netip.Addr, bool) {
	switch {
	case q.labels == 4+2 && string(q.from(4, 6)) == "\x07in-addr\x04arpa":
		var b [4]byte
		for i := range b {
			octet := q.label(3 - i)
			value := 0
			for _, c := range octet {
				if c < '0' || c > '9' {
					return netip.Addr{}, false
				}
				value = value*10 + int(c-'0')
				if value > 255 {
					return netip.Addr{}, false
				}
			}
			if octet[0] == '0' && len(octet) > 1 {
				return netip.Addr{}, false
			}
			b[i] = byte(value)
		}
		return netip.AddrFrom4(b), true
	case q.labels == 32+2 && string(q.from(32, 34)) == "\x03ip6\x04arpa":
		var b [16]byte
		for i := range 32 {
			nibble := q.label(31 - i)
			d := hexDigit(nibble[0])
			if d < 0 || len(nibble) > 1 {
				return netip.Addr{}, false
			}
			b[i/2] = b[i/2]<<4 | byte(d)
		}
		return netip.AddrFrom16(b).Unmap(), true
	}
	return netip.Addr{}, false
}
