package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// What follows is for whoever reads a trace: times by a machine's clock, as the
// true times that they come to.

// when is the true time at which the machine's steady clock will say so, if its
// rate stays as it is.
func (m *machine) when(steady time.Duration) time.Duration {
	d := steady - m.steady()
	return m.loop.now + d - time.Duration(int64(d)/(1e6+m.rate)*m.rate)
}

// deadline is, by the server's steady clock, what it takes for the deadline of
// a node ID's record; false: its end is durable, or it has none.
func (n *nodeState) deadline(t *term) (time.Duration, bool) {
	d := &n.durable
	if d.Epoch == 0 || d.Status == fencing.Ended {
		return 0, false
	}
	deadline := n.grantedAt + d.TTL
	if d.Epoch == n.loaded {
		if deadline = n.restUntil; !n.noted {
			deadline += t.longer
		}
	}
	if l := n.lease(uint64(d.Epoch)); l != nil {
		deadline = max(deadline, l.told[t.server.index].deadline)
	}
	return deadline, true
}

// reckon notes anew until when a server waits for the holders: after a start,
// a change of the quarantine, or of how its clock goes.
func (c *checker) reckon(s *server) {
	t := c.terms[s.proc]
	if !s.running() || t == nil || t.loadedAt == 0 || t.astray() {
		return
	}
	for _, k := range c.order {
		if n := c.nodes[k]; n.writtenAt > 0 {
			if deadline, ok := n.deadline(t); ok {
				c.w.note(Record{Kind: RecordDeadline, Machine: s.name(), Process: s.proc.number, Pool: k.pool, Node: k.node, Epoch: uint64(n.durable.Epoch),
					Until: s.machine.when(deadline), RestUntil: s.machine.when(deadline + c.quarantine(n.durable.Pool, n.durable.TTL))})
			}
		}
	}
}

// reckonItems notes until when a server waits for the holders whose heartbeats
// came together.
func (c *checker) reckonItems(call *call, p *process, a *reply) {
	for i, item := range a.items {
		pool := call.request.items[i].pool
		if until, rest := c.promisedUntil(pool, p, item); until > 0 {
			c.w.note(Record{Kind: RecordDeadline, Machine: p.machine.name, Process: p.number, Pool: pool, Node: item.node, Epoch: item.epoch, Until: until, RestUntil: rest})
		}
	}
}

// settings notes what a pool is set to, and how long the stride is.
func (c *checker) settings(t *term, p *fencing.Pool, stride time.Duration) {
	c.w.note(Record{Kind: RecordSettings, Machine: t.server.name(), Pool: string(p.Name), Node: -1, TTL: p.TTL, MaxTTL: p.MaxTTL, Quarantine: p.Quarantine, Stride: stride})
}

// clockChanged notes anew what hangs on a machine's clock.
func (w *world) clockChanged(m *machine) {
	for _, s := range w.servers {
		if s.machine == m {
			w.check.reckon(s)
		}
	}
	for _, a := range w.apps {
		if a.machine == m {
			a.shown = 0
			if l, ok := a.live(); ok {
				w.check.extended(a, l.Lease, a.deadline)
			}
		}
	}
}

// extended notes a holder's deadline, by its machine's steady clock, where it
// is another than was noted before.
func (c *checker) extended(a *app, l fencing.Lease, deadline time.Duration) {
	if slack := a.machine.resolution + time.Microsecond; l.Epoch == a.shownFor && deadline <= a.shown+slack {
		return
	}
	a.shown, a.shownFor = deadline, l.Epoch
	c.w.note(Record{Kind: RecordExtend, Machine: a.machine.name, Process: a.proc.number, Pool: string(l.Pool), Node: int(l.Node), Epoch: uint64(l.Epoch),
		Until: a.machine.when(deadline)})
}

// promisedUntil is the true time of the deadline that an answer has given a
// lease, and of the end of the quarantine after it; 0: it brings no lease.
func (c *checker) promisedUntil(pool string, p *process, a *reply) (deadline, rest time.Duration) {
	t := c.term(p)
	if !a.lease || t == nil || t.astray() {
		return 0, 0
	}
	l := c.node(pool, a.node).lease(a.epoch)
	if l == nil {
		return 0, 0
	}
	by := l.told[t.server.index].deadline
	m := t.server.machine
	return m.when(by), m.when(by + c.quarantine(fencing.PoolName(pool), a.ttl))
}
