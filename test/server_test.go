// Package test holds tests of whole servers: CoreDNS with the plugin, started
// in this process from a Corefile, asked over loopback sockets.
package test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
)

// patience is how long a test waits for what must happen. It only passes where
// a test fails.
const patience = time.Minute

// server is a running instance.
type server struct {
	*caddy.Instance
	stopped bool
}

func input(corefile string) caddy.Input {
	return caddy.CaddyfileInput{Contents: []byte(corefile), Filepath: "Corefile", ServerTypeName: "dns"}
}

// start starts a server, which ends with the test.
func start(t testing.TB, corefile string) *server {
	t.Helper()
	caddy.Quiet, dnsserver.Quiet = true, true
	for {
		inst, err := caddy.Start(input(corefile))
		if err != nil {
			t.Fatalf("starting %s: %v", corefile, err)
		}
		s := &server{Instance: inst}
		if s.shares(t, corefile) {
			s.stop(t)
			continue
		}
		t.Cleanup(func() { s.stop(t) })
		return s
	}
}

// shares reports whether a port that the kernel has chosen for UDP is one that
// another server of this user has. The kernel does not mind, since both allow it
// (SO_REUSEPORT), and gives each a part of the questions.
func (s *server) shares(t testing.TB, corefile string) bool {
	t.Helper()
	own := map[int]int{}
	for _, ln := range s.Servers() {
		if addr, ok := ln.LocalAddr().(*net.UDPAddr); ok && !strings.Contains(corefile, fmt.Sprint(":", addr.Port)) {
			own[addr.Port]++
		}
	}
	for port, n := range own {
		for _, table := range []string{"udp", "udp6"} {
			sockets, err := os.ReadFile("/proc/net/" + table)
			if errors.Is(err, fs.ErrNotExist) {
				continue // no such family, or no Linux
			}
			if err != nil {
				t.Fatal(err)
			}
			n -= len(regexp.MustCompile(fmt.Sprintf(`(?m)^ *\d+: [0-9A-F]+:%04X `, port)).FindAll(sockets, -1))
		}
		if n < 0 {
			return true
		}
	}
	return false
}

// stop ends the server as SIGTERM does.
func (s *server) stop(t testing.TB) {
	t.Helper()
	if s.stopped {
		return
	}
	s.stopped = true
	for _, err := range s.ShutdownCallbacks() {
		t.Errorf("shutting down: %v", err)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// reload puts a new Corefile in the place of the running one, as the plugin
// reload does. After an error the old one is still there.
func (s *server) reload(corefile string) error {
	inst, err := s.Restart(input(corefile))
	if err == nil && inst == nil {
		err = errors.New("a panic, see the log") // what caddy makes of one
	}
	if err == nil {
		s.Instance = inst
	}
	return err
}

// addr returns where the server listens.
func (s *server) addr(network string) string {
	ln := s.Servers()[0]
	addr := ln.LocalAddr()
	if network == "tcp" {
		addr = ln.Addr()
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		panic(err)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// exchange sends a query and returns the reply, and its length in octets.
func (s *server) exchange(network string, r *dns.Msg) (m *dns.Msg, size int, err error) {
	return s.exchangeFrom(nil, network, r)
}

// exchangeFrom does that from an address of this machine; nil is any.
func (s *server) exchangeFrom(from net.IP, network string, r *dns.Msg) (m *dns.Msg, size int, err error) {
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.UDPAddr{IP: from}}
	if network == "tcp" {
		dialer.LocalAddr = &net.TCPAddr{IP: from}
	}
	socket, err := dialer.Dial(network, s.addr(network))
	if err != nil {
		return nil, 0, err
	}
	conn := &dns.Conn{Conn: socket}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, 0, err
	}
	conn.UDPSize = dns.MaxMsgSize
	if err := conn.WriteMsg(r); err != nil {
		return nil, 0, err
	}
	wire, err := conn.ReadMsgHeader(nil)
	if err != nil {
		return nil, 0, err
	}
	m = new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		return nil, len(wire), fmt.Errorf("unpacking the reply: %w", err)
	}
	if m.Id != r.Id || len(m.Question) != 1 || m.Question[0] != r.Question[0] {
		return nil, len(wire), fmt.Errorf("the reply to %d %v is to %d %v", r.Id, r.Question, m.Id, m.Question)
	}
	return m, len(wire), nil
}

// expect asks a question and compares the reply with want, which is in the
// notation of dnstext.
func (s *server) expect(t testing.TB, ctx dnstext.Context, question, want string) {
	t.Helper()
	reply, err := ctx.Parse(want)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := s.exchange("udp", ctx.Query(t, question))
	if err != nil {
		t.Fatalf("%s: %v", question, err)
	}
	if diff := reply.Diff(m); diff != "" {
		t.Errorf("%s: %s", question, diff)
	}
}

// eventually polls until done returns "", and fails with what it last returned
// if it never does.
func eventually(t testing.TB, done func() string) {
	t.Helper()
	why := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if why = done(); why == "" {
			return
		}
	}
	t.Fatalf("in vain for %v: %s", patience, why)
}

// put writes a file of a folder in one step.
func put(t testing.TB, dir, name, content string) {
	t.Helper()
	temp, err := os.CreateTemp(dir, ".put-*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := temp.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if err := temp.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp.Name(), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// logged is what the process has logged.
var logged logBuffer

type logBuffer struct {
	sync.Mutex
	b bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.b.Write(p)
}

// since returns what was logged after the first n octets, and how much that is
// with them.
func (l *logBuffer) since(n int) (string, int) {
	l.Lock()
	defer l.Unlock()
	return l.b.String()[n:], l.b.Len()
}

func TestMain(m *testing.M) {
	if corefile := os.Getenv(processEnv); corefile != "" {
		serveProcess(corefile)
	}
	log.SetOutput(&logged)
	code := m.Run()
	if text, _ := logged.since(0); strings.Contains(text, "Recovered from panic") || strings.Contains(text, "[PANIC]") {
		fmt.Fprintln(os.Stderr, "FAIL: a panic was logged:\n"+text)
		code = max(code, 1)
	}
	os.Exit(code)
}
