package report

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/clusterdns/clusterdns/bench/results"
)

// figure is one picture: panels side by side below a title, with a legend on
// the right, out of the way of the data.
type figure struct {
	file   string // its name without extension
	title  string
	panels []*plot.Plot
	legend []string // ids of peers
	marker bool     // the legend shows markers on lines, not areas
}

const (
	figureWidth  = 9.2 * vg.Inch
	figureHeight = 4.2 * vg.Inch
	legendWidth  = 1.55 * vg.Inch
	margin       = 0.12 * vg.Inch
)

// look is how a peer is drawn. The colours are those of Okabe and Ito, which
// the colour-blind tell apart; markers and dashes do so in print.
type look struct {
	color  color.RGBA
	width  vg.Length
	dashes []vg.Length
	shape  draw.GlyphDrawer
	short  string
}

var looks = map[string]look{
	results.Ours:         {color.RGBA{0, 114, 178, 255}, 3, nil, draw.CircleGlyph{}, "clusterdns"},
	results.Chain:        {color.RGBA{86, 180, 233, 255}, 3, nil, draw.BoxGlyph{}, "clusterdns, lane off"},
	results.Console:      {color.RGBA{0, 158, 115, 255}, 1.5, nil, draw.RingGlyph{}, "clusterdns, console"},
	results.Kernel:       {color.RGBA{204, 121, 167, 255}, 3, nil, draw.SquareGlyph{}, "clusterdns, kernel"},
	results.CoreDNS:      {color.RGBA{213, 94, 0, 255}, 1.5, nil, draw.PyramidGlyph{}, "CoreDNS"},
	results.CoreDNSCache: {color.RGBA{230, 159, 0, 255}, 1.5, []vg.Length{5, 3}, draw.TriangleGlyph{}, "CoreDNS, cache"},
	results.NSD:          {color.RGBA{90, 90, 90, 255}, 1.5, nil, draw.CrossGlyph{}, "NSD"},
	results.Knot:         {color.RGBA{160, 160, 160, 255}, 1.5, []vg.Length{2, 2}, draw.PlusGlyph{}, "Knot"},
	results.Echo:         {color.RGBA{0, 0, 0, 255}, 1, []vg.Length{1, 2}, draw.CrossGlyph{}, "echo"},
}

func (l look) line() draw.LineStyle {
	return draw.LineStyle{Color: l.color, Width: l.width, Dashes: l.dashes}
}

func (l look) glyph() draw.GlyphStyle {
	return draw.GlyphStyle{Color: l.color, Radius: 3.5, Shape: l.shape}
}

var (
	sans  = font.Font{Typeface: "Liberation", Variant: "Sans"}
	faint = color.RGBA{225, 225, 225, 255}
	ink   = color.RGBA{60, 60, 60, 255}
)

func style(size vg.Length) text.Style {
	return text.Style{Color: ink, Font: font.From(sans, size), Handler: plot.DefaultTextHandler}
}

// newPlot returns an empty panel with a grid of horizontal lines.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.TextStyle.Font = font.From(sans, 11)
	p.Title.Padding = 4
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font = font.From(sans, 10)
		axis.Label.TextStyle.Color = ink
		axis.Label.Padding = 3
		axis.Tick.Label.Font = font.From(sans, 9)
		axis.Tick.Label.Color = ink
		axis.Tick.Color = faint
		axis.Color = ink
		axis.Width = 0.5
	}
	p.Y.Width = 0
	p.X.Padding, p.Y.Padding = 0, 0
	p.X.Tick.Marker, p.Y.Tick.Marker = numberTicks{}, numberTicks{}
	p.Title.TextStyle.Color = ink
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal = draw.LineStyle{Color: faint, Width: 0.7}
	p.Add(grid)
	return p
}

func (f *figure) draw(c draw.Canvas) {
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	c = draw.Crop(c, margin, -margin, margin, -margin)
	title := style(13)
	title.Font.Weight = 3 // bold
	title.YAlign = text.YTop
	c.FillText(title, vg.Point{X: c.Min.X, Y: c.Max.Y}, f.title)
	c = draw.Crop(c, 0, 0, 0, -0.32*vg.Inch)
	if len(f.legend) > 0 {
		f.drawLegend(draw.Crop(c, c.Max.X-c.Min.X-legendWidth, 0, 0, 0))
		c = draw.Crop(c, 0, -legendWidth-0.1*vg.Inch, 0, 0)
	}
	tiles := draw.Tiles{Rows: 1, Cols: len(f.panels), PadX: 0.2 * vg.Inch}
	for i, canvases := 0, plot.Align([][]*plot.Plot{f.panels}, tiles, c); i < len(f.panels); i++ {
		f.panels[i].Draw(canvases[0][i])
	}
}

func (f *figure) drawLegend(c draw.Canvas) {
	l := plot.NewLegend()
	l.TextStyle = style(10)
	l.Top, l.Left = true, true
	l.Padding = 7
	for _, peer := range f.legend {
		look := looks[peer]
		if f.marker {
			l.Add(look.short, &plotter.Line{LineStyle: look.line()}, &plotter.Scatter{GlyphStyle: look.glyph()})
		} else {
			l.Add(look.short, &plotter.BarChart{Color: look.color})
		}
	}
	l.Draw(draw.Crop(c, 0, 0, 0, -0.2*vg.Inch))
}

// save writes the figure as SVG and as PNG into a folder.
func (f *figure) save(dir string) error {
	svg := vgsvg.New(figureWidth, figureHeight)
	png := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(figureWidth, figureHeight), vgimg.UseDPI(144))}
	for _, out := range []struct {
		extension string
		canvas    interface {
			vg.CanvasSizer
			io.WriterTo
		}
	}{{".svg", svg}, {".png", png}} {
		f.draw(draw.New(out.canvas))
		if err := write(filepath.Join(dir, f.file+out.extension), out.canvas); err != nil {
			return fmt.Errorf("drawing %s: %w", f.file, err)
		}
	}
	return nil
}

func write(file string, from io.WriterTo) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := from.WriteTo(out); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// points are a peer's medians with their spread, for a line with error bars.
type points struct {
	plotter.XYs
	plotter.YErrors
}

func (p *points) add(x float64, s stat) {
	p.XYs = append(p.XYs, plotter.XY{X: x, Y: s.median})
	p.YErrors = append(p.YErrors, struct{ Low, High float64 }{s.median - s.min, s.max - s.median})
}

// addLine adds a peer's line to a panel.
func addLine(p *plot.Plot, peer string, data points) error {
	look := looks[peer]
	line, err := plotter.NewLine(data.XYs)
	if err != nil {
		return err
	}
	line.LineStyle = look.line()
	bars, err := plotter.NewYErrorBars(data)
	if err != nil {
		return err
	}
	bars.LineStyle = draw.LineStyle{Color: look.color, Width: 1}
	bars.CapWidth = 4
	scatter, err := plotter.NewScatter(data.XYs)
	if err != nil {
		return err
	}
	scatter.GlyphStyle = look.glyph()
	p.Add(line, bars, scatter)
	return nil
}

// logTicks marks 1, 2 and 5 of each power of ten.
type logTicks struct{}

func (logTicks) Ticks(low, high float64) (ticks []plot.Tick) {
	for power := math.Pow(10, math.Floor(math.Log10(low))); power <= high; power *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v := m * power; v >= low*0.999 && v <= high*1.001 {
				ticks = append(ticks, plot.Tick{Value: v, Label: short(v)})
			}
		}
	}
	return ticks
}

// numberTicks are four to ten round numbers.
type numberTicks struct{}

func (numberTicks) Ticks(low, high float64) (ticks []plot.Tick) {
	if high <= low {
		return []plot.Tick{{Value: low, Label: short(low)}}
	}
	power := math.Pow(10, math.Floor(math.Log10((high-low)/4)))
	step := power
	for _, m := range []float64{2, 5} {
		if (high-low)/(m*power) >= 4 {
			step = m * power
		}
	}
	for i := math.Ceil(low / step); i*step <= high; i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: short(i * step)})
	}
	return ticks
}

func short(v float64) string {
	return thousands(strconv.FormatFloat(v, 'g', 6, 64))
}

// pale is a light tint of a colour.
func pale(c color.RGBA) color.RGBA {
	tint := func(v uint8) uint8 { return 255 - (255-v)/5 }
	return color.RGBA{tint(c.R), tint(c.G), tint(c.B), 255}
}
