package report

import (
	"slices"
	"testing"

	"gonum.org/v1/plot"
)

func labels(ticks []plot.Tick) (all []string) {
	for _, t := range ticks {
		all = append(all, t.Label)
	}
	return all
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		ticker    plot.Ticker
		low, high float64
		want      []string
	}{
		{numberTicks{}, 0, 53, []string{"0", "10", "20", "30", "40", "50"}},
		{numberTicks{}, 0, 430, []string{"0", "100", "200", "300", "400"}},
		{numberTicks{}, 0, 2000, []string{"0", "500", "1,000", "1,500", "2,000"}},
		{numberTicks{}, 0, 0.9, []string{"0", "0.2", "0.4", "0.6", "0.8"}},
		{numberTicks{}, 3, 3, []string{"3"}},
		{logTicks{}, 18, 1300, []string{"20", "50", "100", "200", "500", "1,000"}},
		{logTicks{}, 0.09, 1, []string{"0.1", "0.2", "0.5", "1"}},
	} {
		if got := labels(c.ticker.Ticks(c.low, c.high)); !slices.Equal(got, c.want) {
			t.Errorf("%T from %v to %v: %q, want %q", c.ticker, c.low, c.high, got, c.want)
		}
	}
}

func TestEveryPeerHasALook(t *testing.T) {
	for _, p := range peers {
		if looks[p.id].shape == nil || looks[p.id].short == "" {
			t.Errorf("%s has none", p.id)
		}
	}
}
