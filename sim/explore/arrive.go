package explore

import (
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
)

// eachOfHolder: a holder begins, sends, gets answers, gives up, dies; and what
// it sent arrives.
func (w *world) eachOfHolder(s *state, i int, f found) {
	h := w.holders.at(s.holders[i])
	fresh := w.fresh(s)
	if w.scope.Lazy {
		w.stepHolder(s, i, step{kind: stepTick}, holderOp{kind: hopTick}, f)
	}
	for at, n := range h.replies {
		w.stepHolder(s, i, step{kind: stepReply, msg: uint8(at)}, holderOp{kind: hopReply, arg: n}, f)
		if s.left.doubles > 0 {
			w.stepHolder(s, i, step{kind: stepReply, msg: uint8(at), keep: true}, holderOp{kind: hopReply, arg: n, keep: true}, f)
		}
	}
	if phase := h.rules.Phase(); i < w.scope.Troubled && s.left.releases > 0 && (phase == fencing.HolderHolding || phase == fencing.HolderConfirming) {
		for used := range uint8(lastWords) {
			if h.minting || used == usedNone {
				w.stepHolder(s, i, step{kind: stepRelease, msg: used}, holderOp{kind: hopRelease, arg: uint32(used)}, f)
			}
		}
	}
	if i < w.scope.Troubled && s.left.restarts > 0 && fresh != 0 {
		w.stepHolder(s, i, step{kind: stepRestart}, holderOp{kind: hopRestart, arg: uint32(i)}, f)
	}
	for at, n := range h.requests {
		if i > int(s.heard) {
			break
		}
		w.eachArrival(s, i, uint8(at), n, f)
	}
}

// fresh is the next instance that can be made, 0 if there is none.
func (w *world) fresh(s *state) uint8 {
	if int(s.made) == w.scope.Instances {
		return 0
	}
	return s.made + 1
}

// stepHolder is one thing that a holder is told, in each way in which a
// message can be lost by it.
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
			next.left.doubles--
		case op.kind == hopRelease:
			next.left.releases--
		case op.kind == hopRestart:
			next.left.restarts--
		}
		if e.holder == op.holder && op.kind == hopTick {
			return // it was not time for anything
		}
		if w.loud {
			w.tellHolder(i, op, &e)
		}
		w.close(&next, e.closed)
		f(by, next)
		if !e.full {
			return
		}
	}
}

// eachArrival: a request comes to a server.
func (w *world) eachArrival(s *state, i int, at uint8, call uint32, f found) {
	by := step{kind: stepRequest, who: uint8(i), msg: at}
	if s.leader != 0 {
		out := w.serve(serverOp{server: s.leader, kind: opCall, now: w.now(s, 0), arg: call})
		next := *s
		next.heard = max(next.heard, uint8(i+1))
		next.leader = out.server
		c := w.calls.at(call)
		if w.loud {
			if w.loud {
				w.say("%s's %s comes to server %d, ", nameOf(i), w.call(c), w.serverName(s))
			}
		}
		switch out.kind {
		case waiting:
			if w.say("and waits"); next.leader != s.leader {
				f(by, next)
			}
			w.words = nil
		case decided:
			if w.loud {
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
		w.eachBelated(s, i, d, by, call, f)
	}
}

// eachBelated: a request comes to a deposed server. Of its answers only promises
// go out: for all others it would have to confirm that it leads (S10).
func (w *world) eachBelated(s *state, i, d int, by step, call uint32, f found) {
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
	if w.loud {
		w.say("%s's %s comes to %s, ", nameOf(i), w.call(w.calls.at(call)), deposedName(d))
	}
	by.old = uint8(d + 1)
	w.answered(&next, i, by, call, out, f)
}

// answered puts an answer under way.
func (w *world) answered(s *state, i int, by step, call uint32, out outcome, f found) {
	switch out.kind {
	case nothing:
		if w.loud {
			w.say("which refuses: %s", out.why)
		}
	case promised:
		if c := &w.answers.at(out.answer).Call; c.Kind == fencing.CallHeartbeat && c.Epoch != out.lease.Epoch {
			w.breaks(Fencing, "server %d answers a heartbeat for epoch %s with epoch %s", w.serverName(s), w.epoch(c.Epoch), w.epoch(out.lease.Epoch))
		}
		if w.loud {
			if w.loud {
				w.say("which promises %s", w.lease(&out.lease))
			}
		}
		w.promising(s, &out.lease, by.old != 0)
	case yes:
		w.say("which says yes")
	case lost:
		w.say("which says that the lease is lost")
	}
	taken := w.step(holderOp{holder: s.holders[i], kind: hopTaken, clock: s.clock - w.holders.at(s.holders[i]).lag, arg: call}).holder
	if out.kind == nothing {
		s.holders[i] = taken
		f(by, *s)
		return
	}
	said := slices.Clone(w.words)
	for _, keep := range [...]bool{false, true} {
		from := taken
		if keep {
			if s.left.doubles == 0 {
				return
			}
			from = s.holders[i]
		}
		for lose := range w.scope.Replies + 1 {
			e := w.step(holderOp{holder: from, kind: hopPost, clock: s.clock - w.holders.at(s.holders[i]).lag, arg: out.answer, lose: uint8(lose)})
			next := *s
			next.holders[i] = e.holder
			w.words = append(w.words[:0], said...)
			if keep {
				next.left.doubles--
				w.say("; the request will come again")
			}
			if e.full {
				if w.loud {
					w.say("; of the replies to %s one is lost", nameOf(i))
				}
			}
			by.lose, by.keep = uint8(lose), keep
			f(by, next)
			if !e.full {
				break
			}
		}
	}
}
