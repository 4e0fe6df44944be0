package responder

import (
	"maps"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/fastlane/kernel"

	"github.com/coredns/coredns/plugin/metrics/vars"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func valueOf(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// TestDrain: what the kernel counted is counted once, under the labels of the lane.
func TestDrain(t *testing.T) {
	counts := new(Counts)
	m := &meter{zone: "drained.example.", server: "dns://:53", plugin: "clusterdns"}
	rows := []struct {
		what   string
		c      prometheus.Counter
		before float64
		want   float64
	}{
		{what: "A", c: vars.RequestCount.WithLabelValues(m.server, m.zone, "", "udp", "1", "A"), want: 4},
		{what: "other", c: vars.RequestCount.WithLabelValues(m.server, m.zone, "", "udp", "2", "other"), want: 2},
		{what: "DO", c: vars.RequestDo.WithLabelValues(m.server, m.zone, ""), want: 4},
		{what: "NOERROR", c: vars.ResponseRcode.WithLabelValues(m.server, m.zone, "", "NOERROR", m.plugin), want: 4},
		{what: "NXDOMAIN", c: vars.ResponseRcode.WithLabelValues(m.server, m.zone, "", "NXDOMAIN", m.plugin), want: 2},
	}
	for i := range rows {
		rows[i].before = valueOf(t, rows[i].c) // of a run before this one
	}
	d := newDrain([]*meter{nil, m}, counts)
	im := newFakeImage(kernel.Config{})
	a := kernel.Cell{Meter: 1, DO: true, Type: dns.TypeA, Rcode: 0, N: 3}
	none := kernel.Cell{Meter: 1, IPv6: true, Type: dns.TypeNAPTR, Rcode: 3, N: 2}
	im.cells = []kernel.Cell{a, none, {Meter: 0, Type: dns.TypeA, N: 5}}
	im.passed["name"] = 7
	d.drain(im)
	d.drain(im)
	im.cells[0].N = 4
	im.passed["name"], im.passed["zone"] = 8, 1
	d.drain(im)
	for _, row := range rows {
		if got := valueOf(t, row.c) - row.before; got != row.want {
			t.Errorf("%s: %v, want %v", row.what, got, row.want)
		}
	}
	// Another image begins with zeros.
	next := newFakeImage(kernel.Config{})
	next.cells = []kernel.Cell{a}
	newDrain([]*meter{nil, m}, counts).drain(next)
	if got := counts.InKernel(); got != 4+2+5+3 {
		t.Errorf("%d queries in the kernel", got)
	}
	if got := maps.Collect(counts.Passed); !maps.Equal(got, map[string]uint64{"name": 8, "zone": 1}) {
		t.Errorf("passed %v", got)
	}
}
