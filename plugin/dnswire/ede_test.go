package dnswire

import (
	"testing"

	"github.com/miekg/dns"
)

// miekg/dns reads back what AppendEDE writes.
func TestAppendEDE(t *testing.T) {
	options := AppendEDE(AppendEDE(nil, EDEStaleAnswer, "since 12:00"), EDEOther, []byte(nil))
	q := Query{Name: []byte{0}, Type: TypeA, Class: ClassIN, HasOPT: true}
	var b Builder
	b.Reset(nil, 512, &q)
	if !b.OPT(1232, 0, options) {
		t.Fatal("no room")
	}
	wire, err := b.Finish(RcodeNoError, FlagQR)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	var got []dns.EDNS0_EDE
	for _, o := range m.IsEdns0().Option {
		got = append(got, *o.(*dns.EDNS0_EDE))
	}
	if len(got) != 2 || got[0] != (dns.EDNS0_EDE{InfoCode: 3, ExtraText: "since 12:00"}) || got[1] != (dns.EDNS0_EDE{}) {
		t.Errorf("%+v", got)
	}
	if len(options) != 2*EDESize+len("since 12:00") {
		t.Errorf("%d octets", len(options))
	}
	for code, want := range map[uint16]uint16{
		EDEOther: dns.ExtendedErrorCodeOther, EDEStaleAnswer: dns.ExtendedErrorCodeStaleAnswer, EDENotReady: dns.ExtendedErrorCodeNotReady,
	} {
		if code != want {
			t.Errorf("code %d, want %d", code, want)
		}
	}
}
