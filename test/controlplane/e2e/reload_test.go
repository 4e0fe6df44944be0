package e2e

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testReload reloads the Corefile, with the API server up and down, by the
// plugin reload and by signal, under load, with the fast lane open and for a
// while off. Nothing may be lost, and nothing listed anew.
//
// The plugin comes first: it does not work after a reload by signal
// (coredns/coredns#6263).
func (o *outage) testReload(t *testing.T) {
	server := o.server(t)
	lists := server.metric(t, "coredns_clusterdns_lists_total")
	goroutines := server.metric(t, "go_goroutines") // with open watches and no load, as at the end
	load := server.load(t, o.want)
	configure := func(options ...string) {
		t.Helper()
		if err := server.configure(o.config(options...)); err != nil {
			t.Fatal(err)
		}
	}
	ttl := func(want uint32) {
		t.Helper()
		took := wait(t, fmt.Sprintf("TTL %d", want), func() error {
			r, err := server.exchange("udp", a(o.space.fqdn("ip")))
			if err == nil && (len(r.Answer) != 1 || r.Answer[0].Header().Ttl != want) {
				err = fmt.Errorf("the answer is %v", r.Answer)
			}
			return err
		})
		t.Logf("TTL %d after %v", want, took)
	}
	ttl(5)
	configure("ttl 11") // the plugin looks every 2 s
	ttl(11)

	o.kill(t)
	load.more(500)
	configure("ttl 12")
	ttl(12)
	configure("ttl twelve")
	server.logs(t, "Corefile changed but reload failed", func() {})
	load.more(500)
	ttl(12)

	const complete = "Reloading complete"
	server.logs(t, complete, func() { configure("ttl 12") })
	signal := func() {
		if err := server.proc.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
	}
	server.logs(t, complete, signal)
	for i := range uint32(10) {
		configure(fmt.Sprintf("ttl %d", 20+i))
		server.logs(t, complete, signal)
		ttl(20 + i)
	}
	load.more(500)
	server.wantLane(t, true)
	configure("ttl 30", "fastlane off")
	server.logs(t, complete, signal)
	ttl(30)
	load.more(500)
	server.wantLane(t, false)
	configure("ttl 31")
	server.logs(t, complete, signal)
	ttl(31)
	load.more(500)
	server.wantLane(t, true)
	if now := server.metric(t, "coredns_clusterdns_lists_total"); now != lists {
		t.Errorf("reloads led to %v lists", now-lists)
	}
	if err := server.checkReady(t.Context()); err != nil {
		t.Error(err)
	}
	o.start(t)
	o.changes(t, "after-reload")(server)
	t.Logf("changes noticed %v after the API server was ready", time.Since(o.started))
	load.stop()

	// Instances that are replaced leave nothing running.
	wait(t, "goroutines to end", func() error {
		if now := server.metric(t, "go_goroutines"); now > goroutines+5 {
			return fmt.Errorf("%v after 10 reloads, %v before", now, goroutines)
		}
		return nil
	})
}

// wantLane requires that the fast lane is open, and answers, or that it is
// closed and does not. It is for Linux alone.
func (s *server) wantLane(t *testing.T, open bool) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	before := s.metric(t, "coredns_clusterdns_fastlane_answered_total")
	if _, err := s.exchange("udp", a("kubernetes.default.svc.cluster.local.")); err != nil {
		t.Error(err)
	}
	answered := s.metric(t, "coredns_clusterdns_fastlane_answered_total") - before
	is := s.metric(t, "coredns_clusterdns_fastlane_open") == 1
	t.Logf("the fast lane is open: %v, and has answered %v since", is, answered)
	if is != open || (answered > 0) != open {
		t.Errorf("the fast lane is open: %v, and answered %v; it is to be open: %v", is, answered, open)
	}
}

// logs waits until the server has logged text once more than before it did do.
func (s *server) logs(t *testing.T, text string, do func()) {
	t.Helper()
	before := strings.Count(s.logged(), text)
	do()
	took := wait(t, "the log", func() error {
		if strings.Count(s.logged(), text) == before {
			return errors.New("it does not have " + text)
		}
		return nil
	})
	t.Logf("%q after %v", text, took)
}

// TestTerminate ends servers as Kubernetes does: one in order, and one that
// waits for an API server that is not there.
func TestTerminate(t *testing.T) {
	for name, kubeconfig := range map[string]string{
		"in order": cluster.Kubeconfig(),
		"waiting":  newLink(t, cluster).cut().kubeconfig,
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, config{stanza: []string{"kubeconfig " + kubeconfig, "startup_timeout 1s"}})
			wait(t, "an answer", func() error {
				_, err := server.exchange("udp", a("kubernetes.default.svc.cluster.local."))
				return err
			})
			start := time.Now()
			if err := server.stop(); err != nil {
				t.Error(err)
			}
			t.Logf("ended with status 0 %v after SIGTERM", time.Since(start))
			if r, err := server.exchange("udp", a("cluster.local.")); err == nil {
				t.Errorf("answered afterwards: %v", r)
			}
		})
	}
}
