package service

import (
	"context"
	"fmt"
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
	pool, r := poolName(req.Pool)
	if r != nil {
		return toWire(h.s.refusal(r))
	}
	w, present, r := h.s.startWatch(pool)
	if r != nil {
		return toWire(h.s.refusal(r))
	}
	defer h.s.endWatch(w)
	for _, e := range present {
		if err := stream.Send(e); err != nil {
			return err
		}
	}
	return toWire(h.s.follow(ctx, w, stream))
}

// startWatch joins a pool's watchers and takes what is present in one step, so
// that no event is lost between the two.
func (s *Service) startWatch(pool fencing.PoolName) (*watcher, []*cirrusv1.WatchResponse, *fencing.Refusal) {
	now := s.enter()
	defer s.leave()
	if len(s.watchers) >= MaxWatches {
		return nil, nil, &fencing.Refusal{
			Reason:  reasonTooMany,
			Message: fmt.Sprintf("%d streams of Watch are open, which is the most: close one, or share one", MaxWatches),
		}
	}
	rows, _, _, r := s.core.List(now, pool, 0, int(^uint(0)>>1))
	if r != nil {
		return nil, nil, r
	}
	server := int64(s.core.ServerTime())
	var present []*cirrusv1.WatchResponse
	for _, row := range rows {
		if row.State != fencing.Free {
			present = append(present, &cirrusv1.WatchResponse{Event: cirrusv1.Event_EVENT_PRESENT, Lease: wireStatus(row), ServerTimeMs: server})
		}
	}
	present = append(present, &cirrusv1.WatchResponse{Event: cirrusv1.Event_EVENT_SYNCED, ServerTimeMs: server})
	s.tellWatchers() // what the listing brought to light is news to the others only
	w := &watcher{pool: pool, events: make(chan fencing.Event, MaxWatchBehind)}
	s.watchers[w] = true
	s.core.SetWatched(pool, true)
	return w, present, nil
}

func (s *Service) endWatch(w *watcher) {
	s.enter()
	defer s.leave()
	s.dropWatcher(w)
}

func (s *Service) dropWatcher(w *watcher) {
	delete(s.watchers, w)
	for other := range s.watchers {
		if other.pool == w.pool {
			return
		}
	}
	s.core.SetWatched(w.pool, false)
}

// tellWatchers hands out what has happened. Who is too far behind is cut off:
// nobody waits for a slow reader.
func (s *Service) tellWatchers() {
	for _, e := range s.core.TakeEvents() {
		for w := range s.watchers {
			if w.pool != e.Lease.Pool {
				continue
			}
			select {
			case w.events <- e:
			default:
				s.dropWatcher(w)
				close(w.events)
			}
		}
	}
}

// follow sends events as they come. Those that time alone brings come because
// this stream wakes up for them (S5).
func (s *Service) follow(ctx context.Context, w *watcher, stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	for {
		timer := s.cfg.Clock.NewTimer(s.settle(w.pool))
		select {
		case e, ok := <-w.events:
			timer.Stop()
			if !ok {
				return s.refusal(&fencing.Refusal{
					Reason:  reasonTooBehind,
					Message: fmt.Sprintf("this watcher is %d events behind: watch again, from what is present then, and read faster", MaxWatchBehind),
				})
			}
			if err := stream.Send(&cirrusv1.WatchResponse{Event: wireEvents[e.Kind], Lease: wireStatus(e.Lease), ServerTimeMs: int64(e.ServerTime)}); err != nil {
				return err
			}
		case <-timer.Chan():
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-s.closing:
			timer.Stop()
			return errStopping
		case <-s.failed:
			timer.Stop()
			return s.storeFailed()
		}
	}
}

// settle lets time pass in a pool, and says in how long to do so again.
func (s *Service) settle(pool fencing.PoolName) time.Duration {
	now := s.enter()
	defer s.leave()
	next, ok := s.core.Settle(now, pool)
	if !ok {
		return time.Hour
	}
	return max(next-now.Steady, time.Millisecond)
}
