package responder

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/coredns/coredns/plugin/hosts"
	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/miekg/dns"
)

// hostsFile is the plugin hosts as it runs in front of ours. It reads its file
// again and again, and says for each query what it has.
type hostsFile struct {
	*hosts.Hosts
	// read is the plugin's own pointer to what it has read last, another one each
	// time. Where a version of the plugin has none, nothing is remembered of what it
	// said.
	read    reflect.Value
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
	read := reflect.ValueOf(h.Hostsfile).Elem().FieldByName("hmap")
	return &hostsFile{Hosts: h, read: read, origins: origins, through: through}, nil
}

// table returns what stands for all that the plugin has in its file, nil if
// nothing does. As long as somebody keeps it, no other is equal to it.
func (h *hostsFile) table() any {
	if h.read.Kind() != reflect.Pointer {
		return nil
	}
	h.RLock()
	defer h.RUnlock()
	return h.read.UnsafePointer()
}

// said is what the plugin said of names, in wire format and lower case behind an
// octet that is 1 for PTR, when its file was table.
type said struct {
	table any
	of    map[string]bool
}

// mostSaid bounds said: strangers choose names.
const mostSaid = 4096

// hostsHas reports whether q ends at the plugin hosts, as its ServeDNS has it:
// the plugin has the name, or does not let it through.
func (r *responder) hostsHas(h *hostsFile, q *dnswire.Query) bool {
	ptr := q.Type == dns.TypePTR
	if !ptr && !isIn(q.Name, h.origins) {
		return false
	}
	r.lower = dnswire.AppendLower(append(r.lower[:0], 0), q.Name)
	if ptr {
		r.lower[0] = 1
	}
	table := h.table()
	s := r.said[h]
	if s == nil || s.table != table || len(s.of) >= mostSaid {
		s = &said{table, map[string]bool{}}
		if r.said == nil {
			r.said = map[*hostsFile]*said{}
		}
		r.said[h] = s
	}
	has, known := s.of[string(r.lower)]
	if known && table != nil {
		return has
	}
	has = r.hostsEnd(h, q)
	s.of[string(r.lower)] = has
	return has
}

// hostsEnd is hostsHas without a memory: names outside are too many, and chosen by
// strangers.
func (r *responder) hostsEnd(h *hostsFile, q *dnswire.Query) bool {
	r.text = dnswire.AppendNameString(r.text[:0], q.Name)
	name := strings.ToLower(string(r.text))
	if q.Type == dns.TypePTR { // in any zone, and what it does not have goes on
		return len(h.LookupStaticAddr(dnsutil.ExtractAddressFromReverse(name))) > 0
	}
	// A name with addresses is the plugin's for every type. There is an option
	// that lets other types than these through, which is not to be seen here.
	return isIn(q.Name, h.origins) &&
		(len(h.LookupStaticHostV4(name)) > 0 || len(h.LookupStaticHostV6(name)) > 0 || !isIn(q.Name, h.through))
}

// isIn reports whether name is at or below one of zones.
func isIn(name []byte, zones [][]byte) bool {
	return slices.ContainsFunc(zones, func(zone []byte) bool { return dnswire.IsSubdomain(name, zone) })
}
