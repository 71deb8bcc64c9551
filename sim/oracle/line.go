package oracle

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// S2 line: nobody gets a node ID while another, who came before, stands in line.

// inLine: a grant does not overtake a request that has stood in line for longer.
func (o *Oracle) inLine(t *term, r *fencing.Record, s time.Duration) {
	var mine *operation
	for _, op := range o.asking {
		if op.proc == t.proc && op.call.Pool == string(r.Pool) &&
			fencing.InstanceID(op.call.Instance).Hash() == r.Instance {
			mine = op // the first one, if the instance asks more than once: it has one place
			break
		}
	}
	if mine == nil {
		return // nobody waits for it any more
	}
	for _, op := range o.asking {
		if max(op.first, op.inLine) >= mine.inLine {
			continue
		}
		if op.proc == t.proc && op.call.Pool == string(r.Pool) && o.waitsInLine(t, op, s) {
			o.violate(PromiseLine,
				"node ID %d is granted to %s #%d, but %s #%d has stood in line for longer, since %v",
				r.Node, mine.call.From.Machine, mine.call.Number, op.call.From.Machine,
				op.call.Number, op.arrivedAt)
			return
		}
	}
}

// waitsInLine reports whether a request stands in line, as far as can be told from
// outside: it does if it wants to wait, still does, has no lease, and was not
// refused. A refusal may wait for a Confirm (S10) while the pool opens after all,
// or comes to allow the TTL that was asked for.
func (o *Oracle) waitsInLine(t *term, op *operation, s time.Duration) bool {
	r := op.call.Request
	p := o.pool(fencing.PoolName(r.Pool))
	refused := p.openedAt
	if r.TTL != 0 {
		refused = p.changedAt
	}
	switch {
	case r.Wait == 0, s+t.tolerance() >= op.steady+r.Wait:
		return false // it is refused
	case o.gaveUp[op.call.Number], o.process(op.call.From).dead,
		op.steady <= max(t.loadedAt, t.servesFrom, refused):
		// nobody waits for it, or it came before this term served, and waits for a leader
		return false
	case r.Instance == "" || o.hasLease(t, r.Pool, fencing.InstanceID(r.Instance).Hash()):
		return false // it waits for the write of its own lease
	}
	return true
}

// hasLease reports whether an instance has a live record, or will have one when
// what is in flight lands.
func (o *Oracle) hasLease(t *term, pool string, instance fencing.InstanceHash) bool {
	has := func(r *fencing.Record) bool {
		return string(r.Pool) == pool && r.Instance == instance && r.Status == fencing.Live
	}
	for _, k := range o.order {
		if r := o.record(t, o.nodes[k]); has(&r) {
			return true
		}
	}
	for r := range o.inFlight(t) {
		if has(r) {
			return true
		}
	}
	return false
}

// leaseEnded records that an instance's lease has ended, at that tick. It had no place
// in line until now: it would have got its lease again.
func (o *Oracle) leaseEnded(r *fencing.Record, at int) {
	for _, op := range o.asking {
		if op.call.Pool == string(r.Pool) &&
			fencing.InstanceID(op.call.Instance).Hash() == r.Instance {
			op.inLine = at
		}
	}
}
