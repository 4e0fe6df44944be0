package clusterdns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/responder"
	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/hosts"
	"github.com/miekg/dns"
)

// bothWays sends datagrams and TCP messages to a responder of the lane, and
// what that answers to a real server with the same handler, CoreDNS's
// dnsserver.Server on miekg/dns.
type bothWays struct {
	lane fastlane.Responder
	wire *wire
}

// newBothWays has plugins, as the Corefile writes them, in front of h in the
// chain; route says what the lane makes of them.
func newBothWays(t testing.TB, h *Handler, route responder.Route, plugins ...string) *bothWays {
	t.Helper()
	config := &dnsserver.Config{Zone: "."}
	for _, text := range plugins {
		config.AddPlugin(stockPlugin(t, text))
	}
	if len(route.Searched) > 0 {
		a := newAutopath(h)
		a.zones, route.Completes = route.Searched, a.Completes
		config.AddPlugin(func(plugin.Handler) plugin.Handler { return a })
	}
	config.AddPlugin(func(plugin.Handler) plugin.Handler { return h })
	server, err := dnsserver.NewServer("dns://:53", []*dnsserver.Config{config})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{in: make(chan []byte), out: make(chan []byte, 1), reads: make(chan struct{}, 1), closed: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.ServePacket(w); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		<-w.reads // a server that is not up yet cannot be stopped
		server.Stop()
		<-ended
	})
	route.Zone, route.Rotate = ".", true
	if running, ok := config.Handler("hosts").(hosts.Hosts); ok {
		route.Hosts = &running
	}
	return &bothWays{planOf(t, route, h).NewResponder(), w}
}

// planOf returns a plan of one route.
func planOf(t testing.TB, route responder.Route, h *Handler) *responder.Plan {
	t.Helper()
	plan := &responder.Plan{Counts: new(responder.Counts), TruncatedTCP: truncatedTCP}
	addRoute(t, plan, route, h)
	return plan
}

// addRoute adds a route to plan, h's unless that is nil.
func addRoute(t testing.TB, plan *responder.Plan, route responder.Route, h *Handler) {
	t.Helper()
	if h != nil {
		route.View, route.Fallthrough = h.view, h.cfg.fall.Zones
	}
	if err := plan.Add(route, "dns://:53"); err != nil {
		t.Fatal(err)
	}
}

// wire is a net.PacketConn that takes one message at a time.
type wire struct {
	in, out chan []byte
	reads   chan struct{} // has something once the server reads
	closed  chan struct{}
}

func (w *wire) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case w.reads <- struct{}{}:
	default:
	}
	select {
	case msg := <-w.in:
		return copy(p, msg), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4096}, nil
	case <-w.closed:
		return 0, nil, net.ErrClosed
	}
}

func (w *wire) WriteTo(p []byte, _ net.Addr) (int, error) {
	w.out <- slices.Clone(p)
	return len(p), nil
}

func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) { // Shutdown
		close(w.closed)
	}
	return nil
}

// compare reports how the lane's reply to a datagram differs from the chain's.
// It is false if the lane declined.
func (b *bothWays) compare(msg []byte) (answered bool, err error) {
	got, verdict := b.lane.Append([]byte("before"), msg, fastlane.Client{})
	ok := verdict == fastlane.Answered
	if string(got[:6]) != "before" {
		return ok, fmt.Errorf("the lane wrote over what was there: %q", got[:6])
	}
	got = got[6:]
	if !ok {
		if len(got) != 0 {
			return false, fmt.Errorf("the lane declined, and appended %d octets", len(got))
		}
		return false, nil
	}
	b.lane.Sent(time.Millisecond, 0)
	var want []byte
	b.wire.in <- msg
	select {
	case want = <-b.wire.out:
	case <-time.After(10 * time.Second):
		return true, errors.New("the lane answers, and the chain does not")
	}
	var lane, chain dns.Msg
	if err := lane.Unpack(got); err != nil {
		return true, fmt.Errorf("unpacking the lane's reply: %w", err)
	}
	if err := chain.Unpack(want); err != nil {
		return true, fmt.Errorf("unpacking the chain's reply: %w", err)
	}
	if lane.Id != chain.Id || !slices.Equal(lane.Question, chain.Question) {
		return true, fmt.Errorf("lane: id %d question %v, chain: id %d question %v", lane.Id, lane.Question, chain.Id, chain.Question)
	}
	if lane.Truncated {
		return true, b.compareTruncated(msg, got, &lane, &chain)
	}
	if len(got) > len(want) {
		return true, fmt.Errorf("the lane's reply has %d octets, the chain's %d", len(got), len(want))
	}
	if chain.Truncated {
		return true, fmt.Errorf("the chain's reply is truncated to %d octets, the lane's is not, with %d", len(want), len(got))
	}
	if lane, chain := dnstext.Of(&lane).String(), dnstext.Of(&chain).String(); lane != chain {
		return true, fmt.Errorf("chain:\n%s\nlane:\n%s", chain, lane)
	}
	return true, nil
}

// compareTruncated compares two truncated replies with the full one, which the
// lane gives over TCP. That is compared with the handler's message elsewhere.
func (b *bothWays) compareTruncated(msg, got []byte, lane, chain *dns.Msg) error {
	if !chain.Truncated {
		return fmt.Errorf("the lane's reply is truncated to %d octets, the chain's is not:\n%s", len(got), dnstext.Of(chain))
	}
	wire, verdict := b.lane.Append(nil, msg, fastlane.Client{TCP: true})
	if verdict != fastlane.Answered {
		return errors.New("the lane declines the same message over TCP")
	}
	full := new(dns.Msg)
	if err := full.Unpack(wire); err != nil {
		return err
	}
	limit := 512
	if opt := full.IsEdns0(); opt != nil {
		limit = max(limit, int(opt.UDPSize()))
	}
	if len(got) > limit {
		return fmt.Errorf("the lane's reply has %d octets, the limit is %d", len(got), limit)
	}
	if l, c := numRecords(lane), numRecords(chain); l < c {
		return fmt.Errorf("the lane's truncated reply has %d records, the chain's %d", l, c)
	}
	if err := truncated(chain, full.Copy(), limit); err != nil {
		return fmt.Errorf("chain: %w", err)
	}
	return truncated(lane, full, limit)
}

func numRecords(m *dns.Msg) int { return len(m.Answer) + len(m.Ns) + len(m.Extra) }

// laneSizes are the sizes that clients advertise; 0 is no OPT.
var laneSizes = []uint16{0, 1, 511, 512, 513, 1232, 1400, 4096, 17000, 65535}

// packets calls yield for queries of all shapes for name.
func packets(random *rand.Rand, name []byte, qtype uint16, yield func([]byte)) {
	for i, size := range laneSizes {
		msg := binary.BigEndian.AppendUint16(nil, uint16(random.Uint32()))
		flags := uint16(random.Uint32()) & (dnswire.FlagRD | dnswire.FlagCD | dnswire.FlagAD)
		msg = binary.BigEndian.AppendUint16(msg, flags)
		msg = append(msg, 0, 1, 0, 0, 0, 0, 0, 0)
		msg = append(msg, name...)
		msg = binary.BigEndian.AppendUint16(msg, qtype)
		msg = append(msg, 0, 1)
		if i > 0 {
			msg[11] = 1
			msg = append(msg, 0, 0, 41) // OPT at the root
			msg = binary.BigEndian.AppendUint16(msg, size)
			msg = append(msg, 0, 0)
			msg = binary.BigEndian.AppendUint16(msg, uint16(random.Uint32())) // DO and Z
			switch i % 3 {
			case 0:
				msg = append(msg, 0, 0)
			case 1: // a cookie (RFC 7873)
				msg = append(msg, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8)
			default: // padding (RFC 7830), which CoreDNS drops
				msg = append(msg, 0, 6, 0, 12, 0, 2, 0, 0)
			}
		}
		yield(msg)
	}
}

// askAll asks every one of questions below every origin, with every type, and for the
// names of addresses: shapes makes messages of a name and a type, and compare sends one
// both ways and says whether the first answered it. It returns how many did, and did not.
func askAll(t *testing.T, random *rand.Rand, origins []string, types []uint16,
	shapes func(*rand.Rand, []byte, uint16, func([]byte)), compare func([]byte) (bool, error)) (answered, left int) {
	t.Helper()
	ask := func(name string, qtype uint16) {
		wire, err := dnswire.AppendName(nil, name)
		if err != nil {
			return // too long below this origin
		}
		shapes(random, wire, qtype, func(msg []byte) {
			ok, err := compare(msg)
			if err != nil {
				t.Errorf("%s %s: %x: %v", name, dns.TypeToString[qtype], msg, err)
			}
			if ok {
				answered++
			} else {
				left++
			}
		})
		if t.Failed() {
			t.FailNow()
		}
	}
	for _, q := range questions {
		for _, origin := range origins {
			name := dns.Fqdn(strings.TrimPrefix(q+"."+strings.TrimPrefix(origin, "."), "."))
			for _, qtype := range types {
				ask(mixCase(random, name), qtype)
			}
		}
	}
	for _, addr := range []string{"10.96.0.10", "10.244.2.21", "10.1.0.77", "10.3.0.2", "10.3.0.9", "fd00:10:96::20", "2001:db8::7", "192.0.2.1"} {
		name, err := dns.ReverseAddr(addr)
		if err != nil {
			t.Fatal(err)
		}
		ask(mixCase(random, name), dns.TypePTR)
		ask(name, dns.TypeTXT)
	}
	return answered, left
}
