package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// Pause, Stall, AppCrash, ServerCrash, Restarts: what happens to whole processes.

func (w *world) pause(d kernel.Dice) {
	m := w.anyMachine(d)
	m.Freeze(d.Tail(w.plan.TTL/2, 4*w.plan.TTL))
	w.note(Record{Kind: RecordPause, Machine: m.Name, Node: -1, Until: m.Frozen,
		Text: "stands still"})
}

func (w *world) stall(d kernel.Dice) {
	a := w.apps[d.Below(uint64(len(w.apps)))]
	a.stallFor = d.Tail(w.plan.TTL, 8*w.plan.TTL)
}

func (w *world) crashApp(d kernel.Dice) {
	a := w.apps[d.Below(uint64(len(w.apps)))]
	back := d.Duration(0, 3*w.plan.TTL)
	stays := d.Chance(150)
	if a.proc == nil || a.proc.Dead {
		return
	}
	a.end(RecordCrash, "")
	a.gone = stays
	w.after(back, "restart", a.boot)
}

// restartOften restarts who serves a few times in quick succession: told to
// stop, killed, or by a takeover.
func (w *world) restartOften(d kernel.Dice) {
	times, every := 2+d.Below(5), d.Duration(w.plan.TTL/10, w.plan.TTL)
	for i := range times {
		w.after(time.Duration(i)*every, "restart again", func() {
			if !w.on(plan.Restarts) {
				return
			}
			if s := w.victim(d); d.Below(2) == 0 {
				s.crash("one of many restarts")
			} else {
				s.restart(func() {})
			}
		})
	}
}
