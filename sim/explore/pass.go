package explore

import (
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
)

// eachOfTime takes each step of the clocks: time passes, with some of the steady
// clocks standing still; a clock catches up; the wall clock is set.
func (w *world) eachOfTime(s *state, f found) {
	if Units(s.clock) < w.scope.Horizon {
		for still := range uint8(deposedBit << MaxDeposed) {
			w.pass(s, still, f)
		}
	}
	for i := range s.deposed {
		if s.deposed[i].lag == 0 {
			continue
		}
		next := *s
		d := &next.deposed[i]
		d.lag--
		w.say("the steady clock of %s catches up", deposedName(i))
		d.server = w.settle(&next, d.server, d.lag)
		f(step{kind: stepCatchUp, who: deposedBit << i}, next)
	}
	for i := range w.scope.Holders {
		if h := w.holders.at(s.holders[i]); h.lag > 0 {
			w.stepHolder(s, i, step{kind: stepCatchUp},
				holderOp{kind: hopClock, arg: uint32(h.lag) - 1}, f)
		}
	}
	for wall := uint8(0); s.budget.wallSets > 0 && int(wall) <= len(w.scope.Walls); wall++ {
		if wall == s.wall {
			continue
		}
		next := *s
		next.wall = wall
		next.budget.wallSets--
		if w.verbose {
			w.say("the wall clock is set to %v off", w.offset(&next))
		}
		w.settleAll(&next)
		f(step{kind: stepWall, msg: wall}, next)
	}
}

// pass lets a unit of time pass. The steady clocks of the machines in still do not
// move.
func (w *world) pass(s *state, still uint8, f found) {
	next := *s
	next.clock++
	for i := range next.deposed {
		if still&(deposedBit<<i) == 0 {
			continue
		}
		d := &next.deposed[i]
		if d.server == 0 || Units(d.lag) >= w.scope.ServerDrift {
			return
		}
		d.lag++
	}
	for i := range MaxHolders {
		if still>>i&1 != 0 && !w.canStandStill(s, i) {
			return
		}
	}
	w.say("time passes")
	for i := range s.deposed {
		if still&(deposedBit<<i) != 0 {
			w.say(", but not for the steady clock of %s", deposedName(i))
		}
	}
	w.passFor(s, next, 0, step{kind: stepTime, who: still}, f)
}

// canStandStill reports whether the i-th holder's steady clock may fall behind by
// one more unit.
func (w *world) canStandStill(s *state, i int) bool {
	if i >= w.scope.Troubled {
		return false
	}
	h := w.holders.at(s.holders[i])
	return h.rules.Phase() != fencing.HolderEnded && Units(h.lag) < w.scope.Drift
}

// passFor moves the clocks of the holders from the i-th on, and then those of the
// servers.
func (w *world) passFor(s *state, next state, i int, by step, f found) {
	if i == w.scope.Holders {
		w.settleAll(&next)
		f(by, next)
		return
	}
	h := w.holders.at(s.holders[i])
	switch {
	case h.rules.Phase() == fencing.HolderEnded:
		w.passFor(s, next, i+1, by, f)
		return
	case by.who>>i&1 != 0:
		next.holders[i] = w.step(holderOp{holder: s.holders[i], kind: hopLag,
			clock: s.clock - h.lag,
			arg:   uint32(h.lag) + 1}).holder
		w.say(", but not for %s's steady clock", nameOf(i))
		w.passFor(s, next, i+1, by, f)
		return
	}
	op := holderOp{holder: s.holders[i], kind: hopClock, clock: next.clock - h.lag,
		arg:   uint32(h.lag),
		fresh: w.fresh(&next)}
	said := slices.Clone(w.words)
	for lose := range w.scope.Requests + 1 {
		op.lose = uint8(lose)
		e := w.step(op)
		if w.words = append(w.words[:0], said...); w.verbose && len(e.acts) > 0 {
			w.say("; ")
			w.describe(i, op, &e)
		}
		after := next
		after.holders[i] = e.holder
		if e.asked {
			after.made++
		}
		w.passFor(s, after, i+1, step{kind: by.kind, who: by.who, msg: by.msg | op.lose<<(2*i)}, f)
		if !e.full {
			return
		}
	}
}

// settleAll lets all servers read their clocks.
func (w *world) settleAll(s *state) {
	s.leader = w.tick(s, w.settle(s, s.leader, 0))
	for i := range s.deposed {
		d := &s.deposed[i]
		d.server = w.settle(s, d.server, d.lag)
	}
	w.dropSilent(s)
}

// settle lets a server read its clock, and returns its number afterwards.
func (w *world) settle(s *state, n uint32, lag uint8) uint32 {
	if n == 0 || w.scope.Lazy {
		return n
	}
	return w.serve(serverOp{server: n, kind: opSettle, now: w.now(s, lag)}).server
}

// tick lets a leader do what is due at its time. Unless marks are slow, the write
// that it sends is durable and acknowledged at once.
func (w *world) tick(s *state, n uint32) uint32 {
	if n == 0 || w.scope.Lazy {
		return n
	}
	out := w.serve(serverOp{server: n, kind: opTick, now: w.now(s, 0)})
	if w.verbose && out.kind == decided {
		w.say("; the server sends %s", w.batch(out.batch))
	}
	if out.kind != decided || w.scope.SlowMarks {
		return out.server
	}
	w.commit(s, out.batch)
	last := len(w.servers.at(out.server).writes) - 1
	return w.serve(serverOp{server: out.server, kind: opWritten, now: w.now(s, 0),
		arg: uint32(last)}).server
}
