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
// thirty times its time at most.
func (w *world) busy() {
	for end := w.plan.faultsFor; w.plan.profile == Calm && end < 30*w.plan.faultsFor && w.violation == nil; {
		if w.counts["grants"] >= calmGrants && w.stats.IDs >= calmIDs {
			return
		}
		end += w.plan.faultsFor / 2
		w.liveUntil(end)
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
	}
	clear(w.net.toServer)
	clear(w.net.fromServer)
	for _, a := range w.apps {
		w.settle(a)
	}
	for _, s := range w.servers {
		s.stopAstray()
	}
	w.after(0, "healed", w.primary.boot)
	start, bound := w.now(), w.bound()
	w.liveUntil(start + w.plan.ttl + w.plan.quarantine)
	for w.violation == nil && w.missing() != "" && w.now() < start+bound {
		w.liveUntil(w.now() + w.plan.ttl/2)
	}
	if m := w.missing(); m != "" && w.violation == nil {
		w.violate(PromiseLiveness, "%v after faults had stopped, %s", w.now()-start, m)
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

// bound is how long P4 may take once faults have stopped: a start of the
// server, which may find a store that it must suspect; what is left of waits,
// retries and slow writes; and TTL + quarantine + stride. Server time may run
// 1 % slow all the while.
func (w *world) bound() time.Duration {
	p := w.plan
	cycle := p.maxTTL + 2*p.quarantine + 2*p.maxStride
	return (2*cycle + min(time.Minute, cycle) + 16*p.ttl + 4*fencing.MaxTry) * 11 / 10
}

// missing says what P4 promises and has not come yet.
func (w *world) missing() string {
	if w.plan.profile == Vows {
		return ""
	}
	for _, name := range []fencing.PoolName{fencing.DefaultPool, "second"} {
		pool := w.check.pool(name)
		asking, live := 0, 0
		var without *app
		for _, a := range w.apps {
			if a.gone || a.pool != name {
				continue
			}
			asking++
			if _, ok := a.live(); ok {
				live++
			} else {
				without = a
			}
		}
		if nodes := int(pool.Last) - int(pool.First) + 1; live < min(asking, nodes) {
			return without.machine.name + " has no node ID, and pool " + string(name) + " should have one for it"
		}
	}
	return ""
}

// answeredInTime: a pool that is full answers.
func (c *checker) answeredInTime() {
	if c.w.plan.profile == Vows {
		return
	}
	for _, op := range c.history {
		if age := c.w.now() - op.begun; op.done == 0 && !op.unknown && age > fencing.MaxWait+c.w.bound() {
			c.w.violate(PromiseLiveness, "%s #%d has waited for an answer for %v", op.call.procedure, op.call.number, age)
		}
	}
}
