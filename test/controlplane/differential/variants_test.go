package differential

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// variants are the stanzas compared. Each is a server block of its own. Those
// with a stanza k8s_external are asked about that one's names, in externalZone.
var variants = []variant{
	{name: "kubeadm", zones: "cluster.local in-addr.arpa ip6.arpa", stanza: "pods insecure\nfallthrough in-addr.arpa ip6.arpa\nttl 30", zone: "cluster.local."},
	{name: "verified", zones: "cluster.local in-addr.arpa ip6.arpa", stanza: "pods verified\nendpoint_pod_names", zone: "cluster.local."},
	{name: "empty", zones: "cluster.local 10.in-addr.arpa", stanza: "ignore empty_service\nttl 0", zone: "cluster.local."},
	{name: "noendpoints", zones: "cluster.local in-addr.arpa", stanza: "noendpoints\nttl 3600", zone: "cluster.local."},
	{name: "namespaces", zones: "cluster.local in-addr.arpa ip6.arpa", stanza: "namespaces shop default\npods insecure", zone: "cluster.local."},
	{name: "selected", zones: "cluster.local in-addr.arpa ip6.arpa", stanza: selecting, zone: "cluster.local."},
	{name: "labels", zones: "cluster.local in-addr.arpa ip6.arpa", stanza: "labels tier notin (odd)", zone: "cluster.local."},
	{name: "root", zones: ".", stanza: "pods insecure\nfallthrough", zone: "."},
	{name: "external", zones: "cluster.local", stanza: "ttl 30\nendpoint_pod_names", zone: "cluster.local.",
		external: "example.org in-addr.arpa ip6.arpa {\nheadless\n}"},
	{name: "external-selected", zones: "cluster.local in-addr.arpa", stanza: "ttl 60\n" + selecting, zone: "cluster.local.",
		external: "10.in-addr.arpa example.org 192.in-addr.arpa {\napex names\nttl 60\nfallthrough in-addr.arpa\n}"},
	{name: "multicluster", zones: "cluster.local clusterset.local 10.in-addr.arpa", stanza: "pods insecure\nignore empty_service\nmulticluster clusterset.local", zone: "clusterset.local."},
	{name: "narrow", zones: "cluster.local clusterset.local", stanza: selecting + "\nlabels tier notin (odd)\nnoendpoints\nmulticluster clusterset.local", zone: "clusterset.local."},
	{name: "zonal", zones: "cluster.local clusterset.local 10.in-addr.arpa", stanza: "zonal\nendpoint_pod_names\nmulticluster clusterset.local", zone: "cluster.local."},
}

type variant struct {
	name, zones, stanza, zone string
	external                  string // zones and options of k8s_external; empty for none
}

// externalZone is a zone of every stanza k8s_external.
const externalZone = "example.org."

// selecting is the option that hides namespaces: see world.create and hides.
const selecting = "namespace_labels env notin (test)"

// hides reports whether a namespace of the world is none of the variant's for
// its labels.
func (v variant) hides(namespace string) bool {
	return strings.Contains(v.stanza, selecting) && slices.Contains(namespaces, namespace) && namespace != "shop" && namespace != "data"
}

// option returns the words behind an option of a stanza, one option to a line.
func option(stanza, name string) (words []string, found bool) {
	for line := range strings.Lines(stanza) {
		if words := strings.Fields(line); len(words) > 0 && words[0] == name {
			return words[1:], true
		}
	}
	return nil, false
}

// ttls returns the TTLs that stock gives records: of the stanza kubernetes, and
// of k8s_external.
func (v variant) ttls() (inside, outside string) {
	of := func(stanza string) string {
		if words, ok := option(stanza, "ttl"); ok {
			return words[0]
		}
		return "5"
	}
	return of(v.stanza), of(v.external)
}

// place is where a name is answered from.
type place struct {
	zone     string // as the name spells it; "" if it is in no zone
	external bool   // of k8s_external, which is asked first
	// falls says that the next plugin answers for a name that does not exist.
	// There is none behind the stanza kubernetes.
	falls bool
}

// placesOf returns who is asked about name, in order: one, or two where
// k8s_external falls through to kubernetes.
func (v variant) placesOf(name string) (places []place) {
	zones, _, _ := strings.Cut(v.external, "{")
	for _, p := range []struct {
		zones, stanza string
		external      bool
	}{{zones, v.external, true}, {v.zones, v.stanza, false}} {
		zone := longest(strings.Fields(p.zones), name)
		if zone == "" {
			continue
		}
		through, falls := option(p.stanza, "fallthrough")
		falls = falls && (len(through) == 0 || longest(through, name) != "")
		places = append(places, place{zone, p.external, falls})
		if !falls {
			break
		}
	}
	return places
}

// longest returns the longest of zones that name is in, spelled as in name.
func longest(zones []string, name string) (found string) {
	for _, z := range zones {
		if z = dns.Fqdn(z); len(z) > len(found) && dns.IsSubDomain(z, strings.ToLower(name)) {
			found = name[len(name)-len(z):]
		}
	}
	return found
}

// upstream is where ExternalNames lead.
const upstream = `example.com:%s {
    hosts {
        192.0.2.1 there.example.com
        2001:db8::1 there.example.com
        fallthrough
    }
    template IN A alias.example.com {
        answer "{{ .Name }} 60 IN CNAME there.example.com."
        answer "there.example.com. 60 IN A 192.0.2.1"
    }
    template ANY ANY fail.example.com {
        rcode SERVFAIL
    }
    template ANY ANY {
        rcode NXDOMAIN
        authority "example.com. 60 IN SOA ns.example.com. hostmaster.example.com. 1 60 60 60 60"
    }
}
`

// corefile returns a server's, with a block for each variant at one of ports.
func corefile(kubeconfig string, ports []string) string {
	var b strings.Builder
	for i, v := range variants {
		external := ""
		if v.external != "" {
			external = "    k8s_external " + strings.ReplaceAll(v.external, "\n", "\n    ") + "\n"
		}
		fmt.Fprintf(&b, ".:%s {\n    errors\n%s    kubernetes %s {\n        kubeconfig %s\n        startup_timeout 30s\n        %s\n    }\n}\n",
			ports[i], external, v.zones, kubeconfig, strings.ReplaceAll(v.stanza, "\n", "\n        "))
		fmt.Fprintf(&b, upstream, ports[i])
	}
	return b.String()
}
