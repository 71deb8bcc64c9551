package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// MaxQueue is how many requests may wait for a free ID of one pool.
const MaxQueue = 1024

// retrySoon is when to ask again for a free ID where only the outcome of a
// write under way tells when there will be one.
const retrySoon = 100 * time.Millisecond

// AcquireRequest asks for a node ID. App and instance must be valid; see
// AppID.Validate and InstanceID.Validate.
type AcquireRequest struct {
	Pool     PoolName
	App      AppID
	Instance InstanceHash
	// TTL is what the app asks for; 0: the pool's.
	TTL time.Duration
	// Queue: wait in line where no ID is free. Without it, a request has a place
	// in line only while it waits for the mark, and while those before it are
	// served and an ID may be left for it.
	Queue bool
	// Ticket is the place in line that an earlier answer gave. It is the
	// instance's: all its requests that wait have the same one.
	Ticket Ticket
}

// Acquire decides on a grant (S2), or gives an instance its lease again. A Write
// and a Lease end the instance's place in the queue, a refusal the request's part
// in it.
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
		r := refuse(ReasonNotOpened, "pool %q opens in %v: its store is new and an earlier one may have been lost with leases out; wait until then",
			string(p.Name), (s.opensAt(p) - at.steady).Round(time.Second))
		r.RetryAfter = max(s.opensAt(p)-at.steady, time.Millisecond)
		return Decision{}, r
	}
	if !s.promising(at) {
		// One that won't wait for a free ID has a place in line meanwhile, too: an
		// ID may be free for it. Nobody overtakes who comes when the mark is written.
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
			d.Wait = WaitSettled // with a place in line: nobody overtakes
		}
		return d, r
	}
	if last := p.Layout.LastTimestamp(); at.server.Add(ttl) > last {
		return Decision{}, refuse(ReasonLayoutExhausted, "the layout of pool %q ends at %d, within the lease's ttl: move to a pool with a later origin", string(p.Name), last)
	}
	return Decision{Write: s.grant(p, node, ttl, req, at)}, nil
}

// requestedTTL is a lease's TTL: the pool's, or what is asked for. With several
// replicas that must outlive a takeover, too (S11).
func (s *Server) requestedTTL(p *pool, asked time.Duration) (time.Duration, *Refusal) {
	least := max(MinTTL, s.shortestTTL)
	switch {
	case asked == 0:
		return p.TTL, nil
	case asked < least || asked > p.MaxTTL:
		return 0, invalid("ttl", "%v is out of range: give %v to the pool's max_ttl, %v, or leave it out", asked, least, p.MaxTTL)
	}
	return asked, nil
}

// acquireAgain gives an instance whose record is live its lease again, as if
// by heartbeat (S2). While the grant's own write is under way, the deadline
// moves at once and the answer waits.
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

// choose picks a free ID: the one that this app ID held last, else the one
// that has been free longest. IDs never granted have been free from the start.
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
			p.restAnew(looked, at) // so that nobody looks at it again
		} else if p.sweeping {
			break
		}
	}
	return 0, false
}

// grantable: free, and no write of its record is under way (S1).
func (p *pool) grantable(l *slot, at reading) bool {
	return l != nil && l.pending == nil && p.isFree(l, at)
}

// grant decides on a grant of a free ID (S2).
func (s *Server) grant(p *pool, node snowflake.NodeID, ttl time.Duration, req AcquireRequest, at reading) *Write {
	p.highest++ // S2: above every epoch in the pool, those under way included
	rec := Record{
		Pool: p.Name, Node: node, Epoch: p.highest, App: req.App, Instance: req.Instance,
		TTL: ttl, Status: Live,
		Floor:   at.server,          // above every ceiling promised before: the ID is free
		Ceiling: at.server.Add(ttl), // at most mark + TTL: we are promising
	}
	c := &pendingWrite{kind: pendingGrant, deadline: at.steady + ttl, instance: req.Instance, ttl: ttl}
	if l := p.slots.at(node); l != nil {
		p.unplace(l)
		l.pending = c
	} else {
		p.granting[node] = c
	}
	p.setInstance(req.Instance, node)
	return &Write{Batch: Batch{Records: []Record{rec}}, Grants: true}
}
