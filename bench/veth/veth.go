// Package veth joins a network namespace for a server and one for its clients by a
// pair of virtual Ethernet interfaces, as a pod and its node are. It needs Linux,
// root, ip(8) and nsenter(1).
package veth

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Addresses of the two ends, of the network that is for benchmarks (RFC 2544,
// appendix C.2.2), and the interface of both.
const (
	ServerIP  = "198.18.0.1"
	ClientIP  = "198.18.0.2"
	Interface = "veth0"
)

// Pair is two network namespaces and the link between them. All of it ends with
// Close and with the last process in it. The zero Pair has neither: both sides are in
// the namespace of this process.
type Pair struct{ Server, Client *Namespace }

// Namespace is a network namespace; nil is that of this process.
type Namespace struct{ f *os.File }

// New makes a pair. The error is errors.ErrUnsupported where that is not permitted.
func New() (p Pair, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("making two network namespaces: %w", err), p.Close())
		}
	}()
	for _, n := range []**Namespace{&p.Server, &p.Client} {
		if *n, err = newNamespace(); err != nil {
			return p, err
		}
	}
	if err := p.Server.ip("link add " + Interface + " type veth peer name " + Interface + " netns " + p.Client.path()); err != nil {
		return p, err
	}
	for _, end := range []struct {
		*Namespace
		addr string
	}{{p.Server, ServerIP}, {p.Client, ClientIP}} {
		for _, args := range []string{"link set lo up", "addr add " + end.addr + "/30 dev " + Interface, "link set " + Interface + " up"} {
			if err := end.ip(args); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// Close gives up the namespaces, and with them the link, once no process is in
// them.
func (p Pair) Close() (err error) {
	for _, n := range []*Namespace{p.Server, p.Client} {
		if n != nil {
			err = errors.Join(err, n.f.Close())
		}
	}
	return err
}

func newNamespace() (*Namespace, error) {
	n := new(Namespace)
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		n.f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: it takes root, with CAP_SYS_ADMIN", errors.ErrUnsupported)
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// onThread runs f on a thread that ends with it: it is in a namespace that is
// nobody else's.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread
		done <- f()
	}()
	return <-done
}

// do runs f in the namespace. Sockets that f makes are there, and can be used from
// everywhere.
func (n *Namespace) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network namespace: %w", err)
		}
		return f()
	})
}

// path names the namespace to other processes, as long as this one lives.
func (n *Namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.f.Fd()) }

// Command returns the command that runs another in the namespace, as the process
// that was started.
func (n *Namespace) Command(argv ...string) []string {
	if n == nil {
		return argv
	}
	return append([]string{"nsenter", "--net=" + n.path()}, argv...)
}

func (n *Namespace) ip(args string) error {
	argv := n.Command(append([]string{"ip"}, strings.Fields(args)...)...)
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s (Debian packages iproute2, util-linux): %w: %s", args, err, out)
	}
	return nil
}

// Dial connects from the namespace.
func (n *Namespace) Dial(network, addr string) (conn net.Conn, err error) {
	if n == nil {
		return net.Dial(network, addr)
	}
	err = n.do(func() (err error) {
		conn, err = net.Dial(network, addr)
		return err
	})
	return conn, err
}

// Relay has TCP connections to addr, in the namespace, lead to addr outside of it,
// until the returned listener is closed.
func (n *Namespace) Relay(addr string) (l net.Listener, err error) {
	err = n.do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening in a network namespace: %w", err)
	}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go relay(from, addr)
		}
	}()
	return l, nil
}

// relay passes on what comes from either side until one of the two closes.
func relay(from net.Conn, addr string) {
	defer from.Close()
	to, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer to.Close()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{to, from}, {from, to}} {
		go func() {
			io.Copy(way[0], way[1])
			ended <- struct{}{}
		}()
	}
	<-ended
}
