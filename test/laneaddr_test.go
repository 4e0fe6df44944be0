package test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/test/dnstext"
	"github.com/clusterdns/clusterdns/test/freeport"

	"github.com/miekg/dns"
)

// TestLaneAddresses asks from and at several of this host's addresses. The
// sockets are connected, so that a reply from another address than the one that
// was asked would not arrive. The plugin whoami tells what the chain takes the
// client's address and port for.
func TestLaneAddresses(t *testing.T) {
	needLane(t)
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	type pair struct{ from, to string }
	all := []pair{{"127.0.0.1", "127.0.0.1"}, {"127.0.0.3", "127.0.0.2"}, {"127.0.0.2", "127.0.0.2"}, {"::1", "::1"}}
	v6 := all[3:]
	for _, row := range []struct {
		name    string
		plugins string
		lanes   []string // hosts of the addresses that have one
		asks    []pair
		silent  []string // addresses that are not the server's
	}{
		{"every address", "", []string{""}, all, nil},
		{"every address, several sockets", "multisocket 3", []string{""}, all, nil},
		{"every address, as IPv4 has it", "bind 0.0.0.0", []string{"0.0.0.0"}, all, nil},
		{"every address, as IPv6 has it", "bind ::", []string{"::"}, all, nil},
		{"one", "bind 127.0.0.2", []string{"127.0.0.2"}, all[1:3], []string{"127.0.0.1", "::1"}},
		{"IPv6 alone", "bind ::1", []string{"::1"}, v6, []string{"127.0.0.1"}},
		{"several", "bind 127.0.0.1 127.0.0.2 ::1", []string{"127.0.0.1", "127.0.0.2", "::1"}, all, []string{"127.0.0.4"}},
		{"several, with several sockets", "bind 127.0.0.2 ::1\nmultisocket 2", []string{"127.0.0.2", "::1"}, append(all[1:3:3], v6...), []string{"127.0.0.1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			port := freeport.Of(t)
			start(t, fmt.Sprintf("cluster.local:%[1]s in-addr.arpa:%[1]s {\n%[2]s\nclusterdns {\nmanifests %[3]s\n}\n}\nwhoami.test:%[1]s {\n%[2]s\nwhoami\n}\n", port, row.plugins, dir))
			count := func() (c laneCounts) {
				for _, host := range row.lanes {
					addr := ":" + port
					if host != "" {
						addr = net.JoinHostPort(host, port)
					}
					l := laneAt(t, addr)
					if !l.open {
						t.Fatalf("no lane at %s", addr)
					}
					c.answered += l.answered
					c.declined += l.declined
				}
				return c
			}
			before := count()
			for _, p := range row.asks {
				for _, network := range []string{"udp", "tcp"} {
					askWhoami(t, network, p.from, net.JoinHostPort(p.to, port))
				}
			}
			eventually(t, func() string {
				c, n := count(), float64(2*len(row.asks))
				if c.answered-before.answered != n || c.declined-before.declined != n {
					return fmt.Sprintf("the lane answered %v and declined %v, of %v each", c.answered-before.answered, c.declined-before.declined, n)
				}
				return ""
			})
			for _, host := range row.silent {
				conn, err := net.Dial("tcp", net.JoinHostPort(host, port))
				if err == nil {
					conn.Close()
					t.Errorf("somebody listens at %s", host)
				}
				// The kernel says at once that nobody has the port.
				udp, err := net.Dial("udp", net.JoinHostPort(host, port))
				if err != nil {
					t.Fatal(err)
				}
				defer udp.Close()
				udp.SetDeadline(time.Now().Add(patience))
				if _, err := udp.Write([]byte("anybody?")); err != nil {
					t.Fatal(err)
				}
				if n, err := udp.Read(make([]byte, 1)); err == nil || err.(net.Error).Timeout() {
					t.Errorf("somebody receives at %s: %d, %v", host, n, err)
				}
			}
		})
	}
}

// askWhoami asks for a name that the lane answers and for one that it leaves to
// the plugin whoami.
func askWhoami(t *testing.T, network, from, to string) {
	t.Helper()
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	if network == "tcp" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	socket, err := dialer.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	_, local, _ := net.SplitHostPort(socket.LocalAddr().String())
	family := "A"
	if net.ParseIP(from).To4() == nil {
		family = "AAAA"
	}
	conn := &dns.Conn{Conn: socket}
	conn.SetDeadline(time.Now().Add(patience))
	for _, row := range []struct{ question, want string }{
		{"web.shop.svc A", "NOERROR aa rd\nweb.shop.svc A 10.96.0.10"},
		{"who.whoami.test. A", fmt.Sprintf("NOERROR aa rd\n;; additional\nwho.whoami.test. 0 %s %s\n_%s.who.whoami.test. 0 SRV 0 0 %s .",
			family, from, network, local)},
	} {
		want, err := dnstext.Cluster.Parse(row.want)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.WriteMsg(dnstext.Cluster.Query(t, row.question)); err != nil {
			t.Fatal(err)
		}
		m, err := conn.ReadMsg()
		if err != nil {
			t.Fatalf("%s from %s to %s over %s: %v", row.question, from, to, network, err)
		}
		if diff := want.Diff(m); diff != "" {
			t.Errorf("%s from %s to %s over %s: %s", row.question, from, to, network, diff)
		}
	}
}
