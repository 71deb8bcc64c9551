package oracle

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// S2 quarantine: an expired node ID rests before somebody else gets it.

// grantIsOpen: nothing is granted in a pool that is suspicious.
func (o *Oracle) grantIsOpen(p *pool, r *fencing.Record) {
	if !p.Opened {
		o.violate(PromiseQuarantine, "node ID %d is granted, but pool %q is not opened", r.Node,
			r.Pool)
	}
}

// grantAfterStart: a node ID that a start found leased is granted once its deadline,
// as the start must take it to be, and its quarantine have passed (S6).
func (o *Oracle) grantAfterStart(t *term, n *node, r *fencing.Record) {
	d, s := &n.durable, t.steady()
	if d.Epoch == 0 || d.Epoch != n.loaded || d.Status == fencing.Ended {
		return
	}
	if until := n.restUntil + o.quarantine(r.Pool, d.TTL); s+t.tolerance() < until {
		o.violate(PromiseQuarantine,
			"node ID %d is granted %v before what a start must wait for it", r.Node, until-s)
	}
	o.grantAboveLoaded(n, r)
}

// follows: a grant comes after an earlier lease of the node ID, its quarantine and
// its window.
func (o *Oracle) follows(t *term, n *node, l *lease, r *fencing.Record) {
	s := t.steady()
	o.grantAbove(l, r)
	if l.released {
		o.saw("a released node ID was granted without quarantine")
		return
	}
	q := o.quarantine(r.Pool, l.ttl)
	if l.ended || l.passed {
		// its note, or the grant before this one, was judged; the quarantine may have been longer
		// since
		q = 0
	}
	if l.generation != o.generation {
		q = 0 // the pool's opening stood in for it (S7)
	}
	// What another server has promised is bounded by restUntil: see grantAfterStart.
	if deadline := l.byServer[t.server.index].deadline; s+t.tolerance() < deadline+q &&
		o.counts(t, l) {
		o.violate(PromiseQuarantine,
			"node ID %d is granted %v before deadline + quarantine of epoch %d", r.Node,
			deadline+q-s, l.epoch)
	}
	l.passed = true
	if l == n.leases[len(n.leases)-1] && l.generation == o.generation {
		o.saw("an expired node ID was granted after its quarantine")
	}
}

// endsEarly: a lease that was not released is noted as ended once its quarantine has
// passed.
func (o *Oracle) endsEarly(t *term, n *node, l *lease, r *fencing.Record) {
	s, q := t.steady()+t.tolerance(), o.quarantine(r.Pool, r.TTL)
	if o.counts(t, l) && s < l.byServer[t.server.index].deadline+q || r.Epoch == n.loaded &&
		s < n.restUntil+q {
		o.violate(PromiseQuarantine,
			"node ID %d, epoch %d is noted as ended before its quarantine is over", r.Node, r.Epoch)
	}
}

// rested: unless it was released, a node ID is not granted again before deadline +
// quarantine. The service's deadline is no earlier than the holder's, and the answer
// no earlier than the grant. The grants come by epoch.
func (o *Outside) rested(grants []*event.Grant) {
	for i, g := range grants {
		for _, before := range grants[:i] {
			if before.ReleaseSent >= g.Answered && g.Answered < before.Deadline+o.Quarantine {
				o.violate(PromiseQuarantine, "%v: granted within deadline and quarantine of %v", g,
					before)
			}
		}
	}
}
