package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// engine runs everything in one goroutine:
//
//  1. Send the queries that may be sent: in a closed loop where there is a free
//     slot, in an open loop those that are due.
//  2. Wait for replies, up to when the next query is due.
//  3. Match each reply to its query and check it.
//  4. Give up the queries that had timed out before the replies were read: what
//     is in a socket by then is in time, however long this program was held up.
type engine struct {
	config  *Config
	queries []*query
	nextUp  int // of queries
	sockets []*socket
	nextOut int // of sockets, in an open loop
	poller  *poller
	slots   *slots
	stop    atomic.Bool

	// All times are since zero.
	zero       time.Time
	begin, end time.Duration // of the measurement
	due        float64       // ns, when an open loop's next query is to be sent

	counts  Result
	rcodes  [16]uint64
	latency *hdrhistogram.Histogram // ns
}

// latencyLimit is the longest time that is told from longer ones: a query may
// have waited for room as long as for its answer.
func latencyLimit(c *Config) int64 { return 3 * int64(c.Timeout) }

func newEngine(c *Config) (e *engine, err error) {
	e = &engine{config: c, latency: hdrhistogram.New(1, latencyLimit(c), 3)}
	e.counts = Result{Proto: "udp", Mode: "closed", Rate: c.Rate, Sockets: c.Sockets, InFlight: c.InFlight}
	if c.TCP {
		e.counts.Proto = "tcp"
	}
	if c.Rate > 0 {
		e.counts.Mode = "open"
	}
	for _, question := range c.Questions {
		q, err := newQuery(question)
		if err != nil {
			return nil, err
		}
		e.queries = append(e.queries, q)
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
	// Timers of a thread may be 50 µs late otherwise, prctl(2).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("asking for exact timers: %w", err)
	}
	e.zero = time.Now()
	e.begin = e.config.Warmup
	e.end = e.begin + e.config.Duration
	for {
		now := e.now()
		if e.stop.Load() && now < e.end {
			e.end = max(now, e.begin)
			e.due = float64(e.end)
		}
		if e.config.Rate > 0 {
			e.sendDue(now)
		} else if now < e.end {
			for _, s := range e.sockets {
				e.fill(s)
			}
		}
		if now >= e.end && e.slots.inFlight == 0 && (e.config.Rate == 0 || e.due >= float64(e.end)) {
			return nil
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
	return min(max(time.Duration(e.due)-now, 0), tick)
}

// fill sends as many queries from a socket as there is room for.
func (e *engine) fill(s *socket) {
	for s.free >= 0 {
		e.send(s, e.now())
	}
}

// sendDue sends the queries of an open loop that are due, some at a time so
// that replies are read in between.
func (e *engine) sendDue(now time.Duration) {
	for range 64 {
		if e.due > float64(now) || e.due >= float64(e.end) {
			return
		}
		due := time.Duration(e.due)
		s := e.room()
		switch {
		case s != nil:
			e.send(s, due)
		case now-due <= e.config.Timeout:
			return
		case due >= e.begin: // has waited for room for longer than for an answer
			e.counts.Sent++
			e.counts.Lost++
		}
		e.due += float64(time.Second) / e.config.Rate
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

// send sends the next query from a socket with a free slot.
func (e *engine) send(s *socket, due time.Duration) {
	q := e.queries[e.nextUp]
	if e.nextUp++; e.nextUp == len(e.queries) {
		e.nextUp = 0
	}
	n := e.slots.take(s)
	slot := &e.slots.all[n]
	slot.query, slot.due, slot.measured = q, due, due >= e.begin
	slot.sent = e.now()
	binary.BigEndian.PutUint16(q.frame[frameID:], e.slots.id(n))
	s.send(q.frame)
	if slot.measured {
		e.counts.Sent++
	}
}

// reply takes a message that came in at a socket.
func (e *engine) reply(s *socket, message []byte) {
	if len(message) < headerLength || message[2]&response == 0 {
		e.counts.Unmatched++
		return
	}
	n, ok := e.slots.find(s, binary.BigEndian.Uint16(message))
	if !ok || !e.slots.all[n].query.isAnsweredBy(message) {
		e.counts.Unmatched++
		return
	}
	slot := &e.slots.all[n]
	if slot.measured {
		_ = e.latency.RecordValue(min(max(1, int64(e.now()-slot.due)), e.latency.HighestTrackableValue()))
		e.counts.Answered++
		e.rcodes[message[3]&15]++
		if message[2]&truncated != 0 {
			e.counts.Truncated++
		}
	}
	if wrong := slot.query.check(message); wrong != "" {
		e.counts.Wrong++
		if q := slot.query.question; e.counts.FirstWrong == "" {
			e.counts.FirstWrong = fmt.Sprintf("%s %s: %s", q.Name, dns.Type(q.Type), wrong)
		}
	}
	e.slots.release(n)
}

// expire gives up the queries in flight that have timed out.
func (e *engine) expire(now time.Duration) {
	for n := e.slots.head; n >= 0 && now-e.slots.all[n].sent > e.config.Timeout; n = e.slots.head {
		e.lose(n)
	}
}

func (e *engine) lose(n int32) {
	if e.slots.all[n].measured {
		e.counts.Lost++
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
		if e.slots.all[n].query != nil {
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
