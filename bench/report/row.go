// Package report makes tables and plots of the results of a comparison.
package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterdns/clusterdns/bench/results"
)

// peers are in the order of columns and legends.
var peers = []struct{ id, name string }{
	{results.Ours, "clusterdns"},
	{results.Chain, "clusterdns, fast lane off"},
	{results.Console, "clusterdns, console"},
	{results.Kernel, "clusterdns, kernel lane"},
	{results.CoreDNS, "CoreDNS"},
	{results.CoreDNSCache, "CoreDNS with cache"},
	{results.NSD, "NSD"},
	{results.Knot, "Knot"},
	{results.Echo, "echo in the kernel"},
}

// row is all that was measured of one thing, of every peer.
type row struct {
	subject
	unit    string
	peers   map[string]stat // only those with a measurement that counts
	limited map[string]bool // whose rate was limited by whoever asked: it is a lower bound
}

// subject is what a measurement is of, whichever peer it is of.
type subject struct {
	what, mix, world, proto, load string
	cores                         int
}

func subjectOf(s results.Sample) subject {
	return subject{s.What, s.Mix, s.World, s.Proto, s.Load, s.Cores}
}

// rows returns a row for every subject of the results, in the order of the
// tables. Void samples make none.
func rows(r *results.Results) []row {
	type cell struct {
		subject
		peer string
	}
	values := make(map[cell][]float64)
	units := make(map[subject]string)
	for _, s := range append(added(r.Samples), r.Samples...) {
		if !s.Void {
			c := cell{subjectOf(s), s.Peer}
			values[c] = append(values[c], s.Value)
			units[c.subject] = s.Unit
		}
	}
	bySubject := make(map[subject]row)
	for c, v := range values {
		w, ok := bySubject[c.subject]
		if !ok {
			w = row{subject: c.subject, unit: units[c.subject], peers: make(map[string]stat)}
			bySubject[c.subject] = w
		}
		w.peers[c.peer] = statOf(v)
	}
	for s, w := range bySubject {
		if s.what != "max_rate" {
			continue
		}
		s.what = "server_busy"
		w.limited = make(map[string]bool)
		for peer, busy := range bySubject[s].peers {
			w.limited[peer] = busy.median < results.Busy
		}
		s.what = "max_rate"
		bySubject[s] = w
	}
	all := slices.Collect(maps.Values(bySubject))
	slices.SortFunc(all, func(a, b row) int { return a.compare(b.subject) })
	return all
}

// added returns what servers that were reached over a veth pair cost the machine beyond
// what the echo did, in the same round and at the same load. Rounds in which either is
// void are left out.
func added(samples []results.Sample) (sums []results.Sample) {
	type at struct {
		subject
		round int
	}
	echo := make(map[at]float64)
	counts := func(s results.Sample) bool { return s.What == "machine_per_query" && s.Proto == "veth" && !s.Void }
	for _, s := range samples {
		if s.Peer == results.Echo && counts(s) {
			echo[at{subjectOf(s), s.Round}] = s.Value
		}
	}
	for _, s := range samples {
		if floor, ok := echo[at{subjectOf(s), s.Round}]; ok && s.Peer != results.Echo && counts(s) {
			s.What = "added_per_query"
			s.Value -= floor
			sums = append(sums, s)
		}
	}
	return sums
}

// growth returns for every kind of question that was asked as fast as possible
// over UDP in two or more worlds a row of how many times the cost of a query in the smallest is
// that in the largest. It has peers that were measured in both.
func growth(all []row) []row {
	ends := make(map[string][2]row) // by mix: the smallest and the largest world
	for _, w := range all {
		if w.what != "cpu_per_query" || w.proto != "udp" || w.load != results.Saturated {
			continue
		}
		size, err := strconv.Atoi(w.world)
		if err != nil {
			continue // a world of another shape
		}
		e, ok := ends[w.mix]
		if !ok {
			e = [2]row{w, w}
		}
		if first, _ := strconv.Atoi(e[0].world); size < first {
			e[0] = w
		}
		if last, _ := strconv.Atoi(e[1].world); size > last {
			e[1] = w
		}
		ends[w.mix] = e
	}
	var grown []row
	for _, mix := range slices.Sorted(maps.Keys(ends)) {
		small, large := ends[mix][0], ends[mix][1]
		w := row{subject: subject{what: "cost_growth", mix: mix, world: small.world + " → " + large.world, proto: "udp"}, unit: "×", peers: make(map[string]stat)}
		for peer, l := range large.peers {
			if s, ok := small.peers[peer]; ok && s.min > 0 && small.world != large.world {
				w.peers[peer] = stat{median: l.median / s.median, min: l.min / s.max, max: l.max / s.min, n: min(l.n, s.n), values: l.times(1 / s.median).values}
			}
		}
		if len(w.peers) > 0 {
			grown = append(grown, w)
		}
	}
	return grown
}

func (s subject) compare(t subject) int {
	return cmp.Or(
		cmp.Compare(kindIndex(s.what), kindIndex(t.what)),
		strings.Compare(s.what, t.what),
		compareBool(s.paced(), t.paced()),
		cmp.Compare(protoIndex(s.proto), protoIndex(t.proto)),
		compareNumbers(s.world, t.world),
		cmp.Compare(mixIndex(s.mix), mixIndex(t.mix)),
		strings.Compare(s.mix, t.mix),
		cmp.Compare(s.cores, t.cores),
		compareNumbers(s.load, t.load),
	)
}

// paced tells whether the load was a rate.
func (s subject) paced() bool { return strings.HasSuffix(s.load, "/s") }

// compareBool sorts what is true first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// compareNumbers compares texts by the numbers that they begin with; others
// come after those.
func compareNumbers(a, b string) int {
	na, oka := number(a)
	nb, okb := number(b)
	switch {
	case oka && okb && na != nb:
		return cmp.Compare(na, nb)
	case oka != okb:
		if oka {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

func number(s string) (float64, bool) {
	end := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	return n, err == nil
}

// label says in words what distinguishes the row from others of its table.
func (s subject) label() string {
	parts := []string{kindOf(s.what).label}
	if s.mix != "" {
		parts = append(parts, mixName(s.mix))
	}
	parts = append(parts, protoName(s.proto), loadName(s.load))
	if s.paced() {
		parts = append(parts, coresName(s.cores))
	}
	if s.world != "" {
		parts = append(parts, worldName(s.world))
	}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), ", ")
}

// mixes are the kinds of questions, in the order of rows.
var mixes = []struct{ id, name string }{
	{"clusterip", "ClusterIP A"},
	{"headless15", "headless A, 15 endpoints"},
	{"big", "headless A, 5,000 endpoints"},
	{"srv", "SRV"},
	{"ptr", "PTR"},
	{"externalname", "ExternalName"},
	{"podname", "pod names"},
	{"nxdomain", "NXDOMAIN"},
	{"nodata", "NODATA"},
	{"walk", "search walks"},
	{"mixed", "mixed"},
}

// mixIndex is that of a mix in mixes, or beyond.
func mixIndex(id string) int {
	for i, m := range mixes {
		if m.id == id {
			return i
		}
	}
	return len(mixes)
}

func mixName(id string) string {
	if i := mixIndex(id); i < len(mixes) {
		return mixes[i].name
	}
	return id
}

// protos are ways to ask, in the order of rows. The first goes without saying.
var protos = []struct{ id, name string }{{"udp", ""}, {"udp6", "over IPv6"}, {"tcp", "TCP, 16 in flight"}, {"tcp1", "TCP, one in flight"}, {"veth", "over a veth pair"}}

func protoIndex(id string) int {
	return slices.IndexFunc(protos, func(p struct{ id, name string }) bool { return p.id == id })
}

func protoName(id string) string {
	if i := protoIndex(id); i >= 0 {
		return protos[i].name
	}
	return id
}

func coresName(n int) string {
	if n == 1 {
		return "one core"
	}
	return "two cores"
}

func loadName(load string) string {
	if rate, ok := strings.CutSuffix(load, "/s"); ok {
		return thousands(rate) + " q/s"
	}
	if load == results.Saturated {
		return "at saturation"
	}
	if rate, ok := strings.CutPrefix(load, "churn"); ok {
		return rate + " changes a second"
	}
	return load
}

func worldName(world string) string {
	from, to, ok := strings.Cut(world, " → ")
	if ok {
		return thousands(from) + " → " + thousands(to) + " services"
	}
	if _, err := strconv.Atoi(world); err == nil {
		return thousands(world) + " services"
	}
	return "world " + strconv.Quote(world)
}

// thousands sets commas into a whole number; other text it returns as it is.
func thousands(s string) string {
	if strings.Trim(s, "0123456789") != "" || len(s) <= 3 {
		return s
	}
	return thousands(s[:len(s)-3]) + "," + s[len(s)-3:]
}

// format writes a value with three significant digits and no more decimals
// than it needs.
func format(v float64) string {
	switch abs := max(v, -v); {
	case abs >= 100:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case abs >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case abs == 0:
		return "0"
	}
	return fmt.Sprintf("%.2f", v)
}
