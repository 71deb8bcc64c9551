package sim

import (
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// LostTail, SilentTail: what a store has acknowledged and synced, and its newest log
// loses all the same. A controller lied about a flush, or a repair has cut off a file.
// Pebble takes that for a write which a crash has interrupted.

// highWater is the store's file that tells (S13).
var highWater = path.Join(dataDir, "high-water")

// loseTail crashes the server, and cuts off its newest log where a mark gets
// lost, or loses it as a whole. The next start must be refused then (S13), and
// the operator recovers the store, after which all is promised as ever.
func (w *world) loseTail(d kernel.Dice) {
	s := w.primary
	where := s.drawCut(d)
	back := d.Duration(0, w.plan.TTL)
	if !s.running() || s.disk == nil {
		return
	}
	s.end(RecordCrash, "its newest log loses its tail", 0)
	whole := cloneDisk(s.disk, 0)
	if kept, ok := s.cut(where); !ok || !w.lostMark(kept.Meta) {
		s.disk = whole // what is lost without a mark, loseSilently is about
	} else {
		w.hear(event.StoreDamaged{LostMark: true})
		w.note(Record{Kind: RecordDisk, Machine: s.name(), Node: -1,
			Text: "acknowledged writes are gone from the newest log"})
	}
	w.after(back, "restart", s.boot)
}

// loseSilently is loseTail where no file tells of it: only grants get lost, and no
// mark, or the high-water file gets lost as well. The store is served as it is.
func (w *world) loseSilently(d kernel.Dice) {
	s := w.primary
	where, file := s.drawCut(d), d.Below(2) == 0
	back := d.Duration(0, w.plan.TTL)
	if !s.running() || s.disk == nil {
		return
	}
	s.end(RecordCrash, "its newest log loses its tail", 0)
	w.after(back, "restart", s.boot)
	whole := cloneDisk(s.disk, 0)
	kept, ok := s.cut(where)
	told := ok && w.lostMark(kept.Meta)
	if !ok || told && (!file || !w.apart(kept.Meta)) {
		s.disk = whole
		return
	}
	if told {
		s.remove(highWater)
	}
	w.note(Record{Kind: RecordDisk, Machine: s.name(), Node: -1,
		Text: "acknowledged writes are gone from the newest log, and nothing tells"})
	w.hear(event.StoreShrunk{Kept: kept})
	w.hear(event.StoreIs{Snapshot: kept})
	w.hear(event.StoreDamaged{})
}

// apart reports whether the next start's epochs lie above all that were granted,
// though the high-water file is gone: by the base, if that is not lost, or by
// a clock that nobody sets.
func (w *world) apart(kept fencing.Meta) bool {
	return kept.FirstEpoch == w.oracle.Meta().FirstEpoch || !w.plan.On[plan.Step] &&
		!w.plan.On[plan.WrongWall]
}

// cutLog says how much of the newest log is left, in thousandths; below 0: it is
// gone.
type cutLog int

func (s *server) drawCut(d kernel.Dice) cutLog {
	left := cutLog(d.Below(1000))
	if d.Below(4) == 0 {
		left = -1
	}
	return left
}

// cut cuts the newest log off, and says what the store then holds; false: it
// can't be, or nothing got lost.
func (s *server) cut(left cutLog) (fencing.Snapshot, bool) {
	name, ok := s.newestLog()
	if !ok {
		return fencing.Snapshot{}, false
	}
	data := s.read(name)
	s.remove(name)
	if left >= 0 {
		s.write(name, data[:len(data)*int(left)/1000])
	}
	return s.holds()
}

// newestLog is the path of the newest log of the store.
func (s *server) newestLog() (string, bool) {
	dir := path.Join(dataDir, "pebble")
	names, err := s.disk.List(dir)
	if err != nil {
		return "", false
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".log") })
	if len(names) == 0 {
		return "", false
	}
	return path.Join(dir, slices.Max(names)), true
}

// holds is what a copy of the server's disk holds, whatever the high-water file
// says of it.
func (s *server) holds() (fencing.Snapshot, bool) {
	bare := &server{w: s.w, disk: cloneDisk(s.disk, 0)}
	bare.remove(highWater)
	snap, err := bare.peek()
	return snap, err == nil
}

func (s *server) read(name string) []byte {
	f, err := s.disk.Open(name)
	if err != nil {
		panic(err)
	}
	data, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		panic(err)
	}
	return data
}

// write writes a file, as durable as any.
func (s *server) write(name string, data []byte) {
	f, err := s.disk.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		panic(err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		panic(err)
	}
	s.syncDir(name)
}

// remove removes a file for good, if it is there.
func (s *server) remove(name string) {
	if err := s.disk.Remove(name); err == nil {
		s.syncDir(name)
	}
}

func (s *server) syncDir(of string) {
	dir, err := s.disk.OpenDir(path.Dir(of))
	if err != nil {
		panic(err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		panic(err)
	}
}

// recoverLater is the operator whose store is refused, since it has lost writes:
// it is recovered, and served again.
func (s *server) recoverLater(p *kernel.Process) {
	w := s.w
	in := w.dice("recover", s.index).Duration(0, w.plan.TTL)
	w.loop.At(w.now(), "exit", func() {
		if s.proc != p || p.Dead {
			return
		}
		s.end(RecordExit, "", 100)
		w.after(in, "recover", func() {
			if s.running() || s.disk == nil {
				return
			}
			s.recoverLost()
			s.boot()
		})
	})
	w.loop.Block()
}

// recoverLost recovers the store. Where the clock that is right is behind the
// store's, it is set as the refusal says.
func (s *server) recoverLost() {
	w := s.w
	s.wallWasWrong()
	if off := w.oracle.Meta().Mark.Sub(wallMillis(s.machine)); off > w.plan.Stride {
		s.machine.Offset = off
		w.note(Record{Kind: RecordClock, Machine: s.name(), Node: -1,
			Text: "the wall clock is set to where the store has been"})
	}
	if err := s.recover(); err != nil {
		panic(err)
	}
	w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1,
		Text: "a store that has lost writes is recovered"})
	w.saw("a store that had lost writes was refused, and recovered")
}

// lostMark reports whether a store that holds this has lost a mark, or a start's
// base, that was acknowledged.
func (w *world) lostMark(kept fencing.Meta) bool {
	had := w.oracle.Meta()
	return kept.Mark < had.Mark || kept.FirstEpoch < had.FirstEpoch
}
