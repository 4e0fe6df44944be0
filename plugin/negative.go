package clusterdns

import (
	"time"

	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/miekg/dns"
)

// negatives is a stanza's negative cache. It holds replies of the plugin chain
// that say a name or type does not exist, which a hit makes several times
// cheaper (docs/negative-cache.md has the figures), and ExternalName targets
// that have no records or cannot be resolved, where a hit saves a query to the
// upstream server. The nil cache remembers nothing.
type negatives struct {
	cache *zone.NegativeCache[negativeKey, negative]
}

// negativeKey is a question, its name spelled as asked: the SOA of the reply
// shares the spelling.
type negativeKey struct {
	name   string
	qtype  uint16
	target bool // the question is for an ExternalName's target
}

// negative is a reply without records.
type negative struct {
	rcode int
	soa   *dns.SOA // not for targets; shared, so not to be changed
}

func newNegatives(size int) *negatives {
	if size == 0 {
		return nil
	}
	cache, err := zone.NewNegativeCache[negativeKey, negative](size)
	if err != nil {
		panic(err) // the size is below 1: parse let a bad one through
	}
	return &negatives{cache}
}

func (n *negatives) get(ix *zone.Index, k negativeKey) (negative, bool) {
	if n == nil {
		return negative{}, false
	}
	return n.cache.Get(ix, k)
}

func (n *negatives) addUntil(k negativeKey, v negative, until time.Time) {
	if n != nil {
		n.cache.AddUntil(k, v, until)
	}
}

// reply returns the reply to r if it is known to be a negative one.
func (n *negatives) reply(ix *zone.Index, r *dns.Msg) *dns.Msg {
	v, ok := n.get(ix, negativeKey{name: r.Question[0].Name, qtype: r.Question[0].Qtype})
	if !ok {
		return nil
	}
	m := new(dns.Msg)
	m.SetRcode(r, v.rcode)
	m.Authoritative = true
	soa := *v.soa // plugins change replies in place
	soa.Serial = ix.Serial()
	m.Ns = []dns.RR{&soa}
	return m
}

// addReply remembers m, the reply to r that a said, if it is a negative one.
func (n *negatives) addReply(r, m *dns.Msg, a *zone.Answer) {
	if n == nil || a.Outcome != zone.NoData && a.Outcome != zone.NameError {
		return
	}
	soa := *m.Ns[0].(*dns.SOA)
	k := negativeKey{name: r.Question[0].Name, qtype: r.Question[0].Qtype}
	n.cache.Add(k, a, negative{m.Rcode, &soa})
}

func (n *negatives) stats() zone.NegativeStats {
	if n == nil {
		return zone.NegativeStats{}
	}
	return n.cache.Stats()
}
