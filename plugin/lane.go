package clusterdns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clusterdns/clusterdns/plugin/fastlane"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/pkg/transport"
	"github.com/miekg/dns"
)

// instance is what the stanzas of one Corefile, as loaded once, share.
type instance struct {
	corefile caddy.Input
	// servers has the stanzas of ours that are served at an address, by the
	// index of their server block.
	servers  map[string]map[int]*Handler
	programs []*fastlane.Program
	leaving  bool          // a reload of it has begun
	gone     chan struct{} // closed when its servers have stopped
}

// instanceKey is its key in a caddy instance's storage.
type instanceKey struct{}

// lanes are the process's lanes. They follow the Corefile like this:
//
//  1. The servers of a new instance call arrive, each in its own goroutine and
//     some time after they were started. An open lane at the server's address
//     works for the new instance from then on.
//  2. When the old instance's servers have stopped, leave waits for the arrivals
//     at addresses with an open lane, and for what is under way in the old
//     chain. Lanes that nobody took over close: their clients' last queries
//     still get the old instance's answers.
//  3. When the new instance is the only one, settle opens and closes lanes as
//     its Corefile wants them. Nothing binds or closes sockets of CoreDNS's then,
//     so that their number, and with it the kernel's numbering, is known.
//  4. While it runs, follow looks for changes in the files that the Corefile
//     refers to, and has the lanes do as they say of whose names are whose.
//  5. When the process ends, lanes close after health's lameduck.
var lanes = struct {
	sync.Mutex
	changed *sync.Cond
	at      map[string]*laneAt
	live    []*instance
}{at: map[string]*laneAt{}}

func init() { lanes.changed = sync.NewCond(&lanes) }

// laneAt is the lane at an address, or its lack.
type laneAt struct {
	addr    string
	counts  laneCounts
	lane    *fastlane.Lane
	owner   *instance
	server  *dnsserver.Server
	program *fastlane.Program
	want    *fastlane.Config  // nil: no lane
	why     string            // there is to be none
	files   map[string]string // those that want depends on, and their state
}

// laneTimeout bounds how long a reload or the end of the process waits for what
// is under way; CoreDNS's servers wait as long.
const laneTimeout = 5 * time.Second

// registerLane has the lanes follow the instance that h belongs to.
func registerLane(c *caddy.Controller, h *Handler) {
	inst, ok := c.Get(instanceKey{}).(*instance)
	if !ok {
		inst = &instance{servers: map[string]map[int]*Handler{}, gone: make(chan struct{})}
		c.Set(instanceKey{}, inst)
		if i := instanceOf(inst); i != nil {
			inst.corefile = i.Caddyfile()
		}
		c.OnRestart(func() error { inst.setLeaving(true); return nil })
		c.OnRestartFailed(func() error { inst.setLeaving(false); return nil })
		c.OnShutdown(inst.leave)
		c.OnFinalShutdown(inst.close)
	}
	if h.server.UDPDecorateWriterFunc != nil {
		return // somebody else's way of writing replies, which the lane would skip
	}
	block, keys := c.ServerBlockIndex, slices.Clone(c.ServerBlockKeys)
	c.OnStartup(func() error { return inst.expect(h, block, keys) })
	h.server.UDPDecorateWriterFunc = func(s *dnsserver.Server) dns.DecorateWriter {
		inst.arrive(s)
		return nil
	}
}

// instanceOf returns the caddy instance of inst. It is called from where
// instances come and go, see isOver.
func instanceOf(inst *instance) *caddy.Instance {
	for _, i := range caddy.Instances() {
		i.StorageMu.RLock()
		found := i.Storage[instanceKey{}] == any(inst)
		i.StorageMu.RUnlock()
		if found {
			return i
		}
	}
	return nil
}

func (inst *instance) setLeaving(leaving bool) {
	lanes.Lock()
	defer lanes.Unlock()
	inst.leaving = leaving
}

// expect notes at which addresses h's server block, which has these keys, is
// served: those that CoreDNS's groupConfigsByListenAddr makes of them.
func (inst *instance) expect(h *Handler, block int, keys []string) error {
	lanes.Lock()
	defer lanes.Unlock()
	for _, key := range keys {
		rest, ok := strings.CutPrefix(key, transport.DNS+"://")
		if !ok {
			continue
		}
		port := rest[strings.LastIndexByte(rest, ':')+1:]
		for _, host := range h.server.ListenHosts {
			addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, port))
			if err != nil {
				return err
			}
			at := addr.String()
			if inst.servers[at] == nil {
				inst.servers[at] = map[int]*Handler{}
			}
			inst.servers[at][block] = h
		}
	}
	lanes.live = slices.DeleteFunc(lanes.live, func(o *instance) bool { return o == inst || instanceOf(o) == nil })
	lanes.live = append(lanes.live, inst)
	return nil
}

// arrive is called when the server s of inst begins to serve, before it reads.
func (inst *instance) arrive(s *dnsserver.Server) {
	addr := strings.TrimPrefix(s.Addr, transport.DNS+"://")
	lanes.Lock()
	defer lanes.Unlock()
	at := lanes.at[addr]
	if at == nil {
		at = &laneAt{addr: addr}
		lanes.at[addr] = at
	}
	if at.owner == inst || inst.isGone() { // another of its sockets; or it was long ago
		return
	}
	at.owner, at.server = inst, s
	at.plan()
	lanes.changed.Broadcast()
}

func (inst *instance) isGone() bool {
	select {
	case <-inst.gone:
		return true
	default:
		return false
	}
}

// plan makes up at's mind on whether there is to be a lane and what it is to
// do. An open one does so from now on.
func (at *laneAt) plan() {
	s := at.server
	plan, workers, err := at.judge()
	at.want, at.why = nil, ""
	if err != nil {
		at.why = err.Error()
		plan = &lanePlan{} // leaves all to the chain, until the lane is closed
	} else {
		at.want = &fastlane.Config{
			Addr: at.addr, Workers: workers,
			ReadTimeout: s.ReadTimeout, WriteTimeout: s.WriteTimeout, MaxTCPQueries: s.MaxTCPQueries,
		}
		if s.MaxTCPQueries == 0 {
			at.want.MaxTCPQueries = maxTCPQueries
		}
	}
	plan.counts = &at.counts
	at.program = &fastlane.Program{
		NewResponder: plan.newResponder,
		Chain: func(w dns.ResponseWriter, r *dns.Msg) {
			ctx := context.WithValue(context.Background(), dnsserver.Key{}, s)
			s.ServeDNS(context.WithValue(ctx, dnsserver.LoopKey{}, 0), w, r)
		},
		IdleTimeout: s.IdleTimeout,
	}
	at.owner.programs = append(at.owner.programs, at.program)
	if at.lane != nil {
		at.lane.Swap(at.program)
	}
}

// maxTCPQueries is what miekg/dns takes for a limit of 0.
const maxTCPQueries = 128

// judge returns what the lane is to do and with how many workers, or why there
// is to be none.
func (at *laneAt) judge() (*lanePlan, int, error) {
	at.files = nil
	_, port, err := net.SplitHostPort(at.addr)
	if err != nil {
		return nil, 0, err
	}
	corefile := at.owner.corefile
	switch {
	case port == "0":
		return nil, 0, errors.New("its port is the kernel's choice")
	case corefile == nil:
		return nil, 0, errors.New("the Corefile is not known")
	}
	blocks, err := caddyfile.Parse(corefile.Path(), bytes.NewReader(corefile.Body()), dnsserver.Directives)
	if err != nil {
		return nil, 0, err
	}
	in := laneInput{path: corefile.Path(), blocks: blocks, port: port, ours: map[int]*config{}, readFile: os.ReadFile}
	for block, h := range at.owner.servers[at.addr] {
		in.ours[block] = h.cfg
		if len(h.server.FilterFuncs) > 0 {
			return nil, 0, fmt.Errorf("the server block of %s (%s) filters queries", h.cfg.word, h.cfg.where)
		}
	}
	v := in.judge()
	at.files = fileStates(v.files)
	if v.reason != "" {
		return nil, 0, errors.New(v.reason)
	}
	plan, workers := new(lanePlan), runtime.GOMAXPROCS(0)
	for _, route := range v.routes {
		h := at.owner.servers[at.addr][route.block]
		if h != nil && h.cfg.fastlane.workers > 0 {
			workers = h.cfg.fastlane.workers
		}
		if err := plan.add(route, h, at.server.Addr); err != nil {
			return nil, 0, err
		}
	}
	return plan, workers, nil
}

// fileStates returns the files with what tells whether they have changed.
func fileStates(files []string) map[string]string {
	states := map[string]string{}
	for _, name := range files {
		if info, err := os.Stat(name); err != nil {
			states[name] = err.Error()
		} else {
			states[name] = fmt.Sprint(info.ModTime(), info.Size())
		}
	}
	return states
}

// arrivalTimeout bounds how long to wait for servers that have been started to
// arrive. They do at once, or not at all: where another plugin has put its own
// in the place of our UDPDecorateWriterFunc.
const arrivalTimeout = time.Second

// waitArrivals waits until done holds, which is asked with lanes locked.
func waitArrivals(done func() bool) {
	over := false
	timer := time.AfterFunc(arrivalTimeout, func() {
		lanes.Lock()
		defer lanes.Unlock()
		over = true
		lanes.changed.Broadcast()
	})
	defer timer.Stop()
	for !done() && !over {
		lanes.changed.Wait()
	}
}

// leave is called when the servers of inst have stopped in a reload, or when
// the process begins to end.
func (inst *instance) leave() error {
	lanes.Lock()
	if !inst.leaving { // the servers are still up: lameduck may come first
		lanes.Unlock()
		return nil
	}
	close(inst.gone)
	next := lanes.live[len(lanes.live)-1]
	waitArrivals(func() bool {
		for addr, at := range lanes.at {
			if at.lane != nil && at.owner == inst && next != inst && next.servers[addr] != nil {
				return false
			}
		}
		return true
	})
	orphans := inst.takeLanes()
	lanes.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), laneTimeout)
	defer cancel()
	closeLanes(ctx, orphans)
	for _, p := range inst.programs {
		if p.Wait(ctx) != nil {
			log.Warningf("Queries are still under way after %v, of a Corefile that is no more", laneTimeout)
			break
		}
	}
	return nil
}

// takeLanes removes the lanes that work for inst and returns them.
func (inst *instance) takeLanes() (taken []*fastlane.Lane) {
	for _, at := range lanes.at {
		if at.lane != nil && at.owner == inst {
			taken = append(taken, at.lane)
			at.lane = nil
		}
	}
	return taken
}

func closeLanes(ctx context.Context, all []*fastlane.Lane) {
	for _, l := range all {
		l.Close(ctx)
		log.Infof("Fast lane at %s closed", l.Config().Addr)
	}
}

// close is called when the process ends.
func (inst *instance) close() error {
	lanes.Lock()
	if !inst.isGone() {
		close(inst.gone)
	}
	open := inst.takeLanes()
	lanes.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), laneTimeout)
	defer cancel()
	closeLanes(ctx, open)
	return nil
}

// settle is called when i has started and the instance before it, if any, has
// ended.
func settle(i *caddy.Instance) {
	i.StorageMu.RLock()
	inst, ok := i.Storage[instanceKey{}].(*instance)
	i.StorageMu.RUnlock()
	if !ok {
		return
	}
	lanes.Lock()
	waitArrivals(func() bool {
		for addr := range inst.servers {
			if at := lanes.at[addr]; at == nil || at.owner != inst {
				return false
			}
		}
		return true
	})
	follow := false
	for addr := range inst.servers {
		if at := lanes.at[addr]; at != nil && at.owner == inst {
			at.settle(socketsAt(i, addr))
			follow = follow || len(at.files) > 0
		}
	}
	lanes.Unlock()
	if follow {
		go inst.follow(i)
	}
}

// followInterval is how often the files are looked at; the plugin hosts does
// not look more often either.
const followInterval = 5 * time.Second

// follow looks for changes in the files on which the lanes of inst depend,
// until it is gone.
func (inst *instance) follow(i *caddy.Instance) {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		select {
		case <-inst.gone:
			return
		case <-tick.C:
		}
		inst.refresh(i)
	}
}

// refresh has the lanes of inst do as the files on which they depend have it
// now.
func (inst *instance) refresh(i *caddy.Instance) {
	lanes.Lock()
	defer lanes.Unlock()
	for addr, at := range lanes.at {
		if at.owner == inst && !inst.isGone() && !maps.Equal(at.files, fileStates(slices.Collect(maps.Keys(at.files)))) {
			at.plan()
			at.settle(socketsAt(i, addr))
		}
	}
}

// settle opens, closes or leaves the lane as it is wanted in front of as many
// sockets of CoreDNS's.
func (at *laneAt) settle(sockets int) {
	if at.want != nil {
		at.want.Others = sockets
	}
	if at.lane != nil {
		if at.want != nil && at.lane.Config() == *at.want {
			return
		}
		old := at.lane
		at.lane = nil
		if old.Config().Others != sockets {
			old.Shifted()
		}
		ctx, cancel := context.WithTimeout(context.Background(), laneTimeout)
		defer cancel()
		lanes.Unlock()
		closeLanes(ctx, []*fastlane.Lane{old})
		lanes.Lock()
	}
	if at.want == nil {
		log.Infof("No fast lane at %s: %s", at.addr, at.why)
		return
	}
	var lane *fastlane.Lane
	lane, err := fastlane.Open(*at.want, fastlane.Options{
		Log: func(err error) { log.Errorf("Fast lane at %s: %v", at.addr, err) },
		Stalled: func() {
			lanes.Lock()
			defer lanes.Unlock()
			if at.lane == lane {
				at.lane = nil
			}
			at.counts.stalled.Add(1)
			log.Errorf("Fast lane at %s closed, the plugin chain answers", at.addr)
		},
	}, at.program)
	if err != nil {
		log.Warningf("No fast lane at %s: %v", at.addr, err)
		return
	}
	at.lane = lane
	log.Infof("Fast lane at %s open, with %d workers", at.addr, at.want.Workers)
}

// socketsAt returns how many UDP sockets i has at addr.
func socketsAt(i *caddy.Instance, addr string) (n int) {
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
