// Package logwriter keeps a program that logs from waiting for the reader of its log
// (S14), which may be a pipe that nobody empties, a disk that hangs, or a terminal
// that is stopped. Log lines go into a bounded queue, and a goroutine writes them
// from there. A line that finds the queue full is dropped and counted.
package logwriter

import "sync"

// Queue passes items to a consumer that may block, one at a time and in order, on a
// goroutine of its own. It needs no Close: the goroutine lives only while there are
// items. NewQueue makes one. All methods are safe for concurrent use.
type Queue[T any] struct {
	cfg QueueConfig[T]

	mu     sync.Mutex
	items  []entry[T]
	weight int // of items, and of the one that the consumer has now
	// lost is the number of items dropped since the last one that was queued.
	lost uint64
	// idle is closed when the consumer has taken everything; nil while there is
	// nothing to take.
	idle chan struct{}
}

// QueueConfig configures a Queue. All fields are required.
type QueueConfig[T any] struct {
	// Limit is the most that the queued items may weigh together, in the unit of
	// Weigh; above 0. An item that would exceed it is dropped.
	Limit int
	// Weigh returns the weight of an item, which must not change.
	Weigh func(T) int
	// Hand consumes an item. No lock is held during the call.
	Hand func(T)
	// Lost is called with the number of items that were dropped, at their place
	// between the calls of Hand.
	Lost func(n uint64)
	// Go runs a function on a goroutine, and returns at once.
	Go func(func())
}

// entry is an item, and the number of items that were dropped just before it.
type entry[T any] struct {
	item T
	lost uint64
}

// NewQueue returns an empty queue.
func NewQueue[T any](cfg QueueConfig[T]) *Queue[T] { return &Queue[T]{cfg: cfg} }

// Push queues an item, or drops it if the queue is full. It reports whether the item
// was queued. It never waits for the consumer.
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

// Idle returns a channel that is closed when the consumer has finished with every item
// that was pushed before the call and not dropped.
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

// drain passes items to the consumer until there are none.
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

// next takes the oldest item, and returns how many were dropped before it. If there is
// neither an item nor a dropped one, it marks the queue idle.
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
		q.items = nil // frees the memory of the items that were taken
		close(q.idle)
		q.idle = nil
	}
	return e, lost, false
}

// handed makes room. An item counts until the consumer has finished with it.
func (q *Queue[T]) handed(e entry[T]) {
	weight := q.cfg.Weigh(e.item)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.weight -= weight
}
