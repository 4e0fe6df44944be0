package mmsg

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is room for the one control message that a socket is told to
// deliver: the larger of CMSG_SPACE(struct in_pktinfo) and
// CMSG_SPACE(struct in6_pktinfo).
type control struct {
	hdr  unix.Cmsghdr
	info [24]byte
}

// batchMemory is what the kernel reads and writes for a Batch. Entry i of each
// slice belongs to datagram i, and entry q of send and sendIov to reply q.
type batchMemory struct {
	recv, send       []unix.Mmsghdr
	recvIov, sendIov []unix.Iovec
	names            []unix.RawSockaddrInet6 // or RawSockaddrInet4, which is smaller
	controls         []control

	used     int  // entries of recv that the kernel has written to
	controlN bool // entries of recv have room for a control message
}

func (m *batchMemory) init(b *Batch) {
	n := len(b.got)
	m.recv, m.send = make([]unix.Mmsghdr, n), make([]unix.Mmsghdr, n)
	m.recvIov, m.sendIov = make([]unix.Iovec, n), make([]unix.Iovec, n)
	m.names, m.controls = make([]unix.RawSockaddrInet6, n), make([]control, n)
	for i := range n {
		m.recvIov[i].Base = &b.slot(i)[0]
		m.recvIov[i].SetLen(b.recvSize)
		r, s := &m.recv[i].Hdr, &m.send[i].Hdr
		r.Name = (*byte)(unsafe.Pointer(&m.names[i]))
		r.Iov, s.Iov = &m.recvIov[i], &m.sendIov[i]
		r.SetIovlen(1)
		s.SetIovlen(1)
	}
	m.used = n
}

// arm gives back to the kernel the room that earlier calls have narrowed to
// what they wrote.
func (m *batchMemory) arm(wildcard bool) {
	if wildcard != m.controlN {
		m.controlN, m.used = wildcard, len(m.recv)
	}
	for i := range m.recv[:m.used] {
		h := &m.recv[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.Control = nil
		h.SetControllen(0)
		if wildcard {
			h.Control = (*byte)(unsafe.Pointer(&m.controls[i]))
			h.SetControllen(int(unsafe.Sizeof(control{})))
		}
	}
	m.used = 0
}

func (s *multi) recv(b *Batch) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for {
		now := time.Now()
		if err := s.over(now); err != nil {
			return 0, err
		}
		if !s.more || len(s.fds) > 1 {
			s.wait(now)
		}
		if n, err := s.take(b); n > 0 || err != nil {
			return n, err
		}
	}
}

// take receives from the sockets that have something, from each at most its
// share of the room, so that one whose queue is always full leaves the others
// their turn.
func (s *multi) take(b *Batch) (n int, err error) {
	m := &b.sys
	m.arm(s.wildcard)
	s.more = false
	for i, at := range s.ready {
		share := (len(m.recv) - n) / (len(s.ready) - i)
		got, errno := s.recvmmsg(s.fds[at], m.recv[n:n+share])
		if errno != 0 {
			err = s.opError("read", "recvmmsg", errno)
			continue
		}
		s.more = s.more || got == share
		n += got
	}
	m.used = n
	for i := range n {
		m.decode(i, &b.got[i])
	}
	if n > 0 {
		err = nil // if it lasts it comes again
	}
	return n, err
}

// recvmmsg receives what there is, which may be nothing.
func (s *multi) recvmmsg(fd int, into []unix.Mmsghdr) (n int, errno syscall.Errno) {
	for tries := 0; len(into) > 0; {
		got, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case e == 0:
			return int(got), 0
		case e == unix.EAGAIN:
			return 0, 0
		case e == unix.EINTR:
		case tries < pendingErrors && isICMP(e):
			tries++
		default:
			return 0, e
		}
	}
	return 0, 0
}

// decode says what the kernel wrote about datagram i.
func (m *batchMemory) decode(i int, d *datagram) {
	h := &m.recv[i]
	*d = datagram{len: int(h.Len), truncated: h.Hdr.Flags&unix.MSG_TRUNC != 0}
	if name := &m.names[i]; name.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		d.peer = netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), bigEndian(&v4.Port))
	} else {
		addr := netip.AddrFrom16(name.Addr).Unmap()
		d.peer = netip.AddrPortFrom(addr, bigEndian(&name.Port))
		// Only a link-local address comes with its interface.
		d.peerIndex = int(name.Scope_id)
	}
	if h.Hdr.Controllen == 0 {
		return
	}
	c := &m.controls[i]
	switch {
	case c.hdr.Level == unix.IPPROTO_IP && c.hdr.Type == unix.IP_PKTINFO:
		info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&c.info))
		d.local = netip.AddrFrom4(info.Spec_dst)
		info.Ifindex = 0
	case c.hdr.Level == unix.IPPROTO_IPV6 && c.hdr.Type == unix.IPV6_PKTINFO:
		info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&c.info))
		d.local = netip.AddrFrom16(info.Addr).Unmap()
		if d.local.Is6() && d.local.IsLinkLocalUnicast() {
			// ip6_datagram_send_ctl takes such a source with its interface only.
			d.localIndex = int(info.Ifindex)
		} else {
			info.Ifindex = 0
		}
	default:
		h.Hdr.SetControllen(0) // Not asked for, and nothing to send back.
	}
}

// bigEndian reads a port, which is in network order in a socket address.
func bigEndian(port *uint16) uint16 {
	p := (*[2]byte)(unsafe.Pointer(port))
	return uint16(p[0])<<8 | uint16(p[1])
}

func (s *multi) flush(b *Batch) (int, error) {
	m := &b.sys
	for q, r := range b.replies {
		iov := &m.sendIov[q]
		iov.Base = unsafe.SliceData(r.payload)
		iov.SetLen(len(r.payload))
		from, to := &m.recv[r.to].Hdr, &m.send[q].Hdr
		to.Name, to.Namelen = from.Name, from.Namelen
		to.Control, to.Controllen = from.Control, from.Controllen
		if from.Controllen > 0 {
			// Without the padding behind it an in6_pktinfo fits the room that the
			// kernel has on its stack (net/socket.c, ____sys_sendmsg).
			to.SetControllen(int(m.controls[r.to].hdr.Len))
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.over(time.Time{}); err != nil {
		return 0, err
	}
	n, errno := s.sendmmsg(m.send[:len(b.replies)])
	for q := range b.replies {
		m.sendIov[q].Base = nil
	}
	if errno != 0 {
		return n, s.opError("write", "sendmmsg", errno)
	}
	return n, nil
}

// sendmmsg sends all and returns how many the kernel took. sendmmsg(2) stops
// at the first that fails and reports its error only if none went before it,
// so the next call starts there, and the one that fails is left out.
//
// A datagram for a neighbour that does not answer ARP stays in the send buffer
// of its socket for seconds (up to unres_qlen_bytes of it for each such
// neighbour, arp(7)), and nothing else fits there meanwhile. So where one
// socket's buffer is full the next one sends, and there is no waiting.
func (s *multi) sendmmsg(send []unix.Mmsghdr) (sent int, errno syscall.Errno) {
	refused, full := false, 0
	for next := 0; next < len(send); {
		at := s.out.Load()
		n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fds[at]), uintptr(unsafe.Pointer(&send[next])), uintptr(len(send)-next), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case e == 0 && n > 0:
			next += int(n)
			sent += int(n)
			refused, full = false, 0
		case e == unix.EINTR:
		case e == unix.EAGAIN:
			if full++; full == len(s.fds) {
				return sent, e
			}
			s.out.CompareAndSwap(at, (at+1)%uint32(len(s.fds)))
		case e == unix.ECONNREFUSED && !refused:
			// An ICMP error that an earlier datagram met (sock_error in
			// sock_alloc_send_pskb); the kernel has not looked at this one.
			refused = true
		default:
			errno = e
			next++
			refused = false
		}
	}
	return sent, errno
}

func (s *multi) writeTo(p []byte, peer netip.AddrPort, local netip.Addr) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.over(time.Time{}); err != nil {
		return err
	}
	to, control := s.sockaddr(peer), from(local)
	if to == nil {
		return s.opError("write", "sendmsg", unix.EAFNOSUPPORT)
	}
	refused, full := false, 0
	for {
		at := s.out.Load()
		_, err := unix.SendmsgN(s.fds[at], p, control, to, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			return nil
		case err == unix.EINTR:
		case err == unix.EAGAIN && full+1 < len(s.fds):
			full++
			s.out.CompareAndSwap(at, (at+1)%uint32(len(s.fds)))
		case err == unix.ECONNREFUSED && !refused: // see sendmmsg
			refused = true
		default:
			return s.opError("write", "sendmsg", err.(syscall.Errno))
		}
	}
}

// sockaddr returns peer as the sockets' family has it, nil if that has none.
func (s *multi) sockaddr(peer netip.AddrPort) unix.Sockaddr {
	addr := peer.Addr().Unmap()
	switch {
	case !s.ipv6 && addr.Is4():
		return &unix.SockaddrInet4{Addr: addr.As4(), Port: int(peer.Port())}
	case !s.ipv6 || !addr.IsValid():
		return nil
	}
	return &unix.SockaddrInet6{Addr: addr.As16(), Port: int(peer.Port()), ZoneId: uint32(zones.index(addr.Zone()))}
}

func (s *multi) opError(op, call string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "udp", Addr: s.addr, Err: os.NewSyscallError(call, errno)}
}
