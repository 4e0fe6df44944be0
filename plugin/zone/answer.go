package zone

import (
	"net/netip"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Record is a record of an answer, or several addresses with one owner. Names
// with At set stand in the question; see dnswire.Name. It and what it refers to
// are valid until the walk goes on.
type Record struct {
	Section dnswire.Section
	Type    uint16
	TTL     uint32
	Owner   dnswire.Name
	// OwnerRef, if not 0, says that the owner is the target of the earlier
	// record with the same TargetRef.
	OwnerRef, TargetRef int

	Packed       []byte       // A and AAAA: addresses of 4 or 16 octets
	Target       dnswire.Name // CNAME, NS, PTR, SRV
	Weight, Port uint16       // SRV; its priority is always 0
	Text         string       // TXT
	SOA          dnswire.SOA  // SOA
}

// Least returns how many octets r takes in a message at least, with pointers for
// all names, and ends of names, that may stand there before.
func (r *Record) Least() int {
	const record, pointer = 2 + 10, 2 // with one for the owner
	switch {
	case r.Type == dnswire.TypeA:
		return len(r.Packed) / 4 * (record + 4)
	case r.Type == dnswire.TypeAAAA:
		return len(r.Packed) / 16 * (record + 16)
	case r.Type == dnswire.TypeSRV:
		return record + 6 + pointer
	case r.Type == dnswire.TypeTXT:
		return record + 1 + len(r.Text)
	case r.Type != dnswire.TypePTR: // whose targets are different, so that the first label is there
	case len(r.Target.Label) > 0:
		return record + 1 + len(r.Target.Label) + pointer
	case len(r.Target.Labels) > 0:
		return record + 1 + int(r.Target.Labels[0]) + pointer
	}
	return record
}

// Walk calls yield for the records of the answer, section by section, until it
// returns false, and reports whether it never did. Records with a name of more
// than 255 octets are left out, and counted (Index.LeftOut).
func (a *Answer) Walk(yield func(*Record) bool) bool {
	a.leftOut = 0 // what a look for the first record left out
	whole := a.walkAll(yield)
	a.countLeftOut()
	return whole
}

func (a *Answer) countLeftOut() {
	if a.leftOut > 0 {
		a.view.Index().leftOut.Add(uint64(a.leftOut))
		a.leftOut = 0
	}
}

func (a *Answer) walkAll(yield func(*Record) bool) bool {
	r := a.record()
	for i, s := range a.aliases {
		r.Type, r.Target, r.TargetRef = dnswire.TypeCNAME, dnswire.Name{Origin: s.target}, i+1
		if !yield(r) {
			return false
		}
		r.Owner, r.OwnerRef = r.Target, r.TargetRef
	}
	switch a.Outcome {
	case Success:
		r.TargetRef = 0
		return a.walk(r, yield)
	case Chase:
		return a.has == nothing || a.walk(r, yield)
	}
	r.Section = dnswire.Authority
	a.setSOA(r)
	return yield(r)
}

// Addrs returns the addresses, packed, that are all of the answer, and of the
// type asked for; nil if it is any other answer, or has not all that there are.
func (a *Answer) Addrs() []byte {
	if a.has == hasHost && a.Outcome == Success {
		switch a.qtype {
		case dnswire.TypeA:
			return a.to.v4
		case dnswire.TypeAAAA:
			return a.to.v6
		}
	}
	if a.most > 0 || a.Outcome != Success || a.has != hasAddrs || len(a.aliases) > 0 || !a.sel.all() && !a.ofClusterIP() {
		return nil
	}
	return a.svcAddrs()
}

// Alone reports whether a depends on nothing but its name's own service, namespace
// or address: not on what a CNAME leads to.
func (a *Answer) Alone() bool { return a.stamped }

// Pairs returns how many SRV records a has at most, if it is of those.
func (a *Answer) Pairs() int { return a.total }

// Tight reports whether a Renderer makes the reply as short as compression can
// (RFC 1035 §4.1.4). It does not look for names, or ends of names, that several
// CNAME, PTR or NS records repeat, or SRV records of several clusters.
func (a *Answer) Tight() bool {
	switch {
	case len(a.aliases) > 0:
		return false
	case a.Outcome != Success:
		return true
	case a.has == hasPTR:
		return a.svc != nil || a.snap.ownersOf(a.addr).len() == 1
	case a.has == hasNS:
		return len(a.servers.records) == 1
	case a.has == hasSRV:
		return !a.svc.id.imported || a.ofClusterIP()
	}
	return true
}

// Length returns how many octets the reply has with every name in full and
// without OPT. If they are more than limit it returns some number above limit,
// and looks at no more of the answer than that takes.
func (a *Answer) Length(limit int) int {
	const header, question, record = dnswire.QuestionName, 4, 10
	size := header + len(a.name) + question
	a.Walk(func(r *Record) bool {
		owner := record + a.NameLen(&r.Owner)
		switch r.Type {
		case dnswire.TypeA:
			size += len(r.Packed) / 4 * (owner + 4)
		case dnswire.TypeAAAA:
			size += len(r.Packed) / 16 * (owner + 16)
		case dnswire.TypeTXT:
			size += owner + 1 + len(r.Text)
		case dnswire.TypeSOA:
			size += owner + a.NameLen(&r.SOA.MName) + a.NameLen(&r.SOA.RName) + 20
		case dnswire.TypeSRV:
			size += owner + 6 + a.NameLen(&r.Target)
		default:
			size += owner + a.NameLen(&r.Target)
		}
		return size <= limit
	})
	return size
}

// NameLen returns how many octets a name in one of a's records takes in full.
func (a *Answer) NameLen(n *dnswire.Name) int {
	size := len(n.Labels)
	if len(n.Label) > 0 {
		size += 1 + len(n.Label)
	}
	if n.At > 0 {
		return size + dnswire.QuestionName + len(a.name) - n.At
	}
	return size + max(len(n.Origin), 1)
}

// fits reports whether a name is no longer than names can be. If not, the
// record is to be left out, and is counted.
func (a *Answer) fits(n *dnswire.Name) bool {
	if a.NameLen(n) <= maxName {
		return true
	}
	a.leftOut++
	return false
}

// record returns the first record of a walk, with what is still to be filled in.
func (a *Answer) record() *Record {
	a.rec = Record{Section: dnswire.Answer, TTL: a.ttl(), Owner: dnswire.Name{At: dnswire.QuestionName}}
	return &a.rec
}

// zone is where the origin stands in a reply, as the question spells it.
func (a *Answer) zone() int { return dnswire.QuestionName + a.originAt }

// maxSOATTL bounds the TTL of a cluster zone's SOA record, not of what it says of
// negative answers; CoreDNS's limit.
const maxSOATTL = 300

func (a *Answer) setSOA(r *Record) {
	r.Type = dnswire.TypeSOA
	ttl := a.ttl()
	if r.TTL = ttl; a.view.opt.External == nil {
		r.TTL = min(ttl, maxSOATTL)
	}
	r.Owner = dnswire.Name{At: a.zone()}
	r.SOA = dnswire.SOA{
		MName:  dnswire.Name{Labels: a.view.nameServer, At: a.zone()},
		RName:  dnswire.Name{Labels: a.view.hostmaster, At: a.zone()},
		Serial: a.snap.serial, Refresh: 7200, Retry: 1800, Expire: 86400,
		Minimum: ttl,
	}
}

var (
	nsDNS      = []byte("\x02ns\x03dns")
	hostmaster = []byte("\x0ahostmaster")
)

// textTTL is the TTL of dns-version.<zone>: 8 hours, as CoreDNS has it.
const textTTL = 28800

func (a *Answer) walk(r *Record, yield func(*Record) bool) bool {
	switch a.has {
	case hasText:
		r.Type, r.TTL, r.Text = dnswire.TypeTXT, textTTL, TextVersion
		return yield(r)
	case hasSOA:
		a.setSOA(r)
		return yield(r)
	case hasNS:
		return a.walkNS(r, yield)
	case hasLocal:
		return a.walkLocal(r, yield)
	case hasCNAME:
		r.Type, r.Target = dnswire.TypeCNAME, dnswire.Name{Origin: a.svc.target}
		return yield(r)
	case hasPod:
		return a.walkPod(r, yield)
	case hasExternal:
		return a.walkExternal(r, yield)
	case hasHost:
		return a.walkHost(r, yield)
	case hasPTR:
		return a.walkPTR(r, yield)
	case hasAddrs:
		return a.walkAddrs(r, yield)
	}
	if a.ofClusterIP() {
		return a.walkClusterSRV(r, yield)
	}
	return a.walkSRV(r, yield)
}

// pack returns addr as a record has it, in memory of a's that the next call
// overwrites.
func (a *Answer) pack(addr netip.Addr) []byte {
	if addr.Is4() {
		b := addr.As4()
		return a.packed[:copy(a.packed[:], b[:])]
	}
	a.packed = addr.As16()
	return a.packed[:]
}

// typeOf returns the type of addr's records.
func typeOf(addr netip.Addr) uint16 {
	if addr.Is4() {
		return dnswire.TypeA
	}
	return dnswire.TypeAAAA
}

// addrType is typeOf for a packed address.
func addrType(packed []byte) uint16 {
	if len(packed) == 4 {
		return dnswire.TypeA
	}
	return dnswire.TypeAAAA
}

// weight returns the weight of each of n SRV records, as CoreDNS has it: an
// equal share of 100, and at least 1.
func weight(n int) uint16 { return uint16(max(1, 100/max(1, n))) }
