package main

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
)

// cell is the size of a unit of Grafana's grid, 24 of which make the width.
const (
	cellWidth  = 0.46 * vg.Inch
	cellHeight = 0.22 * vg.Inch
)

// colors are those of Okabe and Ito, which the colour-blind tell apart.
var colors = []color.RGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
	{230, 159, 0, 255}, {86, 180, 233, 255}, {90, 90, 90, 255}, {160, 160, 160, 255},
}

var (
	ink  = color.RGBA{60, 60, 60, 255}
	sans = font.Font{Typeface: "Liberation", Variant: "Sans"}
)

// draw draws all panels where the dashboard has them.
func draw(d dashboard, data [][]series, out string) error {
	rows := 0
	for _, p := range d.Panels {
		rows = max(rows, p.GridPos.Y+p.GridPos.H)
	}
	width, height := 24*cellWidth, vg.Length(rows)*cellHeight
	c, err := vgdraw.NewFormattedCanvas(width, height, strings.TrimPrefix(filepath.Ext(out), "."))
	if err != nil {
		return err
	}
	all := vgdraw.New(c)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	for i, p := range d.Panels {
		at := vgdraw.Crop(all,
			vg.Length(p.GridPos.X)*cellWidth+4, vg.Length(p.GridPos.X+p.GridPos.W)*cellWidth-width-4,
			height-vg.Length(p.GridPos.Y+p.GridPos.H)*cellHeight+4, -vg.Length(p.GridPos.Y)*cellHeight-2)
		switch p.Type {
		case "row":
			at.FillText(text(11, true), vg.Point{X: at.Min.X, Y: at.Min.Y}, p.Title)
		case "stat":
			middle := vg.Point{X: at.Center().X, Y: at.Min.Y + 8}
			value, title := text(18, true), text(9, false)
			value.XAlign, title.XAlign = -0.5, -0.5
			last := "no data"
			if len(data[i]) > 0 {
				s := data[i][0]
				last = quantity(s.value[len(s.value)-1], p.FieldConfig.Defaults.Unit)
			}
			at.FillText(value, middle, last)
			at.FillText(title, vg.Point{X: middle.X, Y: at.Max.Y - 14}, p.Title)
		default:
			chart(p, data[i]).Draw(at)
		}
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := c.WriteTo(f); err != nil {
		return err
	}
	return f.Close()
}

func text(size vg.Length, bold bool) vgdraw.TextStyle {
	f := font.From(sans, size)
	if bold {
		f.Weight = 3
	}
	return vgdraw.TextStyle{Color: ink, Font: f, Handler: plot.DefaultTextHandler}
}

// chart is a panel of lines over time.
func chart(p panel, data []series) *plot.Plot {
	c := plot.New()
	c.Title.Text = p.Title
	c.Title.TextStyle.Font, c.Title.TextStyle.Color = font.From(sans, 9), ink
	for _, axis := range []*plot.Axis{&c.X, &c.Y} {
		axis.Tick.Label.Font, axis.Tick.Label.Color = font.From(sans, 7), ink
		axis.Width, axis.Padding = 0.5, 0
	}
	c.X.Tick.Marker = plot.TickerFunc(func(lo, hi float64) (ticks []plot.Tick) {
		for at := 0.0; at >= lo; at -= 60 {
			ticks = append(ticks, plot.Tick{Value: at, Label: fmt.Sprintf("%.0f min", at/60)})
		}
		return ticks
	})
	c.Y.Tick.Marker = plot.TickerFunc(func(lo, hi float64) (ticks []plot.Tick) {
		for i := range 5 {
			at := hi * float64(i) / 4
			ticks = append(ticks, plot.Tick{Value: at, Label: quantity(at, p.FieldConfig.Defaults.Unit)})
		}
		return ticks
	})
	c.Add(plotter.NewGrid())
	c.Legend.TextStyle.Font, c.Legend.TextStyle.Color = font.From(sans, 7), ink
	c.Legend.Top, c.Legend.Left = true, true
	c.Legend.ThumbnailWidth = 8
	top := 0.0
	for i, s := range data {
		points := make(plotter.XYs, len(s.at))
		for k := range s.at {
			points[k].X, points[k].Y = s.at[k], s.value[k]
			top = max(top, s.value[k])
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			continue // fewer than two samples
		}
		line.Color, line.Width = colors[i%len(colors)], 1
		c.Add(line)
		if i < 6 && len(data) > 1 { // more would hide the lines
			c.Legend.Add(s.legend, line)
		}
	}
	if top == 0 {
		top = 1
	}
	c.Y.Min, c.Y.Max = 0, 1.4*top
	return c
}

// quantity is a value in Grafana's unit, short.
func quantity(v float64, unit string) string {
	switch unit {
	case "percentunit":
		return fmt.Sprintf("%.3g %%", 100*v)
	case "s":
		switch {
		case v == 0:
			return "0 s"
		case v < 1e-3:
			return fmt.Sprintf("%.3g µs", 1e6*v)
		case v < 1:
			return fmt.Sprintf("%.3g ms", 1e3*v)
		}
		return fmt.Sprintf("%.3g s", v)
	case "bytes":
		if v >= 1<<20 {
			return fmt.Sprintf("%.3g MiB", v/(1<<20))
		}
		return fmt.Sprintf("%.0f B", v)
	}
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3g M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.3g k", v/1e3)
	case v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
