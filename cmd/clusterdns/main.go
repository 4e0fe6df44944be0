// Command clusterdns is a CoreDNS server with the clusterdns plugin in the
// place of kubernetes and without the plugins that need a vendor's SDK. Flags,
// Corefile and signals are CoreDNS's own; docs/plugins.md in the repository
// says how to change what is linked.
package main

import "github.com/coredns/coredns/coremain"

func main() { coremain.Run() }
