// Package hitters counts who asks, and what is asked: names, names that do not
// exist, and clients, the ones with the most questions of the last half minute
// to minute, in fixed memory and whatever is asked.
//
// Vocabulary, smallest to largest:
//
//	sketch    the keys with the most questions of a stream; see there
//	pane      three sketches, of names, names that do not exist, and clients,
//	          over one period
//	shard     the pane of this period and that of the one before, and counters
//	Recorder  counts into a shard, for one goroutine
//	Engine    the shards, merged when somebody asks
//
// What a question costs is bounded like this:
//
//  1. Every question is counted in the Recorder, and a batch of them is added to
//     the shard's counters with a few atomic additions.
//  2. One question in so many (the shard's oneIn, a power of two) is sampled: it
//     goes into the sketches with oneIn as its weight, so that what they hold is
//     an unbiased estimate.
//  3. A shard that has had sampleRate samples within a second doubles oneIn; one
//     with less than a quarter of that in a whole second halves it. With few
//     questions every one is sampled, and the figures are exact.
//
// Workers of the fast lane have a shard each, as long as there are no more of
// them than shards; a shard's lock is taken for a sample, so that it is free
// nearly always, whoever shares it.
package hitters

import (
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clusterdns/clusterdns/plugin/dnswire"
)

// sampleRate is about how many samples a second a shard takes. At 0.3 µs each
// that is less than a thousandth of a CPU; the share of a name with one question
// in a hundred is then known to within a twentieth of it after a minute.
const sampleRate = 1024

// period is how long a pane is filled. What is shown is of the time since the
// beginning of the period before.
const period = 30 * time.Second

// maxShards bounds the memory: see TestMemory.
const maxShards = 16

// Outcome says how questions ended, as far as they are told apart.
type Outcome int

const (
	NoError Outcome = iota
	NXDomain
	ServFail
	Other // response codes
	numOutcomes
)

// outcomeOf returns the Outcome of a response code.
func outcomeOf(rcode int) Outcome {
	switch rcode {
	case 0:
		return NoError
	case 3:
		return NXDomain
	case 2:
		return ServFail
	}
	return Other
}

// Path says who answered.
type Path int

const (
	Lane  Path = iota // the fast lane
	Chain             // CoreDNS's plugins
	numPaths
)

// name is a name in wire format and lower case.
type name struct {
	n      uint8
	octets [255]byte
}

// client is a client's address; IPv4 ones are mapped.
type client [16]byte

// pane is what was asked in a period.
type pane struct {
	names   sketch[name] // that exist, or of which nobody can tell
	missing sketch[name] // NXDOMAIN
	clients sketch[client]
}

// shard is written by few goroutines, at best by one.
type shard struct {
	oneIn   atomic.Uint32 // questions for a sample; a power of two
	counted [numPaths]struct {
		outcomes [numOutcomes]atomic.Uint64
		nanos    atomic.Uint64 // that they took, together
	}

	mu     sync.Mutex
	taken  int  // samples since the last tick or doubling
	raised bool // oneIn, since the last tick
	now    int  // which of panes is this period's
	panes  [2]pane
}

// Engine counts questions. It is safe for concurrent use.
type Engine struct {
	seed   maphash.Seed
	shards []*shard
	next   atomic.Uint32

	mu      sync.Mutex // of what tick and the readers share
	began   time.Time  // this period
	before  time.Time  // the one before
	started time.Time
	ring    ring
	copied  pane // of Top
}

// New returns an Engine. Run it.
func New() *Engine {
	n := 2
	for n < 2*runtime.GOMAXPROCS(0) && n < maxShards {
		n *= 2
	}
	e := &Engine{seed: maphash.MakeSeed()}
	for range n {
		s := new(shard)
		s.oneIn.Store(1)
		e.shards = append(e.shards, s)
	}
	e.start(time.Now())
	return e
}

func (e *Engine) start(now time.Time) {
	e.began, e.before, e.started = now, now, now
	e.ring.last = now
}

// Recorder counts for one goroutine at a time.
type Recorder struct {
	engine *Engine
	shard  *shard
	batch  [numOutcomes]uint64 // since Sent
}

// Recorder returns one for a goroutine that answers many questions.
func (e *Engine) Recorder() *Recorder {
	return &Recorder{engine: e, shard: e.shards[int(e.next.Add(1))%len(e.shards)]}
}

// Add counts a question for a name, in wire format, that was answered with
// rcode. It allocates nothing and retains neither argument.
func (r *Recorder) Add(name []byte, from netip.Addr, rcode int) {
	o := outcomeOf(rcode)
	r.batch[o]++
	if oneIn := r.shard.oneIn.Load(); oneIn == 1 || rand.Uint32()&(oneIn-1) == 0 {
		r.engine.sample(r.shard, name, from, o, uint64(oneIn))
	}
}

// Sent says that what was added since the last call took elapsed each, and who
// answered.
func (r *Recorder) Sent(by Path, elapsed time.Duration) {
	c := &r.shard.counted[by]
	total := uint64(0)
	for o, n := range r.batch {
		if n > 0 {
			c.outcomes[o].Add(n)
			total += n
		}
	}
	c.nanos.Add(total * uint64(max(0, elapsed)))
	r.batch = [numOutcomes]uint64{}
}

// Add counts one question, for any goroutine.
func (e *Engine) Add(name []byte, from netip.Addr, rcode int, by Path, elapsed time.Duration) {
	r := Recorder{engine: e, shard: e.shards[rand.IntN(len(e.shards))]}
	r.Add(name, from, rcode)
	r.Sent(by, elapsed)
}

// sample puts a question into the sketches of s.
func (e *Engine) sample(s *shard, question []byte, from netip.Addr, o Outcome, weight uint64) {
	var buf [255]byte
	folded := dnswire.AppendLower(buf[:0], question)
	addr := client(from.As16())
	nameHash, addrHash := maphash.Bytes(e.seed, folded), maphash.Bytes(e.seed, addr[:])

	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.panes[s.now]
	names := &p.names
	if o == NXDomain {
		names = &p.missing
	}
	if k := names.add(nameHash, weight); k != nil {
		k.n = uint8(copy(k.octets[:], folded))
	}
	if k := p.clients.add(addrHash, weight); k != nil {
		*k = addr
	}
	if s.taken++; s.taken >= sampleRate {
		s.taken, s.raised = 0, true
		s.oneIn.Store(min(2*s.oneIn.Load(), maxOneIn))
	}
}

// maxOneIn is more than the questions that a worker can answer in a second ask
// for.
const maxOneIn = 1 << 16

// tick is called once a second.
func (e *Engine) tick(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	turn := now.Sub(e.began) >= period
	if turn {
		e.began, e.before = now, e.began
	}
	for _, s := range e.shards {
		s.tick(turn)
	}
	e.ring.add(now, e.totals())
}

func (s *shard) tick(turn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.raised && s.taken < sampleRate/4 {
		s.oneIn.Store(max(1, s.oneIn.Load()/2))
	}
	s.taken, s.raised = 0, false
	if turn {
		s.now = 1 - s.now
		s.panes[s.now].names.reset()
		s.panes[s.now].missing.reset()
		s.panes[s.now].clients.reset()
	}
}

// Run keeps e's time until stop is closed.
func (e *Engine) Run(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			e.tick(now)
		}
	}
}
