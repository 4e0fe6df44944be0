package zone

import "github.com/clusterdns/clusterdns/plugin/dnswire"

// Description is what the labels of a name stand for, in lower case; see split
// for where they are. What a name does not have is empty.
type Description struct {
	Port, Protocol string // without leading underscores
	Endpoint       string
	Cluster        string // of the endpoint, in multi-cluster zones
	Topology       string // the topology zone of a zonal name
	Service        string // or a pod's dashed address
	Namespace      string
	Kind           string // "svc" or "pod"
	// Multicluster says that the name is in a multi-cluster zone.
	Multicluster bool
}

// Describe takes name, in wire format, apart. In is false if it is in none of
// v's zones, or those are external ones, and valid if no service or pod can have
// such a name. Whether there is one is not asked.
func (v *View) Describe(name []byte) (d Description, in, valid bool) {
	var q query
	if v.opt.External != nil || v.opt.Gateway != nil || !q.parse(name) {
		return d, false, false
	}
	o := v.match(&q)
	if o == nil {
		return d, false, false
	}
	n := q.labels - o.labels
	p := q.split(n, o)
	d.Multicluster = o.multicluster
	if p.kind == atNothing {
		return d, true, false
	}
	text := func(label []byte) string { return string(dnswire.AppendLower(nil, label)) }
	if n > 0 {
		d.Kind = text(q.label(n - 1))
	}
	if n > 1 {
		d.Namespace = text(q.label(n - 2))
	}
	if n > 2 {
		d.Service = text(q.label(n - 3))
	}
	switch first, second := text(p.sel.first), text(p.sel.second); p.sel.by {
	case byPort:
		d.Port, d.Protocol = first, second
	case byEndpoint:
		d.Endpoint, d.Cluster = first, second
	case byZone, preferZone:
		d.Topology = first
	}
	return d, true, true
}
