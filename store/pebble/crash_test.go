package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// File systems that fail are wrappers of vfs.FS.

// watchedFS calls a function before each operation that writes.
type watchedFS struct {
	*errorfs.FS
	ask errorfs.Injector
}

func watch(inner vfs.FS, before func(errorfs.Op) error) *watchedFS {
	ask := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		return before(op)
	})
	return &watchedFS{FS: errorfs.Wrap(inner, ask), ask: ask}
}

// ReuseForWrite also watches the file, which errorfs doesn't: Pebble reuses its logs.
func (w *watchedFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File,
	error) {
	f, err := w.FS.ReuseForWrite(oldname, newname, c)
	if err != nil {
		return nil, err
	}
	return errorfs.WrapFile(f, w.ask), nil
}

// point is a crash: what the disk held, and the journal before and after it.
type point struct {
	op            errorfs.Op
	disk          *vfs.MemFS
	unsynced      int // percent of what was not synced that survives
	after, before storetest.Moment
}

// crashes takes two crashes before each write: one keeps all that was not synced, the other
// nothing of it.
type crashes struct {
	mu      sync.Mutex
	fs      *vfs.MemFS
	journal *storetest.Journal
	points  []point
	writes  int
}

func (c *crashes) take(op errorfs.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	after := c.journal.Now()
	none := c.fs.CrashClone(vfs.CrashCloneCfg{})
	all := c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100,
		RNG: rand.New(rand.NewPCG(0, 0))})
	before := c.journal.Now()
	c.points = append(c.points, point{op, none, 0, after, before},
		point{op, all, 100, after, before})
	return nil
}

func (p point) String() string {
	return fmt.Sprintf("crash before %d on %q with %d%% of the unsynced", p.op.Kind, p.op.Path,
		p.unsynced)
}

// production are the options as they are, busy ones that make Pebble rotate
// its log, flush and compact all the time.
var tunings = map[string]func(*pebble.Options){
	"production": nil,
	"busy": func(p *pebble.Options) {
		p.MemTableSize = 8 << 10
		p.L0CompactionThreshold = 2
		p.MaxManifestFileSize = 1 << 10
	},
}

func options(fs vfs.FS, tune func(*pebble.Options)) Options {
	return Options{FS: fs, Logger: quiet, Fatal: func(err error) { panic(err) }, tune: tune}
}

// newJournal returns a journal that has what create makes.
func newJournal() *storetest.Journal {
	return storetest.NewJournal(storetest.Meta(), storetest.Pool(fencing.DefaultPool))
}

func create(t *testing.T, opts Options) {
	t.Helper()
	if err := Create(dir, storetest.Meta(), []fencing.Pool{storetest.Pool(fencing.DefaultPool)},
		opts); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, opts Options) *Store {
	t.Helper()
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// live commits the batches one after the other, and records them in the journal.
func live(s *Store, j *storetest.Journal, batches []fencing.Batch) error {
	for _, b := range batches {
		n := j.Begin(b)
		if err := s.Commit(context.Background(), b); err != nil {
			return err
		}
		j.Acknowledge(n)
	}
	return nil
}

// report prints the number of points, whether or not the tests are verbose.
func report(t *testing.T, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	t.Log(line)
	if !testing.Verbose() {
		fmt.Printf("%s: %s\n", t.Name(), line)
	}
}

// TestCrash crashes before each write of a history of grants, releases, revokes, marks, pool
// changes and a recovery.
func TestCrash(t *testing.T) {
	for name, tune := range tunings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &crashes{fs: vfs.NewCrashableMem(), journal: newJournal()}
			create(t, options(c.fs, tune))
			s := open(t, options(watch(c.fs, c.take), tune))
			history := storetest.History(7, 100)
			if err := live(s, c.journal, history); err != nil {
				t.Fatal(err)
			}
			if err := together(s, c.journal); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			for _, p := range c.points {
				survives(t, p, c.journal, tune)
			}
			report(
				t, "%d crash points: before each of %d writes, with all and with nothing unsynced surviving (%s)",
				len(c.points), c.writes, kinds(t, history))
		})
	}
}

// kinds counts the kinds of batches in a history, and fails if one is missing.
func kinds(t *testing.T, history []fencing.Batch) string {
	t.Helper()
	count := map[string]int{}
	for _, b := range history {
		switch {
		case b.Meta != nil && len(b.Pools) > 0:
			count["recoveries"]++
		case b.Meta != nil && len(b.Records) > 0:
			count["marks with leases noted as ended"]++
		case b.Meta != nil:
			count["marks alone"]++
		case len(b.Pools) > 0 && b.Pools[0].Opened:
			count["pool updates"]++
		case len(b.Pools) > 0:
			count["new pools"]++
		default:
			count[map[fencing.Status]string{fencing.Live: "grants", fencing.Ended: "releases",
				fencing.Revoked: "revokes"}[b.Records[0].Status]]++
		}
	}
	if len(count) != 8 {
		t.Errorf("the history has %v, want each kind", count)
	}
	return strings.TrimPrefix(fmt.Sprint(count), "map")
}

// together commits many batches at once, so that they share syncs.
func together(s *Store, j *storetest.Journal) error {
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for w := range cap(errs) {
		wg.Go(func() {
			var batches []fencing.Batch
			for i := range fencing.Epoch(3) {
				r := storetest.Record(fencing.DefaultPool, 0, storetest.Meta().FirstEpoch+1<<30+i)
				first, second := r, r
				first.Node += 100 + 2*snowflake.NodeID(w)
				second.Node += 101 + 2*snowflake.NodeID(w)
				batches = append(batches, fencing.Batch{Records: []fencing.Record{first, second}})
			}
			errs <- live(s, j, batches)
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// survives opens what a crash has left and checks it. It also checks that a commit after the
// crash survives another crash.
func survives(t *testing.T, p point, j *storetest.Journal, tune func(*pebble.Options)) {
	t.Helper()
	opts := options(p.disk, tune)
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatalf("%v: %v", p, err)
	}
	snap, err := s.Load(context.Background())
	if err != nil {
		t.Fatalf("%v: %v", p, err)
	}
	if err := j.Check(snap, p.after, p.before); err != nil {
		t.Fatalf("%v: %v", p, err)
	}
	snap.Meta.Mark++
	if err := s.Commit(context.Background(), fencing.Batch{Meta: &snap.Meta}); err != nil {
		t.Fatalf("%v: %v", p, err)
	}
	again := p.disk.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatalf("%v: %v", p, err)
	}
	holds(t, again, tune, snap, p)
}

// holds opens the store on the disk and checks what it holds.
func holds(t *testing.T, disk *vfs.MemFS, tune func(*pebble.Options), want fencing.Snapshot,
	p point) {
	t.Helper()
	s, err := Open(dir, options(disk, tune))
	if err != nil {
		t.Fatalf("%v, then: %v", p, err)
	}
	got, err := s.Load(context.Background())
	if err != nil {
		t.Fatalf("%v, then: %v", p, err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%v, then: the store holds\n%v, want\n%v", p, got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%v, then: %v", p, err)
	}
}

// TestCrashInCreate: after a crash there is no store, or a whole one. If there is none, it can
// be created.
func TestCrashInCreate(t *testing.T) {
	j := newJournal()
	c := &crashes{fs: vfs.NewCrashableMem(), journal: j}
	create(t, options(watch(c.fs, c.take), nil))
	if err := c.take(errorfs.Op{}); err != nil { // Create has returned
		t.Fatal(err)
	}
	whole := 0
	for i, p := range c.points {
		s, err := Open(dir, options(p.disk, nil))
		if errors.Is(err, store.ErrNoStore) && i < len(c.points)-2 {
			create(t, options(p.disk, nil))
			survives(t, p, j, nil)
			continue
		}
		if err != nil {
			t.Fatalf("%v: %v", p, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		whole++
		survives(t, p, j, nil)
	}
	if whole < 2 || whole == len(c.points) {
		t.Errorf("%d of %d crash points have a store, want some with and some without", whole,
			len(c.points))
	}
	report(t, "%d crash points in a creation, a whole store at %d of them", len(c.points), whole)
}

// TestCrashInOpen crashes while a store that crashed is opened.
func TestCrashInOpen(t *testing.T) {
	for name, tune := range tunings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &crashes{fs: vfs.NewCrashableMem(), journal: newJournal()}
			create(t, options(c.fs, tune))
			s := open(t, options(watch(c.fs, c.take), tune))
			if err := live(s, c.journal, storetest.History(8, 60)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			swept := 0
			const step = 51 // odd: so that both kinds of crash come up
			for i := 0; i < len(c.points); i += step {
				swept += sweepOpen(t, c.points[i], c.journal, tune)
			}
			report(t, "%d crash points in the opening of %d crashed stores", swept,
				(len(c.points)+step-1)/step)
		})
	}
}

func sweepOpen(t *testing.T, p point, j *storetest.Journal, tune func(*pebble.Options)) int {
	t.Helper()
	c := &crashes{fs: p.disk, journal: j}
	s := open(t, options(watch(p.disk, c.take), tune))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, q := range c.points {
		q.after, q.before = p.after, p.before
		survives(t, q, j, tune)
	}
	return len(c.points)
}

// TestKilledThenPowerCut kills the process before each write, opens what it has left in the
// page cache in a second process, and then cuts the power. All that the second process has
// read must still be there (S1).
func TestKilledThenPowerCut(t *testing.T) {
	points := 0
	for k := 0; ; k++ {
		fs := vfs.NewCrashableMem()
		create(t, options(fs, nil))
		j := newJournal()
		if !killedAt(fs, j, k) {
			break
		}
		points++
		p := point{disk: fs, unsynced: 100, after: j.Now(), before: j.Now()}
		s := open(t, options(fs, nil))
		snap, err := s.Load(context.Background())
		if err != nil {
			t.Fatalf("killed before write %d: %v", k, err)
		}
		if err := j.Check(snap, p.after, p.before); err != nil {
			t.Fatalf("killed before write %d: %v", k, err)
		}
		disk := fs.CrashClone(vfs.CrashCloneCfg{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		holds(t, disk, nil, snap, p)
	}
	if points < 50 {
		t.Errorf("the history has %d crash points, want more", points)
	}
	report(t, "%d kills, each followed by a power cut", points)
}

// killedAt runs the history until the k-th write, and reports whether there was one. A
// goroutine that would write then, or later, blocks.
func killedAt(fs *vfs.MemFS, j *storetest.Journal, k int) bool {
	var writes atomic.Int64
	killed := make(chan bool, 1)
	opts := options(unlocked{watch(fs, func(errorfs.Op) error {
		switch n := writes.Add(1); {
		case n == int64(k)+1:
			killed <- true
			fallthrough
		case n > int64(k):
			select {} // the dead don't even unwind
		}
		return nil
	})}, nil)
	go func() {
		s, err := Open(dir, opts)
		if err == nil {
			err = live(s, j, storetest.History(9, 25))
		}
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			panic(err)
		}
		killed <- false
	}()
	return <-killed
}

// unlocked takes no locks, since nobody would release those of a killed process here.
type unlocked struct{ vfs.FS }

func (unlocked) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// TestDamagedLog flips a bit of what was synced. The store must report that instead of
// dropping all later writes. (In the newest 32 KiB of the log Pebble can't tell damage from a
// torn tail: S12 and S13 are for that.)
func TestDamagedLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	create(t, options(fs, nil))
	s := open(t, options(fs, nil))
	if err := live(s, newJournal(), storetest.History(3, 600)); err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	flip(t, crashed)
	if _, err := Open(dir, options(crashed, nil)); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
}

// flip changes a bit in the first record of the newest log.
func flip(t *testing.T, disk *vfs.MemFS) {
	t.Helper()
	inner := dir + "/" + database
	names, err := disk.List(inner)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".log") })
	data, err := disk.UnsafeGetFileDataBuffer(inner + "/" + names[len(names)-1])
	if err != nil {
		t.Fatal(err)
	}
	if len(data) < 2*32<<10 {
		t.Fatalf("the log has only %d bytes", len(data))
	}
	data[60] ^= 1
}
