package check

import (
	"regexp"
	"slices"

	clusterdns "github.com/clusterdns/clusterdns/plugin"

	"github.com/miekg/dns"
)

// old are words that CoreDNS had once, or that are not in this binary, each with
// what to do. docs/migration.md has the same list.
var old = map[string]string{
	"proxy":        "forward took its place in CoreDNS 1.5",
	"federation":   "CoreDNS has not had it since 1.7: remove it",
	"upstream":     "it has no effect since CoreDNS 1.7: remove it",
	"resyncperiod": "CoreDNS has not had it since 1.7: remove it",
	"transfer":     "CoreDNS has a plugin transfer for it since 1.8",
}

// unknownWord is how the parsers complain about a directive or an option.
var unknownWord = regexp.MustCompile(`^(?i:unknown directive|unknown option) ['"]([^'"]+)['"]`)

// hintFor returns what to do about the text of an error, or "".
func hintFor(directive, text string) string {
	m := unknownWord.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	if directive != "" && !slices.Contains(words, directive) {
		return ""
	}
	return old[m[1]]
}

// Note is a remark about a line of a Corefile, or about all of it.
type Note struct {
	What  string `json:"what"`
	Where string `json:"where,omitempty"` // file and line
	Text  string `json:"text"`
}

// deprecated returns options that are accepted and do nothing.
func (f *corefile) deprecated() (list []Note) {
	f.eachOption(func(u use, o option) {
		if o.words[0] == "upstream" {
			list = append(list, Note{What: o.words[0], Where: o.where, Text: "option of " + u.directive + ": " + old[o.words[0]]})
		}
	})
	return list
}

// eachOption calls yield for every option of our stanzas.
func (f *corefile) eachOption(yield func(use, option)) {
	for _, b := range f.blocks {
		for _, word := range words {
			for _, u := range f.uses(word, b.Tokens[word]) {
				for _, o := range u.options {
					yield(u, o)
				}
			}
		}
	}
}

// stockOptions are those that kubernetes has in stock CoreDNS, which refuses any
// other.
var stockOptions = []string{
	"apiserver_burst", "apiserver_max_inflight", "apiserver_qps", "endpoint", "endpoint_pod_names", "fallthrough",
	"ignore", "kubeconfig", "labels", "multicluster", "namespace_labels", "namespaces", "noendpoints", "pods",
	"startup_timeout", "tls", "ttl", "zonal",
}

// ours are directives that stock CoreDNS does not have.
var ours = []string{"console", "k8s_gateway"}

// difference is a row of docs/differences.md, for the Corefiles that it concerns.
type difference struct {
	rule     string // as the page names it
	concerns func(s subject) bool
	text     string
}

// subject is what of a Corefile decides which differences concern it.
type subject struct {
	clusterdns.Stanza
	external bool // k8s_external stands beside it
}

func always(subject) bool         { return true }
func external(s subject) bool     { return s.external }
func multicluster(s subject) bool { return s.Multicluster }
func reverse(s subject) bool      { return reverse6(s) || below(s, "in-addr.arpa.") }
func reverse6(s subject) bool     { return below(s, "ip6.arpa.") }

// below reports whether one of the zones of s is at or below zone, or has it.
func below(s subject, zone string) bool {
	return slices.ContainsFunc(s.Zones, func(of string) bool { return dns.IsSubDomain(zone, of) || of == "." })
}

// differences are those of answers, in the page's order.
var differences = []difference{
	{"empty-non-terminal-txt", always, "TXT at the zone, svc., pod. and namespaces is NODATA, no NXDOMAIN"},
	{"dns-version-nodata", always, "dns-version.<zone> exists for other types than TXT too"},
	{"ns-dns", always, "ns.dns.<zone> is found in any case, and exists for TXT and PTR"},
	{"apex-ns-case", always, "NS at the zone is found in any case"},
	{"reverse-nodata", reverse, "other types than PTR at an address that has one are NODATA, no NXDOMAIN, and do not fall through"},
	{"reverse-extra-labels", reverse6, "labels in front of the 32 nibbles of an address are NXDOMAIN"},
	{"root-zone-ptr", func(s subject) bool { return slices.Contains(s.Zones, ".") }, "in the zone . PTR records are sent"},
	{"hidden-ptr", func(s subject) bool { return s.Hides && reverse(s) }, "addresses of hidden namespaces have no PTR records"},
	{"fqdn-slices", always, "EndpointSlices of addressType FQDN are ignored"},
	{"unlabelled-slice-ptr", reverse, "addresses of an EndpointSlice without a service are NXDOMAIN"},
	{"no-source-cluster", multicluster, "SRV of endpoints of no known cluster is answered"},
	{"empty-non-terminal", always, "_tcp.<service> and dns.<zone> are NODATA, no NXDOMAIN, and do not fall through"},
	{"no-address-txt", multicluster, "TXT at a ServiceImport without an address is NODATA"},
	{"failed-chase", always, "SERVFAIL if the target of an ExternalName cannot be resolved, where CoreDNS sends the CNAME alone"},
	{"external-cname", external, "CNAME at a load balancer's host name is answered"},
	{"external-twice", external, "the CNAME to a load balancer's host name is sent once"},
	{"external-ttl", external, "SRV and CNAME records have the ttl of k8s_external"},
	{"external-spelling", external, "SOA owners and SRV targets are spelled as the question"},
	{"external-nowhere", external, "an ingress without address and host name is no CNAME to the root"},
}

// differs returns what of this Corefile's answers differs from those of stock
// CoreDNS, and which of its words CoreDNS does not know.
func (f *corefile) differs() (list []Note) {
	for i, b := range f.blocks {
		if s, ok := f.stanzas[i]; ok && s.Word == "clusterdns" {
			list = append(list, Note{What: s.Word, Where: s.Where, Text: "CoreDNS knows the word kubernetes only"})
		}
		for _, word := range ours {
			for _, u := range f.uses(word, b.Tokens[word]) {
				list = append(list, Note{What: u.directive, Where: u.where, Text: "CoreDNS does not have the plugin"})
			}
		}
	}
	f.eachOption(func(_ use, o option) {
		if !slices.Contains(stockOptions, o.words[0]) {
			list = append(list, Note{What: o.words[0], Where: o.where, Text: "CoreDNS refuses the option"})
		}
	})
	for _, d := range differences {
		for i, s := range f.stanzas {
			if d.concerns(subject{Stanza: s, external: f.blocks[i].Tokens["k8s_external"] != nil}) {
				list = append(list, Note{What: d.rule, Text: d.text})
				break
			}
		}
	}
	return list
}
