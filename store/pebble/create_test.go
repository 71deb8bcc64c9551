package pebble

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

func TestCreateRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		setUp func(t *testing.T, dir string)
		want  error // nil: Create succeeds
	}{
		{"missing", func(*testing.T, string) {}, nil},
		{"empty", func(t *testing.T, dir string) { mkdir(t, dir) }, nil},
		{"a volume's root", func(t *testing.T, dir string) { mkdir(t, dir, "lost+found") }, nil},
		{"a creation that crashed", func(t *testing.T, dir string) { mkdir(t, dir, unfinished, "junk"); mkfile(t, dir, lockFile) }, nil},
		{"a store", func(t *testing.T, dir string) {
			if err := Create(dir, storetest.Meta(), nil, Options{Logger: quiet}); err != nil {
				t.Fatal(err)
			}
		}, store.ErrExists},
		{"an empty database", func(t *testing.T, dir string) { mkdir(t, dir, database) }, store.ErrExists},
		{"other files", func(t *testing.T, dir string) { mkfile(t, dir, "letters.txt") }, ErrNotEmpty},
		{"a hidden file", func(t *testing.T, dir string) { mkfile(t, dir, ".profile") }, ErrNotEmpty},
		{"a file", func(t *testing.T, dir string) { mkfile(t, filepath.Dir(dir), filepath.Base(dir)) }, syscall.ENOTDIR},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "some", "where")
			test.setUp(t, dir)
			before := listing(t, filepath.Dir(filepath.Dir(dir)))
			err := Create(dir, storetest.Meta(), nil, Options{Logger: quiet})
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if test.want != nil {
				if after := listing(t, filepath.Dir(filepath.Dir(dir))); after != before {
					t.Errorf("the refusal changed\n%s to\n%s", before, after)
				}
				return
			}
			s, err := Open(dir, Options{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func mkdir(t *testing.T, path ...string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(path...), 0o755); err != nil {
		t.Fatal(err)
	}
}

func mkfile(t *testing.T, dir, name string) {
	t.Helper()
	mkdir(t, dir)
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

func listing(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		b.WriteString(path + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestCreateUnfit: a store that could not be loaded is not created, and no file is left.
func TestCreateUnfit(t *testing.T) {
	fs := vfs.NewMem()
	meta := storetest.Meta()
	meta.FirstEpoch = 0
	if err := Create(dir, meta, nil, options(fs, nil)); err == nil {
		t.Error("Create: nil, want an error")
	}
	if names, err := fs.List("/"); err != nil || len(names) > 0 {
		t.Errorf("Create has left %v (%v), want nothing", names, err)
	}
}

// TestCreateTwice: of many creations at once one succeeds, and its store is whole.
func TestCreateTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cirrus")
	errs := make(chan error, 8)
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() { errs <- Create(dir, storetest.Meta(), nil, Options{Logger: quiet}) })
	}
	wg.Wait()
	close(errs)
	created := 0
	for err := range errs {
		switch {
		case err == nil:
			created++
		case !errors.Is(err, store.ErrExists) && !errors.Is(err, ErrLocked):
			t.Error(err)
		}
	}
	if created != 1 {
		t.Errorf("%d creations succeeded, want 1", created)
	}
	s, err := Open(dir, Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if snap, err := s.Load(context.Background()); err != nil || snap.Meta != storetest.Meta() {
		t.Errorf("got %+v, %v", snap, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCreateOvertaken: if another creation ends just before this one gets the lock, its store
// stays.
func TestCreateOvertaken(t *testing.T) {
	disk := vfs.NewMem()
	overtaken := false
	slow := watch(disk, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpLock && !overtaken {
			overtaken = true
			create(t, options(disk, nil))
		}
		return nil
	})
	if err := Create(dir, storetest.Meta(), nil, options(slow, nil)); !errors.Is(err,
		store.ErrExists) {
		t.Errorf("got %v, want store.ErrExists", err)
	}
	s := open(t, options(disk, nil))
	if snap, err := s.Load(context.Background()); err != nil || len(snap.Pools) != 1 {
		t.Errorf("the other store holds %+v (%v), want it unchanged", snap, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		setUp func(t *testing.T, disk *vfs.MemFS)
		want  error
		says  string
	}{
		{"nothing", func(t *testing.T, disk *vfs.MemFS) { removeAll(t, disk, "data") }, store.ErrNoStore, "create one there"},
		{"an empty directory", func(t *testing.T, disk *vfs.MemFS) { removeAll(t, disk, dir+"/"+database) }, fs.ErrNotExist, "create one there"},
		{"an unfinished creation", func(t *testing.T, disk *vfs.MemFS) {
			if err := disk.Rename(dir+"/"+database, dir+"/"+unfinished); err != nil {
				t.Fatal(err)
			}
		}, store.ErrNoStore, "create one there"},
		{"no manifest", func(t *testing.T, disk *vfs.MemFS) { removeMatching(t, disk, "MANIFEST") }, store.ErrDamaged, "restore"},
		{"no tables", func(t *testing.T, disk *vfs.MemFS) { removeMatching(t, disk, ".sst") }, store.ErrDamaged, "restore"},
		{"nothing in the database", func(t *testing.T, disk *vfs.MemFS) { removeMatching(t, disk, "") }, store.ErrDamaged, "restore"},
		{"no meta", func(t *testing.T, disk *vfs.MemFS) { rewrite(t, disk, nil) }, store.ErrDamaged, "the meta"},
		{"a newer format", func(t *testing.T, disk *vfs.MemFS) { rewrite(t, disk, []byte{8, store.Format + 1}) }, store.ErrNewerFormat, "or a later one"},
		{"a newer database", func(t *testing.T, disk *vfs.MemFS) { newer(t, disk, pebble.FormatNewest) }, store.ErrNewerFormat, "or a later one"},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := vfs.NewMem()
			create(t, options(disk, nil))
			test.setUp(t, disk)
			before := disk.String()
			s, err := Open(dir, options(disk, nil))
			if s != nil || !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got %v, want %v and %q", err, test.want, test.says)
			}
			if test.name != "no tables" &&
				strings.Count(disk.String(), "\n") > strings.Count(before, "\n")+1 {
				t.Errorf("the refusal made files:\n%s, before:\n%s", disk, before)
			}
		})
	}
}

func removeAll(t *testing.T, disk *vfs.MemFS, path string) {
	t.Helper()
	if err := disk.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func removeMatching(t *testing.T, disk *vfs.MemFS, part string) {
	t.Helper()
	names, err := disk.List(dir + "/" + database)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.Contains(name, part) {
			removeAll(t, disk, dir+"/"+database+"/"+name)
		}
	}
}

// rewrite changes the meta, or deletes it.
func rewrite(t *testing.T, disk *vfs.MemFS, meta []byte) {
	t.Helper()
	if err := put(dir, options(disk, nil), store.MetaKey(), meta); err != nil {
		t.Fatal(err)
	}
}

// newer raises the format of the database itself.
func newer(t *testing.T, disk *vfs.MemFS, to pebble.FormatMajorVersion) {
	t.Helper()
	opts := options(disk, func(p *pebble.Options) { p.FormatMajorVersion = to })
	p, _ := opts.database(&failure{})
	db, err := pebble.Open(dir+"/"+database, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNotWritable: the error says whose permission is missing.
func TestNotWritable(t *testing.T) {
	for _, errno := range []error{syscall.EACCES, syscall.EROFS} {
		disk := vfs.NewMem()
		refuse := watch(disk, func(op errorfs.Op) error {
			return &fs.PathError{Op: "open", Path: op.Path, Err: errno}
		})
		says := "can't be written: give the user"
		if err := Create(dir, storetest.Meta(), nil, options(refuse, nil)); !errors.Is(err,
			errno) || !strings.Contains(err.Error(), says) {
			t.Errorf("Create: %v", err)
		}
		create(t, options(disk, nil))
		if _, err := Open(dir, options(refuse, nil)); !errors.Is(err, errno) ||
			!strings.Contains(err.Error(), says) {
			t.Errorf("Open: %v", err)
		}
	}
}

func TestOpenMemory(t *testing.T) {
	s, err := OpenMemory(storetest.Meta(), []fencing.Pool{storetest.Pool("p")},
		Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	r := storetest.Record("p", 1, 1)
	if err := s.Commit(context.Background(),
		fencing.Batch{Records: []fencing.Record{r}}); err != nil {
		t.Fatal(err)
	}
	snap, err := s.Load(context.Background())
	if err != nil || len(snap.Records) != 1 || snap.Records[0] != r {
		t.Errorf("got %+v, %v", snap, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
