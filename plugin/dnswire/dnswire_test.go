package dnswire

import (
	"testing"

	"github.com/miekg/dns"
)

func TestConstants(t *testing.T) {
	for _, tc := range []struct {
		name       string
		ours, miek uint16
	}{
		{"A", TypeA, dns.TypeA},
		{"NS", TypeNS, dns.TypeNS},
		{"CNAME", TypeCNAME, dns.TypeCNAME},
		{"SOA", TypeSOA, dns.TypeSOA},
		{"PTR", TypePTR, dns.TypePTR},
		{"TXT", TypeTXT, dns.TypeTXT},
		{"AAAA", TypeAAAA, dns.TypeAAAA},
		{"SRV", TypeSRV, dns.TypeSRV},
		{"OPT", TypeOPT, dns.TypeOPT},
		{"IN", ClassIN, dns.ClassINET},
		{"NOERROR", uint16(RcodeNoError), dns.RcodeSuccess},
		{"SERVFAIL", uint16(RcodeServFail), dns.RcodeServerFailure},
		{"NXDOMAIN", uint16(RcodeNXDomain), dns.RcodeNameError},
		{"REFUSED", uint16(RcodeRefused), dns.RcodeRefused},
	} {
		if tc.ours != tc.miek {
			t.Errorf("%s: %d, miekg has %d", tc.name, tc.ours, tc.miek)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, tc := range []struct {
		flags uint16
		hdr   dns.MsgHdr
	}{
		{FlagQR, dns.MsgHdr{Response: true}},
		{FlagAA, dns.MsgHdr{Authoritative: true}},
		{FlagTC, dns.MsgHdr{Truncated: true}},
		{FlagRD, dns.MsgHdr{RecursionDesired: true}},
		{FlagRA, dns.MsgHdr{RecursionAvailable: true}},
		{flagZ, dns.MsgHdr{Zero: true}},
		{FlagAD, dns.MsgHdr{AuthenticatedData: true}},
		{FlagCD, dns.MsgHdr{CheckingDisabled: true}},
		{maskOpcode, dns.MsgHdr{Opcode: 15}},
		{maskRcode, dns.MsgHdr{Rcode: 15}},
	} {
		var m dns.Msg
		if err := m.Unpack(append([]byte{0, 0, byte(tc.flags >> 8), byte(tc.flags)}, make([]byte, 8)...)); err != nil {
			t.Fatal(err)
		}
		if m.MsgHdr != tc.hdr {
			t.Errorf("%#04x: %+v, want %+v", tc.flags, m.MsgHdr, tc.hdr)
		}
	}
}
