package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Part is one process of a control plane. It can be stopped or killed and
// started again any number of times; it then has the same ports and files.
type Part struct {
	// Name is the subcommand: "etcd", "kube-apiserver" and so on.
	Name string
	// Args is the command line that follows the name. It may be changed
	// while the part is down: a later flag overrides an earlier one.
	Args []string
	// LogFile receives stdout and stderr of every run.
	LogFile string

	binary string
	dir    string                          // working directory
	ready  func(ctx context.Context) error // nil: ready once started

	mu   sync.Mutex
	proc *process // the latest run; nil before the first
}

// process is one run of a part.
type process struct {
	os     *os.Process
	done   chan struct{} // closed when the process has ended
	status error         // how it ended; read after done
	ended  bool          // somebody asked it to end; guarded by Part.mu
}

// stopLimit is how long a part may take to end after SIGTERM.
const stopLimit = 20 * time.Second

// Start starts the part and waits until it is ready: etcd and the API server
// by their readiness endpoints, the others, which have none, at once. It is
// an error if the part runs already. If Start fails the part is down.
func (p *Part) Start(ctx context.Context) error {
	if err := p.launch(); err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	if p.ready == nil {
		return nil
	}
	if err := poll(ctx, p.ready, p); err != nil {
		err = fmt.Errorf("waiting for %s to be ready: %w", p.Name, err)
		if p.PID() != 0 { // otherwise poll has the log's tail in the error
			err = fmt.Errorf("%w\n%s", err, p.LogTail())
		}
		return errors.Join(err, p.Kill())
	}
	return nil
}

func (p *Part) launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc != nil && p.proc.running() {
		return fmt.Errorf("already running as process %d", p.proc.os.Pid)
	}
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own descriptor
	cmd := exec.Command(p.binary, append([]string{p.Name}, p.Args...)...)
	cmd.Dir = p.dir
	cmd.Env = p.env()
	cmd.Stdout, cmd.Stderr = log, log
	ended, err := StartChild(cmd)
	if err != nil {
		return err
	}
	proc := &process{os: cmd.Process, done: make(chan struct{})}
	go func() {
		proc.status = <-ended
		close(proc.done)
	}()
	p.proc = proc
	return nil
}

// env is the environment without the variables that etcd and kwok take as
// flags, and with kwok's folder, where it looks for more configuration,
// inside ours.
func (p *Part) env() []string {
	env := []string{"KWOK_WORKDIR=" + p.dir}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "ETCD_") && !strings.HasPrefix(kv, "KWOK_") {
			env = append(env, kv)
		}
	}
	return env
}

// Stop asks the part to end (SIGTERM) and waits until it has; after 20 s it
// is killed. A paused part is resumed first. Stopping a part that is down
// does nothing.
func (p *Part) Stop() error { return p.end(terminate) }

// Kill ends the part at once (SIGKILL), paused or not, and waits until it
// has ended. Killing a part that is down does nothing.
func (p *Part) Kill() error { return p.end((*os.Process).Kill) }

func (p *Part) end(signal func(*os.Process) error) error {
	p.mu.Lock()
	proc := p.proc
	if proc == nil || !proc.running() {
		p.mu.Unlock()
		return nil
	}
	proc.ended = true
	p.mu.Unlock()

	if err := signal(proc.os); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending %s, process %d: %w", p.Name, proc.os.Pid, err)
	}
	select {
	case <-proc.done:
		return nil
	case <-time.After(stopLimit):
	}
	if err := proc.os.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s, process %d: %w", p.Name, proc.os.Pid, err)
	}
	<-proc.done
	return nil
}

// Pause stops the part's process from running (SIGSTOP), as a hung part:
// its connections stay open and nothing answers on them. It works on Unix
// systems only.
func (p *Part) Pause() error { return p.signal("pausing", pause) }

// Resume lets a paused part go on (SIGCONT).
func (p *Part) Resume() error { return p.signal("resuming", resume) }

func (p *Part) signal(doing string, send func(*os.Process) error) error {
	p.mu.Lock()
	proc := p.proc
	p.mu.Unlock()
	err := errors.New("not started")
	if proc != nil {
		err = send(proc.os)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, p.Name, err)
	}
	return nil
}

// PID returns the part's process id, or 0 if it is down.
func (p *Part) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil || !p.proc.running() {
		return 0
	}
	return p.proc.os.Pid
}

// crashed returns an error, with the log's tail, if the part ended though
// nobody asked it to.
func (p *Part) crashed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil || p.proc.ended || p.proc.running() {
		return nil
	}
	return fmt.Errorf("%s ended by itself: %v\n%s", p.Name, p.proc.status, p.LogTail())
}

func (pr *process) running() bool {
	select {
	case <-pr.done:
		return false
	default:
		return true
	}
}

// LogTail returns the last lines of the part's log, for an error message or
// a failed test.
func (p *Part) LogTail() string {
	const lines = 15
	data, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	data = bytes.TrimSpace(data)
	from := len(data)
	for range lines {
		if from = bytes.LastIndexByte(data[:from], '\n'); from < 0 {
			break
		}
	}
	return fmt.Sprintf("--- %s\n%s", p.LogFile, data[from+1:])
}
