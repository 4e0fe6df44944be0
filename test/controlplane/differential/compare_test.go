package differential

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// reply is a decoded reply in a form in which order does not matter.
type reply struct {
	err    string // of the exchange, if there was no reply
	header string
	answer []string
	ns     []string
	extra  []string
	opt    string
	tc     bool
	rcode  int
}

// reduce decodes m. Serials are left out: both servers have their own.
func reduce(m *dns.Msg, err error) reply {
	if err != nil || m == nil {
		return reply{err: fmt.Sprint(err)}
	}
	h := m.MsgHdr
	h.Id = 0
	r := reply{
		header: strings.TrimSpace(h.String()) + " " + strings.Join(questionStrings(m), ","),
		tc:     m.Truncated,
		rcode:  m.Rcode,
	}
	r.answer, r.ns = records(m.Answer), records(m.Ns)
	extra := m.Extra
	if o := m.IsEdns0(); o != nil {
		r.opt = o.String()
		extra = slices.DeleteFunc(slices.Clone(extra), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	}
	r.extra = records(extra)
	return r
}

func questionStrings(m *dns.Msg) (s []string) {
	for _, q := range m.Question {
		s = append(s, q.String())
	}
	return s
}

func records(rrs []dns.RR) []string {
	var s []string
	for _, rr := range rrs {
		if soa, ok := rr.(*dns.SOA); ok {
			c := *soa
			c.Serial = 0
			rr = &c
		}
		s = append(s, rr.String())
	}
	slices.Sort(s)
	return s
}

// equal reports whether two replies that are not truncated say the same.
func (r reply) equal(o reply) bool {
	return r.err == o.err && r.header == o.header && r.opt == o.opt &&
		slices.Equal(r.answer, o.answer) && slices.Equal(r.ns, o.ns) && slices.Equal(r.extra, o.extra)
}

func (r reply) size() int { return len(r.answer) + len(r.ns) + len(r.extra) }

// within reports whether every record of r is one of full's.
func (r reply) within(full reply) bool {
	in := func(a, b []string) bool {
		for _, s := range a {
			if !slices.Contains(b, s) {
				return false
			}
		}
		return true
	}
	return in(r.answer, full.answer) && in(r.ns, full.ns) && in(r.extra, full.extra)
}

// String returns r in the notation of zone files.
func (r reply) String() string {
	if r.err != "" {
		return "no reply: " + r.err
	}
	var b strings.Builder
	fmt.Fprintln(&b, r.header)
	for _, s := range []struct {
		name string
		rrs  []string
	}{{"answer", r.answer}, {"authority", r.ns}, {"additional", r.extra}} {
		for i, rr := range s.rrs {
			if i == 12 {
				fmt.Fprintf(&b, "  %s: and %d more\n", s.name, len(s.rrs)-i)
				break
			}
			fmt.Fprintf(&b, "  %s: %s\n", s.name, rr)
		}
	}
	if r.opt != "" {
		fmt.Fprintln(&b, strings.TrimSpace(r.opt))
	}
	return b.String()
}
