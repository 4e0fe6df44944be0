//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// said returns a reply in words: response code, flags, records.
func said(t testing.TB, msg []byte) string {
	t.Helper()
	if msg == nil {
		return "up"
	}
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("%x: %v", msg, err)
	}
	if !m.Response || !m.Authoritative || m.Truncated || m.RecursionAvailable || m.AuthenticatedData {
		t.Errorf("flags of %v", m)
	}
	out := dns.RcodeToString[m.Rcode]
	for _, rrs := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range rrs {
			out += "\n" + strings.ReplaceAll(rr.String(), "\t", " ")
		}
	}
	if o := m.IsEdns0(); o != nil {
		out += fmt.Sprintf("\nOPT %d %v %04x", o.UDPSize(), o.Do(), o.Hdr.Ttl&0x7fff)
	}
	return out
}

const soa = "\ncluster.local. 300 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 600"

func TestAnswers(t *testing.T) {
	w := shop()
	im := w.image(t)
	for _, tc := range []struct {
		question string
		edit     func(*dns.Msg)
		want     string
	}{
		{"web.shop.svc.cluster.local. A", nil, "NOERROR\nweb.shop.svc.cluster.local. 600 IN A 10.96.0.1"},
		{"web.shop.svc.cluster.local. AAAA", nil, "NOERROR\nweb.shop.svc.cluster.local. 600 IN AAAA fd00::1"},
		{"WeB.sHoP.SVC.CLUSTER.local. A", nil, "NOERROR\nWeB.sHoP.SVC.CLUSTER.local. 600 IN A 10.96.0.1"},
		{"web.shop.svc.cluster.local. A", edns(1232, false), "NOERROR\nweb.shop.svc.cluster.local. 600 IN A 10.96.0.1\nOPT 1232 false 0000"},
		{"web.shop.svc.cluster.local. A", edns(0, true), "NOERROR\nweb.shop.svc.cluster.local. 600 IN A 10.96.0.1\nOPT 0 true 0000"},
		{"web.shop.svc.cluster.local. A", func(m *dns.Msg) { edns(65535, true)(m); setZ(m) }, "NOERROR\nweb.shop.svc.cluster.local. 600 IN A 10.96.0.1\nOPT 65535 true 7f00"},
		{"web.shop.svc.cluster.local. A", func(m *dns.Msg) { m.RecursionDesired = false; m.AuthenticatedData = true }, "NOERROR\nweb.shop.svc.cluster.local. 600 IN A 10.96.0.1"},
		{"head.shop.svc.cluster.local. A", nil, "NOERROR\nhead.shop.svc.cluster.local. 600 IN A 10.244.0.1\nhead.shop.svc.cluster.local. 600 IN A 10.244.0.2\nhead.shop.svc.cluster.local. 600 IN A 10.244.0.3"},
		{"head.shop.svc.cluster.local. AAAA", nil, "NOERROR\nhead.shop.svc.cluster.local. 600 IN AAAA fd00:244::1\nhead.shop.svc.cluster.local. 600 IN AAAA fd00:244::2"},
		{"v4.shop.svc.cluster.local. AAAA", nil, "NOERROR" + soa},
		{"v4.shop.svc.cluster.local. AAAA", edns(512, true), "NOERROR" + soa + "\nOPT 512 true 0000"},
		{"v6.shop.svc.cluster.local. A", nil, "NOERROR" + soa},
		{"svc.svc.svc.cluster.local. A", nil, "NOERROR\nsvc.svc.svc.cluster.local. 600 IN A 10.96.0.5"},
		{"nothing.shop.svc.cluster.local. A", nil, "NXDOMAIN" + soa},
		{"nothing.shop.svc.cluster.local. A", edns(4096, false), "NXDOMAIN" + soa + "\nOPT 4096 false 0000"},
		{"nothing.shop.svc.cluster.local. HTTPS", nil, "NXDOMAIN" + soa},
		{"nothing.nowhere.svc.cluster.local. AAAA", nil, "NXDOMAIN" + soa},
		{"_http._tcp.nothing.shop.svc.cluster.local. SRV", nil, "NXDOMAIN" + soa},
		{"nowhere.svc.cluster.local. A", nil, "NXDOMAIN" + soa},
		{"web.shop.cluster.local. A", nil, "NXDOMAIN" + soa},
		{"web.shop.svc.cluster.local.shop.svc.cluster.local. A", nil, "NXDOMAIN" + soa},
		{"svcs.cluster.local. A", nil, "NXDOMAIN" + soa},
		{"example.com.cluster.local. A", nil, "NXDOMAIN" + soa},
		{"1.0.96.10.in-addr.arpa. PTR", nil, "NOERROR\n1.0.96.10.in-addr.arpa. 30 IN PTR web.shop.cluster.local."},
		{"10.0.96.10.IN-ADDR.arpa. PTR", nil, "NOERROR\n10.0.96.10.IN-ADDR.arpa. 30 IN PTR a-name-with-many-letters.and-a-namespace-likewise.cluster.local."},
		{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.f.ip6.arpa. PTR", nil,
			"NOERROR\n1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.f.ip6.arpa. 30 IN PTR web.shop.cluster.local."},

		{"cluster.local. A", nil, "up"},
		{"cluster.local. SOA", nil, "up"},
		{"svc.cluster.local. A", nil, "up"},
		{"pod.cluster.local. A", nil, "up"},
		{"10-244-0-1.shop.pod.cluster.local. A", nil, "up"},
		{"ns.dns.cluster.local. A", nil, "up"},
		{"dns-version.cluster.local. TXT", nil, "up"},
		{"dns-verbose.cluster.local. TXT", nil, "NXDOMAIN" + soa},
		{"dns-versions.cluster.local. TXT", nil, "NXDOMAIN" + soa},
		{"shop.svc.cluster.local. A", nil, "up"},
		{"nothing.shop.svc.cluster.local. SOA", nil, "up"},
		{"web.shop.svc.cluster.local. SRV", nil, "up"},
		{"a.web.shop.svc.cluster.local. A", nil, "up"},
		{"a.b.c.d.web.shop.svc.cluster.local. A", nil, "up"},
		{"dark.shop.svc.cluster.local. A", nil, "up"},
		{"half.shop.svc.cluster.local. AAAA", nil, "up"},
		{"over.shop.svc.cluster.local. A", nil, "up"},
		{"over.shop.svc.cluster.local. AAAA", nil, "up"},
		{"web.gone.svc.cluster.local. A", nil, "up"},
		{"web.gone.svc.cluster.local. AAAA", nil, "up"},
		{"nothing.gone.svc.cluster.local. A", nil, "NXDOMAIN" + soa},
		{"web.shop.svc.other.cluster.local. A", nil, "up"},
		{"other.cluster.local. A", nil, "up"},
		{"another.cluster.local. A", nil, "NXDOMAIN" + soa},
		{"xcluster.local. A", nil, "up"},
		{"local. A", nil, "up"},
		{". A", nil, "up"},
		{"1.0.96.10.in-addr.arpa. A", nil, "up"},
		{"2.0.96.10.in-addr.arpa. PTR", nil, "up"},
		{"01.0.96.10.in-addr.arpa. PTR", nil, "up"},
		{"1.0.96.256.10.in-addr.arpa. PTR", nil, "up"},
		{"1.1.0.96.10.in-addr.arpa. PTR", nil, "up"},
		{"0.96.10.in-addr.arpa. PTR", nil, "up"},
		{"1.0.352.10.in-addr.arpa. PTR", nil, "up"}, // 96+256
		{"1.0.0x60.10.in-addr.arpa. PTR", nil, "up"},
		{"1.0.1.10.in-addr.arpa. PTR", nil, "up"},
		{"g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR", nil, "up"},
		{"1.00.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR", nil, "up"},
	} {
		edits := []func(*dns.Msg){func(m *dns.Msg) { m.Id = 0xbeef }}
		if tc.edit != nil {
			edits = append(edits, tc.edit)
		}
		msg := query(t, tc.question, edits...)
		for _, p := range []packet{over4(msg), over6(msg)} {
			got := answer(t, im, p)
			if s := said(t, got); s != tc.want {
				t.Errorf("%s: %s\nwant %s", tc.question, s, tc.want)
			}
			if want := w.reply(msg); !bytes.Equal(got, want) {
				t.Errorf("%s: %x\nwant %x", tc.question, got, want)
			}
		}
	}
}

// TestZones checks what zones let through.
func TestZones(t *testing.T) {
	for _, tc := range []struct {
		name     string
		edit     func(*Zone)
		question string
		edns     bool
		want     string
	}{
		{"fallthrough", func(z *Zone) { z.Negative = false }, "nothing.shop.svc.cluster.local. A", false, "up negative"},
		{"fallthrough, no records", func(z *Zone) { z.Negative = false }, "v4.shop.svc.cluster.local. AAAA", true, "NOERROR"},
		{"reasons", func(z *Zone) { z.NegativeEDNS = false }, "nothing.shop.svc.cluster.local. A", true, "up negative"},
		{"reasons, no records", func(z *Zone) { z.NegativeEDNS = false }, "v4.shop.svc.cluster.local. AAAA", true, "up negative"},
		{"reasons without EDNS", func(z *Zone) { z.NegativeEDNS = false }, "nothing.shop.svc.cluster.local. A", false, "NXDOMAIN"},
		{"reasons, records", func(z *Zone) { z.NegativeEDNS = false }, "web.shop.svc.cluster.local. A", true, "NOERROR"},
		{"types", func(z *Zone) { z.Types[dns.TypeAAAA] = false }, "web.shop.svc.cluster.local. AAAA", false, "up type"},
		{"other types", func(z *Zone) { z.Types[dns.TypeAAAA] = false }, "web.shop.svc.cluster.local. A", false, "NOERROR"},
		{"TTL", func(z *Zone) { z.TTL = 5 }, "v4.shop.svc.cluster.local. AAAA", false, "NOERROR\ncluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5"},
		{"bufsize", func(z *Zone) { z.Bufsize = 600 }, "web.shop.svc.cluster.local. A", true, "OPT 600"},
		{"bufsize is enough", func(z *Zone) { z.Bufsize = 1212 }, "full.shop.svc.cluster.local. A", true, "OPT 1212"},
		{"bufsize is less", func(z *Zone) { z.Bufsize = 1078 }, "full.shop.svc.cluster.local. A", true, "up room"},
	} {
		w := shop()
		for i := range w.zones {
			if w.zones[i].Kind == Forward {
				tc.edit(&w.zones[i])
			}
		}
		im := w.image(t)
		var edits []func(*dns.Msg)
		if tc.edns {
			edits = append(edits, edns(4096, false))
		}
		msg := query(t, tc.question, edits...)
		got := answer(t, im, over4(msg))
		s := said(t, got)
		for reason, n := range passed(im) {
			s += fmt.Sprintf(" %s", reason)
			if n != 1 {
				t.Errorf("%s: %d went up: %s", tc.name, n, reason)
			}
		}
		if !strings.Contains(s, tc.want) || !bytes.Equal(got, w.reply(msg)) {
			t.Errorf("%s: %s\nwant %s", tc.name, s, tc.want)
		}
		im.Close()
	}
}

// TestReasons has a message for every reason to leave one to the sockets, but for
// those that time and the machine make.
func TestReasons(t *testing.T) {
	im := shop().image(t)
	good := query(t, "web.shop.svc.cluster.local. A", func(m *dns.Msg) { m.Id = 1 })
	opt := query(t, "web.shop.svc.cluster.local. A", edns(1232, false))
	set := func(msg []byte, at int, b ...byte) []byte {
		msg = slices.Clone(msg)
		if at < 0 {
			at += len(msg)
		}
		copy(msg[at:], b)
		return msg
	}
	option := func(o dns.EDNS0) func(*dns.Msg) {
		return func(m *dns.Msg) { edns(1232, false)(m); m.IsEdns0().Option = []dns.EDNS0{o} }
	}
	deep := strings.Repeat("a.", 38) // and the zone's two
	for _, tc := range []struct {
		name   string
		msg    []byte
		reason string
	}{
		{"nothing", nil, "size"},
		{"16 octets", good[:16], "size"},
		{"17 octets", good[:17], "message"},
		{"513 octets", append(good, make([]byte, 513-len(good))...), "size"},
		{"512 octets", append(good, make([]byte, 512-len(good))...), "message"},
		{"one more octet", append(good, 0), "message"},
		{"one octet less", good[:len(good)-1], "message"},
		{"reply", set(good, 2, 0x81), "message"},
		{"opcode", set(good, 2, 0x29), "message"},
		{"AA", set(good, 2, 0x05), "message"},
		{"TC", set(good, 2, 0x03), "message"},
		{"RA", set(good, 3, 0x80), "message"},
		{"Z", set(good, 3, 0x40), "message"},
		{"rcode", set(good, 3, 0x01), "message"},
		{"no question", set(good, 4, 0, 0), "message"},
		{"two questions", set(good, 4, 0, 2), "message"},
		{"257 questions", set(good, 4, 1, 1), "message"},
		{"answer", set(good, 6, 0, 1), "message"},
		{"authority", set(good, 8, 0, 1), "message"},
		{"additional, which is not there", set(good, 10, 0, 1), "message"},
		{"additional of 256", set(opt, 10, 1, 1), "message"},
		{"two additional", set(opt, 10, 0, 2), "message"},
		{"OPT not counted", set(opt, 10, 0, 0), "message"},
		{"pointer", set(good, 12, 0xc0), "message"},
		{"label type 01", set(good, 12, 0x40), "message"},
		{"label type 10", set(good, 12, 0x80), "message"},
		{"label past the end", set(good, 12, 63), "message"},
		{"OPT not at the root", set(opt, -11, 1), "message"},
		{"not OPT", set(opt, -9, 40), "message"},
		{"class CH with OPT", set(opt, -12, 3), "class"},
		{"cut OPT", opt[:len(opt)-1], "message"},
		{"octet behind OPT", append(opt, 0), "edns"},
		{"RDLENGTH", set(opt, -1, 1), "edns"},
		{"NSID", query(t, "web.shop.svc.cluster.local. A", option(&dns.EDNS0_NSID{Code: dns.EDNS0NSID})), "edns"},
		{"cookie", query(t, "web.shop.svc.cluster.local. A", option(&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"})), "edns"},
		{"EDNS version", set(opt, -5, 1), "edns"},
		{"class CH", set(good, -1, 3), "class"},
		{"class 257", set(good, -2, 1), "class"},
		{"type 257", set(good, -4, 1), "type"},
		{"ANY", query(t, "web.shop.svc.cluster.local. ANY"), "type"},
		{"DS", query(t, "web.shop.svc.cluster.local. DS"), "type"},
		{"other zone", query(t, "example.com. A"), "zone"},
		{"zone of others below", query(t, "a.other.cluster.local. A"), "zone"},
		{"apex", query(t, "cluster.local. NS"), "name"},
		{"41 labels", query(t, "a."+deep+"cluster.local. A"), "name"},
		{"not known", query(t, "dark.shop.svc.cluster.local. A"), "uncertain"},
		{"address of nobody", query(t, "9.9.9.10.in-addr.arpa. PTR"), "uncertain"},
		{"too large", query(t, "full.shop.svc.cluster.local. A"), "room"},
	} {
		for _, p := range []packet{over4(tc.msg), over6(tc.msg)} {
			before := passed(im)
			if got := answer(t, im, p); got != nil {
				t.Errorf("%s is answered: %s", tc.name, said(t, got))
				continue
			}
			after := passed(im)
			if after[tc.reason] != before[tc.reason]+1 {
				t.Errorf("%s: not for the reason %s: %v, before %v", tc.name, tc.reason, after, before)
			}
		}
	}
	if got := said(t, answer(t, im, over4(query(t, deep+"cluster.local. A")))); got != "NXDOMAIN"+soa {
		t.Errorf("40 labels: %s", got)
	}
}

// TestRoom checks at each size of the client's that a reply is sent exactly when it fits.
func TestRoom(t *testing.T) {
	w := shop()
	im := w.image(t)
	for _, q := range []string{"full.shop.svc.cluster.local. A", "full.shop.svc.cluster.local. AAAA"} {
		size := len(answer(t, im, over4(query(t, q, edns(1232, false)))))
		if size < 800 {
			t.Fatalf("%s: %d octets", q, size)
		}
		for client := size - 3; client <= size+3; client++ {
			msg := query(t, q, edns(uint16(client), false))
			if got := answer(t, im, over6(msg)); (got != nil) != (client >= size) || !bytes.Equal(got, w.reply(msg)) {
				t.Errorf("%s: %d octets for a client that takes %d", q, len(got), client)
			}
		}
	}
	// The longest name that fits with all addresses, and one octet more.
	for _, n := range []int{MaxA, MaxAAAA} {
		set, typ, size := Name{A: packed()}, "A", 16
		set.A.Packed = bytes.Repeat([]byte{10, 0, 0, 1}, n)
		if n == MaxAAAA {
			set, typ, size = Name{AAAA: Set{true, bytes.Repeat([]byte{0xfd}, 16*n)}}, "AAAA", 28
		}
		longest := 1232 - 12 - 4 - 11 - n*size - len("\x04shop\x03svc\x07cluster\x05local\x00")
		for _, add := range []int{0, 1} {
			length := min(longest+add-1, 63)
			name := strings.Repeat("x", length)
			im.State(true, false, 0)
			check(t, im.Set(labels(name+".shop"), set))
			im.State(true, true, w.serial)
			w.names[name+".shop"] = set
			msg := query(t, name+".shop.svc.cluster.local. "+typ, edns(4096, false))
			got := answer(t, im, over4(msg))
			if !bytes.Equal(got, w.reply(msg)) || length < 63 && (got != nil) != (add == 0) {
				t.Errorf("%d of %s, name of %d octets: %d octets", n, typ, length, len(got))
			}
		}
	}
}

// TestRotation checks that every order that an answer has is a rotation, and that
// each comes.
func TestRotation(t *testing.T) {
	w := shop()
	for i := range w.zones {
		w.zones[i].Rotate = true
	}
	im := w.image(t)
	for _, q := range []string{"head.shop.svc.cluster.local. A", "head.shop.svc.cluster.local. AAAA", "full.shop.svc.cluster.local. A", "web.shop.svc.cluster.local. A"} {
		msg := query(t, q, edns(1232, false))
		in := w.reply(msg)
		records := func(m []byte) (rs []string) {
			for _, r := range strings.Split(said(t, m), "\n") {
				if strings.Contains(r, " IN A") {
					rs = append(rs, r)
				}
			}
			return rs
		}
		want := records(in)
		seen := map[string]bool{}
		for range 2000 {
			got := records(answer(t, im, over4(msg)))
			if len(got) != len(want) {
				t.Fatalf("%s: %d records, want %d", q, len(got), len(want))
			}
			seen[got[0]] = true
			at := slices.Index(want, got[0])
			if at < 0 || !slices.Equal(got, append(slices.Clone(want[at:]), want[:at]...)) {
				t.Fatalf("%s: %v is no rotation of %v", q, got, want)
			}
		}
		if len(seen) != len(want) {
			t.Errorf("%s: %d of %d orders in 2,000 answers", q, len(seen), len(want))
		}
	}
}

// TestState checks what the state allows.
func TestState(t *testing.T) {
	im := shop().image(t)
	const yes, nodata, no, ptr = "web.shop.svc.cluster.local. A", "v4.shop.svc.cluster.local. AAAA", "nothing.shop.svc.cluster.local. A", "1.0.96.10.in-addr.arpa. PTR"
	for _, tc := range []struct {
		open, known bool
		want        string // first octets of what is said to each question
	}{
		{false, false, "up up up up"},
		{false, true, "up up up up"},
		{true, false, "NOERROR up up NOERROR"},
		{true, true, "NOERROR NOERROR NXDOMAIN NOERROR"},
	} {
		im.State(tc.open, tc.known, 0xfedcba98)
		var got []string
		for _, q := range []string{yes, nodata, no, ptr} {
			s := said(t, answer(t, im, over4(query(t, q))))
			if strings.Contains(s, "SOA") && !strings.Contains(s, " 4275878552 ") {
				t.Errorf("serial of %s", s)
			}
			got = append(got, strings.SplitN(s, "\n", 2)[0])
		}
		if s := strings.Join(got, " "); s != tc.want {
			t.Errorf("open %v, known %v: %s, want %s", tc.open, tc.known, s, tc.want)
		}
	}
	if err := im.Set(labels("x.shop"), Name{}); err != ErrAbsence {
		t.Errorf("Set: %v", err)
	}
	if err := im.Remove(labels("x.shop")); err != ErrAbsence {
		t.Errorf("Remove: %v", err)
	}
	before := im.state.Load()
	im.State(true, true, 0xfedcba98)
	if im.state.Load() == before {
		t.Error("a state came back")
	}
}

// TestNames checks that names come, change and go, and how many there are.
func TestNames(t *testing.T) {
	w := shop()
	im := w.image(t)
	ask := func(q string) string {
		t.Helper()
		im.State(true, true, w.serial)
		defer im.State(true, false, 0)
		return strings.ReplaceAll(strings.TrimSuffix(said(t, answer(t, im, over4(query(t, q)))), soa), "new.shop.svc.cluster.local. 600 IN ", "")
	}
	im.State(true, false, 0)
	names := im.Names()
	if names != len(w.names) {
		t.Errorf("%d names, want %d", names, len(w.names))
	}
	for _, step := range []struct {
		n       *Name
		a, aaaa string
		names   int
	}{
		{&Name{}, "up", "up", 1},
		{&Name{A: packed("10.0.0.1"), AAAA: packed()}, "NOERROR\nA 10.0.0.1", "NOERROR", 1},
		{&Name{A: packed("10.0.0.1", "10.0.0.2"), AAAA: packed("fd00::1", "fd00::2")}, "NOERROR\nA 10.0.0.1\nA 10.0.0.2", "NOERROR\nAAAA fd00::1\nAAAA fd00::2", 1},
		{&Name{A: packed("10.0.0.3", "10.0.0.2"), AAAA: packed("fd00::1")}, "NOERROR\nA 10.0.0.3\nA 10.0.0.2", "NOERROR\nAAAA fd00::1", 1},
		{&Name{A: packed("10.0.0.3"), AAAA: packed("fd00::1", "fd00::3")}, "NOERROR\nA 10.0.0.3", "NOERROR\nAAAA fd00::1\nAAAA fd00::3", 1},
		{nil, "NXDOMAIN", "NXDOMAIN", 0},
		{nil, "NXDOMAIN", "NXDOMAIN", 0},
		{&Name{A: packed("10.0.0.1", "10.0.0.2")}, "NOERROR\nA 10.0.0.1\nA 10.0.0.2", "up", 1},
		{nil, "NXDOMAIN", "NXDOMAIN", 0},
	} {
		if step.n == nil {
			check(t, im.Remove(labels("new.shop")))
		} else {
			check(t, im.Set(labels("new.shop"), *step.n))
		}
		if a, aaaa := ask("new.shop.svc.cluster.local. A"), ask("new.shop.svc.cluster.local. AAAA"); a != step.a || aaaa != step.aaaa {
			t.Errorf("%v: %s, %s; want %s, %s", step.n, a, aaaa, step.a, step.aaaa)
		}
		if n := im.Names() - names; n != step.names {
			t.Errorf("%v: %d names more", step.n, n)
		}
	}
	if n, sets := len(im.hasSets), 4; n != sets { // head's and full's
		t.Errorf("%d sets are held, want %d", n, sets)
	}
	addr := netip.MustParseAddr("10.99.0.1")
	const q = "1.0.99.10.in-addr.arpa. PTR"
	check(t, im.SetAddr(addr, labels("new.shop")))
	if got := ask(q); !strings.HasSuffix(got, "PTR new.shop.cluster.local.") {
		t.Errorf("PTR: %s", got)
	}
	check(t, im.SetAddr(addr, labels(strings.Repeat("n", MaxPTR-4)+".n.n"))) // one octet too long
	if got := ask(q); got != "up" {
		t.Errorf("PTR of a long name: %s", got)
	}
	check(t, im.SetAddr(addr, labels(strings.Repeat("n", MaxPTR-3)+".n")))
	if got := ask(q); !strings.HasSuffix(got, "n.n.cluster.local.") {
		t.Errorf("PTR of the longest name: %s", got)
	}
	for range 2 {
		check(t, im.RemoveAddr(addr))
		if got := ask(q); got != "up" {
			t.Errorf("PTR that is removed: %s", got)
		}
	}
}

// TestCounts checks that each answer is counted under what it was.
func TestCounts(t *testing.T) {
	im := shop().image(t)
	want := map[Cell]uint64{}
	ask := func(c Cell, n int, q string, edits ...func(*dns.Msg)) {
		t.Helper()
		want[c] = uint64(n)
		for range n {
			p := over4(query(t, q, edits...))
			if c.IPv6 {
				p = over6(p.payload)
			}
			if answer(t, im, p) == nil {
				t.Fatalf("%s goes up", q)
			}
		}
	}
	ask(Cell{Type: dns.TypeA}, 1, "web.shop.svc.cluster.local. A")
	ask(Cell{Type: dns.TypeA, IPv6: true}, 2, "web.shop.svc.cluster.local. A", edns(512, false))
	ask(Cell{Type: dns.TypeA, DO: true}, 3, "web.shop.svc.cluster.local. A", edns(512, true))
	ask(Cell{Type: dns.TypeAAAA, DO: true, IPv6: true, Rcode: 3}, 4, "no.shop.svc.cluster.local. AAAA", edns(512, true))
	ask(Cell{Type: dns.TypeHTTPS, Rcode: 3}, 5, "no.shop.svc.cluster.local. HTTPS")
	ask(Cell{Type: dns.TypePTR, Meter: 1}, 6, "1.0.96.10.in-addr.arpa. PTR")
	ask(Cell{Type: dns.TypePTR, Meter: 2, IPv6: true}, 7, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR")
	answer(t, im, over4(query(t, "cluster.local. A")))
	got := map[Cell]uint64{}
	im.Counts(func(c Cell) {
		n := c.N
		c.N = 0
		got[c] = n
	}, func(string, uint64) {})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if p := passed(im); len(p) != 1 || p["name"] != 1 {
		t.Errorf("went up: %v", p)
	}
	check(t, im.Close())
	check(t, im.Close())
	im.State(true, true, 1)
	im.Counts(func(c Cell) { t.Errorf("closed, and counts %v", c) }, func(string, uint64) {})
	if p := passed(im); len(p) != 0 {
		t.Errorf("closed, and %v", p)
	}
}

// TestSets: a name that has one address, or is gone, leaves no set behind: there is room
// for so many, and what has none goes up.
func TestSets(t *testing.T) {
	im := opened(t, cluster(), 100)
	many := Name{A: packed("10.0.0.1", "10.0.0.2"), AAAA: packed("fd00::1", "fd00::2")}
	for i, after := range []func() error{
		func() error { return im.Set(labels("web.shop"), Name{}) },
		func() error { return im.Set(labels("web.shop"), Name{A: packed("10.0.0.1"), AAAA: packed()}) },
		func() error { return im.Remove(labels("web.shop")) },
	} {
		check(t, im.Set(labels("web.shop"), many))
		check(t, after())
		n := 0
		for keys, key, value := im.sets.Iterate(), (hash{}), (setEntry{}); keys.Next(&key, &value); {
			n++
		}
		if n != 0 || len(im.hasSets) != 0 {
			t.Errorf("%d: %d sets are left, %d known", i, n, len(im.hasSets))
		}
	}
}
