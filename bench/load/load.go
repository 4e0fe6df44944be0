// Package load asks a DNS server questions as fast as it answers, or at a
// fixed rate, checks every answer, and measures how long answers take. It
// needs Linux.
//
// In a closed loop every socket keeps so many queries in flight, and sends the
// next when one is answered: the rate is what the server allows. In an open
// loop queries are due at times fixed in advance, whatever the server does, and
// their latency counts from that time also where they were sent later: a server
// that stalls cannot hide it by holding up the questions.
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

	// Rate is that of an open loop, in queries a second. 0 makes a closed loop.
	Rate float64
	// Sockets is the number of UDP sockets or TCP connections.
	Sockets int
	// InFlight is how many answers a socket waits for at the same time. Queries
	// of an open loop that find no room wait, with their time running.
	InFlight int
	Timeout  time.Duration // after which a query is lost

	Warmup   time.Duration // queries before the measurement, which do not count
	Duration time.Duration // of the measurement

	Questions []question.Question // asked one after another, over and over
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
		return fmt.Errorf("%d queries in flight, not from 1 to %d", c.InFlight, MaxInFlight)
	case c.Timeout <= 0 || c.Duration <= 0 || c.Warmup < 0:
		return fmt.Errorf("timeout %v, duration %v or warm-up %v is too short", c.Timeout, c.Duration, c.Warmup)
	case len(c.Questions) == 0:
		return errors.New("no questions")
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
	e, err := newEngine(&c)
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
