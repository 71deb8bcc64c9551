package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// OldCopy, BareCopy, LostDisk, FalseInit, BadBit: the disk is another, or damaged.

func newDisk() *vfs.MemFS { return vfs.NewCrashableMem() }

func cloneDisk(d *vfs.MemFS, unsynced int) *vfs.MemFS {
	return d.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced,
		RNG: rand.New(rand.NewPCG(1, 1))})
}

// keepCopy keeps the disk as it is, as a backup does.
func (w *world) keepCopy() {
	if s := w.primary; s.proc != nil && !s.proc.Dead && s.store != nil { // an empty disk is no copy
		s.copies = append(s.copies, cloneDisk(s.disk, 0))
	}
}

func (w *world) restore(d kernel.Dice, recovers bool) {
	s := w.primary
	w.keepCopy()
	if len(s.copies) < 2 || s.proc == nil || s.proc.Dead {
		return
	}
	from := s.copies[d.Below(uint64(len(s.copies)-1))]
	back := d.Duration(0, w.plan.TTL)
	s.end(RecordCrash, "its disk is replaced", 0)
	s.disk = cloneDisk(from, 0)
	w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1,
		Text: map[bool]string{true: "an old copy is restored and recovered",
			false: "an old copy is restored, and not recovered"}[recovers]})
	if recovers {
		s.wallWasWrong() // who recovers looks at the clock
		if err := s.recover(); err != nil {
			panic(err)
		}
		if w.on(plan.WrongWall) && d.Below(2) == 1 {
			s.machine.Offset = -d.Duration(0, time.Hour)
		}
		w.saw("an old copy was recovered")
	} else {
		snap, _ := s.peek() // whatever is left
		w.hear(event.StoreIs{Snapshot: snap})
	}
	s.copies = nil
	w.after(back, "restart", s.boot)
	w.soonChanged(back)
}

func (w *world) loseDisk(d kernel.Dice, vouched bool) {
	s := w.primary
	back := d.Duration(0, w.plan.TTL)
	if s.proc == nil || s.proc.Dead {
		return
	}
	s.end(RecordCrash, "its disk is lost", 0)
	s.disk = newDisk()
	s.copies = nil
	w.hear(event.StoreIs{})
	s.wallWasWrong()
	w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1,
		Text: map[bool]string{true: "a lost disk is replaced, with init",
			false: "a lost disk is replaced"}[vouched]})
	if vouched {
		if err := s.create(true); err != nil {
			panic(err)
		}
	}
	w.saw("a disk was lost")
	w.after(back, "restart", s.boot)
	w.soonChanged(back)
}

func (w *world) turnBit(d kernel.Dice) {
	s := w.primary
	at := d.Below(1 << 20)
	if s.proc == nil || s.proc.Dead {
		return
	}
	s.end(RecordCrash, "a bit of its disk turns over", 0)
	if !s.turnBit(at) {
		w.after(0, "restart", s.boot)
		return
	}
	back := d.Duration(0, w.plan.TTL)
	// S13: then the start will be refused
	if snap, err := s.peek(); !errors.Is(err, store.ErrLostWrites) {
		w.hear(event.StoreIs{Snapshot: snap})
	}
	w.hear(event.StoreDamaged{})
	w.after(back, "restart", s.boot)
}

// peek reads what a copy of the server's disk holds, or says why it can't be
// served.
func (s *server) peek() (fencing.Snapshot, error) {
	st, err := pebble.Open(dataDir, pebble.Options{FS: cloneDisk(s.disk, 100), Logger: quiet})
	if err != nil {
		return fencing.Snapshot{}, err
	}
	defer func() { _ = st.Close() }() // a copy
	return st.Load(context.Background())
}

// turnBit turns over a bit in the last part of the newest log.
func (s *server) turnBit(at uint64) bool {
	dir := path.Join(dataDir, "pebble")
	names, err := s.disk.List(dir)
	if err != nil {
		return false
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".log") })
	slices.Sort(names)
	if len(names) == 0 {
		return false
	}
	data, err := s.disk.UnsafeGetFileDataBuffer(path.Join(dir, names[len(names)-1]))
	if err != nil || len(data) == 0 {
		return false
	}
	part := min(uint64(len(data)), 2000)
	data[uint64(len(data))-1-at%part] ^= 1
	return true
}
