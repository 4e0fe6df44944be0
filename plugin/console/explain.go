package console

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/miekg/dns"
)

// explainPage is what its template is given.
type explainPage struct {
	Views      []View
	View       int // of Views
	Name, Type string
	Namespace  string // of the pod that asks, if any
	Types      []string
	Asked      []explained
}

// explained is one question, and what a stanza says to it.
type explained struct {
	Question string
	Answer   string   // the response code, or what else becomes of it
	Why      string   // there are no records, with the nearest name
	Objects  []string // that the answer is made of; no more than shownRecords
	Records  []string // no more than shownRecords
	More     int      // that are left out
}

// shownRecords is how many records of an answer are shown.
const shownRecords = 20

var explainedTypes = []string{"A", "AAAA", "SRV", "PTR", "CNAME", "TXT", "NS", "SOA"}

// explain answers a question as a stanza does, without sending anything.
func (c *Console) explain(q url.Values) (int, string, any) {
	p := explainPage{
		Views: c.source.Views(), Types: explainedTypes,
		Name: strings.TrimSpace(q.Get("name")), Namespace: strings.TrimSpace(q.Get("namespace")), Type: q.Get("type"),
	}
	p.View = chosen(p.Views, q.Get("stanza"))
	if !slices.Contains(p.Types, p.Type) {
		p.Type = p.Types[0]
	}
	if p.Name != "" && len(p.Views) > 0 {
		view := p.Views[p.View]
		view.View = view.Explaining()
		for _, name := range searched(p.Name, p.Namespace, searchZone(view.Zones)) {
			e := explainOne(view, name, dns.StringToType[p.Type])
			p.Asked = append(p.Asked, e)
			if len(e.Records) > 0 { // a resolver asks no more
				break
			}
		}
	}
	return http.StatusOK, "explain.html", p
}

// chosen returns which of views a form asks for, the first if it is none.
func chosen(views []View, stanza string) int {
	if i, err := strconv.Atoi(stanza); err == nil && i >= 0 && i < len(views) {
		return i
	}
	return 0
}

// searchZone returns which of a stanza's zones pods have in their search path: the
// first that is not of addresses.
func searchZone(zones []string) string {
	for _, zone := range zones {
		if !dns.IsSubDomain("arpa.", zone) {
			return zone
		}
	}
	return zones[0]
}

// searched returns what a pod of the namespace asks for when it looks name up, with
// the search path and ndots of 5 that Kubernetes gives it. Of no namespace's there
// is no search path.
func searched(name, namespace, zone string) []string {
	if strings.HasSuffix(name, ".") || namespace == "" {
		return []string{dns.Fqdn(name)}
	}
	if zone == "." {
		zone = ""
	}
	list := []string{name + "." + namespace + ".svc." + zone, name + ".svc." + zone}
	if zone != "" {
		list = append(list, name+"."+zone)
	}
	if strings.Count(name, ".") >= 5 {
		return append([]string{name + "."}, list...)
	}
	return append(list, name+".")
}

// explainOne answers one question.
func explainOne(view View, name string, qtype uint16) explained {
	e := explained{Question: name + " " + dns.TypeToString[qtype]}
	var query dnswire.Query
	msg, err := new(dns.Msg).SetQuestion(name, qtype).Pack()
	if err != nil || dnswire.ParseQuery(msg, &query) != dnswire.Accepted {
		e.Answer = "not asked: it is no domain name"
		return e
	}
	var a zone.Answer
	if !view.Lookup(&a, query.Name, query.Type) {
		e.Answer = "in no zone of the stanza: another plugin's, or another server block's"
		return e
	}
	why, _ := a.Why(nil)
	e.Why = string(why)
	for _, o := range a.Sources() {
		if len(e.Objects) == shownRecords {
			break
		}
		name := o.Name
		if o.Namespace != "" {
			name = o.Namespace + "/" + name
		}
		e.Objects = append(e.Objects, fmt.Sprintf("%v %s, resourceVersion %d", o.Resource, name, o.Version))
	}
	switch a.Outcome {
	case zone.Unready:
		e.Answer = "SERVFAIL"
		return e
	case zone.Chase:
		e.Answer = "NOERROR, and the target is looked up through this server"
		e.Records = []string{"CNAME " + dnswire.NameString(a.Target())}
		return e
	case zone.NoData:
		e.Answer = "NOERROR, without records of this type"
	default:
		e.Answer = dns.RcodeToString[int(a.Outcome.Rcode())]
	}
	var render zone.Renderer
	reply := new(dns.Msg)
	wire, err := render.Append(nil, &query, &a, dns.MaxMsgSize)
	if err == nil {
		err = reply.Unpack(wire)
	}
	if err != nil {
		e.Answer += ", which is no message: " + err.Error()
	}
	for i, rr := range append(reply.Answer, reply.Extra...) {
		if i == shownRecords {
			e.More = len(reply.Answer) + len(reply.Extra) - shownRecords
			break
		}
		e.Records = append(e.Records, rr.String())
	}
	return e
}
