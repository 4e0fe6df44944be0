package zone

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestSources(t *testing.T) {
	w := worldOf(t, shop+`
		service empty/alias external=web.shop.svc.cluster.local - @7
		service empty/far external=alias.empty.svc.cluster.local - @8
		service empty/away external=example.org -
		import shop/far 10.97.0.1 http:80/TCP
	`)
	v := mustView(t, w, Options{Zones: []string{"cluster.local.", "set.local.", "10.in-addr.arpa."}, Multicluster: []string{"set.local."}, Pods: PodsVerified})
	for _, row := range []qa{
		{"web.shop.svc.cluster.local. A", "services shop/web@1"},
		{"web.shop.svc.cluster.local. AAAA", "services shop/web@1"},
		{"front.web.shop.svc.cluster.local. A", "services shop/web@1, endpointslices shop/web-1@1"},
		{"db.shop.svc.cluster.local. A", "services shop/db@1, endpointslices shop/db-1@1, endpointslices shop/db-2@1"},
		{"void.shop.svc.cluster.local. A", "services shop/void@1"},
		{"far.empty.svc.cluster.local. A", "services empty/far@8, services empty/alias@7, services shop/web@1"},
		{"far.empty.svc.cluster.local. CNAME", "services empty/far@8"},
		{"away.empty.svc.cluster.local. A", "services empty/away@1"},
		{"far.shop.svc.set.local. A", "serviceimports shop/far@1"},
		{"shop.svc.cluster.local. A", "namespaces shop@1"},
		{"nope.shop.svc.cluster.local. A", ""},
		{"nope.svc.cluster.local. A", ""},
		{"10-1-0-1.shop.pod.cluster.local. A", "pods shop/p@1, pods shop/q@1"},
		{"10.0.96.10.in-addr.arpa. PTR", "services shop/web@1"},
		{"31.0.1.10.in-addr.arpa. PTR", "services gone/web@1, endpointslices gone/web-1@1"},
		{"31.0.1.99.in-addr.arpa. PTR", "ELSEWHERE"},
	} {
		name, typ, _ := strings.Cut(row.question, " ")
		var a Answer
		got := "ELSEWHERE"
		if v.Lookup(&a, wireName(t, name), dns.StringToType[typ]) {
			var list []string
			for _, s := range a.Sources() {
				list = append(list, fmt.Sprintf("%v %s@%d", s.Resource, strings.TrimPrefix(s.Namespace+"/"+s.Name, "/"), s.Version))
			}
			got = strings.Join(list, ", ")
		}
		if got != row.want {
			t.Errorf("%s:\n%s\nwant:\n%s", row.question, got, row.want)
		}
	}
}
