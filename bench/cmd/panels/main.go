// Command panels draws the panels of a Grafana dashboard from a Prometheus
// server, for the picture in the documentation.
//
//	panels -dashboard deploy/observability/dashboard.json -prometheus http://127.0.0.1:9090 -out docs/dashboard.svg
//
// It asks what Grafana would ask, for the last minutes, and knows of Grafana's
// panels only their title, place, expressions and legends.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

type dashboard struct {
	Title  string
	Panels []panel
}

type panel struct {
	Type, Title string
	GridPos     struct{ H, W, X, Y int }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Targets []struct{ Expr, LegendFormat string }
}

// series is one line of a panel, in seconds before the end.
type series struct {
	legend string
	at     []float64
	value  []float64
}

func main() {
	file := flag.String("dashboard", "deploy/observability/dashboard.json", "the dashboard")
	server := flag.String("prometheus", "http://127.0.0.1:9090", "the Prometheus server")
	out := flag.String("out", "docs/dashboard.svg", "the picture, .svg or .png")
	span := flag.Duration("span", 3*time.Minute, "how much of the past to show")
	flag.Parse()
	if err := run(*file, *server, *out, *span); err != nil {
		fmt.Fprintln(os.Stderr, "panels:", err)
		os.Exit(1)
	}
}

func run(file, server, out string, span time.Duration) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	end := time.Now()
	data := make([][]series, len(d.Panels))
	for i, p := range d.Panels {
		for _, target := range p.Targets {
			found, err := query(server, target.Expr, target.LegendFormat, end, span)
			if err != nil {
				return fmt.Errorf("panel %q: %w", p.Title, err)
			}
			data[i] = append(data[i], found...)
		}
	}
	return draw(d, data, out)
}

// variables are what Grafana replaces.
var variables = strings.NewReplacer("$__rate_interval", "30s", "$job", ".*", "$instance", ".*")

var placeholder = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

// query returns the series of an expression.
func query(server, expr, legend string, end time.Time, span time.Duration) ([]series, error) {
	v := url.Values{"query": {variables.Replace(expr)}, "step": {"5"}}
	v.Set("start", strconv.FormatInt(end.Add(-span).Unix(), 10))
	v.Set("end", strconv.FormatInt(end.Unix(), 10))
	resp, err := http.Get(server + "/api/v1/query_range?" + v.Encode())
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	var all []series
	for _, r := range answer.Data.Result {
		s := series{legend: placeholder.ReplaceAllStringFunc(legend, func(m string) string {
			return r.Metric[placeholder.FindStringSubmatch(m)[1]]
		})}
		if legend == "" {
			s.legend = strings.Join(slices.Sorted(maps.Values(r.Metric)), " ")
		}
		for _, sample := range r.Values {
			value, err := strconv.ParseFloat(fmt.Sprint(sample[1]), 64)
			at, ok := sample[0].(float64)
			if err != nil || !ok {
				return nil, fmt.Errorf("%s: sample %v", expr, sample)
			}
			if value-value != 0 { // neither NaN nor infinite
				continue
			}
			s.at, s.value = append(s.at, at-float64(end.Unix())), append(s.value, value)
		}
		if len(s.at) > 0 {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b series) int { return strings.Compare(a.legend, b.legend) })
	return all, nil
}
