package question

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

var lines = []struct {
	line string
	want Question
}{
	{"example.org. A", Question{"example.org.", dns.TypeA, nil}},
	{"web.shop AAAA", Question{"web.shop", dns.TypeAAAA, nil}},
	{"web.shop.svc.cluster.local. A NOERROR 10.96.3.4",
		Question{"web.shop.svc.cluster.local.", dns.TypeA, &Expect{0, []string{"10.96.3.4"}, 1}}},
	{"nope.shop.svc.cluster.local. a nxdomain",
		Question{"nope.shop.svc.cluster.local.", dns.TypeA, &Expect{dns.RcodeNameError, nil, 0}}},
	{"h. A NOERROR 10.1.0.2 10.1.0.1 ; both",
		Question{"h.", dns.TypeA, &Expect{0, []string{"10.1.0.1", "10.1.0.2"}, 2}}},
	{"h. AAAA NOERROR FD00:0::1", Question{"h.", dns.TypeAAAA, &Expect{0, []string{"fd00::1"}, 1}}},
	{"4.3.96.10.in-addr.arpa. PTR NOERROR Web.shop.svc.cluster.local.",
		Question{"4.3.96.10.in-addr.arpa.", dns.TypePTR, &Expect{0, []string{"web.shop.svc.cluster.local."}, 1}}},
	{"s. SRV NOERROR 0 50 80 a.", Question{"s.", dns.TypeSRV, &Expect{0, []string{"0 50 80 a."}, 1}}},
	{"s. SRV NOERROR 0 50 80 b.|0 50 80 a.",
		Question{"s.", dns.TypeSRV, &Expect{0, []string{"0 50 80 a.", "0 50 80 b."}, 2}}},
	{`dns-version. TXT NOERROR "1.1.0"`, Question{"dns-version.", dns.TypeTXT, &Expect{0, []string{`"1.1.0"`}, 1}}},
	{"big. A NOERROR *5000", Question{"big.", dns.TypeA, &Expect{0, nil, 5000}}},
	{"big. A NOERROR *0", Question{"big.", dns.TypeA, &Expect{0, nil, 0}}},
	{"any. SRV NOERROR *", Question{"any.", dns.TypeSRV, &Expect{0, nil, Any}}},
	{"down. A SERVFAIL", Question{"down.", dns.TypeA, &Expect{dns.RcodeServerFailure, nil, 0}}},
}

// same compares questions, for which no records are the same as nil.
func same(a, b Question) bool {
	if a.Expect != nil && len(a.Expect.Records) == 0 {
		a.Expect = &Expect{a.Expect.Rcode, nil, a.Expect.Count}
	}
	if b.Expect != nil && len(b.Expect.Records) == 0 {
		b.Expect = &Expect{b.Expect.Rcode, nil, b.Expect.Count}
	}
	return reflect.DeepEqual(a, b)
}

func TestParse(t *testing.T) {
	var file strings.Builder
	file.WriteString("; all of them\n\n   ; and an indented comment\n")
	for _, l := range lines {
		file.WriteString(l.line + "\n")
	}
	got, err := Parse("q", strings.NewReader(file.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(lines) {
		t.Fatalf("%d questions, want %d", len(got), len(lines))
	}
	for i, l := range lines {
		if !same(got[i], l.want) {
			t.Errorf("%s: %+v %+v, want %+v", l.line, got[i], got[i].Expect, l.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for line, want := range map[string]string{
		"example.org.":                  `q:2: want NAME TYPE [RCODE [RDATA...]], not "example.org."`,
		"a..b. A":                       `q:2: "a..b." is not a domain name`,
		strings.Repeat("x", 64) + ". A": `" is not a domain name`,
		"a. AA":                         `q:2: unknown type "AA"`,
		"a. A NOPE":                     `q:2: unknown rcode "NOPE"`,
		"a. A NOERROR 10.0.0":           `q:2: "10.0.0" is not data of type A`,
		"a. A NOERROR 10.0.0.1 x":       `q:2: "x" is not data of type A`,
		"a. A NOERROR *x":               `q:2: "*x" is not a number of records`,
		"a. A NOERROR *-1":              `q:2: "*-1" is not a number of records`,
		"a. SRV NOERROR 0 5 80":         `q:2: "0 5 80" is not data of type SRV`,
		"a. SRV NOERROR 0 5 80 x. |":    `q:2: "" is not data of type SRV`,
	} {
		_, err := Parse("q", strings.NewReader("ok. A\n"+line+"\n"))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", line, err, want)
		}
	}
}

func TestReadOfMissingFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none")
	if _, err := Read(file); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v, want one that names %s", err, file)
	}
}

func TestWrite(t *testing.T) {
	qs := []Question{
		{"web.", dns.TypeA, Exactly(0, "10.0.0.2", "10.0.0.1")},
		{"_x._tcp.web.", dns.TypeSRV, Exactly(0, "0 50 80 a.", "0 50 80 b.")},
		{"big", dns.TypeAAAA, &Expect{0, nil, 15}},
		{"any.", dns.TypeAAAA, &Expect{0, nil, Any}},
		{"nope.", dns.TypeA, Exactly(dns.RcodeNameError)},
		{"x.", dns.TypeNS, nil},
	}
	var b strings.Builder
	if err := Write(&b, qs); err != nil {
		t.Fatal(err)
	}
	want := `web. A NOERROR 10.0.0.1 10.0.0.2
_x._tcp.web. SRV NOERROR 0 50 80 a. | 0 50 80 b.
big AAAA NOERROR *15
any. AAAA NOERROR *
nope. A NXDOMAIN
x. NS
`
	if b.String() != want {
		t.Errorf("wrote\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := WriteDnsperf(&b, qs[:3]); err != nil {
		t.Fatal(err)
	}
	if want := "web. A\n_x._tcp.web. SRV\nbig. AAAA\n"; b.String() != want {
		t.Errorf("for dnsperf, wrote\n%s\nwant\n%s", b.String(), want)
	}
	if err := Write(&b, []Question{{"t.", dns.TypeTXT, Exactly(0, `"a;b"`)}}); err == nil {
		t.Error("data with a semicolon was written; it would be read as a comment")
	}
}

func TestCheck(t *testing.T) {
	rr := func(s string) dns.RR {
		r, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a1, a2 := rr("h. 5 IN A 10.1.0.1"), rr("h. 5 IN A 10.1.0.2")
	for _, c := range []struct {
		question string
		rcode    int
		tc       bool
		answer   []dns.RR
		want     string // the error, "" for a right answer
	}{
		{"h. A NOERROR 10.1.0.1 10.1.0.2", 0, false, []dns.RR{a2, a1}, ""},
		{"h. A NOERROR 10.1.0.1 10.1.0.2", 0, false, []dns.RR{a2}, "expected NOERROR 10.1.0.1 10.1.0.2, got NOERROR 10.1.0.2"},
		{"h. A NOERROR 10.1.0.1 10.1.0.2", 0, true, []dns.RR{a2}, ""},
		{"h. A NOERROR 10.1.0.1 10.1.0.2", 0, true, nil, ""},
		{"h. A NOERROR 10.1.0.1 10.1.0.2", 0, true, []dns.RR{a2, a2}, "expected NOERROR 10.1.0.1 10.1.0.2, got NOERROR 10.1.0.2 10.1.0.2 (truncated)"},
		{"h. A NOERROR 10.1.0.1", 0, true, []dns.RR{a2}, "expected NOERROR 10.1.0.1, got NOERROR 10.1.0.2 (truncated)"},
		{"h. A NOERROR 10.1.0.1", 0, false, []dns.RR{a1, a1}, "expected NOERROR 10.1.0.1, got NOERROR 10.1.0.1 10.1.0.1"},
		{"h. A NOERROR", 0, false, nil, ""},
		{"h. A NOERROR", 0, false, []dns.RR{a1}, "expected NOERROR, got NOERROR 10.1.0.1"},
		{"h. A NOERROR", dns.RcodeNameError, false, nil, "expected NOERROR, got NXDOMAIN"},
		{"h. A NXDOMAIN", dns.RcodeNameError, false, nil, ""},
		{"h. A NOERROR *2", 0, false, []dns.RR{a1, a2}, ""},
		{"h. A NOERROR *2", 0, false, []dns.RR{a1}, "expected NOERROR *2, got NOERROR 10.1.0.1"},
		{"h. A NOERROR *2", 0, true, []dns.RR{a1}, ""},
		{"h. A NOERROR *", 0, false, []dns.RR{a1}, ""},
		{"h. A NOERROR *", dns.RcodeNameError, false, nil, "expected NOERROR *, got NXDOMAIN"},
		{"h. A", dns.RcodeNameError, false, nil, ""},
		{"h. A", 0, false, []dns.RR{a1}, ""},
		{"h. A", dns.RcodeServerFailure, false, nil, "expected NOERROR or NXDOMAIN, got SERVFAIL"},
		{"e. A NOERROR 10.1.0.1", 0, false, []dns.RR{rr("e. 5 IN CNAME h."), a1}, ""},
		{"e. CNAME NOERROR h.", 0, false, []dns.RR{rr("e. 5 IN CNAME H."), a1}, ""},
		{"s. SRV NOERROR 0 50 80 h.", 0, false, []dns.RR{rr("s. 5 IN SRV 0 50 81 h.")}, "expected NOERROR 0 50 80 h., got NOERROR 0 50 81 h."},
	} {
		qs, err := Parse("q", strings.NewReader(c.question))
		if err != nil {
			t.Fatal(err)
		}
		reply := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: c.rcode, Truncated: c.tc}, Answer: c.answer}
		got := ""
		if err := qs[0].Check(reply); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: error %q, want %q", c.question, got, c.want)
		}
	}
}

// What is read, written and read again is the same.
func FuzzParse(f *testing.F) {
	for _, l := range lines {
		f.Add(l.line)
	}
	f.Fuzz(func(t *testing.T, file string) {
		qs, err := Parse("q", strings.NewReader(file))
		if err != nil {
			return
		}
		var b strings.Builder
		if Write(&b, qs) != nil {
			return
		}
		again, err := Parse("again", strings.NewReader(b.String()))
		if err != nil {
			t.Fatalf("%q was read, but not %q, written from it: %v", file, b.String(), err)
		}
		if len(again) != len(qs) {
			t.Fatalf("%d questions of %q, %d of %q, written from it", len(qs), file, len(again), b.String())
		}
		for i := range qs {
			if !same(qs[i], again[i]) {
				t.Errorf("%q was read as %v, and written and read again as %v", file, qs[i], again[i])
			}
		}
	})
}
