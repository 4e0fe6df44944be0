//go:build linux && (amd64 || arm64)

package kernel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Detached returns an Image that is attached to no interface and answers at the
// Addrs of c, none of them unspecified, what it is asked with Run. It is for tests of
// those who fill Images.
func Detached(c Config) (*Image, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := missingCapabilities(); err != nil {
		return nil, err
	}
	return open(c, newKey(), nil, c.Addrs)
}

// Run has the program look at an Ethernet frame to the address of zeros, and
// returns what it sends back, nil if the frame goes up.
func (im *Image) Run(frame []byte) (reply []byte, err error) {
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, 4096)}
	verdict, err := im.coll.Programs["lane"].Run(&o)
	const next, redirect = ^uint32(0), 7 // enum tcx_action_base
	switch {
	case err != nil:
		return nil, err
	case verdict == redirect:
		return o.DataOut, nil
	case verdict == next:
		return nil, nil
	}
	return nil, errors.New(fmt.Sprint("verdict ", verdict))
}
