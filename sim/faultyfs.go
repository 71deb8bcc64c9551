package sim

import (
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// faultyFS is a disk that can be told to fail. Only what the store writes while it is served passes here.
type faultyFS struct {
	vfs.FS
	mode  atomic.Int32 // what goes wrong
	fatal chan bool
}

const (
	diskWorks int32 = iota
	syncFails
	diskIsFull
)

func (f *faultyFS) fail(full bool) {
	f.fatal = make(chan bool, 1)
	if full {
		f.mode.Store(diskIsFull)
	} else {
		f.mode.Store(syncFails)
	}
}

func (f *faultyFS) mend() { f.mode.Store(diskWorks) }

func (f *faultyFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.Create(name, c))
}

func (f *faultyFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.ReuseForWrite(oldname, newname, c))
}

func (f *faultyFS) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, f}, nil
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
