package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const (
	memoryBegin, memoryEnd = "<!-- make lookups: memory -->\n", "<!-- end of make lookups: memory -->\n"

	// lookupPods is how many pods the cluster of TestLookupsMemory has.
	lookupPods = 100_000
	// lookupSettle is how long a server is left alone before its memory is read.
	lookupSettle = 10 * time.Second
)

// TestLookupsMemory reads what servers hold of memory in a cluster of 100,000 pods,
// with autopath and without. By the question it is to cost nothing.
func TestLookupsMemory(t *testing.T) {
	stock := os.Getenv(stockEnv)
	if stock == "" {
		t.Skipf("%s is not set: make lookups sets it", stockEnv)
	}
	o := newOutage(t)
	pods := o.fillPods(t, lookupPods)
	ours, theirs := program{plugin: "clusterdns"}, program{binary: stock, plugin: "kubernetes"}
	memory := map[string]float64{}
	var table strings.Builder
	table.WriteString("| server | MiB |\n|---|---|\n")
	const without, by = "clusterdns", "clusterdns, `autopath`, `pods insecure`"
	for _, row := range []struct {
		name     string
		program  program
		pods     string
		autopath bool
	}{
		{without, ours, "insecure", false},
		{by, ours, "insecure", true},
		{"clusterdns, `autopath`, `pods verified`", ours, "verified", true},
		{"CoreDNS", theirs, "insecure", false},
		{"CoreDNS, `autopath`, `pods verified`", theirs, "verified", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := config{program: row.program, stanza: []string{"kubeconfig " + o.Kubeconfig(), "pods " + row.pods}}
			if row.autopath {
				c.beside = "autopath @" + row.program.plugin
			}
			s := newServer(t, c)
			if err := s.waitReady(t.Context()); err != nil {
				t.Fatal(err)
			}
			for q, want := range pods {
				if got := s.ask("udp", q); got != want {
					t.Errorf("%s: %s, want %s", q, got, want)
				}
			}
			if row.autopath && row.program.plugin == ours.plugin {
				name := "db." + outside
				r, err := dns.Exchange(new(dns.Msg).SetQuestion(o.space.fqdn("db."+strings.TrimSuffix(outside, ".")), dns.TypeA), s.addr)
				if err != nil || len(r.Answer) != 2 || r.Answer[1].Header().Name != name {
					t.Errorf("%s along the search path: %v, %v", name, r, err)
				}
			}
			time.Sleep(lookupSettle) // what is read is what is held then
			rss, err := residentMemory(s.proc.Pid)
			if err != nil {
				t.Fatal(err)
			}
			memory[row.name] = rss
			fmt.Fprintf(&table, "| %s | %.0f |\n", row.name, rss)
		})
	}
	t.Logf("\n%s", table.String())
	if memory[by] > 1.1*memory[without] {
		t.Errorf("autopath by the question holds %.0f MiB, and without it are %.0f", memory[by], memory[without])
	}
	for _, path := range strings.Fields(os.Getenv(tablesEnv)) {
		if filepath.Base(path) != "README.md" && !t.Failed() {
			putTable(t, path, memoryBegin, memoryEnd, table.String())
		}
	}
}
