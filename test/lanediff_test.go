package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/test/dnstext"

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
			metrics := fmt.Sprintf("127.0.0.1:%d", freePort(t))
			for i, fastlane := range []string{"fastlane workers 2", "fastlane off"} {
				d.ports[i] = lanePort(t)
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
	// By date, so that every day asks other questions.
	seed := uint64(time.Now().Unix() / 86400)
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

// laneSet returns all records, in lower case, that a question for one of the
// headless services set-N has: the answer and its glue.
func laneSet(q dns.Question, ttl uint32) (answer, glue map[string]bool) {
	answer, glue = map[string]bool{}, map[string]bool{}
	name := strings.ToLower(q.Name)
	at := strings.Index(name, "set-")
	service := name[max(0, at):]
	var n int
	if _, err := fmt.Sscanf(service, "set-%d.", &n); at < 0 || err != nil {
		return answer, glue
	}
	i := slices.Index(laneSizes, n)
	record := func(name string, rtype uint16, data string) string {
		return strings.ToLower(fmt.Sprintf("%s\t%d\tIN\t%s\t%s", name, ttl, dns.TypeToString[rtype], data))
	}
	for j := range n {
		for _, e := range []struct {
			rtype uint16
			addr  netip.Addr
			label string
		}{{dns.TypeA, laneAddr4(i, j), strings.ReplaceAll(laneAddr4(i, j).String(), ".", "-")}, {dns.TypeAAAA, laneAddr6(i, j), fmt.Sprintf("pod-%d", j)}} {
			if q.Qtype == dns.TypeSRV {
				target := e.label + "." + service
				answer[record(name, dns.TypeSRV, fmt.Sprintf("0 %d 80 %s", max(1, 100/(2*n)), target))] = true
				glue[record(target, e.rtype, e.addr.String())] = true
			} else if q.Qtype == e.rtype {
				answer[record(name, e.rtype, e.addr.String())] = true
			}
		}
	}
	return answer, glue
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

// laneWorld returns manifests with objects of every kind.
func laneWorld() string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, "---\n"+format+"\n", args...) }
	for _, ns := range []string{"default", "shop", "empty"} {
		add("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}", ns)
	}
	service := func(name, spec string) {
		add("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {%s}", name, spec)
	}
	slice := func(service string, i int, family, ports string, endpoints ...string) {
		add("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %[1]s-%[2]d, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}\naddressType: %[3]s\nports: [%[4]s]\nendpoints:\n- %[5]s",
			service, i, family, ports, strings.Join(endpoints, "\n- "))
	}
	add("apiVersion: v1\nkind: Service\nmetadata: {name: kubernetes, namespace: default}\nspec: {clusterIP: 10.96.0.1, ports: [{name: https, port: 443}]}")
	const http = "{name: http, port: 80}"
	service("web", "clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10, \"fd00:10:96::10\"], ports: ["+http+", {name: dns, port: 53, protocol: UDP}]")
	service("unnamed", "clusterIP: 10.96.0.11, ports: [{port: 9000}]")
	service("idle", "clusterIP: 10.96.0.12, ports: ["+http+"]")
	service("portless", "clusterIP: None")
	service("away", "type: ExternalName, externalName: www.example.org")
	service("inside", "type: ExternalName, externalName: web.shop.svc.cluster.local")
	service("further", "type: ExternalName, externalName: INSIDE.shop.svc.cluster.local")
	service("round", "type: ExternalName, externalName: round.shop.svc.cluster.local")
	service("nowhere", "type: ExternalName, externalName: no-such.shop.svc.cluster.local")
	service("number", "type: ExternalName, externalName: 192.0.2.1")
	slice("portless", 1, "IPv4", "", "addresses: [10.244.3.1]")
	slice("web", 1, "IPv4", http, "addresses: [10.244.1.10]", "{addresses: [10.244.1.11], hostname: named}")
	service("mixed", "clusterIP: None, ports: ["+http+"]")
	slice("mixed", 1, "IPv4", http, "{addresses: [10.244.2.1], hostname: one}", "{addresses: [10.244.2.2], conditions: {ready: false}}")
	slice("mixed", 2, "IPv4", "{name: http, port: 8080}", "{addresses: [10.244.2.1], hostname: one}", "{addresses: [10.244.2.3], hostname: one}")
	slice("mixed", 3, "IPv6", http, "{addresses: [\"fd00:10:244::1\"], hostname: one}")
	service("unready", "clusterIP: None, ports: ["+http+"]")
	slice("unready", 1, "IPv4", http, "{addresses: [10.244.2.9], conditions: {ready: false}}")
	for i, n := range laneSizes {
		name := fmt.Sprintf("set-%d", n)
		service(name, "clusterIP: None, ports: ["+http+"]")
		for at := 0; at < n; at += 100 {
			var v4, v6 []string
			for j := at; j < min(n, at+100); j++ {
				v4 = append(v4, fmt.Sprintf("{addresses: [%v]}", laneAddr4(i, j)))
				v6 = append(v6, fmt.Sprintf("{addresses: [%q], hostname: pod-%d}", laneAddr6(i, j), j))
			}
			slice(name, at, "IPv4", http, v4...)
			slice(name, at+1, "IPv6", http, v6...)
		}
	}
	for i := range 3 {
		add("apiVersion: v1\nkind: Pod\nmetadata: {name: pod-%d, namespace: shop}\nstatus: {podIP: 10.244.9.%d, podIPs: [{ip: 10.244.9.%d}]}", i, i, i)
	}
	return b.String()
}

// laneSizes are sizes of headless sets: around what a reply without EDNS holds,
// with it, and thousands.
var laneSizes = []int{2, 15, 28, 29, 60, 75, 300, 3000}

func laneAddr4(i, j int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(200 + i), byte(j >> 8), byte(j)})
}

func laneAddr6(i, j int) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfd, 0, 0, byte(i), 13: 1, 14: byte(j >> 8), 15: byte(j)})
}

// laneNames are names to ask for, some of which exist.
func laneNames() []string {
	names := []string{
		".", "local.", "cluster.local.", "svc.cluster.local.", "pod.cluster.local.", "no-such.cluster.local.",
		"dns-version.cluster.local.", "ns.dns.cluster.local.", "dns.cluster.local.", "xcluster.local.", "cluster.localx.", "a.b.c.d.cluster.local.",
		"shop.svc.cluster.local.", "empty.svc.cluster.local.", "no-such.svc.cluster.local.", "shop.pod.cluster.local.",
		"kubernetes.default.svc.cluster.local.", "10-244-9-1.shop.pod.cluster.local.", "10-244-9-200.shop.pod.cluster.local.", "10-244-9.shop.pod.cluster.local.",
		"fd00--1.shop.pod.cluster.local.", "10-244-9-1.no-such.pod.cluster.local.", "300-1-1-1.shop.pod.cluster.local.",
		"node-1.", "node-1.cluster.local.", "below.node-1.cluster.local.", "stub.cluster.local.", "a.stub.cluster.local.", "xstub.cluster.local.",
		"www.example.org.", "no-such.example.org.", "a.wild.test.",
		"in-addr.arpa.", "10.in-addr.arpa.", "96.10.in-addr.arpa.", "1.0.96.10.in-addr.arpa.", "10.0.96.10.in-addr.arpa.", "11.0.96.10.in-addr.arpa.",
		"010.0.96.10.in-addr.arpa.", "300.0.96.10.in-addr.arpa.", "77.0.96.10.in-addr.arpa.", "7.2.0.192.in-addr.arpa.", "1.10.0.96.10.in-addr.arpa.",
		"x.0.96.10.in-addr.arpa.", "1.2.244.10.in-addr.arpa.", "3.2.244.10.in-addr.arpa.", "9.2.244.10.in-addr.arpa.", "5.0.207.10.in-addr.arpa.",
		"ip6.arpa.", "0.d.f.ip6.arpa.", "\\000.cluster.local.", "\\..shop.svc.cluster.local.", "*.shop.svc.cluster.local.", "any.any.svc.cluster.local.",
		strings.Repeat("a", 63) + ".shop.svc.cluster.local.",
		strings.Repeat("a.", 118) + "cluster.local.", // 255 octets less some
		strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 47) + ".cluster.local.",
	}
	for _, addr := range []string{"fd00:10:96::10", "fd00:10:244::1", "fd00:7::1:5", "fd00:7::1:ffff"} {
		name, err := dns.ReverseAddr(addr)
		if err != nil {
			panic(err)
		}
		names = append(names, name, name[2:], "1."+name)
	}
	services := []string{"web", "unnamed", "idle", "portless", "away", "inside", "further", "round", "nowhere", "number", "mixed", "unready", "no-such"}
	for _, n := range laneSizes {
		services = append(services, fmt.Sprintf("set-%d", n))
	}
	for _, s := range services {
		full := s + ".shop.svc.cluster.local."
		names = append(names, full, "x."+full, "_http._tcp."+full, "_dns._udp."+full, "_http._udp."+full, "_._tcp."+full, "http._tcp."+full,
			"_x._http._tcp."+full, "_tcp."+full, s+".empty.svc.cluster.local.", s+".shop.cluster.local.", s+".shop.svc.stub.cluster.local.")
	}
	for _, s := range []string{"10-244-1-10.web", "named.web", "one.mixed", "10-244-2-2.mixed", "10-244-2-3.mixed", "fd00-10-244--1.mixed",
		"10-207-0-5.set-3000", "pod-7.set-3000", "pod-7.set-15", "_http._tcp.pod-7.set-15", "x.inside", "_http._tcp.inside", "10-244-2-9.unready"} {
		names = append(names, s+".shop.svc.cluster.local.")
	}
	return names
}

var laneQtypes = []uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeSOA, dns.TypeNS, dns.TypeCNAME, dns.TypeMX, dns.TypeHTTPS,
	dns.TypeSVCB, dns.TypeNAPTR, dns.TypeDS, dns.TypeDNSKEY, dns.TypeANY, dns.TypeCAA, dns.TypeNULL, dns.TypeHINFO, dns.TypeRRSIG, dns.TypeNSEC,
	dns.TypeMB, 0, 65, 99, 255, 256, 1000, 65280, 65535,
}

// messages returns what to send.
func (d *laneDiff) messages(t *testing.T) (all [][]byte) {
	names := laneNames()
	add := func(m *dns.Msg) []byte {
		packet, err := m.Pack()
		if err != nil {
			t.Fatalf("packing %v: %v", m, err)
		}
		all = append(all, packet)
		return packet
	}
	query := func(name string, qtype uint16) *dns.Msg {
		m := new(dns.Msg).SetQuestion(name, qtype)
		m.Id = uint16(d.random.Uint32())
		return m
	}
	anyName := func() string { return names[d.random.IntN(len(names))] }
	usual := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT}
	for _, name := range names { // everything, plain
		for _, qtype := range usual {
			add(query(name, qtype))
		}
		add(query(name, laneQtypes[d.random.IntN(len(laneQtypes))]))
	}
	for _, qtype := range laneQtypes { // every type
		for _, name := range []string{"cluster.local.", "web.shop.svc.cluster.local.", "no-such.shop.svc.cluster.local.", "away.shop.svc.cluster.local.", "10.0.96.10.in-addr.arpa."} {
			add(query(name, qtype))
		}
	}
	pick := func(of ...uint16) uint16 { return of[d.random.IntN(len(of))] }
	for range 1000 { // shapes
		m := query(mixCase(d.random, anyName()), usual[d.random.IntN(len(usual))])
		if d.random.IntN(8) == 0 {
			m.Question[0].Qtype = laneQtypes[d.random.IntN(len(laneQtypes))]
		}
		m.RecursionDesired = d.random.IntN(3) > 0
		m.CheckingDisabled = d.random.IntN(4) == 0
		m.AuthenticatedData = d.random.IntN(4) == 0
		if d.random.IntN(3) > 0 {
			opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
			opt.SetUDPSize(pick(0, 1, 511, 512, 513, 700, 1232, 1400, 1401, 4096, 16384, 65535))
			if d.random.IntN(3) == 0 {
				opt.SetDo()
			}
			if d.random.IntN(5) == 0 {
				opt.Hdr.Ttl |= d.random.Uint32() & 0x7fff
			}
			if d.random.IntN(10) == 0 {
				opt.SetVersion(uint8(d.random.IntN(3)))
			}
			if d.random.IntN(20) == 0 {
				opt.Hdr.Ttl |= 1 << 24 // an extended code in a query
			}
			for _, option := range []dns.EDNS0{
				&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"},
				&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0)},
				&dns.EDNS0_PADDING{Padding: make([]byte, d.random.IntN(400))},
				&dns.EDNS0_NSID{Code: dns.EDNS0NSID},
				&dns.EDNS0_TCP_KEEPALIVE{Code: dns.EDNS0TCPKEEPALIVE},
				&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("local")},
			} {
				if d.random.IntN(12) == 0 {
					opt.Option = append(opt.Option, option)
				}
			}
			m.Extra = []dns.RR{opt}
			if d.random.IntN(40) == 0 {
				m.Extra = append(m.Extra, opt) // twice
			}
		}
		switch d.random.IntN(60) {
		case 0:
			m.Question[0].Qclass = pick(dns.ClassCHAOS, dns.ClassANY, dns.ClassNONE, dns.ClassHESIOD, 0, 65535)
		case 1:
			m.Opcode = d.random.IntN(16)
		case 2:
			m.Question = append(m.Question, m.Question[0])
		case 3:
			m.Ns = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 1)}}
		case 4:
			m.Extra = append(m.Extra, &dns.TXT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"more"}})
		}
		add(m)
	}
	for range 700 { // damaged
		m := query(anyName(), usual[d.random.IntN(len(usual))])
		if d.random.IntN(2) == 0 {
			m.SetEdns0(pick(512, 1232, 4096), d.random.IntN(2) == 0)
		}
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		switch d.random.IntN(6) {
		case 0:
			packet = packet[:d.random.IntN(len(packet)+1)]
		case 1:
			packet = append(packet, make([]byte, d.random.IntN(700))...)
		case 2: // header
			packet[2+d.random.IntN(10)] ^= 1 << d.random.IntN(8)
		case 3: // anywhere else
			packet[12+d.random.IntN(len(packet)-12)] ^= 1 << d.random.IntN(8)
		case 4: // a pointer, or a label of a reserved type
			packet[12+d.random.IntN(len(packet)-12)] = byte(0x40 + d.random.IntN(0xC0))
		case 5:
			packet[2], packet[3] = byte(d.random.Uint32()), byte(d.random.Uint32())
		}
		all = append(all, packet)
	}
	return all
}

func mixCase(r *rand.Rand, name string) string {
	b := []byte(name)
	if r.IntN(2) == 0 {
		return name
	}
	for i, c := range b {
		if c >= 'a' && c <= 'z' && r.IntN(2) == 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
