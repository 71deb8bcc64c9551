package oracle

import (
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// hearOfDisk takes news of the store of one server.
func (o *Oracle) hearOfDisk(news event.News) {
	switch n := news.(type) {
	case event.StoreIs:
		o.storeIs(n.Snapshot)
	case event.StoreOpened:
		o.servesStore(o.servers[n.Server])
	case event.StoreRefused:
		o.refusesStore(o.servers[n.Server])
	case event.StoreDamaged:
		o.damaged, o.lostWrites = true, o.lostWrites || n.LostMark
	case event.StoreShrunk:
		o.vanish(n.Kept)
	case event.Planted:
		o.node(event.KeyOf(&n.Record)).durable = n.Record
	case event.Recovered:
		o.recovered(n)
	}
}

// hearOfWrite takes news of loads and of writes, of one server or of replicas.
func (o *Oracle) hearOfWrite(news event.News) {
	switch n := news.(type) {
	case event.Loaded:
		if n.Term != 0 {
			o.loadedTerm(o.byNumber[n.Term], n.Snapshot)
		} else {
			o.loaded(o.term(o.process(n.Process)), n.Snapshot)
		}
	case event.Write:
		o.started(n)
	case event.Reached:
		f := o.writes[n.Write]
		f.reached, f.unsynced = true, n.Unsynced
	case event.Acknowledged:
		f := o.writes[n.Write]
		if f.term.number != 0 {
			o.acknowledgedTo(f.term, f)
		}
		o.acknowledged(f.term, f)
	case event.Refused:
		o.dequeue(o.writes[n.Write])
		o.pending = slices.DeleteFunc(o.pending,
			func(f *write) bool { return f == o.writes[n.Write] })
	case event.Failed:
		o.failed(o.writes[n.Write])
	}
}

// storeIs records that the disk holds a store that no earlier one leads to.
func (o *Oracle) storeIs(snap fencing.Snapshot) {
	o.generation++
	o.lostWrites, o.damaged = false, false
	o.excuse()
	o.settle()
	o.take(snap)
}

// settle records that what is on the disk is known, whoever waits for it.
func (o *Oracle) settle() {
	kept := o.pending[:0]
	for _, f := range o.pending {
		if f.settled = true; !f.ended {
			kept = append(kept, f)
		}
	}
	clear(o.pending[len(kept):])
	o.pending = kept
}

// take takes what a store holds for acknowledged.
func (o *Oracle) take(snap fencing.Snapshot) {
	o.meta = snap.Meta
	for _, n := range o.nodes {
		n.durable = fencing.Record{}
	}
	for _, p := range o.pools {
		p.known = false
	}
	for i := range snap.Records {
		r := &snap.Records[i]
		o.node(event.KeyOf(r)).durable = *r
	}
	for _, p := range snap.Pools {
		st := o.pool(p.Name)
		st.Pool, st.known, st.suspected = p, true, 0
		st.remember(&p)
	}
}

// rests notes how long a start must let rest what it loads (S6), and since when
// P4's times count.
func (o *Oracle) rests(t *term, snap fencing.Snapshot) {
	if o.host != t.server {
		o.host = t.server
		o.hosts++
	}
	t.hosts = o.hosts
	t.loadedAt, t.longest = t.steady(), max(snap.Meta.Stride, t.server.stride)
	t.stored = snap.Meta.Stride
	t.longer = t.longest - t.stored
	t.clock, t.clockAt = int64(snap.Meta.Mark.Add(-t.longest)), t.loadedAt
	for _, p := range o.pools {
		p.since, p.openedAt, p.changedAt, p.rangeAt = t.loadedAt, t.loadedAt, t.loadedAt, t.loadedAt
	}
	for i := range snap.Records {
		r := &snap.Records[i]
		n := o.node(event.KeyOf(r))
		n.loaded = r.Epoch
		if r.Status == fencing.Ended {
			n.loaded = 0
			n.end(uint64(r.Epoch)) // its note was judged when it was decided, and landed
		}
		n.restUntil = t.steady() + snap.Meta.Stride + r.TTL
		n.writtenAt, n.passed = t.loadedAt, 0
		n.loadedCeiling = int64(snap.Meta.Mark.Add(r.TTL))
		if n.noted = r.Silence.Noted; n.noted {
			n.restUntil = t.steady() + r.Silence.Left
			n.loadedCeiling = min(int64(r.Silence.Ceiling), n.loadedCeiling)
			o.saw("a start went on from a silence note")
		}
		n.notedAt = t.loadedAt // as far as the next one is concerned
	}
	for i := range snap.Pools {
		o.noteSettings(t, &snap.Pools[i], t.longest)
	}
	o.noteDeadlines(t.server)
}

// started takes a write that was decided on, and judges the decision.
func (o *Oracle) started(n event.Write) {
	t := o.byNumber[n.Term]
	if n.Term == 0 {
		t = o.term(o.process(n.Process))
	}
	b, s := n.Batch, t.steady()
	o.startsAfterFailure(t)
	o.markRises(t, b.Meta)
	o.base(t, b.Meta)
	o.shrinks(t, b.Meta, s)
	for i := range b.Records {
		r := &b.Records[i]
		o.writesOnce(t, r)
		if !t.superseded() { // nothing will come of what it decides
			o.decided(t, b.Meta, r)
		}
	}
	f := &write{proc: t.proc, term: t, batch: b, startedAt: o.now(), sentAt: s,
		settled: t.superseded()}
	o.writes[n.Write] = f
	o.pending = append(o.pending, f)
	if t.number == 0 {
		return
	}
	f.keys = len(b.Pools) + len(b.Records)
	if b.Meta != nil {
		f.keys++
	}
	f.request = o.byOp[n.Op]
	t.queued = append(t.queued, f)
}

// decided judges a record that a server is about to write.
func (o *Oracle) decided(t *term, meta *fencing.Meta, r *fencing.Record) {
	n := o.node(event.KeyOf(r))
	switch old := n.durable; {
	case r.Epoch != old.Epoch:
		o.granted(t, n, r)
	case r.Status != fencing.Ended && r.Silence != old.Silence:
		o.silence(t, n, meta, r)
	default:
		o.ends(t, n, r)
	}
}

// granted judges a grant that was decided on, before it is written.
func (o *Oracle) granted(t *term, n *node, r *fencing.Record) {
	p, s := o.pool(r.Pool), t.steady()
	c := &t.server.clock
	o.note(event.Record{Kind: event.RecordGrant, Machine: t.server.name, Process: t.proc.Number,
		Pool: string(r.Pool), Node: int(r.Node), Epoch: uint64(r.Epoch), Floor: int64(r.Floor),
		Ceiling: int64(r.Ceiling), TTL: r.TTL, Until: c.When(o.now(), s+r.TTL),
		RestUntil: c.When(o.now(), s+r.TTL+p.QuarantineOf(r.TTL)), Text: string(r.App)})
	o.grants++
	o.decidedAt, n.grantedAt, n.notedAt = o.now(), s, s
	o.grantHasNoNote(r)
	o.grantRises(t, p, r)
	o.grantIsOpen(p, r)
	o.grantWithinMark(r)
	o.grantAboveUsed(n, r)
	o.grantAfterStart(t, n, r)
	o.grantIsOnly(t, r)
	o.inLine(t, r, s)
	for _, l := range n.leases {
		o.follows(t, n, l, r)
	}
	if k := len(n.leases); k > 0 {
		if l := n.leases[k-1]; l.app != string(r.App) {
			o.saw(ChangedHolder)
		} else {
			o.saw("an app got its node ID back")
		}
	}
	if p.first >= 0 && int(r.Node) >= p.first && p.grown {
		o.saw("a grown pool granted a new node ID")
	}
}

// ChangedHolder is the situation that a node ID goes from one app to another.
const ChangedHolder = "a node ID changed its holder"

// ends judges the end of a lease that was decided on, before it is written.
func (o *Oracle) ends(t *term, n *node, r *fencing.Record) {
	o.note(event.Record{Kind: event.RecordEnd, Machine: t.server.name, Process: t.proc.Number,
		Pool: string(r.Pool), Node: int(r.Node), Epoch: uint64(r.Epoch), Floor: int64(r.Floor),
		Ceiling: int64(r.Ceiling), Text: r.Status.String()})
	o.endStays(n.durable.Status, r)
	o.endHasWindow(r)
	l := n.lease(uint64(r.Epoch))
	if l != nil && l.released && l.last < l.floor-1 {
		o.saw("a release named a timestamp from before the lease")
	}
	if l == nil || r.Status != fencing.Ended || l.generation != o.generation {
		return
	}
	if !l.released && !o.endsBelow(l, r) {
		o.endsEarly(t, n, l, r)
	}
	o.endsAboveUsed(l, r)
}

// acknowledged takes a write that the store has acknowledged to its term.
func (o *Oracle) acknowledged(t *term, f *write) {
	b := f.batch
	if f.startedAt < o.faultsEndedAt {
		t.disturbed = t.steady() // it was slow until now
	}
	if i := slices.Index(o.pending, f); i >= 0 {
		o.pending = slices.Delete(o.pending, i, i+1)
	}
	if b.Meta != nil {
		if b.Meta.Stride != t.meta.Stride {
			o.note(event.Record{Kind: event.RecordSettings, Machine: t.server.name, Node: -1,
				Stride: b.Meta.Stride})
		}
		t.meta, t.markAt, t.written = *b.Meta, f.sentAt, true
	}
	if t.superseded() {
		for i := range b.Records {
			r := &b.Records[i]
			t.view[event.KeyOf(r)] = *r
		}
	}
	if f.settled {
		return // whoever has the volume now has loaded it
	}
	if b.Meta != nil {
		o.meta = *b.Meta
	}
	for i := range b.Pools {
		o.poolChanged(t, &b.Pools[i])
	}
	o.recordsDurable(t, b.Records)
}

// recordsDurable takes records that the store has acknowledged.
func (o *Oracle) recordsDurable(t *term, records []fencing.Record) {
	at := o.tick() // what ends together ends at once: who asks first then stands first
	for i := range records {
		r := &records[i]
		n := o.node(event.KeyOf(r))
		if n.durable.Epoch != r.Epoch {
			o.epochIsOnly(r)
		}
		if old := n.durable; old.Status == fencing.Live &&
			(old.Instance != r.Instance || r.Status != fencing.Live) {
			o.leaseEnded(&old, at)
		}
		n.durable, n.writtenAt = *r, t.steady()
		if l := n.lease(uint64(r.Epoch)); l != nil && r.Status == fencing.Ended {
			l.ended = true
		}
		o.note(event.Record{Kind: event.RecordDurable, Machine: t.server.name,
			Process: t.proc.Number, Pool: string(r.Pool), Node: int(r.Node),
			Epoch: uint64(r.Epoch)})
	}
}

// poolChanged takes a pool that was created or changed.
func (o *Oracle) poolChanged(t *term, p *fencing.Pool) {
	st, now := o.pool(p.Name), t.steady()
	opened := p.Opened && !st.Opened
	if st.known && opened {
		o.saw("a suspicious pool was opened")
		o.opens(t, st)
	}
	st.changedAt = now
	if !st.known {
		st.since, st.openedAt = now, now
	} else if opened {
		st.openedAt = now
	}
	if !st.known || p.Last > st.Last {
		st.rangeAt = now
	}
	if st.known && p.Last > st.Last {
		st.grown, st.first = true, int(st.Last)+1
	}
	st.Pool, st.known = *p, true
	st.remember(p)
	o.noteSettings(t, p, t.meta.Stride)
	o.noteDeadlines(t.server)
}
