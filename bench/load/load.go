// Package load asks a DNS server questions as fast as it answers, or at a
// fixed rate, checks every answer, and measures how long lookups take. It
// needs Linux.
//
// A query is one DNS message with one question. A lookup is what a program
// waits for: one query, or a pair (A and AAAA back to back from one socket, as
// glibc's getaddrinfo sends them), or a walk of pairs along a search list until
// a name has addresses. Latency is that of lookups, from their beginning to
// the last reply that they need.
//
// In a closed loop every socket keeps so many lookups in flight, and begins the
// next when one ends: the rate is what the server allows. In an open loop
// lookups begin at times fixed in advance, whatever the server does, and their
// latency counts from that time also where they were sent later: a server that
// stalls cannot hide it by holding up the questions.
package load

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/clusterdns/clusterdns/bench/question"
)

// Config says what to ask, whom and how.
type Config struct {
	Server netip.AddrPort
	TCP    bool // over persistent connections, with queries pipelined

	// Rate is that of an open loop, in queries a second. A walk counts as one,
	// as nobody knows how many it will be. 0 makes a closed loop.
	Rate float64
	// Sockets is the number of UDP sockets or TCP connections.
	Sockets int
	// InFlight is how many lookups a socket waits for at the same time. Those
	// of an open loop that find no room wait, with their time running.
	InFlight int
	Timeout  time.Duration // after which a query is lost, and its lookup with it

	Warmup   time.Duration // lookups before the measurement, which do not count
	Duration time.Duration // of the measurement

	Questions []question.Question // asked one after another, over and over
	Pairs     bool                // ask AAAA along with every A, as one lookup
	Walk      bool                // look the names of A and AAAA questions up along Search
	Search    []string            // the search list of walks, with ndots:5
	Random    string              // ask for ever new names in this zone, in the place of Questions
	EDNS      uint16              // UDP size that is advertised; 0 sends no OPT record

	// Progress, if not nil, is called once a second with what was measured so
	// far. It holds up the run.
	Progress func(*Result)
}

// MaxInFlight is the largest Config.InFlight: slots and their generation share
// the 16 bits of a query's ID.
const MaxInFlight = 1 << 12

func (c *Config) validate() error {
	switch {
	case !c.Server.IsValid():
		return errors.New("no server")
	case c.Rate < 0:
		return fmt.Errorf("rate %v is negative", c.Rate)
	case c.Sockets < 1:
		return fmt.Errorf("%d sockets are too few", c.Sockets)
	case c.InFlight < 1 || c.InFlight > MaxInFlight:
		return fmt.Errorf("%d lookups in flight, not from 1 to %d", c.InFlight, MaxInFlight)
	case c.Timeout <= 0 || c.Duration <= 0 || c.Warmup < 0:
		return fmt.Errorf("timeout %v, duration %v or warm-up %v is too short", c.Timeout, c.Duration, c.Warmup)
	case c.Pairs && c.Walk:
		return errors.New("a walk asks pairs anyway: only one of pairs and walk")
	case c.Random != "" && (c.Pairs || c.Walk || len(c.Questions) > 0):
		return errors.New("random names take no questions, pairs or walk")
	}
	return nil
}

// Run puts the load on the server and returns what it measured. It ends early
// when ctx ends; the result is that of the time until then. Wrong answers are
// no error of Run: see Result.Wrong.
func Run(ctx context.Context, c Config) (*Result, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	lookups, err := c.lookups()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	e, err := newEngine(&c, lookups)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer e.close()
	stop := context.AfterFunc(ctx, func() { e.stop.Store(true) })
	defer stop()
	if err := e.run(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return e.result(), nil
}
