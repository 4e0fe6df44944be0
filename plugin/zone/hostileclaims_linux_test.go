package zone

import (
	"fmt"
	"net/netip"
	"strings"
)

// Whoever writes Ingresses chooses how many claim a name, and how many names, and
// labels, one has.
func init() {
	gateway := Options{Zones: []string{"e."}, TTL: 5, Gateway: &GatewayOptions{Resources: []Resource{Ingresses}, Apex: "dns1.kube-system"}}
	questions := []string{"web.e. A", "web.e. AAAA", "x.y.web.e. A", "no.e. A", "n7.e. A", strings.Repeat("x.", 120) + "e. A"}
	hostiles = append(hostiles,
		hostile{what: "claims of one name", questions: questions, opt: gateway, world: claimsOfOneName},
		hostile{what: "claims of one name that lead nowhere", questions: questions, opt: gateway, world: func(n int) (all []Object) {
			for i := range n {
				all = append(all, claimOf(i, nil, "web.e", "*.web.e"))
			}
			return all
		}},
		hostile{what: "names of one claim", questions: questions, opt: gateway, world: func(n int) []Object {
			return []Object{claimOf(1, NewExternal(ips(2), nil), manyHosts(n)...)}
		}},
		hostile{what: "addresses of a claim", questions: questions, opt: gateway, world: func(n int) []Object {
			return []Object{claimOf(1, NewExternal(ips(n), nil), "web.e", "*.web.e")}
		}},
	)
	hostileEvents = append(hostileEvents,
		hostileEvent{"claims of one name: one", claimsOfOneName, func(int) [2]Object {
			return [2]Object{claimOf(1<<20, NewExternal(ips(1), nil), "web.e"), nil}
		}},
		hostileEvent{"names of a claim: one", nil, func(n int) [2]Object {
			return [2]Object{claimOf(1, nil, manyHosts(n)...), claimOf(1, nil, manyHosts(n-1)...)}
		}},
		hostileEvent{"names of a claim: all", nil, func(n int) [2]Object { return [2]Object{claimOf(1, nil, manyHosts(n)...), nil} }},
	)
}

func claimOf(i int, to *External, names ...string) *Claim {
	c := &Claim{Key: Key{"a", fmt.Sprint("i", i)}, Of: Ingresses, Created: int64(i % 1000)}
	var list []HostName
	for _, name := range names {
		h, ok := NewHostName(name)
		if !ok {
			panic(name)
		}
		h.To = to
		list = append(list, h)
	}
	c.SetNames(list)
	return c
}

func claimsOfOneName(n int) (all []Object) {
	for i := range n {
		all = append(all, claimOf(i, NewExternal([]netip.Addr{ip(i)}, nil), "web.e", "*.web.e"))
	}
	return all
}

// manyHosts returns names of as many labels as there may be.
func manyHosts(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("n%d.%se", i, strings.Repeat(fmt.Sprintf("p%d.", i), maxHostLabels-2)))
	}
	return names
}
