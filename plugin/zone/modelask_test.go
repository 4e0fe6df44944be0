package zone

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/miekg/dns"
)

// ask compares the answers to a made-up question; likely picks a view and name
// that mean something to each other.
func (r *modelRun) ask(rng *rand.Rand, likely bool) {
	view := &r.views[rng.IntN(len(r.views))]
	zone := pick(rng, view.model.Zones)
	var name string
	switch reverse := strings.HasSuffix(zone, "arpa.") || zone == "."; {
	case view.model.External != nil && (!reverse || rng.IntN(2) == 0):
		name = r.below(rng) + pick(rng, poolServices) + "." + pick(rng, poolNamespaces) + "."
		if rng.IntN(8) == 0 {
			name = pick(rng, []string{"", "dns.", "ns1.dns.", "x.dns.", "x.ns1.dns.", "a.b.c.web.a.", "a.", "nope."})
		}
		name += strings.TrimPrefix(zone, ".")
	case reverse && (likely || rng.IntN(2) == 0):
		name = reverseOf(pick(rng, slices.Concat(poolAddrs, poolIPs)))
		if rng.IntN(8) == 0 {
			name = name[strings.Index(name, ".")+1:]
		}
	case rng.IntN(30) == 0:
		name = "ns.dns." + strings.TrimPrefix(zone, ".")
	case !likely && rng.IntN(4) == 0:
		name = pick(rng, []string{"", "svc.", "pod.", "dns-version.", "ns.dns.", "x.ns.dns.", "dns.", "foo.", "a.b.c.d.e.svc.", "_._.web.a.svc.",
			"x.y.z.web.a.svc.", "apex.dns.", "svc.svc.", "1.0.0.10."}) + strings.TrimPrefix(zone, ".")
	case rng.IntN(5) == 0:
		label := hostname(Endpoint{Addr: pick(rng, poolAddrs)})
		label = pick(rng, []string{label, label, strings.TrimSuffix(label, "0"), "1-2-3-256", "1-2-3-4", "--ffff-102-304", "web", "x." + label, "p.q." + label})
		name = label + "." + pick(rng, poolNamespaces) + ".pod." + strings.TrimPrefix(zone, ".")
	default:
		name = r.below(rng) + pick(rng, poolServices) + "." + pick(rng, poolNamespaces) + ".svc." + strings.TrimPrefix(zone, ".")
		if rng.IntN(8) == 0 {
			name = name[strings.Index(name, ".")+1:]
		}
	}
	if name == "" {
		name = "."
	}
	q := modelQuestion{view, mixCase(rng, name), pick(rng, modelTypes)}
	r.question(q.view, q.name, q.qtype)
	if len(r.recent) < 40 {
		r.recent = append(r.recent, q)
	} else {
		r.recent[rng.IntN(len(r.recent))] = q
	}
}

// below returns what may stand in front of a service's name.
func (r *modelRun) below(rng *rand.Rand) string {
	switch rng.IntN(8) {
	case 6:
		return pick(rng, append(poolClusters[1:], "nope", "_zone", "pin._zone", "prefer._zone", "Pin._Zone", "both._zone", "_pin._zone")) + "."
	case 5:
		return pick(rng, []string{"_tcp", "_udp", "tcp", "_", "_sctp", "_icmp", "__tcp"}) + "."
	case 3:
		return pick(rng, []string{"z1.", "z2.", "z3.", "corp.Example.com.", "com.", ""}) + pick(rng, []string{"pin", "prefer", "pin", "Prefer", "both"}) + "." + pick(rng, []string{"_zone", "_zone", "_Zone", "zone"}) + "."
	case 4:
		return pick(rng, []string{hostname(Endpoint{Addr: pick(rng, poolAddrs)}), pick(rng, poolHostnames[4:])}) + "." + pick(rng, append(poolClusters[1:], "nope", "c2")) + "."
	case 0:
		return hostname(Endpoint{Addr: pick(rng, poolAddrs)}) + "."
	case 1:
		return strings.TrimPrefix(pick(rng, append(poolHostnames, "nope", "fd00-1--"))+".", ".")
	case 2:
		return pick(rng, []string{"_http", "_dns", "http", "_", "_x", "__x", "_nope", "_alt"}) + "." + pick(rng, []string{"_tcp", "_udp", "tcp", "_", "_sctp", "_icmp"}) + "."
	}
	return ""
}

func pick[T any](rng *rand.Rand, pool []T) T { return pool[rng.IntN(len(pool))] }

func mixCase(rng *rand.Rand, name string) string {
	if rng.IntN(3) > 0 {
		return name
	}
	b := []byte(name)
	for i := range b {
		if rng.IntN(2) == 0 {
			b[i] = strings.ToUpper(name[i : i+1])[0]
		}
	}
	return string(b)
}

func reverseOf(a netip.Addr) string {
	name, err := dns.ReverseAddr(a.String())
	if err != nil {
		panic(err)
	}
	return name
}

// question asks both for one name and type.
func (r *modelRun) question(view *modelView, name string, qtype uint16) {
	r.asked++
	want, inZone := r.m.ask(view.model, name, qtype)
	key := modelKey{name, qtype}
	if cached, ok := view.negative.Get(r.w.Index(), key); ok {
		r.cached++
		if cached != want.outcome {
			r.t.Fatalf("%s %s: the negative cache has %d, want %d", name, dns.TypeToString[qtype], cached, want.outcome)
		}
	}
	wire, err := dnswire.AppendName(nil, name)
	if err != nil {
		r.t.Fatal(err)
	}
	var a Answer
	if got := view.v.Lookup(&a, wire, qtype); got != inZone {
		r.t.Fatalf("%s: in a zone of ours: %v, want %v", name, got, inZone)
	}
	if !inZone {
		return
	}
	view.negative.Add(key, &a, a.Outcome)
	if stale := r.m.staleFor(&view.model.Options); a.Stale() != stale && !strings.HasPrefix(strings.ToLower(name), "dns-version.") {
		r.t.Fatalf("%s %s: stale %v, want %v", name, dns.TypeToString[qtype], a.Stale(), stale)
	}
	got, err := observe(&a, wire, qtype)
	if err != nil {
		r.t.Fatalf("%s %s: %v", name, dns.TypeToString[qtype], err)
	}
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		r.t.Fatalf("%s %s with %+v:\ngot  %s\nwant %s\nin %s", name, dns.TypeToString[qtype], view.model, g, w, r.m.visible())
	}
}

// observe renders an answer and reads it back.
func observe(a *Answer, name []byte, qtype uint16) (reply, error) {
	r := reply{outcome: a.Outcome, blocked: a.Blocked}
	if a.Outcome == Chase && a.Hosts() != nil {
		for _, host := range a.Hosts() {
			r.chase = append(r.chase, dnswire.NameString(host))
		}
		a.Outcome = Success // as it is without the host names' addresses
	}
	if a.Outcome == Chase {
		ref := 0
		var bad error
		a.Walk(func(rec *Record) bool {
			if rec.Type != dns.TypeCNAME || rec.OwnerRef != ref {
				bad = fmt.Errorf("record %+v in a chain, behind %d", rec, ref)
			}
			ref = rec.TargetRef
			r.chase = append(r.chase, dnswire.NameString(rec.Target.Origin))
			return true
		})
		if last := dnswire.NameString(a.Target()); bad == nil && last != r.chase[len(r.chase)-1] {
			bad = fmt.Errorf("target %s after %v", last, r.chase)
		}
		return r, bad
	}
	m, err := render(a, name, qtype, 65535)
	if err != nil {
		return r, err
	}
	if m.Truncated {
		return r, fmt.Errorf("truncated: %v", m)
	}
	if !m.Authoritative || !m.Response || m.Rcode != int(a.Outcome.Rcode()) {
		return r, fmt.Errorf("header %v of outcome %d", m.MsgHdr, a.Outcome)
	}
	for _, s := range []struct {
		to   *[]string
		from []dns.RR
	}{{&r.answer, m.Answer}, {&r.authority, m.Ns}, {&r.additional, m.Extra}} {
		for _, rr := range s.from {
			*s.to = append(*s.to, rr.String())
		}
		slices.Sort(*s.to)
	}
	return r, nil
}

// render renders an answer without EDNS and has miekg/dns read it.
func render(a *Answer, name []byte, qtype uint16, limit int) (*dns.Msg, error) {
	var r Renderer
	msg, err := r.Append(nil, &dnswire.Query{Name: name, ID: 4711, Type: qtype, Class: dnswire.ClassIN}, a, limit)
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(msg); err != nil {
		return nil, fmt.Errorf("%w: %x", err, msg)
	}
	if want := (dns.Question{Name: dnswire.NameString(name), Qtype: qtype, Qclass: dns.ClassINET}); m.Id != 4711 || m.Question[0] != want {
		return nil, fmt.Errorf("question %d %v, want %v", m.Id, m.Question, want)
	}
	return m, nil
}

// TestModelKnowsCoreDNS pins what the model itself says, in a few lines that
// can be checked by eye.
func TestModelKnowsCoreDNS(t *testing.T) {
	m := newNaive()
	m.synced = [numResources]bool{true, true, true, true}
	m.namespaces["a"] = true
	m.services[Key{"a", "web"}] = &Service{Key: Key{"a", "web"}, Kind: Headless}
	m.slices[Key{"a", "s"}] = &naiveSlice{Key: Key{"a", "s"}, service: "web",
		ports: []Port{{"http", "TCP", 80}, {"x", "TCP", 80}}, ready: []Endpoint{{Addr: netip.MustParseAddr("10.0.0.1")}, {Addr: netip.MustParseAddr("fd00:1::")}, {Addr: netip.MustParseAddr("10.0.0.2"), Name: "h"}}}
	v := &naiveView{Options: Options{Zones: []string{"c."}, TTL: 5}}
	for _, tc := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"web.a.svc.c.", dns.TypeA, "0 [web.a.svc.c.\t5\tIN\tA\t10.0.0.1 web.a.svc.c.\t5\tIN\tA\t10.0.0.2] []"},
		{"fd00-1--0.web.a.svc.c.", dns.TypeAAAA, "0 [fd00-1--0.web.a.svc.c.\t5\tIN\tAAAA\tfd00:1::] []"},
		{"_http._tcp.web.a.svc.C.", dns.TypeSRV, "0 [_http._tcp.web.a.svc.C.\t5\tIN\tSRV\t0 33 80 10-0-0-1.web.a.svc.C. _http._tcp.web.a.svc.C.\t5\tIN\tSRV\t0 33 80 fd00-1--0.web.a.svc.C. _http._tcp.web.a.svc.C.\t5\tIN\tSRV\t0 33 80 h.web.a.svc.C.]" +
			" [10-0-0-1.web.a.svc.C.\t5\tIN\tA\t10.0.0.1 fd00-1--0.web.a.svc.C.\t5\tIN\tAAAA\tfd00:1:: h.web.a.svc.C.\t5\tIN\tA\t10.0.0.2]"},
		{"10-0-0-2.web.a.svc.c.", dns.TypeA, "2 [] []"},
		{"nope.a.svc.c.", dns.TypeTXT, "2 [] []"},
		{"a.svc.c.", dns.TypeTXT, "1 [] []"},
	} {
		got, _ := m.ask(v, tc.name, tc.qtype)
		if text := fmt.Sprint(got.outcome, got.answer, got.additional); strings.ReplaceAll(text, "0 0 ", "0 ") != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, text, tc.want)
		}
	}
}
