package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// amplify prints how many octets a question over UDP fetches, and how many times
// its own: what somebody gets for a question with a false source address.
func (w *world) amplify(ctx context.Context) error {
	progress("amplification")
	const n = 5000
	ns, err := w.namespace(ctx, n)
	if err != nil {
		return err
	}
	if err := w.headless(ctx, ns, n, func(i int) endpoint { return endpoint{addr(i), fmt.Sprint("pod-", i)} }); err != nil {
		return err
	}
	if err := w.mark(ctx); err != nil {
		return err
	}
	var names []string
	var servers []*server
	for _, p := range peers() {
		srv, err := w.start(ctx, p)
		if err != nil {
			return err
		}
		defer srv.kill()
		if err := w.settled(ctx, srv); err != nil {
			return err
		}
		servers, names = append(servers, srv), append(names, p.name)
	}
	fmt.Printf("\n# Amplification\n\nOctets of a reply over UDP, and how many times those of the question.\n\n| question | EDNS size | its octets | %s |\n|---|--:|--:|%s\n",
		strings.Join(names, " | "), strings.Repeat("--:|", len(names)))
	for _, q := range []struct {
		what, name string
		qtype      uint16
	}{
		{"A of a service", plain, dns.TypeA},
		{"A of no service", "x.default.svc.cluster.local.", dns.TypeA},
		{"A of 5,000 endpoints", "web." + ns + ".svc.cluster.local.", dns.TypeA},
		{"SRV of 5,000 endpoints", "web." + ns + ".svc.cluster.local.", dns.TypeSRV},
	} {
		for _, size := range []uint16{0, 1232, 4096, dns.MaxMsgSize} {
			m := new(dns.Msg).SetQuestion(q.name, q.qtype)
			if size > 0 {
				m.SetEdns0(size, false)
			}
			asked, err := m.Pack()
			if err != nil {
				return err
			}
			row := fmt.Sprintf("| %s | %d | %d |", q.what, size, len(asked))
			for _, srv := range servers {
				octets, err := octetsFor(srv.addr, asked)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					row += " none |"
					continue
				}
				if err != nil {
					return fmt.Errorf("%s, EDNS size %d, %s: %w", q.what, size, srv.name, err)
				}
				row += fmt.Sprintf(" %d, %.1f × |", octets, float64(octets)/float64(len(asked)))
			}
			fmt.Println(row)
		}
	}
	return nil
}

// octetsFor returns how long the reply to a message is.
func octetsFor(addr string, message []byte) (int, error) {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := conn.Write(message); err != nil {
		return 0, err
	}
	return conn.Read(make([]byte, dns.MaxMsgSize))
}
