package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/cmd/clusterdns/check"
	"github.com/clusterdns/clusterdns/test/freeport"

	clog "github.com/coredns/coredns/plugin/pkg/log"
)

// TestCheckAgrees has check say whether the lane opens, and starts a server that
// does so or logs why not.
func TestCheckAgrees(t *testing.T) {
	needLane(t)
	const stanza = "clusterdns cluster.local {\nmanifests ../corefile-examples/quickstart/cluster\n}\n"
	open := 0
	for _, lines := range []string{
		"", "log", "log {\nclass error\n}", "acl {\nallow net *\n}", "bind 127.0.0.1", "autopath @clusterdns", "dns64",
		"rewrite name regex a b", "rewrite name exact a.example b.example", "hosts {\n10.0.0.1 web.shop.svc.cluster.local\nfallthrough\n}",
		"template ANY ANY cluster.local {\nrcode NXDOMAIN\n}", "minimal", "view v {\nexpr true\n}", "cache 30\nloadbalance\nprometheus 127.0.0.1:0",
	} {
		port := freeport.Of(t)
		corefile := fmt.Sprintf(".:%s {\n%s\n%s}\n", port, lines, stanza)
		r := check.Corefile("Corefile", []byte(corefile))
		clog.SetOutput(&logged)
		if len(r.Errors) > 0 || len(r.Lanes) != 1 {
			t.Errorf("%s: %v, %d lanes", lines, r.Errors, len(r.Lanes))
			continue
		}
		said := r.Lanes[0]
		_, before := logged.since(0)
		s := start(t, corefile)
		addr := strings.TrimPrefix(said.Listener, "dns://")
		eventually(t, func() string {
			log, _ := logged.since(before)
			if said.Open && laneAt(t, addr).open || !said.Open && strings.Contains(log, "No fast lane at "+addr+": "+said.Reason+"\n") {
				return ""
			}
			return fmt.Sprintf("%s: check says %+v, and the server %s", lines, said, log)
		})
		s.stop(t)
		if said.Open {
			open++
		}
	}
	if open < 4 {
		t.Errorf("only %d lanes open", open)
	}
}
