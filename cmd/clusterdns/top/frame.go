package top

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Attributes of a terminal. Colours are the reader's own.
const (
	bold    = "\x1b[1m"
	dim     = "\x1b[2m"
	inverse = "\x1b[7m"
	plain   = "\x1b[m"
)

// Frame returns what a terminal of this size shows of a snapshot, with its escape
// sequences: bold, dim, inverse and plain.
func Frame(s Snapshot, width, height int) string {
	m := &model{width: width, height: height}
	m.take(s, nil)
	return m.frame()
}

// frame returns the screen: at most height lines of at most width columns.
func (m *model) frame() string {
	lines := m.head()
	foot := dim + m.keys() + plain
	room := max(0, m.height-len(lines)-1)
	if m.explaining != "" {
		lines = append(lines, m.explanation(room)...)
	} else {
		lines = append(lines, m.table(room)...)
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines, foot)
	lines = lines[:min(len(lines), max(1, m.height))]
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], m.width, "…")
	}
	return strings.Join(lines, "\n")
}

// head is what stands above the table: how all servers are, and the views.
func (m *model) head() []string {
	title := bold + "clusterdns top" + plain + "   " + m.snap.Time.Format("15:04:05")
	switch {
	case m.err != nil:
		title += "   " + inverse + " " + clean(m.err.Error()) + " " + plain
	case m.paused:
		title += "   " + inverse + " paused " + plain
	}
	lines := []string{title}
	if !m.snap.Time.IsZero() {
		state := heading(&m.snap)
		lines = append(lines, bold+state[0]+plain)
		lines = append(lines, state[1:min(len(state), max(3, m.height/3))]...)
	}
	tabs := ""
	for i, v := range views {
		tab := fmt.Sprintf(" %d %s ", i+1, v.title)
		if i == m.view {
			tab = inverse + tab + plain
		}
		tabs += tab + " "
	}
	return append(lines, "", tabs)
}

// table is the rows of the view around the cursor, in room lines.
func (m *model) table(room int) (lines []string) {
	head := columns(m.view)
	rows := m.shown()
	switch by := views[m.view].what; {
	case m.filter != "" || m.typing:
		cursor := ""
		if m.typing {
			cursor = "▏"
		}
		head[2] = by + " /" + m.filter + cursor
	}
	widths := m.widths()
	lines = append(lines, bold+line(head, widths)+plain)
	if len(rows) == 0 {
		text := "nothing yet"
		if m.filter != "" {
			text = "nothing matches"
		}
		return append(lines, dim+text+plain)
	}
	visible := max(1, room-1)
	first := max(0, min(m.cursor-visible/2, len(rows)-visible))
	for i := first; i < len(rows) && i < first+visible; i++ {
		text := line(cells(m.view, rows[i]), widths)
		if i == m.cursor {
			text = inverse + text + plain
		}
		lines = append(lines, text)
	}
	return lines
}

// widths are those of the columns. What the figures leave is the key's, and a
// third of it that of the column beside it.
func (m *model) widths() []int {
	left := max(20, m.width-11-2-7-2)
	if views[m.view].of == "" {
		return []int{-11, -7, left}
	}
	of := left / 3
	return []int{-11, -7, left - of - 2, of}
}

// line sets cells side by side. A negative width is that of a column of figures,
// which are flush right.
func line(cells []string, widths []int) string {
	var b strings.Builder
	for i, cell := range cells {
		if i > 0 {
			b.WriteString("  ")
		}
		width, right := widths[i], false
		if width < 0 {
			width, right = -width, true
		}
		cell = ansi.Truncate(cell, width, "…")
		pad := strings.Repeat(" ", max(0, width-ansi.StringWidth(cell)))
		if right {
			b.WriteString(pad + cell)
		} else {
			b.WriteString(cell + pad)
		}
	}
	return b.String()
}

// explanation is what explain says of a name, from the line scrolled to.
func (m *model) explanation(room int) []string {
	lines := []string{bold + m.explaining + plain}
	if m.explained == "" {
		return append(lines, dim+"asking…"+plain)
	}
	for text := range strings.SplitSeq(strings.TrimRight(m.explained, "\n"), "\n") {
		lines = append(lines, clean(strings.ReplaceAll(text, "\t", "  ")))
	}
	body := lines[1:]
	body = body[min(m.scroll, len(body)):]
	return append(lines[:1:1], body[:min(len(body), max(0, room-1))]...)
}

// keys says what keys do.
func (m *model) keys() string {
	switch {
	case m.typing:
		return "Enter keep   Esc clear"
	case m.explaining != "":
		return "↑↓ scroll   Esc back"
	}
	order := "rate"
	if m.byKey {
		order = views[m.view].what
	}
	return "Tab view   ↑↓ move   Enter explain   / filter   s sorted by " + order + "   r reverse   p pause   q quit"
}
