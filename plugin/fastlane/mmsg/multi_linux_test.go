package mmsg

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBatch checks that what waits comes in one Recv, and its replies go in
// one Flush, each to its own peer.
func TestBatch(t *testing.T) {
	udp, c := listen(t, newMulti, "udp", ":0")
	const size = 8
	b := NewBatch(size, 64)
	var clients []*net.UDPConn
	for i := range size + 2 {
		cl := client(t, []string{"127.0.0.1", "127.0.0.2", "::1"}[i%3], udp)
		send(t, cl, []byte{byte(i)})
		clients = append(clients, cl)
	}
	for _, want := range []int{size, 2} {
		n, err := c.Recv(b)
		if n != want || err != nil {
			t.Fatalf("Recv: %d, %v, want %d", n, err, want)
		}
		for i := n - 1; i >= 0; i-- { // Replies need not come in order.
			b.Reply(i, b.Payload(i))
		}
		if sent, err := c.Flush(b); sent != n || err != nil {
			t.Fatalf("Flush: %d, %v", sent, err)
		}
	}
	for i, cl := range clients {
		expect(t, cl, string([]byte{byte(i)}))
	}
}

// TestSharedBatch uses one batch with two sockets, of which one says local
// addresses and the other does not.
func TestSharedBatch(t *testing.T) {
	wild, cWild := listen(t, newMulti, "udp", ":0")
	one, cOne := listen(t, newMulti, "udp", "127.0.0.1:0")
	b := NewBatch(2, 64)
	for _, test := range []struct {
		udp *net.UDPConn
		c   *Conn
	}{{wild, cWild}, {one, cOne}, {wild, cWild}, {one, cOne}} {
		cl := client(t, "127.0.0.1", test.udp)
		send(t, cl, []byte("question"))
		if _, err := test.c.Recv(b); err != nil {
			t.Fatal(err)
		}
		if got, want := b.Local(0).IsValid(), test.udp == wild; got != want {
			t.Errorf("local address %v of socket %v", b.Local(0), test.udp.LocalAddr())
		}
		b.Reply(0, []byte("answer"))
		if _, err := test.c.Flush(b); err != nil {
			t.Error(err)
		}
		expect(t, cl, "answer")
	}
}

// TestOtherControlMessages checks that a control message that is not ours is
// not sent back.
func TestOtherControlMessages(t *testing.T) {
	udp, c := listen(t, newMulti, "udp4", "0.0.0.0:0")
	setsockopt(t, udp, unix.SOL_SOCKET, unix.SO_TIMESTAMP, 1)
	setsockopt(t, udp, unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
	cl := client(t, "127.0.0.1", udp)
	send(t, cl, []byte("question"))
	b := NewBatch(2, 64)
	if _, err := c.Recv(b); err != nil {
		t.Fatal(err)
	}
	if b.Local(0).IsValid() {
		t.Errorf("local address %v, of no IP_PKTINFO", b.Local(0))
	}
	b.Reply(0, []byte("answer"))
	if sent, err := c.Flush(b); sent != 1 || err != nil {
		t.Errorf("Flush: %d, %v", sent, err)
	}
	expect(t, cl, "answer")
}

// TestFullSendBuffer fills the queue of a socket pair, which unlike a UDP socket
// on the loopback becomes full: what does not fit waits for flushWait, and is
// sent if there is room before.
func TestFullSendBuffer(t *testing.T) {
	for _, drained := range []bool{false, true} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		const queued = 1024 // More than the send buffer has room for.
		b := NewBatch(queued, 64)
		m := &b.sys
		for q := range queued {
			m.sendIov[q].Base = &[]byte{byte(q)}[0]
			m.sendIov[q].SetLen(1)
		}
		m.queued = queued
		read := make(chan int)
		if drained {
			go func() {
				n := 0
				for buf := make([]byte, 8); n < queued; n++ {
					if _, err := unix.Read(fds[1], buf); err != nil || buf[0] != byte(n) {
						t.Errorf("datagram %d: %v, %v", n, buf[0], err)
						break
					}
				}
				read <- n
			}()
		}
		start := time.Now()
		m.sendmmsg(uintptr(fds[0]))
		if drained {
			if m.n != queued || m.errno != 0 {
				t.Errorf("sent %d of %d, %v, to a reader", m.n, queued, m.errno)
				unix.Shutdown(fds[0], unix.SHUT_RDWR)
			}
			if n := <-read; n != queued {
				t.Errorf("read %d of %d", n, queued)
			}
		} else if m.n == 0 || m.n == queued || m.errno != unix.EAGAIN || time.Since(start) < flushWait {
			t.Errorf("sent %d of %d, %v, to nobody, in %v", m.n, queued, m.errno, time.Since(start))
		}
		unix.Close(fds[0])
		unix.Close(fds[1])
	}
}

// TestNoAllocs checks that a round allocates nothing, on sockets of both
// families, with and without local addresses.
func TestNoAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, test := range []struct{ network, listen, asked string }{
		{"udp", ":0", "127.0.0.1"},
		{"udp", ":0", "::1"},
		{"udp4", "0.0.0.0:0", "127.0.0.1"},
		{"udp", "127.0.0.1:0", "127.0.0.1"},
		{"udp", "[::1]:0", "::1"},
	} {
		udp, c := listen(t, newMulti, test.network, test.listen)
		cl := client(t, test.asked, udp)
		b := NewBatch(4, 64)
		question, answer, buf := []byte("question"), []byte("answer"), make([]byte, 64)
		var failed error
		allocs := testing.AllocsPerRun(200, func() {
			for range 2 {
				if _, err := cl.Write(question); err != nil {
					failed = err
				}
			}
			n, err := c.Recv(b)
			if n != 2 || err != nil {
				t.Fatalf("Recv: %d, %v", n, err)
			}
			for i := range n {
				if !b.Peer(i).IsValid() || b.Truncated(i) || b.Local(i) == b.Peer(i).Addr().Prev() {
					failed = net.ErrClosed
				}
				b.Reply(i, answer)
			}
			if sent, err := c.Flush(b); sent != 2 || err != nil {
				failed = err
			}
			for range 2 {
				if _, err := cl.Read(buf); err != nil {
					failed = err
				}
			}
		})
		if failed != nil {
			t.Fatal(failed)
		}
		if allocs != 0 {
			t.Errorf("%s %s: %v allocations in a round, want 0", test.network, test.listen, allocs)
		}
	}
}
