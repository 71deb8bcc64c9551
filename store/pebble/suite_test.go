package pebble

import (
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store/storetest"
)

const dir = "data/cirrus"

var quiet = slog.New(slog.DiscardHandler)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Factory {
		opts := Options{FS: vfs.NewMem(), Logger: quiet, Fatal: func(err error) { panic(err) }}
		return factory(dir, opts)
	})
}

// TestStoreOnDisk runs the suite on files of the operating system.
func TestStoreOnDisk(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Factory {
		return factory(t.TempDir()+"/cirrus", Options{Logger: quiet})
	})
}

func factory(dir string, opts Options) storetest.Factory {
	return storetest.Factory{
		Create: func(meta fencing.Meta,
			pools []fencing.Pool) error {
			return Create(dir, meta, pools, opts)
		},
		Open: func() (storetest.Store, error) {
			s, err := Open(dir, opts)
			if err != nil {
				return nil, err // and not a nil *Store in the interface
			}
			return s, nil
		},
		Put: func(key, value []byte) error { return put(dir, opts, key, value) },
	}
}

// put writes to the database without the store.
func put(dir string, opts Options, key, value []byte) error {
	opts = opts.withDefaults()
	p, _ := opts.database(&failure{dir: dir, fatal: opts.Fatal})
	db, err := pebble.Open(opts.FS.PathJoin(dir, database), p)
	if err != nil {
		return err
	}
	if value == nil {
		err = db.Delete(key, pebble.Sync)
	} else {
		err = db.Set(key, value, pebble.Sync)
	}
	if err != nil {
		return err
	}
	return db.Close()
}
