package zone

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestList: a View lists what it shows, and no more.
func TestList(t *testing.T) {
	w := worldOf(t, `
		namespace shop
		namespace data
		service shop/web 10.96.0.10 http:80/TCP
		service shop/db headless,publish -
		service shop/api headless -
		slice shop/web-x web^web@east http:80/TCP 10.244.1.1 !10.244.1.2
		slice shop/db-x db - 10.244.1.3 !10.244.1.4
		slice shop/api-x api - 10.244.1.5 !10.244.1.6
		slice shop/late-x late - 10.244.1.7
		service gone/web 10.96.0.11 -
		service data/db external=db.example -
		import shop/web 10.97.0.10 http:80/TCP
	`)
	for _, row := range []struct {
		name       string
		opt        Options
		namespaces string
		asked      string
		want       string // name, imported, ready/notReady
	}{
		{"all", Options{}, "[data shop]", "shop", "api 1/1, db 2/0, web 1/1"},
		{"another", Options{}, "[data shop]", "data", "db 0/0"},
		{"a namespace that is gone", Options{}, "[data shop]", "gone", "none"},
		{"upper case", Options{}, "[data shop]", "Shop", "api 1/1, db 2/0, web 1/1"},
		{"no label", Options{}, "[data shop]", strings.Repeat("x", 64), "none"},
		{"empty", Options{}, "[data shop]", "", "none"},
		{"hidden", Options{Namespaces: []string{"shop", "gone"}}, "[shop]", "data", "none"},
		{"shown", Options{Namespaces: []string{"shop", "gone"}}, "[shop]", "shop", "api 1/1, db 2/0, web 1/1"},
		{"noendpoints", Options{NoEndpoints: true}, "[data shop]", "shop", "api 0/0, db 0/0, web 0/0"},
		{"both", Options{Zones: []string{"cluster.local.", "set.local."}, Multicluster: []string{"set.local."}}, "[data shop]", "shop", "api 1/1, db 2/0, web 1/1, web imported 1/1"},
		{"imports", Options{Zones: []string{"set.local.", "10.in-addr.arpa."}, Multicluster: []string{"set.local."}}, "[data shop]", "shop", "web imported 1/1"},
	} {
		if row.opt.Zones == nil {
			row.opt.Zones = []string{"cluster.local."}
		}
		v := mustView(t, w, row.opt)
		if got := fmt.Sprint(v.Namespaces()); got != row.namespaces {
			t.Errorf("%s: namespaces %s, want %s", row.name, got, row.namespaces)
		}
		list, ok := v.Services(row.asked)
		var got []string
		for _, s := range list {
			imported := ""
			if s.Imported {
				imported = " imported"
			}
			got = append(got, fmt.Sprintf("%s%s %d/%d", s.Name, imported, s.Ready, s.NotReady))
		}
		slices.Sort(got)
		text := strings.Join(got, ", ")
		if !ok {
			text = "none"
		}
		if text != row.want {
			t.Errorf("%s: %s, want %s", row.name, text, row.want)
		}
	}
}
