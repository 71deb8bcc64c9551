package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// MaxQueue is how many requests may wait for a free ID of one pool.
const MaxQueue = 1024

// retrySoon is the time after which to ask again for a free node ID if the outcome
// of a write in progress decides when there is one.
const retrySoon = 100 * time.Millisecond

// AcquireRequest asks for a node ID. App and instance must be valid; see
// AppID.Validate and InstanceID.Validate.
type AcquireRequest struct {
	Pool     PoolName
	App      AppID
	Instance InstanceHash
	// TTL is what the app asks for; 0 asks for the pool's TTL.
	TTL time.Duration
	// Queue makes the request wait in the queue if no node ID is free. Without it,
	// a request has a place in the queue only while it waits for the mark, or while
	// those before it are served and a node ID may remain for it.
	Queue bool
	// Ticket is the place in the queue that an earlier answer gave. A place belongs
	// to an instance: all its waiting requests have the same ticket.
	Ticket Ticket
}

// Acquire decides on a grant, or gives an instance its lease again (S2). If it
// returns a Write or a Lease, the instance's place in the queue ends; if it
// refuses, only this request gives up the place.
func (s *Server) Acquire(now Now, req AcquireRequest) (Decision, *Refusal) {
	at := s.advance(now)
	p, r := s.pool(req.Pool)
	if r != nil {
		return Decision{}, r
	}
	p.settle(s, at)
	d, r := s.acquire(p, req, at)
	switch {
	case r != nil:
		p.leaveQueue(req.Ticket)
	case d.Wait == WaitNone:
		p.endPlace(req.Instance)
	case d.Ticket == 0:
		d.Ticket = req.Ticket
	}
	return d, r
}

func (s *Server) acquire(p *pool, req AcquireRequest, at reading) (Decision, *Refusal) {
	ttl, r := s.requestedTTL(p, req.TTL)
	if r != nil {
		return Decision{}, r
	}
	if d, ok := s.acquireAgain(p, req.Instance, at); ok {
		return d, nil
	}
	if !p.Opened {
		r := refuse(ReasonNotOpened,
			"pool %q opens in %v: its store is new and an earlier one may have been lost with leases out; wait until then",
			string(p.Name), (s.opensAt(p) - at.steady).Round(time.Second))
		r.RetryAfter = max(s.opensAt(p)-at.steady, time.Millisecond)
		return Decision{}, r
	}
	if !s.promising(at) {
		// A request without Queue also gets a place in the queue while it waits for
		// the mark: a node ID may be free for it, and a request that comes after the
		// mark is written must not overtake it.
		ticket, _ := s.join(p, req)
		return Decision{Wait: WaitMark, Ticket: ticket}, nil
	}
	if !p.isTurn(req.Instance) {
		return s.enqueue(p, req, at)
	}
	node, ok, sure := p.find(s, req.App, at)
	switch {
	case !ok && !sure && !req.Queue:
		return Decision{Wait: WaitSettled}, nil
	case !ok:
		d, r := s.enqueue(p, req, at)
		if r == nil && !sure {
			d.Wait = WaitSettled // it keeps its place in the queue meanwhile
		}
		return d, r
	}
	if last := p.Layout.LastTimestamp(); at.server.Add(ttl) > last {
		return Decision{}, refuse(ReasonLayoutExhausted,
			"the layout of pool %q ends at %d, within the lease's ttl: move to a pool with a later origin", string(p.Name), last)
	}
	return Decision{Write: s.grant(p, node, ttl, req, at)}, nil
}

// requestedTTL returns the TTL of a new lease: what is asked for, or else the
// pool's. With several replicas the lease must also outlive a takeover (S11).
func (s *Server) requestedTTL(p *pool, asked time.Duration) (time.Duration, *Refusal) {
	least := max(MinTTL, s.shortestTTL)
	switch {
	case asked == 0:
		return p.TTL, nil
	case asked < least || asked > p.MaxTTL:
		return 0, invalid("ttl",
			"%v is out of range: give %v to the pool's max_ttl, %v, or leave it out", asked, least,
			p.MaxTTL)
	}
	return asked, nil
}

// acquireAgain gives an instance with a live record its lease again, as a
// heartbeat would (S2). While the write of the grant itself is in progress, it
// moves the deadline at once, and the answer waits for the write.
func (s *Server) acquireAgain(p *pool, instance InstanceHash, at reading) (Decision, bool) {
	node, ok := p.nodeOf(instance)
	if !ok {
		return Decision{}, false
	}
	l := p.slots.at(node)
	if c := p.pendingOf(node); c != nil {
		if c.kind == pendingGrant && c.instance == instance {
			c.deadline = max(c.deadline, at.steady+c.ttl)
		}
		s.extendPending(c, at)
		return Decision{Wait: WaitKey}, true
	}
	if !s.promising(at) {
		return Decision{Wait: WaitMark}, true
	}
	if l.note != nil {
		return Decision{Write: s.removeNote(p, l, at)}, true
	}
	return Decision{Lease: s.promise(p, l, at)}, true
}

// choose picks a free node ID: the one that this app ID held last, or else the
// one that has been free longest. Node IDs that were never granted have been free
// from the start.
func (p *pool) choose(s *Server, app AppID, at reading) (snowflake.NodeID, bool) {
	if node, ok := p.lastOf(app); ok && p.grantable(p.slots.at(node), at) {
		return node, true
	}
	for p.fresh = p.nodes.nextOut(p.fresh); p.fresh <= p.Last; p.fresh = p.nodes.nextOut(p.fresh + 1) {
		if p.granting[p.fresh] == nil {
			return p.fresh, true
		}
	}
	for l := p.free.first; l != nil; {
		looked := l
		if p.grantable(l, at) {
			return l.node, true
		}
		if l = l.next; p.sweeping && s.spare > 0 {
			s.spare--
			p.restAnew(looked, at) // so that no later call checks it again
		} else if p.sweeping {
			break
		}
	}
	return 0, false
}

// grantable reports whether a node ID is free and no write of its record is in
// progress (S1).
func (p *pool) grantable(l *slot, at reading) bool {
	return l != nil && l.pending == nil && p.isFree(l, at)
}

// grant decides on the grant of a free node ID (S2).
func (s *Server) grant(p *pool, node snowflake.NodeID, ttl time.Duration, req AcquireRequest, at reading) *Write {
	p.highest++ // S2: above every epoch in the pool, those of grants in progress included
	rec := Record{
		Pool: p.Name, Node: node, Epoch: p.highest, App: req.App, Instance: req.Instance,
		TTL: ttl, Status: Live,
		Floor:   at.server,          // above every ceiling promised before: the ID is free
		Ceiling: at.server.Add(ttl), // at most mark + TTL: we are promising
	}
	c := &pendingWrite{kind: pendingGrant, deadline: at.steady + ttl, instance: req.Instance,
		ttl: ttl}
	if l := p.slots.at(node); l != nil {
		p.unplace(l)
		l.pending = c
	} else {
		p.granting[node] = c
	}
	p.setInstance(req.Instance, node)
	return &Write{Batch: Batch{Records: []Record{rec}}, Grants: true}
}
