package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// bounds are how long an API server may be silent until that counts as a
// failure. Zeros stand for the defaults.
type bounds struct {
	// answer is up to the header of the answer to a request.
	answer time.Duration
	// initial is between the events of a WatchList until it has all objects,
	// and between the pieces of a list.
	initial time.Duration
	// events is between the events of a watch. API servers send a bookmark
	// every minute or two.
	events time.Duration
	// ping is how long nothing is received on a connection until it is tried,
	// and how long that may take: twice as long after the other end went
	// without a word, the connection counts as broken.
	ping time.Duration
}

func (b bounds) orDefault() bounds {
	return bounds{
		answer:  cmp.Or(b.answer, 30*time.Second),
		initial: cmp.Or(b.initial, 30*time.Second),
		events:  cmp.Or(b.events, 3*time.Minute),
		ping:    cmp.Or(b.ping, 5*time.Second),
	}
}

// bounded is a watch that ends when it is silent for too long. It passes on the
// events of another:
//
//  1. While a WatchList sends its initial events, all are Added. Silence among
//     them, or no bookmark for as long after the last of them, ends it with an
//     Error, upon which the reflector lists instead. So does the end of the
//     watch. Later events do not prove that there will be a bookmark
//     (kubernetes/kubernetes#140890).
//  2. A watch that falls silent later ends as if the API server had ended it,
//     and the reflector goes on where it was. If there was no event at all, it
//     ends with an Error, and the reflector lists anew.
//  3. Errors are noted as the feed's failure, the API server's included: the
//     reflector says nothing of them. After silence, that the API server
//     answers with another watch does not count as a sign of life.
type bounded struct {
	in      watch.Interface
	out     chan watch.Event
	stopped chan struct{}
	stop    sync.Once
	f       *reflection
	initial bool // initial events are awaited
}

func newBounded(in watch.Interface, f *reflection, initial bool) *bounded {
	w := &bounded{in: in, out: make(chan watch.Event), stopped: make(chan struct{}), f: f, initial: initial}
	go w.run()
	return w
}

// ResultChan implements watch.Interface.
func (w *bounded) ResultChan() <-chan watch.Event { return w.out }

// Stop implements watch.Interface.
func (w *bounded) Stop() { w.stop.Do(func() { close(w.stopped) }) }

func (w *bounded) run() {
	defer close(w.out)
	defer w.in.Stop()
	limit := w.f.bounds.events
	if w.initial {
		limit = w.f.bounds.initial
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for quiet, later := true, false; ; quiet = false {
		select {
		case <-w.stopped:
			return
		case <-timer.C:
			if w.initial {
				w.f.noInitial.Store(true)
				w.fail(fmt.Errorf("the initial events of a watch did not end, waited for %v", limit), true)
			} else {
				w.f.silent.Store(true)
				w.fail(fmt.Errorf("a watch was silent for %v", limit), quiet)
			}
			return
		case e, ok := <-w.in.ResultChan():
			if !ok {
				if w.initial {
					w.fail(errors.New("a watch ended before its initial events did"), true)
				}
				return
			}
			w.f.silent.Store(false)
			switch e.Type {
			case watch.Error:
				w.f.store.fail(apierrors.FromObject(e.Object))
			case watch.Bookmark:
				if o, ok := e.Object.(metav1.Object); ok && o.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
					w.initial, limit = false, w.f.bounds.events
				}
			}
			if !w.send(e) {
				return
			}
			later = later || e.Type != watch.Added
			if !w.initial || !later {
				timer.Reset(limit)
			}
		}
	}
}

// fail notes err and, if asked to, has the reflector list.
func (w *bounded) fail(err error, list bool) {
	w.f.store.fail(err)
	if list {
		w.send(watch.Event{Type: watch.Error, Object: &metav1.Status{
			Status: metav1.StatusFailure, Message: err.Error(), Code: http.StatusGatewayTimeout,
		}})
	}
}

func (w *bounded) send(e watch.Event) bool {
	select {
	case w.out <- e:
		return true
	case <-w.stopped:
		return false
	}
}

// boundedReader reads a body, and cancels its request when nothing comes.
type boundedReader struct {
	io.Reader
	limit  time.Duration
	silent *time.Timer
}

func newBoundedReader(r io.Reader, limit time.Duration, cancel context.CancelCauseFunc) *boundedReader {
	return &boundedReader{r, limit, time.AfterFunc(limit, func() { cancel(fmt.Errorf("a list stood still for %v", limit)) })}
}

// Read implements io.Reader.
func (r *boundedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.silent.Reset(r.limit)
	return n, err
}
