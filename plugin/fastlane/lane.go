package fastlane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Config is what stays the same for the life of a Lane.
type Config struct {
	// Addr is the host and port at which CoreDNS listens.
	Addr string
	// Others is how many sockets CoreDNS has there for UDP, and as many for
	// TCP: more than one with its plugin multisocket.
	Others int
	// Workers is how many goroutines receive datagrams.
	Workers int
	// The limits of CoreDNS's server for TCP connections. A MaxTCPQueries below
	// 1 is no limit.
	ReadTimeout, WriteTimeout time.Duration
	MaxTCPQueries             int
	// MaxPassed is how many datagrams with the verdict Forward may be with the
	// chain at once, and how many messages over TCP; of Local and Alias it is a
	// quarter. A datagram more is dropped, a TCP connection waits. Below 1 it is
	// DefaultMaxPassed.
	MaxPassed int
}

// Options are what a Lane is opened with besides its Config.
type Options struct {
	// Log is called for what an operator should know, by any goroutine.
	Log func(error)
	// Stalled is called, once, when the lane has closed itself because a worker
	// stopped answering.
	Stalled func()

	tick time.Duration // of the watchdog, unless 0, for tests
}

// Lane receives what is sent to one address, for UDP and TCP. See Open.
type Lane struct {
	cfg     laneConfig
	before  []string // inodes of the UDP sockets that were there first
	sockets *sockets
	workers []*worker
	tcp     []*dns.Server // one for each listener
	program atomic.Pointer[Program]

	streams  streams
	steering sync.Mutex               // of sockets; once the lane closes nobody steers to it
	accepts  [listeners]atomic.Uint64 // times that a listener's goroutine came by
	passed   *passed
	panics   atomic.Uint64
	errors   atomic.Uint64
	unsent   atomic.Uint64
	closed   chan struct{}
	closeOne sync.Once
	tcpEnded sync.WaitGroup // the listeners and all streams
}

type laneConfig struct {
	Config
	Options
}

// Open opens a lane for p at cfg.Addr, in front of the sockets that CoreDNS has
// there, and has the kernel steer everything to it.
func Open(cfg Config, opt Options, p *Program) (*Lane, error) {
	if opt.tick == 0 {
		opt.tick = watchTick
	}
	before, err := udpMembers(cfg.Addr)
	if err != nil {
		return nil, err
	}
	s, err := openSockets(cfg.Addr, cfg.Others, cfg.Workers)
	if err != nil {
		return nil, err
	}
	l := &Lane{
		cfg: laneConfig{cfg, opt}, before: before, sockets: s, passed: newPassed(cfg.MaxPassed),
		closed: make(chan struct{}),
	}
	l.program.Store(p)
	for _, c := range s.UDP {
		l.workers = append(l.workers, l.newWorker(c))
	}
	addProcs(len(l.workers))
	for i, tcp := range s.TCP {
		l.tcp = append(l.tcp, &dns.Server{
			Listener: listener{tcp, l, &l.accepts[i]}, Net: "tcp", Handler: l.passed.streamed(l.serveDNS),
			TsigSecret:    map[string]string{},
			MaxTCPQueries: -1, // streams count, also what the dns.Server does not see
			ReadTimeout:   cfg.ReadTimeout, WriteTimeout: cfg.WriteTimeout,
			IdleTimeout: func() time.Duration { return l.program.Load().IdleTimeout },
		})
	}
	l.tcpEnded.Add(len(l.tcp))
	var started sync.WaitGroup
	for _, server := range l.servers() {
		started.Add(1)
		server.NotifyStartedFunc = started.Done
		go func() {
			if err := server.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
				l.report(fmt.Errorf("serving: %w", err))
			}
			if server.Listener != nil {
				l.tcpEnded.Done()
			}
		}()
	}
	started.Wait()
	if err := s.Steer(); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), watchTick)
		defer cancel()
		l.Close(ctx) // the sockets have been members of CoreDNS's groups for a moment
		return nil, err
	}
	go l.watch()
	return l, nil
}

func (l *Lane) servers() []*dns.Server {
	all := slices.Clone(l.tcp)
	for _, w := range l.workers {
		all = append(all, w.server)
	}
	return all
}

// Config returns what l was opened with.
func (l *Lane) Config() Config { return l.cfg.Config }

// Program returns the Program that l works for.
func (l *Lane) Program() *Program { return l.program.Load() }

// Swap has l work for p from the next batch on. Workers that wait for one are
// woken, to let go of the Program before.
func (l *Lane) Swap(p *Program) {
	l.program.Store(p)
	for _, w := range l.workers {
		w.wake()
	}
}

// steerGrace is longer than the kernel takes to go by a new program everywhere,
// and than most clients take to complete a TCP handshake.
const steerGrace = 50 * time.Millisecond

// Close ends the lane without losing what has been sent to it:
//
//  1. The kernel is told to steer to CoreDNS's sockets, or to those of the
//     process that is there to take over: see handOver.
//  2. The workers empty their sockets, as does the listener.
//  3. Everything that is under way in the chain gets its reply, and streams
//     go on until their clients pause.
//
// When ctx is done it goes on without waiting.
func (l *Lane) Close(ctx context.Context) {
	l.closeOne.Do(func() {
		close(l.closed)
		l.steering.Lock()
		taken, err := l.handOver(ctx)
		if !taken {
			err = errors.Join(err, l.sockets.SteerAway())
		}
		l.steering.Unlock()
		if err != nil {
			l.report(err) // the sockets' closing will do it, with what is in them lost
		}
		pause(ctx, steerGrace) // what is on its way to us nevertheless, see SteerAway
		var down sync.WaitGroup
		for _, w := range l.workers {
			down.Go(func() {
				w.drain(ctx)
				w.server.ShutdownContext(ctx)
			})
		}
		down.Go(func() {
			for _, tcp := range l.sockets.TCP {
				accepted(ctx, tcp)
				tcp.Close()
			}
			// Once it is shut down a dns.Server closes each connection after the
			// next message, whatever has been sent behind it. So it is the last to
			// know.
			l.streams.end()
			ended := make(chan struct{})
			go func() {
				l.tcpEnded.Wait()
				close(ended)
			}()
			select {
			case <-ended:
			case <-ctx.Done():
			}
			for _, server := range l.tcp {
				server.ShutdownContext(ctx)
			}
		})
		down.Wait()
		l.sockets.Close() // for the servers that never came up, or not down
		addProcs(-len(l.workers))
	})
}

// accepted waits until the connections that wait at tcp have been accepted.
func accepted(ctx context.Context, tcp *net.TCPListener) {
	for readable(tcp) && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

// Watching: a goroutine that has datagrams or connections waiting and has not
// come by to receive them for stallTicks ticks will not do so anymore. CPUs that
// are too busy to run it for that long would not run the chain's either.
const (
	watchTick  = time.Second
	stallTicks = 3
)

// watched is a goroutine that receives.
type watched struct {
	what    string
	waiting func() bool    // there is something to receive
	turns   *atomic.Uint64 // times that it came by
	seen    uint64         // turns at the last tick
	strikes int            // ticks since
}

func (l *Lane) watched() (all []*watched) {
	for i, w := range l.workers {
		all = append(all, &watched{what: fmt.Sprintf("worker %d", i), turns: &w.turns, waiting: func() bool {
			n, err := w.conn.Pending()
			return err == nil && n > 0
		}})
	}
	for i, tcp := range l.sockets.TCP {
		all = append(all, &watched{what: fmt.Sprintf("listener %d", i), turns: &l.accepts[i], waiting: func() bool { return readable(tcp) }})
	}
	return all
}

// stalled is called at each tick.
func (w *watched) stalled() bool {
	if now := w.turns.Load(); !w.waiting() || now != w.seen {
		w.seen, w.strikes = now, 0
		return false
	}
	w.strikes++
	return w.strikes >= stallTicks
}

// watch closes the lane if one of its goroutines stops receiving: CoreDNS's own
// sockets are still there, and its chain answers all that the lane does.
func (l *Lane) watch() {
	tick := time.NewTicker(l.cfg.tick)
	defer tick.Stop()
	all := l.watched()
	for {
		select {
		case <-l.closed:
			return
		case <-tick.C:
		}
		for _, w := range all {
			if !w.stalled() {
				continue
			}
			l.report(fmt.Errorf("%s has not received for %v while others wait for it", w.what, stallTicks*l.cfg.tick))
			// Time for the other workers, which may have datagrams waiting too.
			ctx, cancel := context.WithTimeout(context.Background(), l.cfg.tick)
			l.Close(ctx)
			cancel()
			l.cfg.Stalled()
			return
		}
	}
}

// report counts an error, and logs it unless there are many.
func (l *Lane) report(err error) {
	if n := l.errors.Add(1); n&(n-1) == 0 { // 1, 2, 4, 8 …
		l.cfg.Log(err)
	}
}

// Stats are a lane's counters.
type Stats struct {
	Sockets int    // for UDP
	Streams int    // open TCP connections
	Panics  uint64 // messages lost to a panic
	Errors  uint64 // of receiving and sending
	Unsent  uint64 // replies of Responders that could not be sent
	Passed  int    // messages that are with the chain
	Dropped uint64 // datagrams that were not passed on, because too many were
	// Overflow is how many datagrams the kernel has dropped before anybody saw
	// them, by the queue that they were for. See queues.
	Overflow []uint64
	// Batches are the numbers of batches received, by the logarithm to base 2
	// of their size, rounded down, and Datagrams is how many were in them.
	Batches   []uint64
	Datagrams uint64
}

// Stats returns l's counters.
func (l *Lane) Stats() Stats {
	s := Stats{
		Sockets: len(l.workers) * queues, Streams: l.streams.len(),
		Panics: l.panics.Load(), Errors: l.errors.Load(), Unsent: l.unsent.Load(),
		Passed: l.passed.len(), Dropped: l.passed.dropped.Load(),
		Overflow: make([]uint64, queues),
		Batches:  make([]uint64, len(l.workers[0].received)),
	}
	for _, w := range l.workers {
		drops, _ := w.conn.Drops() // of a lane that has closed there are none to be had
		for q, n := range drops {
			s.Overflow[q] += uint64(n)
		}
		s.Datagrams += w.datagrams.Load()
		for i := range w.received {
			s.Batches[i] += w.received[i].Load()
		}
	}
	return s
}

// Shifted tells l, before its Close, that CoreDNS has opened or closed sockets
// since l was opened. Indices have moved then, into the lane's own sockets too:
// all that is known is that CoreDNS keeps its first socket, which has index 0.
func (l *Lane) Shifted() {
	l.steering.Lock()
	defer l.steering.Unlock()
	l.sockets.others, l.sockets.shifted = 1, true
}
