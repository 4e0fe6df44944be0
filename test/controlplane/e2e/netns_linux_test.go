package e2e

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

// netns is a network namespace: loopback, and what a test puts into it. It ends
// with the test and with the processes and sockets in it.
type netns struct{ f *os.File }

// newNetns makes a namespace. The test is skipped where that is not permitted:
// it takes CAP_SYS_ADMIN, which root has unless a container runtime took it.
func newNetns(t *testing.T) netns {
	t.Helper()
	var f *os.File
	err := onThread(func() (err error) {
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
	n := netns{f}
	n.ip(t, "link", "set", "lo", "up")
	return n
}

// onThread runs f on a thread of its own, which ends with it: whatever f did to
// its thread concerns no other goroutine.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread
		done <- f()
	}()
	return <-done
}

// do runs f in the namespace. Sockets that f makes stay there, and can be used
// from everywhere; processes that it starts run there.
func (n netns) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network namespace: %w", err)
		}
		return f()
	})
}

// path names the namespace to other processes, as long as this one lives.
func (n netns) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.f.Fd()) }

// ip runs ip(8) in the namespace.
func (n netns) ip(t *testing.T, args ...string) {
	t.Helper()
	err := n.do(func() error {
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

// connect joins two namespaces by a link called name, on which they have these
// addresses, with a prefix length.
func (n netns) connect(t *testing.T, to netns, name string, addrs, toAddrs []string) {
	t.Helper()
	n.ip(t, "link", "add", name, "type", "veth", "peer", "name", name, "netns", to.path())
	for ns, addrs := range map[netns][]string{n: addrs, to: toAddrs} {
		for _, addr := range addrs {
			ns.ip(t, "addr", "add", addr, "dev", name, "nodad")
		}
		ns.ip(t, "link", "set", name, "up")
	}
}

// dial connects from the namespace, from the address local if there is one.
func (n netns) dial(network, local, addr string) (conn net.Conn, err error) {
	var d net.Dialer
	switch {
	case local == "":
	case network == "udp":
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(local)}
	default:
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	err = n.do(func() (err error) {
		conn, err = d.Dial(network, addr)
		return err
	})
	return conn, err
}

// listen listens in the namespace on one port, UDP and TCP.
func (n netns) listen(t *testing.T, addr string) (udp net.PacketConn, tcp net.Listener) {
	t.Helper()
	err := n.do(func() (err error) {
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
