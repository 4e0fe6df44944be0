package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/clusterdns/clusterdns/bench/results"
)

// table has all rows.
type table struct {
	results *results.Results
	rows    []row
}

func newTable(r *results.Results) *table {
	all := rows(r)
	all = append(all, growth(all)...)
	slices.SortFunc(all, func(a, b row) int { return a.compare(b.subject) })
	return &table{r, all}
}

// find returns the row of a subject, without peers if there is none.
func (t *table) find(s subject) row {
	i := slices.IndexFunc(t.rows, func(w row) bool { return w.subject == s })
	if i < 0 {
		return row{subject: s}
	}
	return t.rows[i]
}

// Markdown returns the whole report but for the plots.
func Markdown(r *results.Results) string {
	var b strings.Builder
	b.WriteString("# Comparison\n\n")
	b.WriteString(about(r))
	t := newTable(r)
	b.WriteString("\n## Goals\n\n" + t.summary())
	for i := 0; i < len(t.rows); {
		heading := kindOf(t.rows[i].what).table
		j := i
		for j < len(t.rows) && kindOf(t.rows[j].what).table == heading {
			j++
		}
		fmt.Fprintf(&b, "\n## %s\n\n", heading)
		b.WriteString(t.markdown(t.rows[i:j]))
		b.WriteString(voids(r, heading))
		i = j
	}
	for _, heading := range voidOnly(r, t) {
		fmt.Fprintf(&b, "\n## %s\n%s", heading, voids(r, heading))
	}
	return b.String()
}

// about describes the machine and the peers.
func about(r *results.Results) string {
	var b strings.Builder
	switch r.Plan {
	case "quick", "smoke":
		b.WriteString("A quick run: few rounds, short ones, small clusters. The figures are rough.\n\n")
	case "paced":
		b.WriteString("A run of the CPU per query alone.\n\n")
	}
	fmt.Fprintf(&b, "Medians of all rounds, with smallest and largest in parentheses; begun %s. Ratios are those of the figure in bold; "+
		"where the rounds of both do not differ by more than chance (Mann-Whitney U test, p < 0.05), there is none, and with a ? there were fewer than %d rounds to tell. "+
		"A ≥ is before rates at which whoever asked was the limit, not the server: they rank nobody.\n\n",
		r.Started.UTC().Format("2006-01-02 15:04 UTC"), enough)
	if r.Commit != "" {
		fmt.Fprintf(&b, "- commit: %s\n", r.Commit)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Machine)) {
		fmt.Fprintf(&b, "- %s: %s\n", key, r.Machine[key])
	}
	for _, p := range peers {
		if version := r.Versions[p.id]; version != "" {
			fmt.Fprintf(&b, "- %s: %s\n", p.name, version)
		}
	}
	if version := r.Versions["dnsperf"]; version != "" {
		fmt.Fprintf(&b, "- dnsperf: %s\n", version)
	}
	for _, step := range slices.Sorted(maps.Keys(r.LeftOut)) {
		fmt.Fprintf(&b, "- left out: %s: %s\n", step, r.LeftOut[step])
	}
	return b.String()
}

// column is one of a table. It is left out where all of its cells are empty.
type column struct {
	name, rule string
	cell       func(row) string
}

// markdown returns a table of rows.
func (t *table) markdown(rows []row) string {
	columns := []column{{"", "---", func(w row) string { return cmp.Or(w.label(), "all") + unitSuffix(w.unit) }}}
	for _, p := range peers {
		columns = append(columns, column{p.name, "--:", func(w row) string { return w.cell(p.id) }})
	}
	columns = append(columns,
		column{"÷ CoreDNS", "--:", func(w row) string { return w.ratio(results.CoreDNS) }},
		column{"÷ best of NSD, Knot", "--:", func(w row) string { return w.ratio(results.NSD, results.Knot) }},
		column{"goal", "---", func(w row) string { goals, _ := t.goals(w); return goals }},
		column{"reached", "---", func(w row) string { _, verdicts := t.goals(w); return verdicts }})
	return markdown(rows, columns)
}

func markdown(rows []row, columns []column) string {
	columns = slices.DeleteFunc(columns, func(c column) bool {
		return !slices.ContainsFunc(rows, func(w row) bool { return c.cell(w) != "" })
	})
	head, rule := "|", "|"
	for _, c := range columns {
		head += " " + c.name + " |"
		rule += " " + c.rule + " |"
	}
	lines := []string{head, rule}
	for _, w := range rows {
		line := "|"
		for _, c := range columns {
			line += " " + c.cell(w) + " |"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n") + "\n"
}

func unitSuffix(unit string) string {
	if unit == "" {
		return ""
	}
	return " (" + unit + ")"
}

// cell is a peer's median and spread.
func (w row) cell(peer string) string {
	s, ok := w.peers[peer]
	if !ok {
		return ""
	}
	median := w.emphasize(peer, w.bound(peer)+format(s.median))
	if s.n == 1 {
		return median
	}
	return fmt.Sprintf("%s (%s–%s)", median, format(s.min), format(s.max))
}

// emphasize makes what is ours bold.
func (w row) emphasize(peer, text string) string {
	if peer == w.ours() {
		return "**" + text + "**"
	}
	return text
}

// bound is what stands before a rate that is a lower bound.
func (w row) bound(peer string) string {
	if w.limited[peer] {
		return "≥ "
	}
	return ""
}

// ratio is that of ours to the best of others, "" if either was not measured,
// or if the other one's is a lower bound.
func (w row) ratio(others ...string) string {
	ours, ok := w.of(either)
	best, other := w.best(others...)
	if !ok || !other || best.median == 0 || w.what == "server_busy" {
		return ""
	}
	for _, peer := range others {
		if w.limited[peer] {
			return ""
		}
	}
	if sure(ours, best) && !w.exact() && !differ(ours, best) {
		return "no difference"
	}
	text := w.bound(w.ours()) + format(ours.median/best.median) + " ×"
	if !sure(ours, best) && !w.exact() {
		text += " ?"
	}
	return text
}

// goals returns the goals of a row, and what came of each.
func (t *table) goals(w row) (wanted, reached string) {
	var texts, verdicts []string
	for _, g := range goals {
		if g.applies != nil && g.applies(w.subject) {
			texts = append(texts, g.text)
			verdicts = append(verdicts, string(g.verdict(w, t)))
		}
	}
	return strings.Join(texts, "<br>"), strings.Join(verdicts, "<br>")
}

// voids says which rounds of a table do not count, and why.
func voids(r *results.Results, heading string) string {
	total := 0
	var void []string
	for _, s := range r.Samples {
		if kindOf(s.What).table != heading {
			continue
		}
		total++
		if s.Void {
			void = append(void, fmt.Sprintf("- %s, %s, round %d: %s\n", s.Peer, cmp.Or(subjectOf(s).label(), s.What), s.Round, s.Why))
		}
	}
	if void == nil {
		return ""
	}
	return fmt.Sprintf("\n%d of %d measurements are void and left out:\n\n%s", len(void), total, strings.Join(void, ""))
}

// voidOnly returns the headings of tables that have nothing but void rounds.
func voidOnly(r *results.Results, t *table) (headings []string) {
	for _, s := range r.Samples {
		heading := kindOf(s.What).table
		inTable := func(w row) bool { return kindOf(w.what).table == heading }
		if s.Void && !slices.Contains(headings, heading) && !slices.ContainsFunc(t.rows, inTable) {
			headings = append(headings, heading)
		}
	}
	return headings
}
