package dnstext

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// reply is as a server might give it: the notation is only worth something if
// every part of it can fail.
func reply(t *testing.T) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.Response, m.Authoritative, m.RecursionDesired = true, true, true
	m.Rcode = dns.RcodeNameError
	for _, text := range []string{"b.example. 5 IN A 10.0.0.2", "a.example. 5 IN A 10.0.0.1"} {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	soa, err := dns.NewRR("example. 5 IN SOA ns.dns.example. hostmaster.example. 77 7200 1800 86400 5")
	if err != nil {
		t.Fatal(err)
	}
	m.Ns = append(m.Ns, soa)
	m.SetEdns0(1232, true)
	return m
}

const text = `
	NXDOMAIN aa rd
	a A 10.0.0.1
	b 5 IN A 10.0.0.2
	;; authority
	@ SOA ns.dns hostmaster 77 7200 1800 86400 5
	;; opt version 0 size 1232 flags do`

var context = Context{Origin: "example.", TTL: 5}

func TestDiff(t *testing.T) {
	m := reply(t)
	for _, row := range []struct {
		name, old, new string
		same           bool
	}{
		{"as it is", "", "", true},
		{"any serial", " 77 ", " 0 ", true},
		{"other serial", " 77 ", " 78 ", false},
		{"soa for short", "NXDOMAIN aa rd\n", "NXDOMAIN aa rd soa\n", false}, // a second one
		{"rcode", "NXDOMAIN", "NOERROR", false},
		{"a flag more", "aa rd", "aa rd ra", false},
		{"a flag less", "aa rd", "aa", false},
		{"a record less", "a A 10.0.0.1\n", "", false},
		{"a record twice", "a A 10.0.0.1\n", "a A 10.0.0.1\n a A 10.0.0.1\n", false},
		{"another address", "10.0.0.1", "10.0.0.3", false},
		{"another spelling", "a A", "A A", false},
		{"another TTL", "b 5 IN", "b 6 IN", false},
		{"another section", ";; authority", ";; additional", false},
		{"OPT without DO", " flags do", "", false},
		{"OPT of another size", "1232", "4096", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			want, err := context.Parse(strings.Replace(text, row.old, row.new, 1))
			if err != nil {
				t.Fatal(err)
			}
			if diff := want.Diff(m); (diff == "") != row.same {
				t.Errorf("same: want %v, got difference %q", row.same, diff)
			}
		})
	}
}

func TestSOAForShort(t *testing.T) {
	m := reply(t)
	m.Answer, m.Extra = nil, nil
	want, err := context.Parse("NXDOMAIN aa rd soa")
	if err != nil {
		t.Fatal(err)
	}
	if diff := want.Diff(m); diff != "" {
		t.Error(diff)
	}
	m.Ns[0].(*dns.SOA).Minttl = 6
	if want.Diff(m) == "" {
		t.Error("another minimum is no difference")
	}
}

func TestParseErrors(t *testing.T) {
	for _, bad := range []string{"", "NOERROR\na B 10.0.0.1", "NOERROR\n;; answer\n"} {
		if _, err := context.Parse(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	for _, bad := range []string{"a", "a NOTYPE"} {
		if _, err := context.Question(bad); err == nil {
			t.Errorf("question %q: no error", bad)
		}
	}
}
