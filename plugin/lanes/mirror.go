package lanes

import (
	"time"

	"github.com/clusterdns/clusterdns/plugin/responder"
)

// mirror is a *responder.Mirror.
type mirror interface {
	Close()
	Wait()
	State() (open bool, names int)
}

// openMirror has the kernel answer what it can of plan in front of the lane at
// addr, once before, unless nil, is gone.
func openMirror(plan *responder.Plan, addr string, interfaces []string, before mirror) (mirror, error) {
	after, _ := before.(*responder.Mirror)
	warned, failed := false, "" // the error that was logged last
	m, left, err := plan.Mirror(responder.KernelOptions{
		Addr: addr, Interfaces: interfaces, After: after,
		Opened: func(names int) {
			if !warned {
				log.Warningf("The kernel answers in front of the fast lane at %s: rules of netfilter and NetworkPolicies in this network namespace do not see these queries", addr)
			}
			warned = true
			log.Infof("The kernel knows %d names at %s", names, addr)
		},
		Failed: func(err error, again time.Duration) {
			switch text := err.Error(); {
			case again == 0:
				log.Warningf("The kernel does not answer at %s, the fast lane does: %v", addr, err)
			case text != failed:
				failed = text
				log.Warningf("The kernel does not answer at %s, the fast lane does, and another try in %v: %v", addr, again, err)
			}
		},
	})
	for _, why := range left {
		log.Infof("The kernel leaves names at %s to the fast lane: %s", addr, why)
	}
	if err != nil {
		return nil, err // and not a mirror that is nil
	}
	return m, nil
}

// mirror begins to have the kernel answer at at, whose lane is open, if that is
// wished for.
func (k *keeper) mirror(at *address) {
	if at.plan.mirror == nil {
		return
	}
	m, err := at.plan.mirror(at.mirror)
	if err != nil {
		log.Warningf("The kernel does not answer at %s, the fast lane does: %v", at.addr, err)
		return
	}
	at.mirror = m
}

// unmirror has the kernel answer nothing any more at at. The mirror stays known
// until it is gone, since the next one waits for it.
func (k *keeper) unmirror(at *address) {
	m := at.mirror
	if m == nil {
		return
	}
	m.Close()
	go func() {
		m.Wait()
		k.post(func() {
			if at.mirror == m {
				at.mirror = nil
			}
		})
	}()
}
