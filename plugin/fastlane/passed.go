package fastlane

import (
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
)

// DefaultMaxPassed is what a MaxPassed of 0 means. CoreDNS spends some 50 kB on
// a query that waits for an upstream server.
const DefaultMaxPassed = 1024

// passed are the messages that have been passed on to the chain and have not
// been answered. There is a bound, since each one costs memory for as long as
// an upstream server does not answer, and strangers choose how many there are.
//
// A datagram over the bound is dropped. That costs nothing, and its client asks
// again, after seconds, as for every datagram that is lost on its way; an
// answer of SERVFAIL would be final for many clients, and could be sent to
// somebody who has not asked.
//
// Each Verdict has a room of its own, so that names outside, of which anybody can
// ask for as many as he likes and which take seconds while an upstream server is
// dead, keep out nothing that would be answered at once. Those of Local and Alias
// are a quarter as large: the former need none but for moments, and the latter
// are few.
//
// Over TCP each connection has one message with the chain at most. They have as
// much room as Forward, of their own and whatever the verdict, and wait for it.
type passed struct {
	most    int64
	seed    maphash.Seed
	coming  atomic.Int64 // datagrams on their way to the handler, at most most
	rooms   [numVerdicts]room
	streams chan struct{}
	dropped atomic.Uint64
}

// room is how many datagrams with one verdict are at the chain's handler.
//
// A sender may have as many there as there is room left. So one alone has half
// of the room, two have a third each, and there is always some for another.
// Senders are told apart by a hash of their address: those with the same
// share. Whoever forges addresses fills the room.
type room struct {
	most int64
	mu   sync.Mutex // of who enters
	n    atomic.Int64
	of   [senders]atomic.Int64
}

// senders is how many are told apart.
const senders = 1 << 10

func newPassed(most int) *passed {
	if most < 1 {
		most = DefaultMaxPassed
	}
	p := &passed{most: int64(most), seed: maphash.MakeSeed(), streams: make(chan struct{}, most)}
	for v := range p.rooms {
		p.rooms[v].most = int64(max(1, most/4))
	}
	p.rooms[Forward].most = int64(most)
	return p
}

// sender returns how many datagrams of addr's are in the room.
func (p *passed) sender(r *room, addr netip.Addr) *atomic.Int64 {
	return &r.of[maphash.Comparable(p.seed, addr.WithZone(""))%senders]
}

// full reports whether the room has none left for a sender.
func (r *room) full(sender *atomic.Int64) bool { return r.n.Load()+sender.Load() >= r.most }

// enter counts a datagram of a sender, unless there is no room left.
func (r *room) enter(sender *atomic.Int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full(sender) {
		return false
	}
	r.n.Add(1)
	sender.Add(1)
	return true
}

func (r *room) leave(sender *atomic.Int64) {
	r.n.Add(-1)
	sender.Add(-1)
}

// tryEnter lets a datagram of addr's go to the handler, or drops it with false,
// before it costs a goroutine. Many may be on their way at once, so that enter
// looks again.
func (p *passed) tryEnter(addr netip.Addr, verdict Verdict) bool {
	r := &p.rooms[verdict]
	if p.coming.Add(1) <= p.most && !r.full(p.sender(r, addr)) {
		return true
	}
	p.arrive()
	p.dropped.Add(1)
	return false
}

// arrive ends what tryEnter has begun.
func (p *passed) arrive() { p.coming.Add(-1) }

// len returns how many messages are with the chain, or on their way there.
func (p *passed) len() int {
	n := p.coming.Load()
	for v := range p.rooms {
		n += p.rooms[v].n.Load()
	}
	return int(n) + len(p.streams)
}

// datagrams has server, which is given messages for each of which tryEnter has
// said yes, call arrive for each, whatever becomes of it: no message at all, none
// of those that it accepts, or one for its handler.
func (p *passed) datagrams(server *dns.Server, handler dns.HandlerFunc) {
	server.MsgInvalidFunc = func([]byte, error) { p.arrive() }
	server.MsgAcceptFunc = func(h dns.Header) dns.MsgAcceptAction {
		action := dns.DefaultMsgAcceptFunc(h)
		if action != dns.MsgAccept {
			p.arrive()
		}
		return action
	}
	server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		from := w.RemoteAddr().(*net.UDPAddr)
		verdict, _ := carried(from)
		addr, _ := netip.AddrFromSlice(from.IP)
		room := &p.rooms[verdict]
		sender := p.sender(room, addr)
		entered := room.enter(sender)
		p.arrive()
		if !entered {
			p.dropped.Add(1)
			return
		}
		defer room.leave(sender)
		handler(w, r)
	})
}

// streamed is the handler of messages that have come over TCP.
func (p *passed) streamed(handler dns.HandlerFunc) dns.HandlerFunc {
	return func(w dns.ResponseWriter, r *dns.Msg) {
		p.streams <- struct{}{}
		defer func() { <-p.streams }()
		handler(w, r)
	}
}
