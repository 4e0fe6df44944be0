package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/procfs"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

// peer is a program to compare.
type peer struct {
	name, binary string
	ours         bool
	options      string // more of its stanza
}

// server is a running peer.
type server struct {
	peer
	addr    string // DNS, UDP and TCP
	metrics string // host and port
	proc    procfs.Proc
	dir     string
	kill    func()
}

// plain is a name that every world has; unrelated clients ask for it.
const plain = "kubernetes.default.svc.cluster.local."

// start starts p and returns when it answers. The process ends with kill, or
// with this one.
func (w *world) start(ctx context.Context, p peer) (*server, error) {
	ports, err := controlplane.FreePorts(2)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "hostile-")
	if err != nil {
		return nil, err
	}
	s := &server{peer: p, addr: "127.0.0.1:" + ports[0], metrics: "127.0.0.1:" + ports[1], dir: dir}
	corefile := fmt.Sprintf(`.:%s {
    bind 127.0.0.1
    errors
    prometheus %s
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig %s
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
        %s
    }
    forward . %s
}
`, ports[0], s.metrics, w.kubeconfig, p.options, w.deadUpstream())
	path := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(path, []byte(corefile), 0o600); err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(p.binary, "-conf", path)
	cmd.Stdout, cmd.Stderr = out, out
	ended, err := controlplane.StartChild(cmd)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	s.kill = sync.OnceFunc(func() {
		cmd.Process.Kill()
		<-ended
		os.RemoveAll(dir)
	})
	if s.proc, err = procfs.NewProc(cmd.Process.Pid); err != nil {
		s.kill()
		return nil, err
	}
	for {
		r, err := exchange("udp", s.addr, plain, dns.TypeA, time.Second)
		if err == nil && len(r.Answer) > 0 {
			return s, nil
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(out.Name())
			s.kill()
			return nil, fmt.Errorf("%s ended: %s", p.name, text)
		case <-ctx.Done():
			s.kill()
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// cpu returns the time that all threads of s have been on a CPU.
func (s *server) cpu() (time.Duration, error) {
	st, err := s.proc.Stat()
	return time.Duration(st.CPUTime() * float64(time.Second)), err
}

func (s *server) rss() (int, error) {
	st, err := s.proc.Stat()
	return st.ResidentMemory() >> 20, err
}

// metric returns the sum of the metric of that name over its labels.
func (s *server) metric(name string) (sum float64, err error) {
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + s.metrics + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		rest, ok := strings.CutPrefix(in.Text(), name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, in.Err()
}

func exchange(network, addr, name string, qtype uint16, timeout time.Duration) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(name, qtype).SetEdns0(1232, false)
	r, _, err := (&dns.Client{Net: network, Timeout: timeout, UDPSize: dns.MaxMsgSize}).Exchange(m, addr)
	return r, err
}

// unrelated asks for a plain name every 2 ms, each time from a socket of its
// own, until stop is called, which returns how many answers came, how many did
// not, and the longest that one took. An answer is missing after patience.
func (s *server) unrelated(patience time.Duration) (stop func() (asked, missing int, longest time.Duration)) {
	var mu sync.Mutex
	var asked, missing int
	var longest time.Duration
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var waiting sync.WaitGroup
		defer waiting.Wait()
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			waiting.Go(func() {
				start := time.Now()
				r, err := exchange("udp", s.addr, plain, dns.TypeA, patience)
				mu.Lock()
				defer mu.Unlock()
				asked++
				longest = max(longest, time.Since(start))
				if err != nil || len(r.Answer) == 0 {
					missing++
				}
			})
		}
	}()
	return func() (int, int, time.Duration) {
		close(done)
		<-ended
		return asked, missing, longest
	}
}
