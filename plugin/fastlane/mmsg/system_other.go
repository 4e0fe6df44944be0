//go:build !linux

package mmsg

import "net"

func newSystem(sockets []*net.UDPConn, s socket) (system, error) { return newSingle(sockets, s) }

// batchMemory is nothing where datagrams are handled one at a time.
type batchMemory struct{}

func (*batchMemory) init(*Batch) {}
