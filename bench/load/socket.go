package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a connected, non-blocking UDP socket or a TCP connection. Go's own
// would wake a goroutine for every reply, and its timers are too coarse to
// send on time.
type socket struct {
	fd    int
	index int
	tcp   bool
	free  int32 // the first of the free slots, -1 for none
	first int32 // of the slots

	unsent   []byte // frames for a TCP connection, sent by flush
	watching bool   // that it may be written to again
	received []byte // of a TCP connection: the beginning of a frame, in buffer
	buffer   []byte
}

// dial gives s a new connection.
func (s *socket) dial(server netip.AddrPort, timeout time.Duration) error {
	family, kind := syscall.AF_INET6, syscall.SOCK_DGRAM
	var to syscall.Sockaddr = &syscall.SockaddrInet6{Port: int(server.Port()), Addr: server.Addr().As16()}
	if addr := server.Addr().Unmap(); addr.Is4() {
		family, to = syscall.AF_INET, &syscall.SockaddrInet4{Port: int(server.Port()), Addr: addr.As4()}
	}
	if s.tcp {
		kind = syscall.SOCK_STREAM
	}
	fd, err := syscall.Socket(family, kind|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a socket: %w", err)
	}
	// Not all of it may be granted. Replies wait here while a batch of them is read.
	const receiveBuffer = 4 << 20
	if syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
	}
	wait := syscall.NsecToTimeval(timeout.Nanoseconds())
	err = errors.Join(
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &wait), // connect too, socket(7)
		syscall.Connect(fd, to),
		syscall.SetNonblock(fd, true))
	if s.tcp {
		err = errors.Join(err, syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1))
	}
	if err != nil {
		syscall.Close(fd)
		return fmt.Errorf("connecting to %s: %w", server, err)
	}
	s.fd, s.unsent, s.received, s.watching = fd, s.unsent[:0], nil, false
	return nil
}

// send sends a frame, as a datagram at once or over TCP with the next flush.
// What a socket cannot take now is lost, as the network might have lost it.
func (s *socket) send(frame []byte) {
	if s.tcp {
		s.unsent = append(s.unsent, frame...)
		return
	}
	_, err := syscall.Write(s.fd, frame[frameMessage:])
	if err == syscall.ECONNREFUSED { // of an earlier datagram; this one was not sent
		_, _ = syscall.Write(s.fd, frame[frameMessage:])
	}
}

// flush sends what waits for a TCP connection. It reports whether some is left.
func (s *socket) flush() (left bool) {
	if len(s.unsent) == 0 {
		return false
	}
	n, err := syscall.Write(s.fd, s.unsent)
	if err != nil {
		return err == syscall.EAGAIN // any other error comes again when reading
	}
	s.unsent = s.unsent[:copy(s.unsent, s.unsent[n:])]
	return len(s.unsent) > 0
}

// receive reads the messages that have come, and calls handle for each. It
// returns io.EOF if the server closed the TCP connection.
func (s *socket) receive(handle func(message []byte)) error {
	if !s.tcp {
		for {
			n, err := syscall.Read(s.fd, s.buffer)
			switch {
			case err == syscall.EAGAIN || err == syscall.ECONNREFUSED || err == syscall.EINTR:
				return nil
			case err != nil:
				return fmt.Errorf("receiving: %w", err)
			}
			handle(s.buffer[:n])
		}
	}
	n, err := syscall.Read(s.fd, s.buffer[len(s.received):])
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return nil
	case err != nil || n == 0:
		return io.EOF
	}
	rest := s.buffer[:len(s.received)+n]
	for len(rest) >= 2 {
		length := 2 + int(binary.BigEndian.Uint16(rest))
		if len(rest) < length {
			break
		}
		handle(rest[2:length])
		rest = rest[length:]
	}
	s.received = s.buffer[:copy(s.buffer, rest)]
	return nil
}

// poller tells which sockets have something to read.
type poller struct {
	fd     int
	events [64]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll descriptor: %w", err)
	}
	return &poller{fd: fd}, nil
}

// watch has wait report s, also where it can be written to again.
func (p *poller) watch(op int, s *socket, writable bool) error {
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(s.index)}
	if writable {
		event.Events |= syscall.EPOLLOUT
	}
	if err := syscall.EpollCtl(p.fd, op, s.fd, &event); err != nil {
		return fmt.Errorf("watching a socket: %w", err)
	}
	s.watching = writable
	return nil
}

// wait waits up to timeout and returns events with the index of a socket in Fd.
// The scheduler is not told of the wait: it would take the processor away, and
// the queries that are due next would be late.
func (p *poller) wait(timeout time.Duration) ([]unix.EpollEvent, error) {
	limit := unix.NsecToTimespec(timeout.Nanoseconds())
	n, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)),
		uintptr(unsafe.Pointer(&limit)), 0, 0)
	if err == unix.EINTR {
		return nil, nil
	}
	if err != 0 {
		return nil, fmt.Errorf("waiting for replies: %w", err)
	}
	return p.events[:n], nil
}
