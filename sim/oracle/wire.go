package oracle

import (
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// operation is a call about a node ID, from its arrival at the server to its
// answer.
type operation struct {
	call event.Call
	proc *process
	// arrivedAt and answeredAt are true times, steady the time of its arrival by the
	// server's clock.
	arrivedAt, answeredAt, steady time.Duration
	// first and last are the numbers of its arrival and answer, which order what is
	// at one time; firstStory and lastStory the oracle's story then.
	first, last           int
	firstStory, lastStory int
	// inLine is the number of the event since which its instance may have its place
	// in line: it has asked there without a break, and had no lease.
	inLine  int
	unknown bool // its process died: it happened, or it did not
	// ignored: it was answered by a term that was superseded, which for a stride may
	// not know the latest (S10).
	ignored bool
	node    event.Key
	reply   *event.Reply
	// items are those of a batch; of them, inBatch is set.
	items   []*operation
	inBatch bool
	// held: its task has waited for whoever reads the log, so that what it answers
	// was decided on earlier.
	held bool
	// granted is the last node ID that was granted for it, and under which epoch.
	granted      *event.Key
	grantedEpoch fencing.Epoch
}

// isLate reports whether an answer of a batch may have been decided on earlier than
// it is sent.
func (op *operation) isLate(now time.Duration) bool { return op.inBatch && op.arrivedAt < now }

// hearing is whom a server hears of, the server by its index.
type hearing struct {
	by int
	of fencing.InstanceHash
}

// hearOfWire takes news of requests and answers.
func (o *Oracle) hearOfWire(news event.News) {
	switch n := news.(type) {
	case event.Sent:
		o.instanceIsOwn(&n.Call)
	case event.Arrived:
		o.arrived(n)
	case event.Held:
		op := o.byOp[n.Op]
		op.held = true
		for _, item := range op.items {
			item.held = true
		}
	case event.Replied:
		op := o.byOp[n.Op]
		op.call.FromApp = n.Call.FromApp
		o.replied(op, n.Reply, n)
	case event.AnswerLost:
		if l := o.node(event.Key{Pool: n.Call.Pool,
			Node: n.Reply.Node}).lease(n.Reply.Epoch); n.Reply.Lease && l != nil {
			l.lostSent++
		}
	case event.Answered:
		if n.App >= 0 {
			o.toldApp(n)
		}
		if n.Call.Peer {
			o.hears(o.process(n.To.From), &n.Call, n.Reply)
		}
	case event.GaveUp:
		o.gaveUp[n.Number] = true
	case event.ClientEnded:
		o.process(n.Process).dead = true
	}
}

// arrived takes a request that a process is about to handle.
func (o *Oracle) arrived(n event.Arrived) {
	p, r := o.process(n.Process), n.Call.Request
	o.hearsOf(p, r)
	if n.Call.Procedure == event.CallRelease {
		if l := o.node(event.Key{Pool: r.Pool, Node: r.Node}).lease(r.Epoch); l != nil &&
			l.instance == r.Instance {
			o.releases(l, r)
		}
	}
	o.byOp[n.Op] = o.begin(n.Call, p)
}

func (o *Oracle) begin(by event.Call, p *process) *operation {
	op := &operation{
		call: by, proc: p, arrivedAt: o.now(), first: o.tick(), steady: p.server.clock.Steady,
		firstStory: o.story,
		node:       event.Key{Pool: by.Pool, Node: by.Node},
	}
	o.history = append(o.history, op)
	op.inLine = op.first
	if by.Procedure == event.CallAcquire {
		for _, q := range o.asking {
			if q.proc == p && by.Instance != "" && q.call.Pool == by.Pool &&
				q.call.Instance == by.Instance {
				op.inLine = min(op.inLine, q.inLine)
			}
		}
		o.asking = append(o.asking, op)
	}
	for _, item := range by.Items {
		it := o.begin(event.Call{Number: by.Number, Procedure: event.CallHeartbeat, From: by.From,
			FromApp: by.FromApp, Request: item, Peer: by.Peer}, p)
		it.inBatch = true
		op.items = append(op.items, it)
	}
	return op
}

func (o *Oracle) end(op *operation, a *event.Reply) {
	o.asking = slices.DeleteFunc(o.asking, func(q *operation) bool { return q == op })
	op.answeredAt, op.last, op.lastStory, op.reply = max(o.now(), 1), o.tick(), o.story, a
	if a.Lease {
		op.node.Node = a.Node
	}
}

// tick numbers the arrivals and answers of operations.
func (o *Oracle) tick() int {
	o.ticks++
	return o.ticks
}

// hearsOf notes when a server last heard of an instance: when a request of its
// arrives, and, since one that waits asks the rules again, when it is answered.
func (o *Oracle) hearsOf(p *process, r *event.Request) {
	if r.Instance != "" {
		o.heardOf[hearing{p.server.index,
			fencing.InstanceID(r.Instance).Hash()}] = p.server.clock.Steady
	}
	for _, item := range r.Items {
		o.hearsOf(p, item)
	}
}

// replied judges an answer that is sent.
func (o *Oracle) replied(op *operation, a *event.Reply, n event.Replied) {
	o.end(op, a)
	o.hearsOf(op.proc, op.call.Request)
	for i, it := range op.items {
		if a.Good {
			it.call.FromApp = op.call.FromApp
			o.replied(it, a.Items[i], n)
		} else {
			// the batch was refused as a whole
			o.end(it, &event.Reply{Code: a.Code, Node: it.node.Node, Epoch: it.call.Epoch})
		}
	}
	t := o.term(op.proc)
	k := o.node(event.Key{Pool: op.call.Pool, Node: a.Node})
	o.answersInTime(op, t, a)
	if o.config.Replicated {
		if n.Forwarded || t == nil {
			op.ignored = true // it is the leader's answer that says something
		}
		switch {
		case n.Forwarded:
			o.forwarded(op, a)
			return
		case t == nil:
			o.forwardsNothing(op, a)
			return
		}
		o.ofTerm(t, op, a)
	}
	// one that nobody was told of before was granted before
	op.ignored = t.superseded() && (a.Lost || a.Lease && k.lease(a.Epoch) != nil)
	o.answered(t, op, k, a, n.LostWrites)
}

// answered judges what an answer says, which its own term has given.
func (o *Oracle) answered(t *term, op *operation, n *node, a *event.Reply, lostWrites int) {
	switch procedure := op.call.Procedure; {
	case a.Lease && op.isLate(o.now()):
		o.promisedEarlier(t, op, n, a)
	case a.Lease:
		o.promised(t, op, n, a)
	case a.Lost:
		o.toldLost(t, op, n, lostWrites)
	case a.Good && procedure == event.CallRelease:
		// One whose own write is durable may be confirmed even after another
		// write has failed.
		o.isOwn(t, op, n)
		o.releaseIsDurable(t, op, n)
	case a.Good && procedure == event.CallRevoke:
		o.revokeIsDurable(t, op, n)
	case a.Code == "resource_exhausted":
		o.full(t, op)
		o.saw("a full pool answered that it is full")
	case a.Code == "unavailable" && procedure == event.CallAcquire &&
		!o.pool(fencing.PoolName(op.call.Pool)).Opened:
		o.saw("a suspicious pool granted nothing")
	case a.Code == "unavailable" && t.failed && t.superseded() && !o.config.Replicated:
		o.saw("a server that had lost its volume ended")
	case a.Code == "unavailable" && t.failed:
		o.saw("a server whose store had failed promised nothing")
	}
}

// promised judges a lease that is sent.
func (o *Oracle) promised(t *term, op *operation, n *node, a *event.Reply) {
	r, s := op.call.Request, t.steady()
	o.promisesAfterFailure(t, a)
	o.promiseIsDurable(t, n, a)
	o.promiseHasNoNote(t, n, a)
	if op.call.Procedure == event.CallHeartbeat {
		o.isOwn(t, op, n)
		o.heartbeatIsSame(r, a)
	}
	o.promisesUnwritten(t, n, a)
	t.clock, t.clockAt = a.Server, s
	o.promisedAt = max(o.promisedAt, a.Server)
	o.withinMark(t, a, s)
	if t.superseded() && !o.config.Replicated {
		o.saw("a server that had lost its volume made a promise")
	}
	l := n.lease(a.Epoch)
	if l == nil {
		l = o.newLease(op, n, a)
		p := o.pool(fencing.PoolName(r.Pool))
		p.highest = max(p.highest, a.Epoch)
	} else {
		o.renewed(t, op, l)
	}
	o.instanceIsSame(l, r, a)
	last := &l.byServer[t.server.index]
	o.windowGrows(t, l, last, a)
	if off := a.Server - t.server.clock.Wall; off > 1000 {
		o.saw("a wall clock was set back, and server time was not")
	}
	l.ceiling, l.process, l.term = max(l.ceiling, a.Ceiling), op.proc, t
	last.term = t
	last.ceiling = a.Ceiling
	last.deadline = max(last.deadline, s+a.TTL)
	l.ttl, l.passed = a.TTL, false
}

// promisedEarlier judges a lease in a batch that has waited for others of it: as if
// the network had held it up. It was right at some time since it came.
func (o *Oracle) promisedEarlier(t *term, op *operation, n *node, a *event.Reply) {
	l := n.lease(a.Epoch)
	if l == nil {
		o.unknownHeartbeat(a)
		return
	}
	o.promisedAt = max(o.promisedAt, a.Server)
	last := &l.byServer[t.server.index]
	l.ceiling = max(l.ceiling, a.Ceiling)
	last.ceiling = max(last.ceiling, a.Ceiling)
	last.deadline = max(last.deadline, op.steady+a.TTL)
	l.passed = false
}

// newLease takes a lease that is sent for the first time.
func (o *Oracle) newLease(op *operation, n *node, a *event.Reply) *lease {
	quarter := o.config.TTL / 4
	if o.now()-op.arrivedAt > quarter && o.decidedAt-op.arrivedAt > quarter {
		o.saw("a request waited in line and got a node ID")
	}
	o.leaseIsNewest(a)
	o.epochIsNew(n, a)
	l := &lease{
		epoch: a.Epoch, app: a.App, instance: a.Instance, generation: o.generation, floor: a.Floor,
		ceiling: a.Ceiling, ttl: a.TTL, last: -1,
	}
	n.add(l)
	o.byInstance[a.Instance] = l
	if op.call.Procedure == event.CallHeartbeat {
		o.unknownHeartbeat(a)
	}
	return l
}

// renewed takes a lease that is sent again.
func (o *Oracle) renewed(t *term, op *operation, l *lease) {
	if op.call.Procedure == event.CallAcquire {
		o.saw("an Acquire asked again got the same lease")
		if l.lostSent > 0 {
			o.saw("an answer was lost after the write, and the retry got the same lease")
		}
	}
	switch {
	case o.config.Replicated && l.term != t:
		o.saw("a lease outlived a takeover")
	case l.process != op.proc:
		o.saw("a lease outlived a restart of the server")
	}
	if s := t.steady(); op.call.Procedure == event.CallHeartbeat &&
		s > l.byServer[t.server.index].deadline {
		o.saw("a late heartbeat revived a lease")
	}
}
