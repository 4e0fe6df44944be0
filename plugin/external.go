package clusterdns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/miekg/dns"
)

const externalDirective = "k8s_external"

// externalOptions is every option of a k8s_external stanza.
var externalOptions = append([]option{
	{"apex", "LABEL", 1, 1, func(cfg *config, args []string) error {
		if n, ok := dns.IsDomainName(args[0]); !ok || n != 1 {
			return fmt.Errorf("%q is no single label", args[0])
		}
		cfg.view.External.Apex = args[0]
		return nil
	}},
	{"headless", "", 0, 0, func(cfg *config, _ []string) error {
		cfg.view.External.Headless = true
		return nil
	}},
}, slices.DeleteFunc(slices.Clone(options), func(o option) bool { return o.name != "fallthrough" && o.name != "ttl" })...)

// SetupExternal is the caddy.SetupFunc of the directive k8s_external, for a
// binary without CoreDNS's plugin of that name, which wants CoreDNS's kubernetes
// beside it. The Handler it makes answers for external zones from the index of
// the stanza clusterdns, or kubernetes, of the same server block. The directive
// is to stand before those, as in CoreDNS's order: what starts first is told by
// what starts later that there is an index.
func SetupExternal(c *caddy.Controller) error {
	cfg, err := parseExternal(c)
	if err != nil {
		return plugin.Error(externalDirective, err)
	}
	h := &Handler{cfg: cfg, upstream: upstream.New()}
	h.starting.Store(true)
	server := dnsserver.GetConfig(c)
	c.OnStartup(func() error {
		cluster := clusterOf(server)
		if cluster == nil {
			return plugin.Error(externalDirective, fmt.Errorf("%s: the server block has neither clusterdns nor kubernetes", cfg.where))
		}
		// Here and not in follow: metrics are collected once cluster has its feed.
		h.negatives = newNegatives(cluster.cfg.negativeCache)
		cluster.external = h
		return nil
	})
	server.AddPlugin(func(next plugin.Handler) plugin.Handler {
		h.Next = next
		return h
	})
	return nil
}

func parseExternal(c *caddy.Controller) (*config, error) {
	c.Next()
	cfg := &config{
		word:  c.Val(),
		where: fmt.Sprintf("%s:%d", c.File(), c.Line()),
		view:  zone.Options{TTL: defaultTTL, External: &zone.ExternalOptions{Apex: "dns"}},
	}
	return cfg, parseStanza(c, cfg, externalOptions)
}

// clusterOf returns the handler of the server's cluster zones, nil if it has
// none.
func clusterOf(server *dnsserver.Config) *Handler {
	for _, word := range []string{directive, "kubernetes"} {
		if h, ok := server.Handler(word).(*Handler); ok {
			return h
		}
	}
	return nil
}

// follow makes h, of a k8s_external stanza, answer from cluster's index. What
// cluster hides it hides.
func (h *Handler) follow(cluster *Handler, local []netip.Addr) (err error) {
	opt := h.cfg.view
	of := &cluster.cfg.view
	opt.NoEndpoints, opt.Namespaces, opt.SelectedNamespaces = of.NoEndpoints, of.Namespaces, of.SelectedNamespaces
	if h.view, err = zone.NewView(cluster.view.Index(), opt); err != nil {
		return fmt.Errorf("%s at %s: %w", externalDirective, h.cfg.where, err)
	}
	h.view.SetLocalAddrs(local)
	h.starting.Store(false)
	return nil
}

// chaseHosts completes an answer of an external zone that refers to host names:
// with what their CNAMEs lead to, or the addresses of SRV targets as far as they
// are to be had. A host name that cannot be resolved is left out; if nothing
// remains then it is a server failure, and chaseHosts returns nil.
func (h *Handler) chaseHosts(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, name []byte, a *zone.Answer) *dns.Msg {
	m := message(r, name, a)
	if a.Stale() {
		defer addExtendedError(r, m, dns.ExtendedErrorCodeStaleAnswer, "")
	}
	qtype := r.Question[0].Qtype
	for _, host := range a.Hosts() {
		if qtype == dns.TypeSRV {
			for _, addrType := range []uint16{dns.TypeA, dns.TypeAAAA} {
				if reply := h.resolve(ctx, w, r, host, addrType); reply != nil {
					m.Extra = append(m.Extra, reply.Answer...)
				}
			}
			continue
		}
		reply := h.resolve(ctx, w, r, host, qtype)
		if reply == nil {
			target := dnswire.NameString(host)
			m.Answer = slices.DeleteFunc(m.Answer, func(rr dns.RR) bool {
				cname, ok := rr.(*dns.CNAME)
				return ok && cname.Target == target
			})
			continue
		}
		m.Truncated = m.Truncated || reply.Truncated
		m.Answer = append(m.Answer, reply.Answer...)
	}
	if len(m.Answer) == 0 {
		return nil
	}
	return m
}
