//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/miekg/dns"
)

// TestFrames has packets that are not for us, or not simple: none is answered or
// changed or counted. Each is one step from one that is answered.
func TestFrames(t *testing.T) {
	im := shop().image(t)
	msg := query(t, "web.shop.svc.cluster.local. A")
	const ip, u4, u6 = ethernet, ethernet + ipv4, ethernet + ipv6
	put16 := func(f []byte, at int, n uint16) { binary.BigEndian.PutUint16(f[at:], n) }
	add16 := func(f []byte, at, n int) { put16(f, at, uint16(int(be16(f, at))+n)) }
	addr := func(at int, a string) func([]byte) []byte {
		return func(f []byte) []byte { copy(f[at:], netip.MustParseAddr(a).AsSlice()); return f }
	}
	set := func(at int, b ...byte) func([]byte) []byte {
		return func(f []byte) []byte { copy(f[at:], b); return f }
	}
	for _, tc := range []struct {
		name string
		p    packet
		edit func([]byte) []byte
	}{
		{"another's frame", over4(msg), set(0, 2)},
		{"broadcast frame", over4(msg), set(0, 255, 255, 255, 255, 255, 255)},
		{"multicast frame", over6(msg), set(0, 0x33, 0x33)},
		{"from several", over4(msg), set(6, 3)},
		{"ARP", over4(msg), set(12, 8, 6)},
		{"IPv6's type on IPv4", over4(msg), set(12, 0x86, 0xdd)},
		{"IPv4's type on IPv6", over6(msg), set(12, 8, 0)},
		{"VLAN", over4(msg), func(f []byte) []byte { return slices.Insert(f, 12, 0x81, 0, 0, 5) }},
		{"VLAN with IPv6", over6(msg), func(f []byte) []byte { return slices.Insert(f, 12, 0x81, 0, 0, 5) }},

		{"version", over4(msg), set(ip, 0x55)},
		{"options", over4(msg), func(f []byte) []byte {
			f = slices.Insert(f, u4, 1, 1, 1, 0)
			f[ip] = 0x46
			add16(f, ip+2, 4)
			return f
		}},
		{"short header", over4(msg), set(ip, 0x44)},
		{"more fragments", over4(msg), set(ip+6, 0x20)},
		{"fragment", over4(msg), set(ip+7, 1)},
		{"reserved flag", over4(msg), set(ip+6, 0x80)},
		{"TCP", over4(msg), set(ip+9, 6)},
		{"total length, one more", over4(msg), func(f []byte) []byte { add16(f, ip+2, 1); return f }},
		{"total length, one less", over4(msg), func(f []byte) []byte { add16(f, ip+2, -1); return f }},
		{"total length, one more, and UDP's", over4(msg), func(f []byte) []byte { add16(f, ip+2, 1); add16(f, u4+4, 1); return f }},
		{"total length of a header", over4(msg), func(f []byte) []byte { put16(f, ip+2, 20); put16(f, u4+4, 0); return f }},
		{"total length of 27", over4(msg), func(f []byte) []byte { put16(f, ip+2, 27); put16(f, u4+4, 7); return f }},
		{"UDP length, one more", over4(msg), func(f []byte) []byte { add16(f, u4+4, 1); return f }},
		{"UDP length, one less", over4(msg), func(f []byte) []byte { add16(f, u4+4, -1); return f }},
		{"UDP length 0", over4(msg), set(u4+4, 0, 0)},
		{"another's address", over4(msg), addr(ip+16, "10.244.0.54")},
		{"broadcast", over4(msg), addr(ip+16, "255.255.255.255")},
		{"multicast", over4(msg), addr(ip+16, "224.0.0.251")},
		{"loopback", over4(msg), addr(ip+16, "127.0.0.1")},
		{"from nobody", over4(msg), addr(ip+12, "0.0.0.0")},
		{"from this network", over4(msg), addr(ip+12, "0.1.2.3")},
		{"from loopback", over4(msg), addr(ip+12, "127.0.0.1")},
		{"from multicast", over4(msg), addr(ip+12, "224.0.0.1")},
		{"from broadcast", over4(msg), addr(ip+12, "255.255.255.255")},
		{"from us", over4(msg), addr(ip+12, server4.String())},
		{"port", over4(msg), set(u4+2, 0, 54)},
		{"another 53", over4(msg), set(u4+2, 53, 0)},
		{"from port 0", over4(msg), set(u4, 0, 0)},

		{"version 4", over6(msg), set(ip, 0x40)},
		{"hop-by-hop options", over6(msg), set(ip+6, 0)},
		{"fragment header", over6(msg), set(ip+6, 44)},
		{"TCP over IPv6", over6(msg), set(ip+6, 6)},
		{"no checksum", over6(msg), set(u6+6, 0, 0)},
		{"payload length, one more", over6(msg), func(f []byte) []byte { add16(f, ip+4, 1); return f }},
		{"payload length, one less", over6(msg), func(f []byte) []byte { add16(f, ip+4, -1); return f }},
		{"payload length, one more, and UDP's", over6(msg), func(f []byte) []byte { add16(f, ip+4, 1); add16(f, u6+4, 1); return f }},
		{"jumbogram", over6(msg), func(f []byte) []byte { put16(f, ip+4, 0); put16(f, u6+4, 0); return f }},
		{"payload length of 7", over6(msg), func(f []byte) []byte { put16(f, ip+4, 7); put16(f, u6+4, 7); return f }},
		{"another's IPv6 address", over6(msg), addr(ip+24, "fd00:10:244::54")},
		{"multicast of IPv6", over6(msg), addr(ip+24, "ff02::fb")},
		{"IPv4 address in IPv6", over6(msg), func(f []byte) []byte { a := server4.As16(); copy(f[ip+24:], a[:]); return f }},
		{"from no IPv6 address", over6(msg), addr(ip+8, "::")},
		{"from IPv6 loopback", over6(msg), addr(ip+8, "::1")},
		{"from IPv6 multicast", over6(msg), addr(ip+8, "ff02::1")},
		{"from an IPv4 address in IPv6", over6(msg), func(f []byte) []byte { a := client4.As16(); copy(f[ip+8:], a[:]); return f }},
		{"from our IPv6 address", over6(msg), addr(ip+8, server6.String())},
		{"IPv6 port", over6(msg), set(u6+2, 0, 54)},
		{"IPv6 from port 0", over6(msg), set(u6, 0, 0)},
	} {
		if answer(t, im, tc.p) == nil {
			t.Fatalf("%s: not answered before it is changed", tc.name)
		}
		frame := tc.edit(tc.p.frame())
		if tc.p.src.Is4() {
			put16(frame, ip+10, 0)
			put16(frame, ip+10, ^ones(frame[ip:ip+max(ipv4, int(frame[ip]&15)*4)]))
		}
		verdict, out := run(t, im, frame)
		if verdict != next || !bytes.Equal(out, frame) || len(passed(im)) > 0 {
			t.Errorf("%s: verdict %d, counted %v\n%x", tc.name, verdict, passed(im), out)
		}
	}
	for _, p := range []packet{over4(msg), over6(msg)} {
		frame := p.frame()
		for n := ethernet + 40; n < len(frame); n++ { // the kernel runs a program with no less than a header
			if verdict, out := run(t, im, frame[:n]); verdict != next || !bytes.Equal(out, frame[:n]) {
				t.Errorf("%d octets of %d: verdict %d", n, len(frame), verdict)
			}
		}
	}
	frame := over4(msg).frame()
	frame[ip+8]-- // TTL
	if verdict, _ := run(t, im, frame); verdict != next {
		t.Errorf("IPv4's checksum is wrong: verdict %d", verdict)
	}
	// What is of no matter.
	for _, tc := range []struct {
		name string
		p    packet
		edit func([]byte) []byte
	}{
		{"padding", over4(msg), func(f []byte) []byte { return append(f, 1, 2, 3, 4, 5) }},
		{"padding of IPv6", over6(msg), func(f []byte) []byte { return append(f, 1, 2, 3, 4, 5) }},
		{"much padding", over4(msg), func(f []byte) []byte { return append(f, make([]byte, 1000)...) }},
		{"TTL and class", over4(msg), set(ip, 0x45, 0xb8)},
		{"may be taken apart", over4(msg), set(ip+6, 0x40)},
		{"hop limit and flow", over6(msg), set(ip, 0x6f, 0xff, 0xff, 0xff)},
	} {
		frame := tc.edit(tc.p.frame())
		if tc.p.src.Is4() {
			put16(frame, ip+10, 0)
			put16(frame, ip+10, ^ones(frame[ip:u4]))
		}
		verdict, out := run(t, im, frame)
		if _, err := tc.p.reply(out); verdict != redirect || err != nil {
			t.Errorf("%s: verdict %d, %v", tc.name, verdict, err)
		}
	}
	// Several packets in one (GSO), which __sk_buff tells at 176.
	context := make([]byte, 192)
	binary.NativeEndian.PutUint32(context[176:], 100)
	verdict, err := im.coll.Programs["lane"].Run(&ebpf.RunOptions{Data: over4(msg).frame(), DataOut: make([]byte, 4096), Context: context, ContextOut: make([]byte, 192)})
	if err != nil || verdict != next {
		t.Errorf("GSO: verdict %d, %v", verdict, err)
	}
}

// TestUDPChecksums checks replies to queries of every number, so that every sum comes;
// that a query without a checksum gets a reply without; and one whose checksum is wrong a
// reply whose is.
func TestUDPChecksums(t *testing.T) {
	im := shop().image(t)
	for _, q := range []string{"web.shop.svc.cluster.local. A", "nothing.shop.svc.cluster.local. AAAA", "xnothing.shop.svc.cluster.local. A"} {
		zero := [2]int{}
		msg := query(t, q, edns(1232, false))
		for id := range 1 << 16 {
			binary.BigEndian.PutUint16(msg, uint16(id))
			for i, p := range []packet{over4(msg), over6(msg)} {
				frame := p.frame()
				verdict, out := run(t, im, frame)
				if verdict != redirect {
					t.Fatalf("%s goes up", q)
				}
				at := ethernet + []int{ipv4, ipv6}[i] + 6
				if be16(out, at) == 0xffff {
					zero[i]++
				}
				if _, err := p.reply(out); err != nil {
					t.Fatalf("%s, number %d: %v", q, id, err)
				}
				if id%64 != 0 {
					continue
				}
				binary.BigEndian.PutUint16(frame[at:], be16(frame, at)^1<<(id/64%16))
				if be16(frame, at) == 0 {
					continue
				}
				verdict, out = run(t, im, frame)
				if _, err := p.reply(out); verdict == redirect && err == nil {
					t.Fatalf("%s, number %d: a right reply to a wrong query", q, id)
				}
			}
		}
		if zero[0] == 0 || zero[1] == 0 {
			t.Errorf("%s: no sum was 0", q)
		}
		p := over4(msg)
		frame := p.frame()
		frame[ethernet+ipv4+6], frame[ethernet+ipv4+7] = 0, 0
		verdict, out := run(t, im, frame)
		if verdict != redirect || be16(out, ethernet+ipv4+6) != 0 {
			t.Errorf("%s without checksum: verdict %d, %04x", q, verdict, be16(out, ethernet+ipv4+6))
		}
	}
}

// TestBusy checks that a packet that comes while another is looked at goes up, as if the
// program were not there.
func TestBusy(t *testing.T) {
	im := shop().image(t)
	works := im.coll.Maps["works"]
	set := func(busy byte) {
		n, err := ebpf.PossibleCPU()
		check(t, err)
		all := make([][]byte, n)
		for i := range all {
			all[i] = make([]byte, works.ValueSize())
			all[i][0] = busy
		}
		check(t, works.Put(uint32(0), all))
	}
	msg := query(t, "web.shop.svc.cluster.local. A")
	set(1)
	if got := answer(t, im, over4(msg)); got != nil {
		t.Errorf("%s", said(t, got))
	}
	set(0)
	if answer(t, im, over4(msg)) == nil {
		t.Error("goes up")
	}
}

// TestChanging has names change while questions are answered. No question gets
// anything that was never so, and none for a name that is there NXDOMAIN.
func TestChanging(t *testing.T) {
	im := shop().image(t)
	replies := map[string]bool{}
	values := []Name{
		{A: packed("10.1.1.1"), AAAA: packed("fd01:101:101:101:101:101:101:101")},
		{A: packed("10.2.2.2"), AAAA: packed("fd02:202:202:202:202:202:202:202", "fd02::1")},
		{A: packed("10.3.3.3", "10.3.3.4", "10.3.3.5"), AAAA: packed("fd03:303:303:303:303:303:303:303", "fd03::1", "fd03::2")},
	}
	msgs := [][]byte{
		query(t, "web.shop.svc.cluster.local. A", func(m *dns.Msg) { m.Id = 1 }),
		query(t, "web.shop.svc.cluster.local. AAAA", func(m *dns.Msg) { m.Id = 1 }),
	}
	w := shop()
	for _, v := range values {
		w.names["web.shop"] = v
		for _, m := range msgs {
			replies[string(w.reply(m))] = true
		}
	}
	im.State(true, false, 0)
	check(t, im.Set(labels("web.shop"), values[0]))
	im.State(true, true, 1)
	done := make(chan error)
	go func() {
		for i := range 20000 {
			im.State(true, false, 0)
			err := im.Set(labels("web.shop"), values[i%len(values)])
			if err == nil {
				err = im.Set(labels("other.shop"), values[(i+1)%len(values)])
			}
			if err == nil && i%2 == 0 {
				err = im.Remove(labels("other.shop"))
			}
			if err != nil {
				done <- err
				return
			}
			im.State(true, true, uint32(i))
		}
		close(done)
	}()
	answered := 0
	for i := 0; ; i++ {
		select {
		case err := <-done:
			check(t, err)
			if answered == 0 {
				t.Error("nothing was answered")
			}
			t.Logf("%d of %d answered; went up: %v", answered, i, passed(im))
			return
		default:
		}
		got := answer(t, im, over4(msgs[i%2]))
		if got != nil {
			answered++
			if !replies[string(got)] {
				t.Fatalf("%s", said(t, got))
			}
		}
	}
}
