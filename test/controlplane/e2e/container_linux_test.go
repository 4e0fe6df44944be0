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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/test/controlplane/netns"
)

// container is a running clusterdns that sees what it would in its pod, and so
// needs no Corefile made for a test: a file system with the binary, /etc, the
// service account and /proc only, a network namespace in which its ports are free
// and the API server is behind the address of the kubernetes service, and no
// privilege but to bind port 53.
type container struct {
	netns.Namespace
	*netns.Process
	dns   string // where pods ask, in the namespace
	asked atomic.Int64
}

const (
	nonroot     = 65532 // the user of deploy/Dockerfile
	serviceHost = "10.96.0.1"
	// resolver is the nameserver of the container's resolv.conf.
	resolver = "192.0.2.53"
)

// shipped returns a copy of the binary that make build makes: static, so that it
// runs in an empty file system. The copy is on the file system of the containers,
// which have links to it.
var shipped = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "shipped")
	if made := os.Getenv("CLUSTERDNS_BINARY"); made != "" {
		text, err := os.ReadFile(made)
		return path, errors.Join(err, os.WriteFile(path, text, 0o755))
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./cmd/clusterdns")
	cmd.Dir = "../../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building clusterdns: %w\n%s", err, out)
	}
	return path, nil
})

// newContainer starts a container that has the folder files as /etc/coredns,
// its folder rootfs as /rootfs and its resolv.conf as /etc/resolv.conf, and waits until the URL ready says OK
// and the server listens at the address at; CoreDNS opens the port of ready a moment before its
// own. account is a folder of a service account's files. The container ends with the
// test, in order or the test fails.
func newContainer(t *testing.T, n netns.Namespace, files, account, at, ready string, env ...string) *container {
	t.Helper()
	bin, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	return runContainer(t, bin, n, files, account, at, ready, env...)
}

// runContainer is newContainer for the binary at the path bin.
func runContainer(t *testing.T, bin string, n netns.Namespace, files, account, at, ready string, env ...string) *container {
	t.Helper()
	root := t.TempDir()
	const secrets = "var/run/secrets/kubernetes.io/serviceaccount"
	copyTree := func(to, from string) error { return os.CopyFS(filepath.Join(root, to), os.DirFS(from)) }
	err := errors.Join(
		os.Link(bin, filepath.Join(root, "clusterdns")),
		copyTree("etc/coredns", files),
		copyTree(secrets, account),
		os.Chmod(filepath.Join(root, secrets, "token"), 0o444),
		os.Chmod(filepath.Join(root, secrets, "ca.crt"), 0o444),
		os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte("nameserver "+resolver+"\n"), 0o444),
		os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 localhost\n"), 0o444),
		os.Mkdir(filepath.Join(root, "proc"), 0o555),
	)
	if conf := filepath.Join(files, "resolv.conf"); exists(conf) { // the node's
		err = errors.Join(err, os.Remove(filepath.Join(root, "etc/resolv.conf")), os.Link(conf, filepath.Join(root, "etc/resolv.conf")))
	}
	if host := filepath.Join(files, "rootfs"); isDir(host) { // a volume of the host's
		err = errors.Join(err, copyTree("rootfs", host))
	}
	if err != nil {
		t.Fatal(err)
	}

	n.IP(t, "addr", "add", serviceHost+"/32", "dev", "lo")
	n.Relay(t, net.JoinHostPort(serviceHost, "443"), net.JoinHostPort(cluster.HostPort()))
	proc, err := n.Start(netns.Spec{
		Root: root,
		Args: []string{"/clusterdns", "-conf", "/etc/coredns/Corefile"},
		Env:  append(env, "KUBERNETES_SERVICE_HOST="+serviceHost, "KUBERNETES_SERVICE_PORT=443"),
		User: nonroot,
		Log:  filepath.Join(root, "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	c := &container{Namespace: n, Process: proc, dns: at}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Errorf("clusterdns: %v", err)
		}
		if t.Failed() {
			t.Log(c.LogTail())
		}
	})
	wait(t, ready, func() error {
		select {
		case <-c.Exited:
			t.Fatalf("clusterdns has ended: %v", c.Err())
		default:
		}
		err := c.get(ready, "OK")
		if err == nil {
			_, err = c.exchange("udp", "", question{"cluster.local.", dns.TypeSOA})
		}
		return err
	})
	return c
}

// laneWarning returns the line of the log that says that there is no fast lane
// although the Corefile allows it, or "".
func (c *container) laneWarning() (string, error) {
	text, err := os.ReadFile(c.Log)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "[WARNING] plugin/clusterdns: No fast lane") {
			return line, err
		}
	}
	return "", err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// get requires status 200 and a body that has text.
func (c *container) get(url, text string) error {
	body, err := c.fetch(url)
	if err == nil && !strings.Contains(body, text) {
		err = fmt.Errorf("%s has no %q: %.300s", url, text, body)
	}
	return err
}

// fetch returns the body that comes with status 200.
func (c *container) fetch(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(_ context.Context, network, addr string) (net.Conn, error) { return c.Dial(network, "", addr) },
	}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s, want 200: %.300s", url, resp.Status, body)
	}
	return string(body), err
}

// exchange asks a question from an address of the namespace, "" for any.
func (c *container) exchange(network, local string, q question) (*dns.Msg, error) {
	conn, err := c.Dial(network, local, c.dns)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	c.asked.Add(1)
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	m.SetEdns0(dns.DefaultMsgSize, false)
	r, _, err := (&dns.Client{Timeout: 5 * time.Second}).ExchangeWithConn(m, &dns.Conn{Conn: conn})
	return r, err
}

// is requires the answer, as server.is does, from any server: what was
// forwarded is not authoritative.
func (c *container) is(t *testing.T, local string, q question, want string) {
	t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		r, err := c.exchange(network, local, q)
		got := ""
		if err != nil {
			got = "error: " + err.Error()
		} else {
			got = reply(q, r)
		}
		if got != want {
			t.Errorf("%v over %s from %q:\n%s\nwant:\n%s", q, network, local, got, want)
		}
	}
}

// reply returns a reply as text, as server.ask does.
func reply(q question, r *dns.Msg) string {
	if r.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[r.Rcode]
	}
	return cmp.Or(records(q, r), nodata)
}

// resolvers answers for the outside world: at each address, the records of a
// zone file.
type resolvers struct {
	records map[string][]dns.RR // by the address that is asked
	silent  atomic.Bool
	delay   atomic.Int64 // nanoseconds before a reply
	soa     bool         // replies without records have one, so that they can be cached
	udp     atomic.Int64 // questions over UDP
	tcp     atomic.Int64
}

// newResolvers starts resolvers on port 53 of the addresses in zones, in a
// namespace of theirs that is all the outside world that n has.
func newResolvers(t *testing.T, n netns.Namespace, zones map[string]string) *resolvers {
	t.Helper()
	outside := netns.New(t)
	n.Connect(t, outside, "outside", []string{"169.254.1.2/30"}, []string{"169.254.1.1/30"})
	n.IP(t, "route", "add", "default", "via", "169.254.1.1")
	r := &resolvers{records: map[string][]dns.RR{}}
	for addr, text := range zones {
		parser := dns.NewZoneParser(strings.NewReader(text), ".", "")
		for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
			r.records[addr] = append(r.records[addr], rr)
		}
		if err := parser.Err(); err != nil {
			t.Fatal(err)
		}
		outside.IP(t, "addr", "add", addr+"/32", "dev", "lo")
		udp, tcp := outside.Listen(t, net.JoinHostPort(addr, "53"))
		for _, s := range []*dns.Server{{PacketConn: udp, Handler: r}, {Listener: tcp, Handler: r}} {
			up := make(chan struct{})
			s.NotifyStartedFunc = func() { close(up) }
			go s.ActivateAndServe()
			<-up
			t.Cleanup(func() { s.Shutdown() })
		}
	}
	return r
}

func (r *resolvers) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	if r.silent.Load() {
		return
	}
	count := &r.tcp
	if w.LocalAddr().Network() == "udp" {
		count = &r.udp
	}
	count.Add(1)
	time.Sleep(time.Duration(r.delay.Load()))
	host, _, _ := net.SplitHostPort(w.LocalAddr().String()) // of a socket
	q := query.Question[0]
	m := new(dns.Msg).SetReply(query)
	m.Rcode = dns.RcodeNameError
	for _, rr := range r.records[host] {
		if !strings.EqualFold(rr.Header().Name, q.Name) {
			continue
		}
		m.Rcode = dns.RcodeSuccess
		if rr.Header().Rrtype == q.Qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	if r.soa && len(m.Answer) == 0 {
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Ns: ".", Mbox: ".", Minttl: 60}}
	}
	w.WriteMsg(m)
}
