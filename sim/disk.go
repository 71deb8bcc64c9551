package sim

import (
	"context"
	"errors"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/pebble"
)

var _ store.Store = (*disk)(nil)

// disk is a store whose writes take time, fail, and die half-way.
type disk struct {
	s     *server
	p     *kernel.Process
	inner *pebble.Store
}

// Load implements store.Store.
func (d *disk) Load(ctx context.Context) (fencing.Snapshot, error) {
	snap, err := d.inner.Load(ctx)
	w := d.s.w
	// S6 counts from after it
	w.loop.Sleep(w.dice("load", d.s.index).Duration(time.Millisecond, w.plan.TTL), "loading")
	if err == nil {
		w.hear(event.Loaded{Process: named(d.p), Snapshot: snap})
	}
	return snap, err
}

// Confirm implements store.Store.
func (d *disk) Confirm(ctx context.Context) error { return d.inner.Confirm(ctx) }

var errDisk = errors.New("input/output error")

// Commit implements store.Store. Everything on the server can happen between
// the decision and the write, and between the write and the answer.
func (d *disk) Commit(ctx context.Context, b fencing.Batch) error {
	s, w := d.s, d.s.w
	id := w.startWrite(event.Write{Process: named(d.p), Batch: b})
	dice := w.dice("disk", s.index)
	before := dice.Duration(50*time.Microsecond, time.Millisecond)
	after := dice.Duration(50*time.Microsecond, time.Millisecond)
	if w.on(plan.SlowDisk) && w.fault(plan.SlowDisk, 0, 60) {
		slow := w.dice("slow disk", 2*s.index).Tail(w.plan.Stride/4,
			min(30*time.Second, 3*w.plan.TTL))
		w.note(Record{Kind: RecordDisk, Machine: d.s.name(), Process: d.p.Number, Node: -1,
			Until: w.now() + slow, Text: "a slow write"})
		if w.dice("slow disk", 2*s.index+1).Below(2) == 0 {
			before += slow
		} else {
			after += slow
		}
	}
	early, late := d.hung()
	d.tempts(b, before+after+early+late)
	w.hangs(early, "hanging")
	if w.on(plan.WriteCrash) && w.fault(plan.WriteCrash, 0, 40) {
		d.die(ctx, b, id, before)
	}
	w.loop.Sleep(before, "writing")
	if s.disk == nil {
		return d.lost(id)
	}
	if w.on(plan.WriteError) && w.fault(plan.WriteError, 0, 25) {
		w.note(Record{Kind: RecordDisk, Machine: d.s.name(), Process: d.p.Number, Node: -1,
			Text: "a write fails"})
		if w.dice("write error", s.index).Below(2) == 0 {
			w.hear(event.Reached{Write: id})
			_ = d.inner.Commit(ctx, b) // done, and said to have failed
		}
		w.hear(event.Failed{Write: id})
		return errDisk
	}
	w.hear(event.Reached{Write: id})
	if w.on(plan.DiskError) && w.fault(plan.DiskError, 0, 8) {
		d.fail(ctx, b, id)
	}
	if err := d.inner.Commit(ctx, b); err != nil {
		w.hear(event.Failed{Write: id})
		return err
	}
	w.loop.Sleep(after, "written")
	w.hangs(late, "hanging")
	w.hear(event.Acknowledged{Write: id})
	return nil
}

// die crashes the machine in the middle of the commit: before its write, before
// its sync or after both.
func (d *disk) die(ctx context.Context, b fencing.Batch, write int, in time.Duration) {
	w := d.s.w
	w.loop.Sleep(in, "writing")
	s, dice := d.s, w.dice("write crash", d.s.index)
	// A commit is a write and a sync; 2: the crash comes after both.
	s.faulty.crashBefore(int(dice.Below(3)), 100*int(dice.Below(2)))
	w.hear(event.Reached{Write: write})
	if err := d.inner.Commit(ctx, b); err != nil {
		panic(err)
	}
	c := s.faulty.crashed()
	w.hear(event.Reached{Write: write, Unsynced: c.wrote && !c.synced})
	w.loop.At(w.now(), "crash in a write", func() {
		if s.proc != d.p || d.p.Dead {
			return
		}
		if s.disk != nil {
			s.disk = c.disk
		}
		s.crash("in a write")
	})
	w.loop.Block()
}

// fail lets the file system fail under Pebble, which ends the process.
func (d *disk) fail(ctx context.Context, b fencing.Batch, write int) {
	s, w := d.s, d.s.w
	s.faulty.fail(w.dice("disk error", s.index).Below(2) == 0)
	w.note(Record{Kind: RecordDisk, Machine: d.s.name(), Process: d.p.Number, Node: -1,
		Text: "the file system fails"})
	died, err := d.dies(ctx, b)
	switch {
	case died: // the process is over where it stands
		w.loop.At(w.now(), "exit", func() {
			if s.proc == d.p && !d.p.Dead {
				w.hear(event.Failed{Write: write})
				w.saw("the file system failed, and the process ended")
				s.end(RecordExit, "the store failed", 100)
				w.after(w.dice("restart", s.index).Duration(time.Millisecond, w.plan.TTL),
					"restart", s.boot)
			}
		})
		w.loop.Block()
	case err == nil:
		w.violate(PromiseFailStop, "a write that failed was acknowledged")
	}
	s.faulty.mend()
}

// errStoreFailed is how the store's Fatal unwinds what called it.
var errStoreFailed = errors.New("the store failed, and the process ends")

// dies commits a batch, and reports whether that was the end of the process.
func (d *disk) dies(ctx context.Context, b fencing.Batch) (died bool, err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case errStoreFailed:
			died = true
		default:
			panic(p)
		}
	}()
	return false, d.inner.Commit(ctx, b)
}
