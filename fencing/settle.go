package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

const (
	// portion is the most slots that one call moves within the index. A million
	// leases may expire at one instant. The slots that are not moved lag: Tick,
	// Settle and an Acquire that finds no free node ID move them later. No rule
	// depends on that, since rules compare (S5), and no heartbeat waits for it
	// (S14).
	portion = 256
	// maxRepairs is the most slots that nextExpiry moves in the heap because
	// heartbeats have changed their deadline.
	maxRepairs = 64
	// maxSkipped is the most node IDs that noteEnded checks for one write: those in
	// unnoted may have been granted again.
	maxSkipped = 4096
	// settlePause is the time between two portions that Tick asks for.
	settlePause = time.Millisecond
	// vaguePause is the least time until the next call of Settle if no exact time
	// for it is known.
	vaguePause = 50 * time.Millisecond
)

// settle moves slots that are due to the next part of the index and reports that
// to the watchers, until the call's portion or the limit of events is used up. No
// rule depends on when it runs (S5). If it lags, the free node IDs may be in
// another order.
func (p *pool) settle(s *Server, at reading) {
	p.expire(s, at)
	p.sweepOn(s, at)
	p.finishRest(s, at)
	p.lags = p.sweeping || p.isDue(at, 0)
}

// expire moves slots whose deadline has passed to the quarantined ones. It uses
// half of the portion at most: the other half is for finding free node IDs,
// however many leases expire.
func (p *pool) expire(s *Server, at reading) {
	for half := s.spare / 2; s.spare > half && p.eventsLeft != 0; {
		l := p.expiring.due(at.steady)
		if l == nil {
			return
		}
		s.spare--
		if p.state(l, at) == Held {
			p.expiring.later(l.deadline) // a heartbeat has moved it
			continue
		}
		p.unplace(l)
		p.rest(l, at)
		s.emitByTime(p, EventExpired, l, at)
	}
}

// finishRest moves quarantined slots on that are due by the steady clock or by
// server time, the one that was due first before the others.
func (p *pool) finishRest(s *Server, at reading) {
	before := (at.server - 1).Sub(0) // free: server time > the last ceiling
	for s.spare > 0 && p.eventsLeft != 0 {
		l := p.resting.due(at.steady)
		if cool := p.cooling.due(before); l == nil || cool != nil && cool.due-before < l.due-at.steady {
			l = cool
		}
		if l == nil {
			return
		}
		s.spare--
		p.unplace(l)
		if p.place(l, at); l.indexedAs == Free {
			s.emitByTime(p, EventFreed, l, at)
		}
	}
}

// sweepOn checks slots in order of their node IDs after the quarantine has changed:
// their part of the index, or the time at which they are due, follows from the old
// quarantine.
func (p *pool) sweepOn(s *Server, at reading) {
	for p.sweeping && s.spare > 0 {
		node, ok := p.nodes.next(p.sweep)
		if !ok {
			p.sweeping = false
			return
		}
		p.sweep = node + 1
		s.spare--
		p.restAnew(p.slots.at(node), at)
	}
}

// restAnew puts a slot among the quarantined ones again if the changed quarantine
// applies to it.
func (p *pool) restAnew(l *slot, at reading) {
	staying := l.pending == nil || l.pending.kind == pendingSilenceNote
	if staying && l.status != Ended &&
		(l.indexedAs == Quarantined || l.indexedAs == Free && !p.isFree(l, at)) {
		p.unplace(l)
		p.rest(l, at)
	}
}

// isDue reports whether a slot is due to leave its part of the index; a held one
// counts only if it has been due for at least late.
func (p *pool) isDue(at reading, late time.Duration) bool {
	return p.expiring.due(at.steady-late) != nil || p.resting.due(at.steady) != nil ||
		p.cooling.due((at.server-1).Sub(0)) != nil
}

// mayHaveFree reports whether a node ID may be free that the index does not have
// among the free ones yet. One that the index has among the held ones is free only
// after its quarantine.
func (p *pool) mayHaveFree(at reading) bool {
	return p.sweeping || p.isDue(at, p.Quarantine)
}

// find chooses a free node ID. If choose finds none, find moves slots that lag, as
// far as the portion goes, and chooses again. If ok is false, sure says that there
// certainly is none.
func (p *pool) find(s *Server, app AppID, at reading) (node snowflake.NodeID, ok, sure bool) {
	if node, ok = p.choose(s, app, at); ok || !p.mayHaveFree(at) {
		return node, ok, true
	}
	room := p.eventsLeft
	p.eventsLeft = -1 // a grant doesn't wait for watchers
	p.settle(s, at)
	p.eventsLeft = room
	node, ok = p.choose(s, app, at)
	return node, ok, !p.mayHaveFree(at)
}

// settleLag moves a portion of slots in the pools that lag, and reports whether any
// pool still lags.
func (s *Server) settleLag(at reading) (lags bool) {
	for _, p := range s.pools {
		lags = lags || p.lags
	}
	if !lags {
		return false
	}
	lags = false
	for _, name := range s.PoolNames() { // in order, so that a run can be repeated
		if p := s.pools[name]; p.lags {
			p.settle(s, at)
			lags = lags || p.lags
		}
	}
	return lags
}
