package check

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/clusterdns/clusterdns/plugin/eligible"
	"github.com/clusterdns/clusterdns/plugin/lanes"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/miekg/dns"
)

// Zone is a zone of a server block, with who answers it.
type Zone struct {
	Zone      string   `json:"zone"`
	Listeners []string `json:"listeners"`
	// AnsweredBy are plugins, with file and line, in the order in which they are
	// asked: the next one if the one before does not have the name.
	AnsweredBy []string `json:"answeredBy"`
	// Lane is "open" if the fast lane answers first, and otherwise why it does
	// not; "" of names that are none of the cluster's.
	Lane string `json:"lane,omitempty"`
}

// Lane is the fast lane in front of a listener.
type Lane struct {
	Listener string `json:"listener"`
	Open     bool   `json:"open"`
	Reason   string `json:"reason,omitempty"` // it is closed
	Workers  int    `json:"workers,omitempty"`
	// Kernel is where the kernel is to answer in front of it, if that has what it
	// takes: interfaces, or "every interface with the server's addresses".
	Kernel string `json:"kernel,omitempty"`
	// Chain are names that are CoreDNS's chain's all the same, with the reason.
	Chain []string `json:"chain,omitempty"`

	verdict eligible.Verdict
	input   eligible.Input
}

// use is one use of a directive.
type use struct {
	directive, where string
	args             []string
	options          []option
}

// option is a line in the braces of a directive.
type option struct {
	where string
	words []string // at least one
}

func (u use) String() string { return fmt.Sprintf("%s (%s)", u.directive, u.where) }

func (f *corefile) uses(directive string, tokens []caddyfile.Token) (list []use) {
	d := caddyfile.NewDispenserTokens(f.path, tokens)
	for d.Next() {
		u := use{directive: d.Val(), where: fmt.Sprintf("%s:%d", d.File(), d.Line()), args: d.RemainingArgs()}
		for d.NextBlock() {
			o := option{where: fmt.Sprintf("%s:%d", d.File(), d.Line()), words: []string{d.Val()}}
			o.words = append(o.words, d.RemainingArgs()...)
			u.options = append(u.options, o)
		}
		list = append(list, u)
	}
	return list
}

// answerers are the plugins that answer names themselves, with how many
// arguments stand in front of their zones. Without zones they are asked for all
// of the server block's.
var answerers = map[string]int{
	"clusterdns": 0, "kubernetes": 0, "k8s_external": 0, "k8s_gateway": 0, "dynupdate": 0, "secondary": 0,
	"hosts": 1, "file": 1, "auto": 0, "template": 2, "forward": 0, "grpc": 0,
	"local": -1, "whoami": -1, "erratic": -1, "route53": -1, "azure": -1, "clouddns": -1, "etcd": 0, "nomad": 0,
}

// zonesOf returns the zones that u answers in a server block with these zones.
func (u use) zonesOf(keys []string) []string {
	skip := answerers[u.directive]
	switch {
	case skip < 0:
		return keys
	case u.directive == "forward" || u.directive == "grpc":
		return plugin.OriginsFromArgsOrServerBlock(u.args[:min(1, len(u.args))], keys) // FROM TO...
	}
	return plugin.OriginsFromArgsOrServerBlock(u.args[min(skip, len(u.args)):], keys)
}

// passes reports whether u leaves names of a zone that it does not have to the
// next plugin.
func (u use) passes(zone string) bool {
	var through fall.F
	for _, o := range u.options {
		switch {
		case o.words[0] == "fallthrough":
			through.SetZonesFromArgs(o.words[1:])
		case u.directive == "forward" && o.words[0] == "next":
			return true
		}
	}
	switch u.directive {
	case "local":
		return true
	case "template":
		return len(u.args) < 2 || u.args[1] != "ANY" || through.Through(zone)
	}
	return through.Through(zone)
}

// zones returns the zones of block i, the server block's own and those of its
// plugins.
func (f *corefile) zones(i int, lanesAt []Lane) (list []Zone) {
	var keys []string
	listeners := map[string][]string{} // by zone
	for _, key := range f.keys[i] {
		scheme, rest := parse.Transport(key)
		hosts, port, err := plugin.SplitHostPort(rest)
		if err != nil {
			continue // CoreDNS has read it
		}
		for _, zone := range hosts {
			keys = append(keys, zone)
			for _, host := range f.servers[i].ListenHosts {
				listeners[zone] = append(listeners[zone], scheme+"://"+net.JoinHostPort(host, port))
			}
		}
	}
	var uses []use
	for _, directive := range caddy.ValidDirectives("dns") {
		if _, ok := answerers[directive]; ok {
			uses = append(uses, f.uses(directive, f.blocks[i].Tokens[directive])...)
		}
	}
	found := map[string]Zone{}
	for _, key := range keys {
		names := []string{key}
		for _, u := range uses {
			if u.directive == "template" || u.directive == "local" {
				continue // they answer some names of a zone
			}
			for _, zone := range u.zonesOf(keys) {
				if dns.IsSubDomain(key, zone) {
					names = append(names, zone)
				}
			}
		}
		for _, zone := range names {
			if _, ok := found[zone]; !ok {
				found[zone] = Zone{Zone: zone, Listeners: listeners[key], AnsweredBy: answeredBy(zone, keys, uses), Lane: laneOf(i, zone, lanesAt)}
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Zone) int {
		if n := dns.CountLabel(b.Zone) - dns.CountLabel(a.Zone); n != 0 {
			return n
		}
		return strings.Compare(a.Zone, b.Zone)
	})
}

func answeredBy(zone string, keys []string, uses []use) (list []string) {
	for _, u := range uses {
		if !has(u.zonesOf(keys), zone) {
			continue
		}
		list = append(list, u.String())
		if !u.passes(zone) {
			break
		}
	}
	return list
}

// lanes judges each listener that has a stanza of ours.
func (f *corefile) lanes() (list []Lane) {
	at := map[string]eligible.Input{}
	for i, s := range f.stanzas {
		addrs, err := lanes.ListenAddrs(f.blocks[i].Keys, f.servers[i].ListenHosts)
		if err != nil {
			f.problem(s.Word, s.Where, err)
		}
		for _, addr := range addrs {
			in, ok := at[addr]
			if !ok {
				_, port, _ := net.SplitHostPort(addr)
				in = eligible.Input{Path: f.path, Blocks: f.blocks, Port: port, Ours: map[int]eligible.Stanza{}}
				at[addr] = in
			}
			in.Ours[i] = s.Stanza
		}
	}
	for _, addr := range slices.Sorted(maps.Keys(at)) {
		l := Lane{Listener: "dns://" + addr, input: at[addr]}
		for i := range l.input.Ours {
			l.Workers = max(l.Workers, f.stanzas[i].Workers)
			if s := f.stanzas[i]; s.Kernel && l.Kernel == "" {
				l.Kernel = cmp.Or(strings.Join(s.Interfaces, " "), "every interface with the server's addresses")
			}
		}
		l.verdict = eligible.Judge(l.input)
		l.Reason = l.verdict.Reason
		for i, s := range l.input.Ours {
			if len(f.servers[i].FilterFuncs) > 0 { // the server asks that first
				l.Reason = fmt.Sprintf("the server block of %s (%s) filters queries", s.Word, s.Where)
			}
		}
		l.Open = l.Reason == ""
		if l.Open {
			l.Chain = f.leftToChain(l)
		} else {
			l.Workers, l.Kernel = 0, ""
		}
		list = append(list, l)
	}
	return list
}

// leftToChain says which in-cluster names an open lane does not answer.
func (f *corefile) leftToChain(l Lane) (list []string) {
	types := map[uint16]bool{}
	for _, r := range l.verdict.Routes {
		for _, t := range r.Types {
			types[t] = true
		}
		for _, t := range r.Templates {
			types[t.Type] = types[t.Type] || !t.Empty
		}
		if r.Block == eligible.Chain && slices.ContainsFunc(slices.Collect(maps.Values(l.input.Ours)), func(s eligible.Stanza) bool {
			return has(s.Zones, r.Zone)
		}) {
			list = append(list, r.Zone+": "+r.Why)
		}
	}
	for _, t := range eligible.Touches(l.input) {
		switch {
		case t.Directive == "hosts" && len(t.Zones) == 0:
			list = append(list, fmt.Sprintf("names and addresses that %s (%s) has", t.Directive, t.Where))
		case slices.ContainsFunc(t.Types, func(qtype uint16) bool { return types[qtype] }):
			list = append(list, fmt.Sprintf("questions for %s: %s (%s) %s", typeNames(t.Types), t.Directive, t.Where, t.Why))
		}
	}
	return list
}

// has reports whether one of zones holds name.
func has(zones []string, name string) bool {
	return slices.ContainsFunc(zones, func(zone string) bool { return dns.IsSubDomain(zone, name) })
}

func typeNames(types []uint16) string {
	var names []string
	for _, t := range types {
		names = append(names, dns.TypeToString[t])
	}
	return strings.Join(names, ", ")
}

// laneOf says of a zone of block i what a Zone's Lane is.
func laneOf(i int, zone string, at []Lane) string {
	for _, l := range at {
		s, ok := l.input.Ours[i]
		if !ok || !has(s.Zones, zone) {
			continue
		}
		if !l.Open {
			return l.Reason
		}
		for _, r := range l.verdict.Routes { // the longest first
			if dns.IsSubDomain(r.Zone, zone) {
				if r.Block == eligible.Chain {
					return r.Why
				}
				return "open"
			}
		}
	}
	return ""
}
