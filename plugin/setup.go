// Package clusterdns is the CoreDNS plugin of that name: a cluster DNS for
// Kubernetes. It reads the Corefile's stanza and joins the index of package
// zone, which package kube keeps in step with an API server, to CoreDNS's
// plugin chain.
package clusterdns

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/clusterdns/clusterdns/plugin/fastlane/kernel"
	"github.com/clusterdns/clusterdns/plugin/hitters"
	"github.com/clusterdns/clusterdns/plugin/kube"
	"github.com/clusterdns/clusterdns/plugin/lanes"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

const directive = "clusterdns"

var log = clog.NewWithPlugin(directive)

func init() {
	plugin.Register(directive, Setup)
	plugin.Register(consoleDirective, SetupConsole)
	// Here and not in Setup, because a reload must not race with client-go's
	// goroutines for it.
	klog.SetLogger(logr.New(clientLog{}))
}

// Setup is the caddy.SetupFunc of the directive clusterdns. A binary without
// CoreDNS's kubernetes plugin can register it for the word kubernetes as well.
func Setup(c *caddy.Controller) error {
	cfg, err := parse(c)
	if err != nil {
		return plugin.Error(directive, err)
	}
	// The two words are one plugin: it would stand in its own way.
	block := blockKey(c.ServerBlockIndex)
	if other := c.Get(block); other != nil {
		return plugin.Error(cfg.word, fmt.Errorf("%s: the server block has it already, as %s", cfg.where, other))
	}
	c.Set(block, cfg.word)

	if cfg.fastlane.kernel {
		if err := kernel.Reserve(); err != nil { // CoreDNS has no sockets yet, unless this is a reload
			log.Warningf("%s: %v", cfg.where, err)
		}
	}
	registerMetrics()
	h := &Handler{cfg: cfg, upstream: upstream.New(), negatives: newNegatives(cfg.negativeCache)}
	h.starting.Store(true)
	if path, err := searchDomains("/etc/resolv.conf"); err == nil {
		h.search = outsideOf(cfg.view.Zones, path)
	}
	server := dnsserver.GetConfig(c)
	registerStart(c, h, server)
	lanes.Register(c, lanes.Stanza{
		Stanza:  cfg.judged(),
		Workers: cfg.fastlane.workers, Fallthrough: cfg.fall.Zones,
		Kernel: cfg.fastlane.kernel, Interfaces: cfg.fastlane.interfaces,
		View: func() *zone.View { return h.view }, TruncatedTCP: truncatedTCP,
		Hitters: func() *hitters.Engine { return hittersOf(server) },
	})
	registerLifecycle(c, h)
	server.AddPlugin(func(next plugin.Handler) plugin.Handler {
		h.Next = next
		return h
	})
	return nil
}

// blockKey is the key in an instance's storage of the word by which a server
// block asked for this plugin.
type blockKey int

// acquire takes hold of the feed that cfg asks for.
func (cfg *config) acquire() (*kube.Feed, error) {
	if len(cfg.manifests) > 0 {
		return kube.AcquireManifests(cfg.manifests, cfg.feed)
	}
	return kube.Acquire(cfg.follows())
}

// follows returns what cfg wants of an API server.
func (cfg *config) follows() kube.Config {
	feed := cfg.feed
	feed.NoEndpoints = cfg.view.NoEndpoints
	feed.Pods = cfg.view.Pods == zone.PodsVerified
	feed.Multicluster = len(cfg.view.Multicluster) > 0
	if cfg.view.Gateway != nil {
		for _, r := range cfg.view.Gateway.Needs() {
			feed.Only |= 1 << r
		}
	}
	return feed
}

// localAddrs returns the addresses, other than loopback ones, that a server
// with these listen hosts is reached at.
func localAddrs(hosts []string) (addrs []netip.Addr) {
	if len(hosts) == 0 || hosts[0] == "" {
		ifaddrs, err := net.InterfaceAddrs()
		if err != nil {
			log.Warningf("Reading this host's addresses, to find the zones' name servers: %v", err)
		}
		hosts = nil
		for _, a := range ifaddrs {
			hosts = append(hosts, a.String())
		}
	}
	for _, host := range hosts {
		addr, err := netip.ParseAddr(host)
		if err != nil {
			prefix, err := netip.ParsePrefix(host) // as interfaces have them
			if err != nil {
				continue
			}
			addr = prefix.Addr()
		}
		if !addr.IsLoopback() {
			addrs = append(addrs, addr.Unmap().WithZone(""))
		}
	}
	return addrs
}
