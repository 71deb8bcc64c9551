package fencing

import (
	"github.com/cirrus-id/cirrus/snowflake"
)

// Release ends a lease (S4). last is the last timestamp that the holder used,
// nil where it does not say. After the Write is acknowledged the answer is
// yes; there is no need to ask again. A Decision with neither Write nor Wait
// is yes, too: repeating a release is harmless.
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
	if p.changeOf(ref.Node) != nil {
		return Decision{Wait: WaitKey}, nil
	}
	l := p.leases.at(ref.Node)
	switch {
	case !l.matches(ref):
		return Decision{}, s.lost(p, ref, l, at)
	case l.status == Ended:
		return Decision{}, nil
	}
	p.settle(s, at)
	rec := l.ended(p.Name)
	if last != nil {
		// The holder's own last word, but never above what was promised, and
		// never so low that the windows of this ID could touch.
		rec.Ceiling = min(l.ceiling, max(*last, l.floor-1))
	}
	return Decision{Write: &Write{Batch: Batch{Records: []Record{p.begin(l, rec, changeReleased)}}}}, nil
}

// Revoke takes no more heartbeats of a lease; its ID is free after
// deadline + quarantine, as if the holder had gone silent. A Decision without
// Write and Wait says that it was revoked before.
func (s *Server) Revoke(now Now, name PoolName, node snowflake.NodeID, epoch Epoch) (Decision, *Refusal) {
	at := s.advance(now)
	p, r := s.pool(name)
	if r != nil {
		return Decision{}, r
	}
	ref := LeaseRef{Pool: name, Node: node, Epoch: epoch}
	if r := ref.validate(p); r != nil {
		return Decision{}, r
	}
	if p.changeOf(node) != nil {
		return Decision{Wait: WaitKey}, nil
	}
	l := p.leases.at(node)
	switch {
	case l == nil || l.epoch != epoch || l.status == Ended:
		return Decision{}, refuse(ReasonLeaseLost, "node ID %d of pool %q has no lease under epoch %d that could be revoked: look at its present one", node, string(name), epoch)
	case l.status == Revoked:
		return Decision{}, nil
	}
	p.settle(s, at)
	rec := l.record(p.Name)
	rec.Status = Revoked
	return Decision{Write: &Write{Batch: Batch{Records: []Record{p.begin(l, rec, changeRevoked)}}}}, nil
}

// Free ends a lease on the word of an operator that its holder is dead, as the
// holder's own Release would: without last the whole window is waited out. A
// Decision without Write and Wait says that it was ended before.
func (s *Server) Free(now Now, name PoolName, node snowflake.NodeID, epoch Epoch, last *snowflake.Millis) (Decision, *Refusal) {
	s.advance(now)
	p, r := s.pool(name)
	if r != nil {
		return Decision{}, r
	}
	ref := LeaseRef{Pool: name, Node: node, Epoch: epoch}
	if r := ref.validate(p); r != nil {
		return Decision{}, r
	}
	if p.changeOf(node) != nil {
		return Decision{Wait: WaitKey}, nil
	}
	l := p.leases.at(node)
	if l == nil || l.epoch != epoch {
		return Decision{}, refuse(ReasonLeaseLost, "node ID %d of pool %q has no lease under epoch %d that could be freed: look at its present one", node, string(name), epoch)
	}
	ref.Instance = l.instance
	return s.Release(now, ref, last)
}

// begin marks a lease's record as having a write under way: it is open to no
// other until that is acknowledged (S1).
func (p *pool) begin(l *lease, rec Record, kind changeKind) Record {
	l.pending = &change{kind: kind, instance: l.instance, ttl: l.ttl, from: l.shelf}
	if kind.moves() {
		p.leaving[l.shelf]++
		p.unplace(l)
	}
	return rec
}

// recordWritten makes an acknowledged record show.
func (s *Server) recordWritten(p *pool, rec *Record, at reading) {
	l, c := p.leases.at(rec.Node), p.changeOf(rec.Node)
	if l == nil {
		l = &lease{node: rec.Node}
		p.add(l)
		delete(p.granting, rec.Node)
	}
	l.pending = nil
	p.settle(s, at) // what came free before this does, is in line before it
	if c.kind.moves() && c.kind != changeGranted {
		p.leaving[c.from]--
	}
	switch c.kind {
	case changeGranted:
		p.forgetApp(l)
		p.forget(l)
		l.deadline = c.deadline
		l.noteAt = s.silentAt(c.deadline-rec.TTL, rec.TTL)
		p.show(s, l, rec, EventGranted, at)
		p.setInstance(rec.Instance, rec.Node)
		p.setLast(rec.App, rec.Node)
	case changeReleased:
		p.forget(l)
		p.show(s, l, rec, EventReleased, at)
	case changeRevoked:
		p.forget(l)
		p.show(s, l, rec, EventRevoked, at)
	case changeNoted:
		p.forget(l)
		l.set(rec)
	case changeSilent:
		l.set(rec)
		if l.shelf == Free { // it came free while it could not be noted as ended
			p.unnoted = append(p.unnoted, l.node)
		}
	case changeHeard:
		s.heard(p, l, rec, c, at)
	}
	p.listen(l)
}

// show puts a lease on its shelf with its new record, and tells the watchers.
func (p *pool) show(s *Server, l *lease, rec *Record, kind EventKind, at reading) {
	l.set(rec)
	p.place(l, at)
	s.emit(p, kind, l, at)
	if l.shelf == Free {
		s.emit(p, EventFreed, l, at)
	}
}
