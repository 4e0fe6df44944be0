package clusterdns

import (
	"math/rand/v2"
	"net"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// fitting is message for a client whose size may spare most of the records: of
// addresses that will be cut off where the reply is full (request.Request.Scrub),
// it makes those that may fit and one more, from a random place on, and sets TC,
// so that no plugin takes them for all of them.
//
// Of SRV records it makes those with the shortest targets, as shortestFirst would
// have them, without the addresses of targets: there is no room for those. Any
// plugin may cut records behind a CNAME elsewhere than we would.
func fitting(r *dns.Msg, name []byte, a *zone.Answer, client *request.Request) *dns.Msg {
	switch r.Question[0].Qtype {
	case dns.TypeSRV:
		return fittingSRV(r, name, a, client.Size())
	case dns.TypeTXT:
		return messageUpTo(r, name, a, client.Size())
	}
	all, width := a.Addrs(), net.IPv4len
	if r.Question[0].Qtype == dns.TypeAAAA {
		width = net.IPv6len
	}
	record := 2 + 10 + width // with a pointer for its owner
	if len(all)/width <= dns.MinMsgSize/record {
		return message(r, name, a) // whatever the client's size
	}
	most := client.Size()/record + 1
	if len(all)/width <= most {
		return message(r, name, a)
	}
	m := new(dns.Msg)
	m.SetRcode(r, dns.RcodeSuccess)
	m.Authoritative, m.Truncated = true, true
	from := rand.IntN(len(all)/width) * width
	some := slices.Concat(all[from:min(len(all), from+most*width)], all[:max(0, from+most*width-len(all))])
	b := builder{question: r.Question[0].Name, wire: name}
	a.Walk(func(rec *zone.Record) bool {
		rec.Packed = some
		m.Answer = b.append(nil, rec)
		return false // there is but this one
	})
	return m
}

// fewOctets of SRV records are made whatever the client's size.
const fewOctets = 4096

// fittingSRV is fitting for SRV records.
func fittingSRV(r *dns.Msg, name []byte, a *zone.Answer, size int) *dns.Msg {
	const record = 2 + 10 + 6 // with a pointer for its owner; targets are not compressed
	if a.Pairs() <= fewOctets/(record+1) {
		return message(r, name, a)
	}
	var targets [256]int // by their length
	all := 0
	a.Walk(func(rec *zone.Record) bool {
		if rec.Type != dns.TypeSRV {
			return false
		}
		n := a.NameLen(&rec.Target)
		targets[n]++
		all += record + n
		return true
	})
	if all <= max(size, fewOctets) {
		return message(r, name, a)
	}
	// Of each length as many as fit, and of the last one more.
	some := 0
	for n := range targets {
		if size < 0 {
			targets[n] = 0
			continue
		}
		targets[n] = min(targets[n], size/(record+n)+1)
		size -= targets[n] * (record + n)
		some += targets[n]
	}
	m := new(dns.Msg)
	m.SetRcode(r, dns.RcodeSuccess)
	m.Authoritative, m.Truncated = true, true
	b := builder{question: r.Question[0].Name, wire: name}
	a.Walk(func(rec *zone.Record) bool {
		if n := a.NameLen(&rec.Target); targets[n] > 0 {
			targets[n]--
			m.Answer = b.append(m.Answer, rec)
		}
		return len(m.Answer) < some
	})
	return m
}

// message returns the reply to r, whose question's name in wire format is name,
// that a says: what zone.Renderer writes to the wire, for the plugins in front of
// ours that look into replies. Names that stand in the question, the zone above
// all, share its spelling. Of an answer that no message has room for it makes
// somewhat more than fits, and sets TC: what it costs is bounded.
func message(r *dns.Msg, name []byte, a *zone.Answer) *dns.Msg {
	return messageUpTo(r, name, a, dns.MaxMsgSize)
}

// messageUpTo is message for a client that takes so many octets.
func messageUpTo(r *dns.Msg, name []byte, a *zone.Answer, size int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(r, int(a.Outcome.Rcode()))
	m.Authoritative = true
	b := builder{question: r.Question[0].Name, wire: name}
	least := 0 // octets
	whole := a.Walk(func(rec *zone.Record) bool {
		if least > size {
			return false
		}
		least += rec.Least()
		switch rec.Section {
		case dnswire.Authority:
			m.Ns = b.append(m.Ns, rec)
		case dnswire.Additional:
			m.Extra = b.append(m.Extra, rec)
		default:
			m.Answer = b.append(m.Answer, rec)
		}
		return true
	})
	m.Truncated = !whole
	return m
}

// shortestFirst puts the records of m, a reply with SRV records, in an order in which as
// many as possible fit, if not all of them fit size octets: CoreDNS cuts a
// reply off where it is full.
func shortestFirst(m *dns.Msg, size int) {
	if m.Len() <= size {
		return
	}
	slices.SortStableFunc(m.Answer, func(a, b dns.RR) int {
		return len(a.(*dns.SRV).Target) - len(b.(*dns.SRV).Target)
	})
	slices.SortStableFunc(m.Extra, func(a, b dns.RR) int { return dns.Len(a) - dns.Len(b) })
}

// exceedsTCP reports whether m has more records than a message can hold, so that
// they cannot be had from us at all.
func exceedsTCP(m *dns.Msg) bool {
	if len(m.Answer)+len(m.Extra) < dns.MaxMsgSize/(255+18) { // an SRV record's most, compressed
		return false
	}
	compressed := *m
	compressed.Compress = true
	return compressed.Len() > dns.MaxMsgSize
}

// builder turns records into miekg/dns's.
type builder struct {
	question string   // the question's name, in presentation format
	wire     []byte   // the same in wire format
	targets  []string // by TargetRef
	at       int      // the offset last asked of suffix, and what it returned
	text     string
}

// append appends the RRs that rec stands for, several if it has several
// addresses.
func (b *builder) append(rrs []dns.RR, rec *zone.Record) []dns.RR {
	hdr := dns.RR_Header{Name: b.owner(rec), Rrtype: rec.Type, Class: dns.ClassINET, Ttl: rec.TTL}
	switch rec.Type {
	case dns.TypeA:
		return appendAddrs(rrs, rec.Packed, net.IPv4len, func(rr *dns.A, ip net.IP) dns.RR {
			rr.Hdr, rr.A = hdr, ip
			return rr
		})
	case dns.TypeAAAA:
		return appendAddrs(rrs, rec.Packed, net.IPv6len, func(rr *dns.AAAA, ip net.IP) dns.RR {
			rr.Hdr, rr.AAAA = hdr, ip
			return rr
		})
	case dns.TypeSRV:
		return append(rrs, &dns.SRV{Hdr: hdr, Weight: rec.Weight, Port: rec.Port, Target: b.target(rec)})
	case dns.TypeCNAME:
		return append(rrs, &dns.CNAME{Hdr: hdr, Target: b.target(rec)})
	case dns.TypePTR:
		return append(rrs, &dns.PTR{Hdr: hdr, Ptr: b.target(rec)})
	case dns.TypeNS:
		return append(rrs, &dns.NS{Hdr: hdr, Ns: b.target(rec)})
	case dns.TypeTXT:
		return append(rrs, &dns.TXT{Hdr: hdr, Txt: characterStrings(rec.Text)})
	}
	s := &rec.SOA // the only other type there is
	return append(rrs, &dns.SOA{
		Hdr: hdr, Ns: b.name(&s.MName), Mbox: b.name(&s.RName), Serial: s.Serial,
		Refresh: s.Refresh, Retry: s.Retry, Expire: s.Expire, Minttl: s.Minimum,
	})
}

// characterStrings divides the text of a TXT record into what it consists of
// (RFC 1035 §3.3.14): strings of at most 255 octets.
func characterStrings(text string) (all []string) {
	for len(text) > 255 {
		all, text = append(all, text[:255]), text[255:]
	}
	return append(all, text)
}

// appendAddrs appends an RR for each address in packed, all of them in one
// piece of memory.
func appendAddrs[RR any](rrs []dns.RR, packed []byte, size int, set func(*RR, net.IP) dns.RR) []dns.RR {
	n := len(packed) / size
	ips := append(net.IP(nil), packed...)
	made := make([]RR, n)
	if rrs == nil {
		rrs = make([]dns.RR, 0, n)
	}
	for i := range made {
		rrs = append(rrs, set(&made[i], ips[i*size:(i+1)*size:(i+1)*size]))
	}
	return rrs
}

func (b *builder) owner(rec *zone.Record) string {
	if 0 < rec.OwnerRef && rec.OwnerRef < len(b.targets) && b.targets[rec.OwnerRef] != "" {
		return b.targets[rec.OwnerRef]
	}
	return b.name(&rec.Owner)
}

func (b *builder) target(rec *zone.Record) string {
	if rec.TargetRef == 0 {
		return b.name(&rec.Target)
	}
	for len(b.targets) <= rec.TargetRef {
		b.targets = append(b.targets, "")
	}
	if b.targets[rec.TargetRef] == "" {
		b.targets[rec.TargetRef] = b.name(&rec.Target)
	}
	return b.targets[rec.TargetRef]
}

// name returns n in presentation format.
func (b *builder) name(n *dnswire.Name) string {
	if n.At != 0 && len(n.Label)+len(n.Labels) == 0 {
		return b.suffix(n.At)
	}
	var wireBuf [255]byte
	wire := wireBuf[:0]
	if len(n.Label) > 0 {
		wire = append(append(wire, byte(len(n.Label))), n.Label...)
	}
	wire = append(wire, n.Labels...)
	var textBuf [512]byte
	text := textBuf[:0]
	if len(wire) > 0 {
		text = dnswire.AppendNameString(text, wire)
	}
	switch {
	case n.At != 0:
		if rest := b.suffix(n.At); rest != "." {
			text = append(text, rest...)
		}
	case len(n.Origin) > 1:
		text = dnswire.AppendNameString(text, n.Origin)
	case len(text) == 0:
		return "."
	}
	return string(text)
}

// suffix returns the part of the question's name that stands at the offset at
// of a message.
func (b *builder) suffix(at int) string {
	if at == b.at {
		return b.text
	}
	b.at, b.text = at, b.question
	for wire := b.wire; len(b.wire)-len(wire) < at-dnswire.QuestionName; {
		wire = wire[1+wire[0]:]
		i, end := dns.NextLabel(b.text, 0)
		if end {
			b.text = "."
			break
		}
		b.text = b.text[i:]
	}
	return b.text
}
