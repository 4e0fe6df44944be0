package mmsg

import "net"

func newSystem(sockets []*net.UDPConn, s socket) (system, error) { return newMulti(sockets, s) }
