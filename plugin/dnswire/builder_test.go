package dnswire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// unpacked returns msg as miekg/dns reads it.
func unpacked(t testing.TB, msg []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("%x: %v", msg, err)
	}
	return m
}

func TestBuilderHeader(t *testing.T) {
	q := parsed(t, query(t, "WeB.shop.", dns.TypeA))
	prefix := []byte{0xAA, 0xBB}
	var b Builder
	b.Reset(prefix, 512, q)
	if b.Len() != 12+10+4 {
		t.Errorf("Len %d", b.Len())
	}
	msg, err := b.Finish(RcodeNXDomain, q.ReplyFlags()|FlagAA)
	want := append(prefix, "\x12\x34\x85\x03\x00\x01\x00\x00\x00\x00\x00\x00\x03WeB\x04shop\x00\x00\x01\x00\x01"...)
	if err != nil || !bytes.Equal(msg, want) {
		t.Errorf("%x, %v, want %x", msg, err, want)
	}
}

func TestBuilderSections(t *testing.T) {
	q := parsed(t, query(t, "a.", dns.TypeA, withOPT()))
	owner := Name{At: QuestionName}
	var b Builder
	b.Reset(nil, 512, q)
	b.A(owner, 1, [4]byte{1})
	b.Section(Answer)
	b.A(owner, 2, [4]byte{2})
	b.Section(Authority)
	b.NS(owner, 3, owner)
	b.Section(Additional)
	b.A(owner, 4, [4]byte{4})
	b.OPT(1232, q.EDNSReplyFlags(), nil)
	msg, err := b.Finish(RcodeNoError, q.ReplyFlags())
	if err != nil {
		t.Fatal(err)
	}
	m := unpacked(t, msg)
	if len(m.Answer) != 2 || len(m.Ns) != 1 || len(m.Extra) != 2 || m.Truncated {
		t.Errorf("%v", m)
	}
	if o := m.IsEdns0(); o == nil || o.UDPSize() != 1232 || !o.Do() || o.Version() != 0 {
		t.Errorf("OPT %v", o)
	}
}

// TestBuilderNames checks what stands on the wire for each composition of a
// name, as the owner of an A record and as an SRV target.
func TestBuilderNames(t *testing.T) {
	const q = QuestionName
	for _, tc := range []struct {
		name   string
		in     Name
		owner  string
		target string
	}{
		{"root", Name{}, "\x00", "\x00"},
		{"question", Name{At: q}, "\xc0\x0c", "\x03web\x04shop\x03svc\x00"},
		{"suffix of the question", Name{At: q + 4}, "\xc0\x10", "\x04shop\x03svc\x00"},
		{"label", Name{Label: []byte("ep"), At: q}, "\x02ep\xc0\x0c", "\x02ep\x03web\x04shop\x03svc\x00"},
		{"run", Name{Labels: []byte("\x02db\x02ns"), At: q + 9}, "\x02db\x02ns\xc0\x15", "\x02db\x02ns\x03svc\x00"},
		{"label and run", Name{Label: []byte("ep"), Labels: []byte("\x02db\x02ns"), At: q + 9}, "\x02ep\x02db\x02ns\xc0\x15", "\x02ep\x02db\x02ns\x03svc\x00"},
		{"origin", Name{Origin: []byte("\x03org\x00")}, "\x03org\x00", "\x03org\x00"},
		{"label, run and origin", Name{Label: []byte("ep"), Labels: []byte("\x02db"), Origin: []byte("\x03org\x00")}, "\x02ep\x02db\x03org\x00", "\x02ep\x02db\x03org\x00"},
		{"label at the root", Name{Label: []byte("ep")}, "\x02ep\x00", "\x02ep\x00"},
	} {
		query := parsed(t, query(t, "web.shop.svc.", dns.TypeA))
		var b Builder
		b.Reset(nil, 512, query)
		start := b.Len()
		if !b.A(tc.in, 5, [4]byte{1, 2, 3, 4}) {
			t.Fatalf("%s: does not fit", tc.name)
		}
		if got, want := string(b.buf[start:]), tc.owner+"\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x01\x02\x03\x04"; got != want {
			t.Errorf("%s: A %q, want %q", tc.name, got, want)
		}
		at, ok := b.SRV(Name{At: q}, 5, 1, 2, 3, tc.in)
		if got := string(b.buf[at:]); !ok || got != tc.target {
			t.Errorf("%s: SRV target %q, want %q", tc.name, got, tc.target)
		}
		// A name at a pointer: the pointers are followed.
		at, _ = b.CNAME(Name{At: q}, 5, tc.in)
		at, ok = b.SRV(Name{At: q}, 5, 1, 2, 3, Name{At: at})
		if got := string(b.buf[at:]); !ok || got != tc.target {
			t.Errorf("%s: SRV target by way of CNAME %q, want %q", tc.name, got, tc.target)
		}
		if _, err := b.Finish(0, 0); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

// TestBuilderFarOffsets: beyond 0x3FFF a name is copied, not pointed to.
func TestBuilderFarOffsets(t *testing.T) {
	q := parsed(t, query(t, "web.", dns.TypeA))
	far := Name{Label: []byte("far"), At: QuestionName}
	var b Builder
	b.Reset(nil, 65535, q)
	b.AddrSet(Name{At: QuestionName}, TypeA, 5, make([]byte, 4*1100))
	if b.Len() <= MaxPointer {
		t.Fatalf("only %d octets", b.Len())
	}
	farAt, _ := b.CNAME(Name{At: QuestionName}, 5, far)
	b.A(Name{Label: []byte("x"), At: farAt}, 5, [4]byte{1})
	if n := b.AddrSet(Name{At: farAt}, TypeAAAA, 5, make([]byte, 16*3)); n != 3 {
		t.Fatalf("AddrSet wrote %d", n)
	}
	msg, err := b.Finish(0, FlagQR)
	if err != nil {
		t.Fatal(err)
	}
	m := unpacked(t, msg)
	if farAt <= MaxPointer || len(m.Answer) != 1105 || m.Truncated {
		t.Fatalf("far at %d, %d records", farAt, len(m.Answer))
	}
	for i, want := range []string{"x.far.web.", "far.web.", "far.web.", "far.web."} {
		if got := m.Answer[1101+i].Header().Name; got != want {
			t.Errorf("record %d: owner %s, want %s", i, got, want)
		}
	}
}

func TestBuilderLimit(t *testing.T) {
	q := parsed(t, query(t, "a.", dns.TypeA, withOPT()))
	owner := Name{At: QuestionName}
	const question, a = 12 + 3 + 4, 16
	var b Builder

	// Room for two records and the OPT, to the octet.
	b.Reset([]byte("prefix"), question+2*a+optLen, q)
	if !b.A(owner, 1, [4]byte{1}) || !b.A(owner, 1, [4]byte{2}) {
		t.Fatal("two do not fit")
	}
	before := b.Len()
	if b.A(owner, 1, [4]byte{3}) || b.Len() != before || !b.Truncated() {
		t.Error("three fit")
	}
	if b.OPT(1232, 0, []byte{0, 3, 0, 0}) || b.Len() != before {
		t.Error("options fit")
	}
	if !b.OPT(1232, 0, nil) {
		t.Error("the OPT does not fit")
	}
	msg, err := b.Finish(0, FlagQR)
	if err != nil || len(msg) != len("prefix")+question+2*a+optLen {
		t.Fatalf("%d octets, %v", len(msg), err)
	}
	m := unpacked(t, msg[len("prefix"):])
	if !m.Truncated || len(m.Answer) != 2 || m.IsEdns0() == nil {
		t.Errorf("%v", m)
	}

	// Options alone set no TC.
	b.Reset(nil, question+optLen+3, q)
	if b.OPT(1232, 0, []byte{0, 3, 0, 0}) || b.Truncated() {
		t.Error("options fit, or set TC")
	}

	// A shorter record after one that did not fit.
	b.Reset(nil, question+a+optLen, q)
	if b.AAAA(owner, 1, [16]byte{}) || !b.A(owner, 1, [4]byte{}) {
		t.Error("AAAA fits, or A does not")
	}

	// The limit of the protocol, whatever is asked.
	b.Reset(nil, 1<<20, parsed(t, query(t, "a.", dns.TypeA)))
	if n := b.AddrSet(owner, TypeA, 1, make([]byte, 4*5000)); n != (65535-question)/a {
		t.Errorf("%d addresses", n)
	}
	if msg, err := b.Finish(0, FlagQR); err != nil || len(msg) > 65535 || !unpacked(t, msg).Truncated {
		t.Errorf("%d octets, %v", len(msg), err)
	}
}

func TestBuilderErrors(t *testing.T) {
	q := parsed(t, query(t, "a.", dns.TypeA))
	owner := Name{At: QuestionName}
	long := bytes.Repeat([]byte("\x09xxxxxxxxx"), 26)
	for _, tc := range []struct {
		name string
		do   func(*Builder)
		want error
	}{
		{"no room", func(b *Builder) { b.Reset(nil, 18, q) }, ErrQuestionRoom},
		{"negative limit", func(b *Builder) { b.Reset(nil, -1, q) }, ErrQuestionRoom},
		{"section order", func(b *Builder) { b.Section(Additional); b.Section(Answer) }, ErrSectionOrder},
		{"records after OPT", func(b *Builder) { b.OPT(0, 0, nil); b.Section(Authority) }, ErrSectionOrder},
		{"no such section", func(b *Builder) { b.Section(4) }, ErrSectionOrder},
		{"section 0", func(b *Builder) { b.Section(0) }, ErrSectionOrder},
		{"label", func(b *Builder) { b.A(Name{Label: bytes.Repeat([]byte("x"), 64)}, 1, [4]byte{}) }, ErrLabelTooLong},
		{"name", func(b *Builder) { b.A(Name{Labels: long}, 1, [4]byte{}) }, ErrNameTooLong},
		{"name and pointer", func(b *Builder) { b.PTR(owner, 1, Name{Labels: long[:253], At: QuestionName}) }, ErrNameTooLong},
		{"name and copy", func(b *Builder) { b.SRV(owner, 1, 0, 0, 0, Name{Labels: long[:253], At: QuestionName}) }, ErrNameTooLong},
		{"in the header", func(b *Builder) { b.A(Name{At: 11}, 1, [4]byte{}) }, ErrOffset},
		{"negative", func(b *Builder) { b.A(Name{At: -1}, 1, [4]byte{}) }, ErrOffset},
		{"past the end", func(b *Builder) { b.A(Name{At: 19}, 1, [4]byte{}) }, ErrOffset},
		{"far past the end", func(b *Builder) { b.A(Name{At: 1 << 20}, 1, [4]byte{}) }, ErrOffset},
		{"addresses past the end", func(b *Builder) { b.AddrSet(Name{At: 19}, TypeA, 1, make([]byte, 8)) }, ErrOffset},
		{"SRV target", func(b *Builder) { b.SRV(owner, 1, 0, 0, 0, Name{At: 19}) }, ErrOffset},
		{"SOA names", func(b *Builder) { b.SOA(owner, 1, &SOA{RName: Name{At: 19}}) }, ErrOffset},
		{"no text", func(b *Builder) { b.TXT(owner, 1) }, ErrRData},
		{"long text", func(b *Builder) { b.TXT(owner, 1, strings.Repeat("x", 256)) }, ErrRData},
		{"no address type", func(b *Builder) { b.AddrSet(owner, TypeTXT, 1, make([]byte, 4)) }, ErrRData},
		{"part of an address", func(b *Builder) { b.AddrSet(owner, TypeAAAA, 1, make([]byte, 20)) }, ErrRData},
	} {
		var b Builder
		b.Reset([]byte("prefix"), 512, q)
		tc.do(&b)
		n := b.Len()
		_, cname := b.CNAME(owner, 1, Name{})
		_, srv := b.SRV(owner, 1, 0, 0, 0, Name{})
		if b.A(owner, 1, [4]byte{}) || b.AddrSet(owner, TypeA, 1, make([]byte, 4)) != 0 || cname || srv ||
			b.TXT(owner, 1, "x") || b.SOA(owner, 1, &SOA{}) || b.OPT(0, 0, nil) || b.Len() != n {
			t.Errorf("%s: does not stick", tc.name)
		}
		msg, err := b.Finish(0, 0)
		if !errors.Is(err, tc.want) || (string(msg) != "prefix" && tc.want != ErrQuestionRoom) {
			t.Errorf("%s: %q, %v, want %v", tc.name, msg, err, tc.want)
		}
		b.Reset(nil, 512, q)
		if _, err := b.Finish(0, 0); err != nil {
			t.Errorf("%s: after Reset: %v", tc.name, err)
		}
	}

	var zero Builder
	if zero.A(owner, 1, [4]byte{}) {
		t.Error("the zero Builder has room")
	}
	if msg, err := zero.Finish(0, 0); err == nil || len(msg) != 0 {
		t.Errorf("the zero Builder finishes: %x", msg)
	}
	b := Builder{}
	b.Reset(nil, 512, q)
	if _, err := b.Finish(16, 0); !errors.Is(err, ErrRcode) {
		t.Errorf("response code 16: %v", err)
	}
}

// TestBuilderLoop: a pointer loop, which no appender writes, ends in an error.
func TestBuilderLoop(t *testing.T) {
	var b Builder
	b.Reset(nil, 512, parsed(t, query(t, "a.", dns.TypeA)))
	b.TXT(Name{}, 1, "\x01x\xc0\x1e", "\xc0\x23") // x. at 0x1e points to itself; 0x23 too
	for _, at := range []int{0x1e, 0x23} {
		if n := b.nameLenAt(at); n != -1 {
			t.Errorf("at %#x: %d octets; message %x", at, n, b.buf)
		}
	}
}

func TestBuilderAllocs(t *testing.T) {
	addr := parsed(t, query(t, "web.shop.svc.cluster.local.", dns.TypeA, withOPT()))
	srv := parsed(t, query(t, "_http._tcp.db.shop.svc.cluster.local.", dns.TypeSRV, withOPT()))
	buf := make([]byte, 0, 4096)
	for name, f := range map[string]func(){
		"A":        func() { buildA(buf, addr) },
		"headless": func() { buildHeadless(buf, addr) },
		"SRV":      func() { buildSRV(buf, srv) },
		"NXDOMAIN": func() { buildNX(buf, addr) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// step reads FuzzBuilder's input; past its end everything is zero.
type step struct{ in []byte }

func (s *step) byte() (c byte) {
	if len(s.in) > 0 {
		c, s.in = s.in[0], s.in[1:]
	}
	return c
}
func (s *step) uint16() uint16 { return uint16(s.byte())<<8 | uint16(s.byte()) }
func (s *step) uint32() uint32 { return uint32(s.uint16())<<16 | uint32(s.uint16()) }

// bytes returns up to limit octets.
func (s *step) bytes(limit int) []byte {
	n := min(int(s.byte())%(limit+1), len(s.in))
	p := s.in[:n:n]
	s.in = s.in[n:]
	return p
}

// model is what a message being built should hold.
type model struct {
	at      map[int]string // names by the offset they can be pointed to
	offsets []int
	records [4][]string
	tooLong bool
}

func (m *model) know(at int, name string) {
	if _, ok := m.at[at]; !ok && at != 0 {
		m.at[at] = name
		m.offsets = append(m.offsets, at)
	}
}

// name draws a Name and says what it stands for.
func (m *model) name(s *step) (Name, string) {
	var n Name
	var parts []byte
	kind := s.byte()
	if kind&1 != 0 {
		n.Label = s.bytes(63)
	}
	if len(n.Label) > 0 {
		parts = append(append(parts, byte(len(n.Label))), n.Label...)
	}
	if kind&2 != 0 {
		for range s.byte() % 5 {
			if l := s.bytes(63); len(l) > 0 {
				n.Labels = append(append(n.Labels, byte(len(l))), l...)
			}
		}
		parts = append(parts, n.Labels...)
	}
	tail := "."
	switch {
	case kind&4 != 0:
		n.At = m.offsets[int(s.byte())%len(m.offsets)]
		tail = m.at[n.At]
	case kind&8 != 0:
		n.Origin = []byte("\x07Cluster\x05local\x00")
		tail = "Cluster.local."
	}
	tailWire, err := AppendName(nil, tail)
	if err != nil {
		panic(err)
	}
	full := append(parts, tailWire...)
	m.tooLong = m.tooLong || len(full) > maxName
	return n, NameString(full)
}

// txt is s as miekg/dns has it after unpacking.
func txt(s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			out.WriteByte('\\')
			out.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&out, "\\%03d", c)
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// FuzzBuilder writes random records and has miekg/dns read them: equal to what
// was put in, within the limit, and refused only when they would not fit.
func FuzzBuilder(f *testing.F) {
	f.Add([]byte("\xff\xff\x00\x03web\x07\x04\x00\x05\x04\x4b\x02\x00\x04\x00\x05\x03\x01a\x01\x02bb\x04\x00\x07\x00\x04\x01"))
	f.Add([]byte("\x00P\x01\x03web\a\x04\x00\x05\x04\xff\xff\xff\x80\x00\x05\x03\x01a\x01\x02bb\x04\x00\a\x00\x04\x01"))
	src := rand.NewChaCha8([32]byte{})
	for i := range 200 { // from short and cut off to long past offset 0x3FFF
		in := make([]byte, 20*(i+1))
		src.Read(in)
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := &step{in}
		limit := int(s.uint16())
		flags := s.byte()
		prefix := []byte{1, 2}[:flags>>1&1+flags>>2&1]
		var question []byte
		for range 3 {
			if l := s.bytes(63); len(l) > 0 {
				question = append(append(question, byte(len(l))), l...)
			}
		}
		q := &Query{ID: 7, Name: append(question, 0), Type: s.uint16(), Class: ClassIN, HasOPT: flags&1 != 0}

		var b Builder
		b.Reset(bytes.Clone(prefix), limit, q)
		reserved := 0
		if q.HasOPT {
			reserved = optLen
		}
		if 12+len(q.Name)+4+reserved > limit {
			if _, err := b.Finish(0, 0); err != ErrQuestionRoom {
				t.Fatalf("no room for the question, but %v", err)
			}
			return
		}
		m := &model{at: map[int]string{}}
		for at := QuestionName; ; { // the question and its suffixes
			rest := q.Name[at-QuestionName:]
			m.know(at, NameString(rest))
			label, _ := NextLabel(rest)
			if len(label) == 0 {
				break
			}
			at += 1 + len(label)
		}

		section := Answer
		truncated := false
		add := func(before int, ok bool, rr dns.RR) {
			t.Helper()
			switch {
			case m.tooLong:
				if ok || b.err != ErrNameTooLong {
					t.Fatalf("over-long name: %v, %v", ok, b.err)
				}
			case b.err != nil:
				t.Fatalf("%v: %v", rr, b.err)
			case ok:
				m.records[section] = append(m.records[section], rr.String())
				m.know(before, rr.Header().Name)
			default:
				truncated = true
				// A pointer to the root is one octet more than the root; there are up to three names.
				if b.Len() != before || before+dns.Len(rr)+3+reserved <= limit {
					t.Fatalf("%v refused at %d of %d, now %d", rr, before, limit, b.Len())
				}
			}
		}
		for len(s.in) > 0 && !m.tooLong {
			op := s.byte() % 10
			if op == 8 {
				if section < Additional {
					section++
					b.Section(section)
				}
				continue
			}
			before := b.Len()
			owner, ownerString := m.name(s)
			hdr := func(typ uint16, ttl uint32) dns.RR_Header {
				return dns.RR_Header{Name: ownerString, Rrtype: typ, Class: dns.ClassINET, Ttl: ttl}
			}
			ttl := uint32(s.byte()) << (s.byte() % 25)
			var at int
			var ok bool
			switch op {
			case 0:
				addr := s.uint32()
				a := [4]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr)}
				add(before, b.A(owner, ttl, a), &dns.A{Hdr: hdr(TypeA, ttl), A: a[:]})
			case 1:
				var a [16]byte
				copy(a[:], s.bytes(16))
				add(before, b.AAAA(owner, ttl, a), &dns.AAAA{Hdr: hdr(TypeAAAA, ttl), AAAA: a[:]})
			case 2, 9: // many addresses, to get past offset 0x3FFF
				n := int(s.byte())
				typ, size := TypeA, 4
				if op == 9 {
					typ, size, n = TypeAAAA, 16, 2*n
				}
				packed := make([]byte, n*size)
				for i := range packed {
					packed[i] = byte(i * 7)
				}
				written := b.AddrSet(owner, typ, ttl, packed)
				if m.tooLong && n > 0 {
					add(before, written > 0, nil)
					break
				}
				m.tooLong = false // nothing to write, nothing checked
				for i := range n {
					addr := net.IP(packed[i*size:][:size])
					rr := dns.RR(&dns.A{Hdr: hdr(TypeA, ttl), A: addr})
					if op == 9 {
						rr = &dns.AAAA{Hdr: hdr(TypeAAAA, ttl), AAAA: addr}
					}
					if i == written {
						before = b.Len()
					}
					add(before, i < written, rr)
					if i == written {
						break
					}
				}
			case 3:
				target, ts := m.name(s)
				at, ok = b.CNAME(owner, ttl, target)
				add(before, ok, &dns.CNAME{Hdr: hdr(TypeCNAME, ttl), Target: ts})
				m.know(at, ts)
			case 4:
				target, ts := m.name(s)
				at, ok = b.NS(owner, ttl, target)
				add(before, ok, &dns.NS{Hdr: hdr(TypeNS, ttl), Ns: ts})
				m.know(at, ts)
			case 5:
				target, ts := m.name(s)
				at, ok = b.SRV(owner, ttl, 1, 2, uint16(ttl), target)
				add(before, ok, &dns.SRV{Hdr: hdr(TypeSRV, ttl), Priority: 1, Weight: 2, Port: uint16(ttl), Target: ts})
				if ok && CountLabels(b.buf[b.start+at:]) != dns.CountLabel(ts) {
					t.Fatalf("target %s compressed", ts)
				}
				m.know(at, ts)
			case 6:
				target, ts := m.name(s)
				at, ok = b.PTR(owner, ttl, target)
				add(before, ok, &dns.PTR{Hdr: hdr(TypePTR, ttl), Ptr: ts})
				m.know(at, ts)
			case 7:
				if ttl&1 != 0 {
					text := []string{string(s.bytes(200)), string(s.bytes(200))}
					add(before, b.TXT(owner, ttl, text...), &dns.TXT{Hdr: hdr(TypeTXT, ttl), Txt: []string{txt(text[0]), txt(text[1])}})
					break
				}
				mname, ms := m.name(s)
				rname, rs := m.name(s)
				soa := &SOA{mname, rname, 1, ttl, 3, 4, 5}
				add(before, b.SOA(owner, ttl, soa), &dns.SOA{Hdr: hdr(TypeSOA, ttl), Ns: ms, Mbox: rs, Serial: 1, Refresh: ttl, Retry: 3, Expire: 4, Minttl: 5})
			}
		}
		opt := q.HasOPT && !m.tooLong
		if opt && !b.OPT(1232, 1<<15, nil) {
			t.Fatalf("no room for the OPT at %d of %d", b.Len(), limit)
		}
		out, err := b.Finish(RcodeNXDomain, FlagQR|FlagAA)
		if !bytes.HasPrefix(out, prefix) {
			t.Fatalf("prefix %x", out[:len(prefix)])
		}
		if m.tooLong {
			if err != ErrNameTooLong || len(out) != len(prefix) {
				t.Fatalf("%v, %d octets", err, len(out))
			}
			return
		}
		msg := out[len(prefix):]
		if err != nil || len(msg) > limit {
			t.Fatalf("%d octets of %d, %v", len(msg), limit, err)
		}
		got := unpacked(t, msg)
		if got.Id != 7 || !got.Response || !got.Authoritative || got.Truncated != truncated || got.Rcode != dns.RcodeNameError {
			t.Fatalf("header %+v", got.MsgHdr)
		}
		if len(got.Question) != 1 || got.Question[0] != (dns.Question{Name: NameString(q.Name), Qtype: q.Type, Qclass: ClassIN}) {
			t.Fatalf("question %+v", got.Question)
		}
		if opt {
			last := len(got.Extra) - 1
			if o, ok := got.Extra[last].(*dns.OPT); !ok || o.UDPSize() != 1232 || !o.Do() {
				t.Fatalf("OPT %v", got.Extra[last])
			}
			got.Extra = got.Extra[:last]
		}
		for i, rrs := range [][]dns.RR{1: got.Answer, 2: got.Ns, 3: got.Extra} {
			if len(rrs) != len(m.records[i]) {
				t.Fatalf("section %d: %d records, want %d", i, len(rrs), len(m.records[i]))
			}
			for j, rr := range rrs {
				if rr.String() != m.records[i][j] {
					t.Fatalf("section %d: %v, want %s", i, rr, m.records[i][j])
				}
			}
		}
	})
}
