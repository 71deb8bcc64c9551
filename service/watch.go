package service

import (
	"context"
	"fmt"
	"net/netip"
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
	// timedBehind is how far behind what time alone brings may leave a watcher:
	// the rest of MaxWatchBehind is for what requests bring.
	timedBehind = MaxWatchBehind / 2
	// A watcher for whom what time brings has to wait reads minProgress events
	// in watchPatience, or is cut off.
	minProgress   = 64
	watchPatience = time.Second
	// lagPause is between two looks at a pool in which more has come about at
	// once than one look can tell.
	lagPause = 20 * time.Millisecond
)

// watcher is one stream of Watch. Its channel is closed when it is cut off.
type watcher struct {
	pool   fencing.PoolName
	events chan fencing.Event
	// The present leases are shown in pages. from is the node ID up to which their
	// rows have been taken; synced: all have. What happens to a lease before its
	// row is taken shows in the row. page is how many were taken last.
	from   snowflake.NodeID
	synced bool
	page   int
	// read counts the events that the stream has taken; at steady time since,
	// which is 0 where it isn't behind, it was seen.
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

// Watch streams what is present in a pool, and then what happens.
func (h admin) Watch(ctx context.Context, req *cirrusv1.WatchRequest, stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	leave, r := h.s.shareOfWatches(ctx)
	if r != nil {
		return toWire(h.s.refusal(r))
	}
	defer leave()
	begun := false
	c := rpc[cirrusv1.WatchRequest, struct{}]{
		here: func(t *term, ctx context.Context, req *cirrusv1.WatchRequest) (*struct{}, error) {
			return nil, t.watch(ctx, req, stream, &begun)
		},
		there: func(p *peer, ctx context.Context, req *cirrusv1.WatchRequest) (*struct{}, error) {
			return nil, p.watch(ctx, req, stream, &begun)
		},
		begun: &begun,
	}
	_, err := c.do(ctx, h.s, req)
	return err
}

// shareOfWatches counts a stream to the remote address that asks for it, so that
// no single one takes them all. A replica that passes one on has done so before.
func (s *Service) shareOfWatches(ctx context.Context) (leave func(), refused *fencing.Refusal) {
	info, ok := connect.CallInfoForHandlerContext(ctx)
	if !ok || s.cfg.Cluster != nil && passedOn(ctx) {
		return func() {}, nil
	}
	at, err := netip.ParseAddrPort(info.Peer().Addr)
	if err != nil {
		return func() {}, nil // it came over no network
	}
	remote := shareOf(at.Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.watches.take(remote) {
		return nil, &fencing.Refusal{
			Reason:  reasonTooMany,
			Message: fmt.Sprintf("%d streams of Watch of your address are open, which is the most for one: close one, or share one", maxWatchesPerAddress),
		}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watches.give(remote)
	}, nil
}

// watch answers a Watch until it ends.
func (t *term) watch(ctx context.Context, req *cirrusv1.WatchRequest, stream *connect.ServerStream[cirrusv1.WatchResponse], begun *bool) error {
	pool, r := poolName(req.Pool)
	if r != nil {
		return t.s.refusal(r)
	}
	w, r := t.startWatch(pool)
	if r != nil {
		return t.refused(ctx, r)
	}
	defer t.endWatch(w)
	for !w.synced {
		if err := t.present(ctx, w, stream, begun); err != nil {
			return err
		}
	}
	return t.follow(ctx, w, stream)
}

// startWatch joins a pool's watchers.
func (t *term) startWatch(pool fencing.PoolName) (*watcher, *fencing.Refusal) {
	t.enter()
	defer t.leave()
	if len(t.watchers) >= MaxWatches {
		return nil, &fencing.Refusal{
			Reason:  reasonTooMany,
			Message: fmt.Sprintf("%d streams of Watch are open, which is the most: close one, or share one", MaxWatches),
		}
	}
	w := &watcher{pool: pool, events: make(chan fencing.Event, MaxWatchBehind)}
	t.watchers[w] = true
	t.core.SetWatched(pool, true)
	return w, nil
}

// page takes the next rows of what is present, and their server time. In the
// same step the watcher begins to hear of these node IDs, so that no event is
// lost between the two.
func (t *term) page(w *watcher) ([]fencing.LeaseStatus, snowflake.Millis, *fencing.Refusal) {
	now := t.enter()
	defer t.leave()
	w.page = min(max(2*w.page, firstWatchPage), watchPage)
	rows, next, more, r := t.core.List(now, w.pool, w.from, w.page)
	if r != nil {
		return nil, 0, r
	}
	t.tellWatchers() // what the listing brought to light is news only of what was shown before
	w.from, w.synced = next, !more
	return rows, t.core.ServerTime(), nil
}

// present sends a page of what is present, and then what has happened meanwhile
// to the node IDs that were shown. Each page is a listing of its own, and
// confirmed as one (S10).
func (t *term) present(ctx context.Context, w *watcher, stream *connect.ServerStream[cirrusv1.WatchResponse], begun *bool) error {
	turn := t.s.turn(ctx)
	if err := turn.take(ctx); err != nil {
		return err
	}
	defer turn.end()
	rows, server, r := t.page(w)
	if r != nil {
		turn.end() // the term record may be read
		return t.refused(ctx, r)
	}
	if err := t.confirmInTurn(ctx, turn); err != nil {
		return err
	}
	*begun = true
	if err := sendPresent(ctx, turn, rows, server, stream); err != nil {
		return err
	}
	if w.synced {
		return stream.Send(&cirrusv1.WatchResponse{Event: cirrusv1.Event_EVENT_SYNCED, ServerTimeMs: int64(server)})
	}
	turn.end() // no row may have been sent, and events may have to be confirmed
	for len(w.events) > 0 {
		events, open := w.take(nil)
		if !open {
			return t.tooFarBehind()
		}
		if err := t.tell(ctx, events, stream); err != nil {
			return err
		}
	}
	select {
	case <-t.s.closing:
		return errStopping
	case <-t.over:
		return t.isOver()
	default:
		return nil
	}
}

// sendPresent sends rows, each in a turn of its own.
func sendPresent(ctx context.Context, turn *turn, rows []fencing.LeaseStatus, server snowflake.Millis, stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	for _, row := range rows {
		if row.State == fencing.Free {
			continue
		}
		if err := turn.take(ctx); err != nil { // it ended when the row before was written
			return err
		}
		if err := stream.Send(&cirrusv1.WatchResponse{Event: cirrusv1.Event_EVENT_PRESENT, Lease: wireStatus(row), ServerTimeMs: int64(server)}); err != nil {
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

// tellWatchers hands out what has happened. Who is too far behind is cut off:
// nobody waits for a slow reader.
func (t *term) tellWatchers() {
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

// makeRoom says how many events time may bring to a pool's watchers: a prompt
// one outlives any number of expiries at one instant. Who holds the others up
// by reading too slowly is cut off.
func (t *term) makeRoom(pool fencing.PoolName, steady time.Duration) {
	room := timedBehind
	for w := range t.watchers {
		if w.pool != pool {
			continue
		}
		left := timedBehind - len(w.events)
		switch read := w.read.Load(); {
		case left > 0:
			w.since = 0
		case w.since == 0 || read >= w.seen+minProgress:
			w.since, w.seen = steady, read
		case steady >= w.since+watchPatience:
			t.cutOff(w)
			continue
		}
		room = min(room, left)
	}
	t.core.LimitEvents(pool, max(room, 0))
}

// follow sends events as they come. Those that time alone brings come because
// this stream wakes up for them (S5).
func (t *term) follow(ctx context.Context, w *watcher, stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
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
			if err := t.tell(ctx, events, stream); err != nil {
				return err
			}
		case <-timer.Chan():
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-t.s.closing:
			timer.Stop()
			return errStopping
		case <-t.over:
			timer.Stop()
			return t.isOver()
		}
	}
}

func (t *term) tooFarBehind() error {
	return t.s.refusal(&fencing.Refusal{
		Reason:  reasonTooBehind,
		Message: fmt.Sprintf("this watcher is %d events behind: watch again, from what is present then, and read faster", MaxWatchBehind),
	})
}

// tellAtOnce is how many events share a Confirm at most: those taken out of the
// channel don't count as behind.
const tellAtOnce = 64

// take adds further events that have come about by now; open says that the
// watcher wasn't cut off.
func (w *watcher) take(events []fencing.Event) (_ []fencing.Event, open bool) {
	for range min(len(w.events), tellAtOnce-len(events)) {
		e, ok := <-w.events
		if !ok {
			return nil, false
		}
		events = append(events, e)
	}
	w.read.Add(uint64(len(events)))
	return events, true
}

// tell sends events. What time alone brought may be otherwise by now where
// another term has begun, so it is confirmed after it came about (S10).
func (t *term) tell(ctx context.Context, events []fencing.Event, stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	if slices.ContainsFunc(events, byTime) {
		if err := t.confirm(ctx); err != nil {
			return err
		}
	}
	for _, e := range events {
		if err := stream.Send(&cirrusv1.WatchResponse{Event: wireEvents[e.Kind], Lease: wireStatus(e.Lease), ServerTimeMs: int64(e.ServerTime)}); err != nil {
			return err
		}
	}
	return nil
}

// byTime says whether an event rests on no write of its own.
func byTime(e fencing.Event) bool {
	return e.Kind == fencing.EventExpired || e.Kind == fencing.EventFreed
}

// settle lets time pass in a pool, and says in how long to do so again. Where
// it doesn't get through, the keeper goes on.
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
