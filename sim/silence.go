package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// silence looks at a silence note that a server has decided on, or at the end of
// one: it must leave the lease all the time that was promised, and not more than
// that, or its node ID would not come back (P4).
func (c *checker) silence(t *term, n *nodeState, meta *fencing.Meta, r *fencing.Record, s time.Duration) {
	w, l := c.w, n.lease(uint64(r.Epoch))
	if !r.Silence.Noted {
		n.notedAt = s
		w.saw("a lease with a silence note was heard again")
		return
	}
	n.notedAt = s
	if meta == nil {
		w.violate(PromiseSilence, "node ID %d is noted as silent without a mark beside it", r.Node)
		return
	}
	if most := int64(max(meta.Mark, t.meta.Mark).Add(r.TTL)); int64(r.Silence.Ceiling) > most {
		w.violate(PromiseMark, "node ID %d is noted as silent with ceiling %d, above mark + TTL = %d", r.Node, r.Silence.Ceiling, most)
	}
	deadline, ok := n.deadline(t)
	if !ok || l == nil || l.generation != c.generation {
		return // nobody was told of it
	}
	if int64(r.Silence.Ceiling) < l.ceiling {
		w.violate(PromiseWindow, "node ID %d, epoch %d is noted as silent with ceiling %d, but %d was promised", r.Node, r.Epoch, r.Silence.Ceiling, l.ceiling)
	}
	told := &l.told[t.server.index]
	least := told.deadline
	if r.Epoch == n.loaded {
		least = max(least, n.restUntil)
	}
	if c.counts(t, l) && s+r.Silence.Left+t.tolerance() < least {
		w.violate(PromiseQuarantine, "node ID %d, epoch %d is noted as silent with %v left, but its deadline is in %v", r.Node, r.Epoch, r.Silence.Left, least-s)
	}
	if !w.healed {
		return // it may have been heard long after it had asked
	}
	if most := max(deadline, max(c.heardOf[hearing{t.server.index, r.Instance}], c.undisturbed(t))+r.TTL) + t.settling(); s+r.Silence.Left > most {
		w.violate(PromiseLiveness, "node ID %d, epoch %d is noted as silent with %v left, but its deadline is in %v", r.Node, r.Epoch, r.Silence.Left, most-s)
	}
}

// listens looks whether silent leases are noted in time, once faults have
// stopped: what the clock has shown since the last note is lost with the next
// start (S5).
func (c *checker) listens() {
	w := c.w
	if !w.healed {
		return
	}
	t := c.ruling()
	if t == nil {
		return
	}
	now, calm := t.server.machine.steady(), c.undisturbed(t)
	for _, k := range c.order {
		n := c.nodes[k]
		d := &n.durable
		if d.Epoch == 0 || d.Status == fencing.Ended || c.underWay(t, k) {
			continue
		}
		if free, ok := c.freeBy(t, n); !ok || now >= free {
			continue // it is noted as ended instead
		}
		if due := max(c.silentBy(t, n), calm) + t.longest/2; now > due+t.settling() {
			w.violate(PromiseLiveness, "node ID %d, epoch %d is not noted as silent, %v after it had to be", k.node, d.Epoch, now-due)
		}
	}
}

// silentBy is when a server must note a lease as silent, along with the next
// mark: two thirds of its TTL after it was heard, but not before two strides
// after a start; a twentieth and a stride after the last note.
func (c *checker) silentBy(t *term, n *nodeState) time.Duration {
	d := &n.durable
	start, heard := t.loadedAt+2*t.longest, max(n.grantedAt, c.heardOf[hearing{t.server.index, d.Instance}])
	if l := n.lease(uint64(d.Epoch)); l != nil {
		heard = max(heard, l.told[t.server.index].deadline-d.TTL)
	}
	if d.Epoch == n.loaded && heard < t.loadedAt {
		heard = 0
	}
	by := max(start, heard+d.TTL*2/3)
	if d.Silence.Noted && n.notedAt > t.loadedAt {
		by = n.notedAt + d.TTL/20 + t.longest
	}
	return by
}
