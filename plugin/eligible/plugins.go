package eligible

import (
	"slices"
	"strconv"
	"strings"

	"github.com/coredns/coredns/plugin/pkg/dnsutil"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/miekg/dns"
)

// rule says what a plugin means for the fast lane. docs/fastlane.md has the
// same table.
type rule struct {
	verdict string // for the documentation
	why     string // a sentence of which the plugin is the subject
	scope   scope
	// judge, of a plugin asked before ours, says what j.use takes from the
	// lane or asks of it. Nil is: nothing.
	judge func(j *judge)
	// closes, of one with a wider scope, reports whether s is such that the lane
	// must stay closed. Nil is: always.
	closes func(u use) bool
}

// scope says where a plugin concerns the lane.
type scope int

const (
	scopeBefore   scope = iota // asked before ours, in the same server block
	scopeBlock                 // in the same server block, wherever it is asked
	scopeListener              // in any server block on the listener's port
	scopeServer                // in any server block
)

const (
	verdictOpen   = "open"
	verdictClosed = "closed"
)

// closed returns the rule of a plugin that leaves nothing to the lane.
func closed(why string) rule {
	return rule{verdict: verdictClosed, why: why, judge: func(j *judge) { j.takeAll(why) }}
}

// open returns the rule of a plugin that the lane can do without.
func open(why string) rule { return rule{verdict: verdictOpen, why: why} }

// inZones returns the rule of a plugin that does so, to names in the zones that
// are its arguments.
func inZones(why string) rule {
	return rule{verdict: "its zones are the chain's", why: why, judge: func(j *judge) {
		for _, zone := range j.origins(j.use.args) {
			j.take(zone, why)
		}
	}}
}

// rules has every stock plugin that is asked before ours, or concerns the
// lane wherever it stands.
var rules map[string]rule

func init() { // judge functions refer to the table
	rules = map[string]rule{
		"root":        open("names a folder"),
		"metadata":    open("tells other plugins of the query, which are judged themselves"),
		"geoip":       open("tells other plugins of the client, which are judged themselves"),
		"cancel":      open("bounds the time of a query, and the lane waits for nothing"),
		"quic":        open("is for another listener"),
		"grpc_server": open("is for another listener"),
		"https":       open("is for another listener"),
		"https3":      open("is for another listener"),
		"timeouts":    open("is for connections"),
		"multisocket": open("makes more sockets, before which the lane stands too"),
		"reload":      open("reads the Corefile again"),
		"nsid":        open("answers the EDNS option NSID; a query with it is the chain's"),
		"bind":        open("says at which addresses a block listens; a block without a stanza of ours is taken to listen at the lane's"),
		"debug":       open("is for faults in the chain"),
		"ready":       open("answers HTTP"),
		"health":      open("answers HTTP"),
		"pprof":       open("answers HTTP"),
		"errors":      open("logs failures, and the lane's answers are none"),
		"any":         open("answers ANY, which is the chain's"),
		"chaos":       open("answers class CH, which is the chain's"),
		"transfer":    open("answers AXFR and IXFR, which are the chain's"),
		"cache":       open("keeps answers for a while, which the index has fresher; so whatever its options"),

		"prometheus": {verdict: "open, and the lane counts too", why: "counts queries", judge: func(j *judge) {
			j.duties.Prometheus = true
		}},
		"console": {verdict: "open, and the lane counts too", why: "counts who asks what", judge: func(j *judge) {
			j.duties.Console = true
		}},
		"bufsize": {verdict: "open, and the lane has the same limit", why: "limits the EDNS size of queries", judge: judgeBufsize},
		"loadbalance": {
			verdict: "`round_robin`: open, and the lane rotates too; otherwise closed",
			why:     "orders the addresses in answers by weight or subnet", judge: judgeLoadbalance,
		},
		"log": {
			verdict: "its zones are the chain's, unless `class error` is all it logs",
			why:     "logs queries", judge: judgeLog,
		},
		"hosts": {
			verdict: "it is asked: the names that it has, those in its zones that do not fall through, and PTR of addresses that it has are the chain's",
			why:     "answers names of its file", judge: judgeHosts,
		},
		"template": {
			verdict: "for type ANY, its zones are the chain's; for another type the lane gives the answer if that is `NOERROR` or `NXDOMAIN` " +
				"without records or conditions, and otherwise questions of the type in its zones are the chain's",
			why: "may answer in-cluster names", judge: judgeTemplate,
		},
		"rewrite": {
			verdict: "`name`, `ttl` and `rcode`: `exact` names are the chain's, and zones with names that a `suffix` fits; " +
				"`type`: questions of the type it rewrites are; `class` of another class than IN: open; otherwise closed",
			why: "may rewrite in-cluster names", judge: judgeRewrite,
		},
		"local": {
			verdict: "with `localhost_prefix off`, its reverse zones are the chain's; otherwise closed",
			why:     "answers every name that begins with the label localhost", judge: judgeLocal,
		},
		"dns64":        {verdict: "AAAA is the chain's", why: "makes AAAA records of A records", judge: takesType(dns.TypeAAAA)},
		"siit":         {verdict: "A is the chain's", why: "makes A records of AAAA records", judge: takesType(dns.TypeA)},
		"k8s_external": inZones("answers for external zones"),
		"k8s_gateway":  inZones("answers for host names"),
		"dnssec":       inZones("signs answers"),
		"autopath": {
			verdict: "`@clusterdns`, `@kubernetes`: names that do not exist and that may be completed are the chain's; otherwise its zones are",
			why:     "completes names by the client's search path", judge: judgeAutopath,
		},

		"trace":    closed("samples queries"),
		"dnstap":   closed("records queries"),
		"acl":      closed("looks at the client's address, and counts"),
		"header":   closed("changes flags of queries and answers"),
		"minimal":  closed("cuts answers"),
		"route53":  closed("may answer in-cluster names"),
		"azure":    closed("may answer in-cluster names"),
		"clouddns": closed("may answer in-cluster names"),

		"view": {
			verdict: "closed, also for a zone that another block has too; other zones of its block are the chain's",
			why:     "decides by more than the name which server block answers", scope: scopeBlock,
			judge: func(j *judge) { j.takeAll(rules["view"].why) },
		},
		"shed":      open("sends what the chain answers itself, also for the lane; and the lane's own answers wait for nobody"),
		"tsig":      {verdict: "closed, from any block on the port", why: "signs what the listener sends", scope: scopeListener},
		"dynupdate": {verdict: "closed, from any block on the port", why: "takes other messages than queries", scope: scopeListener},
		"proxyproto": {
			verdict: "closed, from any block on the port",
			why:     "takes the client's address from the packet", scope: scopeListener,
		},
		"tls": {
			verdict: "with ACME, which is without a certificate, closed from any block; otherwise open",
			why:     "answers ACME challenges in every server block", scope: scopeServer,
			closes: func(u use) bool { return len(u.args) == 0 },
		},
	}
}

func takesType(qtype uint16) func(*judge) {
	return func(j *judge) { j.takeType(qtype) }
}

// defaultBufsize is the limit of the plugin bufsize without an argument.
const defaultBufsize = 1232

func judgeBufsize(j *judge) {
	size := defaultBufsize
	if len(j.use.args) > 0 {
		var err error
		if size, err = strconv.Atoi(j.use.args[0]); err != nil || size < dns.MinMsgSize || size > dns.MaxMsgSize {
			j.takeAll("cannot be judged")
			return
		}
	}
	if j.duties.Bufsize == 0 { // later stanzas are not read
		j.duties.Bufsize = uint16(size)
	}
}

func judgeLoadbalance(j *judge) {
	s := j.use
	if len(s.lines) > 0 || len(s.args) > 0 && !slices.Equal(s.args, []string{"round_robin"}) {
		j.takeAll(rules["loadbalance"].why)
	}
	j.duties.Rotate = true
}

// judgeLog: no answer from the index is of the class error, since CoreDNS counts
// NXDOMAIN and NODATA as denial, and failures are the chain's.
func judgeLog(j *judge) {
	logged := 0
	for _, line := range j.use.lines {
		if line[0] == "class" && len(line) > 1 && !slices.ContainsFunc(line[1:], func(class string) bool { return class != "error" }) {
			logged++
		}
	}
	if logged > 0 && logged == len(j.use.lines) {
		j.logsErrors = true
		return
	}
	scopes := j.use.args
	if n := len(scopes); n > 1 && strings.Contains(scopes[n-1], "{") {
		scopes = scopes[:n-1] // the format
	}
	if len(scopes) == 0 {
		scopes = []string{"."}
	}
	for _, scope := range scopes {
		j.take(dns.Fqdn(scope), rules["log"].why)
	}
}

// judgeTemplate does not look into regular expressions.
func judgeTemplate(j *judge) {
	why := rules["template"].why
	args := j.use.args
	if len(args) < 2 {
		j.takeAll("cannot be judged")
		return
	}
	if class := args[0]; class != "IN" && class != "ANY" {
		return
	}
	qtype, ok := dns.StringToType[args[1]]
	zones := j.origins(args[2:])
	switch {
	case !ok:
		j.takeAll("cannot be judged")
	case qtype == dns.TypeANY:
		for _, zone := range zones {
			j.take(zone, why)
		}
	case j.meets(zones):
		t := Template{Type: qtype}
		for _, zone := range zones {
			t.Zones = append(t.Zones, normal(zone))
		}
		t.Rcode, t.Empty = emptyTemplate(j.use.lines)
		touch := j.touch(why)
		touch.Types = append(touch.Types, qtype)
		j.duties.Templates = append(j.duties.Templates, t)
	}
}

// emptyTemplate returns the response code of a template that answers every name
// with nothing else. Other codes than these two are errors, which the plugin log
// may have to log.
func emptyTemplate(lines [][]string) (rcode uint8, ok bool) {
	for _, line := range lines {
		switch line[0] {
		case "rcode":
			if len(line) != 2 || line[1] != "NOERROR" && line[1] != "NXDOMAIN" {
				return 0, false
			}
			rcode = uint8(dns.StringToRcode[line[1]])
		case "fallthrough", "upstream": // of what it does not match
		default:
			return 0, false
		}
	}
	return rcode, true
}

// search leaves those names in zone to the chain that do not exist and that a
// search path may have made.
func (j *judge) search(zone string) {
	j.duties.Searched = append(j.duties.Searched, zone)
	for _, ours := range j.zones {
		if both, ok := meet(zone, ours); ok && dnsutil.IsReverse(both) == 0 {
			t := j.touch(rules["autopath"].why)
			t.Zones = append(t.Zones, both)
		}
	}
}

func judgeAutopath(j *judge) {
	args, path := j.use.args, ""
	if len(args) > 0 {
		args, path = args[:len(args)-1], args[len(args)-1]
	}
	for _, zone := range j.origins(args) {
		if path == "@clusterdns" || path == "@kubernetes" {
			j.search(zone)
		} else {
			j.take(zone, rules["autopath"].why)
		}
	}
}

// judgeHosts leaves to the running plugin which names are in its file. Where
// none falls through the lane would ask it in vain.
func judgeHosts(j *judge) {
	j.duties.Hosts = true
	j.touch(rules["hosts"].why)
	var through fall.F
	for _, line := range j.use.lines {
		if line[0] == "fallthrough" {
			through.SetZonesFromArgs(line[1:])
		}
	}
	for _, origin := range j.origins(j.use.args[min(1, len(j.use.args)):]) { // the first is the file
		for _, ours := range j.zones {
			if both, ok := meet(origin, ours); ok && !through.Through(both) {
				j.take(both, "does not fall through")
			}
		}
	}
}

func judgeLocal(j *judge) {
	why := rules["local"].why
	if len(j.use.lines) == 0 || !slices.Equal(j.use.lines[len(j.use.lines)-1], []string{"localhost_prefix", "off"}) {
		j.takeAll(why)
		return
	}
	for _, zone := range []string{"localhost.", "0.in-addr.arpa.", "127.in-addr.arpa.", "255.in-addr.arpa."} {
		j.takeName(zone, "answers the zone "+zone)
	}
}

// judgeRewrite reads a rule as CoreDNS's rewriteParse and newRule do.
func judgeRewrite(j *judge) {
	why := rules["rewrite"].why
	args := j.use.args
	if len(args) < 2 {
		args = slices.Clone(args)
		for _, line := range j.use.lines {
			args = append(args, line...)
		}
	}
	if len(args) > 0 && (strings.EqualFold(args[0], "continue") || strings.EqualFold(args[0], "stop")) {
		args = args[1:]
	}
	if len(args) < 3 {
		j.takeAll("cannot be judged")
		return
	}
	match, from := "exact", args[1]
	switch field := strings.ToLower(args[0]); field {
	case "class":
		if strings.EqualFold(args[1], "IN") || dns.StringToClass[strings.ToUpper(args[1])] == 0 {
			j.takeAll(why)
		}
		return
	case "type":
		if qtype, ok := dns.StringToType[strings.ToUpper(args[1])]; ok {
			j.takeType(qtype)
		} else {
			j.takeAll("cannot be judged")
		}
		return
	case "name", "ttl", "rcode":
		// FROM TO for a name, FROM TTL, FROM RCODE RCODE, each with the kind
		// of match in front, which a name rule may not leave out if more follows.
		if short := map[string]int{"name": 3, "ttl": 3, "rcode": 4}[field]; len(args) > short {
			match, from = strings.ToLower(args[1]), args[2]
		}
	default:
		j.takeAll(why)
		return
	}
	switch from = strings.ToLower(dns.Fqdn(from)); match {
	case "exact":
		j.takeName(from, why)
	case "suffix":
		for _, ours := range j.zones {
			if endsLike(ours, from) {
				j.take(ours, why)
			}
		}
	default:
		j.takeAll(why)
	}
}
