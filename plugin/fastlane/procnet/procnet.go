// Package procnet says which sockets a network namespace has, as Linux's /proc/net
// does (proc_net(5)).
package procnet

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Socket is a socket that is bound to an address.
type Socket struct {
	Addr  netip.Addr // the local one; in a table of IPv6, IPv4 is mapped to it
	Inode string     // in decimal: what tells sockets apart
	// Connected says that it takes what one peer sends and nothing else.
	Connected bool
}

// Bound returns the sockets in a table ("udp", "udp6", "tcp", "tcp6") that are bound to
// port, each once; of TCP the listeners. The error is fs.ErrNotExist where the host
// has no such table.
//
// The kernel gives out such a table a page at a time, and counts from its start
// where the next page begins: when sockets in front of that come or go meanwhile,
// whoever they belong to, others are left out or come twice. So what one reading
// lacks another has.
func Bound(table string, port uint16) ([]Socket, error) {
	return settled(func() ([]Socket, error) { return read(table, port) })
}

const (
	sameReadings = 3  // in a row, that have nothing new, settle what there is
	mostReadings = 20 // where sockets come all the time
)

// settled reads until nothing new comes, and returns all that came.
func settled(read func() ([]Socket, error)) (list []Socket, err error) {
	for same, n := 0, 0; same < sameReadings && n < mostReadings; n++ {
		now, err := read()
		if err != nil {
			return nil, err
		}
		same++
		for _, s := range now {
			if !slices.ContainsFunc(list, func(o Socket) bool { return o.Inode == s.Inode }) {
				list, same = append(list, s), 0
			}
		}
	}
	return list, nil
}

// States of sockets; those of UDP have TCP's names (linux/tcp_states.h).
const (
	stateClose  = "07" // of UDP: not connected
	stateListen = "0A"
)

// read reads a table once: its second column is the local address and the port, its
// fourth the state, its tenth the inode.
func read(table string, port uint16) (list []Socket, err error) {
	f, err := os.Open("/proc/thread-self/net/" + table)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	want := fmt.Appendf(nil, ":%04X", port)
	in := bufio.NewScanner(f)
	in.Scan() // The headings.
	for in.Scan() {
		columns := bytes.Fields(in.Bytes())
		if len(columns) < 10 {
			continue
		}
		state := string(columns[3])
		// Listeners come first in TCP's, before what may be many connections.
		if strings.HasPrefix(table, "tcp") && state != stateListen {
			break
		}
		host, ok := bytes.CutSuffix(columns[1], want)
		if !ok {
			continue
		}
		if addr, ok := parseAddr(host); ok {
			list = append(list, Socket{addr, string(columns[9]), state != stateClose && state != stateListen})
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	return list, nil
}

// parseAddr returns an address, of which each word of four octets is in hex as the
// host reads it.
func parseAddr(text []byte) (netip.Addr, bool) {
	b := make([]byte, hex.DecodedLen(len(text)))
	if n, err := hex.Decode(b, text); err != nil || n%4 != 0 {
		return netip.Addr{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	return netip.AddrFromSlice(b)
}
