package veth

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func newPair(t *testing.T) Pair {
	p, err := New()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// TestCommand runs a command in each namespace, and in none.
func TestCommand(t *testing.T) {
	p := newPair(t)
	for want, n := range map[string]*Namespace{ServerIP: p.Server, ClientIP: p.Client, "": nil} {
		argv := n.Command("ip", "-4", "addr", "show", "scope", "global")
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
		for _, ip := range []string{ServerIP, ClientIP} {
			if has := strings.Contains(string(out), "inet "+ip+"/30"); has != (ip == want) {
				t.Errorf("%v has %s: %t\n%s", argv, ip, has, out)
			}
		}
	}
}

// TestRelay connects from the server's namespace to a server that is outside of it, at
// the same address.
func TestRelay(t *testing.T) {
	p := newPair(t)
	outside, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	addr := outside.Addr().String()
	if _, err := p.Server.Dial("tcp", addr); err == nil {
		t.Fatal("the namespace is not one of its own")
	}
	relay, err := p.Server.Relay(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	go func() {
		conn, err := outside.Accept()
		if err != nil {
			return
		}
		line := make([]byte, 5)
		io.ReadFull(conn, line)
		conn.Write([]byte(strings.ToUpper(string(line))))
		conn.Close()
	}()
	conn, err := p.Server.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != "HELLO" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestCloseOfNothing has pairs that were not made in full closed.
func TestCloseOfNothing(t *testing.T) {
	if err := (Pair{}).Close(); err != nil {
		t.Error(err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if err := (Pair{Server: &Namespace{f}}).Close(); err != nil {
		t.Error(err)
	}
	if _, err := f.Stat(); err == nil {
		t.Error("its file is open still")
	}
}
