package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// EventKind says what happened to a node ID.
type EventKind uint8

// The kinds of events.
const (
	// EventGranted: a grant is durable, or a late heartbeat made an expired
	// lease live again under the same epoch.
	EventGranted EventKind = iota + 1
	// EventReleased: the holder released the lease.
	EventReleased
	// EventExpired: the deadline passed without a heartbeat.
	EventExpired
	// EventFreed: the node ID can be granted again.
	EventFreed
	// EventRevoked: no more heartbeats of the lease are accepted.
	EventRevoked
)

// Event reports to the watchers of a pool what happened to one of its leases.
type Event struct {
	Kind       EventKind
	Lease      LeaseStatus
	ServerTime snowflake.Millis
}

// emit reports an event to the watchers of a pool, if it has any.
func (s *Server) emit(p *pool, kind EventKind, l *slot, at reading) {
	if p.watched {
		s.events = append(s.events,
			Event{Kind: kind, Lease: p.status(l, at), ServerTime: at.server})
	}
}

// emitByTime is emit for an event that only time brings: LimitEvents counts it.
func (s *Server) emitByTime(p *pool, kind EventKind, l *slot, at reading) {
	s.emit(p, kind, l, at)
	if p.eventsLeft > 0 {
		p.eventsLeft--
	}
}

// SetWatched says whether events of a pool are wanted.
func (s *Server) SetWatched(name PoolName, watched bool) {
	if p := s.pools[name]; p != nil {
		p.watched, p.eventsLeft = watched, -1
	}
}

// LimitEvents limits how many events that only time brings a watched pool
// reports until LimitEvents is called again: a million leases may expire at one
// instant, more than any watcher can read. Below 0 there is no limit. Other
// events are not limited.
func (s *Server) LimitEvents(name PoolName, events int) {
	if p := s.pools[name]; p != nil && p.watched {
		p.eventsLeft = events
	}
}

// TakeEvents returns the events since the last call, in their order.
func (s *Server) TakeEvents() []Event {
	events := s.events
	s.events = nil
	return events
}

// Settle reports the events that time has brought in a pool. It returns the
// steady time at which to call it again at the latest: when the next such event
// can come, or now if this call could not report all. ok says that there is such
// a time.
func (s *Server) Settle(now Now, name PoolName) (next time.Duration, ok bool) {
	at := s.advance(now)
	p := s.pools[name]
	if p == nil {
		return 0, false
	}
	p.settle(s, at)
	if p.lags {
		return at.steady, true
	}
	next, exact, ok := p.nextExpiry()
	if ok && !exact {
		next = max(next, at.steady+vaguePause)
	}
	if rested, any := p.nextRested(at); any && (!ok || rested < next) {
		next, ok = rested, true
	}
	return next, ok
}
