// Command coredns is stock CoreDNS with all of its plugins: the peer that
// clusterdns is compared with.
package main

import (
	_ "github.com/coredns/coredns/core/plugin" // every plugin of plugin.cfg
	"github.com/coredns/coredns/coremain"
)

func main() { coremain.Run() }
