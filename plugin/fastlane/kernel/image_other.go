//go:build !(linux && (amd64 || arm64))

package kernel

import (
	"errors"
	"net/netip"
)

// Image is the program with all that it answers from. It answers nothing before
// Attach and State. Its methods are for one goroutine at a time, but State, Names
// and Counts, which any may call at any time.
type Image struct{}

// Open returns an Image with no names, whose state is closed, and which is
// attached nowhere. The error names what is missing: a kernel that has tcx,
// capabilities, memory. It is errors.ErrUnsupported where no retry helps.
func Open(c Config) (*Image, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return nil, errors.ErrUnsupported
}

// Attach attaches the program to the interfaces. Where that fails for one of them
// it is attached to none. The kernel detaches it when the process ends.
func (im *Image) Attach() error { return errors.ErrUnsupported }

// State says, from the next packet on, whether the program answers, and whether
// it may answer that something does not exist, with the serial in the SOA record.
func (im *Image) State(open, serialKnown bool, serial uint32) {}

// Set says what is known of a name. It is an error while the state has a serial.
// Labels and n are read during the call only.
func (im *Image) Set(labels []byte, n Name) error { return errors.ErrUnsupported }

// Remove removes a name: it does not exist. It is an error while the state has a
// serial, and none that the name was not there.
func (im *Image) Remove(labels []byte) error { return errors.ErrUnsupported }

// SetAddr says that addr has exactly one name, that of a service. One of more than
// MaxPTR octets is not kept, nor one that has no place: questions for it go up.
func (im *Image) SetAddr(addr netip.Addr, labels []byte) error { return errors.ErrUnsupported }

// RemoveAddr forgets what was said of addr.
func (im *Image) RemoveAddr(addr netip.Addr) error { return errors.ErrUnsupported }

// Interfaces returns the names of the interfaces that Attach is about.
func (im *Image) Interfaces() []string { return nil }

// Moved reports whether the addresses or interfaces are others than at Open: then
// another Image is to take this one's place.
func (im *Image) Moved() bool { return false }

// Names returns how many names are set.
func (im *Image) Names() int { return 0 }

// Counts calls answered with every count of queries that were answered, and up with
// every reason for which queries went up, and how many.
func (im *Image) Counts(answered func(Cell), up func(reason string, n uint64)) {}

// Close detaches the program and frees all.
func (im *Image) Close() error { return nil }
