package report

import (
	"slices"

	"golang.org/x/perf/benchmath"
)

// stat sums up the rounds of one peer.
type stat struct {
	median, min, max float64
	n                int
	values           []float64 // sorted
}

func statOf(values []float64) stat {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return stat{median: (v[(n-1)/2] + v[n/2]) / 2, min: v[0], max: v[n-1], n: n, values: v}
}

// times returns s with every value multiplied.
func (s stat) times(factor float64) stat {
	values := slices.Clone(s.values)
	for i := range values {
		values[i] *= factor
	}
	return stat{s.median * factor, s.min * factor, s.max * factor, s.n, values}
}

// enough is the number of rounds that a verdict needs.
const enough = 5

// sure tells whether both have enough rounds.
func sure(a, b stat) bool { return a.n >= enough && b.n >= enough }

// differ tells whether the values of two peers are more different than chance
// would have them (Mann-Whitney U test, p < 0.05). It assumes nothing of how
// they are distributed.
func differ(a, b stat) bool {
	t := &benchmath.DefaultThresholds
	c := benchmath.AssumeNothing.Compare(benchmath.NewSample(slices.Clone(a.values), t), benchmath.NewSample(slices.Clone(b.values), t))
	return c.P <= c.Alpha
}
