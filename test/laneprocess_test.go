package test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/test/dnstext"
	"github.com/clusterdns/clusterdns/test/freeport"

	"github.com/coredns/coredns/coremain"
	"github.com/miekg/dns"
)

// processEnv is the path of a Corefile that this binary is to serve, in the
// place of running tests.
const processEnv = "CLUSTERDNS_TEST_COREFILE"

// serveProcess is what cmd/clusterdns does. It ends with the test that started it.
func serveProcess(corefile string) {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	os.Args = []string{os.Args[0], "-conf", corefile}
	coremain.Run()
	os.Exit(0)
}

// process is a server in a process of its own.
type process struct {
	cmd   *exec.Cmd
	log   logBuffer
	ended chan struct{}
	err   error // after ended
}

// startProcess starts one, and waits until it has opened a lane or has said why
// not.
func startProcess(t *testing.T, corefile string) *process {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, "Corefile", corefile)
	p := &process{cmd: exec.Command(os.Args[0]), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), processEnv+"="+dir+"/Corefile")
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		stdin.Close()
		<-p.ended
		text, _ := p.log.since(0)
		for _, bad := range []string{"DATA RACE", "panic", "[PANIC]"} {
			if strings.Contains(text, bad) {
				t.Errorf("the process logged %q", bad)
			}
		}
		if t.Failed() {
			t.Log(text)
		}
	})
	eventually(t, func() string {
		text, _ := p.log.since(0)
		if !strings.Contains(strings.ToLower(text), "fast lane at") {
			return "the process has logged:\n" + text
		}
		return ""
	})
	return p
}

func (p *process) hasLane() bool {
	text, _ := p.log.since(0)
	return strings.LastIndex(text, "Fast lane at") > strings.LastIndex(text, "No fast lane at")
}

// terminate sends SIGTERM.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// wait waits for the end, which must be in order.
func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
		if p.err != nil {
			t.Errorf("the process ended: %v", p.err)
		}
	case <-time.After(patience):
		t.Fatal(errors.Join(errors.New("the process did not end"), p.cmd.Process.Kill()))
	}
}

// processCorefile is that of a server that goes on for a while after SIGTERM.
func processCorefile(t *testing.T, c laneServer, port, dir string, lameduck time.Duration) string {
	c.plugins += fmt.Sprintf("\nhealth 127.0.0.1:%s {\nlameduck %v\n}", freeport.Of(t), lameduck)
	return c.corefile(port, dir)
}

// TestLaneTerminates: after SIGTERM, all that is asked before health's lameduck
// is over is answered. The clients end well before, since a busy machine may be
// late to tell them.
func TestLaneTerminates(t *testing.T) {
	needLane(t)
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	port := freeport.Of(t)
	c := laneServer{lane: true}
	const lameduck, asked = 5 * time.Second, 2 * time.Second
	p := startProcess(t, processCorefile(t, c, port, dir, lameduck))
	if !p.hasLane() {
		t.Fatal("no lane")
	}
	l := newLaneClients(t, "127.0.0.1:"+port, c)
	l.start()
	l.more(50)
	before := [3]int64{l.udp.sent.Load(), l.kept.sent.Load(), l.fresh.sent.Load()}
	over := time.After(asked)
	p.terminate(t)
	select {
	case <-over:
	case <-p.ended:
		t.Error("the process ended before its lameduck was over")
	}
	l.end()
	p.wait(t)
	l.report()
	t.Logf("during lameduck: %d over UDP, %d over TCP kept, %d over TCP fresh",
		l.udp.sent.Load()-before[0], l.kept.sent.Load()-before[1], l.fresh.sent.Load()-before[2])
	if lost := l.lost(); lost != (lostCount{}) {
		t.Errorf("lost %+v", lost)
	}
}

// TestRollingReplacement starts a server at the address of another, which the
// same user may, and ends the first: under load, with the lane and without. The
// lane of the first loses nothing: the second has none before the first has
// ended. Without a lane, what is in a socket of CoreDNS's when it closes is lost,
// and so are its connections.
func TestRollingReplacement(t *testing.T) {
	needLane(t)
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	for name, c := range map[string]laneServer{"lane": {lane: true}, "chain": {stanza: "fastlane off"}} {
		t.Run(name, func(t *testing.T) {
			port := freeport.Of(t)
			first := startProcess(t, processCorefile(t, c, port, dir, time.Second))
			l := newLaneClients(t, "127.0.0.1:"+port, c)
			if !c.lane {
				l.patience = time.Second // which a lost query costs
			}
			l.start()
			l.more(20)
			for range 2 {
				second := startProcess(t, processCorefile(t, c, port, dir, time.Second))
				if first.hasLane() != c.lane || second.hasLane() {
					t.Errorf("lanes: %v, then %v", first.hasLane(), second.hasLane())
				}
				l.more(20)
				first.terminate(t)
				first.wait(t)
				eventually(t, func() string {
					if second.hasLane() != c.lane {
						return "the second has no lane"
					}
					return ""
				})
				l.more(20)
				first = second
			}
			l.end()
			l.report()
			// What a connection has on its way that never pauses is lost when the
			// stream's time is over.
			if lost := l.lost(); c.lane && lost.udp+lost.fresh > 0 {
				t.Errorf("lost %+v", lost)
			}
			r := dnstext.Cluster.Query(t, "web.shop.svc A")
			for range 20 { // at new ports, for the kernel's hash
				m, err := exchangeOnce("udp", l.addr, r)
				if err != nil || len(m.Answer) != 1 {
					t.Errorf("afterwards: %v, %v", m, err)
				}
			}
		})
	}
}

func exchangeOnce(network, addr string, r *dns.Msg) (*dns.Msg, error) {
	c := dns.Client{Net: network, Timeout: patience}
	m, _, err := c.Exchange(r, addr)
	return m, err
}
