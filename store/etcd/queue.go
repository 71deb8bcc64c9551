package etcd

import (
	"context"
	"runtime"
	"sync"
)

// queue gathers commits into transactions: while one is in flight, those that
// come wait, and the next takes as many of them as go in. The order stays, and
// a commit is never split. There is one transaction in flight at a time, so
// one key never has two, and what comes after an unknown outcome is not sent.
//
// Nobody runs it: the commit at the front sends its transaction and answers
// those that went with it, then the next one in the queue has its turn.
type queue struct {
	wait     func(<-chan struct{})
	transact func(ctx context.Context, ops []Op, create bool) error

	mu      sync.Mutex
	busy    bool // a transaction is in flight, or somebody is about to send one
	waiting []*commit
}

// commit is a batch that waits to be written.
type commit struct {
	ops    []Op
	create bool // goes alone

	wake chan struct{} // closed when it is answered, or at the front and to be sent
	done bool          // answered; err is the answer
	err  error
}

func newQueue(wait func(<-chan struct{}), transact func(context.Context, []Op, bool) error) *queue {
	return &queue{wait: wait, transact: transact}
}

// send returns when the commit was written, or when it was not, or may not have
// been.
func (q *queue) send(ctx context.Context, c *commit) error {
	c.wake = make(chan struct{})
	q.mu.Lock()
	q.waiting = append(q.waiting, c)
	first := !q.busy
	q.busy = true
	q.mu.Unlock()
	if !first {
		q.wait(c.wake)
	}
	if !c.done {
		q.fly(ctx)
	}
	return c.err
}

// fly sends the commits at the front, the caller's first.
func (q *queue) fly(ctx context.Context) {
	// Those whose commits have just landed may be about to send others: let
	// them go first, and take them along, which spares etcd a third of the
	// transactions.
	runtime.Gosched()
	q.mu.Lock()
	n, ops := gather(q.waiting)
	sent := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	q.mu.Unlock()

	err := errUnanswered
	defer func() { q.land(sent, err) }() // even if transact panics
	err = q.transact(ctx, ops, sent[0].create)
}

// land answers those that were sent and gives the next one its turn.
func (q *queue) land(sent []*commit, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, c := range sent {
		c.done, c.err = true, err
		if i > 0 { // the first is the sender
			close(c.wake)
		}
	}
	if len(q.waiting) == 0 {
		q.waiting = nil
		q.busy = false
		return
	}
	close(q.waiting[0].wake)
}

// gather returns how many of the commits, from the first on, go into one
// transaction, and their writes. A commit that has a key again waits for the
// one before, and all others behind it.
func gather(waiting []*commit) (n int, ops []Op) {
	keys := make(map[string]bool)
	for _, c := range waiting {
		if n > 0 && (c.create || waiting[0].create || len(ops)+len(c.ops) > MaxOps || anyIn(c.ops, keys)) {
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
