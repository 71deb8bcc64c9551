package service

import (
	"context"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// acquire leads a request to a lease: through a grant's write, through a place
// in the queue for as long as wait, or straight to the lease that the instance
// holds already.
func (t *term) acquire(ctx context.Context, req fencing.AcquireRequest,
	wait time.Duration) (fencing.Lease, error) {
	a := &acquiring{t: t, req: req, until: t.s.cfg.Steady.Now() + wait, store: storeWait{t: t}}
	a.req.Queue = wait > 0
	defer a.leaveQueue()
	return a.store.promise(ctx, a.ask, a.wait)
}

// acquiring is an Acquire in progress.
type acquiring struct {
	t     *term
	req   fencing.AcquireRequest
	place *waiter       // nil: it has none in the queue
	until time.Duration // steady: when to stop waiting for a free node ID
	store storeWait
}

// ask asks the rules, and keeps the place in the queue that they give.
func (a *acquiring) ask(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
	t := a.t
	d, r := t.core.Acquire(now, a.req)
	if r != nil || d.Wait == fencing.WaitNone {
		a.dropPlace()
		return d, r
	}
	if d.Ticket != a.req.Ticket {
		a.dropPlace() // another request of the instance has ended the one before
		a.req.Ticket = d.Ticket
		a.place = &waiter{instance: a.req.Instance, ticket: d.Ticket,
			wake: make(chan struct{}, 1)}
		t.waiting.add(a.place)
	}
	return d, nil
}

// wait waits for what the decision names. When the time for waiting in the queue
// has passed, the request asks once more, as one that does not wait.
func (a *acquiring) wait(ctx context.Context, d fencing.Decision, changed <-chan struct{}) error {
	switch d.Wait {
	case fencing.WaitSettled: // the lock was given back: others had their turn
		return ctx.Err()
	case fencing.WaitMark, fencing.WaitKey:
		return a.store.nextWrite(ctx, d, changed)
	case fencing.WaitTurn:
		return a.store.wait(ctx, a.place.wake, d.At)
	}
	started := a.t.s.cfg.Steady.Now()
	if started >= a.until {
		a.leaveQueue()
		a.req.Queue = false
		return nil
	}
	at := a.until
	if d.At > 0 && d.At < at {
		at = d.At
	}
	err := a.t.s.wait(ctx, a.place.wake, at)
	a.store.extend(a.t.s.cfg.Steady.Now() - started)
	return err
}

// leaveQueue gives up the place in the queue, if there is one, so that nobody
// waits behind a caller who is gone.
func (a *acquiring) leaveQueue() {
	if a.place == nil {
		return
	}
	a.t.enter()
	defer a.t.leave()
	a.t.core.LeaveQueue(a.req.Pool, a.req.Ticket)
	a.dropPlace()
}

// dropPlace forgets a place that the rules have forgotten, and wakes the next in
// the queue.
func (a *acquiring) dropPlace() {
	if a.place != nil {
		a.t.waiting.drop(a.place)
		a.t.wakeTurn(a.req.Pool)
		a.place, a.req.Ticket = nil, 0
	}
}
