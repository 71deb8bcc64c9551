package explore

import (
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
)

// eachOfHolder takes each step of one holder: its clock, a reply, a release, a
// restart; and the arrival of each of its requests.
func (w *world) eachOfHolder(s *state, i int, f found) {
	h := w.holders.at(s.holders[i])
	fresh := w.fresh(s)
	if w.scope.Lazy {
		w.stepHolder(s, i, step{kind: stepTick}, holderOp{kind: hopTick}, f)
	}
	for at, n := range h.replies {
		w.stepHolder(s, i, step{kind: stepReply, msg: uint8(at)}, holderOp{kind: hopReply, arg: n},
			f)
		if s.budget.doubles > 0 {
			w.stepHolder(s, i, step{kind: stepReply, msg: uint8(at), keep: true},
				holderOp{kind: hopReply, arg: n, keep: true}, f)
		}
	}
	phase := h.rules.Phase()
	hasLease := phase == fencing.HolderHolding || phase == fencing.HolderConfirming
	if i < w.scope.Troubled && s.budget.releases > 0 && hasLease {
		for used := range uint8(usedChoices) {
			if h.minting || used == usedNone {
				w.stepHolder(s, i, step{kind: stepRelease, msg: used},
					holderOp{kind: hopRelease, arg: uint32(used)}, f)
			}
		}
	}
	if i < w.scope.Troubled && s.budget.restarts > 0 && fresh != 0 {
		w.stepHolder(s, i, step{kind: stepRestart}, holderOp{kind: hopRestart, arg: uint32(i)}, f)
	}
	for at, n := range h.requests {
		if i > int(s.reached) {
			break
		}
		w.eachArrival(s, i, uint8(at), n, f)
	}
}

// fresh returns the number of the next instance that can be made, 0 if the scope
// allows no more.
func (w *world) fresh(s *state) uint8 {
	if int(s.made) == w.scope.Instances {
		return 0
	}
	return s.made + 1
}

// stepHolder does one operation on a holder. If the operation makes one message
// too many, it takes a step for each message that can be lost instead.
func (w *world) stepHolder(s *state, i int, by step, op holderOp, f found) {
	old := w.holders.at(s.holders[i])
	by.who, op.holder, op.clock, op.fresh = uint8(i), s.holders[i], s.clock-old.lag, w.fresh(s)
	if op.kind == hopRestart {
		op.clock = s.clock
	}
	if op.kind == hopClock {
		op.clock++
	}
	for lose := range w.scope.Requests + 1 {
		by.lose, op.lose = uint8(lose), uint8(lose)
		e := w.step(op)
		next := *s
		next.holders[i] = e.holder
		if e.asked {
			next.made++
		}
		switch {
		case op.keep:
			next.budget.doubles--
		case op.kind == hopRelease:
			next.budget.releases--
		case op.kind == hopRestart:
			next.budget.restarts--
		}
		if e.holder == op.holder && op.kind == hopTick {
			return // nothing was due
		}
		if w.verbose {
			w.describe(i, op, &e)
		}
		w.close(&next, e.closed)
		f(by, next)
		if !e.full {
			return
		}
	}
}

// eachArrival lets a request reach the leader, and each deposed server.
func (w *world) eachArrival(s *state, i int, at uint8, call uint32, f found) {
	by := step{kind: stepRequest, who: uint8(i), msg: at}
	if s.leader != 0 {
		out := w.serve(serverOp{server: s.leader, kind: opCall, now: w.now(s, 0), arg: call})
		next := *s
		next.reached = max(next.reached, uint8(i+1))
		next.leader = out.server
		c := w.calls.at(call)
		if w.verbose {
			w.say("%s's %s reaches server %d, ", nameOf(i), w.call(c), w.serverName(s))
		}
		switch out.kind {
		case waiting:
			if w.say("and waits"); next.leader != s.leader {
				f(by, next)
			}
			w.words = nil
		case decided:
			if w.verbose {
				w.say("which sends %s", w.batch(out.batch))
			}
			if out.grants {
				w.granting(&next, &out.batch.Records[0])
			}
			f(by, next)
		default:
			w.answered(&next, i, by, call, out, f)
		}
	}
	for d := range s.deposed {
		w.eachArrivalAtDeposed(s, i, d, by, call, f)
	}
}

// eachArrivalAtDeposed lets a request reach a deposed server. Only its promises
// are sent: for any other answer it would have to confirm that it leads (S10).
func (w *world) eachArrivalAtDeposed(s *state, i, d int, by step, call uint32, f found) {
	old := s.deposed[d]
	if old.server == 0 {
		return
	}
	out := w.serve(serverOp{server: old.server, kind: opCall, now: w.now(s, old.lag), arg: call})
	if out.kind != promised {
		return
	}
	next := *s
	next.deposed[d].server = out.server
	if w.verbose {
		w.say("%s's %s reaches %s, ", nameOf(i), w.call(w.calls.at(call)), deposedName(d))
	}
	by.old = uint8(d + 1)
	w.answered(&next, i, by, call, out, f)
}

// answered takes the request out of flight, unless it will arrive again, and puts
// the answer into flight.
func (w *world) answered(s *state, i int, by step, call uint32, out outcome, f found) {
	w.checkAnswer(s, &out, by.old != 0)
	clock := s.clock - w.holders.at(s.holders[i]).lag
	taken := w.step(holderOp{holder: s.holders[i], kind: hopTaken, clock: clock, arg: call}).holder
	if out.kind == nothing {
		s.holders[i] = taken
		f(by, *s)
		return
	}
	said := slices.Clone(w.words)
	op := holderOp{holder: taken, kind: hopPost, clock: clock, arg: out.answer}
	w.post(s, i, by, op, f)
	if s.budget.doubles > 0 {
		again := *s
		again.budget.doubles--
		w.words = append(w.words[:0], said...)
		w.say("; the request will arrive again")
		by.keep, op.holder = true, s.holders[i]
		w.post(&again, i, by, op, f)
	}
}

// checkAnswer describes a server's answer, and checks it if it is a promise.
func (w *world) checkAnswer(s *state, out *outcome, deposed bool) {
	switch out.kind {
	case nothing:
		if w.verbose {
			w.say("which refuses: %s", out.why)
		}
	case promised:
		c := &w.answers.at(out.answer).Call
		if c.Kind == fencing.CallHeartbeat && c.Epoch != out.lease.Epoch {
			w.breaks(Fencing, "server %d answers a heartbeat for epoch %s with epoch %s",
				w.serverName(s), w.epoch(c.Epoch), w.epoch(out.lease.Epoch))
		}
		if w.verbose {
			w.say("which promises %s", w.lease(&out.lease))
		}
		w.promising(s, &out.lease, deposed)
	case yes:
		w.say("which says yes")
	case lost:
		w.say("which says that the lease is lost")
	}
}

// post puts an answer into flight. If there is one too many, it takes a step for
// each that can be lost instead.
func (w *world) post(s *state, i int, by step, op holderOp, f found) {
	said := slices.Clone(w.words)
	for lose := range w.scope.Replies + 1 {
		by.lose, op.lose = uint8(lose), uint8(lose)
		e := w.step(op)
		next := *s
		next.holders[i] = e.holder
		w.words = append(w.words[:0], said...)
		if e.full && w.verbose {
			w.say("; of the replies to %s one is lost", nameOf(i))
		}
		f(by, next)
		if !e.full {
			return
		}
	}
}
