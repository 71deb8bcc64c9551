package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// LeaseStatus is a lease as listings and events show it: without its instance.
type LeaseStatus struct {
	Pool           PoolName
	Node           snowflake.NodeID
	Epoch          Epoch
	App            AppID
	TTL            time.Duration
	Floor, Ceiling snowflake.Millis
	State          State
	// TimeLeft is how long the state lasts if no request changes it; 0 if Free.
	TimeLeft time.Duration
	Revoked  bool
}

// Pool returns a pool as last acknowledged, and for how long it does not grant yet:
// 0 if it is opened (S7).
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

// List returns up to limit leases of node IDs ever granted, ordered by node ID
// and starting at from. If there are more, next is the from of the next call.
func (s *Server) List(now Now, name PoolName, from snowflake.NodeID,
	limit int) (leases []LeaseStatus, next snowflake.NodeID, more bool, r *Refusal) {
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

// Lease returns the last lease of a node ID as listings show it; false if the
// node ID was never granted.
func (s *Server) Lease(now Now, name PoolName, node snowflake.NodeID) (LeaseStatus, bool) {
	at := s.advance(now)
	p := s.pools[name]
	if p == nil || p.slots.at(node) == nil {
		return LeaseStatus{}, false
	}
	return p.status(p.slots.at(node), at), true
}

// status returns what listings and events show of a slot.
func (p *pool) status(l *slot, at reading) LeaseStatus {
	st := LeaseStatus{
		Pool: p.Name, Node: l.node, Epoch: l.epoch, App: l.app, TTL: l.ttl,
		Floor: l.floor, Ceiling: l.ceiling, State: p.state(l, at), Revoked: l.status == Revoked,
	}
	switch {
	case st.State == Free && l.pending != nil:
		st.State = Quarantined // a write of its record is in progress
	case st.State == Held:
		st.TimeLeft = l.deadline - at.steady
	case st.State == Quarantined:
		st.TimeLeft = p.freeAt(l, at) - at.steady
	}
	return st
}

// PoolStats are a pool's figures, for metrics.
type PoolStats struct {
	Held, Quarantined, Free int
	// NextFree is the time until the next node ID can become free by time. It is
	// valid only if NextKnown.
	NextFree  time.Duration
	NextKnown bool
	// Waiting is the number of instances in the queue.
	Waiting int
	// Opened says that the pool grants (S7).
	Opened bool
}

// Stats returns a pool's figures. A node ID whose write is in progress counts as
// what it was before.
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
