package fencing

import (
	"cmp"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// index holds a pool's slots and finds, without a search, the one of an app or
// instance, and the one whose state changes next. A slot is in one part of the
// index: in expiring while held, in resting and then cooling while quarantined,
// in free while free. It is in none while a write of its record is in progress
// that will move it.
type index struct {
	slots slotTable
	// nodes are the node IDs ever granted, in order.
	nodes nodeSet
	// byInstance finds the node ID of a live record, or of a grant in progress, by
	// its instance; byApp the one that an app ID held last.
	byInstance, byApp nodeIndex

	// expiring and resting (deadline + quarantine) are ordered by steady time,
	// cooling (its last ceiling) by server time, which may leap.
	expiring, resting, cooling slotHeap
	free                       slotList
	// leaving counts the slots whose release or revocation is in progress, by the
	// part of the index that they were in.
	leaving [Free + 1]int
	// unnoted are node IDs that came free by time and that no write has noted as
	// ended yet (S5). Some may have been revived or granted since.
	unnoted []snowflake.NodeID
	// quiet has every record that is not ended, ordered by when it becomes silent.
	// Those that are silent move from it to silent, and wait there, in this order,
	// for a silence note (S5).
	quiet  quietHeap
	silent []*slot

	// lags says that the last settle left slots in a part that they are due to
	// leave, because its portion was used up. sweeping says that the quarantine has
	// changed and slots from node ID sweep on have not been moved accordingly.
	lags, sweeping bool
	sweep          snowflake.NodeID
}

// reserve makes room for so many records at once.
func (x *index) reserve(records int) {
	x.byInstance.reserve(records)
	x.byApp.reserve(records)
}

// add adds the slot of a node ID that was never granted before.
func (x *index) add(l *slot) {
	x.slots.add(l)
	x.nodes.add(l.node)
}

// load adds a slot at a start.
func (p *pool) load(l *slot) {
	p.add(l)
	p.highest = max(p.highest, l.epoch)
	p.loaded = max(p.loaded, l.epoch)
	p.trackSilence(l)
	if node, ok := p.lastOf(l.app); !ok || p.slots.at(node).epoch < l.epoch {
		p.setLast(l.app, l.node)
	}
	if l.status != Live {
		return
	}
	// S10: an instance with two live records keeps the one with the higher
	// epoch; the other runs out.
	if other := p.byLiveInstance(l.instance); other == nil || other.epoch < l.epoch {
		p.setInstance(l.instance, l.node)
	}
}

// placeAll puts every slot into its part of the index, the free ones in the order
// in which they came free.
func (p *pool) placeAll(at reading) {
	p.expiring, p.resting, p.cooling, p.free, p.unnoted = nil, nil, nil, slotList{}, nil
	all := make([]*slot, 0, p.nodes.len)
	for l := range p.slots.all() {
		all = append(all, l)
	}
	slices.SortStableFunc(all, func(a, b *slot) int { return cmp.Compare(a.ceiling, b.ceiling) })
	for _, l := range all {
		if l.pending == nil || !l.pending.kind.moves() {
			p.place(l, at)
		}
	}
}

// place puts a slot that is in no part of the index into the one that its state
// asks for.
func (p *pool) place(l *slot, at reading) {
	switch l.indexedAs = p.state(l, at); l.indexedAs {
	case Held:
		l.due = l.deadline
		p.expiring.push(l)
	case Quarantined:
		p.rest(l, at)
	case Free:
		p.free.push(l)
		if l.status != Ended {
			p.unnoted = append(p.unnoted, l.node)
		}
	}
}

// rest puts a slot that is in no part of the index among the quarantined ones.
func (p *pool) rest(l *slot, at reading) {
	l.indexedAs = Quarantined
	if l.cooling = l.status == Ended || at.steady >= l.deadline+p.QuarantineOf(l.ttl); l.cooling {
		l.due = l.ceiling.Sub(0)
		p.cooling.push(l)
		return
	}
	l.due = l.deadline + p.QuarantineOf(l.ttl)
	p.resting.push(l)
}

// unplace takes a slot out of its part of the index.
func (p *pool) unplace(l *slot) {
	switch l.indexedAs {
	case Held:
		p.expiring.remove(l)
	case Quarantined:
		if l.cooling {
			p.cooling.remove(l)
		} else {
			p.resting.remove(l)
		}
	case Free:
		p.free.remove(l)
	}
	l.indexedAs = 0
}

// nextExpiry returns the steady time at which the next lease can expire; ok says
// that there is one. It corrects up to maxRepairs slots that heartbeats have
// moved since. If that is not enough, the answer is not exact but too early.
func (p *pool) nextExpiry() (next time.Duration, exact, ok bool) {
	if len(p.expiring) == 0 {
		return 0, false, false
	}
	for range maxRepairs {
		if l := p.expiring[0]; l.due == l.deadline {
			return l.due, true, true
		}
		p.expiring.later(p.expiring[0].deadline)
	}
	return p.expiring[0].due, false, true
}

// nextFree returns the steady time at which the next node ID can become free by
// time, or an earlier one.
func (p *pool) nextFree(at reading) (next time.Duration, ok bool) {
	next, ok = p.nextRested(at)
	if expiry, exact, any := p.nextExpiry(); any {
		free := max(expiry+p.Quarantine, at.steady)
		if exact {
			free = p.freeAt(p.expiring[0], at)
		}
		if !ok || free < next {
			next, ok = free, true
		}
	}
	return next, ok
}

// nextRested is nextFree for the quarantined node IDs alone.
func (p *pool) nextRested(at reading) (next time.Duration, ok bool) {
	for _, h := range []slotHeap{p.resting, p.cooling} {
		if len(h) == 0 {
			continue
		}
		if free := p.freeAt(h[0], at); !ok || free < next {
			next, ok = free, true
		}
	}
	return next, ok
}

// byLiveInstance returns the slot of an instance's live record, nil if there is
// none.
func (p *pool) byLiveInstance(instance InstanceHash) *slot {
	node, ok := p.nodeOf(instance)
	if l := p.slots.at(node); ok && l != nil && l.status == Live && l.instance == instance {
		return l
	}
	return nil
}

// nodeOf finds the node ID of an instance's live record, or of its grant in
// progress.
func (p *pool) nodeOf(instance InstanceHash) (snowflake.NodeID, bool) {
	return p.byInstance.find(hashOfInstance(&instance), p.isOf(&instance))
}

func (p *pool) setInstance(instance InstanceHash, node snowflake.NodeID) {
	p.byInstance.set(hashOfInstance(&instance), node, p.isOf(&instance))
}

// isOf returns a function that reports whether a node ID belongs to the instance.
// A node ID whose grant is in progress also belongs to the instance before.
func (p *pool) isOf(instance *InstanceHash) func(snowflake.NodeID) bool {
	return func(node snowflake.NodeID) bool {
		if l := p.slots.at(node); l != nil && l.instance == *instance {
			return true
		}
		c := p.pendingOf(node)
		return c != nil && c.kind == pendingGrant && c.instance == *instance
	}
}

// lastOf finds the node ID that an app ID held last.
func (p *pool) lastOf(app AppID) (snowflake.NodeID, bool) {
	return p.byApp.find(hashOfApp(app), p.wasOf(app))
}

func (p *pool) setLast(app AppID, node snowflake.NodeID) {
	p.byApp.set(hashOfApp(app), node, p.wasOf(app))
}

func (p *pool) wasOf(app AppID) func(snowflake.NodeID) bool {
	return func(node snowflake.NodeID) bool { return p.slots.at(node).app == app }
}

// forget removes the entry of an instance whose record is no longer live.
func (x *index) forget(l *slot) {
	x.byInstance.remove(hashOfInstance(&l.instance), l.node)
}

// forgetApp removes the entry of an app whose lease is replaced by another grant.
func (x *index) forgetApp(l *slot) {
	x.byApp.remove(hashOfApp(l.app), l.node)
}
