package fastlane

import (
	"hash/maphash"
	"net"
	"net/netip"
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
// A sender may have as many there as there is room left. So one alone has half
// of the room, two have a third each, and there is always some for another.
// Senders are told apart by a hash of their address: those with the same
// share. Whoever forges addresses fills the room.
//
// Over TCP each connection has one message with the chain at most. They have as
// much room, of their own, and wait for it.
type passed struct {
	most    int64
	n       atomic.Int64 // datagrams
	of      [senders]atomic.Int64
	seed    maphash.Seed
	streams chan struct{}
	dropped atomic.Uint64
}

// senders is how many are told apart.
const senders = 1 << 10

func newPassed(most int) *passed {
	if most < 1 {
		most = DefaultMaxPassed
	}
	return &passed{most: int64(most), seed: maphash.MakeSeed(), streams: make(chan struct{}, most)}
}

// sender returns how many datagrams of addr's are at the chain's handler.
func (p *passed) sender(addr netip.Addr) *atomic.Int64 {
	return &p.of[maphash.Comparable(p.seed, addr.WithZone(""))%senders]
}

// tryEnter counts a datagram of addr's, or drops it with false.
func (p *passed) tryEnter(addr netip.Addr) bool {
	if n := p.n.Add(1); n+p.sender(addr).Load() > p.most {
		p.drop()
		return false
	}
	return true
}

func (p *passed) leave() { p.n.Add(-1) }

func (p *passed) drop() {
	p.leave()
	p.dropped.Add(1)
}

// len returns how many messages are with the chain.
func (p *passed) len() int { return int(p.n.Load()) + len(p.streams) }

// datagrams has server, which is given messages for each of which tryEnter has
// said yes, leave after each in whichever way it is done with it: as no
// message at all, as none of those that it accepts, or by its handler.
func (p *passed) datagrams(server *dns.Server, handler dns.HandlerFunc) {
	server.MsgInvalidFunc = func([]byte, error) { p.leave() }
	server.MsgAcceptFunc = func(h dns.Header) dns.MsgAcceptAction {
		action := dns.DefaultMsgAcceptFunc(h)
		if action != dns.MsgAccept {
			p.leave()
		}
		return action
	}
	server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		addr, _ := netip.AddrFromSlice(w.RemoteAddr().(*net.UDPAddr).IP)
		sender := p.sender(addr)
		defer sender.Add(-1)
		// Only here is it known whose the message is, and many may have entered
		// meanwhile.
		if of := sender.Add(1); p.n.Load()+of-1 > p.most {
			p.drop()
			return
		}
		defer p.leave()
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
