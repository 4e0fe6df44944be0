package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A part in these tests is this test binary, run with one of these names.
const (
	sleeper = "sleeper" // runs until it is ended
	failer  = "failer"  // says "nine lives" and fails
	parent  = "parent"  // starts a sleeper, tells its process id and hangs
)

func TestMain(m *testing.M) {
	switch append(os.Args, "")[1] {
	case sleeper:
		hang()
	case failer:
		fmt.Println("nine lives")
		os.Exit(9)
	case parent:
		child := &Part{Name: sleeper, binary: os.Args[0], LogFile: os.DevNull}
		if err := child.launch(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(child.PID())
		hang()
	}
	os.Exit(m.Run())
}

// hang does not return. An empty select would be reported as a deadlock.
func hang() { time.Sleep(time.Hour) }

func testPart(t *testing.T, name string) *Part {
	t.Helper()
	p := &Part{Name: name, binary: os.Args[0], LogFile: filepath.Join(t.TempDir(), "log")}
	t.Cleanup(func() { mustKill(t, p) })
	return p
}

func TestPartStopsWhilePaused(t *testing.T) {
	for name, end := range map[string]func(*Part) error{"stop": (*Part).Stop, "kill": (*Part).Kill} {
		t.Run(name, func(t *testing.T) {
			p := testPart(t, sleeper)
			mustStart(t, p)
			if err := p.Start(t.Context()); err == nil {
				t.Error("started twice")
			}
			if err := p.Pause(); errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			if err := end(p); err != nil {
				t.Fatal(err)
			}
			if pid := p.PID(); pid != 0 {
				t.Errorf("ended part has process id %d", pid)
			}
			if err := p.crashed(); err != nil {
				t.Errorf("ended part: %v", err)
			}
			mustStart(t, p) // again
		})
	}
}

func TestPartCrash(t *testing.T) {
	p := testPart(t, failer)
	mustStart(t, p)
	c := &ControlPlane{Etcd: p, APIServer: p, ControllerManager: p, Scheduler: p, Kwok: p}
	err := c.Wait(t.Context(), "nothing", func(context.Context) error { return errors.New("not yet") })
	for _, want := range []string{"waiting for nothing", "failer ended by itself", "exit status 9", "nine lives"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not have %q", err, want)
		}
	}
}

func TestLogTail(t *testing.T) {
	p := testPart(t, sleeper)
	for lines, first := range map[int]string{1: "0", 15: "0", 16: "1", 100: "85"} {
		var log strings.Builder
		for i := range lines {
			fmt.Fprintln(&log, i)
		}
		if err := os.WriteFile(p.LogFile, []byte(log.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := strings.Split(p.LogTail(), "\n")[1]; got != first {
			t.Errorf("tail of %d lines begins with %q, want %q", lines, got, first)
		}
	}
}
