package clusterdns

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/miekg/dns"
)

// judgeHosts reads the file that the plugin hosts reads. That plugin reads it
// again after a while, so the verdict has to be had anew when the file changes.
// In between the lane is no later than the plugin would have been, unless it is
// never to read the file again: then nobody knows what it holds.
func judgeHosts(j *laneJudge) {
	why := laneRules["hosts"].why
	path, args := "/etc/hosts", j.stanza.args
	if len(args) > 0 {
		path, args = args[0], args[1:]
		if !filepath.IsAbs(path) && j.root != "" {
			path = filepath.Join(j.root, path)
		}
	}
	h := hostsReader{laneJudge: j, origins: j.origins(args), reverse: true}
	var through fall.F
	var inline []string
	for _, line := range j.stanza.lines {
		switch line[0] {
		case "fallthrough":
			through.SetZonesFromArgs(line[1:])
		case "no_reverse":
			h.reverse = false
		case "ttl", "fallthrough_unsupported":
		case "reload":
			if d, err := time.ParseDuration(strings.Join(line[1:], " ")); err != nil || d <= 0 {
				j.takeAll("does not follow changes of " + path)
			}
		default:
			inline = append(inline, strings.Join(line, " "))
		}
	}
	for _, origin := range h.origins {
		for _, ours := range j.zones {
			if both, ok := meet(origin, ours); ok && !through.Through(both) {
				j.take(both, "does not fall through")
			}
		}
	}
	j.files = append(j.files, path)
	content, err := j.readFile(path)
	if err != nil {
		j.takeAll("has a file that cannot be read: " + err.Error())
	}
	h.read(content, why)
	h.read([]byte(strings.Join(inline, "\n")), why)
}

// hostsReader takes from the lane what a hosts file answers.
type hostsReader struct {
	*laneJudge
	origins plugin.Zones // names in others are left out
	reverse bool         // addresses have PTR records
}

// mappedZone has the IPv4 addresses in IPv6 form (RFC 4291 §2.5.5.2), which the
// plugin hosts takes for the same.
var mappedZone = "f.f.f.f." + strings.Repeat("0.", 20) + "ip6.arpa."

// read reads content as CoreDNS's Hostsfile does: an address, then names, then
// perhaps a comment. A name in the cluster makes more than that name the
// plugin's only if it is a wildcard, for one label.
func (h *hostsReader) read(content []byte, why string) {
	space := func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }
	for line := range bytes.Lines(content) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		fields := bytes.FieldsFunc(line, space)
		if len(fields) < 2 {
			continue
		}
		address, _, _ := strings.Cut(string(fields[0]), "%")
		ip := net.ParseIP(address)
		if ip == nil {
			continue
		}
		for _, field := range fields[1:] {
			name := plugin.Name(field).Normalize()
			if !h.origins.Contains(name) {
				continue
			}
			if parent, ok := strings.CutPrefix(name, "*."); ok {
				h.wildcard(dns.Fqdn(parent), why)
				continue
			}
			h.takeName(name, why)
			if !h.reverse {
				continue
			}
			if reverse, err := dns.ReverseAddr(ip.String()); err == nil {
				h.takeName(reverse, why)
			}
			if ip.To4() != nil {
				h.takeName(mappedZone, why)
			}
		}
	}
}

// wildcard takes the names that are one label below parent.
func (h *hostsReader) wildcard(parent, why string) {
	h.takeName(parent, why)
	for _, ours := range h.zones {
		if off, end := dns.NextLabel(ours, 0); !end && ours[off:] == parent {
			h.take(ours, why)
		}
	}
}
