// Package lanes opens, changes and closes fast lanes as CoreDNS's Corefile comes
// and goes.
//
// Vocabulary:
//
//	instance  one Corefile as it was loaded once: what CoreDNS starts, reloads
//	          and ends. During a reload there are two
//	address   where a server of CoreDNS listens. It outlives instances
//	plan      what an instance has answered in front of its server at an
//	          address: a responder.Plan, or the reason why there is none
//	program   a plan with the chain behind it, for a lane to work for:
//	          a fastlane.Program
//	lane      the sockets in front of those of CoreDNS: a fastlane.Lane. It
//	          outlives instances too, if the next one wants it as it is
//	mirror    what has the kernel answer in front of a lane: a responder.Mirror.
//	          It belongs to one plan, and begins and ends within the lane's life
//
// The lanes follow the Corefile like this:
//
//  1. The servers of a new instance arrive, each in its own goroutine and some
//     time after they were started. An open lane at the server's address works
//     for the new instance from then on.
//  2. When the old instance's servers have stopped, leave waits for the arrivals
//     at addresses with an open lane, and for what is under way in the old
//     chain. Lanes that nobody took over close: their clients' last queries
//     still get the old instance's answers.
//  3. When the new instance is the only one, settle has lanes opened and closed
//     as its Corefile wants them. Nothing binds or closes sockets of CoreDNS's
//     then.
//  4. When the process ends, lanes close after health's lameduck.
//  5. A mirror is closed before its lane works for another program, closes, or has
//     stalled, so that the kernel never answers what nobody wants any more.
//  6. No lane opens where another process of the same user is. It has everything
//     there until it ends.
//
// A Corefile is parsed once, while CoreDNS sets it up: what it imports may have
// changed on disk since, and the chain does not know that either.
package lanes

import (
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clusterdns/clusterdns/plugin/eligible"
	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/hitters"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	pkgparse "github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/coredns/coredns/plugin/pkg/transport"
	"github.com/prometheus/client_golang/prometheus"
)

var log = clog.NewWithPlugin("clusterdns")

// Stanza is what the lanes have to know of a stanza of ours.
type Stanza struct {
	eligible.Stanza
	Workers     int      // of each lane; 0 is one for every two CPUs that Go may use
	Kernel      bool     // the kernel is to answer what it can
	Interfaces  []string // where; none: those with the server's addresses
	Fallthrough []string // zones in which names that do not exist are the next plugin's
	// View returns what answers. It is called when the stanza has started.
	View func() *zone.View
	// Hitters returns what counts who asks what, nil if nothing does. It is called
	// when the server block's plugins have started.
	Hitters func() *hitters.Engine
	// TruncatedTCP counts replies of which TCP could not carry all.
	TruncatedTCP prometheus.Counter
}

// theKeeper keeps the process's lanes.
var theKeeper = sync.OnceValue(func() *keeper {
	return newKeeper(func(cfg fastlane.Config, opt fastlane.Options, p *fastlane.Program) (lane, error) {
		if shared(cfg) {
			return nil, errShared
		}
		l, err := fastlane.Open(cfg, opt, p)
		if err != nil {
			return nil, err // and not a lane that is nil
		}
		return l, nil
	})
})

// shared reports whether another process is at the address. Sockets that this one
// has just closed, in a reload to fewer of them, may still be listed for a moment.
func shared(cfg fastlane.Config) bool {
	for range 10 {
		if fastlane.Strangers(cfg.Addr, cfg.Others) == 0 {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

// instanceKey is the key of an *instance in a caddy instance's storage.
type instanceKey struct{}

// Register has the lanes follow the instance that c belongs to, whose server
// block has the stanza s. It is called by the stanza's Setup.
func Register(c *caddy.Controller, s Stanza) {
	inst, ok := c.Get(instanceKey{}).(*instance)
	if !ok {
		inst = newInstance(theKeeper())
		c.Set(instanceKey{}, inst)
		i := caddyInstance(inst)
		inst.alive = func() bool { return caddyInstance(inst) != nil }
		inst.count = func(addr string) int { return socketsAt(i, addr) }
		inst.parse(i)
		c.OnRestart(inst.restart)
		c.OnRestartFailed(func() error {
			if inst.restartFailed() {
				for _, i := range caddy.Instances() {
					Settle(i)
				}
			}
			return nil
		})
		c.OnShutdown(inst.leave)
		c.OnFinalShutdown(inst.end)
	}
	inst.add(c, s)
	server, keys := dnsserver.GetConfig(c), slices.Clone(c.ServerBlockKeys)
	c.OnStartup(func() error { return inst.expect(c.ServerBlockIndex, server.ListenHosts, keys) })
}

// Settle is to be called when i has started and the instance before it, if any,
// has ended (caddy.InstanceStartupEvent).
func Settle(i *caddy.Instance) {
	if inst := instanceOf(i); inst != nil {
		inst.settle()
	}
}

func instanceOf(i *caddy.Instance) *instance {
	i.StorageMu.RLock()
	defer i.StorageMu.RUnlock()
	inst, _ := i.Storage[instanceKey{}].(*instance)
	return inst
}

// caddyInstance returns the caddy instance of inst, nil if it is no more. It is
// called from where instances come and go: caddy.Instances takes no lock.
func caddyInstance(inst *instance) *caddy.Instance {
	for _, i := range caddy.Instances() {
		if instanceOf(i) == inst {
			return i
		}
	}
	return nil
}

// ListenAddrs returns the addresses at which a server block with these keys and
// listen hosts speaks plain DNS: those that CoreDNS's groupConfigsByListenAddr
// makes of them.
func ListenAddrs(keys, hosts []string) (addrs []string, err error) {
	for _, key := range keys {
		trans, rest := pkgparse.Transport(key)
		if trans != transport.DNS {
			continue
		}
		_, port, err := plugin.SplitHostPort(rest)
		if err != nil {
			return nil, err
		}
		if port == "" {
			port = dnsserver.Port
		}
		for _, host := range hosts {
			addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, port))
			if err != nil {
				return nil, err
			}
			if at := addr.String(); !slices.Contains(addrs, at) {
				addrs = append(addrs, at)
			}
		}
	}
	return addrs, nil
}

// socketsAt returns how many UDP sockets i has at addr.
func socketsAt(i *caddy.Instance, addr string) (n int) {
	if i == nil {
		return 0
	}
	for _, s := range i.Servers() {
		if local := s.LocalAddr(); local != nil && sameAddr(local.String(), addr) {
			n++
		}
	}
	return n
}

// sameAddr reports whether a socket bound to local is one that listens at addr.
// Every address is written in several ways there, 0.0.0.0 among them, and what
// package net makes of all of them is one.
func sameAddr(local, addr string) bool {
	host, port, err := net.SplitHostPort(local)
	wantHost, wantPort, wantErr := net.SplitHostPort(addr)
	if err != nil || wantErr != nil || port != wantPort {
		return false
	}
	return host == wantHost || isEvery(host) && isEvery(wantHost)
}

func isEvery(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// plainAddr returns the address of a server of CoreDNS as net has it.
func plainAddr(serverAddr string) string { return strings.TrimPrefix(serverAddr, transport.DNS+"://") }

// errShared is why a lane does not open yet: the process that was first at the
// address has everything until it ends, and its lane then hands over to CoreDNS's
// sockets of this one.
var errShared = errors.New("another process of the same user is there")

var errChanged = errors.New("the Corefile, or a file that it imports, has changed while it was read")
