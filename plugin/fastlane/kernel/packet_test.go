//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/cilium/ebpf"
	"github.com/miekg/dns"
)

// packet is a UDP datagram in an Ethernet frame.
type packet struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	payload          []byte
}

var (
	server4 = netip.MustParseAddr("10.244.0.53")
	client4 = netip.MustParseAddr("10.244.7.9")
	server6 = netip.MustParseAddr("fd00:10:244::53")
	client6 = netip.MustParseAddr("fd00:10:244:7::9")
)

// Packets that the kernel runs a program with arrive at the loopback interface, whose
// address is zeros.
var (
	serverMAC = [6]byte{}
	clientMAC = [6]byte{2, 0, 0, 0, 0, 9}
)

func over4(payload []byte) packet { return packet{client4, server4, 40000, 53, payload} }
func over6(payload []byte) packet { return packet{client6, server6, 40000, 53, payload} }

const ethernet, ipv4, ipv6, udp = 14, 20, 40, 8

// frame returns p on the wire, with every checksum.
func (p packet) frame() []byte {
	f := append(append(serverMAC[:], clientMAC[:]...), 0, 0)
	length := udp + len(p.payload)
	if p.src.Is4() {
		binary.BigEndian.PutUint16(f[12:], 0x0800)
		ip := make([]byte, ipv4)
		ip[0], ip[8], ip[9] = 0x45, 61, 17
		binary.BigEndian.PutUint16(ip[2:], uint16(ipv4+length))
		binary.BigEndian.PutUint16(ip[4:], 0x1234)
		copy(ip[12:], p.src.AsSlice())
		copy(ip[16:], p.dst.AsSlice())
		binary.BigEndian.PutUint16(ip[10:], ^ones(ip))
		f = append(f, ip...)
	} else {
		binary.BigEndian.PutUint16(f[12:], 0x86dd)
		ip := make([]byte, ipv6)
		copy(ip, "\x60\x01\x23\x45")
		binary.BigEndian.PutUint16(ip[4:], uint16(length))
		ip[6], ip[7] = 17, 61
		copy(ip[8:], p.src.AsSlice())
		copy(ip[24:], p.dst.AsSlice())
		f = append(f, ip...)
	}
	u := make([]byte, udp, length)
	binary.BigEndian.PutUint16(u, p.srcPort)
	binary.BigEndian.PutUint16(u[2:], p.dstPort)
	binary.BigEndian.PutUint16(u[4:], uint16(length))
	u = append(u, p.payload...)
	binary.BigEndian.PutUint16(u[6:], p.checksum(u))
	return append(f, u...)
}

// checksum returns UDP's, over datagram with a zero in its place.
func (p packet) checksum(datagram []byte) uint16 {
	pseudo := append(p.src.AsSlice(), p.dst.AsSlice()...)
	pseudo = append(pseudo, 0, 17)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(datagram)))
	if sum := ^ones(append(pseudo, datagram...)); sum != 0 {
		return sum
	}
	return 0xffff // RFC 768
}

// ones returns the ones' complement sum of b (RFC 1071).
func ones(b []byte) uint16 {
	var sum uint64
	for ; len(b) > 1; b = b[2:] {
		sum += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		sum += uint64(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// reply checks that f is a whole and right reply to p, and returns its message.
func (p packet) reply(f []byte) ([]byte, error) {
	if len(f) < ethernet+ipv4+udp {
		return nil, fmt.Errorf("%d octets", len(f))
	}
	if !bytes.Equal(f[:6], clientMAC[:]) || !bytes.Equal(f[6:12], serverMAC[:]) {
		return nil, fmt.Errorf("from %x to %x", f[6:12], f[:6])
	}
	back := packet{src: p.dst, dst: p.src, srcPort: p.dstPort, dstPort: p.srcPort}
	ip := f[ethernet:]
	var u []byte
	if p.src.Is4() {
		u = ip[ipv4:]
		switch {
		case ip[0] != 0x45 || ip[1] != 0 || ip[9] != 17:
			return nil, fmt.Errorf("header %x", ip[:ipv4])
		case int(binary.BigEndian.Uint16(ip[2:])) != len(ip):
			return nil, fmt.Errorf("total length %d of %d", binary.BigEndian.Uint16(ip[2:]), len(ip))
		case len(ip) <= 576 && (binary.BigEndian.Uint16(ip[4:]) != 0 || binary.BigEndian.Uint16(ip[6:]) != 0x4000),
			len(ip) > 576 && binary.BigEndian.Uint16(ip[6:]) != 0:
			return nil, fmt.Errorf("number and fragment %x of %d octets", ip[4:8], len(ip))
		case ip[8] != 64:
			return nil, fmt.Errorf("TTL %d", ip[8])
		case ones(ip[:ipv4]) != 0xffff:
			return nil, errors.New("IPv4's checksum is wrong")
		case !bytes.Equal(ip[12:16], back.src.AsSlice()) || !bytes.Equal(ip[16:20], back.dst.AsSlice()):
			return nil, fmt.Errorf("addresses %x", ip[12:20])
		}
	} else {
		u = ip[ipv6:]
		switch {
		case !bytes.Equal(ip[:4], []byte{0x60, 0, 0, 0}) || ip[6] != 17:
			return nil, fmt.Errorf("header %x", ip[:ipv6])
		case int(binary.BigEndian.Uint16(ip[4:])) != len(u):
			return nil, fmt.Errorf("payload length %d of %d", binary.BigEndian.Uint16(ip[4:]), len(u))
		case ip[7] != 64:
			return nil, fmt.Errorf("hop limit %d", ip[7])
		case !bytes.Equal(ip[8:24], back.src.AsSlice()) || !bytes.Equal(ip[24:40], back.dst.AsSlice()):
			return nil, fmt.Errorf("addresses %x", ip[8:40])
		}
	}
	switch {
	case binary.BigEndian.Uint16(u) != back.srcPort || binary.BigEndian.Uint16(u[2:]) != back.dstPort:
		return nil, fmt.Errorf("ports %x", u[:4])
	case int(binary.BigEndian.Uint16(u[4:])) != len(u):
		return nil, fmt.Errorf("UDP length %d of %d", binary.BigEndian.Uint16(u[4:]), len(u))
	}
	got := binary.BigEndian.Uint16(u[6:])
	u[6], u[7] = 0, 0
	if want := back.checksum(u); got != want && !(got == 0 && p.src.Is4()) {
		return nil, fmt.Errorf("UDP checksum %04x, want %04x", got, want)
	}
	return u[udp:], nil
}

// next is the verdict for what goes up.
const next, drop, redirect = ^uint32(0), 2, 7

// run has the program look at a frame.
func run(t testing.TB, im *Image, frame []byte) (verdict uint32, out []byte) {
	t.Helper()
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, 4096)}
	verdict, err := im.coll.Programs["lane"].Run(&o)
	if err != nil {
		t.Fatalf("%x: %v", frame, err)
	}
	return verdict, o.DataOut
}

// answer asks p, and returns the message of the reply, or nil if p goes up. Of what
// goes up nothing has changed.
func answer(t testing.TB, im *Image, p packet) []byte {
	t.Helper()
	frame := p.frame()
	switch verdict, out := run(t, im, frame); verdict {
	case next:
		if !bytes.Equal(out, frame) {
			t.Fatalf("%x goes up as %x", frame, out)
		}
		return nil
	case redirect:
		m, err := p.reply(out)
		if err != nil {
			t.Fatalf("%x: %v\n%x", frame, err, out)
		}
		return m
	default:
		t.Fatalf("%x: verdict %d", frame, verdict)
		return nil
	}
}

// testKey is that of the tests' images. Of all entries with an octet wrong one in 2^24 has
// a checksum that fits: with another key each time TestChecksums would meet one in two
// thousand runs.
var testKey = [2]uint64{0x0706050403020100, 0x0f0e0d0c0b0a0908}

// passed returns the counts of what went up.
func passed(im *Image) map[string]uint64 {
	m := map[string]uint64{}
	im.Counts(func(Cell) {}, func(reason string, n uint64) { m[reason] = n })
	return m
}

// cluster returns zones as a cluster has them, and answers of every type.
func cluster() []Zone {
	var types [256]bool
	for _, t := range []uint16{dns.TypeA, dns.TypeNS, dns.TypeCNAME, dns.TypeSOA, dns.TypePTR, dns.TypeMX, dns.TypeTXT, dns.TypeAAAA, dns.TypeSRV, dns.TypeNAPTR, dns.TypeSVCB, dns.TypeHTTPS} {
		types[t] = true
	}
	forward := Zone{Wire: wire("cluster.local."), Kind: Forward, TTL: 600, Negative: true, NegativeEDNS: true, Types: types}
	reverse4 := Zone{Wire: wire("10.in-addr.arpa."), Kind: Reverse, TTL: 30, Types: types, PTRZone: forward.Wire, Meter: 1}
	reverse6 := reverse4
	reverse6.Wire, reverse6.Meter = wire("ip6.arpa."), 2
	return []Zone{{Wire: wire("other.cluster.local.")}, reverse4, forward, reverse6, {Wire: wire(".")}}
}

// wire returns a name in wire format, and labels the same without root.
func wire(name string) []byte {
	w, err := dnswire.AppendName(nil, name)
	if err != nil {
		panic(err)
	}
	return w
}

func labels(name string) []byte { w := wire(name); return w[:len(w)-1] }

// opened returns an Image of zones, or skips the test where none can be had.
func opened(t testing.TB, zones []Zone, capacity int) *Image {
	t.Helper()
	if err := missingCapabilities(); err != nil {
		t.Skip(err)
	}
	c := Config{Port: 53, Zones: zones, Capacity: capacity}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	im, err := open(c, testKey, nil, []netip.Addr{server4, server6})
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		t.Fatalf("%+v", verifier)
	case errors.Is(err, errors.ErrUnsupported):
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// packed returns addresses as a Set has them.
func packed(addrs ...string) (s Set) {
	s.Known = true
	for _, a := range addrs {
		s.Packed = append(s.Packed, netip.MustParseAddr(a).AsSlice()...)
	}
	return s
}
