package zone

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/miekg/dns"
)

func TestSplit(t *testing.T) {
	for _, tc := range []struct {
		name string
		want string // kind, namespace, service, first, endpoint, port, protocol
	}{
		{"", "empty"}, {"svc", "empty"}, {"POD", "empty"}, {"DNS", "empty"}, {"foo", "nothing"}, {"x.dns", "nothing"}, {"dns.svc", "namespace dns"}, {"svc.foo", "nothing"},
		{"Ns.svc", "namespace ns"}, {"ns.Pod", "pod-namespace ns"},
		{"Web.Ns.svc", "service ns web Web"}, {"1-2-3-4.ns.pod", "pod ns 1-2-3-4 1-2-3-4"},
		{"EP.web.ns.svc", "service ns web web endpoint=EP"}, {"_HTTP._tcp.web.ns.svc", "service ns web web port=HTTP protocol=tcp"},
		{"http.tcp.web.ns.svc", "service ns web web port=http protocol=tcp"}, {"_._.web.ns.svc", "service ns web web"}, {"__x._y.web.ns.svc", "service ns web web port=_x protocol=y"},
		{"a.b.1-2-3-4.ns.pod", "pod ns 1-2-3-4 1-2-3-4"}, {"a.b.c.web.ns.svc", "nothing"}, {"a.b.c.web.ns.pod", "nothing"},
	} {
		var q query
		if !q.parse(wireName(t, tc.name+strings.Repeat(".", min(1, len(tc.name)))+"zone.")) {
			t.Fatal(tc.name)
		}
		if got := q.split(q.labels-1, &origin{}).String(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestSplitMulticlusterAndZonal(t *testing.T) {
	multicluster, zonal := &origin{multicluster: true}, &origin{zonal: true}
	for _, tc := range []struct {
		o          *origin
		name, want string
	}{
		{multicluster, "EP.c1.web.ns.svc", "service ns web web endpoint=EP cluster=c1"}, {multicluster, "ep.web.ns.svc", "service ns web web endpoint=ep"},
		{multicluster, "_http._tcp.web.ns.svc", "service ns web web port=http protocol=tcp"}, {multicluster, "_http.tcp.web.ns.svc", "service ns web web port=http protocol=tcp"},
		{multicluster, "http._tcp.web.ns.svc", "service ns web web port=http protocol=tcp"}, {multicluster, "web.ns.svc", "service ns web web"},
		{multicluster, "z.pin._zone.web.ns.svc", "nothing"}, {multicluster, "a.b.1-2-3-4.ns.pod", "pod ns 1-2-3-4 1-2-3-4"},

		{zonal, "Us-West-2a.PIN._Zone.web.ns.svc", "service ns web web topology=us-west-2a"},
		{zonal, "z.prefer._zone.web.ns.svc", "service ns web web topology=z prefer"},
		{zonal, "corp.Example.com.pin._zone.web.ns.svc", "service ns web web topology=corp.example.com"},
		{zonal, `a\.b.pin._zone.web.ns.svc`, "service ns web web topology=a\x00b"}, // is not a.b
		{zonal, "pin._zone.web.ns.svc", "service ns web web port=pin protocol=zone"}, {zonal, "_zone.web.ns.svc", "service ns web web endpoint=_zone"},
		{zonal, "z.florp._zone.web.ns.svc", "nothing"}, {zonal, "z.pin.zone.web.ns.svc", "nothing"}, {zonal, "z._zone.pin.web.ns.svc", "nothing"},
		{zonal, "z.pin._zone.web.ns.pod", "nothing"}, {zonal, "z.pin._zone.web.ns.foo", "nothing"}, {zonal, "ep.c1.web.ns.svc", "service ns web web port=ep protocol=c1"},
		{&origin{}, "z.pin._zone.web.ns.svc", "nothing"},
	} {
		var q query
		if !q.parse(wireName(t, tc.name+".zone.")) {
			t.Fatal(tc.name)
		}
		p := q.split(q.labels-1, tc.o)
		got := p.String()
		if p.sel.by == preferZone {
			got += " prefer"
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func (p parts) String() string {
	kind := [...]string{"nothing", "empty", "namespace", "service", "pod"}[p.kind]
	if p.kind == atNamespace && p.pod {
		kind = "pod-namespace"
	}
	words := []string{kind}
	if p.namespace != nil {
		words = append(words, string(p.namespace[1:]))
	}
	if p.service != nil {
		words = append(words, string(p.service[1:1+p.service[0]]), string(p.first))
	}
	keys := map[selectBy][2]string{byPort: {"port", "protocol"}, byEndpoint: {"endpoint", "cluster"}, byZone: {"topology"}, preferZone: {"topology"}}[p.sel.by]
	for i, label := range [][]byte{p.sel.first, p.sel.second} {
		if len(label) > 0 {
			words = append(words, keys[i]+"="+string(label))
		}
	}
	return strings.Join(words, " ")
}

// FuzzParse holds parse against miekg/dns, and split to its grammar.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"\x00", "\x01a\x00", "\x03www\x07example\x03org\x00", "\x05_http\x04_tcp\x03web\x02ns\x03svc\x00", "\xC0\x00", "\x40" + strings.Repeat("a", 64) + "\x00", "\x01a", "\x00\x00", ""} {
		f.Add([]byte(s))
	}
	f.Add([]byte(strings.Repeat("\x01a", 127) + "\x00"))
	f.Add([]byte(strings.Repeat("\x01a", 128) + "\x00"))
	f.Add([]byte(strings.Repeat("\x01a", 127) + "\x10")) // all octets used up, and no root
	f.Fuzz(func(t *testing.T, name []byte) {
		var q query
		ok := q.parse(name)
		text, end, err := dns.UnpackDomainName(name, 0)
		want := err == nil && end == len(name) && !hasPointer(name)
		if ok != want {
			t.Fatalf("parse: %v, miekg/dns: %q %d %v", ok, text, end, err)
		}
		if !ok {
			return
		}
		if got := dns.CountLabel(text); got != q.labels {
			t.Fatalf("%d labels, miekg/dns has %d: %q", q.labels, got, text)
		}
		for i, label := range dns.SplitDomainName(text) {
			wire := append([]byte{byte(len(q.label(i)))}, q.label(i)...)
			if got := dnswire.NameString(append(wire, 0)); got != label+"." {
				t.Fatalf("label %d is %q, want %q", i, got, label)
			}
			if folded := q.from(i, i+1); string(folded) != strings.ToLower(string(wire)) && bytes.IndexFunc(wire, func(r rune) bool { return r > 127 }) < 0 {
				t.Fatalf("label %d folds to %q", i, folded)
			}
			if !q.is(i, string(q.from(i, i+1))) {
				t.Fatalf("label %d is not itself", i)
			}
		}
		for n := range q.labels + 1 {
			p := q.split(n, &origin{})
			known := n > 0 && (q.is(n-1, "\x03svc") || q.is(n-1, "\x03pod"))
			switch {
			case p.kind == atNothing && known && n <= 5, p.kind != atNothing && !known && n > 0:
				t.Fatalf("%q, first %d: kind %d", text, n, p.kind)
			case p.kind >= atService && !bytes.Equal(p.service, slices.Concat(q.from(n-3, n-2), p.namespace)):
				t.Fatalf("%q, first %d: %v", text, n, p)
			}
		}
		q.reverseAddr()
		for n := range q.labels + 1 { // each writes over the labels
			for _, o := range []*origin{{multicluster: true}, {zonal: true}} {
				q.parse(name)
				if p := q.split(n, o); (p.kind == atNothing) != (n > 0 && !q.is(n-1, "\x03svc") && !q.is(n-1, "\x03pod")) && n <= 5 {
					t.Fatalf("%q, first %d of %+v: kind %d", text, n, o, p.kind)
				}
			}
		}
	})
}

func hasPointer(name []byte) bool {
	for i := 0; i < len(name) && name[i] != 0; i += 1 + int(name[i]) {
		if name[i] > 63 {
			return true
		}
	}
	return false
}

// stockDashed is how CoreDNS reads a pod's label (plugin/kubernetes, findPods).
func stockDashed(label string) net.IP {
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		return net.ParseIP(strings.ReplaceAll(label, "-", "."))
	}
	return net.ParseIP(strings.ReplaceAll(label, "-", ":"))
}

// FuzzDashed holds parseDashed and podAddr against CoreDNS's transformation and
// net.ParseIP. A dot in a label is an escape in CoreDNS's text.
func FuzzDashed(f *testing.F) {
	for _, s := range []string{
		"1-2-3-4", "01-2-3-4", "1-2-3-256", "1-2-3-", "-1-2-3", "1-2-3", "1-2-3-4-5", "--", "---", "--1", "1--", "1--2--3", "fd00--1", "FD00--1", "a-b-c-d", "1--2-3-4", "0-0-0-0",
		"1-2-3-4-5-6-7-8", "1-2-3-4-5-6-7--", "--2-3-4-5-6-7-8", "1-2-3--4-5-6-7-8", "12345--", "g--", "--ffff-102-304", "1:2--3", "1-2-3-4%a", "fd00:1::", "1::2-3", "-", "", "00001--", "1-2-3-4-5-6-7-8-9", "1--2-",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, label string) {
		want := stockDashed(label)
		if strings.Contains(label, ".") {
			want = nil
		}
		compare := func(what string, addr netip.Addr, ok bool) {
			if ok != (want != nil) || ok && !net.IP(addr.AsSlice()).Equal(want) || ok && addr.Is4In6() {
				t.Fatalf("%s(%q) = %v, %v; CoreDNS has %v", what, label, addr, ok, want)
			}
		}
		addr, ok := podAddr([]byte(label))
		compare("podAddr", addr, ok)
		if strings.Contains(label, ":") {
			return
		}
		addr, ok = parseDashed([]byte(label))
		compare("parseDashed", addr, ok)
		if !ok {
			return
		}
		canonical := appendDashed(nil, addr)
		if again, ok := parseDashed(canonical); !ok || again != addr {
			t.Fatalf("%v is written %q and read %v", addr, canonical, again)
		}
		if spelled, ok := spelledAddr([]byte(label)); ok != strings.EqualFold(label, string(canonical)) || ok && spelled != addr {
			t.Fatalf("%q is canonical %q: %v", label, canonical, ok)
		}
		if isCanonical([]byte(label), addr) != strings.EqualFold(strings.NewReplacer(".", "-", ":", "-").Replace(addr.String()), label) {
			t.Fatalf("isCanonical(%q, %v)", label, addr)
		}
	})
}

func FuzzAppendDashed(f *testing.F) {
	for _, a := range addrList("1.2.3.4", "::", "fd00::", "fd00::1", "::1:0", "1:2:3:4:5:6:7:8", "0.0.0.0") {
		f.Add(a.AsSlice())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		addr = addr.Unmap()
		label := appendDashed(nil, addr)
		if want := hostname(Endpoint{Addr: addr}); string(label) != want {
			t.Fatalf("%v is %q, CoreDNS has %q", addr, label, want)
		}
		if got, ok := parseDashed(label); !ok || got != addr {
			t.Fatalf("%v is written %q and read %v, %v", addr, label, got, ok)
		}
		if dns.IsFqdn(string(label)) || label[len(label)-1] == '-' {
			t.Fatalf("%v: label %q", addr, label)
		}
		var q query
		if !q.parse(wireName(t, reverseOf(addr))) {
			t.Fatal(addr)
		}
		if got, ok := q.reverseAddr(); !ok || got != addr {
			t.Fatalf("the reverse name of %v is read %v, %v", addr, got, ok)
		}
	})
}

// FuzzReverse holds reverseAddr against CoreDNS's. CoreDNS takes up to three
// labels more below ip6.arpa and ignores them, and a colon for the dots of an
// IPv4 address; we do not.
func FuzzReverse(f *testing.F) {
	for _, s := range []string{
		"4.3.2.1.in-addr.arpa.", "04.3.2.1.in-addr.arpa.", "4.3.2.256.IN-ADDR.arpa.", "3.2.1.in-addr.arpa.", "5.4.3.2.1.in-addr.arpa.", "in-addr.arpa.", "a.3.2.1.in-addr.arpa.", "4.3.2.1.in-addr.arpa.x.", "0.0.0.0.in-addr.arpa.", "00.0.0.0.in-addr.arpa.",
		"1" + strings.Repeat(".0", 31) + ".ip6.arpa.", "F" + strings.Repeat(".e", 31) + ".IP6.arpa.", "1" + strings.Repeat(".0", 30) + ".ip6.arpa.", "10" + strings.Repeat(".0", 31) + ".ip6.arpa.", "1" + strings.Repeat(".0", 32) + ".ip6.arpa.", "g" + strings.Repeat(".0", 31) + ".ip6.arpa.",
		"4.0.3.0.2.0.1.0.f.f.f.f" + strings.Repeat(".0", 20) + ".ip6.arpa.",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		wire, err := dnswire.AppendName(nil, name)
		var q query
		if err != nil || !q.parse(wire) || strings.Contains(name, ":") {
			return
		}
		text := strings.ToLower(dnswire.NameString(wire))
		want := dnsutil.ExtractAddressFromReverse(text)
		if strings.HasSuffix(text, dnsutil.IP6arpa) && q.labels > 34 {
			want = ""
		}
		addr, ok := q.reverseAddr()
		if ok != (want != "") || ok && addr != netip.MustParseAddr(want).Unmap() {
			t.Fatalf("%q: %v, %v; CoreDNS has %q", text, addr, ok, want)
		}
	})
}
