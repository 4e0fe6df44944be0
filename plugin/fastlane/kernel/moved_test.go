//go:build linux && (amd64 || arm64)

package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMoved changes interfaces and addresses, in a network namespace of its own.
func TestMoved(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("network namespaces are for root")
	}
	missing := make(chan error, 1)
	go func() {
		defer close(missing)
		runtime.LockOSThread() // and the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			missing <- fmt.Errorf("network namespace: %w", err)
			return
		}
		testMoved(t)
	}()
	if err := <-missing; err != nil {
		t.Skip(err)
	}
}

func testMoved(t *testing.T) {
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Errorf("ip %s: %v: %s", args, err, out)
		}
	}
	ip("link set lo up")
	ip("link add v0 type veth peer name v1")
	ip("addr add 10.99.0.1/24 dev v0")
	ip("link set v0 up")
	ip("link set v1 up")

	c := Config{Port: 5300}
	im := &Image{config: c}
	resolve := func() (names, addrs []string) {
		t.Helper()
		all, err := c.addrs()
		if err != nil {
			t.Error(err)
		}
		interfaces, on, err := c.resolve()
		if err != nil {
			t.Error(err)
		}
		im.addrs, im.interfaces = all, interfaces
		for _, i := range interfaces {
			names = append(names, i.name)
		}
		for _, a := range on {
			addrs = append(addrs, a.String())
		}
		slices.Sort(addrs)
		return names, addrs
	}
	var closers []func()
	bind := func(network, addr string) {
		t.Helper()
		l, err := net.ListenPacket(network, addr)
		if err != nil {
			t.Error(err)
			return
		}
		closers = append(closers, func() { l.Close() })
	}
	unbind := func() {
		for _, f := range closers {
			f()
		}
		closers = nil
	}
	defer unbind()
	for _, step := range []struct {
		what  string
		do    func()
		moved bool
		names string
		addrs string
	}{
		{"nothing", func() {}, false, "[v0]", "[10.99.0.1]"},
		{"the server's sockets", func() { bind("udp", ":5300"); bind("udp", "127.0.0.1:53") }, false, "[v0]", "[10.99.0.1]"},
		{"link-local", func() { ip("addr add fe80::99/64 dev v0 nodad") }, false, "[v0]", "[10.99.0.1]"},
		{"an address comes", func() { ip("addr add fd99::1/64 dev v0 nodad") }, true, "[v0]", "[10.99.0.1 fd99::1]"},
		{"another", func() { ip("addr add 10.99.0.2/24 dev v0") }, true, "[v0]", "[10.99.0.1 10.99.0.2 fd99::1]"},
		{"another port's socket", func() { bind("udp", "10.99.0.2:5301") }, false, "[v0]", "[10.99.0.1 10.99.0.2 fd99::1]"},
		{"another server's sockets", func() { unbind(); bind("udp4", "10.99.0.2:5300"); bind("udp6", "[fd99::1]:5300"); bind("udp", ":5301") }, true, "[v0]", "[10.99.0.1]"},
		{"which are gone", unbind, true, "[v0]", "[10.99.0.1 10.99.0.2 fd99::1]"},
		{"an address goes", func() { ip("addr del 10.99.0.2/24 dev v0") }, true, "[v0]", "[10.99.0.1 fd99::1]"},
		{"an interface without an address", func() { ip("link add w0 type veth peer name w1"); ip("link set w0 up") }, false, "[v0]", "[10.99.0.1 fd99::1]"},
		{"and with one", func() { ip("addr add 10.98.0.1/24 dev w0") }, true, "[v0 w0]", "[10.98.0.1 10.99.0.1 fd99::1]"},
		{"another in the place of an interface", func() {
			ip("link del w0")
			ip("link add w0 type veth peer name w1")
			ip("link set w0 up")
			ip("addr add 10.98.0.1/24 dev w0")
		}, true, "[v0 w0]", "[10.98.0.1 10.99.0.1 fd99::1]"},
	} {
		if step.what == "nothing" {
			resolve()
		}
		step.do()
		if moved := im.Moved(); moved != step.moved {
			t.Errorf("%s: moved: %v", step.what, moved)
		}
		names, addrs := resolve()
		if fmt.Sprint(names) != step.names || fmt.Sprint(addrs) != step.addrs {
			t.Errorf("%s: interfaces %v, addresses %v; want %s, %s", step.what, names, addrs, step.names, step.addrs)
		}
		if im.Moved() {
			t.Errorf("%s: moved, at once", step.what)
		}
	}
	c.Addrs = []netip.Addr{netip.IPv4Unspecified()}
	if _, addrs := resolve(); fmt.Sprint(addrs) != "[10.98.0.1 10.99.0.1]" {
		t.Errorf("0.0.0.0: %v", addrs)
	}
	bind("udp4", "10.99.0.1:5300")
	if _, addrs := resolve(); fmt.Sprint(addrs) != "[10.98.0.1]" {
		t.Errorf("0.0.0.0, and another socket: %v", addrs)
	}
	c.Addrs = []netip.Addr{netip.MustParseAddr("10.99.0.1")}
	if _, addrs := resolve(); fmt.Sprint(addrs) != "[10.99.0.1]" {
		t.Errorf("its own address: %v", addrs)
	}
}
