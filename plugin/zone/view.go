package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// PodMode says which names below pod. are answered.
type PodMode uint8

// The modes of the Corefile's option pods.
const (
	PodsDisabled PodMode = iota // none
	PodsInsecure                // any that spells an address, whether or not a pod has it
	PodsVerified                // those of pods in the index
)

// Options are what a Corefile stanza says about answering.
type Options struct {
	// Zones are the origins, fully qualified. At least one is no reverse zone,
	// unless they are external ones.
	Zones []string
	// TTL is the TTL of records, in seconds, and of negative answers.
	TTL uint32
	// Pods says which names below pod. exist.
	Pods PodMode
	// NoEndpoints answers as if no service had endpoints, and does not wait
	// for EndpointSlices.
	NoEndpoints bool
	// Namespaces are the only ones that are shown, if there are any: what is in
	// others does not exist, also for reverse names.
	Namespaces []string
	// SelectedNamespaces says that the index has a selection of the cluster's
	// namespaces, and that what is in others is to be hidden.
	SelectedNamespaces bool
	// IgnoreEmpty lets ClusterIP services without an endpoint to answer not
	// exist.
	IgnoreEmpty bool
	// External makes the zones external ones, in which Pods and IgnoreEmpty mean
	// nothing. Nil is a cluster's zones.
	External *ExternalOptions
	// Gateway makes the zones those of host names that objects claim, in which
	// of the options TTL and Namespaces mean anything. Nil is a cluster's zones.
	Gateway *GatewayOptions
	// Multicluster are the zones among Zones, or above some of them, that have
	// the services of a set of clusters (ServiceImports) and not the cluster's
	// own. NoEndpoints does not concern them.
	Multicluster []string
	// MaxAnswers is how many addresses, or SRV records, of endpoints an answer has at
	// most: of more it has others each time, chosen at random. 0 is no limit. Zone
	// transfers have all.
	MaxAnswers int
	// Zonal says that headless services, not imported ones, also have names that
	// pick the endpoints in a topology zone.
	Zonal bool
	// Explain is with how many names one that does not exist may be compared, to
	// say which is nearest (Answer.Why); DefaultProbes is a good number. 0 is no
	// explanations.
	Explain int
	// SelectedObjects says that the index has a selection of the cluster's
	// services. Only explanations ask.
	SelectedObjects bool
}

// View is an Index seen through one Corefile stanza. It is safe for concurrent
// use once SetLocalAddrs has been called.
type View struct {
	ix      atomic.Pointer[Index]
	opt     Options
	origins []*origin           // most labels first
	primary []byte              // the first that is no reverse zone, or if external the first: where PTRs point
	shown   map[string]struct{} // opt.Namespaces
	depends uint16              // bit r: answers may depend on Resource r
	local   []netip.Addr
	servers atomic.Pointer[nameServers] // as last found
	// searches is a second since 1970 in the upper half, and how many searches
	// for nearest names there were in it.
	searches  atomic.Uint64
	following viewFollowers

	nameServer, hostmaster []byte // the labels of both below every origin
	apex                   []byte // in external zones: the last of those, folded
	secondary              []byte // in a gateway's zones: those of the other name server
}

// origin is one zone's name.
type origin struct {
	wire         []byte // folded
	labels       int
	multicluster bool
	zonal        bool
}

// NewView returns the view of ix with the given options. An error names the
// zone that is no domain name, or too long for the names of its SOA record.
func NewView(ix *Index, opt Options) (*View, error) {
	v := &View{opt: opt, nameServer: nsDNS, hostmaster: hostmaster}
	v.ix.Store(ix)
	if opt.External != nil {
		if err := v.setExternal(opt.External); err != nil {
			return nil, err
		}
	}
	if opt.Gateway != nil {
		if err := v.setGateway(opt.Gateway); err != nil {
			return nil, err
		}
	}
	for _, z := range opt.Zones {
		wire, err := dnswire.AppendName(nil, strings.ToLower(z))
		if err != nil {
			return nil, fmt.Errorf("zone %q: %w", z, err)
		}
		if longest := max(len(v.nameServer), len(v.hostmaster)); longest+len(wire) > maxName {
			return nil, fmt.Errorf("zone %q is too long: %d octets, of which the names in its SOA record leave %d", z, len(wire), maxName-longest)
		}
		o := &origin{wire: wire, labels: dnswire.CountLabels(wire)}
		for _, mz := range opt.Multicluster {
			parent, err := dnswire.AppendName(nil, mz)
			if err != nil {
				return nil, fmt.Errorf("multi-cluster zone %q: %w", mz, err)
			}
			o.multicluster = o.multicluster || dnswire.IsSubdomain(wire, parent)
		}
		o.zonal = opt.Zonal && !o.multicluster
		v.origins = append(v.origins, o)
		if v.primary == nil && (opt.External != nil || opt.Gateway != nil || !isReverse(wire)) {
			v.primary = wire
		}
	}
	if v.primary == nil {
		return nil, fmt.Errorf("zones %v: none that is not a reverse zone", opt.Zones)
	}
	for _, r := range v.Needs() {
		v.depends |= 1 << r
	}
	for _, ns := range opt.Namespaces {
		if v.shown == nil {
			v.shown = map[string]struct{}{}
		}
		v.shown[ns] = struct{}{}
	}
	slices.SortStableFunc(v.origins, func(a, b *origin) int { return b.labels - a.labels })
	return v, nil
}

// SetLocalAddrs says at which addresses this server is reached. The services
// with an endpoint among them are the zones' name servers; without any such,
// ns.dns.<zone> has these addresses.
func (v *View) SetLocalAddrs(addrs []netip.Addr) {
	v.local = addrs
	v.servers.Store(nil)
}

// Index returns the index that v shows.
func (v *View) Index() *Index { return v.ix.Load() }

// Needs returns the resources that answers may depend on.
func (v *View) Needs() []Resource {
	if v.opt.Gateway != nil {
		return v.opt.Gateway.Needs()
	}
	return v.needs(slices.ContainsFunc(v.origins, func(o *origin) bool { return o.multicluster }))
}

// needs is Needs for the origins that are multi-cluster zones, or are not.
func (v *View) needs(multicluster bool) []Resource {
	rs := []Resource{Namespaces, Services}
	if !v.opt.NoEndpoints || multicluster {
		rs = append(rs, EndpointSlices)
	}
	if v.opt.Pods == PodsVerified {
		rs = append(rs, Pods)
	}
	if multicluster {
		rs = append(rs, ServiceImports)
	}
	return rs
}

// lists reports whether the namespace is among those that are shown.
func (v *View) lists(namespace string) bool {
	if v.shown == nil {
		return true
	}
	_, ok := v.shown[namespace]
	return ok
}

// match returns the origin with the most labels that q's name is at or below.
func (v *View) match(q *query) *origin {
	for _, o := range v.origins {
		if o.holds(q) {
			return o
		}
	}
	return nil
}

// holds reports whether q's name is at or below o.
func (o *origin) holds(q *query) bool {
	return o.labels <= q.labels && string(q.from(q.labels-o.labels, q.labels)) == string(o.wire[:len(o.wire)-1])
}

// isReverse reports whether a folded wire-format name is below in-addr.arpa or
// ip6.arpa.
func isReverse(wire []byte) bool {
	return endsIn(wire, "\x07in-addr\x04arpa\x00") || endsIn(wire, "\x03ip6\x04arpa\x00")
}

func endsIn(wire []byte, suffix string) bool {
	return len(wire) >= len(suffix) && string(wire[len(wire)-len(suffix):]) == suffix
}
