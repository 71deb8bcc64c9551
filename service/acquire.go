package service

import (
	"context"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// acquire leads a request to a lease: through a grant's write, through a place
// in the queue for as long as wait, or straight to the lease that the instance
// holds already.
func (t *term) acquire(ctx context.Context, req fencing.AcquireRequest, wait time.Duration) (fencing.Lease, error) {
	a := &acquiring{t: t, req: req, until: t.s.cfg.Steady.Now() + wait, writes: writeWait{t: t}}
	a.req.Queue = wait > 0
	defer a.leaveQueue()
	for {
		d, changed, r := a.ask()
		switch {
		case r != nil:
			return fencing.Lease{}, a.writes.refused(ctx, r)
		case d.Write != nil:
			// The grant is looked at again once its write is acknowledged: the
			// instance has a live record then, and gets it as if by heartbeat. So
			// is the lease that it has already, whose silence note goes first (S5).
			if err := a.writes.write(ctx, d.Write); err != nil {
				return fencing.Lease{}, err
			}
			continue
		case d.Wait == fencing.WaitNone:
			return d.Lease, nil
		case d.Wait == fencing.WaitMark:
			t.keepNow()
		}
		if err := a.wait(ctx, d, changed); err != nil {
			return fencing.Lease{}, err
		}
	}
}

// acquiring is an Acquire on its way.
type acquiring struct {
	t      *term
	req    fencing.AcquireRequest
	place  *waiter
	until  time.Duration // steady: when to stop waiting for a free ID
	writes writeWait
}

// ask asks the core once, and keeps the place in the queue that it gives.
func (a *acquiring) ask() (fencing.Decision, <-chan struct{}, *fencing.Refusal) {
	t := a.t
	now := t.enter()
	defer t.leave()
	d, r := t.core.Acquire(now, a.req)
	if r != nil || d.Wait == fencing.WaitNone {
		a.dropPlace()
		return d, nil, r
	}
	if d.Ticket != a.req.Ticket {
		a.dropPlace() // another request of the instance had ended it
		a.req.Ticket = d.Ticket
		a.place = &waiter{pool: a.req.Pool, instance: a.req.Instance, ticket: d.Ticket, wake: make(chan struct{}, 1)}
		t.waiting.add(a.place)
	}
	return d, t.change(), nil
}

// wait waits for what the decision names. When the time for waiting in the
// queue is over, the request asks once more, as one that won't wait.
func (a *acquiring) wait(ctx context.Context, d fencing.Decision, changed <-chan struct{}) error {
	switch d.Wait {
	case fencing.WaitSettled: // the core was given back: others had their turn
		return ctx.Err()
	case fencing.WaitMark, fencing.WaitKey:
		return a.writes.wait(ctx, changed)
	case fencing.WaitTurn:
		return a.writes.waitUntil(ctx, a.place.wake, d.At)
	}
	begun := a.t.s.cfg.Steady.Now()
	if begun >= a.until {
		a.leaveQueue()
		a.req.Queue = false
		return nil
	}
	at := a.until
	if d.At > 0 && d.At < at {
		at = d.At
	}
	err := a.t.s.wait(ctx, a.place.wake, at)
	a.writes.extend(a.t.s.cfg.Steady.Now() - begun)
	return err
}

// leaveQueue gives up the place in the queue, if there is one: nobody waits
// behind a caller who is gone.
func (a *acquiring) leaveQueue() {
	if a.place == nil {
		return
	}
	a.t.enter()
	defer a.t.leave()
	a.t.core.LeaveQueue(a.req.Pool, a.req.Ticket)
	a.dropPlace()
}

// dropPlace forgets a place that the core has forgotten, and wakes the next.
func (a *acquiring) dropPlace() {
	if a.place != nil {
		a.t.waiting.drop(a.place)
		a.t.wakeTurn(a.req.Pool)
		a.place, a.req.Ticket = nil, 0
	}
}
