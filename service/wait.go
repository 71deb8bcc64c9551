package service

import (
	"context"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// waiter is a request that stands in a queue for a free node ID.
type waiter struct {
	pool     fencing.PoolName
	instance fencing.InstanceHash
	wake     chan struct{} // holds one: a second wake-up adds nothing
}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

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

// decide asks the core until it has an answer: while a key's write is under
// way, or the mark must be written first, it waits.
func (s *Service) decide(ctx context.Context, ask func(fencing.Now) (fencing.Decision, *fencing.Refusal)) (fencing.Decision, error) {
	for {
		d, changed, r := s.askOnce(ask)
		switch {
		case r != nil:
			return d, s.refusal(r)
		case d.Wait == fencing.WaitNone:
			return d, nil
		case d.Wait == fencing.WaitMark:
			s.keepNow()
		}
		if err := s.wait(ctx, changed, 0); err != nil {
			return d, err
		}
	}
}

// askOnce asks the core, and gives it back even if that panics: the process
// goes on.
func (s *Service) askOnce(ask func(fencing.Now) (fencing.Decision, *fencing.Refusal)) (fencing.Decision, <-chan struct{}, *fencing.Refusal) {
	now := s.enter()
	defer s.leave()
	d, r := ask(now)
	if r != nil || d.Wait == fencing.WaitNone {
		return d, nil, r
	}
	return d, s.change(), nil
}

// wakeAfter wakes those in the queues to whom a write matters: whose turn it
// is in a pool that it touched, and whoever asks for the same instance.
func (s *Service) wakeAfter(w *fencing.Write) {
	if len(s.waiting) == 0 {
		return
	}
	for _, rec := range w.Batch.Records {
		s.wakeTurn(rec.Pool)
		for _, other := range s.waiting {
			if other.instance == rec.Instance {
				other.signal()
			}
		}
	}
	for _, p := range w.Batch.Pools {
		s.wakeTurn(p.Name)
	}
	if w.Batch.Meta != nil {
		for name := range s.poolsWaitedFor() {
			s.wakeTurn(name)
		}
	}
}

// wakeTurn wakes the one whose turn it is in a pool.
func (s *Service) wakeTurn(pool fencing.PoolName) {
	if w := s.waiting[s.core.Turn(pool)]; w != nil {
		w.signal()
	}
}

func (s *Service) poolsWaitedFor() map[fencing.PoolName]bool {
	pools := map[fencing.PoolName]bool{}
	for _, w := range s.waiting {
		pools[w.pool] = true
	}
	return pools
}
