package clusterdns

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clusterdns/clusterdns/plugin/console"
	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/hitters"
	"github.com/clusterdns/clusterdns/plugin/lanes"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/miekg/dns"
)

const consoleDirective = "console"

// SetupConsole is the caddy.SetupFunc of the directive console. The Handler it
// makes counts who asks what in its server block, and so does the lane in front
// of it; a page shows that. It is to stand in front of the plugins that answer.
func SetupConsole(c *caddy.Controller) error {
	addr, err := parseConsole(c)
	if err != nil {
		return plugin.Error(consoleDirective, err)
	}
	h := &consoleHandler{addr: addr, where: fmt.Sprintf("%s:%d", c.File(), c.Line())}
	hookStartup()
	c.Set(h, true) // see isOver
	c.OnStartup(func() error {
		if err := consoles.acquire(h); err != nil {
			return plugin.Error(consoleDirective, fmt.Errorf("%s: %w", h.where, err))
		}
		return nil
	})
	giveUpOver := func() error {
		consoles.release(isOver)
		return nil
	}
	c.OnRestartFailed(giveUpOver)
	c.OnShutdown(giveUpOver)
	c.OnFinalShutdown(func() error {
		consoles.release(func(of *consoleHandler) bool { return of == h })
		return nil
	})
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		h.next = next
		return h
	})
	return nil
}

// parseConsole reads a stanza. Its errors name file, line and value.
func parseConsole(c *caddy.Controller) (netip.AddrPort, error) {
	c.Next()
	args := c.RemainingArgs()
	text := console.DefaultAddr
	switch len(args) {
	case 0:
	case 1:
		text = args[0]
	default:
		return netip.AddrPort{}, c.Errf("console takes %q, not %q", "[ADDRESS:PORT]", strings.Join(args, " "))
	}
	addr, err := console.ParseAddr(text)
	if err != nil {
		return addr, c.Errf("%v", err)
	}
	if c.NextBlock() {
		return addr, c.Errf("console has no options such as %q", c.Val())
	}
	if c.Next() {
		return addr, c.Err("a second console in one server block")
	}
	return addr, nil
}

// consoleHandler counts the questions of one server block. It is a
// plugin.Handler.
type consoleHandler struct {
	next   plugin.Handler
	addr   netip.AddrPort
	where  string          // in the Corefile
	engine *hitters.Engine // since the start
}

// Name implements plugin.Handler.
func (h *consoleHandler) Name() string { return consoleDirective }

// ServeDNS implements plugin.Handler. What the server asks itself, for the
// target of an ExternalName, it does not count.
func (h *consoleHandler) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if depth, _ := ctx.Value(dnsserver.LoopKey{}).(int); depth > 0 {
		return plugin.NextOrFailure(h.Name(), h.next, ctx, w, r)
	}
	start := time.Now()
	rec := dnstest.NewRecorder(w)
	rcode, err := plugin.NextOrFailure(h.Name(), h.next, ctx, rec, r)
	answered := rec.Rcode
	if rec.Msg == nil {
		answered = rcode // the server writes that
	}
	var buf [256]byte
	if name, packErr := dnswire.AppendName(buf[:0], r.Question[0].Name); packErr == nil {
		h.engine.Add(name, addrOf(w.RemoteAddr()), answered, hitters.Chain, time.Since(start))
	}
	return rcode, err
}

// addrOf returns the address of one who asks, the zero Addr if it has none.
func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr()
	case *net.TCPAddr:
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}

// hittersOf returns what counts for the console of a server block, nil if it has
// none.
func hittersOf(server *dnsserver.Config) *hitters.Engine {
	if h, ok := server.Handler(consoleDirective).(*consoleHandler); ok {
		return h.engine
	}
	return nil
}

// consoleSet is the consoles of the process. They outlive instances: a reload
// takes hold of an address before the old instance lets go of it, so that one
// that stays is never closed. Whose turn is over is decided as for claims.
type consoleSet struct {
	sync.Mutex
	engine  *hitters.Engine // of all, as long as there is one
	stop    chan struct{}   // of engine
	shown   *console.Console
	holders []*consoleHandler
	servers map[netip.AddrPort]*console.Server
}

var consoles consoleSet

// acquire has h's address served.
func (s *consoleSet) acquire(h *consoleHandler) error {
	s.Lock()
	defer s.Unlock()
	if s.engine == nil {
		s.engine, s.stop, s.servers = hitters.New(), make(chan struct{}), map[netip.AddrPort]*console.Server{}
		s.shown = console.New(s.engine, consoleSource{}, caddy.AppVersion, func(err error) { log.Error(err) })
		go s.engine.Run(s.stop)
	}
	s.holders = append(s.holders, h)
	h.engine = s.engine
	if s.servers[h.addr] != nil {
		return nil
	}
	server, err := console.Listen(h.addr, s.shown)
	if err != nil {
		s.drop(func(of *consoleHandler) bool { return of == h })
		return err
	}
	s.servers[h.addr] = server
	log.Infof("Console at http://%s: who reaches it sees who asks what", server.Addr())
	return nil
}

// release gives up what those hold for which over holds.
func (s *consoleSet) release(over func(*consoleHandler) bool) {
	s.Lock()
	defer s.Unlock()
	s.drop(over)
}

// drop is release, with s locked.
func (s *consoleSet) drop(over func(*consoleHandler) bool) {
	s.holders = slices.DeleteFunc(s.holders, over)
	for addr, server := range s.servers {
		if !slices.ContainsFunc(s.holders, func(h *consoleHandler) bool { return h.addr == addr }) {
			server.Close()
			delete(s.servers, addr)
		}
	}
	if len(s.holders) == 0 && s.engine != nil {
		close(s.stop)
		s.engine, s.stop, s.shown = nil, nil, nil
	}
}

// consoleSource tells a console of the process's feeds and lanes.
type consoleSource struct{}

// Feeds implements console.Source.
func (consoleSource) Feeds() (list []console.Feed) {
	claims.Lock()
	defer claims.Unlock()
	seen := map[string]bool{}
	for _, c := range claims.list {
		for _, feed := range c.feeds() {
			if seen[feed.Source()] {
				continue
			}
			seen[feed.Source()] = true
			for _, s := range feed.Status() {
				f := console.Feed{
					Source: s.Source, Resource: s.Resource.String(), Synced: s.Synced, Objects: s.Objects,
					LastEvent: s.LastEvent, LastContact: s.LastContact, StaleSince: s.StaleSince, ResourceVersion: s.ResourceVersion,
				}
				if s.Fails() {
					f.Error = s.LastError.Error()
				}
				list = append(list, f)
			}
		}
	}
	return list
}

// Lanes implements console.Source.
func (consoleSource) Lanes() (list []console.Lane) {
	for _, s := range lanes.States() {
		list = append(list, console.Lane{
			Addr: s.Addr, Open: s.Open, Why: s.Why, Answered: s.Counts.Answered(), Declined: maps.Collect(s.Counts.Declined),
		})
	}
	return list
}

// Views implements console.Source. Of a stanza that stands in two instances, as
// during a reload, the last is shown.
func (consoleSource) Views() (list []console.View) {
	claims.Lock()
	defer claims.Unlock()
	for _, c := range slices.Backward(claims.list) {
		if c.h.starting.Load() || slices.ContainsFunc(list, func(v console.View) bool { return v.Where == c.h.cfg.where }) {
			continue
		}
		list = append(list, console.View{Where: c.h.cfg.where, Zones: c.h.cfg.view.Zones, View: c.h.view})
	}
	slices.Reverse(list)
	return list
}
