package lanes

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/responder"
)

// lane is a *fastlane.Lane.
type lane interface {
	Config() fastlane.Config
	Swap(*fastlane.Program)
	Moved() bool
	Steer()
	Shifted()
	Close(context.Context)
	Stats() fastlane.Stats
}

// keeper keeps the process's lanes. All that it knows belongs to one goroutine,
// which takes one event after the other:
//
//  1. An event changes what is to be: a server has arrived, an instance is
//     gone, a lane has closed.
//  2. At every address next says what to do about it, until there is nothing.
//  3. The lanes as they are now are published for the metrics, which wait for
//     nobody.
//  4. Those who wait for a condition are woken if it holds.
//
// Nothing that the goroutine does takes long: lanes close in goroutines of their
// own, whose end is an event. A panic costs the event in which it happened.
// Whoever waits does so for a bounded time.
type keeper struct {
	events chan event
	ended  chan struct{} // closed in tests, which begin with another
	shown  atomic.Pointer[[]State]
	counts sync.Map // address to *responder.Counts, for the life of the process

	// openLane opens lanes: fastlane.Open, or a test's own.
	openLane func(fastlane.Config, fastlane.Options, *fastlane.Program) (lane, error)

	// Of the goroutine.
	at      map[string]*address
	running []*instance // oldest first
	started int         // instances so far
	waiting []waiter
}

type event struct {
	do   func()
	done chan struct{} // closed when its consequences are there
}

type waiter struct {
	holds func() bool
	woken chan struct{}
}

// address is the lane at an address, or its lack.
type address struct {
	addr     string
	instance *instance // whose server has arrived here last; nil: it is gone
	plan     planned   // of that instance
	have     have
	lane     lane // when it is open
	mirror   mirror
	openedAt time.Time
	moved    bool      // see want
	failures int       // of lanes there, one after the other
	notAgain time.Time // until then
	failure  string    // that was logged last
	stalled  uint64    // lanes that the watchdog closed
}

// planned is what an instance wants at an address.
type planned struct {
	program *fastlane.Program
	config  *fastlane.Config // nil: no lane
	why     string           // there is to be none
	// mirror has the kernel answer in front of an open lane, after the mirror
	// before is gone, which may be nil. Nil: that is not wished for.
	mirror func(before mirror) (mirror, error)
}

func newKeeper(openLane func(fastlane.Config, fastlane.Options, *fastlane.Program) (lane, error)) *keeper {
	k := &keeper{events: make(chan event), ended: make(chan struct{}), openLane: openLane, at: map[string]*address{}}
	k.shown.Store(new([]State))
	go func() {
		for {
			select {
			case e := <-k.events:
				k.take(e)
			case <-k.ended:
				return
			}
		}
	}()
	return k
}

// Times: laneTimeout bounds how long a reload or the end of the process waits
// for what is under way, as long as CoreDNS's servers do. Servers that have been
// started arrive at once, or not at all, which arrivalTimeout allows for: where
// another plugin has put its own hook in the place of ours. A lane that failed
// is tried again after retryAfter, and then after twice as long each time.
// Other processes' sockets are looked for every watchEvery, and every sharedEvery
// where a lane waits for them to go. CoreDNS says when a reload is over, but to nobody if another plugin fails to
// shut down: settleTimeout is longer than it takes to stop servers.
const (
	laneTimeout    = 5 * time.Second
	arrivalTimeout = time.Second
	retryAfter     = 2 * time.Second
	retryAtMost    = 5 * time.Minute
	watchEvery     = 10 * time.Second
	sharedEvery    = time.Second
	settleTimeout  = 30 * time.Second
)

// take has an event happen, with all that follows from it.
func (k *keeper) take(e event) {
	guard("an event", e.do)
	for _, addr := range slices.Sorted(maps.Keys(k.at)) {
		at := k.at[addr]
		if !guard("the lane at "+addr, func() { k.follow(at) }) {
			k.failed(at, errors.New("the lane's keeper has panicked"))
		}
	}
	k.publish()
	k.waiting = slices.DeleteFunc(k.waiting, func(w waiter) bool {
		holds := true
		guard("a wait", func() { holds = w.holds() })
		if holds {
			close(w.woken)
		}
		return holds
	})
	if e.done != nil {
		close(e.done)
	}
}

// guard calls f and reports whether it returned. A panic is logged.
func guard(what string, f func()) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			log.Errorf("Fast lane: panic at %s: %v", what, r)
		}
	}()
	f()
	return true
}

// post has f happen, some time.
func (k *keeper) post(f func()) {
	go func() {
		select {
		case k.events <- event{do: f}:
		case <-k.ended:
		}
	}()
}

// do has f happen and returns when all that follows from it has, but for lanes
// that take time to close.
func (k *keeper) do(f func()) { k.await(laneTimeout, f, nil) }

// await has f happen, and waits until holds does, which is asked after every
// event. It gives up after timeout, and reports whether it did not have to.
func (k *keeper) await(timeout time.Duration, f func(), holds func() bool) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	done := make(chan struct{})
	e := event{do: f, done: done}
	if holds != nil {
		e = event{do: func() {
			f()
			k.waiting = append(k.waiting, waiter{holds, done})
		}}
	}
	select {
	case k.events <- e:
	case <-timer.C:
		log.Errorf("Fast lane: its keeper has been busy for %v", timeout)
		return false
	}
	select {
	case <-done:
		return true
	case <-timer.C:
		if holds != nil {
			k.post(func() {
				k.waiting = slices.DeleteFunc(k.waiting, func(w waiter) bool { return w.woken == done })
			})
		}
		return false
	}
}

// countsAt returns the counts of an address.
func (k *keeper) countsAt(addr string) *responder.Counts {
	counts, _ := k.counts.LoadOrStore(addr, new(responder.Counts))
	return counts.(*responder.Counts)
}

// address returns what there is at addr.
func (k *keeper) address(addr string) *address {
	at := k.at[addr]
	if at == nil {
		at = &address{addr: addr}
		k.at[addr] = at
	}
	return at
}

// want returns what there is to be at at.
func (at *address) want() want {
	inst := at.instance
	if inst == nil {
		return want{}
	}
	w := want{
		program: at.plan.program, config: at.plan.config, moved: at.moved,
		settled: inst.sockets != nil && !inst.leaving, tooSoon: time.Now().Before(at.notAgain),
	}
	if w.config != nil && w.settled {
		config := *w.config
		config.Others = inst.sockets[at.addr]
		w.config = &config
	}
	return w
}

// follow does at at what next says, until there is nothing to do.
func (k *keeper) follow(at *address) {
	for {
		w := at.want()
		switch next(at.have, w) {
		case rest:
			return
		case swap:
			k.unmirror(at)
			at.lane.Swap(w.program)
			at.have.program = w.program
			k.mirror(at)
		case shutDown:
			if at.moved || w.settled && at.have.config.Others != at.instance.sockets[at.addr] {
				at.lane.Shifted()
			}
			k.close(at)
		case openUp:
			k.open(at, w)
		}
	}
}

// open opens the lane at at.
func (k *keeper) open(at *address, w want) {
	var opened lane
	opened, err := k.openLane(*w.config, fastlane.Options{
		Log: func(err error) { log.Errorf("Fast lane at %s: %v", at.addr, err) },
		Stalled: func() {
			k.post(func() { k.stalled(at, opened) })
		},
	}, w.program)
	if errors.Is(err, errors.ErrUnsupported) {
		at.plan.config, at.plan.why = nil, err.Error()
		log.Warningf("No fast lane at %s: %v", at.addr, err)
		return
	}
	if err != nil {
		k.failed(at, err)
		return
	}
	at.lane, at.have = opened, have{phase: open, program: w.program, config: *w.config}
	at.openedAt, at.moved, at.failure = time.Now(), false, ""
	log.Infof("Fast lane at %s open, with %d workers", at.addr, w.config.Workers)
	k.mirror(at)
	k.watch(at, opened)
}

// watch looks, while l is open, whether its sockets are where the kernel was
// told that they are, and tells it again: it may have been told otherwise.
func (k *keeper) watch(at *address, l lane) {
	time.AfterFunc(watchEvery, func() {
		moved := l.Moved() // which may take a while
		if !moved {
			l.Steer()
		}
		k.post(func() {
			if at.lane == l {
				at.moved = moved
				k.watch(at, l)
			}
		})
	})
}

// close begins to close the lane at at.
func (k *keeper) close(at *address) {
	k.unmirror(at)
	l := at.lane
	at.lane, at.have = nil, have{phase: closing}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), laneTimeout)
		defer cancel()
		guard("closing the lane at "+at.addr, func() { l.Close(ctx) })
		log.Infof("Fast lane at %s closed", at.addr)
		k.post(func() { at.have = have{} })
	}()
}

// stalled is told when l has closed itself.
func (k *keeper) stalled(at *address, l lane) {
	at.stalled++
	if at.lane != l {
		return // it was closing, and another is not to pay for it
	}
	k.unmirror(at)
	if time.Since(at.openedAt) > retryAtMost {
		at.failures = 0
	}
	at.lane, at.have = nil, have{}
	k.failed(at, errors.New("it stalled, and the plugin chain answers"))
}

// failed has the lane at at tried again after a while.
func (k *keeper) failed(at *address, err error) {
	wait := min(retryAfter<<min(at.failures, 16), retryAtMost)
	if errors.Is(err, errShared) {
		wait = sharedEvery
	} else {
		at.failures++
	}
	at.notAgain = time.Now().Add(wait)
	time.AfterFunc(wait, func() { k.post(func() {}) })
	if text := err.Error(); text != at.failure {
		at.failure = text
		log.Warningf("No fast lane at %s, and another try in %v: %v", at.addr, wait, err)
	}
}

// State is the lane at an address, or its lack.
type State struct {
	Addr    string // as CoreDNS's server has it, :53 say
	Open    bool
	Why     string            // there is to be none
	Counts  *responder.Counts // of the process's life
	Stalled uint64            // lanes that closed themselves
	lane    lane
	mirror  mirror // nil: the kernel is not to answer
}

// Kernel returns whether the kernel answers in front of the lane, with how many
// names that it knows, and whether it is to.
func (s *State) Kernel() (open bool, names int, wanted bool) {
	if s.mirror == nil {
		return false, 0, false
	}
	open, names = s.mirror.State()
	return open, names, true
}

// NotServed is why there is no lane at an address that a Corefile before had.
const NotServed = "no stanza is served there"

// States returns the process's lanes, by their addresses. It waits for nobody.
func States() []State { return *theKeeper().shown.Load() }

// publish shows the lanes as they are.
func (k *keeper) publish() {
	var states []State
	for _, addr := range slices.Sorted(maps.Keys(k.at)) {
		at := k.at[addr]
		s := State{Addr: addr, Open: at.have.phase == open, Counts: k.countsAt(addr), Stalled: at.stalled, lane: at.lane, mirror: at.mirror}
		switch {
		case at.instance == nil:
			s.Why = NotServed
		case at.plan.config == nil:
			s.Why = at.plan.why
		case !s.Open:
			s.Why = at.failure
		}
		states = append(states, s)
	}
	k.shown.Store(&states)
}
