package explore

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// eachOfServers takes each step of the servers: one starts, crashes, is deposed,
// writes, or gets an acknowledgement.
func (w *world) eachOfServers(s *state, f found) {
	if s.leader == 0 {
		if next := w.starts(*s); next.leader != 0 {
			f(step{kind: stepStart}, next)
		}
		w.words = nil
		return
	}
	v := w.servers.at(s.leader)
	if s.budget.crashes > 0 {
		for lands := range uint8(1) << len(v.writes) {
			f(step{kind: stepCrash, msg: lands}, w.crash(*s, v, lands))
		}
	}
	if s.budget.takeovers > 0 && s.deposed[MaxDeposed-1].server == 0 {
		for lands := range uint8(1) << len(v.writes) {
			f(step{kind: stepTakeover, msg: lands}, w.depose(*s, v, lands))
		}
	}
	out := w.serve(serverOp{server: s.leader, kind: opTick, now: w.now(s, 0)})
	if w.scope.Lazy && out.kind == decided {
		next := *s
		next.leader = out.server
		if w.verbose {
			w.say("server %d sends %s", w.serverName(s), w.batch(out.batch))
		}
		f(step{kind: stepMark}, next)
	}
	for i := range v.writes {
		f(step{kind: stepWritten, msg: uint8(i)}, w.written(*s, s.leader, i))
	}
	for d := range s.deposed {
		if n := s.deposed[d].server; n != 0 {
			for i := range w.servers.at(n).writes {
				f(step{kind: stepWritten, msg: uint8(i), old: uint8(d + 1)},
					w.writtenByDeposed(*s, d, i))
			}
		}
	}
	w.eachRevoke(s, f)
	w.eachForgery(s, f)
}

// eachForgery lets a client with a made-up instance ID name each lease in the
// store. A refusal changes nothing, so it is no step. Anything else is a violation.
func (w *world) eachForgery(s *state, f found) {
	tried := pair{s.leader, s.disk}
	if w.forgeries[tried] && !w.verbose {
		return
	}
	w.forgeries[tried] = true
	for _, rec := range w.disks.at(s.disk).records[:w.scope.Nodes] {
		for _, kind := range [...]fencing.CallKind{fencing.CallHeartbeat, fencing.CallRelease} {
			if rec.Status != fencing.Live {
				continue
			}
			c := fencing.Call{Kind: kind, Pool: rec.Pool, Instance: instance(0), Node: rec.Node,
				Epoch: rec.Epoch}
			op := serverOp{server: s.leader, kind: opCall, now: w.now(s, 0),
				arg: w.calls.number(c, func() fencing.Call { return c })}
			if out := w.serve(op); out.kind != lost && out.kind != waiting {
				w.say("a forged %s reaches server %d, which accepts it", w.call(c), w.serverName(s))
				w.breaks(Fencing, "server %d accepts a forged %v for epoch %s",
					w.serverName(s), kind, w.epoch(rec.Epoch))
				f(step{kind: stepForgery, who: uint8(rec.Node), msg: uint8(kind)}, *s)
			}
		}
	}
}

// crash ends the leader, with some of its pending writes durable.
func (w *world) crash(s state, v *server, lands uint8) state {
	if w.verbose {
		w.say("server %d crashes", w.serverName(&s))
	}
	s.budget.crashes--
	w.land(&s, v.writes, lands)
	s.leader = 0
	return w.startsSoon(s)
}

// starts starts the next server on what the disk holds.
func (w *world) starts(s state) state {
	if w.verbose {
		w.say("; server %d starts on %s", w.serverName(&s), w.contents(s.disk))
	}
	s.leader = w.tick(&s, w.start(s.disk, w.now(&s, 0)))
	return s
}

// startsSoon starts the next server at once, unless the scope is lazy. A later
// start is like late messages and deadlines.
func (w *world) startsSoon(s state) state {
	if w.scope.Lazy {
		return s
	}
	return w.starts(s)
}

// land makes some of the pending writes durable, in their order, and loses the
// others. Bit i of lands is set if write i becomes durable.
func (w *world) land(s *state, writes []*fencing.Write, lands uint8) {
	for i, write := range writes {
		if lands>>i&1 == 0 {
			if w.verbose {
				w.say("; lost: %s", w.batch(&write.Batch))
			}
			continue
		}
		if w.verbose {
			w.say("; durable, without its knowing: %s", w.batch(&write.Batch))
		}
		w.commit(s, &write.Batch)
	}
}

// depose lets another server take over. Of the deposed server's pending writes
// some have landed. Those may still be acknowledged to it; the others never land.
func (w *world) depose(s state, v *server, lands uint8) state {
	if w.verbose {
		w.say("server %d is deposed and doesn't know", w.serverName(&s))
	}
	s.budget.takeovers--
	w.land(&s, v.writes, lands)
	old := &server{rules: v.rules}
	for i, write := range v.writes {
		if lands>>i&1 != 0 {
			old.writes = append(old.writes, write)
		}
	}
	d := 0
	for s.deposed[d].server != 0 {
		d++
	}
	s.deposed[d], s.leader = deposed{server: w.server(old)}, 0
	w.dropSilent(&s)
	return w.startsSoon(s)
}

// dropSilent drops the deposed servers that can make no difference any more: they
// wait for no write, and promise nothing to anyone who asks. They will not later,
// either, because marks and promises only run out.
func (w *world) dropSilent(s *state) {
	kept := 0
	for _, d := range s.deposed {
		if w.mayPromise(s, d) {
			s.deposed[kept] = d
			kept++
		}
	}
	clear(s.deposed[kept:])
}

// mayPromise reports whether a deposed server may still promise something, now or
// later.
func (w *world) mayPromise(s *state, d deposed) bool {
	v := w.servers.at(d.server)
	if d.server == 0 || len(v.writes) > 0 {
		return d.server != 0
	}
	now := w.now(s, d.lag)
	for node := range snowflake.NodeID(w.scope.Nodes) {
		l, ok := v.rules.Clone().Lease(now, fencing.DefaultPool, node)
		for n := uint8(1); ok && n <= s.made; n++ {
			c := fencing.Call{Kind: fencing.CallHeartbeat, Pool: fencing.DefaultPool,
				Instance: instance(n),
				Node:     node, Epoch: l.Epoch}
			op := serverOp{server: d.server, kind: opCall, now: now,
				arg: w.calls.number(c, func() fencing.Call { return c })}
			if w.serve(op).kind == promised {
				return true
			}
		}
	}
	return false
}

// written makes a write of the leader durable and acknowledges it.
func (w *world) written(s state, n uint32, i int) state {
	if w.verbose {
		w.say("durable, and acknowledged to server %d: %s",
			w.serverName(&s), w.batch(&w.servers.at(n).writes[i].Batch))
	}
	out := w.serve(serverOp{server: n, kind: opWritten, now: w.now(&s, 0), arg: uint32(i)})
	s.leader = out.server
	w.commit(&s, out.batch)
	s.leader = w.tick(&s, s.leader)
	return s
}

// writtenByDeposed acknowledges a write to a deposed server. The write landed
// before that server was deposed.
func (w *world) writtenByDeposed(s state, at, i int) state {
	d := &s.deposed[at]
	if w.verbose {
		w.say("acknowledged to %s: %s", deposedName(at),
			w.batch(&w.servers.at(d.server).writes[i].Batch))
	}
	d.server = w.serve(serverOp{server: d.server, kind: opWritten, now: w.now(&s, d.lag),
		arg: uint32(i)}).server
	w.dropSilent(&s)
	return s
}

// eachRevoke lets an operator revoke each live lease in the store.
func (w *world) eachRevoke(s *state, f found) {
	if s.budget.revokes == 0 {
		return
	}
	for _, rec := range w.disks.at(s.disk).records[:w.scope.Nodes] {
		if rec.Status != fencing.Live {
			continue
		}
		out := w.serve(serverOp{server: s.leader, kind: opRevoke, now: w.now(s, 0),
			arg:   uint32(rec.Node),
			epoch: rec.Epoch})
		if out.kind != decided {
			continue
		}
		next := *s
		next.leader = out.server
		next.budget.revokes--
		if w.verbose {
			w.say("an operator revokes node ID %d under epoch %s; server %d sends %s",
				rec.Node, w.epoch(rec.Epoch), w.serverName(s), w.batch(out.batch))
		}
		f(step{kind: stepRevoke, who: uint8(rec.Node)}, next)
	}
}
