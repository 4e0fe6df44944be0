package main

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// pause lies between two questions of a poller. Without one, it and the server
// would fill both cores, and the API server would be what is measured.
const pause = 50 * time.Microsecond

// poller asks for the address of one name, again and again.
type poller struct {
	conn  net.Conn
	query []byte
	ended sync.WaitGroup

	mu   sync.Mutex
	done bool
	want netip.Addr
	seen chan time.Time // gets the time of the first reply with want
}

func newPoller(addr, name string) (*poller, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	query, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("packing the question for %s: %w", name, err)
	}
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return nil, err
	}
	p := &poller{conn: conn, query: query}
	p.ended.Go(p.run)
	return p, nil
}

// await returns a channel that gets the time of the first reply that has addr.
func (p *poller) await(addr netip.Addr) <-chan time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want, p.seen = addr, make(chan time.Time, 1)
	return p.seen
}

func (p *poller) stop() {
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
	p.ended.Wait()
	p.conn.Close()
}

func (p *poller) run() {
	buf := make([]byte, 1500)
	reply := new(dns.Msg)
	for {
		p.conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
		_, err := p.conn.Write(p.query)
		n := 0
		if err == nil {
			n, err = p.conn.Read(buf) // the question is always the same: a late reply is as good
		}
		at := time.Now()
		p.mu.Lock()
		if p.done {
			p.mu.Unlock()
			return
		}
		if err == nil && p.seen != nil && reply.Unpack(buf[:n]) == nil && has(reply, p.want) {
			p.seen <- at
			p.seen = nil
		}
		p.mu.Unlock()
		time.Sleep(pause)
	}
}

// has reports whether one of the answers is addr.
func has(m *dns.Msg, addr netip.Addr) bool {
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok && a.A.Equal(net.IP(addr.AsSlice())) {
			return true
		}
	}
	return false
}
