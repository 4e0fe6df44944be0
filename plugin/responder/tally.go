package responder

import (
	"slices"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane"

	"github.com/coredns/coredns/plugin/metrics"
	"github.com/coredns/coredns/plugin/metrics/vars"
	"github.com/coredns/coredns/plugin/pkg/rcode"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// meter says under which labels CoreDNS's plugin prometheus counts the names at
// or below a zone.
type meter struct {
	zone   string
	wire   []byte // zone, in wire format and lower case
	server string
	plugin string
}

// newMeters returns the meters of a server with the plugin m, longest zone
// first and "." last.
func newMeters(m *metrics.Metrics, server string) ([]meter, error) {
	zones := m.ZoneNames()
	if !slices.Contains(zones, ".") {
		zones = append(slices.Clone(zones), ".")
	}
	var meters []meter
	for _, zone := range zones {
		wire, err := dnswire.AppendName(nil, strings.ToLower(zone))
		if err != nil {
			return nil, err
		}
		// CoreDNS says that the plugin behind prometheus writes the reply, whichever does.
		meters = append(meters, meter{zone, wire, server, m.Next.Name()})
	}
	slices.SortStableFunc(meters, func(a, b meter) int {
		return dnswire.CountLabels(b.wire) - dnswire.CountLabels(a.wire)
	})
	return meters, nil
}

// tally counts a worker's answers as the plugin prometheus counts the chain's:
// in the same metrics, under the same labels. It keeps them until a batch is on
// its way, and then reports the whole batch.
type tally struct {
	cells map[cellKey]*cell
	sizes []sizes // of the batch, in order
	last  *cell
	key   cellKey
	runs  []run
}

// sizes are the lengths in octets of a query and its reply.
type sizes struct{ query, reply int }

// run is answers in a row that are counted alike.
type run struct {
	cell *cell
	n    int
}

// cellKey is all that labels depend on.
type cellKey struct {
	meter     *meter
	tcp, ipv6 bool
	do        bool
	qtype     uint16
	rcode     uint8
}

// cell is the metrics of one key.
type cell struct {
	counters
	duration, querySize, replySize prometheus.Observer
}

// counters are those of its metrics that need no more than a number.
type counters struct {
	requests, responses prometheus.Counter
	do                  prometheus.Counter // nil: the query has no DO bit
}

func (c *counters) add(n float64) {
	c.requests.Add(n)
	c.responses.Add(n)
	if c.do != nil {
		c.do.Add(n)
	}
}

// view is the label of that name: the lane is closed where there are any.
const view = ""

func (k *cellKey) proto() string {
	if k.tcp {
		return "tcp"
	}
	return "udp"
}

func newCounters(k cellKey) counters {
	m, family := k.meter, "1"
	if k.ipv6 {
		family = "2"
	}
	c := counters{
		requests:  vars.RequestCount.WithLabelValues(m.server, m.zone, view, k.proto(), family, typeLabel(k.qtype)),
		responses: vars.ResponseRcode.WithLabelValues(m.server, m.zone, view, rcode.ToString(int(k.rcode)), m.plugin),
	}
	if k.do {
		c.do = vars.RequestDo.WithLabelValues(m.server, m.zone, view)
	}
	return c
}

func newCell(k cellKey) *cell {
	m := k.meter
	return &cell{
		counters:  newCounters(k),
		duration:  vars.RequestDuration.WithLabelValues(m.server, m.zone, view),
		querySize: vars.RequestSize.WithLabelValues(m.server, m.zone, view, k.proto()),
		replySize: vars.ResponseSize.WithLabelValues(m.server, m.zone, view, k.proto()),
	}
}

// typeLabel is what CoreDNS's metrics call a type of answered.
func typeLabel(qtype uint16) string {
	if qtype == dns.TypeNAPTR {
		return "other"
	}
	return dns.TypeToString[qtype]
}

func (t *tally) add(route *route, q *dnswire.Query, rcode uint8, from fastlane.Client, query, reply int) {
	k := cellKey{route.meter(q.Name), from.TCP, from.IPv6, q.DO, q.Type, rcode}
	if t.last == nil || k != t.key {
		c := t.cells[k]
		if c == nil {
			if t.cells == nil {
				t.cells = map[cellKey]*cell{}
			}
			c = newCell(k)
			t.cells[k] = c
		}
		t.last, t.key = c, k
		t.runs = append(t.runs, run{cell: c})
	} else if len(t.runs) == 0 {
		t.runs = append(t.runs, run{cell: t.last})
	}
	t.runs[len(t.runs)-1].n++
	t.sizes = append(t.sizes, sizes{query, reply})
}

// meter returns the meter of the longest zone that name is at or below. The
// last one is that of the root.
func (r *route) meter(name []byte) *meter {
	for i := range r.meters[:len(r.meters)-1] {
		if dnswire.IsSubdomain(name, r.meters[i].wire) {
			return &r.meters[i]
		}
	}
	return &r.meters[len(r.meters)-1]
}

// report counts the batch, whose queries took elapsed each.
func (t *tally) report(elapsed time.Duration) {
	took := elapsed.Seconds()
	sizes := t.sizes
	for _, run := range t.runs {
		c := run.cell
		c.add(float64(run.n))
		for _, s := range sizes[:run.n] {
			c.duration.Observe(took)
			c.querySize.Observe(float64(s.query))
			c.replySize.Observe(float64(s.reply))
		}
		sizes = sizes[run.n:]
	}
	t.runs, t.sizes = t.runs[:0], t.sizes[:0]
}
