//go:build linux && (amd64 || arm64)

package kernel

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/clusterdns/clusterdns/plugin/dnswire"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

//go:generate make -C ../../.. generate

// object is bpf/lane.c, compiled for a little-endian machine.
//
//go:embed bpf/lane.o
var object []byte

// Image is the program with all that it answers from. It answers nothing before
// Attach and State. Its methods are for one goroutine at a time, but State, Names
// and Counts, which any may call at any time.
type Image struct {
	config     Config
	types      []uint8 // by the index of their counts
	interfaces []iface
	addrs      []netip.Addr // listened at, of all interfaces: see Moved
	key        [2]uint64

	coll  *ebpf.Collection
	names *ebpf.Map
	sets  *ebpf.Map
	ptrs  *ebpf.Map
	links []link.Link
	low   []int // descriptors of links, in their place; see reserve.go

	count   atomic.Int64
	hasSets map[hash]struct{} // keys in sets

	mu     sync.Mutex
	state  *atomic.Uint64 // shared with the program; nil: closed
	memory []byte         // that it is in
	number uint64         // of the state's changes
}

// The bits of the state; see lane.c.
const (
	stateOpen   = 1 << 63
	stateKnown  = 1 << 62
	stateNumber = 1<<30 - 1
)

// Open returns an Image with no names, whose state is closed, and which is
// attached nowhere. The error names what is missing: a kernel that has tcx,
// capabilities, memory. It is errors.ErrUnsupported where no retry helps.
func Open(c Config) (*Image, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := missingCapabilities(); err != nil {
		return nil, err
	}
	all, err := c.addrs()
	if err != nil {
		return nil, err
	}
	interfaces, addrs, err := c.resolve()
	if err != nil {
		return nil, err
	}
	im, err := open(c, newKey(), interfaces, addrs)
	if err != nil {
		return nil, err
	}
	im.addrs = all
	return im, nil
}

// newKey returns a key of hashes that nobody else knows.
func newKey() [2]uint64 {
	var seed [16]byte
	rand.Read(seed[:])
	return [2]uint64{binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])}
}

// open is Open for the interfaces, answering at addrs.
func open(c Config, key [2]uint64, interfaces []iface, addrs []netip.Addr) (*Image, error) {
	im := &Image{config: c, types: c.types(), interfaces: interfaces, key: key, hasSets: map[hash]struct{}{}}
	if err := im.load(); err != nil {
		return nil, explain(err)
	}
	for _, a := range addrs {
		if err := put(im.coll.Maps["locals"], a.As16(), uint8(1), ebpf.UpdateAny); err != nil {
			im.Close()
			return nil, fmt.Errorf("listening address %s: %w", a, err)
		}
	}
	if err := haveTCX(im.coll.Programs["lane"]); err != nil {
		im.Close()
		return nil, err
	}
	return im, nil
}

// zoneData is struct zone of lane.c, and configData struct config.
type zoneData struct {
	Wire, Target                          [MaxZone]byte
	Types                                 [256]uint8
	Len, Labels, TargetLen, Kind          uint8
	Meter, Negative, NegativeEDNS, Rotate uint8
	TTL, SOATTL                           [4]byte
	Bufsize, _                            uint16
}

type configData struct {
	Key   [2]uint64
	Port  [2]byte
	Zones uint16
	_     uint32
	Zone  [MaxZones]zoneData
}

// maxSOATTL bounds the TTL of the SOA record, as package zone does.
const maxSOATTL = 300

func (im *Image) data() *configData {
	d := &configData{Key: im.key, Zones: uint16(len(im.config.Zones))}
	binary.BigEndian.PutUint16(d.Port[:], im.config.Port)
	for i := range im.config.Zones {
		z, to := &im.config.Zones[i], &d.Zone[i]
		copy(to.Wire[:], z.Wire)
		to.Len, to.Labels = uint8(len(z.Wire)), uint8(dnswire.CountLabels(z.Wire))
		switch {
		case z.Kind == Up:
			continue
		case z.Kind == Forward:
			to.Kind = 1
		case dnswire.IsSubdomain(z.Wire, inAddrArpa):
			to.Kind = 2
		default:
			to.Kind = 3
		}
		copy(to.Target[:], z.PTRZone)
		to.TargetLen = uint8(len(z.PTRZone))
		for slot, t := range im.types {
			if z.Types[t] {
				to.Types[t] = uint8(slot + 1)
			}
		}
		to.Meter, to.Negative, to.NegativeEDNS, to.Rotate = z.Meter, bit(z.Negative), bit(z.NegativeEDNS), bit(z.Rotate)
		to.Bufsize = z.Bufsize
		binary.BigEndian.PutUint32(to.TTL[:], z.TTL)
		binary.BigEndian.PutUint32(to.SOATTL[:], min(z.TTL, maxSOATTL))
	}
	return d
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// fewSets is how many sets there can be at least, of the capacity an eighth: a set
// that has no place goes up.
const fewSets = 1024

func (im *Image) load() error {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return err
	}
	if err := spec.Variables["config"].Set(im.data()); err != nil {
		return err
	}
	n := uint32(im.config.Capacity)
	spec.Maps["names"].MaxEntries, spec.Maps["pointers"].MaxEntries = n, n
	spec.Maps["sets"].MaxEntries = max(n/8, fewSets)
	if im.coll, err = ebpf.NewCollection(spec); err != nil {
		return err
	}
	im.names, im.sets, im.ptrs = im.coll.Maps["names"], im.coll.Maps["sets"], im.coll.Maps["pointers"]
	im.memory, err = unix.Mmap(im.coll.Maps[".data.state"].FD(), 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		im.coll.Close()
		return fmt.Errorf("mapping the state: %w", err)
	}
	im.state = (*atomic.Uint64)(unsafe.Pointer(&im.memory[0]))
	return nil
}

// Attach attaches the program to the interfaces. Where that fails for one of them
// it is attached to none. The kernel detaches it when the process ends.
func (im *Image) Attach() error {
	for _, i := range im.interfaces {
		l, err := link.AttachTCX(link.TCXOptions{Interface: i.index, Program: im.coll.Programs["lane"], Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return errors.Join(fmt.Errorf("interface %s: %w", i.name, err), im.detach())
		}
		fd, ok := l.(interface{ FD() int })
		low := -1
		if ok {
			low = keepLow(fd.FD())
		}
		if low < 0 {
			im.links = append(im.links, l)
			continue
		}
		im.low = append(im.low, low)
		if err := l.Close(); err != nil {
			return errors.Join(err, im.detach())
		}
	}
	return nil
}

// Interfaces returns the names of the interfaces that Attach is about.
func (im *Image) Interfaces() (names []string) {
	for _, i := range im.interfaces {
		names = append(names, i.name)
	}
	return names
}

func (im *Image) detach() (err error) {
	for _, l := range im.links {
		err = errors.Join(err, l.Close())
	}
	for _, fd := range im.low {
		err = errors.Join(err, giveBack(fd))
	}
	im.links, im.low = nil, nil
	return err
}

// State says, from the next packet on, whether the program answers, and whether
// it may answer that something does not exist, with the serial in the SOA record.
func (im *Image) State(open, serialKnown bool, serial uint32) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.state == nil {
		return
	}
	im.number = (im.number + 1) & stateNumber
	word := im.number<<32 | uint64(serial)
	if open {
		word |= stateOpen
	}
	if serialKnown {
		word |= stateKnown
	}
	im.state.Swap(word) // a full barrier, which a store is not everywhere: what follows are changes of names
}

// known reports whether the program answers that something does not exist.
func (im *Image) known() bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.state != nil && im.state.Load()&stateKnown != 0
}

// Close detaches the program and frees all.
func (im *Image) Close() error {
	im.State(false, false, 0)
	err := im.detach()
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.state == nil {
		return err
	}
	im.state = nil
	err = errors.Join(err, unix.Munmap(im.memory))
	im.coll.Close()
	return err
}

// Names returns how many names are set.
func (im *Image) Names() int { return int(im.count.Load()) }

// reasons are those of lane.c, in its order. They are labels of a metric.
var reasons = [...]string{
	"", "", "size", "message", "edns", "class", "type", "zone", "name", "uncertain", "negative", "changing", "room", "busy",
}

// countsData is struct counts of lane.c.
type countsData struct {
	Cells  [MaxMeters * 2 * 2 * 16 * 2]uint64
	Passed [16]uint64
}

// total returns the counts of all CPUs; zeros once the Image is closed.
func (im *Image) total() (t countsData) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.state == nil {
		return t
	}
	var each []countsData
	if err := im.coll.Maps["counts"].Lookup(uint32(0), &each); err != nil {
		return t
	}
	for i := range each {
		for j, n := range each[i].Cells {
			t.Cells[j] += n
		}
		for j, n := range each[i].Passed {
			t.Passed[j] += n
		}
	}
	return t
}

// Counts calls answered with every count of queries that were answered, and up with
// every reason for which queries went up, and how many; neither once the Image is
// closed. Packets that are not for the port and address, or arrive while the state is
// closed, are not counted.
func (im *Image) Counts(answered func(Cell), up func(reason string, n uint64)) {
	t := im.total()
	for i, n := range t.Cells {
		if slot := i >> 1 & 15; n > 0 && slot < len(im.types) {
			answered(Cell{Meter: uint8(i >> 7), IPv6: i>>6&1 != 0, DO: i>>5&1 != 0, Type: uint16(im.types[slot]), Rcode: uint8(i&1) * dnswire.RcodeNXDomain, N: n})
		}
	}
	for i, reason := range reasons {
		if t.Passed[i] > 0 {
			up(reason, t.Passed[i])
		}
	}
}
