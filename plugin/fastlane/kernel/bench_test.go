//go:build linux && (amd64 || arm64)

package kernel

import (
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// BenchmarkLane has the kernel time the program. It runs a packet once at a time, since
// a reply is no query any more; the time of a run has the clock's own in it, and that
// of the caches that a system call leaves: "closed" is a program that does nothing.
func BenchmarkLane(b *testing.B) {
	im := opened(b, cluster(), 200000)
	check(b, im.Set(labels("shop"), Name{}))
	check(b, im.Set(labels("web.shop"), Name{A: packed("10.96.0.1"), AAAA: packed("fd00::1")}))
	for i := range 100000 {
		check(b, im.Set(labels("web"+string(rune('a'+i%26))+time.Duration(i).String()+".shop"), Name{A: packed("10.96.0.1")}))
	}
	for _, bc := range []struct {
		name, question string
		open           bool
		verdict        uint32
	}{
		{"closed", "web.shop.svc.cluster.local.", false, next},
		{"A", "web.shop.svc.cluster.local.", true, redirect},
		{"NXDOMAIN", "web.shop.svc.cluster.local.default.svc.cluster.local.", true, redirect},
		{"outside", "www.example.com.", true, next},
	} {
		b.Run(bc.name, func(b *testing.B) {
			im.State(bc.open, bc.open, 1)
			m, err := new(dns.Msg).SetQuestion(bc.question, dns.TypeA).Pack()
			check(b, err)
			frame := over4(m).frame()
			times := make([]time.Duration, 0, b.N)
			for b.Loop() {
				verdict, d, err := im.coll.Programs["lane"].Benchmark(frame, 1, nil)
				if err != nil || verdict != bc.verdict {
					b.Fatal(verdict, err)
				}
				times = append(times, d)
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2]), "ns/packet")
			im.State(false, false, 0)
		})
	}
}
