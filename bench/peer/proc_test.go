package peer

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUsageOf burns CPU in two threads of this process, and has a child.
func TestUsageOf(t *testing.T) {
	before, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	for range 2 {
		ended.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			const enough = 100 * time.Millisecond
			for begin := threadCPU(t); threadCPU(t)-begin < enough; {
			}
		})
	}
	ended.Wait()
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	after, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.CPU-before.CPU < 190*time.Millisecond || after.RSS < 1<<20 || after.Children != 1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	children, err := Children(os.Getpid())
	if argv := children[child.Process.Pid]; err != nil || len(argv) != 2 || argv[1] != "60" {
		t.Errorf("children are %v, %v", children, err)
	}
	if rss, err := RSS(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("RSS %d, %v", rss, err)
	}
	if idle, cores, err := MachineIdle(); err != nil || idle <= 0 || cores < 1 {
		t.Errorf("%d cores were idle for %v, %v", cores, idle, err)
	}
	if _, err := UsageOf(1 << 30); err == nil {
		t.Error("no error for a process that does not exist")
	}
}

// threadCPU is what the calling thread has used.
func threadCPU(t *testing.T) time.Duration {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		t.Error(err)
	}
	return time.Duration(used.Nano())
}

func TestResetPeak(t *testing.T) {
	before := make([]byte, 64<<20)
	for i := range before {
		before[i] = 1
	}
	u, err := UsageOf(os.Getpid())
	if err != nil || u.Peak < 64<<20 {
		t.Fatalf("%+v, %v", u, err)
	}
	if err := ResetPeak(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if u, err = UsageOf(os.Getpid()); err != nil || u.Peak < u.RSS-(8<<20) || u.Peak > u.RSS+(8<<20) {
		t.Errorf("after the reset: %+v, %v", u, err)
	}
	runtime.KeepAlive(before) // or RSS falls below the peak meanwhile
}
