package zone

import "sync"

// queue is changes on their way to the index, in their order. Whoever puts one
// in waits for it, or does not; one goroutine, that lives while there are any,
// takes all that have come and publishes them as one batch. So what comes while
// a batch is made, such as the events of a service's EndpointSlices during a
// rollout, is compiled once.
type queue struct {
	mu      sync.Mutex
	room    sync.Cond // that there are fewer than maxQueue
	changes []change
	running bool
}

// change is a function that changes the index, and another that is called when
// that is published.
type change struct {
	fn        func(*Batch)
	published func()
}

// maxQueue is how many changes wait at most. More than that are not compiled
// any cheaper together, and hold the objects that they bring.
const maxQueue = 1024

// Update calls fn, on the caller's goroutine, and then publishes everything that
// it did to the batch: a reader sees all of it or nothing. The batch is invalid
// after fn returns. What was enqueued before is published before, or with it. If
// fn panics or ends the goroutine, what it did until then is published.
func (w *Writer) Update(fn func(*Batch)) {
	turn, over, published := make(chan *Batch), make(chan struct{}), make(chan struct{})
	w.Enqueue(func(b *Batch) { turn <- b; <-over }, func() { close(published) })
	b := <-turn
	func() {
		defer close(over)
		fn(b)
	}()
	<-published
}

// Enqueue has fn called soon, on another goroutine, and returns before that,
// unless very many are waiting. Calls keep their order. What several do to the
// batch may be published together. Published, if not nil, is called afterwards.
// Fn must return, and neither may wait for another change.
func (w *Writer) Enqueue(fn func(*Batch), published func()) {
	q := &w.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.room.L == nil {
		q.room.L = &q.mu
	}
	for len(q.changes) >= maxQueue {
		q.room.Wait()
	}
	q.changes = append(q.changes, change{fn, published})
	if !q.running {
		q.running = true
		go w.publishQueue()
	}
}

// publishQueue publishes what is in the queue until it is empty.
func (w *Writer) publishQueue() {
	q := &w.queue
	for {
		q.mu.Lock()
		changes := q.changes
		q.changes = nil
		q.running = len(changes) > 0
		q.room.Broadcast()
		q.mu.Unlock()
		if len(changes) == 0 {
			return
		}
		w.update(changes)
		for i := range changes {
			if changes[i].published != nil {
				changes[i].published()
			}
		}
	}
}
