package sim

import (
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// faultyFS is a disk that can be told to fail: its logs, which are all that a
// store writes while it is served.
type faultyFS struct {
	vfs.FS
	mode atomic.Int32 // what goes wrong
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
	return f.wrap(name)(f.FS.Create(name, c))
}

func (f *faultyFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(newname)(f.FS.ReuseForWrite(oldname, newname, c))
}

// wrap makes a file fail with the disk, if it is a log.
func (f *faultyFS) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(file vfs.File, err error) (vfs.File, error) {
		if err != nil || !strings.HasSuffix(name, ".log") {
			return file, err
		}
		return &faultyFile{file, f}, nil
	}
}

// Unwrap lets Pebble see what is below.
func (f *faultyFS) Unwrap() vfs.FS { return f.FS }

type faultyFile struct {
	vfs.File
	fs *faultyFS
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if f.fs.mode.Load() == diskIsFull {
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
	if f.fs.mode.Load() == syncFails {
		return syscall.EIO
	}
	return sync()
}
