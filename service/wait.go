package service

import (
	"context"
	"math"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// wait is where requests block: until woken, until the steady time at (0: no
// such time), or until the request or the service ends. A nil error means: ask
// the core again.
func (s *Service) wait(ctx context.Context, woken <-chan struct{}, at time.Duration) error {
	var due <-chan time.Time
	if at > 0 {
		timer := s.cfg.Clock.NewTimer(max(at-s.cfg.Steady.Now(), time.Millisecond))
		defer timer.Stop()
		due = timer.Chan()
	}
	s.cfg.Runner.Wait(due, woken, ctx.Done(), s.closing)
	if s.stopping() {
		return errStopping
	}
	return ctx.Err()
}

// writePatience is how long a request waits for the store, all its waits
// together: one that stands still is soon told of (S9).
const writePatience = 2 * time.Second

// writeWait is a request's waiting for the store: for a write of its own, of the
// mark, of its key, or of those before it in line, and for Confirm.
type writeWait struct {
	t     *term
	until time.Duration // steady; 0: it has not waited yet
}

// deadline is until when it may wait, by the steady clock.
func (w *writeWait) deadline() time.Duration {
	if w.until == 0 {
		w.until = w.t.s.cfg.Steady.Now() + writePatience
	}
	return w.until
}

// left is for how long it may wait yet.
func (w *writeWait) left() time.Duration { return w.deadline() - w.t.s.cfg.Steady.Now() }

// extend leaves out time in which the request has waited for something else.
func (w *writeWait) extend(by time.Duration) {
	if w.until != 0 {
		w.until += by
	}
}

// wait waits for the next write that is acknowledged or fails.
func (w *writeWait) wait(ctx context.Context, changed <-chan struct{}) error {
	return w.waitUntil(ctx, changed, math.MaxInt64)
}

// waitUntil waits until woken, and no longer than to the steady time at: for what
// others' writes stand in the way of.
func (w *writeWait) waitUntil(ctx context.Context, woken <-chan struct{}, at time.Duration) error {
	if w.left() <= 0 {
		return w.t.s.refusal(errStoreSlow)
	}
	return w.t.s.wait(ctx, woken, min(w.until, at))
}

// write makes writes durable, one after the other, and waits for that, unless
// the store takes too long. They go on then, as they do when the caller has
// gone, and what becomes of them is taken in whenever it comes (S9).
func (w *writeWait) write(ctx context.Context, writes ...*fencing.Write) error {
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
	timer := s.cfg.Clock.NewTimer(max(w.left(), 0))
	defer timer.Stop()
	s.cfg.Runner.Wait(timer.Chan(), done, ctx.Done(), nil)
	select {
	case <-done:
		return err
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.refusal(errStoreSlow)
}

// writeInTurn is write with a Cluster. Its store gives up a write by itself, which
// ends the term, and the request goes on to the next: so a write is waited for to
// its end, and only before each is it seen whether there is time for it.
func (w *writeWait) writeInTurn(writes []*fencing.Write) error {
	for i := range writes {
		if w.left() <= 0 {
			w.t.s.cfg.Runner.Go(func() { _ = w.t.commitAll(writes[i:]) }) // they were decided
			return w.t.s.refusal(errStoreSlow)
		}
		if err := w.t.commitAll(writes[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// carryOut decides, and makes durable what is decided.
func (w *writeWait) carryOut(ctx context.Context, ask func(fencing.Now) (fencing.Decision, *fencing.Refusal)) (fencing.Decision, error) {
	d, err := w.decide(ctx, ask)
	if err == nil && d.Write != nil {
		err = w.write(ctx, d.Write)
	}
	return d, err
}

// decide asks the core until it has an answer: while a key's write is under
// way, or the mark must be written first, it waits.
func (w *writeWait) decide(ctx context.Context, ask func(fencing.Now) (fencing.Decision, *fencing.Refusal)) (fencing.Decision, error) {
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
		if err := w.wait(ctx, changed); err != nil {
			return d, err
		}
	}
}

// askOnce asks the core, and gives it back even if that panics: the process
// goes on.
func (t *term) askOnce(ask func(fencing.Now) (fencing.Decision, *fencing.Refusal)) (fencing.Decision, <-chan struct{}, *fencing.Refusal) {
	now := t.enter()
	defer t.leave()
	d, r := ask(now)
	if r != nil || d.Wait == fencing.WaitNone {
		return d, nil, r
	}
	return d, t.change(), nil
}

// wakeAfter wakes those in the queues to whom a write matters: whose turn it
// is in a pool that it touched, and whoever asks for the same instance.
func (t *term) wakeAfter(w *fencing.Write) {
	if t.waiting.len() == 0 {
		return
	}
	for i := range w.Batch.Records {
		rec := &w.Batch.Records[i]
		t.wakeTurn(rec.Pool)
		for _, same := range t.waiting.byInstance[rec.Instance] {
			same.signal()
		}
	}
	for _, p := range w.Batch.Pools {
		t.wakeTurn(p.Name)
	}
	if w.Batch.Meta != nil {
		for name := range t.waiting.inPool {
			t.wakeTurn(name)
		}
	}
}

// wakeTurn wakes the requests of the instance whose turn it is in a pool.
func (t *term) wakeTurn(pool fencing.PoolName) {
	for _, w := range t.waiting.byTicket[t.core.Turn(pool)] {
		w.signal()
	}
}
