package report

import (
	"reflect"
	"slices"
	"testing"

	"github.com/clusterdns/clusterdns/bench/results"
)

func TestStat(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   stat
	}{
		{[]float64{3}, stat{3, 3, 3, 1, []float64{3}}},
		{[]float64{9, 1}, stat{5, 1, 9, 2, []float64{1, 9}}},
		{[]float64{9, 1, 2}, stat{2, 1, 9, 3, []float64{1, 2, 9}}},
		{[]float64{4, 1, 3, 2}, stat{2.5, 1, 4, 4, []float64{1, 2, 3, 4}}},
	} {
		given := slices.Clone(c.values)
		if got := statOf(c.values); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: %+v, want %+v", c.values, got, c.want)
		}
		if !slices.Equal(c.values, given) {
			t.Errorf("%v has become %v", given, c.values)
		}
	}
}

// sample is a short way to write one of the CPU per query.
func sample(mix, world, peer string, value float64) results.Sample {
	return results.Sample{What: "cpu_per_query", Mix: mix, World: world, Proto: "udp", Load: results.Saturated, Cores: 1, Peer: peer, Value: value, Unit: "µs"}
}

func TestRowsOrder(t *testing.T) {
	tcp := sample("clusterip", "100", results.Ours, 1)
	tcp.Proto = "tcp"
	paced := sample("clusterip", "100", results.Ours, 1)
	paced.Load, paced.Cores = results.PerSecond(4000), 2
	var samples []results.Sample
	for _, s := range []results.Sample{
		{What: "no such kind"}, {What: "binary_size"}, {What: "latency_p99", Load: "16000/s", Cores: 1}, {What: "latency_p99", Load: "1000/s", Cores: 1},
		tcp, paced, sample("other", "100", results.Ours, 1), sample("srv", "100", results.Ours, 1),
		sample("clusterip", "big", results.Ours, 1), sample("clusterip", "10000", results.Ours, 1), sample("clusterip", "900", results.Ours, 1),
	} {
		s.Peer = results.Ours
		samples = append(samples, s)
	}
	var got []string
	for _, w := range rows(&results.Results{Samples: samples}) {
		got = append(got, w.what+" "+w.label())
	}
	want := []string{
		"cpu_per_query ClusterIP A, 4,000 q/s, two cores, 100 services",
		"cpu_per_query SRV, at saturation, 100 services",
		"cpu_per_query other, at saturation, 100 services",
		"cpu_per_query ClusterIP A, at saturation, 900 services",
		"cpu_per_query ClusterIP A, at saturation, 10,000 services",
		`cpu_per_query ClusterIP A, at saturation, world "big"`,
		"cpu_per_query ClusterIP A, TCP, 16 in flight, at saturation, 100 services",
		"latency_p99 p99, 1,000 q/s, one core",
		"latency_p99 p99, 16,000 q/s, one core",
		"binary_size size of the binary",
		"no such kind no such kind",
	}
	if !slices.Equal(got, want) {
		t.Errorf("rows\n%q, want\n%q", got, want)
	}
}

func TestVoidSamplesDoNotCount(t *testing.T) {
	void := sample("srv", "100", results.Ours, 99)
	void.Void = true
	all := rows(&results.Results{Samples: []results.Sample{void, sample("srv", "100", results.Ours, 1)}})
	if len(all) != 1 || all[0].peers[results.Ours].n != 1 || all[0].peers[results.Ours].max != 1 {
		t.Errorf("rows %+v, want one of 1", all)
	}
}

func TestGrowth(t *testing.T) {
	all := rows(&results.Results{Samples: []results.Sample{
		sample("clusterip", "100", results.Ours, 4), sample("clusterip", "100", results.Ours, 5), sample("clusterip", "100", results.Ours, 6),
		sample("clusterip", "1000", results.Ours, 50),
		sample("clusterip", "100000", results.Ours, 6), sample("clusterip", "100000", results.Ours, 6), sample("clusterip", "100000", results.Ours, 8),
		sample("clusterip", "big", results.Ours, 500),
		sample("clusterip", "100", results.NSD, 4), // not in the largest
		sample("srv", "100", results.Ours, 4),      // in one world only
	}})
	got := growth(all)
	want := stat{median: 1.2, min: 1, max: 2, n: 3, values: []float64{6. / 5, 6. / 5, 8. / 5}}
	if len(got) != 1 || got[0].label() != "ClusterIP A, 100 → 100,000 services" || len(got[0].peers) != 1 || !near(got[0].peers[results.Ours], want) {
		t.Errorf("growth %+v, want %+v", got, want)
	}
}

// near tells whether two are the same but for how they were rounded.
func near(a, b stat) bool {
	all := func(s stat) []float64 { return append([]float64{s.median, s.min, s.max, float64(s.n)}, s.values...) }
	return slices.EqualFunc(all(a), all(b), func(x, y float64) bool { return max(x-y, y-x) < 1e-9 })
}

func TestFormat(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.041: "0.04", 1.256: "1.26", 9.99: "9.99", 12.34: "12.3", 99.94: "99.9",
		123.4: "123", 1234: "1,234", 201536.4: "201,536", 1234567: "1,234,567", -12.34: "-12.3",
	} {
		if got := format(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestDiffer(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		sure bool
		want bool
	}{
		{[]float64{1, 2, 3, 4, 5}, []float64{6, 7, 8, 9, 10}, true, true},
		{[]float64{1, 2, 3, 4, 5}, []float64{2, 3, 4, 5, 6}, true, false},
		{[]float64{1, 1, 1, 1, 1}, []float64{1, 1, 1, 1, 1}, true, false},
		{[]float64{1, 2, 3}, []float64{10, 11, 12}, false, false}, // too few to tell
	} {
		a, b := statOf(c.a), statOf(c.b)
		if sure(a, b) != c.sure || differ(a, b) != c.want || differ(b, a) != c.want {
			t.Errorf("%v and %v: sure %v, differ %v; want %v, %v", c.a, c.b, sure(a, b), differ(a, b), c.sure, c.want)
		}
	}
}

// A rate at which the generator was the limit ranks nobody.
func TestLimitedRate(t *testing.T) {
	of := func(what, peer string, value float64) results.Sample {
		return results.Sample{What: what, Mix: "clusterip", Proto: "udp", Load: results.Saturated, Cores: 1, Peer: peer, Value: value}
	}
	tab := newTable(&results.Results{Samples: []results.Sample{
		of("max_rate", results.Ours, 150), of("server_busy", results.Ours, 80), of("max_rate", results.CoreDNS, 30), of("server_busy", results.CoreDNS, 99),
		of("max_rate", results.NSD, 140), of("server_busy", results.NSD, 94.9),
	}})
	w := tab.rows[0]
	if got := w.cell(results.Ours) + " " + w.cell(results.CoreDNS) + " " + w.ratio(results.CoreDNS) + "," + w.ratio(results.NSD, results.Knot); got != "**≥ 150** 30.0 ≥ 5.00 × ?," {
		t.Error(got)
	}
}

// TestAdded subtracts from each round the echo's of the same round and load.
func TestAdded(t *testing.T) {
	at := func(peer, load string, round int, value float64) results.Sample {
		return results.Sample{What: "machine_per_query", Mix: "clusterip", World: "100", Proto: "veth", Load: load, Cores: 2, Peer: peer, Round: round, Value: value, Unit: "µs"}
	}
	void := at(results.Echo, "4000/s", 2, 1)
	void.Void = true
	loopback := at(results.NSD, "4000/s", 0, 99)
	loopback.Proto = "udp"
	samples := []results.Sample{
		at(results.NSD, "4000/s", 0, 50), at(results.NSD, "4000/s", 1, 60), at(results.NSD, "4000/s", 2, 70), at(results.NSD, "16000/s", 0, 30),
		at(results.Echo, "4000/s", 0, 41), at(results.Echo, "4000/s", 1, 53), void, at(results.Echo, "16000/s", 0, 31), loopback,
	}
	got := make(map[string]stat)
	for _, w := range rows(&results.Results{Samples: samples}) {
		if w.what == "added_per_query" {
			if len(w.peers) != 1 || w.unit != "µs" {
				t.Errorf("%+v", w)
			}
			got[w.load] = w.peers[results.NSD]
		}
	}
	want := map[string]stat{"4000/s": statOf([]float64{9, 7}), "16000/s": statOf([]float64{-1})}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
