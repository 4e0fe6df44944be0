package e2e

import (
	"strconv"
	"testing"
	"time"
)

// What counts as wrong, where answers change.
func TestInTurn(t *testing.T) {
	last := 2
	c := inTurn(a("x."), func(got string) (int, bool) {
		n, err := strconv.Atoi(got)
		return n, err == nil
	}, func() int { return last })
	start := time.Now()
	for i, step := range []struct {
		asked time.Duration // after the last answer; negative: before
		got   string
		want  bool
	}{
		{0, "0", true},
		{0, "2", true},
		{-time.Hour, "1", true}, // asked before there was 2
		{0, "1", false},         // asked after
		{0, "3", false},         // not written yet
		{0, "nonsense", false},
		{0, "2", true},
	} {
		asked := time.Now().Add(step.asked)
		if step.asked == 0 {
			for !asked.After(start) { // two readings of a clock may be the same
				asked = time.Now()
			}
		}
		if got := c.right(asked, step.got); got != step.want {
			t.Errorf("step %d: %q is right: %v, want %v", i, step.got, got, step.want)
		}
		start = time.Now()
	}
}

// What counts as a rise.
func TestRises(t *testing.T) {
	rows := func(value func(i int) float64) (rows [][]float64) {
		for i := range 100 {
			rows = append(rows, []float64{float64(i), value(i)})
		}
		return rows
	}
	c := column{"heap", 10, 1}
	for name, test := range map[string]struct {
		value func(i int) float64
		want  bool
	}{
		"flat":                    {func(int) float64 { return 50 }, false},
		"up and down":             {func(i int) float64 { return 50 + 20*float64(i%7) }, false},
		"filling at first":        {func(i int) float64 { return min(50, 10*float64(i)) }, false},
		"one that rises slowly":   {func(i int) float64 { return 50 + 0.2*float64(i) }, true},
		"up and down, and rising": {func(i int) float64 { return 50 + 20*float64(i%7) + 0.5*float64(i) }, true},
		"falling":                 {func(i int) float64 { return 100 - 0.5*float64(i) }, false},
	} {
		if first, last, got := c.rises(rows(test.value), 1); got != test.want {
			t.Errorf("%s: from %v to %v is a rise: %v", name, first, last, got)
		}
	}
	if _, _, got := c.rises(rows(func(int) float64 { return 1 })[:5], 1); !got {
		t.Error("5 samples show that nothing rises")
	}
}
