package pebble

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// The names in a store's directory.
const (
	database   = "pebble"
	unfinished = "pebble.new"
	lockFile   = "LOCK"
	lostFound  = "lost+found" // in the root of a volume of its own
)

// dirMode is the mode of the directories that Create makes: other users can't read a
// store.
const dirMode os.FileMode = 0o750

// Create makes a store in the directory, which must be missing or empty; it makes
// missing parents, too. When it returns nil the store is durable, and closed. After an
// error there is no store (if only the last sync failed, perhaps a complete one), and
// Create can be called again. The error may wrap store.ErrExists, ErrNotEmpty or
// ErrLocked.
func Create(dir string, meta fencing.Meta, pools []fencing.Pool, opts Options) error {
	c := contents{Batch: fencing.Batch{Meta: &meta, Pools: pools}}
	return c.create(dir, opts)
}

// contents are what a new database holds.
type contents struct {
	fencing.Batch
	note store.Note
}

func (c *contents) create(dir string, opts Options) error {
	opts = opts.withDefaults()
	if err := store.Encode(c.Batch, func(_, _ []byte) error { return nil }); err != nil {
		return err
	}
	if err := c.vacant(dir, opts); err != nil {
		return err
	}
	if err := makeDirs(opts.FS, dir); err != nil {
		return explainCreate(dir, err)
	}
	lock, err := lockDir(opts.FS, dir)
	if err != nil {
		return err
	}
	return errors.Join(c.createLocked(dir, opts), lock.Close())
}

// createLocked is create under the directory's lock.
func (c *contents) createLocked(dir string, opts Options) error {
	// again, since another process may have held the lock
	if err := c.vacant(dir, opts); err != nil {
		return err
	}
	temp := opts.FS.PathJoin(dir, unfinished)
	if err := opts.FS.RemoveAll(temp); err != nil {
		return explainCreate(dir, err)
	}
	if err := c.clearLeftover(dir, temp, opts); err != nil {
		return explainCreate(dir, err)
	}
	if err := c.fill(dir, temp, opts); err != nil {
		return errors.Join(explainCreate(dir, err), opts.FS.RemoveAll(temp))
	}
	if err := opts.FS.Rename(temp, opts.FS.PathJoin(dir, database)); err != nil {
		return explainCreate(dir, err)
	}
	return explainCreateIf(dir, syncDir(opts.FS, dir))
}

// fill makes a database with the contents in it. It flushes them to a table, so that
// the store is not lost with the newest part of its log.
func (c *contents) fill(dir, temp string, opts Options) error {
	f := &failure{dir: dir, fatal: opts.Fatal}
	p, _ := opts.database(f)
	p.ErrorIfExists = true
	db, err := pebble.Open(temp, p)
	if err != nil {
		return err
	}
	s := &Store{db: db, failure: f}
	if err := s.commit(c.Batch, putNote(c.note)); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := db.Flush(); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := db.Close(); err != nil {
		return err
	}
	return syncDir(opts.FS, temp)
}

// vacant errs if the directory is in use. What an interrupted creation has written is
// not a store, since it was never acknowledged.
func vacant(vf vfs.FS, dir string) error {
	names, err := vf.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return explainCreate(dir, err)
	}
	var foreign string
	gone := false
	for _, name := range names {
		switch name {
		case database:
			return errExists(dir)
		case highWaterFile:
			gone = true
		case unfinished, lockFile, lostFound, highWaterTemp:
		default:
			foreign = name
		}
	}
	if gone {
		return errGone(dir)
	}
	if foreign != "" {
		return fmt.Errorf(
			"%s holds %w, such as %q: name an empty directory, or one that is not there yet", dir,
			ErrNotEmpty, foreign)
	}
	return nil
}

func errExists(dir string) error {
	return fmt.Errorf("%s holds %w: serve it, or name another directory", dir, store.ErrExists)
}

// lockDir locks the directory, so that two processes don't create one store.
func lockDir(vf vfs.FS, dir string) (io.Closer, error) {
	lock, err := pebble.LockDirectory(dir, vf)
	if err != nil {
		return nil, lockError(dir, err)
	}
	return lock, nil
}

// makeDirs makes the directory and its missing parents, durably: else a crash could
// delete the store with its directory.
func makeDirs(vf vfs.FS, dir string) error {
	made := 0 // how many of the directories, from dir upwards, are new
	for d := dir; ; d = vf.PathDir(d) {
		_, err := vf.Stat(d)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		made++
		if vf.PathDir(d) == d {
			break
		}
	}
	if err := vf.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	for d := dir; vf.PathDir(d) != d; d = vf.PathDir(d) {
		// Some of the directories that existed may be new as well, made by a
		// creation that was killed. So their parents are synced, too, but may
		// be unreadable, since they may belong to other users.
		if err := syncDir(vf, vf.PathDir(d)); err != nil && made > 0 {
			return err
		}
		made--
	}
	return nil
}

func syncDir(vf vfs.FS, dir string) error {
	d, err := vf.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func explainCreateIf(dir string, err error) error {
	if err == nil {
		return nil
	}
	return explainCreate(dir, err)
}
