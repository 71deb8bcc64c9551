package oracle

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// S3 heartbeat: a holder is not told that it lost a lease that it has.

// toldLost judges a LEASE_LOST that is sent.
func (o *Oracle) toldLost(t *term, op *operation, n *node, lostWrites int) {
	r, d := op.call.Request, o.record(t, n)
	o.lostUnwritten(t, op, n)
	if op.call.Procedure == event.CallHeartbeat {
		o.alarmed(&d, n.lease(r.Epoch), lostWrites)
	}
	matches := uint64(d.Epoch) == r.Epoch && d.Instance == fencing.InstanceID(r.Instance).Hash()
	if matches && (d.Status == fencing.Live || d.Status == fencing.Revoked &&
		op.call.Procedure == event.CallRelease) {
		o.violate(PromiseHeartbeat,
			"LEASE_LOST was told of node ID %d, epoch %d, whose record is live and has this instance", r.Node, r.Epoch)
	}
	switch {
	case uint64(d.Epoch) > r.Epoch:
		o.saw("a stale holder was told that its lease is lost")
	case matches && d.Status == fencing.Revoked:
		o.saw("a revoked lease was refused")
	case !op.call.FromApp && !op.call.Peer && !matches:
		o.saw(RefusedForger)
	}
}

// RefusedForger is the situation that a request with a lease that was put together
// from parts is refused.
const RefusedForger = "a forger was refused"

// keptUntilDue: an acknowledged grant is kept until it is released, revoked, or could
// have been followed by another one.
func (o *Outside) keptUntilDue(g *event.Grant) {
	if g.Lost == event.Never || g.ReleaseSent <= g.Lost || g.RevokeSent <= g.Lost {
		return
	}
	if g.Lost < g.Deadline+o.Quarantine {
		o.violate(PromiseHeartbeat, "%v: LEASE_LOST at %v, within deadline and quarantine", g,
			g.Lost)
	}
}
