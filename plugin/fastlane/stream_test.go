//go:build linux

package fastlane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// short is a timeout that tests wait out.
const short = 100 * time.Millisecond

// words returns who has to answer names that begin with "lane" or "chain".
func words(names []string) []string {
	var all []string
	for _, n := range names {
		word, _, _ := strings.Cut(n, "-")
		all = append(all, word)
	}
	return all
}

// framed returns queries for names as one stream of octets, with IDs from 1.
func framed(names []string) (all []byte) {
	for i, name := range names {
		all = append(all, frame(query(uint16(i+1), name))...)
	}
	return all
}

// TestPipelined checks that queries in one write, in pieces and octet by octet
// are answered in their order, Responder's and chain's mixed.
func TestPipelined(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	s.lane(t, newFake())
	names := numbered(300, "lane", "lane", "chain", "lane", "chain", "chain")
	for _, piece := range []int{1 << 20, 4096, 1000, 37, 1} {
		names := names[:min(len(names), 60*piece)]
		c := s.client(t, "tcp", "127.0.0.1")
		var written sync.WaitGroup
		written.Go(func() {
			for p := range slices.Chunk(framed(names), piece) {
				if _, err := c.Write(p); err != nil {
					t.Error(err)
				}
			}
		})
		got, err := c.replies(1, names...)
		if err != nil || !slices.Equal(got, words(names)) {
			t.Errorf("in pieces of %d octets: %v, answered by %v", piece, err, got)
		}
		written.Wait()
	}
}

// TestStreams checks many connections with many queries on their way in each.
func TestStreams(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "")
	l := s.lane(t, newFake())
	const conns, rounds, flight = 64, 10, 16
	var all, open sync.WaitGroup
	open.Add(conns)
	for i := range conns {
		c := s.client(t, "tcp", []string{"127.0.0.1", "::1"}[i%2])
		all.Go(func() {
			for round := range rounds {
				names := numbered(flight, "lane", "chain", "lane")
				got, err := c.ask(names...)
				if err != nil || !slices.Equal(got, words(names)) {
					t.Errorf("%v, answered by %v", err, got)
				}
				if round == 0 {
					open.Done()
					open.Wait()
					if n := l.Stats().Streams; n != conns {
						t.Errorf("%d streams counted, want %d", n, conns)
					}
				}
			}
		})
	}
	all.Wait()
	for range conns {
		s.client(t, "tcp", "127.0.0.1").Close()
	}
	closeLane(t, l)
	if n := l.Stats().Streams; n != 0 {
		t.Errorf("%d streams counted after Close", n)
	}
}

// TestLongMessage checks that what a Responder may not be asked reaches the
// chain whole, and that what follows it is answered.
func TestLongMessage(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	padded := make(chan []byte, 1)
	f.seen = func(_ dns.ResponseWriter, r *dns.Msg) {
		padded <- r.IsEdns0().Option[0].(*dns.EDNS0_PADDING).Padding
	}
	s.lane(t, f)
	c := s.client(t, "tcp", "127.0.0.1")
	for _, size := range []int{MaxMessage, MaxMessage + 1, streamIn - 2, streamIn, streamIn + 1, dns.MaxMsgSize - 1} {
		m := new(dns.Msg).SetQuestion("chain.test.", dns.TypeA).SetEdns0(1232, false)
		option := &dns.EDNS0_PADDING{}
		m.IsEdns0().Option = append(m.IsEdns0().Option, option)
		// Pack's limit is 65,535 octets less the padding's own header.
		option.Padding = bytes.Repeat([]byte("fill"), size)[:size-m.Len()]
		m.Id = 2
		long, err := m.Pack()
		if err != nil || len(long) != size {
			t.Fatalf("%d octets, %v; want %d", len(long), err, size)
		}
		before, after := frame(query(1, "lane")), frame(query(3, "lane"))
		if _, err := c.Write(slices.Concat(before, frame(long), after)); err != nil {
			t.Fatal(err)
		}
		if got, err := c.replies(1, "lane", "chain", "lane"); err != nil || !slices.Equal(got, []string{"lane", "chain", "lane"}) {
			t.Fatalf("around %d octets: %v, answered by %v", size, err, got)
		}
		if got := <-padded; !bytes.Equal(got, option.Padding) {
			t.Errorf("of %d octets the chain saw a padding of %d, want %d", size, len(got), len(option.Padding))
		}
	}
}

// TestBigReply checks replies that are longer than what is sent at once.
func TestBigReply(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	s.lane(t, f)
	c := s.client(t, "tcp", "127.0.0.1")
	names := numbered(60, "lane", "big", "big", "chain")
	first, err := c.send(names...)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		msg, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		want := len(query(0, name))
		if strings.HasPrefix(name, "big") {
			want = bigReply
		}
		if id := binary.BigEndian.Uint16(msg); id != first+uint16(i) || len(msg) != want {
			t.Fatalf("reply %d to %s: ID %d, %d octets; want %d octets", i, name, id, len(msg), want)
		}
	}
}

// TestEmptyMessage checks that a message of no octets, or no header, gets no
// reply, as from CoreDNS, and does not end the connection.
func TestEmptyMessage(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	l := s.lane(t, newFake())
	check := func(from string) {
		c := s.client(t, "tcp", "127.0.0.1")
		if _, err := c.Write(slices.Concat(frame(nil), frame([]byte("short")), framed([]string{"lane"}), frame(nil))); err != nil {
			t.Fatal(err)
		}
		if got, err := c.replies(1, "lane"); err != nil || got[0] != from {
			t.Errorf("%v, answered by %v; want %s", err, got, from)
		}
		c.next++
		c.want(t, from, "lane")
	}
	check("lane")
	closeLane(t, l)
	check("coredns")
}

// ended waits for c to be closed by the server.
func (c *client) ended(t *testing.T, why string) {
	t.Helper()
	if msg, err := c.receive(); !isClosed(err) {
		t.Errorf("%s: got %x, %v; want the end", why, msg, err)
	}
}

// TestMaxTCPQueries checks that queries of both kinds count.
func TestMaxTCPQueries(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	const limit = 10
	s.lane(t, newFake(), func(c *Config, _ *Options) { c.MaxTCPQueries = limit })
	for _, kinds := range [][]string{{"lane"}, {"chain"}, {"lane", "chain"}, {"chain", "lane"}} {
		names := numbered(limit+3, kinds...)
		c := s.client(t, "tcp", "127.0.0.1")
		first, err := c.send(names...)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.replies(first, names[:limit]...); err != nil || !slices.Equal(got, words(names[:limit])) {
			t.Errorf("%v: %v, answered by %v", kinds, err, got)
		}
		c.ended(t, "after the last query that the limit allows")

		c = s.client(t, "tcp", "127.0.0.1")
		for _, name := range names[:limit] {
			c.want(t, words([]string{name})[0], name)
		}
		c.ended(t, "after as many, one by one")
	}
}

// TestReadTimeout checks that a connection ends when a message is not complete
// in time, however it is sent, the first one and a later one.
func TestReadTimeout(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	for _, test := range []struct {
		what       string
		read, idle time.Duration
		before     []string
	}{
		{"first", short, patience, nil},
		{"after the Responder's", patience, short, []string{"lane"}},
		{"after the chain's", patience, short, []string{"chain"}},
		{"after both", patience, short, []string{"chain", "lane"}},
	} {
		f := newFake()
		l := s.lane(t, f, func(c *Config, _ *Options) { c.ReadTimeout = test.read })
		// A timeout is that of the Program at the time.
		p := f.program()
		p.IdleTimeout = test.idle
		l.Swap(p)
		for what, rest := range map[string][]byte{
			"silent":                            nil,
			"trickling":                         frame(query(9, "lane")),
			"trickling a message for the chain": frame(make([]byte, 20_000)),
		} {
			start := time.Now()
			c := s.client(t, "tcp", "127.0.0.1")
			if len(test.before) > 0 {
				if _, err := c.ask(test.before...); err != nil {
					t.Fatal(err)
				}
			}
			gone := make(chan struct{})
			var writer sync.WaitGroup
			writer.Go(func() {
				for _, octet := range rest {
					select {
					case <-gone:
						return
					case <-time.After(short / 10):
					}
					c.Write([]byte{octet}) // fails once the server is gone
				}
			})
			c.ended(t, test.what+", "+what)
			close(gone)
			writer.Wait()
			if took := time.Since(start); took < short || took > patience/2 {
				t.Errorf("%s, %s: cut after %v, want %v", test.what, what, took, short)
			}
		}
		closeLane(t, l)
	}
}

// TestActiveStream checks that a connection is not cut while messages come
// within the idle timeout, whoever answers them.
func TestActiveStream(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	const timeout = 10 * short
	l := s.lane(t, f, func(c *Config, _ *Options) { c.ReadTimeout, c.WriteTimeout = timeout, timeout })
	p := f.program()
	p.IdleTimeout = timeout
	l.Swap(p)
	var all sync.WaitGroup
	for _, kinds := range [][]string{{"lane"}, {"chain"}, {"lane", "chain"}} {
		all.Go(func() {
			for range 20 {
				if s.asksNowAndThen(t, kinds, timeout) {
					return
				}
			}
			t.Errorf("%v: no client could ask in time", kinds)
		})
	}
	all.Wait()
}

// asksNowAndThen has a client ask for longer than an idle timeout. It is false if
// this machine held the client up for so long that it was idle.
func (s *standIn) asksNowAndThen(t *testing.T, kinds []string, timeout time.Duration) bool {
	conn, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		t.Error(err)
		return true
	}
	c := newClient(conn)
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	start := time.Now()
	for i, last := 0, start; last.Sub(start) < timeout*3/2; i++ {
		name := kinds[i%len(kinds)]
		got, err := c.ask(name)
		if err != nil && time.Since(last) > timeout/2 {
			return false
		}
		if err != nil || got[0] != name {
			t.Errorf("%v: %v after %v, answered by %v", kinds, err, time.Since(start), got)
			return true
		}
		last = time.Now()
		time.Sleep(short)
	}
	return true
}

// TestSlowChain checks that a reply of the chain that takes longer than the
// write timeout is sent, after replies of the Responder.
func TestSlowChain(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	s.lane(t, f, func(c *Config, _ *Options) { c.WriteTimeout = short })
	c := s.client(t, "tcp", "127.0.0.1")
	names := []string{"lane", "wait", "lane"}
	first, err := c.send(names...)
	if err != nil {
		t.Fatal(err)
	}
	receiveFrom(t, "the chain has the query", f.entered, 1)
	<-time.After(2 * short)
	close(f.gate)
	if got, err := c.replies(first, names...); err != nil || !slices.Equal(got, []string{"lane", "chain", "lane"}) {
		t.Errorf("%v, answered by %v", err, got)
	}
}

// TestWriteTimeout checks that a client that reads nothing is given up.
func TestWriteTimeout(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	for _, kind := range []string{"big", "chain"} {
		f := newFake()
		l := s.lane(t, f, func(c *Config, _ *Options) { c.WriteTimeout = short })
		c := s.client(t, "tcp", "127.0.0.1")
		// So small that the chain's short replies soon fill them.
		if err := c.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		await(t, "the stream is there", func() bool { return l.Stats().Streams == 1 })
		l.streams.mu.Lock()
		for s := range l.streams.open {
			if err := s.Conn.(*net.TCPConn).SetWriteBuffer(4096); err != nil {
				t.Error(err)
			}
		}
		l.streams.mu.Unlock()
		all := framed(numbered(1000, kind))
		var err error
		for start := time.Now(); err == nil && time.Since(start) < patience; {
			_, err = c.Write(all)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "reset by peer") && !strings.Contains(err.Error(), "broken pipe") {
			t.Errorf("%s: writing ended with %v", kind, err)
		}
		await(t, "the stream is gone", func() bool { return l.Stats().Streams == 0 })
		if lost := f.lost.Load(); (lost > 0) != (kind == "big") || uint64(lost) != l.Stats().Unsent {
			t.Errorf("%s: %d replies were said to be lost, %d counted", kind, lost, l.Stats().Unsent)
		}
		c.Close()
		closeLane(t, l)
	}
}

// TestClientCloses checks that a client may go at any octet of a message, or
// close its half of the connection and read on.
func TestClientCloses(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	l := s.lane(t, newFake())
	all := framed([]string{"lane", "chain"})
	for n := range all {
		c := s.client(t, "tcp", "127.0.0.1")
		if _, err := c.Write(all[:n]); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	c := s.client(t, "tcp", "127.0.0.1")
	names := numbered(50, "lane", "chain")
	if _, err := c.Write(framed(names)); err != nil {
		t.Fatal(err)
	}
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.replies(1, names...); err != nil || !slices.Equal(got, words(names)) {
		t.Errorf("half-closed: %v, answered by %v", err, got)
	}
	if _, err := c.receive(); err != io.EOF {
		t.Errorf("half-closed, after the last reply: %v", err)
	}
	await(t, "all streams are gone", func() bool { return l.Stats().Streams == 0 })
}

// TestStreamPanic checks that a panic ends its connection and no other.
func TestStreamPanic(t *testing.T) {
	noLeak(t)
	s := newCoreDNS(t, "127.0.0.1")
	f := newFake()
	l := s.lane(t, f)
	other := s.client(t, "tcp", "127.0.0.1")
	other.want(t, "lane", "lane")
	c := s.client(t, "tcp", "127.0.0.1")
	names := []string{"lane-0", "chain-1", "lane-2", "panic-3", "lane-4"}
	first, err := c.send(names...)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.replies(first, names[:3]...); err != nil {
		t.Errorf("%v, answered by %v before the panic", err, got)
	}
	c.ended(t, "after the panic")
	if n := l.Stats().Panics; n != 1 || !strings.Contains(f.logged(), "as the query says") {
		t.Errorf("%d panics counted, logged %q", n, f.logged())
	}
	other.want(t, "lane", "lane")
	other.want(t, "chain", "chain")
}
