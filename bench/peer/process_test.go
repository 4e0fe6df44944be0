package peer

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestProcess(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log := filepath.Join(t.TempDir(), "log")
	// A program that ignores SIGTERM has a child, and prints once it is ready.
	p, err := Run(log, t.TempDir(), []string{"WORD=ready"}, "sh", "-c", "trap 'echo told' TERM; sleep 100 & echo $WORD; while :; do sleep 0.01; done")
	if err != nil {
		t.Fatal(err)
	}
	says := func(word string) func() error {
		return func() error {
			if !strings.Contains(p.Logged(), word) {
				return errors.New("not yet")
			}
			return nil
		}
	}
	if err := p.Wait(ctx, time.Millisecond, "the program", says("ready")); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(ctx, time.Millisecond, "the signal", says("told")); err != nil {
		t.Fatal(err)
	}
	children, err := Children(p.PID)
	if err != nil || len(children) == 0 {
		t.Fatalf("children %v, %v", children, err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if p.Running() || p.Stop() != nil {
		t.Error("runs on, or stopping what has ended is an error")
	}
	if err := p.Wait(ctx, time.Millisecond, "ever", func() error { return errors.New("not yet") }); err == nil || !strings.Contains(err.Error(), "told") {
		t.Errorf("waiting for what has ended: %v, want its log", err)
	}
	if _, err := Run(log, t.TempDir(), nil, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error for a program that does not exist")
	}
}
