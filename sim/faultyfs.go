package sim

import (
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// faultyFS is a disk that can be told to fail, in its logs, which are all that a
// store writes while it is served, and to crash in the middle of what is done to
// it. All that the store writes passes here.
type faultyFS struct {
	vfs.FS
	disk *vfs.MemFS   // what FS is
	mode atomic.Int32 // what goes wrong

	// mu guards what follows: Pebble writes its log on a thread of its own,
	// while a commit waits for it.
	mu    sync.Mutex
	crash *crash
}

// crash is the end of a machine's power before one of the next writes or syncs.
// Files that are deleted don't count: Pebble does that on the side.
type crash struct {
	left     int // of those that still happen
	unsynced int // of a hundred parts, how much of what is not synced survives
	// wrote and synced say which have happened by then.
	wrote, synced bool
	// disk is what the crash leaves; nil: it has not come yet.
	disk *vfs.MemFS
}

// crashBefore lets the power fail before the n-th write or sync from now on,
// from 0.
func (f *faultyFS) crashBefore(n, unsynced int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crash = &crash{left: n, unsynced: unsynced}
}

// crashed is the crash that was asked for, at the latest now.
func (f *faultyFS) crashed() *crash {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.crash
	if f.crash = nil; c.disk == nil {
		c.disk = cloneDisk(f.disk, c.unsynced)
	}
	return c
}

// calm lets no crash come any more, and says what became of the one that was to.
func (f *faultyFS) calm() crash {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := *f.crash
	f.crash = nil
	return c
}

// happens is called before each write and sync.
func (f *faultyFS) happens(sync bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.crash
	switch {
	case c == nil || c.disk != nil:
		return
	case c.left == 0:
		c.disk = cloneDisk(f.disk, c.unsynced)
		return
	}
	c.left--
	c.wrote, c.synced = c.wrote || !sync, c.synced || sync
}

const (
	diskWorks int32 = iota
	syncFails
	diskIsFull
)

func (f *faultyFS) fail(full bool) {
	if full {
		f.mode.Store(diskIsFull)
	} else {
		f.mode.Store(syncFails)
	}
}

func (f *faultyFS) mend() { f.mode.Store(diskWorks) }

func (f *faultyFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.happens(false)
	return f.wrap(name)(f.FS.Create(name, c))
}

func (f *faultyFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File,
	error) {
	f.happens(false)
	return f.wrap(newname)(f.FS.ReuseForWrite(oldname, newname, c))
}

func (f *faultyFS) OpenDir(name string) (vfs.File, error) {
	return f.wrap(name)(f.FS.OpenDir(name))
}

func (f *faultyFS) Rename(oldname, newname string) error {
	f.happens(false)
	return f.FS.Rename(oldname, newname)
}

// wrap makes a file crash with the disk and, if it is a log, fail with it.
func (f *faultyFS) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(file vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		return &faultyFile{file, f, strings.HasSuffix(name, ".log")}, nil
	}
}

// Unwrap lets Pebble see what is below.
func (f *faultyFS) Unwrap() vfs.FS { return f.FS }

type faultyFile struct {
	vfs.File
	fs  *faultyFS
	log bool
}

// fails reports whether the disk does, in this way, where the file is.
func (f *faultyFile) fails(how int32) bool { return f.log && f.fs.mode.Load() == how }

func (f *faultyFile) Write(p []byte) (int, error) {
	f.fs.happens(false)
	if f.fails(diskIsFull) {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

func (f *faultyFile) Sync() error     { return f.try(f.File.Sync) }
func (f *faultyFile) SyncData() error { return f.try(f.File.SyncData) }

func (f *faultyFile) SyncTo(length int64) (bool, error) {
	full := false
	err := f.try(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

func (f *faultyFile) try(sync func() error) error {
	f.fs.happens(true)
	if f.fails(syncFails) {
		return syscall.EIO
	}
	return sync()
}
