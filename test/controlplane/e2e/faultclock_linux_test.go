package e2e

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// setClock sets the clock of one process, by changing what it calls to read it: the
// function __vdso_clock_gettime, which the kernel has put into its memory, becomes
//
//	mov  eax, 228 (clock_gettime)
//	syscall
//	test edi, edi (CLOCK_REALTIME)
//	jne  over
//	mov  rcx, seconds
//	add  [rsi], rcx
//	over: ret
//
// Time namespaces do not have this clock, and the machine's is not a test's to set.
func setClock(pid int, by time.Duration) error {
	if runtime.GOARCH != "amd64" {
		return errors.New("setting the clock of a process is written for amd64 only")
	}
	code := []byte{0xb8, 228, 0, 0, 0, 0x0f, 0x05, 0x85, 0xff, 0x75, 13, 0x48, 0xb9}
	for seconds, i := by/time.Second, 0; i < 8; i++ {
		code = append(code, byte(seconds>>(8*i)))
	}
	code = append(code, 0x48, 0x01, 0x0e, 0xc3)
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	at, err := vdsoFunction(pid, mem, "__vdso_clock_gettime")
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	defer process.Signal(syscall.SIGCONT)
	for range 100 {
		if err := process.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		inside, err := anyThreadIn(pid, at, at+uint64(len(code)))
		if err != nil {
			return err
		}
		if !inside {
			_, err := mem.WriteAt(code, int64(at))
			return err
		}
		process.Signal(syscall.SIGCONT)
		time.Sleep(time.Millisecond)
	}
	return errors.New("always a thread reads the clock")
}

// vdsoFunction returns the address of a function of the vDSO in a process.
func vdsoFunction(pid int, mem *os.File, name string) (uint64, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			continue
		}
		var from, to uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			return 0, err
		}
		image := make([]byte, to-from)
		if _, err := mem.ReadAt(image, int64(from)); err != nil {
			return 0, err
		}
		file, err := elf.NewFile(bytes.NewReader(image))
		if err != nil {
			return 0, err
		}
		symbols, err := file.DynamicSymbols()
		if err != nil {
			return 0, err
		}
		for _, s := range symbols {
			if s.Name == name {
				return from + s.Value, nil
			}
		}
	}
	return 0, fmt.Errorf("process %d has no function %s", pid, name)
}

// anyThreadIn reports whether a thread of a process, which is being stopped, is
// between two addresses. It waits until all have stopped.
func anyThreadIn(pid int, from, to uint64) (bool, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil {
		return false, err
	}
	for _, task := range tasks {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			text, err := os.ReadFile(task)
			if os.IsNotExist(err) || errors.Is(err, syscall.ESRCH) {
				break // the thread has ended
			}
			if err != nil {
				return false, err
			}
			fields := strings.Fields(string(text))
			if fields[0] == "running" {
				if time.Now().After(deadline) {
					return false, errors.New("a thread does not stop")
				}
				continue
			}
			at, err := strconv.ParseUint(strings.TrimPrefix(fields[len(fields)-1], "0x"), 16, 64)
			if err != nil {
				return false, err
			}
			if from <= at && at < to {
				return true, nil
			}
			break
		}
	}
	return false, nil
}
