package clusterdns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/transport"
)

// startup starts the stanzas of one Corefile: all take hold of their feeds
// before the first waits for its own, so that their startup_timeouts run side
// by side.
type startup struct {
	stanzas []starting
	began   time.Time // zero: not yet
	first   bool      // the process has served nothing before
}

// starting is a stanza and its server.
type starting struct {
	h      *Handler
	server *dnsserver.Config
}

// startupKey is its key in a caddy instance's storage.
type startupKey struct{}

// registerStart has h start with the instance that it belongs to.
func registerStart(c *caddy.Controller, h *Handler, server *dnsserver.Config) {
	s, ok := c.Get(startupKey{}).(*startup)
	if !ok {
		s = new(startup)
		c.Set(startupKey{}, s)
	}
	h.starts = s
	s.stanzas = append(s.stanzas, starting{h, server})
	c.OnStartup(func() error { return s.start(h) })
}

// start is the startup callback of h. CoreDNS calls one after the other.
func (s *startup) start(h *Handler) error {
	if s.began.IsZero() {
		s.began = time.Now()
		claims.Lock()
		s.first = len(claims.list) == 0
		claims.Unlock()
		for _, of := range s.stanzas {
			of.h.listens = strings.Join(append([]string{of.server.Port}, of.server.ListenHosts...), " ")
			if err := of.h.open(localAddrs(of.server.ListenHosts)); err != nil {
				return plugin.Error(of.h.cfg.word, fmt.Errorf("%s: %w", of.h.cfg.where, err))
			}
		}
	}
	if err := h.wait(s.began); err != nil {
		if addr := s.taken(); addr != "" {
			return plugin.Error(h.cfg.word, fmt.Errorf("%s: the index is not complete after %v, and another process serves at %s, which goes on: %w",
				h.cfg.where, h.cfg.startupTimeout, addr, err))
		}
		log.Warningf("Starting without a complete index, names that depend on it are SERVFAIL: %v", err)
	}
	return nil
}

// taken returns an address at which the stanzas are about to be served and
// another process of the same user serves already, "" if there is none.
func (s *startup) taken() string {
	if !s.first {
		return "" // the sockets there are ours
	}
	for _, of := range s.stanzas {
		for _, host := range of.server.ListenHosts {
			if addr := net.JoinHostPort(host, of.server.Port); of.server.Transport == transport.DNS && fastlane.Strangers(addr, 0) > 0 {
				return addr
			}
		}
	}
	return ""
}

// open takes hold of the feed. If its index is empty where that of the stanza
// before it is not, it shows that until it no longer is: see claimed.
func (h *Handler) open(local []netip.Addr) error {
	c, err := claim(h)
	if err != nil {
		return err
	}
	if h.view, err = zone.NewView(h.feed.Index(), h.cfg.view); err != nil {
		return err
	}
	h.view.SetLocalAddrs(local)
	c.succeed()
	if h.external != nil {
		if err := h.external.follow(h, local); err != nil {
			return err
		}
	}
	h.starting.Store(false)
	h.feed.OnProgrammed(observeProgrammed)
	if h.view.Index() != h.feed.Index() {
		go c.takeOver()
	}
	return nil
}

// wait waits until the index that h shows is complete, but no longer than
// startup_timeout from began on: a server that answers SERVFAIL to some is
// better than none. Then it returns what is missing, and why.
func (h *Handler) wait(began time.Time) error {
	ctx, cancel := context.WithDeadline(context.Background(), began.Add(h.cfg.startupTimeout))
	defer cancel()
	for h.view.Index() == h.feed.Index() && !h.Ready() {
		tick, stop := context.WithTimeout(ctx, time.Second)
		err := h.feed.WaitSynced(tick, h.needs()...)
		stop()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		log.Infof("Waiting for the index: %v", err)
	}
	return nil
}

// predecessor returns the claim of the stanza that h takes the place of in a
// reload: one of another instance that has a zone with h in common, and listens
// where h does. If none listens there it is the only one with such a zone. It is
// nil if there is none, or nobody can tell which: two blocks at different ports
// may have one zone of two clusters. Claims are locked.
func predecessor(h *Handler) *claimed {
	var others []*claimed // with a zone in common
	for _, c := range slices.Backward(claims.list) {
		if c.h.starts == h.starts || c.h.view == nil ||
			!slices.ContainsFunc(h.cfg.view.Zones, func(zone string) bool { return slices.Contains(c.h.cfg.view.Zones, zone) }) {
			continue
		}
		others = append(others, c)
	}
	here := slices.DeleteFunc(slices.Clone(others), func(c *claimed) bool { return c.h.listens != h.listens })
	for _, c := range here {
		if slices.Equal(c.h.cfg.view.Zones, h.cfg.view.Zones) {
			return c
		}
	}
	switch {
	case len(here) > 0:
		return here[0]
	case len(others) == 1:
		return others[0]
	}
	return nil
}

// succeed lets c's handler show the index of its predecessor until its own is
// no worse.
func (c *claimed) succeed() {
	claims.Lock()
	defer claims.Unlock()
	before := predecessor(c.h)
	if before == nil || len(c.missing(before.h.view.Index())) == 0 {
		return
	}
	old := before.h.feed
	if before.old != nil { // it waits itself
		old = before.old
	}
	if c.old = old.Share(); c.old == nil {
		return
	}
	c.h.view.Show(c.old.Index())
	log.Infof("Answering from the index of %s until %s has synced", c.old.Source(), c.h.feed.Source())
}

// missing returns those of the resources that c's stanza needs that ix has and
// the index of its own feed has not, or has out of a snapshot alone.
func (c *claimed) missing(ix *zone.Index) []zone.Resource {
	return slices.DeleteFunc(c.h.view.Needs(), func(r zone.Resource) bool {
		own := c.h.feed.Index()
		return !ix.Synced(r) || own.Synced(r) && !own.Restored(r)
	})
}

// takeOver has c's handler show its own index as soon as nothing in it is
// missing.
func (c *claimed) takeOver() {
	old := c.h.view.Index()
	for {
		missing := c.missing(old)
		if len(missing) == 0 {
			break
		}
		if c.h.feed.WaitSynced(c.ctx, missing...) != nil {
			return // the claim is over
		}
	}
	claims.Lock()
	defer claims.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	c.h.view.Show(c.h.feed.Index())
	if c.h.external != nil {
		c.h.external.view.Show(c.h.feed.Index())
	}
	log.Infof("Answering from the index of %s, no longer from that of %s", c.h.feed.Source(), c.old.Source())
	c.old.Release()
	c.old = nil
}
