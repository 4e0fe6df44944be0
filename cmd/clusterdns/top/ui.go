package top

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"
)

// ui is a model on a terminal.
type ui struct {
	model
	ctx      context.Context
	poll     func(context.Context) (Snapshot, error)
	explain  func(ctx context.Context, name string) string
	interval time.Duration
}

// Messages of the program to itself.
type (
	polledMsg struct {
		snap Snapshot
		err  error
	}
	explainedMsg struct{ name, text string }
	tickMsg      struct{}
)

// Init implements tea.Model.
func (u *ui) Init() tea.Cmd { return u.ask }

func (u *ui) ask() tea.Msg {
	s, err := u.poll(u.ctx)
	return polledMsg{s, err}
}

// Update implements tea.Model.
func (u *ui) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		u.width, u.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		switch u.key(msg.String(), msg.Text) {
		case wishQuit:
			return u, tea.Quit
		case wishExplain:
			name := u.explaining
			return u, func() tea.Msg { return explainedMsg{name, u.explain(u.ctx, name)} }
		}
	case explainedMsg:
		if msg.name == u.explaining { // and not one that nobody waits for any more
			u.explained = msg.text
		}
	case polledMsg:
		if !u.paused {
			u.take(msg.snap, msg.err)
		}
		return u, tea.Tick(u.interval, func(time.Time) tea.Msg { return tickMsg{} })
	case tickMsg:
		return u, u.ask
	}
	return u, nil
}

// View implements tea.Model.
func (u *ui) View() tea.View {
	v := tea.NewView(u.frame())
	v.AltScreen = true
	v.WindowTitle = "clusterdns top"
	return v
}
