package service

import (
	"context"
	"errors"
	"sync"

	"github.com/cirrus-id/cirrus/internal/gather"
	"github.com/cirrus-id/cirrus/store"
)

// confirms joins the requests of a term that wait for a Confirm. While one is in
// flight, those that arrive gather for the next: only a Confirm that starts after a
// request arrived proves anything to it (S10).
type confirms struct {
	queue gather.Queue[*confirmation]
	mu    sync.Mutex
	// lost are lost writes (S12) that wait for a Confirm that succeeds.
	lost lostWrites
}

// confirmation is a request's part in a Confirm.
type confirmation struct {
	done chan struct{}
	err  error // set when done is closed
}

// confirm returns nil if this term was still the last one at an instant after
// the call. Otherwise the error is what the request gets. It waits as long as
// the request may still wait for the store.
func (w *storeWait) confirm(ctx context.Context) error {
	t := w.t
	if t.s.cfg.Cluster == nil { // nobody else writes: there is nothing to share
		if t.store.Confirm(ctx) != nil {
			return errNotConfirmed
		}
		return nil
	}
	c := t.joinConfirm()
	if err := t.s.wait(ctx, c.done, w.deadline()); err != nil {
		return err
	}
	switch {
	case !isClosed(c.done):
		return errNotConfirmed
	case c.err == nil:
		return nil
	case t.cause() != nil: // the term was deposed, or ended for another reason
		return errNotLeading
	}
	return errNotConfirmed
}

// confirm is storeWait.confirm for a request that has not waited for the store.
func (t *term) confirm(ctx context.Context) error {
	return (&storeWait{t: t}).confirm(ctx)
}

// joinConfirm takes part in the next Confirm to start. Once Close was called none
// starts: the request ends as the service does.
func (t *term) joinConfirm() *confirmation {
	c := &confirmation{done: make(chan struct{})}
	if t.confirms.queue.Add(c) {
		t.s.spawn(t.confirmAll)
	}
	return c
}

// confirmInTurn confirms while others have the request's turn.
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

// confirmAll confirms for as long as requests wait for it.
func (t *term) confirmAll() {
	q := &t.confirms.queue
	for more := true; more; _, more = q.Done() {
		together := q.Take(gather.All)
		lost := t.confirms.takeLost()
		err := t.store.Confirm(t.ctx)
		if errors.Is(err, store.ErrDeposed) {
			t.end(err)
		}
		if err == nil {
			t.s.countLost(lost)
		} else {
			t.confirms.keepLost(lost)
		}
		for _, c := range together {
			c.err = err
			close(c.done)
		}
	}
}

// reportLost takes lost writes that the rules have reported (S12). It must be
// called before the request waits for anything: the caller may leave meanwhile, and
// the rules report each lost write only once. With a Cluster they are counted after a
// Confirm that started later: a replica that was deposed may not know of a grant that
// no store has lost.
func (t *term) reportLost(l lostWrites) {
	if t.s.cfg.Cluster == nil {
		t.s.countLost(l)
		return
	}
	t.confirms.keepLost(l)
}

// keepLost keeps lost writes for the next Confirm to start.
func (cs *confirms) keepLost(l lostWrites) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.lost.add(l)
}

// takeLost returns the lost writes that were reported before a Confirm starts.
func (cs *confirms) takeLost() lostWrites {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	l := cs.lost
	cs.lost = lostWrites{}
	return l
}
