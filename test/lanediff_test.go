package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/test/dnstext"
	"github.com/clusterdns/clusterdns/test/freeport"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// TestLaneAndChain starts two servers on the same manifests, one with the lane
// and one without, and sends both the same messages, over UDP and TCP. What
// comes back is the same but for the order of records. A truncated reply has
// part of the full set, and at least as many records of it as the chain's.
//
// The plugin prometheus counts the same for both, and the lane's own metrics
// account for every message.
func TestLaneAndChain(t *testing.T) {
	needLane(t)
	dir := t.TempDir()
	put(t, dir, "cluster.yaml", laneWorld())
	hosts, root := dir+"/hosts.conf", dir+"/root.conf" // no manifests by their names
	for file, text := range map[string]string{
		hosts: "192.0.2.7 node-1 node-1.cluster.local\n10.96.0.77 node-2\n",
		root: "$ORIGIN .\n@ 60 IN SOA ns.test. admin.test. 1 7200 1800 86400 60\n" +
			"www.example.org 60 IN A 192.0.2.80\n*.wild.test 60 IN TXT \"wild\"\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, world := range []struct {
		name     string
		ttl      uint32
		corefile string
	}{
		{"everything around it", 5, `.:$PORT {
	bind 127.0.0.1
	errors
	bufsize 1400
	cancel
	chaos version
	nsid me
	any
	prometheus $METRICS
	loadbalance
	autopath @kubernetes
	hosts $HOSTS {
		fallthrough
	}
	kubernetes cluster.local in-addr.arpa ip6.arpa {
		$FASTLANE
		manifests $MANIFESTS
		pods verified
		fallthrough in-addr.arpa ip6.arpa
	}
	file $ROOT .
}
stub.cluster.local:$PORT {
	bind 127.0.0.1
	prometheus $METRICS
	file $ROOT .
}
`},
		{"alone", 30, `cluster.local:$PORT in-addr.arpa:$PORT ip6.arpa:$PORT {
	bind 127.0.0.1
	prometheus $METRICS
	clusterdns {
		$FASTLANE
		manifests $MANIFESTS
		pods insecure
		ttl 30
	}
}
`},
	} {
		t.Run(world.name, func(t *testing.T) {
			d := laneDiff{ttl: world.ttl}
			metrics := fmt.Sprintf("127.0.0.1:%s", freeport.Of(t))
			for i, fastlane := range []string{"fastlane workers 2", "fastlane off"} {
				d.ports[i] = freeport.Of(t)
				start(t, strings.NewReplacer("$PORT", d.ports[i], "$METRICS", metrics, "$HOSTS", hosts, "$ROOT", root,
					"$FASTLANE", fastlane, "$MANIFESTS", dir).Replace(world.corefile))
				if open := laneAt(t, d.addr(i)).open; open != (i == 0) {
					t.Fatalf("server %d has a lane: %v", i, open)
				}
			}
			d.run(t)
		})
	}
}

// laneDiff compares two servers: the first has the lane, the second has not.
type laneDiff struct {
	ports     [2]string
	ttl       uint32
	udp, tcp  [2]net.Conn
	random    *rand.Rand
	sent      struct{ udp, tcp int }
	long      int // of those, with more than 512 octets
	answered  int // by both
	silent    int // neither
	truncated int
	records   [2]int   // in truncated replies
	ignored   [][]byte // that nobody is to answer
	failures  int
}

func (d *laneDiff) run(t *testing.T) {
	const seed = 1
	d.random = rand.New(rand.NewPCG(seed, 0))
	for i := range d.ports {
		d.udp[i], d.tcp[i] = d.dial(t, "udp", i), d.dial(t, "tcp", i)
	}
	before := [2]map[string]float64{counted(t, d.addr(0)), counted(t, d.addr(1))}
	lane := laneAt(t, d.addr(0))
	messages := d.messages(t)
	for _, msg := range messages {
		d.compareUDP(t, msg)
		d.compareTCP(t, msg)
		if d.failures > 20 {
			t.Fatal("and so on")
		}
	}
	d.compareSilence(t)

	// Queries are counted when their replies are on their way.
	eventually(t, func() string {
		now := [2]map[string]float64{since(before[0], counted(t, d.addr(0))), since(before[1], counted(t, d.addr(1)))}
		return diffCounts(now[0], now[1])
	})
	got := laneCounts{}
	eventually(t, func() string {
		got = laneAt(t, d.addr(0))
		got.answered, got.declined = got.answered-lane.answered, got.declined-lane.declined
		// What is longer than a query is passed on unseen.
		if all := float64(d.sent.udp + d.sent.tcp - d.long); got.answered+got.declined != all {
			return fmt.Sprintf("the lane answered %v and declined %v of %v", got.answered, got.declined, all)
		}
		return ""
	})
	if got.datagrams != float64(d.sent.udp) {
		t.Errorf("the lane received %v datagrams of %d", got.datagrams, d.sent.udp)
	}
	if got.answered < got.declined/2 {
		t.Errorf("the lane answered no more than %v of %v messages", got.answered, d.sent)
	}
	t.Logf("seed %d: %d messages over UDP and %d over TCP to each server: %d answered by both (%d of those truncated, with %d records from the lane's and %d from the other), %d by neither; the lane answered %v itself, %v by the chain; %d counters of prometheus are equal",
		seed, d.sent.udp, d.sent.tcp, d.answered, d.truncated, d.records[0], d.records[1], d.silent, got.answered, got.declined,
		len(since(before[0], counted(t, d.addr(0)))))
}

// addr is where a server listens. It is concrete, since the records of the
// zones' name servers would depend on this host's addresses otherwise.
func (d *laneDiff) addr(i int) string { return "127.0.0.1:" + d.ports[i] }

func (d *laneDiff) dial(t *testing.T, network string, i int) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, d.addr(i))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(3 * patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// isIgnored reports whether a message is one that no server answers: miekg/dns
// wants a header, and no reply (MsgAcceptFunc).
func isIgnored(msg []byte) bool { return len(msg) < 12 || msg[2]&0x80 != 0 }

func (d *laneDiff) compareUDP(t *testing.T, msg []byte) {
	if isIgnored(msg) {
		d.ignored = append(d.ignored, msg)
		return
	}
	if int(msg[2]>>3&0xF) == dns.OpcodeNotify {
		return // the plugin file drops some; over TCP one sees that without waiting
	}
	var replies [2][]byte
	for i, conn := range d.udp {
		if _, err := conn.Write(msg); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, dns.MaxMsgSize)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("server %d has no reply to %x: %v", i, msg, err)
		}
		replies[i] = buf[:n]
	}
	d.sent.udp++
	if len(msg) > dns.MinMsgSize {
		d.long++
	}
	d.compare(t, "udp", msg, replies)
}

// compareSilence sends what is not to be answered. What is sent afterwards is
// not overtaken for so long that a reply could come behind it.
func (d *laneDiff) compareSilence(t *testing.T) {
	for i := range d.ports {
		conn := d.dial(t, "udp", i)
		for _, msg := range d.ignored {
			if len(msg) == 0 {
				continue // no datagram for the socket filters of some machines
			}
			if _, err := conn.Write(msg); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				d.sent.udp++
				d.silent++
			}
		}
		ask := dnstext.Cluster.Query(t, "kubernetes.default.svc ANY")
		for range 50 { // one after the other, through the chain
			ask.Id = 0xABCD
			packet, err := ask.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(packet); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, dns.MaxMsgSize)
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if binary.BigEndian.Uint16(buf) != 0xABCD {
				t.Errorf("server %d answers what is no query: %x", i, buf[:n])
			}
			if i == 0 {
				d.sent.udp++
			}
		}
	}
}

// compareTCP sends the message and a query behind it, whose reply comes next
// if the message has none.
func (d *laneDiff) compareTCP(t *testing.T, msg []byte) {
	next := dnstext.Cluster.Query(t, "dns-version TXT")
	next.Id = binary.BigEndian.Uint16(append(slices.Clone(msg), 0, 0)) ^ 0x5555
	packet, err := next.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var stream []byte
	for _, m := range [][]byte{msg, packet} {
		stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(m))), m...)
	}
	var replies [2][]byte
	for i, conn := range d.tcp {
		// In pieces, as a network may have them.
		cut := d.random.IntN(len(stream) + 1)
		for _, part := range [][]byte{stream[:cut], stream[cut:]} {
			if _, err := conn.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		for {
			reply, err := readFrame(conn)
			if errors.Is(err, io.EOF) {
				t.Fatalf("server %d closed the connection after %x", i, msg)
			}
			if err != nil {
				t.Fatal(err)
			}
			if binary.BigEndian.Uint16(reply) == next.Id {
				break
			}
			replies[i] = reply
		}
	}
	d.sent.tcp += 2
	if len(msg) > dns.MinMsgSize {
		d.long++
	}
	d.compare(t, "tcp", msg, replies)
}

func readFrame(conn net.Conn) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, packet)
	return packet, err
}

// compare compares the replies to msg; nil is none.
func (d *laneDiff) compare(t *testing.T, network string, msg []byte, replies [2][]byte) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		d.failures++
		asked := new(dns.Msg)
		err := asked.Unpack(msg)
		t.Errorf("%s\nover %s, to %x\n(%v; %v)", fmt.Sprintf(format, args...), network, msg, asked, err)
	}
	if replies[0] == nil && replies[1] == nil {
		d.silent++
		return
	}
	d.answered++
	var m [2]dns.Msg
	for i, reply := range replies {
		if err := m[i].Unpack(reply); err != nil {
			fail("server %d: unpacking %x: %v", i, reply, err)
			return
		}
	}
	lane, chain := &m[0], &m[1]
	if lane.Id != chain.Id || !slices.Equal(lane.Question, chain.Question) {
		fail("lane: %d %v; chain: %d %v", lane.Id, lane.Question, chain.Id, chain.Question)
	}
	if lane.Truncated && chain.Truncated && lane.Rcode == dns.RcodeSuccess && len(lane.Question) == 1 {
		d.truncated++
		limit := dns.MinMsgSize
		asked := new(dns.Msg)
		if network == "tcp" {
			limit = dns.MaxMsgSize
		} else if err := asked.Unpack(msg); err == nil && asked.IsEdns0() != nil {
			limit = max(limit, int(asked.IsEdns0().UDPSize()))
		}
		if len(replies[0]) > limit {
			fail("%d octets, more than %d", len(replies[0]), limit)
		}
		d.compareTruncated(fail, lane, chain)
		return
	}
	if l, c := dnstext.Of(lane).String(), dnstext.Of(chain).String(); l != c {
		fail("lane:\n%schain:\n%s", l, c)
	}
	if len(replies[0]) > len(replies[1]) {
		fail("the lane's reply has %d octets, the chain's %d", len(replies[0]), len(replies[1]))
	}
}

// compareTruncated compares what is left of a set of laneWorld with all of it.
func (d *laneDiff) compareTruncated(fail func(string, ...any), lane, chain *dns.Msg) {
	answer, glue := laneSet(lane.Question[0], d.ttl)
	count := func(who string, rrs []dns.RR, full map[string]bool) (n int) {
		seen := map[string]bool{}
		for _, rr := range rrs {
			text := strings.ToLower(rr.String())
			switch {
			case rr.Header().Rrtype == dns.TypeOPT:
				continue
			case !full[text] || seen[text]:
				fail("%s: %s is not in the full set, or twice in the reply", who, text)
			}
			seen[text] = true
			n++
		}
		return n
	}
	for _, s := range []struct {
		lane, chain []dns.RR
		full        map[string]bool
	}{{lane.Answer, chain.Answer, answer}, {lane.Ns, chain.Ns, nil}, {lane.Extra, chain.Extra, glue}} {
		l, c := count("lane", s.lane, s.full), count("chain", s.chain, s.full)
		if l < c {
			fail("the lane has %d records where the chain has %d", l, c)
		}
		d.records[0] += l
		d.records[1] += c
	}
	for _, m := range []*dns.Msg{lane, chain} {
		m.Answer, m.Ns = nil, nil
		m.Extra = slices.DeleteFunc(m.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT })
	}
	if l, c := dnstext.Of(lane).String(), dnstext.Of(chain).String(); l != c {
		fail("lane:\n%schain:\n%s", l, c)
	}
}

// counted returns what the plugin prometheus counted at an address, by name and
// labels; of a histogram how much it has counted.
func counted(t testing.TB, addr string) map[string]float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "coredns_dns_") {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			here := false
			for _, l := range m.GetLabel() {
				if l.GetName() == "server" {
					here = l.GetValue() == "dns://"+addr
				} else {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
			}
			if !here {
				continue
			}
			value := m.GetCounter().GetValue()
			if f.GetType() == dto.MetricType_HISTOGRAM {
				value = float64(m.GetHistogram().GetSampleCount())
			}
			samples[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return samples
}

func since(before, now map[string]float64) map[string]float64 {
	grown := map[string]float64{}
	for name, value := range now {
		if value != before[name] {
			grown[name] = value - before[name]
		}
	}
	return grown
}

// diffCounts returns where they differ.
func diffCounts(lane, chain map[string]float64) string {
	var b strings.Builder
	names := maps.Clone(lane)
	maps.Copy(names, chain)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if lane[name] != chain[name] {
			fmt.Fprintf(&b, "%s: %v with the lane, %v with the chain\n", name, lane[name], chain[name])
		}
	}
	return b.String()
}
