package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogramBuckets(t *testing.T) {
	// A value read back is within 1/256, over the whole range.
	for d := time.Duration(1); d > 0 && d < math.MaxInt64/3; d = d*3/2 + 1 {
		got := middle(bucket(d))
		if diff := max(got-d, d-got); diff > d/256 {
			t.Errorf("%d ns is read back as %d", d, got)
		}
	}
	if last := bucket(math.MaxInt64); last >= len((&histogram{}).counts) {
		t.Errorf("the longest duration is in bucket %d", last)
	}
}

func TestHistogramQuantiles(t *testing.T) {
	for _, c := range []struct {
		values []time.Duration
		q      float64
		want   time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{7}, 0.5, 7},
		{[]time.Duration{1, 2, 3, 4}, 0.5, 2}, // nearest rank
		{[]time.Duration{1, 2, 3, 4}, 0.51, 3},
		{[]time.Duration{1, 2, 3, 4}, 0.999, 4},
		{[]time.Duration{1, 2, 3, 4}, 0, 1},
		{[]time.Duration{1000003}, 0.99, 1000003}, // never beyond the extremes
		{[]time.Duration{-5, -5}, 0.5, 0},
	} {
		h := new(histogram)
		for _, v := range c.values {
			h.record(v)
		}
		if got := h.quantile(c.q); got != c.want {
			t.Errorf("quantile %v of %v: %d, want %d", c.q, c.values, got, c.want)
		}
	}
}

func TestHistogramErrorBound(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	h := new(histogram)
	var all []time.Duration
	var sum time.Duration
	for range 100_000 {
		d := time.Duration(math.Exp(random.NormFloat64()*2+12)) + 1
		all, sum = append(all, d), sum+d
		h.record(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
		want := all[int(math.Ceil(q*float64(len(all))))-1]
		if got := h.quantile(q); math.Abs(float64(got-want)) > float64(want)/256 {
			t.Errorf("quantile %v: %v, exactly %v", q, got, want)
		}
	}
	if h.min != all[0] || h.max != all[len(all)-1] || h.mean() != sum/100_000 {
		t.Errorf("min %v, max %v, mean %v; want %v, %v, %v", h.min, h.max, h.mean(), all[0], all[len(all)-1], sum/100_000)
	}
}
