package lanes

import (
	"context"
	"errors"
	"fmt"
	"io"
	golog "log"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/clusterdns/clusterdns/plugin/fastlane"
)

// model is CoreDNS as the lanes see it: instances that start, arrive, stop and
// fail in every order that caddy has, and lanes that close when they like. Time
// is that of a synctest bubble.
type model struct {
	*testing.T
	*rand.Rand
	k *keeper

	mu        sync.Mutex
	sockets   map[string]int // of CoreDNS's
	steady    bool           // CoreDNS opens and closes none now
	lanes     map[*fakeLane]bool
	owners    map[*fastlane.Program]*loaded
	stalledAt map[*fastlane.Program]time.Time
	failing   atomic.Bool // lanes fail to open now and then
	shared    atomic.Bool // another process is at every address
	opened    int
	stalls    int
	orphaned  int        // starts that nobody was told of
	chances   *rand.Rand // of mirrors
	mirrors   map[*fakeMirror]bool
	mirrored  int // mirrors made
}

func newModel(t *testing.T, r *rand.Rand) *model {
	m := &model{T: t, Rand: r, lanes: map[*fakeLane]bool{}, stalledAt: map[*fastlane.Program]time.Time{}, owners: map[*fastlane.Program]*loaded{},
		chances: rand.New(rand.NewPCG(1, 3)), mirrors: map[*fakeMirror]bool{}}
	m.k = newKeeper(m.open)
	return m
}

// loaded is a Corefile that CoreDNS has loaded.
type loaded struct {
	name  string
	inst  *instance // nil: without a stanza of ours
	alive atomic.Bool
	wants map[string]spec // by address
}

type spec struct {
	sockets int
	workers int // 0: no lane
	arrives bool
	kernel  bool // a mirror, if there is a lane
}

var modelAddrs = []string{":53", ":5353", "127.0.0.1:53"}

// fakeLane is a lane that only knows what it is.
type fakeLane struct {
	m       *model
	cfg     fastlane.Config
	opt     fastlane.Options
	mu      sync.Mutex
	program *fastlane.Program
	stalled bool
	gone    atomic.Bool // somebody whose sockets were there first
	shifted atomic.Bool
	steers  atomic.Int32
	closing bool // by the keeper
}

func (l *fakeLane) Config() fastlane.Config { return l.cfg }
func (l *fakeLane) Moved() bool             { return l.gone.Load() }
func (l *fakeLane) Steer()                  { l.steers.Add(1) }
func (l *fakeLane) Shifted()                { l.shifted.Store(true) }
func (l *fakeLane) Stats() fastlane.Stats   { return fastlane.Stats{} }
func (l *fakeLane) Swap(p *fastlane.Program) {
	l.m.mu.Lock()
	l.m.noMirror(l.cfg.Addr, "its lane works for another program")
	l.m.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.program = p
}

func (l *fakeLane) Close(ctx context.Context) {
	l.m.mu.Lock()
	l.m.noMirror(l.cfg.Addr, "its lane closes")
	l.closing = true
	l.m.mu.Unlock()
	l.drain(ctx)
}

func (l *fakeLane) drain(ctx context.Context) {
	select {
	case <-time.After(l.m.duration(6 * time.Second)):
	case <-ctx.Done():
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.lanes, l)
}

func (m *model) duration(most time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Duration(m.Int64N(int64(most)))
}

// chance is true n times of 100.
func (m *model) chance(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.IntN(100) < n
}

func (m *model) open(cfg fastlane.Config, opt fastlane.Options, p *fastlane.Program) (lane, error) {
	if m.shared.Load() {
		return nil, errShared
	}
	if m.failing.Load() && m.chance(20) {
		if m.chance(20) {
			panic("a fault in opening")
		}
		return nil, errors.New("no room for sockets")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.lanes {
		if l.cfg.Addr == cfg.Addr {
			m.Errorf("a second lane at %s", cfg.Addr)
		}
	}
	if !m.steady {
		m.Errorf("a lane opens at %s while CoreDNS opens and closes sockets", cfg.Addr)
	}
	if cfg.Others != m.sockets[cfg.Addr] {
		return nil, fmt.Errorf("%d sockets, not %d", m.sockets[cfg.Addr], cfg.Others)
	}
	if !m.owners[p].alive.Load() {
		m.Errorf("a lane opens at %s for %s, which is gone", cfg.Addr, m.owners[p].name)
	}
	if ago := time.Since(m.stalledAt[p]); ago < retryAfter {
		m.Errorf("a lane that stalled %v ago is open again", ago)
	}
	l := &fakeLane{m: m, cfg: cfg, opt: opt, program: p}
	m.lanes[l] = true
	m.opened++
	return l, nil
}

// bind has CoreDNS have the sockets of these Corefiles.
func (m *model) bind(steady bool, all ...*loaded) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steady = steady
	m.sockets = map[string]int{}
	for _, c := range all {
		if c == nil {
			continue
		}
		for addr, s := range c.wants {
			m.sockets[addr] = max(m.sockets[addr], s.sockets)
		}
	}
}

// corefile makes up a Corefile.
func (m *model) corefile(name string) *loaded {
	c := &loaded{name: name, wants: map[string]spec{}}
	if m.chance(10) {
		return c
	}
	for _, addr := range modelAddrs {
		if m.chance(30) {
			continue
		}
		m.mu.Lock()
		s := spec{sockets: 1 + m.IntN(2), workers: m.IntN(3), arrives: m.IntN(100) < 95, kernel: m.chances.IntN(2) == 0}
		m.mu.Unlock()
		c.wants[addr] = s
	}
	c.inst = newInstance(m.k)
	c.inst.alive = func() bool { return c.alive.Load() }
	c.inst.count = func(addr string) int { return c.wants[addr].sockets }
	return c
}

// serve has the servers of c arrive.
func (m *model) serve(c *loaded) {
	if c.inst == nil {
		return
	}
	for addr, s := range c.wants {
		if !s.arrives {
			continue
		}
		plan := planned{program: new(fastlane.Program), why: "it is not wanted"}
		if s.workers > 0 {
			plan.config = &fastlane.Config{Addr: addr, Workers: s.workers}
			if s.kernel {
				plan.mirror = m.mirrorOf(addr, plan.program)
			}
		}
		m.mu.Lock()
		m.owners[plan.program] = c
		m.mu.Unlock()
		go func() {
			if m.chance(10) {
				time.Sleep(m.duration(20 * time.Second)) // perhaps it is gone by then
			}
			time.Sleep(m.duration(arrivalTimeout * 9 / 10))
			c.inst.arrive(addr, plan)
			if s.sockets > 1 {
				c.inst.arrive(addr, plan) // that of the second socket
			}
		}()
	}
}

// start is caddy.Start, and Instance.Restart of old. It returns the instance
// that runs, and the one that a further reload is of.
func (m *model) start(old *loaded, handle *loaded, name string) (running, next *loaded) {
	c := m.corefile(name)
	ours := handle != nil && handle.inst != nil
	fail := func() {
		if ours && handle.inst.restartFailed() {
			old.settle() // as Register has it, all that CoreDNS has
		}
	}
	if ours {
		handle.inst.restart()
	}
	if handle != nil && (handle != old || m.chance(15)) { // a fault in Setup; or handle's sockets have been closed
		fail()
		return old, handle
	}
	c.alive.Store(true)
	if c.inst != nil {
		c.inst.starts(slices.Collect(maps.Keys(c.wants)))
	}
	if handle != nil && m.chance(10) { // another plugin's OnStartup
		c.alive.Store(false)
		fail()
		return old, handle
	}
	m.bind(old == nil, old, c)
	m.serve(c)
	if old == nil {
		c.settle()
		return c, c
	}
	time.Sleep(m.duration(6 * time.Second))
	old.alive.Store(false)
	m.bind(true, c)
	switch {
	case m.chance(10): // another plugin's OnShutdown, before ours
		if ours {
			if handle.inst.restartFailed() {
				c.settle()
			}
		} else {
			m.orphaned++
		}
		return c, old
	case ours:
		handle.inst.leave()
	}
	if m.chance(5) { // after ours
		if ours && handle.inst.restartFailed() {
			c.settle()
		}
		return c, old
	}
	c.settle()
	return c, c
}

func (c *loaded) settle() {
	if c.inst != nil {
		c.inst.settle()
	}
}

// check holds what must be true at any time, and at rest.
func (m *model) check(running *loaded, atRest bool) {
	m.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	at := map[string]*fakeLane{}
	for l := range m.lanes {
		l.mu.Lock()
		if owner := m.owners[l.program]; atRest && owner != running {
			m.Errorf("the lane at %s works for %s, and %s runs", l.cfg.Addr, owner.name, running.name)
		}
		l.mu.Unlock()
		at[l.cfg.Addr] = l
	}
	if !atRest {
		return
	}
	open := map[string]bool{}
	for _, s := range *m.k.shown.Load() {
		open[s.Addr] = s.Open
		if s.Open != (at[s.Addr] != nil) || s.Open && s.lane != lane(at[s.Addr]) {
			m.Errorf("the metrics have a lane at %s: %v; there is one: %v", s.Addr, s.Open, at[s.Addr] != nil)
		}
		if !s.Open && s.Why == "" {
			m.Errorf("no lane at %s, and nobody says why", s.Addr)
		}
	}
	for _, addr := range modelAddrs {
		s := running.wants[addr]
		wanted := running.inst != nil && s.workers > 0 && s.arrives
		switch l := at[addr]; {
		case wanted != (l != nil):
			m.Errorf("%s: a lane at %s is wanted: %v; there is one: %v", running.name, addr, wanted, l != nil)
		case m.mirrorAt(addr) != nil && !(wanted && s.kernel):
			m.Errorf("%s: a mirror at %s that is not wanted", running.name, addr)
		case m.mirrorAt(addr) != nil && m.mirrorAt(addr).program != l.program:
			m.Errorf("%s: the mirror at %s is of another plan than the lane", running.name, addr)
		case l != nil && l.gone.Load():
			m.Errorf("the lane at %s is not where the kernel steers to", addr)
		case l != nil && (l.cfg.Workers != s.workers || l.cfg.Others != m.sockets[addr]):
			m.Errorf("%s: the lane at %s is %+v, want %+v", running.name, addr, l.cfg, s)
		}
	}
}

// move has sockets that stood before one of the lanes' go.
func (m *model) move() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.lanes {
		l.gone.Store(true)
		return
	}
}

// stall has one of the lanes close itself.
func (m *model) stall() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for l := range m.lanes {
		if l.stalled {
			continue
		}
		l.stalled = true
		m.stalls++
		go func() {
			l.drain(context.Background())
			l.mu.Lock()
			p := l.program
			l.mu.Unlock()
			m.mu.Lock()
			if !l.closing {
				m.stalledAt[p] = time.Now()
			}
			m.mu.Unlock()
			l.opt.Stalled()
		}()
		return
	}
}

// settleDown waits for whatever is to come, and checks that nobody waits.
func (m *model) settleDown(running *loaded) {
	m.Helper()
	m.failing.Store(false)
	time.Sleep(3*retryAtMost + settleTimeout)
	synctest.Wait()
	m.check(running, true)
	m.k.do(func() {
		if n := len(m.k.waiting); n > 0 {
			m.Errorf("%d still wait", n)
		}
		if running.inst != nil && !slices.Equal(m.k.running, []*instance{running.inst}) {
			m.Errorf("%d instances are remembered, and %s runs", len(m.k.running), running.name)
		}
	})
}

// within fails if f takes longer than the process may.
func (m *model) within(limit time.Duration, what string, f func()) {
	m.Helper()
	begin := time.Now()
	f()
	if took := time.Since(begin); took > limit {
		m.Errorf("%s took %v", what, took)
	}
}

func TestModel(t *testing.T) {
	golog.SetOutput(io.Discard)
	opened, stalls, orphaned, mirrored := 0, 0, 0, 0
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			m := newModel(t, rand.New(rand.NewPCG(seed, 7)))
			running, handle := m.start(nil, nil, "Corefile 0")
			for i := range 12 {
				switch m.duration(6) {
				case 0:
					m.settleDown(running)
				case 1:
					m.failing.Store(m.chance(50))
				case 2:
					if m.chance(50) {
						m.stall()
					} else {
						m.move()
					}
				case 3:
					m.k.do(func() { panic("a fault in an event") })
				default:
					m.within(6*time.Second+2*arrivalTimeout+3*laneTimeout, "a reload", func() {
						running, handle = m.start(running, handle, fmt.Sprint("Corefile ", i+1))
					})
					m.check(running, false)
				}
				if t.Failed() {
					t.Fatalf("seed %d, step %d", seed, i)
				}
			}
			m.settleDown(running)
			if running.inst != nil {
				m.within(arrivalTimeout+laneTimeout, "the end", func() {
					running.inst.leave()
					running.inst.end()
				})
			}
			synctest.Wait()
			if n := len(m.lanes); n > 0 {
				t.Errorf("seed %d: %d lanes outlive the process's servers", seed, n)
			}
			for _, addr := range modelAddrs {
				m.noMirror(addr, "the process has ended")
			}
			mirrored += m.mirrored
			time.Sleep(time.Minute) // mirrors take a while to be gone
			close(m.k.ended)
			opened, stalls, orphaned = opened+m.opened, stalls+m.stalls, orphaned+m.orphaned
		})
		if t.Failed() {
			break
		}
	}
	t.Logf("%d lanes opened, %d stalled, %d starts that nobody was told of", opened, stalls, orphaned)
	if opened < 500 || stalls < 30 || orphaned == 0 || mirrored < 300 {
		t.Error("the model is not what it was meant to be")
	}
}
