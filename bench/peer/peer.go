// Package peer starts the servers that are compared and reads
// from the kernel what they use. It is for Linux.
package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/clusterdns/clusterdns/bench/question"
)

// Peer is a running server.
type Peer struct {
	*Process
	Config Config
	Addr   string // where it answers, UDP and TCP

	metrics string
}

// Start starts a peer and does not wait until it answers.
func Start(c Config) (*Peer, error) {
	if err := os.MkdirAll(filepath.Join(c.Dir, "db"), 0o755); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	free, err := FreePorts(4)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	p := ports{dns: free[0], health: free[1], ready: free[2], metrics: free[3]}
	file, content, command := c.configuration(p)
	if file != "" {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return nil, fmt.Errorf("starting %s: %w", c.Name, err)
		}
	}
	command = append([]string{"taskset", "-c", c.CPUs}, command...)
	env := slices.Clone(c.Env)
	if c.API != nil {
		env = append(env, "KUBERNETES_SERVICE_HOST="+c.API.Host, "KUBERNETES_SERVICE_PORT="+c.API.Port, "TOKEN="+c.API.Token)
		command = c.API.inPod(command)
	}
	process, err := Run(filepath.Join(c.Dir, "log"), c.Dir, env, c.Pair.Server.Command(command...)...)
	if err != nil {
		return nil, err
	}
	return &Peer{
		Process: process, Config: c,
		Addr: net.JoinHostPort(c.IP, strconv.Itoa(p.dns)), metrics: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.metrics)),
	}, nil
}

// inPod makes a command see token and CA where a pod has them: in a mount
// namespace of its own, with a file system in memory in the place of /run. The
// shell and unshare replace themselves by the command, so that its process id
// is the one that was started.
func (a *API) inPod(command []string) []string {
	const script = `run=$(readlink -f /var/run) && mount -t tmpfs tmpfs "$run" &&
d=/var/run/secrets/kubernetes.io/serviceaccount && mkdir -p $d && printf '%s' "$TOKEN" >$d/token && cp "$0" $d/ca.crt &&
exec "$@"`
	unshare := []string{"unshare", "--mount"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--map-root-user")
	}
	return append(append(unshare, "sh", "-c", script, a.CA), command...)
}

// retry is how long Await waits for a reply until it asks again. A server that
// starts may lose a question.
const retry = 200 * time.Millisecond

// Await waits until the peer answers q rightly, and returns how long after its
// start it did.
func (p *Peer) Await(ctx context.Context, q question.Question) (time.Duration, error) {
	var at time.Time
	err := p.Wait(ctx, time.Millisecond, p.Config.Name+" to answer "+q.Name, func() error {
		err := p.Ask(q, retry)
		at = time.Now()
		return err
	})
	return at.Sub(p.Started), err
}

// Ask asks a question once over UDP, and returns an error unless the answer is
// right and comes in time.
func (p *Peer) Ask(q question.Question, timeout time.Duration) error {
	conn, err := p.Config.Pair.Client.Dial("udp", p.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Type)
	r, _, err := (&dns.Client{Timeout: timeout}).ExchangeWithConn(m, &dns.Conn{Conn: conn})
	if err != nil {
		return err
	}
	return q.Check(r)
}

// Metric returns the sum of a metric of a CoreDNS over its labels.
func (p *Peer) Metric(ctx context.Context, name string) (sum float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.metrics+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
		return p.Config.Pair.Server.Dial(network, addr)
	}}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("metric %s of %s: %w", name, p.Config.Name, err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return 0, fmt.Errorf("metric %s of %s: %w", name, p.Config.Name, err)
	}
	family := families[name]
	if family == nil {
		return 0, fmt.Errorf("%s has no metric %s", p.Config.Name, name)
	}
	for _, m := range family.Metric {
		sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
	}
	return sum, nil
}

// Version returns what a binary says of itself in one line, with what the
// figures of NSD's Debian package need to be read with.
func Version(name, binary string) (string, error) {
	flag := map[string]string{"nsd": "-v", "knot": "-V"}[name]
	if flag == "" {
		flag = "-version"
	}
	out, err := exec.Command(binary, flag).CombinedOutput()
	text := string(out)
	if err != nil && name != "nsd" { // whose -v ends with status 1
		return "", fmt.Errorf("version of %s: %w\n%s", binary, err, text)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	version := lines[0]
	if len(lines) > 1 && name != "nsd" && name != "knot" { // CoreDNS: its version, then Go's
		version += ", " + strings.TrimRight(lines[1], ", ")
	}
	if name == "nsd" && strings.Contains(text, "--disable-recvmmsg") {
		version += ", built without recvmmsg"
	}
	return version, nil
}

// FreePorts returns ports that nobody listens on, neither UDP nor TCP, below
// those that outgoing connections have (from 32768 on).
func FreePorts(n int) ([]int, error) {
	var ports []int
	var err error
	for range 100 * n {
		port := 10000 + rand.IntN(9000)
		addr := net.JoinHostPort("", strconv.Itoa(port)) // all, IPv4 and IPv6
		tcp, err1 := net.Listen("tcp", addr)
		udp, err2 := net.ListenPacket("udp", addr)
		if err = errors.Join(err1, err2); err == nil && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
		if err1 == nil {
			tcp.Close()
		}
		if err2 == nil {
			udp.Close()
		}
		if len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("looking for free ports: %w", err)
}
