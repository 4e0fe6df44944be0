// Package netns makes network namespaces for tests, and runs processes in them as
// pods are run. It needs Linux, ip(8), and CAP_SYS_ADMIN, which root has unless a
// container runtime took it.
package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace: loopback, and what a test puts into it. It ends
// with the test and with the processes and sockets in it.
type Namespace struct{ f *os.File }

// New makes a namespace. The test is skipped where that is not permitted:
// it takes CAP_SYS_ADMIN, which root has unless a container runtime took it.
func New(t *testing.T) Namespace {
	t.Helper()
	var f *os.File
	err := OnThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if errors.Is(err, unix.EPERM) {
		t.Skip("no permission to make a network namespace (run as root, with CAP_SYS_ADMIN)")
	}
	if err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	n := Namespace{f}
	n.IP(t, "link", "set", "lo", "up")
	return n
}

// OnThread runs f on a thread of its own, which ends with it: whatever f did to
// its thread concerns no other goroutine.
func OnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread
		done <- f()
	}()
	return <-done
}

// Do runs f in the namespace. Sockets that f makes stay there, and can be used
// from everywhere; processes that it starts run there.
func (n Namespace) Do(f func() error) error {
	return OnThread(func() error {
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network namespace: %w", err)
		}
		return f()
	})
}

// Path names the namespace to other processes, as long as this one lives.
func (n Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.f.Fd()) }

// IP runs ip(8) in the namespace.
func (n Namespace) IP(t *testing.T, args ...string) {
	t.Helper()
	err := n.Do(func() error {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
		return nil
	})
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no ip(8) (Debian package iproute2)")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Connect joins two namespaces by a link called name, on which they have these
// addresses, with a prefix length.
func (n Namespace) Connect(t *testing.T, to Namespace, name string, addrs, toAddrs []string) {
	t.Helper()
	n.IP(t, "link", "add", name, "type", "veth", "peer", "name", name, "netns", to.Path())
	for ns, addrs := range map[Namespace][]string{n: addrs, to: toAddrs} {
		for _, addr := range addrs {
			ns.IP(t, "addr", "add", addr, "dev", name, "nodad")
		}
		ns.IP(t, "link", "set", name, "up")
	}
}

// Dial connects from the namespace, from the address local if there is one.
func (n Namespace) Dial(network, local, addr string) (conn net.Conn, err error) {
	var d net.Dialer
	switch {
	case local == "":
	case network == "udp":
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(local)}
	default:
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	err = n.Do(func() (err error) {
		conn, err = d.Dial(network, addr)
		return err
	})
	return conn, err
}

// Listen listens in the namespace on one port, UDP and TCP.
func (n Namespace) Listen(t *testing.T, addr string) (udp net.PacketConn, tcp net.Listener) {
	t.Helper()
	err := n.Do(func() (err error) {
		if udp, err = net.ListenPacket("udp", addr); err == nil {
			tcp, err = net.Listen("tcp", addr)
		}
		return err
	})
	if err != nil {
		t.Fatalf("listening in a network namespace: %v", err)
	}
	return udp, tcp
}
