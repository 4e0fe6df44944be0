package fastlane

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/fastlane/mmsg"
	"github.com/clusterdns/clusterdns/test/freeport"
	"github.com/coredns/coredns/plugin/pkg/reuseport"
)

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// asks is how often a test asks to see who answers.
const asks = 64

// standIn is CoreDNS's part: sockets as it opens them, which answer "coredns".
type standIn struct {
	addr, port string
	udp        []*net.UDPConn
	conns      []*mmsg.Conn // of udp, which they have taken over, once they answer
	tcp        []*net.TCPListener
}

// newStandIn opens a stand-in and has it answer.
func newStandIn(t *testing.T, host string, sockets int) *standIn {
	t.Helper()
	s := listenStandIn(t, host, sockets)
	for i := range sockets {
		c, err := mmsg.NewConn(s.udp[i])
		if err != nil {
			t.Fatal(err)
		}
		s.conns = append(s.conns, c)
		serveUDP(t, c, "coredns")
		serveTCP(t, s.tcp[i], "coredns")
	}
	return s
}

// listenStandIn opens as many sockets as multisocket would at host, and
// a listener beside each.
func listenStandIn(t *testing.T, host string, sockets int) *standIn {
	t.Helper()
	// Not one that the kernel chooses: of those that are shared it may give one
	// that a server of another process has.
	port := freeport.Of(t)
	s := &standIn{addr: net.JoinHostPort(host, port), port: port}
	for len(s.udp) < sockets {
		pc, err := reuseport.ListenPacket("udp", s.addr)
		if err != nil {
			t.Skipf("no socket at %s here: %v", host, err)
		}
		s.udp = append(s.udp, pc.(*net.UDPConn))
	}
	for len(s.tcp) < sockets {
		l, err := reuseport.Listen("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		s.tcp = append(s.tcp, l.(*net.TCPListener))
	}
	return s
}

// open opens the lane's sockets beside s, and has them closed.
func (s *standIn) open(t *testing.T, n int) *sockets {
	t.Helper()
	lane, err := openSockets(s.addr, len(s.udp), n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lane.Close() })
	return lane
}

// serveUDP answers every datagram with name, from the address that was asked,
// until the socket closes.
func serveUDP(t *testing.T, c *mmsg.Conn, name string) {
	t.Helper()
	var done sync.WaitGroup
	t.Cleanup(func() { c.Close(); done.Wait() })
	done.Go(func() {
		for b := mmsg.NewBatch(8, 512); ; {
			n, err := c.Recv(b)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			for i := range n {
				b.Reply(i, []byte(name))
			}
			if _, err := c.Flush(b); err != nil {
				t.Error(err)
			}
		}
	})
}

// serveTCP answers every connection with name, until the listener closes.
func serveTCP(t *testing.T, l *net.TCPListener, name string) {
	t.Helper()
	var done sync.WaitGroup
	t.Cleanup(func() { l.Close(); done.Wait() })
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			io.WriteString(c, name)
			c.Close()
		}
	})
}

// serveTCP answers every connection at the lane's listeners with "lane".
func (s *sockets) serveTCP(t *testing.T) {
	for _, l := range s.TCP {
		serveTCP(t, l, "lane")
	}
}

// dial connects to port at addr from a port of its own.
func dial(t *testing.T, network, addr, port string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(network, net.JoinHostPort(addr, port), patience)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask asks through c, connected, so that only a reply from the asked address
// arrives, and says who answered.
func ask(t *testing.T, c net.Conn) string {
	t.Helper()
	defer c.Close()
	buf := make([]byte, 64)
	if _, ok := c.(*net.UDPConn); ok {
		if _, err := c.Write([]byte("who?")); err != nil {
			t.Fatal(err)
		}
	}
	n, err := c.Read(buf)
	if err != nil {
		t.Fatalf("asking %v: %v", c.RemoteAddr(), err)
	}
	return string(buf[:n])
}

// wantAll checks that every question to each of the addresses, over UDP and
// TCP, is answered by who.
func (s *standIn) wantAll(t *testing.T, when, who string, asked []string) {
	t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		for _, addr := range asked {
			got := map[string]int{}
			for range asks {
				got[ask(t, dial(t, network, addr, s.port))]++
			}
			if got[who] != asks {
				t.Errorf("%s: of %d over %s to %s, answered by %v; want all by %s", when, asks, network, addr, got, who)
			}
		}
	}
}

func TestSteering(t *testing.T) {
	for _, test := range []struct {
		host  string
		asked []string
	}{
		{"", []string{"127.0.0.1", "127.0.0.2", "::1"}},
		{"0.0.0.0", []string{"127.0.0.1", "127.0.0.2"}},
		{"::", []string{"127.0.0.2", "::1"}},
		{"127.0.0.1", []string{"127.0.0.1"}},
		{"::1", []string{"::1"}},
	} {
		for _, others := range []int{1, 3} {
			for _, n := range []int{1, 2} {
				t.Run(fmt.Sprintf("%s/%d+%d", test.host, others, n), func(t *testing.T) {
					coredns := newStandIn(t, test.host, others)
					lane := coredns.open(t, n)
					for _, c := range lane.UDP {
						serveUDP(t, c, "lane")
					}
					lane.serveTCP(t)
					for range 2 {
						if err := lane.Steer(); err != nil {
							t.Fatal(err)
						}
						coredns.wantAll(t, "steered", "lane", test.asked)
						if err := lane.SteerAway(); err != nil {
							t.Fatal(err)
						}
						coredns.wantAll(t, "steered away", "coredns", test.asked)
					}
					if err := lane.Close(); err != nil {
						t.Fatal(err)
					}
					coredns.wantAll(t, "closed", "coredns", test.asked)

					// A second lane finds the group as the first did, and one
					// that is closed while steered leaves it to CoreDNS.
					lane = coredns.open(t, n)
					for _, c := range lane.UDP {
						serveUDP(t, c, "lane")
					}
					lane.serveTCP(t)
					if err := lane.Steer(); err != nil {
						t.Fatal(err)
					}
					coredns.wantAll(t, "steered again", "lane", test.asked)
					if err := lane.Close(); err != nil {
						t.Fatal(err)
					}
					coredns.wantAll(t, "closed while steered", "coredns", test.asked)
				})
			}
		}
	}
}

// TestSpread checks that datagrams go to all of the lane's sockets, and when
// steered away to all of CoreDNS's.
func TestSpread(t *testing.T) {
	coredns := newStandIn(t, "127.0.0.1", 1)
	lane := coredns.open(t, 3)
	for i, c := range lane.UDP {
		serveUDP(t, c, fmt.Sprint("lane ", i))
	}
	if err := lane.Steer(); err != nil {
		t.Fatal(err)
	}
	// One flow: a hash would give all of it to one socket. That random numbers
	// leave one of three out 200 times has a chance of 1 in 10^34.
	got := map[string]int{}
	for range 200 {
		got[ask(t, dial(t, "udp", "127.0.0.1", coredns.port))]++
	}
	if len(got) != 3 || got["coredns"] != 0 {
		t.Errorf("answered by %v, want each of three", got)
	}
}

// TestDrain checks that what waited at the lane when it was steered away from
// is still there to be served.
func TestDrain(t *testing.T) {
	for _, host := range []string{"", "127.0.0.1"} {
		coredns := newStandIn(t, host, 1)
		lane := coredns.open(t, 2)
		if err := lane.Steer(); err != nil {
			t.Fatal(err)
		}
		const waiting = 20
		var udp, tcp []net.Conn
		for range waiting {
			c := dial(t, "udp", "127.0.0.1", coredns.port)
			if _, err := c.Write([]byte("who?")); err != nil {
				t.Fatal(err)
			}
			udp = append(udp, c)
			tcp = append(tcp, dial(t, "tcp", "127.0.0.1", coredns.port))
		}
		if err := lane.SteerAway(); err != nil {
			t.Fatal(err)
		}
		coredns.wantAll(t, "steered away", "coredns", []string{"127.0.0.1"})
		for _, c := range lane.UDP {
			serveUDP(t, c, "lane")
		}
		lane.serveTCP(t)
		for _, c := range append(udp, tcp...) {
			buf := make([]byte, 64)
			n, err := c.Read(buf)
			if err != nil || string(buf[:n]) != "lane" {
				t.Errorf("%v waited at the lane and got %q, %v", c.RemoteAddr().Network(), buf[:n], err)
			}
			c.Close()
		}
	}
}

// TestStranger checks that the lane gets all when another process's socket is in
// the group first, and that all are answered when it and CoreDNS's sockets close
// before the lane's.
func TestStranger(t *testing.T) {
	coredns := newStandIn(t, "127.0.0.1", 2)
	lane, err := openSockets(coredns.addr, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range lane.UDP {
		serveUDP(t, c, "lane")
	}
	lane.serveTCP(t)
	if err := lane.Steer(); err != nil {
		t.Fatal(err)
	}
	coredns.wantAll(t, "steered", "lane", []string{"127.0.0.1"})
	for range 200 { // an address has another queue each time
		if err := lane.Steer(); err != nil {
			t.Fatal(err)
		}
		if who := ask(t, dial(t, "udp", "127.0.0.1", coredns.port)); who != "lane" {
			t.Fatalf("steered: answered by %s", who)
		}
	}
	if err := lane.SteerAway(); err != nil {
		t.Fatal(err)
	}
	coredns.wantAll(t, "steered away", "coredns", []string{"127.0.0.1"})
	for _, step := range []func() error{lane.Steer, lane.SteerAway, coredns.conns[0].Close, coredns.tcp[0].Close, lane.Steer, lane.SteerAway} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		for range asks {
			ask(t, dial(t, "udp", "127.0.0.1", coredns.port))
			ask(t, dial(t, "tcp", "127.0.0.1", coredns.port))
		}
	}
}

// TestOpenRefuses checks that no address is bound that CoreDNS does not hold.
func TestOpenRefuses(t *testing.T) {
	wild, one := newStandIn(t, "", 1), newStandIn(t, "127.0.0.1", 1)
	free := newStandIn(t, "127.0.0.1", 1)
	free.conns[0].Close()
	udpOnly := newStandIn(t, "127.0.0.1", 1)
	udpOnly.tcp[0].Close()
	// Of one whose listener is in a group, and whose UDP socket is not.
	exclusive := newStandIn(t, "127.0.0.1", 1)
	exclusive.conns[0].Close()
	alone, err := net.ListenPacket("udp", exclusive.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	for _, test := range []struct {
		what, addr string
		others, n  int
		want       string
	}{
		{"concrete beside a wildcard", "127.0.0.1:" + wild.port, 1, 1, "0 UDP sockets hold this address, expected 1"},
		{"wildcard beside a concrete", ":" + one.port, 1, 1, "0 UDP sockets hold this address, expected 1"},
		{"another concrete", "127.0.0.2:" + one.port, 1, 1, "0 UDP sockets hold this address, expected 1"},
		{"nobody there", free.addr, 1, 1, "0 UDP sockets hold this address, expected 1"},
		{"nobody there over TCP", udpOnly.addr, 1, 1, "0 TCP listeners hold this address, expected 1"},
		{"fewer than said", one.addr, 2, 1, "1 UDP sockets hold this address, expected 2"},
		{"not in a group", exclusive.addr, 1, 1, "address already in use"},
		{"no others", one.addr, 0, 1, "must be at least 1"},
		{"none of ours", one.addr, 1, 0, "must be at least 1"},
		{"no address", "127.0.0.1", 1, 1, "missing port"},
	} {
		lane, err := openSockets(test.addr, test.others, test.n)
		if err == nil {
			lane.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.what, err, test.want)
		}
	}
	// What failed has left nothing behind.
	for _, s := range []*standIn{wild, one} {
		s.wantAll(t, "refused", "coredns", []string{"127.0.0.1"})
	}
	if c, err := net.ListenPacket("udp", free.addr); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

func TestSteerClosed(t *testing.T) {
	lane := newStandIn(t, "127.0.0.1", 1).open(t, 1)
	lane.Close()
	if err := lane.Steer(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Steer after Close: %v, want net.ErrClosed", err)
	}
}
