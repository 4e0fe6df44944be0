package zone

import (
	"bytes"
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// Resource is a kind of Kubernetes object that the index is made from.
type Resource uint8

// The resources of an index, in the order in which a feed should ask for them.
const (
	Namespaces Resource = iota
	Services
	EndpointSlices
	Pods
	numResources
)

// String returns the resource's name as the Kubernetes API spells it in URLs.
func (r Resource) String() string {
	return [...]string{"namespaces", "services", "endpointslices", "pods"}[r]
}

// Key names an object within its resource. Namespace is empty for namespaces.
type Key struct{ Namespace, Name string }

// Object is one of *Namespace, *Service, *EndpointSlice and *Pod. Objects are
// immutable once handed to a Writer; the index retains them.
type Object interface {
	// ObjectKey returns the object's name.
	ObjectKey() Key
	// Resource returns what the object is.
	Resource() Resource
	// version returns the resourceVersion that made the object as it is.
	version() uint64
	// sameRecords reports whether other, of the same resource and key, says
	// the same in all that the index answers from.
	sameRecords(other Object) bool
}

// Namespace is a Kubernetes namespace. The names below svc. and pod. of a
// namespace exist only while the namespace does.
type Namespace struct {
	Name    string
	Version uint64 // resourceVersion; see Writer for objects without one
}

// Kind says how a Service answers.
type Kind uint8

const (
	// ClusterIP services (NodePort and LoadBalancer ones too) answer their
	// cluster addresses.
	ClusterIP Kind = iota
	// Headless services (clusterIP: None) answer their endpoints.
	Headless
	// ExternalName services answer a CNAME.
	ExternalName
)

// Service is what the index keeps of a Kubernetes Service.
type Service struct {
	Key
	Version         uint64
	Kind            Kind
	PublishNotReady bool         // spec.publishNotReadyAddresses
	ClusterIPs      []netip.Addr // in the order of spec.clusterIPs; empty for other kinds
	Ports           []Port
	ExternalName    string    // spec.externalName as written, for kind ExternalName
	External        *External // where it is reached from outside; nil, as for most, if nowhere
}

// Port is a port of a Service or EndpointSlice.
type Port struct {
	Name     string // empty for an unnamed port
	Protocol string // "TCP", "UDP" or "SCTP"
	Number   int32  // -1 if the EndpointSlice leaves it open
}

// EndpointSlice is what the index keeps of a Kubernetes EndpointSlice with
// addresses (not of addressType FQDN) and a service name label.
type EndpointSlice struct {
	Key
	Version  uint64
	Service  string // name of its service, in the same namespace
	Ports    []Port // empty if the slice has none: its endpoints have addresses but no SRV
	Ready    Endpoints
	NotReady *Endpoints // nil if every endpoint is ready
}

// Pod is what the index keeps of a running Pod.
type Pod struct {
	Key
	Version uint64
	Addrs   []netip.Addr      // status.podIPs
	Labels  map[string]string // for CoreDNS's metadata
}

func (n *Namespace) ObjectKey() Key     { return Key{Name: n.Name} }
func (s *Service) ObjectKey() Key       { return s.Key }
func (s *EndpointSlice) ObjectKey() Key { return s.Key }
func (p *Pod) ObjectKey() Key           { return p.Key }

func (*Namespace) Resource() Resource     { return Namespaces }
func (*Service) Resource() Resource       { return Services }
func (*EndpointSlice) Resource() Resource { return EndpointSlices }
func (*Pod) Resource() Resource           { return Pods }

func (n *Namespace) version() uint64     { return n.Version }
func (s *Service) version() uint64       { return s.Version }
func (s *EndpointSlice) version() uint64 { return s.Version }
func (p *Pod) version() uint64           { return p.Version }

// Endpoint is one address of an EndpointSlice.
type Endpoint struct {
	Addr netip.Addr // unmapped: an IPv4-mapped IPv6 address counts as IPv4
	// Name is the endpoint's label below its service: its hostname, or its
	// pod's name where the feed was told to use those. Empty, the usual case,
	// means the dashed address.
	Name string
}

// Endpoints is an immutable packed set of endpoints: 4 bytes for an IPv4 and
// 16 for an IPv6 address, and a string header more each if any of the
// addresses of that family has a name. The zero value is empty.
type Endpoints struct{ v4, v6 addrSet }

// addrSet holds addresses of one family, sorted.
type addrSet struct {
	packed []byte
	names  []string // nil, or one for each address
}

// NewEndpoints packs list, which it sorts in place. An endpoint that is listed
// twice stays so: it counts twice for the weight of SRV records.
func NewEndpoints(list []Endpoint) Endpoints {
	var label [48]byte
	for i := range list {
		e := &list[i]
		if e.Name != "" && compareFold(e.Name, appendDashed(label[:0], e.Addr)) == 0 {
			e.Name = "" // what it would be called anyway
		}
	}
	slices.SortFunc(list, func(a, b Endpoint) int {
		if c := a.Addr.Compare(b.Addr); c != 0 { // IPv4 first
			return c
		}
		return cmp.Compare(a.Name, b.Name)
	})
	n4 := 0
	for n4 < len(list) && list[n4].Addr.Is4() {
		n4++
	}
	return Endpoints{v4: packAddrs(list[:n4], 4), v6: packAddrs(list[n4:], 16)}
}

func packAddrs(list []Endpoint, width int) (s addrSet) {
	if len(list) == 0 {
		return s
	}
	s.packed = make([]byte, 0, len(list)*width)
	for i, e := range list {
		s.packed = append(s.packed, e.Addr.AsSlice()...)
		if e.Name != "" && s.names == nil {
			s.names = make([]string, len(list))
		}
		if s.names != nil {
			s.names[i] = e.Name
		}
	}
	return s
}

// Len returns the number of endpoints.
func (e *Endpoints) Len() int { return len(e.v4.packed)/4 + len(e.v6.packed)/16 }

// All returns the endpoints, IPv4 first, each family sorted by address.
func (e *Endpoints) All(yield func(Endpoint) bool) {
	_ = e.v4.each(4, yield) && e.v6.each(16, yield)
}

func (s *addrSet) each(width int, yield func(Endpoint) bool) bool {
	for i := 0; i*width < len(s.packed); i++ {
		addr, _ := netip.AddrFromSlice(s.packed[i*width : (i+1)*width])
		if !yield(Endpoint{Addr: addr, Name: s.name(i)}) {
			return false
		}
	}
	return true
}

func (s *addrSet) name(i int) string {
	if s.names == nil {
		return ""
	}
	return s.names[i]
}

func (s *addrSet) equal(o *addrSet) bool {
	return bytes.Equal(s.packed, o.packed) && slices.Equal(s.names, o.names)
}

func (e *Endpoints) equal(o *Endpoints) bool {
	if e == nil || o == nil {
		return e == o
	}
	return e.v4.equal(&o.v4) && e.v6.equal(&o.v6)
}

func (n *Namespace) sameRecords(Object) bool { return true }

func (s *Service) sameRecords(other Object) bool {
	o := other.(*Service)
	return s.Kind == o.Kind && s.PublishNotReady == o.PublishNotReady && s.ExternalName == o.ExternalName &&
		slices.Equal(s.ClusterIPs, o.ClusterIPs) && slices.Equal(s.Ports, o.Ports) && s.External.equal(o.External)
}

func (s *EndpointSlice) sameRecords(other Object) bool {
	o := other.(*EndpointSlice)
	return s.Service == o.Service && slices.Equal(s.Ports, o.Ports) &&
		s.Ready.equal(&o.Ready) && s.NotReady.equal(o.NotReady)
}

func (p *Pod) sameRecords(other Object) bool {
	o := other.(*Pod)
	return slices.Equal(p.Addrs, o.Addrs) && maps.Equal(p.Labels, o.Labels)
}
