package oracle

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/snowflake"
)

// P3 fencing: whoever comes with an old epoch is turned away, by the resource and
// by the service.

// used: the resource lets in who comes with the highest epoch so far, and nobody
// else.
func (o *Oracle) used(a *app, k event.Key, epoch uint64) {
	n := o.node(k)
	err := n.gate.Admit(snowflake.NodeID(k.Node), fencing.Epoch(epoch))
	switch {
	case err == nil && epoch < n.admitted:
		o.violate(PromiseFencing,
			"the resource let %s in with epoch %d of node ID %d after epoch %d", a.name(), epoch,
			k.Node, n.admitted)
	case err != nil && epoch >= n.admitted:
		o.violate(PromiseFencing,
			"the resource turned away %s with epoch %d of node ID %d, and the highest that came was %d", a.name(), epoch, k.Node, n.admitted)
	case err != nil:
		o.saw("a stale epoch was turned away at the resource")
	}
	n.admitted = max(n.admitted, epoch)
}

// isOwn: a request that succeeded named the lease that there is, with all that
// makes it.
func (o *Oracle) isOwn(t *term, op *operation, n *node) {
	r, d := op.call.Request, o.record(t, n)
	if n.key.Node != r.Node || uint64(d.Epoch) != r.Epoch ||
		d.Instance != fencing.InstanceID(r.Instance).Hash() {
		o.violate(PromiseFencing,
			"a %s of node ID %d, epoch %d succeeded that names another lease: the record has epoch %d and an instance of its own", op.call.Procedure, r.Node, r.Epoch, d.Epoch)
	}
}

// heartbeatIsSame: a heartbeat is answered with the lease that it names.
func (o *Oracle) heartbeatIsSame(r *event.Request, a *event.Reply) {
	if a.Epoch != r.Epoch || a.Node != r.Node {
		o.violate(PromiseFencing,
			"a heartbeat of node ID %d, epoch %d was answered with node ID %d, epoch %d", r.Node,
			r.Epoch, a.Node, a.Epoch)
	}
}

// unknownHeartbeat reports a heartbeat that succeeded for a lease that was never
// promised.
func (o *Oracle) unknownHeartbeat(a *event.Reply) {
	o.violate(PromiseFencing,
		"a heartbeat was good for node ID %d, epoch %d, which no Acquire has answered", a.Node,
		a.Epoch)
}

// instanceIsSame: a lease is promised to one instance.
func (o *Oracle) instanceIsSame(l *lease, r *event.Request, a *event.Reply) {
	if r.Instance != "" && r.Instance != l.instance {
		o.violate(PromiseFencing, "node ID %d, epoch %d was promised to two instances", a.Node,
			a.Epoch)
	}
}

// promiseIsNewest: what is promised is the newest grant, as far as its term knows.
func (o *Oracle) promiseIsNewest(d *fencing.Record, a *event.Reply) {
	o.violate(PromiseFencing, "node ID %d was promised under epoch %d, but epoch %d is durable",
		a.Node, a.Epoch, d.Epoch)
}
