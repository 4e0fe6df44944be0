package responder

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane/kernel"

	"github.com/miekg/dns"
)

// fakeImage is a kernel.Image of Go maps, that answers as the program does.
type fakeImage struct {
	config kernel.Config

	mu                          sync.Mutex
	attached, open, serialKnown bool
	closed                      bool
	serial                      uint32
	names                       map[string]kernel.Name
	ptrs                        map[netip.Addr]string
	cells                       []kernel.Cell
	passed                      map[string]uint64
	moved                       bool
	fails                       error // of what follows
}

func newFakeImage(c kernel.Config) *fakeImage {
	return &fakeImage{config: c, names: map[string]kernel.Name{}, ptrs: map[netip.Addr]string{}, passed: map[string]uint64{}}
}

var (
	errCertain = errors.New("changed while its state has a serial")
	errGone    = errors.New("used after Close")
)

// do calls f with the fake locked, and returns an error as the image would.
func (im *fakeImage) do(f func() error) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	switch {
	case im.closed:
		return errGone
	case im.fails != nil:
		return im.fails
	}
	return f()
}

func (im *fakeImage) Attach() error {
	return im.do(func() error { im.attached = true; return nil })
}

func (im *fakeImage) State(open, serialKnown bool, serial uint32) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.open, im.serialKnown, im.serial = open, serialKnown, serial
}

func (im *fakeImage) Set(labels []byte, n kernel.Name) error {
	return im.do(func() error {
		n.A.Packed, n.AAAA.Packed = slices.Clone(n.A.Packed), slices.Clone(n.AAAA.Packed)
		im.names[string(labels)] = n
		switch {
		case im.serialKnown:
			return errCertain
		case len(im.names) > im.config.Capacity:
			return kernel.ErrFull
		}
		return nil
	})
}

func (im *fakeImage) Remove(labels []byte) error {
	return im.do(func() error {
		delete(im.names, string(labels))
		if im.serialKnown {
			return errCertain
		}
		return nil
	})
}

func (im *fakeImage) SetAddr(addr netip.Addr, labels []byte) error {
	return im.do(func() error {
		im.ptrs[addr] = string(labels)
		if len(im.ptrs) > im.config.Capacity {
			return kernel.ErrFull
		}
		return nil
	})
}

func (im *fakeImage) RemoveAddr(addr netip.Addr) error {
	return im.do(func() error { delete(im.ptrs, addr); return nil })
}

func (im *fakeImage) Moved() bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.moved
}

func (im *fakeImage) Names() int {
	im.mu.Lock()
	defer im.mu.Unlock()
	return len(im.names)
}

func (im *fakeImage) Counts(answered func(kernel.Cell), up func(string, uint64)) {
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, c := range im.cells {
		answered(c)
	}
	for reason, n := range im.passed {
		up(reason, n)
	}
}

func (im *fakeImage) Close() error {
	return im.do(func() error { im.closed, im.attached = true, false; return nil })
}

// answer returns what the image answers to a question for name, in wire format,
// "" for nothing.
func (im *fakeImage) answer(name []byte, qtype uint16) string {
	im.mu.Lock()
	defer im.mu.Unlock()
	if !im.open || !im.attached || im.closed {
		return ""
	}
	folded := dnswire.AppendLower(nil, name)
	at := slices.IndexFunc(im.config.Zones, func(z kernel.Zone) bool { return dnswire.IsSubdomain(folded, z.Wire) })
	if at < 0 {
		return ""
	}
	z := &im.config.Zones[at]
	if z.Kind == kernel.Up || qtype > 255 || !z.Types[qtype] {
		return ""
	}
	if z.Kind == kernel.Reverse {
		for addr, labels := range im.ptrs {
			if text, _ := dns.ReverseAddr(addr.String()); qtype == dns.TypePTR && text == dnswire.NameString(folded) {
				return dnswire.NameString(slices.Concat([]byte(labels), z.PTRZone))
			}
		}
		return ""
	}
	return im.forward(z, folded[:len(folded)-len(z.Wire)], qtype)
}

// forward answers for the labels in front of a zone, by the table of the kernel
// package.
func (im *fakeImage) forward(z *kernel.Zone, front []byte, qtype uint16) string {
	var at []int // where labels begin
	for i := 0; i < len(front); i += 1 + int(front[i]) {
		at = append(at, i)
	}
	n := len(at)
	from := func(i int) []byte { // labels from i on, but for the last one
		return front[at[i]:at[n-1]]
	}
	negative := func(text string) string {
		if !im.serialKnown {
			return ""
		}
		return fmt.Sprint(text, " ", im.serial)
	}
	nxdomain := func() string {
		if !z.Negative {
			return ""
		}
		return negative("NXDOMAIN")
	}
	if n == 0 {
		return ""
	}
	switch string(front[at[n-1]:]) {
	case "\x03pod", "\x03dns", "\x0bdns-version":
		return ""
	case "\x03svc":
	default:
		return nxdomain()
	}
	if n == 1 {
		return ""
	}
	_, space := im.names[string(from(n-2))]
	if n == 2 {
		if !space {
			return nxdomain()
		}
		return ""
	}
	name, ok := im.names[string(from(n-3))]
	set := name.A
	if qtype == dns.TypeAAAA {
		set = name.AAAA
	}
	switch {
	case !ok:
		return nxdomain()
	case n > 3 || !space || qtype != dns.TypeA && qtype != dns.TypeAAAA || !set.Known:
		return ""
	case len(set.Packed) == 0:
		return negative("NODATA")
	}
	return fmt.Sprintf("%x", set.Packed)
}
