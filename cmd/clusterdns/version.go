package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/coremain"
)

// init makes -version, the start-up line and version.bind say
// "clusterdns-0.1.0 (CoreDNS-1.15.0)". The go command stamps version and commit
// into a binary that it builds in a clone.
func init() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	version := strings.Trim(strings.TrimPrefix(info.Main.Version, "v"), "()") // (devel) without a stamp
	caddy.AppName = "clusterdns"
	caddy.AppVersion = fmt.Sprintf("%s (%s-%s)", version, coremain.CoreName, coremain.CoreVersion)
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			coremain.GitCommit = s.Value
		}
	}
}
