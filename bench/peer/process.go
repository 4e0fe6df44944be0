package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Process is a running program that ends with this one.
type Process struct {
	PID     int
	Started time.Time
	Log     string // path of what it printed

	name string
	done chan struct{} // closed when it has ended
	err  error         // how; read after done
}

// stopLimit is how long a program may take to end after SIGTERM.
const stopLimit = 10 * time.Second

// Run starts a program, with what it prints appended to the file log. It is in
// a process group of its own, so that Ctrl-C at the terminal reaches this
// program alone, and the kernel kills it if this program dies.
func Run(log, dir string, env []string, argv ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	defer out.Close() // the child has its own descriptor
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p := &Process{Log: log, name: strings.Join(argv, " "), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The parent-death signal is sent when the thread that forked ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p.Started = time.Now()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.PID = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	return p, nil
}

// Stop asks the program to end, kills it if it does not, and waits until it has
// ended. What it started and left behind in its group is killed.
func (p *Process) Stop() error {
	if p.Running() {
		syscall.Kill(p.PID, syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(stopLimit):
		}
	}
	return p.Kill()
}

// Kill ends the program and its group at once.
func (p *Process) Kill() error {
	err := syscall.Kill(-p.PID, syscall.SIGKILL)
	<-p.done
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	return nil
}

// Signal sends a signal to the program.
func (p *Process) Signal(s syscall.Signal) error {
	if err := syscall.Kill(p.PID, s); err != nil {
		return fmt.Errorf("sending %v to %s: %w", s, p.name, err)
	}
	return nil
}

// Running reports whether the program has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait calls check every interval until it returns nil, the program ends, or
// the context does.
func (p *Process) Wait(ctx context.Context, interval time.Duration, what string, check func() error) error {
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("waiting for %s: %s ended: %v\n%s", what, p.name, p.err, p.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %w\n%s", what, ctx.Err(), err, p.LogTail())
		case <-time.After(interval):
		}
	}
}

// Logged returns what the program has printed.
func (p *Process) Logged() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// LogTail returns its last lines, for an error message.
func (p *Process) LogTail() string {
	lines := strings.Split(strings.TrimSpace(p.Logged()), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
