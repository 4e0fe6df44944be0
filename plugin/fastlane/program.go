package fastlane

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Client is what a Responder may have to know of who asks.
type Client struct {
	TCP  bool
	IPv6 bool
	Addr netip.Addr
}

// Verdict is what a Responder makes of a message: Answered, or for the chain. What
// is for the chain waits there beside others with the same verdict, and takes no
// room from those with another. See passed.
type Verdict uint8

const (
	// Answered: the reply has been appended.
	Answered Verdict = iota
	// Forward: the chain may have to ask another server, for what the message says.
	Forward
	// Local: the chain answers by itself, at once.
	Local
	// Alias: the chain may have to ask another server, but for what its own data
	// say.
	Alias

	numVerdicts
)

// Responder answers messages. It is used by one goroutine at a time.
type Responder interface {
	// Append appends the reply to msg to dst and returns the extended slice. With
	// another verdict than Answered dst is as it was. It retains neither. msg has
	// at most MaxMessage octets.
	Append(dst, msg []byte, from Client) ([]byte, Verdict)
	// Sent is called when the replies appended since the last call are on their
	// way, elapsed after their messages were received, but for lost of them,
	// which could not be sent.
	Sent(elapsed time.Duration, lost int)
}

// MaxMessage is the length in octets of the longest message that a Responder
// is asked to answer. A plain query is never longer without EDNS options, and
// CoreDNS reads no more than that from a datagram either (dns.MinMsgSize).
const MaxMessage = dns.MinMsgSize

// Program is whom a lane works for.
type Program struct {
	// NewResponder returns a Responder of its own for a worker.
	NewResponder func() Responder
	// Chain answers what Responders decline.
	Chain func(dns.ResponseWriter, *dns.Msg)
	// DecorateWriter, unless nil, makes what the Chain's replies over UDP are
	// written with of what writes them.
	DecorateWriter dns.DecorateWriter
	// IdleTimeout is how long a TCP connection may be silent between messages.
	IdleTimeout time.Duration

	spare sync.Pool // Responders, for streams
	busy  sync.RWMutex
}

func (p *Program) responder() Responder {
	if r, ok := p.spare.Get().(Responder); ok {
		return r
	}
	return p.NewResponder()
}

// Wait waits until nothing is under way in p's Chain, or ctx is done. The
// Program must have been replaced in its lane before.
func (p *Program) Wait(ctx context.Context) error {
	idle := make(chan struct{})
	go func() {
		p.busy.Lock()
		defer p.busy.Unlock()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serveDNS hands r to the chain of the lane's Program, the one that is the
// lane's while it does.
func (l *Lane) serveDNS(w dns.ResponseWriter, r *dns.Msg) {
	for {
		p := l.program.Load()
		// RLock would wait behind a Wait, for what is in the chain of a Program
		// that has been replaced.
		if !p.busy.TryRLock() {
			if l.program.Load() != p {
				continue
			}
			p.busy.RLock()
		}
		if l.program.Load() == p {
			defer p.busy.RUnlock()
			p.Chain(w, r)
			return
		}
		p.busy.RUnlock()
	}
}

// writer writes a reply over UDP as the Program has it that the lane works for
// when it is written: the one before may have ended by then.
type writer struct {
	dns.Writer
	lane *Lane
}

// Write implements dns.Writer.
func (w writer) Write(p []byte) (int, error) {
	if decorate := w.lane.program.Load().DecorateWriter; decorate != nil {
		return decorate(w.Writer).Write(p)
	}
	return w.Writer.Write(p)
}
