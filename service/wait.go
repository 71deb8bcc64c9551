package service

import (
	"context"
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

// writePatience is how long a request waits, with a Cluster, for what its
// store has not acknowledged: a replica that has lost the store says so.
const writePatience = 2 * time.Second

// writeWait is a request's waiting for writes: of the mark, or of its key.
type writeWait struct {
	t     *term
	until time.Duration // steady; 0: it has not waited yet
}

// wait waits for the next write that is acknowledged or fails.
func (w *writeWait) wait(ctx context.Context, changed <-chan struct{}) error {
	s := w.t.s
	if s.cfg.Cluster == nil {
		return s.wait(ctx, changed, 0)
	}
	switch now := s.cfg.Steady.Now(); {
	case w.until == 0:
		w.until = now + writePatience
	case now >= w.until:
		return s.refusal(errStoreSlow)
	}
	return s.wait(ctx, changed, w.until)
}

// decide asks the core until it has an answer: while a key's write is under
// way, or the mark must be written first, it waits.
func (t *term) decide(ctx context.Context, ask func(fencing.Now) (fencing.Decision, *fencing.Refusal)) (fencing.Decision, error) {
	return t.decideWithin(ctx, &writeWait{t: t}, ask)
}

// decideWithin is decide with what is left of waits.
func (t *term) decideWithin(ctx context.Context, waits *writeWait, ask func(fencing.Now) (fencing.Decision, *fencing.Refusal)) (fencing.Decision, error) {
	for {
		d, changed, r := t.askOnce(ask)
		switch {
		case r != nil:
			return d, t.refused(ctx, r)
		case d.Wait == fencing.WaitNone:
			return d, nil
		case d.Wait == fencing.WaitMark:
			t.keepNow()
		}
		if err := waits.wait(ctx, changed); err != nil {
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

// wakeTurn wakes the one whose turn it is in a pool.
func (t *term) wakeTurn(pool fencing.PoolName) {
	if w := t.waiting.byTicket[t.core.Turn(pool)]; w != nil {
		w.signal()
	}
}
