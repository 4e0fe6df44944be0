// Package mmsg receives and sends UDP datagrams in batches: with recvmmsg(2)
// and sendmmsg(2) on Linux, and one at a time elsewhere. It is the one package
// that knows system calls and memory layouts; both ways have the same contract
// and pass the same tests.
//
// Its words:
//
//   - datagram: one UDP payload, of 0 octets or more
//   - peer: address and port of whoever sent it
//   - local: the address it was sent to, the address that was asked; an answer
//     must leave from it, or the peer takes it for a forgery
//   - batch: memory for n datagrams, and for as many replies
//   - reply: a datagram to the peer of a received one, from its local address
package mmsg

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Conn receives and sends the datagrams of one or more UDP sockets, all bound
// to one address, in batches.
//
// Recv is for one goroutine at a time. All other methods may be called at any
// time by several, Flush with a [Batch] each.
type Conn struct {
	sys system
	// addr is the sockets' address.
	addr *net.UDPAddr
}

// system is a way to receive and to send a batch.
type system interface {
	// recv waits for datagrams, fills b.got from 0 and returns how many.
	recv(b *Batch) (int, error)
	// flush sends b.replies in order and returns how many went out, with the
	// error of one that did not.
	flush(b *Batch) (int, error)
	writeTo(p []byte, peer netip.AddrPort, local netip.Addr) error
	setReadDeadline(time.Time) error
	meminfo(yield func(waiting, drops uint32)) error
	control(func(fd uintptr)) error
	shed() (bool, error)
	close() error
}

// socket is what a system has to know of its sockets.
type socket struct {
	addr *net.UDPAddr
	// ipv6 says that they are AF_INET6 sockets, dual-stack or not.
	ipv6 bool
	// wildcard says that they are bound to every address, so that the kernel
	// says with each datagram which one was asked.
	wildcard bool
}

// NewConn returns a Conn for sockets, which must be bound to one address and
// not connected, and which it takes over: they are closed to the caller, also
// when there is an error. If it is a wildcard address they are told to deliver
// each datagram's local address (IP_PKTINFO of ip(7), IPV6_RECVPKTINFO of
// ipv6(7)); on sockets with one address that would cost and say nothing. On
// other systems than Linux a Conn has one socket.
func NewConn(sockets ...*net.UDPConn) (*Conn, error) { return newConn(newSystem, sockets...) }

func newConn(newSystem func([]*net.UDPConn, socket) (system, error), sockets ...*net.UDPConn) (*Conn, error) {
	addr := sockets[0].LocalAddr().(*net.UDPAddr)
	s := socket{addr: addr, ipv6: addr.IP.To4() == nil, wildcard: addr.IP.IsUnspecified()}
	var err error
	for _, c := range sockets {
		switch {
		case !s.wildcard || err != nil:
		case s.ipv6: // A dual-stack socket says with it an IPv4 datagram's address too, IPv4-mapped.
			err = ipv6.NewPacketConn(c).SetControlMessage(ipv6.FlagDst, true)
		default:
			err = ipv4.NewPacketConn(c).SetControlMessage(ipv4.FlagDst, true)
		}
	}
	if err == nil {
		var sys system
		if sys, err = newSystem(sockets, s); err == nil {
			return &Conn{sys: sys, addr: addr}, nil
		}
	}
	for _, c := range sockets {
		c.Close()
	}
	return nil, fmt.Errorf("UDP socket %v: %w", addr, err)
}

// LocalAddr returns the address that the sockets are bound to.
func (c *Conn) LocalAddr() net.Addr { return c.addr }

// Recv waits for at least one datagram and takes those that are there, at most
// as many as b has room for, of each socket that has some its share. The
// replies that b still holds are dropped.
//
// Errors are those of net.UDPConn: a net.Error whose Timeout is true once the
// read deadline has passed, one that is net.ErrClosed after Close. An ICMP
// error that some earlier datagram of ours met is no error of Recv.
func (c *Conn) Recv(b *Batch) (n int, err error) {
	b.n = 0
	b.replies = b.replies[:0]
	n, err = c.sys.recv(b)
	b.n = n
	return n, err
}

// Flush sends the replies that b holds, and forgets them whatever happens.
// sent is how many the kernel took. An error for one destination (EPERM from a
// packet filter, ENETUNREACH, EMSGSIZE) loses that reply alone; err is then
// the last of these. It waits for nothing: where the send buffers of all
// sockets are full the rest is lost, as the network might have lost it.
func (c *Conn) Flush(b *Batch) (sent int, err error) {
	if len(b.replies) == 0 {
		return 0, nil
	}
	sent, err = c.sys.flush(b)
	clear(b.replies) // They refer to the caller's memory.
	b.replies = b.replies[:0]
	return sent, err
}

// WriteTo sends one datagram to peer from the address local, or from one that
// the kernel chooses if local is the zero Addr. On Linux it waits for nothing,
// as Flush.
func (c *Conn) WriteTo(p []byte, peer netip.AddrPort, local netip.Addr) error {
	return c.sys.writeTo(p, peer, local)
}

// SetReadDeadline has Recv end with a timeout from t on, one that waits too.
// The zero Time is no deadline.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.sys.setReadDeadline(t) }

// Close closes the sockets and ends a Recv that waits.
func (c *Conn) Close() error { return c.sys.close() }

// Control calls f with one of the sockets, which is open until f returns.
func (c *Conn) Control(f func(fd uintptr)) error { return c.sys.control(f) }

// Shed closes the first of two or more sockets if nothing waits in it, and
// reports whether it did. The Conn goes on with the others. On other systems
// than Linux the error is errors.ErrUnsupported.
func (c *Conn) Shed() (bool, error) { return c.sys.shed() }

// Pending says how much waits in the sockets' receive queues: the octets of
// kernel memory that it takes (SK_MEMINFO_RMEM_ALLOC of SO_MEMINFO, Linux
// 4.12), overhead included, which is 0 if and only if nothing waits. FIONREAD would
// only say how long the next datagram is, which may be 0. On other systems the
// error is errors.ErrUnsupported.
func (c *Conn) Pending() (n int, err error) {
	err = c.meminfo(func(waiting, _ uint32) { n += int(waiting) })
	return n, err
}

// Drops returns how many datagrams the kernel has dropped at each socket, most
// of them because its receive queue was full, modulo 2^32 (SK_MEMINFO_DROPS).
// On other systems than Linux the error is errors.ErrUnsupported.
func (c *Conn) Drops() (drops []uint32, err error) {
	err = c.meminfo(func(_, n uint32) { drops = append(drops, n) })
	return drops, err
}

func (c *Conn) meminfo(yield func(waiting, drops uint32)) error {
	err := c.sys.meminfo(yield)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		err = fmt.Errorf("memory of UDP socket %v: %w", c.addr, err)
	}
	return err
}

// from returns the control message that makes local the source address, nil
// for the zero Addr. An IPv4 address takes IP_PKTINFO on a dual-stack socket
// too, as net/ipv4/udp.c sends what goes there.
func from(local netip.Addr) []byte {
	switch {
	case !local.IsValid():
		return nil
	case local.Is4():
		return (&ipv4.ControlMessage{Src: local.AsSlice()}).Marshal()
	default:
		return (&ipv6.ControlMessage{Src: local.AsSlice(), IfIndex: zones.index(local.Zone())}).Marshal()
	}
}
