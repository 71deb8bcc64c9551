package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// inLine looks whether a grant overtakes somebody who stands in line for longer
// (S2).
func (c *checker) inLine(t *term, r *fencing.Record, s time.Duration) {
	var mine *operation
	for _, op := range c.asking {
		if op.proc == t.proc && op.call.request.pool == string(r.Pool) && fencing.InstanceID(op.call.request.instance).Hash() == r.Instance {
			mine = op // the first one, if the instance asks more than once: it has one place
			break
		}
	}
	if mine == nil {
		return // nobody waits for it any more
	}
	for _, op := range c.asking {
		if max(op.first, op.inLine) >= mine.inLine {
			continue
		}
		if op.proc == t.proc && op.call.request.pool == string(r.Pool) && c.waitsInLine(t, op, s) {
			c.w.violate(PromiseLine, "node ID %d is granted to %s #%d, but %s #%d has stood in line for longer, since %v",
				r.Node, mine.call.from.machine.name, mine.call.number, op.call.from.machine.name, op.call.number, op.begun)
			return
		}
	}
}

// waitsInLine says whether a request stands in line, as far as can be told from
// outside: it does if it wants to wait, still does, has no lease, and was not
// refused. A refusal may wait for a Confirm (S10) while the pool opens after all,
// or comes to allow the TTL that was asked for.
func (c *checker) waitsInLine(t *term, op *operation, s time.Duration) bool {
	r := op.call.request
	pool := c.pool(fencing.PoolName(r.pool))
	refused := pool.openedAt
	if r.ttl != 0 {
		refused = pool.changedAt
	}
	switch {
	case r.wait == 0, s+t.tolerance() >= op.steady+r.wait:
		return false // it is refused
	case op.call.gaveUp, op.call.from.dead, op.steady <= max(t.loadedAt, t.servesFrom, refused):
		return false // nobody waits for it, or it came before this term served, and waits for a leader
	case r.instance == "" || c.hasLease(t, r.pool, fencing.InstanceID(r.instance).Hash()):
		return false // it waits for the write of its own lease
	}
	return true
}

// hasLease says whether an instance has a live record, or will have one when
// what is under way lands.
func (c *checker) hasLease(t *term, pool string, instance fencing.InstanceHash) bool {
	has := func(r *fencing.Record) bool {
		return string(r.Pool) == pool && r.Instance == instance && r.Status == fencing.Live
	}
	for _, k := range c.order {
		if r := c.record(t, c.nodes[k]); has(&r) {
			return true
		}
	}
	for _, f := range c.flying {
		for i := range f.batch.Records {
			if f.term == t && !f.ended && has(&f.batch.Records[i]) {
				return true
			}
		}
	}
	return false
}
