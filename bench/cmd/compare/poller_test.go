package main

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestPoller has a server whose answer changes.
func TestPoller(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var addr atomic.Value
	addr.Store("10.126.0.1")
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.ParseIP(addr.Load().(string))}}
		w.WriteMsg(m)
	})}
	go server.ActivateAndServe()
	defer server.Shutdown()

	p, err := newPoller(conn.LocalAddr().String(), "probe.ns0.svc.cluster.local.")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	limit := time.After(time.Minute)
	select {
	case <-p.await(netip.MustParseAddr("10.126.0.1")):
	case <-limit:
		t.Fatal("the present address is not seen")
	}
	seen := p.await(netip.MustParseAddr("10.126.0.2"))
	changed := time.Now()
	addr.Store("10.126.0.2")
	select {
	case at := <-seen:
		if at.Before(changed) {
			t.Errorf("seen %v before it was there", changed.Sub(at))
		}
	case <-limit:
		t.Fatal("the new address is not seen")
	}
}
