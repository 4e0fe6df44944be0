package responder

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/clusterdns/clusterdns/plugin/fastlane/kernel"
	"github.com/clusterdns/clusterdns/plugin/zone"
)

// KernelOptions say where the kernel is to answer in the place of a lane.
type KernelOptions struct {
	Addr       string   // host and port of the lane
	Interfaces []string // where queries arrive; none: see kernel.Config
	// After, unless nil, is a Mirror that is closed, and is to be gone before this one
	// begins, or is gone itself.
	After *Mirror
	// Open opens Images; nil: kernel.Open does.
	Open func(kernel.Config) (*kernel.Image, error)
	// Opened is called each time that the kernel begins to answer, with the number
	// of names that it knows, and Failed when it can't: it is tried again after
	// the time given, or not at all if that is 0. The Mirror waits for both.
	Opened func(names int)
	Failed func(err error, again time.Duration)
}

// Mirror has the kernel answer what it can of a Plan. A goroutine of its own makes
// one kernel.Image after the other: as soon as the index is complete and fresh, and
// anew whenever more changes than is worth following.
type Mirror struct {
	k      inKernel
	opt    KernelOptions
	config kernel.Config
	counts *Counts
	open   func(kernel.Config) (image, error)

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // nothing is left

	mu  sync.Mutex
	now *mirrored // nil: there is no image
}

// Times: an index is looked at every freshEvery, to find that it can be mirrored.
// Counters are read every drainEvery, and every so many times interfaces and addresses
// are looked at. An image that is void soon after it was made
// is made anew after again, and then after twice as long each time up to
// againAtMost; one that lived that long counts as the first. After maxFailures
// errors in a row nothing is tried any more.
const (
	freshEvery  = time.Second
	drainEvery  = time.Second
	movedTicks  = 10
	again       = time.Second
	againAtMost = time.Minute
	maxFailures = 6
)

// ErrNothing is the error for a Plan that leaves nothing for the kernel to answer.
var ErrNothing = errors.New("there is no zone that the kernel can answer")

// Mirror has the kernel answer what it can of p's routes with Kernel, until Close.
// Left says, a line for each of their zones, why the kernel answers nothing there.
func (p *Plan) Mirror(opt KernelOptions) (m *Mirror, left []string, err error) {
	open := opt.Open
	if open == nil {
		open = kernel.Open
	}
	return p.mirror(opt, func(c kernel.Config) (image, error) {
		im, err := open(c)
		if err != nil {
			return nil, err // and not an image that is nil
		}
		return im, nil
	})
}

func (p *Plan) mirror(opt KernelOptions, open func(kernel.Config) (image, error)) (m *Mirror, left []string, err error) {
	m = &Mirror{k: p.inKernel(), opt: opt, counts: p.Counts, open: open, done: make(chan struct{})}
	if len(m.k.meters) == 0 {
		return nil, m.k.left, ErrNothing
	}
	host, port, err := net.SplitHostPort(opt.Addr)
	if err != nil {
		return nil, nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, nil, err
	}
	m.config = kernel.Config{Port: uint16(n), Interfaces: opt.Interfaces, Zones: m.k.zones}
	if addr, err := netip.ParseAddr(host); err == nil {
		m.config.Addrs = []netip.Addr{addr.Unmap().WithZone("")}
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	go m.run()
	return m, m.k.left, nil
}

// Close has the kernel answer nothing any more, at once. What is left to do then is
// done soon: see Wait.
func (m *Mirror) Close() {
	m.cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now != nil {
		m.now.close(errClosed)
	}
}

// Wait waits until the kernel has nothing of m any more. Close must have been
// called.
func (m *Mirror) Wait() { <-m.done }

// State returns whether the kernel answers, and how many names it knows.
func (m *Mirror) State() (open bool, names int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now == nil {
		return false, 0
	}
	m.now.mu.Lock()
	defer m.now.mu.Unlock()
	return m.now.open, m.now.image.Names()
}

func (m *Mirror) run() {
	defer close(m.done)
	defer m.cancel()
	if m.opt.After != nil {
		<-m.opt.After.done
		m.opt.After = nil // which has one before it
	}
	failures, wait := 0, again
	for m.waitFresh() {
		began := time.Now()
		filled, err := m.serve()
		if m.ctx.Err() != nil {
			return
		}
		if filled {
			failures = 0
		}
		if time.Since(began) > againAtMost {
			wait = again
		}
		if !errors.Is(err, errChanged) && !errors.Is(err, kernel.ErrFull) {
			if failures++; failures == maxFailures || errors.Is(err, errors.ErrUnsupported) {
				m.opt.Failed(err, 0)
				return
			}
			m.opt.Failed(err, wait)
		}
		m.sleep(wait)
		wait = min(2*wait, againAtMost)
	}
}

// sleep returns false when m is closed meanwhile.
func (m *Mirror) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return m.ctx.Err() == nil
	case <-m.ctx.Done():
		return false
	}
}

// waitFresh waits until the index can be mirrored; false: m is closed.
func (m *Mirror) waitFresh() bool {
	for !m.k.view.Index().Synced(m.k.view.Needs()...) || m.k.view.Stale() {
		if !m.sleep(freshEvery) {
			return false
		}
	}
	return m.ctx.Err() == nil
}

// set says which image there is, nil for none.
func (m *Mirror) set(now *mirrored) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = now
}

// serve makes an image and keeps it for as long as it is good. The error is why it
// is not any more, and filled says that it had all that there was.
func (m *Mirror) serve() (filled bool, err error) {
	config := m.config
	names, addrs := m.k.view.Index().Size()
	names = max(names, addrs)
	config.Capacity = names + names/4 + 4096
	im, err := m.open(config)
	if err != nil {
		return false, err
	}
	counted := newDrain(m.k.meters, m.counts)
	defer func() {
		m.set(nil)
		counted.drain(im)
		if err := im.Close(); err != nil {
			m.opt.Failed(err, 0)
		}
	}()
	if err := im.Attach(); err != nil {
		return false, err
	}
	now := newMirrored(m.k, im)
	m.set(now)
	stop := m.k.view.Follow(now)
	defer stop()
	m.k.view.Walk(func(c *zone.Change) bool { return m.ctx.Err() == nil && now.fill(c) })
	if m.ctx.Err() == nil && now.begin() {
		filled = true
		m.opt.Opened(im.Names())
	}
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for ticks := 0; ; {
		select {
		case <-tick.C:
			counted.drain(im)
			if ticks++; ticks%movedTicks == 0 && im.Moved() {
				now.close(errChanged)
			}
		case <-m.ctx.Done():
			now.close(errClosed)
			return filled, errClosed
		case <-now.void:
			return filled, now.err
		}
	}
}
