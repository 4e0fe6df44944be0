package peer

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// TestUsageOf burns a tenth of a second of CPU in this process, and has a child.
func TestUsageOf(t *testing.T) {
	before, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 20*time.Second; {
		now, err := UsageOf(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now.CPU-before.CPU >= 100*time.Millisecond {
			break
		}
	}
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
	if after.CPU-before.CPU < 100*time.Millisecond || after.RSS < 1<<20 || after.Children != 1 {
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
