package sim

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// Rate, WildRate, Offset, Coarse, Step, Suspend, BlindSuspend, WrongWall: clocks that
// are wrong.

// setClocks gives every machine its clock.
func (w *world) setClocks() {
	for i, m := range w.machines {
		d := w.dice("clock", i)
		rate := int64(d.Below(uint64(2*w.plan.Drift+1))) - w.plan.Drift
		offset := d.Duration(0, time.Hour) - 30*time.Minute
		coarse := []time.Duration{time.Millisecond, 15 * time.Millisecond,
			w.plan.Quarantine / 20}[d.Below(3)]
		if w.on(plan.Rate) || w.on(plan.WildRate) {
			m.Rate = rate
		}
		if w.on(plan.Offset) {
			m.Offset = offset
		}
		if w.on(plan.Coarse) {
			m.Resolution = min(coarse, w.plan.Quarantine/20)
		}
	}
}

func (w *world) stepClock(d kernel.Dice) {
	m := w.anyMachine(d)
	by := []time.Duration{w.plan.TTL, w.plan.Quarantine, time.Second, 10 * time.Minute,
		time.Hour}[d.Below(5)]
	by = d.Duration(by/2, by*3/2)
	if d.Below(2) == 0 {
		by = -by
	}
	if w.plan.Behind {
		by = -max(by, -by)
	}
	if off := m.Offset + by; off > -6*time.Hour && off < 6*time.Hour {
		m.Offset = off
		w.note(Record{Kind: RecordClock, Machine: m.Name, Node: -1,
			Text: fmt.Sprintf("the wall clock is set by %v", by)})
	}
}

func (w *world) changeRate(d kernel.Dice) {
	m := w.anyMachine(d)
	m.SetRate(int64(d.Below(uint64(2*w.plan.Drift+1))) - w.plan.Drift)
	defer w.clockChanged(m)
	w.note(Record{Kind: RecordClock, Machine: m.Name, Node: -1,
		Text: fmt.Sprintf("the clock goes %+d ppm", m.Rate)})
}

func (w *world) suspend(d kernel.Dice, counts bool) {
	m := w.anyMachine(d)
	if m.IsFrozen() {
		return
	}
	t := d.Tail(w.plan.TTL, 4*w.plan.TTL)
	m.Suspend(t, counts)
	w.note(Record{Kind: RecordPause, Machine: m.Name, Node: -1, Until: m.Frozen, Text: "asleep"})
}

// startWithWrongWall restarts the server's machine, which comes up with a
// wall clock that nobody has set.
func (w *world) startWithWrongWall(d kernel.Dice) {
	by := []time.Duration{w.plan.TTL, time.Hour, 20 * time.Hour, 48 * time.Hour}[d.Below(4)]
	if d.Below(2) == 0 || by > 20*time.Hour || w.plan.Behind {
		by = -by
	}
	if s := w.victim(d); s.proc != nil && !s.proc.Dead {
		s.crash("its machine restarts, with a wrong wall clock")
		s.machine.Offset = by
		w.note(Record{Kind: RecordClock, Machine: s.name(), Node: -1,
			Text: fmt.Sprintf("the wall clock is off by %v", by)})
	}
}
