package load

import "github.com/miekg/dns"

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

// Latency is that of the answered queries, in microseconds. They are within 0.1 %.
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
	r.Duration = max(0, min(e.now(), e.end).Seconds()-e.begin.Seconds())
	if r.Duration > 0 {
		r.QPS = float64(r.Answered) / r.Duration
	}
	h := e.latency
	at := func(percentile float64) float64 { return float64(h.ValueAtQuantile(percentile)) / 1000 }
	r.Latency = Latency{Min: float64(h.Min()) / 1000, Mean: h.Mean() / 1000, P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(h.Max()) / 1000}
	return &r
}
