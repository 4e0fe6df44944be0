package test

import (
	"testing"

	"github.com/clusterdns/clusterdns/test/freeport"
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

// reloadUnder starts a server with the first row's Corefile and reloads the rows
// in turn, times of them, under load. It calls each after every reload with the
// row before and how many queries were lost since.
func reloadUnder(t *testing.T, rows []laneReload, times int, each func(i int, was laneServer, row laneReload, lost lostCount)) {
	needLane(t)
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", reloadCluster)
	port := freeport.Of(t)
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
