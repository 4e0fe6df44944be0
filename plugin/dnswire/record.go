package dnswire

import "encoding/binary"

// recordLen is a record's length without owner and RDATA: type 2, class 2, TTL
// 4, RDLENGTH 2 (RFC 1035 §4.1.3).
const recordLen = 10

// record appends owner, typ, IN, ttl and rdlen, and returns the rdlen octets
// of RDATA to fill, or nil when the record does not fit or an error sticks.
func (b *Builder) record(owner *Name, typ uint16, ttl uint32, rdlen int) []byte {
	if b.err != nil {
		return nil
	}
	size := b.nameSize(owner, true)
	if size < 0 {
		return nil
	}
	p := b.extend(size + recordLen + rdlen)
	if p == nil {
		b.truncated = true
		return nil
	}
	b.counts[b.section]++
	p = b.writeName(p, owner, true)
	_ = p[recordLen-1]
	binary.BigEndian.PutUint16(p, typ)
	binary.BigEndian.PutUint16(p[2:], ClassIN)
	binary.BigEndian.PutUint32(p[4:], ttl)
	binary.BigEndian.PutUint16(p[8:], uint16(rdlen))
	return p[recordLen:]
}

// A appends an address record (RFC 1035 §3.4.1). ttl is in seconds, here and
// in every appender.
func (b *Builder) A(owner Name, ttl uint32, addr [4]byte) bool {
	p := b.record(&owner, TypeA, ttl, len(addr))
	copy(p, addr[:])
	return p != nil
}

// AAAA appends an IPv6 address record (RFC 3596 §2.2).
func (b *Builder) AAAA(owner Name, ttl uint32, addr [16]byte) bool {
	p := b.record(&owner, TypeAAAA, ttl, len(addr))
	copy(p, addr[:])
	return p != nil
}

// AddrSet appends one record of type typ, A or AAAA, for each address in
// packed, 4 or 16 octets each, as many as fit, and returns how many it wrote.
// From the second record on the owner is a pointer.
func (b *Builder) AddrSet(owner Name, typ uint16, ttl uint32, packed []byte) (written int) {
	size := 4
	if typ == TypeAAAA {
		size = 16
	} else if typ != TypeA {
		b.fail(ErrRData)
	}
	if len(packed)%size != 0 {
		b.fail(ErrRData)
	}
	for len(packed) > 0 {
		if len(owner.Label)+len(owner.Labels) == 0 && QuestionName <= owner.At && owner.At <= MaxPointer && owner.At < b.Len() {
			return written + b.addrRun(owner.At, typ, ttl, packed, size)
		}
		at := b.Len()
		p := b.record(&owner, typ, ttl, size)
		if p == nil {
			break
		}
		copy(p, packed[:size])
		packed = packed[size:]
		written++
		if at <= MaxPointer {
			owner = Name{At: at}
		}
	}
	return written
}

// addrRun is AddrSet for an owner that a pointer to at stands for: records of
// one length with the same 12 octets before the address.
func (b *Builder) addrRun(at int, typ uint16, ttl uint32, packed []byte, size int) int {
	if b.err != nil {
		return 0
	}
	one := 2 + recordLen + size
	n := len(packed) / size
	if fit := (b.end - len(b.buf)) / one; n > fit {
		n = max(fit, 0)
		b.truncated = true
	}
	p := b.extend(n * one)
	b.counts[b.section] += uint16(n)
	head := (pointerBits|uint64(at))<<48 | uint64(typ)<<32 | uint64(ClassIN)<<16 | uint64(ttl>>16)
	tail := ttl<<16 | uint32(size)
	for range n {
		binary.BigEndian.PutUint64(p, head)
		binary.BigEndian.PutUint32(p[8:], tail)
		if size == 4 {
			binary.NativeEndian.PutUint32(p[12:], binary.NativeEndian.Uint32(packed))
		} else {
			copy(p[12:28], packed[:16])
		}
		p, packed = p[one:], packed[size:]
	}
	return n
}

// CNAME appends an alias record (RFC 1035 §3.3.1). at is the offset of its
// target, for records that the target owns.
func (b *Builder) CNAME(owner Name, ttl uint32, target Name) (at int, ok bool) {
	return b.nameRecord(&owner, TypeCNAME, ttl, &target)
}

// NS appends a name server record (RFC 1035 §3.3.11). at is the offset of the
// server's name.
func (b *Builder) NS(owner Name, ttl uint32, server Name) (at int, ok bool) {
	return b.nameRecord(&owner, TypeNS, ttl, &server)
}

// PTR appends a pointer record (RFC 1035 §3.3.12). at is the offset of target.
func (b *Builder) PTR(owner Name, ttl uint32, target Name) (at int, ok bool) {
	return b.nameRecord(&owner, TypePTR, ttl, &target)
}

// nameRecord appends a record whose RDATA is one name. It may be compressed:
// RFC 3597 §4 leaves that to the types of RFC 1035.
func (b *Builder) nameRecord(owner *Name, typ uint16, ttl uint32, target *Name) (at int, ok bool) {
	size := b.nameSize(target, true)
	if size < 0 {
		return 0, false
	}
	p := b.record(owner, typ, ttl, size)
	if p == nil {
		return 0, false
	}
	b.writeName(p, target, true)
	if size == 2 && target.At != 0 {
		return target.At, true // a pointer alone: what it points to serves as well
	}
	return b.Len() - size, true
}

// SRV appends a service record (RFC 2782). Its target is always spelled out:
// RFC 2782 forbids a pointer there, RFC 3597 §4 repeats it, and miekg/dns
// never writes one. Later names may point into it, as miekg/dns has them do;
// at is its offset, for the glue.
func (b *Builder) SRV(owner Name, ttl uint32, priority, weight, port uint16, target Name) (at int, ok bool) {
	size := b.nameSize(&target, false)
	if size < 0 {
		return 0, false
	}
	p := b.record(&owner, TypeSRV, ttl, 6+size)
	if p == nil {
		return 0, false
	}
	binary.BigEndian.PutUint16(p, priority)
	binary.BigEndian.PutUint16(p[2:], weight)
	binary.BigEndian.PutUint16(p[4:], port)
	b.writeName(p[6:], &target, false)
	return b.Len() - size, true
}

// TXT appends a text record of the given strings, at least one and each of at
// most 255 octets (RFC 1035 §3.3.14).
func (b *Builder) TXT(owner Name, ttl uint32, text ...string) bool {
	size := 0
	for _, s := range text {
		if len(s) > 255 {
			b.fail(ErrRData)
			return false
		}
		size += 1 + len(s)
	}
	if size == 0 {
		b.fail(ErrRData)
		return false
	}
	p := b.record(&owner, TypeTXT, ttl, size)
	if p == nil {
		return false
	}
	for _, s := range text {
		p[0] = byte(len(s))
		p = p[1+copy(p[1:], s):]
	}
	return true
}

// SOA is the data of a start-of-authority record (RFC 1035 §3.3.13). The times
// are in seconds.
type SOA struct {
	MName, RName                            Name
	Serial, Refresh, Retry, Expire, Minimum uint32
}

// SOA appends a start-of-authority record.
func (b *Builder) SOA(owner Name, ttl uint32, soa *SOA) bool {
	m, r := b.nameSize(&soa.MName, true), b.nameSize(&soa.RName, true)
	if m < 0 || r < 0 {
		return false
	}
	p := b.record(&owner, TypeSOA, ttl, m+r+20)
	if p == nil {
		return false
	}
	p = b.writeName(p, &soa.MName, true)
	p = b.writeName(p, &soa.RName, true)
	_ = p[19]
	binary.BigEndian.PutUint32(p, soa.Serial)
	binary.BigEndian.PutUint32(p[4:], soa.Refresh)
	binary.BigEndian.PutUint32(p[8:], soa.Retry)
	binary.BigEndian.PutUint32(p[12:], soa.Expire)
	binary.BigEndian.PutUint32(p[16:], soa.Minimum)
	return true
}

// OPT appends the EDNS record, version 0 and no extended response code
// (RFC 6891 §6.1.2), as the last record and at most once. udpSize is what it
// advertises, flags the DO and Z bits. Without options it always fits in the
// reply to a query that had OPT; options that do not fit return false, set no
// TC, and leave it to the caller to try without.
func (b *Builder) OPT(udpSize, flags uint16, options []byte) bool {
	b.Section(Additional)
	if b.err != nil {
		return false
	}
	b.end += b.reserved
	p := b.extend(optLen + len(options))
	if p == nil {
		b.end -= b.reserved
		return false
	}
	b.reserved = 0
	b.counts[Additional]++
	p[0] = 0
	binary.BigEndian.PutUint16(p[1:], TypeOPT)
	binary.BigEndian.PutUint16(p[3:], udpSize)
	binary.BigEndian.PutUint32(p[5:], uint32(flags))
	binary.BigEndian.PutUint16(p[9:], uint16(len(options)))
	copy(p[optLen:], options)
	return true
}
