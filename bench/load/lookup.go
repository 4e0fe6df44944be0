package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/bench/question"
)

// lookup is prepared to be started any number of times, also at the same time.
type lookup struct {
	steps []step // one, or those of a walk
}

// step is what is sent together: one query, or two.
type step [2]*query

// query is a message that is ready to be sent but for its ID.
type query struct {
	question question.Question
	frame    []byte // the message behind its length in two octets, as TCP has it (RFC 1035 section 4.2.2)
	end      int    // of the question section, in the message

	// right is the reply that was last found right, without ID and question.
	// Most replies are like the one before, and comparing is cheaper than
	// parsing. The queries of a random flood share theirs.
	right *[]byte
}

// Offsets of a query's parts in its frame.
const (
	frameID      = 2
	frameMessage = 2
	headerLength = 12
	labelLength  = 16 // of random labels
)

func newQuery(q question.Question, edns uint16) (*query, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(q.Name), q.Type)
	m.Id = 0
	if edns > 0 {
		m.SetEdns0(edns, false)
	}
	wire, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("packing the question %s: %w", q, err)
	}
	_, end, err := dns.UnpackDomainName(wire, headerLength)
	if err != nil {
		return nil, fmt.Errorf("packing the question %s: %w", q, err)
	}
	frame := binary.BigEndian.AppendUint16(nil, uint16(len(wire)))
	return &query{question: q, frame: append(frame, wire...), end: end + 4, right: new([]byte)}, nil
}

// randomQuery returns a query for a name with a label that randomize replaces.
func randomQuery(zone string, edns uint16, right *[]byte) (*query, error) {
	q := question.Question{Name: strings.Repeat("x", labelLength) + "." + dns.Fqdn(zone), Type: dns.TypeA,
		Expect: question.Exactly(dns.RcodeNameError)}
	query, err := newQuery(q, edns)
	if err != nil {
		return nil, err
	}
	query.right = right
	return query, nil
}

// randomize gives q a fresh name.
func (q *query) randomize() {
	const letters = "abcdefghijklmnop"
	label := q.frame[frameMessage+headerLength+1:][:labelLength]
	for i, r := 0, rand.Uint64(); i < labelLength; i, r = i+1, r>>4 {
		label[i] = letters[r&15]
	}
}

// name is the name that q asks for now.
func (q *query) name() string {
	name, _, err := dns.UnpackDomainName(q.frame[frameMessage:], headerLength)
	if err != nil {
		return q.question.Name
	}
	return name
}

// lookups returns what the configuration asks for; none for random names, which
// belong to slots.
func (c *Config) lookups() ([]lookup, error) {
	if c.Random != "" {
		return nil, nil
	}
	if len(c.Questions) == 0 {
		return nil, errors.New("no questions")
	}
	b := builder{config: c, known: make(map[key]question.Question)}
	for _, q := range c.Questions {
		b.known[key{q.Name, q.Type}] = q
	}
	var all []lookup
	for _, q := range c.Questions {
		l, err := b.lookup(q)
		if err != nil {
			return nil, err
		}
		if l.steps != nil {
			all = append(all, l)
		}
	}
	return all, nil
}

type key struct {
	name  string
	qtype uint16
}

type builder struct {
	config *Config
	known  map[key]question.Question // those of the file
}

// lookup returns the lookup that q stands for, or one without steps if q is
// asked along with another.
func (b *builder) lookup(q question.Question) (l lookup, err error) {
	address := q.Type == dns.TypeA || q.Type == dns.TypeAAAA
	switch {
	case b.config.Walk && !address:
		return l, fmt.Errorf("question %s: a walk looks up addresses", q)
	case !address || !b.config.Pairs && !b.config.Walk:
		single, err := newQuery(q, b.config.EDNS)
		return lookup{steps: []step{{single, nil}}}, err
	}
	other := b.twin(q)
	if q.Type == dns.TypeAAAA {
		if b.has(other) {
			return l, nil // the A question brings this one along
		}
		q, other = other, q
	}
	names := []string{q.Name}
	if b.config.Walk {
		names = candidates(q.Name, b.config.Search)
	}
	for _, name := range names {
		var s step
		for i, q := range []question.Question{q, other} {
			q.Name = name
			if s[i], err = newQuery(q, b.config.EDNS); err != nil {
				return l, err
			}
		}
		l.steps = append(l.steps, s)
	}
	return l, nil
}

func (b *builder) has(q question.Question) bool {
	_, has := b.known[key{q.Name, q.Type}]
	return has
}

// twin returns the question for the other kind of addresses of a name. Where
// the file does not have it, at least the name must exist or not alike.
func (b *builder) twin(q question.Question) question.Question {
	t := question.Question{Name: q.Name, Type: dns.TypeA ^ dns.TypeAAAA ^ q.Type}
	if known, ok := b.known[key{t.Name, t.Type}]; ok {
		return known
	}
	if q.Expect != nil {
		t.Expect = &question.Expect{Rcode: q.Expect.Rcode, Count: question.Any}
	}
	return t
}

// ndots is what Kubernetes writes to the resolv.conf of pods.
const ndots = 5

// candidates returns the names that a resolver tries for name, in their order
// (resolv.conf(5)): with fewer dots than ndots the search list comes first.
func candidates(name string, search []string) (names []string) {
	if dns.IsFqdn(name) {
		return []string{name}
	}
	for _, suffix := range search {
		names = append(names, name+"."+dns.Fqdn(suffix))
	}
	if strings.Count(name, ".") >= ndots {
		return append([]string{name + "."}, names...)
	}
	return append(names, name+".")
}
