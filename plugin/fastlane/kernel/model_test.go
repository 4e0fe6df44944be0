//go:build linux && (amd64 || arm64)

package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/miekg/dns"
)

// world is what an Image is told, and says with package dnswire what it is to answer.
type world struct {
	zones  []Zone
	names  map[string]Name // by labels
	addrs  map[netip.Addr]string
	serial uint32
}

// shop is a small cluster.
func shop() *world {
	w := &world{zones: cluster(), serial: 7, names: map[string]Name{
		"shop":      {},
		"web.shop":  {A: packed("10.96.0.1"), AAAA: packed("fd00::1")},
		"v4.shop":   {A: packed("10.96.0.2"), AAAA: packed()},
		"v6.shop":   {A: packed(), AAAA: packed("fd00::2")},
		"head.shop": {A: packed("10.244.0.1", "10.244.0.2", "10.244.0.3"), AAAA: packed("fd00:244::1", "fd00:244::2")},
		"dark.shop": {},
		"half.shop": {A: packed("10.96.0.3")},
		"web.gone":  {A: packed("10.96.0.4"), AAAA: packed()},
		"svc":       {},
		"svc.svc":   {A: packed("10.96.0.5"), AAAA: packed()},
	}, addrs: map[netip.Addr]string{
		netip.MustParseAddr("10.96.0.1"):  "web.shop",
		netip.MustParseAddr("10.96.0.10"): "a-name-with-many-letters.and-a-namespace-likewise",
		netip.MustParseAddr("fd00::1"):    "web.shop",
		// What names that are no address's would be, if they were read carelessly.
		netip.MustParseAddr("10.96.1.1"): "web.shop",
		netip.MustParseAddr("96.0.1.1"):  "web.shop",
		netip.MustParseAddr("fd00::"):    "web.shop",
	}}
	var a, aaaa []string
	for i := range MaxA {
		a = append(a, fmt.Sprintf("10.244.1.%d", i))
	}
	for i := range MaxAAAA {
		aaaa = append(aaaa, fmt.Sprintf("fd00:244:1::%x", i))
	}
	w.names["full.shop"] = Name{A: packed(a...), AAAA: packed(aaaa...)}
	w.names["over.shop"] = Name{A: packed(append(a, "10.0.0.1")...), AAAA: packed(append(aaaa, "fd00::1")...)}
	return w
}

// image returns an Image that was told all that w has, and answers.
func (w *world) image(t testing.TB) *Image {
	t.Helper()
	im := opened(t, w.zones, 1000)
	for name, n := range w.names {
		check(t, im.Set(labels(name), n))
	}
	for addr, name := range w.addrs {
		check(t, im.SetAddr(addr, labels(name)))
	}
	im.State(true, true, w.serial)
	return im
}

// reply returns what is to be answered to msg, or nil.
func (w *world) reply(msg []byte) []byte {
	var q dnswire.Query
	if len(msg) > 512 || dnswire.ParseQuery(msg, &q) != dnswire.Accepted || len(q.Options) > 0 || q.Version != 0 ||
		q.Class != dns.ClassINET || q.Type > 255 || dnswire.CountLabels(q.Name) > 40 {
		return nil
	}
	for i := range w.zones {
		z := &w.zones[i]
		if !dnswire.IsSubdomain(q.Name, z.Wire) {
			continue
		}
		if z.Kind == Up || !z.Types[q.Type] {
			return nil
		}
		r := question{world: w, z: z, q: &q}
		for rest := dnswire.AppendLower(nil, q.Name[:len(q.Name)-len(z.Wire)]); len(rest) > 0; {
			var label []byte
			label, rest = dnswire.NextLabel(rest)
			r.front = append(r.front, string(label))
		}
		if z.Kind == Forward {
			return r.forward()
		}
		return r.reverse()
	}
	return nil
}

// question is a question in a zone.
type question struct {
	*world
	z     *Zone
	q     *dnswire.Query
	front []string // the folded labels in front of the zone
	b     dnswire.Builder
}

func (r *question) forward() []byte {
	n := len(r.front)
	if n == 0 {
		return nil
	}
	switch r.front[n-1] {
	case "pod", "dns", "dns-version":
		return nil
	case "svc":
	default:
		return r.negative(true)
	}
	if n == 1 {
		return nil
	}
	// Names are looked up as octets: a label may have a dot in it.
	key := func(front []string) (s string) {
		for _, l := range front {
			s += string(rune(len(l))) + l
		}
		return s
	}
	names := map[string]Name{}
	for name, v := range r.names {
		names[string(labels(name))] = v
	}
	_, namespace := names[key(r.front[n-2:n-1])]
	if n == 2 {
		if namespace {
			return nil
		}
		return r.negative(true)
	}
	service, ok := names[key(r.front[n-3:n-1])]
	switch {
	case !ok:
		return r.negative(true)
	case n > 3 || !namespace:
		return nil
	}
	set, size := service.A, 4
	switch r.q.Type {
	case dns.TypeA:
	case dns.TypeAAAA:
		set, size = service.AAAA, 16
	default:
		return nil
	}
	switch {
	case !set.Known || len(set.Packed)/size > map[int]int{4: 64, 16: 27}[size]:
		return nil
	case len(set.Packed) == 0:
		return r.negative(false)
	}
	return r.records(0, func() bool {
		return r.b.AddrSet(dnswire.Name{At: dnswire.QuestionName}, r.q.Type, r.z.TTL, set.Packed) == len(set.Packed)/size
	})
}

func (r *question) negative(nxdomain bool) []byte {
	var rcode uint8
	if nxdomain {
		rcode = dnswire.RcodeNXDomain
	}
	if r.q.Type == dns.TypeSOA || nxdomain && !r.z.Negative || r.q.HasOPT && !r.z.NegativeEDNS {
		return nil
	}
	zone := dnswire.QuestionName + len(r.q.Name) - len(r.z.Wire)
	return r.records(rcode, func() bool {
		r.b.Section(dnswire.Authority)
		return r.b.SOA(dnswire.Name{At: zone}, min(r.z.TTL, 300), &dnswire.SOA{
			MName: dnswire.Name{Labels: []byte("\x02ns\x03dns"), At: zone}, RName: dnswire.Name{Labels: []byte("\x0ahostmaster"), At: zone},
			Serial: r.serial, Refresh: 7200, Retry: 1800, Expire: 86400, Minimum: r.z.TTL,
		})
	})
}

func (r *question) reverse() []byte {
	if r.q.Type != dns.TypePTR {
		return nil
	}
	for addr, name := range r.addrs {
		arpa, err := dns.ReverseAddr(addr.String())
		if err != nil {
			panic(err)
		}
		if dnswire.EqualFold(r.q.Name, wire(arpa)) || dnswire.EqualFold(r.q.Name, ip6Name(addr)) {
			return r.records(0, func() bool {
				_, ok := r.b.PTR(dnswire.Name{At: dnswire.QuestionName}, r.z.TTL, dnswire.Name{Labels: labels(name), Origin: r.z.PTRZone})
				return ok
			})
		}
	}
	return nil
}

// ip6Name returns the name below ip6.arpa of an address, if of IPv4 mapped to IPv6.
func ip6Name(addr netip.Addr) (name []byte) {
	b := addr.As16()
	for i := range 32 {
		name = append(name, 1, "0123456789abcdef"[b[15-i/2]>>(i%2*4)&15])
	}
	return append(name, ip6Arpa...)
}

// records returns a reply with what add writes, or nil if that does not fit.
func (r *question) records(rcode uint8, add func() bool) []byte {
	limit := 512
	if r.q.HasOPT {
		if r.z.Bufsize > 0 {
			r.q.UDPSize = min(r.q.UDPSize, r.z.Bufsize)
		}
		limit = min(max(limit, int(r.q.UDPSize)), 1232)
	}
	r.b.Reset(nil, limit, r.q)
	if !add() {
		return nil
	}
	if r.q.HasOPT {
		r.b.OPT(r.q.UDPSize, r.q.EDNSReplyFlags(), nil)
	}
	reply, err := r.b.Finish(rcode, r.q.ReplyFlags()|dnswire.FlagAA)
	if err != nil {
		return nil
	}
	return reply
}

// query returns a message that asks for "name TYPE", with edits.
func query(t testing.TB, question string, edits ...func(*dns.Msg)) []byte {
	t.Helper()
	var name, typ string
	if _, err := fmt.Sscan(question, &name, &typ); err != nil {
		t.Fatal(question, err)
	}
	m := new(dns.Msg).SetQuestion(name, dns.StringToType[typ])
	for _, edit := range edits {
		edit(m)
	}
	b, err := m.Pack()
	check(t, err)
	return b
}

// edns adds an OPT record.
func edns(size uint16, do bool) func(*dns.Msg) {
	return func(m *dns.Msg) { m.SetEdns0(size, do) }
}

// shared are messages to begin with in fuzzing, and to take apart.
func shared(t testing.TB) (msgs [][]byte) {
	for _, q := range []string{
		"web.shop.svc.cluster.local. A", "WEB.Shop.sVc.cluster.LOCAL. AAAA", "v4.shop.svc.cluster.local. AAAA", "head.shop.svc.cluster.local. A",
		"full.shop.svc.cluster.local. A", "nothing.shop.svc.cluster.local. A", "a.b.c.nothing.nowhere.svc.cluster.local. HTTPS", "nowhere.svc.cluster.local. A",
		"web.shop.svc.cluster.local.shop.svc.cluster.local. A", "example.com.cluster.local. A", "cluster.local. SOA", "1.0.96.10.in-addr.arpa. PTR",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR", "_http._tcp.web.shop.svc.cluster.local. SRV", "example.com. A",
	} {
		msgs = append(msgs, query(t, q), query(t, q, edns(1232, true)), query(t, q, edns(4096, false)))
	}
	return msgs
}

// setZ sets the EDNS flags besides DO.
func setZ(m *dns.Msg) {
	o := m.IsEdns0()
	o.Hdr.Ttl |= 0x7fff
}

func be16(b []byte, at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
