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

var all = []Question{
	New("web.", dns.TypeA, 0, "10.0.0.2", "10.0.0.1"),
	New("_x._tcp.web.", dns.TypeSRV, 0, "0 50 80 a.", "0 50 80 b."),
	New("nope.", dns.TypeA, dns.RcodeNameError),
	{Name: "big.", Type: dns.TypeA, Records: []string{"10.0.0.1"}, Truncated: true},
}

func TestReadIsInverseOfWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "questions")
	var b strings.Builder
	if err := Write(&b, all); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(file); err != nil || !reflect.DeepEqual(got, all) {
		t.Errorf("%v, %v; want %v", got, err, all)
	}
	b.Reset()
	if err := WriteDnsperf(&b, all[:3]); err != nil || b.String() != "web. A\n_x._tcp.web. SRV\nnope. A\n" {
		t.Errorf("for dnsperf: %s, %v", b.String(), err)
	}
}

func TestReadErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "questions")
	if _, err := Read(file); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v, want one that names %s", err, file)
	}
	if err := os.WriteFile(file, []byte("{\"name\": \"a.\"}\n{\"name\": 5}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(file); err == nil || !strings.Contains(err.Error(), file+": question 2: ") {
		t.Errorf("error %v, want file and number", err)
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
	one, both := New("h.", dns.TypeA, 0, "10.1.0.1"), New("h.", dns.TypeA, 0, "10.1.0.2", "10.1.0.1")
	some := both
	some.Truncated = true
	for _, c := range []struct {
		Question
		rcode  int
		tc     bool
		answer []dns.RR
		want   string // the error, "" for a right answer
	}{
		{both, 0, false, []dns.RR{a2, a1}, ""},
		{both, 0, false, []dns.RR{a2}, "expected NOERROR 10.1.0.1 | 10.1.0.2, got NOERROR 10.1.0.2"},
		{both, 0, true, []dns.RR{a2}, "expected NOERROR 10.1.0.1 | 10.1.0.2, got NOERROR 10.1.0.2 (truncated)"},
		{both, 0, true, []dns.RR{a1, a2}, "expected NOERROR 10.1.0.1 | 10.1.0.2, got NOERROR 10.1.0.1 | 10.1.0.2 (truncated)"},
		{some, 0, true, []dns.RR{a2}, ""},
		{some, 0, true, nil, ""},
		{some, 0, false, []dns.RR{a2}, "expected NOERROR 10.1.0.1 | 10.1.0.2, got NOERROR 10.1.0.2"},
		{some, 0, true, []dns.RR{a2, a2}, "expected NOERROR 10.1.0.1 | 10.1.0.2, got NOERROR 10.1.0.2 | 10.1.0.2 (truncated)"},
		{one, 0, false, []dns.RR{a2}, "expected NOERROR 10.1.0.1, got NOERROR 10.1.0.2"},
		{one, 0, false, []dns.RR{a1, a1}, "expected NOERROR 10.1.0.1, got NOERROR 10.1.0.1 | 10.1.0.1"},
		{New("h.", dns.TypeA, 0), 0, false, nil, ""},
		{New("h.", dns.TypeA, 0), 0, false, []dns.RR{a1}, "expected NOERROR, got NOERROR 10.1.0.1"},
		{New("h.", dns.TypeA, 0), dns.RcodeNameError, false, nil, "expected NOERROR, got NXDOMAIN"},
		{New("h.", dns.TypeA, dns.RcodeNameError), dns.RcodeNameError, false, nil, ""},
		{New("h.", dns.TypeA, dns.RcodeNameError), 0, false, nil, "expected NXDOMAIN, got NOERROR"},
		{New("e.", dns.TypeA, 0, "10.1.0.1"), 0, false, []dns.RR{rr("e. 5 IN CNAME h."), a1}, ""},
		{New("e.", dns.TypeCNAME, 0, "h."), 0, false, []dns.RR{rr("e. 5 IN CNAME H."), a1}, ""},
		{New("s.", dns.TypeSRV, 0, "0 50 80 h."), 0, false, []dns.RR{rr("s. 5 IN SRV 0 50 81 h.")}, "expected NOERROR 0 50 80 h., got NOERROR 0 50 81 h."},
	} {
		reply := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: c.rcode, Truncated: c.tc}, Answer: c.answer}
		got := ""
		if err := c.Check(reply); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: error %q, want %q", c.Question, got, c.want)
		}
	}
}
