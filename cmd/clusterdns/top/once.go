package top

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// views are the tables of a Snapshot, in the order of their keys.
var views = []struct {
	by, title string
	what, of  string // the column of keys, and that beside it
	rows      func(*Snapshot) []Row
}{
	{"name", "names", "name", "namespace", func(s *Snapshot) []Row { return s.Names }},
	{"client", "clients", "client", "pod", func(s *Snapshot) []Row { return s.Clients }},
	{"nxdomain", "NXDOMAIN", "name", "namespace", func(s *Snapshot) []Row { return s.NXDomain }},
	{"namespace", "namespaces", "namespace", "", func(s *Snapshot) []Row { return s.Namespaces }},
	{"rcode", "response codes", "rcode", "", func(s *Snapshot) []Row { return s.RCodes }},
}

// viewBy returns the index in views of a word, -1 if there is none.
func viewBy(by string) int {
	for i, v := range views {
		if v.by == by {
			return i
		}
	}
	return -1
}

// heading says in a few lines how all servers together are.
func heading(s *Snapshot) (lines []string) {
	up := 0
	for _, server := range s.Servers {
		if server.Error == "" {
			up++
		}
	}
	servers := fmt.Sprintf("%d servers", up)
	if up == 1 {
		servers = "1 server"
	}
	if up < len(s.Servers) {
		servers = fmt.Sprintf("%d of %d servers", up, len(s.Servers))
	}
	lines = append(lines, fmt.Sprintf("%s   %s questions/s   lane %s   chain %s", servers, rate(s.PerSecond), percent(s.Lane), percent(chainShare(s))))
	codes := ""
	for _, row := range s.RCodes {
		codes += fmt.Sprintf("%s %s   ", row.Key, percent(row.Share))
	}
	lines = append(lines, codes[:max(0, len(codes)-3)])
	l := s.Latency
	text := fmt.Sprintf("mean %s   lane %s   chain %s", duration(l.Mean), duration(l.Lane), duration(l.Chain))
	if l.P99 > 0 {
		text += fmt.Sprintf("   half within %s   99 %% within %s", duration(l.P50), duration(l.P99))
	}
	lines = append(lines, text)
	lines = append(lines, troubles(s)...)
	if s.OneIn > 1 {
		lines = append(lines, fmt.Sprintf("counts are estimates: up to one question in %d is looked at", s.OneIn))
	}
	return lines
}

// troubles says which servers do not answer, and which lanes are closed. What is
// the same at several servers is one line.
func troubles(s *Snapshot) (lines []string) {
	at := map[string][]string{} // servers by what is the matter
	for _, server := range s.Servers {
		list := server.Closed
		if server.Error != "" {
			list = []string{server.Error}
		}
		for _, text := range list {
			at[text] = append(at[text], server.Name)
		}
	}
	for _, text := range slices.Sorted(maps.Keys(at)) {
		where := at[text][0]
		if n := len(at[text]); n > 1 {
			where = fmt.Sprintf("%d servers", n)
		}
		lines = append(lines, where+": "+text)
	}
	return lines
}

func chainShare(s *Snapshot) float64 {
	if s.PerSecond == 0 {
		return 0
	}
	return 1 - s.Lane
}

// columns returns the headings of a view, and those of a row.
func columns(view int) []string {
	v := views[view]
	head := []string{"questions/s", "share", v.what}
	if v.of != "" {
		head = append(head, v.of)
	}
	return head
}

func cells(view int, r Row) []string {
	list := []string{rate(r.PerSecond), percent(r.Share), r.Key}
	if views[view].of != "" {
		list = append(list, r.Of)
	}
	return list
}

// writeText writes s once, with the first rows of a view.
func writeText(out io.Writer, s *Snapshot, view, most int) error {
	var b bytes.Buffer
	for _, line := range heading(s) {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintln(&b)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ToUpper(strings.Join(columns(view), "\t")))
	rows := views[view].rows(s)
	for _, r := range rows[:min(len(rows), most)] {
		fmt.Fprintln(t, strings.Join(cells(view, r), "\t"))
	}
	_ = t.Flush() // to memory
	for line := range strings.Lines(b.String()) {
		if _, err := io.WriteString(out, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// rate returns so many a second in about three digits.
func rate(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func percent(x float64) string {
	if x > 0 && x < 0.1 {
		return fmt.Sprintf("%.1f %%", 100*x)
	}
	return fmt.Sprintf("%.0f %%", 100*x)
}

// duration returns seconds in a unit that suits them.
func duration(seconds float64) string {
	switch {
	case seconds <= 0:
		return "-"
	case seconds < 1e-3:
		return fmt.Sprintf("%.3g µs", seconds*1e6)
	case seconds < 1:
		return fmt.Sprintf("%.3g ms", seconds*1e3)
	}
	return fmt.Sprintf("%.3g s", seconds)
}
