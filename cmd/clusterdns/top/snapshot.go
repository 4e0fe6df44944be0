package top

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/clusterdns/clusterdns/plugin/console"
	"github.com/clusterdns/clusterdns/plugin/lanes"
)

// Snapshot is what all servers together have answered lately. Its JSON is the
// output of --once -o json.
type Snapshot struct {
	Time    time.Time `json:"time"`
	Servers []Server  `json:"servers"`

	Questions uint64  `json:"questions"` // since the servers began to count
	PerSecond float64 `json:"perSecond"`
	Lane      float64 `json:"laneShare"` // of the questions a second, answered by the fast lane
	RCodes    []Row   `json:"rcodes"`
	Latency   Latency `json:"latencySeconds"`

	// What was asked most within about the last minute. OneIn is that every
	// so-manieth question was looked at: 1 is all, and then counts are exact.
	OneIn      uint32 `json:"oneIn"`
	Names      []Row  `json:"names"` // that exist
	NXDomain   []Row  `json:"nxdomain"`
	Clients    []Row  `json:"clients"`
	Namespaces []Row  `json:"namespaces"` // whose names were asked for
}

// Server is one that was asked for its part.
type Server struct {
	Name      string  `json:"name"`
	Version   string  `json:"version,omitempty"`
	Error     string  `json:"error,omitempty"` // why it has no part
	PerSecond float64 `json:"perSecond"`
	// Lanes are the fast lanes that are closed, with the reason.
	Closed []string `json:"closedLanes,omitempty"`
}

// Row is one line of a table.
type Row struct {
	Key       string  `json:"key"`
	Of        string  `json:"of,omitempty"` // the name's namespace, or the client's pod
	PerSecond float64 `json:"perSecond"`
	Share     float64 `json:"share"`           // of its table
	Count     uint64  `json:"count,omitempty"` // at most, and Count-Error at least
	Error     uint64  `json:"error,omitempty"`
}

// Latency is how long answers took, in seconds. Quantiles are those of the
// servers' histograms, and 0 if they are not to be had.
type Latency struct {
	Mean  float64 `json:"mean"`
	Lane  float64 `json:"meanLane"`
	Chain float64 `json:"meanChain"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
}

// sample is what a server said at one time.
type sample struct {
	report   *console.Report
	duration histogram
}

// polled is a server with its last two samples, the older of which may be nil.
type polled struct {
	name        string
	before, now *sample
	err         error
}

// recent is how far back rates of a server are taken that was asked only once.
const recent = 30 * time.Second

// rates returns how many questions a second p has answered lately.
func (p polled) rates() (lane, chain tally) {
	now := p.now.report
	if p.before != nil {
		before := p.before.report
		if dt := now.Time.Sub(before.Time).Seconds(); dt > 0 && before.Since.Equal(now.Since) {
			return less(now.Totals.Lane, before.Totals.Lane).per(dt), less(now.Totals.Chain, before.Totals.Chain).per(dt)
		}
	}
	seconds := 0.0
	for _, point := range now.History {
		if now.Time.Sub(point.At) < recent {
			seconds += point.Seconds
			lane = lane.plus(tallyOf(point.Lane))
			chain = chain.plus(tallyOf(point.Chain))
		}
	}
	if seconds == 0 { // it has just begun
		seconds = now.Time.Sub(now.Since).Seconds()
		lane, chain = tallyOf(now.Totals.Lane), tallyOf(now.Totals.Chain)
	}
	return lane.per(seconds), chain.per(seconds)
}

// tally is a console.Tally, or so many a second.
type tally struct {
	rcodes  [4]float64
	seconds float64
}

var rcodeNames = [4]string{"NOERROR", "NXDOMAIN", "SERVFAIL", "other"}

func tallyOf(t console.Tally) tally {
	return tally{[4]float64{float64(t.NoError), float64(t.NXDomain), float64(t.ServFail), float64(t.Other)}, t.Seconds}
}

func less(a, b console.Tally) tally { return tallyOf(a).plus(tallyOf(b).times(-1)) }

func (t tally) plus(o tally) tally {
	for i := range t.rcodes {
		t.rcodes[i] += o.rcodes[i]
	}
	t.seconds += o.seconds
	return t
}

func (t tally) times(x float64) tally {
	for i := range t.rcodes {
		t.rcodes[i] *= x
	}
	t.seconds *= x
	return t
}

func (t tally) per(seconds float64) tally {
	if !(seconds > 1e-3) { // a server may say anything
		return tally{}
	}
	return t.times(1 / seconds)
}

func (t tally) sum() (n float64) {
	for _, x := range t.rcodes {
		n += x
	}
	return n
}

// mean returns how long one took.
func (t tally) mean() float64 { return ratio(t.seconds, t.sum()) }

// ratio returns a/b, and 0 where that is no number from 0.
func ratio(a, b float64) float64 {
	if r := a / b; r > 0 && !math.IsInf(r, 0) {
		return r
	}
	return 0
}

// Bounds of what is kept of what servers say.
const (
	maxRows  = 1000 // of each table
	maxLanes = 16   // of each server
)

// merge returns what servers said, together. PodOf returns the pod of a client's
// address, or "".
func merge(now time.Time, servers []polled, podOf func(addr string) string) Snapshot {
	s := Snapshot{Time: now, Servers: []Server{}, RCodes: []Row{}, OneIn: 1}
	var lane, chain tally
	var duration histogram
	names, missing, clients, namespaces := rows{}, rows{}, rows{}, rows{}
	for _, p := range servers {
		server := Server{Name: clean(p.name)}
		if p.err != nil {
			server.Error = clean(p.err.Error())
			s.Servers = append(s.Servers, server)
			continue
		}
		r := p.now.report
		l, c := p.rates()
		lane, chain = lane.plus(l), chain.plus(c)
		server.Version, server.PerSecond = clean(r.Version), l.sum()+c.sum()
		for _, at := range r.Lanes[:min(len(r.Lanes), maxLanes)] {
			if !at.Open && at.Why != lanes.NotServed {
				server.Closed = append(server.Closed, clean("no fast lane at "+at.Addr+": "+at.Why))
			}
		}
		s.Servers = append(s.Servers, server)
		s.Questions += r.Totals.Lane.Sum() + r.Totals.Chain.Sum()
		s.OneIn = max(s.OneIn, r.OneIn)
		duration = duration.plus(p.duration())
		for _, n := range r.Names {
			names.add(n.Name, n.Namespace, n.Count, n.Error, r.Window)
			namespaces.add(cmp.Or(n.Namespace, outside), "", n.Count, n.Error, r.Window)
		}
		for _, n := range r.NXDomain {
			missing.add(n.Name, n.Namespace, n.Count, n.Error, r.Window)
			namespaces.add(cmp.Or(n.Namespace, outside), "", n.Count, n.Error, r.Window)
		}
		for _, c := range r.Clients {
			addr := c.Addr.Unmap().String()
			clients.add(addr, podOf(addr), c.Count, c.Error, r.Window)
		}
	}
	all := lane.plus(chain)
	s.PerSecond, s.Lane = all.sum(), ratio(lane.sum(), all.sum())
	for i, name := range rcodeNames {
		s.RCodes = append(s.RCodes, Row{Key: name, PerSecond: all.rcodes[i], Share: ratio(all.rcodes[i], all.sum())})
	}
	s.Latency = Latency{Mean: all.mean(), Lane: lane.mean(), Chain: chain.mean(), P50: duration.quantile(0.5), P99: duration.quantile(0.99)}
	s.Names, s.NXDomain, s.Clients, s.Namespaces = names.list(), missing.list(), clients.list(), namespaces.list()
	return s
}

// outside is the namespace of names that are in none.
const outside = "(none)"

// rows are those of a table, by key.
type rows map[string]*Row

func (t rows) add(key, of string, count, lacks uint64, window float64) {
	key = clean(key)
	r, ok := t[key]
	if !ok {
		r = &Row{Key: key, Of: clean(of)}
		t[key] = r
	}
	r.Count += count
	r.Error += min(lacks, count)
	r.PerSecond += ratio(float64(count-min(lacks, count)), window)
}

// list returns the rows, the most first.
func (t rows) list() []Row {
	total := 0.0
	for _, r := range t {
		total += r.PerSecond
	}
	list := []Row{}
	for _, r := range t {
		r.Share = ratio(r.PerSecond, total)
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.PerSecond, a.PerSecond), cmp.Compare(a.Key, b.Key))
	})
	return list[:min(len(list), maxRows)]
}

// clean makes text of others fit for a terminal: what does not print becomes a
// question mark.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// histogram has how many answers took no longer than each bound, in seconds.
type histogram map[float64]float64

func (h histogram) plus(o histogram) histogram {
	sum := maps.Clone(h)
	if sum == nil {
		sum = histogram{}
	}
	for bound, n := range o {
		sum[bound] += n
	}
	return sum
}

// duration returns p's histogram since the sample before, or since its start if
// there is none or it began anew.
func (p polled) duration() histogram {
	now := p.now.duration
	if p.before == nil {
		return now
	}
	since := histogram{}
	for bound, n := range now {
		if n < p.before.duration[bound] {
			return now
		}
		since[bound] = n - p.before.duration[bound]
	}
	return since
}

// quantile returns a bound that a share q of the answers is within, as
// Prometheus' histogram_quantile does; 0 if there are none.
func (h histogram) quantile(q float64) float64 {
	bounds := slices.Sorted(maps.Keys(h))
	if len(bounds) == 0 {
		return 0
	}
	rank := q * h[bounds[len(bounds)-1]]
	if rank <= 0 {
		return 0
	}
	lower, below := 0.0, 0.0
	for i, bound := range bounds {
		if h[bound] >= rank {
			if i == len(bounds)-1 && i > 0 { // +Inf
				return bounds[i-1]
			}
			return lower + (bound-lower)*ratio(rank-below, h[bound]-below)
		}
		lower, below = bound, h[bound]
	}
	return 0
}
