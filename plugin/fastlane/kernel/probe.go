//go:build linux && (amd64 || arm64)

package kernel

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// needed are the capabilities that the program takes: maps and programs, programs of
// the network and attaching them, and the verifier's trust in arithmetic on pointers.
var needed = []struct {
	bit  uint
	name string
}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_PERFMON, "CAP_PERFMON"}}

// missingCapabilities returns an error that names those which the process lacks.
// CAP_SYS_ADMIN is all of them.
func missingCapabilities() error {
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	has := func(bit uint) bool { return data[bit/32].Effective&(1<<(bit%32)) != 0 }
	var missing []string
	for _, c := range needed {
		if !has(c.bit) && !has(unix.CAP_SYS_ADMIN) {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("without %s: %w", strings.Join(missing, ", "), errors.ErrUnsupported)
	}
	return nil
}

// explain says what an error in loading the program means.
func explain(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return fmt.Errorf("the kernel does not take the program: %w: %w", errors.ErrUnsupported, err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("the kernel is too old, or without BPF: %w: %w", errors.ErrUnsupported, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("bpf(2) is forbidden, by a seccomp profile, lockdown or a user namespace: %w: %w", errors.ErrUnsupported, err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("no memory for maps: %w", err)
	}
	return err
}

// haveTCX returns an error if the kernel has no tcx. It tries an interface that
// cannot be.
func haveTCX(p *ebpf.Program) error {
	l, err := link.AttachTCX(link.TCXOptions{Interface: math.MaxInt32, Program: p, Attach: ebpf.AttachTCXIngress})
	switch {
	case err == nil:
		return l.Close()
	case errors.Is(err, unix.ENODEV):
		return nil
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("the kernel has no tcx, which is in Linux 6.6: %w: %w", errors.ErrUnsupported, err)
	}
	return fmt.Errorf("attaching to an interface: %w", err)
}

type iface struct {
	name  string
	index int
}

// resolve returns the interfaces to attach to, and the addresses that are answered at.
func (c *Config) resolve() (interfaces []iface, addrs []netip.Addr, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, nil, fmt.Errorf("listing interfaces: %w", err)
	}
	bound, err := c.bound()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range c.Interfaces {
		if !slices.ContainsFunc(all, func(i net.Interface) bool { return i.Name == name }) {
			return nil, nil, fmt.Errorf("no interface %s", name)
		}
	}
	for _, i := range all {
		if len(c.Interfaces) > 0 && !slices.Contains(c.Interfaces, i.Name) {
			continue
		}
		if i.Flags&net.FlagLoopback != 0 || len(i.HardwareAddr) != 6 {
			if len(c.Interfaces) > 0 {
				return nil, nil, fmt.Errorf("interface %s is no Ethernet: %w", i.Name, errors.ErrUnsupported)
			}
			continue
		}
		if i.Flags&net.FlagUp == 0 && len(c.Interfaces) == 0 {
			continue
		}
		on, err := i.Addrs()
		if err != nil {
			return nil, nil, fmt.Errorf("addresses of interface %s: %w", i.Name, err)
		}
		taken := false
		for _, prefix := range on {
			if a, ok := addrOf(prefix); ok && c.listens(a) && !bound[a] {
				addrs, taken = append(addrs, a), true
			}
		}
		if taken || len(c.Interfaces) > 0 {
			interfaces = append(interfaces, iface{i.Name, i.Index})
		}
	}
	if len(interfaces) == 0 || len(addrs) == 0 {
		return nil, nil, errors.New("no Ethernet interface has a listening address")
	}
	if len(addrs) > maxAddrs {
		return nil, nil, fmt.Errorf("interfaces have %d listening addresses, more than %d", len(addrs), maxAddrs)
	}
	return interfaces, addrs, nil
}

// listens reports whether an interface's address a is one of Addrs. As for a socket,
// :: is every address, and 0.0.0.0 those of IPv4.
func (c *Config) listens(a netip.Addr) bool {
	if !a.IsGlobalUnicast() {
		return false
	}
	for _, l := range c.Addrs {
		if l.Unmap() == a || l == netip.IPv6Unspecified() || l == netip.IPv4Unspecified() && a.Is4() {
			return true
		}
	}
	return len(c.Addrs) == 0
}
