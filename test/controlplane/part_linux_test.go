package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestPartEndsWithParent kills a process that has started a part.
func TestPartEndsWithParent(t *testing.T) {
	p := testPart(t, parent)
	mustStart(t, p)
	var pid int
	err := poll(t.Context(), func(context.Context) error {
		log, err := os.ReadFile(p.LogFile)
		if err != nil {
			return err
		}
		if !strings.HasSuffix(string(log), "\n") {
			return errors.New("no process id yet")
		}
		_, err = fmt.Sscan(string(log), &pid)
		return err
	}, p)
	if err != nil {
		t.Fatal(err)
	}
	mustKill(t, p)
	err = poll(t.Context(), func(context.Context) error {
		// The file is gone, or empty while nobody has reaped the process.
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(line) > 0 {
			return fmt.Errorf("process %d still runs", pid)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
