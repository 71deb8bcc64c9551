package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

const (
	// portion is how many leases a call moves from shelf to shelf at most. A
	// million may expire at one instant: what is left over is lag, which Tick
	// and Settle work off, and whoever finds no free ID. No rule rests on it,
	// since rules compare (S5); no heartbeat waits for it (S14).
	portion = 256
	// maxRepairs is how many leases that heartbeats have moved are put right to
	// find the next one to expire.
	maxRepairs = 64
	// maxSkipped is how many IDs that are taken again are looked through, for
	// one write, to find some to note.
	maxSkipped = 4096
	// settlePause is between two portions that Tick asks for.
	settlePause = time.Millisecond
	// vaguePause is what Settle leaves to the next look where it has found no
	// exact time for it.
	vaguePause = 50 * time.Millisecond
)

// settle moves leases whose time has come to the next shelf and tells the
// watchers, for as long as the call's portion and the watchers' room last.
// Nothing depends on when it runs (S5), and the order of the free ones only
// where it lags.
func (p *pool) settle(s *Server, at reading) {
	p.expire(s, at)
	p.sweepOn(s, at)
	p.finishRest(s, at)
	p.lags = p.sweeping || p.isDue(at, 0)
}

// expire takes those whose deadline is over off their shelf, for half of the
// portion at most: the other half finds free IDs, however many expire.
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

// finishRest moves quarantined leases on, first the one whose time was over
// first, be it by the steady clock or by server time.
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

// sweepOn looks at leases in order of their node IDs after the quarantine has
// changed: where they stand, or when they are due, was counted by the old one.
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

// restAnew puts a lease back among the quarantined ones if the quarantine
// matters to it.
func (p *pool) restAnew(l *slot, at reading) {
	staying := l.pending == nil || l.pending.kind == pendingSilenceNote
	if staying && l.status != Ended && (l.indexedAs == Quarantined || l.indexedAs == Free && !p.isFree(l, at)) {
		p.unplace(l)
		p.rest(l, at)
	}
}

// isDue says whether the time of a lease on a shelf is over, of one that is
// held by so much as late.
func (p *pool) isDue(at reading, late time.Duration) bool {
	return p.expiring.due(at.steady-late) != nil || p.resting.due(at.steady) != nil || p.cooling.due((at.server-1).Sub(0)) != nil
}

// hides says whether an ID may be free that stands on no shelf of free ones
// yet. One that is held can be so only after the quarantine, too.
func (p *pool) mayHaveFree(at reading) bool {
	return p.sweeping || p.isDue(at, p.Quarantine)
}

// find is choose, which works off what lags as far as the portion goes if there
// is no free ID otherwise. sure says that there is none.
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

// settleLag does a call's portion in the pools that lag, and says whether any
// still does.
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
