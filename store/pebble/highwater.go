package pebble

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
)

// The high-water file, and the name under which its replacement is written.
const (
	highWaterFile = "high-water"
	highWaterTemp = "high-water.new"
)

// water is a mark and a base that a store has acknowledged. Neither is ever lowered.
type water struct {
	mark snowflake.Millis
	base fencing.Epoch
}

func waterOf(m *fencing.Meta) water { return water{m.Mark, m.FirstEpoch} }

// with returns the higher mark and the higher base of both.
func (w water) with(o water) water {
	return water{max(w.mark, o.mark), max(w.base, o.base)}
}

// highWater writes the high-water file of an open store. The next process that opens
// the store reads there whether acknowledged writes are gone (S13). Pebble doesn't
// report that: it takes damage in its log's newest 32 KiB for a write that a crash cut
// off, and a missing log for one that was never written.
//
// The file follows the database: what the file says was durable in the database before.
// So after a crash no store is refused that has lost nothing. The file is synced under
// another name and renamed, so a crash leaves the old or the new one.
type highWater struct {
	// fs ends the process if a write fails (S9).
	fs  *failStopFS
	dir string
	// atOnce: nothing is written in the background.
	atOnce bool
	// space is checked in the background, too.
	space *space

	// writer is held while the file is written.
	writer sync.Mutex
	// background counts the goroutines in follow: one at most.
	background sync.WaitGroup

	mu sync.Mutex
	// wanted is what the file is to say, and written what it says:
	// written ≤ wanted ≤ what is durable in the database.
	wanted, written water
	following       bool // background is 1
}

// raise takes what a commit has made durable. When it returns, a new base is in the
// file: the start's first grant waits for that, so that the next start can't repeat its
// epochs (S2). The mark may be written later, so heartbeats don't wait for the file.
func (h *highWater) raise(to water) error {
	h.mu.Lock()
	h.wanted = h.wanted.with(to)
	follows := !h.atOnce && h.wanted.base == h.written.base
	if follows && !h.following {
		h.following = true
		h.background.Add(1)
		go h.follow()
	}
	h.mu.Unlock()
	if follows {
		return nil
	}
	return h.write()
}

// follow writes the file until it says what is wanted.
func (h *highWater) follow() {
	defer h.background.Done()
	for {
		_ = h.write() // a failed write ends the process and never returns (S9)
		h.mu.Lock()
		mark := h.wanted.mark
		h.mu.Unlock()
		h.space.check(mark)
		h.mu.Lock()
		done := h.written == h.wanted
		h.following = !done
		h.mu.Unlock()
		if done {
			return
		}
	}
}

func (h *highWater) write() error {
	h.writer.Lock()
	defer h.writer.Unlock()
	h.mu.Lock()
	w, same := h.wanted, h.written == h.wanted
	h.mu.Unlock()
	if same {
		return nil
	}
	if err := h.replace(w); err != nil {
		return err
	}
	h.mu.Lock()
	h.written = w
	h.mu.Unlock()
	return nil
}

func (h *highWater) replace(w water) error {
	temp := h.fs.PathJoin(h.dir, highWaterTemp)
	if err := writeSynced(h.fs, temp, w.encode()); err != nil {
		return err
	}
	if err := h.fs.Rename(temp, h.fs.PathJoin(h.dir, highWaterFile)); err != nil {
		return err
	}
	return syncDir(h.fs, h.dir)
}

func writeSynced(vf vfs.FS, path string, data []byte) error {
	f, err := vf.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// close waits until follow has ended, so the file says what is wanted.
func (h *highWater) close() { h.background.Wait() }

// readHighWater reads the file, and returns the zero water if there is none.
func readHighWater(vf vfs.FS, dir string) (water, error) {
	f, err := vf.Open(vf.PathJoin(dir, highWaterFile))
	if errors.Is(err, fs.ErrNotExist) {
		return water{}, nil
	}
	if err != nil {
		return water{}, unreadable(err)
	}
	data, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return water{}, unreadable(err)
	}
	return decodeWater(data)
}

func unreadable(err error) error {
	return fmt.Errorf("its %s file can't be read: check who may read it, and its disk: %w",
		highWaterFile, err)
}

// The file is one line of text, so that people can read it, too.
const waterFormat = "cirrus high-water 1: mark %d base %d"

func (w water) encode() []byte {
	line := fmt.Sprintf(waterFormat, w.mark, w.base)
	return fmt.Appendf(nil, "%s crc %08x\n", line, crc32.ChecksumIEEE([]byte(line)))
}

func decodeWater(data []byte) (water, error) {
	var w water
	// the comparison below checks it
	n, _ := fmt.Sscanf(string(data), waterFormat, &w.mark, &w.base)
	if n != 2 || string(w.encode()) != string(data) {
		return water{}, fmt.Errorf(
			"%w: its %s file holds %.100q, which no version of Cirrus writes: restore the store from a copy, or keep what is left, and recover it before it is served",
			store.ErrDamaged, highWaterFile, data)
	}
	return w, nil
}

// lost errs if kept, the store's mark and base, are below w, what it has acknowledged.
func (w water) lost(kept water) error {
	if kept.mark >= w.mark && kept.base >= w.base {
		return nil
	}
	return fmt.Errorf("%w: its mark is %d and its base %d, and by its %s file a mark of %d and a base of %d were acknowledged: restore the store from a copy, or keep what is left, and recover it before it is served",
		store.ErrLostWrites, kept.mark, kept.base, highWaterFile, w.mark, w.base)
}

// openHighWater reads the high-water file of a store whose meta has kept. It errs if the
// store has lost writes, unless it is opened to be recovered.
func (s *Store) openHighWater(kept water, opts Options, why purpose) error {
	noted, err := readHighWater(opts.FS, s.failure.dir)
	if err == nil {
		err = noted.lost(kept)
	}
	damaged := errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrLostWrites)
	switch {
	case err == nil:
	case damaged && why == toRecover:
		opts.Logger.Warn("the store is damaged, and is opened to be recovered", "error", err)
	default: // an unreadable file may say that writes were lost
		return err
	}
	s.space = &space{fs: s.disk, dir: s.failure.dir, log: opts.Logger}
	if !opts.Brief {
		s.space.check(kept.mark)
	}
	s.high = &highWater{
		fs: s.disk, dir: s.failure.dir, atOnce: opts.Brief, space: s.space,
		wanted: noted.with(kept), written: noted,
	}
	return nil
}

// lift raises the snapshot's mark and base to those of the high-water file, so that a
// store that has lost writes is recovered from there.
func (h *highWater) lift(snap fencing.Snapshot) fencing.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.written.with(waterOf(&snap.Meta))
	snap.Meta.Mark, snap.Meta.FirstEpoch = w.mark, w.base
	return snap
}
