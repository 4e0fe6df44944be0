package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

// resolver is what a pod's /etc/resolv.conf says, and the library that reads it.
type resolver struct {
	libc   string   // glibc, musl or go
	search []string // fully qualified
	ndots  int
	notes  []string // what is not known of it, or unusual
}

// libcs are the libraries that resolvers are, with what is known of each. It is
// read from glibc's resolv/res_query.c (__res_context_query and _search), musl's
// src/network/lookup_name.c (name_from_dns and name_from_dns_search) and
// res_query.c, and Go's net/dnsclient_unix.go (nameList, goLookupIPCNAMEOrder).
var libcs = []string{"glibc", "musl", "go"}

// candidates returns the names that are asked for name, in their order.
func (r *resolver) candidates(name string, addresses bool) (list []string) {
	if dns.IsFqdn(name) {
		return []string{name}
	}
	enough := strings.Count(name, ".") >= r.ndots
	if r.libc == "musl" && (enough || !addresses) { // res_query has no search path
		return []string{name + "."}
	}
	for _, domain := range r.search {
		full := name + "." + strings.TrimPrefix(domain, ".")
		if _, ok := dns.IsDomainName(full); ok {
			list = append(list, full)
		}
	}
	if slices.Contains(list, name+".") { // the root is in the search path
		return list
	}
	if enough {
		return slices.Insert(list, 0, name+".")
	}
	return append(list, name+".")
}

// verdict is what a resolver makes of the replies for one name.
type verdict int

const (
	goOn verdict = iota // to the next name
	stop                // with an error
	found
	asIs // as stop, but the name itself is tried if it was not yet
)

// judge returns what r makes of the replies to the questions for one name, for A
// and then AAAA, or another type alone.
func (r *resolver) judge(replies []answer) verdict {
	has := slices.ContainsFunc(replies, answer.positive)
	switch r.libc {
	case "musl":
		// An error of either goes before the addresses of the other.
		for _, a := range replies {
			switch {
			case a.err == nil && a.rcode == dns.RcodeNameError:
				return goOn
			case a.err != nil || a.rcode != dns.RcodeSuccess:
				return stop
			}
		}
		if !has {
			return stop // a name without addresses ends the search
		}
	case "glibc":
		if has {
			return found
		}
		for _, a := range replies {
			switch {
			case a.err != nil:
				return asIs
			case a.rcode == dns.RcodeSuccess: // the other's counts
			case a.rcode == dns.RcodeNameError, a.rcode == dns.RcodeServerFailure:
				return goOn
			default:
				return asIs
			}
		}
	}
	if has {
		return found
	}
	return goOn
}

// inNamespace returns the resolver that the kubelet gives a pod of the namespace
// with dnsPolicy ClusterFirst (kubernetes pkg/kubelet/network/dns).
func inNamespace(namespace, zone string) resolver {
	below := zone
	if zone == "." {
		below = ""
	}
	return resolver{search: []string{namespace + ".svc." + below, "svc." + below, zone}, ndots: 5}
}

// ofPod returns the resolver of a pod. An error is that it does not ask the
// cluster's DNS.
func ofPod(pod *corev1.Pod, zone string) (resolver, error) {
	name := pod.Namespace + "/" + pod.Name
	var r resolver
	switch policy := pod.Spec.DNSPolicy; {
	case policy == corev1.DNSDefault:
		return r, fmt.Errorf("pod %s has dnsPolicy Default: it asks the resolvers of its node, not the cluster's DNS", name)
	case (policy == corev1.DNSClusterFirst || policy == "") && pod.Spec.HostNetwork:
		return r, fmt.Errorf("pod %s has the host's network and not dnsPolicy ClusterFirstWithHostNet: it asks the resolvers of its node, not the cluster's DNS", name)
	case policy == corev1.DNSNone:
		r.ndots = 1 // resolv.conf(5)
		r.notes = append(r.notes, "dnsPolicy None: whether its nameservers are the cluster's DNS is not known")
	default:
		r = inNamespace(pod.Namespace, zone)
		r.notes = append(r.notes, "the node may have more search domains, which Kubernetes does not tell")
	}
	if c := pod.Spec.DNSConfig; c != nil {
		for _, domain := range c.Searches {
			if domain = dns.Fqdn(strings.ToLower(domain)); !slices.Contains(r.search, domain) {
				r.search = append(r.search, domain)
			}
		}
		for _, o := range c.Options {
			if o.Name == "ndots" && o.Value != nil {
				n, err := strconv.Atoi(*o.Value)
				if err != nil || n < 0 {
					return r, fmt.Errorf("pod %s: ndots %q in its dnsConfig is no number", name, *o.Value)
				}
				r.ndots = min(n, 15) // resolv.conf(5)
			}
		}
		if len(c.Nameservers) > 0 {
			r.notes = append(r.notes, "dnsConfig has nameservers "+strings.Join(c.Nameservers, " ")+", which are not asked here")
		}
	}
	return r, nil
}
