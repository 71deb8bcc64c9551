package oracle

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// S2 one lease: an instance has no more than one lease of a pool.

// grantIsOnly: the instance that is granted a node ID has none yet, and is not being
// granted another.
func (o *Oracle) grantIsOnly(t *term, r *fencing.Record) {
	same := func(other *fencing.Record) bool {
		return other.Pool == r.Pool && other.Node != r.Node && other.Status == fencing.Live &&
			other.Instance == r.Instance
	}
	for _, n := range o.nodes {
		if same(&n.durable) {
			o.violate(PromiseOneLease,
				"node ID %d is granted to an instance that has node ID %d already", r.Node,
				n.key.Node)
		}
	}
	for other := range o.inFlight(t) {
		if same(other) {
			o.violate(PromiseOneLease,
				"node ID %d is granted to an instance that is being granted node ID %d", r.Node,
				other.Node)
		}
	}
}

// leaseIsNewest: an instance that had a lease is given no older one.
func (o *Oracle) leaseIsNewest(a *event.Reply) {
	if has := o.byInstance[a.Instance]; has != nil && a.Epoch < has.epoch {
		o.violate(PromiseOneLease,
			"an instance that has the lease of epoch %d is given node ID %d under epoch %d",
			has.epoch, a.Node, a.Epoch)
	}
}

// requestHasOne: one request is granted one lease, even if it doesn't say for which
// instance, and is forwarded more than once.
func (o *Oracle) requestHasOne(f *write) {
	op := f.request
	if op == nil || op.call.Procedure != event.CallAcquire {
		return
	}
	if parent := o.byOp[op.call.Parent]; parent != nil {
		op = parent
	}
	for i := range f.batch.Records {
		r := &f.batch.Records[i]
		if r.Status != fencing.Live {
			continue
		}
		k := event.KeyOf(r)
		if op.granted != nil && *op.granted != k {
			if old := o.stored.records[*op.granted]; old.Epoch == op.grantedEpoch &&
				old.Status == fencing.Live {
				o.violate(PromiseOneLease, "one request of %s is granted node IDs %d and %d",
					op.call.From.Machine, op.granted.Node, r.Node)
			}
		}
		op.granted, op.grantedEpoch = &k, r.Epoch
	}
}
