package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/store"
)

// What can be wrong with a directory. An error that wraps one of these says what is
// wrong and what to do.
var (
	// ErrNotEmpty: the directory holds something that is not a store.
	ErrNotEmpty = errors.New("files that are no Cirrus store")
	// ErrLocked: another process has the store open.
	ErrLocked = errors.New("in use by another process")
)

// failure records the first failed write, which ends the store for good (S9).
type failure struct {
	dir   string
	fatal func(error)
	first atomic.Pointer[error]
	// inside counts the goroutines in now. They block until the process ends, unless
	// Fatal panics.
	inside atomic.Int32
}

// now ends the process. It never returns, even if Options.Fatal does.
func (f *failure) now(why error) {
	f.inside.Add(1)
	defer f.inside.Add(-1)
	err := f.sentence(why)
	f.first.CompareAndSwap(nil, &err)
	f.fatal(err)
	select {}
}

// err returns why the store has failed; nil if it has not.
func (f *failure) err() error {
	if p := f.first.Load(); p != nil {
		return *p
	}
	return nil
}

func (f *failure) sentence(why error) error {
	if vfs.IsNoSpaceError(why) {
		return fmt.Errorf(
			"the disk that holds the store in %s is full: free some space and start again, nothing that was acknowledged is lost: %w", f.dir, why)
	}
	if errors.Is(why, fs.ErrPermission) || errors.Is(why, syscall.EROFS) {
		return unwritable(f.dir, why)
	}
	if lack := lacking(why); lack != "" {
		return fmt.Errorf(
			"the store in %s could not go on for lack of %s; nothing is wrong with its disk, and nothing that was acknowledged is lost: %w", f.dir, lack, why)
	}
	return fmt.Errorf(
		"writing the store in %s failed: check its disk and start again, nothing that was acknowledged is lost unless the disk lost it: %w", f.dir, why)
}

// lacking returns what the process or the machine has run out of, and what to do about
// that; "" for any other error. None of these is a failed disk (S9).
func lacking(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return "file descriptors: raise the process's limit of open files (LimitNOFILE in systemd, ulimit -n in a shell) and start again"
	case errors.Is(err, syscall.ENFILE):
		return "file descriptors of the whole machine: raise fs.file-max, or find out what holds so many, and start again"
	case errors.Is(err, syscall.ENOMEM):
		return "memory: give the process or the machine more and start again"
	}
	return ""
}

// cause returns the error among the arguments of a log message, or else the message.
func cause(format string, args []any) error {
	for _, a := range args {
		if err, ok := a.(error); ok {
			return err
		}
	}
	return fmt.Errorf(format, args...)
}

func unwritable(dir string, err error) error {
	return fmt.Errorf(
		"the store's directory %s can't be written: give the user of this process read and write access to it and all in it: %w", dir, err)
}

// explainCreate adds to an error of creating the store what to do about it. A missing
// file is not damage then.
func explainCreate(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the store's directory %s can't be created: name one that can: %w", dir,
			err)
	}
	return explain(dir, err)
}

// explain adds to an error of opening the store what to do about it.
func explain(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s is not a directory: name a directory for the store: %w", dir, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return unwritable(dir, err)
	case vfs.IsNoSpaceError(err):
		return fmt.Errorf("the disk that holds %s is full: free some space and start again: %w",
			dir, err)
	case lacking(err) != "":
		return fmt.Errorf("the store in %s can't be opened for lack of %s: %w", dir, lacking(err),
			err)
	case errors.Is(err, pebble.ErrDBDoesNotExist), errors.Is(err, fs.ErrNotExist),
		pebble.IsCorruptionError(err):
		err := fmt.Errorf(
			"%w: %s can't be opened: restore the store from a copy, then recover it: %w",
			store.ErrDamaged, dir, err)
		return store.WithHint(err, store.HintRecover, "")
	}
	return fmt.Errorf("the store in %s can't be opened: check the directory and its disk: %w", dir,
		err)
}
