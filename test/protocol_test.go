package test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/miekg/dns"
)

// TestOddMessages sends what no client sends. Most of it CoreDNS deals with
// before any plugin; a fast lane must not deal with it otherwise.
func TestOddMessages(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	s := start(t, ".:0 {\nclusterdns cluster.local {\nmanifests "+dir+"\n}\n}\n")
	// A query for web.shop.svc.cluster.local A, its ID and what follows 0xABCD.
	good := func(change func(m *dns.Msg)) []byte {
		m := dnstext.Cluster.Query(t, "web.shop.svc A")
		m.Id = 0xABCD
		change(m)
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return packet
	}
	with := func(at int, octets ...byte) []byte {
		packet := good(func(*dns.Msg) {})
		copy(packet[at:], octets)
		return packet
	}
	const web = "NOERROR aa rd\nweb.shop.svc A 10.96.0.10"
	for _, row := range []struct {
		name   string
		packet []byte
		want   string // "" for no reply; if just a code, the reply has no more than that
	}{
		{"as it should be", good(func(*dns.Msg) {}), web},
		{"octets behind the end", append(good(func(*dns.Msg) {}), 1, 2, 3), web},
		{"class CH", good(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED"},
		{"class ANY", good(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), "REFUSED"},
		{"opcode STATUS", good(func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }), "NOTIMP"},
		{"opcode UPDATE", good(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), "NOTIMP"},
		{"two questions", with(4, 0, 2), "FORMERR"},
		{"no question", with(4, 0, 0), "FORMERR"},
		{"a reply", good(func(m *dns.Msg) { m.Response = true }), ""},
		{"a header cut short", good(func(*dns.Msg) {})[:11], ""},
		{"a name that points to itself", with(12, 0xC0, 12), "FORMERR"},
		{"a label of a reserved type", with(12, 0x80), "FORMERR"},
		{"a question cut short", good(func(*dns.Msg) {})[:20], "FORMERR"},
	} {
		t.Run(row.name, func(t *testing.T) {
			conn, err := net.Dial("udp", s.addr("udp"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(row.packet); err != nil {
				t.Fatal(err)
			}
			if row.want == "" {
				// Nothing comes of it: the next query's reply comes first.
				next := dnstext.Cluster.Query(t, "web.shop.svc A")
				next.Id = 0x1234
				packet, err := next.Pack()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Write(packet); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, dns.MaxMsgSize)
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			id := binary.BigEndian.Uint16(buf)
			rcode := dns.RcodeToString[int(buf[3]&0xF)]
			switch row.want {
			case "":
				if id != 0x1234 {
					t.Errorf("a reply: %s", rcode)
				}
			case web:
				m := new(dns.Msg)
				if err := m.Unpack(buf[:n]); err != nil {
					t.Fatal(err)
				}
				want, err := dnstext.Cluster.Parse(row.want)
				if err != nil {
					t.Fatal(err)
				}
				if diff := want.Diff(m); diff != "" || id != 0xABCD {
					t.Errorf("id %#x: %s", id, diff)
				}
			default:
				if rcode != row.want || id != 0xABCD || buf[2]&0x80 == 0 {
					t.Errorf("id %#x: %s, want %s", id, rcode, row.want)
				}
			}
		})
	}
}

// Many queries on one TCP connection, sent before the first is answered; as
// NodeLocal DNSCache has them.
func TestPipelinedTCP(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	s := start(t, ".:0 {\nclusterdns cluster.local in-addr.arpa {\nmanifests "+dir+"\n}\n}\n")
	conn, err := net.Dial("tcp", s.addr("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// Fewer than the 128 that miekg/dns takes on a connection.
	const n = 100
	var sent []byte
	for id := range n {
		r := dnstext.Cluster.Query(t, reloadAnswers[id%len(reloadAnswers)].question)
		r.Id = uint16(id)
		packet, err := r.Pack()
		if err != nil {
			t.Fatal(err)
		}
		sent = append(binary.BigEndian.AppendUint16(sent, uint16(len(packet))), packet...)
	}
	if _, err := conn.Write(sent); err != nil {
		t.Fatal(err)
	}
	seen := map[uint16]bool{}
	for range n {
		m, err := readTCP(conn)
		if err != nil {
			t.Fatalf("after %d replies: %v", len(seen), err)
		}
		if seen[m.Id] || int(m.Id) >= n {
			t.Fatalf("a reply to %d, twice or never asked", m.Id)
		}
		seen[m.Id] = true
		want, err := dnstext.Cluster.Parse(reloadAnswers[int(m.Id)%len(reloadAnswers)].reply)
		if err != nil {
			t.Fatal(err)
		}
		if diff := want.Diff(m); diff != "" {
			t.Errorf("%v: %s", m.Question, diff)
		}
	}
}

func readTCP(conn net.Conn) (*dns.Msg, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, packet); err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		return nil, fmt.Errorf("%w in %v", err, dnstext.Of(m))
	}
	return m, nil
}
