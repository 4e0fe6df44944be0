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

// multi is the system with recvmmsg(2) and sendmmsg(2). The kernel fills in
// the sender's socket address and the control message; a reply is sent to the
// former with the latter, neither decoded nor encoded.
type multi struct {
	socket
}

func newMulti(s socket) system { return &multi{s} }

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

	// Arguments and results of tryRecv and trySend, which are made once so
	// that no call allocates a closure.
	tryRecv func(fd uintptr) (done bool)
	trySend func(fd uintptr)
	n       int
	errno   syscall.Errno
	queued  int
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
	m.tryRecv, m.trySend = m.recvmmsg, m.sendmmsg
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
	m := &b.sys
	for tries := 0; ; tries++ {
		m.arm(s.wildcard)
		if err := s.raw.Read(m.tryRecv); err != nil {
			return 0, err
		}
		if m.errno == 0 {
			break
		}
		if tries == pendingErrors || !isICMP(m.errno) {
			return 0, s.opError("read", "recvmmsg", m.errno)
		}
	}
	m.used = m.n
	for i := range m.n {
		m.decode(i, &b.got[i])
	}
	return m.n, nil
}

// recvmmsg receives what there is, and says whether that was more than
// nothing. Its caller waits for the socket to be readable if not.
func (m *batchMemory) recvmmsg(fd uintptr) (done bool) {
	for {
		n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&m.recv[0])), uintptr(len(m.recv)), unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		m.n, m.errno = int(n), e
		return true
	}
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
	m.queued = len(b.replies)
	err := s.raw.Control(m.trySend)
	for q := range b.replies {
		m.sendIov[q].Base = nil
	}
	if err != nil {
		return 0, err
	}
	if m.errno != 0 {
		err = s.opError("write", "sendmmsg", m.errno)
	}
	return m.n, err
}

// flushWait bounds how long a Flush waits for a send buffer to empty. An
// answer that is later than that has been asked for again.
const flushWait = 100 * time.Millisecond

// sendmmsg sends the queued replies. sendmmsg(2) stops at the first that fails
// and reports its error only if none went before it, so the next call starts
// there, and the one that fails is left out.
func (m *batchMemory) sendmmsg(fd uintptr) {
	m.n, m.errno = 0, 0
	var deadline time.Time
	refused := false
	for next := 0; next < m.queued; {
		n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&m.send[next])), uintptr(m.queued-next), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case e == 0 && n > 0:
			next += int(n)
			m.n += int(n)
			refused = false
		case e == unix.EINTR:
		case e == unix.EAGAIN:
			if deadline.IsZero() {
				deadline = time.Now().Add(flushWait)
			}
			if !waitWritable(fd, deadline) {
				m.errno = e
				return
			}
		case e == unix.ECONNREFUSED && !refused:
			// An ICMP error that an earlier datagram met (sock_error in
			// sock_alloc_send_pskb); the kernel has not looked at this one.
			refused = true
		default:
			m.errno = e
			next++
			refused = false
		}
	}
}

// waitWritable waits until fd has room to send, and says whether it has.
func waitWritable(fd uintptr, deadline time.Time) bool {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(left/time.Millisecond)+1)
		if err == nil && n > 0 {
			return true
		}
		if err != nil && err != unix.EINTR {
			return false
		}
	}
}

// pending reads the first word of SO_MEMINFO, SK_MEMINFO_RMEM_ALLOC: the
// kernel gives as many words as there is room for.
func pending(raw syscall.RawConn) (n int, err error) {
	if e := raw.Control(func(fd uintptr) {
		n, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MEMINFO)
	}); e != nil {
		return 0, e
	}
	return n, os.NewSyscallError("getsockopt SO_MEMINFO", err)
}

func (s *multi) opError(op, call string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "udp", Addr: s.udp.LocalAddr(), Err: os.NewSyscallError(call, errno)}
}
