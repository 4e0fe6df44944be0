package dnswire

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/miekg/dns"
)

func TestQuerySize(t *testing.T) {
	if got := unsafe.Sizeof(Query{}); got != 64 {
		t.Errorf("Query takes %d bytes, want 64: its comment says so", got)
	}
}

// query returns a packed question, changed by edit before packing.
func query(t testing.TB, name string, qtype uint16, edit ...func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.Id = 0x1234
	for _, f := range edit {
		f(m)
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// withOPT adds an OPT that advertises 1232 octets.
func withOPT(options ...dns.EDNS0) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.SetEdns0(1232, true)
		m.IsEdns0().Option = options
	}
}

// parsed returns the Query for a message that must be accepted.
func parsed(t testing.TB, msg []byte) *Query {
	t.Helper()
	q := new(Query)
	if r := ParseQuery(msg, q); r != Accepted {
		t.Fatalf("%x declined: %v", msg, r)
	}
	return q
}

func TestParseQuery(t *testing.T) {
	plain := query(t, "web.shop.svc.cluster.local.", dns.TypeA)
	edns := query(t, "web.shop.svc.cluster.local.", dns.TypeA, withOPT())
	patch := func(msg []byte, at int, b ...byte) []byte {
		msg = slices.Clone(msg)
		copy(msg[at:], b)
		return msg
	}
	longest := strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61) + "."
	opt := len(plain) // where the OPT begins in edns

	for _, tc := range []struct {
		name string
		msg  []byte
		want Reason
	}{
		{"plain", plain, Accepted},
		{"EDNS", edns, Accepted},
		{"root", query(t, ".", dns.TypeNS), Accepted},
		{"255 octets", query(t, longest, dns.TypeA), Accepted},
		{"CHAOS", patch(plain, len(plain)-1, 3), Accepted},
		{"RD, AD and CD", patch(plain, 2, 1, 0x30), Accepted},
		{"EDNS version 1", patch(edns, opt+6, 1), Accepted},
		{"NSID, COOKIE, PADDING", query(t, "a.", dns.TypeA, withOPT(&dns.EDNS0_NSID{Code: 3},
			&dns.EDNS0_COOKIE{Code: 10, Cookie: "0123456789abcdef"}, &dns.EDNS0_PADDING{Padding: make([]byte, 9)})), Accepted},

		{"empty", nil, Short},
		{"header cut", plain[:11], Short},
		{"header alone", plain[:12], Short},
		{"name cut", plain[:20], Short},
		{"root label missing", plain[:len(plain)-5], Short},
		{"class cut", plain[:len(plain)-1], Short},
		{"OPT missing", edns[:opt], Short},
		{"OPT cut", edns[:len(edns)-1], Short},
		{"OPT data missing", patch(edns, opt+10, 1), Short},
		{"QR", patch(plain, 2, 0x80), NotQuery},
		{"NOTIFY", patch(plain, 2, 4<<3), NotQuery},
		{"AA", patch(plain, 2, 4), HeaderBits},
		{"TC", patch(plain, 2, 2), HeaderBits},
		{"RA", patch(plain, 3, 0x80), HeaderBits},
		{"Z", patch(plain, 3, 0x40), HeaderBits},
		{"response code", patch(plain, 3, 1), HeaderBits},
		{"no question", patch(plain, 4, 0, 0), QuestionCount},
		{"two questions", patch(plain, 4, 0, 2), QuestionCount},
		{"257 questions", patch(plain, 4, 1, 1), QuestionCount},
		{"answer", patch(plain, 6, 0, 1), OtherSections},
		{"authority", patch(plain, 8, 0, 1), OtherSections},
		{"two additional", patch(plain, 10, 0, 2), NotOPT},
		{"256 additional", patch(plain, 10, 1, 0), NotOPT},
		{"additional A", patch(edns, opt+1, 0, 1), NotOPT},
		{"OPT owner", patch(edns, opt, 1), NotOPT},
		{"compressed", patch(plain, 12, 0xC0, 0x20), Compressed},
		{"label type 01", patch(plain, 12, 0x40), LabelType},
		{"label type 10", patch(plain, 12, 0xBF), LabelType},
		{"256 octets", slices.Concat(query(t, longest, dns.TypeA)[:12+192], []byte{62}, bytes.Repeat([]byte("b"), 62), []byte{0, 0, 1, 0, 1}), NameTooLong},
		{"option header cut", append(patch(edns, opt+10, 3), 0, 3, 0), OptionLength},
		{"option too long", append(patch(edns, opt+10, 4), 0, 3, 0, 1), OptionLength},
		{"client subnet", query(t, "a.", dns.TypeA, withOPT(&dns.EDNS0_SUBNET{Code: 8, Family: 0})), OptionCode},
		{"keepalive", query(t, "a.", dns.TypeA, withOPT(&dns.EDNS0_TCP_KEEPALIVE{Code: 11})), OptionCode},
		{"unassigned option", query(t, "a.", dns.TypeA, withOPT(&dns.EDNS0_LOCAL{Code: 0xFDE9})), OptionCode},
		{"octet after the question", append(slices.Clone(plain), 0), TrailingBytes},
		{"octet after the OPT", append(slices.Clone(edns), 0), TrailingBytes},
	} {
		var q Query
		if got := ParseQuery(tc.msg, &q); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestQueryFields(t *testing.T) {
	msg := query(t, "wEb.shop.", dns.TypeAAAA, withOPT(&dns.EDNS0_NSID{Code: 3, Nsid: "ab"}), func(m *dns.Msg) {
		m.CheckingDisabled, m.AuthenticatedData = true, true
		o := m.IsEdns0()
		o.SetZ(0x2A55)
		o.SetCo()
		o.SetVersion(7)
		m.Rcode = 0xAB0
	})
	q := parsed(t, msg)
	want := Query{
		Name:    []byte("\x03wEb\x04shop\x00"),
		Options: []byte{0, 3, 0, 1, 0xAB},
		ID:      0x1234, Flags: FlagRD | FlagAD | FlagCD, Type: TypeAAAA, Class: ClassIN,
		HasOPT: true, DO: true, UDPSize: 1232, Z: 0x6A55, Version: 7, ExtRcode: 0xAB,
	}
	if !bytes.Equal(q.Name, want.Name) || &q.Name[0] != &msg[12] {
		t.Errorf("Name %q", q.Name)
	}
	if !bytes.Equal(q.Options, want.Options) {
		t.Errorf("Options %x", q.Options)
	}
	if !q.HasOption(3) || q.HasOption(10) {
		t.Error("HasOption")
	}
	if got := q.ReplyFlags(); got != FlagQR|FlagRD|FlagCD {
		t.Errorf("ReplyFlags %#x", got)
	}
	if got := q.EDNSReplyFlags(); got != 0xEA00 {
		t.Errorf("EDNSReplyFlags %#x", got)
	}
	q.Name, q.Options, want.Name, want.Options = nil, nil, nil, nil
	if got := *q; !equalFields(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}

	// Nothing of one message is left in the next.
	if r := ParseQuery(query(t, ".", dns.TypeA), q); r != Accepted || q.HasOPT || q.DO || q.Options != nil || q.UDPSize != 0 {
		t.Errorf("%v, %+v", r, q)
	}
}

// equalFields compares all but the slices.
func equalFields(a, b Query) bool {
	return a.ID == b.ID && a.Flags == b.Flags && a.Type == b.Type && a.Class == b.Class && a.HasOPT == b.HasOPT &&
		a.DO == b.DO && a.UDPSize == b.UDPSize && a.Z == b.Z && a.Version == b.Version && a.ExtRcode == b.ExtRcode
}

func TestReasonString(t *testing.T) {
	seen := map[string]bool{}
	for r := range Reason(NumReasons) {
		s := r.String()
		if s == "" || s == "unknown" || seen[s] || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("reason %d: %q", r, s)
		}
		seen[s] = true
	}
	if got := Reason(NumReasons).String(); got != "unknown" {
		t.Errorf("past the end: %q", got)
	}
}

func TestParseQueryAllocs(t *testing.T) {
	msg := query(t, "web.shop.svc.cluster.local.", dns.TypeA, withOPT(&dns.EDNS0_COOKIE{Code: 10, Cookie: "0123456789abcdef"}))
	var q Query
	if n := testing.AllocsPerRun(100, func() { ParseQuery(msg, &q) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParseQuery holds ParseQuery to miekg/dns both ways: what it accepts,
// miekg accepts, unpacks to the same fields and packs to the same bytes; and a
// plain query that miekg packs, it accepts.
func FuzzParseQuery(f *testing.F) {
	f.Add(query(f, "web.shop.svc.cluster.local.", dns.TypeA))
	f.Add(query(f, ".", dns.TypeANY, withOPT()))
	f.Add(query(f, "WeB.\\000\\.\\@.", dns.TypeSRV, withOPT(&dns.EDNS0_NSID{Code: 3}, &dns.EDNS0_PADDING{Padding: make([]byte, 3)})))
	f.Add(query(f, "a.", dns.TypeA, withOPT(&dns.EDNS0_COOKIE{Code: 10, Cookie: "0123456789abcdef"}, &dns.EDNS0_DAU{Code: 5, AlgCode: []uint8{8}})))
	f.Add(query(f, "a.", dns.TypeA, withOPT(&dns.EDNS0_SUBNET{Code: 8, Family: 0})))
	f.Add(query(f, "a.", dns.TypeA, withOPT(), func(m *dns.Msg) { m.Rcode = 0xFF0; m.IsEdns0().SetVersion(1) }))
	f.Add(query(f, strings.Repeat(strings.Repeat("a", 63)+".", 3)+strings.Repeat("b", 61)+".", dns.TypeA))
	f.Add([]byte("\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\xc0\x0e\x00\x01\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var q Query
		reason := ParseQuery(msg, &q)
		var m dns.Msg
		err := m.Unpack(msg)
		if reason == Accepted {
			if err != nil {
				t.Fatalf("accepted, miekg says %v", err)
			}
			sameQuery(t, &q, &m)
			if again, err := m.Pack(); err != nil || !bytes.Equal(again, msg) {
				t.Fatalf("accepted %x, miekg packs it as %x, %v", msg, again, err)
			}
		}
		if err != nil || !isPlain(&m) {
			return
		}
		packed, err := m.Pack()
		if err != nil {
			return
		}
		if r := ParseQuery(packed, &q); r != Accepted {
			t.Fatalf("%x declined: %v", packed, r)
		}
		sameQuery(t, &q, &m)
	})
}

// sameQuery compares what ParseQuery and miekg/dns made of one message.
func sameQuery(t *testing.T, q *Query, m *dns.Msg) {
	t.Helper()
	if !isPlain(m) {
		t.Fatalf("no plain query: %v", m)
	}
	want := Query{ID: m.Id, Type: m.Question[0].Qtype, Class: m.Question[0].Qclass}
	for flag, set := range map[uint16]bool{FlagRD: m.RecursionDesired, FlagAD: m.AuthenticatedData, FlagCD: m.CheckingDisabled} {
		if set {
			want.Flags |= flag
		}
	}
	var codes []uint16
	if o := m.IsEdns0(); o != nil {
		want.HasOPT = true
		want.UDPSize, want.DO, want.Version = o.UDPSize(), o.Do(), o.Version()
		want.ExtRcode = uint8(o.ExtendedRcode() >> 4)
		want.Z = o.Z()
		if o.Co() {
			want.Z |= 1 << 14
		}
		for _, e := range o.Option {
			codes = append(codes, e.Option())
			if !q.HasOption(e.Option()) {
				t.Fatalf("option %d not seen", e.Option())
			}
		}
	}
	if !equalFields(*q, want) {
		t.Fatalf("got %+v, miekg %+v", *q, want)
	}
	if got := NameString(q.Name); got != m.Question[0].Name {
		t.Fatalf("name %q, miekg %q", got, m.Question[0].Name)
	}
	if (len(q.Options) > 0) != (len(codes) > 0) {
		t.Fatalf("options %x, miekg %v", q.Options, codes)
	}

	reply := new(dns.Msg).SetReply(m)
	hdr := dns.MsgHdr{Id: m.Id, Response: true, RecursionDesired: q.ReplyFlags()&FlagRD != 0, CheckingDisabled: q.ReplyFlags()&FlagCD != 0}
	if reply.MsgHdr != hdr {
		t.Fatalf("reply header %+v, want %+v", hdr, reply.MsgHdr)
	}
}

// isPlain says what ParseQuery's comment calls a plain query, in miekg's terms.
func isPlain(m *dns.Msg) bool {
	hdr := dns.MsgHdr{Id: m.Id, RecursionDesired: m.RecursionDesired, AuthenticatedData: m.AuthenticatedData,
		CheckingDisabled: m.CheckingDisabled, Rcode: m.Rcode &^ 15} // of a response code the OPT's part may be set
	if m.MsgHdr != hdr || len(m.Question) != 1 || len(m.Answer)+len(m.Ns) != 0 || len(m.Extra) > 1 {
		return false
	}
	if len(m.Extra) == 0 {
		return true
	}
	o, ok := m.Extra[0].(*dns.OPT)
	if !ok || o.Hdr.Name != "." {
		return false
	}
	for _, e := range o.Option {
		switch e.(type) {
		case *dns.EDNS0_NSID, *dns.EDNS0_DAU, *dns.EDNS0_DHU, *dns.EDNS0_N3U, *dns.EDNS0_COOKIE, *dns.EDNS0_PADDING:
		default:
			return false
		}
	}
	return true
}

func BenchmarkParseQuery(b *testing.B) {
	msg := query(b, "web.shop.svc.cluster.local.", dns.TypeA, withOPT(&dns.EDNS0_COOKIE{Code: 10, Cookie: "0123456789abcdef"}))
	b.Run("dnswire", func(b *testing.B) {
		b.ReportAllocs()
		var q Query
		for b.Loop() {
			if ParseQuery(msg, &q) != Accepted {
				b.Fatal("declined")
			}
		}
	})
	b.Run("miekg", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var m dns.Msg
			if err := m.Unpack(msg); err != nil {
				b.Fatal(err)
			}
		}
	})
}
