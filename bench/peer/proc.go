package peer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every
// architecture that Go runs on.
const tick = 10 * time.Millisecond

// Usage is what processes have used so far.
type Usage struct {
	CPU      time.Duration // user and system, of all threads
	RSS      int64         // resident memory, bytes; of several processes the sum of their proportional shares
	Peak     int64         // highest RSS since the start or ResetPeak, bytes; 0 for several processes
	Children int           // processes beside the first
}

// UsageOf returns what a process and its descendants have used. It is an error
// if the process is gone; a descendant may go at any time.
func UsageOf(pid int) (u Usage, err error) {
	pids, err := tree(pid)
	if err != nil {
		return u, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	u.Children = len(pids) - 1
	for i, p := range pids {
		one, err := usage(p, len(pids) > 1)
		if err != nil {
			if i > 0 && gone(err) {
				continue
			}
			return u, fmt.Errorf("usage of process %d: %w", p, err)
		}
		u.CPU += one.CPU
		u.RSS += one.RSS
		if len(pids) == 1 {
			u.Peak = one.Peak
		}
	}
	return u, nil
}

func usage(pid int, shared bool) (u Usage, err error) {
	text, err := os.ReadFile(file(pid, "stat"))
	if err != nil {
		return u, err
	}
	if _, u.CPU, err = parseStat(string(text)); err != nil {
		return u, err
	}
	if text, err = os.ReadFile(file(pid, "status")); err != nil {
		return u, err
	}
	if u.RSS, err = parseKB(string(text), "VmRSS"); err != nil {
		return u, err
	}
	if u.Peak, err = parseKB(string(text), "VmHWM"); err != nil || !shared {
		return u, err
	}
	if text, err = os.ReadFile(file(pid, "smaps_rollup")); err != nil {
		return u, err
	}
	u.RSS, err = parseKB(string(text), "Pss")
	return u, err
}

// ResetPeak makes Usage.Peak of the process start again from its present RSS.
func ResetPeak(pid int) error {
	if err := os.WriteFile(file(pid, "clear_refs"), []byte("5"), 0); err != nil {
		return fmt.Errorf("resetting the peak of process %d: %w", pid, err)
	}
	return nil
}

// parseStat reads /proc/PID/stat: parent and CPU time.
func parseStat(text string) (parent int, cpu time.Duration, err error) {
	// The second field is the command in parentheses, and may hold any.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const ppid, utime, stime = 4 - 3, 14 - 3, 15 - 3 // proc(5) counts from 1, and these are from the third
	if len(fields) <= stime {
		return 0, 0, fmt.Errorf("/proc/PID/stat is %q", text)
	}
	parent, err = strconv.Atoi(fields[ppid])
	user, err1 := strconv.ParseInt(fields[utime], 10, 64)
	system, err2 := strconv.ParseInt(fields[stime], 10, 64)
	if err := errors.Join(err, err1, err2); err != nil {
		return 0, 0, fmt.Errorf("/proc/PID/stat: %w", err)
	}
	return parent, time.Duration(user+system) * tick, nil
}

// parseKB returns, in bytes, the field of a file such as /proc/PID/status. It is
// 0 where there is none: a process that has ended has no memory.
func parseKB(text, field string) (int64, error) {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name != field {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s in /proc: %w", field, err)
		}
		return kb << 10, nil
	}
	return 0, nil
}

// tree returns a process and its descendants, itself first.
func tree(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	found := false
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // ended meanwhile
		}
		parent, _, err := parseStat(string(text))
		if err != nil {
			return nil, err
		}
		p, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			return nil, err
		}
		children[parent] = append(children[parent], p)
		found = found || p == pid
	}
	if !found {
		return nil, os.ErrProcessDone
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids, nil
}

// Children returns the processes that a process started, with their command
// lines.
func Children(pid int) (map[int][]string, error) {
	pids, err := tree(pid)
	if err != nil {
		return nil, fmt.Errorf("children of process %d: %w", pid, err)
	}
	lines := map[int][]string{}
	for _, p := range pids[1:] {
		text, err := os.ReadFile(file(p, "cmdline"))
		if err != nil {
			continue // ended meanwhile
		}
		lines[p] = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	}
	return lines, nil
}

func file(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// gone reports whether err means that the process has ended meanwhile.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// RSS returns the resident memory of one process, in bytes. It is cheap enough
// to be called every few milliseconds.
func RSS(pid int) (int64, error) {
	text, err := os.ReadFile(file(pid, "statm"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/PID/statm is %q", text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/PID/statm: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}
