package pebble

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// Open opens the store in the directory. The error wraps store.ErrNoStore if there is
// none, ErrLocked if another process has it open, store.ErrDamaged or
// store.ErrNewerFormat if it can't be read, store.ErrLostWrites if acknowledged
// writes are gone, and store.ErrUnfinished or a *store.MovedError if a note keeps it
// from being served. All that Open finds is durable when it returns, even if an
// earlier process had written it without a sync.
func Open(dir string, opts Options) (*Store, error) {
	return openUnlessNoted(dir, opts, toServe)
}

// OpenToRecover is Open for a store that is to be recovered before it is served again.
// It also opens a store that has lost writes. Load then returns at least the mark and
// the base in the high-water file.
func OpenToRecover(dir string, opts Options) (*Store, error) {
	return openUnlessNoted(dir, opts, toRecover)
}

// OpenMoved is OpenToRecover for a store that was moved to another location and is
// taken back: Commit deletes the note of that.
func OpenMoved(dir string, opts Options) (*Store, error) {
	s, n, err := openAny(dir, opts, toRecover)
	switch {
	case err != nil:
		return nil, err
	case n == "":
		return nil, errors.Join(store.NotMoved(dir), s.Close())
	case !n.MovedAway():
		return nil, errors.Join(refusal(n, dir), s.Close())
	}
	s.moved = true
	return s, nil
}

// purpose is what a store is opened for.
type purpose uint8

const (
	toServe purpose = iota
	toRecover
)

func openUnlessNoted(dir string, opts Options, why purpose) (*Store, error) {
	s, n, err := openAny(dir, opts, why)
	if err == nil && n != "" {
		s, err = nil, errors.Join(refusal(n, dir), s.Close())
	}
	return s, err
}

// openAny opens a store with any note in it, and returns the note.
func openAny(dir string, opts Options, why purpose) (*Store, store.Note, error) {
	opts = opts.withDefaults()
	inner := opts.FS.PathJoin(dir, database)
	switch _, err := opts.FS.Stat(inner); {
	case errors.Is(err, fs.ErrNotExist) && isThere(opts.FS, opts.FS.PathJoin(dir, highWaterFile)):
		return nil, "", errGone(dir)
	case errors.Is(err, fs.ErrNotExist):
		return nil, "",
			store.WithHint(fmt.Errorf("%s holds %w: create one there, or name the directory of one",
				dir, store.ErrNoStore), store.HintCreate, dir)
	case err != nil:
		return nil, "", explain(dir, err)
	}
	lock, err := pebble.LockDirectory(inner, opts.FS)
	if err != nil {
		return nil, "", lockError(dir, err)
	}
	s, err := openLocked(dir, inner, lock, opts, why)
	if err != nil {
		return nil, "", errors.Join(err, lock.Close())
	}
	n, err := s.note()
	if err != nil {
		return nil, "", errors.Join(explain(dir, err), s.Close())
	}
	return s, n, nil
}

// OpenMemory makes and opens a store in memory, which ends with the process. It ignores
// the option FS.
func OpenMemory(meta fencing.Meta, pools []fencing.Pool, opts Options) (*Store, error) {
	const dir = "memory"
	opts.FS = vfs.NewMem()
	if err := Create(dir, meta, pools, opts); err != nil {
		return nil, err
	}
	return Open(dir, opts)
}

func isThere(vf vfs.FS, path string) bool {
	_, err := vf.Stat(path)
	return err == nil
}

// errGone returns that the store in the directory has lost its database. The directory
// is not like one that never had a store: node IDs of that store are leased (S7).
func errGone(dir string) error {
	return fmt.Errorf(
		"%w: the store in %s has lost its database, of which only the %s file is left: restore it from a copy and recover it, or begin anew in an empty directory", store.ErrDamaged, dir, highWaterFile)
}

func openLocked(dir, inner string, lock *pebble.Lock, opts Options, why purpose) (*Store, error) {
	if err := newerDatabase(inner, opts.FS); err != nil {
		return nil, err
	}
	f := &failure{dir: dir, fatal: opts.Fatal}
	p, disk := opts.database(f)
	p.Lock = lock
	// There was a store here. If its database is gone, that is damage to report, and
	// no new database may be made (S7).
	p.ErrorIfNotExists = true
	db, err := pebble.Open(inner, p)
	if err != nil {
		return nil, explain(dir, err)
	}
	s := &Store{db: db, lock: lock, failure: f, disk: disk}
	meta, err := s.meta()
	if err == nil {
		err = s.openHighWater(waterOf(&meta), opts, why)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), db.Close())
	}
	disk.armed.Store(true)
	return s, nil
}

// newerDatabase errs if the database's own format is newer than this binary's, before
// Pebble changes anything in it.
func newerDatabase(inner string, vf vfs.FS) error {
	desc, err := pebble.Peek(inner, vf)
	if err != nil && strings.Contains(err.Error(), "unknown format major version") {
		return fmt.Errorf("%w: run the version of Cirrus that wrote it, or a later one: %w",
			store.ErrNewerFormat, err)
	}
	if err == nil && desc.Exists && desc.FormatMajorVersion > formatVersion {
		return fmt.Errorf(
			"%w: its database has format %d and this version of Cirrus writes %d: run the version that wrote it, or a later one",
			store.ErrNewerFormat, desc.FormatMajorVersion, formatVersion)
	}
	return nil // Open reports any other error
}

// meta reads the meta, so that a store that can't be decoded is closed again before
// anything is written to it.
func (s *Store) meta() (fencing.Meta, error) {
	value, closer, err := s.db.Get(store.MetaKey())
	if errors.Is(err, pebble.ErrNotFound) {
		var d store.Decoder
		_, err = d.Snapshot() // its error says that the meta is missing
	}
	if err != nil {
		return fencing.Meta{}, err
	}
	meta, err := store.DecodeMeta(value)
	return meta, errors.Join(err, closer.Close())
}

// lockError returns ErrLocked if another process holds the lock, and else explains why
// the lock could not be taken.
func lockError(dir string, err error) error {
	var path *fs.PathError // the lock file could not be made
	held := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) &&
		!errors.As(err, &path) ||
		strings.Contains(err.Error(), "held by current process")
	if held {
		return fmt.Errorf("the store in %s is %w: stop that one first, or name another directory",
			dir, ErrLocked)
	}
	return explain(dir, err)
}
