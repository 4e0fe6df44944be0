package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says what Start runs.
type Spec struct {
	Root string    // the root file system; it has a folder proc
	Args []string  // the first is a path in Root
	Env  []string  // all of it
	User uint32    // and group
	Caps []uintptr // capabilities, beside that to bind ports below 1024
	Log  string    // path of a file for what it prints
}

// Process is a program that sees what it would in its pod: a file system of its
// own, the ports and routes of a network namespace, and no privilege but those of its
// Spec.
type Process struct {
	Exited chan struct{} // closed when it has ended
	Log    string        // path

	proc *os.Process
	err  error // how it ended; read after Exited
}

// stopLimit is how long a process may take to end after SIGTERM, on a machine
// that does other things.
const stopLimit = time.Minute

// Start starts a process in the namespace. It ends with this process, if not
// before: the caller stops it.
func (n Namespace) Start(s Spec) (*Process, error) {
	log, err := os.Create(s.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own descriptor
	p := &Process{Exited: make(chan struct{}), Log: s.Log}
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Dir = "/"
	cmd.Env = s.Env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:      s.Root,
		Credential:  &syscall.Credential{Uid: s.User, Gid: s.User},
		AmbientCaps: append([]uintptr{unix.CAP_NET_BIND_SERVICE}, s.Caps...),
		Pdeathsig:   syscall.SIGKILL, // when the thread below ends
	}
	started := make(chan error)
	go func() {
		running := false
		err := n.Do(func() error {
			err := mountProc(filepath.Join(s.Root, "proc"))
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				return err
			}
			running, p.proc = true, cmd.Process
			started <- nil
			p.err = cmd.Wait()
			close(p.Exited)
			return nil
		})
		if !running {
			started <- err
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Args[0], err)
	}
	return p, nil
}

// mountProc mounts /proc at path, for this thread and the processes that it
// starts only. The fast lane reads from there who holds its address.
func mountProc(path string) error {
	return errors.Join(
		unix.Unshare(unix.CLONE_NEWNS),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", path, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
	)
}

// Err returns how the process ended; it waits for that.
func (p *Process) Err() error {
	<-p.Exited
	return p.err
}

// Terminate sends SIGTERM.
func (p *Process) Terminate() error { return p.Signal(syscall.SIGTERM) }

// Signal sends a signal; nothing happens where the process has ended.
func (p *Process) Signal(s os.Signal) error {
	if err := p.proc.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Stop ends the process as Kubernetes does.
func (p *Process) Stop() error {
	if err := p.Terminate(); err != nil {
		return err
	}
	select {
	case <-p.Exited:
	case <-time.After(stopLimit):
		return errors.Join(errors.New("it has not ended after SIGTERM"), p.proc.Kill())
	}
	if p.err != nil {
		return fmt.Errorf("it ended: %w", p.err)
	}
	return nil
}

// LogTail returns the end of what it printed.
func (p *Process) LogTail() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// Relay has TCP connections to addr, in the namespace, lead to target outside of
// it, until the test ends.
func (n Namespace) Relay(t *testing.T, addr, target string) {
	t.Helper()
	udp, tcp := n.Listen(t, addr)
	udp.Close()
	t.Cleanup(func() { tcp.Close() })
	go func() {
		for {
			from, err := tcp.Accept()
			if err != nil {
				return
			}
			go relay(from, target)
		}
	}()
}

func relay(from net.Conn, target string) {
	defer from.Close()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		io.Copy(to, from)
		to.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(from, to)
}
