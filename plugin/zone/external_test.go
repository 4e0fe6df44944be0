package zone

import (
	"testing"

	"github.com/miekg/dns"
)

// outsideWorld has a service of each sort that external zones tell apart. What
// they answer, plugin/external_names_test.go holds for this world's like.
const outsideWorld = `
	namespace shop
	service shop/web 10.96.0.1 http:80/TCP,https:443/TCP outside=192.0.2.1,2001:db8::1,192.0.2.1
	service shop/twin 10.96.0.2 http:80/TCP outside=192.0.2.1
	service shop/lb 10.96.0.3 http:80/TCP outside=lb.example.com,LB.example.com,192.0.2.2
	service shop/db headless
	slice shop/db-1 db pg:5432/TCP 10.1.0.1=db-0 10.1.0.2 192.0.2.1`

func externalView(t testing.TB, w *Writer) *View {
	return mustView(t, w, Options{Zones: []string{"example.org.", "in-addr.arpa."}, External: &ExternalOptions{Apex: "dns", Headless: true}})
}

func TestExternalNoAllocs(t *testing.T) {
	v := externalView(t, worldOf(t, outsideWorld))
	for _, k := range []struct {
		what, name string
		qtype      uint16
	}{
		{"A", "web.shop.example.org.", dns.TypeA},
		{"AAAA", "wEb.shop.Example.org.", dns.TypeAAAA},
		{"SRV", "_http._tcp.web.shop.example.org.", dns.TypeSRV},
		{"SRV, all ports", "web.shop.example.org.", dns.TypeSRV},
		{"TXT, NODATA", "web.shop.example.org.", dns.TypeTXT},
		{"NXDOMAIN", "nope.shop.example.org.", dns.TypeA},
		{"PTR of two", "1.2.0.192.in-addr.arpa.", dns.TypePTR},
		{"PTR NXDOMAIN", "9.2.0.192.in-addr.arpa.", dns.TypePTR},
		{"CNAME", "lb.shop.example.org.", dns.TypeCNAME},
		{"A beside a host name, CHASE", "lb.shop.example.org.", dns.TypeA},
		{"SRV to a host name, CHASE", "lb.shop.example.org.", dns.TypeSRV},
		{"headless A", "db.shop.example.org.", dns.TypeA},
		{"headless SRV", "db.shop.example.org.", dns.TypeSRV},
		{"endpoint A", "db-0.db.shop.example.org.", dns.TypeA},
		{"SOA", "example.org.", dns.TypeSOA},
		{"below the name server, NXDOMAIN", "x.dns.example.org.", dns.TypeA},
	} {
		noAllocs(t, v, k.what, k.name, k.qtype)
	}
}

// TestExternalHosts has the host names of a Chase, and of other answers none.
func TestExternalHosts(t *testing.T) {
	v := externalView(t, worldOf(t, outsideWorld))
	for _, row := range []struct {
		name  string
		qtype uint16
		want  int
	}{
		{"lb.shop.example.org.", dns.TypeA, 1},
		{"lb.shop.example.org.", dns.TypeSRV, 1},
		{"web.shop.example.org.", dns.TypeA, 0},
		{"db.shop.example.org.", dns.TypeA, 0},
	} {
		var a Answer
		if !v.Lookup(&a, wireName(t, row.name), row.qtype) || len(a.Hosts()) != row.want || (a.Outcome == Chase) != (row.want > 0) {
			t.Errorf("%s %s: outcome %d, hosts %q", row.name, dns.TypeToString[row.qtype], a.Outcome, a.Hosts())
		}
	}
}

// TestExternalOwners changes the addresses of services: the entries of reverse
// lookups follow (check looks), and the serial moves with each.
func TestExternalOwners(t *testing.T) {
	w := worldOf(t, outsideWorld)
	serial := w.Index().Serial()
	for _, line := range []string{
		"service shop/web 10.96.0.1 http:80/TCP outside=192.0.2.1 @2",
		"service shop/web 192.0.2.1 http:80/TCP outside=192.0.2.1,192.0.2.7 @3",
		"service shop/web headless outside=192.0.2.7 @4",
		"service shop/web headless outside=192.0.2.7,lb.example.com @5",
		"service shop/web headless @6",
	} {
		set(t, w, line)
		if now := w.Index().Serial(); now != serial+1 {
			t.Errorf("%s: serial %d after %d", line, now, serial)
		}
		serial = w.Index().Serial()
	}
	drop(w, Services, "shop", "twin", 7)
	drop(w, Services, "shop", "lb", 8)
	if err := check(w); err != nil {
		t.Error(err)
	}
}

func TestExternalApex(t *testing.T) {
	for _, apex := range []string{"", ".", "a.b", "a..", "0123456789012345678901234567890123456789012345678901234567890123"} {
		if _, err := NewView(NewWriter().Index(), Options{Zones: []string{"example.org."}, External: &ExternalOptions{Apex: apex}}); err == nil {
			t.Errorf("apex %q is taken", apex)
		}
	}
}

// Names at the limits of their length, which the zone's labels push beyond it.
func TestExternalLongNames(t *testing.T) {
	long := "n123456789012345678901234567890123456789012345678901234567890ab"
	w := worldOf(t, "namespace "+long+"\nservice "+long+"/"+long+" none http:80/TCP outside=192.0.2.1")
	v := mustView(t, w, Options{Zones: []string{long + ".example.org."}, External: &ExternalOptions{Apex: "dns"}})
	ask(t, v, []qa{{long + "." + long + "." + long + ".example.org. A", long + "." + long + "." + long + ".example.org. A 192.0.2.1"}})
	n := 0
	if _, err := v.Transfer(long+".example.org.", func(*Answer) bool { n++; return true }); err != nil || n < 3 {
		t.Errorf("%d answers are transferred, %v", n, err)
	}
}
