package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/coremain"
)

// version is the release or the commit. The linker sets it: make build and make
// image do, and set coremain.GitCommit too.
var version string

// init makes -version, the start-up line and version.bind say
// "clusterdns-0.1.0 (CoreDNS-1.15.0)". Where the linker was told nothing, it is
// what the go command stamps into a binary that it builds in a clone or as
// module@version.
func init() {
	info, ok := debug.ReadBuildInfo()
	if version == "" && ok {
		version = strings.Trim(strings.TrimPrefix(info.Main.Version, "v"), "()") // (devel) without a stamp
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				coremain.GitCommit = s.Value
			}
		}
	}
	caddy.AppName = "clusterdns"
	caddy.AppVersion = fmt.Sprintf("%s (%s-%s)", version, coremain.CoreName, coremain.CoreVersion)
}
