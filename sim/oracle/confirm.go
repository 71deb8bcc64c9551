package oracle

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// S10 confirm: what only a Confirm can tell was true after the request had arrived.

// sure: an answer that needs a Confirm is sent only if the term lasted at an instant
// after the request had arrived.
func (o *Oracle) sure(t *term, op *operation, what string) {
	if t.deposed && t.deposedAt < op.arrivedAt {
		o.violate(PromiseConfirm,
			"%s answers %s to a request that came %v after its term had ended", t.server.name, what,
			op.arrivedAt-t.deposedAt)
	}
}

// ofTerm judges an answer that a term has given itself.
func (o *Oracle) ofTerm(t *term, op *operation, a *event.Reply) {
	switch {
	case a.Lost:
		o.sure(t, op, "LEASE_LOST")
	case a.Code == "resource_exhausted":
		o.sure(t, op, "that no node ID is free")
	case a.Good && op.call.Procedure == event.CallList:
		o.sure(t, op, "a listing")
	case a.Code == "unavailable" && t.deposed && !t.failed && t.written &&
		t.steady() > t.markAt+t.meta.Stride:
		o.saw("a deposed leader whose mark ran out refused to promise")
	}
	if a.Lease && t.deposed {
		o.saw("a deposed leader promised within its stride")
	}
	o.waitedForLeader(op, a)
}

// notConfirmed records that a Confirm has found that another term has begun.
func (o *Oracle) notConfirmed(t *term) {
	for _, op := range o.history {
		r, procedure := op.call.Request, op.call.Procedure
		if op.proc != t.proc || op.answeredAt != 0 || op.unknown ||
			procedure != event.CallHeartbeat && procedure != event.CallRelease {
			continue
		}
		d := t.view[event.Key{Pool: r.Pool, Node: r.Node}]
		if uint64(d.Epoch) != r.Epoch || d.Instance != fencing.InstanceID(r.Instance).Hash() ||
			d.Status != fencing.Live {
			o.saw("Confirm kept a deposed leader from saying LEASE_LOST")
			return
		}
	}
}

// neverLost: etcd has lost nothing, so a replica that tells of a lost write (S12)
// has missed a write that was made after its term.
func (o *Oracle) neverLost() {
	o.violate(PromiseConfirm,
		"a replica tells that its store has lost a write, but etcd has lost none: what it does not know of was written after its term")
}
