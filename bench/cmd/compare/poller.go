package main

import (
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
	conn  *dns.Conn
	query *dns.Msg
	ended sync.WaitGroup

	mu   sync.Mutex
	done bool
	want netip.Addr
	seen chan time.Time // gets the time of the first reply with want
}

func newPoller(addr, name string) (*poller, error) {
	conn, err := dns.Dial("udp", addr)
	if err != nil {
		return nil, err
	}
	p := &poller{conn: conn, query: new(dns.Msg).SetQuestion(name, dns.TypeA)}
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
	client := dns.Client{Timeout: 100 * time.Millisecond}
	for {
		// The question is always the same: a late reply is as good.
		reply, _, err := client.ExchangeWithConn(p.query, p.conn)
		at := time.Now()
		p.mu.Lock()
		if p.done {
			p.mu.Unlock()
			return
		}
		if err == nil && p.seen != nil && has(reply, p.want) {
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
