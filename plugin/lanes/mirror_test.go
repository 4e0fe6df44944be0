package lanes

import (
	"errors"
	"time"

	"github.com/clusterdns/clusterdns/plugin/fastlane"
)

// fakeMirror is a mirror that only knows what it is. Its fields belong to the
// model's mutex.
type fakeMirror struct {
	m       *model
	addr    string
	program *fastlane.Program // of the plan that it is of
	closed  bool
	before  mirror // that it waits for
	gone    chan struct{}
}

func (f *fakeMirror) Close() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if !f.closed {
		f.closed = true
		takes := time.Duration(f.m.chances.Int64N(int64(3 * time.Second)))
		time.AfterFunc(takes, func() {
			if f.before != nil {
				f.before.Wait()
			}
			close(f.gone)
		})
	}
}

func (f *fakeMirror) Wait() { <-f.gone }

func (f *fakeMirror) State() (open bool, names int) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return !f.closed, 1
}

// mirrorOf returns what opens the mirror of a plan.
func (m *model) mirrorOf(addr string, program *fastlane.Program) func(mirror) (mirror, error) {
	return func(before mirror) (mirror, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.noMirror(addr, "another begins")
		works := false
		for l := range m.lanes {
			l.mu.Lock()
			works = works || l.cfg.Addr == addr && l.program == program
			l.mu.Unlock()
		}
		if !works {
			m.Errorf("a mirror begins at %s, and no lane works for its plan", addr)
		}
		for f := range m.mirrors {
			select {
			case <-f.gone:
			default:
				if f.addr == addr && before == nil {
					m.Errorf("a mirror at %s does not know of the one before", addr)
				}
			}
		}
		if m.failing.Load() && m.chances.IntN(100) < 20 {
			return nil, errors.New("nothing is left to the kernel")
		}
		f := &fakeMirror{m: m, addr: addr, program: program, before: before, gone: make(chan struct{})}
		m.mirrors[f] = true
		m.mirrored++
		return f, nil
	}
}

// noMirror requires that no mirror at addr is open. It is called with mu locked.
func (m *model) noMirror(addr, when string) {
	for f := range m.mirrors {
		if f.addr == addr && !f.closed {
			m.Errorf("a mirror at %s is open when %s", addr, when)
		}
	}
}

// mirrorAt returns the open mirror at addr, nil if there is none. It is called with
// mu locked.
func (m *model) mirrorAt(addr string) *fakeMirror {
	for f := range m.mirrors {
		if f.addr == addr && !f.closed {
			return f
		}
	}
	return nil
}
