package mmsg

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// multi is the system with recvmmsg(2) and sendmmsg(2). The kernel fills in
// the sender's socket address and the control message; a reply is sent to the
// former with the latter, neither decoded nor encoded.
//
// Go's netpoller does not know its sockets. It would wake a thread for each
// datagram, and that thread a goroutine on another, which costs several times
// what the answer does. A multi has an epoll set of its own and waits there in
// one of two ways:
//
//  1. While datagrams come steadily it keeps its P, and the Go scheduler does
//     not know that it waits at all. The process must have a P for that to
//     spare, or the other goroutines starve. Whoever wants to stop the goroutine,
//     the garbage collector or sysmon, sends its thread a signal, with which
//     epoll_pwait(2) returns EINTR; the call of the next function is a
//     safepoint then. A signal that comes just before the call is lost, and the
//     runtime sends another.
//  2. Otherwise it waits in a system call like any other, in which the
//     scheduler takes the P away. An idle process is idle.
type multi struct {
	socket
	fds  []int
	ep   int // the epoll set, of fds and wake
	wake int // eventfd(2): look at closed and deadline again

	mu       sync.RWMutex // whoever uses the descriptors holds it for reading
	closed   atomic.Bool
	deadline atomic.Int64  // in nanoseconds since 1970, 0 for none
	out      atomic.Uint32 // the socket that sends

	// Of the goroutine that receives.
	events  []unix.EpollEvent
	ready   []int // indices of the sockets that have something
	more    bool  // one of them had more than was taken
	streak  int   // waits in a row that were shorter than linger
	linger  time.Duration
	slice   time.Duration
	yielded time.Time

	looks, parks atomic.Uint64 // system calls to wait, and those that gave the P back, for tests
}

// A multi keeps its P for steady waits in a row that were shorter than linger,
// and until one is longer. Keeping it costs a signal every 10 ms, from sysmon,
// which is itself kept from sleeping; giving it back costs about 20 µs a wait.
// The two cost the same at about 50 waits a second. The pairs of queries, for A
// and AAAA, that a client sends at once are not steady.
const (
	linger = 20 * time.Millisecond
	steady = 4
)

// slice is how long a goroutine that keeps its P goes without a yield. sysmon has
// those preempted that do not yield for 10 ms, which costs a signal and wakes a
// thread.
const slice = 5 * time.Millisecond

// wakeEvent is the event of the eventfd among those of the sockets.
const wakeEvent = -1

// preemptible says that the runtime sends signals to stop a goroutine. Without
// them one that keeps its P would hold everybody up.
var preemptible = !strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1")

func newMulti(sockets []*net.UDPConn, s socket) (system, error) {
	m := &multi{socket: s, ep: -1, wake: -1, linger: linger, slice: slice}
	err := m.open(sockets)
	if err != nil {
		m.close()
		return nil, err
	}
	m.events = make([]unix.EpollEvent, len(m.fds)+1)
	return m, nil
}

func (s *multi) open(sockets []*net.UDPConn) (err error) {
	if s.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if err := s.watch(s.wake, wakeEvent); err != nil {
		return err
	}
	for i, c := range sockets {
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		fd := -1
		if e := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
			return e
		}
		if err != nil {
			return os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
		}
		s.fds = append(s.fds, fd)
		if err := s.watch(fd, i); err != nil {
			return err
		}
		c.Close() // with which the netpoller forgets it
	}
	return nil
}

func (s *multi) watch(fd, as int) error {
	err := unix.EpollCtl(s.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(as)})
	return os.NewSyscallError("epoll_ctl", err)
}

// over returns the error of a Conn that is closed, or, unless now is zero, one
// whose read deadline has passed.
func (s *multi) over(now time.Time) error {
	if s.closed.Load() {
		return &net.OpError{Op: "use", Net: "udp", Addr: s.addr, Err: net.ErrClosed}
	}
	if d := s.deadline.Load(); d != 0 && !now.IsZero() && d <= now.UnixNano() {
		return &net.OpError{Op: "read", Net: "udp", Addr: s.addr, Err: os.ErrDeadlineExceeded}
	}
	return nil
}

// wait waits, from now on, until ready has sockets or somebody calls for
// attention. If there was more than has been taken it only looks.
func (s *multi) wait(now time.Time) {
	s.ready = s.ready[:0]
	if s.more {
		s.look(0, true)
		return
	}
	for at := now; s.streak >= steady && preemptible; {
		if at.Sub(s.yielded) >= s.slice {
			goyield()
			s.yielded = at
		}
		if n, _ := s.look(s.left(at, min(s.slice, s.linger)), true); n > 0 {
			return
		}
		at = time.Now()
		if s.over(at) != nil {
			return
		}
		if at.Sub(now) >= s.linger {
			s.streak = 0
		}
	}
	s.parks.Add(1)
	s.look(s.left(now, -1), false)
	if time.Since(now) < s.linger {
		s.streak++
	} else {
		s.streak = 0
	}
}

// left returns d, or what is left until the deadline if that is less, in
// milliseconds, rounded up, and at least 0; -1 is for ever.
func (s *multi) left(now time.Time, d time.Duration) int {
	forever := d < 0
	if deadline := s.deadline.Load(); deadline != 0 {
		if until := max(0, time.Duration(deadline-now.UnixNano())); forever || until < d {
			d, forever = until, false
		}
	}
	if forever {
		return -1
	}
	// More than a day is a day: epoll_pwait takes an int.
	return int((min(d, 24*time.Hour) + time.Millisecond - 1) / time.Millisecond)
}

// look waits at most timeout milliseconds, -1 for ever, for events, and adds
// the sockets that have something to ready. It keeps its P if raw. Its call is
// a safepoint, which it would not be if it were inlined.
//
//go:noinline
func (s *multi) look(timeout int, raw bool) (n int, errno syscall.Errno) {
	s.looks.Add(1)
	var r uintptr
	events, room := unsafe.Pointer(&s.events[0]), uintptr(len(s.events))
	if raw {
		r, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.ep), uintptr(events), room, uintptr(timeout), 0, 0)
	} else {
		r, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(s.ep), uintptr(events), room, uintptr(timeout), 0, 0)
	}
	if errno != 0 {
		return 0, errno
	}
	for _, e := range s.events[:r] {
		if e.Fd != wakeEvent {
			s.ready = append(s.ready, int(e.Fd))
			continue
		}
		var count [8]byte
		unix.Read(s.wake, count[:])
	}
	return int(r), 0
}

func (s *multi) setReadDeadline(t time.Time) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.over(time.Time{}); err != nil {
		return err
	}
	next := int64(0)
	if !t.IsZero() {
		next = max(1, t.UnixNano())
	}
	if old := s.deadline.Swap(next); next != 0 && (old == 0 || next < old) {
		s.attention()
	}
	return nil
}

// attention ends a wait.
func (s *multi) attention() {
	if s.wake >= 0 {
		unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 1}) // a count, of any octet order
	}
}

func (s *multi) close() error {
	if s.closed.Swap(true) {
		return &net.OpError{Op: "close", Net: "udp", Addr: s.addr, Err: net.ErrClosed}
	}
	s.mu.RLock()
	s.attention()
	s.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, fd := range append(s.fds, s.ep, s.wake) {
		if fd >= 0 {
			errs = append(errs, os.NewSyscallError("close", unix.Close(fd)))
		}
	}
	return errors.Join(errs...)
}

func (s *multi) control(f func(fd uintptr)) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.over(time.Time{}); err != nil {
		return err
	}
	f(uintptr(s.fds[0]))
	return nil
}

// shed has the descriptor of the first socket be another one of the second's, in
// one step, so that whoever receives and sends needs no lock for it. A datagram
// that is just being received is not lost: the kernel closes a socket when
// nobody uses it any more.
func (s *multi) shed() (bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.over(time.Time{}); err != nil {
		return false, err
	}
	waiting, _, err := meminfo(s.fds[0])
	if err != nil || waiting > 0 {
		return false, err
	}
	return true, os.NewSyscallError("dup3", unix.Dup3(s.fds[1], s.fds[0], unix.O_CLOEXEC))
}

func (s *multi) meminfo(yield func(waiting, drops uint32)) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.over(time.Time{}); err != nil {
		return err
	}
	for _, fd := range s.fds {
		waiting, drops, err := meminfo(fd)
		if err != nil {
			return err
		}
		yield(waiting, drops)
	}
	return nil
}

// meminfo reads SO_MEMINFO, nine words, of which the kernel gives as many as
// there is room for.
func meminfo(fd int) (waiting, drops uint32, err error) {
	var words [9]uint32
	size := uint32(unsafe.Sizeof(words))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&words)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, 0, os.NewSyscallError("getsockopt SO_MEMINFO", errno)
	}
	return words[0], words[8], nil // SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_DROPS
}
