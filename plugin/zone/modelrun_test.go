package zone

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// What the model's worlds are made of: few names and addresses, so that they
// meet often.
var (
	poolNamespaces = []string{"a", "b", "1st"}
	poolServices   = []string{"web", "db", "9lives", "x-1"}
	poolAddrs      = addrList("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.96.0.1", "fd00::1", "fd00::2", "fd00:1::", "1::2", "::", "::1:0:0")
	poolIPs        = addrList("10.96.0.1", "10.96.0.2", "10.96.0.3", "10.0.0.1", "fd96::1", "fd96::2", "fd00::1")
	poolHostnames  = []string{"", "", "", "", "h0", "h1", "Mixed", "10-0-0-2", "fd00-1--0", "1--2", "2001-db8-0-0-0-0-0-1"}
	poolPorts      = [][]Port{
		nil, nil,
		{{"http", "TCP", 80}},
		{{"", "TCP", 80}},
		{{"http", "TCP", 80}, {"alt", "TCP", 80}},
		{{"dns", "UDP", 53}, {"dns", "TCP", 53}, {"dns", "SCTP", 54}},
		{{"http", "TCP", -1}},
		{{"", "", -1}},
		{{"http", "TCP", 80}, {"dns", "UDP", -1}},
		{{"HTTP", "TCP", 8080}, {"", "UDP", 53}, {"_x", "TCP", 0}},
	}
	poolTargets = []string{
		"web.a.svc.cluster.local", "db.a.svc.Cluster.local.", "x-1.a.svc.cluster.local", "9lives.b.svc.cluster.local", "db.1st.svc.cluster.local",
		"ext.Example.com", "www.example.org", "10.1.2.3", "fd00::1", "cluster.local", "a.svc.cluster.local", "h0.web.a.svc.cluster.local",
		"_http._tcp.web.a.svc.cluster.local", "10-0-0-1.a.pod.cluster.local", "nope.a.svc.cluster.local", "ns.dns.cluster.local",
		"sub.x-1.a.svc.cluster.local", "bad..name", "web.a.svc.example.org", "1.0.0.10.in-addr.arpa", "dns-version.cluster.local", ".",
	}
	poolHosts    = []string{"lb.example.com", "LB.example.com.", "other.example.com", "bad..name"}
	poolPods     = []string{"p0", "p1", "p2"}
	poolZones    = []string{"", "", "z1", "z1", "z2", "corp.example.com"}
	poolClusters = []string{"", "c1", "c1", "C2", "h0"}
)

func addrList(texts ...string) (addrs []netip.Addr) {
	for _, t := range texts {
		addrs = append(addrs, netip.MustParseAddr(t))
	}
	return addrs
}

// dice makes choices from a string of bytes.
type dice struct{ data []byte }

// n returns a number below k; 0 when the bytes are used up.
func (d *dice) n(k int) int {
	if len(d.data) == 0 {
		return 0
	}
	c := d.data[0]
	d.data = d.data[1:]
	return int(c) % k
}

func (d *dice) one(k int) bool { return d.n(k) == 1 }

func roll[T any](d *dice, pool []T) T { return pool[d.n(len(pool))] }

// modelRun drives a Writer and the model with the same events.
type modelRun struct {
	t       testing.TB
	w       *Writer
	m       *naive
	views   []modelView
	clock   uint64 // last resourceVersion
	oldest  *snapshot
	content string // of oldest
	asked   int
	cached  int
	recent  []modelQuestion // with negative answers; asked again after later batches
}

type modelQuestion struct {
	view  *modelView
	name  string
	qtype uint16
}

type modelView struct {
	v        *View
	model    *naiveView
	negative *NegativeCache[modelKey, Outcome]
	follower *mapFollower // nil: nobody
}

type modelKey struct {
	name  string
	qtype uint16
}

func newModelRun(t testing.TB) *modelRun {
	r := &modelRun{t: t, w: NewWriter(), m: newNaive()}
	for i, zones := range [][]string{
		{"cluster.local."},
		{"cluster.local.", "10.in-addr.arpa.", "ip6.arpa."},
		{"."},
		{"in-addr.arpa.", "example.org.", "sub.example.org.", "cluster.local.", "1.0.0.10.in-addr.arpa."},
		{"cluster.local.", "set.local.", "east.set.local.", "10.in-addr.arpa."},
	} {
		for pods := range PodsVerified + 1 {
			for _, noEndpoints := range []bool{false, true} {
				for _, ignoreEmpty := range []bool{false, true} {
					if i > 0 && (i+int(pods))%3 > 0 == noEndpoints {
						continue // enough is enough
					}
					opt := Options{Zones: zones, TTL: []uint32{5, 30, 3600}[pods], Pods: pods, NoEndpoints: noEndpoints, IgnoreEmpty: ignoreEmpty}
					opt.Zonal = !noEndpoints && len(r.views)%3 > 0
					if i == 4 {
						opt.Multicluster = []string{"Set.local."}
					}
					switch len(r.views) % 4 {
					case 1:
						opt.Namespaces = []string{"a", "1st"}
					case 2:
						opt.SelectedNamespaces = true
					}
					r.view(opt, [][]netip.Addr{nil, addrList("10.0.0.1"), addrList("10.0.0.2", "fd00::1"), addrList("192.0.2.1", "2001:db8::1")}[(i+len(r.views))%4])
				}
			}
		}
	}
	for i, opt := range []Options{
		{Zones: []string{"example.org.", "10.in-addr.arpa.", "ip6.arpa."}, External: &ExternalOptions{Apex: "dns"}},
		{Zones: []string{"example.org.", "in-addr.arpa."}, External: &ExternalOptions{Apex: "dns", Headless: true}},
		{Zones: []string{"example.org.", "sub.example.org."}, External: &ExternalOptions{Apex: "DNS", Headless: true}, NoEndpoints: true},
		{Zones: []string{"example.org.", "."}, External: &ExternalOptions{Apex: "dns", Headless: true}, Namespaces: []string{"a", "1st"}},
		{Zones: []string{"example.org.", "10.in-addr.arpa."}, External: &ExternalOptions{Apex: "dns"}, SelectedNamespaces: true},
	} {
		opt.TTL = 400
		r.view(opt, [][]netip.Addr{nil, addrList("10.0.0.1"), addrList("10.0.0.2", "fd00::1"), addrList("192.0.2.1", "2001:db8::1")}[i%4])
	}
	return r
}

// view adds a view.
func (r *modelRun) view(opt Options, local []netip.Addr) {
	v, err := NewView(r.w.Index(), opt)
	if err != nil {
		r.t.Fatal(err)
	}
	v.SetLocalAddrs(local)
	cache, err := NewNegativeCache[modelKey, Outcome](1000)
	if err != nil {
		r.t.Fatal(err)
	}
	r.views = append(r.views, modelView{v, &naiveView{opt, local}, cache, followedBy(r.t, v, len(r.views))})
}

// run does what the bytes say, one batch after the other, and asks questions
// after each.
func (r *modelRun) run(events []byte) {
	h := fnv.New64a()
	h.Write(events)
	questions := rand.New(rand.NewPCG(h.Sum64(), 1))
	d := &dice{events}
	for len(d.data) > 0 {
		if d.one(32) {
			r.restart(d)
		}
		before, serial := r.m.visible(), r.w.Index().Serial()
		r.w.Update(func(b *Batch) {
			for range 1 + d.n(4)*d.n(2) {
				r.event(b, d)
			}
		})
		r.m.serial = r.w.Index().Serial()
		if err := check(r.w); err != nil {
			r.t.Fatal(err)
		}
		for _, v := range r.views {
			v.follower.fill()
		}
		switch moved := int32(r.m.serial - serial); {
		case moved < 0:
			r.t.Fatalf("serial went from %d back to %d", serial, r.m.serial)
		case moved == 0 && before != r.m.visible():
			r.t.Fatalf("serial stayed %d\nfrom %s\nto   %s", serial, before, r.m.visible())
		}
		r.history(d.one(8))
		for range 25 {
			r.ask(questions, questions.IntN(2) == 0)
		}
		for _, q := range r.recent {
			r.question(q.view, q.name, q.qtype)
		}
	}
	for range 300 {
		r.ask(questions, true)
	}
}

// restart begins another index with what is held.
func (r *modelRun) restart(d *dice) {
	saved := r.w.Save()
	saved.Last = saved.Last && d.one(2)
	r.w = NewWriter()
	r.w.Update(func(b *Batch) { b.Restore(saved) })
	if err := check(r.w); err != nil {
		r.t.Fatal(err)
	}
	if got := r.w.Index().Serial(); got != saved.Serial {
		r.t.Fatalf("restored serial %d, saved %d", got, saved.Serial)
	}
	for _, v := range r.views {
		v.v.Show(r.w.Index())
	}
	clear(r.m.pods)
	r.m.restored, r.m.silent, r.m.synced[Pods] = r.m.synced, [numResources]bool{}, false
	r.m.restored[Pods] = false
	// What had not synced leaves no trace: events come behind a list.
	for res := range numResources {
		if !r.m.synced[res] {
			for _, k := range r.m.keys(res) {
				r.m.remove(res, k)
			}
		}
	}
	r.oldest = nil
}

// history checks that a snapshot published earlier still is what it was, and
// with again takes the present one for the next time.
func (r *modelRun) history(again bool) {
	if r.oldest != nil && r.oldest.dump() != r.content {
		r.t.Fatalf("a published snapshot changed\nfrom %s\nto   %s", r.content, r.oldest.dump())
	}
	if again {
		r.oldest = r.w.ix.current.Load()
		r.content = r.oldest.dump()
	}
}

func (s *snapshot) dump() string {
	var lines []string
	for l := range s.namespaces.all {
		lines = append(lines, l.value.Name)
	}
	for l := range s.services.all {
		v := l.value
		lines = append(lines, fmt.Sprintf("%x %v %p %p %x %x %v", l.hash, v.id.Key, v, v.obj, v.v4, v.v6, v.slices))
	}
	for l := range s.imports.all {
		v := l.value
		lines = append(lines, fmt.Sprintf("import %x %v %p %p %x %x %v", l.hash, v.id.Key, v, v.obj, v.v4, v.v6, v.slices))
	}
	for what, t := range map[string]trie[*owners]{"reverse": s.reverse, "ClusterIP": s.clusterIPs} {
		for l := range t.all {
			lines = append(lines, fmt.Sprintf("%s %x %v", what, l.hash, slices.Collect(l.value.all)))
		}
	}
	for l := range s.pods.all {
		lines = append(lines, fmt.Sprintf("%x %v %v", l.hash, l.value.addr, slices.Collect(l.value.all)))
	}
	slices.Sort(lines)
	return fmt.Sprint(s.serial, s.synced, s.objects, lines)
}

// visible returns what a zone transfer of the model would be made from.
func (m *naive) visible() string {
	var lines []string
	for ns := range m.namespaces {
		lines = append(lines, ns)
	}
	for _, s := range m.services {
		c := *s
		c.Version, c.PublishNotReady, c.External = 0, false, nil
		if lines = append(lines, fmt.Sprintf("%+v", c)); s.External != nil {
			lines = append(lines, fmt.Sprintf("%v %+v", s.Key, *s.External))
		}
	}
	for _, s := range m.imports {
		c := *s
		c.Version, c.PublishNotReady = 0, false
		lines = append(lines, fmt.Sprintf("import %+v", c))
	}
	for _, s := range m.slices {
		if s.service != "" {
			lines = append(lines, fmt.Sprintf("%v %s %v %v", s.Key, s.service, s.ports, m.endpoints(s)))
		}
		if s.imported != nil && m.imports[Key{s.Namespace, s.imported.Service}] != nil {
			lines = append(lines, fmt.Sprintf("%v of import %v %v %v", s.Key, *s.imported, s.ports, s.ready))
		}
	}
	slices.Sort(lines)
	return fmt.Sprint(lines)
}

func (r *modelRun) version(d *dice) uint64 {
	r.clock++
	if d.one(10) {
		return r.clock / 2 // out of order, or a restored store
	}
	return r.clock
}

func (r *modelRun) event(b *Batch, d *dice) {
	switch res := []Resource{Services, EndpointSlices, Services, EndpointSlices, EndpointSlices, Namespaces, Pods, ServiceImports}[d.n(8)]; d.n(8) {
	case 0:
		r.replace(b, d, res)
		if silent := d.one(3); r.m.synced[res] {
			b.SetSilent(res, silent)
			r.m.silent[res] = silent
		}
	case 1, 2:
		if keys := r.m.keys(res); len(keys) > 0 {
			k := roll(d, keys)
			b.Delete(res, k, r.version(d))
			r.m.remove(res, k)
		} else {
			b.Delete(res, Key{"a", "absent"}, r.version(d))
		}
	default:
		b.Set(r.m.put(r.object(d, res)))
	}
}

// replace makes some objects held and some new ones all that there is.
func (r *modelRun) replace(b *Batch, d *dice, res Resource) {
	var list []Object
	for _, k := range r.m.keys(res) {
		if d.n(4) > 0 {
			list = append(list, r.m.copyOf(res, k))
		} else {
			r.m.remove(res, k)
		}
	}
	for range d.n(4) {
		o, s := r.object(d, res)
		list = slices.DeleteFunc(list, func(x Object) bool { return x.ObjectKey() == o.ObjectKey() })
		list = append(list, r.m.put(o, s))
	}
	b.Replace(res, list, r.version(d))
	r.m.synced[res], r.m.restored[res] = true, false
}

// object makes an object up.
func (r *modelRun) object(d *dice, res Resource) (Object, *naiveSlice) {
	switch res {
	case Namespaces:
		return &Namespace{Name: roll(d, poolNamespaces), Version: r.version(d)}, nil
	case Pods:
		p := &Pod{Key: Key{roll(d, poolNamespaces), roll(d, poolPods)}, Version: r.version(d)}
		for range d.n(3) {
			if a := roll(d, poolAddrs); !slices.Contains(p.Addrs, a) {
				p.Addrs = append(p.Addrs, a)
			}
		}
		return p, nil
	case ServiceImports:
		s := &ServiceImport{Service{Key: Key{roll(d, poolNamespaces), roll(d, poolServices)}, Version: r.version(d), Kind: Kind(d.n(2))}}
		if s.Kind == ClusterIP {
			for range d.n(3) {
				if a := roll(d, poolIPs); !slices.Contains(s.ClusterIPs, a) {
					s.ClusterIPs = append(s.ClusterIPs, a)
				}
			}
		}
		s.Ports = slices.Clone(roll(d, poolPorts))
		return s, nil
	case Services:
		s := &Service{Key: Key{roll(d, poolNamespaces), roll(d, poolServices)}, Version: r.version(d), Kind: Kind(d.n(3)), PublishNotReady: d.one(3)}
		switch s.Kind {
		case ExternalName:
			s.ExternalName = roll(d, poolTargets)
		case ClusterIP:
			for range d.n(3) {
				if a := roll(d, poolIPs); !slices.Contains(s.ClusterIPs, a) && !r.m.taken(a, s.Key) {
					s.ClusterIPs = append(s.ClusterIPs, a)
				}
			}
		}
		s.Ports = slices.Clone(roll(d, poolPorts))
		var addrs []netip.Addr
		var hosts []string
		for range d.n(4) - 1 {
			addrs = append(addrs, roll(d, poolAddrs))
			if d.one(2) {
				hosts = append(hosts, roll(d, poolHosts))
			}
		}
		s.External = NewExternal(addrs, hosts)
		return s, nil
	}
	n := &naiveSlice{Key: Key{roll(d, poolNamespaces), roll(d, []string{"s0", "s1", "s2", "s3", "s4"})}}
	n.service = roll(d, append([]string{"ghost"}, poolServices...))
	if d.one(2) {
		n.imported = &Imported{roll(d, append([]string{"ghost"}, poolServices...)), roll(d, poolClusters)}
		if d.one(2) {
			n.service = ""
		}
	}
	n.ports = slices.Clone(roll(d, poolPorts))
	for i := range d.n(6) {
		list := &n.ready
		if i%4 == 3 {
			list = &n.notReady
		}
		*list = append(*list, Endpoint{roll(d, poolAddrs), roll(d, poolHostnames), roll(d, poolZones)})
	}
	return n.object(r.version(d)), n
}

func (n *naiveSlice) object(version uint64) *EndpointSlice {
	s := &EndpointSlice{Key: n.Key, Version: version, Service: n.service, Imported: n.imported, Ports: slices.Clone(n.ports), Ready: NewEndpoints(slices.Clone(n.ready))}
	if len(n.notReady) > 0 {
		e := NewEndpoints(slices.Clone(n.notReady))
		s.NotReady = &e
	}
	return s
}

// taken reports whether another service has the ClusterIP: an API server
// never gives one twice.
func (m *naive) taken(a netip.Addr, k Key) bool {
	for _, s := range m.services {
		if s.Key != k && slices.Contains(s.ClusterIPs, a) {
			return true
		}
	}
	return false
}

// put notes an object, and returns it.
func (m *naive) put(o Object, s *naiveSlice) Object {
	switch o := o.(type) {
	case *Namespace:
		m.namespaces[o.Name] = true
	case *Service:
		m.services[o.Key] = o
	case *EndpointSlice:
		m.slices[o.Key] = s
	case *Pod:
		m.pods[o.Key] = o
	case *ServiceImport:
		m.imports[o.Key] = o
	}
	return o
}

func (m *naive) remove(res Resource, k Key) {
	switch res {
	case Namespaces:
		delete(m.namespaces, k.Name)
	case Services:
		delete(m.services, k)
	case EndpointSlices:
		delete(m.slices, k)
	case Pods:
		delete(m.pods, k)
	case ServiceImports:
		delete(m.imports, k)
	}
}

// copyOf returns the object as a list would bring it again.
func (m *naive) copyOf(res Resource, k Key) Object {
	switch res {
	case Namespaces:
		return &Namespace{Name: k.Name}
	case Services:
		c := *m.services[k]
		c.Ports = slices.Clone(c.Ports)
		return &c
	case Pods:
		c := *m.pods[k]
		return &c
	case ServiceImports:
		c := *m.imports[k]
		return &c
	}
	return m.slices[k].object(1)
}

func (m *naive) keys(res Resource) (keys []Key) {
	switch res {
	case Namespaces:
		for ns := range m.namespaces {
			keys = append(keys, Key{Name: ns})
		}
	case Services:
		for k := range m.services {
			keys = append(keys, k)
		}
	case EndpointSlices:
		for k := range m.slices {
			keys = append(keys, k)
		}
	case Pods:
		for k := range m.pods {
			keys = append(keys, k)
		}
	case ServiceImports:
		for k := range m.imports {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
	return keys
}

func TestModel(t *testing.T) {
	start := time.Now()
	asked, cached := 0, 0
	for seed := range uint64(40) {
		if seed > 7 && (testing.Short() || raceEnabled) { // the race detector makes it ten times slower
			break
		}
		source := rand.New(rand.NewPCG(seed, seed))
		events := make([]byte, 3000)
		for i := 0; i < len(events); i += 8 {
			binary.LittleEndian.PutUint64(events[i:], source.Uint64())
		}
		r := newModelRun(t)
		r.run(events)
		asked, cached = asked+r.asked, cached+r.cached
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d questions, %d of them answered by the negative cache, in %v", asked, cached, time.Since(start))
}

// FuzzModel is TestModel with the fuzzer choosing the events.
func FuzzModel(f *testing.F) {
	f.Add([]byte("some events, whatever they are, to begin with"))
	f.Fuzz(func(t *testing.T, events []byte) {
		if len(events) < 2000 {
			newModelRun(t).run(events)
		}
	})
}

// modelTypes is what the model is asked for, the likely ones more often.
var modelTypes = []uint16{
	dns.TypeA, dns.TypeA, dns.TypeAAAA, dns.TypeAAAA, dns.TypeSRV, dns.TypeSRV, dns.TypePTR, dns.TypePTR,
	dns.TypeTXT, dns.TypeCNAME, dns.TypeNS, dns.TypeSOA, dns.TypeMX, dns.TypeANY,
}
