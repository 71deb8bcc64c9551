package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
)

// LostVolume: the volume moves to another machine, and the old process lives on.

// moveVolume takes the store's volume away from the machine that serves it and
// gives it to another, which starts to serve it. The process there isn't told:
// it lives on, with commits that are never answered, or with an error much
// later, and clients reach now one, now the other. What it may still promise,
// S10 bounds and S6 waits out.
func (w *world) moveVolume(d kernel.Dice) {
	from := w.primary
	unsynced := 100 * int(d.Below(2))
	back := d.Duration(time.Millisecond, w.plan.TTL/2)
	end := d.Tail(w.plan.TTL, 6*w.plan.TTL)
	fails := d.Duration(0, 2*w.plan.TTL)
	if d.Below(2) == 0 {
		fails = 0
	}
	to := w.spare()
	if !from.running() || from.handler == nil || from.stopping == from.proc || to == nil {
		return
	}
	p := from.proc
	to.disk, to.copies = cloneDisk(from.disk, unsynced), from.copies
	from.disk, from.copies, from.failsAfter = nil, nil, fails
	w.primary = to
	w.hear(event.Moved{From: named(p), To: to.index})
	w.note(Record{Kind: RecordOperate, Machine: from.name(), Peer: to.name(), Node: -1,
		Text: "its volume moves to " + to.name() + ", and it isn't told"})
	w.after(back, "restart", to.boot)
	w.after(end, "stop the old one", func() {
		if from.proc == p {
			from.stopWithoutVolume()
		}
	})
}

// spare is a machine that could serve and doesn't; nil: there is none.
func (w *world) spare() *server {
	for _, s := range w.servers {
		if s != w.primary && !s.running() {
			return s
		}
	}
	return nil
}

// lacksVolume reports that the machine's process serves a volume that it has lost.
func (s *server) lacksVolume() bool { return s.running() && s.disk == nil }

// stopWithoutVolume ends a process that has lost its volume: somebody has noticed.
func (s *server) stopWithoutVolume() {
	if s.lacksVolume() {
		s.end(RecordCrash, "it has no volume any more", 0)
	}
}

// lost is what becomes of a commit whose volume is gone.
func (d *disk) lost(write int) error {
	w := d.s.w
	if d.s.failsAfter == 0 {
		w.loop.Block()
	}
	w.loop.Sleep(d.s.failsAfter, "writing to a volume that is gone")
	w.note(Record{Kind: RecordDisk, Machine: d.s.name(), Process: d.p.Number, Node: -1,
		Text: "a write fails: its volume is gone"})
	w.hear(event.Failed{Write: write})
	return errDisk
}
