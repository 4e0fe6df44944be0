package zone

import (
	"net/netip"
	"strconv"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// DefaultProbes is how many names a server compares with one that does not
// exist. A probe costs some 100 ns in a cluster of 100,000 services.
const DefaultProbes = 300

// MaxWhy is the length in octets of the longest text that Answer.Why returns.
const MaxWhy = 256

// Why appends to dst why the answer has no records, for a person to read, and
// returns it with the info code of RFC 8914 that fits. It appends nothing for an
// answer with records, one that says nothing unusual (a name without records of
// the type asked for), one of an external zone, whose clients are not to learn
// what a cluster has, and if the view does not explain (Options.Explain).
//
// Of what the view hides it says what it would of what does not exist. The text
// is printable ASCII, whatever was asked, and has at most MaxWhy octets. What it
// costs does not grow with the index: see nearest. It is for an answer of
// View.Lookup that was not released.
func (a *Answer) Why(dst []byte) (text []byte, code uint16) {
	v := a.view
	if v == nil || v.opt.Explain == 0 || v.opt.External != nil || a.Outcome == Success || a.Outcome == Chase {
		return dst, dnswire.EDEOther
	}
	if a.Outcome == Unready {
		return append(append(dst, a.Blocked.String()...), " have not been seen whole since the start"...), dnswire.EDENotReady
	}
	w := why{Answer: a, text: dst, limit: len(dst) + MaxWhy, probes: v.opt.Explain}
	w.say()
	if len(w.text) > w.limit {
		w.text = w.text[:w.limit]
	}
	return w.text, dnswire.EDEOther
}

// Explain is Why for a reply of at most limit octets: it appends nothing if the
// Extended DNS Error would not fit, were every name in the reply written in full.
func (a *Answer) Explain(dst []byte, limit int) (text []byte, code uint16) {
	text, code = a.Why(dst)
	if n := len(text) - len(dst); n > 0 && a.Length(limit)+dnswire.OPTSize+a.SizeOptions()+dnswire.EDESize+n > limit {
		return dst, code
	}
	return text, code
}

// why is the text of Why as it is made.
type why struct {
	*Answer
	text   []byte
	limit  int
	probes int                      // left
	key    [2 * (1 + maxLabel)]byte // of the last one
}

// say says why there is none of what the question's name stands for, in the
// order in which resolve looks for it.
func (w *why) say() {
	q, v := &w.q, w.view
	q.parse(w.Answer.name) // a CNAME may have led elsewhere
	o := v.match(q)
	n := q.labels - o.labels
	p := q.split(n, o)
	services := &w.snap.services
	if o.multicluster {
		services = &w.snap.imports
	}
	if addr, reverse := q.reverseAddr(); reverse {
		if w.Outcome == NameError {
			w.add("no service or endpoint that is served has the address ").addr(addr)
		}
		return
	}
	switch {
	case isReverse(q.folded[:len(q.name)]) || p.kind == atEmpty:
	case p.kind == atNothing:
		w.add("no service or pod can have such a name")
		if n == 2 && w.serves(services, q.from(0, 2), q.from(1, 2)) {
			w.add("; there is ").name(q.label(0)).add(".").name(q.label(1)).add(".svc")
		}
	case !w.shows(p.namespace):
		w.noNamespace(&p, services)
	case p.kind == atNamespace:
		if w.Outcome == NameError { // below pod
			w.add("pods are not served: option pods is disabled")
		}
	case p.kind == atPod:
		w.noPod(&p)
	default:
		w.service(&p, services)
	}
}

// noNamespace is for a namespace that does not exist, or is hidden.
func (w *why) noNamespace(p *parts, services *trie[*service]) {
	w.add("no namespace ").quote(p.namespace[1:]).add(" is served")
	switch {
	case w.view.shown != nil:
		w.add(", only those of option namespaces")
	case w.view.opt.SelectedNamespaces:
		w.add(", only those that option namespace_labels selects")
	}
	if p.kind == atService && p.sel.by == byNothing {
		// <namespace>.<service> is a common mistake.
		service, namespace := p.namespace, p.service[:len(p.service)-len(p.namespace)]
		if w.serves(services, append(append(w.key[:0], service...), namespace...), namespace) {
			w.add("; there is ").name(service[1:]).add(".").name(namespace[1:])
			return
		}
	}
	if w.maySearch() {
		w.nearest(p.namespace, nil, nil)
	}
}

func (w *why) noPod(p *parts) {
	switch addr, ok := podAddr(p.first); {
	case w.view.opt.Pods == PodsDisabled:
		w.add("pods are not served: option pods is disabled")
	case !ok:
		w.quote(p.first).add(" is no address with dashes")
	case w.Outcome == NameError:
		w.add("no pod in namespace ").name(p.namespace[1:]).add(" has the address ").addr(addr)
	}
}

// service is for a service in a namespace that is shown.
func (w *why) service(p *parts, services *trie[*service]) {
	s := serviceOf(services, p.service, hashName(p.service))
	switch {
	case s == nil || s.obj == nil:
		w.noService(p, services)
	case s.obj.Kind == ExternalName && s.target == nil:
		w.add("the externalName of ").of(s).add(" is no domain name")
	case s.obj.Kind == ExternalName && w.Outcome == NameError:
		w.of(s).add(" is an ExternalName, with no names below it")
	case s.obj.Kind == ExternalName:
		if w.qtype == dnswire.TypeA || w.qtype == dnswire.TypeAAAA {
			w.add("the externalName of ").of(s).add(" leads to no service")
		}
	case w.Outcome == NoData:
		w.noData(p, s)
	case s.obj.Kind == Headless || p.sel.by == byEndpoint || p.sel.byZone():
		w.noEndpoint(p, s)
	case w.view.opt.IgnoreEmpty && s.n == 0 && !w.view.opt.NoEndpoints:
		w.of(s).add(" has no ready endpoint").notReady(s)
	case s.obj.Kind == ClusterIP && w.view.opt.IgnoreEmpty && w.view.opt.NoEndpoints:
		w.add("option noendpoints leaves ").of(s).add(" empty")
	case p.sel.by == byPort:
		w.noPort(p, s)
	default: // an import
		w.of(s).add(" has no ports")
	}
}

// noService is for a service that does not exist in a namespace that does.
func (w *why) noService(p *parts, services *trie[*service]) {
	label := p.service[:len(p.service)-len(p.namespace)]
	w.add("no service ").quote(label[1:]).add(" is served in namespace ").quote(p.namespace[1:])
	if w.view.opt.SelectedObjects {
		w.add(", only those that option labels selects")
	}
	if !w.maySearch() {
		return
	}
	if ns := w.elsewhere(label, services); ns != "" {
		w.add("; it is in namespace ").name([]byte(ns))
		return
	}
	w.nearest(label, p.namespace, services)
}

// noData is for a service's name without records, where that is unusual.
func (w *why) noData(p *parts, s *service) {
	switch {
	case p.sel.byZone():
		w.of(s).add(" has no ready endpoint in zone ").quote(p.sel.first)
	case s.obj.Kind == ClusterIP && p.sel.by != byEndpoint && len(s.obj.ClusterIPs) == 0:
		w.of(s).add(" has no ClusterIP yet")
	}
}

// noEndpoint is for what endpoints would answer.
func (w *why) noEndpoint(p *parts, s *service) {
	switch {
	case w.view.opt.NoEndpoints && !s.id.imported:
		w.add("endpoints are not served: option noendpoints")
	case s.obj.Kind == ClusterIP && p.sel.byZone():
		w.of(s).add(" is not headless: zones are of endpoints")
	case p.sel.by == byEndpoint && s.isNotReady(p.sel.first):
		w.add("endpoint ").quote(p.sel.first).add(" of ").of(s).add(" is not ready")
	case s.n == 0:
		w.of(s).add(" has no ready endpoint").notReady(s)
	case p.sel.by == byPort:
		w.noPort(p, s)
	default:
		w.of(s).add(" has no endpoint ").quote(p.sel.first).add("; it has ").number(s.n).add(" ready").notReady(s)
	}
}

// noPort is for a port that the service has not; it names those that it has.
func (w *why) noPort(p *parts, s *service) {
	w.of(s).add(" has no port ").quote(p.sel.first).add(" with protocol ").quote(p.sel.second)
	ports := s.obj.Ports
	if s.obj.Kind == Headless && len(s.slices) > 0 {
		ports = s.slices[0].Ports
	}
	if len(ports) == 0 {
		w.add("; it has none")
		return
	}
	w.add("; it has")
	for i := range ports {
		const longest = len(" _._, and more") + 15 + 4 // a port's name has at most 15 octets (RFC 6335 §5.1), a protocol's 4
		if w.limit-len(w.text) < longest {
			w.add(", and more")
			return
		}
		port := &ports[i]
		if w.add(" "); port.Name != "" {
			w.add("_").name([]byte(port.Name)).add(".")
		}
		w.add("_").name([]byte(port.Protocol))
	}
}

// What bounds a look at the endpoints of a service that are not ready: how many
// EndpointSlices are counted, of which a controller makes one for every 100
// endpoints, and how many endpoints are compared with a label.
const (
	maxSlices   = 256
	maxCompared = 1024
)

// notReady adds how many endpoints of s are not ready.
func (w *why) notReady(s *service) *why {
	n := 0
	for i, slice := range s.slices {
		if i == maxSlices {
			return w.add(", at least ").number(n).add(" not ready")
		}
		if slice.NotReady != nil {
			n += slice.NotReady.Len()
		}
	}
	return w.add(", ").number(n).add(" not ready")
}

// isNotReady reports whether label is that of one of the first endpoints of s
// that are not ready.
func (s *service) isNotReady(label []byte) (found bool) {
	if s.publishes() {
		return false
	}
	var buf [64]byte
	slices, endpoints := 0, 0
	for _, slice := range s.slices {
		if slices++; slices > maxSlices || endpoints > maxCompared {
			break
		}
		if slice.NotReady == nil {
			continue
		}
		for e := range slice.NotReady.All {
			name := append(buf[:0], e.Name...)
			if e.Name == "" {
				name = appendDashed(buf[:0], e.Addr)
			}
			if endpoints++; dnswire.EqualFold(name, label) {
				return true
			} else if endpoints > maxCompared {
				break
			}
		}
	}
	return false
}

// add, and those below, add to the text.
func (w *why) add(s string) *why {
	w.text = append(w.text, s...)
	return w
}

func (w *why) number(n int) *why {
	w.text = strconv.AppendInt(w.text, int64(n), 10)
	return w
}

func (w *why) addr(addr netip.Addr) *why {
	w.text = addr.AppendTo(w.text)
	return w
}

// of adds what s is and its name.
func (w *why) of(s *service) *why {
	return w.add("service ").name([]byte(s.id.Namespace)).add("/").name([]byte(s.id.Name))
}

// longestQuote is how many octets of what was asked for are repeated: whoever
// asked knows it.
const longestQuote = 32

// quote adds a label of the question's.
func (w *why) quote(label []byte) *why {
	w.add(`"`)
	if len(label) > longestQuote {
		return w.name(label[:longestQuote]).add(`..."`)
	}
	return w.name(label).add(`"`)
}

// name adds a label in lower case, with a ? for every octet that the names of
// Kubernetes objects do not have: neither a terminal nor a log is to be spoken to
// by who asks.
func (w *why) name(label []byte) *why {
	for _, c := range label {
		switch c = fold(c); {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			c = '?'
		}
		w.text = append(w.text, c)
	}
	return w
}
