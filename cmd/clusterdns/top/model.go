package top

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
)

// model is the state of the screen. It knows keys and snapshots; ui.go has the
// terminal.
type model struct {
	snap Snapshot
	err  error // of the last poll, if there was no server to ask

	view     int // of views
	byKey    bool
	reverse  bool
	cursor   int
	selected string // the key at cursor, which it follows from snapshot to snapshot
	filter   string
	typing   bool // the filter
	paused   bool

	explaining string // a name; "" if nothing is explained
	explained  string
	scroll     int // of explained

	width, height int
}

// wish is what a key asks of the program.
type wish int

const (
	wishNothing wish = iota
	wishQuit
	wishExplain // m.explaining
)

// shown returns the rows of the view that match the filter, sorted.
func (m *model) shown() (list []Row) {
	for _, r := range views[m.view].rows(&m.snap) {
		if m.filter == "" || strings.Contains(strings.ToLower(r.Key+" "+r.Of), strings.ToLower(m.filter)) {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(a, b Row) int {
		order := cmp.Or(cmp.Compare(b.PerSecond, a.PerSecond), cmp.Compare(a.Key, b.Key))
		if m.byKey {
			order = cmp.Compare(a.Key, b.Key)
		}
		if m.reverse {
			order = -order
		}
		return order
	})
	return list
}

// take shows a new snapshot. The cursor stays with its row.
func (m *model) take(s Snapshot, err error) {
	if m.err = err; err == nil {
		m.snap = s
	}
	if at := slices.IndexFunc(m.shown(), func(r Row) bool { return r.Key == m.selected }); at >= 0 && m.cursor > 0 {
		m.cursor = at
	}
	m.move(0)
}

// move moves the cursor by n rows, as far as there are any.
func (m *model) move(n int) {
	rows := m.shown()
	m.cursor = max(0, min(m.cursor+n, len(rows)-1))
	m.selected = ""
	if m.cursor < len(rows) {
		m.selected = rows[m.cursor].Key
	}
}

// show turns to another view.
func (m *model) show(view int) {
	m.view = (view + len(views)) % len(views)
	m.cursor, m.filter = 0, ""
	m.move(0)
}

// key handles a key, named as bubbletea names it; text is what it types, if it
// does.
func (m *model) key(name, text string) wish {
	switch {
	case name == "ctrl+c":
		return wishQuit
	case m.typing:
		m.typeFilter(name, text)
		return wishNothing
	case m.explaining != "":
		return m.explainKey(name)
	}
	page := max(1, m.height/2)
	switch name {
	case "q":
		return wishQuit
	case "esc":
		m.filter = ""
		m.move(0)
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "pgup":
		m.move(-page)
	case "pgdown":
		m.move(page)
	case "home", "g":
		m.move(-maxRows)
	case "end", "G":
		m.move(maxRows)
	case "tab", "right", "l":
		m.show(m.view + 1)
	case "shift+tab", "left", "h":
		m.show(m.view - 1)
	case "1", "2", "3", "4", "5":
		m.show(int(name[0] - '1'))
	case "s":
		m.byKey = !m.byKey
		m.move(0)
	case "r":
		m.reverse = !m.reverse
		m.move(0)
	case "p", "space":
		m.paused = !m.paused
	case "/":
		m.typing = true
	case "enter":
		if by := views[m.view].by; (by == "name" || by == "nxdomain") && m.selected != "" {
			m.explaining, m.explained, m.scroll = m.selected, "", 0
			return wishExplain
		}
	}
	return wishNothing
}

func (m *model) typeFilter(name, text string) {
	switch name {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		_, size := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-size]
	default:
		m.filter += clean(text)
	}
	m.cursor = 0
	m.move(0)
}

func (m *model) explainKey(name string) wish {
	switch name {
	case "q", "esc", "enter", "backspace":
		m.explaining = ""
	case "up", "k":
		m.scroll = max(0, m.scroll-1)
	case "down", "j":
		m.scroll = min(m.scroll+1, max(0, strings.Count(m.explained, "\n")-1))
	}
	return wishNothing
}
