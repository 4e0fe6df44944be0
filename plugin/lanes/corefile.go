package lanes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/eligible"
	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/responder"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/hosts"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/miekg/dns"
)

// corefile is what an instance knows of its Corefile. It is written while the
// instance is set up, and read when its servers serve.
type corefile struct {
	path   string
	blocks []caddyfile.ServerBlock
	err    error // why blocks are not to be relied on
	// By server block.
	stanzas map[int]stanza
	writers map[int]writer

	served map[string][]int // server blocks with a stanza of ours, by address
}

// stanza is a Stanza with the server block that it stands in.
type stanza struct {
	Stanza
	server *dnsserver.Config
}

// writer is another plugin's way of writing replies (dnsserver.Config's
// UDPDecorateWriterFunc), and the server block that asks for it.
type writer struct {
	server *dnsserver.Config
	keys   []string
	make   func(*dnsserver.Server) dns.DecorateWriter
}

func newCorefile() *corefile {
	return &corefile{stanzas: map[int]stanza{}, writers: map[int]writer{}, served: map[string][]int{}}
}

// parse reads the Corefile that CoreDNS is setting i up from.
func (f *corefile) parse(i *caddy.Instance) {
	if i == nil || i.Caddyfile() == nil {
		f.err = errors.New("the Corefile is not known")
		return
	}
	input := i.Caddyfile()
	f.path = input.Path()
	f.blocks, f.err = caddyfile.Parse(f.path, bytes.NewReader(input.Body()), dnsserver.Directives)
}

// add adds a stanza of ours, in the server block of c, and has the instance told
// of the servers that serve it.
func (inst *instance) add(c *caddy.Controller, s Stanza) {
	f := inst.corefile
	if f.err == nil && !f.has(c, s.Word) {
		f.err = errChanged
	}
	if f.err == nil && len(f.stanzas) == 0 {
		// A server has one such hook, that of the last of its blocks which has
		// one. Plugins that want it have been set up: they come before us.
		for block, b := range f.blocks {
			other := *c
			other.ServerBlockIndex, other.ServerBlockKeyIndex = block, 0
			server := dnsserver.GetConfig(&other)
			if make := server.UDPDecorateWriterFunc; make != nil {
				f.writers[block] = writer{server, b.Keys, make}
				server.UDPDecorateWriterFunc = inst.serving
			}
		}
	}
	server := dnsserver.GetConfig(c)
	f.stanzas[c.ServerBlockIndex] = stanza{s, server}
	if server.UDPDecorateWriterFunc == nil {
		server.UDPDecorateWriterFunc = inst.serving
	}
}

// has reports whether the server block of c is as CoreDNS has read it.
func (f *corefile) has(c *caddy.Controller, word string) bool {
	i := c.ServerBlockIndex
	return i < len(f.blocks) && f.blocks[i].Tokens[word] != nil && sameKeys(f.blocks[i].Keys, c.ServerBlockKeys)
}

// sameKeys reports whether CoreDNS makes normal, its way to write keys, of keys.
func sameKeys(keys, normal []string) bool {
	a, err := eligible.Zones(keys)
	b, normalErr := eligible.Zones(normal)
	slices.Sort(a)
	slices.Sort(b)
	return err == nil && normalErr == nil && slices.Equal(a, b)
}

// expect notes at which addresses a server block with a stanza of ours is
// served.
func (inst *instance) expect(block int, hosts, keys []string) error {
	addrs, err := ListenAddrs(keys, hosts)
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		inst.served[addr] = append(inst.served[addr], block)
	}
	inst.starts(addrs)
	return nil
}

// serving is called once for each UDP socket of the server s, before it reads.
// It returns how replies are written, which is another plugin's business.
func (inst *instance) serving(s *dnsserver.Server) dns.DecorateWriter {
	addr := plainAddr(s.Addr)
	var decorate dns.DecorateWriter
	if w, ok := inst.writerAt(addr); ok {
		decorate = w.make(s)
	}
	if len(inst.served[addr]) > 0 {
		inst.arrive(addr, inst.plan(s, addr, decorate))
	}
	return decorate
}

// writerAt returns the writer of the last of the server blocks at addr that have
// one, as CoreDNS chooses it (dnsserver.NewServer).
func (f *corefile) writerAt(addr string) (found writer, ok bool) {
	for block := range f.blocks {
		w, has := f.writers[block]
		if !has {
			continue
		}
		if addrs, err := ListenAddrs(w.keys, w.server.ListenHosts); err == nil && slices.Contains(addrs, addr) {
			found, ok = w, true
		}
	}
	return found, ok
}

// plan returns what there is to be in front of the server s.
func (inst *instance) plan(s *dnsserver.Server, addr string, decorate dns.DecorateWriter) planned {
	plan, d, err := inst.judge(s, addr)
	p := planned{}
	if err != nil {
		p.why = err.Error()
		plan = &responder.Plan{} // leaves all to the chain, until the lane is closed
	} else {
		p.config = &fastlane.Config{
			Addr: addr, Workers: d.workers,
			ReadTimeout: s.ReadTimeout, WriteTimeout: s.WriteTimeout, MaxTCPQueries: s.MaxTCPQueries,
		}
		if s.MaxTCPQueries == 0 {
			p.config.MaxTCPQueries = maxTCPQueries
		}
	}
	plan.Counts = inst.k.countsAt(addr)
	if err == nil && d.kernel {
		p.mirror = func(before mirror) (mirror, error) { return openMirror(plan, addr, d.interfaces, before) }
	}
	p.program = &fastlane.Program{
		NewResponder: plan.NewResponder,
		Chain: func(w dns.ResponseWriter, r *dns.Msg) {
			ctx := context.WithValue(context.Background(), dnsserver.Key{}, s)
			s.ServeDNS(context.WithValue(ctx, dnsserver.LoopKey{}, 0), w, r)
		},
		DecorateWriter: decorate,
		IdleTimeout:    s.IdleTimeout,
	}
	return p
}

// maxTCPQueries is what miekg/dns takes for a limit of 0.
const maxTCPQueries = 128

// demands are what stanzas ask of a lane, besides its plan.
type demands struct {
	workers    int
	kernel     bool     // there is to be a mirror
	interfaces []string // for it
}

// judge returns what the lane is to do in front of s, or why there is to be none.
func (f *corefile) judge(s *dnsserver.Server, addr string) (*responder.Plan, demands, error) {
	d := demands{workers: defaultWorkers(fastlane.Procs())}
	_, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil:
		return nil, d, err
	case port == "0":
		return nil, d, errors.New("its port is the kernel's choice")
	case f.err != nil:
		return nil, d, f.err
	}
	in := eligible.Input{Path: f.path, Blocks: f.blocks, Port: port, Ours: map[int]eligible.Stanza{}}
	for _, block := range f.served[addr] {
		ours := f.stanzas[block]
		in.Ours[block] = ours.Stanza.Stanza
		if len(ours.server.FilterFuncs) > 0 {
			return nil, d, fmt.Errorf("the server block of %s (%s) filters queries", ours.Word, ours.Where)
		}
	}
	v := eligible.Judge(in)
	if v.Reason != "" {
		return nil, d, errors.New(v.Reason)
	}
	plan := new(responder.Plan)
	for _, r := range v.Routes {
		route := responder.Route{Zone: r.Zone}
		ours := f.stanzas[r.Owner]
		if r.Block != eligible.Chain {
			if ours.Workers > 0 {
				d.workers = ours.Workers
			}
			if ours.Kernel && !d.kernel {
				d.kernel, d.interfaces = true, ours.Interfaces
			}
			plan.TruncatedTCP = ours.TruncatedTCP
			route = ours.route(r)
		}
		if r.Hosts {
			if route.Hosts, err = ours.hosts(); err != nil {
				return nil, d, err
			}
		}
		if err := plan.Add(route, s.Addr); err != nil {
			return nil, d, err
		}
	}
	return plan, d, nil
}

// defaultWorkers returns how many workers a lane has where Go may use so many
// CPUs. One answers some hundred thousand queries a second. At everyday rates
// the fewer there are the cheaper is a query, since each finds its worker awake
// and its CPU's caches warm: docs/fastlane.md has figures.
func defaultWorkers(cpus int) int { return max(1, cpus/2) }

// route returns what a zone of the stanza is answered with. What the plugins in
// front of it do, those that run are asked.
func (s *stanza) route(r eligible.Route) responder.Route {
	route := responder.Route{
		Zone: r.Zone, View: s.View(), Fallthrough: s.Fallthrough,
		Types: r.Types, Rotate: r.Rotate, Bufsize: r.Bufsize, Searched: r.Searched,
		Kernel: s.Kernel,
	}
	for _, t := range r.Templates {
		route.Templates = append(route.Templates, responder.Template(t))
	}
	if r.Prometheus {
		route.Metrics, _ = s.server.Handler("prometheus").(*metrics.Metrics)
	}
	if r.Console {
		route.Hitters = s.Hitters()
	}
	if a, ok := s.server.Handler("autopath").(completer); ok {
		route.Completes = a.Completes
	}
	return route
}

// completer is a plugin autopath that says which questions it may complete.
// CoreDNS's does not.
type completer interface {
	Completes(qtype uint16, recursion bool) bool
}

// hosts returns the plugin hosts of the stanza's server block.
func (s *stanza) hosts() (*hosts.Hosts, error) {
	h, ok := s.server.Handler("hosts").(hosts.Hosts)
	if !ok {
		return nil, fmt.Errorf("the plugin hosts is not CoreDNS's: %T", s.server.Handler("hosts"))
	}
	return &h, nil
}
