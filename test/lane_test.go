package test

import (
	"net"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/prometheus/client_golang/prometheus"
)

// Tests of servers with the fast lane. It opens only where the Corefile says
// the port, and only on Linux.

func needLane(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the fast lane is for Linux")
	}
}

// anyPort is the port of a server block that the kernel is to choose.
var anyPort = regexp.MustCompile(`:0\b`)

// withPort puts port in the place of 0 in the keys of the Corefile's server
// blocks.
func withPort(corefile, port string) string {
	var b strings.Builder
	for line := range strings.Lines(corefile) {
		if trimmed := strings.TrimSpace(line); strings.HasSuffix(trimmed, "{") && strings.TrimLeft(line, " \t") == line {
			line = anyPort.ReplaceAllLiteralString(line, ":"+port)
		}
		b.WriteString(line)
	}
	return b.String()
}

// laneCounts are what the metrics say of the lane at an address.
type laneCounts struct {
	open               bool
	answered, declined float64
	datagrams          float64 // received since the lane was opened
}

// laneAt returns the counts of the lane at an address as CoreDNS writes it,
// :53 say.
func laneAt(t testing.TB, addr string) (c laneCounts) {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		name, ok := strings.CutPrefix(f.GetName(), "coredns_clusterdns_fastlane_")
		if !ok {
			continue
		}
		for _, m := range f.GetMetric() {
			here := false
			for _, l := range m.GetLabel() {
				here = here || l.GetName() == "server" && l.GetValue() == "dns://"+addr
			}
			switch {
			case !here:
			case name == "open":
				c.open = m.GetGauge().GetValue() == 1
			case name == "answered_total":
				c.answered = m.GetCounter().GetValue()
			case name == "declined_total":
				c.declined += m.GetCounter().GetValue()
			case name == "batch_size":
				c.datagrams = m.GetHistogram().GetSampleSum()
			}
		}
	}
	return c
}

// TestShares has another socket take a part of what a server is asked.
func TestShares(t *testing.T) {
	needLane(t) // or the kernel tells of no sockets
	const corefile = ".:0 {\nwhoami\n}\n"
	s := start(t, corefile)
	if s.shares(t, corefile) {
		t.Error("a server alone shares its port")
	}
	_, port, _ := net.SplitHostPort(s.addr("udp"))
	other, err := reuseport.ListenPacket("udp", ":"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if !s.shares(t, corefile) {
		t.Error("a server beside another does not share its port")
	}
	if s.shares(t, ".:"+port+" {\nwhoami\n}\n") {
		t.Error("who chooses a port takes it as it is")
	}
}
