//go:build !linux

package e2e

// systemFaults are those of the kernel: for Linux only.
var systemFaults []fault
