package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"
	"syscall"
	"time"
)

// engine runs everything in one goroutine:
//
//  1. Begin the lookups that may begin: in a closed loop where there is a free
//     slot, in an open loop those that are due.
//  2. Wait for replies, up to when the next thing is due. An open loop polls
//     when that is soon: no timer wakes in microseconds.
//  3. Match each reply to its query, check it, and end its lookup or begin the
//     next step of its walk.
//  4. Give up lookups whose queries had timed out before the replies were read:
//     what is in a socket by then is in time, however long this program was
//     held up.
type engine struct {
	config  *Config
	lookups []lookup
	nextUp  int // of lookups
	sockets []*socket
	nextOut int // of sockets, in an open loop
	poller  *poller
	slots   *slots
	stop    atomic.Bool

	// All times are since zero.
	zero       time.Time
	begin, end time.Duration // of the measurement
	due        float64       // ns, when an open loop's next lookup is to begin
	progress   time.Duration // when to show it again

	counts  Result
	rcodes  [16]uint64
	latency histogram
}

func newEngine(c *Config, lookups []lookup) (e *engine, err error) {
	e = &engine{config: c, lookups: lookups}
	e.counts = Result{Proto: "udp", Mode: "closed", Rate: c.Rate, Sockets: c.Sockets, InFlight: c.InFlight}
	if c.TCP {
		e.counts.Proto = "tcp"
	}
	if c.Rate > 0 {
		e.counts.Mode = "open"
	}
	if e.poller, err = newPoller(); err != nil {
		return nil, err
	}
	for i := range c.Sockets {
		s := &socket{index: i, tcp: c.TCP, buffer: make([]byte, 2+2*65535)}
		if err = s.dial(c.Server, c.Timeout); err == nil {
			e.sockets = append(e.sockets, s)
			err = e.poller.watch(syscall.EPOLL_CTL_ADD, s, false)
		}
		if err != nil {
			e.close()
			return nil, err
		}
	}
	e.slots = newSlots(e.sockets, c.InFlight)
	if c.Random != "" {
		right := new([]byte)
		for i := range e.slots.all {
			q, err := randomQuery(c.Random, c.EDNS, right)
			if err != nil {
				e.close()
				return nil, err
			}
			e.slots.all[i].random = &lookup{steps: []step{{q, nil}}}
		}
	}
	return e, nil
}

func (e *engine) close() {
	for _, s := range e.sockets {
		syscall.Close(s.fd)
	}
	syscall.Close(e.poller.fd)
}

func (e *engine) now() time.Duration { return time.Since(e.zero) }

func (e *engine) run() error {
	e.zero = time.Now()
	e.begin = e.config.Warmup
	e.end = e.begin + e.config.Duration
	e.progress = time.Second
	for {
		now := e.now()
		if e.stop.Load() && now < e.end {
			e.end = max(now, e.begin)
			e.due = float64(e.end)
		}
		if e.config.Rate > 0 {
			e.beginDue(now)
		} else if now < e.end {
			for _, s := range e.sockets {
				e.fill(s)
			}
		}
		if now >= e.end && e.slots.inFlight == 0 && (e.config.Rate == 0 || e.due >= float64(e.end)) {
			return nil
		}
		if now >= e.progress {
			e.progress = now + time.Second
			if e.config.Progress != nil {
				e.config.Progress(e.result())
			}
		}
		for _, s := range e.sockets {
			if err := e.flush(s); err != nil {
				return err
			}
		}
		events, err := e.poller.wait(e.patience(now))
		if err != nil {
			return err
		}
		for _, event := range events {
			s := e.sockets[event.Fd]
			if err := e.receive(s); err != nil {
				return err
			}
			if e.config.Rate == 0 && now < e.end {
				// At once: the server must not run dry while replies are read.
				e.fill(s)
				if err := e.flush(s); err != nil {
					return err
				}
			}
		}
		e.expire(now)
	}
}

// patience is how long to wait for replies.
func (e *engine) patience(now time.Duration) time.Duration {
	const tick = 10 * time.Millisecond // the precision of timeouts
	if e.config.Rate == 0 || e.due >= float64(e.end) {
		return tick
	}
	return min(max(time.Duration(e.due)-now-time.Millisecond, 0), tick)
}

// fill begins as many lookups at a socket as there is room for.
func (e *engine) fill(s *socket) {
	for s.free >= 0 {
		e.start(s, e.next(), e.now())
	}
}

// beginDue begins lookups of an open loop, some at a time so that replies are
// read in between.
func (e *engine) beginDue(now time.Duration) {
	for range 64 {
		if e.due > float64(now) || e.due >= float64(e.end) {
			return
		}
		due := time.Duration(e.due)
		s := e.room()
		if s == nil && now-due <= e.config.Timeout {
			return
		}
		l := e.next()
		queries := 1
		if s != nil {
			queries = e.start(s, l, due)
		} else if due >= e.begin { // has waited for room for longer than for an answer
			e.counts.Sent++
			e.counts.Lost++
		}
		if e.config.Walk {
			queries = 1
		}
		e.due += float64(queries) * float64(time.Second) / e.config.Rate
	}
}

// room returns the next socket with a free slot, nil if there is none.
func (e *engine) room() *socket {
	for range e.sockets {
		s := e.sockets[e.nextOut]
		e.nextOut = (e.nextOut + 1) % len(e.sockets)
		if s.free >= 0 {
			return s
		}
	}
	return nil
}

// next returns the lookup whose turn it is, nil for a random one.
func (e *engine) next() *lookup {
	if e.config.Random != "" {
		return nil
	}
	l := &e.lookups[e.nextUp]
	if e.nextUp++; e.nextUp == len(e.lookups) {
		e.nextUp = 0
	}
	return l
}

// start begins a lookup at a socket with a free slot. It returns the number of
// queries sent.
func (e *engine) start(s *socket, l *lookup, begun time.Duration) int {
	n := e.slots.take(s)
	slot := &e.slots.all[n]
	if l == nil {
		l = slot.random
		l.steps[0][0].randomize()
	}
	slot.lookup, slot.step, slot.begun = l, 0, begun
	slot.measured = begun >= e.begin
	return e.send(n)
}

// send sends the queries of a slot's step.
func (e *engine) send(n int32) (sent int) {
	slot := &e.slots.all[n]
	slot.pending, slot.answered, slot.found = 0, 0, false
	slot.sent = e.now()
	for i, q := range slot.lookup.steps[slot.step] {
		if q == nil {
			break
		}
		slot.pending |= 1 << i
		binary.BigEndian.PutUint16(q.frame[frameID:], e.slots.id(n, i))
		slot.sock.send(q.frame)
		sent++
	}
	if slot.measured {
		e.counts.Sent += uint64(sent)
	}
	return sent
}

// expire gives up the lookups in flight that have timed out.
func (e *engine) expire(now time.Duration) {
	for n := e.slots.head; n >= 0 && now-e.slots.all[n].sent > e.config.Timeout; n = e.slots.head {
		e.lose(n)
	}
}

func (e *engine) lose(n int32) {
	if slot := &e.slots.all[n]; slot.measured {
		e.counts.Lost += uint64(bits.OnesCount8(slot.pending))
	}
	e.slots.release(n)
}

// flush sends what waits in a socket, and has the poller tell when the rest can
// be sent.
func (e *engine) flush(s *socket) error {
	if left := s.flush(); left != s.watching {
		return e.poller.watch(syscall.EPOLL_CTL_MOD, s, left)
	}
	return nil
}

func (e *engine) receive(s *socket) error {
	err := s.receive(func(message []byte) { e.reply(s, message) })
	if !errors.Is(err, io.EOF) {
		return err
	}
	for n := s.first; n < s.first+int32(e.config.InFlight); n++ {
		if e.slots.all[n].pending != 0 {
			e.lose(n)
		}
	}
	syscall.Close(s.fd)
	e.counts.Reconnects++
	if err := s.dial(e.config.Server, e.config.Timeout); err != nil {
		s.fd = -1
		return fmt.Errorf("after the server closed a connection: %w", err)
	}
	return e.poller.watch(syscall.EPOLL_CTL_ADD, s, false)
}
