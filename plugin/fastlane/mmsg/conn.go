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
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Conn receives and sends the datagrams of one UDP socket in batches.
//
// All its methods may be called at the same time by several goroutines, each
// with a [Batch] of its own; those that wait in Recv wait for one another. The
// socket stays the caller's: deadlines are set and the socket is closed on the
// net.UDPConn, and either ends a Recv that waits.
type Conn struct {
	udp *net.UDPConn
	raw syscall.RawConn
	sys system
}

// system is a way to receive and to send a batch.
type system interface {
	// recv waits for datagrams, fills b.got from 0 and returns how many.
	recv(b *Batch) (int, error)
	// flush sends b.replies in order and returns how many went out, with the
	// error of one that did not.
	flush(b *Batch) (int, error)
}

// socket is what a system is made from.
type socket struct {
	udp *net.UDPConn
	raw syscall.RawConn
	// ipv6 says that it is an AF_INET6 socket, dual-stack or not.
	ipv6 bool
	// wildcard says that it is bound to every address, so that the kernel says
	// with each datagram which one was asked.
	wildcard bool
}

// NewConn returns a Conn for the socket c, which must be bound and not
// connected. If it is bound to a wildcard address it is told to deliver each
// datagram's local address (IP_PKTINFO of ip(7), IPV6_RECVPKTINFO of ipv6(7));
// on a socket with one address that would cost and say nothing.
func NewConn(c *net.UDPConn) (*Conn, error) { return newConn(c, newSystem) }

func newConn(c *net.UDPConn, newSystem func(socket) system) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("raw access to UDP socket %v: %w", c.LocalAddr(), err)
	}
	addr := c.LocalAddr().(*net.UDPAddr)
	s := socket{udp: c, raw: raw, ipv6: addr.IP.To4() == nil, wildcard: addr.IP.IsUnspecified()}
	if s.wildcard {
		if s.ipv6 {
			// A dual-stack socket says with it an IPv4 datagram's address too,
			// IPv4-mapped.
			err = ipv6.NewPacketConn(c).SetControlMessage(ipv6.FlagDst, true)
		} else {
			err = ipv4.NewPacketConn(c).SetControlMessage(ipv4.FlagDst, true)
		}
		if err != nil {
			return nil, fmt.Errorf("asking for local addresses on UDP socket %v: %w", addr, err)
		}
	}
	return &Conn{udp: c, raw: raw, sys: newSystem(s)}, nil
}

// Recv waits for at least one datagram and takes those that are there, at most
// as many as b has room for. The replies that b still holds are dropped.
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
// the last of these. A send buffer that stays full for flushWait loses the
// rest.
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
// the kernel chooses if local is the zero Addr. It waits while the send buffer
// is full, until c's write deadline.
func (c *Conn) WriteTo(p []byte, peer netip.AddrPort, local netip.Addr) error {
	_, _, err := c.udp.WriteMsgUDPAddrPort(p, from(local), peer)
	return err
}

// Pending says how much waits in the socket's receive queue: the octets of
// kernel memory that it takes (SK_MEMINFO_RMEM_ALLOC of SO_MEMINFO, Linux
// 4.12), overhead included, which is 0 if and only if nothing waits. FIONREAD would
// only say how long the next datagram is, which may be 0. On other systems the
// error is errors.ErrUnsupported.
func (c *Conn) Pending() (int, error) {
	n, err := pending(c.raw)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		err = fmt.Errorf("receive queue of UDP socket %v: %w", c.udp.LocalAddr(), err)
	}
	return n, err
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
		return (&ipv6.ControlMessage{Src: local.AsSlice(), IfIndex: zoneIndex(local.Zone())}).Marshal()
	}
}
