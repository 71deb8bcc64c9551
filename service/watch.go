package service

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
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
)

// watcher is one stream of Watch. Its channel is closed when it is cut off.
type watcher struct {
	pool   fencing.PoolName
	events chan fencing.Event
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
	if !ok || passedOn(ctx) {
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
	w, present, r := t.startWatch(pool)
	if r != nil {
		return t.refused(ctx, r)
	}
	defer t.endWatch(w)
	if err := t.confirm(ctx); err != nil {
		return err
	}
	*begun = true
	for _, e := range present {
		if err := stream.Send(e); err != nil {
			return err
		}
	}
	return t.follow(ctx, w, stream)
}

// startWatch joins a pool's watchers and takes what is present in one step, so
// that no event is lost between the two.
func (t *term) startWatch(pool fencing.PoolName) (*watcher, []*cirrusv1.WatchResponse, *fencing.Refusal) {
	now := t.enter()
	defer t.leave()
	if len(t.watchers) >= MaxWatches {
		return nil, nil, &fencing.Refusal{
			Reason:  reasonTooMany,
			Message: fmt.Sprintf("%d streams of Watch are open, which is the most: close one, or share one", MaxWatches),
		}
	}
	rows, _, _, r := t.core.List(now, pool, 0, int(^uint(0)>>1))
	if r != nil {
		return nil, nil, r
	}
	server := int64(t.core.ServerTime())
	var present []*cirrusv1.WatchResponse
	for _, row := range rows {
		if row.State != fencing.Free {
			present = append(present, &cirrusv1.WatchResponse{Event: cirrusv1.Event_EVENT_PRESENT, Lease: wireStatus(row), ServerTimeMs: server})
		}
	}
	present = append(present, &cirrusv1.WatchResponse{Event: cirrusv1.Event_EVENT_SYNCED, ServerTimeMs: server})
	t.tellWatchers() // what the listing brought to light is news to the others only
	w := &watcher{pool: pool, events: make(chan fencing.Event, MaxWatchBehind)}
	t.watchers[w] = true
	t.core.SetWatched(pool, true)
	return w, present, nil
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
			if w.pool != e.Lease.Pool {
				continue
			}
			select {
			case w.events <- e:
			default:
				t.dropWatcher(w)
				close(w.events)
			}
		}
	}
}

// follow sends events as they come. Those that time alone brings come because
// this stream wakes up for them (S5).
func (t *term) follow(ctx context.Context, w *watcher, stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	for {
		timer := t.s.cfg.Clock.NewTimer(t.settle(w.pool))
		select {
		case e, ok := <-w.events:
			timer.Stop()
			if !ok {
				return t.tooFarBehind()
			}
			if err := t.tell(ctx, append([]fencing.Event{e}, w.more()...), stream); err != nil {
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

// more are further events that have come about by now.
func (w *watcher) more() (events []fencing.Event) {
	for range min(len(w.events), tellAtOnce-1) {
		if e, ok := <-w.events; ok {
			events = append(events, e)
		}
	}
	return events
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

// settle lets time pass in a pool, and says in how long to do so again.
func (t *term) settle(pool fencing.PoolName) time.Duration {
	now := t.enter()
	defer t.leave()
	next, ok := t.core.Settle(now, pool)
	if !ok {
		return time.Hour
	}
	return max(next-now.Steady, time.Millisecond)
}
