package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// What a calm world must come to, so that a run in which nothing happens is
// not taken for one in which nothing goes wrong.
const (
	calmGrants = 20
	calmIDs    = 5000
)

// busy lets a calm world go on until enough has happened in it, for
// thirty times its time at most. Its apps mint more and more meanwhile, for
// some are too slow to get there.
func (w *world) busy() {
	for end := w.plan.faultsFor; w.plan.profile == Calm && end < 30*w.plan.faultsFor && w.violation == nil; {
		if w.counts["grants"] >= calmGrants && w.stats.IDs >= calmIDs {
			return
		}
		end += max(w.plan.faultsFor/2, time.Millisecond)
		w.liveUntil(end)
		for _, a := range w.apps {
			a.burst = min(2*a.burst, calmIDs)
		}
	}
}

// heal ends all faults, and sees P4 come true: a part of the apps stays dead,
// and all others must have what there is within a bound.
func (w *world) heal() {
	w.healed = true
	w.stats.Heal = w.now()
	w.note(Record{Kind: RecordHeal, Machine: "world", Node: -1})
	for _, m := range w.machines {
		m.setRate(0)
		m.thaw()
		w.clockChanged(m)
	}
	w.letGo()
	clear(w.net.toServer)
	clear(w.net.fromServer)
	clear(w.net.links)
	for _, a := range w.apps {
		w.settle(a)
	}
	if w.replicated() {
		w.healReplicas()
	} else {
		for _, s := range w.servers {
			s.stopAstray()
		}
		w.after(0, "healed", w.primary.boot)
	}
	w.liveUntil(w.now() + w.plan.ttl + w.plan.quarantine)
	for w.violation == nil && w.missing() {
		if late := w.late(); late != "" {
			w.violate(PromiseLiveness, "%v after faults had stopped, %s", w.now()-w.stats.Heal, late)
			break
		}
		w.liveUntil(w.now() + w.plan.ttl/2)
	}
	w.check.answeredInTime()
}

// settle makes an app stay as it is: dead, or with a lease for good.
func (w *world) settle(a *app) {
	d := w.dice("settle", a.index)
	dies := d.Below(4) == 3 && a.index > 0 && w.plan.profile != Calm
	lost := a.pool != fencing.DefaultPool && !w.check.pool(a.pool).known // nobody makes it again
	if a.proc != nil && !a.proc.dead && (dies || lost) {
		a.end(RecordCrash, "")
	}
	if lost {
		a.pool, a.poolIndex = fencing.DefaultPool, 0
	}
	if a.gone = dies; !dies {
		w.after(d.duration(0, w.plan.ttl), "healed", a.boot)
	}
	a.every *= 4
	a.stallFor = 0
}

// healReplicas mends etcd, and lets all replicas run.
func (w *world) healReplicas() {
	w.etcd.heal()
	w.other.heal()
	for _, s := range w.servers {
		w.after(0, "healed", s.boot)
		if s.misled {
			w.after(0, "the operator looks", func() { s.stop(func() {}) })
		}
	}
}

// poolNames are those of all pools that there may be.
var poolNames = []fencing.PoolName{fencing.DefaultPool, "second"}

// missing says whether an app has no node ID yet that will have one.
func (w *world) missing() bool {
	for _, name := range poolNames {
		if w.without(name) != nil {
			return true
		}
	}
	return false
}

// without is an app that has no node ID of its pool and should get one; nil:
// there is none.
func (w *world) without(name fencing.PoolName) *app {
	if w.plan.profile == Vows {
		return nil
	}
	pool := w.check.pool(name)
	if !pool.known {
		return nil // the store has lost it, and nobody makes it again
	}
	asking, live := 0, 0
	var without *app
	for _, a := range w.apps {
		if a.gone || a.pool != name {
			continue
		}
		asking++
		if _, ok := a.live(); ok {
			live++
		} else if without == nil {
			without = a
		}
	}
	if nodes := int(pool.Last) - int(pool.First) + 1; live >= min(asking, nodes) {
		return nil
	}
	return without
}

// answeredInTime: whoever asks gets an answer, be it that the pool is full.
func (c *checker) answeredInTime() {
	if c.w.plan.profile == Vows || c.w.violation != nil {
		return
	}
	for _, op := range c.history {
		age := c.w.now() - max(op.begun, c.w.stats.Heal+c.w.starting())
		if op.done == 0 && !op.unknown && age > op.call.request.wait+c.w.serverOf(op.proc).settling()+c.w.hearing() {
			c.w.violate(PromiseLiveness, "%s #%d has waited for an answer for %v", op.call.procedure, op.call.number, c.w.now()-op.begun)
		}
	}
}
