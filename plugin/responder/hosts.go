package responder

import (
	"fmt"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/coredns/coredns/plugin/hosts"
	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/miekg/dns"
)

// hostsFile is the plugin hosts as it runs in front of ours. It reads its file
// again and again, so that what it has is asked for each query.
type hostsFile struct {
	*hosts.Hosts
	origins [][]byte // zones that it has names in, in wire format and lower case
	through [][]byte // of the names in origins, those in which others are the next plugin's
}

func newHostsFile(h *hosts.Hosts) (*hostsFile, error) {
	origins, err := wireNames(h.Origins)
	if err != nil {
		return nil, fmt.Errorf("hosts' zone %w", err)
	}
	through, err := wireNames(h.Fall.Zones)
	if err != nil {
		return nil, fmt.Errorf("hosts' fallthrough zone %w", err)
	}
	return &hostsFile{Hosts: h, origins: origins, through: through}, nil
}

// hostsHas reports whether q ends at the plugin hosts, as its ServeDNS has it:
// the plugin has the name, or does not let it through.
func (r *responder) hostsHas(h *hostsFile, q *dnswire.Query) bool {
	in := isIn(q.Name, h.origins)
	if !in && q.Type != dns.TypePTR {
		return false
	}
	r.lower = dnswire.AppendLower(r.lower[:0], q.Name)
	r.text = dnswire.AppendNameString(r.text[:0], r.lower)
	name := string(r.text)
	if q.Type == dns.TypePTR { // in any zone, and what it does not have goes on
		return len(h.LookupStaticAddr(dnsutil.ExtractAddressFromReverse(name))) > 0
	}
	// A name with addresses is the plugin's for every type. There is an option
	// that lets other types than these through, which is not to be seen here.
	return len(h.LookupStaticHostV4(name)) > 0 || len(h.LookupStaticHostV6(name)) > 0 || !isIn(q.Name, h.through)
}

// isIn reports whether name is at or below one of zones.
func isIn(name []byte, zones [][]byte) bool {
	return slices.ContainsFunc(zones, func(zone []byte) bool { return dnswire.IsSubdomain(name, zone) })
}
