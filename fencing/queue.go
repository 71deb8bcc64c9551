package fencing

import (
	"fmt"
	"slices"
	"time"
)

// Ticket names a place in a pool's queue for a free ID. 0 is none.
type Ticket uint64

// place is the place of an instance in the queue. An instance has one place at
// most, and keeps it as long as one of its requests waits (S2).
type place struct {
	instance InstanceHash
	ticket   Ticket
	requests int // the instance's requests that wait
}

// isTurn reports whether the instance may be served now: the queue is served in
// the order in which it was joined, and nobody overtakes it.
func (p *pool) isTurn(instance InstanceHash) bool {
	return len(p.queue) == 0 || p.queue[0].instance == instance
}

// enqueue lets the request wait in the queue. It refuses a request without Queue,
// unless a node ID may remain for it, and any request if the queue is full.
func (s *Server) enqueue(p *pool, req AcquireRequest, at reading) (Decision, *Refusal) {
	if !req.Queue && !p.mayServe(req, at) {
		r := refuse(ReasonNoFreeNodeID,
			"every node ID of pool %q is taken or in quarantine: ask again later, wait in line, or grow the pool's range", string(p.Name))
		r.RetryAfter = s.untilFree(p, at)
		return Decision{}, r
	}
	ticket, ok := s.join(p, req)
	switch {
	case !ok:
		r := refuse(ReasonQueueFull,
			"%d apps already wait for a node ID of pool %q, which is the most: ask again later, or grow the pool's range", MaxQueue, string(p.Name))
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

// mayServe reports whether a node ID may remain for the request when those before
// it in the queue have been served.
func (p *pool) mayServe(req AcquireRequest, at reading) bool {
	return !p.isTurn(req.Instance) && p.hasFree(at)
}

// hasFree reports whether there is a free node ID, or may be one that settle has
// not reached yet.
func (p *pool) hasFree(at reading) bool {
	return p.free.len > 0 || p.hasFresh() || p.mayHaveFree(at)
}

// join returns the ticket of the instance's place in the queue, and adds a place
// at the end if the instance has none. ok is false if the queue is full.
func (s *Server) join(p *pool, req AcquireRequest) (_ Ticket, ok bool) {
	i := slices.IndexFunc(p.queue, func(other place) bool { return other.instance == req.Instance })
	switch {
	case i < 0 && len(p.queue) >= MaxQueue:
		return 0, false
	case i < 0:
		s.lastTicket++
		p.queue = append(p.queue, place{req.Instance, s.lastTicket, 1})
		return s.lastTicket, true
	case p.queue[i].ticket != req.Ticket: // another request of the same instance
		p.queue[i].requests++
	}
	return p.queue[i].ticket, true
}

// untilFree returns the time after which to ask again for a free node ID. It is
// never longer than until the next one that is known to become free.
func (s *Server) untilFree(p *pool, at reading) time.Duration {
	next, known := p.nextFree(at)
	if wait := max(next-at.steady, time.Millisecond); known && !s.mayFreeSoon(p, at) {
		return wait
	} else if known {
		return min(wait, retrySoon)
	}
	return retrySoon
}

// mayFreeSoon reports whether a node ID may be free as soon as a write in progress
// is acknowledged, or those in the queue have been served.
func (s *Server) mayFreeSoon(p *pool, at reading) bool {
	return p.hasFree(at) || p.leaving != [Free + 1]int{} || s.changing[p.Name]
}

// hasFresh reports whether there is a node ID that was never granted.
func (p *pool) hasFresh() bool {
	return int(p.Last-p.First)+1 > p.nodes.len+len(p.granting)
}

// LeaveQueue says that a request no longer waits for its place in the queue: its
// caller is gone, or has waited for as long as it wanted.
func (s *Server) LeaveQueue(name PoolName, t Ticket) {
	if p := s.pools[name]; p != nil {
		p.leaveQueue(t)
	}
}

// leaveQueue removes one request from its place, and the place with its last
// request.
func (p *pool) leaveQueue(t Ticket) {
	i := slices.IndexFunc(p.queue, func(other place) bool { return other.ticket == t })
	if i < 0 {
		return
	}
	if p.queue[i].requests--; p.queue[i].requests == 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
	}
}

// endPlace removes an instance's place, which it needs no longer.
func (p *pool) endPlace(instance InstanceHash) {
	p.queue = slices.DeleteFunc(p.queue,
		func(other place) bool { return other.instance == instance })
}

// Turn returns the ticket whose turn it is in a pool, or 0.
func (s *Server) Turn(name PoolName) Ticket {
	if p := s.pools[name]; p != nil && len(p.queue) > 0 {
		return p.queue[0].ticket
	}
	return 0
}

// Concerned returns whom a write concerns once it is acknowledged: the tickets whose
// turn it is in the pools that it touches, and the instances of its records. Their
// requests ask again; no other request in a queue has to. A mark touches every pool:
// it may let server time pass the ceiling of a node ID in any of them.
func (s *Server) Concerned(w *Write) (turns []Ticket, instances []InstanceHash) {
	add := func(name PoolName) {
		if t := s.Turn(name); t != 0 && !slices.Contains(turns, t) {
			turns = append(turns, t)
		}
	}
	for i := range w.Batch.Records {
		rec := &w.Batch.Records[i]
		if i == 0 || rec.Pool != w.Batch.Records[i-1].Pool {
			add(rec.Pool)
		}
		instances = append(instances, rec.Instance)
	}
	for _, settings := range w.Batch.Pools {
		add(settings.Name)
	}
	if w.Batch.Meta != nil {
		for name := range s.pools {
			add(name)
		}
	}
	return turns, instances
}

// checkQueue checks that an instance has one place, and none if it has a lease.
func (p *pool) checkQueue() error {
	for i, here := range p.queue {
		if here.requests < 1 {
			return fmt.Errorf("ticket %d has no request that waits", here.ticket)
		}
		for _, other := range p.queue[:i] {
			if other.instance == here.instance || other.ticket >= here.ticket {
				return fmt.Errorf(
					"ticket %d comes after ticket %d, which is of the same instance or not lower",
					here.ticket, other.ticket)
			}
		}
		if node, ok := p.nodeOf(here.instance); ok {
			return fmt.Errorf("ticket %d is of an instance that already has node ID %d",
				here.ticket, node)
		}
	}
	return nil
}
