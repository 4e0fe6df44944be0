package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/miekg/dns"
)

// crowd is a headless service a/db with endpoints of every sort: of both
// families, with one address or one hostname several times, and two ports.
func crowd(t *testing.T) *Writer {
	w := worldOf(t, `
		namespace a
		service a/db headless
		service a/web 10.96.0.1 p:1/TCP,q:2/TCP,r:3/TCP
		import a/db headless
		slice a/solo web p:1/TCP 10.1.0.1`)
	two := []Port{{"http", "TCP", 80}, {"dns", "TCP", 53}}
	w.Update(func(b *Batch) {
		for from := 0; from < 60; from += 10 {
			var v4, v6 []Endpoint
			for i := from; i < from+10; i++ {
				e := Endpoint{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i % 7), byte(i)}), Zone: fmt.Sprint("z", i%3)}
				if i%4 == 0 {
					e.Name = fmt.Sprint("h", i%24)
				}
				if i%10 == 0 {
					e.Addr = netip.MustParseAddr("10.0.0.250")
				}
				v4 = append(v4, e)
				v6 = append(v6, Endpoint{Addr: netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i)})})
			}
			imported := &Imported{"db", fmt.Sprint("c", from%20)}
			b.Set(&EndpointSlice{Key: Key{"a", fmt.Sprint("four", from)}, Service: "db", Imported: imported, Ports: two, Ready: NewEndpoints(v4)})
			b.Set(&EndpointSlice{Key: Key{"a", fmt.Sprint("six", from)}, Service: "db", Imported: imported, Ports: httpPort, Ready: NewEndpoints(v6)})
		}
	})
	return w
}

// answerOf returns the records of the answer section, and of the additional one.
func answerOf(t *testing.T, v *View, name string, qtype uint16) (answer, extra []string) {
	t.Helper()
	var a Answer
	q := dnswire.Query{Name: wireName(t, name), Type: qtype, Class: dnswire.ClassIN}
	if !v.Lookup(&a, q.Name, qtype) || a.Outcome != Success {
		t.Fatalf("%s: outcome %d", name, a.Outcome)
	}
	length := a.Length(everything)
	wire, err := new(Renderer).Append(nil, &q, &a, 1<<16-1)
	m := new(dns.Msg)
	if err != nil || m.Unpack(wire) != nil || m.Truncated {
		t.Fatalf("%s: %v, %v", name, err, m)
	}
	if m.Len() != length {
		t.Errorf("%s: Length is %d, of a message of %d", name, length, m.Len())
	}
	for _, rr := range m.Answer {
		answer = append(answer, strings.ToLower(rr.String()))
	}
	for _, rr := range m.Extra {
		extra = append(extra, strings.ToLower(rr.String()))
	}
	return answer, extra
}

// With MaxAnswers an answer has so many of the records that it has without, each
// once, and SRV records come with just the addresses of their targets; in time
// all are given, each about as often. Nothing is truncated for it.
func TestMaxAnswers(t *testing.T) {
	w := crowd(t)
	opt := Options{Zones: []string{"c.", "set."}, Multicluster: []string{"set."}, Zonal: true}
	all := mustView(t, w, opt)
	for _, most := range []int{1, 7, 40, 5000} {
		opt.MaxAnswers = most
		v := mustView(t, w, opt)
		for _, name := range []string{"db.a.svc.c.", "_http._tcp.db.a.svc.c.", "_dns._tcp.db.a.svc.c.", "h0.db.a.svc.c.", "z1.pin._zone.db.a.svc.c.", "nowhere.prefer._zone.db.a.svc.c.",
			"10-0-0-250.db.a.svc.c.", "db.a.svc.set.", "h8.c10.db.a.svc.set.", "web.a.svc.c."} {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV} {
				var a Answer
				if all.Lookup(&a, wireName(t, name), qtype); a.Outcome != Success {
					continue
				}
				what := fmt.Sprintf("at most %d, %s %s", most, name, dns.TypeToString[qtype])
				whole, glue := answerOf(t, all, name, qtype)
				want := min(most, len(whole))
				if name == "web.a.svc.c." {
					want = len(whole)
				}
				times := map[string]int{}
				asked := 0
				for ; asked < 40 || len(times) < len(whole) && asked < 100*len(whole)/want; asked++ {
					some, itsGlue := answerOf(t, v, name, qtype)
					if len(some) != want {
						t.Fatalf("%s: %d records, want %d", what, len(some), want)
					}
					targets := map[string]bool{}
					for _, rr := range some {
						if !slices.Contains(whole, rr) {
							t.Fatalf("%s: %s is not in the whole answer", what, rr)
						}
						times[rr]++
						f := strings.Fields(rr)
						targets[f[len(f)-1]] = true
					}
					if slices.Sort(some); len(slices.Compact(some)) != want {
						t.Fatalf("%s: a record comes twice: %v", what, some)
					}
					for _, rr := range glue {
						if slices.Contains(itsGlue, rr) != (qtype == dns.TypeSRV && targets[strings.Fields(rr)[0]]) {
							t.Fatalf("%s: targets %v, additional %v", what, targets, itsGlue)
						}
					}
				}
				if len(times) != len(whole) {
					t.Errorf("%s: after %d questions %d of %d records have come", what, asked, len(times), len(whole))
				}
			}
		}
		for _, zone := range opt.Zones {
			if got, want := transferRecords(t, v, zone), transferRecords(t, all, zone); got != want {
				t.Errorf("at most %d: %d records of %s are transferred, not %d", most, got, zone, want)
			}
		}
	}
}

// No address is given much more often than others, and the first and last neither.
func TestMaxAnswersEven(t *testing.T) {
	w := crowd(t)
	v := mustView(t, w, Options{MaxAnswers: 5, Zones: []string{"c."}})
	for name, qtype := range map[string]uint16{"db.a.svc.c.": dns.TypeA, "_dns._tcp.db.a.svc.c.": dns.TypeA, "_http._tcp.db.a.svc.c.": dns.TypeAAAA} {
		times := map[string]int{}
		const questions = 4000
		for range questions {
			some, _ := answerOf(t, v, name, qtype)
			for _, rr := range some {
				times[rr]++
			}
		}
		fair := questions * 5 / len(times)
		for rr, n := range times {
			if n < fair/3 || n > fair*3 {
				t.Errorf("%s has come %d times, and %d would be fair", rr, n, fair)
			}
		}
	}
}

func transferRecords(t *testing.T, v *View, zone string) (n int) {
	t.Helper()
	if found, err := v.Transfer(zone, func(a *Answer) bool {
		return a.Walk(func(r *Record) bool { n += max(1, len(r.Packed)); return true })
	}); !found || err != nil {
		t.Fatal(found, err)
	}
	return n
}
