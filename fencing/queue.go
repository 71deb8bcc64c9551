package fencing

import (
	"fmt"
	"slices"
	"time"
)

// Ticket names a place in a pool's queue for a free ID. 0 is none.
type Ticket uint64

// place is an instance's in line: it has one, whatever it asks, and keeps it for
// as long as one of its requests waits (S2).
type place struct {
	instance InstanceHash
	ticket   Ticket
	requests int // how many wait
}

// isTurn: first come, first served; nobody overtakes those who wait.
func (p *pool) isTurn(instance InstanceHash) bool {
	return len(p.queue) == 0 || p.queue[0].instance == instance
}

// enqueue lets the request wait in line, or refuses it where it doesn't want to
// and nothing may be left for it.
func (s *Server) enqueue(p *pool, req AcquireRequest, at reading) (Decision, *Refusal) {
	if !req.Queue && !p.mayServe(req, at) {
		r := refuse(ReasonNoFreeNodeID, "every node ID of pool %q is taken or in quarantine: ask again later, wait in line, or grow the pool's range", string(p.Name))
		r.RetryAfter = s.untilFree(p, at)
		return Decision{}, r
	}
	ticket, ok := s.join(p, req)
	switch {
	case !ok:
		r := refuse(ReasonQueueFull, "%d apps already wait for a node ID of pool %q, which is the most: ask again later, or grow the pool's range", MaxQueue, string(p.Name))
		r.RetryAfter = min(time.Second, s.untilFree(p, at))
		return Decision{}, r
	case !req.Queue:
		return Decision{Wait: WaitTurn, Ticket: ticket, At: at.steady + retrySoon}, nil
	case !p.isTurn(req.Instance):
		return Decision{Wait: WaitFree, Ticket: ticket}, nil
	}
	next, _ := p.nextFree(at)
	return Decision{Wait: WaitFree, Ticket: ticket, At: next}, nil
}

// mayServe says whether an ID may be left for a request when those before it in
// line have been served.
func (p *pool) mayServe(req AcquireRequest, at reading) bool {
	return !p.isTurn(req.Instance) && p.hasFree(at)
}

// hasFree says whether there is a free ID, or may be one that settle hasn't got to
// yet.
func (p *pool) hasFree(at reading) bool {
	return p.free.len > 0 || p.hasFresh() || p.mayHaveFree(at)
}

// join returns the instance's place in line, at the end where it has none yet;
// ok: there was room for it.
func (s *Server) join(p *pool, req AcquireRequest) (_ Ticket, ok bool) {
	i := slices.IndexFunc(p.queue, func(other place) bool { return other.instance == req.Instance })
	switch {
	case i < 0 && len(p.queue) >= MaxQueue:
		return 0, false
	case i < 0:
		s.lastTicket++
		p.queue = append(p.queue, place{req.Instance, s.lastTicket, 1})
		return s.lastTicket, true
	case p.queue[i].ticket != req.Ticket: // another request of the instance's
		p.queue[i].requests++
	}
	return p.queue[i].ticket, true
}

// untilFree is when to ask again for a free ID: never later than one is free of
// which it is known already.
func (s *Server) untilFree(p *pool, at reading) time.Duration {
	next, known := p.nextFree(at)
	if wait := max(next-at.steady, time.Millisecond); known && !s.mayFreeSoon(p, at) {
		return wait
	} else if known {
		return min(wait, retrySoon)
	}
	return retrySoon
}

// stirs says whether an ID may be free as soon as a write under way is
// acknowledged, or those in line have been served.
func (s *Server) mayFreeSoon(p *pool, at reading) bool {
	return p.hasFree(at) || p.leaving != [Free + 1]int{} || s.changing[p.Name]
}

// hasFresh says whether there is an ID that was never granted.
func (p *pool) hasFresh() bool {
	return int(p.Last-p.First)+1 > p.nodes.len+len(p.granting)
}

// LeaveQueue gives up a request's part in a place in line: its caller is gone, or
// has waited for as long as it would.
func (s *Server) LeaveQueue(name PoolName, t Ticket) {
	if p := s.pools[name]; p != nil {
		p.leaveQueue(t)
	}
}

// leaveQueue ends the place with its last request.
func (p *pool) leaveQueue(t Ticket) {
	i := slices.IndexFunc(p.queue, func(other place) bool { return other.ticket == t })
	if i < 0 {
		return
	}
	if p.queue[i].requests--; p.queue[i].requests == 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
	}
}

// endPlace ends an instance's place: it needs none any more.
func (p *pool) endPlace(instance InstanceHash) {
	p.queue = slices.DeleteFunc(p.queue, func(other place) bool { return other.instance == instance })
}

// Turn is the ticket whose turn it is in a pool, or 0.
func (s *Server) Turn(name PoolName) Ticket {
	if p := s.pools[name]; p != nil && len(p.queue) > 0 {
		return p.queue[0].ticket
	}
	return 0
}

// checkQueue: an instance has one place, and none beside a lease.
func (p *pool) checkQueue() error {
	for i, here := range p.queue {
		if here.requests < 1 {
			return fmt.Errorf("nobody waits with ticket %d", here.ticket)
		}
		for _, other := range p.queue[:i] {
			if other.instance == here.instance || other.ticket >= here.ticket {
				return fmt.Errorf("ticket %d stands behind ticket %d", here.ticket, other.ticket)
			}
		}
		if node, ok := p.nodeOf(here.instance); ok {
			return fmt.Errorf("ticket %d is of an instance that has node ID %d", here.ticket, node)
		}
	}
	return nil
}
