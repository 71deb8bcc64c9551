package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/plan"
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
	for end := w.plan.FaultsFor; w.plan.Profile == plan.Calm && end < 30*w.plan.FaultsFor &&
		w.violation == nil; {
		if w.oracle.Grants() >= calmGrants && w.stats.IDs >= calmIDs {
			return
		}
		end += max(w.plan.FaultsFor/2, time.Millisecond)
		w.liveUntil(end)
		for _, a := range w.apps {
			a.burst = min(2*a.burst, calmIDs)
		}
	}
}

// endFaults ends all faults, and sees P4 come true: a part of the apps stays dead,
// and all others must have what there is within a bound.
func (w *world) endFaults() {
	w.faultsEnded = true
	w.stats.Heal = w.now()
	w.hear(event.FaultsEnded{})
	w.note(Record{Kind: RecordHeal, Machine: "world", Node: -1})
	for _, m := range w.machines {
		m.SetRate(0)
		m.Thaw()
		w.clockChanged(m)
	}
	w.unblock()
	clear(w.net.toServer)
	clear(w.net.fromServer)
	clear(w.net.links)
	for _, a := range w.apps {
		w.settle(a)
	}
	if w.replicated() {
		w.mendReplicas()
	} else {
		for _, s := range w.servers {
			s.stopWithoutVolume()
		}
		w.after(0, "healed", w.primary.boot)
	}
	w.liveUntil(w.now() + w.plan.TTL + w.plan.Quarantine)
	for w.violation == nil && w.oracle.Missing(w.listed()) {
		w.hear(event.Waits{Apps: w.listed()})
		if w.violation == nil {
			w.liveUntil(w.now() + w.plan.TTL/2)
		}
	}
	if w.violation == nil {
		w.hear(event.Passed{})
	}
}

// listed is what the apps have, for the oracle.
func (w *world) listed() []event.App {
	apps := make([]event.App, len(w.apps))
	for i, a := range w.apps {
		l, live := a.live()
		apps[i] = event.App{Name: a.machine.Name, Pool: a.pool, Wait: a.wait, Gone: a.gone,
			Live: live, Node: l.Node}
	}
	return apps
}

// settle makes an app stay as it is: dead, or with a lease for good.
func (w *world) settle(a *app) {
	d := w.dice("settle", a.index)
	dies := d.Below(4) == 3 && a.index > 0 && w.plan.Profile != plan.Calm
	_, known := w.oracle.Pool(a.pool)
	lost := a.pool != fencing.DefaultPool && !known // nobody makes it again
	if a.proc != nil && !a.proc.Dead && (dies || lost) {
		a.end(RecordCrash, "")
	}
	if lost {
		a.pool, a.poolIndex = fencing.DefaultPool, 0
	}
	if a.gone = dies; !dies {
		w.after(d.Duration(0, w.plan.TTL), "healed", a.boot)
	}
	a.every *= 4
	a.stallFor = 0
}

// mendReplicas mends etcd, and lets all replicas run.
func (w *world) mendReplicas() {
	w.etcd.mend()
	w.other.mend()
	for _, s := range w.servers {
		w.after(0, "healed", s.boot)
		if s.misled {
			w.after(0, "the operator looks", func() { s.stop(func() {}) })
		}
	}
}
