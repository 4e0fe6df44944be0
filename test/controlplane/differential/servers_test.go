package differential

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

// program returns the path in the environment variable, which make sets to what
// it has built, or builds a command of the module in the folder of that name
// below the top of the repository.
func program(t *testing.T, variable, module, command string) string {
	t.Helper()
	if path := os.Getenv(variable); path != "" {
		return path
	}
	binary := filepath.Join(t.TempDir(), filepath.Base(command))
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", binary, command)
	cmd.Dir = filepath.Join("..", "..", "..", module)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", command, err, out)
	}
	return binary
}

// server is a process that serves every variant at a port of its own.
type server struct {
	name  string
	addrs map[string]string // by the variant's name
}

// serve starts a server and returns when it answers on every port. It ends with
// the test.
func serve(t *testing.T, binary, kubeconfig string) *server {
	t.Helper()
	s := &server{name: filepath.Base(binary), addrs: map[string]string{}}
	ports, err := controlplane.FreePorts(len(variants))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(conf, []byte(corefile(kubeconfig, ports)), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, "-conf", conf)
	cmd.Stdout, cmd.Stderr = log, log
	ended, err := controlplane.StartChild(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", binary, text[max(0, len(text)-3000):])
		}
	})
	for i, v := range variants {
		s.addrs[v.name] = "127.0.0.1:" + ports[i]
		s.await(t, v.name, "kubernetes.default.svc."+strings.TrimPrefix(v.zone, "."))
	}
	return s
}

// await asks for name's address until there is one.
func (s *server) await(t *testing.T, variant, name string) {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, dns.TypeA)
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		r, _, err := (&dns.Client{Timeout: time.Second}).Exchange(m, s.addrs[variant])
		if err == nil && len(r.Answer) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s, variant %s, has no address for %s: %v\n%v", s.name, variant, name, err, r)
		}
	}
}

// awaitChange waits until every variant has the last changes of a round.
func (s *server) awaitChange(t *testing.T, round int) {
	t.Helper()
	for _, v := range variants {
		switch last := fmt.Sprint(round) + ".shop.svc." + strings.TrimPrefix(v.zone, "."); v.name {
		case "noendpoints", "labels": // which have no such name
		case "narrow":
			s.await(t, v.name, "lately-"+last)
		case "multicluster":
			s.await(t, v.name, fmt.Sprintf("10-140-10-%d.c1.changed-%s", round, last))
		default:
			s.await(t, v.name, "changed-"+last)
		}
	}
}

// How long an answer is waited for: the first time, and once more. Stock sends
// none at all where the rules say so, which is why the first is short.
const (
	patience     = time.Second
	morePatience = 10 * time.Second
)

// ask asks a variant.
func (s *server) ask(variant string, q question, patience time.Duration) reply {
	c := &dns.Client{Timeout: patience, UDPSize: 65535}
	if q.tcp {
		c.Net = "tcp"
	}
	r, _, err := c.Exchange(q.message(), s.addrs[variant])
	return reduce(r, err)
}

func (q question) message() *dns.Msg {
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	if q.edns != nil {
		m.Extra = append(m.Extra, dns.Copy(q.edns))
	}
	if q.flags != nil {
		q.flags(m)
	}
	return m
}

// deadline bounds a whole run.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
