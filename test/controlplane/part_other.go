//go:build !unix

package controlplane

import (
	"errors"
	"os"
	"syscall"
)

// sysProcAttr asks for nothing special.
func sysProcAttr() *syscall.SysProcAttr { return nil }

func pause(*os.Process) error  { return errors.ErrUnsupported }
func resume(*os.Process) error { return errors.ErrUnsupported }

// terminate kills: there is no signal to ask a process to end.
func terminate(p *os.Process) error { return p.Kill() }
