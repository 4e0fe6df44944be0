//go:build linux && (amd64 || arm64)

package kernel

import (
	"testing"

	"github.com/miekg/dns"
)

func TestAnswers(t *testing.T) {
	im := opened(t, cluster(), 100)
	check(t, im.Set(labels("shop"), Name{}))
	check(t, im.Set(labels("web.shop"), Name{A: packed("10.96.0.1"), AAAA: packed("fd00::1")}))
	im.State(true, true, 7)
	for _, name := range []string{"web.shop.svc.cluster.local.", "webx.shop.svc.cluster.local.", "1.0.96.10.in-addr.arpa."} {
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR} {
			m := new(dns.Msg).SetQuestion(name, typ)
			b, _ := m.Pack()
			for _, p := range []packet{over4(b), over6(b)} {
				r := answer(t, im, p)
				var m dns.Msg
				if r != nil {
					if err := m.Unpack(r); err != nil {
						t.Error(err)
					}
				}
				t.Log(name, typ, m.String())
			}
		}
	}
	t.Log(passed(im))
}
