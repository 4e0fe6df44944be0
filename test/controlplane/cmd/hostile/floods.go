package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

// flood is a stream of datagrams to one server.
type flood struct {
	name string
	// make makes what the datagrams ask for; nil is nothing.
	make func(ctx context.Context, w *world, ns string) error
	// message returns the i-th message.
	message func(ns string, i int) *dns.Msg
	rate    int // messages a second
	sockets int
	// lossless says that an unrelated client loses nothing by it.
	lossless bool
}

const floodTime = 5 * time.Second

var floods = []flood{
	{name: "SRV of 5,000 endpoints with one hostname, 200 a second", rate: 200, sockets: 32, lossless: true,
		make: func(ctx context.Context, w *world, ns string) error {
			return w.headless(ctx, ns, 5000, func(i int) endpoint { return endpoint{addr(i), "pod"} })
		},
		message: func(ns string, i int) *dns.Msg {
			return new(dns.Msg).SetQuestion("web."+ns+".svc.cluster.local.", dns.TypeSRV)
		}},
	{name: "names outside, upstream dead, 3,000 a second", rate: 3000, sockets: 32, lossless: true,
		message: func(_ string, i int) *dns.Msg {
			return new(dns.Msg).SetQuestion(fmt.Sprintf("a%d.example.org.", i), dns.TypeA)
		}},
	{name: "ExternalName to a dead upstream, 3,000 a second", rate: 3000, sockets: 32, lossless: true,
		make: func(ctx context.Context, w *world, ns string) error {
			return w.service(ctx, ns, "web", func(s *corev1.ServiceSpec) {
				s.Type, s.ExternalName = corev1.ServiceTypeExternalName, "nobody.example.org"
			})
		},
		message: func(ns string, i int) *dns.Msg {
			return new(dns.Msg).SetQuestion("web."+ns+".svc.cluster.local.", dns.TypeA)
		}},
	{name: "random names in the cluster, 20,000 a second", rate: 20000, sockets: 32,
		message: func(ns string, i int) *dns.Msg {
			return new(dns.Msg).SetQuestion(fmt.Sprintf("r%x.%s.svc.cluster.local.", rand.Uint64(), ns), dns.TypeA)
		}},
	{name: "random names in the cluster from one socket, 50,000 a second", rate: 50000, sockets: 1,
		message: func(ns string, i int) *dns.Msg {
			return new(dns.Msg).SetQuestion(fmt.Sprintf("r%x.%s.svc.cluster.local.", rand.Uint64(), ns), dns.TypeA)
		}},
}

// flooded is what one server did under one flood.
type flooded struct {
	flood          flood
	server         string
	ours           bool
	asked, missing int
	longest        time.Duration
	goroutines     float64
	rss            [3]int // MB: before, most, after
}

func (r flooded) String() string {
	return fmt.Sprintf("| %s | %s | %d | %d | %v | %.0f | %d, %d, %d |", r.flood.name, r.server, r.asked, r.missing,
		r.longest.Round(100*time.Microsecond), r.goroutines, r.rss[0], r.rss[1], r.rss[2])
}

// mostGoroutines is more than a server that bounds what it passes on can have.
const mostGoroutines = 3000

func (r flooded) broken() (list []string) {
	if !r.ours {
		return nil
	}
	if r.flood.lossless && r.missing > 0 {
		list = append(list, fmt.Sprintf("%s, %s: %d of %d answers to an unrelated client missing", r.flood.name, r.server, r.missing, r.asked))
	}
	if r.goroutines > mostGoroutines && r.server == "clusterdns" {
		list = append(list, fmt.Sprintf("%s, %s: %.0f goroutines", r.flood.name, r.server, r.goroutines))
	}
	return list
}

func (w *world) flood(ctx context.Context, f flood, p peer) (r flooded, err error) {
	progress("flood: %s: %s", f.name, p.name)
	ns, err := w.namespace(ctx, 0)
	if err != nil {
		return r, err
	}
	if f.make != nil {
		if err := f.make(ctx, w, ns); err != nil {
			return r, err
		}
	}
	if err := w.mark(ctx); err != nil {
		return r, err
	}
	srv, err := w.start(ctx, p)
	if err != nil {
		return r, err
	}
	defer srv.kill()
	if err := w.settled(ctx, srv); err != nil {
		return r, err
	}
	r = flooded{flood: f, server: p.name, ours: p.ours}
	if r.rss[0], err = srv.rss(); err != nil {
		return r, err
	}
	var conns []net.Conn
	for range f.sockets {
		c, err := net.Dial("udp", srv.addr)
		if err != nil {
			return r, err
		}
		defer c.Close()
		conns = append(conns, c)
	}
	stop := srv.unrelated(3 * time.Second)
	start := time.Now()
	looked := start
	for sent := 0; time.Since(start) < floodTime && ctx.Err() == nil; {
		for due := int(time.Since(start).Seconds() * float64(f.rate)); sent < due; sent++ {
			msg, err := f.message(ns, sent).Pack()
			if err != nil {
				return r, err
			}
			conns[sent%len(conns)].Write(msg) // what the server does not take is lost
		}
		if time.Since(looked) > 500*time.Millisecond {
			looked = time.Now()
			if g, err := srv.metric("go_goroutines"); err == nil {
				r.goroutines = max(r.goroutines, g)
			}
			if mb, err := srv.rss(); err == nil {
				r.rss[1] = max(r.rss[1], mb)
			}
		}
		time.Sleep(time.Millisecond)
	}
	r.asked, r.missing, r.longest = stop()
	select {
	case <-time.After(3 * time.Second): // for what is under way to end
	case <-ctx.Done():
	}
	r.rss[2], err = srv.rss()
	return r, err
}
