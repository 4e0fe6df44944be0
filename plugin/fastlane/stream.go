package fastlane

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Sizes in octets of what a stream holds. A batch of queries is rarely longer
// than streamIn; replies are sent when they have grown to streamOut.
const (
	streamIn  = 4 << 10
	streamOut = 32 << 10
)

// A stream that has been told to end goes on until its client has been silent
// for linger after a query, so that queries on their way are answered, but not
// longer than lingerMost: what a client that never pauses has on its way then
// is lost.
const (
	linger     = 100 * time.Millisecond
	lingerMost = time.Second
)

// streams are the open ones of a lane.
type streams struct {
	mu     sync.Mutex
	open   map[*stream]struct{}
	ending bool
}

func (a *streams) add(s *stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open = map[*stream]struct{}{}
	}
	a.open[s] = struct{}{}
	if a.ending {
		s.SetReadDeadline(past)
	}
}

func (a *streams) remove(s *stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, s)
}

func (a *streams) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.open)
}

// end tells all streams to end, those too that are still to be added.
func (a *streams) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ending = true
	for s := range a.open {
		s.SetReadDeadline(past)
	}
}

// listener makes streams of the connections that it accepts.
type listener struct {
	net.Listener
	lane    *Lane
	accepts *atomic.Uint64
}

func (l listener) Accept() (net.Conn, error) {
	l.accepts.Add(1)
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s := &stream{Conn: c, lane: l.lane, from: Client{TCP: true}, buf: make([]byte, streamIn)}
	if remote, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		s.from.Addr = remote.AddrPort().Addr().Unmap()
		s.from.IPv6 = s.from.Addr.Is6()
	}
	l.lane.streams.add(s)
	return s, nil
}

// stream is a net.Conn of which a dns.Server reads the messages (each behind
// its length, RFC 1035 §4.2.2) that the Responder declined:
//
//  1. Read receives what there is and has the Responder answer every message
//     that has arrived whole.
//  2. The replies leave in one piece.
//  3. At a message that is declined Read stops, sends what replies there are,
//     and returns that message to the dns.Server, which answers it before it
//     reads on. So replies are in the order of the queries.
//
// Read is called by one goroutine, the dns.Server's for the connection.
type stream struct {
	net.Conn
	lane    *Lane
	from    Client
	buf     []byte // buf[start:end] has been received and not looked at
	start   int
	end     int
	pass    []byte // of a declined message, still to be read; part of buf
	rest    int    // octets of it that have not arrived
	out     []byte // replies
	queued  int    // how many
	since   time.Time
	queries atomic.Int64

	mu    sync.Mutex // SetReadDeadline is also called by whoever ends the stream
	until time.Time  // when it ends, once it has been told to
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	for {
		switch {
		case len(s.pass) > 0:
			n := copy(p, s.pass)
			s.pass = s.pass[n:]
			return n, nil
		case s.rest > 0:
			n, err := s.read(p[:min(len(p), s.rest)])
			s.rest -= n
			return n, err
		}
		answered, err := s.answer()
		if err != nil {
			return 0, err
		}
		if len(s.pass) > 0 {
			continue
		}
		if s.spent() {
			return 0, io.EOF
		}
		if answered { // as the dns.Server does after a message that it answered
			s.SetReadDeadline(time.Now().Add(s.lane.program.Load().IdleTimeout))
		}
		s.start, s.end = 0, copy(s.buf, s.buf[s.start:s.end])
		n, err := s.read(s.buf[s.end:])
		if n == 0 {
			return 0, err
		}
		s.end += n
		s.since = time.Now()
	}
}

// answer has the messages that have arrived answered, up to the first one that
// is declined, which becomes s.pass.
func (s *stream) answer() (answered bool, err error) {
	if s.start == s.end {
		return false, nil
	}
	program := s.lane.program.Load()
	responder := program.responder()
	sound := false
	defer func() {
		if r := recover(); r != nil {
			s.lane.recovered(r)
			if len(s.out) > 0 {
				s.Write(s.out) // replies to the messages before
			}
			err = io.ErrUnexpectedEOF // there is no reply to send in this one's turn
		}
		if sound {
			program.spare.Put(responder)
		}
	}()
	for !s.spent() {
		framed, size := s.cutMessage()
		if size == 0 {
			break // the rest fits the buffer
		}
		s.queries.Add(1)
		if size > 2+MaxMessage || !s.answerOne(responder, framed[2:]) {
			s.pass, s.rest = framed, size-len(framed)
			break
		}
		answered = true
		if len(s.out) >= streamOut {
			if err := s.flush(responder); err != nil {
				return answered, err
			}
		}
	}
	err = s.flush(responder)
	sound = true
	return answered, err
}

// spent reports whether the connection has had all the queries that it may.
func (s *stream) spent() bool {
	limit := s.lane.cfg.MaxTCPQueries
	return limit > 0 && s.queries.Load() >= int64(limit)
}

// cutMessage takes the next message, behind its length, off what has arrived,
// and returns it with the size of both: 0 if it is still to arrive. Of one that
// is longer than MaxMessage it takes what there is.
func (s *stream) cutMessage() (framed []byte, size int) {
	have := s.buf[s.start:s.end]
	if len(have) < 2 {
		return nil, 0
	}
	size = 2 + int(binary.BigEndian.Uint16(have))
	if len(have) < size && size <= 2+MaxMessage {
		return nil, 0
	}
	framed = have[:min(len(have), size)]
	s.start += len(framed)
	return framed, size
}

// answerOne appends the reply to msg to those to be sent, behind its length, or
// declines with false.
func (s *stream) answerOne(responder Responder, msg []byte) bool {
	at := len(s.out)
	out, verdict := responder.Append(append(s.out, 0, 0), msg, s.from)
	if verdict != Answered {
		s.out = out[:at]
		return false
	}
	binary.BigEndian.PutUint16(out[at:], uint16(len(out)-at-2))
	s.out = out
	s.queued++
	return true
}

// flush sends the replies.
func (s *stream) flush(r Responder) error {
	if len(s.out) == 0 {
		return nil
	}
	_, err := s.Write(s.out)
	lost := 0
	if err != nil {
		lost = s.queued // nobody knows how many of them have arrived
		s.lane.unsent.Add(uint64(lost))
	}
	s.queued = 0
	if cap(s.out) > 2*streamOut {
		s.out = nil // one large reply should not cost memory for as long as the connection is open
	}
	s.out = s.out[:0]
	r.Sent(time.Since(s.since), lost)
	return err
}

// Write implements net.Conn, with the write timeout: a dns.Server sets none. An
// error ends the connection, since nobody can tell where the next reply begins.
func (s *stream) Write(p []byte) (int, error) {
	if t := s.lane.cfg.WriteTimeout; t > 0 {
		s.SetWriteDeadline(time.Now().Add(t))
	}
	n, err := s.Conn.Write(p)
	if err != nil {
		s.Conn.Close()
	}
	return n, err
}

// read reads from the connection. Of a stream that ends, what has arrived is
// read although the deadline is over: on a busy host that says little about the
// client.
func (s *stream) read(p []byte) (int, error) {
	for {
		n, err := s.Conn.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !s.hasMore() {
			return n, err
		}
	}
}

// hasMore reports whether the stream ends and there is something to read, which
// it allows.
func (s *stream) hasMore() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.Conn.(syscall.Conn)
	return ok && time.Now().Before(s.until) && readable(c) && s.Conn.SetReadDeadline(s.until) == nil
}

// SetReadDeadline implements net.Conn. A deadline in the past, with which a
// dns.Server ends too, leaves the client the time to linger, as does every one
// from then on.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.until.IsZero() && t.Before(now) {
		s.until = now.Add(lingerMost)
	}
	if !s.until.IsZero() {
		if t = now.Add(linger); t.After(s.until) || s.queries.Load() == 0 {
			t = s.until
		}
	}
	return s.Conn.SetReadDeadline(t)
}

// Close implements net.Conn.
func (s *stream) Close() error {
	s.lane.streams.remove(s)
	return s.Conn.Close()
}
