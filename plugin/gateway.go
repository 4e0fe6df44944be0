package clusterdns

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/upstream"
)

const gatewayDirective = "k8s_gateway"

// gatewayResources are what option resources takes, by kind.
var gatewayResources = map[string]zone.Resource{
	"Service": zone.Services, "Ingress": zone.Ingresses, "Gateway": zone.Gateways, "HTTPRoute": zone.HTTPRoutes,
	"GRPCRoute": zone.GRPCRoutes, "TLSRoute": zone.TLSRoutes, "DNSEndpoint": zone.DNSEndpoints,
}

// defaultGatewayTTL is that of the plugin whose directive this is.
const defaultGatewayTTL = 60

// gatewayOptions is every option of a k8s_gateway stanza: the ones that the plugin
// of that name has, and those of ours that say where objects come from and who is
// answered.
var gatewayOptions = append([]option{
	{"apex", "NAME", 1, 1, func(cfg *config, args []string) error {
		cfg.view.Gateway.Apex = args[0]
		return nil
	}},
	{"gatewayClasses", "CLASS...", 1, -1, func(cfg *config, args []string) error {
		cfg.view.Gateway.GatewayClasses = append(cfg.view.Gateway.GatewayClasses, args...)
		return nil
	}},
	{"ingressClasses", "CLASS...", 1, -1, func(cfg *config, args []string) error {
		cfg.view.Gateway.IngressClasses = append(cfg.view.Gateway.IngressClasses, args...)
		return nil
	}},
	{"resources", "KIND...", 1, -1, func(cfg *config, args []string) error {
		g := cfg.view.Gateway
		for _, kind := range args {
			r, ok := gatewayResources[kind]
			if !ok {
				kinds := []string{}
				for kind := range gatewayResources {
					kinds = append(kinds, kind)
				}
				slices.Sort(kinds)
				return fmt.Errorf("%q is none of %v", kind, kinds)
			}
			if !slices.Contains(g.Resources, r) {
				g.Resources = append(g.Resources, r)
			}
		}
		return nil
	}},
	{"secondary", "NAME", 1, 1, func(cfg *config, args []string) error {
		cfg.view.Gateway.Secondary = args[0]
		return nil
	}},
}, slices.DeleteFunc(slices.Clone(options), func(o option) bool {
	return !slices.Contains([]string{"apiserver_burst", "apiserver_max_inflight", "apiserver_qps", "endpoint", "fallthrough",
		"kubeconfig", "manifests", "namespaces", "startup_timeout", "tls", "ttl"}, o.name)
})...)

// SetupGateway is the caddy.SetupFunc of the directive k8s_gateway: zones of the
// host names of Ingresses, the Gateway API, DNSEndpoints and Services that are
// reached from outside. It needs no other stanza of ours. If there is one that
// follows the same API server, they share what they follow.
func SetupGateway(c *caddy.Controller) error {
	cfg, err := parseGateway(c)
	if err != nil {
		return plugin.Error(gatewayDirective, err)
	}
	registerMetrics()
	h := &Handler{cfg: cfg, upstream: upstream.New()}
	h.starting.Store(true)
	server := dnsserver.GetConfig(c)
	registerStart(c, h, server)
	registerLifecycle(c, h)
	c.OnStartup(func() error {
		if cluster := clusterOf(server); cluster != nil {
			h.within = cluster.cfg.view.Zones
		}
		return nil
	})
	server.AddPlugin(func(next plugin.Handler) plugin.Handler {
		h.Next = next
		return h
	})
	return nil
}

func parseGateway(c *caddy.Controller) (*config, error) {
	c.Next()
	g := &zone.GatewayOptions{Apex: "dns1.kube-system"}
	cfg := &config{
		word: c.Val(), where: fmt.Sprintf("%s:%d", c.File(), c.Line()), startupTimeout: defaultStartupTimeout,
		view: zone.Options{TTL: defaultGatewayTTL, Gateway: g},
	}
	if err := parseStanza(c, cfg, gatewayOptions); err != nil {
		return nil, err
	}
	if len(g.Resources) == 0 {
		g.Resources = []zone.Resource{zone.Ingresses, zone.Services} // as that plugin has it
	}
	return cfg, nil
}

// reportHosts logs host names in ix, the index of source, that are none, and names
// that are contested, each once as long as it is among the first: refused has how
// many were refused before, and contested which names are known to be.
func reportHosts(source string, ix *zone.Index, refused map[string]uint64, contested map[string]bool) {
	key := source + " host names"
	n, last := ix.RefusedHosts()
	if had := refused[key]; n > had {
		log.Warningf("%d objects of %s came with a host name that is none, the last, %s %s/%s, with %q: it is left out",
			n-had, source, last.Of, last.Namespace, last.Name, last.Host)
	}
	refused[key] = n
	_, contests := ix.Contested(maxContests)
	for _, contest := range contests {
		if contested[contest.Host] || len(contested) >= 10*maxContests {
			continue
		}
		contested[contest.Host] = true
		var who []string
		for _, c := range contest.Claims[:min(len(contest.Claims), maxContestants)] {
			who = append(who, fmt.Sprintf("%s %s/%s", c.Of, c.Namespace, c.Name))
		}
		log.Warningf("Host name %s is claimed by objects that lead elsewhere, of which the first that leads anywhere has it: %s",
			contest.Host, strings.Join(who, ", "))
	}
}
