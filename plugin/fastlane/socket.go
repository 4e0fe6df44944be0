package fastlane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"

	"github.com/clusterdns/clusterdns/plugin/fastlane/mmsg"
)

// sockets are the lane's sockets at the address of a CoreDNS server, members
// of its SO_REUSEPORT groups (socket(7)): a group is all sockets of one
// network namespace, user and protocol bound to the same address with that
// option. The kernel spreads datagrams over a group, and connections over a
// group of listeners, by a hash of the addresses unless a program chooses
// (net/core/sock_reuseport.c). Members have indices in the order of bind(2), or
// listen(2) for TCP; when one closes, the last takes its index. The program
// belongs to the group and outlives the socket that attached it; where it gives an
// index that no member has, the kernel hashes.
//
// So no datagram and no connection goes astray whatever the indices: each has
// some member for its receiver. Another process of the same user may have
// sockets in the group, before ours or behind them. But if some that were before
// ours close, indices are not what they were: then Steer leaves a part to CoreDNS
// or to the other process, and SteerAway may go on giving us some.
//
// Their life is openSockets, serve what arrives, Steer, SteerAway, serve what waits in
// the queues, Close.
type sockets struct {
	// UDP are the n workers' of openSockets, each with queues sockets, in the
	// order of their indices.
	UDP []*mmsg.Conn
	// TCP are the listeners, in the order of their indices: see handOver.
	TCP []*net.TCPListener

	others  int
	shifted bool // indices are not what they were
	// How many members the groups had before ours, so that this is the index of
	// our first.
	udpBefore, tcpBefore int
	// keys are those of the hash, the same each time that ours are steered to: a
	// sender keeps its queue.
	keys [8]uint32
}

// queues is how many sockets each worker has. A datagram comes to one of a
// worker chosen at random, to the one that its sender's address hashes to. So
// what one address sends, whatever its ports, is in one queue of each worker,
// and a flood overflows that; the worker takes the same from each queue that
// has something. Who shares a queue with the flood suffers with it: one address
// in queues. Senders that forge addresses fill all of them.
const (
	logQueues = 3
	queues    = 1 << logQueues
)

// listeners is how many TCP listeners there are: more than one, for handOver.
const listeners = 2

// openSockets opens the UDP sockets of n workers and the TCP listeners at addr, where a
// CoreDNS server is bound already; addr is the string that it listens on, so
// that the sockets come out alike, dual-stack or not. others ≥ 1 is how many
// UDP sockets CoreDNS holds there, and how many listeners, one unless there is
// a multisocket: the members 0 to others-1 of the group.
//
// Nothing is bound unless that many sockets hold exactly this address: on an
// address that is more specific than CoreDNS's, or in a group of our own, we
// would take what belongs to others. That, and that ours came to stand beside
// them, is read from /proc/net.
//
// From here on the kernel's hash gives ours their share of the traffic, so
// they have to be served, until Steer gives them all of it. The
// error is errors.ErrUnsupported on other systems than Linux.
func openSockets(addr string, others, n int) (*sockets, error) {
	if others < 1 || n < 1 {
		return nil, fmt.Errorf("%d sockets beside %d of CoreDNS: both must be at least 1", n, others)
	}
	for tries := 1; ; tries++ {
		s := &sockets{others: others}
		for i := range s.keys {
			s.keys[i] = rand.Uint32()
		}
		err := s.open(addr, n)
		if err == nil {
			return s, nil
		}
		err = errors.Join(err, s.Close())
		if tries == openTries || errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
	}
}

// openTries is how often it is tried: sockets of an instance that is no more may
// close while ours are opened.
const openTries = 3

// Steer has the kernel give every new datagram and connection to ours. Traffic already in CoreDNS's queues stays there.
// It may be called again, after SteerAway as well. After an error some traffic
// may be steered and some not.
func (s *sockets) Steer() error {
	return s.steer(choice{first: s.udpBefore, n: len(s.UDP), logQueues: logQueues, keys: s.keys}, choice{first: s.tcpBefore, n: len(s.TCP)})
}

// SteerAway has the kernel give every new datagram and connection to CoreDNS's
// sockets, or to as many of another process's that came before them, spread at
// random, so that ours can be drained before they close, which loses what they
// hold: a datagram in the queue is dropped, a connection in the backlog reset. Some arrive even after it returned: those whose
// receiver another CPU was choosing (the old program goes after an RCU grace
// period), and connections whose SYN we had. Drain for a while.
func (s *sockets) SteerAway() error {
	return s.steer(choice{n: s.others}, choice{n: s.others})
}

// behind returns how many UDP sockets and TCP listeners stand behind ours.
func (s *sockets) behind(addr string) (udp, tcp int, err error) {
	all, err := udpMembers(addr)
	if err != nil {
		return 0, 0, err
	}
	tcp, err = tcpHolders(addr)
	return len(all) - s.udpBefore - len(s.UDP)*queues, tcp - s.tcpBefore - len(s.TCP), err
}

// Close closes the sockets. What they hold is lost. The group keeps its
// program: after SteerAway that spreads over CoreDNS's sockets still, after
// Steer its indices are out of range and the kernel hashes.
func (s *sockets) Close() error {
	var errs []error
	for _, c := range s.UDP {
		errs = append(errs, c.Close())
	}
	for _, l := range s.TCP {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// choice is n times 2^logQueues members of a group, from first on: one of the n
// to choose at random, and in that the one that the sender's address hashes to.
type choice struct {
	first, n, logQueues int
	keys                [8]uint32
}
