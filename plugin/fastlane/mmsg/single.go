package mmsg

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// single is the system that handles one datagram at a time with what package
// net has on every platform. It allocates for addresses.
type single struct {
	socket
	udp  *net.UDPConn
	room int // octets for a control message
}

func newSingle(sockets []*net.UDPConn, s socket) (system, error) {
	if len(sockets) != 1 {
		return nil, fmt.Errorf("%d sockets: %w", len(sockets), errors.ErrUnsupported)
	}
	one := &single{socket: s, udp: sockets[0]}
	if s.wildcard {
		one.room = max(len(ipv4.NewControlMessage(ipv4.FlagDst)), len(ipv6.NewControlMessage(ipv6.FlagDst)))
	}
	return one, nil
}

func (s *single) recv(b *Batch) (int, error) {
	slot := b.slot(0)
	control := make([]byte, s.room)
	n, nc, _, peer, err := s.udp.ReadMsgUDPAddrPort(slot, control)
	for tries := 0; err != nil && tries < pendingErrors && isICMP(err); tries++ {
		n, nc, _, peer, err = s.udp.ReadMsgUDPAddrPort(slot, control)
	}
	if err != nil {
		return 0, err
	}
	b.got[0] = datagram{
		len:       min(n, b.recvSize),
		truncated: n > b.recvSize,
		peer:      netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()),
	}
	s.local(&b.got[0], control[:nc])
	return 1, nil
}

// local sets the address that control says.
func (s *single) local(d *datagram, control []byte) {
	if len(control) == 0 {
		return
	}
	if !s.ipv6 {
		var cm ipv4.ControlMessage
		if cm.Parse(control) == nil {
			d.local, _ = netip.AddrFromSlice(cm.Dst.To4())
		}
		return
	}
	var cm ipv6.ControlMessage
	if cm.Parse(control) == nil {
		addr, _ := netip.AddrFromSlice(cm.Dst)
		d.local = addr.Unmap()
		if d.local.Is6() && d.local.IsLinkLocalUnicast() {
			d.localIndex = cm.IfIndex
		}
	}
}

func (s *single) flush(b *Batch) (sent int, err error) {
	for _, r := range b.replies {
		d := &b.got[r.to]
		control := from(b.Local(r.to))
		_, _, e := s.udp.WriteMsgUDPAddrPort(r.payload, control, d.peer)
		if errors.Is(e, syscall.ECONNREFUSED) { // Of an earlier datagram: see isICMP.
			_, _, e = s.udp.WriteMsgUDPAddrPort(r.payload, control, d.peer)
		}
		if e != nil {
			err = e
			continue
		}
		sent++
	}
	return sent, err
}

func (s *single) writeTo(p []byte, peer netip.AddrPort, local netip.Addr) error {
	_, _, err := s.udp.WriteMsgUDPAddrPort(p, from(local), peer)
	return err
}

func (s *single) setReadDeadline(t time.Time) error { return s.udp.SetReadDeadline(t) }

func (s *single) meminfo(func(waiting, drops uint32)) error { return errors.ErrUnsupported }

func (s *single) shed() (bool, error) { return false, errors.ErrUnsupported }

func (s *single) control(f func(fd uintptr)) error {
	raw, err := s.udp.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(f)
}

func (s *single) close() error { return s.udp.Close() }
