package oracle

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// S7 recover: what `cirrus recover` leaves behind lies above all that was ever
// promised.

func (o *Oracle) recovered(n event.Recovered) {
	snap := &n.After
	if int64(snap.Meta.Mark) < o.promisedAt {
		o.violate(PromiseRecover, "recover left the mark at %d, but a promise was made at %d",
			snap.Meta.Mark, o.promisedAt)
	}
	o.recoveredStride(n)
	for i := range snap.Records {
		o.recoveredRecord(&snap.Records[i])
	}
	for i := range snap.Pools {
		o.recoveredPool(&snap.Pools[i], snap.Meta.FirstEpoch)
	}
}

// recoveredStride judges the mark and the stride that recover leaves. A process that
// has lost the store and doesn't know may promise up to the last mark that it has
// written, and the world's clocks were never ahead.
func (o *Oracle) recoveredStride(n event.Recovered) {
	meta := n.After.Meta
	if least := max(n.Told, n.Before.Stride); meta.Stride < least {
		o.violate(PromiseRecover, "recover left stride %v, but %v was stored, and it was told %v",
			meta.Stride, n.Before.Stride, n.Told)
	}
	if lost := o.meta; lost.Stride <= meta.Stride && meta.Mark < lost.Mark {
		o.violate(PromiseRecover,
			"recover left the mark at %d, but who has lost the store and doesn't know may promise up to %d", meta.Mark, lost.Mark)
	}
}

func (o *Oracle) recoveredRecord(r *fencing.Record) {
	if r.Status != fencing.Ended {
		o.violate(PromiseRecover, "recover left the record of node ID %d, epoch %d %v", r.Node,
			r.Epoch, r.Status)
	}
	for _, l := range o.node(event.KeyOf(r)).leases {
		if int64(r.Ceiling) < l.ceiling {
			o.violate(PromiseRecover,
				"recover left node ID %d with ceiling %d, but epoch %d was promised up to %d",
				r.Node, r.Ceiling, l.epoch, l.ceiling)
		}
	}
}

func (o *Oracle) recoveredPool(p *fencing.Pool, first fencing.Epoch) {
	if p.Opened {
		o.violate(PromiseRecover, "recover left pool %q opened", p.Name)
	}
	if highest := o.pool(p.Name).highest; uint64(first)+epochsPerSecond <= highest &&
		!o.isAhead(highest) {
		o.violate(PromiseRecover,
			"the start after a recover has a base of at least %d, but epoch %d of pool %q was sent",
			first+epochsPerSecond, highest, p.Name)
	}
}
