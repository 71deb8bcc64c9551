package oracle

import (
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// P3 epochs: each grant has a higher epoch than all before it.
//
// A start's base rises by a second's epochs at least (S2), so a store that is
// started more often than once a second has epochs that are ahead of its clock.
// If it is lost then, no other store can know of them: docs/safety.md says so.

// epochsPerSecond and ownGrants are what a base leaves room for, and more than a
// life grants.
const (
	epochsPerSecond = 1 << 20
	ownGrants       = 4096
)

// isAhead reports whether an epoch is above those that belong to the latest server
// time at which anything was promised.
func (o *Oracle) isAhead(epoch uint64) bool {
	return epoch > uint64(o.promisedAt)*epochsPerSecond/1000+epochsPerSecond+ownGrants
}

// excuse takes the epochs of a store that is gone for unknown to the next one,
// where they were ahead of its clock. With that another story begins, in which
// epochs may be below those of the one before.
func (o *Oracle) excuse() {
	before := o.story
	for _, p := range o.pools {
		if o.isAhead(p.highest) {
			o.story = before + 1
			p.excused, p.nodes = p.highest, map[uint64]int{}
			for k, n := range o.nodes {
				if k.Pool == string(p.Name) {
					n.sent = 0
				}
			}
		}
	}
}

// base: the base of a start or a term rises by a second's epochs over the one that
// it has loaded, and stays (S2). So epochs rise even where the store has lost a
// grant.
func (o *Oracle) base(t *term, meta *fencing.Meta) {
	switch least := t.meta.FirstEpoch + epochsPerSecond; {
	case meta == nil || t.stored == 0: // it has loaded nothing: it makes the store
	case t.base == 0 && meta.FirstEpoch < least:
		o.violate(PromiseEpochs, "%s begins with base %d, and must not below %d", t.server.name,
			meta.FirstEpoch, least)
	case t.base == 0:
		t.base = meta.FirstEpoch
	case meta.FirstEpoch != t.base:
		o.violate(PromiseEpochs, "%s changes its base from %d to %d", t.server.name, t.base,
			meta.FirstEpoch)
	}
}

// grantRises: a grant's epoch is above all that were sent, and above the base.
func (o *Oracle) grantRises(t *term, p *pool, r *fencing.Record) {
	if uint64(r.Epoch) <= p.highest && p.highest > p.excused {
		o.violate(PromiseEpochs,
			"node ID %d is granted under epoch %d, but epoch %d of pool %q was sent before", r.Node,
			r.Epoch, p.highest, r.Pool)
	}
	if r.Epoch < t.base {
		o.violate(PromiseEpochs, "node ID %d is granted under epoch %d, below the base, %d", r.Node,
			r.Epoch, t.base)
	}
}

// epochIsOnly: no two durable grants have one epoch.
func (o *Oracle) epochIsOnly(r *fencing.Record) {
	for _, n := range o.nodes {
		if d := &n.durable; d.Pool == r.Pool && d.Node != r.Node && d.Epoch == r.Epoch {
			o.violate(PromiseEpochs, "node IDs %d and %d are both granted under epoch %d", d.Node,
				r.Node, r.Epoch)
		}
	}
}

// epochIsNew: a lease that is sent for the first time has a higher epoch than those
// of its node ID before, and no other node ID was sent with it.
func (o *Oracle) epochIsNew(n *node, a *event.Reply) {
	if a.Epoch <= n.sent {
		o.violate(PromiseEpochs, "node ID %d was sent with epoch %d after epoch %d", a.Node,
			a.Epoch, n.sent)
	}
	n.sent = max(n.sent, a.Epoch)
	epochs := o.pool(fencing.PoolName(n.key.Pool)).nodes
	if other, ok := epochs[a.Epoch]; ok && other != a.Node {
		o.violate(PromiseEpochs, "epoch %d was sent with node IDs %d and %d", a.Epoch, other,
			a.Node)
	}
	epochs[a.Epoch] = a.Node
}

// epochsRise: no epoch is used twice, and an epoch is above all those that were
// answered before it was asked for. The grants of a pool come by epoch.
func (o *Outside) epochsRise(grants []*event.Grant) {
	earliest := event.Never // answer among the grants with a higher epoch
	for i, g := range slices.Backward(grants) {
		if i+1 < len(grants) && grants[i+1].Epoch == g.Epoch {
			o.violate(PromiseEpochs, "one epoch for two: %v, and %v", g, grants[i+1])
		}
		if earliest < g.Asked {
			o.violate(PromiseEpochs, "%v: a higher epoch had been answered before, at %v", g,
				earliest)
		}
		earliest = min(earliest, g.Answered)
	}
}
