package eligible

import (
	"fmt"
	"slices"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	pkgparse "github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/coredns/coredns/plugin/pkg/transport"
	"github.com/miekg/dns"
)

// claim is that a server block which listens at the port has a zone. Whether a
// block with bind listens at the same address as another is not known here.
type claim struct {
	block int
	key   string // the block's first
	ours  bool   // it has a stanza of ours
	bound bool   // it has bind
	view  *use   // it has view
}

// ownerRules say whose a zone is that several server blocks claim. The first
// rule that holds does. One of the claims, the first, is ours.
var ownerRules = []struct {
	name  string
	holds func(first, other claim) bool // for any of the others
	why   func(zone string, other claim) string
}{
	{"another block chooses by more than the name", func(_, other claim) bool { return other.view != nil },
		func(_ string, other claim) string { return other.view.says(rules["view"].why) }},
	{"two blocks of ours have it", func(_, other claim) bool { return other.ours }, claimed},
	// Without a view CoreDNS does not let two blocks have one zone at one
	// address, so that with two binds they are at two.
	{"another block may listen at the same address", func(first, other claim) bool { return !first.bound || !other.bound }, claimed},
}

func claimed(zone string, by claim) string {
	return fmt.Sprintf("server block %s has the zone %s", by.key, zone)
}

// owner returns the route of a zone that these server blocks claim.
func owner(zone string, claims []claim) Route {
	at := slices.IndexFunc(claims, func(c claim) bool { return c.ours })
	if at < 0 {
		return Route{Zone: zone, Block: Chain, Owner: Chain, Why: claimed(zone, claims[0])}
	}
	first := claims[at]
	for _, rule := range ownerRules {
		for _, other := range claims {
			if other.block != first.block && rule.holds(first, other) {
				return Route{Zone: zone, Block: Chain, Owner: Chain, Why: rule.why(zone, other)}
			}
		}
	}
	return Route{Zone: zone, Block: first.block, Owner: first.block}
}

// owners returns the zones of the server blocks that listen at the port, with
// whose they are.
func (in *Input) owners() (map[string]Route, error) {
	claims := map[string][]claim{}
	for i, b := range in.Blocks {
		zones, err := blockZones(b.Keys, in.Port)
		if err != nil {
			return nil, err
		}
		_, ours := in.Ours[i]
		c := claim{block: i, ours: ours, bound: b.Tokens["bind"] != nil}
		if views := in.uses("view", b.Tokens["view"]); len(views) > 0 {
			c.view = &views[0]
		}
		for _, zone := range zones {
			c.key = b.Keys[0]
			claims[zone] = append(claims[zone], c)
		}
	}
	owners := map[string]Route{}
	for zone, list := range claims {
		owners[zone] = owner(zone, list)
	}
	return owners, nil
}

// Zones returns the zones that a server block with these keys has.
func Zones(keys []string) ([]string, error) { return blockZones(keys, "") }

// blockZones returns the zones that a server block with these keys has at the
// plain DNS listeners at port, or those at any listener if port is "", as
// CoreDNS's InspectServerBlocks reads them.
func blockZones(keys []string, port string) (zones []string, err error) {
	for _, key := range keys {
		trans, rest := pkgparse.Transport(key)
		hosts, p, err := plugin.SplitHostPort(rest)
		if err != nil {
			return nil, fmt.Errorf("server block %s: %w", key, err)
		}
		if p == "" {
			p = dnsserver.Port
		}
		if port != "" && (trans != transport.DNS || p != port) {
			continue
		}
		for _, host := range hosts {
			zone := plugin.Name(host).Normalize()
			if _, ok := dns.IsDomainName(zone); !ok {
				return nil, fmt.Errorf("server block %s: %q is no domain name", key, zone)
			}
			zones = append(zones, zone)
		}
	}
	return zones, nil
}
