package sim

import (
	"log/slog"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// What stands still, for seconds to minutes: a store, a log, a member of etcd.

// hangs makes a task wait for a time, or until all faults end.
func (w *world) hangs(d time.Duration, what string) {
	if d == 0 {
		return
	}
	over := false
	m := w.loop.running.proc.machine
	wake := func() {
		over = true
		m.touch()
	}
	e := w.after(d, what, wake)
	w.held = append(w.held, e)
	w.park(func() bool { return over || w.healed })
	w.loop.cancel(e)
}

// letGo lets all that stands still go on.
func (w *world) letGo() {
	for _, e := range w.held {
		if w.loop.cancel(e) {
			w.after(0, e.what, e.run)
		}
	}
	w.held = nil
}

// hung is how long a commit hangs, before or after it has reached the disk.
func (d *disk) hung() (before, after time.Duration) {
	s, w := d.s, d.s.w
	if !w.on(Hang) || !w.fault(Hang, 0, 15) {
		return 0, 0
	}
	dice := w.dice("hang", s.index)
	long, late := dice.tail(2*w.plan.ttl, 12*w.plan.ttl), dice.Below(2) == 1
	w.note(Record{Kind: RecordDisk, Machine: s.name(), Process: d.p.number, Node: -1, Until: w.now() + long, Text: "the store hangs"})
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
	t := w.check.term(d.p)
	if b.Meta == nil || !t.written || c == nil {
		return
	}
	keeps := t.keeps()
	left := t.sent + keeps - m.steady() + w.dice("temptation", d.s.index).duration(t.tolerance(), keeps/100)
	if left <= 0 || m.trueTime(left) >= takes || !w.spend() {
		return
	}
	w.after(m.trueTime(left), "request again", func() { w.net.arrive(c) })
}

// blocks makes a line of the log wait for its reader, on the task that logs. No
// lock that others need may be held meanwhile (S14).
func (h *logHandler) blocks(r slog.Record) {
	w := h.s.w
	if t := h.s.term; t != nil && t.Locked() {
		w.violate(PromiseLog, "%s logs %q while it holds the lock that heartbeats need", h.s.name(), r.Message)
		return
	}
	if w.loop.running == nil || !w.on(LogBlock) || !w.fault(LogBlock, h.s.index, 300) {
		return
	}
	d := w.dice("blocked log", h.s.index).tail(w.plan.ttl, 6*w.plan.ttl)
	w.note(Record{Kind: RecordDisk, Machine: h.s.name(), Process: h.p.number, Node: -1, Until: w.now() + d, Text: "nobody reads its log"})
	w.saw("a line of the log waited for its reader")
	if op := w.loop.running.serving; op != nil {
		op.logged = true
		for _, item := range op.items {
			item.logged = true
		}
	}
	w.hangs(d, "log")
}

// members is how many etcd has, for what a client sees of them.
const members = 3

// silence makes a member of etcd silent: it takes connections and answers
// nothing, while the others have a majority.
func (e *etcdCluster) silence(d dice) {
	e.member = int(d.Below(members))
	e.silent = max(e.silent, e.w.now()+d.tail(e.w.plan.ttl, 6*e.w.plan.ttl))
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
		w.after(e.silent-w.now()+d.duration(0, w.plan.session), "at etcd", func() { e.arrive(q) })
	}
}

// storePatience is how long a request may wait for the store, all its waits
// together (S9).
const storePatience = 2 * time.Second

// inPatience looks whether an answer leaves in time, however long the store
// takes. With replicas it is etcd's client that gives up.
func (c *checker) inPatience(op *operation, t *term, a *reply) {
	w, m := c.w, op.proc.machine
	if w.replicated() || op.logged || m.frozen > op.begun || m.woke > op.begun {
		return
	}
	took, slack := m.steady()-op.steady, 10*time.Millisecond+2*t.tolerance() // of what it reads, and of its timer
	if most := op.call.request.wait + storePatience; took > most+slack {
		w.violate(PromisePatience, "%s #%d is answered %v after it arrived, and it may take %v", op.call.procedure, op.call.number, took, most)
	}
	if a.code == "unavailable" && took >= storePatience-slack {
		w.saw("a request was answered before the store")
	}
}
