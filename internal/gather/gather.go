// Package gather joins items into batches of which one is in flight at a time: what
// arrives meanwhile waits for the next. etcd's commits and the service's Confirms are
// sent so.
//
// The package must not wait, start goroutines or read a clock. Its users do, each in
// its own way, so that a simulator can run them.
package gather

import "sync"

// Queue is a queue of items and the state of the batch in flight. The zero value is
// an empty queue. It is safe for concurrent use.
//
// Its invariants:
//   - At most one batch is in flight: taken, and not done.
//   - An item is in exactly one batch, and batches follow the order of Add.
//   - A batch is taken after each of its items was added. So what a batch finds out
//     holds at an instant after each of its items arrived.
//   - While items wait, one caller owes a Take: the one to whom Add or Done returned
//     true last. So no item waits for ever, and none is sent twice.
type Queue[T any] struct {
	mu      sync.Mutex
	waiting []T
	// busy: a batch is in flight, or a Take is owed.
	busy bool
}

// Add adds an item at the end. If it returns true, no batch is in flight, and the
// caller owes a Take.
func (q *Queue[T]) Add(item T) (first bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, item)
	first = !q.busy
	q.busy = true
	return first
}

// Take removes the next batch: the first fits(waiting) items, where fits returns at
// least 1. The batch is in flight until Done.
func (q *Queue[T]) Take(fits func(waiting []T) int) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := fits(q.waiting)
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	return batch
}

// All is for Take: every waiting item fits.
func All[T any](waiting []T) int { return len(waiting) }

// Done ends the batch in flight. If it returns true, items wait: somebody owes the
// next Take, and next is the first of the items.
func (q *Queue[T]) Done() (next T, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.waiting, q.busy = nil, false
		return next, false
	}
	return q.waiting[0], true
}

// Len returns how many items wait.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Busy reports whether a batch is in flight or a Take is owed.
func (q *Queue[T]) Busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.busy
}
