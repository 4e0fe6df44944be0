package zone

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// Resource is a kind of Kubernetes object that the index is made from.
type Resource uint8

// The resources of an index, in the order in which a feed should ask for them.
const (
	Namespaces Resource = iota
	Services
	EndpointSlices
	Pods
	ServiceImports
	Ingresses
	Gateways
	HTTPRoutes
	GRPCRoutes
	TLSRoutes
	DNSEndpoints
	numResources
)

// String returns the resource's name as the Kubernetes API spells it in URLs.
func (r Resource) String() string {
	return [...]string{"namespaces", "services", "endpointslices", "pods", "serviceimports",
		"ingresses", "gateways", "httproutes", "grpcroutes", "tlsroutes", "dnsendpoints"}[r]
}

// Key names an object within its resource. Namespace is empty for namespaces.
type Key struct{ Namespace, Name string }

// Object is one of *Namespace, *Service, *EndpointSlice, *Pod, *ServiceImport and
// *Claim. Objects are immutable once handed to a Writer; the index retains them.
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
	Claim           *Claim    // the host names in its annotations; nil, as for most, if there are none
}

// Port is a port of a Service or EndpointSlice.
type Port struct {
	Name     string // empty for an unnamed port
	Protocol string // "TCP", "UDP" or "SCTP"
	Number   int32  // -1 if the EndpointSlice leaves it open
}

// ServiceImport is what the index keeps of a ServiceImport of the Multi-Cluster
// Services API (KEP-1645): a service that clusters of a set share. Its kind is
// ClusterIP for the API's ClusterSetIP, or Headless.
type ServiceImport struct{ Service }

// EndpointSlice is what the index keeps of a Kubernetes EndpointSlice with
// addresses (not of addressType FQDN) and the label that names its service, or
// that of a multi-cluster service, or both.
type EndpointSlice struct {
	Key
	Version  uint64
	Service  string // name of its service, in the same namespace; empty for none
	Ports    []Port // empty if the slice has none: its endpoints have addresses but no SRV
	Ready    Endpoints
	NotReady *Endpoints // nil if every endpoint is ready
	Imported *Imported  // nil if of no multi-cluster service
}

// Imported says where an EndpointSlice of a multi-cluster service belongs.
type Imported struct {
	Service string // name of its ServiceImport, in the same namespace
	Cluster string // where the endpoints are; empty if the slice does not say
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

// Resource shadows that of the Service.
func (*ServiceImport) Resource() Resource { return ServiceImports }

func (s *ServiceImport) sameRecords(other Object) bool {
	return s.Service.sameRecords(&other.(*ServiceImport).Service)
}

// Endpoint is one address of an EndpointSlice.
type Endpoint struct {
	Addr netip.Addr // unmapped: an IPv4-mapped IPv6 address counts as IPv4
	// Name is the endpoint's label below its service: its hostname, or its
	// pod's name where the feed was told to use those. Empty, the usual case,
	// means the dashed address.
	Name string
	// Zone is the topology zone that the endpoint is in, in lower case. Empty
	// if there is none, or the feed was not told to keep it.
	Zone string
}

// Endpoints is an immutable packed set of endpoints: 4 bytes for an IPv4 and
// 16 for an IPv6 address. If any of the addresses of a family has a name, each
// takes a string header more, and if any has a zone, 2 bytes. The zero value is
// empty.
type Endpoints struct{ v4, v6 addrSet }

// addrSet holds addresses of one family, sorted.
type addrSet struct {
	packed []byte
	more   *details // nil if no address has a name or a zone
}

// details is what few sets of endpoints have besides addresses.
type details struct {
	names []string // nil, or one for each address
	zones []uint16 // nil, or for each address its zone's place in zoneNames
	// zoneNames has every zone once, and as the first the empty one.
	zoneNames []string
	// spelling says that a name is the dashed form of some address.
	spelling bool
	refused  string // one of the names that were left out, if any was
}

// NewEndpoints packs list, which it sorts in place. An endpoint that is listed
// twice stays so: it counts twice for the weight of SRV records. A name that is
// no label is left out, so that the endpoint has its dashed address; a Writer
// counts those (Index.RefusedNames).
func NewEndpoints(list []Endpoint) Endpoints {
	var label [48]byte
	var refused4, refused6 string
	for i := range list {
		e := &list[i]
		switch {
		case e.Name == "":
		case !isLabel(e.Name) || strings.Contains(e.Name, "."):
			if e.Addr.Is4() {
				refused4 = e.Name
			} else {
				refused6 = e.Name
			}
			e.Name = ""
		case compareFold(e.Name, appendDashed(label[:0], e.Addr)) == 0:
			e.Name = "" // what it would be called anyway
		}
	}
	slices.SortFunc(list, func(a, b Endpoint) int {
		if c := a.Addr.Compare(b.Addr); c != 0 { // IPv4 first
			return c
		}
		return cmp.Or(compareNames(a.Name, b.Name), cmp.Compare(a.Zone, b.Zone))
	})
	n4 := 0
	for n4 < len(list) && list[n4].Addr.Is4() {
		n4++
	}
	return Endpoints{v4: packAddrs(list[:n4], 4, refused4), v6: packAddrs(list[n4:], 16, refused6)}
}

func packAddrs(list []Endpoint, width int, refused string) (s addrSet) {
	if len(list) == 0 {
		return s
	}
	s.packed = make([]byte, 0, len(list)*width)
	d := details{refused: refused}
	var zones map[string]uint16 // places in d.zoneNames
	for i, e := range list {
		s.packed = append(s.packed, e.Addr.AsSlice()...)
		if e.Name != "" {
			if d.names == nil {
				d.names = make([]string, len(list))
			}
			d.names[i] = e.Name
			if !d.spelling {
				_, d.spelling = spelledAddr([]byte(e.Name))
			}
		}
		if e.Zone != "" {
			if d.zones == nil {
				d.zones, d.zoneNames, zones = make([]uint16, len(list)), []string{""}, map[string]uint16{}
			}
			d.zones[i] = d.place(e.Zone, zones)
		}
	}
	if d.names != nil || d.zones != nil || refused != "" {
		d.zoneNames = slices.Clip(d.zoneNames)
		s.more = &d
	}
	return s
}

// place returns the place of zone in d.zoneNames; places has those known. Should
// a set have more zones than fit, which takes a hundred times the endpoints that
// an API server lets a slice have, the rest counts as without.
func (d *details) place(zone string, places map[string]uint16) uint16 {
	at, ok := places[zone]
	if !ok && len(d.zoneNames) <= math.MaxUint16 {
		at = uint16(len(d.zoneNames))
		places[zone] = at
		d.zoneNames = append(d.zoneNames, zone)
	}
	return at
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
		if !yield(Endpoint{Addr: addr, Name: s.name(i), Zone: s.zone(i)}) {
			return false
		}
	}
	return true
}

func (s *addrSet) name(i int) string {
	if s.more == nil || s.more.names == nil {
		return ""
	}
	return s.more.names[i]
}

func (s *addrSet) zone(i int) string {
	if s.more == nil || s.more.zones == nil {
		return ""
	}
	return s.more.zoneNames[s.more.zones[i]]
}

// has reports whether addr, of the set's family, is in the set.
func (s *addrSet) has(addr []byte) bool {
	width := len(addr)
	i := sort.Search(len(s.packed)/width, func(i int) bool { return bytes.Compare(s.packed[i*width:(i+1)*width], addr) >= 0 })
	return i*width < len(s.packed) && bytes.Equal(s.packed[i*width:(i+1)*width], addr)
}

// inZone returns how many addresses are in a topology zone.
func (s *addrSet) inZone(zone []byte) (n int) {
	if s.more == nil || s.more.zones == nil {
		return 0
	}
	for place, name := range s.more.zoneNames {
		if name != string(zone) {
			continue
		}
		for _, z := range s.more.zones {
			if int(z) == place {
				n++
			}
		}
	}
	return n
}

func (s *addrSet) equal(o *addrSet) bool {
	if !bytes.Equal(s.packed, o.packed) {
		return false
	}
	if s.more == nil || o.more == nil {
		return s.more == o.more // a name that was refused, or not, says that something changed
	}
	// Zones are numbered as they come in the sorted set, so in equal sets alike.
	return slices.Equal(s.more.names, o.more.names) && slices.Equal(s.more.zones, o.more.zones) &&
		slices.Equal(s.more.zoneNames, o.more.zoneNames)
}

// refused returns a name that was left out, or "".
func (e *Endpoints) refused() string {
	if e == nil {
		return ""
	}
	for _, set := range []*addrSet{&e.v4, &e.v6} {
		if set.more != nil && set.more.refused != "" {
			return set.more.refused
		}
	}
	return ""
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
		slices.Equal(s.ClusterIPs, o.ClusterIPs) && slices.Equal(s.Ports, o.Ports) && s.External.equal(o.External) && s.Claim.equal(o.Claim)
}

func (s *EndpointSlice) sameRecords(other Object) bool {
	o := other.(*EndpointSlice)
	return s.Service == o.Service && s.imported() == o.imported() && slices.Equal(s.Ports, o.Ports) &&
		s.Ready.equal(&o.Ready) && s.NotReady.equal(o.NotReady)
}

// imported is Imported, or the zero value.
func (s *EndpointSlice) imported() Imported {
	if s.Imported == nil {
		return Imported{}
	}
	return *s.Imported
}

func (p *Pod) sameRecords(other Object) bool {
	o := other.(*Pod)
	return slices.Equal(p.Addrs, o.Addrs) && maps.Equal(p.Labels, o.Labels)
}
