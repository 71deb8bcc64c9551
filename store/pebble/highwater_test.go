package pebble

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// served makes a store in a real directory that has been served: its base was raised, and
// then marks and grants were written. It returns the last mark.
func served(t *testing.T, dir string, opts Options) fencing.Meta {
	t.Helper()
	if err := Create(dir, storetest.Meta(), []fencing.Pool{storetest.Pool(fencing.DefaultPool)},
		opts); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	meta := storetest.Meta()
	meta.FirstEpoch += 1 << 20
	for i := range snowflake.NodeID(20) {
		meta.Mark += 1000
		r := storetest.Record(fencing.DefaultPool, i, meta.FirstEpoch+fencing.Epoch(i))
		commit(t, s, fencing.Batch{Records: []fencing.Record{r}})
		commit(t, s, fencing.Batch{Meta: &meta})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return meta
}

func commit(t *testing.T, s *Store, b fencing.Batch) {
	t.Helper()
	if err := s.Commit(context.Background(), b); err != nil {
		t.Fatal(err)
	}
}

// newestLog returns the path of the newest log of the directory's database.
func newestLog(t *testing.T, dir string) string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, database, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	return slices.Max(logs)
}

// TestLostWrites damages the log of a real store where Pebble can't tell damage from a crash.
// The store is refused, and can be recovered (S13).
func TestLostWrites(t *testing.T) {
	change := func(t *testing.T, path string, f func([]byte) []byte) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// written is the log without the zeroes that Pebble has reserved.
	written := func(log []byte) int { return len(strings.TrimRight(string(log), "\x00")) }
	flipAt := func(back int) func(t *testing.T, log string) {
		return func(t *testing.T, log string) {
			change(t, log, func(b []byte) []byte { b[max(written(b)-back, 0)] ^= 4; return b })
		}
	}
	cutTo := func(part float64) func(t *testing.T, log string) {
		return func(t *testing.T, log string) {
			change(t, log, func(b []byte) []byte { return b[:int(part*float64(written(b)))] })
		}
	}
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, log string)
	}{
		{"the newest log is gone", func(t *testing.T, log string) {
			if err := os.Remove(log); err != nil {
				t.Fatal(err)
			}
		}},
		{"the newest log is empty", cutTo(0)},
		{"a quarter is left", cutTo(0.25)},
		{"a half is left", cutTo(0.5)},
		{"the last bytes are gone", func(t *testing.T, log string) {
			change(t, log, func(b []byte) []byte { return b[:written(b)-40] })
		}},
		{"the tail is zeroed", func(t *testing.T, log string) {
			change(t, log, func(b []byte) []byte { clear(b[written(b)/2:]); return b })
		}},
		{"a bit of the last write", flipAt(40)},
		{"a bit further back", flipAt(700)},
		{"a bit of the first write", flipAt(1 << 20)},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cirrus")
			opts := Options{Logger: quiet}
			last := served(t, dir, opts)
			test.damage(t, newestLog(t, dir))
			if s, err := Open(dir, opts); !errors.Is(err, store.ErrLostWrites) ||
				!strings.Contains(err.Error(), dir) {
				t.Fatalf("opened: %v, %v; want ErrLostWrites with the directory", s != nil, err)
			}
			recovered(t, dir, opts, last)
		})
	}
}

// recovered checks that the store can be opened to be recovered, loads its last mark and base,
// and can be served afterwards.
func recovered(t *testing.T, dir string, opts Options, last fencing.Meta) {
	t.Helper()
	var log bytes.Buffer
	warned := opts
	warned.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := OpenToRecover(dir, warned)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "the store is damaged") {
		t.Errorf("the log of OpenToRecover is %q, want what is wrong with the store", log.String())
	}
	snap, err := s.Load(context.Background())
	if err != nil || snap.Meta.Mark < last.Mark || snap.Meta.FirstEpoch < last.FirstEpoch {
		t.Fatalf("it is recovered from mark %d and base %d, want at least %d and %d (%v)",
			snap.Meta.Mark, snap.Meta.FirstEpoch, last.Mark, last.FirstEpoch, err)
	}
	snap.Meta.Mark += 10_000
	commit(t, s, fencing.Batch{Meta: &snap.Meta})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, opts); err != nil {
		t.Fatalf("after the recovery: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLostBase: the first mark of a start may be as high as the last one before, so only the
// base shows that it is lost. The file has the base before that mark is acknowledged, so
// before anything is granted.
func TestLostBase(t *testing.T) {
	disk := vfs.NewMem()
	opts := options(disk, nil)
	create(t, opts)
	s := open(t, opts)
	meta := storetest.Meta()
	commit(t, s, fencing.Batch{Meta: &meta})
	meta.FirstEpoch += 1 << 20
	commit(t, s, fencing.Batch{Meta: &meta})
	if got, err := readHighWater(disk, dir); err != nil || got != waterOf(&meta) {
		t.Errorf("when the base is acknowledged the file says %+v, %v, want %+v", got, err,
			waterOf(&meta))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	old := storetest.Meta()
	rewriteMeta(t, disk, old)
	if _, err := Open(dir, opts); !errors.Is(err, store.ErrLostWrites) {
		t.Errorf("got %v, want ErrLostWrites", err)
	}
}

// rewriteMeta writes a meta to the database without the store.
func rewriteMeta(t *testing.T, disk *vfs.MemFS, meta fencing.Meta) {
	t.Helper()
	err := store.Encode(fencing.Batch{Meta: &meta}, func(key, value []byte) error {
		return put(dir, options(disk, nil), key, value)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestHighWaterMissing: a store of an older version has no high-water file, and gets one with
// its first mark.
func TestHighWaterMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cirrus")
	opts := Options{Logger: quiet}
	last := served(t, dir, opts)
	if err := os.Remove(filepath.Join(dir, highWaterFile)); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	last.Mark += 1000
	commit(t, s, fencing.Batch{Meta: &last})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := readHighWater(vfs.Default, dir); err != nil || got != waterOf(&last) {
		t.Errorf("the file says %+v, %v, want %+v", got, err, waterOf(&last))
	}
}

// TestHighWaterDamaged: a store whose high-water file is damaged is refused.
func TestHighWaterDamaged(t *testing.T) {
	for name, content := range map[string]string{
		"empty":        "",
		"cut off":      string(water{7, 9}.encode()[:20]),
		"a digit":      strings.Replace(string(water{1234567890123, 9}.encode()), "4", "5", 1),
		"another form": "cirrus high-water 2: mark 1 base 1\n",
		"more behind":  string(water{7, 9}.encode()) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cirrus")
			opts := Options{Logger: quiet}
			served(t, dir, opts)
			if err := os.WriteFile(filepath.Join(dir, highWaterFile), []byte(content),
				0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, opts); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("got %v, want ErrDamaged", err)
			}
			recovered(t, dir, opts, fencing.Meta{})
		})
	}
}

// TestHighWaterUnreadable: a file that can't be read may say that writes were lost, and how far
// the mark had come. So the store is not opened without it, not even to recover it.
func TestHighWaterUnreadable(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{"open": errorfs.OpOpen,
		"read": errorfs.OpFileRead} {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			create(t, options(disk, nil))
			failing := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == kind && strings.HasSuffix(op.Path, highWaterFile) {
					return syscall.EIO
				}
				return nil
			}))
			commitTo(t, options(disk, nil))
			for name, open := range map[string]func(string, Options) (*Store, error){"Open": Open,
				"OpenToRecover": OpenToRecover} {
				_, err := open(dir, options(failing, nil))
				if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "can't be read") {
					t.Errorf("%s: %v, want an error that says so", name, err)
				}
			}
		})
	}
}

// commitTo opens the store, commits a mark, and closes it.
func commitTo(t *testing.T, opts Options) {
	t.Helper()
	s := open(t, opts)
	meta := storetest.Meta()
	commit(t, s, fencing.Batch{Meta: &meta})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDatabaseGone: a directory whose store has lost its database gets no new store (S7).
func TestDatabaseGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cirrus")
	opts := Options{Logger: quiet}
	served(t, dir, opts)
	if err := os.RemoveAll(filepath.Join(dir, database)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, opts); !errors.Is(err, store.ErrDamaged) ||
		errors.Is(err, store.ErrNoStore) {
		t.Errorf("Open: %v, want ErrDamaged", err)
	}
	if err := Create(dir, storetest.Meta(), nil, opts); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Create: %v, want ErrDamaged", err)
	}
}

// TestHighWaterFails: if the high-water file can't be written, at once or in the background,
// that ends the process like any failed write (S9).
func TestHighWaterFails(t *testing.T) {
	for name, of := range map[string]struct {
		kind errorfs.OpKind
		path string
	}{
		"create":         {errorfs.OpCreate, highWaterTemp},
		"write":          {errorfs.OpFileWrite, highWaterTemp},
		"sync":           {errorfs.OpFileSync, highWaterTemp},
		"rename":         {errorfs.OpRename, highWaterTemp},
		"directory sync": {errorfs.OpFileSync, dir},
	} {
		for _, base := range []fencing.Epoch{0, 1 << 20} {
			t.Run(name, func(t *testing.T) {
				disk := vfs.NewCrashableMem()
				create(t, options(disk, nil))
				b := &broken{err: syscall.EIO, match: func(op errorfs.Op) bool {
					return op.Kind == of.kind && strings.HasSuffix(op.Path, of.path)
				}}
				opts, fatal := fatalOptions(watch(disk, b.before), nil)
				s := open(t, opts)
				meta := storetest.Meta()
				meta.FirstEpoch++
				commit(t, s, fencing.Batch{Meta: &meta})
				b.on.Store(true)
				meta.Mark += 1000
				meta.FirstEpoch += base
				go func() { _ = s.Commit(context.Background(), fencing.Batch{Meta: &meta}) }()
				if err := <-fatal; !errors.Is(err, syscall.EIO) ||
					!strings.Contains(err.Error(), "check its disk") {
					t.Errorf("Fatal got %v", err)
				}
				if _, err := Open(dir,
					options(disk.CrashClone(vfs.CrashCloneCfg{}), nil)); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		}
	}
}
