package service

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// Limits of Watch.
const (
	// MaxWatchBehind is how many events a watcher may be behind.
	MaxWatchBehind = 1024
	// MaxWatches is how many streams of Watch there may be.
	MaxWatches = 256
	// maxWatchesPerAddress is how many one remote address may have, at each
	// replica.
	maxWatchesPerAddress = MaxWatches / 4

	// firstWatchPage and watchPage are how many rows of what is present are taken
	// at once: more with each page, as some hang up at the first row.
	firstWatchPage, watchPage = 32, 1024
	// timedBehind is how many events a watcher may be behind by the passing of time
	// alone: the rest of MaxWatchBehind is for the events of requests.
	timedBehind = MaxWatchBehind / 2
	// A watcher that holds up the events of time is cut off unless it reads
	// minProgress events in watchTimeout.
	minProgress  = 64
	watchTimeout = time.Second
	// lagPause is the pause before the rules settle a pool again in which more has
	// happened at once than they report in one call.
	lagPause = 20 * time.Millisecond
)

// watcher is one stream of Watch. Its channel of events is closed when it is cut
// off.
type watcher struct {
	pool   fencing.PoolName
	events chan fencing.Event
	// The present leases are shown in pages. from is the node ID before which all
	// rows have been taken; synced: all have. What happens to a lease before its
	// row is taken shows in the row. page is how many rows the last page had.
	from   snowflake.NodeID
	synced bool
	page   int
	// answered: a part of the answer may have been sent.
	answered bool
	// read counts the events that the stream has taken. It was seen at the steady
	// time since, which is 0 while the watcher is not behind.
	read  atomic.Uint64
	seen  uint64
	since time.Duration
}

var wireEvents = map[fencing.EventKind]cirrusv1.Event{
	fencing.EventGranted:  cirrusv1.Event_EVENT_GRANTED,
	fencing.EventReleased: cirrusv1.Event_EVENT_RELEASED,
	fencing.EventExpired:  cirrusv1.Event_EVENT_EXPIRED,
	fencing.EventFreed:    cirrusv1.Event_EVENT_FREED,
	fencing.EventRevoked:  cirrusv1.Event_EVENT_REVOKED,
}

// Watch implements answerer. It streams what is present in a pool, and then events,
// until either side ends it.
func (t *term) Watch(ctx context.Context, req *cirrusv1.WatchRequest,
	stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	pool, r := poolName(req.Pool)
	if r != nil {
		return r
	}
	w, r := t.startWatch(pool)
	if r != nil {
		return t.refused(ctx, r)
	}
	defer t.endWatch(w)
	err := t.stream(ctx, w, stream)
	if err != nil && w.answered {
		return &partial{err}
	}
	return err
}

func (t *term) stream(ctx context.Context, w *watcher,
	stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	for !w.synced {
		if err := t.present(ctx, w, stream); err != nil {
			return err
		}
	}
	return t.follow(ctx, w, stream)
}

// startWatch adds a watcher to a pool.
func (t *term) startWatch(pool fencing.PoolName) (*watcher, *fencing.Refusal) {
	t.enter()
	defer t.leave()
	if len(t.watchers) >= MaxWatches {
		return nil, &fencing.Refusal{
			Reason: reasonTooMany,
			Message: fmt.Sprintf(
				"%d streams of Watch are open, which is the most: close one, or share one",
				MaxWatches),
		}
	}
	w := &watcher{pool: pool, events: make(chan fencing.Event, MaxWatchBehind)}
	t.watchers[w] = true
	t.core.SetWatched(pool, true)
	return w, nil
}

// page returns the next rows of what is present, and their server time. In the same
// step the watcher starts to get events of these node IDs, so that no event is lost
// between the two.
func (t *term) page(w *watcher) ([]fencing.LeaseStatus, snowflake.Millis, *fencing.Refusal) {
	now := t.enter()
	defer t.leave()
	w.page = min(max(2*w.page, firstWatchPage), watchPage)
	rows, next, more, r := t.core.List(now, w.pool, w.from, w.page)
	if r != nil {
		return nil, 0, r
	}
	t.sendEvents() // what the listing brought about is an event only for what was shown before
	w.from, w.synced = next, !more
	return rows, t.core.ServerTime(), nil
}

// present sends a page of what is present, and then the events of the node IDs that
// were shown before. Each page is a listing of its own, and confirmed as one (S10).
func (t *term) present(ctx context.Context, w *watcher,
	stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	turn := t.s.turn(ctx)
	if err := turn.take(ctx); err != nil {
		return err
	}
	defer turn.end()
	rows, server, r := t.page(w)
	if r != nil {
		turn.end() // Confirm may be waited for
		return t.refused(ctx, r)
	}
	if err := t.confirmInTurn(ctx, turn); err != nil {
		return err
	}
	w.answered = true
	if err := sendPresent(ctx, turn, rows, server, stream); err != nil {
		return err
	}
	if w.synced {
		return stream.Send(&cirrusv1.WatchResponse{Event: cirrusv1.Event_EVENT_SYNCED,
			ServerTimeMs: int64(server)})
	}
	turn.end() // it is still held if no row was sent, and events may have to be confirmed
	for len(w.events) > 0 {
		events, open := w.take(nil)
		if !open {
			return t.tooFarBehind()
		}
		if err := t.send(ctx, events, stream); err != nil {
			return err
		}
	}
	select {
	case <-t.s.closing:
		return errStopping
	case <-t.done:
		return t.ended()
	default:
		return nil
	}
}

// sendPresent sends rows, each in a turn of its own.
func sendPresent(ctx context.Context, turn *turn, rows []fencing.LeaseStatus,
	server snowflake.Millis, stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	for _, row := range rows {
		if row.State == fencing.Free {
			continue
		}
		if err := turn.take(ctx); err != nil { // it ended when the previous row was written
			return err
		}
		if err := stream.Send(&cirrusv1.WatchResponse{Event: cirrusv1.Event_EVENT_PRESENT,
			Lease: wireStatus(row), ServerTimeMs: int64(server)}); err != nil {
			return err
		}
	}
	return nil
}

func (t *term) endWatch(w *watcher) {
	t.enter()
	defer t.leave()
	t.dropWatcher(w)
}

func (t *term) dropWatcher(w *watcher) {
	delete(t.watchers, w)
	for other := range t.watchers {
		if other.pool == w.pool {
			return
		}
	}
	t.core.SetWatched(w.pool, false)
}

// sendEvents gives the rules' events to the watchers. One that is too far behind is
// cut off: nobody waits for a slow reader.
func (t *term) sendEvents() {
	for _, e := range t.core.TakeEvents() {
		for w := range t.watchers {
			if w.pool != e.Lease.Pool || !w.synced && e.Lease.Node >= w.from {
				continue
			}
			select {
			case w.events <- e:
			default:
				t.cutOff(w)
			}
		}
	}
}

func (t *term) cutOff(w *watcher) {
	t.dropWatcher(w)
	close(w.events)
}

// makeRoom tells the rules how many events the passing of time may bring to a pool's
// watchers: a prompt reader survives any number of expiries at one instant. A
// watcher that holds the others up by reading too slowly is cut off.
func (t *term) makeRoom(pool fencing.PoolName, steady time.Duration) {
	room := timedBehind
	for w := range t.watchers {
		if w.pool != pool {
			continue
		}
		free := timedBehind - len(w.events)
		switch read := w.read.Load(); {
		case free > 0:
			w.since = 0
		case w.since == 0 || read >= w.seen+minProgress:
			w.since, w.seen = steady, read
		case steady >= w.since+watchTimeout:
			t.cutOff(w)
			continue
		}
		room = min(room, free)
	}
	t.core.LimitEvents(pool, max(room, 0))
}

// follow sends events as they happen. Events of time alone happen because this
// stream wakes up for them (S5).
func (t *term) follow(ctx context.Context, w *watcher,
	stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	for {
		timer := t.s.cfg.Clock.NewTimer(t.settle(w.pool))
		select {
		case e, ok := <-w.events:
			timer.Stop()
			events := []fencing.Event{e}
			if ok {
				events, ok = w.take(events)
			}
			if !ok {
				return t.tooFarBehind()
			}
			if err := t.send(ctx, events, stream); err != nil {
				return err
			}
		case <-timer.Chan():
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-t.s.closing:
			timer.Stop()
			return errStopping
		case <-t.done:
			timer.Stop()
			return t.ended()
		}
	}
}

func (t *term) tooFarBehind() error {
	return &fencing.Refusal{
		Reason: reasonTooBehind,
		Message: fmt.Sprintf(
			"this watcher is %d events behind: watch again, from what is present then, and read faster", MaxWatchBehind),
	}
}

// sendAtOnce is how many events share a Confirm at most: those taken out of the
// channel don't count as behind.
const sendAtOnce = 64

// take adds the further events that have happened by now. open is false if the
// watcher was cut off.
func (w *watcher) take(events []fencing.Event) (_ []fencing.Event, open bool) {
	for range min(len(w.events), sendAtOnce-len(events)) {
		e, ok := <-w.events
		if !ok {
			return nil, false
		}
		events = append(events, e)
	}
	w.read.Add(uint64(len(events)))
	return events, true
}

// send sends events. Those of time alone may no longer be true if another term has
// started, so they are confirmed after they happened (S10).
func (t *term) send(ctx context.Context, events []fencing.Event,
	stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	if slices.ContainsFunc(events, byTime) {
		if err := t.confirm(ctx); err != nil {
			return err
		}
	}
	for _, e := range events {
		if err := stream.Send(&cirrusv1.WatchResponse{Event: wireEvents[e.Kind],
			Lease: wireStatus(e.Lease), ServerTimeMs: int64(e.ServerTime)}); err != nil {
			return err
		}
	}
	return nil
}

// byTime reports whether an event rests on no write of its own.
func byTime(e fencing.Event) bool {
	return e.Kind == fencing.EventExpired || e.Kind == fencing.EventFreed
}

// settle applies the passing of time to a pool, and returns in how long to do so
// again. If it can't do all at once, the keeper continues.
func (t *term) settle(pool fencing.PoolName) time.Duration {
	now := t.enter()
	defer t.leave()
	t.makeRoom(pool, now.Steady)
	next, ok := t.core.Settle(now, pool)
	switch {
	case !ok:
		return time.Hour
	case next <= now.Steady:
		t.keepNow()
		return lagPause
	}
	return max(next-now.Steady, time.Millisecond)
}
