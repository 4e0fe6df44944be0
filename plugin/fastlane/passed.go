package fastlane

import (
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
// Over the bound a datagram is dropped. That costs nothing, and its client asks
// again, after seconds, as for every datagram that is lost on its way; an
// answer of SERVFAIL would be final for many clients, and could be sent to
// somebody who has not asked. A TCP connection waits for its turn.
type passed struct {
	slots   chan struct{}
	dropped atomic.Uint64
}

func newPassed(most int) *passed {
	if most < 1 {
		most = DefaultMaxPassed
	}
	return &passed{slots: make(chan struct{}, most)}
}

// tryEnter counts one more, or drops it with false.
func (p *passed) tryEnter() bool {
	select {
	case p.slots <- struct{}{}:
		return true
	default:
		p.dropped.Add(1)
		return false
	}
}

func (p *passed) leave() { <-p.slots }

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
		defer p.leave()
		handler(w, r)
	})
}

// streamed is the handler of messages that have come over TCP.
func (p *passed) streamed(handler dns.HandlerFunc) dns.HandlerFunc {
	return func(w dns.ResponseWriter, r *dns.Msg) {
		p.slots <- struct{}{}
		defer p.leave()
		handler(w, r)
	}
}
