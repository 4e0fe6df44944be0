package top

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
)

// TestUI drives the program as bubbletea does: messages in, commands out.
func TestUI(t *testing.T) {
	polls := 0
	u := &ui{
		ctx:      t.Context(),
		interval: time.Nanosecond,
		poll: func(context.Context) (Snapshot, error) {
			polls++
			if polls == 2 {
				return Snapshot{}, errors.New("listing pods: forbidden")
			}
			return world(), nil
		},
		explain: func(_ context.Context, name string) string { return "why " + name + "\n\x1b[31mred\n" },
	}
	send := func(msg tea.Msg) tea.Cmd {
		_, cmd := u.Update(msg)
		return cmd
	}
	if cmd := send(tea.WindowSizeMsg{Width: 100, Height: 20}); cmd != nil {
		t.Error("a new size asks for something")
	}
	next := send(u.Init()())
	if !strings.Contains(u.View().Content, "db.data.svc.cluster.local.") || !u.View().AltScreen {
		t.Errorf("no names in\n%s", u.View().Content)
	}
	tick := next() // waits a nanosecond
	next = send(send(tick)())
	if polls != 2 || !strings.Contains(u.View().Content, "listing pods: forbidden") || !strings.Contains(u.View().Content, "db.data") {
		t.Errorf("after %d polls, the second of which fails:\n%s", polls, u.View().Content)
	}
	send(send(next())())
	if polls != 3 || strings.Contains(u.View().Content, "forbidden") {
		t.Errorf("after %d polls, the third of which does not:\n%s", polls, u.View().Content)
	}

	answer := send(tea.KeyPressMsg{Code: tea.KeyEnter})
	if !strings.Contains(u.View().Content, "asking…") {
		t.Errorf("while it is explained:\n%s", u.View().Content)
	}
	if send(explainedMsg{"another.", "too late"}); !strings.Contains(u.View().Content, "asking…") {
		t.Errorf("another's explanation:\n%s", u.View().Content)
	}
	send(answer())
	if text := u.View().Content; !strings.Contains(text, "why db.data.svc.cluster.local.") || !strings.Contains(text, "?[31mred") {
		t.Errorf("explained:\n%q", text)
	}
	send(tea.KeyPressMsg{Code: tea.KeyEscape})
	for _, key := range "/web" {
		send(tea.KeyPressMsg{Code: key, Text: string(key)})
	}
	if text := u.View().Content; strings.Contains(text, "db.data") || !strings.Contains(text, "web.shop") {
		t.Errorf("filtered:\n%s", text)
	}
	send(tea.KeyPressMsg{Code: tea.KeyEnter})
	send(tea.KeyPressMsg{Code: tea.KeySpace, Text: " "})
	if !u.paused {
		t.Error("the space bar does not pause")
	}
	if quit := send(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}); quit == nil || quit() != (tea.QuitMsg{}) {
		t.Error("ctrl+c does not end it")
	}
}

// TestFlags: a mistake is one clear line, and costs nothing else.
func TestFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--by size":                        `--by "size" is none of [name client nxdomain namespace rcode]`,
		"--once -o yaml":                   `--output "yaml" is neither text nor json`,
		"-o json":                          "--output json goes with --once",
		"--port 0":                         "--port 0 is no port",
		"--metrics-port 65536":             "--metrics-port 65536 is no port",
		"--interval 10ms":                  "--interval 10ms is less than a second",
		"--rows -1":                        "--rows -1 is no number of rows",
		"--once --server ftp://h":          `--server "ftp://h" is no address of a console such as http://127.0.0.1:8053`,
		"--once --server http://h/x":       `--server "http://h/x" is no address of a console such as http://127.0.0.1:8053`,
		"--once --server http://":          `--server "http://" is no address of a console such as http://127.0.0.1:8053`,
		"--once --kubeconfig /nowhere":     "kubeconfig: stat /nowhere: no such file or directory",
		"--once --server 127.0.0.1:1":      "no console at http://127.0.0.1:1: the line `console 127.0.0.1:1` in a server block of the Corefile turns it on",
		"--once --kubeconfig ui_test.go":   "kubeconfig: ",
		"--once -o json --server [::1]:1x": `--server "[::1]:1x"`,
	} {
		cmd := New(nil)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(strings.Fields(args))
		var out strings.Builder
		cmd.SetOut(&out)
		err := cmd.Execute()
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
