package fastlane

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/clusterdns/clusterdns/plugin/fastlane/mmsg"
	"github.com/clusterdns/clusterdns/plugin/fastlane/procnet"

	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

func (s *sockets) open(addr string, n int) error {
	// All that may fail comes before anything is bound: that would be closed
	// again with what it has got.
	if err := probe(); err != nil {
		return err
	}
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	s.udpBefore, err = s.expect("udp", "UDP sockets", udp.AddrPort())
	if err != nil {
		return err
	}
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return err
	}
	s.tcpBefore, err = s.expect("tcp", "TCP listeners", tcp.AddrPort())
	if err != nil {
		return err
	}
	if err := s.openUDP(addr, n); err != nil {
		return err
	}
	return s.openTCP(addr)
}

// probe reports whether a group can be given a program, at a socket that is in
// none: a seccomp profile may not allow it. The error is errors.ErrUnsupported.
func probe() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil { // a host without IPv4
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_REUSEPORT", err)
	}
	err = choice{n: 1, logQueues: logQueues}.attach(func(f func(fd uintptr)) error { f(uintptr(fd)); return nil })
	if err != nil {
		return fmt.Errorf("steering: %w: %w", errors.ErrUnsupported, err)
	}
	return nil
}

// expect says how many sockets hold a, which must be CoreDNS's at the least.
func (s *sockets) expect(network, what string, a netip.AddrPort) (int, error) {
	n, err := holders(network, a)
	if err == nil && n < s.others {
		err = fmt.Errorf("%d %s hold this address, expected %d of CoreDNS", n, what, s.others)
	}
	return n, err
}

func (s *sockets) openUDP(addr string, n int) error {
	for range n {
		var worker []*net.UDPConn
		for range queues {
			c, err := reuseport.ListenPacket("udp", addr)
			if err == nil {
				worker = append(worker, c.(*net.UDPConn))
				err = checkEarly(c.(*net.UDPConn))
			}
			if err != nil {
				for _, c := range worker {
					c.Close()
				}
				return err
			}
			setBuffers(c.(*net.UDPConn))
		}
		conn, err := mmsg.NewConn(worker...)
		if err != nil {
			return err
		}
		s.UDP = append(s.UDP, conn)
	}
	after, err := holders("udp", s.UDP[0].LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		return err
	}
	if after != s.udpBefore+n*queues {
		return fmt.Errorf("%d UDP sockets hold %v, expected %d of others and %d of ours", after, s.UDP[0].LocalAddr(), s.udpBefore, n*queues)
	}
	return nil
}

// bufferSize is how much a socket's queues take, in octets of what they carry;
// the kernel doubles it for its overhead. A small datagram takes 768 octets, so
// that a queue of 1,365 fits, which a worker answers in some 5 ms. Without the
// privilege (CAP_NET_ADMIN) it is net.core.rmem_max and wmem_max at most,
// 212,992 unless a host says otherwise.
const bufferSize = 512 << 10

// setBuffers gives c buffers of bufferSize if it may, and else what it may.
func setBuffers(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // the socket is closed, which others will report
	}
	raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize) != nil {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, bufferSize)
		}
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize) != nil {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, bufferSize)
		}
	})
}

// checkEarly gives c a filter that takes every datagram. Before a filter the
// kernel looks at the checksum; without one it does when the datagram is
// received, and goes on, in one system call, for as long as they are wrong
// (net/ipv4/udp.c, udp_recvmsg). A worker that keeps its P would hold up the
// garbage collector meanwhile, and seem to have stalled.
func checkEarly(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	all := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: math.MaxUint32}
	if e := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &all})
	}); e != nil {
		return e
	}
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
}

func (s *sockets) openTCP(addr string) error {
	for range listeners {
		l, err := listenTCP(addr)
		if err != nil {
			return err
		}
		s.TCP = append(s.TCP, l.(*net.TCPListener))
	}
	after, err := tcpHolders(addr)
	if err != nil {
		return err
	}
	if after != s.tcpBefore+listeners {
		return fmt.Errorf("%d TCP listeners hold %s, expected %d of others and %d of ours", after, addr, s.tcpBefore, listeners)
	}
	return nil
}

// listenTCP is reuseport.Listen without Multipath TCP, which package net gives
// listeners by itself: net/mptcp/sockopt.c takes no program
// (EOPNOTSUPP). A listener with it and one without can be in one group, since
// what listens for the former is a TCP socket too. A client that asks for
// Multipath TCP gets TCP, as RFC 8684 section 3.7 has it fall back.
func listenTCP(addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if e := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}); e != nil {
			return e
		}
		return os.NewSyscallError("setsockopt SO_REUSEPORT", err)
	}}
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), "tcp", addr)
}

// holders says how many UDP sockets or TCP listeners are bound to exactly a.
// A wildcard address of either family is what package net makes of it: the
// dual-stack one, or the one of IPv4 on a host without IPv6.
func holders(network string, a netip.AddrPort) (int, error) {
	list, err := members(network, a)
	return len(list), err
}

// members returns the inodes of the sockets that holders counts.
func members(network string, a netip.AddrPort) ([]string, error) {
	addr := a.Addr().Unmap()
	if !addr.IsValid() || addr.IsUnspecified() {
		list, err := inodes(network+"6", netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port()))
		if len(list) > 0 || err != nil && !os.IsNotExist(err) {
			return list, err
		}
		return inodes(network, netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port()))
	}
	if addr.Is6() {
		network += "6"
	}
	return inodes(network, netip.AddrPortFrom(addr, a.Port()))
}

// udpMembers returns the inodes of the UDP sockets that are bound to addr.
func udpMembers(addr string) ([]string, error) {
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	return members("udp", a.AddrPort())
}

// tcpHolders returns how many TCP listeners are bound to addr.
func tcpHolders(addr string) (int, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return 0, err
	}
	return holders("tcp", a.AddrPort())
}

// inodes returns those of the sockets at addr in a table of /proc/net, each once.
func inodes(table string, addr netip.AddrPort) (list []string, err error) {
	bound, err := procnet.Bound(table, addr.Port())
	at := addr.Addr().WithZone("") // tables have none
	for _, s := range bound {
		if s.Addr == at {
			list = append(list, s.Inode)
		}
	}
	return list, err
}

// readable says whether c has something to read or to accept.
func readable(c syscall.Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	})
	return err == nil && n > 0
}

func (s *sockets) steer(udp, tcp choice) error {
	if err := udp.attach(s.UDP[0].Control); err != nil {
		return fmt.Errorf("steering datagrams at %v: %w", s.UDP[0].LocalAddr(), err)
	}
	last := s.TCP[len(s.TCP)-1] // which handOver closes last
	raw, err := last.SyscallConn()
	if err == nil {
		err = tcp.attach(raw.Control)
	}
	if err != nil {
		return fmt.Errorf("steering connections at %v: %w", last.Addr(), err)
	}
	return nil
}

// attach gives the group of the socket that control is for a program that
// makes the choice c. It takes no privilege, unlike extended BPF.
func (c choice) attach(control func(func(fd uintptr)) error) error {
	program, err := c.program()
	if err != nil {
		return err
	}
	if e := control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, program)
	}); e != nil {
		return e
	}
	return os.NewSyscallError("setsockopt SO_ATTACH_REUSEPORT_CBPF", err)
}

// netOffset is added to offsets in the packet, which begin at the datagram's
// payload otherwise, to have them begin at the IP header (SKF_NET_OFF).
const netOffset = 0xfff0_0000

// hashSource has the register A hold logQueues bits of a hash of the sender's
// address, in the IP header that begins at the offset base: the sum of its words
// of 16 bits, each times a key of its own, of which the highest bits are taken
// (multilinear hashing). Who does not know the keys can choose a queue no better
// than at random, whatever part of the address is his to choose: a bit of it
// changes the sum by a number that he does not know.
func hashSource(base uint32, logQueues int, keys *[8]uint32) []bpf.Instruction {
	v4, v6 := sumWords(base+12, keys[:2]), sumWords(base+8, keys[:])
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: base, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4}, // the IP version
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: uint8(len(v4) + 1)},
	}
	code = append(append(code, v4...), bpf.Jump{Skip: uint32(len(v6))})
	return append(append(code, v6...), bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: uint32(32 - logQueues)})
}

// sumWords has A hold the sum of the words of 16 bits from off on, each times its
// key.
func sumWords(off uint32, keys []uint32) (code []bpf.Instruction) {
	for i, key := range keys {
		code = append(code,
			bpf.TAX{},
			bpf.LoadAbsolute{Off: off + 2*uint32(i), Size: 2},
			bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: key},
			bpf.ALUOpX{Op: bpf.ALUOpAdd},
		)
	}
	return code[1:] // nothing is in A yet that counts
}

// program is the choice in classic BPF; what it returns is an index. A packet
// too short for its instructions, which there is none of, has index 0.
func (c choice) program() (*unix.SockFprog, error) {
	var instructions []bpf.Instruction
	if c.logQueues > 0 {
		instructions = append(hashSource(netOffset, c.logQueues, &c.keys), bpf.StoreScratch{Src: bpf.RegA})
	}
	if c.n > 1 {
		instructions = append(instructions,
			bpf.LoadExtension{Num: bpf.ExtRand},
			bpf.ALUOpConstant{Op: bpf.ALUOpMod, Val: uint32(c.n)},
			bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: uint32(c.logQueues)},
		)
	} else {
		instructions = append(instructions, bpf.LoadConstant{Dst: bpf.RegA})
	}
	if c.logQueues > 0 {
		instructions = append(instructions, bpf.LoadScratch{Dst: bpf.RegX}, bpf.ALUOpX{Op: bpf.ALUOpAdd})
	}
	instructions = append(instructions, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: uint32(c.first)}, bpf.RetA{})
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}, nil
}
