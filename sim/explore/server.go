package explore

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// server is the rules' state, which is never changed once it is in the table,
// and the writes that it waits for.
type server struct {
	rules  *fencing.Server
	writes []*fencing.Write
	broken error // what Check says
}

// serverOp is one thing that a server is told.
type serverOp struct {
	server uint32
	kind   opKind
	now    fencing.Now
	// arg is the number of a call, the place of a write, or a node ID.
	arg   uint32
	epoch fencing.Epoch
}

type startOp struct {
	disk uint32
	now  fencing.Now
}

type opKind uint8

const (
	opSettle opKind = iota
	opTick
	opWritten
	opCall
	opRevoke
)

// outcome is what became of it.
type outcome struct {
	kind   outcomeKind
	server uint32
	// lease is what was promised; batch was decided on, or acknowledged.
	lease fencing.Lease
	batch *fencing.Batch
	// grants: it is a grant.
	grants bool
	why    fencing.Reason
	// answer is the number of what goes back to a call's sender; 0: nothing.
	answer uint32
}

type outcomeKind uint8

const (
	nothing  outcomeKind = iota // no answer, now or ever
	waiting                     // no answer yet
	decided                     // a write went out, and the answer follows it
	promised                    // yes, with a lease
	yes                         // yes
	lost                        // LEASE_LOST
)

// server puts a server into the table and returns its number. It must not be changed afterwards.
func (w *world) server(v *server) uint32 {
	w.key = v.rules.AppendFingerprint(w.key[:0])
	for _, write := range v.writes {
		w.key = write.AppendFingerprint(append(w.key, '|'))
	}
	if n, ok := w.servers.numbers[string(w.key)]; ok {
		return n
	}
	v.broken = v.rules.Check()
	return w.servers.add(string(w.key), v)
}

// start is a server that has loaded the disk.
func (w *world) start(n uint32, now fencing.Now) uint32 {
	op := startOp{n, now}
	if v, ok := w.started[op]; ok {
		return v
	}
	d := w.disks.at(n)
	var number uint32
	// Where it refuses to start, there is none.
	if rules, err := fencing.NewServer(d.load(), span(w.scope.Stride), now); err == nil {
		number = w.server(&server{rules: rules})
	}
	w.started[op] = number
	return number
}

// serve tells a server something.
func (w *world) serve(op serverOp) outcome {
	if out, ok := w.served[op]; ok {
		return out
	}
	old := w.servers.at(op.server)
	v := &server{rules: old.rules.Clone(), writes: old.writes}
	out := w.tell(v, op)
	out.server = w.server(v)
	if op.kind == opCall {
		out.answer = w.answer(w.calls.at(op.arg), &out)
	}
	w.served[op] = out
	return out
}

func (w *world) tell(v *server, op serverOp) (out outcome) {
	switch op.kind {
	case opSettle:
		v.rules.Settle(op.now, fencing.DefaultPool)
	case opTick:
		if write, _ := v.rules.Tick(op.now); write != nil {
			return v.send(write)
		}
	case opWritten:
		write := v.writes[op.arg]
		v.rules.Written(op.now, write)
		v.writes = append(v.writes[:op.arg:op.arg], v.writes[op.arg+1:]...)
		return outcome{kind: yes, batch: &write.Batch}
	case opCall:
		return v.call(op.now, w.calls.at(op.arg))
	case opRevoke:
		d, r := v.rules.Revoke(op.now, fencing.DefaultPool, snowflake.NodeID(op.arg), op.epoch)
		return v.answer(d, r)
	}
	return outcome{}
}

// answer numbers the answer to a call.
func (w *world) answer(c fencing.Call, out *outcome) uint32 {
	a := fencing.Answer{Call: c, Verdict: fencing.AnswerGood, Lease: out.lease}
	switch out.kind {
	case lost:
		a.Verdict = fencing.AnswerLost
	case nothing, waiting, decided:
		return 0
	}
	return w.answers.number(a, func() *fencing.Answer { return &a })
}

func (v *server) send(write *fencing.Write) outcome {
	v.writes = append(v.writes[:len(v.writes):len(v.writes)], write)
	return outcome{kind: decided, batch: &write.Batch, grants: write.Grants}
}

func (v *server) call(now fencing.Now, c fencing.Call) outcome {
	ref := fencing.LeaseRef{Pool: c.Pool, Node: c.Node, Epoch: c.Epoch, Instance: c.Instance.Hash()}
	switch c.Kind {
	case fencing.CallAcquire:
		d, r := v.rules.Acquire(now, fencing.AcquireRequest{Pool: c.Pool, App: c.App, Instance: ref.Instance, TTL: c.TTL})
		v.rules.LeaveQueue(c.Pool, d.Ticket) // one that waits may as well arrive later
		return v.answer(d, r)
	case fencing.CallHeartbeat:
		return v.answer(v.rules.Heartbeat(now, ref))
	}
	var last *snowflake.Millis
	if c.Last != 0 {
		last = &c.Last
	}
	return v.answer(v.rules.Release(now, ref, last))
}

func (v *server) answer(d fencing.Decision, r *fencing.Refusal) outcome {
	switch {
	case r != nil && r.Reason == fencing.ReasonLeaseLost:
		return outcome{kind: lost, why: r.Reason}
	case r != nil:
		return outcome{kind: nothing, why: r.Reason}
	case d.Write != nil:
		return v.send(d.Write)
	case d.Wait != fencing.WaitNone:
		return outcome{kind: waiting}
	case d.Lease.Epoch != 0:
		return outcome{kind: promised, lease: d.Lease}
	}
	return outcome{kind: yes}
}
