package check

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"

	clusterdns "github.com/clusterdns/clusterdns/plugin"
	"github.com/clusterdns/clusterdns/plugin/eligible"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/miekg/dns"
)

// changes says what the plugins do to in-cluster answers that change them. The
// others of which package eligible knows only look at queries, or count them.
var changes = map[string]string{
	"rewrite":      "rewrites questions, or answers",
	"template":     "answers in the place of the index",
	"hosts":        "answers the names and addresses of its file first",
	"local":        "answers names that begin with localhost",
	"autopath":     "answers what is not found with the next name of the client's search path, as a CNAME",
	"acl":          "refuses, or drops, by the client's address",
	"view":         "lets queries into this block by more than the name",
	"dns64":        "makes AAAA records of A records",
	"siit":         "makes A records of AAAA records",
	"dnssec":       "signs answers",
	"header":       "changes flags",
	"minimal":      "leaves out the authority and additional sections",
	"k8s_external": "answers its zones first",
	"k8s_gateway":  "answers its zones first, unless the stanza's are below them",
	"loadbalance":  "orders addresses by weight or subnet",
	"dynupdate":    "answers its zone first",
}

// changes returns the plugins that change in-cluster answers, as they are asked.
func (f *corefile) changes(at []Lane) (list []Note) {
	for _, l := range at {
		for _, t := range eligible.Touches(l.input) {
			text, ok := changes[t.Directive]
			if !ok {
				continue
			}
			switch {
			case len(t.Types) > 0 && !slices.Contains(t.Types, dns.TypeANY):
				text += ": questions for " + typeNames(t.Types)
			case len(t.Zones) > 0:
				text += ": " + few(t.Zones)
			}
			list = append(list, Note{What: t.Directive, Where: t.Where, Text: text})
		}
		for i := range f.blocks {
			if _, ok := l.input.Ours[i]; ok {
				list = append(list, f.caches(i, l)...)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Note) int { return place(a.What) - place(b.What) })
	return slices.Compact(list) // two listeners of one block
}

// few lists zones: a network may be many.
func few(zones []string) string {
	const most = 4
	text := strings.Join(zones[:min(len(zones), most)], " ")
	if more := len(zones) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func place(directive string) int { return slices.Index(caddy.ValidDirectives("dns"), directive) }

// caches says what the plugin cache of block i does. What the lane answers does
// not pass through it.
func (f *corefile) caches(i int, l Lane) (list []Note) {
	for _, u := range f.uses("cache", f.blocks[i].Tokens["cache"]) {
		args, bound := u.args, "an hour"
		if len(args) > 0 && strings.Trim(args[0], "0123456789") == "" {
			args, bound = args[1:], args[0]+" s"
		}
		if slices.ContainsFunc(u.options, func(o option) bool { return o.words[0] == "success" || o.words[0] == "denial" }) {
			bound = "what its options say"
		}
		var kept []string
		cached := plugin.OriginsFromArgsOrServerBlock(args, f.keys[i])
		for _, zone := range f.stanzas[i].Zones {
			if slices.ContainsFunc(cached, func(of string) bool { return dns.IsSubDomain(of, zone) || dns.IsSubDomain(zone, of) }) && !u.disabled(zone) {
				kept = append(kept, zone)
			}
		}
		if len(kept) == 0 {
			continue
		}
		text := "keeps answers, NXDOMAIN too, for their TTL and at most " + bound + ": " + few(kept)
		if l.Open {
			text += "; only of what the lane leaves to the chain"
		}
		list = append(list, Note{What: u.directive, Where: u.where, Text: text})
	}
	return list
}

// disabled reports whether u, of cache, keeps nothing of zone.
func (u use) disabled(zone string) bool {
	off := map[string]bool{}
	for _, o := range u.options {
		if o.words[0] == "disable" && len(o.words) > 1 && (len(o.words) == 2 || has(fqdn(o.words[2:]), zone)) {
			off[o.words[1]] = true
		}
	}
	return off["success"] && off["denial"]
}

func fqdn(names []string) (list []string) {
	for _, name := range names {
		list = append(list, dns.CanonicalName(name))
	}
	return list
}

// lettersPort is a zone that ends like a port which is none.
var lettersPort = regexp.MustCompile(`:[^/:]*[^/:0-9][^/:]*$`)

// isUnusual reports whether key, of a server block, is hardly meant as a zone.
func isUnusual(key string) bool {
	_, rest := parse.Transport(key)
	return strings.ContainsAny(rest, "{}()\"'`,;=") || net.ParseIP(rest) == nil && !strings.Contains(rest, "/") && lettersPort.MatchString(rest)
}

// missing warns of what the server finds out only when it starts.
func (f *corefile) missing() {
	for i, b := range f.blocks {
		for _, key := range b.Keys {
			if isUnusual(key) {
				f.warnings = append(f.warnings, Problem{File: f.path, Text: fmt.Sprintf("%q is taken for a zone", key)})
			}
		}
		s, ok := f.stanzas[i]
		if external := f.uses("k8s_external", b.Tokens["k8s_external"]); !ok && len(external) > 0 {
			f.problem("k8s_external", external[0].where, fmt.Errorf("the server block has neither clusterdns nor kubernetes"))
		}
		f.readable(s)
		for _, u := range f.uses("autopath", b.Tokens["autopath"]) {
			of, ok := strings.CutPrefix(strings.Join(u.args[max(0, len(u.args)-1):], ""), "@")
			if of == "clusterdns" || of == "kubernetes" {
				of = cmp.Or(s.Word, of) // either will do
			}
			if ok && f.servers[i].Handler(of) == nil {
				f.warnings = append(f.warnings, f.place(u.directive, u.where, fmt.Sprintf("does nothing: the server block has no %q", of)))
			}
		}
	}
	for _, s := range f.gateways {
		f.readable(s)
	}
	if len(f.stanzas) == 0 && len(f.gateways) == 0 {
		f.warnings = append(f.warnings, Problem{File: f.path, Text: "no stanza clusterdns or kubernetes: nothing answers in-cluster names"})
	}
}

// readable warns of files of s that are not there.
func (f *corefile) readable(s clusterdns.Stanza) {
	for _, file := range s.Files {
		if _, err := os.Stat(file); err != nil {
			f.warnings = append(f.warnings, f.place(s.Word, s.Where, fmt.Sprintf("cannot be read here: %v", err)))
		}
	}
}
