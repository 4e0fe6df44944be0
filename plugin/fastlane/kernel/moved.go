//go:build linux && (amd64 || arm64)

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/fastlane/procnet"
)

// Moved reports whether the addresses or interfaces are others than at Open: then
// another Image is to take this one's place.
func (im *Image) Moved() bool {
	all, err := net.Interfaces()
	if err != nil {
		return false
	}
	for _, i := range im.interfaces {
		if !slices.ContainsFunc(all, func(o net.Interface) bool { return o.Index == i.index && o.Name == i.name }) {
			return true
		}
	}
	addrs, err := im.config.addrs()
	return err == nil && !slices.Equal(addrs, im.addrs)
}

// addrs returns the addresses of all interfaces that are listened at, in order.
func (c *Config) addrs() (addrs []netip.Addr, err error) {
	bound, err := c.bound()
	if err != nil {
		return nil, err
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of interfaces: %w", err)
	}
	for _, prefix := range all {
		if a, ok := addrOf(prefix); ok && c.listens(a) && !bound[a] {
			addrs = append(addrs, a)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), nil
}

// addrOf returns an interface's address.
func addrOf(prefix net.Addr) (netip.Addr, bool) {
	n, ok := prefix.(*net.IPNet)
	if !ok {
		return netip.Addr{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	return a.Unmap(), ok
}

// bound returns the addresses at which a socket of its own takes what comes to the
// port, in the place of the one for all addresses that c is about.
func (c *Config) bound() (map[netip.Addr]bool, error) {
	if len(c.Addrs) > 0 && !slices.ContainsFunc(c.Addrs, netip.Addr.IsUnspecified) {
		return nil, nil // these are ours
	}
	bound := map[netip.Addr]bool{}
	for _, table := range []string{"udp", "udp6"} {
		sockets, err := procnet.Bound(table, c.Port)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("listing sockets: %w", err)
		}
		for _, s := range sockets {
			if a := s.Addr.Unmap(); !s.Connected && !a.IsUnspecified() {
				bound[a] = true
			}
		}
	}
	return bound, nil
}
