// Command soak draws the samples of a soak: a panel for each column over time.
//
//	soak -in samples.csv -out soak.svg
package main

import (
	"encoding/csv"
	"flag"
	"fmt"
	"image/color"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

func main() {
	log.SetFlags(0)
	in := flag.String("in", "", "`file` of samples, CSV: seconds, and the columns with their names")
	out := flag.String("out", "", "`file` to draw into, .svg or .png")
	flag.Parse()
	names, columns, err := read(*in)
	if err == nil {
		err = picture(names, columns, *out)
	}
	if err != nil {
		log.Fatal("soak: ", err)
	}
}

// read returns the columns of samples, the first of them seconds, and their names.
func read(path string) (names []string, columns []plotter.Values, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, nil, err
	}
	if len(rows) < 3 || len(rows[0]) < 2 {
		return nil, nil, fmt.Errorf("%s: %d lines, which is too little to draw", path, len(rows))
	}
	columns = make([]plotter.Values, len(rows[0]))
	for line, row := range rows[1:] {
		for i, cell := range row {
			v, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				return nil, nil, fmt.Errorf("%s:%d: %w", path, line+2, err)
			}
			columns[i] = append(columns[i], v)
		}
	}
	return rows[0], columns, nil
}

const (
	across = 3
	width  = 3.1 * vg.Inch
	height = 1.9 * vg.Inch
)

var (
	ink  = color.RGBA{60, 60, 60, 255}
	blue = color.RGBA{0, 114, 178, 255}
	sans = font.Font{Typeface: "Liberation", Variant: "Sans"}
)

// picture draws a panel for each column but the first.
func picture(names []string, columns []plotter.Values, out string) error {
	panels := len(columns) - 1
	down := (panels + across - 1) / across
	canvas, err := draw.NewFormattedCanvas(across*width, vg.Length(down)*height, strings.TrimPrefix(filepath.Ext(out), "."))
	if err != nil {
		return err
	}
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	for i := range panels {
		p, err := panel(names[i+1], columns[0], columns[i+1])
		if err != nil {
			return fmt.Errorf("%s: %w", names[i+1], err)
		}
		x, y := vg.Length(i%across), vg.Length(i/across)
		p.Draw(draw.Crop(all, x*width+4, (x+1)*width-across*width-8, vg.Length(down)*height-(y+1)*height+4, -y*height-4))
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := canvas.WriteTo(f); err != nil {
		return err
	}
	return f.Close()
}

// panel is a line over minutes, from zero up.
func panel(title string, seconds, values plotter.Values) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = title
	p.Title.TextStyle.Font, p.Title.TextStyle.Color = font.From(sans, 10), ink
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Tick.Label.Font, axis.Tick.Label.Color = font.From(sans, 8), ink
		axis.Width, axis.Padding = 0.5, 0
	}
	p.X.Label.Text, p.X.Label.TextStyle.Font = "minutes", font.From(sans, 8)
	points := make(plotter.XYs, len(values))
	for i, v := range values {
		points[i].X, points[i].Y = seconds[i]/60, v
	}
	line, err := plotter.NewLine(points)
	if err != nil {
		return nil, err
	}
	line.Color, line.Width = blue, 1
	p.Add(plotter.NewGrid(), line)
	p.Y.Min, p.Y.Max = 0, max(1.2*p.Y.Max, 1e-3)
	return p, nil
}
