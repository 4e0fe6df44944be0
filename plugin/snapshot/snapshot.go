// Package snapshot keeps on disk what an index held, for the next process to
// begin with while the API server is away. docs/snapshot.md draws the file.
//
// A file is used whole or not at all, and only as long as it says something about
// the source that is asked for: State.Fresh leaves out what is too old.
//
// The package does not log. Reason says in a word why a file was of no use.
package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/clusterdns/clusterdns/plugin/zone"
)

// State is what a file says.
type State struct {
	Source Source
	// Serial is the index's, and Last that it was the last one of its process.
	Serial   uint32
	Last     bool
	Sections []Section
}

// Section is the whole of one resource.
type Section struct {
	Resource zone.Resource
	Contact  time.Time // when it was last known to be so
	Objects  []zone.Object
}

// Source identifies what is followed: an API server, and what of its objects is
// kept. It is a hash.
type Source [sha256.Size]byte

// Name returns the name of the source's file. It has nothing in it but letters,
// digits and dots, whatever the source.
func (s Source) Name() string { return "clusterdns-" + hex.EncodeToString(s[:8]) + ".snapshot" }

// MaxSize bounds a file, in octets, for reading and for writing. Ten times the
// largest clusters that Kubernetes supports fit.
const MaxSize = 64 << 20

// Ages, from the time of last contact to that of loading.
const (
	// DefaultMaxAge is the age up to which services and namespaces are used.
	DefaultMaxAge = 24 * time.Hour
	// MaxEndpointAge is the age up to which endpoints are used, if no lower one
	// is asked for: their addresses are given to others in the meantime.
	MaxEndpointAge = time.Hour
	// maxAhead is how far in the future a contact may be: clocks are set.
	maxAhead = time.Minute
)

// Why a file is of no use.
var (
	ErrDamaged = errors.New("damaged")
	ErrVersion = errors.New("of an unknown version")
	ErrSource  = errors.New("of another source")
	ErrSize    = errors.New("too large")
	ErrTooOld  = errors.New("too old")
	ErrFuture  = errors.New("from the future")
)

// Reason returns a word for err, fit for a metric label: "unreadable" if err is
// none of the package's own.
func Reason(err error) string {
	for _, r := range []struct {
		err  error
		word string
	}{{ErrDamaged, "damaged"}, {ErrVersion, "version"}, {ErrSource, "source"}, {ErrSize, "size"}, {ErrTooOld, "too_old"}, {ErrFuture, "future"}} {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return "unreadable"
}

// Reasons are all words that Reason returns.
var Reasons = []string{"damaged", "version", "source", "size", "too_old", "future", "unreadable"}

// Fresh leaves out of s the sections that are older at the given time than
// maxAge, and of endpoints than MaxEndpointAge. The error, if it left out any,
// wraps ErrTooOld; if a section is from the future, by a clock that was set back
// since, the age of none is known: all go, and the error wraps ErrFuture.
func (s *State) Fresh(now time.Time, maxAge time.Duration) error {
	var kept []Section
	var old error
	for _, sec := range s.Sections {
		limit := maxAge
		if sec.Resource == zone.EndpointSlices {
			limit = min(limit, MaxEndpointAge)
		}
		switch age := now.Sub(sec.Contact); {
		case age < -maxAhead:
			s.Sections = nil
			return fmt.Errorf("%w: last contact %v, now %v", ErrFuture, sec.Contact.Format(time.RFC3339), now.Format(time.RFC3339))
		case age > limit:
			old = errors.Join(old, fmt.Errorf("%s are %w: not watched for %v, of which %v are allowed",
				sec.Resource, ErrTooOld, age.Round(time.Second), limit))
		default:
			kept = append(kept, sec)
		}
	}
	s.Sections = kept
	return old
}
