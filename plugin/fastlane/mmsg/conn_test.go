package mmsg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// eachSystem runs f for every system.
func eachSystem(t *testing.T, f func(t *testing.T, newSystem makeSystem)) {
	for name, newSystem := range systems {
		t.Run(name, func(t *testing.T) { f(t, newSystem) })
	}
}

type makeSystem func([]*net.UDPConn, socket) (system, error)

// listen opens a socket at addr and its Conn.
func listen(t *testing.T, newSystem makeSystem, network, addr string) *Conn {
	t.Helper()
	pc, err := (&net.ListenConfig{}).ListenPacket(context.Background(), network, addr)
	if err != nil {
		t.Skipf("no %s socket at %s here: %v", network, addr, err)
	}
	c, err := newConn(newSystem, pc.(*net.UDPConn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// client returns a socket that sends to port at addr and takes datagrams from
// there only.
func client(t *testing.T, addr string, server *Conn) *net.UDPConn {
	t.Helper()
	port := server.LocalAddr().(*net.UDPAddr).Port
	c, err := net.Dial("udp", net.JoinHostPort(addr, fmt.Sprint(port)))
	if err != nil {
		t.Skipf("no way to %s here: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.UDPConn)
}

func send(t *testing.T, c *net.UDPConn, payload []byte) {
	t.Helper()
	if _, err := c.Write(payload); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c *net.UDPConn, want string) {
	t.Helper()
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if string(buf[:n]) != want {
		t.Errorf("client got %q, want %q", buf[:n], want)
	}
}

// TestAddresses asks sockets of every kind at every address they have. The
// clients are connected sockets: a reply from another address does not reach
// them.
func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		network, listen string
		asked           []string
		local           bool
	}{
		{"udp", ":0", []string{"127.0.0.1", "127.0.0.2", "::1"}, true},
		{"udp", "0.0.0.0:0", []string{"127.0.0.1", "127.0.0.2"}, true},
		{"udp", "[::]:0", []string{"127.0.0.2", "::1"}, true},
		{"udp4", "0.0.0.0:0", []string{"127.0.0.1", "127.0.0.2"}, true},
		{"udp6", "[::]:0", []string{"::1"}, true},
		{"udp", "127.0.0.2:0", []string{"127.0.0.2"}, false},
		{"udp", "[::1]:0", []string{"::1"}, false},
	} {
		for _, asked := range test.asked {
			t.Run(test.network+test.listen+"/"+asked, func(t *testing.T) {
				eachSystem(t, func(t *testing.T, newSystem makeSystem) {
					testAddress(t, newSystem, test.network, test.listen, asked, test.local)
				})
			})
		}
	}
}

func testAddress(t *testing.T, newSystem makeSystem, network, at, asked string, wantLocal bool) {
	c := listen(t, newSystem, network, at)
	cl := client(t, asked, c)
	b := NewBatch(4, 512)
	// Twice, as the kernel leaves its marks in the memory of a batch.
	for range 2 {
		send(t, cl, []byte("question"))
		n, err := c.Recv(b)
		if err != nil || n != 1 {
			t.Fatalf("Recv: %d, %v", n, err)
		}
		if got := string(b.Payload(0)); got != "question" || b.Truncated(0) {
			t.Errorf("received %q, truncated %v", got, b.Truncated(0))
		}
		if want := cl.LocalAddr().(*net.UDPAddr).AddrPort(); b.Peer(0) != want {
			t.Errorf("peer %v, want %v", b.Peer(0), want)
		}
		var want netip.Addr
		if wantLocal {
			want = netip.MustParseAddr(asked)
		}
		if b.Local(0) != want {
			t.Errorf("local %v, want %v", b.Local(0), want)
		}
		b.Reply(0, []byte("answer"))
		if sent, err := c.Flush(b); sent != 1 || err != nil {
			t.Errorf("Flush: %d, %v", sent, err)
		}
		expect(t, cl, "answer")
		if err := c.WriteTo([]byte("another"), b.Peer(0), b.Local(0)); err != nil {
			t.Error(err)
		}
		expect(t, cl, "another")
	}
}

// TestLinkLocal asks over an interface's link-local address, whose replies
// need the interface.
func TestLinkLocal(t *testing.T) {
	addr := linkLocal(t)
	eachSystem(t, func(t *testing.T, newSystem makeSystem) {
		testAddress(t, newSystem, "udp", ":0", addr, true)
		testAddress(t, newSystem, "udp", net.JoinHostPort(addr, "0"), addr, false)
	})
}

func linkLocal(t *testing.T) string {
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
				return p.Addr().WithZone(i.Name).String()
			}
		}
	}
	t.Skip("no link-local address here")
	return ""
}

// TestSizes receives datagrams around the size of a slot.
func TestSizes(t *testing.T) {
	eachSystem(t, func(t *testing.T, newSystem makeSystem) {
		c := listen(t, newSystem, "udp", "127.0.0.1:0")
		cl := client(t, "127.0.0.1", c)
		b := NewBatch(8, 64)
		full := bytes.Repeat([]byte("0123456789abcdef"), 8)
		sizes := []int{0, 1, 63, 64, 65, 128, 0, 12}
		for _, size := range sizes {
			send(t, cl, full[:size])
		}
		for at := 0; at < len(sizes); {
			n, err := c.Recv(b)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				size := sizes[at]
				at++
				if got := b.Payload(i); !bytes.Equal(got, full[:min(size, 64)]) || b.Truncated(i) != (size > 64) {
					t.Errorf("of %d octets received %q, truncated %v", size, got, b.Truncated(i))
				}
				b.Reply(i, full[:size])
			}
			if b.Queued() != n {
				t.Errorf("%d replies queued, want %d", b.Queued(), n)
			}
			if sent, err := c.Flush(b); sent != n || err != nil {
				t.Errorf("Flush: %d of %d, %v", sent, n, err)
			}
		}
		for _, size := range sizes {
			expect(t, cl, string(full[:size]))
		}
	})
}

// TestDroppedReplies checks that replies that were never flushed do not go out
// with those of the next batch.
func TestDroppedReplies(t *testing.T) {
	eachSystem(t, func(t *testing.T, newSystem makeSystem) {
		c := listen(t, newSystem, "udp", "127.0.0.1:0")
		cl := client(t, "127.0.0.1", c)
		b := NewBatch(1, 64)
		for _, answer := range []string{"dropped", "kept"} {
			send(t, cl, []byte("question"))
			if _, err := c.Recv(b); err != nil {
				t.Fatal(err)
			}
			b.Reply(0, []byte(answer))
		}
		if sent, err := c.Flush(b); sent != 1 || err != nil {
			t.Errorf("Flush: %d, %v", sent, err)
		}
		if sent, err := c.Flush(b); sent != 0 || err != nil {
			t.Errorf("Flush of nothing: %d, %v", sent, err)
		}
		expect(t, cl, "kept")
	})
}

// TestLostReply checks that a reply that cannot be sent takes none with it.
func TestLostReply(t *testing.T) {
	eachSystem(t, func(t *testing.T, newSystem makeSystem) {
		c := listen(t, newSystem, "udp", "127.0.0.1:0")
		cl := client(t, "127.0.0.1", c)
		b := NewBatch(5, 64)
		send(t, cl, []byte("question"))
		if _, err := c.Recv(b); err != nil {
			t.Fatal(err)
		}
		tooLong := make([]byte, 1<<16) // EMSGSIZE: more than an IPv4 packet has room for.
		for _, payload := range [][]byte{[]byte("one"), tooLong, []byte("two"), []byte("three"), tooLong} {
			b.Reply(0, payload)
		}
		if sent, err := c.Flush(b); sent != 3 || err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("Flush: %d, %v; want 3 and an error", sent, err)
		}
		for _, want := range []string{"one", "two", "three"} {
			expect(t, cl, want)
		}
	})
}

// TestPeerGone answers a peer whose port has been closed, which an ICMP error
// says, and goes on.
func TestPeerGone(t *testing.T) {
	eachSystem(t, func(t *testing.T, newSystem makeSystem) {
		c := listen(t, newSystem, "udp", "127.0.0.1:0")
		for _, f := range beforePeerGone {
			f(t, c)
		}
		gone, cl := client(t, "127.0.0.1", c), client(t, "127.0.0.1", c)
		toGone, b := NewBatch(2, 64), NewBatch(2, 64)
		send(t, gone, []byte("gone"))
		if n, err := c.Recv(toGone); n != 1 || err != nil {
			t.Fatalf("Recv: %d, %v", n, err)
		}
		gone.Close()
		for range 3 {
			for range 2 { // The second has to step over the error of the first.
				toGone.Reply(0, []byte("to nobody"))
				if sent, err := c.Flush(toGone); sent != 1 || err != nil {
					t.Errorf("Flush to a closed port: %d, %v", sent, err)
				}
			}
			send(t, cl, []byte("question"))
			n, err := c.Recv(b)
			if err != nil || n != 1 {
				t.Fatalf("Recv: %d, %v", n, err)
			}
			b.Reply(0, []byte("answer"))
			if sent, err := c.Flush(b); sent != 1 || err != nil {
				t.Errorf("Flush: %d, %v", sent, err)
			}
			expect(t, cl, "answer")
		}
	})
}

// TestDeadline checks that a passed read deadline is a timeout, and that the
// Conn goes on when it is lifted.
func TestDeadline(t *testing.T) {
	eachSystem(t, func(t *testing.T, newSystem makeSystem) {
		c := listen(t, newSystem, "udp", "127.0.0.1:0")
		b := NewBatch(2, 64)
		for _, deadline := range []time.Time{time.Unix(1, 0), time.Now().Add(time.Millisecond)} {
			if err := c.SetReadDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			n, err := c.Recv(b)
			var ne net.Error
			if n != 0 || !errors.As(err, &ne) || !ne.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Recv: %d, %v; want a timeout", n, err)
			}
		}
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		send(t, client(t, "127.0.0.1", c), []byte("question"))
		if n, err := c.Recv(b); n != 1 || err != nil {
			t.Errorf("Recv: %d, %v", n, err)
		}
	})
}

// TestClose checks that Close ends a Recv, and what comes after it.
func TestClose(t *testing.T) {
	eachSystem(t, func(t *testing.T, newSystem makeSystem) {
		c := listen(t, newSystem, "udp", "127.0.0.1:0")
		b := NewBatch(2, 64)
		send(t, client(t, "127.0.0.1", c), []byte("question"))
		if _, err := c.Recv(b); err != nil {
			t.Fatal(err)
		}
		b.Reply(0, []byte("answer"))

		done := make(chan error)
		go func() {
			_, err := c.Recv(NewBatch(2, 64))
			done <- err
		}()
		c.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Recv: %v, want net.ErrClosed", err)
		}
		if sent, err := c.Flush(b); sent != 0 || !errors.Is(err, net.ErrClosed) {
			t.Errorf("Flush: %d, %v, want net.ErrClosed", sent, err)
		}
		if err := c.WriteTo([]byte("answer"), netip.MustParseAddrPort("127.0.0.1:1"), netip.Addr{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("WriteTo: %v, want net.ErrClosed", err)
		}
	})
}

// TestConcurrent has several goroutines send what one receives, which itself
// sends too.
func TestConcurrent(t *testing.T) {
	eachSystem(t, func(t *testing.T, newSystem makeSystem) {
		c := listen(t, newSystem, "udp", ":0")
		const workers, questions = 4, 500
		type reply struct {
			payload []byte
			peer    netip.AddrPort
			local   netip.Addr
		}
		replies, done := make(chan reply), make(chan error, workers+1)
		go func() {
			defer close(replies)
			for b := NewBatch(8, 64); ; {
				n, err := c.Recv(b)
				if err != nil {
					done <- err
					return
				}
				for i := range n {
					if b.Payload(i)[0]%2 == 0 {
						b.Reply(i, b.Payload(i))
					} else {
						replies <- reply{bytes.Clone(b.Payload(i)), b.Peer(i), b.Local(i)}
					}
				}
				if _, err := c.Flush(b); err != nil {
					done <- err
					return
				}
			}
		}()
		for range workers {
			go func() {
				for r := range replies {
					if err := c.WriteTo(r.payload, r.peer, r.local); err != nil {
						done <- err
						return
					}
				}
				done <- net.ErrClosed
			}()
		}
		asked := make(chan error)
		for i := range workers {
			cl := client(t, fmt.Sprintf("127.0.0.%d", i+1), c)
			go func() {
				buf := make([]byte, 64)
				for q := range questions {
					want := []byte{byte(q), byte(i)}
					if _, err := cl.Write(want); err != nil {
						asked <- err
						return
					}
					if n, err := cl.Read(buf); err != nil || !bytes.Equal(buf[:n], want) {
						asked <- fmt.Errorf("got %x, %v, want %x", buf[:n], err, want)
						return
					}
				}
				asked <- nil
			}()
		}
		for range workers {
			if err := <-asked; err != nil {
				t.Error(err)
			}
		}
		c.Close()
		for range workers + 1 {
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
}

// TestPending checks that Pending sees what waits, even datagrams of nothing.
func TestPending(t *testing.T) {
	eachSystem(t, func(t *testing.T, newSystem makeSystem) {
		c := listen(t, newSystem, "udp", "127.0.0.1:0")
		n, err := c.Pending()
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if n != 0 || err != nil {
			t.Errorf("Pending: %d, %v, want 0", n, err)
		}
		cl := client(t, "127.0.0.1", c)
		send(t, cl, nil) // Over the loopback it is there when Write returns.
		one, err := c.Pending()
		if one <= 0 || err != nil {
			t.Errorf("Pending with one datagram: %d, %v", one, err)
		}
		send(t, cl, []byte("question"))
		if two, err := c.Pending(); two <= one || err != nil {
			t.Errorf("Pending with two datagrams: %d, %v, with one %d", two, err, one)
		}
		b := NewBatch(1, 64)
		for range 2 {
			if _, err := c.Recv(b); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := c.Pending(); n != 0 || err != nil {
			t.Errorf("Pending after all was received: %d, %v, want 0", n, err)
		}
		c.Close()
		if _, err := c.Pending(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Pending after Close: %v", err)
		}
	})
}
