package oracle

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// What follows is for whoever reads a trace: times by a machine's clock, as the
// true times that they come to.

// noteDeadlines notes anew until when a server waits for the holders: after a
// start, a change of the quarantine, or of how its clock goes.
func (o *Oracle) noteDeadlines(s *server) {
	t := o.terms[s.proc]
	if !s.running || t == nil || t.loadedAt == 0 || t.superseded() {
		return
	}
	for _, k := range o.order {
		if n := o.nodes[k]; n.writtenAt > 0 {
			if deadline, ok := n.deadline(t); ok {
				o.note(event.Record{Kind: event.RecordDeadline, Machine: s.name,
					Process: s.proc.Number, Pool: k.Pool, Node: k.Node,
					Epoch: uint64(n.durable.Epoch), Until: s.clock.When(o.now(), deadline),
					RestUntil: s.clock.When(o.now(), deadline+o.quarantine(n.durable.Pool,
						n.durable.TTL))})
			}
		}
	}
}

// noteSettings notes what a pool is set to, and how long the stride is.
func (o *Oracle) noteSettings(t *term, p *fencing.Pool, stride time.Duration) {
	o.note(event.Record{Kind: event.RecordSettings, Machine: t.server.name, Pool: string(p.Name),
		Node: -1, TTL: p.TTL, MaxTTL: p.MaxTTL, Quarantine: p.Quarantine, Stride: stride})
}

// noteExtended notes a holder's deadline, by its machine's steady clock, where it
// is another than was noted before.
func (o *Oracle) noteExtended(a *app, l fencing.Lease, deadline time.Duration, c event.Clock) {
	if slack := c.Resolution + time.Microsecond; l.Epoch == a.shownFor &&
		deadline <= a.shown+slack {
		return
	}
	a.shown, a.shownFor = deadline, l.Epoch
	o.note(event.Record{Kind: event.RecordExtend, Machine: a.proc.Machine, Process: a.proc.Number,
		Pool: string(l.Pool), Node: int(l.Node), Epoch: uint64(l.Epoch),
		Until: c.When(o.now(), deadline)})
}

// Deadline returns the true time of the deadline that an answer of a process has
// given a lease, and of the end of the quarantine after it; 0: it brings no lease.
func (o *Oracle) Deadline(by event.Process, pool string, a *event.Reply) (deadline,
	rest time.Duration) {
	t := o.term(o.process(by))
	if !a.Lease || t == nil || t.superseded() {
		return 0, 0
	}
	l := o.node(event.Key{Pool: pool, Node: a.Node}).lease(a.Epoch)
	if l == nil {
		return 0, 0
	}
	until := l.byServer[t.server.index].deadline
	c := &t.server.clock
	return c.When(o.now(), until), c.When(o.now(), until+o.quarantine(fencing.PoolName(pool),
		a.TTL))
}
