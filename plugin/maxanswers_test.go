package clusterdns

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clusterdns/clusterdns/plugin/fastlane"
	"github.com/clusterdns/clusterdns/plugin/responder"

	"github.com/miekg/dns"
)

// With max_answers the lane and the chain give that many records of a headless
// service, not truncated, and in time all.
func TestMaxAnswersBothWays(t *testing.T) {
	const endpoints, most = 200, 20
	var text strings.Builder
	text.WriteString("ns shop\nheadless shop/db http:TCP:80\nslice shop/db-1 db http:TCP:80")
	for i := range endpoints {
		fmt.Fprintf(&text, " 10.1.0.%d", i)
	}
	both := newBothWays(t, stanza{maxAnswers: most}.handler(t, newWorld(t, text.String()).Writer), responder.Route{})
	for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV} {
		query := new(dns.Msg).SetQuestion("db.shop.svc.cluster.local.", qtype)
		query.SetEdns0(4096, false)
		msg, err := query.Pack()
		if err != nil {
			t.Fatal(err)
		}
		for way, ask := range map[string]func() []byte{
			"lane":     func() []byte { reply, _ := both.lane.Append(nil, msg, fastlane.Client{}); return reply },
			"lane/TCP": func() []byte { reply, _ := both.lane.Append(nil, msg, fastlane.Client{TCP: true}); return reply },
			"chain":    func() []byte { both.wire.in <- msg; return <-both.wire.out },
		} {
			seen := map[string]bool{}
			for asked := 0; len(seen) < endpoints; asked++ {
				m := new(dns.Msg)
				if err := m.Unpack(ask()); err != nil {
					t.Fatalf("%s: %v", way, err)
				}
				extra := most + 1 // and OPT
				if qtype == dns.TypeA {
					extra = 1
				}
				if m.Truncated || len(m.Answer) != most || len(m.Extra) != extra || asked > 5000 {
					t.Fatalf("%s, question %d: %d records of %d seen\n%v", way, asked, len(seen), endpoints, m)
				}
				for _, rr := range m.Answer {
					seen[rr.String()] = true
				}
			}
		}
	}
}
