package kube

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestInflight(t *testing.T) {
	answer, asked := make(chan struct{}), make(chan struct{}, 10)
	l := newLimiter()
	l.set(Config{MaxInflight: 2})
	rt := &answering{limiter: l, within: time.Hour, next: roundTripper(func(*http.Request) (*http.Response, error) {
		asked <- struct{}{}
		<-answer
		return &http.Response{Body: http.NoBody}, nil
	})}
	done := make(chan error, 10)
	for range 3 {
		go func() {
			_, err := rt.RoundTrip(httptest.NewRequest("GET", "/", nil))
			done <- err
		}()
	}
	<-asked
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rt.RoundTrip(httptest.NewRequest("GET", "/", nil).WithContext(ctx)); err != context.Canceled {
		t.Errorf("%v, want to have waited for a slot", err)
	}
	if len(asked) > 0 {
		t.Error("more than two at once")
	}
	close(answer)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Limits belong to a source, which takes those of its newest holder.
func TestLimitsOfHolders(t *testing.T) {
	api := newAPIServer(t, true)
	c := api.config()
	c.QPS, c.Burst, c.MaxInflight = 50, 60, 3
	first := acquireSynced(t, c)
	limits := func(qps float32, burst, slots int) {
		t.Helper()
		l := first.src.limiter
		have := 0
		if p := l.slots.Load(); p != nil {
			have = cap(*p)
		}
		if l.QPS() != qps || l.Burst() != burst || have != slots {
			t.Errorf("%v, %v at once, %d slots; want %v, %v, %d", l.QPS(), l.Burst(), have, qps, burst, slots)
		}
	}
	limits(50, 60, 3)
	c.QPS, c.Burst, c.MaxInflight = 0, 0, 0
	second := acquireSynced(t, c)
	if second.Index() != first.Index() {
		t.Fatal("two indexes")
	}
	limits(5, 10, 0)
	shared := first.Share()
	limits(5, 10, 0)
	second.Release()
	limits(50, 60, 3)
	first.Release()
	limits(50, 60, 3)
	shared.Release()
	if shared.Share() != nil {
		t.Error("a share of a source that has stopped")
	}
}

// A token that was replaced is used as soon as the old one is refused.
func TestTokenReplaced(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "token"), "old\n")
	var valid atomic.Value
	valid.Store("Bearer old")
	refused := 0
	rt := &tokenFile{path: path, next: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("Authorization") != valid.Load() {
			refused++
			return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody}, nil
		}
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})}
	ask := func(want, refusals int) {
		t.Helper()
		answer, err := rt.RoundTrip(httptest.NewRequest("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != want || refused != refusals {
			t.Errorf("%d after %d refusals, want %d after %d", answer.StatusCode, refused, want, refusals)
		}
	}
	ask(200, 0)
	valid.Store("Bearer new")
	ask(401, 1) // there is no other token yet
	writeFile(t, path, "")
	ask(401, 2)
	writeFile(t, path, "new\n")
	ask(200, 3)
	ask(200, 3)
}

// The same through a kubeconfig and client-go.
func TestTokenOfKubeconfig(t *testing.T) {
	dir := t.TempDir()
	token := writeFile(t, filepath.Join(dir, "token"), "old")
	api := newAPIServer(t, true)
	api.token = "old"
	api.set(service("web", "10.0.0.1"))
	server, ca := overTLS(t, api)
	text := strings.Replace(kubeconfig, `server: "SERVER"`, "server: "+server.URL+", certificate-authority: "+ca, 1)
	path := writeFile(t, filepath.Join(dir, "kubeconfig"), strings.Replace(text, "user: {}", "user: {tokenFile: "+token+"}", 1))
	f := acquireSynced(t, Config{Kubeconfig: path})
	writeFile(t, token, "new")
	api.mu.Lock()
	api.token = "new"
	api.mu.Unlock()
	api.set(service("late", "10.0.0.2"))
	eventually(t, "event", func() bool { return known(f, "late") })
	server.CloseClientConnections()
	api.set(service("later", "10.0.0.2"))
	eventually(t, "followed with the new token", func() bool { return known(f, "later") })
}

// overTLS serves a with HTTP/2, and returns the file of its CA.
func overTLS(t *testing.T, a *apiServer) (*httptest.Server, string) {
	server := httptest.NewUnstartedServer(a)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the end breaks handshakes
	server.StartTLS()
	t.Cleanup(func() {
		a.stop() // ends the watches
		server.Close()
	})
	return server, writeFile(t, filepath.Join(t.TempDir(), "ca.crt"),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
}

// TestHalfOpen loses the packets of an HTTP/2 connection. The watch on it is
// silent for longer than the test lasts, so that only pings can tell.
func TestHalfOpen(t *testing.T) {
	api := newAPIServer(t, true)
	server, ca := overTLS(t, api)
	api.set(service("web", "10.0.0.1"))
	l := newLossy(t, server.Listener.Addr().String())
	c := Config{Endpoint: "https://" + l.addr, CAFile: ca, bounds: bounds{ping: 200 * time.Millisecond}}
	f := acquireSynced(t, c)
	l.lose()
	eventually(t, "noticed", func() bool { return statusOf(t, f, zone.Services).LastError != nil })
	api.set(service("late", "10.0.0.2"))
	eventually(t, "followed again", func() bool { return known(f, "late") })
}

// lossy passes on what is sent on TCP connections, until it loses it.
type lossy struct {
	addr string
	mu   sync.Mutex
	lost []chan struct{} // of open connections
}

func newLossy(t *testing.T, to string) *lossy {
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	l := &lossy{addr: in.Addr().String()}
	pass := func(from, to net.Conn, lost <-chan struct{}) {
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			select {
			case <-lost:
				<-t.Context().Done()
			default:
			}
			if err != nil {
				to.Close()
				return
			}
			_, _ = to.Write(buf[:n])
		}
	}
	go func() {
		for {
			a, err := in.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			t.Cleanup(func() { a.Close(); b.Close() })
			lost := make(chan struct{})
			l.mu.Lock()
			l.lost = append(l.lost, lost)
			l.mu.Unlock()
			go pass(a, b, lost)
			go pass(b, a, lost)
		}
	}()
	return l
}

// lose loses everything on the connections that are open now.
func (l *lossy) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lost := range l.lost {
		close(lost)
	}
	l.lost = nil
}
