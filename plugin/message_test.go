package clusterdns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/zone"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/miekg/dns"
)

// twoWays answers a question as a message and in wire format, of at most limit
// octets, and reports an error if they differ. The message is the reference:
// the tables of handler_names_test.go hold it.
func twoWays(h *Handler, name string, qtype uint16, limit int) error {
	r := new(dns.Msg)
	r.SetQuestion(name, qtype)
	packet, err := r.Pack()
	if err != nil {
		return nil // no question that anybody can ask
	}
	// As the server has it: what was in the packet, unpacked.
	if err := r.Unpack(packet); err != nil {
		return fmt.Errorf("unpacking the query: %w", err)
	}
	var q dnswire.Query
	if reason := dnswire.ParseQuery(packet, &q); reason != dnswire.Accepted {
		return fmt.Errorf("ParseQuery: %v", reason)
	}
	var a zone.Answer
	if !h.view.Lookup(&a, q.Name, q.Type) {
		return nil
	}
	m := message(r, q.Name, &a)
	if got, want := a.Length(1<<30), m.Len(); got != want && !m.Truncated {
		return fmt.Errorf("Length: %d octets, the message has %d", got, want)
	}
	var renderer zone.Renderer
	wire, err := renderer.Append(nil, &q, &a, limit)
	if a.Outcome == zone.Chase {
		if err != zone.ErrIncomplete {
			return fmt.Errorf("rendering an answer to be chased: %v, want ErrIncomplete", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("rendering: %w", err)
	}
	if len(wire) > limit {
		return fmt.Errorf("rendered %d octets, the limit is %d", len(wire), limit)
	}
	got := new(dns.Msg)
	if err := got.Unpack(wire); err != nil {
		return fmt.Errorf("unpacking what was rendered: %w", err)
	}
	// The message must survive the wire as it is, too.
	full, err := packed(m)
	if err != nil {
		return fmt.Errorf("packing the message %v: %w", m, err)
	}
	if got.Id != m.Id || !slices.Equal(got.Question, m.Question) {
		return fmt.Errorf("wire: id %d question %v, message: id %d question %v", got.Id, got.Question, m.Id, m.Question)
	}
	if got.Truncated {
		return truncated(got, full, limit)
	}
	if want, got := dnstext.Of(full).String(), dnstext.Of(got).String(); want != got {
		return fmt.Errorf("message:\n%s\nwire:\n%s", want, got)
	}
	return nil
}

// packed returns m as it looks to who receives it.
func packed(m *dns.Msg) (*dns.Msg, error) {
	c := m.Copy()
	c.Compress = true
	wire, err := c.Pack()
	if err != nil {
		return nil, err
	}
	got := new(dns.Msg)
	return got, got.Unpack(wire)
}

// truncated reports an error unless got is part of full, and full too long.
func truncated(got, full *dns.Msg, limit int) error {
	sections := func(m *dns.Msg) [3][]dns.RR { return [3][]dns.RR{m.Answer, m.Ns, m.Extra} }
	fewer := false
	for i, rrs := range sections(got) {
		left := map[string]int{}
		for _, rr := range sections(full)[i] {
			left[rr.String()]++
		}
		for _, rr := range rrs {
			if left[rr.String()]--; left[rr.String()] < 0 {
				return fmt.Errorf("TC is set, and %v stands in it but not in the full reply", rr)
			}
		}
		fewer = fewer || len(rrs) < len(sections(full)[i])
	}
	if !fewer {
		return fmt.Errorf("TC is set, but no record is missing (limit %d)", limit)
	}
	full.Truncated = true
	full.Compress = true
	if head := func(m *dns.Msg) string { s, _, _ := strings.Cut(dnstext.Of(m).String(), "\n"); return s }; head(full) != head(got) {
		return fmt.Errorf("message: %s, wire: %s", head(full), head(got))
	}
	return nil
}

// varied is a cluster with what makes rendering hard: endpoints of all sorts in
// many slices, so that replies outgrow a compression pointer's reach, names
// that need escapes, and names near the 255-octet limit.
func varied(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, cluster+`
		svc shop/`+strings.Repeat("l", 63)+` 10.96.1.1 `+strings.Repeat("p", 15)+`:TCP:1
		external shop/outside www.example.com
		external shop/chain-0 chain-1.shop.svc.cluster.local
		external shop/chain-1 chain-2.shop.svc.cluster.local
		external shop/chain-2 chain-3.shop.svc.cluster.local
		external shop/chain-3 chain-4.shop.svc.cluster.local
		external shop/chain-4 chain-5.shop.svc.cluster.local
		external shop/chain-5 chain-6.shop.svc.cluster.local
		external shop/chain-6 chain-7.shop.svc.cluster.local
		external shop/chain-7 chain-8.shop.svc.cluster.local
		external shop/chain-8 web.shop.svc.cluster.local
		external shop/outside-in db.shop.svc.other.local
		external shop/far `+strings.Repeat("x", 63)+"."+strings.Repeat("y", 63)+"."+strings.Repeat("z", 63)+`.svc.cluster.local
		headless shop/big http:TCP:80 https:TCP:443
		headless shop/big6 http:TCP:80
		headless shop/hosts http:TCP:80
		headless shop/overlap http:TCP:80 all`)
	for slice := range 12 {
		var big, big6, hosts []string
		for i := range 100 {
			n := slice*100 + i
			big = append(big, fmt.Sprintf("10.1.%d.%d", n>>8, n&255))
			big6 = append(big6, fmt.Sprintf("2001:db8::%x", n*7))
			hosts = append(hosts, fmt.Sprintf("Host-%d=10.2.%d.%d", n, n>>8, n&255))
		}
		w.set(t, fmt.Sprintf(`
			slice shop/big-%[1]d big http:TCP:80 https:TCP:443 %[2]s
			slice shop/big6-%[1]d big6 http:TCP:80 %[3]s
			slice shop/hosts-%[1]d hosts http:TCP:80 %[4]s`,
			slice, strings.Join(big, " "), strings.Join(big6, " "), strings.Join(hosts, " ")))
	}
	w.set(t, `
		slice shop/many-1 many http:TCP:80 a=10.3.0.9 b=10.3.0.9 c=10.3.0.9 d=10.3.0.9 e=10.3.0.9 f=10.3.0.9 g=10.3.0.9 h=10.3.0.9 i=10.3.0.9 j=10.3.0.9 k=10.3.0.9 l=10.3.0.9
		slice shop/many-2 more http:TCP:80 a=10.3.0.9 b=10.3.0.9 c=10.3.0.9 d=10.3.0.9
		slice shop/overlap-1 overlap http:TCP:80 a=10.3.0.1 10.3.0.2 same=10.3.0.3
		slice shop/overlap-2 overlap http:TCP:80 a=10.3.0.1 10.3.0.2 same=10.3.0.4 !same=10.3.0.3
		slice shop/overlap-3 overlap other:TCP:81 a=fd00::1 10.3.0.2`)
	return w
}

// questions are names below a zone to ask of varied, each in every type.
var questions = []string{
	"", "svc", "pod", "shop.svc", "shop.pod", "dns-version", "ns.dns", "foo",
	"web.shop.svc", "dual.shop.svc", "dns.shop.svc", "pending.shop.svc", "_http._tcp.web.shop.svc", "10-244-1-10.web.shop.svc",
	"cache.shop.svc", "early.shop.svc", "none.shop.svc", "portless.shop.svc", "six-pods.shop.svc", "fd00-10-244--0.six-pods.shop.svc",
	"sql.data.svc", "sql-0.sql.data.svc", "_sql._tcp.sql.data.svc", "db.shop.svc", "alias.shop.svc", "db-of-old.shop.svc",
	"dead.shop.svc", "loop-a.shop.svc", "outside.shop.svc", "outside-in.shop.svc", "far.shop.svc",
	"chain-0.shop.svc", "chain-1.shop.svc", "chain-2.shop.svc", "chain-3.shop.svc", "chain-4.shop.svc", "chain-5.shop.svc",
	"big.shop.svc", "big6.shop.svc", "hosts.shop.svc", "overlap.shop.svc", "_http._tcp.overlap.shop.svc", "a.overlap.shop.svc", "same.overlap.shop.svc",
	"10-1-0-77.big.shop.svc", "host-77.hosts.shop.svc", "10-244-1-10.shop.pod", "192-0-2-1.shop.pod",
	strings.Repeat("l", 63) + ".shop.svc",
	// Escapes, in presentation format: a dot, a backslash, blanks, octets.
	`we\.b.shop.svc`, `\\.shop.svc`, `a\032b.shop.svc`, `\000\255.shop.svc`, `"quoted".shop.svc`, `\@.shop.svc`, `\$x.web.shop.svc`, `a;b.shop.svc`,
	`_ht\116p._tcp.web.shop.svc`, `\119eb.shop.svc`,
}

func variedHandler(t testing.TB) *Handler {
	return stanza{
		zones: []string{"cluster.local.", "other.local.", "sub.svc.cluster.local.", "10.in-addr.arpa.", "ip6.arpa."}, pods: zone.PodsInsecure,
		local: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("10.244.2.21"), netip.MustParseAddr("2001:db8::53")},
	}.handler(t, varied(t).Writer)
}

func rootHandler(t testing.TB) *Handler {
	return stanza{zones: []string{"."}, pods: zone.PodsInsecure}.handler(t, varied(t).Writer)
}

var qtypes = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypeTXT, dns.TypeNS, dns.TypeSOA, dns.TypeCNAME, dns.TypePTR, dns.TypeANY, dns.TypeMX}

func TestMessageIsWhatTheRendererWrites(t *testing.T) {
	h, root := variedHandler(t), rootHandler(t)
	random := rand.New(rand.NewPCG(1, 2))
	check := func(h *Handler, name string) {
		limits := []int{512, 65535}
		if strings.Contains(name, "big") || strings.Contains(name, "hosts") {
			limits = append(limits, 513, 1232, 4096, 17000) // past what pointers reach
		}
		for _, qtype := range qtypes {
			for _, limit := range limits {
				if err := twoWays(h, name, qtype, limit); err != nil {
					t.Errorf("%s %s, %d octets: %v", name, dns.TypeToString[qtype], limit, err)
				}
			}
		}
	}
	for _, q := range questions {
		for _, origin := range []string{"cluster.local.", "CLUSTER.local.", "other.local.", "sub.svc.cluster.local.", "in-addr.arpa.", "10.in-addr.arpa."} {
			name := strings.TrimPrefix(q+"."+origin, ".")
			check(h, name)
			check(h, mixCase(random, name))
		}
		check(root, dns.Fqdn(q))
		check(root, mixCase(random, dns.Fqdn(q)))
	}
	for _, addr := range []string{"10.96.0.10", "10.244.2.21", "10.1.0.77", "10.2.0.77", "10.3.0.2", "10.3.0.9", "fd00:10:96::20", "2001:db8::7", "192.0.2.1"} {
		name, err := dns.ReverseAddr(addr)
		if err != nil {
			t.Fatal(err)
		}
		check(h, name)
		check(h, mixCase(random, name))
	}
	ofBig := stanza{local: []netip.Addr{netip.MustParseAddr("10.1.0.1")}}.handler(t, varied(t).Writer)
	for _, q := range []string{"cluster.local.", "Cluster.Local.", "ns.dns.cluster.local."} {
		check(ofBig, q)
	}
}

// mixCase spells name in random case (draft-vixie-dnsext-dns0x20).
func mixCase(random *rand.Rand, name string) string {
	b := []byte(name)
	for i, c := range b {
		if ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') && random.IntN(2) == 0 {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

// TestShortestFirst: a reply with TC has as many SRV records as can be.
func TestShortestFirst(t *testing.T) {
	var b strings.Builder
	b.WriteString("ns ns\nheadless ns/db http:TCP:80\nslice ns/db-1 db http:TCP:80")
	for i := range 20 {
		fmt.Fprintf(&b, " a%s%d=10.1.0.%d z%d=10.1.1.%d", strings.Repeat("x", 50), i, i, i, i)
	}
	h := stanza{}.handler(t, newWorld(t, b.String()).Writer)
	m := ask(t, h, dnstext.Cluster.Query(t, "db.ns.svc SRV"))
	m.Truncate(dns.MinMsgSize)
	// After header and question: 12 octets to the target, and that in full.
	const short = 12 + 6 + len("z0.db.ns.svc.cluster.local.") + 1
	if want := (512 - 12 - len("db.ns.svc.cluster.local.") - 1 - 4) / short; !m.Truncated || len(m.Answer) != want {
		t.Errorf("truncated: %v, %d records, %d fit", m.Truncated, len(m.Answer), want)
	}
}

// TestCut: a reply that will be truncated is not made whole, and looks as if it
// had been.
func TestCut(t *testing.T) {
	var b strings.Builder
	b.WriteString("ns ns\nheadless ns/big http:TCP:80\nslice ns/big-1 big http:TCP:80")
	for i := range 5000 {
		fmt.Fprintf(&b, " 10.1.%d.%d 2001:db8::%x", i>>8, i&255, i)
	}
	h := stanza{}.handler(t, newWorld(t, b.String()).Writer)
	big := h
	for _, question := range []string{"big.ns.svc A", "big.ns.svc AAAA"} {
		for _, size := range []uint16{0, 512, 513, 1232, 4096, 65000} {
			r := dnstext.Cluster.Query(t, question)
			if size > 0 {
				r.SetEdns0(size, false)
			}
			limit := max(int(size), dns.MinMsgSize)
			m := ask(t, h, r)
			made := len(m.Answer)
			m.Truncate(limit)
			var a zone.Answer
			wire, err := dnswire.AppendName(nil, r.Question[0].Name)
			if err != nil {
				t.Fatal(err)
			}
			h.view.Lookup(&a, wire, r.Question[0].Qtype)
			whole := message(r, wire, &a)
			whole.Truncate(limit)
			if m.Truncated != whole.Truncated || len(m.Answer) != len(whole.Answer) || made > len(m.Answer)+6 && made < 5000 || made == 5000 && whole.Truncated {
				t.Errorf("%s in %d octets: %d records made, %d left, truncated %v; want %d, %v", question, limit, made, len(m.Answer), m.Truncated, len(whole.Answer), whole.Truncated)
			}
			had := map[string]bool{}
			for _, rr := range m.Answer {
				if had[rr.String()] {
					t.Errorf("%s in %d octets: %v twice", question, limit, rr)
				}
				had[rr.String()] = true
			}
		}
	}
	// SRV records with the shortest targets, whichever come first.
	b.Reset()
	b.WriteString("ns ns\nheadless ns/db http:TCP:80\nslice ns/db-1 db http:TCP:80")
	for i := range 4000 {
		fmt.Fprintf(&b, " h%d%s=10.1.%d.%d", i, strings.Repeat("x", i%40), i>>8, i&255)
	}
	h = stanza{}.handler(t, newWorld(t, b.String()).Writer)
	for _, size := range []uint16{512, 513, 1232, 4096, 20_000, 65_000} {
		r := dnstext.Cluster.Query(t, "db.ns.svc SRV")
		r.SetEdns0(size, false)
		m := ask(t, h, r)
		made := len(m.Answer)
		m.Truncate(int(size))
		var a zone.Answer
		wire, err := dnswire.AppendName(nil, r.Question[0].Name)
		if err != nil {
			t.Fatal(err)
		}
		h.view.Lookup(&a, wire, dns.TypeSRV)
		whole := new(dns.Msg).SetReply(r)
		a.Walk(func(rec *zone.Record) bool {
			if rec.Type == dns.TypeSRV {
				b := builder{question: r.Question[0].Name, wire: wire}
				whole.Answer = b.append(whole.Answer, rec)
			}
			return true
		})
		shortestFirst(whole, int(size))
		whole.Truncate(int(size))
		if !m.Truncated || len(m.Answer) != len(whole.Answer) || made > len(m.Answer)+40 {
			t.Errorf("SRV in %d octets: %d records made, %d left, truncated %v; want %d", size, made, len(m.Answer), m.Truncated, len(whole.Answer))
		}
	}
	// Every address is among those of some reply.
	h = big
	r := dnstext.Cluster.Query(t, "big.ns.svc A")
	seen := map[string]bool{}
	for range 10_000 {
		for _, rr := range ask(t, h, r).Answer {
			seen[rr.(*dns.A).A.String()] = true
		}
	}
	if len(seen) != 5000 {
		t.Errorf("%d of 5000 addresses are ever given", len(seen))
	}
}

// Of an answer that no message has room for no more records are made than one
// may have, and those that fit are the same.
func TestMessageIsBounded(t *testing.T) {
	worlds := map[string]func(b *strings.Builder, n int){
		"db.ns.svc SRV": func(b *strings.Builder, n int) {
			b.WriteString("ns ns\nheadless ns/db http:TCP:80\nslice ns/db-1 db http:TCP:80")
			for i := range n {
				fmt.Fprintf(b, " 10.%d.%d.%d", i>>16, i>>8&255, i&255)
			}
		},
		"7.0.0.10.in-addr.arpa. PTR": func(b *strings.Builder, n int) {
			b.WriteString("ns ns")
			for i := range n {
				fmt.Fprintf(b, "\nslice ns/s%d s%d http:TCP:80 10.0.0.7", i, i)
			}
		},
	}
	for question, world := range worlds {
		for _, n := range []int{1000, 3000, 10_000} {
			var b strings.Builder
			world(&b, n)
			h := stanza{zones: []string{"cluster.local.", "in-addr.arpa."}}.handler(t, newWorld(t, b.String()).Writer)
			r := dnstext.Cluster.Query(t, question)
			wire, err := dnswire.AppendName(nil, r.Question[0].Name)
			if err != nil {
				t.Fatal(err)
			}
			var a zone.Answer
			h.view.Lookup(&a, wire, r.Question[0].Qtype)
			whole, least := 0, 0
			a.Walk(func(rec *zone.Record) bool { whole++; least += rec.Least(); return true })
			m := message(r, wire, &a)
			if made := len(m.Answer) + len(m.Extra); made > dns.MaxMsgSize/16 || m.Truncated != (made < whole) || m.Truncated != (least > dns.MaxMsgSize) {
				t.Errorf("%d, %s: %d records of %d, truncated %v", n, question, made, whole, m.Truncated)
			}
			if !m.Truncated {
				continue
			}
			if m.Truncate(dns.MaxMsgSize); !m.Truncated || len(m.Answer) < 500 {
				t.Errorf("%d, %s: %d records are left, truncated %v", n, question, len(m.Answer), m.Truncated)
			}
			if packed, err := m.Pack(); err != nil || len(packed) < dns.MaxMsgSize-300 {
				t.Errorf("%d, %s: %d octets, %v", n, question, len(packed), err)
			}
		}
	}
}

func FuzzMessageIsWhatTheRendererWrites(f *testing.F) {
	for i, q := range questions {
		name := strings.TrimPrefix(q+".cluster.local.", ".")
		if wire, err := dnswire.AppendName(nil, name); err == nil {
			f.Add(wire, qtypes[i%len(qtypes)], uint16(512+i*97), i%5 == 0)
		}
	}
	h, root := variedHandler(f), rootHandler(f)
	f.Fuzz(func(t *testing.T, wire []byte, qtype, limit uint16, ofRoot bool) {
		if len(wire) > 255 {
			return
		}
		name, off, err := dns.UnpackDomainName(wire, 0)
		if err != nil || off != len(wire) || limit < 512 {
			return
		}
		h := h
		if ofRoot {
			h = root
		}
		if err := twoWays(h, name, qtype, int(limit)); err != nil {
			t.Errorf("%q %d, %d octets: %v", name, qtype, limit, err)
		}
	})
}
