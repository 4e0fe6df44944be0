package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// patience is how long an answer may take, that of a resolver library before it
// asks again. A later one is missing.
const patience = 5 * time.Second

// rates are those of a steady load on one server, in questions a second, each from
// a socket of its own. A question does not wait for the answer to another.
var rates = map[string]int{"udp": 200, "tcp": 20}

// steady is a constant load on one server of questions whose answers are known.
type steady struct {
	s      *server
	checks []check
	quit   chan struct{}
	asking sync.WaitGroup

	mu     sync.Mutex
	result tally
	right  time.Time       // the last right answer
	took   []time.Duration // of right answers, since latency was asked for
}

// check is a question, and which answers are right to one that was asked at a
// time. Answers are judged in the order in which they come.
type check struct {
	question
	right func(asked time.Time, got string) bool
}

// tally is what a load came to.
type tally struct {
	asked   int
	wrong   int           // another answer than the right one, SERVFAIL excepted
	missing int           // no answer in time, or SERVFAIL
	gap     time.Duration // the longest time without a right answer
	bad     []string      // some that were wrong or missing
}

// checksOf are the questions of want, which is what the answers say all the time.
func checksOf(want map[question]string) (checks []check) {
	for q, answer := range want {
		checks = append(checks, check{q, func(_ time.Time, got string) bool { return got == answer }})
	}
	return checks
}

// inTurn is a question whose answer goes through steps: one that was there is not
// followed by one before it. The last step that may be there at the time is told by
// last; an answer is a step if step says so.
func inTurn(q question, step func(got string) (n int, ok bool), last func() int) check {
	type mark struct {
		at   time.Time
		step int
	}
	var marks []mark // rising
	return check{q, func(asked time.Time, got string) bool {
		n, ok := step(got)
		if !ok || n > last() {
			return false
		}
		for i := len(marks) - 1; i >= 0; i-- {
			if marks[i].at.Before(asked) {
				if n < marks[i].step {
					return false
				}
				break
			}
		}
		if len(marks) == 0 || n > marks[len(marks)-1].step {
			marks = append(marks, mark{time.Now(), n})
		}
		return true
	}}
}

// changes is a question whose answer changes from one to the other.
func changes(q question, before, after string) check {
	return inTurn(q, func(got string) (int, bool) {
		return map[string]int{before: 0, after: 1}[got], got == before || got == after
	}, func() int { return 1 })
}

// keepAsking starts a load over the networks.
func (s *server) keepAsking(checks []check, networks ...string) *steady {
	l := &steady{s: s, checks: checks, quit: make(chan struct{}), right: time.Now()}
	for _, network := range networks {
		l.asking.Go(func() { l.run(network) })
	}
	return l
}

func (l *steady) run(network string) {
	tick := time.NewTicker(time.Second / time.Duration(rates[network]))
	defer tick.Stop()
	for {
		select {
		case <-l.quit:
			return
		case <-tick.C:
		}
		c := l.checks[rand.IntN(len(l.checks))]
		l.asking.Go(func() { l.ask(network, c) })
	}
}

func (l *steady) ask(network string, c check) {
	start := time.Now()
	got, failed := l.s.once(network, c.question)
	l.note(start, network, c, got, failed)
}

func (l *steady) note(start time.Time, network string, c check, got string, failed error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	right := failed == nil && c.right(start, got)
	now := time.Now()
	l.result.asked++
	if right {
		l.result.gap = max(l.result.gap, now.Sub(l.right))
		l.right = now
		l.took = append(l.took, now.Sub(start))
		return
	}
	if failed != nil || got == servfail {
		l.result.missing++
	} else {
		l.result.wrong++
	}
	if len(l.result.bad) < 10 {
		l.result.bad = append(l.result.bad, fmt.Sprintf("%s +%v %v over %s: %s %v",
			start.Format(time.StampMilli), now.Sub(start).Round(time.Millisecond), c.question, network, got, failed))
	}
}

// once asks once, as a stub resolver does: a truncated answer is asked for over
// TCP, and so is what a connection that was closed early had no answer to.
func (s *server) once(network string, q question) (string, error) {
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	c := dns.Client{Net: network, Timeout: patience}
	r, _, err := c.Exchange(m, s.addr)
	if err == nil && r.Truncated && network == "udp" {
		c.Net = "tcp"
		r, _, err = c.Exchange(m, s.addr)
	}
	switch {
	case err != nil:
		return "", err
	case r.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[r.Rcode], nil
	case r.Truncated:
		return "", errors.New("truncated")
	case len(r.Answer) == 0:
		return nodata, nil
	}
	return records(q, r), nil
}

// stop ends the load.
func (l *steady) stop() tally {
	close(l.quit)
	end := time.Now()
	l.asking.Wait()
	l.result.gap = max(l.result.gap, end.Sub(l.right))
	return l.result
}

// add counts what another load of the same server came to.
func (l *steady) add(t tally) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.asked += t.asked
	l.result.wrong += t.wrong
	l.result.missing += t.missing
	l.result.gap = max(l.result.gap, t.gap)
	l.result.bad = append(l.result.bad, t.bad...)
}

// latency returns the median and the 99th percentile of how long right answers took
// since it was called before, in milliseconds.
func (l *steady) latency() (median, most float64) {
	l.mu.Lock()
	took := l.took
	l.took = nil
	l.mu.Unlock()
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return ms(took[len(took)/2]), ms(took[len(took)*99/100])
}
