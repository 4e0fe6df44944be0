package clusterdns

import (
	"github.com/coredns/coredns/plugin/pkg/edns"
	"github.com/miekg/dns"
)

// addExtendedError adds an Extended DNS Error (RFC 8914) to m, the reply to r, if
// the client speaks EDNS: a code such as dns.ExtendedErrorCodeStaleAnswer, and a
// text, which may be empty. A reply may have several.
//
// The reply's OPT record is made here, for the server only completes what it finds
// (request.Request.SizeAndDo): its flags and the options that the plugin rewrite has
// echoed are those of the question, as in a reply without one.
func addExtendedError(r, m *dns.Msg, code uint16, text string) {
	asked := r.IsEdns0()
	if asked == nil {
		return
	}
	opt := m.IsEdns0()
	if opt == nil {
		opt = new(dns.OPT)
		opt.Hdr = dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT, Class: asked.Hdr.Class, Ttl: asked.Hdr.Ttl & 0xff00}
		for _, o := range asked.Option {
			if edns.SupportedOption(o.Option()) {
				opt.Option = append(opt.Option, o)
			}
		}
		m.Extra = append(m.Extra, opt)
	}
	opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: code, ExtraText: text})
}
