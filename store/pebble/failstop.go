package pebble

import (
	"runtime"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failStopFS ends the process at the first write that fails (S9), once the store is
// open. Pebble would end the process as well, but not always with a readable message:
// if it can't start another log, it dies of a mutex, and if it can't sync a directory,
// of a panic.
type failStopFS struct {
	vfs.FS
	failure *failure
	armed   atomic.Bool
}

func (w *failStopFS) check(err error) error {
	if err != nil && w.armed.Load() {
		w.failure.now(err)
	}
	return err
}

// wrap returns the file with failing writes checked, and no file after an error.
func (w *failStopFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if w.check(err) != nil {
		return nil, err
	}
	return &failStopFile{f, w}, nil
}

func (w *failStopFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return w.wrap(w.FS.Create(name, c))
}

func (w *failStopFS) OpenReadWrite(name string, c vfs.DiskWriteCategory,
	opts ...vfs.OpenOption) (vfs.File, error) {
	return w.wrap(w.FS.OpenReadWrite(name, c, opts...))
}

func (w *failStopFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File,
	error) {
	return w.wrap(w.FS.ReuseForWrite(oldname, newname, c))
}

func (w *failStopFS) OpenDir(name string) (vfs.File, error) {
	return w.wrap(w.FS.OpenDir(name))
}

func (w *failStopFS) Rename(oldname, newname string) error {
	return w.check(w.FS.Rename(oldname, newname))
}

// Unwrap returns the wrapped file system, which Pebble asks for.
func (w *failStopFS) Unwrap() vfs.FS { return w.FS }

// failStopFile is a file whose writes are checked.
type failStopFile struct {
	vfs.File
	fs *failStopFS
}

func (f *failStopFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.fs.check(err)
}

func (f *failStopFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.fs.check(err)
}

func (f *failStopFile) Sync() error { return f.fs.check(f.File.Sync()) }

// SyncData is how Pebble syncs its log. Goroutines that are ready afterwards may be
// about to commit: if they run first, more commits share the next sync.
func (f *failStopFile) SyncData() error {
	err := f.fs.check(f.File.SyncData())
	runtime.Gosched()
	return err
}

func (f *failStopFile) Close() error { return f.fs.check(f.File.Close()) }

func (f *failStopFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.fs.check(err)
}
