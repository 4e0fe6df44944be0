package peer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// Usage is what processes have used so far.
type Usage struct {
	CPU      time.Duration // of all threads that have not ended, user and system, by the scheduler's clock
	RSS      int64         // resident memory, bytes; of several processes the sum of their proportional shares
	Peak     int64         // highest RSS since the start or ResetPeak, bytes; 0 for several processes
	Children int           // processes beside the first
}

// UsageOf returns what a process and its descendants have used. It is an error
// if the process is gone; a descendant or a thread may go at any time.
func UsageOf(pid int) (u Usage, err error) {
	processes, err := tree(pid)
	if err != nil {
		return u, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	u.Children = len(processes) - 1
	for i, p := range processes {
		one, err := usage(p, len(processes) > 1)
		if err != nil {
			if i > 0 && gone(err) {
				continue
			}
			return u, fmt.Errorf("usage of process %d: %w", p.PID, err)
		}
		u.CPU += one.CPU
		u.RSS += one.RSS
		if len(processes) == 1 {
			u.Peak = one.Peak
		}
	}
	return u, nil
}

func usage(p procfs.Proc, shared bool) (u Usage, err error) {
	if u.CPU, err = cpu(p.PID); err != nil {
		return u, err
	}
	status, err := p.NewStatus()
	if err != nil {
		return u, err
	}
	u.RSS, u.Peak = int64(status.VmRSS), int64(status.VmHWM)
	if shared {
		smaps, err := p.ProcSMapsRollup()
		if err != nil {
			return u, err
		}
		u.RSS = int64(smaps.Pss)
	}
	return u, nil
}

// cpu sums up /proc/PID/task/*/schedstat. It has nanoseconds, where
// /proc/PID/stat has hundredths of a second.
func cpu(pid int) (sum time.Duration, err error) {
	threads, err := procfs.AllThreads(pid)
	if err != nil {
		return 0, err
	}
	for _, thread := range threads {
		stat, err := thread.Schedstat()
		if err != nil && !gone(err) {
			return 0, err
		}
		sum += time.Duration(stat.RunningNanoseconds)
	}
	return sum, nil
}

// MachineIdle returns how long the cores of the machine have been idle, in
// steps of 10 ms, and how many they are. What they did the rest of the time is
// only sampled.
func MachineIdle() (idle time.Duration, cores int, err error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, err
	}
	stat, err := fs.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("how idle the machine was: %w", err)
	}
	return time.Duration((stat.CPUTotal.Idle + stat.CPUTotal.Iowait) * float64(time.Second)), len(stat.CPU), nil
}

// ResetPeak makes Usage.Peak of the process start again from its present RSS.
func ResetPeak(pid int) error {
	if err := os.WriteFile(filepath.Join("/proc", strconv.Itoa(pid), "clear_refs"), []byte("5"), 0); err != nil {
		return fmt.Errorf("resetting the peak of process %d: %w", pid, err)
	}
	return nil
}

// tree returns a process and its descendants, itself first.
func tree(pid int) ([]procfs.Proc, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	children := map[int][]procfs.Proc{}
	var found []procfs.Proc
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil {
			continue // ended meanwhile
		}
		children[stat.PPID] = append(children[stat.PPID], p)
		if p.PID == pid {
			found = append(found, p)
		}
	}
	if found == nil {
		return nil, os.ErrProcessDone
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].PID]...)
	}
	return found, nil
}

// Children returns the processes that a process started, with their command
// lines.
func Children(pid int) (map[int][]string, error) {
	processes, err := tree(pid)
	if err != nil {
		return nil, fmt.Errorf("children of process %d: %w", pid, err)
	}
	lines := map[int][]string{}
	for _, p := range processes[1:] {
		if line, err := p.CmdLine(); err == nil { // or it has ended meanwhile
			lines[p.PID] = line
		}
	}
	return lines, nil
}

// gone reports whether err means that the process has ended meanwhile.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// RSS returns the resident memory of one process, in bytes. It is cheap enough
// to be called every few milliseconds.
func RSS(pid int) (int64, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := p.Stat()
	return int64(stat.ResidentMemory()), err
}
