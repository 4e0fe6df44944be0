package kube

import (
	"cmp"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// delays are between attempts. They double from first on and are drawn from
// [delay, 2×delay). Zeros stand for the defaults.
//
// A cluster's DNS serves what it last knew while the API server is away, and
// what it last knew gets worse by the second, so it should be back within 2 s
// of the API server: attempts that find nobody, or someone who is just
// starting, stop doubling at away. That is no burden: the replicas of a
// cluster DNS are few, a refused connection costs next to nothing, and
// client-go obeys Retry-After besides. The reflector's own limit of 30 s, which
// means up to 60 s without changes, is for answers that will not change until
// somebody does something (a missing permission or resource), and for lists
// that fail when the API server has begun to send them: see backoff.
type delays struct {
	first, away time.Duration
	// unauthorized is where doubling stops after 401: tokens are replaced
	// without anybody's doing.
	unauthorized time.Duration
	refused      time.Duration // and after other answers
	absent       time.Duration // and while there is no resource that need not be there
	// good is how long a list is followed that was in order: doubling starts over.
	good time.Duration
	// stalled is how long there are lists in the place of WatchLists after one
	// that did not end.
	stalled time.Duration
}

func (d delays) orDefault() delays {
	return delays{
		first:        cmp.Or(d.first, 250*time.Millisecond),
		away:         cmp.Or(d.away, time.Second),
		unauthorized: cmp.Or(d.unauthorized, 5*time.Second),
		refused:      cmp.Or(d.refused, 30*time.Second),
		absent:       cmp.Or(d.absent, 5*time.Second),
		good:         cmp.Or(d.good, 10*time.Second),
		stalled:      cmp.Or(d.stalled, time.Minute),
	}
}

// backoff is the delay before the next list. It doubles in two ways apart from
// each other: after attempts that got no list, and after those that did and
// failed all the same, late in the list or soon behind it. A list is what costs
// an API server most, perhaps its life, so that nothing between two of them, a
// refused connection least of all, is a reason to hurry: only one that was
// followed for a while is.
type backoff struct {
	delays
	cheap, costly time.Duration // the last delays; 0: doubling starts over
}

// attempt is a list, and the watch behind it.
type attempt struct {
	err      error         // how it ended; nil: the watch did
	absent   bool          // there is no such resource, and there need not be
	listed   bool          // the API server began to send all objects
	followed time.Duration // how long the index had them; 0: it never did
}

// after returns the delay after an attempt.
func (b *backoff) after(a attempt) time.Duration {
	if a.followed >= b.good {
		b.cheap, b.costly = 0, 0
	}
	last, most := &b.cheap, b.limit(a.err)
	if a.absent {
		most = b.absent
	}
	if a.listed {
		last, most = &b.costly, b.refused
	}
	*last = min(max(2**last, b.first), most)
	return *last
}

// limit returns where doubling stops after an attempt that ended with err, nil
// being a watch that ended.
func (d delays) limit(err error) time.Duration {
	var answer apierrors.APIStatus
	switch {
	case apierrors.IsUnauthorized(err):
		return d.unauthorized
	case err == nil || errors.As(err, &answer) && !starting(err):
		return d.refused
	}
	return d.away
}

// starting reports whether err is what an API server says that is not up yet,
// or too busy.
func starting(err error) bool {
	return apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err)
}

// isExpired reports whether err is that a watch cannot go on where it was, for
// the API server does not remember so much: routine, upon which there is a list.
func isExpired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// stall is of a WatchList that did not end.
type stall struct {
	until time.Time     // when there may be another
	delay time.Duration // before it
}

// maxStall is where doubling stops.
const maxStall = 64

// stalled reports whether to list in the place of a WatchList.
func (f *reflection) stalled() bool {
	s := f.stall.Load()
	return s != nil && time.Now().Before(s.until)
}

// stalls notes that a WatchList did not end.
func (f *reflection) stalls() {
	next := f.delays.stalled
	if last := f.stall.Load(); last != nil {
		next = min(2*last.delay, maxStall*f.delays.stalled)
	}
	f.stall.Store(&stall{time.Now().Add(next), next})
}
