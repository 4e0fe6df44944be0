package lanes

import (
	"context"
	"time"

	"github.com/clusterdns/clusterdns/plugin/fastlane"
)

// instance is what the stanzas of one Corefile, as loaded once, share.
type instance struct {
	*corefile
	k     *keeper
	alive func() bool           // CoreDNS has it still; asked where instances come and go
	count func(addr string) int // CoreDNS's sockets at an address, once they are open

	// Of the keeper's goroutine.
	number   int             // one more than that of the instance started before
	servers  map[string]bool // addresses at which stanzas of ours are served
	programs []*fastlane.Program
	leaving  bool           // a reload of it has begun
	gone     bool           // its servers have stopped
	sockets  map[string]int // of CoreDNS's at each of servers, once it has settled
}

func newInstance(k *keeper) *instance {
	return &instance{corefile: newCorefile(), k: k, servers: map[string]bool{}}
}

// restart is called when a reload of inst begins.
func (inst *instance) restart() error {
	inst.k.do(func() { inst.leaving = true })
	return nil
}

// restartFailed is called when a reload of inst has failed. It reports whether
// inst is no more all the same: then another plugin's OnShutdown has failed, and
// CoreDNS leaves out what it would have called next.
func (inst *instance) restartFailed() (over bool) {
	if !inst.alive() {
		inst.leave()
		return true
	}
	inst.k.do(func() {
		inst.leaving = false
		inst.k.running = []*instance{inst}
	})
	return false
}

// starts is called when inst is about to start, with addresses at which it will
// be served.
func (inst *instance) starts(addrs []string) {
	inst.k.do(func() {
		for _, addr := range addrs {
			inst.servers[addr] = true
		}
		var running []*instance
		for _, other := range inst.k.running {
			if other != inst && other.alive() {
				running = append(running, other)
			}
		}
		inst.k.running = append(running, inst)
		if inst.number == 0 {
			inst.k.started++
			inst.number = inst.k.started
		}
	})
}

// arrive is called when a server of inst begins to serve at addr, before it
// reads; plan is what is to be done there.
func (inst *instance) arrive(addr string, plan planned) {
	k := inst.k
	k.do(func() {
		at := k.address(addr)
		if inst.gone || at.instance != nil && at.instance.number >= inst.number {
			return // it was long ago; or this is another of the server's sockets
		}
		at.instance, at.plan, at.moved = inst, plan, false
		at.failures, at.notAgain, at.failure = 0, time.Time{}, ""
		inst.programs = append(inst.programs, plan.program)
		if len(inst.programs) == 1 {
			time.AfterFunc(settleTimeout, inst.settle)
		}
	})
}

func nothing() {}

// leave is called when the servers of inst have stopped in a reload, or when
// the process begins to end.
func (inst *instance) leave() error {
	k := inst.k
	leaves := make(chan bool, 1)
	k.await(arrivalTimeout, func() {
		leaves <- inst.leaving && !inst.gone // otherwise the servers are still up: lameduck may come first
		inst.gone = inst.gone || inst.leaving
	}, func() bool {
		successor := k.running[max(0, len(k.running)-1):]
		for addr, at := range k.at {
			if inst.gone && at.instance == inst && at.have.phase == open && len(successor) > 0 && successor[0] != inst && successor[0].servers[addr] {
				return false
			}
		}
		return true
	})
	select {
	case is := <-leaves:
		if !is {
			return nil
		}
	default: // the keeper hangs
		return nil
	}
	programs := inst.drop()
	ctx, cancel := context.WithTimeout(context.Background(), laneTimeout)
	defer cancel()
	for _, p := range programs {
		if p.Wait(ctx) != nil {
			log.Warningf("Queries are still under way after %v, of a Corefile that is no more", laneTimeout)
			break
		}
	}
	return nil
}

// end is called when the process ends.
func (inst *instance) end() error {
	inst.drop()
	return nil
}

// drop gives up every address of inst, waits for lanes that close for it, and
// returns its programs.
func (inst *instance) drop() []*fastlane.Program {
	k := inst.k
	programs := make(chan []*fastlane.Program, 1)
	var given []*address // of the keeper's goroutine
	k.await(laneTimeout, func() {
		inst.gone = true
		programs <- inst.programs
		inst.programs = nil
		for _, at := range k.at {
			if at.instance == inst {
				at.instance, at.plan, at.moved = nil, planned{}, false
				given = append(given, at)
			}
		}
		var running []*instance
		for _, other := range k.running {
			if other != inst {
				running = append(running, other)
			}
		}
		k.running = running
	}, func() bool { return allShut(given) })
	select {
	case list := <-programs:
		return list
	default: // the keeper hangs
		return nil
	}
}

// allShut reports whether no lane at the addresses is still closing.
func allShut(list []*address) bool {
	for _, at := range list {
		if at.have.phase == closing {
			return false
		}
	}
	return true
}

// settle is called when inst has started and the instance before it has ended.
func (inst *instance) settle() {
	k := inst.k
	k.await(arrivalTimeout, nothing, func() bool {
		if inst.gone || inst.sockets != nil {
			return true
		}
		for addr := range inst.servers {
			if at := k.at[addr]; at == nil || at.instance != inst {
				return false
			}
		}
		return true
	})
	var mine []*address // of the keeper's goroutine
	k.await(laneTimeout, func() {
		if inst.gone || inst.sockets != nil {
			return
		}
		inst.sockets = map[string]int{}
		for addr := range inst.servers {
			inst.sockets[addr] = inst.count(addr)
			switch at := k.at[addr]; {
			case at == nil || at.instance != inst:
				log.Warningf("No fast lane at %s: another plugin sends the replies there", addr)
			case at.plan.config == nil:
				log.Infof("No fast lane at %s: %s", addr, at.plan.why)
			}
		}
		for _, at := range k.at {
			if at.instance == inst {
				mine = append(mine, at)
			}
		}
	}, func() bool { return allShut(mine) })
}
