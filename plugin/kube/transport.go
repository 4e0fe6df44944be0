package kube

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// limiter bounds what a source asks of its API server. Its limits may change
// while requests are under way; those that wait already wait by the old ones.
type limiter struct {
	*rate.Limiter
	slots atomic.Pointer[chan struct{}] // nil: no limit
}

func newLimiter() *limiter {
	return &limiter{Limiter: rate.NewLimiter(rate.Limit(rest.DefaultQPS), rest.DefaultBurst)}
}

// set takes the limits of c.
func (l *limiter) set(c Config) {
	qps, burst := rate.Limit(c.QPS), c.Burst
	if qps <= 0 {
		qps = rate.Limit(rest.DefaultQPS)
	}
	if burst <= 0 {
		burst = rest.DefaultBurst
	}
	l.SetLimit(qps)
	l.SetBurst(burst)
	switch slots := l.slots.Load(); {
	case c.MaxInflight <= 0:
		l.slots.Store(nil)
	case slots == nil || cap(*slots) != c.MaxInflight:
		fresh := make(chan struct{}, c.MaxInflight)
		l.slots.Store(&fresh)
	}
}

// The rest of client-go's flowcontrol.RateLimiter.

func (l *limiter) TryAccept() bool { return l.Allow() }
func (l *limiter) Accept()         { _ = l.Wait(context.Background()) }
func (l *limiter) Stop()           {}
func (l *limiter) QPS() float32    { return float32(l.Limit()) }

// acquire waits for a slot, and returns what gives it back.
func (l *limiter) acquire(ctx context.Context) (func(), error) {
	p := l.slots.Load()
	if p == nil {
		return func() {}, nil
	}
	slots := *p
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// answering bounds how many requests are under way, and how long each waits
// for the header of its answer. API servers send it before the first event of
// a watch, so that a watch keeps its slot for a moment only.
type answering struct {
	next    http.RoundTripper
	limiter *limiter
	within  time.Duration
}

// RoundTrip implements http.RoundTripper.
func (t *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	free, err := t.limiter.acquire(r.Context())
	if err != nil {
		return nil, err
	}
	defer free()
	ctx, cancel := context.WithCancelCause(r.Context())
	// No net.Error with Timeout: client-go would make an empty watch of it.
	late := fmt.Errorf("no answer within %v", t.within)
	timer := time.AfterFunc(t.within, func() { cancel(late) })
	answer, err := t.next.RoundTrip(r.WithContext(ctx))
	if !timer.Stop() && r.Context().Err() == nil {
		if err == nil {
			answer.Body.Close()
		}
		err = late
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	answer.Body = &cancelBody{answer.Body, cancel}
	return answer, nil
}

// WrappedRoundTripper implements utilnet.RoundTripperWrapper.
func (t *answering) WrappedRoundTripper() http.RoundTripper { return t.next }

// cancelBody ends the context of its request when it is closed.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *cancelBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

// dialer returns one for a source alone: client-go shares the connections of
// clients that are configured alike, unless they bring a dialer. It has TCP
// notice dead connections where HTTP/2, which has pings of its own, is not
// spoken.
func dialer(ping time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return (&net.Dialer{
		Timeout:         10 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: ping, Interval: ping / 2, Count: 2},
	}).DialContext
}

// pinging has the transport below rt notice dead connections by pings of
// HTTP/2: client-go takes 45 s.
func pinging(rt http.RoundTripper, ping time.Duration) http.RoundTripper {
	for below := rt; ; {
		switch t := below.(type) {
		case *http.Transport:
			t.HTTP2 = &http.HTTP2Config{SendPingTimeout: ping, PingTimeout: ping}
			return rt
		case utilnet.RoundTripperWrapper:
			below = t.WrappedRoundTripper()
		default:
			return rt
		}
	}
}

// tokenFile authenticates requests with the token in a file, which is read
// again every tokenAge, and when the API server refuses what was read before:
// client-go alone goes on with a token that was replaced for up to a minute.
type tokenFile struct {
	next http.RoundTripper
	path string

	mu    sync.Mutex
	token string
	read  time.Time
}

const tokenAge = time.Minute

// RoundTrip implements http.RoundTripper. Its requests have no body, so that
// they can be sent again.
func (t *tokenFile) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := t.get("")
	if err != nil {
		return nil, err
	}
	answer, err := t.send(r, token)
	if err != nil || answer.StatusCode != http.StatusUnauthorized {
		return answer, err
	}
	if other, err := t.get(token); err == nil && other != token {
		answer.Body.Close()
		return t.send(r, other)
	}
	return answer, nil
}

func (t *tokenFile) send(r *http.Request, token string) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return t.next.RoundTrip(r)
}

// get returns the token. The one that was refused is not given again if there
// is another.
func (t *tokenFile) get(refused string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" && t.token != refused && time.Since(t.read) < tokenAge {
		return t.token, nil
	}
	content, err := os.ReadFile(t.path)
	token := strings.TrimSpace(string(content))
	switch {
	case token != "":
		t.token, t.read = token, time.Now()
	case t.token != "": // rather an old one than none
	case err != nil:
		return "", fmt.Errorf("token: %w", err)
	default:
		return "", fmt.Errorf("token: file %s is empty", t.path)
	}
	return t.token, nil
}

// WrappedRoundTripper implements utilnet.RoundTripperWrapper.
func (t *tokenFile) WrappedRoundTripper() http.RoundTripper { return t.next }
