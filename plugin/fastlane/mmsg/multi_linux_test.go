package mmsg

import (
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBatch checks that what waits comes in one Recv, and its replies go in
// one Flush, each to its own peer.
func TestBatch(t *testing.T) {
	c := listen(t, newMulti, "udp", ":0")
	const size = 8
	b := NewBatch(size, 64)
	var clients []*net.UDPConn
	for i := range size + 2 {
		cl := client(t, []string{"127.0.0.1", "127.0.0.2", "::1"}[i%3], c)
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
	wild := listen(t, newMulti, "udp", ":0")
	one := listen(t, newMulti, "udp", "127.0.0.1:0")
	b := NewBatch(2, 64)
	for _, c := range []*Conn{wild, one, wild, one} {
		cl := client(t, "127.0.0.1", c)
		send(t, cl, []byte("question"))
		if _, err := c.Recv(b); err != nil {
			t.Fatal(err)
		}
		if got, want := b.Local(0).IsValid(), c == wild; got != want {
			t.Errorf("local address %v of socket %v", b.Local(0), c.LocalAddr())
		}
		b.Reply(0, []byte("answer"))
		if _, err := c.Flush(b); err != nil {
			t.Error(err)
		}
		expect(t, cl, "answer")
	}
}

// TestOtherControlMessages checks that a control message that is not ours is
// not sent back.
func TestOtherControlMessages(t *testing.T) {
	c := listen(t, newMulti, "udp4", "0.0.0.0:0")
	setsockopt(t, c, unix.SOL_SOCKET, unix.SO_TIMESTAMP, 1)
	setsockopt(t, c, unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
	cl := client(t, "127.0.0.1", c)
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

// TestFullSendBuffer fills socket pairs, which unlike UDP sockets on the
// loopback become full: the next one sends then, and when all are full the
// rest is lost, without waiting.
func TestFullSendBuffer(t *testing.T) {
	const pairs, queued = 3, 4096 // more than the send buffers have room for
	s := &multi{}
	var ends []int
	for range pairs {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.fds, ends = append(s.fds, fds[0]), append(ends, fds[1])
		defer unix.Close(fds[0])
		defer unix.Close(fds[1])
	}
	b := NewBatch(queued, 64)
	m := &b.sys
	for q := range queued {
		m.sendIov[q].Base = &[]byte{byte(q), byte(q >> 8)}[0]
		m.sendIov[q].SetLen(2)
	}
	sent, errno := s.sendmmsg(m.send)
	if sent == 0 || sent == queued || errno != unix.EAGAIN {
		t.Errorf("sent %d of %d, %v", sent, queued, errno)
	}
	// The first is full for good, as one with datagrams for a neighbour that
	// is gone; what the others have leaves.
	next := 0
	for i, fd := range ends {
		buf := make([]byte, 8)
		if i == 0 {
			continue
		}
		for n := 0; ; n++ {
			if _, err := unix.Read(fd, buf); err != nil {
				if n == 0 {
					t.Errorf("socket %d sent nothing", i)
				}
				break
			}
			next++
		}
	}
	if next == 0 || next >= sent {
		t.Errorf("all sockets but the first sent %d of %d", next, sent)
	}
	if sent, errno := s.sendmmsg(m.send[:10]); sent != 10 || errno != 0 {
		t.Errorf("beside a full socket: sent %d of 10, %v", sent, errno)
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
		c := listen(t, newMulti, test.network, test.listen)
		cl := client(t, test.asked, c)
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

// TestShares checks that a socket that always has something does not keep the
// others' datagrams waiting.
func TestShares(t *testing.T) {
	const sockets, room = 4, 8
	var all []*net.UDPConn
	var addrs []string
	for range sockets {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		all, addrs = append(all, pc.(*net.UDPConn)), append(addrs, pc.LocalAddr().String())
	}
	c, err := newConn(newMulti, all...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, addr := range addrs {
		cl, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		n := 100 // of a flood
		if i > 0 {
			n = 2
		}
		for range n {
			if _, err := cl.Write([]byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	b, got := NewBatch(room, 8), map[byte]int{}
	total := 0
	for total < 100+2*(sockets-1) {
		n, err := c.Recv(b)
		if err != nil {
			t.Fatal(err)
		}
		total += n
		for i := range n {
			got[b.Payload(i)[0]]++
		}
		if total == n { // the first batch
			for i := range byte(sockets) {
				if got[i] != room/sockets {
					t.Errorf("of %d datagrams %d are from socket %d", n, got[i], i)
				}
			}
		}
	}
	if got[0] != 100 {
		t.Errorf("received %v", got)
	}
}

// TestShed closes the first of two sockets, once nothing waits in it, while the
// Conn receives; the second goes on.
func TestShed(t *testing.T) {
	var sockets []*net.UDPConn
	var addrs []string
	for range 2 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		sockets, addrs = append(sockets, pc.(*net.UDPConn)), append(addrs, pc.LocalAddr().String())
	}
	c, err := NewConn(sockets...)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dial := func(at string) net.Conn {
		cl, err := net.Dial("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.Close() })
		cl.SetDeadline(time.Now().Add(patience))
		return cl
	}
	first, second := dial(addrs[0]), dial(addrs[1])
	first.Write([]byte("question"))
	if ok, err := c.Shed(); ok || err != nil {
		t.Errorf("with a datagram in it: %v, %v", ok, err)
	}
	b := NewBatch(4, 512)
	c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Recv(b); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	received := make(chan error)
	go func() {
		n, err := c.Recv(b)
		if n != 1 && err == nil {
			err = fmt.Errorf("%d datagrams", n)
		}
		received <- err
	}()
	if ok, err := c.Shed(); !ok || err != nil {
		t.Errorf("empty: %v, %v", ok, err)
	}
	if again, err := net.ListenPacket("udp", addrs[0]); err != nil {
		t.Errorf("the first socket is still there: %v", err)
	} else {
		again.Close()
	}
	second.Write([]byte("question"))
	if err := <-received; err != nil {
		t.Error(err)
	}
	b.Reply(0, []byte("answer"))
	if sent, err := c.Flush(b); sent != 1 || err != nil {
		t.Errorf("Flush: %d, %v", sent, err)
	}
}
