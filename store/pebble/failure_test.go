package pebble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// broken is a disk on which some writes fail from a moment on.
type broken struct {
	on    atomic.Bool
	err   error
	match func(errorfs.Op) bool
}

func (b *broken) before(op errorfs.Op) error {
	if b.on.Load() && b.match(op) {
		return b.err
	}
	return nil
}

func isSync(op errorfs.Op) bool {
	return strings.HasSuffix(op.Path, ".log") &&
		(op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
}

func isWrite(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite }

// TestFailedWrite breaks the disk under eight writers. Each commit is acknowledged before, or
// never returns (S9). What was acknowledged is there afterwards. Each fault is noticed by the
// file system that the store gives to Pebble, and by Pebble itself.
func TestFailedWrite(t *testing.T) {
	for _, test := range []struct {
		name  string
		err   error
		match func(errorfs.Op) bool
		says  string
	}{
		{"sync", syscall.EIO, isSync, "check its disk"},
		{"write", syscall.EIO, isWrite, "check its disk"},
		{"full", syscall.ENOSPC, isWrite, "free some space"},
		{"no descriptors", syscall.EMFILE, isWrite, "LimitNOFILE"},
		{"no descriptors anywhere", syscall.ENFILE, isWrite, "fs.file-max"},
		{"no memory", syscall.ENOMEM, isWrite, "lack of memory"},
	} {
		for _, armed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s,armed=%t", test.name, armed), func(t *testing.T) {
				fs := vfs.NewCrashableMem()
				create(t, options(fs, nil))
				disk := &broken{err: test.err, match: test.match}
				opts, fatal := fatalOptions(watch(fs, disk.before), nil)
				s := open(t, opts)
				s.disk.armed.Store(armed)
				j := newJournal()
				lied := breakUnder(s, j, disk, fatal)

				err := <-fatal
				if !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.says) ||
					strings.Contains(err.Error(), "\n") {
					t.Errorf("Fatal got %q, want an error with %q", err, test.says)
				}
				afterwards(t, s)
				for _, percent := range []int{0, 100} {
					p := point{after: j.Now(), unsynced: percent}
					p.disk = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent,
						RNG: rand.New(rand.NewPCG(0, 0))})
					p.before = j.Now()
					survives(t, p, j, nil)
				}
				if lied.Load() {
					t.Error("a commit was acknowledged on a broken disk")
				}
			})
		}
	}
}

// fatalOptions sends the error of Fatal to a channel and lets Fatal return, so that its
// caller blocks.
func fatalOptions(fs vfs.FS, tune func(*pebble.Options)) (Options, chan error) {
	opts := options(fs, tune)
	fatal := make(chan error, 1000)
	opts.Fatal = func(err error) { fatal <- err }
	return opts, fatal
}

// breakUnder lets eight writers commit, four times on a good disk and then on a broken one.
// It returns when the disk is broken, and reports whether a commit is acknowledged after that.
func breakUnder(s *Store, j *storetest.Journal, disk *broken, fatal chan<- error) *atomic.Bool {
	lied := new(atomic.Bool)
	var good sync.WaitGroup
	good.Add(8)
	for w := range snowflake.NodeID(8) {
		go func() {
			for i := fencing.Epoch(1); i <= 8; i++ {
				if i == 5 {
					good.Done()
					good.Wait()
					disk.on.Store(true)
				}
				b := fencing.Batch{Records: []fencing.Record{storetest.Record(fencing.DefaultPool,
					w, i)}}
				n := j.Begin(b)
				if s.Commit(context.Background(), b) != nil {
					return
				}
				j.Acknowledge(n)
				if i >= 5 {
					lied.Store(true)
					fatal <- errors.New("a commit was acknowledged on a broken disk")
				}
			}
		}()
	}
	good.Wait()
	return lied
}

// afterwards checks that all methods of a store that failed err.
func afterwards(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.Load(context.Background()); err == nil {
		t.Error("Load of a store that failed: nil, want an error")
	}
	meta := storetest.Meta()
	if err := s.Commit(context.Background(), fencing.Batch{Meta: &meta}); err == nil {
		t.Error("Commit of a store that failed: nil, want an error")
	}
	if err := s.Confirm(context.Background()); err == nil {
		t.Error("Confirm of a store that failed: nil, want an error")
	}
	for range 2 {
		if err := s.Close(); err == nil {
			t.Error("Close of a store that failed: nil, want an error")
		}
	}
}

// TestFailedFlush: a table or a log that can't be written ends the process, too, before
// writes stall.
func TestFailedFlush(t *testing.T) {
	for name, match := range map[string]func(errorfs.Op) bool{
		"table": func(op errorfs.Op) bool {
			return strings.HasSuffix(op.Path, ".sst") &&
				isWrite(op)
		},
		"log": func(op errorfs.Op) bool {
			return strings.HasSuffix(op.Path, ".log") &&
				op.Kind == errorfs.OpCreate
		},
		"manifest": func(op errorfs.Op) bool {
			return strings.Contains(op.Path, "MANIFEST") &&
				isWrite(op)
		},
		"directory": func(op errorfs.Op) bool {
			return strings.HasSuffix(op.Path, database) &&
				op.Kind == errorfs.OpFileSync
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			busy := tunings["busy"]
			create(t, options(fs, busy))
			disk := &broken{err: syscall.ENOSPC, match: match}
			opts, fatal := fatalOptions(watch(fs, disk.before), busy)
			s := open(t, opts)
			disk.on.Store(true)
			j := newJournal()
			go func() {
				err := live(s, j, storetest.History(4, 2000)) // more than one log takes
				fatal <- fmt.Errorf("the history ended, %w", err)
			}()
			if err := <-fatal; !errors.Is(err, syscall.ENOSPC) ||
				!strings.Contains(err.Error(), "free some space") {
				t.Errorf("Fatal got %v", err)
			}
			if err := s.Close(); err == nil { // and it returns
				t.Error("Close of a store that failed: nil, want an error")
			}
			p := point{after: j.Now(), disk: fs.CrashClone(vfs.CrashCloneCfg{})}
			p.before = j.Now()
			survives(t, p, j, busy)
		})
	}
}

// TestUnwind: if Fatal panics because the log failed, Commit panics, and Close releases the
// store's memory, goroutines and lock.
func TestUnwind(t *testing.T) {
	for name, match := range map[string]func(errorfs.Op) bool{"sync": isSync, "write": isWrite} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			fs := vfs.NewCrashableMem()
			create(t, options(fs, nil))
			disk := &broken{err: syscall.EIO, match: match}
			s := open(t, options(watch(fs, disk.before), nil))
			disk.on.Store(true)
			func() {
				defer func() {
					// Pebble hands the log's panic on as an error's text.
					if p := recover(); p == nil ||
						!strings.Contains(fmt.Sprint(p), syscall.EIO.Error()) {
						t.Errorf("Commit panicked with %v", p)
					}
				}()
				meta := storetest.Meta()
				t.Errorf("Commit returned %v",
					s.Commit(context.Background(), fencing.Batch{Meta: &meta}))
			}()
			afterwards(t, s)
			goleak.VerifyNone(t, before)
			if err := open(t, options(fs, nil)).Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// TestPanic: a panic in Pebble ends the process, even if the caller would recover.
func TestPanic(t *testing.T) {
	fs := vfs.NewMem()
	create(t, options(fs, nil))
	opts, fatal := fatalOptions(fs, nil)
	s := open(t, opts)
	if err := s.db.Close(); err != nil { // behind the store's back
		t.Fatal(err)
	}
	go func() {
		defer func() { fatal <- fmt.Errorf("Commit panicked past Fatal: %v", recover()) }()
		meta := storetest.Meta()
		fatal <- s.Commit(context.Background(), fencing.Batch{Meta: &meta})
	}()
	if err := <-fatal; !errors.Is(err, pebble.ErrClosed) {
		t.Errorf("Fatal got %v", err)
	}
}

// TestFullDisk: creating and opening on a full disk err and say so, and work once there is
// space.
func TestFullDisk(t *testing.T) {
	fs := vfs.NewCrashableMem()
	full(t, fs, func(opts Options) error { return Create(dir, storetest.Meta(), nil, opts) })
	left := fs.CrashClone(vfs.CrashCloneCfg{})
	if _, err := Open(dir, options(left, nil)); !errors.Is(err, store.ErrNoStore) {
		t.Errorf("after a failed creation: %v", err)
	}
	create(t, options(left, nil))
	full(t, left, func(opts Options) error { _, err := Open(dir, opts); return err })
	s := open(t, options(left.CrashClone(vfs.CrashCloneCfg{}), nil))
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// full checks that the operation fails on a full disk, by its error or by Fatal: Pebble
// reports some errors in one way and some in the other.
func full(t *testing.T, fs vfs.FS, do func(Options) error) {
	t.Helper()
	disk := &broken{err: syscall.ENOSPC, match: isWrite}
	disk.on.Store(true)
	opts, ended := fatalOptions(watch(fs, disk.before), nil)
	go func() { ended <- do(opts) }()
	if err := <-ended; !errors.Is(err, syscall.ENOSPC) ||
		!strings.Contains(err.Error(), "free some space") {
		t.Errorf("got %v", err)
	}
}

// TestProcess runs in the processes that TestExit and TestLocked start.
func TestProcess(t *testing.T) {
	dir := os.Getenv("STORE_TEST_DIR")
	if dir == "" {
		t.Skip("only as a process of another test")
	}
	disk := &broken{err: syscall.ENOSPC, match: isWrite}
	opts := Options{FS: watch(vfs.Default, disk.before),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	s, err := Open(dir, opts)
	if err != nil {
		slog.Error("open", "error", err)
		os.Exit(3)
	}
	disk.on.Store(true)
	meta := storetest.Meta()
	err = s.Commit(context.Background(), fencing.Batch{Meta: &meta})
	slog.Error("commit returned", "error", err)
	os.Exit(4)
}

func runProcess(t *testing.T, dir string) (code int, stderr string) {
	t.Helper()
	var out strings.Builder
	cmd := exec.Command(os.Args[0], "-test.run=^TestProcess$")
	cmd.Env = append(os.Environ(), "STORE_TEST_DIR="+dir)
	cmd.Stderr = &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// TestExit: without an Options.Fatal a failed write ends the process.
func TestExit(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir, storetest.Meta(), nil, Options{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	code, stderr := runProcess(t, dir)
	if code != 1 || !strings.Contains(stderr, "free some space and start again") {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
	s, err := Open(dir, Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLocked: one process at a time can open a store.
func TestLocked(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir, storetest.Meta(), nil, Options{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	code, stderr := runProcess(t, dir)
	if code != 3 || !strings.Contains(stderr, ErrLocked.Error()) {
		t.Errorf("another process: exit code %d, stderr:\n%s", code, stderr)
	}
	if _, err := Open(dir, Options{Logger: quiet}); !errors.Is(err, ErrLocked) {
		t.Errorf("the same process: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if code, stderr := runProcess(t, dir); code != 1 {
		t.Errorf("after Close: exit code %d, stderr:\n%s", code, stderr)
	}
}
