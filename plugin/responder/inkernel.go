package responder

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane/kernel"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/miekg/dns"
)

// inKernel is what of a Plan a kernel.Image may answer in the place of
// Responders. All of it is one View's.
type inKernel struct {
	view  *zone.View
	zones []kernel.Zone // as kernel.Config has them
	// meters are what count zones' queries, by kernel.Zone.Meter; nil: nothing.
	meters  []*meter
	forward []byte   // one of the zones, that has services' names; nil: none has
	left    []string // "<zone>: <why>", of zones that were wished for and are the Responders' all the same
}

// inKernel returns what may be answered of the routes for which that is wished.
func (p *Plan) inKernel() (k inKernel) {
	for _, r := range p.routes {
		z := kernel.Zone{Wire: r.wire}
		if r.view != nil && r.kernel {
			if k.view == nil {
				k.view = r.view
			}
			var why string
			var below [][]byte
			if z, below, why = r.inKernel(k.view); why != "" {
				k.leave(r.wire, why)
			}
			for _, wire := range below {
				if p.route(wire) == r { // a route of its own says whose it is
					k.zones = append(k.zones, kernel.Zone{Wire: wire})
				}
			}
		}
		k.zones = append(k.zones, z)
	}
	k.fit()
	slices.SortStableFunc(k.zones, func(a, b kernel.Zone) int { return cmp.Compare(len(b.Wire), len(a.Wire)) })
	for i := range k.zones {
		z := &k.zones[i]
		if z.Kind == kernel.Up {
			continue
		}
		z.Meter = uint8(len(k.meters))
		var m *meter
		if r := p.route(z.Wire); r.meters != nil {
			m = r.meter(z.Wire)
		}
		k.meters = append(k.meters, m)
		if z.Kind == kernel.Forward && k.forward == nil {
			k.forward = z.Wire
		}
	}
	return k
}

func (k *inKernel) leave(wire []byte, why string) {
	k.left = append(k.left, fmt.Sprintf("%s: %s", dnswire.NameString(wire), why))
}

// svc stands in a service's name behind its labels and the namespace's.
const svc = "\x03svc"

// inKernel returns what is to be done with questions in r's zone, and zones below
// it that are others, or why all of them are a Responder's.
func (r *route) inKernel(view *zone.View) (z kernel.Zone, below [][]byte, why string) {
	up := kernel.Zone{Wire: r.wire}
	rules, why := r.view.Rules(r.wire)
	switch {
	case r.view != view:
		return up, nil, "another stanza's zones are answered"
	case r.hosts != nil:
		return up, nil, "each query is a question to the plugin hosts"
	case r.hitters:
		return up, nil, "the plugin console counts who asks what"
	case why != "":
		return up, nil, why
	case len(r.wire) > kernel.MaxZone || rules.Reverse && len(svc)+len(rules.Primary) > kernel.MaxZone:
		return up, nil, fmt.Sprintf("a zone has more than %d octets", kernel.MaxZone)
	}
	for i := range r.meters {
		if m := &r.meters[i]; len(m.wire) > len(r.wire) && dnswire.IsSubdomain(m.wire, r.wire) {
			return up, nil, "queries for " + m.zone + " are counted by themselves"
		}
	}
	z = kernel.Zone{
		Wire: r.wire, Kind: kernel.Forward, TTL: rules.TTL, Types: r.types, Rotate: r.rotate, Bufsize: r.bufsize,
		Negative:     !r.meets(r.through) && !r.meets(r.searched),
		NegativeEDNS: !rules.Explains,
	}
	if rules.Reverse {
		z.Kind, z.PTRZone = kernel.Reverse, slices.Concat([]byte(svc), rules.Primary)
	}
	z.Types[dns.TypeSOA] = false // there is no NXDOMAIN for it (zone.View.Lookup)
	for i := range r.templates {
		if t := &r.templates[i]; t.qtype < uint16(len(z.Types)) && r.meets([][]byte{t.zone}) {
			z.Types[t.qtype] = false
		}
	}
	return z, rules.Below, ""
}

// meets reports whether a name can be in r's zone and in one of zones.
func (r *route) meets(zones [][]byte) bool {
	return isIn(r.wire, zones) || slices.ContainsFunc(zones, func(zone []byte) bool { return dnswire.IsSubdomain(zone, r.wire) })
}

// fit leaves zones out of k that an Image has no room for, and those that say
// nothing: names in no zone go up too.
func (k *inKernel) fit() {
	drop := func(drop func(*kernel.Zone) bool, why string) bool {
		for i := len(k.zones) - 1; i >= 0; i-- {
			if z := &k.zones[i]; z.Kind != kernel.Up && drop(z) {
				*z = kernel.Zone{Wire: z.Wire}
				k.leave(z.Wire, why)
				return true
			}
		}
		return false
	}
	for {
		k.zones = slices.DeleteFunc(k.zones, func(z kernel.Zone) bool {
			return z.Kind == kernel.Up && !slices.ContainsFunc(k.zones, func(o kernel.Zone) bool {
				return o.Kind != kernel.Up && dnswire.IsSubdomain(z.Wire, o.Wire)
			})
		})
		if i := slices.IndexFunc(k.zones, func(z kernel.Zone) bool { return len(z.Wire) > kernel.MaxZone }); i >= 0 {
			long := bytes.Clone(k.zones[i].Wire)
			drop(func(z *kernel.Zone) bool { return dnswire.IsSubdomain(long, z.Wire) },
				fmt.Sprintf("%s, which is below it, has more than %d octets", dnswire.NameString(long), kernel.MaxZone))
			continue
		}
		if len(k.zones) <= kernel.MaxZones {
			return
		}
		const why = "there is room for 16 zones"
		if !drop(func(z *kernel.Zone) bool { return z.Kind == kernel.Reverse }, why) {
			drop(func(*kernel.Zone) bool { return true }, why)
		}
	}
}
