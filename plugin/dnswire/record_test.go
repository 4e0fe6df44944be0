package dnswire

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"github.com/miekg/dns"
)

// TestRecords writes each record beside its zone-file line.
func TestRecords(t *testing.T) {
	const q = QuestionName
	cluster := Name{At: q + 13} // cluster.local.
	web := Name{Labels: []byte("\x03Web"), At: q + 4}
	for _, tc := range []struct {
		want  string
		write func(*Builder) bool
	}{
		{"web.shop.svc.cluster.local. 5 IN A 10.0.0.1", func(b *Builder) bool { return b.A(Name{At: q}, 5, [4]byte{10, 0, 0, 1}) }},
		{"Web.shop.svc.cluster.local. 4294967295 IN A 10.0.0.1", func(b *Builder) bool { return b.A(web, 1<<32-1, [4]byte{10, 0, 0, 1}) }},
		{"web.shop.svc.cluster.local. 5 IN AAAA fd00::1", func(b *Builder) bool { return b.AAAA(Name{At: q}, 5, [16]byte{0: 0xfd, 15: 1}) }},
		{"web.shop.svc.cluster.local. 5 IN CNAME example.org.", func(b *Builder) bool {
			at, ok := b.CNAME(Name{At: q}, 5, Name{Labels: []byte("\x07example\x03org")})
			return ok && NameString(b.buf[at:]) == "example.org."
		}},
		{"cluster.local. 5 IN NS ns.dns.cluster.local.", func(b *Builder) bool {
			at, ok := b.NS(cluster, 5, Name{Labels: []byte("\x02ns\x03dns"), At: cluster.At})
			return ok && b.buf[at] == 2
		}},
		{"1.0.0.10.in-addr.arpa. 5 IN PTR web.shop.svc.cluster.local.", func(b *Builder) bool {
			at, ok := b.PTR(Name{Origin: []byte("\x011\x010\x010\x0210\x07in-addr\x04arpa\x00")}, 5, Name{At: q})
			return ok && at == q // of a lone pointer, what it points to
		}},
		{"_http._tcp.web.shop.svc.cluster.local. 5 IN SRV 0 50 80 a.web.shop.svc.cluster.local.", func(b *Builder) bool {
			_, ok := b.SRV(Name{Labels: []byte("\x05_http\x04_tcp"), At: q}, 5, 0, 50, 80, Name{Label: []byte("a"), At: q})
			return ok
		}},
		{`dns-version.cluster.local. 28800 IN TXT "1.1.0"`, func(b *Builder) bool {
			return b.TXT(Name{Label: []byte("dns-version"), At: cluster.At}, 28800, "1.1.0")
		}},
		{`. 5 IN TXT "" "a\"b" "\000"`, func(b *Builder) bool { return b.TXT(Name{}, 5, "", `a"b`, "\x00") }},
		{"cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 4294967295 7200 1800 86400 5", func(b *Builder) bool {
			return b.SOA(cluster, 5, soa(cluster.At))
		}},
	} {
		var b Builder
		b.Reset(nil, 512, parsed(t, query(t, "web.shop.svc.cluster.local.", dns.TypeA)))
		if !tc.write(&b) {
			t.Errorf("%s: not written", tc.want)
			continue
		}
		msg, err := b.Finish(0, FlagQR)
		if err != nil {
			t.Errorf("%s: %v", tc.want, err)
			continue
		}
		want, err := dns.NewRR(tc.want)
		if err != nil {
			t.Fatal(err)
		}
		if got := unpacked(t, msg).Answer[0].String(); got != want.String() {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// soa is the record that ends a negative answer; the zone's name is at zone.
func soa(zone int) *SOA {
	return &SOA{
		MName:  Name{Labels: []byte("\x02ns\x03dns"), At: zone},
		RName:  Name{Labels: []byte("\x0ahostmaster"), At: zone},
		Serial: 1<<32 - 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minimum: 5,
	}
}

// TestSRVAndGlue has miekg/dns compress the same reply: ours is no longer, and
// the glue points into the targets in both.
func TestSRVAndGlue(t *testing.T) {
	q := parsed(t, query(t, "_http._tcp.db.shop.svc.cluster.local.", dns.TypeSRV, withOPT()))
	ours := buildSRV(nil, q)
	m := unpacked(t, ours)
	if len(m.Answer) != 3 || len(m.Extra) != 4 {
		t.Fatalf("%v", m)
	}
	m.Compress = true
	theirs, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if len(ours) > len(theirs) {
		t.Errorf("%d octets, miekg %d", len(ours), len(theirs))
	}
}

func TestAddrSet(t *testing.T) {
	q := parsed(t, query(t, "db.", dns.TypeA))
	packed := make([]byte, 16*9)
	for i := range packed {
		packed[i] = byte(i)
	}
	for _, typ := range []uint16{TypeA, TypeAAAA} {
		size := map[uint16]int{TypeA: 4, TypeAAAA: 16}[typ]
		for owner, name := range map[string]Name{
			"db.":   {At: QuestionName},
			"a.db.": {Label: []byte("a"), At: QuestionName},
			"o.":    {Origin: []byte("\x01o\x00")},
		} {
			for limit := 12 + len("\x02db\x00") + 4; limit < 600; limit++ {
				var b, one Builder
				b.Reset(nil, limit, q)
				one.Reset(nil, limit, q)
				n := b.AddrSet(name, typ, 5, packed)
				msg, err := b.Finish(0, FlagQR)
				if err != nil || len(msg) > limit {
					t.Fatalf("limit %d: %d octets, %v", limit, len(msg), err)
				}
				// Record by record it is the same message.
				var written int
				rest := name
				for p := packed; len(p) > 0; p = p[size:] {
					at := one.Len()
					if !appendAddr(&one, rest, typ, 5, p[:size]) {
						break
					}
					if len(rest.Label)+len(rest.Origin) > 0 {
						rest = Name{At: at}
					}
					written++
				}
				want, _ := one.Finish(0, FlagQR)
				if n != written || !bytes.Equal(msg, want) {
					t.Fatalf("%s limit %d: %d written, want %d\n%x\n%x", owner, limit, n, written, msg, want)
				}
				m := unpacked(t, msg)
				if len(m.Answer) != n || m.Truncated != (n < len(packed)/size) {
					t.Fatalf("limit %d: %d records of %d, TC %v", limit, len(m.Answer), n, m.Truncated)
				}
				for i, rr := range m.Answer {
					want := fmt.Sprintf("%s\t5\tIN\t%s\t%s", owner, dns.TypeToString[typ], net.IP(packed[i*size:(i+1)*size]))
					if rr.String() != want {
						t.Fatalf("%v, want %s", rr, want)
					}
				}
			}
		}
	}
}

// appendAddr is A or AAAA, as typ says.
func appendAddr(b *Builder, owner Name, typ uint16, ttl uint32, addr []byte) bool {
	if typ == TypeA {
		return b.A(owner, ttl, [4]byte(addr))
	}
	return b.AAAA(owner, ttl, [16]byte(addr))
}

func TestOPT(t *testing.T) {
	q := parsed(t, query(t, "a.", dns.TypeA, withOPT()))
	var b Builder
	b.Reset(nil, 512, q)
	ede := []byte("\x00\x0f\x00\x06\x00\x03late")
	if !b.OPT(4096, 0xC100, ede) {
		t.Fatal("does not fit")
	}
	msg, err := b.Finish(RcodeServFail, FlagQR)
	if err != nil {
		t.Fatal(err)
	}
	m := unpacked(t, msg)
	o := m.IsEdns0()
	if o == nil || o.UDPSize() != 4096 || !o.Do() || !o.Co() || o.Z() != 0x100 || o.Version() != 0 || m.Rcode != dns.RcodeServerFailure {
		t.Fatalf("%v", m)
	}
	if e, ok := o.Option[0].(*dns.EDNS0_EDE); !ok || e.InfoCode != 3 || e.ExtraText != "late" {
		t.Errorf("%v", o)
	}
}

// The replies of the benchmarks, and of the tests that count allocations.

func buildA(buf []byte, q *Query) []byte {
	var b Builder
	b.Reset(buf, 1232, q)
	b.A(Name{At: QuestionName}, 5, [4]byte{10, 96, 0, 1})
	b.OPT(q.UDPSize, q.EDNSReplyFlags(), nil)
	msg, _ := b.Finish(RcodeNoError, q.ReplyFlags()|FlagAA)
	return msg
}

func buildHeadless(buf []byte, q *Query) []byte {
	var b Builder
	var packed [4 * 15]byte
	b.Reset(buf, 1232, q)
	b.AddrSet(Name{At: QuestionName}, TypeA, 5, packed[:])
	b.OPT(q.UDPSize, q.EDNSReplyFlags(), nil)
	msg, _ := b.Finish(RcodeNoError, q.ReplyFlags()|FlagAA)
	return msg
}

// buildSRV answers _http._tcp.<name> with three endpoints.
func buildSRV(buf []byte, q *Query) []byte {
	var b Builder
	b.Reset(buf, 1232, q)
	const service = QuestionName + 6 + 5
	var targets [3]int
	for i, label := range [...]string{"db-0", "db-1", "db-2"} {
		targets[i], _ = b.SRV(Name{At: QuestionName}, 5, 0, 33, 80, Name{Label: []byte(label), Origin: q.Name[service-QuestionName:]})
	}
	b.Section(Additional)
	for i, at := range targets {
		b.A(Name{At: at}, 5, [4]byte{10, 244, 0, byte(i)})
	}
	b.OPT(q.UDPSize, q.EDNSReplyFlags(), nil)
	msg, _ := b.Finish(RcodeNoError, q.ReplyFlags()|FlagAA)
	return msg
}

func buildNX(buf []byte, q *Query) []byte {
	var b Builder
	b.Reset(buf, 1232, q)
	b.Section(Authority)
	zone := QuestionName + len(q.Name) - len("\x07cluster\x05local\x00")
	b.SOA(Name{At: zone}, 5, soa(zone))
	b.OPT(q.UDPSize, q.EDNSReplyFlags(), nil)
	msg, _ := b.Finish(RcodeNXDomain, q.ReplyFlags()|FlagAA)
	return msg
}

// BenchmarkReply builds each reply here and packs the same records with
// miekg/dns, uncompressed as CoreDNS does where they fit; its records are made
// beforehand.
func BenchmarkReply(b *testing.B) {
	addr := parsed(b, query(b, "web.shop.svc.cluster.local.", dns.TypeA, withOPT()))
	srv := parsed(b, query(b, "_http._tcp.db.shop.svc.cluster.local.", dns.TypeSRV, withOPT()))
	buf := make([]byte, 0, 4096)
	for _, bc := range []struct {
		name  string
		q     *Query
		build func([]byte, *Query) []byte
	}{
		{"A", addr, buildA},
		{"headless15", addr, buildHeadless},
		{"SRV3", srv, buildSRV},
		{"NXDOMAIN", addr, buildNX},
	} {
		b.Run(bc.name+"/dnswire", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bc.build(buf, bc.q)
			}
		})
		m := unpacked(b, bc.build(nil, bc.q))
		b.Run(bc.name+"/miekg", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.PackBuffer(buf[:cap(buf)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppend is the marginal cost of one record.
func BenchmarkAppend(b *testing.B) {
	q := parsed(b, query(b, "web.shop.svc.cluster.local.", dns.TypeA))
	buf := make([]byte, 0, 65536)
	packed := make([]byte, 4*1000)
	var bu Builder
	b.Run("A", func(b *testing.B) {
		b.ReportAllocs()
		bu.Reset(buf, 65535, q)
		for b.Loop() {
			if !bu.A(Name{At: QuestionName}, 5, [4]byte{10, 96, 0, 1}) {
				bu.Reset(buf, 65535, q)
			}
		}
	})
	b.Run("AddrSet1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bu.Reset(buf, 65535, q)
			bu.AddrSet(Name{At: QuestionName}, TypeA, 5, packed)
		}
	})
}
