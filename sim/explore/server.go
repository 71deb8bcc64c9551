package explore

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// server is a fencing.Server and the writes that it waits for. A server in the
// table never changes.
type server struct {
	rules  *fencing.Server
	writes []*fencing.Write
	// broken is the error of Server.Check.
	broken error
}

// serverOp is an operation on a server.
type serverOp struct {
	server uint32
	kind   opKind
	now    fencing.Now
	// arg is the number of a call, the place of a write in writes, or a node ID.
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

// outcome is what a server answers to an operation, and its number afterwards.
type outcome struct {
	kind   outcomeKind
	server uint32
	// lease is what the server promised.
	lease fencing.Lease
	// batch is what the server sent to the store, or what was acknowledged.
	batch *fencing.Batch
	// grants says that the batch is a grant.
	grants bool
	// why is the reason of a refusal.
	why fencing.Reason
	// answer is the number of the answer to a call. 0: there is none.
	answer uint32
}

type outcomeKind uint8

const (
	nothing  outcomeKind = iota // no answer, now or ever
	waiting                     // no answer yet
	decided                     // a write was sent, and the answer follows it
	promised                    // success, with a lease
	yes                         // success
	lost                        // LEASE_LOST
)

// server puts a server into the table and returns its number. The server must not
// be changed afterwards.
func (w *world) server(v *server) uint32 {
	state := v.rules.State()
	w.key = appendServer(w.key[:0], &state)
	for _, write := range v.writes {
		w.key = appendWrite(append(w.key, '|'), write)
	}
	if n, ok := w.servers.numbers[string(w.key)]; ok {
		return n
	}
	v.broken = v.rules.Check()
	return w.servers.add(string(w.key), v)
}

// start returns the number of a server that has loaded a disk, or 0 if it refuses
// to start.
func (w *world) start(n uint32, now fencing.Now) uint32 {
	op := startOp{n, now}
	if v, ok := w.started[op]; ok {
		return v
	}
	d := w.disks.at(n)
	var number uint32
	if rules, err := fencing.NewServer(d.load(), span(w.scope.Stride), now); err == nil {
		number = w.server(&server{rules: rules})
	}
	w.started[op] = number
	return number
}

// serve does an operation on a server, or remembers what it did the last time.
func (w *world) serve(op serverOp) outcome {
	if out, ok := w.served[op]; ok {
		return out
	}
	old := w.servers.at(op.server)
	v := &server{rules: old.rules.Clone(), writes: old.writes}
	out := w.do(v, op)
	out.server = w.server(v)
	if op.kind == opCall {
		out.answer = w.answer(w.calls.at(op.arg), &out)
	}
	w.served[op] = out
	return out
}

// do does an operation on a server.
func (w *world) do(v *server, op serverOp) (out outcome) {
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

// answer returns the number of the answer to a call, 0 if there is none.
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

// send adds a write to those that the server waits for.
func (v *server) send(write *fencing.Write) outcome {
	v.writes = append(v.writes[:len(v.writes):len(v.writes)], write)
	return outcome{kind: decided, batch: &write.Batch, grants: write.Grants}
}

// call lets a holder's call reach the server.
func (v *server) call(now fencing.Now, c fencing.Call) outcome {
	ref := fencing.LeaseRef{Pool: c.Pool, Node: c.Node, Epoch: c.Epoch, Instance: c.Instance.Hash()}
	switch c.Kind {
	case fencing.CallAcquire:
		d, r := v.rules.Acquire(now,
			fencing.AcquireRequest{Pool: c.Pool, App: c.App, Instance: ref.Instance, TTL: c.TTL})
		v.rules.LeaveQueue(c.Pool, d.Ticket) // a request that would wait may as well arrive later
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

// answer translates a decision or a refusal.
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
