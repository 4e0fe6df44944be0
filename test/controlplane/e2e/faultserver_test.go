package e2e

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// serverFaults are those of the servers' processes and configuration.
var serverFaults = []fault{
	{name: "killed (SIGKILL) and started again", stanza: direct, absent: "nobody answers until the server is started again and has listed",
		meet: func(tr *trial) { tr.crash() }},
	{name: "killed (SIGKILL) and started again while the API server is down", stanza: direct, absent: "nothing is known until the API server is back",
		meet: func(tr *trial) {
			tr.kill(tr.T)
			tr.crash()
			tr.hold(during(20*time.Second, 3*time.Second))
			tr.outage.start(tr.T)
		}},
	{name: "killed (SIGKILL) and started again while the API server is down, clusterdns with a snapshot", prepare: withSnapshot, stanza: direct, absent: "nobody answers until the servers are started again; then clusterdns knows what it knew, and is told nothing by the API server",
		meet: func(tr *trial) {
			ours := tr.peers[0]
			wait(tr.T, "a snapshot", func() error {
				if ours.metric(tr.T, "coredns_clusterdns_snapshot_saves_total") == 0 {
					return errors.New("there is none")
				}
				return nil
			})
			tr.kill(tr.T)
			tr.crash()
			for q, want := range tr.want { // the API server is not there to ask
				ours.becomes(tr.T, q, want)
			}
			tr.hold(during(20*time.Second, 3*time.Second))
			tr.outage.start(tr.T)
		}},
	{name: "reload with a broken Corefile", long: true, stanza: direct, meet: func(tr *trial) {
		tr.configure("ttl twelve")
		tr.hold(7 * time.Second) // it is looked at every 2 s, and a bit
		tr.configure()
		tr.hold(4 * time.Second)
	}},
	{name: "reload with another Corefile while the API server is down", stanza: direct, meet: func(tr *trial) {
		tr.kill(tr.T)
		tr.configure("ttl 12")
		tr.hold(during(20*time.Second, 7*time.Second))
		tr.outage.start(tr.T)
	}},
	{name: "upstream dead, one client asks 1,000 names of it a second", prepare: deadUpstream, meet: func(tr *trial) {
		tr.askOutside(net.IPv4(127, 0, 0, 2), 1000, during(20*time.Second, 4*time.Second))
	}},
	{name: "upstream dead, the client itself asks 1,000 names of it a second", prepare: deadUpstream, meet: func(tr *trial) {
		tr.askOutside(net.IPv4(127, 0, 0, 1), 1000, during(20*time.Second, 4*time.Second))
	}},
}

// withSnapshot has clusterdns keep a snapshot.
func withSnapshot(tr *trial, c *config) {
	if c.program.binary == "" {
		c.stanza = append(c.stanza, "snapshot "+tr.TempDir())
	}
}

// crash kills the servers and starts them again.
func (tr *trial) crash() {
	for _, p := range tr.taking() {
		tr.must(p.proc.Kill())
		<-p.done
		tr.must(p.run())
	}
}

// configure changes the Corefiles: more is in the stanza.
func (tr *trial) configure(more ...string) {
	for _, p := range tr.taking() {
		c := p.config
		c.stanza = append(c.stanza[:len(c.stanza):len(c.stanza)], more...)
		tr.must(p.server.configure(c))
	}
}

// deadUpstream has names outside passed on to somebody who never answers. Two
// questions besides are none of his: a type that the lane does not answer, and a
// name of the plugin hosts.
func deadUpstream(tr *trial, c *config) {
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	tr.must(err)
	tr.Cleanup(func() { nobody.Close() })
	c.beside = "hosts {\n192.0.2.54 gate.example.net\nfallthrough\n}\nforward . " + nobody.LocalAddr().String()
	tr.besides = map[question]string{
		{tr.space.fqdn("ip"), dns.TypeCAA}: nodata,
		a("gate.example.net."):             "A 192.0.2.54",
	}
}

// askOutside asks for names outside from an address, which is the other clients'
// or not, and does not wait for answers.
func (tr *trial) askOutside(from net.IP, rate int, d time.Duration) {
	var conns []net.Conn
	for _, p := range tr.taking() {
		for range 16 {
			server, err := net.ResolveUDPAddr("udp", p.addr)
			tr.must(err)
			conn, err := net.DialUDP("udp", &net.UDPAddr{IP: from}, server)
			tr.must(err)
			defer conn.Close()
			conns = append(conns, conn)
		}
	}
	half := len(conns) / 2
	start := time.Now()
	for sent := 0; time.Since(start) < d; tr.hold(time.Millisecond) {
		for ; sent < int(time.Since(start).Seconds()*float64(rate)); sent++ {
			msg, err := new(dns.Msg).SetQuestion(fmt.Sprintf("a%d.example.org.", sent), dns.TypeA).Pack()
			tr.must(err)
			for _, conn := range []net.Conn{conns[sent%half], conns[half+sent%half]} {
				conn.Write(msg) // what a server does not take is lost
			}
		}
	}
}
