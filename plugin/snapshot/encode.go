package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// The file's fixed parts, in octets.
const (
	headerLen   = 64
	sectionLen  = 24
	checksumLen = sha256.Size

	version  = 1
	flagLast = 1 << 0
)

var magic = [8]byte{'c', 'd', 'n', 's', 's', 'n', 'a', 'p'}

// Flags of objects.
const (
	kindMask        = 3 // of a service
	publishNotReady = 1 << 2
	hasExternal     = 1 << 3

	hasNotReady = 1 << 0 // of a slice
	hasImported = 1 << 1

	hasNames = 1 << 0 // of a set of endpoints
	hasZones = 1 << 1
)

// Append appends s as a file has it. The error wraps ErrSize if that would be
// larger than MaxSize.
func Append(dst []byte, s *State) ([]byte, error) {
	start := len(dst)
	dst = append(dst, magic[:]...)
	dst = binary.BigEndian.AppendUint32(dst, version)
	var flags uint32
	if s.Last {
		flags |= flagLast
	}
	dst = binary.BigEndian.AppendUint32(dst, flags)
	dst = append(dst, s.Source[:]...)
	dst = binary.BigEndian.AppendUint32(dst, s.Serial)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s.Sections)))
	dst = binary.BigEndian.AppendUint64(dst, 0) // the file's length
	for _, sec := range s.Sections {
		dst = binary.BigEndian.AppendUint32(dst, uint32(sec.Resource))
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(sec.Objects)))
		dst = binary.BigEndian.AppendUint64(dst, uint64(sec.Contact.UnixNano()))
		length := len(dst)
		dst = binary.BigEndian.AppendUint64(dst, 0)
		for _, o := range sec.Objects {
			if dst = appendObject(dst, o); len(dst)-start > MaxSize-checksumLen {
				return dst[:start], ErrSize
			}
		}
		binary.BigEndian.PutUint64(dst[length:], uint64(len(dst)-length-8))
	}
	binary.BigEndian.PutUint64(dst[start+headerLen-8:], uint64(len(dst)-start+checksumLen))
	sum := sha256.Sum256(dst[start:])
	return append(dst, sum[:]...), nil
}

func appendObject(dst []byte, o zone.Object) []byte {
	switch o := o.(type) {
	case *zone.Namespace:
		return binary.AppendUvarint(appendString(dst, o.Name), o.Version)
	case *zone.Service:
		return appendService(dst, o)
	case *zone.ServiceImport:
		return appendService(dst, &o.Service)
	case *zone.EndpointSlice:
		return appendSlice(dst, o)
	}
	return dst // pods are not saved
}

func appendService(dst []byte, s *zone.Service) []byte {
	flags := byte(s.Kind)
	if s.PublishNotReady {
		flags |= publishNotReady
	}
	if s.External != nil {
		flags |= hasExternal
	}
	dst = appendKey(append(dst, flags), s.Key, s.Version)
	dst = appendAddrs(dst, s.ClusterIPs)
	dst = appendPorts(dst, s.Ports)
	if s.Kind == zone.ExternalName {
		dst = appendString(dst, s.ExternalName)
	}
	if s.External != nil {
		addrs, hosts := s.External.Listed()
		dst = appendAddrs(dst, addrs)
		dst = binary.AppendUvarint(dst, uint64(len(hosts)))
		for _, host := range hosts {
			dst = appendString(dst, host)
		}
	}
	return dst
}

func appendSlice(dst []byte, s *zone.EndpointSlice) []byte {
	var flags byte
	if s.NotReady != nil {
		flags |= hasNotReady
	}
	if s.Imported != nil {
		flags |= hasImported
	}
	dst = appendKey(append(dst, flags), s.Key, s.Version)
	dst = appendString(dst, s.Service)
	dst = appendPorts(dst, s.Ports)
	dst = appendEndpoints(dst, &s.Ready)
	if s.NotReady != nil {
		dst = appendEndpoints(dst, s.NotReady)
	}
	if s.Imported != nil {
		dst = appendString(appendString(dst, s.Imported.Service), s.Imported.Cluster)
	}
	return dst
}

func appendEndpoints(dst []byte, set *zone.Endpoints) []byte {
	var flags byte
	for e := range set.All {
		if e.Name != "" {
			flags |= hasNames
		}
		if e.Zone != "" {
			flags |= hasZones
		}
	}
	dst = append(binary.AppendUvarint(dst, uint64(set.Len())), flags)
	for e := range set.All {
		dst = appendAddr(dst, e.Addr)
		if flags&hasNames != 0 {
			dst = appendString(dst, e.Name)
		}
		if flags&hasZones != 0 {
			dst = appendString(dst, e.Zone)
		}
	}
	return dst
}

func appendKey(dst []byte, k zone.Key, version uint64) []byte {
	return binary.AppendUvarint(appendString(appendString(dst, k.Namespace), k.Name), version)
}

func appendPorts(dst []byte, ports []zone.Port) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ports)))
	for _, p := range ports {
		dst = binary.AppendVarint(appendString(appendString(dst, p.Name), p.Protocol), int64(p.Number))
	}
	return dst
}

func appendAddrs(dst []byte, addrs []netip.Addr) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(addrs)))
	for _, addr := range addrs {
		dst = appendAddr(dst, addr)
	}
	return dst
}

func appendAddr(dst []byte, addr netip.Addr) []byte {
	if addr.Is4() {
		b := addr.As4()
		return append(append(dst, 4), b[:]...)
	}
	b := addr.As16()
	return append(append(dst, 16), b[:]...)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}
