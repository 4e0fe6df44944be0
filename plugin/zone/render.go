package zone

import (
	"bytes"
	"errors"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Renderer writes answers in wire format. The zero value is ready for use; a
// Renderer is used by one goroutine at a time and keeps memory between uses.
type Renderer struct {
	// Rotate, modulo their number, is how many of an owner's addresses go
	// behind the others.
	Rotate uint32

	b       dnswire.Builder
	offsets []int // by TargetRef: where that target stands in the message
	origin  int   // where the origin of PTR targets stands
	// Where the name below which the first SRV target is stands, and its labels
	// above the zone.
	parent       int
	parentLabels []byte

	why, options []byte // of the OPT record, if there is a reason to give
}

// ErrIncomplete is the error for an answer with the outcome Chase: only who has
// resolved its target can render it.
var ErrIncomplete = errors.New("zone: the answer's target is still to be resolved")

// rcodes are the response codes of outcomes (RFC 1035 §4.1.1).
var rcodes = [...]uint8{
	Success: dnswire.RcodeNoError, NoData: dnswire.RcodeNoError,
	NameError: dnswire.RcodeNXDomain, Unready: dnswire.RcodeServFail,
}

// staleOption is an Extended DNS Error without text: 3, Stale Answer (RFC 8914
// §4.4).
var staleOption = dnswire.AppendEDE(nil, dnswire.EDEStaleAnswer, "")

// SizeOptions returns how many octets a Renderer adds to the OPT record for
// options of its own.
func (a *Answer) SizeOptions() int {
	if a.Stale() {
		return len(staleOption)
	}
	return 0
}

// Rcode returns the response code for o; that of Chase is its target's.
func (o Outcome) Rcode() uint8 {
	if o == Chase {
		return dnswire.RcodeNoError
	}
	return rcodes[o]
}

// Append appends the reply to q that says a, for which q.Name was looked up,
// and returns the extended slice; limit is the number of octets the message
// may take. What does not fit is left out and TC set (RFC 1035 §4.1.1).
func (r *Renderer) Append(dst []byte, q *dnswire.Query, a *Answer, limit int) ([]byte, error) {
	if a.Outcome == Chase {
		return dst, ErrIncomplete
	}
	r.b.Reset(dst, limit, q)
	var options []byte
	if q.HasOPT && a.Stale() {
		options = staleOption
		r.b.Reserve(len(options))
	}
	r.offsets = r.offsets[:0]
	r.origin, r.parent = 0, 0
	a.Walk(r.record)
	if q.HasOPT {
		r.b.OPT(q.UDPSize, q.EDNSReplyFlags(), r.explain(options, a, limit))
	}
	return r.b.Finish(a.Outcome.Rcode(), q.ReplyFlags()|dnswire.FlagAA)
}

// explain returns options and the one that says why a has no records.
func (r *Renderer) explain(options []byte, a *Answer, limit int) []byte {
	if a.Outcome == Success {
		return options
	}
	var code uint16
	if r.why, code = a.Explain(r.why[:0], limit); len(r.why) == 0 {
		return options
	}
	r.options = dnswire.AppendEDE(append(r.options[:0], options...), code, r.why)
	return r.options
}

// record writes rec; false if it did not fit.
func (r *Renderer) record(rec *Record) bool {
	owner := rec.Owner
	if rec.OwnerRef < len(r.offsets) && r.offsets[rec.OwnerRef] > 0 {
		if r.parent > 0 && r.offsets[rec.OwnerRef] > dnswire.MaxPointer && bytes.Equal(owner.Labels, r.parentLabels) {
			owner = dnswire.Name{Label: owner.Label, At: r.parent} // the end of another target, which a pointer reaches
		} else {
			owner = dnswire.Name{At: r.offsets[rec.OwnerRef]}
		}
	}
	r.b.Section(rec.Section)
	ok, at := false, 0
	switch rec.Type {
	case dnswire.TypeA:
		return r.addrs(owner, rec, 4)
	case dnswire.TypeAAAA:
		return r.addrs(owner, rec, 16)
	case dnswire.TypeSRV:
		at, ok = r.b.SRV(owner, rec.TTL, 0, rec.Weight, rec.Port, rec.Target)
		if ok && r.parent == 0 && len(rec.Target.Label) > 0 && rec.Target.At > 0 {
			r.parent, r.parentLabels = at+1+len(rec.Target.Label), rec.Target.Labels
		}
	case dnswire.TypeCNAME:
		at, ok = r.b.CNAME(owner, rec.TTL, rec.Target)
	case dnswire.TypeNS:
		at, ok = r.b.NS(owner, rec.TTL, rec.Target)
	case dnswire.TypePTR:
		target := rec.Target
		if r.origin > 0 {
			target.At = r.origin
		}
		_, ok = r.b.PTR(owner, rec.TTL, target)
		if r.origin == 0 {
			r.origin = r.b.Len() - len(target.Origin)
		}
	case dnswire.TypeTXT:
		return r.b.TXT(owner, rec.TTL, rec.Text)
	case dnswire.TypeSOA:
		return r.b.SOA(owner, rec.TTL, &rec.SOA)
	}
	if ok && rec.TargetRef > 0 {
		for len(r.offsets) <= rec.TargetRef {
			r.offsets = append(r.offsets, 0)
		}
		if r.offsets[rec.TargetRef] == 0 {
			r.offsets[rec.TargetRef] = at
		}
	}
	return ok
}

// addrs writes addresses of size octets each.
func (r *Renderer) addrs(owner dnswire.Name, rec *Record, size int) bool {
	n := len(rec.Packed) / size
	first := 0
	if n > 1 {
		first = int(r.Rotate%uint32(n)) * size
	}
	rest := (len(rec.Packed) - first) / size
	return r.b.AddrSet(owner, rec.Type, rec.TTL, rec.Packed[first:]) == rest &&
		(first == 0 || r.b.AddrSet(owner, rec.Type, rec.TTL, rec.Packed[:first]) == n-rest)
}
