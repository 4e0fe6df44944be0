package e2e

import (
	"bytes"
	wire "encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/clusterdns/clusterdns/test/controlplane/netns"
)

// Environment of make lookups.
const (
	// stockEnv is a stock CoreDNS with all of its plugins, to measure beside ours.
	stockEnv = "LOOKUPS_STOCK"
	// tablesEnv are files that get the table, between lines with tableBegin and
	// tableEnd; README.md gets no more than glibc's rows.
	tablesEnv = "LOOKUPS_TABLES"

	tableBegin, tableEnd = "<!-- make lookups -->\n", "<!-- end of make lookups -->\n"
)

// TestLookups has the resolvers of pods look up names outside, which are asked for
// below the pod's namespace first, and counts on the wire what a lookup takes:
// questions and round trips between pod and server, and between server and
// upstream, which answers after a while. The time is that from the first question
// to the last reply. With autopath it is to be one question for each family of
// addresses, and one round trip of each kind.
func TestLookups(t *testing.T) {
	rights := account(t)
	s := newSpace(t, client)
	s.deploy("client", 1)
	addr := s.pods("client", 1)[0].Status.PodIPs[0].IP

	ours, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(tablesEnv) == "" {
		// Nobody reads the times: questions that are sent at once are to be on
		// their way before the first is answered on a busy machine too.
		lookupDelays = []time.Duration{100 * time.Millisecond, 100 * time.Millisecond}
	}
	servers := []lookupServer{
		{name: "clusterdns", program: ours},
		{name: "clusterdns, `autopath`, `pods insecure`", program: ours, autopath: true, goal: true},
		{name: "clusterdns, `autopath`, 2 domains of the node", program: ours, autopath: true, goal: true, domains: nodeDomains},
	}
	if made := os.Getenv(stockEnv); made != "" {
		stock := filepath.Join(scratch, "stock") // on the file system of the containers
		if text, err := os.ReadFile(made); err != nil {
			t.Fatal(err)
		} else if err := os.WriteFile(stock, text, 0o755); err != nil {
			t.Fatal(err)
		}
		servers = append(servers,
			lookupServer{name: "CoreDNS", program: stock},
			lookupServer{name: "CoreDNS, `autopath`, `pods verified`", program: stock, autopath: true, verified: true},
			lookupServer{name: "CoreDNS, `autopath`, 2 domains of the node", program: stock, autopath: true, verified: true, domains: nodeDomains})
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| server | resolver | questions | round trips | upstream: questions | round trips | ms, upstream at 5 ms | at 30 ms | again |\n|%s\n", strings.Repeat("---|", 9))
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) { server.measure(t, &table, s.name, addr, rights) })
	}
	t.Logf("\n%s", table.String())
	for _, path := range strings.Fields(os.Getenv(tablesEnv)) {
		rows := ""
		for row := range strings.Lines(table.String()) {
			if cells := strings.Split(row, " | "); filepath.Base(path) != "README.md" || len(cells) == 1 || cells[1] == "resolver" || cells[1] == "glibc" {
				rows += row
			}
		}
		putTable(t, path, tableBegin, tableEnd, rows)
	}
}

// putTable puts a table into a file, between two lines.
func putTable(t *testing.T, path, begin, end, table string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, found := strings.Cut(rest, end)
	if !ok || !found {
		t.Fatalf("%s has no place for the table", path)
	}
	if err := os.WriteFile(path, []byte(before+begin+table+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// lookupServer is a server with kubeadm's Corefile, but for what its fields say.
type lookupServer struct {
	name               string
	program            string
	autopath, verified bool
	domains            string // of the node, behind those of the cluster
	goal               bool   // is held to the goal
}

const nodeDomains = "rack.example corp.example"

var (
	lookupDelays = []time.Duration{5 * time.Millisecond, 30 * time.Millisecond}
	lookupTimes  = 5 // lookups of one kind, of different names
)

func (l lookupServer) measure(t *testing.T, table *strings.Builder, namespace, addr, rights string) {
	node, inside := netns.New(t), netns.New(t)
	const nameserver, gateway, pod = "10.96.0.10", "10.244.0.1", "10.244.0.2"
	node.Connect(t, inside, "pod", []string{gateway + "/24", "fd00:10:244::1/64"}, []string{pod + "/24", "fd00:10:244::2/64"})
	node.IP(t, "addr", "add", nameserver, "dev", "lo")
	node.IP(t, "route", "add", addr, "via", pod)
	inside.IP(t, "addr", "add", addr+"/32", "dev", "lo")
	inside.IP(t, "route", "add", nameserver, "via", gateway, "src", addr)

	libraries := libraries(t)
	if node, err := exec.LookPath("node"); err == nil {
		libraries["node"] = func(what string) ([]string, []string) {
			const script = `require("dns").lookup(process.argv[1], {all: true}, (err, all) => {
				if (err) { console.error(err.code); process.exit(err.code == "ENOTFOUND" ? 2 : 1) }
				all.forEach(a => console.log(a.address))
			})`
			return []string{node, "-e", script, what}, nil
		}
	}
	var zone strings.Builder
	name := func(library string, delay, i int) string { return fmt.Sprintf("%s-%d-%d.example", library, delay, i) }
	for library := range libraries {
		for delay := range lookupDelays {
			for i := range lookupTimes {
				fmt.Fprintf(&zone, "%[1]s. 60 A 198.51.100.7\n%[1]s. 60 AAAA 2001:db8::7\n", name(library, delay, i))
			}
		}
	}
	upstream := newResolvers(t, node, map[string]string{resolver: zone.String()})
	upstream.soa = true
	runContainer(t, l.program, node, l.files(t), rights, "127.0.0.1:53", "http://127.0.0.1:8181/ready")
	client, beyond := newWiretap(t, node, "pod"), newWiretap(t, node, "outside")
	p := newPod(t, inside, namespace, nameserver)
	if l.domains != "" {
		p.search(t, l.domains)
	}

	for _, library := range slices.Sorted(maps.Keys(libraries)) {
		lookup := func(name string) (pod, up taken) {
			t.Helper()
			client.since(t, inside, gateway)
			beyond.since(t, node, "169.254.1.1")
			args, env := libraries[library](name)
			if got, err := p.run(args, env); err != nil || got != sorted("198.51.100.7", "2001:db8::7") {
				t.Fatalf("%s: %s: %q, %v", library, name, got, err)
			}
			return client.since(t, inside, gateway), beyond.since(t, node, "169.254.1.1")
		}
		var first, out taken
		var ms []string
		for i, delay := range lookupDelays {
			upstream.delay.Store(int64(delay))
			var times []time.Duration
			for j := range lookupTimes {
				pod, up := lookup(name(library, i, j))
				if i+j == 0 {
					first, out = pod, up
				}
				if pod.counts() != first.counts() || up.counts() != out.counts() {
					t.Logf("%s: not always the same: %+v and %+v, first %+v and %+v", library, pod, up, first, out)
				}
				upstream := counts{2 * (1 + len(strings.Fields(l.domains))), 1}
				if want := (counts{2, 1}); l.goal && (pod.counts() != want || up.counts() != upstream) {
					t.Errorf("%s takes %+v, want %+v; and upstream %+v, want %+v", library, pod, want, up, upstream)
				}
				times = append(times, pod.time)
			}
			slices.Sort(times)
			ms = append(ms, fmt.Sprintf("%.1f", times[len(times)/2].Seconds()*1e3))
		}
		var times []time.Duration
		for j := range lookupTimes { // what the server has in its cache
			pod, up := lookup(name(library, len(lookupDelays)-1, j))
			if l.goal && up.questions > 0 {
				t.Errorf("%s: a name that was asked for just now takes %+v upstream", library, up)
			}
			times = append(times, pod.time)
		}
		slices.Sort(times)
		fmt.Fprintf(table, "| %s | %s | %d | %d | %d | %d | %s | %s | %.1f |\n", l.name, library, first.questions, first.trips, out.questions, out.trips,
			ms[0], ms[1], times[len(times)/2].Seconds()*1e3)
	}
}

// search puts domains at the end of a pod's search path.
func (p pod) search(t *testing.T, domains string) {
	t.Helper()
	path := filepath.Join(p.etc, "resolv.conf")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(text, []byte(" cluster.local\n"), []byte(" cluster.local "+domains+"\n"), 1), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// files returns a folder with the server's Corefile, and resolv.conf.
func (l lookupServer) files(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, "kubeadm", "Corefile"))
	if err != nil {
		t.Fatal(err)
	}
	corefile := string(text)
	for from, to := range map[string]string{
		"    errors\n":     "    errors\n    autopath @kubernetes\n",
		" pods insecure\n": " pods verified\n",
	} {
		if strings.HasPrefix(from, " pods") && !l.verified || !strings.HasPrefix(from, " pods") && !l.autopath {
			continue
		}
		if !strings.Contains(corefile, from) {
			t.Fatalf("kubeadm's Corefile has no %q", from)
		}
		corefile = strings.Replace(corefile, from, to, 1)
	}
	dir := t.TempDir()
	conf := "nameserver " + resolver + "\nsearch " + l.domains + "\n"
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "Corefile"), []byte(corefile), 0o444),
		os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(conf), 0o444),
	); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wiretap sees questions for addresses, and the replies, over UDP on a link.
type wiretap struct {
	lock   sync.Mutex
	taken  taken
	start  time.Time
	kinds  map[uint16]*kind // by type
	marker chan byte
	marked byte
}

// taken is what a lookup took.
type taken struct {
	questions int
	trips     int           // one after the other, of questions of one type
	time      time.Duration // from the first question to the last reply
}

// kind is what was seen of questions of one type.
type kind struct {
	name  []byte // of the last
	open  int    // without a reply
	trips int    // times that one for another name was sent while none was open
}

// counts are the figures of taken that do not depend on time.
type counts struct{ questions, trips int }

func (t taken) counts() counts { return counts{t.questions, t.trips} }

// markerPort is the discard service's, to which marks are sent.
const markerPort = 9

func newWiretap(t *testing.T, n netns.Namespace, link string) *wiretap {
	t.Helper()
	w := &wiretap{marker: make(chan byte, 1), kinds: map[uint16]*kind{}}
	var f *os.File
	err := n.Do(func() error {
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
		i, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, all)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "wiretap")
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}))
	})
	if err != nil {
		t.Fatalf("listening on %s: %v", link, err)
	}
	t.Cleanup(func() { f.Close() })
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf, control := make([]byte, 1<<16), make([]byte, 64)
		for {
			var n, oob int
			var failed error
			err := conn.Read(func(fd uintptr) bool {
				n, oob, _, _, failed = unix.Recvmsg(int(fd), buf, control, 0)
				return failed != unix.EAGAIN
			})
			if err != nil || failed != nil {
				return
			}
			w.packet(buf[:n], stamp(control[:oob]))
		}
	}()
	return w
}

// stamp returns when the kernel had a packet, from its control messages.
func stamp(control []byte) time.Time {
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(list) != 1 || len(list[0].Data) < 16 {
		return time.Time{}
	}
	data := list[0].Data // a struct timespec
	return time.Unix(int64(wire.NativeEndian.Uint64(data)), int64(wire.NativeEndian.Uint64(data[8:])))
}

func (w *wiretap) packet(b []byte, now time.Time) {
	switch {
	case len(b) > 20 && b[0]>>4 == 4 && b[9] == unix.IPPROTO_UDP:
		b = b[4*(b[0]&15):]
	case len(b) > 40 && b[0]>>4 == 6 && b[6] == unix.IPPROTO_UDP:
		b = b[40:]
	default:
		return
	}
	if len(b) <= 8 {
		return
	}
	from, to, b := wire.BigEndian.Uint16(b), wire.BigEndian.Uint16(b[2:]), b[8:]
	w.lock.Lock()
	defer w.lock.Unlock()
	switch {
	case to == markerPort:
		select {
		case w.marker <- b[0]:
		default:
		}
	case (to == 53 || from == 53) && len(b) > 12:
		name, rest, ok := bytes.Cut(b[12:], []byte{0})
		if !ok || len(rest) < 2 {
			return
		}
		qtype := wire.BigEndian.Uint16(rest)
		if qtype != dns.TypeA && qtype != dns.TypeAAAA { // the plugin loop's
			return
		}
		k := w.kinds[qtype]
		if k == nil {
			k = new(kind)
			w.kinds[qtype] = k
		}
		if from == 53 {
			k.open = max(0, k.open-1)
			w.taken.time = now.Sub(w.start)
			return
		}
		if w.taken.questions == 0 {
			w.start = now
		}
		w.taken.questions++
		if k.open == 0 && !bytes.EqualFold(name, k.name) {
			k.trips++
			k.name = bytes.Clone(name)
			w.taken.trips = max(w.taken.trips, k.trips)
		}
		k.open++
	}
}

// since returns what was seen since the last call, and begins anew. A datagram
// sent over the link, from n to the address to, marks the end.
func (w *wiretap) since(t *testing.T, n netns.Namespace, to string) taken {
	t.Helper()
	w.marked++
	conn, err := n.Dial("udp", "", fmt.Sprintf("%s:%d", to, markerPort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{w.marked}); err != nil {
		t.Fatal(err)
	}
	for end := time.After(limit); ; {
		select {
		case mark := <-w.marker:
			if mark != w.marked {
				continue
			}
		case <-end:
			t.Fatal("the mark has not come")
		}
		break
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	got := w.taken
	w.taken, w.kinds = taken{}, map[uint16]*kind{}
	return got
}
