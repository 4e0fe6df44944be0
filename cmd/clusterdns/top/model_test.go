package top

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// world is a Snapshot that the tests show.
func world() Snapshot {
	return merge(noon.Add(10*time.Second), []polled{{name: "a", before: at(0, 100), now: at(10, 200)}},
		func(addr string) string { return "shop/asks" })
}

func screen(width, height int) *model {
	m := &model{width: width, height: height}
	m.take(world(), nil)
	return m
}

// press sends keys, one for each word; of those that type it is the text too.
func press(m *model, keys string) (last wish) {
	for key := range strings.FieldsSeq(keys) {
		text := ""
		if len(key) == 1 {
			text = key
		}
		last = m.key(key, text)
	}
	return last
}

// TestKeys: what is shown after some keys, as view, rows and the selected one.
func TestKeys(t *testing.T) {
	const db, web, gone = "db.data.svc.cluster.local.", "web.shop.svc.cluster.local.", "gone.shop.svc.cluster.local."
	for _, row := range []struct{ keys, want string }{
		{"", "name: *" + db + " " + web},
		{"down", "name: " + db + " *" + web},
		{"j k", "name: *" + db + " " + web},
		{"down down down", "name: " + db + " *" + web},
		{"G", "name: " + db + " *" + web},
		{"G g", "name: *" + db + " " + web},
		{"r", "name: *" + web + " " + db},
		{"s", "name: *" + db + " " + web},
		{"s r", "name: *" + web + " " + db},
		{"tab", "client: *10.244.1.5"},
		{"shift+tab", "rcode: *NOERROR NXDOMAIN SERVFAIL other"},
		{"3", "nxdomain: *" + gone},
		{"4", "namespace: *data shop"},
		{"down 4", "namespace: *data shop"},
		{"/ S H O P", "name: *" + web},
		{"/ w e b enter", "name: *" + web},
		{"/ q x backspace", "name:"},
		{"/ x esc", "name: *" + db + " " + web},
		{"/ w enter esc", "name: *" + db + " " + web},
		{"/ w enter 2", "client: *10.244.1.5"},
		{"/ 2 enter", "name:"}, // types, and does not turn the page
	} {
		m := screen(80, 24)
		if press(m, row.keys) != wishNothing {
			t.Errorf("%q: a wish", row.keys)
		}
		got := views[m.view].by + ":"
		for i, r := range m.shown() {
			mark := ""
			if i == m.cursor {
				mark = "*"
			}
			got += " " + mark + r.Key
		}
		if got != row.want {
			t.Errorf("%q: %s, want %s", row.keys, got, row.want)
		}
	}
}

func TestWishes(t *testing.T) {
	for keys, want := range map[string]wish{
		"q": wishQuit, "ctrl+c": wishQuit, "/ q": wishNothing, "/ ctrl+c": wishQuit,
		"enter": wishExplain, "3 enter": wishExplain, "2 enter": wishNothing, "5 enter": wishNothing,
		"enter q": wishNothing, "enter ctrl+c": wishQuit, "/ x enter enter": wishNothing,
	} {
		if got := press(screen(80, 24), keys); got != want {
			t.Errorf("%q: %v, want %v", keys, got, want)
		}
	}
	m := screen(80, 24)
	press(m, "down enter")
	if m.explaining != "web.shop.svc.cluster.local." {
		t.Errorf("explains %q", m.explaining)
	}
}

// TestFollows: the cursor stays with its row when others overtake it, and at the
// top if it stands there.
func TestFollows(t *testing.T) {
	m := screen(80, 24)
	press(m, "down")
	later := world()
	later.Names[1].PerSecond = 1000
	m.take(later, nil)
	if m.cursor != 0 || m.selected != "web.shop.svc.cluster.local." {
		t.Errorf("at %d, %s", m.cursor, m.selected)
	}
	m.take(world(), nil)
	if m.cursor != 0 || m.selected != "db.data.svc.cluster.local." {
		t.Errorf("at %d, %s", m.cursor, m.selected)
	}
	press(m, "down")
	m.take(Snapshot{}, nil)
	if m.cursor != 0 || m.selected != "" {
		t.Errorf("of nothing: at %d, %q", m.cursor, m.selected)
	}
	// A poll that fails leaves what was.
	m.take(world(), nil)
	m.take(Snapshot{}, errors.New("no pod runs"))
	if len(m.shown()) != 2 || !strings.Contains(m.frame(), "no pod runs") {
		t.Error(m.frame())
	}
}

// TestFrame: a whole screen.
func TestFrame(t *testing.T) {
	const want = `clusterdns top   12:00:10
1 server   50.0 questions/s   lane 80 %   chain 20 %
NOERROR 80 %   NXDOMAIN 20 %   SERVFAIL 0 %   other 0 %
mean 201 µs   lane 1 µs   chain 1 ms

 1 names   2 clients   3 NXDOMAIN   4 namespaces   5 response codes
questions/s    share  name                              namespace
       60.0     75 %  db.data.svc.cluster.local.        data
       20.0     25 %  web.shop.svc.cluster.local.       shop


Tab view   ↑↓ move   Enter explain   / filter   s sorted by rate   r re…`
	m := screen(72, 12)
	var got []string
	for line := range strings.Lines(ansi.Strip(m.frame())) {
		got = append(got, strings.TrimRight(line, " \n"))
	}
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// TestSizes: no screen is too small, and none gets more lines or columns than it
// has, whatever is shown.
func TestSizes(t *testing.T) {
	long := world()
	for i := range 500 {
		long.Names = append(long.Names, Row{Key: fmt.Sprintf("%d.%s.", i, strings.Repeat("x", 200)), Of: strings.Repeat("漢", 40)})
		long.Servers = append(long.Servers, Server{Name: "s", Error: fmt.Sprint("down ", i)})
	}
	for _, keys := range []string{"", "G", "2", "5", "/ x", "/ n o n e enter", "enter"} {
		for width := 0; width < 130; width += 13 {
			for height := 0; height < 50; height += 5 {
				m := screen(width, height)
				m.take(long, nil)
				press(m, keys)
				m.explained = strings.Repeat("a line of an explanation that is longer than that\n", 100)
				lines := strings.Split(m.frame(), "\n")
				if len(lines) > max(1, height) {
					t.Fatalf("%q at %d×%d: %d lines", keys, width, height, len(lines))
				}
				for _, line := range lines {
					if ansi.StringWidth(line) > width {
						t.Fatalf("%q at %d×%d: %d columns: %q", keys, width, height, ansi.StringWidth(line), line)
					}
				}
			}
		}
	}
}

// TestCursorShown: wherever the cursor is, its row is on the screen.
func TestCursorShown(t *testing.T) {
	many := world()
	for i := range 200 {
		many.Names = append(many.Names, Row{Key: fmt.Sprintf("n%03d.", i)})
	}
	m := screen(80, 20)
	m.take(many, nil)
	for range 205 {
		if !strings.Contains(m.frame(), inverse+line(cells(0, m.shown()[m.cursor]), m.widths())) {
			t.Fatalf("the row of %s is not to be seen:\n%s", m.selected, m.frame())
		}
		press(m, "down")
	}
}
