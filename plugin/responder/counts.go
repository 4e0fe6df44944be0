package responder

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// Counts are what responders at an address did, for as long as the process
// runs. They are written by many goroutines.
type Counts struct {
	answered atomic.Uint64
	declined [numDeclines]atomic.Uint64

	inKernel atomic.Uint64 // queries answered there
	passed   struct {
		sync.Mutex
		n map[string]uint64 // that came to the kernel and went up, by the reason
	}
}

// InKernel returns how many queries the kernel answered, as far as that has been
// counted.
func (c *Counts) InKernel() uint64 { return c.inKernel.Load() }

// Passed calls yield with every reason for which the kernel left queries to the
// sockets, and how many.
func (c *Counts) Passed(yield func(reason string, n uint64) bool) {
	c.passed.Lock()
	n := maps.Clone(c.passed.n)
	c.passed.Unlock()
	for reason, n := range n {
		if !yield(reason, n) {
			return
		}
	}
}

// Pass counts queries that the kernel left to the sockets.
func (c *Counts) Pass(reason string, n uint64) {
	c.passed.Lock()
	defer c.passed.Unlock()
	if c.passed.n == nil {
		c.passed.n = map[string]uint64{}
	}
	c.passed.n[reason] += n
}

// Answered returns how many queries were answered.
func (c *Counts) Answered() uint64 { return c.answered.Load() }

// Declined calls yield with every reason for which messages were left to the
// chain, and how many.
func (c *Counts) Declined(yield func(reason string, n uint64) bool) {
	for d := range numDeclines {
		if n := c.declined[d].Load(); n > 0 && !yield(d.String(), n) {
			return
		}
	}
}

// decline says why a responder left a message to the chain. The first ones are
// dnswire's reasons.
type decline int

const (
	declineClass decline = decline(dnswire.NumReasons) + iota
	declineType
	declineEDNSVersion
	declineNSID
	declineOption
	declineBlock
	declineTemplate
	declineHosts
	declineZone
	declineFallthrough
	declineAutopath
	declineExternal
	declineUnready
	declinePacking
	declineRoom
	numDeclines
)

var declineNames = [numDeclines]string{
	declineClass:       "class",        // other than IN
	declineType:        "type",         // zone transfers, ANY, DS and what is not looked up
	declineEDNSVersion: "edns_version", // other than 0
	declineNSID:        "nsid",         // asks which server this is
	declineOption:      "edns_option",  // echoed for the plugin rewrite
	declineBlock:       "server_block", // another server block's or plugin's name
	declineTemplate:    "template",     // only the plugin can tell
	declineHosts:       "hosts",        // the plugin has the name, or lets none through
	declineZone:        "zone",         // no name in the cluster's zones
	declineFallthrough: "fallthrough",  // does not exist, and the next plugin is to be asked
	declineAutopath:    "autopath",     // does not exist, and may be completed
	declineExternal:    "external",     // an ExternalName outside of the cluster
	declineUnready:     "unready",      // not synced
	declinePacking:     "packing",      // more records than fit, of a kind that the chain packs better
	declineRoom:        "room",         // the question alone does not fit
}

func (d decline) String() string {
	if d < decline(dnswire.NumReasons) {
		return dnswire.Reason(d).String()
	}
	return declineNames[d]
}
