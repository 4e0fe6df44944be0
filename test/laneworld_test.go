package test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// laneWorld returns manifests with objects of every kind.
func laneWorld() string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, "---\n"+format+"\n", args...) }
	for _, ns := range []string{"default", "shop", "empty"} {
		add("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}", ns)
	}
	service := func(name, spec string) {
		add("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {%s}", name, spec)
	}
	slice := func(service string, i int, family, ports string, endpoints ...string) {
		add("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %[1]s-%[2]d, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}\naddressType: %[3]s\nports: [%[4]s]\nendpoints:\n- %[5]s",
			service, i, family, ports, strings.Join(endpoints, "\n- "))
	}
	add("apiVersion: v1\nkind: Service\nmetadata: {name: kubernetes, namespace: default}\nspec: {clusterIP: 10.96.0.1, ports: [{name: https, port: 443}]}")
	const http = "{name: http, port: 80}"
	service("web", "clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10, \"fd00:10:96::10\"], ports: ["+http+", {name: dns, port: 53, protocol: UDP}]")
	service("unnamed", "clusterIP: 10.96.0.11, ports: [{port: 9000}]")
	service("idle", "clusterIP: 10.96.0.12, ports: ["+http+"]")
	service("portless", "clusterIP: None")
	service("away", "type: ExternalName, externalName: www.example.org")
	service("inside", "type: ExternalName, externalName: web.shop.svc.cluster.local")
	service("further", "type: ExternalName, externalName: INSIDE.shop.svc.cluster.local")
	service("round", "type: ExternalName, externalName: round.shop.svc.cluster.local")
	service("nowhere", "type: ExternalName, externalName: no-such.shop.svc.cluster.local")
	service("number", "type: ExternalName, externalName: 192.0.2.1")
	slice("portless", 1, "IPv4", "", "addresses: [10.244.3.1]")
	slice("web", 1, "IPv4", http, "addresses: [10.244.1.10]", "{addresses: [10.244.1.11], hostname: named}")
	service("mixed", "clusterIP: None, ports: ["+http+"]")
	slice("mixed", 1, "IPv4", http, "{addresses: [10.244.2.1], hostname: one}", "{addresses: [10.244.2.2], conditions: {ready: false}}")
	slice("mixed", 2, "IPv4", "{name: http, port: 8080}", "{addresses: [10.244.2.1], hostname: one}", "{addresses: [10.244.2.3], hostname: one}")
	slice("mixed", 3, "IPv6", http, "{addresses: [\"fd00:10:244::1\"], hostname: one}")
	service("unready", "clusterIP: None, ports: ["+http+"]")
	slice("unready", 1, "IPv4", http, "{addresses: [10.244.2.9], conditions: {ready: false}}")
	for i, n := range laneSizes {
		name := fmt.Sprintf("set-%d", n)
		service(name, "clusterIP: None, ports: ["+http+"]")
		for at := 0; at < n; at += 100 {
			var v4, v6 []string
			for j := at; j < min(n, at+100); j++ {
				v4 = append(v4, fmt.Sprintf("{addresses: [%v]}", laneAddr4(i, j)))
				v6 = append(v6, fmt.Sprintf("{addresses: [%q], hostname: pod-%d}", laneAddr6(i, j), j))
			}
			slice(name, at, "IPv4", http, v4...)
			slice(name, at+1, "IPv6", http, v6...)
		}
	}
	for i := range 3 {
		add("apiVersion: v1\nkind: Pod\nmetadata: {name: pod-%d, namespace: shop}\nstatus: {podIP: 10.244.9.%d, podIPs: [{ip: 10.244.9.%d}]}", i, i, i)
	}
	return b.String()
}

// laneSizes are sizes of headless sets: around what a reply without EDNS holds,
// with it, and thousands.
var laneSizes = []int{2, 15, 28, 29, 60, 75, 300, 3000}

func laneAddr4(i, j int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(200 + i), byte(j >> 8), byte(j)})
}

func laneAddr6(i, j int) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfd, 0, 0, byte(i), 13: 1, 14: byte(j >> 8), 15: byte(j)})
}

// laneSet returns all records, in lower case, that a question for one of the
// headless services set-N has: the answer and its glue.
func laneSet(q dns.Question, ttl uint32) (answer, glue map[string]bool) {
	answer, glue = map[string]bool{}, map[string]bool{}
	name := strings.ToLower(q.Name)
	at := strings.Index(name, "set-")
	service := name[max(0, at):]
	var n int
	if _, err := fmt.Sscanf(service, "set-%d.", &n); at < 0 || err != nil {
		return answer, glue
	}
	i := slices.Index(laneSizes, n)
	record := func(name string, rtype uint16, data string) string {
		return strings.ToLower(fmt.Sprintf("%s\t%d\tIN\t%s\t%s", name, ttl, dns.TypeToString[rtype], data))
	}
	for j := range n {
		for _, e := range []struct {
			rtype uint16
			addr  netip.Addr
			label string
		}{{dns.TypeA, laneAddr4(i, j), strings.ReplaceAll(laneAddr4(i, j).String(), ".", "-")}, {dns.TypeAAAA, laneAddr6(i, j), fmt.Sprintf("pod-%d", j)}} {
			if q.Qtype == dns.TypeSRV {
				target := e.label + "." + service
				answer[record(name, dns.TypeSRV, fmt.Sprintf("0 %d 80 %s", max(1, 100/(2*n)), target))] = true
				glue[record(target, e.rtype, e.addr.String())] = true
			} else if q.Qtype == e.rtype {
				answer[record(name, e.rtype, e.addr.String())] = true
			}
		}
	}
	return answer, glue
}

// laneNames are names to ask for, some of which exist.
func laneNames() []string {
	names := []string{
		".", "local.", "cluster.local.", "svc.cluster.local.", "pod.cluster.local.", "no-such.cluster.local.",
		"dns-version.cluster.local.", "ns.dns.cluster.local.", "dns.cluster.local.", "xcluster.local.", "cluster.localx.", "a.b.c.d.cluster.local.",
		"shop.svc.cluster.local.", "empty.svc.cluster.local.", "no-such.svc.cluster.local.", "shop.pod.cluster.local.",
		"kubernetes.default.svc.cluster.local.", "10-244-9-1.shop.pod.cluster.local.", "10-244-9-200.shop.pod.cluster.local.", "10-244-9.shop.pod.cluster.local.",
		"fd00--1.shop.pod.cluster.local.", "10-244-9-1.no-such.pod.cluster.local.", "300-1-1-1.shop.pod.cluster.local.",
		"node-1.", "node-1.cluster.local.", "below.node-1.cluster.local.", "stub.cluster.local.", "a.stub.cluster.local.", "xstub.cluster.local.",
		"www.example.org.", "no-such.example.org.", "a.wild.test.",
		"www.example.org.shop.svc.cluster.local.", "no-such.example.org.shop.svc.cluster.local.", "a.wild.test.empty.svc.cluster.local.",
		"web.shop.empty.svc.cluster.local.", "web.shop.svc.empty.svc.cluster.local.", "node-1.shop.svc.cluster.local.", "www.example.org.no-such.svc.cluster.local.",
		"a.stub.cluster.local.shop.svc.cluster.local.", "web.shop.svc.cluster.local.shop.svc.cluster.local.",
		"in-addr.arpa.", "10.in-addr.arpa.", "96.10.in-addr.arpa.", "1.0.96.10.in-addr.arpa.", "10.0.96.10.in-addr.arpa.", "11.0.96.10.in-addr.arpa.",
		"010.0.96.10.in-addr.arpa.", "300.0.96.10.in-addr.arpa.", "77.0.96.10.in-addr.arpa.", "7.2.0.192.in-addr.arpa.", "1.10.0.96.10.in-addr.arpa.",
		"x.0.96.10.in-addr.arpa.", "1.2.244.10.in-addr.arpa.", "3.2.244.10.in-addr.arpa.", "9.2.244.10.in-addr.arpa.", "5.0.207.10.in-addr.arpa.",
		"ip6.arpa.", "0.d.f.ip6.arpa.", "\\000.cluster.local.", "\\..shop.svc.cluster.local.", "*.shop.svc.cluster.local.", "any.any.svc.cluster.local.",
		strings.Repeat("a", 63) + ".shop.svc.cluster.local.",
		strings.Repeat("a.", 118) + "cluster.local.", // 255 octets less some
		strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 47) + ".cluster.local.",
	}
	for _, addr := range []string{"fd00:10:96::10", "fd00:10:244::1", "fd00:7::1:5", "fd00:7::1:ffff"} {
		name, err := dns.ReverseAddr(addr)
		if err != nil {
			panic(err)
		}
		names = append(names, name, name[2:], "1."+name)
	}
	services := []string{"web", "unnamed", "idle", "portless", "away", "inside", "further", "round", "nowhere", "number", "mixed", "unready", "no-such"}
	for _, n := range laneSizes {
		services = append(services, fmt.Sprintf("set-%d", n))
	}
	for _, s := range services {
		full := s + ".shop.svc.cluster.local."
		names = append(names, full, "x."+full, "_http._tcp."+full, "_dns._udp."+full, "_http._udp."+full, "_._tcp."+full, "http._tcp."+full,
			"_x._http._tcp."+full, "_tcp."+full, s+".empty.svc.cluster.local.", s+".shop.cluster.local.", s+".shop.svc.stub.cluster.local.")
	}
	for _, s := range []string{"10-244-1-10.web", "named.web", "one.mixed", "10-244-2-2.mixed", "10-244-2-3.mixed", "fd00-10-244--1.mixed",
		"10-207-0-5.set-3000", "pod-7.set-3000", "pod-7.set-15", "_http._tcp.pod-7.set-15", "x.inside", "_http._tcp.inside", "10-244-2-9.unready"} {
		names = append(names, s+".shop.svc.cluster.local.")
	}
	return names
}

var laneQtypes = []uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeSOA, dns.TypeNS, dns.TypeCNAME, dns.TypeMX, dns.TypeHTTPS,
	dns.TypeSVCB, dns.TypeNAPTR, dns.TypeDS, dns.TypeDNSKEY, dns.TypeANY, dns.TypeCAA, dns.TypeNULL, dns.TypeHINFO, dns.TypeRRSIG, dns.TypeNSEC,
	dns.TypeMB, 0, 65, 99, 255, 256, 1000, 65280, 65535,
}

// messages returns what to send.
func (d *laneDiff) messages(t *testing.T) (all [][]byte) {
	names := laneNames()
	add := func(m *dns.Msg) []byte {
		packet, err := m.Pack()
		if err != nil {
			t.Fatalf("packing %v: %v", m, err)
		}
		all = append(all, packet)
		return packet
	}
	query := func(name string, qtype uint16) *dns.Msg {
		m := new(dns.Msg).SetQuestion(name, qtype)
		m.Id = uint16(d.random.Uint32())
		return m
	}
	anyName := func() string { return names[d.random.IntN(len(names))] }
	usual := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT}
	for _, name := range names { // everything, plain
		for _, qtype := range usual {
			add(query(name, qtype))
		}
		add(query(name, laneQtypes[d.random.IntN(len(laneQtypes))]))
	}
	for _, qtype := range laneQtypes { // every type
		for _, name := range []string{"cluster.local.", "web.shop.svc.cluster.local.", "no-such.shop.svc.cluster.local.", "away.shop.svc.cluster.local.", "10.0.96.10.in-addr.arpa."} {
			add(query(name, qtype))
		}
	}
	pick := func(of ...uint16) uint16 { return of[d.random.IntN(len(of))] }
	for range 1000 { // shapes
		m := query(mixCase(d.random, anyName()), usual[d.random.IntN(len(usual))])
		if d.random.IntN(8) == 0 {
			m.Question[0].Qtype = laneQtypes[d.random.IntN(len(laneQtypes))]
		}
		m.RecursionDesired = d.random.IntN(3) > 0
		m.CheckingDisabled = d.random.IntN(4) == 0
		m.AuthenticatedData = d.random.IntN(4) == 0
		if d.random.IntN(3) > 0 {
			opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
			opt.SetUDPSize(pick(0, 1, 511, 512, 513, 700, 1232, 1400, 1401, 4096, 16384, 65535))
			if d.random.IntN(3) == 0 {
				opt.SetDo()
			}
			if d.random.IntN(5) == 0 {
				opt.Hdr.Ttl |= d.random.Uint32() & 0x7fff
			}
			if d.random.IntN(10) == 0 {
				opt.SetVersion(uint8(d.random.IntN(3)))
			}
			if d.random.IntN(20) == 0 {
				opt.Hdr.Ttl |= 1 << 24 // an extended code in a query
			}
			for _, option := range []dns.EDNS0{
				&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"},
				&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0)},
				&dns.EDNS0_PADDING{Padding: make([]byte, d.random.IntN(400))},
				&dns.EDNS0_NSID{Code: dns.EDNS0NSID},
				&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE},
				&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("local")},
			} {
				if d.random.IntN(12) == 0 {
					opt.Option = append(opt.Option, option)
				}
			}
			m.Extra = []dns.RR{opt}
			if d.random.IntN(40) == 0 {
				m.Extra = append(m.Extra, opt) // twice
			}
		}
		switch d.random.IntN(60) {
		case 0:
			m.Question[0].Qclass = pick(dns.ClassCHAOS, dns.ClassANY, dns.ClassNONE, dns.ClassHESIOD, 0, 65535)
		case 1:
			m.Opcode = d.random.IntN(16)
		case 2:
			m.Question = append(m.Question, m.Question[0])
		case 3:
			m.Ns = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 1)}}
		case 4:
			m.Extra = append(m.Extra, &dns.TXT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"more"}})
		}
		add(m)
	}
	for range 700 { // damaged
		m := query(anyName(), usual[d.random.IntN(len(usual))])
		if d.random.IntN(2) == 0 {
			m.SetEdns0(pick(512, 1232, 4096), d.random.IntN(2) == 0)
		}
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		switch d.random.IntN(6) {
		case 0:
			packet = packet[:d.random.IntN(len(packet)+1)]
		case 1:
			packet = append(packet, make([]byte, d.random.IntN(700))...)
		case 2: // header
			packet[2+d.random.IntN(10)] ^= 1 << d.random.IntN(8)
		case 3: // anywhere else
			packet[12+d.random.IntN(len(packet)-12)] ^= 1 << d.random.IntN(8)
		case 4: // a pointer, or a label of a reserved type
			packet[12+d.random.IntN(len(packet)-12)] = byte(0x40 + d.random.IntN(0xC0))
		case 5:
			packet[2], packet[3] = byte(d.random.Uint32()), byte(d.random.Uint32())
		}
		all = append(all, packet)
	}
	return all
}

func mixCase(r *rand.Rand, name string) string {
	b := []byte(name)
	if r.IntN(2) == 0 {
		return name
	}
	for i, c := range b {
		if c >= 'a' && c <= 'z' && r.IntN(2) == 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
