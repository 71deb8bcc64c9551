package fencing

import (
	"github.com/cirrus-id/cirrus/snowflake"
)

// LeaseRef names the lease that a request is about. Its Instance proves that the
// sender holds the lease.
type LeaseRef struct {
	Pool     PoolName
	Node     snowflake.NodeID
	Epoch    Epoch
	Instance InstanceHash
}

// validate refuses a reference that no lease of the pool can have.
func (ref LeaseRef) validate(p *pool) *Refusal {
	switch {
	case ref.Node > p.Layout.MaxNode():
		return invalid("node_id", "%d does not fit into the %d node bits of pool %q: give 0 to %d",
			ref.Node, p.Layout.NodeBits, string(p.Name), p.Layout.MaxNode())
	case ref.Epoch == 0:
		return invalid("epoch", "0 is no epoch: give the one that Acquire answered")
	}
	return nil
}

// Heartbeat keeps a lease (S3). A heartbeat is valid however late it comes: nobody
// else can have the node ID until the record is ended or another grant replaces
// it.
func (s *Server) Heartbeat(now Now, ref LeaseRef) (Decision, *Refusal) {
	at := s.advance(now)
	p, r := s.pool(ref.Pool)
	if r != nil {
		return Decision{}, r
	}
	if r := ref.validate(p); r != nil {
		return Decision{}, r
	}
	if c := p.pendingOf(ref.Node); c != nil {
		if p.slots.at(ref.Node).matches(ref) {
			s.extendPending(c, at)
		}
		return Decision{Wait: WaitKey}, nil
	}
	l := p.slots.at(ref.Node)
	if !l.matches(ref) || l.status != Live {
		return Decision{}, s.lost(p, ref, l, at)
	}
	if !s.promising(at) {
		return Decision{Wait: WaitMark}, nil
	}
	if l.note != nil {
		return Decision{Write: s.removeNote(p, l, at)}, nil
	}
	return Decision{Lease: s.promise(p, l, at)}, nil
}

// promise moves the deadline and the ceiling of a live lease, and returns the
// lease as the answer. Both only move forward (S3): before a takeover, an older
// server may have promised more.
func (s *Server) promise(p *pool, l *slot, at reading) Lease {
	l.deadline = max(l.deadline, at.steady+l.ttl)
	l.ceiling = max(l.ceiling, at.server.Add(l.ttl))
	if l.noteAt = s.silentAt(at.steady, l.ttl); l.noteAt < l.checkAt {
		p.trackSilence(l)
	}
	if l.indexedAs != Held {
		p.unplace(l)
		p.place(l, at)
		s.emit(p, EventGranted, l, at)
	}
	return Lease{
		Pool: p.Name, Node: l.node, Epoch: l.epoch, App: l.app, TTL: l.ttl,
		ServerTime: at.server, Floor: l.floor, Ceiling: l.ceiling, Layout: p.Layout,
	}
}
