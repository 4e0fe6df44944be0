package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// Parse returns what a file of the source says, nothing of which refers to data.
// An error wraps ErrDamaged, ErrVersion or ErrSource.
//
// What it allocates is bounded by the file's size: no number in it is believed
// that its octets have no room for.
func Parse(data []byte, source Source) (*State, error) {
	if len(data) < headerLen || !bytes.Equal(data[:len(magic)], magic[:]) {
		return nil, fmt.Errorf("%w: no snapshot's beginning", ErrDamaged)
	}
	head := data[len(magic):headerLen]
	if v := binary.BigEndian.Uint32(head); v != version {
		return nil, fmt.Errorf("%w: %d, not %d", ErrVersion, v, version)
	}
	if n := binary.BigEndian.Uint64(head[48:]); n != uint64(len(data)) || len(data) < headerLen+checksumLen {
		return nil, fmt.Errorf("%w: %d octets, not %d", ErrDamaged, len(data), n)
	}
	body, sum := data[headerLen:len(data)-checksumLen], data[len(data)-checksumLen:]
	if sha256.Sum256(data[:len(data)-checksumLen]) != [checksumLen]byte(sum) {
		return nil, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	s := &State{Last: binary.BigEndian.Uint32(head[4:])&flagLast != 0, Serial: binary.BigEndian.Uint32(head[40:])}
	copy(s.Source[:], head[8:])
	if s.Source != source {
		return nil, fmt.Errorf("%w", ErrSource)
	}
	r := reader{rest: body, held: map[string]string{}}
	for n := binary.BigEndian.Uint32(head[44:]); n > 0 && r.err == nil; n-- {
		sec := r.section()
		if slices.ContainsFunc(s.Sections, func(had Section) bool { return had.Resource == sec.Resource }) {
			r.fail("two sections of a resource")
		}
		s.Sections = append(s.Sections, sec)
	}
	if r.err == nil && len(r.rest) > 0 {
		r.fail("octets behind the last section")
	}
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

// reader takes values from the beginning of rest. Its first error stays; what is
// read from then on is zero.
type reader struct {
	rest      []byte
	err       error
	held      map[string]string // strings that many objects repeat
	endpoints []zone.Endpoint   // used for every set
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrDamaged, what)
	}
	r.rest = nil
}

func (r *reader) section() (s Section) {
	head := r.take(sectionLen)
	if r.err != nil {
		return s
	}
	s.Resource = zone.Resource(head[3])
	count, length := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint64(head[16:])
	s.Contact = time.Unix(0, int64(binary.BigEndian.Uint64(head[8:])))
	read := map[zone.Resource]func() zone.Object{
		zone.Namespaces:     func() zone.Object { return &zone.Namespace{Name: r.string(), Version: r.uvarint()} },
		zone.Services:       func() zone.Object { o := r.service(); return &o },
		zone.ServiceImports: func() zone.Object { return &zone.ServiceImport{Service: r.service()} },
		zone.EndpointSlices: r.slice,
	}[s.Resource]
	if read == nil || head[0]|head[1]|head[2] != 0 {
		r.fail("a section of no known resource")
		return s
	}
	if length > uint64(len(r.rest)) || uint64(count) > length/2 { // no object is shorter
		r.fail("a section longer than the file")
		return s
	}
	behind := r.rest[length:]
	r.rest = r.rest[:length]
	s.Objects = make([]zone.Object, 0, count)
	for range count {
		s.Objects = append(s.Objects, read())
		if r.err != nil {
			return s
		}
	}
	if len(r.rest) > 0 {
		r.fail("octets behind the last object of a section")
	}
	r.rest = behind
	return s
}

func (r *reader) service() (s zone.Service) {
	flags := r.byte()
	if flags&^(kindMask|publishNotReady|hasExternal) != 0 || flags&kindMask > byte(zone.ExternalName) {
		r.fail("flags of a service")
	}
	s.Kind, s.PublishNotReady = zone.Kind(flags&kindMask), flags&publishNotReady != 0
	s.Key, s.Version = r.key()
	s.ClusterIPs = r.addrs()
	s.Ports = r.ports()
	if s.Kind == zone.ExternalName {
		s.ExternalName = r.string()
	}
	if flags&hasExternal != 0 {
		addrs := r.addrs()
		hosts := make([]string, r.count(1))
		for i := range hosts {
			hosts[i] = r.string()
		}
		s.External = zone.NewExternal(addrs, hosts)
	}
	return s
}

func (r *reader) slice() zone.Object {
	flags := r.byte()
	if flags&^(hasNotReady|hasImported) != 0 {
		r.fail("flags of a slice")
	}
	s := new(zone.EndpointSlice)
	s.Key, s.Version = r.key()
	s.Service = r.string()
	s.Ports = r.ports()
	s.Ready = r.set()
	if flags&hasNotReady != 0 {
		set := r.set()
		s.NotReady = &set
	}
	if flags&hasImported != 0 {
		s.Imported = &zone.Imported{Service: r.string(), Cluster: r.intern()}
	}
	return s
}

// set reads a set of endpoints.
func (r *reader) set() zone.Endpoints {
	n := r.count(5) // an IPv4 address and its length
	flags := r.byte()
	if flags&^(hasNames|hasZones) != 0 {
		r.fail("flags of endpoints")
	}
	r.endpoints = r.endpoints[:0]
	for range n {
		e := zone.Endpoint{Addr: r.addr()}
		if flags&hasNames != 0 {
			e.Name = r.string()
		}
		if flags&hasZones != 0 {
			e.Zone = r.intern()
		}
		r.endpoints = append(r.endpoints, e)
	}
	return zone.NewEndpoints(r.endpoints)
}

func (r *reader) key() (k zone.Key, version uint64) {
	k.Namespace = r.intern()
	k.Name = r.string()
	return k, r.uvarint()
}

func (r *reader) ports() []zone.Port {
	n := r.count(3) // two empty strings and a number
	if n == 0 {
		return nil
	}
	ports := make([]zone.Port, n)
	for i := range ports {
		ports[i] = zone.Port{Name: r.intern(), Protocol: r.intern(), Number: r.int32()}
	}
	return ports
}

func (r *reader) addrs() []netip.Addr {
	n := r.count(5)
	if n == 0 {
		return nil
	}
	addrs := make([]netip.Addr, n)
	for i := range addrs {
		addrs[i] = r.addr()
	}
	return addrs
}

func (r *reader) addr() netip.Addr {
	n := r.byte()
	if n != 4 && n != 16 {
		r.fail("an address that is neither of IPv4 nor IPv6")
		return netip.IPv4Unspecified()
	}
	addr, ok := netip.AddrFromSlice(r.take(int(n)))
	if !ok {
		return netip.IPv4Unspecified()
	}
	return addr.Unmap()
}

// count reads how many values follow, each of them of at least size octets.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.rest)/size) {
		r.fail("more values than octets")
		return 0
	}
	return int(n)
}

func (r *reader) int32() int32 {
	n, size := binary.Varint(r.rest)
	if size <= 0 || n < math.MinInt32 || n > math.MaxInt32 {
		r.fail("a number")
		return 0
	}
	r.rest = r.rest[size:]
	return int32(n)
}

func (r *reader) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail("a number")
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) string() string { return string(r.take(r.count(1))) }

// intern is string for what many objects repeat.
func (r *reader) intern() string {
	b := r.take(r.count(1))
	if s, ok := r.held[string(b)]; ok {
		return s
	}
	s := string(b)
	r.held[s] = s
	return s
}

func (r *reader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

// take returns the next n octets, or nil if there are not so many.
func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.fail("the end within a value")
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}
