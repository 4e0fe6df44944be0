package fastlane

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clusterdns/clusterdns/plugin/fastlane/mmsg"
	"github.com/miekg/dns"
)

// batchSize is how many datagrams a worker takes at once.
const (
	logBatchSize = 5
	batchSize    = 1 << logBatchSize
)

// worker is a net.PacketConn, of several UDP sockets, of which a dns.Server reads what the Responder
// declined:
//
//  1. ReadFrom receives a batch and has the Responder answer it.
//  2. The replies leave, all in one system call.
//  3. ReadFrom returns what was declined, one datagram a call. When there is no
//     more it begins again.
type worker struct {
	lane   *Lane
	conn   *mmsg.Conn
	batch  *mmsg.Batch
	server *dns.Server

	// Of the goroutine that reads.
	program   *Program
	responder Responder
	replies   []byte     // of one batch, one behind the other
	declined  []declined // of the batch, still to be read

	datagrams atomic.Uint64
	turns     atomic.Uint64                   // times that the worker came by to receive
	received  [logBatchSize + 1]atomic.Uint64 // batches, by the logarithm of their size

	mu       sync.Mutex // orders SetReadDeadline and drain
	draining bool
	drained  chan struct{} // closed when nothing is left to receive
}

// declined is a datagram of a batch that is for the chain.
type declined struct {
	i       int // in the batch
	verdict Verdict
}

// readTimeout is how long a dns.Server waits for a datagram before it looks
// whether it has been shut down, of which it is told anyway.
const readTimeout = time.Hour

func (l *Lane) newWorker(conn *mmsg.Conn) *worker {
	w := &worker{
		lane: l, conn: conn,
		batch:   mmsg.NewBatch(batchSize, MaxMessage),
		drained: make(chan struct{}),
	}
	w.server = &dns.Server{
		PacketConn: w, Net: "udp", ReadTimeout: readTimeout,
		TsigSecret:     map[string]string{}, // none, but signed queries get an answer, as from CoreDNS
		DecorateWriter: func(w dns.Writer) dns.Writer { return writer{w, l} },
	}
	l.passed.datagrams(w.server, l.serveDNS)
	return w
}

// ReadFrom implements net.PacketConn. The address it returns remembers at
// which of this host's addresses the datagram arrived, see WriteTo.
func (w *worker) ReadFrom(p []byte) (int, net.Addr, error) {
	w.letGo()
	for {
		if len(w.declined) > 0 {
			d := w.declined[0]
			w.declined = w.declined[1:]
			peer := w.batch.Peer(d.i)
			if !w.lane.passed.tryEnter(peer.Addr(), d.verdict) {
				continue
			}
			return copy(p, w.batch.Payload(d.i)), udpAddr(peer, w.batch.Local(d.i), d.verdict), nil
		}
		w.turns.Add(1)
		n, err := w.conn.Recv(w.batch)
		if err == nil {
			w.received[bits.Len(uint(n))-1].Add(1)
			w.datagrams.Add(uint64(n))
			w.answer(n)
			continue
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && w.hasMore():
			continue
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return 0, nil, err
		}
		// An error that the network reported for an earlier datagram, or want of
		// memory: neither is a reason to end, as the dns.Server would.
		w.lane.report(fmt.Errorf("receiving: %w", err))
	}
}

// letGo forgets a Program that the lane no longer works for, and with it an
// index, maybe: the next batch may be long in coming.
func (w *worker) letGo() {
	if w.program != w.lane.program.Load() {
		w.program, w.responder = nil, nil
	}
}

// wake ends a Recv that waits. The dns.Server sets another deadline and reads
// again, so that letGo is called: after wake, or before a Recv that wake ends.
func (w *worker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.draining {
		w.conn.SetReadDeadline(past)
	}
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// SetReadDeadline implements net.PacketConn. While the worker drains its
// deadline is over.
func (w *worker) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.draining {
		t = past
	}
	return w.conn.SetReadDeadline(t)
}

// SetDeadline implements net.PacketConn.
func (w *worker) SetDeadline(t time.Time) error { return w.SetReadDeadline(t) }

// SetWriteDeadline implements net.PacketConn. Nothing waits to be sent.
func (w *worker) SetWriteDeadline(time.Time) error { return nil }

// LocalAddr implements net.PacketConn.
func (w *worker) LocalAddr() net.Addr { return w.conn.LocalAddr() }

// Close implements net.PacketConn.
func (w *worker) Close() error { return w.conn.Close() }

// drain waits until the socket is empty and all that it had is answered or in
// the chain. Nothing may be sent to the socket anymore.
func (w *worker) drain(ctx context.Context) {
	w.mu.Lock()
	w.draining = true
	w.conn.SetReadDeadline(past)
	w.mu.Unlock()
	select {
	case <-w.drained:
	case <-ctx.Done():
	}
}

// drainRound bounds how long a worker that drains waits for a datagram that it
// has seen: one with a wrong checksum is gone once it is looked at. It comes
// back for the others.
const drainRound = 10 * time.Millisecond

// hasMore is called when the deadline was over before a batch arrived. It
// reports whether the worker drains and there is something to receive, which it
// allows.
func (w *worker) hasMore() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.draining {
		return false
	}
	if n, err := w.conn.Pending(); err == nil && n > 0 {
		w.conn.SetReadDeadline(time.Now().Add(drainRound))
		return true
	}
	select {
	case <-w.drained:
	default:
		close(w.drained)
	}
	return false
}

// answer has the n datagrams of the batch answered and the replies sent. What
// was declined stays for ReadFrom.
func (w *worker) answer(n int) {
	defer func() {
		if r := recover(); r != nil { // of Sent, when all is said and done
			w.lane.recovered(r)
		}
	}()
	start := time.Now()
	if p := w.lane.program.Load(); p != w.program {
		w.program, w.responder = p, p.NewResponder()
	}
	w.declined, w.replies = w.declined[:0], w.replies[:0]
	for i := 0; i < n; {
		i = w.answerFrom(i, n)
	}
	if len(w.replies) == 0 {
		return
	}
	queued := w.batch.Queued()
	sent, err := w.conn.Flush(w.batch)
	if err != nil {
		w.lane.report(fmt.Errorf("sending: %w", err))
	}
	w.lane.unsent.Add(uint64(queued - sent))
	w.responder.Sent(time.Since(start), queued-sent)
}

// answerFrom has the datagrams from i on answered and returns the one to go on
// with: n, or the one after a panic, which costs that datagram.
func (w *worker) answerFrom(i, n int) (next int) {
	defer func() {
		if r := recover(); r != nil {
			w.lane.recovered(r)
			w.responder = w.program.NewResponder() // what the old one holds may be half-done
			next = i + 1
		}
	}()
	for ; i < n; i++ {
		at := len(w.replies)
		verdict := Forward
		if !w.batch.Truncated(i) {
			addr := w.batch.Peer(i).Addr()
			from := Client{IPv6: addr.Is6(), Addr: addr}
			w.replies, verdict = w.responder.Append(w.replies, w.batch.Payload(i), from)
		}
		if verdict == Answered {
			w.batch.Reply(i, w.replies[at:])
		} else {
			w.declined = append(w.declined, declined{i, verdict})
		}
	}
	return n
}

// udpAddr returns peer as CoreDNS's plugins expect an address, a *net.UDPAddr.
// They hand it back as it is, so it carries what is to be known when it comes
// back: in the octets of IP between length and capacity the verdict and local.
func udpAddr(peer netip.AddrPort, local netip.Addr, verdict Verdict) *net.UDPAddr {
	from, to := peer.Addr().AsSlice(), local.AsSlice() // to is empty for the zero Addr
	ip := make(net.IP, len(from), len(from)+1+len(to))
	copy(ip, from)
	ip[:len(ip)+1][len(ip)] = byte(verdict)
	copy(ip[len(ip)+1:cap(ip)], to)
	return &net.UDPAddr{IP: ip, Port: int(peer.Port()), Zone: peer.Addr().Zone()}
}

// carried returns what an address from udpAddr carries. Of another, local is the
// zero Addr.
func carried(addr *net.UDPAddr) (verdict Verdict, local netip.Addr) {
	more := addr.IP[len(addr.IP):cap(addr.IP)]
	if len(more) == 0 || more[0] == byte(Answered) || more[0] >= byte(numVerdicts) {
		return Forward, netip.Addr{}
	}
	local, _ = netip.AddrFromSlice(more[1:])
	return Verdict(more[0]), local
}

// WriteTo implements net.PacketConn. To an address from ReadFrom it sends from
// the address that was asked.
func (w *worker) WriteTo(p []byte, to net.Addr) (int, error) {
	addr, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, fmt.Errorf("fastlane: %v is no UDP address", to)
	}
	_, local := carried(addr)
	if err := w.conn.WriteTo(p, addr.AddrPort(), local); err != nil {
		return 0, err
	}
	return len(p), nil
}

// recovered counts a panic, and logs it unless there are many.
func (l *Lane) recovered(r any) {
	if n := l.panics.Add(1); n&(n-1) == 0 {
		l.cfg.Log(fmt.Errorf("panic %d while answering: %v\n%s", n, r, debug.Stack()))
	}
}
