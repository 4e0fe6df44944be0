package main

import (
	_ "github.com/clusterdns/clusterdns/cmd/clusterdns/stock"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
)

// leftOut holds the stock plugins that are not linked, each with the reason.
var leftOut = []struct{ name, why string }{
	{"azure", "needs the Azure SDK"},
	{"clouddns", "needs the Google Cloud SDK"},
	{"etcd", "needs the etcd client"},
	{"nomad", "needs the Nomad client"},
	{"route53", "needs the AWS SDK"},
	{"trace", "needs the Datadog and Zipkin tracers"},
}

func init() {
	// A loader runs after -plugins has listed what is linked, and before the
	// first Corefile is parsed. On a reload it runs again.
	caddy.RegisterCaddyfileLoader("left out", caddy.LoaderFunc(func(string) (caddy.Input, error) {
		registerLeftOut()
		return nil, nil
	}))
}

// registerLeftOut gives each left-out directive a setup function that says where
// to read on, unless a build of somebody's own has linked the plugin.
func registerLeftOut() {
	for _, p := range leftOut {
		if _, err := caddy.DirectiveAction("dns", p.name); err == nil {
			continue
		}
		plugin.Register(p.name, func(c *caddy.Controller) error {
			c.Next() // onto the directive, whose file and line Errf names
			return plugin.Error(p.name, c.Errf("%s is not in this binary, because it %s: "+
				"docs/plugins.md in github.com/clusterdns/clusterdns says how to build one that has it", p.name, p.why))
		})
	}
}
