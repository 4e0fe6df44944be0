package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// churn is headless services whose endpoints change all the time, one address of
// each. The address tells how often it changed, so that of every answer can be said
// whether it was right when it was given.
type churn struct {
	t       *testing.T
	o       *outage
	s       space
	all     []*churning
	written atomic.Int64
	held    sync.RWMutex // nothing is written while it is locked
}

type churning struct {
	q       question
	slice   *discoveryv1.EndpointSlice // of the worker that writes it
	version atomic.Int64               // of which the writing has begun
}

// versionAddr is the address that stands for a version.
func versionAddr(n int64) string { return fmt.Sprintf("198.18.%d.%d", n>>8&255, n&255) }

func newChurn(t *testing.T, o *outage, services int) *churn {
	t.Helper()
	c := &churn{t: t, o: o, s: *o.space}
	c.s.t = t
	prefix := fmt.Sprintf("churn-%d-", time.Now().UnixNano()%1e9)
	for i := range services {
		name := fmt.Sprint(prefix, i)
		c.s.create(headless(service(name)))
		c.all = append(c.all, &churning{q: a(c.s.fqdn(name)), slice: c.s.createSlice(name, 80, endpoint(versionAddr(0), ""))})
	}
	return c
}

// checks are new ones for a server.
func (c *churn) checks() (checks []check) {
	for _, one := range c.all {
		checks = append(checks, inTurn(one.q, func(got string) (int, bool) {
			var hi, lo int
			n, err := fmt.Sscanf(got, "A 198.18.%d.%d", &hi, &lo)
			return hi<<8 | lo, n == 2 && err == nil && !strings.Contains(got, "\n")
		}, func() int { return int(one.version.Load()) }))
	}
	return checks
}

// settled waits until a server answers with what was written last.
func (c *churn) settled(s *server) {
	c.t.Helper()
	for _, one := range c.all {
		s.becomes(c.t, one.q, addrText(one.q, versionAddr(one.version.Load())))
	}
}

// workers are as many as keep an API server busy.
const workers = 20

// run changes rate slices a second until ctx ends, and returns how many it were.
// With each tenth a service comes and another goes.
func (c *churn) run(ctx context.Context, rate int) {
	var writing sync.WaitGroup
	turns := make(chan struct{})
	for w := range workers {
		writing.Go(func() {
			for i := w; ; i += workers {
				if _, ok := <-turns; !ok {
					return
				}
				if err := c.write(c.all[i%len(c.all)], i); err != nil {
					c.t.Error(err)
					return
				}
			}
		})
	}
	start := time.Now()
	for sent := 0; ctx.Err() == nil; {
		for ; sent < int(time.Since(start).Seconds()*float64(rate)) && ctx.Err() == nil; sent++ {
			select {
			case turns <- struct{}{}:
			case <-ctx.Done():
			}
		}
		pause(ctx, time.Millisecond)
	}
	close(turns)
	writing.Wait()
}

func (c *churn) write(one *churning, i int) error {
	c.held.RLock()
	defer c.held.RUnlock()
	ctx := c.t.Context()
	next := one.slice.DeepCopy()
	next.Endpoints[0].Addresses[0] = versionAddr(one.version.Add(1))
	var err error
	if one.slice, err = c.o.client.DiscoveryV1().EndpointSlices(c.s.name).Update(ctx, next, metav1.UpdateOptions{}); err != nil {
		return err
	}
	c.written.Add(1)
	if i%10 != 0 {
		return nil
	}
	services, name := c.o.client.CoreV1().Services(c.s.name), fmt.Sprintf("passing-%d-%d", i, time.Now().UnixNano()%1e9)
	if _, err := services.Create(ctx, service(name), metav1.CreateOptions{}); err != nil {
		return err
	}
	return services.Delete(ctx, name, metav1.DeleteOptions{})
}

// holding calls fn while nothing is written.
func (c *churn) holding(fn func()) {
	c.held.Lock()
	defer c.held.Unlock()
	fn()
}
