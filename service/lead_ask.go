package service

import (
	"context"
	"math"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// question asks the rules once, under the term's lock.
type question func(fencing.Now) (fencing.Decision, *fencing.Refusal)

// waitFor waits for what a decision names. changed is closed when a write is
// acknowledged or fails. After a nil error the rules are asked again.
type waitFor func(ctx context.Context, d fencing.Decision, changed <-chan struct{}) error

// storeWait is a request's use of the rules and the store. It asks the rules, waits
// for the store (for a write of its own, of the mark, of its key, of those before it
// in the queue, or for Confirm), and asks again.
type storeWait struct {
	t     *term
	until time.Duration // steady: when storeTimeout is used up; 0: it has not waited yet
}

// promise leads a request to a lease: after a write that the rules decided, such as
// a grant's or one that removes a silence note (S5), it asks them again. The
// instance has a live record then, and gets it as if by heartbeat.
func (w *storeWait) promise(ctx context.Context, ask question, wait waitFor) (fencing.Lease,
	error) {
	for {
		d, err := w.carryOut(ctx, ask, wait)
		if err != nil || d.Write == nil {
			return d.Lease, err
		}
	}
}

// carryOut asks the rules and makes durable what they decide.
func (w *storeWait) carryOut(ctx context.Context, ask question, wait waitFor) (fencing.Decision,
	error) {
	d, err := w.decide(ctx, ask, wait)
	if err == nil && d.Write != nil {
		err = w.write(ctx, d.Write)
	}
	return d, err
}

// decide asks the rules until they decide: while the key has a write in flight, or
// the mark must be written first, it waits and asks again.
func (w *storeWait) decide(ctx context.Context, ask question, wait waitFor) (fencing.Decision,
	error) {
	for {
		d, changed, r := w.t.askOnce(ask)
		switch {
		case r != nil:
			return d, w.refused(ctx, r)
		case d.Wait == fencing.WaitNone:
			return d, nil
		case d.Wait == fencing.WaitMark:
			w.t.keepNow()
		}
		if err := wait(ctx, d, changed); err != nil {
			return d, err
		}
	}
}

// askOnce asks the rules. It gives the lock back even if they panic: the process
// goes on.
func (t *term) askOnce(ask question) (fencing.Decision, <-chan struct{}, *fencing.Refusal) {
	now := t.enter()
	defer t.leave()
	d, r := ask(now)
	if r != nil || d.Wait == fencing.WaitNone {
		return d, nil, r
	}
	return d, t.change(), nil
}

// nextWrite is the waitFor of requests that wait for writes alone.
func (w *storeWait) nextWrite(ctx context.Context, _ fencing.Decision,
	changed <-chan struct{}) error {
	return w.wait(ctx, changed, math.MaxInt64)
}

// wait waits until woken, until the steady time at, or until storeTimeout is used
// up, whichever is first.
func (w *storeWait) wait(ctx context.Context, woken <-chan struct{}, at time.Duration) error {
	if w.remaining() <= 0 {
		return errStoreSlow
	}
	return w.t.s.wait(ctx, woken, min(w.until, at))
}

// deadline returns until when the request may wait, by the steady clock.
func (w *storeWait) deadline() time.Duration {
	if w.until == 0 {
		w.until = w.t.s.cfg.Steady.Now() + storeTimeout
	}
	return w.until
}

// remaining returns for how long the request may still wait.
func (w *storeWait) remaining() time.Duration { return w.deadline() - w.t.s.cfg.Steady.Now() }

// extend adds time that the request has waited for something other than the store.
func (w *storeWait) extend(by time.Duration) {
	if w.until != 0 {
		w.until += by
	}
}

// write makes writes durable, one after the other, and waits for that until
// storeTimeout is used up. The writes go on then, as they do when the caller has
// gone, and their outcome is applied whenever it comes (S9).
func (w *storeWait) write(ctx context.Context, writes ...*fencing.Write) error {
	if len(writes) == 0 {
		return nil
	}
	s := w.t.s
	if s.cfg.Cluster != nil {
		return w.writeInTurn(writes)
	}
	var err error
	done := make(chan struct{})
	s.cfg.Runner.Go(func() {
		defer close(done)
		err = w.t.commitAll(writes)
	})
	timer := s.cfg.Clock.NewTimer(max(w.remaining(), 0))
	defer timer.Stop()
	s.cfg.Runner.Wait(timer.Chan(), done, ctx.Done(), nil)
	if isClosed(done) {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errStoreSlow
}

// writeInTurn is write with a Cluster. Its store gives up a write by itself. That
// ends the term, and the request goes on to the next one. So each write is waited
// for to its end, and the time is only checked before each.
func (w *storeWait) writeInTurn(writes []*fencing.Write) error {
	for i := range writes {
		if w.remaining() <= 0 {
			w.t.s.cfg.Runner.Go(func() { _ = w.t.commitAll(writes[i:]) }) // they were decided
			return errStoreSlow
		}
		if err := w.t.commitAll(writes[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// refused returns the error of a request that the rules refused. The refusal rests
// on what the store holds, so it is one only if this term may still say so (S3,
// S10).
func (w *storeWait) refused(ctx context.Context, r *fencing.Refusal) error {
	t := w.t
	if r.Reason == fencing.ReasonStoreFailed {
		return t.ruling(r, nil)
	}
	t.reportLost(lostBy(r))
	return t.ruling(r, w.confirm(ctx))
}

// refused is storeWait.refused for a request that has not waited for the store.
func (t *term) refused(ctx context.Context, r *fencing.Refusal) error {
	return (&storeWait{t: t}).refused(ctx, r)
}

// ruling returns a refusal by the rules, or why it could not be confirmed.
func (t *term) ruling(r *fencing.Refusal, unconfirmed error) error {
	switch {
	case r.Reason == fencing.ReasonStoreFailed && t.s.cfg.Cluster != nil:
		return errNotLeading // the term has ended, and nothing was done
	case unconfirmed == nil:
		return r
	}
	return unconfirmed
}
