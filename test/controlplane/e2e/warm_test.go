package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// testWarm restarts the server, ended or killed, while the API server is away: with
// a snapshot it answers at once what it knew, and says that this is stale, until the
// API server is back, and nothing is absent meanwhile.
func (o *outage) testWarm(t *testing.T) {
	for _, tc := range []struct {
		what    string
		killed  bool
		options []string
	}{
		{what: "ended"},
		{what: "killed, chain alone", killed: true, options: []string{"fastlane off"}},
	} {
		t.Run(tc.what, func(t *testing.T) { o.warm(t, tc.killed, tc.options...) })
	}
}

func (o *outage) warm(t *testing.T, killed bool, options ...string) {
	c := o.config(append(options, "ttl 30", "snapshot "+t.TempDir())...)
	first, err := startServer(t.TempDir(), c)
	if err != nil {
		t.Fatal(err)
	}
	err = first.waitReady(t.Context())
	if err == nil {
		err = poll(func() error {
			if n := first.metric(t, "coredns_clusterdns_snapshot_saves_total"); n == 0 {
				return fmt.Errorf("nothing is saved\n%s", first.logTail())
			}
			return nil
		})
	}
	var before uint32
	if err == nil {
		before = first.serial(t)
	}
	if killed {
		_ = first.proc.Kill()
		<-first.done
	} else if stopped := first.stop(); stopped != nil {
		t.Error(stopped)
	}
	if err != nil {
		t.Fatal(err)
	}

	o.kill(t)
	defer func() {
		if !t.Failed() {
			return
		}
		_ = o.APIServer.Start(t.Context()) // the next test finds it up
	}()
	q := a(o.space.fqdn("headless"))
	started := time.Now()
	server := newServer(t, c)
	wait(t, "an answer", func() error {
		m, err := server.exchange("udp", q)
		if err == nil && (len(m.Answer) == 0 || records(q, m) != o.want[q]) {
			t.Fatalf("the first answer is wrong: %v", m)
		}
		return err
	})
	t.Logf("the first right answer came %v after the start, without an API server", time.Since(started))
	for q, want := range o.want {
		server.is(t, q, want)
	}
	if err := server.checkReady(t.Context()); err != nil {
		t.Error(err)
	}
	if got := server.serial(t); int32(got-before) < 0 {
		t.Errorf("serial %d, before the restart it was %d", got, before)
	}
	for q := range o.want {
		if strings.HasSuffix(o.want[q], outside) || strings.Contains(o.want[q], "db."+outside) {
			continue // part of it is not ours
		}
		for _, network := range []string{"udp", "tcp"} {
			if err := server.told(network, q, true); err != nil {
				t.Error(err)
			}
		}
	}
	if n := server.metric(t, "coredns_clusterdns_stale_since_timestamp_seconds", `resource="services"`); n == 0 || n > float64(started.Unix()) {
		t.Errorf("metrics say that services are stale since %v", n)
	}
	wait(t, "the log to say that answers are stale", func() error {
		if !strings.Contains(server.logged(), "Answers from services of") {
			return errors.New(server.logTail())
		}
		return nil
	})
	if len(options) == 0 && server.metric(t, "coredns_clusterdns_fastlane_answered_total") == 0 {
		t.Error("the lane answered nothing")
	}

	load := server.load(t, o.want)
	o.start(t)
	o.changes(t, map[bool]string{false: "after-end", true: "after-kill9"}[killed])(server)
	for q := range o.want {
		for _, network := range []string{"udp", "tcp"} {
			if strings.Contains(o.want[q], "db."+outside) {
				continue
			}
			wait(t, "an answer that is not stale", func() error { return server.told(network, q, false) })
		}
	}
	load.stop()
	if got := server.serial(t); int32(got-before) <= 0 {
		t.Errorf("serial %d, before the restart and the changes it was %d", got, before)
	}
}

// told checks that an EDNS client is told that the answer is stale, and that it has
// a TTL to match, or neither.
func (s *server) told(network string, q question, stale bool) error {
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	m.SetEdns0(1232, false)
	c := dns.Client{Net: network, Timeout: 5 * time.Second}
	r, _, err := c.Exchange(m, s.addr)
	if err != nil {
		return err
	}
	var codes []uint16
	for _, o := range r.IsEdns0().Option {
		if ede, ok := o.(*dns.EDNS0_EDE); ok {
			codes = append(codes, ede.InfoCode)
		}
	}
	want, ttl := "[]", uint32(30)
	if stale {
		want, ttl = "[3]", 5
	}
	if got := fmt.Sprint(codes); got != want {
		return fmt.Errorf("%v over %s: Extended DNS Errors %s, want %s", q, network, got, want)
	}
	for _, rr := range append(r.Answer, r.Ns...) {
		if rr.Header().Ttl != ttl {
			return fmt.Errorf("%v over %s: TTL %d, want %d", q, network, rr.Header().Ttl, ttl)
		}
	}
	return nil
}
