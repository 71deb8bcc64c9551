package fencing

import (
	"cmp"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// pool is a pool as the server runs it: its settings, its leases, and the
// shelves that tell without a search which lease to look at next. A lease
// stands on one shelf: expiring while held, resting and then cooling while
// quarantined, free; on none while its record has a write under way that will
// move it.
type pool struct {
	Pool
	// since is the steady time from which this process has run the pool.
	since time.Duration
	// unsaved says that the records know of a longer TTL than the stored pool.
	unsaved bool
	// highest is the highest epoch in the pool, of grants under way, too.
	highest Epoch

	leases leaseTable
	// nodes are the IDs ever granted, in order.
	nodes nodeSet
	// granting are the grants under way of IDs that have no lease yet.
	granting map[snowflake.NodeID]*change
	// fresh: no ID from here to Last has ever been granted, but those that
	// leases and granting have.
	fresh snowflake.NodeID
	// byInstance finds the node ID of a live record, or of a grant under way, by
	// its instance; byApp the one that an app ID held last.
	byInstance, byApp nodeIndex

	// expiring and resting (deadline + quarantine) are ordered by steady time,
	// cooling (its last ceiling) by server time, which may leap.
	expiring, resting, cooling leaseHeap
	free                       leaseList
	// leaving counts, by the shelf that they stood on, the leases whose release
	// or revocation is under way.
	leaving [Free + 1]int
	// unnoted are IDs that came free by time and that no write has noted as
	// ended yet (S5). Some may have been revived or granted since.
	unnoted []snowflake.NodeID
	// quiet has every record that is not ended, by when it is silent, but those
	// that are and wait in silent to be noted so, in this order (S5).
	quiet  quietHeap
	silent []*lease

	// lags says that the last look left leases on shelves whose time was over:
	// it had done its portion. sweep is the first node ID that has not been
	// looked at since the quarantine changed, and sweeping that there may be one.
	lags, sweeping bool
	sweep          snowflake.NodeID

	queue   []place
	watched bool
	// room is how many events that time brings may come about before it is set
	// again; below 0: any number.
	room   int
	alarms alarms
	// loaded is the highest epoch that the store held at the start (S12).
	loaded Epoch
}

func newPool(settings Pool, firstEpoch Epoch, since time.Duration) *pool {
	p := &pool{
		Pool: settings, since: since, highest: firstEpoch - 1, fresh: settings.First, room: -1,
		granting: map[snowflake.NodeID]*change{},
	}
	p.grow(0)
	return p
}

// grow makes room for so many records at once.
func (p *pool) grow(records int) {
	p.byInstance.reserve(records)
	p.byApp.reserve(records)
}

// load takes in a lease at a start.
func (p *pool) load(l *lease) {
	p.add(l)
	p.highest = max(p.highest, l.epoch)
	p.loaded = max(p.loaded, l.epoch)
	p.listen(l)
	if node, ok := p.lastOf(l.app); !ok || p.leases.at(node).epoch < l.epoch {
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

// placeAll puts every lease on its shelf, the free ones in the order in which
// they came free.
func (p *pool) placeAll(at reading) {
	p.expiring, p.resting, p.cooling, p.free, p.unnoted = nil, nil, nil, leaseList{}, nil
	all := make([]*lease, 0, p.nodes.len)
	for l := range p.leases.all() {
		all = append(all, l)
	}
	slices.SortStableFunc(all, func(a, b *lease) int { return cmp.Compare(a.ceiling, b.ceiling) })
	for _, l := range all {
		if l.pending == nil || !l.pending.kind.moves() {
			p.place(l, at)
		}
	}
}

// place puts a lease that stands on no shelf on the one where it belongs.
func (p *pool) place(l *lease, at reading) {
	switch l.shelf = p.state(l, at); l.shelf {
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

// rest puts a lease that stands on no shelf among the quarantined ones.
func (p *pool) rest(l *lease, at reading) {
	l.shelf = Quarantined
	if l.cooling = l.status == Ended || at.steady >= l.deadline+p.QuarantineOf(l.ttl); l.cooling {
		l.due = l.ceiling.Sub(0)
		p.cooling.push(l)
		return
	}
	l.due = l.deadline + p.QuarantineOf(l.ttl)
	p.resting.push(l)
}

// unplace takes a lease off its shelf.
func (p *pool) unplace(l *lease) {
	switch l.shelf {
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
	l.shelf = 0
}

// nextExpiry is the steady time at which the next lease can expire; ok says
// that there is one. It looks past what heartbeats have moved since, but not
// far: where the answer isn't exact, it is too early.
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

// nextFree is the steady time at which the next ID can become free by time, or
// an earlier one.
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

// nextRested is nextFree of those that are quarantined.
func (p *pool) nextRested(at reading) (next time.Duration, ok bool) {
	for _, h := range []leaseHeap{p.resting, p.cooling} {
		if len(h) == 0 {
			continue
		}
		if free := p.freeAt(h[0], at); !ok || free < next {
			next, ok = free, true
		}
	}
	return next, ok
}

// byLiveInstance finds the lease that an instance's live record stands for.
func (p *pool) byLiveInstance(instance InstanceHash) *lease {
	node, ok := p.nodeOf(instance)
	if l := p.leases.at(node); ok && l != nil && l.status == Live && l.instance == instance {
		return l
	}
	return nil
}

// nodeOf finds the node ID of an instance's live record, or of its grant under
// way.
func (p *pool) nodeOf(instance InstanceHash) (snowflake.NodeID, bool) {
	return p.byInstance.find(hashOfInstance(&instance), p.isOf(&instance))
}

func (p *pool) setInstance(instance InstanceHash, node snowflake.NodeID) {
	p.byInstance.set(hashOfInstance(&instance), node, p.isOf(&instance))
}

// isOf says whether a node ID is an instance's. One whose grant is under way is
// also still the one before's.
func (p *pool) isOf(instance *InstanceHash) func(snowflake.NodeID) bool {
	return func(node snowflake.NodeID) bool {
		if l := p.leases.at(node); l != nil && l.instance == *instance {
			return true
		}
		c := p.changeOf(node)
		return c != nil && c.kind == changeGranted && c.instance == *instance
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
	return func(node snowflake.NodeID) bool { return p.leases.at(node).app == app }
}

// forget drops the way from an instance to a record that is live no more.
func (p *pool) forget(l *lease) {
	p.byInstance.remove(hashOfInstance(&l.instance), l.node)
}

// leaseHeap has the lease that is due first at its root. Heartbeats move
// deadlines without touching it, so due is a lower bound.
type leaseHeap []*lease

// due returns the root if its time has come.
func (h leaseHeap) due(now time.Duration) *lease {
	if len(h) == 0 || h[0].due > now {
		return nil
	}
	return h[0]
}

func (h *leaseHeap) push(l *lease) {
	l.slot = int32(len(*h))
	*h = append(*h, l)
	h.up(len(*h) - 1)
}

// later makes the root due later.
func (h leaseHeap) later(due time.Duration) {
	h[0].due = due
	h.down(0)
}

func (h *leaseHeap) remove(l *lease) {
	i, last := int(l.slot), len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h leaseHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = int32(i), int32(j)
}

func (h leaseHeap) up(i int) {
	for parent := (i - 1) / 2; i > 0 && h[i].due < h[parent].due; parent = (i - 1) / 2 {
		h.swap(i, parent)
		i = parent
	}
}

func (h leaseHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if right := child + 1; right < len(h) && h[right].due < h[child].due {
			child = right
		}
		if h[i].due <= h[child].due {
			return
		}
		h.swap(i, child)
		i = child
	}
}

// leaseList is the free leases, longest free first.
type leaseList struct {
	first, last *lease
	len         int
}

func (q *leaseList) push(l *lease) {
	l.prev, l.next = q.last, nil
	if q.last == nil {
		q.first = l
	} else {
		q.last.next = l
	}
	q.last = l
	q.len++
}

func (q *leaseList) remove(l *lease) {
	if l.prev == nil {
		q.first = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		q.last = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.prev, l.next = nil, nil
	q.len--
}
