// Package world makes clusters by rule: the same specification is the same
// cluster, address by address, on every machine. From one World come the
// objects for an API server or a manifest file, the zone files for servers of
// static zones, and the questions with the answers that are right. So what is
// right comes from the rule, not from any of the servers.
//
// IPv4 only: a question for AAAA is one without an answer, as in most clusters.
package world

import (
	"fmt"
	"net/netip"
	"strings"
)

// Rules is the version of what New makes of a Spec. A change of the rules takes
// a new number, so that no cluster made by the old ones is taken for one.
const Rules = 1

const (
	// Zone is the cluster's domain, Reverse that of all of its addresses.
	Zone    = "cluster.local."
	Reverse = "10.in-addr.arpa."

	// TTL of every record, as kubeadm's Corefile has it, in seconds.
	TTL = 30

	namespaces = 20
	// headlessEvery: one in so many services is headless, and of those every
	// second is a StatefulSet's, with hostnames.
	headlessEvery = 10
	// aliasEvery: for one in so many services there is an ExternalName.
	aliasEvery = 20

	portName   = "http"
	port       = 80
	targetPort = 8080
)

// First addresses. Services are in 10.96.0.0/12, out of the way of what the
// API server allocates for itself; endpoints in 10.128.0.0/9.
var (
	firstService  = netip.MustParseAddr("10.96.1.0")
	firstEndpoint = netip.MustParseAddr("10.128.0.0")
)

// Spec says what a World is made of.
type Spec struct {
	Name      string // of the world in results
	Services  int    // without aliases and the big one
	Endpoints int    // of each service
	BigSize   int    // endpoints of one more headless service, with hostnames; 0 for none
}

// Kind is how a service's name is answered.
type Kind int

const (
	ClusterIP Kind = iota
	Headless
	ExternalName
)

// Service is a service and its endpoints.
type Service struct {
	Namespace, Name string
	Kind            Kind
	ClusterIP       netip.Addr // of a ClusterIP service
	External        string     // of an ExternalName
	Endpoints       []Endpoint
}

// Endpoint is an address behind a service.
type Endpoint struct {
	Addr     netip.Addr
	Hostname string // its label below the service; empty for one made of the address
}

// World is a cluster.
type World struct {
	Spec
	Namespaces []string
	Services   []Service // ClusterIP and headless, then ExternalNames
	Big        *Service  // nil without one
}

// New makes the world of a specification.
func New(spec Spec) *World {
	w := &World{Spec: spec}
	for i := range namespaces {
		w.Namespaces = append(w.Namespaces, fmt.Sprintf("ns%d", i))
	}
	next := 0 // endpoint
	for i := range spec.Services {
		s := Service{Namespace: w.namespace(i), Name: fmt.Sprintf("svc-%d", i)}
		if i%headlessEvery == 0 {
			s.Kind = Headless
		} else {
			s.ClusterIP = plus(firstService, i)
		}
		s.Endpoints = endpoints(&next, spec.Endpoints, s.Name, i%(2*headlessEvery) == 0)
		w.Services = append(w.Services, s)
	}
	for i := 1; i < spec.Services; i += aliasEvery { // never headless
		w.Services = append(w.Services, Service{
			Namespace: w.namespace(i), Name: fmt.Sprintf("alias-%d", i), Kind: ExternalName,
			External: w.Services[i].FQDN(),
		})
	}
	if spec.BigSize > 0 {
		w.Big = &Service{Namespace: w.namespace(0), Name: "big", Kind: Headless, Endpoints: endpoints(&next, spec.BigSize, "big", true)}
	}
	return w
}

func (w *World) namespace(i int) string { return w.Namespaces[i%len(w.Namespaces)] }

func endpoints(next *int, n int, service string, hostnames bool) []Endpoint {
	es := make([]Endpoint, n)
	for j := range es {
		es[j].Addr = plus(firstEndpoint, *next)
		if hostnames {
			es[j].Hostname = fmt.Sprintf("%s-%d", service, j)
		}
		*next++
	}
	return es
}

// All returns every service, the big one last.
func (w *World) All() []Service {
	if w.Big == nil {
		return w.Services
	}
	return append(w.Services[:len(w.Services):len(w.Services)], *w.Big)
}

// of returns the services of a kind, the big one aside.
func (w *World) of(kind Kind) []Service {
	var some []Service
	for _, s := range w.Services {
		if s.Kind == kind {
			some = append(some, s)
		}
	}
	return some
}

// FQDN returns the name of the service.
func (s *Service) FQDN() string { return s.Name + "." + s.Namespace + ".svc." + Zone }

// Label returns the endpoint's own label: its hostname, or its address with
// dashes.
func (e Endpoint) Label() string {
	if e.Hostname != "" {
		return e.Hostname
	}
	return strings.ReplaceAll(e.Addr.String(), ".", "-")
}

// ReverseName returns the name below in-addr.arpa of an IPv4 address.
func ReverseName(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa.", b[3], b[2], b[1], b[0])
}

// plus returns the address n behind a.
func plus(a netip.Addr, n int) netip.Addr {
	b := a.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}
