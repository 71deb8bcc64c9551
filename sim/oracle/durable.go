package oracle

import (
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// S1 durable: what was told is on the disk, and what is on the disk stays there.

// landing is what may be on the disk beside what was acknowledged.
type landing struct {
	metas   []fencing.Meta
	pools   map[fencing.PoolName][]fencing.Pool
	records map[event.Key][]fencing.Record
	torn    bool // some of it by a write that was not synced
}

func (o *Oracle) landing() *landing {
	l := &landing{metas: []fencing.Meta{o.meta}, pools: map[fencing.PoolName][]fencing.Pool{},
		records: map[event.Key][]fencing.Record{}}
	for _, f := range o.pending {
		if f.settled {
			continue
		}
		l.torn = l.torn || f.unsynced
		if f.batch.Meta != nil {
			l.metas = append(l.metas, *f.batch.Meta)
		}
		for _, p := range f.batch.Pools {
			l.pools[p.Name] = append(l.pools[p.Name], p)
		}
		for _, r := range f.batch.Records {
			k := event.KeyOf(&r)
			l.records[k] = append(l.records[k], r)
		}
	}
	return l
}

// loaded compares what a process loads with what was acknowledged.
func (o *Oracle) loaded(t *term, snap fencing.Snapshot) {
	l := o.landing()
	if !slices.Contains(l.metas, snap.Meta) {
		o.violate(PromiseDurable,
			"the store was loaded with mark %d, stride %v and base %d; acknowledged was mark %d, stride %v and base %d, and no other was in flight",
			snap.Meta.Mark, snap.Meta.Stride, snap.Meta.FirstEpoch, o.meta.Mark, o.meta.Stride,
			o.meta.FirstEpoch)
	}
	o.recordsLoaded(l, snap.Records)
	o.poolsLoaded(l, snap.Pools)
	o.settle()
	o.take(snap)
	t.meta = snap.Meta
	o.rests(t, snap)
}

func (o *Oracle) recordsLoaded(l *landing, records []fencing.Record) {
	seen := map[event.Key]bool{}
	for i := range records {
		r := &records[i]
		k := event.KeyOf(r)
		seen[k] = true
		old := o.node(k).durable
		switch {
		case *r == old:
			if len(l.records[k]) > 0 {
				o.saw("a crash lost a write that was not acknowledged")
			}
		case slices.Contains(l.records[k], *r):
			o.saw("a crash kept a write that was not acknowledged")
			if l.torn {
				o.saw("a crash kept a write that was not synced")
			}
		default:
			o.violate(PromiseDurable,
				"node ID %d was loaded with epoch %d, %v, ceiling %d; acknowledged was epoch %d, %v, ceiling %d", r.Node, r.Epoch, r.Status, r.Ceiling, old.Epoch, old.Status, old.Ceiling)
		}
	}
	for _, k := range o.order {
		n := o.nodes[k]
		if n.durable.Epoch == 0 && len(l.records[k]) > 0 && !seen[k] {
			o.saw("a crash lost a write that was not acknowledged")
		}
		if n.durable.Epoch != 0 && !seen[k] {
			o.violate(PromiseDurable,
				"the record of node ID %d, epoch %d, was acknowledged and is gone after a restart",
				k.Node, n.durable.Epoch)
		}
	}
}

func (o *Oracle) poolsLoaded(l *landing, pools []fencing.Pool) {
	names := map[fencing.PoolName]bool{}
	for _, p := range pools {
		names[p.Name] = true
		if st := o.pool(p.Name); (!st.known || p != st.Pool) &&
			!slices.Contains(l.pools[p.Name], p) {
			o.violate(PromiseDurable,
				"pool %q was loaded with settings that were neither acknowledged nor in flight",
				p.Name)
		}
	}
	for name, st := range o.pools {
		if st.known && !names[name] {
			o.violate(PromiseDurable, "pool %q was acknowledged and is gone after a restart", name)
		}
	}
}

// loadedTerm compares what a replica's term loads with what is stored: all that was
// acknowledged to the terms before, and what landed and nobody knew of.
func (o *Oracle) loadedTerm(t *term, snap fencing.Snapshot) {
	if t.deposed {
		// It may be right for the instant at which it was read.
		t.meta = snap.Meta
		t.view = map[event.Key]fencing.Record{}
		for i := range snap.Records {
			r := &snap.Records[i]
			t.view[event.KeyOf(r)] = *r
		}
		return
	}
	o.isStored(t, snap)
	for _, f := range o.pending {
		switch {
		case f.settled && !f.reached && f.unknown && !f.counted:
			f.counted = true
			o.saw("a write whose outcome was unknown had not been done")
		case f.reached && f.unknown:
			o.saw("a write whose outcome was unknown had been done, and was loaded")
		}
	}
	o.settle()
	o.take(snap)
	t.meta = snap.Meta
	o.rests(t, snap)
}

func (o *Oracle) isStored(t *term, snap fencing.Snapshot) {
	s := &o.stored
	if snap.Meta != s.meta {
		o.violate(PromiseDurable, "term %d loads mark %d and stride %v, but %d and %v are stored",
			t.number, snap.Meta.Mark, snap.Meta.Stride, s.meta.Mark, s.meta.Stride)
	}
	same := 0
	for i := range snap.Records {
		r := &snap.Records[i]
		if s.records[event.KeyOf(r)] == *r {
			same++
		}
	}
	if same != len(s.records) || same != len(snap.Records) {
		o.violate(PromiseDurable,
			"term %d loads %d records, of which %d are as stored; stored are %d", t.number,
			len(snap.Records), same, len(s.records))
	}
	for _, p := range snap.Pools {
		if s.pools[p.Name] != p {
			o.violate(PromiseDurable,
				"term %d loads pool %q with settings that are not the stored ones", t.number,
				p.Name)
		}
	}
	if len(snap.Pools) != len(s.pools) {
		o.violate(PromiseDurable, "term %d loads %d pools of %d", t.number, len(snap.Pools),
			len(s.pools))
	}
}

// writesOnce: a term writes a record only when it knows what became of its last
// write of it.
func (o *Oracle) writesOnce(t *term, r *fencing.Record) {
	for other := range o.inFlight(t) {
		if other.Pool == r.Pool && other.Node == r.Node {
			o.violate(PromiseDurable, "two writes of node ID %d are in flight at once", r.Node)
		}
	}
}

// endStays: a lease that has ended does not live again.
func (o *Oracle) endStays(old fencing.Status, r *fencing.Record) {
	if old == fencing.Ended && r.Status != fencing.Ended || old == fencing.Revoked &&
		r.Status == fencing.Live {
		o.violate(PromiseDurable, "the record of node ID %d goes from %v back to %v", r.Node, old,
			r.Status)
	}
}

// promiseIsDurable: what is promised is a live record that was acknowledged.
func (o *Oracle) promiseIsDurable(t *term, n *node, a *event.Reply) {
	switch d := o.record(t, n); {
	case uint64(d.Epoch) < a.Epoch:
		o.violate(PromiseDurable,
			"node ID %d was promised under epoch %d, and that grant is not durable", a.Node,
			a.Epoch)
	case uint64(d.Epoch) > a.Epoch:
		o.promiseIsNewest(&d, a)
	case d.Status != fencing.Live:
		o.violate(PromiseDurable, "node ID %d, epoch %d was promised, but its record is %v", a.Node,
			a.Epoch, d.Status)
	}
}

// promisesUnwritten: nothing is promised of a record that is being written.
func (o *Oracle) promisesUnwritten(t *term, n *node, a *event.Reply) {
	if o.isWriting(t, n.key) {
		o.violate(PromiseDurable,
			"node ID %d, epoch %d was promised while a write of its record was in flight", a.Node,
			a.Epoch)
	}
}

// releaseIsDurable: a release is confirmed once its end is acknowledged.
func (o *Oracle) releaseIsDurable(t *term, op *operation, n *node) {
	if d := o.record(t, n); uint64(d.Epoch) == op.call.Epoch && d.Status != fencing.Ended {
		o.violate(PromiseDurable,
			"the release of node ID %d, epoch %d was confirmed, but its record is %v", d.Node,
			d.Epoch, d.Status)
	}
}

// revokeIsDurable: a revocation is confirmed once it is acknowledged.
func (o *Oracle) revokeIsDurable(t *term, op *operation, n *node) {
	if d := o.record(t, n); uint64(d.Epoch) == op.call.Epoch && d.Status == fencing.Live {
		o.violate(PromiseDurable,
			"the revocation of node ID %d, epoch %d was confirmed, but its record is live", d.Node,
			d.Epoch)
	}
}

// lostUnwritten: LEASE_LOST is not told of a record that is being written, unless
// it was decided on earlier and waited for a Confirm or for the log.
func (o *Oracle) lostUnwritten(t *term, op *operation, n *node) {
	if waited := o.config.Replicated && op.arrivedAt < o.now(); !waited && !op.held &&
		o.isWriting(t, n.key) {
		o.violate(PromiseDurable,
			"LEASE_LOST was told of node ID %d while a write of its record was in flight",
			op.call.Node)
	}
}

// ackIsDone: a replica takes no write for acknowledged that etcd has not done.
func (o *Oracle) ackIsDone(t *term, f *write) {
	if f.keys > 0 && !f.reached {
		o.violate(PromiseDurable, "%s takes a write for acknowledged that etcd has not done",
			t.server.name)
	}
}
