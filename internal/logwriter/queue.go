// Package logwriter keeps whoever logs from waiting for whoever reads the log:
// a pipe that nobody empties, a disk that hangs, a terminal that is stopped
// (S14). What is logged goes into a bounded queue, from which a goroutine of its
// own hands it on; what finds the queue full is dropped and counted.
package logwriter

import "sync"

// Queue hands items to a consumer that may block, one after the other and in
// their order, beside the callers of Push. It needs no Close: its goroutine
// lives only while there is something to hand on. Make one with NewQueue. All
// methods are safe for use by many goroutines.
type Queue[T any] struct {
	cfg QueueConfig[T]

	mu     sync.Mutex
	items  []entry[T]
	weight int // of items, and of the one that is being handed on
	// lost counts what was dropped since the last item that was taken.
	lost uint64
	// idle is closed when everything was handed on; nil while there is nothing.
	idle chan struct{}
}

// QueueConfig is what a Queue is made of. All fields are required.
type QueueConfig[T any] struct {
	// Limit is how much the items that wait may weigh together, in the unit of
	// Weigh; above 0. An item that finds no room is dropped.
	Limit int
	// Weigh says what an item weighs; the same each time.
	Weigh func(T) int
	// Hand takes an item. It is called with no lock held.
	Hand func(T)
	// Lost is told how many items were dropped, in their place among the others.
	Lost func(n uint64)
	// Go runs the consumer beside the caller and returns at once.
	Go func(func())
}

// entry is an item, and how many were dropped right before it.
type entry[T any] struct {
	item T
	lost uint64
}

// NewQueue returns an empty queue.
func NewQueue[T any](cfg QueueConfig[T]) *Queue[T] { return &Queue[T]{cfg: cfg} }

// Push queues an item, or drops it if the queue is full; it says which. It never
// waits for the consumer.
func (q *Queue[T]) Push(item T) (taken bool) {
	weight := q.cfg.Weigh(item)
	q.mu.Lock()
	defer q.mu.Unlock()
	if weight > q.cfg.Limit-q.weight {
		q.lost++
	} else {
		q.items = append(q.items, entry[T]{item, q.lost})
		q.weight += weight
		q.lost, taken = 0, true
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
		q.cfg.Go(q.drain)
	}
	return taken
}

// Idle returns a channel that is closed once everything that was pushed before
// the call has been handed on, or dropped.
func (q *Queue[T]) Idle() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.idle == nil {
		done := make(chan struct{})
		close(done)
		return done
	}
	return q.idle
}

// drain hands items on until there are none.
func (q *Queue[T]) drain() {
	for {
		e, lost, some := q.next()
		if lost > 0 {
			q.cfg.Lost(lost)
		}
		if some {
			q.cfg.Hand(e.item)
			q.handed(e)
		} else if lost == 0 {
			return
		}
	}
}

// next takes the oldest item, and tells how many were dropped before it. If
// there is neither, the queue is idle.
func (q *Queue[T]) next() (e entry[T], lost uint64, some bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.items) > 0:
		e, q.items = q.items[0], q.items[1:]
		return e, e.lost, true
	case q.lost > 0:
		lost, q.lost = q.lost, 0
	default:
		q.items = nil // with the room of those that were taken
		close(q.idle)
		q.idle = nil
	}
	return e, lost, false
}

// handed makes room. An item counts until the consumer has it.
func (q *Queue[T]) handed(e entry[T]) {
	weight := q.cfg.Weigh(e.item)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.weight -= weight
}
