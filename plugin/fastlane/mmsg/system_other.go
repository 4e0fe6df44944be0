//go:build !linux

package mmsg

import (
	"errors"
	"fmt"
	"syscall"
)

func newSystem(s socket) system { return newSingle(s) }

// batchMemory is nothing where datagrams are handled one at a time.
type batchMemory struct{}

func (*batchMemory) init(*Batch) {}

func pending(syscall.RawConn) (int, error) {
	return 0, fmt.Errorf("receive queue: %w", errors.ErrUnsupported)
}
