package responder

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane/kernel"
	"github.com/clusterdns/clusterdns/plugin/hitters"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/coredns/coredns/plugin/hosts"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
)

// describe writes zones as a table of words.
func describe(zones []kernel.Zone) (list []string) {
	for i := range zones {
		z := &zones[i]
		line := []string{dnswire.NameString(z.Wire), [...]string{"up", "forward", "reverse"}[z.Kind]}
		if z.Kind != kernel.Up {
			line = append(line, fmt.Sprint("ttl=", z.TTL))
			for word, is := range map[string]bool{"negative": z.Negative, "negative-edns": z.NegativeEDNS, "rotate": z.Rotate, "no-aaaa": !z.Types[dns.TypeAAAA], "soa": z.Types[dns.TypeSOA]} {
				if is {
					line = append(line, word)
				}
			}
			if z.Kind == kernel.Reverse {
				line = append(line, "in="+dnswire.NameString(z.PTRZone))
			}
			slices.Sort(line[3:])
		}
		list = append(list, strings.Join(line, " "))
	}
	return list
}

func TestInKernel(t *testing.T) {
	many := []string{"cluster.local."}
	for i := range 16 {
		many = append(many, fmt.Sprintf("%d.10.in-addr.arpa.", 96+i))
	}
	long := strings.Repeat(strings.Repeat("x", 30)+".", 2) + "cluster.local."
	both := []string{"cluster.local.", "10.in-addr.arpa."}
	counted := metrics.New(":0")
	counted.Next = test.ErrorHandler()
	for _, row := range []struct {
		name   string
		opt    zone.Options
		routes []string // zones; those with "!" are the chain's
		change func(*Route)
		zones  []string
		left   []string
	}{
		{name: "kubeadm's", opt: zone.Options{Zones: []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."}}, routes: []string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."},
			change: func(r *Route) { r.Fallthrough = []string{"in-addr.arpa.", "ip6.arpa."}; r.Rotate = true },
			zones: []string{"cluster.local. forward ttl=5 negative negative-edns rotate", "in-addr.arpa. reverse ttl=5 in=svc.cluster.local. negative-edns rotate",
				"ip6.arpa. reverse ttl=5 in=svc.cluster.local. negative-edns rotate"}},
		{name: "not wished for", routes: both, change: func(r *Route) { r.Kernel = false }},
		{name: "fallthrough below", routes: both, change: func(r *Route) { r.Fallthrough = []string{"a.svc.cluster.local."} },
			zones: []string{"10.in-addr.arpa. reverse ttl=5 in=svc.cluster.local. negative negative-edns", "cluster.local. forward ttl=5 negative-edns"}},
		{name: "autopath", routes: both[:1], change: func(r *Route) { r.Searched = []string{"."} }, zones: []string{"cluster.local. forward ttl=5 negative-edns"}},
		{name: "explain", opt: zone.Options{Explain: 1}, routes: both[:1], zones: []string{"cluster.local. forward ttl=5 negative"}},
		{name: "hosts", routes: both[:1], change: func(r *Route) { r.Hosts = &hosts.Hosts{Hostsfile: new(hosts.Hostsfile)} },
			left: []string{"cluster.local.: each query is a question to the plugin hosts"}},
		{name: "console", routes: both[:1], change: func(r *Route) { r.Hitters = new(hitters.Engine) },
			left: []string{"cluster.local.: the plugin console counts who asks what"}},
		{name: "a template", routes: both[:1], change: func(r *Route) {
			r.Templates = []Template{{Type: dns.TypeAAAA, Zones: []string{"shop.svc.cluster.local."}}, {Type: dns.TypeA, Zones: []string{"example.org."}}}
		}, zones: []string{"cluster.local. forward ttl=5 negative negative-edns no-aaaa"}},
		{name: "stub domains", routes: []string{"!b.cluster.local.", "!example.org.", "cluster.local.", "!local."},
			zones: []string{"b.cluster.local. up", "cluster.local. forward ttl=5 negative negative-edns"}},
		{name: "a part of a zone", routes: []string{"svc.cluster.local."}, left: []string{"svc.cluster.local.: it is part of another zone"}},
		{name: "another zone of the view below", opt: zone.Options{Zones: []string{"cluster.local.", "sub.cluster.local."}}, routes: []string{"cluster.local."},
			zones: []string{"sub.cluster.local. up", "cluster.local. forward ttl=5 negative negative-edns"}},
		{name: "two zones", opt: zone.Options{Zones: []string{"cluster.local.", "sub.cluster.local."}}, routes: []string{"sub.cluster.local.", "cluster.local."},
			zones: []string{"sub.cluster.local. forward ttl=5 negative negative-edns", "cluster.local. forward ttl=5 negative negative-edns"}},
		{name: "root", opt: zone.Options{Zones: []string{"."}}, routes: []string{"."}, left: []string{".: reverse zones are below it"}},
		{name: "arpa", opt: zone.Options{Zones: []string{"arpa.", "10.in-addr.arpa.", "cluster.local."}}, routes: []string{"10.in-addr.arpa.", "arpa."},
			zones: []string{"10.in-addr.arpa. reverse ttl=5 in=svc.arpa. negative negative-edns"}, left: []string{"arpa.: reverse zones are below it"}},
		{name: "multicluster", opt: zone.Options{Zones: []string{"cluster.local.", "set.local."}, Multicluster: []string{"set.local."}}, routes: []string{"cluster.local.", "set.local."},
			zones: []string{"cluster.local. forward ttl=5 negative negative-edns"}, left: []string{"set.local.: it is a multi-cluster zone"}},
		{name: "external", opt: zone.Options{Zones: []string{"example.org."}, External: &zone.ExternalOptions{Apex: "dns"}}, routes: []string{"example.org."},
			left: []string{"example.org.: it is no cluster's zone"}},
		{name: "selected namespaces", opt: zone.Options{SelectedNamespaces: true}, routes: both, zones: []string{"cluster.local. forward ttl=5 negative negative-edns"},
			left: []string{"10.in-addr.arpa.: addresses have other names when namespace_labels selects another namespace"}},
		{name: "too many", opt: zone.Options{Zones: many}, routes: many, left: []string{"111.10.in-addr.arpa.: there is room for 16 zones"}, zones: func() (list []string) {
			for i := range 15 {
				list = append(list, fmt.Sprintf("%d.10.in-addr.arpa. reverse ttl=5 in=svc.cluster.local. negative negative-edns", 96+i))
			}
			slices.SortStableFunc(list, func(a, b string) int { return strings.Index(b, ".") - strings.Index(a, ".") })
			return append(list, "cluster.local. forward ttl=5 negative negative-edns")
		}()},
		{name: "a long zone below", routes: []string{"!" + long, "cluster.local."},
			left: []string{"cluster.local.: " + long + ", which is below it, has more than 64 octets"}},
		{name: "counted by itself", routes: both[:1], change: func(r *Route) {
			counted.AddZone("shop.svc.cluster.local.")
			r.Metrics = counted
		}, left: []string{"cluster.local.: queries for shop.svc.cluster.local. are counted by themselves"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.opt.Zones == nil {
				row.opt.Zones = both
			}
			row.opt.TTL = 5
			v, err := zone.NewView(zone.NewWriter().Index(), row.opt)
			if err != nil {
				t.Fatal(err)
			}
			plan := new(Plan)
			for _, z := range row.routes {
				r := Route{Zone: z, View: v, Kernel: true}
				if rest, ok := strings.CutPrefix(z, "!"); ok {
					r = Route{Zone: rest}
				} else if row.change != nil {
					row.change(&r)
				}
				if err := plan.Add(r, "dns://:53"); err != nil {
					t.Fatal(err)
				}
			}
			k := plan.inKernel()
			if got := describe(k.zones); !slices.Equal(got, row.zones) {
				t.Errorf("zones\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(row.zones, "\n"))
			}
			if !slices.Equal(k.left, row.left) {
				t.Errorf("left %q, want %q", k.left, row.left)
			}
		})
	}
	t.Run("two stanzas", func(t *testing.T) {
		plan := new(Plan)
		for _, z := range []string{"cluster.local.", "other.local."} {
			v, err := zone.NewView(zone.NewWriter().Index(), zone.Options{Zones: []string{z}})
			if err != nil {
				t.Fatal(err)
			}
			if err := plan.Add(Route{Zone: z, View: v, Kernel: true}, "dns://:53"); err != nil {
				t.Fatal(err)
			}
		}
		if k := plan.inKernel(); len(k.zones) != 1 || len(k.left) != 1 {
			t.Errorf("%v, left %q", describe(k.zones), k.left)
		}
	})
}
