package fencing

import (
	"github.com/cirrus-id/cirrus/snowflake"
)

// Release ends a lease (S4). last is the last timestamp that the holder used; nil
// if the holder did not say. The lease has ended when the Write is acknowledged;
// there is no need to ask again. A Decision with neither Write nor Wait says that
// the lease ended before: repeating a release is harmless.
func (s *Server) Release(now Now, ref LeaseRef, last *snowflake.Millis) (Decision, *Refusal) {
	at := s.advance(now)
	p, r := s.pool(ref.Pool)
	if r != nil {
		return Decision{}, r
	}
	if r := ref.validate(p); r != nil {
		return Decision{}, r
	}
	if last != nil && *last <= 0 {
		return Decision{}, invalid("last_timestamp_ms", "%d is no timestamp: give the last one used, or leave the field out", *last)
	}
	if p.pendingOf(ref.Node) != nil {
		return Decision{Wait: WaitKey}, nil
	}
	l := p.slots.at(ref.Node)
	switch {
	case !l.matches(ref):
		return Decision{}, s.lost(p, ref, l, at)
	case l.status == Ended:
		return Decision{}, nil
	}
	p.settle(s, at)
	rec := l.ended(p.Name)
	if last != nil {
		// The ceiling is what the holder says, but never above what was promised,
		// and never so low that two windows of this node ID could overlap.
		rec.Ceiling = min(l.ceiling, max(*last, l.floor-1))
	}
	return Decision{Write: &Write{Batch: Batch{Records: []Record{p.begin(l, rec, pendingRelease)}}}}, nil
}

// Revoke makes the server refuse all further heartbeats of a lease. The node ID is
// free after deadline + quarantine, as if the holder had gone silent. A Decision
// with neither Write nor Wait says that the lease was revoked before.
func (s *Server) Revoke(now Now, name PoolName, node snowflake.NodeID, epoch Epoch) (Decision,
	*Refusal) {
	at := s.advance(now)
	p, r := s.pool(name)
	if r != nil {
		return Decision{}, r
	}
	ref := LeaseRef{Pool: name, Node: node, Epoch: epoch}
	if r := ref.validate(p); r != nil {
		return Decision{}, r
	}
	if p.pendingOf(node) != nil {
		return Decision{Wait: WaitKey}, nil
	}
	l := p.slots.at(node)
	switch {
	case l == nil || l.epoch != epoch || l.status == Ended:
		return Decision{}, refuse(ReasonLeaseLost,
			"node ID %d of pool %q has no lease under epoch %d that could be revoked: look at its present one", node, string(name), epoch)
	case l.status == Revoked:
		return Decision{}, nil
	}
	p.settle(s, at)
	rec := l.record(p.Name)
	rec.Status = Revoked
	return Decision{Write: &Write{Batch: Batch{Records: []Record{p.begin(l, rec, pendingRevoke)}}}},
		nil
}

// Free ends a lease as its holder's Release would, when an operator says that the
// holder is dead. Without last, the node ID is free only after the whole window
// has passed. A Decision with neither Write nor Wait says that the lease ended
// before.
func (s *Server) Free(now Now, name PoolName, node snowflake.NodeID, epoch Epoch,
	last *snowflake.Millis) (Decision, *Refusal) {
	s.advance(now)
	p, r := s.pool(name)
	if r != nil {
		return Decision{}, r
	}
	ref := LeaseRef{Pool: name, Node: node, Epoch: epoch}
	if r := ref.validate(p); r != nil {
		return Decision{}, r
	}
	if p.pendingOf(node) != nil {
		return Decision{Wait: WaitKey}, nil
	}
	l := p.slots.at(node)
	if l == nil || l.epoch != epoch {
		return Decision{}, refuse(ReasonLeaseLost,
			"node ID %d of pool %q has no lease under epoch %d that could be freed: look at its present one", node, string(name), epoch)
	}
	ref.Instance = l.instance
	return s.Release(now, ref, last)
}
