package responder

import (
	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/miekg/dns"
)

// hostsHas reports whether q ends at the plugin hosts, as its ServeDNS has it:
// the plugin has the name, or does not let it through. It asks the plugin that
// runs, whose file may have changed since the query before.
func (r *responder) hostsHas(route *route, q *dnswire.Query) bool {
	h := route.hosts
	r.text = dnswire.AppendLower(r.text[:0], q.Name)
	r.name = dnswire.AppendNameString(r.name[:0], r.text)
	name := string(r.name)
	if q.Type == dns.TypePTR { // in any zone, and what it does not have goes on
		return len(h.LookupStaticAddr(dnsutil.ExtractAddressFromReverse(name))) > 0
	}
	if !plugin.Zones(h.Origins).Contains(name) {
		return false
	}
	// A name with addresses is the plugin's for every type. There is an option
	// that lets other types than these through, which is not to be seen here.
	return len(h.LookupStaticHostV4(name)) > 0 || len(h.LookupStaticHostV6(name)) > 0 || !h.Fall.Through(name)
}
