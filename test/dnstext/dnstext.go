// Package dnstext lets tests say what a DNS reply must be, in the notation of
// zone files and dig:
//
//	NOERROR aa rd                         the response code, then every flag that is set
//	web.shop.svc   A   10.96.0.10         records of the answer section, in zone-file notation
//	;; authority                          …and of this one
//	;; additional                         …and of this one
//	;; opt version 0 size 1232 flags do   the OPT record, if there is one
//
// Flags are aa, tc, rd, ra, z, ad and cd; QR must be set in every reply. Records
// may stand in any order. The word soa behind the flags stands for the origin's
// SOA record in the authority section, as clusterdns has it, and a serial of 0
// for any serial.
package dnstext

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// Context is what names and records without an origin and a TTL are given.
type Context struct {
	Origin string // fully qualified
	TTL    uint32
}

// Reply is a reply in canonical form.
type Reply struct {
	head     string // rcode and flags
	sections [3][]dns.RR
	opt      string
}

var sectionNames = [...]string{"", ";; authority", ";; additional"}

// maxSOATTL is the highest TTL of the SOA record itself in a negative answer.
const maxSOATTL = 300

// Parse reads a reply in the package's notation.
func (c Context) Parse(text string) (*Reply, error) {
	want := new(Reply)
	section := -1
	zones := [3]strings.Builder{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case section < 0:
			section = 0
			words := strings.Fields(line)
			if n := len(words); words[n-1] == "soa" {
				words = words[:n-1]
				fmt.Fprintf(&zones[1], "@ %d SOA ns.dns hostmaster 0 7200 1800 86400 %d\n", min(c.TTL, maxSOATTL), c.TTL)
			}
			want.head = strings.Join(words, " ")
		case slices.Contains(sectionNames[1:], line):
			section = slices.Index(sectionNames[:], line)
		case strings.HasPrefix(line, ";; opt "):
			want.opt = line
		case strings.HasPrefix(line, ";;"):
			return nil, fmt.Errorf("%q is none of %q and \";; opt\"", line, sectionNames[1:])
		default:
			fmt.Fprintln(&zones[section], line)
		}
	}
	if section < 0 {
		return nil, fmt.Errorf("no response code in %q", text)
	}
	for i := range zones {
		zp := dns.NewZoneParser(strings.NewReader(zones[i].String()), c.Origin, "")
		zp.SetDefaultTTL(c.TTL)
		for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
			want.sections[i] = append(want.sections[i], rr)
		}
		if err := zp.Err(); err != nil {
			return nil, fmt.Errorf("section %d: %w", i, err)
		}
	}
	return want, nil
}

// Of returns m in canonical form.
func Of(m *dns.Msg) *Reply {
	r := &Reply{head: cmp.Or(dns.RcodeToString[m.Rcode], fmt.Sprint(m.Rcode))}
	if m.Rcode == dns.RcodeBadVers {
		r.head = "BADVERS" // the table has the other meaning of 16
	}
	for _, f := range []struct {
		set  bool
		name string
	}{
		{!m.Response, "NOT-A-REPLY"}, {m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"},
		{m.RecursionAvailable, "ra"}, {m.Zero, "z"}, {m.AuthenticatedData, "ad"}, {m.CheckingDisabled, "cd"},
	} {
		if f.set {
			r.head += " " + f.name
		}
	}
	for i, rrs := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range rrs {
			opt, ok := rr.(*dns.OPT)
			if !ok {
				r.sections[i] = append(r.sections[i], rr)
				continue
			}
			r.opt += fmt.Sprintf(";; opt version %d size %d", opt.Version(), opt.UDPSize())
			flags := ""
			if opt.Do() {
				flags += " do"
			}
			if z := opt.Hdr.Ttl & 0x7fff; z != 0 {
				flags += fmt.Sprintf(" %#x", z)
			}
			if flags != "" {
				r.opt += " flags" + flags
			}
			for _, o := range opt.Option {
				r.opt += fmt.Sprintf(" option %d", o.Option())
				if ede, ok := o.(*dns.EDNS0_EDE); ok {
					r.opt += fmt.Sprintf(" error %d %q", ede.InfoCode, ede.ExtraText)
				}
			}
		}
	}
	return r
}

// String returns r in the package's notation, records sorted and in full.
func (r *Reply) String() string { return r.format(false) }

func (r *Reply) format(anySerial bool) string {
	var b strings.Builder
	fmt.Fprintln(&b, r.head)
	for i, rrs := range r.sections {
		if i > 0 && len(rrs) > 0 {
			fmt.Fprintln(&b, sectionNames[i])
		}
		lines := make([]string, len(rrs))
		for j, rr := range rrs {
			if soa, ok := rr.(*dns.SOA); ok && anySerial {
				c := *soa
				c.Serial = 0
				rr = &c
			}
			lines[j] = strings.ReplaceAll(rr.String(), "\t", " ")
		}
		slices.Sort(lines)
		for _, l := range lines {
			fmt.Fprintln(&b, l)
		}
	}
	if r.opt != "" {
		fmt.Fprintln(&b, r.opt)
	}
	return b.String()
}

// Diff returns how m differs from r; empty if it does not.
func (r *Reply) Diff(m *dns.Msg) string {
	anySerial := slices.ContainsFunc(slices.Concat(r.sections[:]...), func(rr dns.RR) bool {
		soa, ok := rr.(*dns.SOA)
		return ok && soa.Serial == 0
	})
	got, want := Of(m).format(anySerial), r.format(anySerial)
	if got == want {
		return ""
	}
	return "got:\n" + indent(got) + "want:\n" + indent(want)
}

func indent(s string) string {
	return "\t" + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n\t") + "\n"
}

// Question reads "NAME TYPE"; the name is below the origin unless it ends in a
// dot, and @ is the origin.
func (c Context) Question(text string) (dns.Question, error) {
	name, typ, ok := strings.Cut(strings.TrimSpace(text), " ")
	qtype, known := dns.StringToType[strings.TrimSpace(typ)]
	if !ok || !known {
		return dns.Question{}, fmt.Errorf("%q is no name and type", text)
	}
	switch {
	case name == "@":
		name = c.Origin
	case !strings.HasSuffix(name, "."):
		name += "." + strings.TrimPrefix(c.Origin, ".")
	}
	return dns.Question{Name: name, Qtype: qtype, Qclass: dns.ClassINET}, nil
}

// Cluster is the usual context.
var Cluster = Context{Origin: "cluster.local.", TTL: 5}

// Query returns the query that text, as Question has it, asks.
func (c Context) Query(t testing.TB, text string) *dns.Msg {
	t.Helper()
	q, err := c.Question(text)
	if err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg)
	r.SetQuestion(q.Name, q.Qtype)
	return r
}
