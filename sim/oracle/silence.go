package oracle

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// S5 silence: a silence note says what was promised under a lease, and nothing is
// promised while it stands.

// grantHasNoNote: a grant does not begin with the note of an earlier lease.
func (o *Oracle) grantHasNoNote(r *fencing.Record) {
	if r.Silence.Noted {
		o.violate(PromiseSilence, "node ID %d is granted with the silence note of an earlier lease",
			r.Node)
	}
}

// promiseHasNoNote: nothing is promised while a note stands.
func (o *Oracle) promiseHasNoNote(t *term, n *node, a *event.Reply) {
	if d := o.record(t, n); uint64(d.Epoch) == a.Epoch && d.Silence.Noted {
		o.violate(PromiseSilence,
			"node ID %d, epoch %d was promised, but its record has a silence note", a.Node, a.Epoch)
	}
}

// silence judges a silence note that a server has decided on, or the end of one: it
// must leave the lease all the time that was promised, and not more than that, or
// its node ID would not come back (P4).
func (o *Oracle) silence(t *term, n *node, meta *fencing.Meta, r *fencing.Record) {
	s, l := t.steady(), n.lease(uint64(r.Epoch))
	n.notedAt = s
	switch {
	case !r.Silence.Noted:
		o.saw("a lease with a silence note was heard again")
		return
	case meta == nil:
		o.violate(PromiseSilence, "node ID %d is noted as silent without a mark beside it", r.Node)
		return
	}
	if most := int64(max(meta.Mark, t.meta.Mark).Add(r.TTL)); int64(r.Silence.Ceiling) > most {
		o.violate(PromiseMark,
			"node ID %d is noted as silent with ceiling %d, above mark + TTL = %d", r.Node,
			r.Silence.Ceiling, most)
	}
	deadline, ok := n.deadline(t)
	if !ok || l == nil || l.generation != o.generation {
		return // nobody was told of it
	}
	if int64(r.Silence.Ceiling) < l.ceiling {
		o.violate(PromiseWindow,
			"node ID %d, epoch %d is noted as silent with ceiling %d, but %d was promised", r.Node,
			r.Epoch, r.Silence.Ceiling, l.ceiling)
	}
	o.silenceLasts(t, n, l, r, deadline)
}

// silenceLasts judges how long a note lets a lease last.
func (o *Oracle) silenceLasts(t *term, n *node, l *lease, r *fencing.Record,
	deadline time.Duration) {
	s, least := t.steady(), l.byServer[t.server.index].deadline
	if r.Epoch == n.loaded {
		least = max(least, n.restUntil)
	}
	if o.counts(t, l) && s+r.Silence.Left+t.tolerance() < least {
		o.violate(PromiseQuarantine,
			"node ID %d, epoch %d is noted as silent with %v left, but its deadline is in %v",
			r.Node, r.Epoch, r.Silence.Left, least-s)
	}
	if !o.faultsEnded {
		return // it may have been heard long after it had asked
	}
	heard := max(o.heardOf[hearing{t.server.index, r.Instance}], o.undisturbed(t))
	if most := max(deadline, heard+r.TTL) + o.settling(t.server); s+r.Silence.Left > most {
		o.violate(PromiseLiveness,
			"node ID %d, epoch %d is noted as silent with %v left, but its deadline is in %v",
			r.Node, r.Epoch, r.Silence.Left, most-s)
	}
}

// listens: silent leases are noted in time, once faults have stopped. What the clock
// has shown since the last note is lost with the next start.
func (o *Oracle) listens() {
	t := o.ruling()
	if t == nil {
		return
	}
	now, calm := t.steady(), o.undisturbed(t)
	for _, k := range o.order {
		n := o.nodes[k]
		d := &n.durable
		if d.Epoch == 0 || d.Status == fencing.Ended || o.isWriting(t, k) {
			continue
		}
		if free, ok := o.freeBy(t, n); !ok || now >= free {
			continue // it is noted as ended instead
		}
		if due := max(o.silentBy(t, n), calm) + t.longest/2; now > due+o.settling(t.server) {
			o.violate(PromiseLiveness,
				"node ID %d, epoch %d is not noted as silent, %v after it had to be", k.Node,
				d.Epoch, now-due)
		}
	}
}

// silentBy is when a server must note a lease as silent, along with the next
// mark: two thirds of its TTL after it was heard, but not before two strides
// after a start; a twentieth and a stride after the last note.
func (o *Oracle) silentBy(t *term, n *node) time.Duration {
	d := &n.durable
	start, heard := t.loadedAt+2*t.longest, max(n.grantedAt,
		o.heardOf[hearing{t.server.index, d.Instance}])
	if l := n.lease(uint64(d.Epoch)); l != nil {
		heard = max(heard, l.byServer[t.server.index].deadline-d.TTL)
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
