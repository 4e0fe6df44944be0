// Command clusterdns is a CoreDNS server with the clusterdns plugin in the
// place of kubernetes and without the plugins that need a vendor's SDK. Flags,
// Corefile and signals are CoreDNS's own; docs/plugins.md in the repository
// says how to change what is linked. A subcommand as the first argument, and
// nowhere else, is a tool for operators: docs/commands.md.
package main

import (
	"fmt"
	"os"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/coredns/coredns/coremain"
)

func main() {
	if status, ok := runCommand(os.Args[1:]); ok {
		os.Exit(status)
	}
	// Nine tenths of the cgroup's memory, if it has a limit: the Go runtime is
	// to collect harder before the kernel kills. The environment's GOMEMLIMIT
	// goes before.
	if _, err := memlimit.Set(); err != nil {
		fmt.Fprintln(os.Stderr, "clusterdns:", err)
	}
	coremain.Run()
}
