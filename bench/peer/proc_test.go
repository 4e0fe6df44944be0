package peer

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for _, row := range []struct {
		text   string
		parent int
		cpu    time.Duration
		bad    bool
	}{
		{text: "14710 (kubetest) S 14519 14710 14710 0 -1 1077936128 36 0 0 0 250 31 7 8 20 0 9 0 66 220 33", parent: 14519, cpu: 2810 * time.Millisecond},
		{text: "7 (a) b (c) R 1 7 7 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 5 6 7", parent: 1, cpu: 30 * time.Millisecond},
		{text: "7 (short) R 1 7", bad: true},
		{text: "7 (letters) R one 7 7 0 -1 0 0 0 0 0 x y 0 0 20 0 1", bad: true},
		{text: "", bad: true},
	} {
		parent, cpu, err := parseStat(row.text)
		if parent != row.parent || cpu != row.cpu || (err != nil) != row.bad {
			t.Errorf("%q: parent %d, CPU %v, error %v", row.text, parent, cpu, err)
		}
	}
}

func TestParseKB(t *testing.T) {
	const status = "Name:\tnsd\nVmHWM:\t  354876 kB\nVmRSS:\t   1024 kB\nBad:\tmany kB\n"
	for field, want := range map[string]int64{"VmHWM": 354876 << 10, "VmRSS": 1 << 20, "Vm": 0, "Pss": 0} {
		if got, err := parseKB(status, field); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", field, got, err, want)
		}
	}
	if _, err := parseKB(status, "Bad"); err == nil {
		t.Error("no error for a size that is no number")
	}
}

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
