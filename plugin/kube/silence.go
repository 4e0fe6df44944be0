package kube

import (
	"bufio"
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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	restwatch "k8s.io/client-go/rest/watch"

	"github.com/clusterdns/clusterdns/plugin/zone"
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

// noteSilence has the index say what is stale: of which nothing was heard for the
// limit. It returns when the source stops.
func (s *source) noteSilence(limit time.Duration) {
	tick := time.NewTicker(min(time.Second, limit/4))
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		for r := range s.stores {
			st := s.stores[r].Load()
			if st == nil || st.lists.Load() == 0 {
				continue
			}
			if silent := time.Duration(moment()-st.heard.Load()) > limit; st.silent.Swap(silent) != silent {
				s.writer.Enqueue(func(b *zone.Batch) { b.SetSilent(st.id, silent) }, nil)
			}
		}
	}
}

// stream is a watch that ends when it is silent for too long. It decodes events
// itself and not from another watch.Interface: handing each over between
// goroutines once more would cost as much as decoding a pod does.
//
//  1. While a WatchList sends its initial events, all are Added. Silence among
//     them, or no bookmark for as long after the last of them, ends it with an
//     Error, upon which the reflector lists instead. So does the end of the
//     watch. Later events do not prove that there will be a bookmark
//     (kubernetes/kubernetes#140890).
//  2. A watch that falls silent later ends as if the API server had ended it,
//     and the reflector goes on where it was. If there was no event at all, it
//     ends with an Error, and the reflector lists anew.
//  3. Errors are noted as the feed's failure, the API server's included, unless
//     they are routine: the reflector says nothing of them. After silence, that the API server
//     answers with another watch does not count as a sign of life.
type stream struct {
	f       *reflection
	body    io.ReadCloser
	ctx     context.Context // of the request for body
	cancel  context.CancelCauseFunc
	out     chan watch.Event
	stopped chan struct{}
	stop    sync.Once
	initial bool  // initial events are awaited
	heard   int64 // of the store, before there was an answer
}

func newStream(ctx context.Context, cancel context.CancelCauseFunc, f *reflection, body io.ReadCloser, initial bool, heard int64) *stream {
	w := &stream{f: f, body: body, ctx: ctx, cancel: cancel, out: make(chan watch.Event), stopped: make(chan struct{}), initial: initial, heard: heard}
	go w.run()
	return w
}

// ResultChan implements watch.Interface.
func (w *stream) ResultChan() <-chan watch.Event { return w.out }

// Stop implements watch.Interface.
func (w *stream) Stop() {
	w.stop.Do(func() { close(w.stopped) })
	w.cancel(nil)
}

// errSilent is why a stream's context ends when nothing comes.
var errSilent = errors.New("silent")

func (w *stream) run() {
	defer close(w.out)
	defer w.cancel(nil)
	defer w.body.Close()
	limit := w.f.bounds.events
	if w.initial {
		limit = w.f.bounds.initial
	}
	silence := time.AfterFunc(limit, func() { w.cancel(errSilent) })
	defer silence.Stop()
	decoder, err := w.decoder()
	quiet, later := true, false
	for ; err == nil; quiet = false {
		var e watch.Event
		if e.Type, e.Object, err = decoder.Decode(); err != nil {
			break
		}
		w.f.silent.Store(false)
		switch e.Type {
		case watch.Error:
			if quiet { // that there is a watch did not mean that it goes on
				w.f.store.heard.Store(w.heard)
			}
			w.f.store.ended(apierrors.FromObject(e.Object))
		case watch.Bookmark:
			if o, ok := e.Object.(metav1.Object); ok && o.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
				w.initial, limit = false, w.f.bounds.events
				w.f.stall.Store(nil)
			}
		}
		later = later || e.Type != watch.Added
		lives := !w.initial || !later
		if lives {
			silence.Stop() // the reflector takes its time
		}
		if !w.send(e) {
			return
		}
		if lives {
			silence.Reset(limit)
		}
	}
	w.end(err, limit, quiet)
}

// decoder waits for the first byte, which tells what the API server speaks.
func (w *stream) decoder() (*restwatch.Decoder, error) {
	in := bufio.NewReader(w.body)
	first, err := in.Peek(1)
	if err != nil {
		return nil, err
	}
	media := runtime.ContentTypeProtobuf
	if first[0] == '{' { // the length of an event in protobuf begins with a 0
		media = runtime.ContentTypeJSON
	}
	codecs := codecsOf(w.f.id)
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), media)
	frames := info.StreamSerializer.Framer.NewFrameReader(struct {
		io.Reader
		io.Closer
	}{in, w.body})
	return restwatch.NewDecoder(streaming.NewDecoder(frames, info.StreamSerializer.Serializer),
		codecs.DecoderToVersion(info.Serializer, w.f.group)), nil
}

// end notes why there are no more events, err being what the decoder said, and
// has the reflector list if it is not to go on where it was.
func (w *stream) end(err error, limit time.Duration, quiet bool) {
	cause := context.Cause(w.ctx)
	switch {
	case cause == errSilent && w.initial:
		w.f.stalls()
		err = fmt.Errorf("the initial events of a watch did not end, waited for %v", limit)
	case cause == errSilent:
		w.f.silent.Store(true)
		err = fmt.Errorf("a watch was silent for %v", limit)
	case cause != nil: // stopped
		return
	case w.initial:
		err = errors.New("a watch ended before its initial events did")
	case err == io.EOF || utilnet.IsProbableEOF(err) || utilnet.IsTimeout(err):
		return
	default:
		err, quiet = fmt.Errorf("decoding an event of a watch: %w", err), true
	}
	w.f.store.fail(err)
	if w.initial || quiet {
		w.send(watch.Event{Type: watch.Error, Object: &metav1.Status{
			Status: metav1.StatusFailure, Message: err.Error(), Code: http.StatusGatewayTimeout,
		}})
	}
}

func (w *stream) send(e watch.Event) bool {
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
