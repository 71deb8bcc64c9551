package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
)

// EtcdOutage, EtcdRestart, EtcdSlow, EtcdFull, EtcdMember: what happens to etcd.

// outage takes etcd's majority away for a while. Of what was asked meanwhile, a
// part is done when it is back.
func (e *etcdCluster) outage(d kernel.Dice) {
	w := e.w
	e.down = max(e.down, w.now()+d.Duration(w.plan.TTL/2, 3*w.plan.TTL))
	e.note(e.down, "no majority of its members runs")
	w.loop.At(e.down, "majority", e.back)
}

// back lets etcd go on.
func (e *etcdCluster) back() {
	w := e.w
	if w.now() < e.down {
		return
	}
	waiting := e.waiting
	e.waiting = nil
	for _, s := range e.sessions {
		s.expires = max(s.expires, w.now()+s.ttl)
		if s.due {
			s.due = false
			e.expire(s)
		}
	}
	for _, q := range waiting {
		if w.dice("etcd outage", 0).Below(2) == 0 {
			continue
		}
		if q.gaveUp && q.writes {
			w.saw("a write was done after etcd's outage, when nobody waited for it any more")
		}
		e.does(q)
	}
}

// restart ends etcd's processes, which come back from their disks after a
// moment: nothing that they acknowledged is lost, all connections are.
func (e *etcdCluster) restart(d kernel.Dice) {
	w := e.w
	e.down = max(e.down, w.now()+d.Duration(10*time.Millisecond, w.plan.TTL/2))
	e.note(e.down, "it is restarted, from its disk")
	for _, q := range append([]*question(nil), e.asked...) {
		switch d.Below(4) {
		case 0: // it is lost
			q.do = func(*question) error { return errEtcdGone }
			q.mute = true
		case 1: // done, and nobody is told
			q.mute = true
		}
		if !q.done && !q.conn.p.Dead {
			q.done, q.err = true, errEtcdGone
			q.conn.p.Machine.Touch()
		}
	}
	w.loop.At(e.down, "majority", e.back)
}

func (e *etcdCluster) slowDown(d kernel.Dice) {
	e.slow = max(e.slow, e.w.now()+d.Tail(e.w.plan.TTL, 4*e.w.plan.TTL))
	e.note(e.slow, "it takes its time for every write")
}

func (e *etcdCluster) fill(d kernel.Dice) {
	e.full = max(e.full, e.w.now()+d.Tail(e.w.plan.TTL/2, 2*e.w.plan.TTL))
	e.note(e.full, "it is out of space")
}

// members is how many etcd has, for what a client sees of them.
const members = 3

// silence makes a member of etcd silent: it takes connections and answers
// nothing, while the others have a majority.
func (e *etcdCluster) silence(d kernel.Dice) {
	e.member = int(d.Below(members))
	e.silent = max(e.silent, e.w.now()+d.Tail(e.w.plan.TTL, 6*e.w.plan.TTL))
	e.note(e.silent, "one member is silent")
}

// isSilent reports whether a replica asks a member that is silent.
func (k *etcdConn) isSilent() bool {
	return k.w.now() < k.w.etcd.silent && k.endpoint() == k.w.etcd.member
}

// endpoint is the member that a replica asks: one at a time, the next one after
// a call that brought no answer.
func (k *etcdConn) endpoint() int { return (k.s.index + k.moved) % members }

// swallow is what becomes of a question to a silent member: it may do it when it
// goes on, long after it was given up.
func (e *etcdCluster) swallow(q *question) {
	w, i := e.w, q.conn.s.index
	q.mute, q.swallowed = true, true
	if d := w.dice("silent member", i); d.Below(2) == 1 {
		w.after(e.silent-w.now()+d.Duration(0, w.plan.Session), "at etcd", func() { e.arrive(q) })
	}
}

// mend ends what is wrong with etcd.
func (e *etcdCluster) mend() {
	now := e.w.now()
	e.slow, e.full, e.silent = now, now, now
	if e.down > now {
		e.down = now
		e.back()
	}
}
