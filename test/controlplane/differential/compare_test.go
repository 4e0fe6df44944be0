package differential

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// reply is a decoded reply in a form in which order does not matter: the
// sections are sorted, and the serials of SOA records, of which each server has
// its own, are 0. Everything else that a message says is in it. Records are in
// the notation of miekg/dns: owner, TTL, class, type and data with tabs between.
type reply struct {
	err        string     // of the exchange, if there was no reply; the rest is empty then
	head       dns.MsgHdr // with the id 0
	asked      string     // the question section
	answer, ns []string
	extra      []string // without opt
	opt        string
}

func reduce(m *dns.Msg, err error) reply {
	if err != nil || m == nil {
		return reply{err: fmt.Sprint(err)}
	}
	r := reply{head: m.MsgHdr, asked: questionText(m.Question), answer: records(m.Answer), ns: records(m.Ns)}
	r.head.Id = 0
	extra := m.Extra
	if o := m.IsEdns0(); o != nil {
		r.opt = o.String()
		extra = slices.DeleteFunc(slices.Clone(extra), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	}
	r.extra = records(extra)
	return r
}

func questionText(qs []dns.Question) string {
	var s []string
	for _, q := range qs {
		s = append(s, q.String())
	}
	return strings.Join(s, ",")
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

// equal reports whether two replies say the same.
func (r reply) equal(o reply) bool {
	return r.err == o.err && r.head == o.head && r.asked == o.asked && r.opt == o.opt &&
		slices.Equal(r.answer, o.answer) && slices.Equal(r.ns, o.ns) && slices.Equal(r.extra, o.extra)
}

func (r reply) size() int { return len(r.answer) + len(r.ns) + len(r.extra) }

func (r reply) isNXDOMAIN() bool { return r.err == "" && r.head.Rcode == dns.RcodeNameError }

func (r reply) isNODATA() bool {
	return r.err == "" && r.head.Rcode == dns.RcodeSuccess && len(r.answer) == 0 && len(r.ns) == 1
}

// truncatedFrom reports whether r is full cut short: TC is set, nothing in it
// is not in full, something is missing, and it has at least least records.
func (r reply) truncatedFrom(full reply, least int) bool {
	head := full.head
	head.Truncated = true
	return r.head == head && r.asked == full.asked && r.opt == full.opt && least <= r.size() && r.size() < full.size() &&
		within(r.answer, full.answer) && within(r.ns, full.ns) && within(r.extra, full.extra)
}

// within reports whether every one of the records of part is one of all's. Both
// are sorted.
func within(part, all []string) bool {
	for _, rr := range part {
		i, found := slices.BinarySearch(all, rr)
		if !found {
			return false
		}
		all = all[i+1:]
	}
	return true
}

// each returns the records changed by f, sorted; those for which it returns ""
// are left out.
func each(rrs []string, f func(rr string) string) (changed []string) {
	for _, rr := range rrs {
		if rr = f(rr); rr != "" {
			changed = append(changed, rr)
		}
	}
	slices.Sort(changed)
	return changed
}

// Places of a record's text, for edit and fieldOf.
const (
	owner = iota
	ttl
	class
	rrtype
	data // and what follows it
)

// edit changes a record's fields.
func edit(rr string, f func(fields []string)) string {
	fields := strings.SplitN(rr, "\t", data+1)
	f(fields)
	return strings.Join(fields, "\t")
}

func fieldOf(rr string, i int) string { return strings.SplitN(rr, "\t", data+1)[i] }

// respell returns r with zone, wherever a name of a record ends in it and
// whatever its case, spelled as in zone.
func (r reply) respell(zone string) reply {
	if zone == "." {
		return r
	}
	name := func(text string) string {
		at := len(text) - len(zone)
		if at < 0 || !strings.EqualFold(text[at:], zone) || at > 0 && text[at-1] != '.' {
			return text
		}
		return text[:at] + zone
	}
	f := func(rr string) string {
		return edit(rr, func(fields []string) {
			fields[owner] = name(fields[owner])
			words := strings.Split(fields[data], " ")
			for i := range words {
				words[i] = name(words[i])
			}
			fields[data] = strings.Join(words, " ")
		})
	}
	r.answer, r.ns, r.extra = each(r.answer, f), each(r.ns, f), each(r.extra, f)
	return r
}

// String returns r in the notation of zone files.
func (r reply) String() string {
	if r.err != "" {
		return "no reply: " + r.err
	}
	var b strings.Builder
	fmt.Fprintln(&b, strings.TrimSpace(r.head.String()), r.asked)
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
	return b.String() + cmp.Or(strings.TrimSpace(r.opt), "no OPT")
}
