package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Write is a change that has been decided on. It must be durable before anyone
// is told of it.
type Write struct {
	Batch Batch
	// Grants says that the write is the grant of a lease.
	Grants bool
	// sent is the steady time before the write was sent (S10).
	sent time.Duration
}

// Join returns one write for several of Heartbeat's, which have a record each.
func Join(writes []*Write) *Write {
	w := &Write{}
	for _, one := range writes {
		w.Batch.Records = append(w.Batch.Records, one.Batch.Records...)
	}
	return w
}

// begin marks a slot's record as being written: no other write of it may start
// until this one is acknowledged (S1).
func (p *pool) begin(l *slot, rec Record, kind pendingKind) Record {
	l.pending = &pendingWrite{kind: kind, instance: l.instance, ttl: l.ttl, from: l.indexedAs}
	if kind.moves() {
		p.leaving[l.indexedAs]++
		p.unplace(l)
	}
	return rec
}

// pendingOf returns the write of a node ID's record that is in progress, nil if
// there is none.
func (p *pool) pendingOf(node snowflake.NodeID) *pendingWrite {
	if l := p.slots.at(node); l != nil {
		return l.pending
	}
	return p.granting[node]
}

// Written takes in that the write's batch is durable. From now on the server
// shows what is in it.
func (s *Server) Written(now Now, w *Write) {
	at := s.advance(now)
	if w.Batch.Meta != nil {
		s.meta = *w.Batch.Meta
		s.mark.acknowledged(w.sent)
	}
	for _, settings := range w.Batch.Pools {
		delete(s.changing, settings.Name)
		s.poolWritten(settings, at)
	}
	for i := range w.Batch.Records {
		rec := &w.Batch.Records[i]
		s.recordWritten(s.pools[rec.Pool], rec, at)
	}
}

// recordWritten makes an acknowledged record visible.
func (s *Server) recordWritten(p *pool, rec *Record, at reading) {
	l, c := p.slots.at(rec.Node), p.pendingOf(rec.Node)
	if l == nil {
		l = &slot{node: rec.Node}
		p.add(l)
		delete(p.granting, rec.Node)
	}
	l.pending = nil
	p.settle(s, at) // what came free before this node ID does is granted before it
	if c.kind.moves() && c.kind != pendingGrant {
		p.leaving[c.from]--
	}
	switch c.kind {
	case pendingGrant:
		s.granted(p, l, rec, c, at)
	case pendingRelease:
		p.forget(l)
		p.show(s, l, rec, EventReleased, at)
	case pendingRevoke:
		p.forget(l)
		p.show(s, l, rec, EventRevoked, at)
	case pendingEndNote:
		p.forget(l)
		l.set(rec)
	case pendingSilenceNote:
		l.set(rec)
		if l.indexedAs == Free { // it came free while it could not be noted as ended
			p.unnoted = append(p.unnoted, l.node)
		}
	case pendingNoteRemoval:
		s.noteRemoved(p, l, rec, c, at)
	}
	p.trackSilence(l)
}

// granted makes a grant visible: the node ID has a new lease, and its app and
// instance lead to it.
func (s *Server) granted(p *pool, l *slot, rec *Record, c *pendingWrite, at reading) {
	p.forgetApp(l)
	p.forget(l)
	l.deadline = c.deadline
	l.noteAt = s.silentAt(c.deadline-rec.TTL, rec.TTL)
	p.show(s, l, rec, EventGranted, at)
	p.setInstance(rec.Instance, rec.Node)
	p.setLast(rec.App, rec.Node)
}

// show puts a slot into the index with its new record, and reports it to the
// watchers.
func (p *pool) show(s *Server, l *slot, rec *Record, kind EventKind, at reading) {
	l.set(rec)
	p.place(l, at)
	s.emit(p, kind, l, at)
	if l.indexedAs == Free {
		s.emit(p, EventFreed, l, at)
	}
}
