package service

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// Work that takes a processor for longer than a heartbeat does is done in turns
// (S14): if it had all processors, heartbeats would wait for as long as there is
// some of it, since Go looks for what has come over the network when it has
// nothing else to do.
const (
	// rowsATurn is how many rows of a listing are sent in one turn.
	rowsATurn = 64
	// turnPatience is how long one waits for a turn. Then it goes ahead: whoever
	// has it may be writing to a slow reader.
	turnPatience = 20 * time.Millisecond
)

// turns are as many as there are processors, less one, but one at least. Nobody
// who has one waits for another or for the store.
type turns chan struct{}

func newTurns() turns { return make(turns, max(runtime.GOMAXPROCS(0)-1, 1)) }

// take waits for a turn; done ends it. An error is ctx's.
func (t turns) take(ctx context.Context, clock clockwork.Clock) (done func(), err error) {
	select {
	case t <- struct{}{}:
		return t.end, nil
	default:
	}
	// Never so in a simulator, where nobody is interrupted in his turn.
	timer := clock.NewTimer(turnPatience)
	defer timer.Stop()
	select {
	case t <- struct{}{}:
		return t.end, nil
	case <-timer.Chan():
		return func() {}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t turns) end() { <-t }

// replyTurn is the turn in which a reply is made and written.
type replyTurn struct{ done func() }

type replyTurnKey struct{}

// untilWritten lets large replies be written in the turn in which they are made:
// to marshal one, and to compress it, takes longer than to make it.
func (s *Service) untilWritten(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case cirrusv1connect.AdminServiceListLeasesProcedure, cirrusv1connect.LeaseServiceHeartbeatBatchProcedure:
			turn := &replyTurn{done: func() {}}
			defer func() { turn.done() }()
			r = r.WithContext(context.WithValue(r.Context(), replyTurnKey{}, turn))
		}
		next.ServeHTTP(w, r)
	})
}

// turnForReply waits for a turn to make a reply in. Where the reply is written
// to a connection it lasts until that is done, and done does nothing.
func (s *Service) turnForReply(ctx context.Context) (done func(), err error) {
	done, err = s.turns.take(ctx, s.cfg.Clock)
	if turn, ok := ctx.Value(replyTurnKey{}).(*replyTurn); ok && err == nil {
		turn.done = done
		return func() {}, nil
	}
	return done, err
}
