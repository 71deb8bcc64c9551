package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// LeaseStatus is a lease as listings and events show it: without the instance.
type LeaseStatus struct {
	Pool           PoolName
	Node           snowflake.NodeID
	Epoch          Epoch
	App            AppID
	TTL            time.Duration
	Floor, Ceiling snowflake.Millis
	State          State
	// TimeLeft is how long the state lasts if nothing happens; 0 where Free.
	TimeLeft time.Duration
	Revoked  bool
}

// EventKind says what happened to a node ID.
type EventKind uint8

// The kinds of events.
const (
	// EventGranted: a grant is durable, or a late heartbeat made an expired
	// lease live again under the same epoch.
	EventGranted EventKind = iota + 1
	// EventReleased: the holder gave it back.
	EventReleased
	// EventExpired: the deadline passed without a heartbeat.
	EventExpired
	// EventFreed: it can be granted again.
	EventFreed
	// EventRevoked: no more heartbeats are taken.
	EventRevoked
)

// Event is something that happened, for watchers.
type Event struct {
	Kind       EventKind
	Lease      LeaseStatus
	ServerTime snowflake.Millis
}

// emit tells the watchers of a pool, if it has any.
func (s *Server) emit(p *pool, kind EventKind, l *slot, at reading) {
	if p.watched {
		s.events = append(s.events, Event{Kind: kind, Lease: p.status(l, at), ServerTime: at.server})
	}
}

// emitByTime is emit for what time alone brings.
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

// LimitEvents limits the events that time alone brings in a watched pool, until
// it is called again: a million leases may expire at one instant, and no watcher
// could take that in. Below 0: no limit. All other events come in any number.
func (s *Server) LimitEvents(name PoolName, events int) {
	if p := s.pools[name]; p != nil && p.watched {
		p.eventsLeft = events
	}
}

// TakeEvents hands over the events since the last call, in their order.
func (s *Server) TakeEvents() []Event {
	events := s.events
	s.events = nil
	return events
}

// Settle lets time pass in a pool, so that its events come, and says at which
// steady time to call it again at the latest: when the next one can, or at once
// where it has not got through.
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

// Pool returns a pool as acknowledged, and, where it is not opened, for how
// long it will not be.
func (s *Server) Pool(now Now, name PoolName) (Pool, time.Duration, *Refusal) {
	at := s.advance(now)
	p, r := s.pool(name)
	if r != nil {
		return Pool{}, 0, r
	}
	if p.Opened {
		return p.Pool, 0, nil
	}
	return p.Pool, max(s.opensAt(p)-at.steady, 0), nil
}

// List returns up to limit leases of IDs ever granted, by node ID, beginning
// at from; next is where to go on if there are more.
func (s *Server) List(now Now, name PoolName, from snowflake.NodeID, limit int) (leases []LeaseStatus, next snowflake.NodeID, more bool, r *Refusal) {
	at := s.advance(now)
	p, r := s.pool(name)
	if r != nil {
		return nil, 0, false, r
	}
	p.settle(s, at)
	leases = make([]LeaseStatus, 0, min(limit, p.slots.len))
	next, more = p.nodes.next(from)
	for ; more && len(leases) < limit; next, more = p.nodes.next(next + 1) {
		leases = append(leases, p.status(p.slots.at(next), at))
	}
	return leases, next, more, nil
}

// Lease returns one lease as listings show it.
func (s *Server) Lease(now Now, name PoolName, node snowflake.NodeID) (LeaseStatus, bool) {
	at := s.advance(now)
	p := s.pools[name]
	if p == nil || p.slots.at(node) == nil {
		return LeaseStatus{}, false
	}
	return p.status(p.slots.at(node), at), true
}

func (p *pool) status(l *slot, at reading) LeaseStatus {
	v := LeaseStatus{
		Pool: p.Name, Node: l.node, Epoch: l.epoch, App: l.app, TTL: l.ttl,
		Floor: l.floor, Ceiling: l.ceiling, State: p.state(l, at), Revoked: l.status == Revoked,
	}
	switch {
	case v.State == Free && l.pending != nil:
		v.State = Quarantined // a write of its record is under way
	case v.State == Held:
		v.TimeLeft = l.deadline - at.steady
	case v.State == Quarantined:
		v.TimeLeft = p.freeAt(l, at) - at.steady
	}
	return v
}

// PoolStats are a pool's numbers, for metrics.
type PoolStats struct {
	Held, Quarantined, Free int
	// NextFree is in how long the next ID can become free by time; it counts
	// only where NextKnown.
	NextFree  time.Duration
	NextKnown bool
	// Waiting is how many instances stand in the queue.
	Waiting int
	// Opened says whether the pool grants (S7).
	Opened bool
}

// Stats returns a pool's numbers. IDs with a write under way count as what
// they were before.
func (s *Server) Stats(now Now, name PoolName) (PoolStats, bool) {
	at := s.advance(now)
	p := s.pools[name]
	if p == nil {
		return PoolStats{}, false
	}
	p.settle(s, at)
	st := PoolStats{Waiting: len(p.queue), Opened: p.Opened}
	st.Held = len(p.expiring) + p.leaving[Held]
	st.Quarantined = len(p.resting) + len(p.cooling) + p.leaving[Quarantined]
	st.Free = int(p.Last-p.First) + 1 - st.Held - st.Quarantined
	if next, ok := p.nextFree(at); ok {
		st.NextFree, st.NextKnown = max(next-at.steady, 0), true
	}
	return st, true
}
