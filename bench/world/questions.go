package world

import (
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"github.com/miekg/dns"

	"github.com/clusterdns/clusterdns/bench/question"
)

// misses is how many names that do not exist are asked for. It is more than
// the negative caches hold that are in front of an index, so that an answer
// costs what finding it costs.
const misses = 20000

// mixes are the kinds of load, in the order in which they are reported.
var mixes = []string{"clusterip", "headless15", "srv", "ptr", "externalname", "podname", "nxdomain", "nodata", "walk", "mixed", "big"}

// Questions returns the questions of a mix: each once, shuffled, but those of a
// search walk one behind the other. nil if there is no such mix, or none in
// this world: big is for one with a big service.
func (w *World) Questions(mix string) []question.Question {
	qs := w.ask(mix)
	if mix != "walk" {
		w.shuffle(slices.Index(mixes, mix), len(qs), func(a, b int) { qs[a], qs[b] = qs[b], qs[a] })
	}
	return qs
}

func (w *World) ask(mix string) []question.Question {
	switch mix {
	case "clusterip":
		return each(w.of(ClusterIP), address)
	case "headless15":
		return each(w.of(Headless), headless)
	case "srv":
		return each(w.of(ClusterIP), srv)
	case "ptr":
		return each(w.of(ClusterIP), ptr)
	case "externalname":
		return w.externals()
	case "podname":
		return w.podnames()
	case "nxdomain":
		return w.nowhere()
	case "nodata":
		return each(w.of(ClusterIP), nodata)
	case "walk":
		return w.walk()
	case "mixed":
		return w.mixed()
	case "big":
		return w.big()
	}
	return nil
}

// shuffle is the same for the same world and stream.
func (w *World) shuffle(stream, n int, swap func(a, b int)) {
	rand.New(rand.NewPCG(uint64(len(w.Services)), uint64(stream))).Shuffle(n, swap)
}

// WriteQuestions writes a mix into two files of a folder: with the right
// answers for dnsload, without for dnsperf.
func (w *World) WriteQuestions(dir, mix string) (checked, plain string, err error) {
	qs := w.Questions(mix)
	if len(qs) == 0 {
		return "", "", fmt.Errorf("world %s has no questions of mix %q", w.Name, mix)
	}
	checked, plain = filepath.Join(dir, mix+".questions"), filepath.Join(dir, mix+".dnsperf")
	for file, write := range map[string]func(io.Writer, []question.Question) error{
		checked: question.Write, plain: question.WriteDnsperf,
	} {
		if err := writeFile(file, func(out io.Writer) error { return write(out, qs) }); err != nil {
			return "", "", fmt.Errorf("questions of mix %s: %w", mix, err)
		}
	}
	return checked, plain, nil
}

// is is a question of which these records, or none, are the answer.
func is(name string, qtype uint16, rdata ...string) question.Question {
	return question.New(name, qtype, dns.RcodeSuccess, rdata...)
}

func each(services []Service, ask func(Service) question.Question) []question.Question {
	qs := make([]question.Question, len(services))
	for i, s := range services {
		qs[i] = ask(s)
	}
	return qs
}

func address(s Service) question.Question { return is(s.FQDN(), dns.TypeA, s.ClusterIP.String()) }

func nodata(s Service) question.Question { return is(s.FQDN(), dns.TypeAAAA) }

func headless(s Service) question.Question {
	var addrs []string
	for _, e := range s.Endpoints {
		addrs = append(addrs, e.Addr.String())
	}
	return is(s.FQDN(), dns.TypeA, addrs...)
}

func srv(s Service) question.Question {
	return is("_"+portName+"._tcp."+s.FQDN(), dns.TypeSRV, fmt.Sprintf("0 100 %d %s", port, s.FQDN()))
}

func ptr(s Service) question.Question {
	return is(ReverseName(s.ClusterIP), dns.TypePTR, s.FQDN())
}

func missing(name string) question.Question {
	return question.New(name, dns.TypeA, dns.RcodeNameError)
}

// externals asks for addresses behind aliases.
func (w *World) externals() []question.Question {
	target := map[string]Service{}
	for _, s := range w.of(ClusterIP) {
		target[s.FQDN()] = s
	}
	return each(w.of(ExternalName), func(s Service) question.Question {
		q := address(target[s.External])
		q.Name = s.FQDN()
		return q
	})
}

// podnames asks for endpoints by hostname.
func (w *World) podnames() []question.Question {
	var qs []question.Question
	for _, s := range w.of(Headless) {
		for _, e := range s.Endpoints {
			if e.Hostname != "" {
				qs = append(qs, is(e.Hostname+"."+s.FQDN(), dns.TypeA, e.Addr.String()))
			}
		}
	}
	return qs
}

// nowhere asks for services that do not exist, in namespaces that do.
func (w *World) nowhere() []question.Question {
	qs := make([]question.Question, misses)
	for i := range qs {
		qs[i] = missing(fmt.Sprintf("nope-%d.%s.svc.%s", i, w.namespace(i), Zone))
	}
	return qs
}

// walk asks what a pod with ndots:5 asks for, A and AAAA each: for a service
// by name and namespace, which the first search domain misses and the second
// finds, and for a name on the internet, up to where it leaves the cluster.
func (w *World) walk() []question.Question {
	services := w.of(ClusterIP)
	w.shuffle(len(mixes), len(services), func(a, b int) { services[a], services[b] = services[b], services[a] })
	var qs []question.Question
	pair := func(q question.Question) {
		qs = append(qs, q)
		qs = append(qs, question.New(q.Name, dns.TypeAAAA, q.Rcode))
	}
	for i, s := range services {
		from := w.namespace(i) + ".svc." + Zone
		pair(missing(s.Name + "." + s.Namespace + "." + from))
		pair(address(s))
		outside := fmt.Sprintf("api-%d.example.com.", i)
		for _, search := range []string{from, "svc." + Zone, Zone} {
			pair(missing(outside + search))
		}
	}
	return qs
}

// parts of mixed, in percent.
var parts = []struct {
	mix     string
	percent int
}{{"clusterip", 35}, {"walk", 40}, {"headless15", 10}, {"srv", 5}, {"ptr", 4}, {"externalname", 3}, {"podname", 3}}

// mixed asks a bit of everything.
func (w *World) mixed() []question.Question {
	var qs []question.Question
	for _, p := range parts {
		all := w.Questions(p.mix)
		for i := range p.percent * max(100, w.Spec.Services) / 100 {
			qs = append(qs, all[i%len(all)])
		}
	}
	return qs
}

// big asks for the big service. Its reply is truncated whatever the size; what
// it holds must be of the service.
func (w *World) big() []question.Question {
	if w.Big == nil {
		return nil
	}
	q := headless(*w.Big)
	q.Truncated = true
	return []question.Question{q}
}
