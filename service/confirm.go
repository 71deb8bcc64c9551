package service

import (
	"context"
	"errors"
	"sync"

	"github.com/cirrus-id/cirrus/store"
)

// confirms are a term's looks at the term record. Requests share them: while
// one is in flight, those that come gather for the next, since only one that
// begins after a request arrived proves anything to it (S10).
type confirms struct {
	mu sync.Mutex
	// gathering has not begun yet; nil: nobody waits for one.
	gathering *confirmation
	busy      bool // one is in flight, or about to be
	// lost are lost writes (S12) that wait for a Confirm that succeeds.
	lost lostWrites
}

// confirmation is one look at the term record.
type confirmation struct {
	done chan struct{}
	err  error // set when done is closed
	// lost are the lost writes that were noticed before it began.
	lost lostWrites
}

// confirm returns nil if this term was still the last one at an instant after
// the call. Otherwise the error is what the request gets. It waits for as long as
// the request may wait for the store yet.
func (w *writeWait) confirm(ctx context.Context) error {
	t := w.t
	if t.s.cfg.Cluster == nil { // nobody else writes: there is nothing to share
		if t.store.Confirm(ctx) != nil {
			return t.s.refusal(errNotConfirmed)
		}
		return nil
	}
	c := t.joinConfirm()
	if err := t.s.wait(ctx, c.done, w.deadline()); err != nil {
		return err
	}
	select {
	case <-c.done:
	default:
		return t.s.refusal(errNotConfirmed)
	}
	switch {
	case c.err == nil:
		return nil
	case t.cause() != nil: // deposed, or at an end by another way
		return errNotLeading
	}
	return t.s.refusal(errNotConfirmed)
}

// confirm is that of a request that has not waited for the store.
func (t *term) confirm(ctx context.Context) error {
	return (&writeWait{t: t}).confirm(ctx)
}

// joinConfirm takes part in the next Confirm to begin.
func (t *term) joinConfirm() *confirmation {
	cs := &t.confirms
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.gathering == nil {
		cs.gathering = &confirmation{done: make(chan struct{})}
	}
	c := cs.gathering
	if !cs.busy {
		cs.busy = t.s.spawn(t.confirmAll)
	}
	return c
}

// confirmInTurn is confirm in a request's turn, which others have while it waits.
func (t *term) confirmInTurn(ctx context.Context, turn *turn) error {
	if t.s.cfg.Cluster == nil {
		return t.confirm(ctx)
	}
	turn.end()
	if err := t.confirm(ctx); err != nil {
		return err
	}
	return turn.take(ctx)
}

// confirmAll confirms as long as somebody waits for it.
func (t *term) confirmAll() {
	for c := t.nextConfirm(); c != nil; c = t.nextConfirm() {
		c.err = t.store.Confirm(t.ctx)
		if errors.Is(c.err, store.ErrDeposed) {
			t.end(c.err)
		}
		if c.err == nil {
			t.s.tellLost(c.lost)
		} else {
			t.confirms.keep(c.lost)
		}
		close(c.done)
	}
}

// nextConfirm takes those who have gathered; nil: nobody has.
func (t *term) nextConfirm() *confirmation {
	cs := &t.confirms
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.gathering
	cs.gathering, cs.busy = nil, c != nil
	if c != nil {
		c.lost, cs.lost = cs.lost, lostWrites{}
	}
	return c
}

// noticeLost takes lost writes that the rules have noticed (S12). It must be
// called before the request waits for anything, since whoever sent it may leave
// meanwhile, and the rules tell of each only once. With a Cluster they are told
// after a Confirm that began later: a replica that was deposed may have missed a
// grant that no store forgot.
func (t *term) noticeLost(l lostWrites) {
	if t.s.cfg.Cluster == nil {
		t.s.tellLost(l)
		return
	}
	t.confirms.keep(l)
}

// keep keeps lost writes for the next Confirm to begin.
func (cs *confirms) keep(l lostWrites) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.lost.add(l)
}
