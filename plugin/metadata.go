package clusterdns

import (
	"context"
	"net/netip"

	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/coredns/plugin/metadata"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"
)

// metadataPrefixes are the names under which the metadata is found: our own,
// and that which Corefiles written for the kubernetes plugin use.
var metadataPrefixes = [...]string{"clusterdns/", "kubernetes/"}

// Metadata implements CoreDNS's metadata.Provider: what the labels of the
// question's name stand for and, with pods verified, who asks.
func (h *Handler) Metadata(ctx context.Context, state request.Request) context.Context {
	set := func(name string, value metadata.Func) {
		for _, prefix := range metadataPrefixes {
			metadata.SetValueFunc(ctx, prefix+name, value)
		}
	}
	if pod := h.podOf(state); pod != nil {
		set("client-namespace", func() string { return pod.Namespace })
		set("client-pod-name", func() string { return pod.Name })
		for k, v := range pod.Labels {
			set("client-label/"+k, func() string { return v })
		}
	}
	var buf [256]byte
	n, err := dns.PackDomainName(state.QName(), buf[:], 0, nil, false)
	if err != nil {
		return ctx
	}
	d, in, valid := h.view.Describe(buf[:n])
	switch {
	case !in:
	case !valid:
		set("parse-error", func() string { return "invalid query name" })
	default:
		set("port-name", func() string { return d.Port })
		set("protocol", func() string { return d.Protocol })
		set("endpoint", func() string { return d.Endpoint })
		set("service", func() string { return d.Service })
		set("namespace", func() string { return d.Namespace })
		set("kind", func() string { return d.Kind })
		if d.Multicluster {
			set("cluster", func() string { return d.Cluster })
		}
		if h.cfg.view.Zonal {
			set("zone", func() string { return d.Topology })
		}
	}
	return ctx
}

// podOf returns the pod that a query came from, if pods are followed and it is
// one.
func (h *Handler) podOf(state request.Request) *zone.Pod {
	if h.cfg.view.Pods != zone.PodsVerified {
		return nil
	}
	addr, err := netip.ParseAddr(state.IP())
	if err != nil {
		return nil
	}
	return h.view.Index().PodAt(addr)
}
