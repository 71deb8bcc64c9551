package oracle

import (
	"fmt"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// A replica's term ends at the instant at which etcd does the transaction that
// begins the next one. What its replica knows from then on is what it knew then;
// see term.superseded.

// stored is what etcd holds, whoever was told.
type stored struct {
	meta    fencing.Meta
	pools   map[fencing.PoolName]fencing.Pool
	records map[event.Key]fencing.Record
}

func (s *stored) put(b *fencing.Batch) {
	if s.records == nil {
		s.pools, s.records = map[fencing.PoolName]fencing.Pool{}, map[event.Key]fencing.Record{}
	}
	if b.Meta != nil {
		s.meta = *b.Meta
	}
	for _, p := range b.Pools {
		s.pools[p.Name] = p
	}
	for i := range b.Records {
		r := &b.Records[i]
		s.records[event.KeyOf(r)] = *r
	}
}

// txn is a transaction on its way to etcd; writes are those that it makes, none
// if it is a takeover.
type txn struct {
	term     *term
	takeOver bool
	writes   []*write
}

// confirm is a question whether a term lasts. counted: it began before the end of
// all faults.
type confirm struct {
	term    *term
	began   time.Duration
	counted bool
}

// hearOfEtcd takes news of replicas and their terms.
func (o *Oracle) hearOfEtcd(news event.News) {
	switch n := news.(type) {
	case event.Created:
		o.created(n.Batch)
	case event.TakesOver:
		p := o.process(n.Process)
		t := &term{server: o.servers[n.Server], proc: p, number: n.Term}
		o.terms[p], o.byNumber[n.Term] = t, t
		p.terms = append(p.terms, t)
	case event.TakeoverFailed:
		t := o.byNumber[n.Term]
		t.failed = true
		o.noteDeposed(t, "does not know whether it leads")
	case event.TxnSent:
		o.txnSent(n)
	case event.TxnDone:
		if x := o.txns[n.Txn]; x != nil {
			o.txnDone(x, n.Done, n.Late)
		}
	case event.Confirming:
		o.confirming(n)
	case event.Confirmed:
		o.confirmed(n)
	}
}

func (o *Oracle) noteDeposed(t *term, text string) {
	o.note(event.Record{Kind: event.RecordDeposed, Machine: t.server.name, Process: t.proc.Number,
		Node: -1, Text: text})
}

// created records that there is a store where there was none.
func (o *Oracle) created(b fencing.Batch) {
	o.storeIs(fencing.Snapshot{Meta: *b.Meta, Pools: b.Pools, Records: b.Records})
	o.stored = stored{}
	o.stored.put(&b)
}

// txnSent finds out for which of a process's terms a transaction is, and what it
// writes: the writes that were started first and have not been sent.
func (o *Oracle) txnSent(n event.TxnSent) {
	p := o.process(n.Process)
	if len(p.terms) == 0 {
		return // nobody judges it
	}
	last := p.terms[len(p.terms)-1]
	if n.TakeOver {
		last.value, last.sentAt = n.Value, o.now()
		o.txns[n.Txn] = &txn{term: last, takeOver: true}
		return
	}
	for _, t := range slices.Backward(p.terms) {
		if n.Guarded && n.Guard != t.value {
			continue
		}
		k, sum := 0, 0
		for sum < n.Keys && k < len(t.queued) {
			sum += t.queued[k].keys
			k++
		}
		if sum == n.Keys {
			o.txns[n.Txn] = &txn{term: t, writes: slices.Clone(t.queued[:k])}
			t.queued = slices.Delete(t.queued, 0, k)
			return
		}
	}
	o.txns[n.Txn] = &txn{term: last}
	o.sentTwice(last, n.Keys)
}

// txnDone takes what etcd made of a transaction. late: its sender has given up.
func (o *Oracle) txnDone(x *txn, done, late bool) {
	t := x.term
	switch {
	case x.takeOver && done:
		o.tookOver(t)
	case x.takeOver && o.leader != nil && o.leader.since > t.sentAt:
		o.saw("a takeover was refused, since another had been faster")
	case x.takeOver:
		o.saw("a takeover found that its election was lost")
	case !done && late:
		o.saw("a late write was refused by its guard")
	case !done && t != o.leader:
		o.saw("a leader was deposed and could write nothing")
	case done:
		o.lands(t, x.writes, late)
	}
}

// tookOver records that etcd has begun a term.
func (o *Oracle) tookOver(t *term) {
	old := o.leader
	o.deposesInTime(old, t)
	o.leader, t.since = t, o.now()
	o.note(event.Record{Kind: event.RecordTerm, Machine: t.server.name, Process: t.proc.Number,
		Node: -1, Text: fmt.Sprintf("leads, by term %d", t.number)})
	if old == nil {
		return
	}
	o.depose(old)
	if old.server != t.server {
		o.saw("another replica took over")
	}
	if old.proc == t.proc {
		o.saw("a replica began another term")
	}
}

// depose ends a term: it knows what it was told, and what it has sent and has
// not landed never will.
func (o *Oracle) depose(t *term) {
	t.deposed, t.deposedAt = true, o.now()
	o.supersede(t)
	if !t.proc.dead && !t.failed && o.leader.proc != t.proc {
		o.noteDeposed(t, "leads no more, and may not know it")
	}
}

// lands records that writes are in etcd, whoever is told.
func (o *Oracle) lands(t *term, writes []*write, late bool) {
	if !o.leaderWrites(t) {
		return
	}
	if late {
		o.saw("a write was done after its writer had given up")
	}
	for _, f := range writes {
		f.reached = true
		if o.stored.records == nil {
			o.created(f.batch)
			o.saw("a replica made the store that was not there")
		}
		o.stored.put(&f.batch)
	}
}

// acknowledgedTo takes a write that etcd has acknowledged to a replica's term.
func (o *Oracle) acknowledgedTo(t *term, f *write) {
	o.dequeue(f) // it had nothing to write
	o.ackIsDone(t, f)
	o.requestHasOne(f)
}

func (o *Oracle) dequeue(f *write) {
	f.term.queued = slices.DeleteFunc(f.term.queued, func(q *write) bool { return q == f })
}

// failed takes a write that failed, or may have: its term promises nothing more.
func (o *Oracle) failed(f *write) {
	t := f.term
	t.failed = true
	if t.number == 0 {
		return
	}
	o.dequeue(f)
	f.ended, f.unknown = true, true
	o.noteDeposed(t, "a write failed, or may have: the term ends")
	if f.settled && !f.reached {
		f.counted = t.deposed
	}
}

// confirming records that a Confirm of a term begins. One that faults hold up disturbs
// its term until it ends.
func (o *Oracle) confirming(n event.Confirming) {
	c := &confirm{term: o.byNumber[n.Term], began: o.now(), counted: !o.faultsEnded}
	o.confirms[n.Confirm] = c
	if c.counted {
		c.term.confirming++
	}
}

func (o *Oracle) confirmed(n event.Confirmed) {
	c := o.confirms[n.Confirm]
	delete(o.confirms, n.Confirm)
	if c.counted {
		c.term.confirming--
		if c.began < o.faultsEndedAt {
			c.term.disturbed = c.term.steady()
		}
	}
	if n.Deposed {
		o.notConfirmed(c.term)
	}
}
