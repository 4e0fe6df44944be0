//go:build linux && (amd64 || arm64)

package kernel

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
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
	for _, name := range []string{"udp", "udp6"} {
		f, err := os.Open("/proc/thread-self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("listing sockets: %w", err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if a, port, ok := parseSocket(lines.Text()); ok && port == c.Port && !a.IsUnspecified() {
				bound[a] = true
			}
		}
		f.Close()
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("listing sockets: %w", err)
		}
	}
	return bound, nil
}

// parseSocket returns what a socket is bound to, given its line in /proc/net/udp or udp6.
// It is false for one that is connected, which takes what its peer sends and nothing else.
func parseSocket(line string) (a netip.Addr, port uint16, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[3] != fmt.Sprintf("%02X", unix.BPF_TCP_CLOSE) {
		return a, 0, false
	}
	host, at, _ := strings.Cut(fields[1], ":")
	b, err := hex.DecodeString(host + at)
	if err != nil || len(b) != 4+2 && len(b) != 16+2 {
		return a, 0, false
	}
	n := len(b) - 2
	for i := 0; i < n; i += 4 { // words, as this machine has them
		binary.BigEndian.PutUint32(b[i:], binary.LittleEndian.Uint32(b[i:]))
	}
	a, _ = netip.AddrFromSlice(b[:n])
	return a.Unmap(), binary.BigEndian.Uint16(b[n:]), true
}
