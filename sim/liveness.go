package sim

import (
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// P4, once faults have stopped, has two halves. The server must take a node ID
// for free in time, and give it to whoever asks; an app without a lease must
// ask. The first is looked at with each answer and each wait, the second at the
// end of each while. What is added to the design's own times is named here.

// settling is what a grant takes once a node ID is free: a write, the mark's
// before it, and the server's timers, which tick no finer than its clock. With
// etcd each write may wait for the one before it, and an answer for a Confirm.
func (t *term) settling() time.Duration { return t.server.settling() }

func (s *server) settling() time.Duration {
	if s.w.replicated() {
		return 30*time.Millisecond + 2*s.tolerance()
	}
	return 20*time.Millisecond + 2*s.tolerance()
}

// ruling is the term whose word counts, if it serves: of the process that has
// the store's volume or, of replicas, the last one that was begun; nil: none.
func (c *checker) ruling() *term {
	s, t := c.w.primary, c.reigning
	if c.w.replicated() {
		if t == nil || t.failed || t.servesFrom == 0 || !t.server.running() || t.server.proc != t.proc || t.server.term == nil {
			return nil
		}
		return t
	}
	if !s.running() || s.handler == nil {
		return nil
	}
	return c.term(s.proc)
}

// freeBy is the steady time, on the machine of a server, by which the server
// must take a node ID for free: TTL + quarantine after the last heartbeat, or
// TTL + quarantine + stride after its start, and server time beyond the last
// ceiling. It is false while a write of the record is under way.
func (c *checker) freeBy(t *term, n *nodeState) (time.Duration, bool) {
	d := &n.durable
	if c.underWay(t, n.key) {
		return 0, false
	}
	if d.Epoch == 0 {
		return c.pool(fencing.PoolName(n.key.pool)).rangeAt, true
	}
	free, ceiling := n.writtenAt, int64(d.Ceiling)
	if deadline, ok := n.deadline(t); ok {
		if d.Epoch == n.loaded {
			ceiling = max(ceiling, n.loadedCeiling)
		}
		deadline = max(deadline, c.heardOf[hearing{t.server.index, d.Instance}]+d.TTL) // an Acquire asked again, and not yet answered
		if l := n.lease(uint64(d.Epoch)); l != nil {
			ceiling = max(ceiling, l.ceiling)
		}
		free = max(free, deadline+c.quarantine(d.Pool, d.TTL))
		free = max(free, c.pool(d.Pool).changedAt) // a shorter quarantine may end what had not ended
	}
	if left := ceiling + 1 - t.clock; left > 0 {
		// Server time may run 1 % slow, to let a wall clock that was set back
		// catch up (S8).
		return max(free, t.clockAt+time.Duration(left)*time.Millisecond*100/99), true
	}
	if n.passed != ceiling {
		n.passed, n.passedAt = ceiling, t.clockAt
	}
	return max(free, n.passedAt), true
}

// free lists the times by which the server must take the pool's node IDs for
// free, the earliest first.
func (c *checker) free(t *term, pool *poolState) []time.Duration {
	var times []time.Duration
	granted := 0
	for _, k := range c.order {
		if k.pool != string(pool.Name) || k.node < int(pool.First) || k.node > int(pool.Last) {
			continue
		}
		granted++
		if at, ok := c.freeBy(t, c.nodes[k]); ok {
			times = append(times, at)
		}
	}
	// Those that nobody has ever spoken of are free once they are known; more
	// than there are apps need not be counted.
	for range min(int(pool.Last)-int(pool.First)+1-granted, maxApps) {
		times = append(times, pool.rangeAt)
	}
	slices.Sort(times)
	return times
}

// undisturbed is the steady time since which a server has had no fault: those
// stopped when the world healed, by clocks that go right since, but a write or
// a Confirm that was slow then may be so still, another replica may take over,
// and timers are late on a machine that slept.
func (c *checker) undisturbed(t *term) time.Duration {
	for _, f := range c.flying {
		if f.term == t && f.begun < c.w.stats.Heal {
			t.disturbed = t.server.machine.steady()
		}
	}
	if t.confirming > 0 {
		t.disturbed = t.server.machine.steady()
	}
	return max(t.disturbed, t.loadedAt, t.servesFrom, t.healed(), t.awake())
}

// awake is the steady time by which a server whose machine slept has noticed
// what the time asleep has brought. A timer doesn't count that time, so each
// that was set before comes late by as much. The keeper's is due half a stride
// after it was set: then a mark is written, which opens what is to be opened and
// wakes the lines, and all timers are set anew.
func (t *term) awake() time.Duration {
	m := t.server.machine
	woke := m.steady() - (t.server.w.now() - m.woke)
	if m.woke == 0 || t.loadedAt > woke {
		return 0
	}
	return woke + t.longest/2
}

// confirms tells that a Confirm of the term begins, and returns what tells that
// it is over. One that faults held up disturbs its term until then.
func (c *checker) confirms(t *term) (over func()) {
	begun := c.w.now()
	if c.w.healed {
		return func() {}
	}
	t.confirming++
	return func() {
		t.confirming--
		if begun < c.w.stats.Heal {
			t.disturbed = t.server.machine.steady()
		}
	}
}

// healed is the steady time at which faults stopped.
func (t *term) healed() time.Duration {
	w := t.server.w
	return t.server.machine.steady() - (w.now() - w.stats.Heal)
}

// full looks at an answer that no node ID is free.
func (c *checker) full(t *term, op *operation) {
	if !c.w.healed || t != c.ruling() {
		return
	}
	pool := c.pool(fencing.PoolName(op.call.request.pool))
	s := t.server.machine.steady()
	others := 0
	for _, q := range c.asking {
		if q != op && q.proc == t.proc && q.call.request.pool == op.call.request.pool {
			others++
		}
	}
	slack := t.tolerance()
	if others > 0 || c.w.replicated() {
		slack = t.settling() // nobody overtakes those in line, and they may not have heard yet; nor does one who looks, before a Confirm
	}
	if free := c.free(t, pool); len(free) > others && s > free[others]+slack && s > c.undisturbed(t)+t.settling() {
		c.w.violate(PromiseLiveness, "%s #%d was told that pool %q is full, %v after the last of %d node IDs had to be free, with %d others waiting",
			op.call.procedure, op.call.number, pool.Name, s-free[others], others+1, others)
	}
}

// waiting looks at those who wait in line, while there are any.
func (c *checker) waiting() {
	w := c.w
	if !w.healed || len(c.asking) == 0 {
		return
	}
	t := c.ruling()
	if t == nil {
		return
	}
	now, calm := t.server.machine.steady(), c.undisturbed(t)
	if now < calm+t.settling() {
		return
	}
	ranks := map[string]int{}
	for _, op := range c.asking {
		name := op.call.request.pool
		pool := c.pool(fencing.PoolName(name))
		if op.proc != t.proc || !pool.Opened {
			continue
		}
		rank := ranks[name]
		ranks[name]++
		free := c.free(t, pool)
		if rank >= len(free) || op.steady < t.servesFrom || now >= op.steady+op.call.request.wait {
			continue // one that came before it led may wait elsewhere, see late; one that waits no more is being refused, see full
		}
		since := max(free[rank], calm, now-(w.now()-op.begun), pool.openedAt)
		if now > since+t.settling() {
			w.violate(PromiseLiveness, "%s #%d still waits, %v after there had to be a free node ID of pool %q for it", op.call.procedure, op.call.number, now-since, name)
		}
	}
}

// opened looks whether suspicious pools are opened in time (S7).
func (c *checker) opened() {
	w := c.w
	if !w.healed {
		return
	}
	t := c.ruling()
	if t == nil {
		return
	}
	now, calm := t.server.machine.steady(), c.undisturbed(t)
	for _, name := range poolNames {
		p := c.pool(name)
		if due := max(p.since+c.suspicion(t, p), calm); p.known && !p.Opened && now > due+t.settling() {
			w.violate(PromiseLiveness, "pool %q is not opened, %v after it had to be", name, now-due)
		}
	}
}

// late says which app has no node ID though there had to be one for it; empty:
// none.
func (w *world) late() string {
	c := w.check
	t, limit := c.ruling(), w.stats.Heal+w.starting()
	switch {
	case t == nil && w.now() > limit:
		return w.nobodyServes()
	case t == nil:
		return ""
	case t.since > limit:
		return t.server.name() + " took over at " + t.since.String() + ", though nothing had happened to who led before"
	}
	now := t.server.machine.steady()
	for _, name := range poolNames {
		pool := c.pool(name)
		missing := w.without(name)
		if missing == nil || !pool.Opened {
			continue
		}
		since := max(c.undisturbed(t), pool.openedAt)
		if at, ok := w.spareNode(t, pool); ok && now > max(at, since)+w.asks(missing) {
			return missing.machine.name + " has no node ID, and pool " + string(name) + " has had one for it for " + (now - max(at, since)).String()
		}
	}
	return ""
}

// spareNode is the time by which the first node ID had to be free that no app
// has.
func (w *world) spareNode(t *term, pool *poolState) (first time.Duration, ok bool) {
	taken := 0
	for _, k := range w.check.order {
		if k.pool != string(pool.Name) || k.node < int(pool.First) || k.node > int(pool.Last) {
			continue
		}
		taken++
		if at, free := w.check.freeBy(t, w.check.nodes[k]); free && !w.has(k) && (!ok || at < first) {
			first, ok = at, true
		}
	}
	if taken <= int(pool.Last)-int(pool.First) {
		return pool.rangeAt, true
	}
	return first, ok
}

// has says whether an app has a node ID.
func (w *world) has(k nodeKey) bool {
	for _, a := range w.apps {
		if l, ok := a.live(); ok && string(l.Pool) == k.pool && int(l.Node) == k.node {
			return true
		}
	}
	return false
}

// starting is how long a server may take to serve once faults have stopped: a
// start that fails because its clock is wrong, and two that load slowly.
func (w *world) starting() time.Duration {
	if w.replicated() {
		return w.takeover()
	}
	return 4 * w.plan.ttl
}

func (w *world) nobodyServes() string {
	if w.replicated() {
		return "no replica leads"
	}
	return "the server does not serve"
}

// takeover is how long it may take, once faults have stopped, until a replica
// leads for good. The session of one that is gone must end (1 of its TTLs),
// those whom no watch has told look again (2), who has lost its own may hear
// late of it (3), and each step may have asked etcd in vain before. Who is
// refused since its clock is wrong lets others try for 5 s, until somebody has
// set it; who resigns may take 2 s; and who has failed, or could not stand for
// election, pauses for up to 1 s each.
func (w *world) takeover() time.Duration {
	return 6*w.plan.session + 6*w.plan.patience + w.plan.ttl/2 + 10*time.Second
}

// hearing is how long it may take until a replica that follows knows who leads:
// it looks every two TTLs of a session, may have been told wrongly for one more,
// and may have asked etcd in vain before; and a request that was passed on to one
// who is gone notices that after a while.
func (w *world) hearing() time.Duration {
	if !w.replicated() {
		return 0
	}
	return 3*w.plan.session + 2*w.plan.patience + peerSilence
}

// asks is how long an app may take to ask for a lease and to be heard.
func (w *world) asks(a *app) time.Duration {
	start := 5 * w.plan.ttl / 2                                                 // an app that was dead comes back, or one that was refused pauses
	told := w.plan.longest + 2*w.plan.quarantine + 2*w.plan.maxStride           // when to ask again, as a server said that has lost its memory since
	told = min(told, fencing.MaxRetryAfter) * 11 / 10                           // and the jitter
	given := min(a.wait, fencing.MaxWait) + fencing.MaxTry + fencing.MaxBackoff // a call that got lost before faults stopped is given up, and tried again
	return start + told + given + w.hearing()
}
