package oracle

import (
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// P4 liveness: once faults stop, what has to happen happens in time. It has two
// halves. The server must take a node ID for free in time, and give it to whoever
// asks; an app without a lease must ask. The first is judged with each answer and
// each wait, the second now and then: see apps.go. What is added to the design's own
// times is named here.

// settling is what a grant takes once a node ID is free: a write, the mark's
// before it, and the server's timers, which tick no finer than its clock. With
// etcd each write may wait for the one before it, and an answer for a Confirm.
func (o *Oracle) settling(s *server) time.Duration {
	if o.config.Replicated {
		return 30*time.Millisecond + 2*s.tolerance()
	}
	return 20*time.Millisecond + 2*s.tolerance()
}

// ruling is the term whose word counts, if it serves: of the process that has
// the store's volume or, of replicas, the last one that began; nil: none.
func (o *Oracle) ruling() *term {
	s, t := o.primary, o.leader
	if o.config.Replicated {
		if t == nil || t.failed || t.servesFrom == 0 || !t.server.running ||
			t.server.proc != t.proc || !t.server.leads {
			return nil
		}
		return t
	}
	if !s.running || !s.serving {
		return nil
	}
	return o.term(s.proc)
}

// freeBy is the steady time, on the machine of a server, by which the server
// must take a node ID for free: TTL + quarantine after the last heartbeat, or
// TTL + quarantine + stride after its start, and server time beyond the last
// ceiling. It is false while a write of the record is in flight.
func (o *Oracle) freeBy(t *term, n *node) (time.Duration, bool) {
	d := &n.durable
	if o.isWriting(t, n.key) {
		return 0, false
	}
	if d.Epoch == 0 {
		return o.pool(fencing.PoolName(n.key.Pool)).rangeAt, true
	}
	free, ceiling := n.writtenAt, int64(d.Ceiling)
	if deadline, ok := n.deadline(t); ok {
		if d.Epoch == n.loaded {
			ceiling = max(ceiling, n.loadedCeiling)
		}
		// an Acquire asked again, and not yet answered
		deadline = max(deadline, o.heardOf[hearing{t.server.index, d.Instance}]+d.TTL)
		if l := n.lease(uint64(d.Epoch)); l != nil {
			ceiling = max(ceiling, l.ceiling)
		}
		free = max(free, deadline+o.quarantine(d.Pool, d.TTL))
		// a shorter quarantine may end what had not ended
		free = max(free, o.pool(d.Pool).changedAt)
	}
	if ahead := ceiling + 1 - t.clock; ahead > 0 {
		// Server time may run 1 % slow, to let a wall clock that was set back
		// catch up (S8).
		return max(free, t.clockAt+time.Duration(ahead)*time.Millisecond*100/99), true
	}
	if n.passed != ceiling {
		n.passed, n.passedAt = ceiling, t.clockAt
	}
	return max(free, n.passedAt), true
}

// inRange reports whether a node ID is one of a pool's.
func (p *pool) inRange(k event.Key) bool {
	return k.Pool == string(p.Name) && k.Node >= int(p.First) && k.Node <= int(p.Last)
}

// size is how many node IDs a pool has.
func (p *pool) size() int { return int(p.Last) - int(p.First) + 1 }

// free lists the times by which the server must take the pool's node IDs for
// free, the earliest first.
func (o *Oracle) free(t *term, p *pool) []time.Duration {
	var times []time.Duration
	granted := 0
	for _, k := range o.order {
		if !p.inRange(k) {
			continue
		}
		granted++
		if at, ok := o.freeBy(t, o.nodes[k]); ok {
			times = append(times, at)
		}
	}
	// Those that nobody has ever spoken of are free once they are known; more
	// than there are apps need not be counted.
	for range min(p.size()-granted, o.config.Apps) {
		times = append(times, p.rangeAt)
	}
	slices.Sort(times)
	return times
}

// undisturbed is the steady time since which a server has had no fault: those
// stopped when faults ended, by clocks that go right since, but a write or
// a Confirm that was slow then may be so still, another replica may take over,
// and timers are late on a machine that slept.
func (o *Oracle) undisturbed(t *term) time.Duration {
	for _, f := range o.pending {
		if f.term == t && f.startedAt < o.faultsEndedAt {
			t.disturbed = t.steady()
		}
	}
	if t.confirming > 0 {
		t.disturbed = t.steady()
	}
	faultsEnded := t.steady() - (o.now() - o.faultsEndedAt)
	return max(t.disturbed, t.loadedAt, t.servesFrom, faultsEnded, o.awake(t))
}

// awake is the steady time by which a server whose machine slept has noticed
// what the time asleep has brought. A timer doesn't count that time, so each
// that was set before comes late by as much. The keeper's is due half a stride
// after it was set: then a mark is written, which opens what is to be opened and
// wakes the lines, and all timers are set anew.
func (o *Oracle) awake(t *term) time.Duration {
	c := &t.server.clock
	woke := c.Steady - (o.now() - c.Woke)
	if c.Woke == 0 || t.loadedAt > woke {
		return 0
	}
	return woke + t.longest/2
}

// full: who is told that no node ID is free is told so rightly.
func (o *Oracle) full(t *term, op *operation) {
	if !o.faultsEnded || t != o.ruling() {
		return
	}
	p := o.pool(fencing.PoolName(op.call.Pool))
	s := t.steady()
	others := 0
	for _, q := range o.asking {
		if q != op && q.proc == t.proc && q.call.Pool == op.call.Pool {
			others++
		}
	}
	slack := t.tolerance()
	if others > 0 || o.config.Replicated {
		// nobody overtakes those in line, and they may not have heard yet; nor does one who only
		// asks, before a Confirm
		slack = o.settling(t.server)
	}
	if free := o.free(t, p); len(free) > others && s > free[others]+slack &&
		s > o.undisturbed(t)+o.settling(t.server) {
		o.violate(PromiseLiveness,
			"%s #%d was told that pool %q is full, %v after the last of %d node IDs had to be free, with %d others waiting",
			op.call.Procedure, op.call.Number, p.Name, s-free[others], others+1, others)
	}
}

// waiting: those who wait in line get a node ID once there is one for them.
func (o *Oracle) waiting() {
	if len(o.asking) == 0 {
		return
	}
	t := o.ruling()
	if t == nil {
		return
	}
	now, calm := t.steady(), o.undisturbed(t)
	if now < calm+o.settling(t.server) {
		return
	}
	ranks := map[string]int{}
	for _, op := range o.asking {
		name := op.call.Pool
		p := o.pool(fencing.PoolName(name))
		if op.proc != t.proc || !p.Opened {
			continue
		}
		rank := ranks[name]
		ranks[name]++
		free := o.free(t, p)
		if rank >= len(free) || op.steady < t.servesFrom || now >= op.steady+op.call.Wait {
			// one that came before it led may wait elsewhere, see late; one that waits no more is
			// being refused, see full
			continue
		}
		since := max(free[rank], calm, now-(o.now()-op.arrivedAt), p.openedAt)
		if now > since+o.settling(t.server) {
			o.violate(PromiseLiveness,
				"%s #%d still waits, %v after there had to be a free node ID of pool %q for it",
				op.call.Procedure, op.call.Number, now-since, name)
		}
	}
}

// opened: suspicious pools are opened in time (S7).
func (o *Oracle) opened() {
	t := o.ruling()
	if t == nil {
		return
	}
	now, calm := t.steady(), o.undisturbed(t)
	for _, name := range PoolNames {
		p := o.pool(name)
		if due := max(p.since+o.suspicion(t, p), calm); p.known && !p.Opened &&
			now > due+o.settling(t.server) {
			o.violate(PromiseLiveness, "pool %q is not opened, %v after it had to be", name,
				now-due)
		}
	}
}

// answeredInTime: whoever asks gets an answer, be it that the pool is full.
func (o *Oracle) answeredInTime() {
	if !o.config.Judged {
		return
	}
	for _, op := range o.history {
		age := o.now() - max(op.arrivedAt, o.faultsEndedAt+o.starting())
		if op.answeredAt == 0 && !op.unknown &&
			age > op.call.Wait+o.settling(op.proc.server)+o.learning() {
			o.violate(PromiseLiveness, "%s #%d has waited for an answer for %v", op.call.Procedure,
				op.call.Number, o.now()-op.arrivedAt)
		}
	}
}
