package fastlane

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// fake is whom the lanes of these tests work for. What happens to a query is
// what the first word of its name says, up to a hyphen:
//
//	lane   the Responder answers
//	big    the same, in bigReply octets
//	huge   the same, in more octets than a datagram has room for
//	panic  the Responder panics
//	stick  the Responder answers when stuck is closed
//	wait   the chain answers when gate is closed
//
// The chain answers all others at once. Those that wait say so to entered first.
// Behind wait may stand local or alias, for the verdict.
type fake struct {
	entered     chan struct{}
	gate, stuck chan struct{}
	seen        func(dns.ResponseWriter, *dns.Msg) // unless nil, is called by the chain
	sent        atomic.Int64                       // calls of Responders' Sent
	sentPanics  atomic.Int64                       // how many of them are still to panic
	lost        atomic.Int64                       // replies that could not be sent

	mu   sync.Mutex
	logs []string
}

const bigReply = 40_000

func newFake() *fake {
	return &fake{entered: make(chan struct{}, 1024), gate: make(chan struct{}), stuck: make(chan struct{})}
}

func (f *fake) program() *Program {
	return &Program{
		NewResponder: func() Responder { return f },
		Chain:        f.chain,
		IdleTimeout:  patience,
	}
}

// Append marks its replies with AA.
func (f *fake) Append(dst, msg []byte, _ Client) ([]byte, Verdict) {
	if len(msg) < 17 || msg[2]&0x80 != 0 {
		return dst, Forward
	}
	word, _, _ := bytes.Cut(msg[13:13+min(int(msg[12]), len(msg)-13)], []byte("-"))
	size := len(msg)
	switch string(word) {
	case "lane":
	case "big":
		size = bigReply
	case "huge":
		size = dns.MaxMsgSize
	case "panic":
		panic("as the query says")
	case "stick":
		f.entered <- struct{}{}
		<-f.stuck
	case "waitlocal":
		return dst, Local
	case "waitalias":
		return dst, Alias
	default:
		return dst, Forward
	}
	at := len(dst)
	dst = append(dst, msg...)
	dst[at+2] |= 0x84
	for len(dst)-at < size {
		dst = append(dst, 0)
	}
	return dst, Answered
}

func (f *fake) Sent(_ time.Duration, lost int) {
	f.sent.Add(1)
	f.lost.Add(int64(lost))
	if f.sentPanics.Add(-1) >= 0 {
		panic("in Sent")
	}
}

// chain marks its replies with RA.
func (f *fake) chain(w dns.ResponseWriter, r *dns.Msg) {
	if f.seen != nil {
		f.seen(w, r)
	}
	if strings.HasPrefix(r.Question[0].Name, "wait") {
		f.entered <- struct{}{}
		<-f.gate
	}
	m := new(dns.Msg).SetReply(r)
	m.RecursionAvailable = true
	w.WriteMsg(m)
}

func (f *fake) log(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logs = append(f.logs, err.Error())
}

// logged returns what was logged as one string.
func (f *fake) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.logs, "\n")
}

// newCoreDNS is a stand-in that answers DNS, marked with neither bit.
func newCoreDNS(t *testing.T, host string) *standIn {
	t.Helper()
	s := listenStandIn(t, host, 1)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) { w.WriteMsg(new(dns.Msg).SetReply(r)) })
	for _, server := range []*dns.Server{
		{PacketConn: s.udp[0], Handler: handler},
		{Listener: s.tcp[0], Handler: handler, MaxTCPQueries: -1},
	} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		var done sync.WaitGroup
		done.Go(func() {
			if err := server.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
		<-started
		t.Cleanup(func() { server.Shutdown(); done.Wait() })
	}
	return s
}

// lane opens a lane of two workers for f in front of s, and has it closed.
func (s *standIn) lane(t *testing.T, f *fake, change ...func(*Config, *Options)) *Lane {
	t.Helper()
	cfg := Config{Addr: s.addr, Others: len(s.udp), Workers: 2, ReadTimeout: patience, WriteTimeout: patience}
	opt := Options{Log: f.log, Stalled: func() { t.Error("stalled") }}
	for _, c := range change {
		c(&cfg, &opt)
	}
	l, err := Open(cfg, opt, f.program())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLane(t, l) })
	return l
}

func closeLane(t *testing.T, l *Lane) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l.Close(ctx)
	if ctx.Err() != nil {
		t.Error("the lane's Close took all the time it was given")
	}
}

// query returns a query for name's A record.
func query(id uint16, name string) []byte {
	m := new(dns.Msg).SetQuestion(name+".test.", dns.TypeA)
	m.Id = id
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return wire
}

// frame puts msg behind its length.
func frame(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

// client asks over one connected socket. Its IDs are never used again, so that
// a reply that comes twice is seen by whatever it asks next.
type client struct {
	net.Conn
	in   *bufio.Reader // for TCP
	next uint16
}

func (s *standIn) client(t *testing.T, network, addr string) *client {
	t.Helper()
	c := newClient(dial(t, network, addr, s.port))
	t.Cleanup(func() { c.Close() })
	return c
}

func newClient(conn net.Conn) *client {
	c := &client{Conn: conn, next: 1}
	if _, ok := conn.(*net.TCPConn); ok {
		c.in = bufio.NewReader(conn)
	}
	return c
}

// send asks for names, over TCP in one write, and returns the first ID.
func (c *client) send(names ...string) (first uint16, err error) {
	first = c.next
	var out []byte
	for _, name := range names {
		msg := query(c.next, name)
		c.next++
		if c.in != nil {
			out = append(out, frame(msg)...)
		} else if _, err := c.Write(msg); err != nil {
			return first, err
		}
	}
	if c.in != nil {
		_, err = c.Write(out)
	}
	return first, err
}

// receive returns the next message.
func (c *client) receive() ([]byte, error) {
	if c.in == nil {
		buf := make([]byte, 4096)
		n, err := c.Read(buf)
		return buf[:n], err
	}
	var size [2]byte
	if _, err := io.ReadFull(c.in, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c.in, msg)
	return msg, err
}

// replies receives the replies to what send asked, and returns who each is
// from: "lane", "chain" or "coredns". Over TCP they must be in order. With an
// error the names that it has no answer to are "".
func (c *client) replies(first uint16, names ...string) ([]string, error) {
	from := make([]string, len(names))
	for n := range names {
		msg, err := c.receive()
		if err != nil {
			return from, fmt.Errorf("reply %d of %d from %v: %w", n+1, len(names), c.RemoteAddr(), err)
		}
		if len(msg) < 12 || msg[2]&0x80 == 0 {
			return from, fmt.Errorf("%x is no reply", msg)
		}
		i := int(binary.BigEndian.Uint16(msg)) - int(first)
		switch {
		case i < 0 || i >= len(names) || from[i] != "":
			return from, fmt.Errorf("reply to ID %d, of which there is no query anymore; first is %d of %d", i+int(first), first, len(names))
		case c.in != nil && i != n:
			return from, fmt.Errorf("reply to query %d where that to %d was due", i, n)
		case !bytes.HasPrefix(msg[12:], query(0, names[i])[12:]):
			return from, fmt.Errorf("reply %x to the question %s", msg, names[i])
		case msg[2]&4 != 0:
			from[i] = "lane"
		case msg[3]&0x80 != 0:
			from[i] = "chain"
		default:
			from[i] = "coredns"
		}
	}
	return from, nil
}

// ask asks for names, all at once, and says who answered each.
func (c *client) ask(names ...string) ([]string, error) {
	first, err := c.send(names...)
	if err != nil {
		return nil, err
	}
	return c.replies(first, names...)
}

// want asks for names and checks that from answers every one.
func (c *client) want(t *testing.T, from string, names ...string) {
	t.Helper()
	got, err := c.ask(names...)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range got {
		if g != from {
			t.Errorf("%s was answered by %s, want %s", names[i], g, from)
		}
	}
}

// numbered returns n names that begin with each of words in turn.
func numbered(n int, words ...string) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", words[i%len(words)], i)
	}
	return names
}

// await waits until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// receiveFrom waits for n values from c.
func receiveFrom[T any](t *testing.T, what string, c <-chan T, n int) {
	t.Helper()
	timeout := time.After(patience)
	for range n {
		select {
		case <-c:
		case <-timeout:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// noLeak checks, after what is cleaned up later than it was called, that no
// goroutine and no file descriptor is left.
func noLeak(t *testing.T) {
	t.Helper()
	// What package net opens once.
	if c, err := net.ListenPacket("udp", "127.0.0.1:0"); err == nil {
		c.Close()
	}
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	goroutines, files := runtime.NumGoroutine(), fds()
	t.Cleanup(func() {
		await(t, "goroutines and files are as before", func() bool {
			return runtime.NumGoroutine() <= goroutines && fds() <= files
		})
	})
}

// isClosed says that err is what a client sees of a connection that its server
// has closed.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(fmt.Sprint(err), "reset by peer")
}
