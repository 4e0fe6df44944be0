package load

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Result is what a run measured: of the queries that were due after the warm-up,
// but for Wrong and FirstWrong, which count from the start.
type Result struct {
	Proto    string  `json:"proto"`      // udp or tcp
	Mode     string  `json:"mode"`       // closed or open
	Rate     float64 `json:"rate"`       // of an open loop, in queries a second
	Duration float64 `json:"duration_s"` // of the measurement, without warm-up
	Sockets  int     `json:"sockets"`
	InFlight int     `json:"inflight"`

	// Sent is the number of queries, which are answered or lost in the end. In
	// an open loop it has those that should have been sent but found no room
	// until they had timed out.
	Sent     uint64 `json:"sent"`
	Answered uint64 `json:"answered"`
	Lost     uint64 `json:"lost"`
	// Wrong is the number of answered queries whose answer was not the expected
	// one, and FirstWrong says what was asked, expected and answered.
	Wrong      uint64 `json:"wrong"`
	FirstWrong string `json:"first_wrong"`
	Truncated  uint64 `json:"truncated"`
	// Unmatched is the number of messages that answered no open query: late,
	// twice, or with another question.
	Unmatched  uint64 `json:"unmatched"`
	Reconnects uint64 `json:"reconnects"` // of TCP connections that the server closed

	QPS    float64           `json:"qps"` // answered queries a second
	Rcodes map[string]uint64 `json:"rcodes"`

	Latency Latency `json:"latency_us"`
}

// Latency is that of the answered queries, in microseconds. Percentiles are within 0.4 %.
type Latency struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func (e *engine) result() *Result {
	r := e.counts
	r.Rcodes = make(map[string]uint64)
	for rcode, n := range e.rcodes {
		if n > 0 {
			r.Rcodes[dns.RcodeToString[rcode]] = n
		}
	}
	r.Duration = min(e.now(), e.end).Seconds() - e.begin.Seconds()
	if r.Duration > 0 {
		r.QPS = float64(r.Answered) / r.Duration
	} else {
		r.Duration = 0
	}
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	h := &e.latency
	r.Latency = Latency{Min: us(h.min), Mean: us(h.mean()), P50: us(h.quantile(0.50)), P90: us(h.quantile(0.90)),
		P99: us(h.quantile(0.99)), P999: us(h.quantile(0.999)), Max: us(h.max)}
	return &r
}

// String is the result for people, in several lines.
func (r *Result) String() string {
	var b strings.Builder
	mode := r.Mode + " loop"
	if r.Mode == "open" {
		mode += fmt.Sprintf(" at %.0f q/s", r.Rate)
	}
	fmt.Fprintf(&b, "%s, %s, %d sockets, %d in flight each, %.2f s\n", r.Proto, mode, r.Sockets, r.InFlight, r.Duration)
	fmt.Fprintf(&b, "queries   %d sent, %d answered, %d lost (%.3f %%)\n", r.Sent, r.Answered, r.Lost, percent(r.Lost, r.Sent))
	fmt.Fprintf(&b, "rate      %.0f q/s\n", r.QPS)
	b.WriteString("answers  ")
	names := make([]string, 0, len(r.Rcodes))
	for name := range r.Rcodes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, " %s %d", name, r.Rcodes[name])
	}
	fmt.Fprintf(&b, ", %d wrong, %d truncated", r.Wrong, r.Truncated)
	if r.Unmatched > 0 {
		fmt.Fprintf(&b, ", %d to no open question", r.Unmatched)
	}
	if r.Reconnects > 0 {
		fmt.Fprintf(&b, ", %d connections closed by the server", r.Reconnects)
	}
	l := r.Latency
	fmt.Fprintf(&b, "\nlatency   min %.0f  mean %.0f  p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  max %.0f µs\n",
		l.Min, l.Mean, l.P50, l.P90, l.P99, l.P999, l.Max)
	if r.Wrong > 0 {
		fmt.Fprintf(&b, "first wrong answer: %s\n", r.FirstWrong)
	}
	return b.String()
}

func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
