package test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/clusterdns/clusterdns/test/dnstext"
	"github.com/clusterdns/clusterdns/test/freeport"

	plugintest "github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
	"golang.org/x/tools/txtar"
)

// TestScenarios runs testdata/*.txtar, and those of testdata/stock, which are
// the tables of other projects' tests (docs/stock-tables.md). An archive begins
// with a script; its files are Corefiles, in which $MANIFESTS stands for a folder
// of manifests that is empty at first, and files of Kubernetes objects. The lines
// of the script, and of what is indented below them:
//
//	upstream FILE               starts another server; $UPSTREAM is its UDP address in Corefiles
//	corefile FILE               starts the server, or reloads it
//	corefile! FILE              the same must fail; below it, a part of the error
//	apply FILE...               puts files into the folder, each in one step
//	remove FILE...              takes files out of the folder
//	endpoints NS/SERVICE N      puts in slices with N endpoints, 10.200.0.0 and on
//	query NAME TYPE [OPTION...] asks; below it, the reply in the notation of dnstext
//	wait NAME TYPE [OPTION...]  asks until the reply is what is below
//	count NAME TYPE [OPTION...] asks for a service with endpoints; below it, code and
//	                            flags, and how many of its endpoints are answered
//	watch NAME TYPE             from here on, asks all the time; every reply has records
//	unwatch                     ends all that
//	serial rises|stays          how the SOA's serial compares with that at the last such line
//	log                         waits until the log, from the last such line on, has what is below
//
// Options of a query are tcp, both (over UDP and TCP), from ADDR (the client's
// address), bufsize N (which sends an OPT record), do, z N, version N, norecurse
// and cd. Names are below cluster.local.
//
// Each archive runs twice: with the plugin chain alone, since the fast lane does
// not open at a port of the kernel's choice, and with a port of ours, where it
// does if the Corefile lets it.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	stock, _ := filepath.Glob("testdata/stock/*.txtar")
	if err != nil || len(files) == 0 || len(stock) == 0 {
		t.Fatalf("testdata: %v, %d archives, %d of stock", err, len(files), len(stock))
	}
	for _, file := range append(files, stock...) {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(file), "testdata/"), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Run("chain", func(t *testing.T) { newScenario(t, archive, "0").run(string(archive.Comment)) })
			t.Run("lane", func(t *testing.T) {
				needLane(t)
				s := newScenario(t, archive, freeport.Of(t))
				before := laneAt(t, ":"+s.port)
				s.run(string(archive.Comment))
				after := laneAt(t, ":"+s.port)
				answered, declined := after.answered-before.answered, after.declined-before.declined
				t.Logf("the lane answered %v and left %v to the chain", answered, declined)
				if why := noneForLane[name]; (answered == 0) != (why != "") || why != "" && !after.open {
					t.Errorf("the lane answered %v, and is open: %v; that none is for it: %q", answered, after.open, why)
				}
			})
		})
	}
}

// noneForLane are the archives with no question that the lane is to answer, and
// what they ask instead.
var noneForLane = map[string]string{
	"stock/e2e-configmap": "names that the next plugin has, and ExternalNames outside of the cluster",
	"stock/unsynced":      "a name of which it is not known whether it exists",
}

func newScenario(t *testing.T, archive *txtar.Archive, port string) *scenario {
	s := &scenario{T: t, files: map[string]string{}, manifests: t.TempDir(), port: port}
	for _, f := range archive.Files {
		s.files[f.Name] = string(f.Data)
	}
	_, s.log = logged.since(0)
	return s
}

// scenario is the state of a running script.
type scenario struct {
	*testing.T
	files     map[string]string
	manifests string // folder
	port      string // that Corefiles have instead of 0
	server    *server
	upstream  string         // address of another server
	endpoints map[string]int // of generated services
	serial    uint32
	log       int // how much of the log was read
	watching  chan struct{}
	watchers  sync.WaitGroup
}

func (s *scenario) run(script string) {
	defer s.unwatch()
	lines := strings.Split(script, "\n")
	commands := 0
	for i := 0; i < len(lines); i++ {
		line, at := lines[i], i+1
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var below []string
		for i+1 < len(lines) && (strings.HasPrefix(lines[i+1], " ") || strings.HasPrefix(lines[i+1], "\t")) {
			i++
			below = append(below, lines[i])
		}
		commands++
		if err := s.do(strings.Fields(line), strings.Join(below, "\n")); err != nil {
			s.Fatalf("line %d: %s: %v", at, line, err)
		}
	}
	if commands == 0 {
		s.Fatal("no commands")
	}
}

func (s *scenario) do(words []string, below string) error {
	args := words[1:]
	switch words[0] {
	case "upstream":
		content, ok := s.files[args[0]]
		if !ok {
			return fmt.Errorf("no file %s in the archive", args[0])
		}
		s.upstream = start(s, content).addr("udp")
		return nil
	case "corefile", "corefile!":
		return s.corefile(args[0], words[0] == "corefile!", strings.TrimSpace(below))
	case "apply":
		for _, name := range args {
			content, ok := s.files[name]
			if !ok {
				return fmt.Errorf("no file %s in the archive", name)
			}
			put(s, s.manifests, name, content)
		}
		return nil
	case "remove":
		for _, name := range args {
			if err := os.Remove(filepath.Join(s.manifests, name)); err != nil {
				return err
			}
		}
		return nil
	case "endpoints":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return s.generate(args[0], n)
	case "query", "wait":
		return s.query(args, below, words[0] == "wait")
	case "count":
		return s.count(args, strings.Split(strings.TrimSpace(below), "\n"))
	case "watch":
		return s.watch(args)
	case "unwatch":
		s.unwatch()
		return nil
	case "serial":
		return s.compareSerial(args[0])
	case "log":
		eventually(s, func() string {
			text, end := logged.since(s.log)
			if !strings.Contains(text, strings.TrimSpace(below)) {
				return "the log is:\n" + text
			}
			s.log = end
			return ""
		})
		return nil
	}
	return fmt.Errorf("no such command")
}

func (s *scenario) corefile(name string, fails bool, why string) error {
	content, ok := s.files[name]
	if !ok {
		return fmt.Errorf("no file %s in the archive", name)
	}
	content = strings.NewReplacer("$MANIFESTS", s.manifests, "$UPSTREAM", s.upstream).Replace(content)
	content = withPort(content, s.port)
	if s.server == nil {
		s.server = start(s, content)
		return nil
	}
	err := s.server.reload(content)
	if fails && (err == nil || !strings.Contains(err.Error(), why)) {
		return fmt.Errorf("the error is %v, and must have %q", err, why)
	}
	if fails {
		return nil
	}
	return err
}

// generate writes the slices of a service with n endpoints, 100 to a slice.
func (s *scenario) generate(service string, n int) error {
	ns, name, _ := strings.Cut(service, "/")
	var b strings.Builder
	for i := range n {
		if i%100 == 0 {
			fmt.Fprintf(&b, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"+
				"metadata: {name: %[1]s-%[2]d, namespace: %[3]s, labels: {kubernetes.io/service-name: %[1]s}}\n"+
				"ports: [{name: http, port: 80}]\nendpoints:\n", name, i/100, ns)
		}
		fmt.Fprintf(&b, "- addresses: [%s]\n", endpoint(i))
	}
	put(s, s.manifests, "endpoints-"+ns+"-"+name+".yaml", b.String())
	if s.endpoints == nil {
		s.endpoints = map[string]int{}
	}
	s.endpoints[name+"."+ns+".svc"] = n
	return nil
}

func endpoint(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)}) }

// message returns a query and how to send it.
func (s *scenario) message(args []string) (r *dns.Msg, by route, err error) {
	r, by = dnstext.Cluster.Query(s, args[0]+" "+args[1]), route{networks: []string{"udp"}}
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	for i := 2; i < len(args); i++ {
		number := func() uint16 {
			i++
			n, e := strconv.ParseUint(args[min(i, len(args)-1)], 0, 16)
			if e != nil {
				err = e
			}
			return uint16(n)
		}
		switch args[i] {
		case "tcp":
			by.networks = []string{"tcp"}
		case "both":
			by.networks = []string{"udp", "tcp"}
		case "from":
			i++
			if by.from = net.ParseIP(args[min(i, len(args)-1)]); by.from == nil {
				err = fmt.Errorf("from takes an address")
			}
		case "bufsize":
			opt.SetUDPSize(number())
			r.Extra = []dns.RR{opt}
		case "do":
			opt.SetDo()
		case "z":
			opt.Hdr.Ttl |= uint32(number())
		case "version":
			opt.SetVersion(uint8(number()))
		case "norecurse":
			r.RecursionDesired = false
		case "cd":
			r.CheckingDisabled = true
		default:
			return nil, by, fmt.Errorf("%q is no option of a query", args[i])
		}
	}
	return r, by, err
}

// route is how a query is sent.
type route struct {
	networks []string // udp, tcp or both
	from     net.IP   // nil for any
}

func (s *scenario) query(args []string, below string, again bool) error {
	r, by, err := s.message(args)
	if err != nil {
		return err
	}
	want, err := dnstext.Cluster.Parse(below)
	if err != nil {
		return err
	}
	once := func() string {
		for _, network := range by.networks {
			m, _, err := s.server.exchangeFrom(by.from, network, r)
			if err != nil {
				return err.Error()
			}
			if err := plugintest.CNAMEOrder(m); err != nil {
				return err.Error()
			}
			if diff := want.Diff(m); diff != "" {
				return network + ": " + diff
			}
		}
		return ""
	}
	if again {
		eventually(s, once)
	} else if diff := once(); diff != "" {
		s.Errorf("%s: %s", strings.Join(args, " "), diff)
	}
	return nil
}

// count checks a reply that is too long to write down.
func (s *scenario) count(args, below []string) error {
	r, by, err := s.message(args)
	if err != nil {
		return err
	}
	network := by.networks[0]
	want, err := strconv.Atoi(strings.TrimSpace(below[len(below)-1]))
	if err != nil {
		return err
	}
	m, size, err := s.server.exchange(network, r)
	if err != nil {
		return err
	}
	limit := dns.MaxMsgSize
	if network == "udp" {
		limit = dns.MinMsgSize
		if opt := r.IsEdns0(); opt != nil {
			limit = int(opt.UDPSize())
		}
	}
	if size > limit {
		s.Errorf("%v: a reply of %d octets, more than %d", args, size, limit)
	}
	if head, _, _ := strings.Cut(dnstext.Of(m).String(), "\n"); head != strings.TrimSpace(below[0]) {
		s.Errorf("%v: got %s, want %s", args, head, below[0])
	}
	left := map[string]bool{}
	for i := range s.endpoints[args[0]] {
		left[endpoint(i).String()] = true
	}
	for _, rr := range m.Answer {
		a, ok := rr.(*dns.A)
		if !ok || !left[a.A.String()] || a.Hdr.Name != r.Question[0].Name || a.Hdr.Ttl != dnstext.Cluster.TTL {
			s.Errorf("%v: %v is wrong, or answered twice", args, rr)
			break
		}
		delete(left, a.A.String())
	}
	if len(m.Answer) != want {
		s.Errorf("%v: %d records in %d octets, want %d", args, len(m.Answer), size, want)
	}
	return nil
}

// watch asks over TCP, where nothing is lost.
func (s *scenario) watch(args []string) error {
	r, _, err := s.message(args)
	if err != nil {
		return err
	}
	if s.watching == nil {
		s.watching = make(chan struct{})
	}
	stop, asked := s.watching, make(chan struct{}, 1)
	s.watchers.Go(func() {
		conn, err := dns.DialTimeout("tcp", s.server.addr("tcp"), patience)
		if err != nil {
			s.Error(err)
			asked <- struct{}{}
			return
		}
		defer conn.Close()
		client := &dns.Client{Net: "tcp", Timeout: patience}
		for {
			m, _, err := client.ExchangeWithConn(r, conn)
			if err != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) == 0 {
				s.Errorf("watching %v: %v, %v", args, err, m)
				asked <- struct{}{}
				return
			}
			select {
			case asked <- struct{}{}:
			case <-stop:
				return
			default:
			}
		}
	})
	<-asked
	return nil
}

func (s *scenario) unwatch() {
	if s.watching != nil {
		close(s.watching)
		s.watching = nil
	}
	s.watchers.Wait()
}

func (s *scenario) compareSerial(how string) error {
	m, _, err := s.server.exchange("udp", dnstext.Cluster.Query(s, "@ SOA"))
	if err != nil {
		return err
	}
	if len(m.Answer) != 1 {
		return fmt.Errorf("no SOA: %v", dnstext.Of(m))
	}
	before, now := s.serial, m.Answer[0].(*dns.SOA).Serial
	s.serial = now
	switch how {
	case "rises":
		if now <= before {
			return fmt.Errorf("%d after %d", now, before)
		}
	case "stays":
		if now != before {
			return fmt.Errorf("%d after %d", now, before)
		}
	default:
		return fmt.Errorf("neither rises nor stays")
	}
	return nil
}
