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

// laneServer makes Corefiles with and without the lane, whose answers to some
// names differ.
type laneServer struct {
	second  bool   // the zone second.local is there
	stub    bool   // the server block stub.cluster.local is there
	stanza  string // options of the stanza
	plugins string // more of them
	lane    bool   // there is to be one
}

func (c laneServer) corefile(port, dir string) string {
	keys, more := "", ""
	if c.second {
		keys = " second.local:" + port
	}
	if c.stub {
		more = "stub.cluster.local:" + port + " {\nhosts {\n192.0.2.99 db.stub.cluster.local\n}\n}\n"
	}
	zones := "cluster.local:" + port + " in-addr.arpa:" + port
	return zones + keys + " {\nerrors\n" + c.plugins + "\nclusterdns {\nmanifests " + dir + "\n" + c.stanza + "\n}\n}\n" + more
}

// changing are questions whose answers depend on the Corefile.
var changing = []struct {
	question string
	reply    func(c laneServer) string
}{
	{"web.shop.svc.second.local. A", func(c laneServer) string {
		if c.second {
			return "NOERROR aa rd\nweb.shop.svc.second.local. A 10.96.0.10"
		}
		return "REFUSED rd"
	}},
	{"db.stub A", func(c laneServer) string {
		if c.stub {
			return "NOERROR aa rd\ndb.stub 3600 A 192.0.2.99"
		}
		return "NXDOMAIN aa rd soa"
	}},
}

type laneReload struct {
	name string
	laneServer
}

// laneReloads are Corefiles to reload, one after the other. The one without a
// name fails.
var laneReloads = []laneReload{
	{"lane", laneServer{lane: true}},
	{"second zone", laneServer{lane: true, second: true}},
	{"off", laneServer{stanza: "fastlane off"}},
	{"workers", laneServer{lane: true, second: true, stanza: "fastlane workers 3"}},
	{"stub block", laneServer{lane: true, stub: true, stanza: "fastlane workers 3"}},
	{"", laneServer{plugins: "faulty"}},
	{"three sockets", laneServer{lane: true, plugins: "multisocket 3"}},
	{"three sockets still", laneServer{lane: true, stub: true, plugins: "multisocket 3\nloadbalance"}},
	{"one socket", laneServer{lane: true, second: true, stub: true}},
	{"log", laneServer{plugins: "log . {\nclass denial\n}", second: true}},
	{"", laneServer{plugins: "faulty"}},
}

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

// reloadUnder starts a server with the first row's Corefile and reloads the rows
// in turn, times of them, under load. It calls each after every reload with the
// row before and how many queries were lost since.
func reloadUnder(t *testing.T, rows []laneReload, times int, each func(i int, was laneServer, row laneReload, lost lostCount)) {
	needLane(t)
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	port := lanePort(t)
	s := start(t, rows[0].corefile(port, dir))
	l := newLaneClients(t, s.addr("udp"), rows[0].laneServer)
	l.start()
	l.more(10)
	opened, answered := 0, 0.0
	for i := 1; i <= times; i++ {
		row := rows[i%len(rows)]
		before, was, lost := laneAt(t, ":"+port), l.now, l.lost()
		err := l.during(row.laneServer, func() error { return s.reload(row.corefile(port, dir)) })
		if (err != nil) != (row.name == "") {
			t.Fatalf("reload %d, %s: %v", i, row.name, err)
		}
		l.more(10)
		after := laneAt(t, ":"+port)
		if after.open != l.now.lane {
			t.Fatalf("after reload %d, %s, the lane is open: %v", i, row.name, after.open)
		}
		if after.open {
			opened++
		}
		answered += after.answered - before.answered
		each(i, was, row, l.lost().since(lost))
	}
	l.end()
	t.Logf("%d reloads, after %d of which the lane was open; it answered %v meanwhile", times, opened, answered)
	l.report()
	if n := l.udp.lost.Load(); n > 0 {
		t.Errorf("%d datagrams were lost", n)
	}
	if answered == 0 {
		t.Error("the lane answered nothing")
	}
}

// lostCount is how many queries had no answer, and connections were closed by
// the server.
type lostCount struct{ udp, kept, fresh, closed int64 }

func (l *laneClients) lost() lostCount {
	return lostCount{l.udp.lost.Load(), l.kept.lost.Load(), l.fresh.lost.Load(), l.closed.Load()}
}

func (c lostCount) since(o lostCount) lostCount {
	return lostCount{c.udp - o.udp, c.kept - o.kept, c.fresh - o.fresh, c.closed - o.closed}
}

// TestLaneReloads opens, closes and changes the lane by reloads.
//
// TCP: a server that is stopped, CoreDNS's or the lane's, closes its
// connections, those with queries on their way included. A connection that was
// made when there was no lane is CoreDNS's, and ends with the reload after the
// next as well, which stops that instance.
func TestLaneReloads(t *testing.T) {
	byName := map[string]lostCount{}
	reloadUnder(t, laneReloads, 50, func(i int, was laneServer, row laneReload, lost lostCount) {
		sum := byName[row.name]
		byName[row.name] = lostCount{sum.udp + lost.udp, sum.kept + lost.kept, sum.fresh + lost.fresh, sum.closed + lost.closed}
	})
	for name, lost := range byName {
		t.Logf("%q: without an answer: UDP %d, TCP kept %d, TCP fresh %d; connections closed: %d", name, lost.udp, lost.kept, lost.fresh, lost.closed)
	}
}

// TestLaneStaysOpen: while the lane stays open nothing is lost, and no
// connection ends.
func TestLaneStaysOpen(t *testing.T) {
	reloadUnder(t, []laneReload{
		{"lane", laneServer{lane: true}},
		{"second zone", laneServer{lane: true, second: true}},
		{"", laneServer{plugins: "faulty"}},
		{"stub block", laneServer{lane: true, stub: true, plugins: "loadbalance"}},
		{"bufsize", laneServer{lane: true, second: true, plugins: "bufsize 1232"}},
	}, 20, func(i int, _ laneServer, row laneReload, lost lostCount) {
		if lost != (lostCount{}) {
			t.Errorf("reload %d, %s: lost %+v", i, row.name, lost)
		}
	})
}
