//go:build unix

package controlplane

import (
	"errors"
	"os"
	"syscall"
)

func pause(p *os.Process) error  { return p.Signal(syscall.SIGSTOP) }
func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }

// terminate resumes the process too: a stopped one would not see the signal.
func terminate(p *os.Process) error {
	return errors.Join(p.Signal(syscall.SIGTERM), resume(p))
}
