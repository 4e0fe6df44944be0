package responder

import (
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
	"github.com/clusterdns/clusterdns/plugin/fastlane/kernel"
	"github.com/clusterdns/clusterdns/plugin/zone"

	"github.com/miekg/dns"
)

// image is a *kernel.Image.
type image interface {
	Attach() error
	State(open, serialKnown bool, serial uint32)
	Set(labels []byte, n kernel.Name) error
	Remove(labels []byte) error
	SetAddr(addr netip.Addr, labels []byte) error
	RemoveAddr(addr netip.Addr) error
	Moved() bool
	Names() int
	Counts(answered func(kernel.Cell), up func(reason string, n uint64))
	Close() error
}

// mirrored is an image that is kept in step with a View, which it follows:
//
//  1. fill brings what there is, while nothing is answered yet. The View is asked
//     itself, so that the two cannot disagree.
//  2. begin lets the image answer.
//  3. Before a snapshot is published what it changes is made uncertain; After it
//     the View is asked again. A namespace concerns every name below it: while one
//     comes or goes the image is closed, as it is while answers are stale or
//     the index is not complete.
//  4. When too much changes at once, or the image reports an error, it is closed
//     for good, and void is closed: another is to be made.
type mirrored struct {
	inKernel
	needs []zone.Resource
	void  chan struct{}

	mu      sync.Mutex
	image   image
	err     error // why it is void
	full    bool  // fill has brought everything
	open    bool
	between bool // Before and After
	answer  zone.Answer
	name    []byte
}

// errChanged is why an image is void that is to be made anew.
var errChanged = errors.New("too much changed at once")

// errClosed is why an image is void that nobody wants any more.
var errClosed = errors.New("closed")

func newMirrored(k inKernel, to image) *mirrored {
	return &mirrored{inKernel: k, image: to, needs: k.view.Needs(), void: make(chan struct{})}
}

// end closes the image for good, because of err. It is called with mu locked.
func (m *mirrored) end(err error) {
	if m.err != nil || err == nil {
		return
	}
	m.open, m.err = false, err
	m.image.State(false, false, 0)
	close(m.void)
}

// close is end for others.
func (m *mirrored) close(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(err)
}

// Before implements zone.Follower.
func (m *mirrored) Before(c *zone.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.between = true
	if m.err != nil {
		return
	}
	if c.All {
		m.end(errChanged)
		return
	}
	m.open = m.open && !c.Stale && len(c.Namespaces) == 0
	m.image.State(m.open, false, 0)
	if !m.open {
		return
	}
	for _, labels := range c.Services {
		m.end(m.image.Set(labels, kernel.Name{}))
	}
	for _, addr := range c.Addrs {
		m.end(m.image.RemoveAddr(addr))
	}
}

// After implements zone.Follower.
func (m *mirrored) After(c *zone.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.between = false
	m.look(c)
	m.show()
}

// fill brings what there is of c. It is false when that is no use any more.
func (m *mirrored) fill(c *zone.Change) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look(c)
	return m.err == nil
}

// begin is called when everything has been brought. It is false if that was of no
// use.
func (m *mirrored) begin() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full = true
	if !m.between {
		m.show()
	}
	return m.err == nil
}

// show lets the image answer, if what the View says is complete and not stale.
func (m *mirrored) show() {
	if m.err != nil || !m.full {
		return
	}
	ix := m.view.Index()
	m.open = ix.Synced(m.needs...) && !m.view.Stale()
	m.image.State(m.open, m.open, ix.Serial())
}

// look has the image say what the View says of everything in c. It is called with
// mu locked, while the serial is not known.
func (m *mirrored) look(c *zone.Change) {
	if m.err != nil {
		return
	}
	defer m.answer.Release()
	for _, addr := range c.Addrs {
		m.end(m.lookAddr(addr))
	}
	if m.forward == nil {
		return
	}
	for _, list := range [][][]byte{c.Namespaces, c.Services} {
		for _, labels := range list {
			if m.err == nil {
				m.end(m.lookName(labels))
			}
		}
	}
}

func (m *mirrored) lookName(labels []byte) error {
	if !m.view.Exists(labels) {
		return m.image.Remove(labels)
	}
	var n kernel.Name
	if len(labels) > 1+int(labels[0]) { // of a namespace it is enough that it exists
		m.name = append(append(append(m.name[:0], labels...), svc...), m.forward...)
		n = kernel.Name{A: m.set(dns.TypeA), AAAA: m.set(dns.TypeAAAA)}
	}
	return m.image.Set(labels, n)
}

// set returns what is known of the addresses of the name m.name.
func (m *mirrored) set(qtype uint16) kernel.Set {
	a := &m.answer
	if !m.view.Lookup(a, m.name, qtype) {
		return kernel.Set{}
	}
	switch packed := a.Addrs(); {
	case !a.Alone(): // an ExternalName in the zone: nobody tells when its target changes
		return kernel.Set{}
	case a.Outcome == zone.NoData:
		return kernel.Set{Known: true}
	case len(packed) > 0:
		return kernel.Set{Known: true, Packed: packed}
	}
	return kernel.Set{}
}

// lookAddr has the image say whose name an address is, if that is one service's,
// whose ClusterIP it is, and all there is to say.
func (m *mirrored) lookAddr(addr netip.Addr) error {
	text, err := dns.ReverseAddr(addr.String())
	if err != nil {
		return nil
	}
	if m.name, err = dnswire.AppendName(m.name[:0], text); err != nil {
		return nil
	}
	a, records := &m.answer, 0
	var labels []byte
	if m.view.Lookup(a, m.name, dns.TypePTR) && a.Outcome == zone.Success {
		a.Walk(func(r *zone.Record) bool {
			records++
			labels = nil
			if len(r.Target.Label) == 0 { // an endpoint's name has one more
				labels = r.Target.Labels
			}
			return records < 2
		})
	}
	if records != 1 || len(labels) <= len(svc) {
		return m.image.RemoveAddr(addr)
	}
	return m.image.SetAddr(addr, slices.Clip(labels[:len(labels)-len(svc)]))
}
