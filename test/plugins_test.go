package test

import (
	"slices"

	_ "github.com/clusterdns/clusterdns/cmd/clusterdns/stock" // the plugins, as the binary has them

	"github.com/coredns/coredns/core/dnsserver"
)

// Behind everything else stands a plugin that fails.
func init() {
	if err := dnsserver.SetDirectives(append(slices.Clone(dnsserver.Directives), "faulty")); err != nil {
		panic(err)
	}
}
