package clusterdns

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/lanes"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/caddy"
)

// claims are the feeds that the process's instances hold, from a handler's
// start until its instance is gone for good. CoreDNS tells of that in ways that
// leave gaps, so that whose turn is over is decided here:
//
//  1. A handler claims its feed when its instance starts. During a reload the
//     new instance claims before the old one lets go, so that the feed, shared
//     by both, never stops.
//  2. A claim is over when its instance is none of caddy.Instances() any more:
//     the old one after a reload that succeeded, even if another plugin's
//     OnShutdown failed, and the new one after a reload that did not.
//  3. Claims that are over are given up after every reload: if it succeeded,
//     CoreDNS says so (InstanceStartupEvent); if it did not, the running
//     instance is told. If that has no stanza of ours, nobody is, and a
//     discarded instance's claim lasts until the next reload.
//     A reload by signal to a Corefile without a stanza of ours does not say
//     so either; the old instance's OnShutdown does.
//  4. When the process ends, claims are given up after the servers stopped and
//     health's lameduck is over (OnFinalShutdown).
var claims struct {
	sync.Mutex
	list []*claimed
}

// claimed is a handler that holds its feed. After a reload that changed the
// source (another API server, credentials, or selection of objects) the index
// of the feed is empty, and stays so while the API server is away. Until it has
// all that the one before it has, the handler shows that one, which goes on
// being followed.
type claimed struct {
	h    *Handler
	ctx  context.Context // until it is given up
	stop context.CancelFunc

	old *kube.Feed // whose index h shows meanwhile; nil: its own
}

// feeds returns those that c holds. Claims are locked.
func (c *claimed) feeds() []*kube.Feed {
	if c.old == nil {
		return []*kube.Feed{c.h.feed}
	}
	return []*kube.Feed{c.h.feed, c.old}
}

// claim acquires h's feed.
func claim(h *Handler) (*claimed, error) {
	feed, err := h.cfg.acquire()
	if err != nil {
		return nil, err
	}
	h.feed = feed
	c := &claimed{h: h}
	c.ctx, c.stop = context.WithCancel(context.Background())
	claims.Lock()
	defer claims.Unlock()
	claims.list = append(claims.list, c)
	go c.report()
	return c, nil
}

// giveUp releases the feeds of the claims for which over holds.
func giveUp(over func(*Handler) bool) {
	var feeds []*kube.Feed
	defer func() {
		for _, feed := range feeds {
			feed.Release() // not with claims locked: it may wait for a disk
		}
	}()
	claims.Lock()
	defer claims.Unlock()
	claims.list = slices.DeleteFunc(claims.list, func(c *claimed) bool {
		if !over(c.h) {
			return false
		}
		c.stop()
		feeds = append(feeds, c.feeds()...)
		return true
	})
}

// isOver reports whether the instance of h, a Handler or consoleHandler, is no
// more. It is called from where
// instances come and go: caddy.Instances takes no lock.
func isOver[H comparable](h H) bool {
	return !slices.ContainsFunc(caddy.Instances(), func(i *caddy.Instance) bool {
		i.StorageMu.RLock()
		defer i.StorageMu.RUnlock()
		return i.Storage[h] != nil
	})
}

// hookStartup asks CoreDNS to tell of instances that have started. Every Setup
// does so again, because a reload by signal begins with forgetting all hooks.
func hookStartup() {
	if slices.Contains(caddy.ListPlugins()["event_hooks"], directive) {
		return
	}
	caddy.RegisterEventHook(directive, func(event caddy.EventName, info any) error {
		if event == caddy.InstanceStartupEvent {
			if i, ok := info.(*caddy.Instance); ok {
				lanes.Settle(i)
			}
			giveUp(isOver)
			consoles.release(isOver)
		}
		return nil
	})
}

func registerLifecycle(c *caddy.Controller, h *Handler) {
	hookStartup()
	c.Set(h, true) // see isOver
	giveUpOver := func() error {
		giveUp(isOver)
		return nil
	}
	c.OnRestartFailed(giveUpOver)
	c.OnShutdown(giveUpOver)
	c.OnFinalShutdown(func() error {
		giveUp(func(of *Handler) bool { return of == h })
		return nil
	})
}

// reportInterval is how often report looks: often enough that the log tells of
// an outage while one still wonders, with nothing to measure against a query.
const reportInterval = 500 * time.Millisecond

// report logs what goes wrong with the feeds of c, and that it goes right again,
// once each time, until c is given up.
func (c *claimed) report() {
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	failing := map[string]bool{}
	ignored := map[string]bool{}
	refused := map[string]uint64{}
	relists := map[string]time.Time{}
	stale := map[string]bool{}
	snapshots := map[string]snapshotReport{}
	contested := map[string]bool{}
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		claims.Lock()
		feeds := c.feeds()
		claims.Unlock()
		for i, feed := range feeds {
			instead := "names that depend on them are SERVFAIL"
			if i == 0 && len(feeds) > 1 {
				instead = "answering from the index of " + feeds[1].Source()
			}
			for _, s := range feed.Status() {
				reportStatus(s, failing, instead)
				reportStale(s, stale)
				reportIgnored(s, ignored)
				reportRelist(s, relists)
			}
			reportSnapshot(feed, snapshots)
			reportRefused(feed.Source(), feed.Index(), refused)
			if c.h.cfg.view.Gateway != nil {
				reportHosts(feed.Source(), feed.Index(), refused, contested)
			}
		}
	}
}

// reportRefused logs hostnames that ix, the index of source, refused since before,
// which has how many each source had.
func reportRefused(source string, ix *zone.Index, before map[string]uint64) {
	n, last := ix.RefusedNames()
	if had := before[source]; n > had {
		log.Warningf("%d EndpointSlices of %s came with a hostname that is no label of a domain name, the last, %s/%s, with %q: these endpoints have the names of their addresses",
			n-had, source, last.Slice.Namespace, last.Slice.Name, last.Name)
	}
	before[source] = n
}

// reportStatus logs s if that is news to failing, which has what fails. Instead
// says what is answered for what was never there.
func reportStatus(s kube.Status, failing map[string]bool, instead string) {
	name := s.Resource.String() + " of " + s.Source
	fails := s.Fails()
	switch {
	case fails && !failing[name] && s.Synced:
		known := s.LastContact
		if !s.StaleSince.IsZero() { // there may have been none
			known = s.StaleSince
		}
		log.Errorf("Lost %s, answering from what was known at %s: %v", name, known.Format(time.RFC3339), s.LastError)
	case fails && !failing[name]:
		log.Errorf("Cannot get %s, %s: %v", name, instead, s.LastError)
	case !fails && failing[name]:
		log.Infof("Following %s again", name)
	}
	failing[name] = fails
}

// reportRelist logs that s was listed anew since before, which has when each
// resource last was.
func reportRelist(s kube.Status, before map[string]time.Time) {
	name := s.Resource.String() + " of " + s.Source
	if s.RelistTime.After(before[name]) {
		log.Infof("Listing %s anew, as the API server does not go on from where the watch was: %v", name, s.Relist)
		before[name] = s.RelistTime
	}
}

// reportIgnored logs the kinds of s that are not among those in known.
func reportIgnored(s kube.Status, known map[string]bool) {
	fresh := slices.DeleteFunc(slices.Clone(s.IgnoredKinds), func(kind string) bool { return known[kind] })
	if len(fresh) == 0 {
		return
	}
	for _, kind := range fresh {
		known[kind] = true
	}
	log.Warningf("Manifests %s: objects of these kinds are ignored: %s", s.Source, strings.Join(fresh, ", "))
}
