package sim

import (
	"log/slog"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// Hang, LogBlock: a store or a log blocks, for seconds to minutes.

// hangs makes a task wait for a time, or until all faults end.
func (w *world) hangs(d time.Duration, what string) {
	if d == 0 {
		return
	}
	ended := false
	m := w.loop.Running.Proc.Machine
	wake := func() {
		ended = true
		m.Touch()
	}
	e := w.after(d, what, wake)
	w.held = append(w.held, e)
	w.park(func() bool { return ended || w.faultsEnded })
	w.loop.Cancel(e)
}

// unblock lets all that blocks go on.
func (w *world) unblock() {
	for _, e := range w.held {
		if w.loop.Cancel(e) {
			w.after(0, e.What, e.Run)
		}
	}
	w.held = nil
}

// hung is how long a commit hangs, before or after it has reached the disk.
func (d *disk) hung() (before, after time.Duration) {
	s, w := d.s, d.s.w
	if !w.on(plan.Hang) || !w.fault(plan.Hang, 0, 15) {
		return 0, 0
	}
	dice := w.dice("hang", s.index)
	long, late := dice.Tail(2*w.plan.TTL, 12*w.plan.TTL), dice.Below(2) == 1
	w.note(Record{Kind: RecordDisk, Machine: s.name(), Process: d.p.Number, Node: -1,
		Until: w.now() + long, Text: "the store hangs"})
	w.saw("the store hung")
	if late {
		return 0, long
	}
	return long, 0
}

// tempts lets an app's last heartbeat arrive once more just after the mark has run
// out, where the write of the next one takes so long: a server that promises then
// promises what it must not (S10). That is a hundredth of a stride at most, by
// which server time may be slow (S8), so chance alone would rarely bring it.
func (d *disk) tempts(b fencing.Batch, takes time.Duration) {
	w, m, c := d.s.w, d.s.machine, d.s.w.net.heartbeat
	if b.Meta == nil || c == nil {
		return
	}
	till, keeps, tolerance, ok := w.oracle.TillMark(named(d.p))
	if !ok {
		return
	}
	left := till + w.dice("temptation", d.s.index).Duration(tolerance, keeps/100)
	if left <= 0 || m.TrueTime(left) >= takes || !w.countFault() {
		return
	}
	w.after(m.TrueTime(left), "request again", func() { w.net.arrive(c) })
}

// blocks makes a line of the log wait for its reader, on the task that logs. No
// lock that others need may be held meanwhile (S14).
func (h *logHandler) blocks(r slog.Record) {
	w := h.s.w
	if t := h.s.term; t != nil && t.Locked() {
		w.hear(event.Logged{Machine: h.s.name(), Message: r.Message, Locked: true})
		return
	}
	if w.loop.Running == nil || !w.on(plan.LogBlock) || !w.fault(plan.LogBlock, h.s.index, 300) {
		return
	}
	d := w.dice("blocked log", h.s.index).Tail(w.plan.TTL, 6*w.plan.TTL)
	w.note(Record{Kind: RecordDisk, Machine: h.s.name(), Process: h.p.Number, Node: -1,
		Until: w.now() + d, Text: "nobody reads its log"})
	w.saw("a line of the log waited for its reader")
	if op := w.serving(); op != 0 {
		w.hear(event.Held{Op: op})
	}
	w.hangs(d, "log")
}
