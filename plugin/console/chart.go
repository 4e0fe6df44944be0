package console

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/clusterdns/clusterdns/plugin/hitters"
)

// chart is a small drawing of lines over the last minutes.
type chart struct {
	Title, Unit string
	Most        string // at the top
	Lines       []line
	Minutes     int
}

type line struct {
	Name, Class string
	Points      string // of an SVG polyline
	Last, Most  string
}

// Size of a chart's drawing, in its own units.
const (
	chartWidth  = 300
	chartHeight = 80
)

const span = hitters.Points * hitters.Step

func charts(r *Report) []chart {
	perSecond := func(n uint64, p Point) float64 { return float64(n) / p.Seconds }
	mean := func(t Tally) float64 {
		if t.Sum() == 0 {
			return math.NaN()
		}
		return t.Seconds / float64(t.Sum()) * 1e6
	}
	type series struct {
		name, class string
		of          func(Point) float64
	}
	var all []chart
	for _, c := range []struct {
		title, unit string
		series      []series
	}{
		{"Questions", "a second", []series{
			{"fast lane", "a", func(p Point) float64 { return perSecond(p.Lane.Sum(), p) }},
			{"plugin chain", "b", func(p Point) float64 { return perSecond(p.Chain.Sum(), p) }},
		}},
		{"Failures", "a second", []series{
			{"NXDOMAIN", "a", func(p Point) float64 { return perSecond(p.Lane.NXDomain+p.Chain.NXDomain, p) }},
			{"SERVFAIL", "b", func(p Point) float64 { return perSecond(p.Lane.ServFail+p.Chain.ServFail, p) }},
		}},
		{"Mean time to answer", "µs", []series{
			{"fast lane", "a", func(p Point) float64 { return mean(p.Lane) }},
			{"plugin chain", "b", func(p Point) float64 { return mean(p.Chain) }},
		}},
	} {
		drawn := chart{Title: c.title, Unit: c.unit, Minutes: int(span / time.Minute)}
		most := 0.0
		for _, s := range c.series {
			for _, p := range r.History {
				if y := s.of(p); y > most { // not NaN
					most = y
				}
			}
		}
		top := ceiling(most)
		drawn.Most = rate(top)
		for _, s := range c.series {
			drawn.Lines = append(drawn.Lines, draw(r, s.name, s.class, top, s.of))
		}
		all = append(all, drawn)
	}
	return all
}

// draw returns the line of a value, of which top is as high as the chart. Where
// there is none it stays where it was.
func draw(r *Report, name, class string, top float64, of func(Point) float64) line {
	l := line{Name: name, Class: class, Last: "none", Most: "none"}
	var b strings.Builder
	most := math.Inf(-1)
	for _, p := range r.History {
		y := of(p)
		x := chartWidth * (1 - r.Time.Sub(p.At).Seconds()/span.Seconds())
		if math.IsNaN(y) || x < 0 {
			continue
		}
		most = max(most, y)
		l.Last, l.Most = rate(y), rate(most)
		fmt.Fprintf(&b, "%.1f,%.1f ", x, chartHeight*(1-y/top))
	}
	l.Points = strings.TrimSpace(b.String())
	return l
}

// ceiling returns the next 1, 2 or 5 times a power of ten.
func ceiling(x float64) float64 {
	if x <= 0 {
		return 1
	}
	p := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 5} {
		if x <= m*p {
			return m * p
		}
	}
	return 10 * p
}
