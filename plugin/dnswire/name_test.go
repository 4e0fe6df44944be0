package dnswire

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestAppendName(t *testing.T) {
	l63 := strings.Repeat("a", 63)
	for _, tc := range []struct {
		in, want string
		err      error
	}{
		{".", "\x00", nil},
		{"local.", "\x05local\x00", nil},
		{"local", "\x05local\x00", nil},
		{"Web.shop.", "\x03Web\x04shop\x00", nil},
		{`a\.b.c.`, "\x03a.b\x01c\x00", nil},
		{`a\\.c.`, "\x02a\\\x01c\x00", nil},
		{`\000\255\065.`, "\x03\x00\xffA\x00", nil},
		{`a\.`, "\x02a.\x00", nil},
		{"\xc3\xa9.", "\x02\xc3\xa9\x00", nil},
		{l63 + ".", "\x3f" + l63 + "\x00", nil},
		{strings.Repeat(l63+".", 3) + l63[:61] + ".", strings.Repeat("\x3f"+l63, 3) + "\x3d" + l63[:61] + "\x00", nil},

		{"", "", ErrEmptyLabel},
		{"..", "", ErrEmptyLabel},
		{".a.", "", ErrEmptyLabel},
		{"a..b.", "", ErrEmptyLabel},
		{"a.b..", "", ErrEmptyLabel},
		{l63 + "a.", "", ErrLabelTooLong},
		{l63 + "a", "", ErrLabelTooLong},
		{strings.Repeat(l63+".", 3) + l63[:62] + ".", "", ErrNameTooLong},
		{`a\`, "", ErrEscape},
		{`\1a.`, "", ErrEscape},
		{`\12`, "", ErrEscape},
		{`\256.`, "", ErrEscape},
	} {
		got, err := AppendName([]byte("x"), tc.in)
		if string(got) != "x"+tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%q: %q, %v, want %q, %v", tc.in, got, err, tc.want, tc.err)
		}
	}
}

func TestNameString(t *testing.T) {
	for wire, want := range map[string]string{
		"\x00":                            ".",
		"\x03Web\x04shop\x00":             "Web.shop.",
		"\x09. '@;()\"\\\x00":             `\.\ \'\@\;\(\)\"\\.`,
		"\x05\x00\x1f\x7f\xff~\x00":       `\000\031\127\255~.`,
		"\x03Web\x00 and what follows":    "Web.",
		"":                                ".",
		"\x03We":                          ".",
		"\x01a\x09short":                  "a.",
		"\x04_tcp\x03web\x00\x00\x01\x00": "_tcp.web.",
	} {
		if got := NameString([]byte(wire)); got != want {
			t.Errorf("%q: %q, want %q", wire, got, want)
		}
	}
}

func TestLabels(t *testing.T) {
	var got []string
	name := []byte("\x05_http\x04_tcp\x03web\x00")
	if n := CountLabels(name); n != 3 {
		t.Errorf("CountLabels %d", n)
	}
	if n := CountLabels(name[:len(name)-1]); n != 3 {
		t.Errorf("CountLabels of a run %d", n)
	}
	label, rest := NextLabel(name)
	for ; len(label) > 0; label, rest = NextLabel(rest) {
		got = append(got, string(label))
	}
	if strings.Join(got, ".") != "_http._tcp.web" || len(rest) != 0 {
		t.Errorf("%q, rest %q", got, rest)
	}
}

func TestFold(t *testing.T) {
	for c := range 256 {
		in := bytes.Repeat([]byte{byte(c)}, 11) // eight at once and three alone
		want := bytes.Clone(in)
		if 'A' <= c && c <= 'Z' {
			want = bytes.Repeat([]byte{byte(c) + 0x20}, 11)
		}
		if got := AppendLower(nil, in); !bytes.Equal(got, want) {
			t.Fatalf("AppendLower %q: %q, want %q", in, got, want)
		}
		for d := range 256 {
			other := bytes.Repeat([]byte{byte(d)}, 11)
			want := bytes.Equal(AppendLower(nil, in), AppendLower(nil, other))
			for at := range in { // one octet differs, wherever it stands
				mixed := bytes.Clone(in)
				mixed[at] = other[at]
				if got := EqualFold(in, mixed); got != want {
					t.Fatalf("EqualFold %q, %q: %v", in, mixed, got)
				}
			}
		}
	}
	if EqualFold([]byte("aaaaaaaaa"), []byte("aaaaaaaa")) {
		t.Error("lengths differ")
	}
	// Length octets beside letters of both cases.
	if got := AppendLower(nil, []byte("\x01A\x3f"+strings.Repeat("Z", 63)+"\x00")); string(got) != "\x01a\x3f"+strings.Repeat("z", 63)+"\x00" {
		t.Errorf("%q", got)
	}
}

func TestNameAllocs(t *testing.T) {
	name, _ := AppendName(nil, "WEB.shop.svc.cluster.local.")
	other, _ := AppendName(nil, "web.SHOP.svc.cluster.local.")
	var buf [2 * maxName]byte
	if n := testing.AllocsPerRun(100, func() {
		AppendLower(buf[:0], name)
		EqualFold(name, other)
		AppendName(buf[:0], "web.shop.svc.cluster.local.")
		AppendNameString(buf[:0], name)
		CountLabels(name)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// fqdn is dns.Fqdn without the fault of dns.IsFqdn, which miscounts the
// backslashes before the last dot when a rune of several octets precedes them.
func fqdn(s string) string {
	if body, ok := strings.CutSuffix(s, "."); ok && (len(body)-len(strings.TrimRight(body, `\`)))%2 == 0 {
		return s
	}
	return s + "."
}

// FuzzNames holds the conversions to miekg/dns: what AppendName accepts, miekg
// packs to the same octets; what miekg packs and prints, AppendName accepts;
// both print alike and fold alike.
func FuzzNames(f *testing.F) {
	l63 := strings.Repeat("a", 63)
	for _, s := range []string{".", "", "a", "a.", `a\.b.c.`, `a\\.`, `\000\255A.`, `\1a.`, `\300.`, `a\`, "a..b", "\xc3\xa9.", `\.`, `"x" y.`,
		l63 + ".", l63 + "a.", strings.Repeat(l63+".", 3) + l63[:61] + ".", strings.Repeat(l63+".", 3) + l63[:62] + "."} {
		f.Add(s, strings.ToUpper(s))
	}
	f.Add("\u0582\\.", "0") // see fqdn
	f.Add("\u02a4\\\\.", "0")
	f.Add("k.", "\u212a.") // the Kelvin sign folds to k, but not in ASCII
	f.Fuzz(func(t *testing.T, s, other string) {
		wire, err := AppendName(nil, s)
		packed := make([]byte, len(s)+2)
		if !dns.IsFqdn(fqdn(s)) {
			return
		}
		n, miekErr := dns.PackDomainName(fqdn(s), packed, 0, nil, false)
		packed = packed[:n]
		if err == nil && (miekErr != nil || !bytes.Equal(packed, wire)) {
			t.Fatalf("%q: %q, miekg %q, %v", s, wire, packed, miekErr)
		}
		if miekErr != nil || s == "" {
			return
		}
		if err != nil && !(err == ErrNameTooLong && n > maxName) && !(err == ErrEscape && strings.Contains(s, `\`)) {
			t.Fatalf("%q: %v, miekg packs it as %q", s, err, packed)
		}
		printed, _, miekErr := dns.UnpackDomainName(packed, 0)
		if miekErr != nil {
			return
		}
		if wire, err = AppendName(nil, printed); err != nil || !bytes.Equal(wire, packed) {
			t.Fatalf("%q: %q, %v, want %q", printed, wire, err, packed)
		}
		if got := NameString(wire); got != printed {
			t.Fatalf("%q printed as %q, miekg %q", wire, got, printed)
		}
		if got, want := CountLabels(wire), dns.CountLabel(printed); got != want {
			t.Fatalf("%q: %d labels, miekg %d", wire, got, want)
		}
		lowered, err := AppendName(nil, strings.ToLower(printed)) // all ASCII: the rest is escaped
		if got := AppendLower(nil, wire); err != nil || !bytes.Equal(got, lowered) {
			t.Fatalf("%q lowered to %q, want %q, %v", wire, got, lowered, err)
		}
		if !EqualFold(wire, lowered) {
			t.Fatalf("%q and %q are not equal", wire, lowered)
		}
		if wire2, err := AppendName(nil, other); err == nil {
			if got, want := EqualFold(wire, wire2), strings.EqualFold(printed, NameString(wire2)); got != want {
				t.Fatalf("EqualFold %q %q: %v", wire, wire2, got)
			}
		}
	})
}

func BenchmarkNames(b *testing.B) {
	const s = "_http._tcp.Web.shop.svc.cluster.local."
	name, _ := AppendName(nil, s)
	other, _ := AppendName(nil, strings.ToLower(s))
	buf := make([]byte, 2*maxName)
	b.Run("AppendLower/dnswire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			AppendLower(buf[:0], name)
		}
	})
	b.Run("AppendLower/strings", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			strings.ToLower(s)
		}
	})
	b.Run("EqualFold/dnswire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			EqualFold(name, other)
		}
	})
	b.Run("EqualFold/strings", func(b *testing.B) {
		lower := strings.ToLower(s)
		b.ReportAllocs()
		for b.Loop() {
			strings.EqualFold(s, lower)
		}
	})
	b.Run("AppendName/dnswire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			AppendName(buf[:0], s)
		}
	})
	b.Run("AppendName/miekg", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dns.PackDomainName(s, buf, 0, nil, false)
		}
	})
	b.Run("NameString/dnswire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NameString(name)
		}
	})
	b.Run("NameString/miekg", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dns.UnpackDomainName(name, 0)
		}
	})
}

func TestIsSubdomain(t *testing.T) {
	wire := func(name string) []byte {
		b, err := AppendName(nil, name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, row := range []struct{ name, zone string }{
		{"cluster.local.", "cluster.local."}, {"a.b.Cluster.LOCAL.", "cluster.local."}, {"a.", "."}, {".", "."},
		{"xcluster.local.", "cluster.local."}, {"local.", "cluster.local."}, {".", "local."}, {"cluster.local.", "other.local."},
		{`a\007cluster.local.`, "cluster.local."}, // the end of a label looks like the zone
	} {
		want := dns.IsSubDomain(row.zone, row.name)
		if got := IsSubdomain(wire(row.name), wire(row.zone)); got != want {
			t.Errorf("%s in %s: %v, want %v", row.name, row.zone, got, want)
		}
	}
}
