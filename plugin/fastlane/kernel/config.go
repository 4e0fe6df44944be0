package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Bounds of a Config.
const (
	MaxZones  = 16
	MaxZone   = 64 // octets of a zone in wire format
	MaxMeters = 16
	MaxTypes  = 15 // different question types in all zones

	maxAddrs    = 4096
	maxCapacity = 1 << 26
)

// Config is what an Image answers.
type Config struct {
	// Port is the UDP port that queries are for.
	Port uint16
	// Addrs are the listening addresses. Empty, or with an unspecified one: those
	// of the interfaces at the time of Open, but for those that another socket is bound
	// to at the port. Link-local addresses are left to the sockets.
	Addrs []netip.Addr
	// Interfaces are where queries arrive. Empty: every Ethernet interface but
	// loopback that is up and has one of Addrs.
	Interfaces []string
	// Zones are at most MaxZones, longest first: the first that a name is at or
	// below is its zone. Names in none of them go up.
	Zones []Zone
	// Capacity is how many names, and how many addresses for PTR, there can be. A
	// service with both takes 224 octets in the kernel, of its memory or the
	// container's, and each place 32 to 64 more.
	Capacity int
}

// Zone is what is done with questions at and below a zone.
type Zone struct {
	// Wire is the zone in wire format and lower case, of at most MaxZone octets.
	Wire []byte
	// Kind says what is in the zone. Of the zero value nothing is answered, and
	// nothing but Wire is read.
	Kind ZoneKind
	// TTL of records and of negative answers, in seconds.
	TTL uint32
	// Negative says that a name that does not exist may be answered here:
	// nobody else is to be asked (fallthrough, autopath). It does not concern a name
	// that exists without addresses.
	Negative bool
	// NegativeEDNS says that replies without records to queries with EDNS carry no
	// Extended DNS Error. Otherwise those queries go up, whatever Negative.
	NegativeEDNS bool
	// Types are the question types that may be answered.
	Types [256]bool
	// Rotate answers several addresses in another order each time.
	Rotate bool
	// Bufsize takes a larger EDNS size in a query for this one; 0 is none.
	Bufsize uint16
	// PTRZone is what follows SetAddr's labels in PTR records, wire format, of at
	// most MaxZone octets; for a Reverse zone.
	PTRZone []byte
	// Meter is under which number the zone's queries are counted, less than MaxMeters.
	Meter uint8
}

// ZoneKind says what a Zone has.
type ZoneKind uint8

const (
	// Up leaves everything at and below the zone to the sockets.
	Up ZoneKind = iota
	// Forward is a cluster's zone. It has at least one label, and is neither above nor
	// below in-addr.arpa and ip6.arpa.
	Forward
	// Reverse is a zone at or below in-addr.arpa or ip6.arpa.
	Reverse
)

// ErrFull is the error of Set when there are as many names as the Image can hold.
var ErrFull = errors.New("more than there is room for")

// Errors in a Config.
var (
	ErrTooManyZones = errors.New("more than 16 zones")
	ErrTooManyTypes = errors.New("more than 15 types of questions")
	ErrZoneTooLong  = errors.New("zone of more than 64 octets")
	ErrZoneKind     = errors.New("no zone of this kind can have this name")
)

var (
	inAddrArpa = []byte("\x07in-addr\x04arpa\x00")
	ip6Arpa    = []byte("\x03ip6\x04arpa\x00")
)

// check returns what is wrong with c, naming the zone.
func (c *Config) check() error {
	if c.Port == 0 {
		return errors.New("no port")
	}
	if c.Capacity < 1 || c.Capacity > maxCapacity {
		return fmt.Errorf("capacity of %d names", c.Capacity)
	}
	if len(c.Addrs) > maxAddrs {
		return fmt.Errorf("%d listening addresses, more than %d", len(c.Addrs), maxAddrs)
	}
	if len(c.Zones) > MaxZones {
		return ErrTooManyZones
	}
	for i := range c.Zones {
		if err := c.Zones[i].check(); err != nil {
			return fmt.Errorf("zone %s: %w", dnswire.NameString(c.Zones[i].Wire), err)
		}
		if i > 0 && len(c.Zones[i].Wire) > len(c.Zones[i-1].Wire) {
			return fmt.Errorf("zone %s: behind a shorter one", dnswire.NameString(c.Zones[i].Wire))
		}
	}
	if len(c.types()) > MaxTypes {
		return ErrTooManyTypes
	}
	return nil
}

func (z *Zone) check() error {
	if len(z.Wire) > MaxZone || len(z.PTRZone) > MaxZone {
		return ErrZoneTooLong
	}
	if !wellFormed(z.Wire) {
		return errors.New("not in wire format and lower case")
	}
	if z.Meter >= MaxMeters {
		return fmt.Errorf("meter %d", z.Meter)
	}
	reverse := dnswire.IsSubdomain(z.Wire, inAddrArpa) || dnswire.IsSubdomain(z.Wire, ip6Arpa)
	switch z.Kind {
	case Up:
	case Forward:
		if reverse || dnswire.IsSubdomain(inAddrArpa, z.Wire) || dnswire.IsSubdomain(ip6Arpa, z.Wire) {
			return ErrZoneKind
		}
	case Reverse:
		if !reverse {
			return ErrZoneKind
		}
		if !wellFormed(z.PTRZone) {
			return errors.New("the zone of PTR records is not in wire format and lower case")
		}
	default:
		return fmt.Errorf("kind %d", z.Kind)
	}
	return nil
}

// wellFormed reports whether name is an uncompressed name in lower case.
func wellFormed(name []byte) bool {
	rest := name
	for len(rest) > 0 && rest[0] != 0 {
		label, tail := dnswire.NextLabel(rest)
		if label == nil || len(label) > 63 {
			return false
		}
		rest = tail
	}
	return len(rest) == 1 && slices.Equal(name, dnswire.AppendLower(nil, name))
}

// types returns the question types that some zone answers, in order.
func (c *Config) types() (types []uint8) {
	for t := range 256 {
		if slices.ContainsFunc(c.Zones, func(z Zone) bool { return z.Kind != Up && z.Types[t] }) {
			types = append(types, uint8(t))
		}
	}
	return types
}
