// Package console is a page over HTTP that shows what a server knows of itself:
// feeds, lanes, rates, and who asks what. It reads, and changes nothing.
//
// What it shows comes from strangers: names of questions and of objects are
// whatever somebody wrote. They reach the page through html/template alone, and
// the page's policy lets no script run but its own file.
package console

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/clusterdns/clusterdns/plugin/hitters"

	"golang.org/x/net/netutil"
)

// DefaultAddr is where a console listens unless told otherwise.
const DefaultAddr = "127.0.0.1:8053"

// ParseAddr returns addr, an IP address or localhost, and a port, as Listen takes
// it. There is a word for every address, so that nobody opens them all by leaving
// something out.
func ParseAddr(addr string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address and port such as %s", addr, DefaultAddr)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if host == "" {
		return netip.AddrPort{}, fmt.Errorf("%q is at every address: if that is meant, it is 0.0.0.0:%s or [::]:%s", addr, port, port)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.IsMulticast() {
		return netip.AddrPort{}, fmt.Errorf("%q: %q is no address to listen at", addr, host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q: %q is no port from 0, the kernel's choice, to 65535", addr, port)
	}
	return netip.AddrPortFrom(ip, uint16(n)), nil
}

// Console is what servers show.
type Console struct {
	engine  *hitters.Engine
	source  Source
	version string
	log     func(error)

	making sync.Mutex // of a page

	mu     sync.Mutex
	report *Report // as of its Time
}

// New returns a Console. Log is called for what goes wrong, by any goroutine.
func New(e *hitters.Engine, s Source, version string, log func(error)) *Console {
	return &Console{engine: e, source: s, version: version, log: log}
}

// reportAge is how old a Report may be that is shown: many who ask cost no more
// than one.
const reportAge = time.Second

// Report returns what there is to say, as of within the last second.
func (c *Console) Report() *Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.report == nil || now.Sub(c.report.Time) >= reportAge {
		c.report = newReport(c.engine, c.source, c.version, now)
	}
	return c.report
}

// Limits of a Server: connections at the same time, and how long they may take.
const (
	maxConns  = 32
	maxHeader = 8 << 10
	readTime  = 5 * time.Second
	writeTime = 20 * time.Second
	idleTime  = 30 * time.Second
)

// Server serves a Console at one address.
type Server struct {
	http *http.Server
	addr string
	done chan struct{}
}

// Addr returns where s listens.
func (s *Server) Addr() string { return s.addr }

// Listen has c served at addr until Close.
func Listen(addr netip.AddrPort, c *Console) (*Server, error) {
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		return nil, err
	}
	s := &Server{
		http: &http.Server{
			Handler:           c.Handler(addr.Addr().IsLoopback()),
			ReadHeaderTimeout: readTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
			MaxHeaderBytes: maxHeader,
			ErrorLog:       stdlog.New(io.Discard, "", 0), // strangers' mistakes
		},
		addr: l.Addr().String(),
		done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(netutil.LimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
			c.log(fmt.Errorf("console at %v: %w", addr, err))
		}
	}()
	return s, nil
}

// closeTime is how long Close waits for pages that are being written.
const closeTime = time.Second

// Close ends s. Nothing listens at its address when it returns.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
	<-s.done
}

//go:embed static
var static embed.FS

// Handler returns what answers requests. With local it answers only those for
// this host by a name that means it: a page of a stranger, whose name's address
// was changed to 127.0.0.1 meanwhile, would read it otherwise (DNS rebinding).
func (c *Console) Handler(local bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.page(c.overview))
	mux.HandleFunc("GET /namespace", c.page(c.namespace))
	mux.HandleFunc("GET /explain", c.page(c.explain))
	mux.HandleFunc("GET /report.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(c.Report())
	})
	for _, file := range []string{"console.css", "console.js"} {
		mux.HandleFunc("GET /"+file, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, static, "static/"+file)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if local && !isLocal(r.Host) {
			http.Error(w, "This console answers at localhost and loopback addresses only.", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// policy lets a page load its own style, its script and what that asks for, and
// be shown in no other page.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// isLocal reports whether a request's host, with any port or none, is a name of
// this host that no name server has a say in.
func isLocal(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
