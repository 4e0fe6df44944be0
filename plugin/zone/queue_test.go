package zone

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
)

// blocked makes w publish nothing more until the function it returns is called.
func blocked(w *Writer) (release func()) {
	begun, end := make(chan struct{}), make(chan struct{})
	w.Enqueue(func(*Batch) { close(begun); <-end }, nil)
	<-begun
	return func() { close(end) }
}

// What waits is published as one batch, in its order, and nothing overtakes it.
func TestQueue(t *testing.T) {
	w := worldOf(t, "namespace a\nservice a/db headless")
	v := mustView(t, w, Options{})
	release := blocked(w)
	var published atomic.Int32
	for i := range 200 {
		o := parseObject(t, fmt.Sprintf("slice a/s%d db - 10.0.%d.1 @%d", i%2, i, 10+i))
		w.Enqueue(func(b *Batch) { b.Set(o) }, func() { published.Add(1) })
	}
	before := w.edit
	release()
	w.Update(func(b *Batch) { b.Delete(EndpointSlices, Key{"a", "s0"}, 300) })
	if n := w.edit - before; n > 2 {
		t.Errorf("%d batches of changes that waited", n)
	}
	if n := published.Load(); n != 200 {
		t.Errorf("%d changes are said to be published", n)
	}
	ask(t, v, []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.199.1"}})
	if got := w.Index().Serial(); got != 300 {
		t.Errorf("serial %d", got)
	}
	if err := check(w); err != nil {
		t.Error(err)
	}

	release = blocked(w)
	late := parseObject(t, "slice a/s9 db - 10.0.0.9 @400")
	w.Enqueue(func(b *Batch) { b.Set(late) }, nil)
	done := make(chan struct{})
	w.Enqueue(func(b *Batch) {
		b.Replace(EndpointSlices, []Object{parseObject(t, "slice a/s8 db - 10.0.0.8 @401")}, 401)
	}, func() { close(done) })
	release()
	<-done
	ask(t, v, []qa{{"db.a.svc.cluster.local. A", "db.a.svc A 10.0.0.8"}})
}

// The queue holds a bounded number of changes; who brings more waits.
func TestQueueIsBounded(t *testing.T) {
	w := NewWriter()
	release := blocked(w)
	all := make(chan struct{})
	var brought atomic.Int32
	go func() {
		defer close(all)
		for range 3 * maxQueue {
			w.Enqueue(func(*Batch) {}, nil)
			brought.Add(1)
		}
	}()
	for brought.Load() < maxQueue {
		select {
		case <-all:
			t.Fatal("nobody waited")
		default:
		}
	}
	if n := brought.Load(); n > maxQueue {
		t.Errorf("%d changes wait", n)
	}
	release()
	<-all
	w.Update(func(*Batch) {})
}

// A change that panics, or ends its goroutine, as t.Fatal does, holds up nobody.
func TestUpdateThatDoesNotReturn(t *testing.T) {
	w := worldOf(t, "namespace a\nservice a/db headless")
	v := mustView(t, w, Options{})
	for i, leave := range []func(){runtime.Goexit, func() { panic("no") }} {
		one, two := parseObject(t, fmt.Sprintf("slice a/s db - 10.0.0.%d @%d", 2*i+1, 10*i+10)), parseObject(t, fmt.Sprintf("slice a/t db - 10.0.1.%d @%d", i+1, 10*i+11))
		left := make(chan struct{})
		go func() {
			defer close(left)
			defer func() { _ = recover() }()
			w.Update(func(b *Batch) {
				b.Set(one)
				leave()
			})
		}()
		<-left
		w.Update(func(b *Batch) { b.Set(two) })
		ask(t, v, []qa{{"db.a.svc.cluster.local. A", fmt.Sprintf("db.a.svc A 10.0.0.%d\ndb.a.svc A 10.0.1.%d", 2*i+1, i+1)}})
		if err := check(w); err != nil {
			t.Error(err)
		}
	}
}
