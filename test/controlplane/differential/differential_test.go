// Package differential asks stock CoreDNS and clusterdns, side by side on one
// API server, the same questions, and demands the same answers.
package differential

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/clusterdns/clusterdns/test/controlplane"
)

var (
	seed     = flag.Uint64("seed", 1, "seed of the world and the questions")
	services = flag.Int("services", 120, "services made at random")
	rounds   = flag.Int("rounds", 2, "how often to change the world and ask again")
	only     = flag.String("variants", "", "names of the variants to compare, with commas between them; all if empty")
	limit    = flag.Int("questions", 3000, "about how many questions to ask each variant; 0 for all there are")
)

func TestDifferential(t *testing.T) {
	ctx := deadline(t)
	rest.SetDefaultWarningHandler(rest.NoWarnings{}) // of what the API deprecates
	cluster, err := controlplane.Start(ctx, controlplane.Options{APIOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop()
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := installCRD(ctx, client); err != nil {
		t.Fatal(err)
	}
	w := &world{client: client, rand: rand.New(rand.NewPCG(*seed, 0))}
	if err := w.create(ctx, *services); err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, %d objects refused", *seed, w.refused)
	stock := serve(t, program(t, "STOCK_BINARY", "bench", "./cmd/stock"), cluster.Kubeconfig())
	ours := serve(t, program(t, "CLUSTERDNS_BINARY", ".", "./cmd/clusterdns"), cluster.Kubeconfig())

	total := &tally{categories: map[string]int{}, rules: map[string]int{}}
	for round := range *rounds + 1 {
		if round > 0 {
			if err := w.change(ctx, round); err != nil {
				t.Fatal(err)
			}
			stock.awaitChange(t, round)
			ours.awaitChange(t, round)
		}
		world, err := collectFacts(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range variants {
			if *only != "" && !slices.Contains(strings.Split(*only, ","), v.name) {
				continue
			}
			t.Run(fmt.Sprintf("%d-%s", round, v.name), func(t *testing.T) {
				r := rand.New(rand.NewPCG(*seed, uint64(round*len(variants)+i+1)))
				n, err := v.collect(ctx, client)
				if err != nil {
					t.Fatal(err)
				}
				p := &pair{v: v, facts: world, stock: stock, ours: ours, total: total}
				p.compareAll(t, sample(questions(r, n), *limit))
			})
		}
	}
	t.Logf("seed %d: asked %d questions, equal %d, equal but for rules %d, unequal %d; asked again after a timeout: stock %d, ours %d",
		*seed, total.asked, total.equal, total.ruled, total.unequal, total.stockAgain, total.oursAgain)
	for c, n := range total.categories {
		t.Logf("  category %-10s %6d", c, n)
		if n < minPerCategory && c != known && *only == "" {
			t.Errorf("category %s: %d questions are fewer than %d", c, n, minPerCategory)
		}
	}
	for _, rule := range rules {
		n, most := total.rules[rule.name], total.categories[known]+int(rule.share*float64(total.asked)/1000)
		t.Logf("  %-24s changed %6d, %5.2f of a thousand", rule.name, n, 1000*float64(n)/float64(max(1, total.asked)))
		if n > most && *only == "" {
			t.Errorf("rule %s changed %d of %d, more than %d", rule.name, n, total.asked, most)
		}
		if n == 0 && *only == "" {
			t.Errorf("rule %s changed nothing: it has lost its reason", rule.name)
		}
	}
}

// minPerCategory is how many questions a category has at least, also in a short
// run.
const minPerCategory = 200

// tally counts, over all variants.
type tally struct {
	sync.Mutex
	asked, equal, ruled, unequal int
	stockAgain, oursAgain        int
	categories, rules            map[string]int
}

func (n *tally) add(q question, c comparison) {
	n.Lock()
	defer n.Unlock()
	n.asked++
	n.categories[q.category]++
	switch {
	case c.wrong != "":
		n.unequal++
		return
	case len(c.rules) > 0:
		n.ruled++
	default:
		n.equal++
	}
	for _, rule := range c.rules {
		n.rules[rule]++
	}
	if c.stockAgain {
		n.stockAgain++
	}
	if c.oursAgain {
		n.oursAgain++
	}
}

// sample returns at most limit of the shuffled qs, and of the rest so many that
// no category that has questions is left without.
func sample(qs []question, limit int) []question {
	if limit <= 0 || limit >= len(qs) {
		return qs
	}
	have := map[string]int{}
	for i, q := range qs {
		if i < limit {
			have[q.category]++
		} else if q.category == known || have[q.category] < minPerCategory/len(variants) {
			have[q.category]++
			qs[limit] = q
			limit++
		}
	}
	return qs[:limit]
}

// maxShown bounds what a failing run prints.
const maxShown = 25

// pair is a variant on both servers.
type pair struct {
	v           variant
	facts       *facts
	stock, ours *server
	total       *tally
}

func (p *pair) compareAll(t *testing.T, qs []question) {
	work := make(chan question)
	var workers sync.WaitGroup
	shown := 0
	for range 16 {
		workers.Go(func() {
			for q := range work {
				c := p.compare(q)
				p.total.add(q, c)
				if c.wrong == "" {
					continue
				}
				p.total.Lock()
				if shown++; shown <= maxShown {
					t.Errorf("%v\nstock: %v\nours:  %v\nwant, by %v: %v", q, c.stock, c.ours, c.rules, c.wrong)
				} else {
					t.Fail()
				}
				p.total.Unlock()
			}
		})
	}
	for _, q := range qs {
		work <- q
	}
	close(work)
	workers.Wait()
}

// comparison is what came of a question.
type comparison struct {
	stock, ours           reply
	wrong                 string // what ours had to be, if it is not that
	rules                 []string
	stockAgain, oursAgain bool // asked once more, after a timeout
}

// compare asks both, and once more who does not answer in time, unless the rules
// say that there is no answer.
func (p *pair) compare(q question) (c comparison) {
	x := asked{question: q, rules: rules, v: p.v, facts: p.facts, stock: func(variant string, q question) reply {
		return p.stock.ask(variant, q, patience)
	}}
	c.stock, c.ours = p.stock.ask(p.v.name, q, patience), p.ours.ask(p.v.name, q, patience)
	if c.ours.err != "" {
		c.oursAgain, c.ours = true, p.ours.ask(p.v.name, q, morePatience)
	}
	if c.wrong, c.rules = x.judge(c.stock, c.ours); c.wrong == "" {
		return c
	}
	// A question of a rule's may have had no answer either.
	x.stock = func(variant string, q question) reply { return p.stock.ask(variant, q, morePatience) }
	if c.stock.err != "" {
		c.stockAgain, c.stock = true, p.stock.ask(p.v.name, q, morePatience)
	}
	c.wrong, c.rules = x.judge(c.stock, c.ours)
	return c
}
