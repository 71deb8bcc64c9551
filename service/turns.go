package service

import (
	"context"
	"runtime"
	"time"

	"github.com/jonboulle/clockwork"
)

// Work that takes a processor for longer than a heartbeat does is done in turns
// (S14). If it had all processors, heartbeats would wait until it is done, since Go
// polls the network only when a processor is idle. Reading from a connection and
// writing to one are no part of a turn: the client could hold it up.

// turnTimeout is how long a request waits for a turn. Then it goes on without one, so
// that no mistake in who ends a turn stops the service.
const turnTimeout = 2 * time.Second

// turns has room for one turn less than there are processors, but at least for one.
// A request that has a turn must not wait for another turn, for the store or for a
// peer.
type turns chan struct{}

func newTurns() turns { return make(turns, max(runtime.GOMAXPROCS(0)-1, 1)) }

// turn is the turn of a request, held or not.
type turn struct {
	turns turns
	clock clockwork.Clock
	held  bool
	// wired: the reply is sent over a connection, and is encoded after the handler
	// has returned.
	wired bool
}

type turnKey struct{}

// turn returns the turn of a request.
func (s *base) turn(ctx context.Context) *turn {
	if t, ok := ctx.Value(turnKey{}).(*turn); ok {
		return t
	}
	return &turn{turns: s.turns, clock: s.cfg.Clock}
}

// endTurn ends the turn of a request, if it has one.
func endTurn(ctx context.Context) {
	if t, ok := ctx.Value(turnKey{}).(*turn); ok {
		t.end()
	}
}

// take waits for a turn, unless the request has one. An error is that of ctx.
func (t *turn) take(ctx context.Context) error {
	if t.held {
		return nil
	}
	select {
	case t.turns <- struct{}{}:
		t.held = true
		return nil
	default:
	}
	// A simulator never gets here: nothing interrupts a turn there.
	timer := t.clock.NewTimer(turnTimeout)
	defer timer.Stop()
	select {
	case t.turns <- struct{}{}:
		t.held = true
	case <-timer.Chan():
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// end gives the turn to the next one.
func (t *turn) end() {
	if t.held {
		t.held = false
		<-t.turns
	}
}

// made ends the turn in which a reply was made, unless the reply has yet to be
// encoded: that takes longer than making it.
func (t *turn) made() {
	if !t.wired {
		t.end()
	}
}
