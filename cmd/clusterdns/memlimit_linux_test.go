package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/test/freeport"
)

// memoryCgroup makes a cgroup below this process's with a memory limit, and
// returns its folder. Without permission it skips the test.
func memoryCgroup(t *testing.T, limit string) string {
	t.Helper()
	own, err := os.Open("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	parent, file := "", "memory.max"
	for lines := bufio.NewScanner(own); lines.Scan(); {
		hierarchy := strings.SplitN(lines.Text(), ":", 3)
		switch hierarchy[1] {
		case "":
			if parent == "" {
				parent = filepath.Join("/sys/fs/cgroup", hierarchy[2])
			}
		case "memory": // version 1
			parent, file = filepath.Join("/sys/fs/cgroup/memory", hierarchy[2]), "memory.limit_in_bytes"
		}
	}
	dir, err := os.MkdirTemp(parent, "clusterdns-test-")
	if err == nil {
		t.Cleanup(func() { _ = os.Remove(dir) })
		err = os.WriteFile(filepath.Join(dir, file), []byte(limit), 0)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no permission to make a cgroup with a memory limit: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestMemoryLimit asks the binary for the limit that its Go runtime has.
func TestMemoryLimit(t *testing.T) {
	cgroup := memoryCgroup(t, "134217728") // 128 MiB
	for env, want := range map[string]string{"": "120795955", "GOMEMLIMIT=50000000": "50000000"} {
		addr := "127.0.0.1:" + freeport.Of(t)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "Corefile"), []byte(".:0 {\nprometheus "+addr+"\n}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-c", `echo $$ > "$0"/cgroup.procs && exec "$1"`, cgroup, binary)
		cmd.Dir = dir
		if env != "" {
			cmd.Env = append(os.Environ(), env)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var got string
		for got == "" && ctx.Err() == nil {
			if got = limitOf(addr); got == "" {
				time.Sleep(20 * time.Millisecond)
			}
		}
		cancel()
		_ = cmd.Wait() // killed
		var bytes float64
		if _, err := fmt.Sscan(got, &bytes); err != nil || fmt.Sprintf("%.0f", bytes) != want {
			t.Errorf("with %q the limit is %q, want %s", env, got, want)
		}
	}
}

// limitOf returns the sample of go_gc_gomemlimit_bytes at addr.
func limitOf(addr string) string {
	answer, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, "go_gc_gomemlimit_bytes "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
