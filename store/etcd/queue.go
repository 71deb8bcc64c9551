package etcd

import (
	"context"
	"runtime"

	"github.com/cirrus-id/cirrus/internal/gather"
)

// queue gathers commits into transactions. While a transaction is in flight, new
// commits wait, and the next transaction takes as many of them as fit. Commits stay in
// order, and none is split. One transaction is in flight at a time, so a key never has
// two writes in flight, and nothing is sent after an unknown outcome.
//
// The queue has no goroutine. The caller whose commit is at the front sends the
// transaction, answers the commits that were in it, and wakes the caller whose commit
// is then at the front.
type queue struct {
	wait     func(<-chan struct{})
	transact func(ctx context.Context, ops []Op, create bool) error
	commits  gather.Queue[*commit]
}

// commit is a batch to be written.
type commit struct {
	ops    []Op
	create bool // in a transaction of its own

	wake chan struct{} // closed when the commit is answered, or at the front
	done bool          // the commit is answered, with err
	err  error
}

func newQueue(wait func(<-chan struct{}), transact func(context.Context, []Op, bool) error) *queue {
	return &queue{wait: wait, transact: transact}
}

// send writes the commit, and returns when it is known or given up whether that was
// done.
func (q *queue) send(ctx context.Context, c *commit) error {
	c.wake = make(chan struct{})
	if !q.commits.Add(c) {
		q.wait(c.wake)
	}
	if !c.done {
		q.sendFront(ctx)
	}
	return c.err
}

// sendFront sends the commits at the front, of which the caller's is the first.
func (q *queue) sendFront(ctx context.Context) {
	// Callers whose commits have just been answered may be about to send others. To
	// let them run first and join this transaction spares etcd a third of all.
	runtime.Gosched()
	var ops []Op
	sent := q.commits.Take(func(waiting []*commit) (n int) {
		n, ops = fit(waiting)
		return n
	})

	err := errUnanswered
	defer func() { q.answer(sent, err) }() // even if transact panics
	err = q.transact(ctx, ops, sent[0].create)
}

// answer answers the commits that were sent, and wakes the caller of the next one.
func (q *queue) answer(sent []*commit, err error) {
	for i, c := range sent {
		c.done, c.err = true, err
		if i > 0 { // the first is the caller's own
			close(c.wake)
		}
	}
	if next, more := q.commits.Done(); more {
		close(next.wake)
	}
}

// fit returns how many of the commits, from the first on, fit into one transaction,
// and their writes. A commit that writes a key again waits for the next transaction,
// with all commits behind it.
func fit(waiting []*commit) (n int, ops []Op) {
	keys := make(map[string]bool)
	for _, c := range waiting {
		if n > 0 && (c.create || waiting[0].create || len(ops)+len(c.ops) > MaxOps ||
			anyIn(c.ops, keys)) {
			break
		}
		for _, op := range c.ops {
			keys[op.Key] = true
		}
		ops = append(ops, c.ops...)
		n++
	}
	return n, ops
}

func anyIn(ops []Op, keys map[string]bool) bool {
	for _, op := range ops {
		if keys[op.Key] {
			return true
		}
	}
	return false
}
