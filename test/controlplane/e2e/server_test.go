package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

// limit bounds whatever is waited for. It is for machines that do many other
// things at the same time; how long it took is logged.
const limit = 3 * time.Minute

// config says what is in a server's Corefile.
type config struct {
	stanza  []string // options of the stanza
	beside  string   // what is beside the stanza
	blocks  string   // more server blocks; $PORT is the port
	program program  // the zero value is clusterdns
}

// program is what can be run as a server.
type program struct {
	binary, plugin string
	prepare        func(*exec.Cmd) // before it is started; nil is nothing
}

// server is a running clusterdns.
type server struct {
	addr     string // of its DNS, UDP and TCP
	http     [3]string
	corefile string       // path
	log      string       // path of what it printed
	closed   atomic.Int64 // TCP connections that it closed before it answered
	program  program
	proc     *os.Process
	done     chan struct{} // closed when it has ended
	err      error         // how; read after done
}

// Indices of server.http, addresses.
const (
	health = iota
	ready
	metrics
)

// newServer starts a server that ends with the test, which fails if the server
// does not end in order.
func newServer(t *testing.T, c config) *server {
	t.Helper()
	s, err := startServer(t.TempDir(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(s.logTail())
		}
	})
	return s
}

// startServer starts a server with its files in dir, and does not wait for it.
func startServer(dir string, c config) (*server, error) {
	ports, err := freeAddrs(4)
	if err != nil {
		return nil, err
	}
	s := &server{
		addr:     ports[0],
		http:     [3]string(ports[1:]),
		corefile: filepath.Join(dir, "Corefile"),
		log:      filepath.Join(dir, "log"),
		program:  c.program,
	}
	if err := s.configure(c); err != nil {
		return nil, err
	}
	return s, s.run()
}

// run starts the server, again if it has ended.
func (s *server) run() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own descriptor
	cmd := exec.Command(cmp.Or(s.program.binary, binary), "-conf", s.corefile)
	cmd.Dir = filepath.Dir(s.corefile)
	cmd.Stdout, cmd.Stderr = log, log
	if s.program.prepare != nil {
		s.program.prepare(cmd)
	}
	ended, err := controlplane.StartChild(cmd)
	if err != nil {
		return fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	s.proc, s.done = cmd.Process, make(chan struct{})
	go func() {
		s.err = <-ended
		close(s.done)
	}()
	return nil
}

// outside is a zone that the server has from elsewhere than the cluster.
const outside = "outside.test."

// configure writes the Corefile.
func (s *server) configure(c config) error {
	_, port, _ := net.SplitHostPort(s.addr) // made by freeAddrs
	text := `.:$PORT {
	bind 127.0.0.1
	errors
	health ` + s.http[health] + `
	ready ` + s.http[ready] + `
	prometheus ` + s.http[metrics] + `
	` + cmp.Or(c.program.plugin, "clusterdns") + ` cluster.local in-addr.arpa ip6.arpa {
		` + strings.Join(c.stanza, "\n\t\t") + `
	}
	reload 2s 1s
	` + c.beside + `
}
` + outside + `:$PORT {
	bind 127.0.0.1
	errors
	hosts {
		192.0.2.53 db.` + outside + `
		2001:db8::53 db.` + outside + `
	}
}
` + c.blocks
	return os.WriteFile(s.corefile, []byte(strings.ReplaceAll(text, "$PORT", port)), 0o600)
}

// stop ends the server as Kubernetes does, and returns an error if that takes
// too long, its status is not 0, or it logged what it never should.
func (s *server) stop() error {
	if err := s.proc.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		return errors.Join(errors.New("clusterdns has not ended after SIGTERM"), s.proc.Kill())
	}
	if s.err != nil {
		return fmt.Errorf("clusterdns ended: %w", s.err)
	}
	for _, bad := range []string{"DATA RACE", "panic:", "[PANIC]"} {
		if strings.Contains(s.logged(), bad) {
			return fmt.Errorf("clusterdns logged %q", bad)
		}
	}
	return nil
}

func (s *server) logged() string {
	data, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func (s *server) logTail() string {
	lines := strings.Split(strings.TrimSpace(s.logged()), "\n")
	return fmt.Sprintf("--- %s\n%s", s.log, strings.Join(lines[max(0, len(lines)-25):], "\n"))
}

// get returns status and body of one of the server's HTTP endpoints.
func (s *server) get(ctx context.Context, endpoint int, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http[endpoint]+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func (s *server) checkReady(ctx context.Context) error {
	status, body, err := s.get(ctx, ready, "/ready")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("/ready: %d %s", status, body)
	}
	return err
}

// waitReady waits until the server is ready and listens. CoreDNS opens the ports
// of ready and of its other plugins a moment before its own.
func (s *server) waitReady(ctx context.Context) error {
	err := poll(func() error {
		if err := s.checkReady(ctx); err != nil {
			return err
		}
		_, err := dns.Exchange(new(dns.Msg).SetQuestion("cluster.local.", dns.TypeSOA), s.addr) // TCP comes before UDP
		return err
	})
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.logTail())
	}
	return err
}

// metric returns the sum of the metric's series that have all the labels, each
// given as name="value".
func (s *server) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	sum, err := s.readMetric(t.Context(), name, labels...)
	if errors.Is(err, errNoMetric) {
		t.Error(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return sum
}

var errNoMetric = errors.New("no metric")

// readMetric is metric where the server may not be listening for a moment, as
// during a reload.
func (s *server) readMetric(ctx context.Context, name string, labels ...string) (float64, error) {
	_, body, err := s.get(ctx, metrics, "/metrics")
	if err != nil {
		return 0, err
	}
	return sumOf(body, name, labels...)
}

// sumOf is the sum of a metric's series in what a server says of itself.
func sumOf(body, name string, labels ...string) (float64, error) {
	sum, found := 0.0, false
series:
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(rest, label) {
				continue series
			}
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' ')+1:len(rest)-1]), 64)
		if err != nil {
			return 0, fmt.Errorf("metric %q: %w", line, err)
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("%w %s%v", errNoMetric, name, labels)
	}
	return sum, nil
}

// pollInterval is short beside what is waited for, and long beside a query.
const pollInterval = 5 * time.Millisecond

// poll calls check until it returns nil, or until limit has passed.
func poll(check func() error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w", limit, err)
		}
		<-tick.C
	}
}

// wait polls and returns how long it took.
func wait(t *testing.T, what string, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	if err := poll(check); err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
	return time.Since(start)
}

// freeAddrs returns n loopback addresses whose ports nobody has.
func freeAddrs(n int) ([]string, error) {
	addrs, err := controlplane.FreePorts(n)
	for i, port := range addrs {
		addrs[i] = net.JoinHostPort("127.0.0.1", port)
	}
	return addrs, err
}
