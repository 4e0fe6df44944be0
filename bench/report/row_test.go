package report

import (
	"slices"
	"testing"

	"github.com/clusterdns/clusterdns/bench/results"
)

func TestStat(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   stat
	}{
		{[]float64{3}, stat{3, 3, 3, 1}},
		{[]float64{9, 1}, stat{5, 1, 9, 2}},
		{[]float64{9, 1, 2}, stat{2, 1, 9, 3}},
		{[]float64{4, 1, 3, 2}, stat{2.5, 1, 4, 4}},
	} {
		given := slices.Clone(c.values)
		if got := statOf(c.values); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.values, got, c.want)
		}
		if !slices.Equal(c.values, given) {
			t.Errorf("%v has become %v", given, c.values)
		}
	}
}

// sample is a short way to write one of the CPU per query.
func sample(mix, world, peer string, value float64) results.Sample {
	return results.Sample{What: "cpu_per_query", Mix: mix, World: world, Proto: "udp", Peer: peer, Value: value, Unit: "µs"}
}

func TestRowsOrder(t *testing.T) {
	tcp := sample("clusterip", "100", results.Ours, 1)
	tcp.Proto = "tcp"
	var samples []results.Sample
	for _, s := range []results.Sample{
		{What: "no such kind"}, {What: "binary_size"}, {What: "latency_p99", Load: "80%"}, {What: "latency_p99", Load: "10%"},
		tcp, sample("other", "100", results.Ours, 1), sample("srv", "100", results.Ours, 1),
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
		"cpu_per_query SRV, 100 services",
		"cpu_per_query other, 100 services",
		"cpu_per_query ClusterIP A, 900 services",
		"cpu_per_query ClusterIP A, 10,000 services",
		`cpu_per_query ClusterIP A, world "big"`,
		"cpu_per_query ClusterIP A, TCP, 100 services",
		"latency_p99 p99, at 10 % of CoreDNS's maximum rate",
		"latency_p99 p99, at 80 % of CoreDNS's maximum rate",
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
	if want := (stat{1, 1, 1, 1}); len(all) != 1 || all[0].peers[results.Ours] != want {
		t.Errorf("rows %+v, want one of %+v", all, want)
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
	want := stat{median: 1.2, min: 1, max: 2, n: 3}
	if len(got) != 1 || got[0].label() != "ClusterIP A, 100 → 100,000 services" || len(got[0].peers) != 1 || got[0].peers[results.Ours] != want {
		t.Errorf("growth %+v, want %+v", got, want)
	}
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
