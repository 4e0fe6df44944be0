//go:build linux && (amd64 || arm64)

package kernel

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// The kernel releases the files of a process that was killed in the order of their
// descriptors (of a file's, the highest), the highest first. A link among the highest
// is gone, and that takes a grace period of RCU, some 10 ms, while the server's sockets
// are there still: what comes in meanwhile waits in them, and ends with them, though
// another process serves at the same address. So a link's descriptor is moved below the
// sockets'.

// reserved are the descriptors that are below.
var reserved struct {
	sync.Mutex
	made bool
	free []int
}

// enoughReserved is for two Images, the one before a reload and its successor, on
// four interfaces. Links beyond stay where they are.
const enoughReserved = 8

// Reserve keeps descriptors for the links of all Images. It is called before the
// server opens its sockets; again it does nothing.
func Reserve() error {
	reserved.Lock()
	defer reserved.Unlock()
	if reserved.made {
		return nil
	}
	reserved.made = true
	for range enoughReserved {
		fd, err := placeholder()
		if err != nil {
			return err
		}
		reserved.free = append(reserved.free, fd)
	}
	return nil
}

// placeholder returns a descriptor of a file that is nothing but that.
func placeholder() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("reserving a descriptor: %w", err)
	}
	return fd, nil
}

// keepLow gives the file of fd a reserved descriptor too, and returns that, or -1 if
// none is left. The caller closes fd.
func keepLow(fd int) (low int) {
	reserved.Lock()
	defer reserved.Unlock()
	if len(reserved.free) == 0 {
		return -1
	}
	low = reserved.free[0]
	if unix.Dup3(fd, low, unix.O_CLOEXEC) != nil {
		return -1 // it is a placeholder still
	}
	reserved.free = reserved.free[1:]
	return low
}

// giveBack ends what keepLow returned; the file is released if it was its last
// descriptor.
func giveBack(low int) error {
	if low < 0 {
		return nil
	}
	fd, err := placeholder()
	if err != nil {
		return unix.Close(low)
	}
	defer unix.Close(fd)
	if err := unix.Dup3(fd, low, unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("releasing a descriptor: %w", err)
	}
	reserved.Lock()
	defer reserved.Unlock()
	reserved.free = append(reserved.free, low)
	return nil
}
