package sim

import (
	"log/slog"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// What stands still, for seconds to minutes: a store, a log, a member of etcd.

// hangs makes a task wait for a time, or until all faults end.
func (w *world) hangs(d time.Duration, what string) {
	if d == 0 {
		return
	}
	over := false
	m := w.loop.Running.Proc.Machine
	wake := func() {
		over = true
		m.Touch()
	}
	e := w.after(d, what, wake)
	w.held = append(w.held, e)
	w.park(func() bool { return over || w.healed })
	w.loop.Cancel(e)
}

// letGo lets all that stands still go on.
func (w *world) letGo() {
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
	w.note(Record{Kind: RecordDisk, Machine: s.name(), Process: d.p.Number, Node: -1, Until: w.now() + long, Text: "the store hangs"})
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
	if left <= 0 || m.TrueTime(left) >= takes || !w.spend() {
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
	w.note(Record{Kind: RecordDisk, Machine: h.s.name(), Process: h.p.Number, Node: -1, Until: w.now() + d, Text: "nobody reads its log"})
	w.saw("a line of the log waited for its reader")
	if op := w.serving(); op != 0 {
		w.hear(event.Held{Op: op})
	}
	w.hangs(d, "log")
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

// isSilent says whether a replica asks a member that is silent.
func (k *etcdWay) isSilent() bool {
	return k.w.now() < k.w.etcd.silent && k.endpoint() == k.w.etcd.member
}

// endpoint is the member that a replica asks: one at a time, the next one after
// a call that brought no answer.
func (k *etcdWay) endpoint() int { return (k.s.index + k.moved) % members }

// swallow is what becomes of a question to a silent member: it may do it when it
// goes on, long after it was given up.
func (e *etcdCluster) swallow(q *question) {
	w, i := e.w, q.way.s.index
	q.mute, q.swallowed = true, true
	if d := w.dice("silent member", i); d.Below(2) == 1 {
		w.after(e.silent-w.now()+d.Duration(0, w.plan.Session), "at etcd", func() { e.arrive(q) })
	}
}
