package fastlane

import (
	"errors"
	"sync"
	"testing"

	"github.com/coredns/coredns/plugin/pkg/reuseport"
	"github.com/miekg/dns"
)

// beside opens as many sockets and listeners as multisocket would in another
// process at s's address, and has them answer.
func (s *standIn) beside(t *testing.T, sockets int) {
	t.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) { w.WriteMsg(new(dns.Msg).SetReply(r)) })
	for range sockets {
		pc, err := reuseport.ListenPacket("udp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		l, err := reuseport.Listen("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, server := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: l, Handler: handler, MaxTCPQueries: -1}} {
			started := make(chan struct{})
			server.NotifyStartedFunc = func() { close(started) }
			var done sync.WaitGroup
			done.Go(func() { server.ActivateAndServe() })
			<-started
			t.Cleanup(func() { server.Shutdown(); done.Wait() })
		}
	}
}

// TestHandOver closes a lane, and after it CoreDNS's sockets with whatever they
// hold, while another process's stand behind them: nothing is lost.
func TestHandOver(t *testing.T) {
	for _, row := range []struct {
		name    string
		host    string
		sockets int  // of the other process
		lane    bool // it has one
	}{
		{"one socket", "127.0.0.1", 1, false},
		{"at every address", "", 1, false},
		{"of IPv6", "::1", 1, false},
		{"several sockets", "127.0.0.1", 3, false},
		{"a lane", "127.0.0.1", 1, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			for range 5 {
				s := newCoreDNS(t, row.host)
				l := s.lane(t, newFake())
				ends := []func() (int64, map[string]int64){
					s.load(t, "udp", 2, numbered(4, "lane", "chain")...),
					s.load(t, "tcp", 1, numbered(4, "lane", "chain")...),
				}
				s.beside(t, row.sockets)
				if row.lane {
					s.lane(t, newFake(), func(c *Config, _ *Options) { c.Others = 2 })
				}
				if n := Strangers(s.addr, 1); n < row.sockets {
					t.Errorf("%d strangers, want %d", n, row.sockets)
				}
				closeLane(t, l)
				if err := errors.Join(s.udp[0].Close(), s.tcp[0].Close()); err != nil {
					t.Fatal(err)
				}
				for range 20 {
					for _, network := range []string{"udp", "tcp"} {
						host := row.host
						if host == "" {
							host = "127.0.0.1"
						}
						if _, err := s.client(t, network, host).ask("after"); err != nil {
							t.Error(err)
						}
					}
				}
				for _, end := range ends {
					sent, by := end()
					if answered := by["lane"] + by["chain"] + by["coredns"]; answered != sent || sent == 0 {
						t.Errorf("%d queries, %v", sent, by)
					}
				}
			}
		})
	}
}

// A lane that closes because CoreDNS's sockets have changed gives nothing away:
// nobody knows where others stand.
func TestNoHandOver(t *testing.T) {
	s := newCoreDNS(t, "127.0.0.1")
	l := s.lane(t, newFake())
	if taken, err := l.handOver(t.Context()); taken || err != nil {
		t.Errorf("to nobody: %v, %v", taken, err)
	}
	s.beside(t, 1)
	l.Shifted()
	if taken, err := l.handOver(t.Context()); taken || err != nil {
		t.Errorf("shifted: %v, %v", taken, err)
	}
}
