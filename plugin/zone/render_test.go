package zone

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/miekg/dns"
)

// What does not fit is left out, whole records at a time, and TC says so; what
// is left is part of the full answer.
func TestTruncation(t *testing.T) {
	v := worldOfKinds(t)
	for _, k := range kinds {
		var a Answer
		name := wireName(t, k.name)
		v.Lookup(&a, name, k.qtype)
		full, err := render(&a, name, k.qtype, 65535)
		if err != nil {
			t.Fatalf("%s: %v", k.what, err)
		}
		whole := fmt.Sprint(full.Answer, full.Ns, full.Extra)
		total := len(full.Answer) + len(full.Ns) + len(full.Extra)
		complete := 0
		for limit := 12 + len(name) + 4; complete == 0; limit++ {
			m, err := render(&a, name, k.qtype, limit)
			if err != nil {
				t.Fatalf("%s in %d octets: %v", k.what, limit, err)
			}
			n := len(m.Answer) + len(m.Ns) + len(m.Extra)
			if m.Truncated != (n < total) {
				t.Fatalf("%s in %d octets: %d of %d records, truncated %v", k.what, limit, n, total, m.Truncated)
			}
			for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
				for _, rr := range section {
					if !strings.Contains(whole, rr.String()) {
						t.Fatalf("%s in %d octets: %v is not in the full answer", k.what, limit, rr)
					}
				}
			}
			if !m.Truncated {
				complete = limit
			}
		}
		if complete > full.Len() {
			t.Errorf("%s: %d octets, miekg/dns needs %d without compression", k.what, complete, full.Len())
		}
	}
}

// A record with a name of more than 255 octets is left out, and counted: no
// client could read the message.
func TestTargetTooLong(t *testing.T) {
	zone := strings.Repeat("z", 60) + "." + strings.Repeat("y", 60) + "."
	svc, ns := strings.Repeat("s", 60), strings.Repeat("n", 60)
	w := worldOf(t, "namespace "+ns+"\nservice "+ns+"/"+svc+" headless\nservice "+ns+"/some headless\nservice "+ns+"/"+svc+"-x 10.96.0.1"+
		"\nslice "+ns+"/x "+svc+" p:1/TCP 10.0.0.1="+strings.Repeat("h", 40)+" 10.0.0.2="+strings.Repeat("i", 40)+
		"\nslice "+ns+"/y some p:1/TCP 10.0.0.1="+strings.Repeat("h", 63)+" 10.0.0.2=i")
	v := mustView(t, w, Options{Zones: []string{zone, "in-addr.arpa."}})
	name, some := svc+"."+ns+".svc."+zone, "some."+ns+".svc."+zone
	ask(t, v, []qa{
		{name + " SRV", "NODATA"}, {name + " A", name + " A 10.0.0.1\n" + name + " A 10.0.0.2"},
		{some + " SRV", some + " SRV 0 50 1 i." + some + "\n+i." + some + " A 10.0.0.2"},
		{"1.0.0.10.in-addr.arpa. PTR", "NODATA"}, {"2.0.0.10.in-addr.arpa. PTR", "2.0.0.10.in-addr.arpa. PTR i." + some},
		{"1.0.96.10.in-addr.arpa. PTR", "1.0.96.10.in-addr.arpa. PTR " + svc + "-x." + ns + ".svc." + zone},
	})
	if n := v.Index().LeftOut(); n != 2+1+2+1 {
		t.Errorf("%d records left out of four answers", n)
	}
}

// Glue whose owner stands where no pointer reaches is no longer for that than
// miekg/dns makes it.
func TestManyTargets(t *testing.T) {
	var b strings.Builder
	b.WriteString("namespace shop\nservice shop/db headless\nslice shop/x db sql:5432/TCP")
	for i := range 600 {
		fmt.Fprintf(&b, " 10.0.%d.%d=db-%d", i/250, i%250, i)
	}
	v := mustView(t, worldOf(t, b.String()), Options{})
	for _, name := range []string{"db.shop.svc.cluster.local.", "_SQL._tcp.db.shop.svc.cluster.local."} {
		var a Answer
		wire := wireName(t, name)
		v.Lookup(&a, wire, dnswire.TypeSRV)
		var r Renderer
		packet, err := r.Append(nil, &dnswire.Query{Name: wire, Type: dnswire.TypeSRV, Class: 1}, &a, 65535)
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(packet); err != nil {
			t.Fatal(err)
		}
		if len(m.Answer) != 600 || len(m.Extra) != 600 {
			t.Fatalf("%s: %d records and %d glue", name, len(m.Answer), len(m.Extra))
		}
		for i, rr := range m.Extra {
			if target := m.Answer[i].(*dns.SRV).Target; target != rr.Header().Name {
				t.Fatalf("%s: glue %d is for %s, not %s", name, i, rr.Header().Name, target)
			}
		}
		m.Compress = true
		if want := m.Len(); len(packet) > want || len(packet) < dnswire.MaxPointer {
			t.Errorf("%s: %d octets, miekg/dns needs %d", name, len(packet), want)
		}
	}
}

func TestRenderChase(t *testing.T) {
	v := mustView(t, worldOf(t, "namespace a\nservice a/x external=example.org"), Options{})
	var a Answer
	name := wireName(t, "x.a.svc.cluster.local.")
	v.Lookup(&a, name, dnswire.TypeA)
	var r Renderer
	dst := []byte("before")
	got, err := r.Append(dst, &dnswire.Query{Name: name, Type: dnswire.TypeA, Class: 1}, &a, 512)
	if !errors.Is(err, ErrIncomplete) || string(got) != "before" {
		t.Errorf("%q, %v", got, err)
	}
	if a.Outcome.Rcode() != dnswire.RcodeNoError {
		t.Errorf("response code %d", a.Outcome.Rcode())
	}
}

// The OPT record is answered by one, and counts towards the limit.
func TestRenderOPT(t *testing.T) {
	v := worldOfKinds(t)
	m := new(dns.Msg)
	m.SetQuestion("db.shop.svc.cluster.local.", dns.TypeA)
	m.SetEdns0(300, true)
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q dnswire.Query
	if why := dnswire.ParseQuery(packet, &q); why != dnswire.Accepted {
		t.Fatal(why)
	}
	var a Answer
	var r Renderer
	v.Lookup(&a, q.Name, q.Type)
	got, err := r.Append([]byte("\x00\x00"), &q, &a, 200)
	if err != nil || len(got) > 202 {
		t.Fatalf("%d octets, %v", len(got), err)
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(got[2:]); err != nil {
		t.Fatal(err)
	}
	opt := reply.IsEdns0()
	if opt == nil || !opt.Do() || opt.UDPSize() != 300 || !reply.Truncated || !reply.RecursionDesired || reply.RecursionAvailable || len(reply.Answer) == 0 {
		t.Errorf("%v", reply)
	}
}

// Whatever the limit, a reply to a query with OPT has one, and is within it.
func TestRenderOPTFits(t *testing.T) {
	v := worldOfKinds(t)
	for _, k := range kinds {
		q := dnswire.Query{Name: wireName(t, k.name), Type: k.qtype, Class: dnswire.ClassIN, HasOPT: true, UDPSize: 1232}
		var a Answer
		var r Renderer
		v.Lookup(&a, q.Name, q.Type)
		for limit := 12 + len(q.Name) + 4 + 11; limit < 600; limit++ {
			got, err := r.Append(nil, &q, &a, limit)
			m := new(dns.Msg)
			if err != nil || len(got) > limit || m.Unpack(got) != nil || m.IsEdns0() == nil {
				t.Fatalf("%s in %d octets: %d octets, %v, %v", k.what, limit, len(got), err, m)
			}
		}
	}
}

// FuzzLookup asks for anything. The reply reads back, is the same from memory
// used before as from new, and does not depend on the case of the name.
func FuzzLookup(f *testing.F) {
	w := worldOf(f, shop+`
		service shop/out external=example.org
		service shop/in external=db.shop.svc.cluster.local
		service shop/loop external=loop.shop.svc.cluster.local
	`)
	var views []*View
	for _, opt := range []Options{
		{Zones: []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."}, Pods: PodsVerified},
		{Zones: []string{"."}, Pods: PodsInsecure}, {Zones: []string{"svc.", "local."}, IgnoreEmpty: true}, {Zones: []string{"Cluster.local."}, NoEndpoints: true},
	} {
		views = append(views, mustView(f, w, opt, "10.1.0.5", "fd01::5"))
	}
	for _, k := range kinds {
		f.Add(wireName(f, k.name), k.qtype, uint16(512))
	}
	for _, s := range []string{"10-1-0-1.web.shop.svc.cluster.local", "ns.dns.cluster.local", "in.shop.svc.cluster.local", "loop.shop.svc.cluster.local", ".", "db-0.db.shop.svc.cluster.local", "_pg._tcp.mixed.shop.svc.cluster.local", "12.0.1.10.in-addr.arpa"} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeNS, dns.TypePTR, dns.TypeANY} {
			f.Add(wireName(f, s), qtype, uint16(100))
		}
	}
	used, usedRenderer := make([]Answer, len(views)), make([]Renderer, len(views))
	f.Fuzz(func(t *testing.T, name []byte, qtype, limit uint16) {
		for i, v := range views {
			var a Answer
			ok := v.Lookup(&a, name, qtype)
			if used := v.Lookup(&used[i], name, qtype); used != ok {
				t.Fatalf("in a zone: %v, with used memory %v", ok, used)
			}
			if !ok {
				continue
			}
			if a.Outcome != used[i].Outcome || a.Blocked != used[i].Blocked {
				t.Fatalf("outcome %d, with used memory %d", a.Outcome, used[i].Outcome)
			}
			var folded Answer
			if lower := bytes.ToLower(name); len(lower) == len(name) && (!v.Lookup(&folded, dnswire.AppendLower(nil, name), qtype) || folded.Outcome != a.Outcome) {
				t.Fatalf("%q: outcome %d, in lower case %d", name, a.Outcome, folded.Outcome)
			}
			if a.Outcome == Chase {
				if a.Target() == nil {
					t.Fatal("no target")
				}
				continue
			}
			q := &dnswire.Query{Name: name, ID: 4711, Type: qtype, Class: dnswire.ClassIN}
			var r Renderer
			fresh, err := r.Append(nil, q, &a, max(512, int(limit)))
			again, err2 := usedRenderer[i].Append(nil, q, &used[i], max(512, int(limit)))
			if err != nil || err2 != nil || !bytes.Equal(fresh, again) {
				t.Fatalf("%q: %v %v\n%x\n%x", name, err, err2, fresh, again)
			}
			if _, err := render(&a, name, qtype, max(512, int(limit))); err != nil {
				t.Fatal(err)
			}
		}
	})
}
