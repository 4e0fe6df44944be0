//go:build unix && !linux

package controlplane

import "syscall"

// sysProcAttr keeps an interrupt typed at the terminal for this process
// alone. There is no parent-death signal here: a child outlives a parent that
// is killed.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
