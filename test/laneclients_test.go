package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/test/dnstext"

	"github.com/miekg/dns"
)

// laneClients ask all the time. Each answer must be that of the Corefile there
// is, or of one of both while one is put in the place of the other.
type laneClients struct {
	t    *testing.T
	addr string
	mu   sync.RWMutex
	now  laneServer
	past []laneServer // those there have been, and may have been, now the last
	busy bool         // a reload is under way, from the last but one to the last

	patience            time.Duration // for one answer
	stop                chan struct{}
	running             sync.WaitGroup
	udp, kept, fresh    tally
	connections, closed atomic.Int64 // of kept
}

func newLaneClients(t *testing.T, addr string, now laneServer) *laneClients {
	return &laneClients{t: t, addr: addr, now: now, past: []laneServer{now}, patience: patience / 4, stop: make(chan struct{})}
}

func (l *laneClients) start() {
	for range 2 {
		l.running.Go(func() { l.loop("udp", &l.udp, true) })
		l.running.Go(l.pipeline)
		l.running.Go(func() { l.loop("tcp", &l.fresh, false) })
	}
}

func (l *laneClients) end() {
	close(l.stop)
	l.running.Wait()
}

func (l *laneClients) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// during calls reload, of which the Corefile next comes if it does not fail.
func (l *laneClients) during(next laneServer, reload func() error) error {
	l.mu.Lock()
	l.past, l.busy = append(l.past, next), true
	l.mu.Unlock()
	err := reload()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
	if err == nil {
		l.now = next
	} else {
		l.past = append(l.past, l.now)
	}
	return err
}

// asked is a query on its way.
type asked struct {
	*dns.Msg
	row  int
	from int // the first of laneClients.past whose answer is right
}

func (l *laneClients) ask(i int) *asked {
	row := i % (len(reloadAnswers) + len(changing))
	q := &asked{row: row}
	if row < len(reloadAnswers) {
		q.Msg = dnstext.Cluster.Query(l.t, reloadAnswers[row].question)
	} else {
		q.Msg = dnstext.Cluster.Query(l.t, changing[row-len(reloadAnswers)].question)
	}
	q.Id = uint16(i)
	l.mu.RLock()
	defer l.mu.RUnlock()
	if q.from = len(l.past) - 1; l.busy {
		q.from--
	}
	return q
}

// judge counts the answer to q.
func (l *laneClients) judge(c *tally, q *asked, m *dns.Msg) {
	l.mu.RLock()
	may := l.past[q.from:]
	l.mu.RUnlock()
	diff := ""
	for _, server := range may {
		text := ""
		if q.row < len(reloadAnswers) {
			text = reloadAnswers[q.row].reply
		} else {
			text = changing[q.row-len(reloadAnswers)].reply(server)
		}
		want, err := dnstext.Cluster.Parse(text)
		if err != nil {
			l.t.Error(err)
			return
		}
		if diff = want.Diff(m); diff == "" {
			break
		}
	}
	if m.Id != q.Id {
		diff = "the answer to another query: " + diff
	}
	if diff != "" {
		c.wrong.Store(q.Question[0].Name+" "+diff, nil)
		return
	}
	c.right.Add(1)
}

// loop asks one query after the other, over a connection that it keeps or over
// one for each.
func (l *laneClients) loop(network string, c *tally, keep bool) {
	for i := 0; !l.stopped(); {
		conn, err := dns.DialTimeout(network, l.addr, patience)
		if errors.Is(err, syscall.ECONNRESET) { // a listener ended that had it waiting
			c.sent.Add(1)
			c.lost.Add(1)
			continue
		}
		if err != nil {
			l.t.Errorf("connecting over %s: %v", network, err)
			return
		}
		for good := true; good && !l.stopped(); i++ {
			q := l.ask(i)
			c.sent.Add(1)
			conn.SetDeadline(time.Now().Add(l.patience))
			if err = conn.WriteMsg(q.Msg); err == nil {
				var m *dns.Msg
				if m, err = conn.ReadMsg(); err == nil {
					l.judge(c, q, m)
				}
			}
			if err != nil {
				c.lost.Add(1)
			}
			good = err == nil && keep
		}
		conn.Close()
	}
}

// inFlight is how many queries a connection has on its way.
const inFlight = 8

// pipeline asks over a connection that it keeps, several queries at a time.
func (l *laneClients) pipeline() {
	c := &l.kept
	for i := 0; !l.stopped(); {
		conn, err := net.DialTimeout("tcp", l.addr, patience)
		if errors.Is(err, syscall.ECONNRESET) {
			l.closed.Add(1)
			continue
		}
		if err != nil {
			l.t.Errorf("connecting: %v", err)
			return
		}
		l.connections.Add(1)
		waiting := map[uint16]*asked{}
		for err == nil && !(l.stopped() && len(waiting) == 0) {
			var out []byte
			for ; len(waiting) < inFlight && !l.stopped(); i++ {
				q := l.ask(i)
				packet, e := q.Pack()
				if e != nil {
					l.t.Error(e)
					return
				}
				out = append(binary.BigEndian.AppendUint16(out, uint16(len(packet))), packet...)
				waiting[q.Id] = q
				c.sent.Add(1)
			}
			conn.SetDeadline(time.Now().Add(l.patience))
			if len(out) > 0 {
				if _, err = conn.Write(out); err != nil {
					break
				}
			}
			var m *dns.Msg
			if m, err = readTCP(conn); err == nil {
				q := waiting[m.Id]
				if q == nil {
					c.wrong.Store(fmt.Sprintf("a reply to a query not asked: %v", m.Question), nil)
					continue
				}
				delete(waiting, m.Id)
				l.judge(c, q, m)
			}
		}
		if err != nil {
			l.closed.Add(1)
			c.lost.Add(int64(len(waiting)))
		}
		conn.Close()
	}
}

// more waits until each kind of client has had n more answers.
func (l *laneClients) more(n int64) {
	l.t.Helper()
	for _, c := range []*tally{&l.udp, &l.kept, &l.fresh} {
		enough := c.right.Load() + n
		eventually(l.t, func() string {
			if c.right.Load() < enough && c.wrongs() == "" {
				return "clients wait: " + c.String()
			}
			return ""
		})
	}
}

// wrongs returns what was wrong, a line each.
func (c *tally) wrongs() string {
	var b strings.Builder
	c.wrong.Range(func(what, _ any) bool {
		fmt.Fprintln(&b, what)
		return true
	})
	return b.String()
}

// report fails the test for a wrong answer.
func (l *laneClients) report() {
	for name, c := range map[string]*tally{"UDP": &l.udp, "TCP, connections kept": &l.kept, "TCP, a connection for each query": &l.fresh} {
		l.t.Logf("%s: %v", name, c)
		if wrong := c.wrongs(); wrong != "" {
			l.t.Errorf("%s: wrong: %s", name, wrong)
		}
	}
	l.t.Logf("of %d connections kept %d were closed early", l.connections.Load(), l.closed.Load())
}
