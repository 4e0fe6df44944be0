//go:build linux && (amd64 || arm64)

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/dchest/siphash"
	"golang.org/x/sys/unix"
)

// hash is struct key of lane.c: SipHash-2-4-128 of a name's labels, under a key of the
// Image's. Two names that somebody chose do not have the same.
type hash [2]uint64

func (im *Image) hash(labels []byte) hash {
	a, b := siphash.Hash128(im.key[0], im.key[1], labels)
	return hash{a, b}
}

// ofSet returns the key of a name's set.
func (h hash) ofSet(aaaa bool) hash {
	if aaaa {
		h[1] ^= 1
	}
	return h
}

// nameEntry, pointerEntry and setEntry are struct name, pointer and set of lane.c. The
// last three octets of each are a checksum.
type (
	nameEntry    [24]byte
	pointerEntry [MaxPTR + 4]byte
	setEntry     [maxSet + 8]byte
)

const maxSet = MaxAAAA * 16

// What an entry says of each family.
const (
	unknown = iota
	none
	one
	many
)

// mix is that of lane.c.
func mix(h, word uint64) uint64 {
	h = (h ^ word) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

// seal sets the checksum in the last word of entry, over the first octets of it and that
// word, and its key.
func seal(key hash, entry []byte, octets int) {
	h := mix(key[0], key[1])
	for i := 0; i < octets; i += 8 {
		h = mix(h, binary.LittleEndian.Uint64(entry[i:]))
	}
	last := entry[len(entry)-8:]
	word := binary.LittleEndian.Uint64(last) &^ (0xffffff << 40)
	binary.LittleEndian.PutUint64(last, word|mix(h, word)>>40<<40)
}

// ErrAbsence is the error of Set and Remove while the program answers that what it
// does not find does not exist: for a moment it may not find what is replaced.
var ErrAbsence = errors.New("names change while the state has a serial")

// Set says what is known of a name. It is an error while the state has a serial
// (ErrAbsence), and if there are as many names as the Image can hold (ErrFull). Labels and n are
// read during the call only.
func (im *Image) Set(labels []byte, n Name) error {
	if im.known() {
		return ErrAbsence
	}
	h := im.hash(labels)
	var e nameEntry
	a, err := im.family(h, false, n.A, e[16:20], MaxA)
	if err != nil {
		return err
	}
	aaaa, err := im.family(h, true, n.AAAA, e[:16], MaxAAAA)
	if err != nil {
		return err
	}
	e[20] = a | aaaa<<2
	seal(h, e[:], len(e)-8)
	if err = put(im.names, h, e, ebpf.UpdateNoExist); err == nil {
		im.count.Add(1)
	} else if errors.Is(err, ebpf.ErrKeyExist) {
		err = put(im.names, h, e, ebpf.UpdateExist)
	}
	if errors.Is(err, unix.E2BIG) {
		return fmt.Errorf("more than %d names: %w", im.config.Capacity, err)
	}
	if err != nil {
		return fmt.Errorf("setting a name: %w", err)
	}
	// Last, so that no entry says that there is a set which is not.
	if a != many {
		im.dropSet(h.ofSet(false))
	}
	if aaaa != many {
		im.dropSet(h.ofSet(true))
	}
	return nil
}

// family returns what an entry says of a set, having put one address in to, or more
// in a set of their own.
func (im *Image) family(h hash, aaaa bool, s Set, to []byte, most int) (uint8, error) {
	n := len(s.Packed) / len(to)
	switch {
	case len(s.Packed)%len(to) != 0:
		return 0, fmt.Errorf("%d octets of addresses", len(s.Packed))
	case !s.Known || n > most:
		return unknown, nil
	case n == 0:
		return none, nil
	case n == 1:
		copy(to, s.Packed)
		return one, nil
	}
	var e setEntry
	copy(e[:], s.Packed)
	binary.LittleEndian.PutUint16(e[maxSet:], uint16(len(s.Packed)))
	h = h.ofSet(aaaa)
	seal(h, e[:], len(s.Packed))
	switch err := put(im.sets, h, e, ebpf.UpdateAny); {
	case errors.Is(err, ErrFull): // no place: the question goes up
		return unknown, nil
	case err != nil:
		return 0, fmt.Errorf("setting addresses: %w", err)
	}
	im.hasSets[h] = struct{}{}
	return many, nil
}

func (im *Image) dropSet(h hash) {
	if _, ok := im.hasSets[h]; ok {
		delete(im.hasSets, h)
		_ = im.sets.Delete(h) // is there
	}
}

// Remove removes a name: it does not exist. It is an error while the state has a
// serial, and none that the name was not there.
func (im *Image) Remove(labels []byte) error {
	if im.known() {
		return ErrAbsence
	}
	h := im.hash(labels)
	switch err := im.names.Delete(h); {
	case err == nil:
		im.count.Add(-1)
	case !errors.Is(err, ebpf.ErrKeyNotExist):
		return fmt.Errorf("removing a name: %w", err)
	}
	im.dropSet(h.ofSet(false))
	im.dropSet(h.ofSet(true))
	return nil
}

// SetAddr says that addr has exactly one name, that of a service. One of more than
// MaxPTR octets is not kept, nor one that has no place: questions for it go up.
func (im *Image) SetAddr(addr netip.Addr, labels []byte) error {
	if len(labels) > MaxPTR {
		return im.RemoveAddr(addr)
	}
	key := addr.As16()
	var e pointerEntry
	copy(e[:], labels)
	e[MaxPTR] = uint8(len(labels))
	seal(hash{
		im.key[0] ^ binary.LittleEndian.Uint64(key[:]),
		im.key[1] ^ binary.LittleEndian.Uint64(key[8:]),
	}, e[:], len(e)-8)
	if err := put(im.ptrs, key, e, ebpf.UpdateAny); err != nil && !errors.Is(err, unix.E2BIG) {
		return fmt.Errorf("setting the name of %s: %w", addr, err)
	}
	return nil
}

// RemoveAddr forgets what was said of addr.
func (im *Image) RemoveAddr(addr netip.Addr) error {
	if err := im.ptrs.Delete(addr.As16()); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("removing the name of %s: %w", addr, err)
	}
	return nil
}

// put updates m. The kernel refills its stock of entries behind the caller's back, and
// may be busy with the map on another CPU: a few attempts are enough for either.
func put(m *ebpf.Map, key, value any, flags ebpf.MapUpdateFlags) (err error) {
	for range 16 {
		err = m.Update(key, value, flags)
		if errors.Is(err, unix.E2BIG) {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		if !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EAGAIN) {
			return err
		}
		runtime.Gosched()
	}
	return err
}
