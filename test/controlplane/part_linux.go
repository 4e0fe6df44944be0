package controlplane

import "syscall"

// sysProcAttr has the kernel kill the child if this process dies, and keeps
// an interrupt typed at the terminal for this process alone.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
