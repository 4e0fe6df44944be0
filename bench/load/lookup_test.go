package load

import (
	"reflect"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/bench/question"
)

func questions(t *testing.T, lines ...string) []question.Question {
	t.Helper()
	qs, err := question.Parse("test", strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return qs
}

func TestCandidates(t *testing.T) {
	search := []string{"shop.svc.cluster.local", "cluster.local."}
	for _, c := range []struct {
		name string
		want []string
	}{
		{"web", []string{"web.shop.svc.cluster.local.", "web.cluster.local.", "web."}},
		{"a.b.c.d.e", []string{"a.b.c.d.e.shop.svc.cluster.local.", "a.b.c.d.e.cluster.local.", "a.b.c.d.e."}},
		{"a.b.c.d.e.f", []string{"a.b.c.d.e.f.", "a.b.c.d.e.f.shop.svc.cluster.local.", "a.b.c.d.e.f.cluster.local."}},
		{"web.", []string{"web."}},
	} {
		if got := candidates(c.name, search); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// What each lookup sends, in steps: "NAME TYPE+NAME TYPE then NAME TYPE...".
func TestLookups(t *testing.T) {
	for _, c := range []struct {
		config Config
		lines  []string
		want   []string
	}{
		{Config{}, []string{"a. A", "a. AAAA", "b SRV"}, []string{"a. A", "a. AAAA", "b. SRV"}},
		{Config{Pairs: true}, []string{"a. A", "b. SRV", "a. AAAA", "c. AAAA"},
			[]string{"a. A+a. AAAA", "b. SRV", "c. A+c. AAAA"}},
		{Config{Walk: true, Search: []string{"x", "y"}}, []string{"a A"},
			[]string{"a.x. A+a.x. AAAA then a.y. A+a.y. AAAA then a. A+a. AAAA"}},
	} {
		c.config.Questions = questions(t, c.lines...)
		lookups, err := c.config.lookups()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range lookups {
			var steps []string
			for _, s := range l.steps {
				var queries []string
				for _, q := range s {
					if q == nil {
						continue
					}
					m := new(dns.Msg)
					if err := m.Unpack(q.frame[frameMessage:]); err != nil {
						t.Fatal(err)
					}
					queries = append(queries, m.Question[0].Name+" "+dns.Type(m.Question[0].Qtype).String())
				}
				steps = append(steps, strings.Join(queries, "+"))
			}
			got = append(got, strings.Join(steps, " then "))
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: lookups\n%q, want\n%q", c.lines, got, c.want)
		}
	}
}

func TestTwinsExpectation(t *testing.T) {
	c := Config{Pairs: true, Questions: questions(t,
		"a. A NOERROR 10.0.0.1", "a. AAAA NOERROR fd00::1", "b. A NXDOMAIN", "c. A")}
	lookups, err := c.lookups()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a. AAAA NOERROR fd00::1", "b. AAAA NXDOMAIN *", "c. AAAA"} {
		if got := lookups[i].steps[0][1].question.String(); got != want {
			t.Errorf("lookup %d: with it goes %s, want %s", i, got, want)
		}
	}
}

func TestQueryEDNS(t *testing.T) {
	q, err := newQuery(question.Question{Name: "a", Type: dns.TypeA}, 1232)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(q.frame[frameMessage:]); err != nil {
		t.Fatal(err)
	}
	if opt := m.IsEdns0(); opt == nil || opt.UDPSize() != 1232 {
		t.Errorf("OPT record %v, want one of size 1232", opt)
	}
}

func TestLookupErrors(t *testing.T) {
	for _, c := range []struct {
		config Config
		lines  []string
		want   string
	}{
		{Config{}, nil, "no questions"},
		{Config{Walk: true, Search: []string{"x"}}, []string{"a SRV"}, "question a SRV: a walk looks up addresses"},
		{Config{Walk: true, Search: []string{strings.Repeat("x", 64)}}, []string{"a A"}, "packing the question"},
	} {
		c.config.Questions = questions(t, c.lines...)
		if _, err := c.config.lookups(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %s", c.lines, err, c.want)
		}
	}
}
