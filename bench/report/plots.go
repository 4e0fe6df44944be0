package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/clusterdns/clusterdns/bench/results"
)

// Plots draws the plots into a folder, as SVG and PNG, and returns their names
// without extension. Those for which nothing was measured are left out.
func Plots(r *results.Results, dir string) (files []string, err error) {
	t := newTable(r)
	for _, make := range []func(*table) (*figure, error){rateFigure, latencyFigure, cpuFigure, memoryFigure, growthFigure, kernelFigure} {
		f, err := make(t)
		if err == nil && f != nil {
			err = f.save(dir)
			files = append(files, f.file)
		}
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// measured returns the peers, in their order, that any of the rows has, but for
// the console, whose line would hide that of the lane.
func measured(rows []row, without ...string) (ids []string) {
	for _, p := range peers {
		has := func(w row) bool { _, ok := w.peers[p.id]; return ok }
		if p.id != results.Console && !slices.Contains(without, p.id) && slices.ContainsFunc(rows, has) {
			ids = append(ids, p.id)
		}
	}
	return ids
}

func (t *table) where(match func(row) bool) (found []row) {
	for _, w := range t.rows {
		if match(w) {
			found = append(found, w)
		}
	}
	return found
}

// cpuFigure shows the CPU per query of each kind of question as groups of bars.
func cpuFigure(t *table) (*figure, error) {
	world := t.mainWorld()
	bars := t.where(func(w row) bool {
		return w.what == "cpu_per_query" && w.proto == "udp" && w.world == world && w.load == results.Saturated
	})
	if len(bars) == 0 {
		return nil, nil
	}
	ids := measured(bars, results.CoreDNSCache)
	p := newPlot("", "", "CPU per query, user and system (µs)")
	var names []string
	for _, w := range bars {
		name, detail, ok := strings.Cut(mixName(w.mix), ", ")
		if !ok && name == strings.ToLower(name) { // words, not a type
			name, detail, _ = strings.Cut(name, " ")
		}
		names = append(names, name+"\n"+detail+" ") // all of two lines, so that they are level
	}
	if err := addBars(p, bars, ids, names, figureWidth-legendWidth-1*vg.Inch); err != nil {
		return nil, err
	}
	return &figure{file: "cpu-per-query", title: "CPU per query at saturation over UDP, " + worldName(world), panels: []*plot.Plot{p}, legend: ids}, nil
}

// kernelFigure shows what servers add to an echo on a veth pair, and their mean latency.
func kernelFigure(t *table) (*figure, error) {
	world := t.mainWorld()
	f := &figure{file: "kernel-lane"}
	var all []row
	kinds := []struct{ what, title, unit string }{
		{"added_per_query", "CPU of the machine beyond an echo's", "CPU per query (µs)"},
		{"latency_mean", "mean latency", "latency (µs)"},
	}
	for _, kind := range kinds {
		bars := t.where(func(w row) bool { return w.what == kind.what && w.proto == "veth" && w.world == world })
		if len(bars) == 0 {
			continue
		}
		ids := measured(bars)
		var names []string
		for _, w := range bars {
			names = append(names, strings.Replace(loadName(w.load), " ", "\n", 1)+" ")
		}
		p := newPlot(kind.title, "", kind.unit)
		if err := addBars(p, bars, ids, names, (figureWidth-legendWidth-1.5*vg.Inch)/vg.Length(len(kinds))); err != nil {
			return nil, err
		}
		f.panels, all = append(f.panels, p), append(all, bars...)
		f.title = "Over a veth pair, " + mixName(bars[0].mix) + ", " + worldName(world)
	}
	if len(all) == 0 {
		return nil, nil
	}
	f.legend = measured(all)
	return f, nil
}

// addBars adds a group of bars for every row to a panel of a width, a bar for every
// peer.
func addBars(p *plot.Plot, bars []row, ids, names []string, room vg.Length) error {
	width := room / vg.Length(len(bars)) * 0.8 / vg.Length(len(ids))
	lowest, highest := 0.0, 0.0
	for i, id := range ids {
		values := make(plotter.Values, len(bars))
		for j, w := range bars {
			values[j] = w.peers[id].median
			lowest, highest = min(lowest, values[j]), max(highest, values[j])
		}
		chart, err := plotter.NewBarChart(values, width)
		if err != nil {
			return err
		}
		chart.Color = looks[id].color
		chart.LineStyle.Width = 0
		chart.Offset = width * vg.Length(float64(i)-float64(len(ids)-1)/2)
		p.Add(bare{chart})
		if i == 0 || width > 11 { // there is room for a figure on each bar
			p.Add(barLabels{values, chart.Offset})
		}
	}
	p.NominalX(names...)
	p.X.Padding, p.Y.Padding = 4, 0
	p.X.Min, p.X.Max = -0.5, float64(len(bars))-0.5
	p.Y.Min, p.Y.Max = 1.08*lowest, 1.08*highest
	return nil
}

// bare is a plotter without the margins that gonum gives it.
type bare struct{ of plot.Plotter }

func (b bare) Plot(c draw.Canvas, p *plot.Plot) { b.of.Plot(c, p) }

// barLabels writes the values of a bar chart above its bars.
type barLabels struct {
	values plotter.Values
	offset vg.Length
}

func (b barLabels) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	label := style(7)
	label.XAlign = text.XRight // the bar to the right may be higher
	for i, v := range b.values {
		if v == 0 {
			continue
		}
		s := strconv.FormatFloat(v, 'f', 0, 64)
		if v < 10 {
			s = strconv.FormatFloat(v, 'f', 1, 64)
		}
		c.FillText(label, vg.Point{X: x(float64(i)) + b.offset + 3, Y: y(v) + 2}, s)
	}
}

// rateFigure shows the CPU per query against the rate, on one core and on two.
func rateFigure(t *table) (*figure, error) {
	return t.againstRate("cpu-rate", "CPU per query against rate", "CPU per query (µs)", []panel{
		{"the server has one core", subject{what: "cpu_per_query", cores: 1}},
		{"the server has two cores", subject{what: "cpu_per_query", cores: 2}},
	})
}

// latencyFigure shows latency against the rate, the median and the tail.
func latencyFigure(t *table) (*figure, error) {
	return t.againstRate("rate-latency", "Latency against rate, two cores", "latency (µs)", []panel{
		{"median", subject{what: "latency_p50", cores: 2}},
		{"99th percentile", subject{what: "latency_p99", cores: 2}},
	})
}

type panel struct {
	title string
	of    subject // what and cores of it
}

// againstRate draws what was measured at given rates, with both scales
// logarithmic and the same for all panels.
func (t *table) againstRate(file, title, unit string, panels []panel) (*figure, error) {
	world := t.mainWorld()
	paced := t.where(func(w row) bool { return w.paced() && w.world == world })
	f := &figure{file: file, title: title, marker: true}
	low, high := math.Inf(1), 0.0
	for _, panel := range panels {
		of := slices.DeleteFunc(slices.Clone(paced), func(w row) bool { return w.what != panel.of.what || w.cores != panel.of.cores })
		ids := measured(of)
		p := newPlot(panel.title, "queries a second", unit)
		for _, id := range slices.Backward(ids) { // ours on top
			var data points
			for _, w := range of {
				s, ok := w.peers[id]
				// A logarithmic scale has no zero.
				if rate, known := number(w.load); ok && known && s.min > 0 {
					data.add(rate, s)
				}
			}
			if len(data.XYs) == 0 {
				continue
			}
			if err := addLine(p, id, data); err != nil {
				return nil, err
			}
		}
		if math.IsInf(p.X.Max, 0) {
			continue // nobody was measured
		}
		low, high = min(low, p.Y.Min), max(high, p.Y.Max)
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, rates(of)
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, logTicks{}
		p.X.Min, p.X.Max = p.X.Min/1.2, p.X.Max*1.2
		f.panels, f.legend = append(f.panels, p), ids
		f.title = title + ", " + mixName(of[0].mix) + ", " + worldName(world)
	}
	if len(f.panels) == 0 {
		return nil, nil
	}
	for _, p := range f.panels { // one scale for all, so that they compare
		p.Y.Min, p.Y.Max = low/1.2, high*1.2
	}
	return f, nil
}

// rates are ticks at the rates that were measured.
func rates(of []row) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, w := range of {
		rate, _ := number(w.load)
		ticks = append(ticks, plot.Tick{Value: rate, Label: short(rate)})
	}
	return ticks
}

// memoryFigure shows memory over time, a panel for each peer.
func memoryFigure(t *table) (*figure, error) {
	f := &figure{file: "memory"}
	var high, end float64
	for _, peer := range peers {
		i := slices.IndexFunc(t.results.Series, func(s results.Series) bool {
			return s.What == "rss" && s.Peer == peer.id && s.Load != "reload" && len(s.T) > 1
		})
		if i < 0 {
			continue
		}
		s := t.results.Series[i]
		f.title = "Resident memory, " + worldName(s.World)
		p := newPlot(peer.name, "seconds since the start", "RSS ("+s.Unit+")")
		data := make(plotter.XYs, len(s.T))
		for i := range s.T {
			data[i] = plotter.XY{X: s.T[i], Y: s.V[i]}
			high, end = max(high, s.V[i]), max(end, s.T[i])
		}
		line, err := plotter.NewLine(data)
		if err != nil {
			return nil, err
		}
		look := looks[peer.id]
		line.LineStyle = draw.LineStyle{Color: look.color, Width: 2}
		line.FillColor = pale(look.color)
		p.Add(line, marks{s.Marks})
		f.panels = append(f.panels, p)
	}
	if len(f.panels) == 0 {
		return nil, nil
	}
	for _, p := range f.panels {
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, end, 0, high*1.2 // names of moments above
	}
	return f, nil
}

// marks draws named moments as dashed lines with their names along them.
type marks struct{ all []results.Mark }

func (m marks) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	name := style(8)
	name.Rotation = math.Pi / 2
	name.XAlign = text.XRight
	size := name.Font.Size
	last := c.Min.X
	for _, mark := range m.all {
		at := x(mark.T)
		if at == c.Min.X {
			continue // the axis says what is there
		}
		c.StrokeLine2(draw.LineStyle{Color: ink, Width: 0.5, Dashes: []vg.Length{2, 2}}, at, c.Min.Y, at, c.Max.Y)
		// The name is on the left of its line, or where there is no room for it
		// on the right.
		name.YAlign = text.YBottom
		textAt := at - 2
		if at-last < size+4 {
			name.YAlign, textAt = text.YTop, at+1
		}
		c.FillText(name, vg.Point{X: textAt, Y: c.Max.Y - 2}, mark.Name)
		last = max(at, textAt)
		if name.YAlign == text.YTop {
			last += size
		}
	}
}

// growthFigure shows the cost of a query against the size of the cluster.
func growthFigure(t *table) (*figure, error) {
	all := t.where(func(w row) bool {
		_, err := strconv.Atoi(w.world)
		return w.what == "cpu_per_query" && w.proto == "udp" && w.mix == "clusterip" && w.load == results.Saturated && err == nil
	})
	if len(all) < 2 {
		return nil, nil
	}
	p := newPlot("", "services in the cluster", "CPU per query (µs)")
	ids := measured(all)
	for _, id := range slices.Backward(ids) { // ours on top
		var data points
		for _, w := range all {
			if s, ok := w.peers[id]; ok {
				size, _ := number(w.world)
				data.add(size, s)
			}
		}
		if err := addLine(p, id, data); err != nil {
			return nil, fmt.Errorf("cost against world size, %s: %w", id, err)
		}
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, sizes(all)
	p.X.Min, p.X.Max = p.X.Min/1.2, p.X.Max*1.2
	p.Y.Min, p.Y.Max = 0, 1.05*p.Y.Max
	return &figure{file: "world-size", title: "Cost of a ClusterIP query against the size of the cluster",
		panels: []*plot.Plot{p}, legend: ids, marker: true}, nil
}

// sizes are ticks at the worlds that were measured.
func sizes(all []row) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, w := range all {
		size, _ := number(w.world)
		ticks = append(ticks, plot.Tick{Value: size, Label: short(size)})
	}
	return ticks
}
