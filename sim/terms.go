package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// What is checked where several replicas share a store. A term is over at the
// instant at which etcd does the transaction that begins the next one. What its
// replica knows from then on is what it knew then; see term.astray.

// stored is what etcd holds, whoever was told.
type stored struct {
	meta    fencing.Meta
	pools   map[fencing.PoolName]fencing.Pool
	records map[nodeKey]fencing.Record
}

func (s *stored) put(b *fencing.Batch) {
	if s.records == nil {
		s.pools, s.records = map[fencing.PoolName]fencing.Pool{}, map[nodeKey]fencing.Record{}
	}
	if b.Meta != nil {
		s.meta = *b.Meta
	}
	for _, p := range b.Pools {
		s.pools[p.Name] = p
	}
	for i := range b.Records {
		r := &b.Records[i]
		s.records[nodeKey{string(r.Pool), int(r.Node)}] = *r
	}
}

// created tells that there is a store where there was none.
func (c *checker) created(b fencing.Batch) {
	c.storeIs(fencing.Snapshot{Meta: *b.Meta, Pools: b.Pools, Records: b.Records})
	c.stored = stored{}
	c.stored.put(&b)
}

// beginsTerm tells that a process is about to begin a term.
func (c *checker) beginsTerm(s *server, p *process) *term {
	c.numbers++
	t := &term{server: s, proc: p, number: c.numbers}
	c.terms[p] = t
	return t
}

// failedTerm tells that a process does not know whether its term has begun: it
// makes no use of it.
func (c *checker) failedTerm(t *term) {
	t.failed = true
	c.w.note(Record{Kind: RecordDeposed, Machine: t.server.name(), Process: t.proc.number, Node: -1, Text: "does not know whether it leads"})
}

// tookOver tells that etcd has begun a term.
func (c *checker) tookOver(t *term) {
	w := c.w
	old := c.reigning
	if old != nil && old.since > t.left {
		w.violate(PromiseTerm, "%s begins term %d by a takeover that it sent %v before %s began term %d: one that lands late must not depose the next leader", t.server.name(), t.number, old.since-t.left, old.server.name(), old.number)
	}
	c.reigning, t.since = t, w.now()
	w.count("takeovers", 1)
	w.note(Record{Kind: RecordTerm, Machine: t.server.name(), Process: t.proc.number, Node: -1, Text: fmt.Sprintf("leads, by term %d", t.number)})
	if old == nil {
		return
	}
	c.depose(old)
	if old.server != t.server {
		w.saw("another replica took over")
	}
	if old.proc == t.proc {
		w.saw("a replica began another term")
	}
}

// depose ends a term: it knows what it was told, and what it has sent and has
// not landed never will.
func (c *checker) depose(t *term) {
	t.deposed = true
	t.deposedAt = c.w.now()
	c.astray(t)
	if !t.proc.dead && !t.failed && c.reigning.proc != t.proc {
		c.w.note(Record{Kind: RecordDeposed, Machine: t.server.name(), Process: t.proc.number, Node: -1, Text: "leads no more, and may not know it"})
	}
}

// beginsWrite is begins, for a term.
func (c *checker) beginsWrite(t *term, b fencing.Batch) *flight {
	f := c.begun(t, b)
	f.keys = len(b.Pools) + len(b.Records)
	if b.Meta != nil {
		f.keys++
	}
	if task := c.w.loop.running; task != nil {
		f.request = task.serving
	}
	t.queued = append(t.queued, f)
	return f
}

// leaves takes note of a transaction that leaves a replica, and finds out for
// which of its terms: it has the writes that were begun first and have not left.
func (c *checker) leaves(terms []*term, x etcd.Txn) (*term, []*flight) {
	for _, t := range slices.Backward(terms) {
		if len(x.If) > 0 && x.If[0].Value != nil && string(x.If[0].Value) != t.value {
			continue
		}
		n, sum := 0, 0
		for sum < len(x.Ops) && n < len(t.queued) {
			sum += t.queued[n].keys
			n++
		}
		if sum == len(x.Ops) {
			flights := slices.Clone(t.queued[:n])
			t.queued = slices.Delete(t.queued, 0, n)
			return t, flights
		}
	}
	last := terms[len(terms)-1]
	c.w.violate(PromiseTerm, "%s sends a transaction with %d keys of which it had not said that they are to be written: a write must not be sent again", last.server.name(), len(x.Ops))
	return last, nil
}

// txn tells what etcd has made of a transaction, at that instant. late: its
// sender has given up on it.
func (c *checker) txn(t *term, x etcd.Txn, flights []*flight, done, late bool) {
	w := c.w
	switch {
	case x.For == etcd.ForTakeOver && done:
		c.tookOver(t)
	case x.For == etcd.ForTakeOver && c.reigning != nil && c.reigning.since > t.left:
		w.saw("a takeover was refused, since another had been faster")
	case x.For == etcd.ForTakeOver:
		w.saw("a takeover found that its election was lost")
	case !done && late:
		w.saw("a late write was refused by its guard")
	case !done && t != c.reigning:
		w.saw("a leader was deposed and could write nothing")
	case done:
		c.lands(t, flights, late)
	}
}

// lands tells that writes are in etcd, whoever is told.
func (c *checker) lands(t *term, flights []*flight, late bool) {
	w := c.w
	if t != c.reigning {
		w.violate(PromiseTerm, "%s writes as of its term %d, but %s has begun term %d since", t.server.name(), t.number, c.reigning.server.name(), c.reigning.number)
		return
	}
	if late {
		w.saw("a write was done after its writer had given up")
	}
	for _, f := range flights {
		f.reached = true
		if c.stored.records == nil {
			c.created(f.batch)
			w.saw("a replica made the store that was not there")
		}
		c.stored.put(&f.batch)
	}
}

// loadedTerm compares what a term loads with what is stored: all that was
// acknowledged to the terms before, and what landed and nobody knew of.
func (c *checker) loadedTerm(t *term, snap fencing.Snapshot) {
	w := c.w
	if t.deposed {
		// It may be right for the instant at which it was read.
		t.meta = snap.Meta
		t.view = map[nodeKey]fencing.Record{}
		for i := range snap.Records {
			r := &snap.Records[i]
			t.view[nodeKey{string(r.Pool), int(r.Node)}] = *r
		}
		return
	}
	if snap.Meta != c.stored.meta {
		w.violate(PromiseDurable, "term %d loads mark %d and stride %v, but %d and %v are stored", t.number, snap.Meta.Mark, snap.Meta.Stride, c.stored.meta.Mark, c.stored.meta.Stride)
	}
	seen := 0
	for i := range snap.Records {
		r := &snap.Records[i]
		if c.stored.records[nodeKey{string(r.Pool), int(r.Node)}] == *r {
			seen++
		}
	}
	if seen != len(c.stored.records) || seen != len(snap.Records) {
		w.violate(PromiseDurable, "term %d loads %d records, of which %d are as stored; stored are %d", t.number, len(snap.Records), seen, len(c.stored.records))
	}
	for _, p := range snap.Pools {
		if c.stored.pools[p.Name] != p {
			w.violate(PromiseDurable, "term %d loads pool %q with settings that are not the stored ones", t.number, p.Name)
		}
	}
	if len(snap.Pools) != len(c.stored.pools) {
		w.violate(PromiseDurable, "term %d loads %d pools of %d", t.number, len(snap.Pools), len(c.stored.pools))
	}
	for _, f := range c.flying {
		switch {
		case f.settled && !f.reached && f.unknown && !f.counted:
			f.counted = true
			w.saw("a write whose outcome was unknown had not been done")
		case f.reached && f.unknown:
			w.saw("a write whose outcome was unknown had been done, and was loaded")
		}
	}
	c.settle()
	c.take(snap)
	t.meta = snap.Meta
	c.rests(t, snap)
}

// acknowledgedTo is acknowledged, for a term.
func (c *checker) acknowledgedTo(t *term, f *flight) {
	t.queued = slices.DeleteFunc(t.queued, func(q *flight) bool { return q == f }) // it had nothing to write
	if f.keys > 0 && !f.reached {
		c.w.violate(PromiseDurable, "%s takes a write for acknowledged that etcd has not done", t.server.name())
	}
	c.granting(f)
	c.known(t, f)
}

// granting looks whether one request is granted one lease, even if it doesn't
// say for which instance, and is passed on more than once.
func (c *checker) granting(f *flight) {
	op := f.request
	if op == nil || op.call.procedure != callAcquire {
		return
	}
	if op.call.parent != nil {
		op = op.call.parent
	}
	for i := range f.batch.Records {
		r := &f.batch.Records[i]
		if r.Status != fencing.Live {
			continue
		}
		k := nodeKey{string(r.Pool), int(r.Node)}
		if op.granted != nil && *op.granted != k {
			if old := c.stored.records[*op.granted]; old.Epoch == op.grantedEpoch && old.Status == fencing.Live {
				c.w.violate(PromiseOneLease, "one request of %s is granted node IDs %d and %d", op.call.from.machine.name, op.granted.node, r.Node)
			}
		}
		op.granted, op.grantedEpoch = &k, r.Epoch
	}
}

// refusedWrite tells that a write was surely not done, and may be done another
// way.
func (c *checker) refusedWrite(t *term, f *flight) {
	t.queued = slices.DeleteFunc(t.queued, func(q *flight) bool { return q == f })
	c.flying = slices.DeleteFunc(c.flying, func(q *flight) bool { return q == f })
}

// failedWrite tells that a term has a write that failed, or may have: it
// promises nothing any more.
func (c *checker) failedWrite(t *term, f *flight) {
	t.queued = slices.DeleteFunc(t.queued, func(q *flight) bool { return q == f })
	t.failed = true
	f.ended, f.unknown = true, true
	c.w.note(Record{Kind: RecordDeposed, Machine: t.server.name(), Process: t.proc.number, Node: -1, Text: "a write failed, or may have: the term ends"})
	if f.settled && !f.reached {
		f.counted = t.deposed
	}
}

// notConfirmed tells that a Confirm has found that another term has begun.
func (c *checker) notConfirmed(t *term) {
	for _, op := range c.history {
		r := op.call.request
		if op.proc != t.proc || op.done != 0 || op.unknown || op.call.procedure != callHeartbeat && op.call.procedure != callRelease {
			continue
		}
		d := t.view[nodeKey{r.pool, r.node}]
		if uint64(d.Epoch) != r.epoch || d.Instance != fencing.InstanceID(r.instance).Hash() || d.Status != fencing.Live {
			c.w.saw("Confirm kept a deposed leader from saying LEASE_LOST")
			return
		}
	}
}

// sure looks at an answer that needs a Confirm: it may leave only if the term
// lasted at an instant after the request had arrived.
func (c *checker) sure(t *term, op *operation, what string) {
	if t.deposed && t.deposedAt < op.begun {
		c.w.violate(PromiseConfirm, "%s answers %s to a request that came %v after its term was over", t.server.name(), what, op.begun-t.deposedAt)
	}
}

// heardKey is an answer of the leader's, as it reaches a replica that follows.
type heardKey struct {
	pool            string
	node            int
	epoch           uint64
	server, ceiling int64
	lost            bool
}

func keyOf(call *call, r *reply) heardKey {
	return heardKey{call.request.pool, r.node, r.epoch, r.server, r.ceiling, r.lost}
}

// hears takes note of an answer that the leader gives to one who passes on.
func (c *checker) hears(p *process, call *call, r *reply) {
	if c.heard[p] == nil {
		c.heard[p] = map[heardKey]time.Duration{}
	}
	for i, item := range r.items {
		c.heard[p][heardKey{call.request.items[i].pool, item.node, item.epoch, item.server, item.ceiling, item.lost}] = c.w.now()
	}
	if r.lease || r.lost {
		c.heard[p][keyOf(call, r)] = c.w.now()
	}
}

// passedOn looks at an answer that a replica passes on: it is one that the
// leader has given since.
func (c *checker) passedOn(call *call, p *process, op *operation, r *reply) {
	w := c.w
	if r.lease || r.lost {
		at, ok := c.heard[p][keyOf(call, r)]
		if !ok || at < op.begun {
			w.violate(PromiseForward, "%s answers %s #%d with what no leader has told it since", p.machine.name, call.procedure, call.number)
		}
	}
	if r.good {
		w.saw("a replica passed a request on")
		c.waitedForLeader(op, r)
	}
}

// waitedForLeader counts requests that came when another term was the last, or
// none, and were answered well by this one.
func (c *checker) waitedForLeader(op *operation, r *reply) {
	if t := c.reigning; r.good && t != nil && t.since > op.begun {
		c.w.saw("a request waited for a leader")
	}
}

// unled looks at an answer of a replica that neither leads nor asked.
func (c *checker) unled(call *call, p *process, r *reply) {
	if r.good || r.lost || r.code == "resource_exhausted" {
		c.w.violate(PromiseForward, "%s answers %s #%d, and it neither leads nor has asked who does", p.machine.name, call.procedure, call.number)
	}
}

// leading counts what is seen of who thinks that they lead.
func (c *checker) leading(s *server) {
	if t := c.terms[s.proc]; t != nil && t.servesFrom == 0 {
		t.servesFrom = max(s.machine.steady(), 1)
	}
	n := 0
	for _, s := range c.w.servers {
		if s.term != nil {
			n++
		}
	}
	if n > 1 {
		c.w.saw("two replicas thought that they led")
	}
}

// ofTerm looks at an answer that a term has given itself.
func (c *checker) ofTerm(t *term, op *operation, a *reply) {
	w := c.w
	switch {
	case a.lost:
		c.sure(t, op, "LEASE_LOST")
	case a.code == "resource_exhausted":
		c.sure(t, op, "that no node ID is free")
	case a.good && op.call.procedure == callList:
		c.sure(t, op, "a listing")
	case a.code == "unavailable" && t.deposed && !t.failed && t.written && t.server.machine.steady() > t.sent+t.meta.Stride:
		w.saw("a deposed leader whose mark ran out refused to promise")
	}
	if a.lease && t.deposed {
		w.saw("a deposed leader promised within its stride")
	}
	c.waitedForLeader(op, a)
}

// late says that an answer of a batch may have been decided on earlier than it
// left.
func (op *operation) late(now time.Duration) bool { return op.batch && op.begun < now }

// promisedEarlier looks at a lease in a batch that has waited for others of it:
// as if the network had held it up. It was right at some time since it came.
func (c *checker) promisedEarlier(t *term, op *operation, n *nodeState, a *reply) {
	l := n.lease(a.epoch)
	if l == nil {
		c.w.violate(PromiseFencing, "a heartbeat was good for node ID %d, epoch %d, which no Acquire has answered", a.node, a.epoch)
		return
	}
	c.promisedAt = max(c.promisedAt, a.server)
	last := &l.told[t.server.index]
	l.ceiling = max(l.ceiling, a.ceiling)
	last.ceiling = max(last.ceiling, a.ceiling)
	last.deadline = max(last.deadline, op.steady+a.ttl)
	l.passed = false
}

// counts says whether what this machine has promised of a lease bounds what a
// term grants. By clocks that are worse than allowed it need not, if others
// have led in between.
func (c *checker) counts(t *term, l *leaseState) bool {
	last := l.told[t.server.index].term
	return c.w.exclusion() || last == t || !c.w.replicated() && (last == nil || last.hosts == t.hosts)
}
