package clusterdns

import (
	"fmt"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/miekg/dns"
)

// extended returns the Extended DNS Errors in m, and "no OPT" if there is no place
// for any.
func extended(m *dns.Msg) string {
	opt := m.IsEdns0()
	if opt == nil {
		return "no OPT"
	}
	codes := []uint16{}
	for _, o := range opt.Option {
		if ede, ok := o.(*dns.EDNS0_EDE); ok {
			codes = append(codes, ede.InfoCode)
		}
	}
	return fmt.Sprint(codes)
}

// setSilent has all that w holds be stale, or not.
func setSilent(w *zone.Writer, silent bool) {
	w.Update(func(b *zone.Batch) {
		for _, r := range []zone.Resource{zone.Namespaces, zone.Services, zone.EndpointSlices, zone.Pods} {
			b.SetSilent(r, silent)
		}
	})
}

// A stale answer says so to clients that speak EDNS, has a TTL of 5 s at most, and
// is otherwise the same; negative ones out of the cache too.
func TestStaleAnswers(t *testing.T) {
	w := newWorld(t, cluster)
	h := stanza{ttl: 30, negativeCache: 8}.handler(t, w.Writer)
	for _, question := range []string{"web.shop.svc A", "nope.shop.svc A", "nope.shop.svc A", "web.shop.svc TXT", "web.shop.svc TXT", "svc SOA", "@ SOA"} {
		for _, stale := range []bool{false, true, false} {
			setSilent(w.Writer, stale)
			for _, edns := range []bool{false, true} {
				r := dnstext.Cluster.Query(t, question)
				want := "no OPT"
				if edns {
					if r.SetEdns0(1232, true); stale {
						want = "[3]"
					} else {
						want = "no OPT" // the server adds it
					}
				}
				m := ask(t, h, r)
				if got := extended(m); got != want {
					t.Errorf("%s, stale %v, EDNS %v: errors %s, want %s", question, stale, edns, got, want)
				}
				ttl := uint32(30)
				if stale {
					ttl = zone.StaleTTL
				}
				for _, rr := range append(m.Answer, m.Ns...) {
					if got := rr.Header().Ttl; got != ttl {
						t.Errorf("%s, stale %v: TTL %d, want %d", question, stale, got, ttl)
					}
					if soa, ok := rr.(*dns.SOA); ok && soa.Minttl != ttl {
						t.Errorf("%s, stale %v: the SOA's minimum is %d, want %d", question, stale, soa.Minttl, ttl)
					}
				}
			}
		}
	}
}

// What has not synced says so.
func TestNotReady(t *testing.T) {
	h := stanza{}.handler(t, zone.NewWriter())
	r := dnstext.Cluster.Query(t, "web.shop.svc A")
	if got := extended(ask(t, h, r)); got != "no OPT" {
		t.Errorf("without EDNS: %s", got)
	}
	r.SetEdns0(1232, false)
	if m := ask(t, h, r); m.Rcode != dns.RcodeServerFailure || extended(m) != "[14]" {
		t.Errorf("%s, %s", dns.RcodeToString[m.Rcode], extended(m))
	}
}

// A target outside of the zone is part of a stale answer.
func TestStaleChase(t *testing.T) {
	w := newWorld(t, cluster+"\nexternal shop/away Www.Example.com")
	h := stanza{}.handler(t, w.Writer)
	s := newServer(t, newOutside(), h)
	setSilent(w.Writer, true)
	r := dnstext.Cluster.Query(t, "away.shop.svc A")
	r.SetEdns0(1232, false)
	if m := ask(t, s, r); extended(m) != "[3]" {
		t.Errorf("%s: %v", extended(m), dnstext.Of(m))
	}
}
