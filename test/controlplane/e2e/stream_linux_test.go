package e2e

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/test/controlplane/netns"
)

// stream sends questions over UDP, 2,000 a second, whatever becomes of those before,
// and each once: one that has no answer is lost.
type stream struct {
	t       *testing.T
	conns   []net.Conn
	quit    chan struct{}
	workers sync.WaitGroup
	check   func(q question, got string, sent time.Time) (wrong string)

	mu       sync.Mutex
	pending  map[uint16]sent // by ID
	answered int
	lost     []string
	wrong    []string
}

type sent struct {
	question
	conn int
	at   time.Time
}

const (
	streamSockets  = 8 // for each address
	streamPatience = 5 * time.Second
)

// newStream begins to ask servers from a namespace. Every answer is checked.
func newStream(t *testing.T, n netns.Namespace, servers []string, qs []question, check func(question, string, time.Time) string) *stream {
	t.Helper()
	s := &stream{t: t, quit: make(chan struct{}), check: check, pending: map[uint16]sent{}}
	for _, server := range servers {
		for range streamSockets {
			conn, err := n.Dial("udp", "", net.JoinHostPort(server, "53"))
			if err != nil {
				t.Fatal(err)
			}
			s.conns = append(s.conns, conn)
		}
	}
	t.Cleanup(func() { s.stop() })
	for i, conn := range s.conns {
		s.workers.Go(func() { s.receive(i, conn) })
	}
	s.workers.Go(func() { s.send(qs) })
	return s
}

func (s *stream) send(qs []question) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		if n%2 == 0 {
			select {
			case <-s.quit:
				return
			case <-tick.C:
			}
		}
		q, conn := qs[n%len(qs)], n%len(s.conns)
		m := new(dns.Msg).SetQuestion(q.name, q.qtype)
		m.Id = uint16(n)
		if n%3 == 0 {
			m.SetEdns0(1232, false)
		}
		wire, err := m.Pack()
		if err != nil {
			panic(err) // a name of the test
		}
		s.mu.Lock()
		s.lose(m.Id)
		s.pending[m.Id] = sent{q, conn, time.Now()}
		s.mu.Unlock()
		// An error of an earlier datagram, that nobody listened, is told once, and
		// this one is not sent.
		if _, err := s.conns[conn].Write(wire); errors.Is(err, syscall.ECONNREFUSED) {
			s.conns[conn].Write(wire)
		}
	}
}

// lose gives up a question that has no answer.
func (s *stream) lose(id uint16) {
	if old, ok := s.pending[id]; ok {
		s.lost = append(s.lost, fmt.Sprintf("%s %v", old.at.Format(time.StampMilli), old.question))
		delete(s.pending, id)
	}
}

func (s *stream) receive(n int, conn net.Conn) {
	buffer := make([]byte, dns.MaxMsgSize)
	for {
		size, err := conn.Read(buffer)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return // closed
		}
		m := new(dns.Msg)
		if err := m.Unpack(buffer[:size]); err != nil {
			s.isWrong(fmt.Sprintf("no message: %v: %x", err, buffer[:size]))
			continue
		}
		s.mu.Lock()
		q, ok := s.pending[m.Id]
		if ok = ok && q.conn == n && len(m.Question) == 1 && m.Question[0].Name == q.name; ok {
			delete(s.pending, m.Id)
			s.answered++
		}
		s.mu.Unlock()
		switch {
		case !ok:
			s.isWrong(fmt.Sprintf("an answer that nobody waits for: %v", m))
		case !m.Response || m.Truncated || !m.Authoritative:
			s.isWrong(fmt.Sprintf("%v: %v", q.question, m))
		default:
			s.isWrong(s.check(q.question, reply(q.question, m), q.at))
		}
	}
}

func (s *stream) isWrong(why string) {
	if why != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wrong = append(s.wrong, time.Now().Format(time.StampMilli)+" "+why)
	}
}

// more waits until n more questions have been answered.
func (s *stream) more(n int) {
	s.t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.answered
	}
	until := count() + n
	wait(s.t, "answers", func() error {
		if now := count(); now < until {
			return fmt.Errorf("%d of %d", now, until)
		}
		return nil
	})
}

// stop ends the stream, fails the test if an answer was wrong or is missing, and
// returns how many questions were answered.
func (s *stream) stop() int {
	select {
	case <-s.quit:
		return s.answered
	default:
	}
	close(s.quit)
	deadline := time.Now().Add(streamPatience)
	for left := 1; left > 0 && time.Now().Before(deadline); time.Sleep(pollInterval) {
		s.mu.Lock()
		left = len(s.pending)
		s.mu.Unlock()
	}
	for _, conn := range s.conns {
		conn.Close()
	}
	s.workers.Wait()
	for id := range s.pending {
		s.lose(id)
	}
	s.t.Logf("%d questions answered, %d lost, %d wrong", s.answered, len(s.lost), len(s.wrong))
	for what, lines := range map[string][]string{"lost": s.lost, "wrong": s.wrong} {
		for _, line := range lines[:min(10, len(lines))] {
			s.t.Errorf("%s: %s", what, line)
		}
	}
	return s.answered
}
