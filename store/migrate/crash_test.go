package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/etcd/etcdsim"
	"github.com/cirrus-id/cirrus/store/migrate"
	"github.com/cirrus-id/cirrus/store/pebble"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// The migrations in this file run in memory, between a directory on a disk that
// crashes and an etcd that loses answers. Each write is once the last one of its
// process.

// The two kinds of location.
const (
	onPebble = "pebble"
	onEtcd   = "etcd"
)

// interruption is what happens at the last write of a migration.
type interruption struct {
	name string
	// txnDone: if the write is a transaction, etcd does it.
	txnDone bool
	// unsynced is how many percent of what was not synced the disk keeps; less
	// than 100 is a power cut.
	unsynced int
	// killed: the process is killed; else it gets errCut from etcd.
	killed bool
}

// world has a store's location of each kind. Processes come and go.
type world struct {
	disk *vfs.MemFS
	etcd *etcdsim.Store
	dir  string // the path of the store's directory on this host
	host string // each host has its own names for the directory and for etcd
}

func newWorld() *world {
	return &world{vfs.NewCrashableMem(), &etcdsim.Store{}, "data/cirrus", "one"}
}

// onAnotherHost returns a world with the same etcd, and with the disk as a crash
// left it, mounted on another host.
func (w *world) onAnotherHost(t *testing.T) *world {
	t.Helper()
	o := &world{crashClone(w), w.etcd, "mnt/cirrus", "two"}
	if _, err := o.disk.Stat(w.dir); err != nil {
		return o // the migration has written nothing to it
	}
	err := errors.Join(o.disk.MkdirAll("mnt", 0o750), o.disk.Rename(w.dir, o.dir))
	for _, name := range []string{"", "mnt"} { // the next crash must not undo it
		d, openErr := o.disk.OpenDir(name)
		if err = errors.Join(err, openErr); err == nil {
			err = d.Sync()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// process is a migration in a world. It is interrupted at the write number at.
type process struct {
	*world
	interruption interruption
	at           int // 0: never

	mu     sync.Mutex
	writes int
	dead   bool
	killed chan *vfs.MemFS // gets what the disk holds when the process is killed
	cut    bool            // etcd has not answered its last write
}

var errCut = errors.New("no answer came")

// write does a write of one of the process's goroutines. last says whether it is the
// write number at. If the process is dead, or dies here, write never returns.
func (p *process) write(do func(last bool)) {
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		select {}
	}
	p.writes++
	last := p.writes == p.at
	do(last)
	if !last || !p.interruption.killed {
		p.mu.Unlock()
		return
	}
	p.dead = true
	disk := p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.interruption.unsynced,
		RNG: rand.New(rand.NewPCG(0, 0))})
	p.mu.Unlock()
	p.killed <- disk
	select {}
}

// Txn, Range and Cluster implement etcd.KV.
func (p *process) Txn(_ context.Context, t etcd.Txn) (done bool, err error) {
	p.write(func(last bool) {
		if !last || p.interruption.txnDone {
			done, err = p.etcd.Txn(t)
		}
		if last {
			done, err, p.cut = false, errCut, true
		}
	})
	return done, err
}

func (p *process) Range(_ context.Context, r etcd.Range) (etcd.Page,
	error) {
	return p.etcd.Range(r)
}

func (p *process) Cluster() string { return "sim" }

// files returns the disk. Writing to it counts as a write of the process.
func (p *process) files() vfs.FS {
	return errorfs.Wrap(p.disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && p.interruption.killed {
			p.write(func(bool) {}) // the process is killed before it; errorfs does it afterwards
		}
		return nil
	}))
}

// location returns the process's location of the kind.
func (p *process) location(kind string) store.Location {
	if kind == onPebble {
		return &pebble.Location{Dir: p.dir, Options: p.options(), Name: p.dir + " on " + p.host}
	}
	return &etcd.Location{
		Config: etcd.Config{
			Prefix: etcd.DefaultPrefix, Endpoints: []string{"http://etcd." + p.host},
			SessionTTL: etcd.DefaultSessionTTL,
		},
		Connect: p.cluster,
	}
}

func (p *process) options() pebble.Options {
	return pebble.Options{
		FS:     p.files(),
		Logger: slog.New(slog.DiscardHandler),
		Fatal:  func(err error) { panic(err) },
	}
}

func (p *process) cluster() (*etcd.Cluster, error) {
	return etcd.New(p, uncontested{},
		etcd.Options{Self: store.Member{ID: "cirrus migrate"}, PageSize: 100})
}

// uncontested is an election that whoever campaigns has won.
type uncontested struct{}

func (uncontested) Campaign(context.Context) (etcd.Elected, error) { return uncontested{}, nil }
func (uncontested) Leader() (store.Member, <-chan struct{})        { return store.Member{}, nil }
func (uncontested) Close() error                                   { return nil }
func (uncontested) Key() string                                    { return "no key" }
func (uncontested) Revision() int64                                { return 0 }
func (uncontested) Lost() <-chan struct{}                          { return nil }
func (uncontested) Resign(context.Context) error                   { return nil }

// served loads the store as a process does that serves it. It returns nil if the
// store may not be served there.
func served(t *testing.T, at string, w *world) (store.Store, *fencing.Snapshot) {
	t.Helper()
	p := &process{world: w}
	st, err := p.serve(t, at)
	if err == nil {
		var snap fencing.Snapshot
		if snap, err = st.Load(context.Background()); err == nil {
			return st, &snap
		}
	}
	if !errors.Is(err, store.ErrNoStore) && !errors.Is(err, store.ErrUnfinished) &&
		!errors.As(err, new(*store.MovedError)) {
		t.Fatalf("the store in %s can't be served: %v", at, err)
	}
	return nil, nil
}

func (p *process) serve(t *testing.T, at string) (store.Store, error) {
	if at == onPebble {
		st, err := pebble.Open(p.dir, p.options())
		if err == nil {
			t.Cleanup(func() { _ = st.Close() })
		}
		return st, err
	}
	c, err := p.cluster()
	if err != nil {
		return nil, err
	}
	leadership, err := c.Campaign(context.Background())
	if err != nil {
		return nil, err
	}
	return leadership.TakeOver(context.Background())
}

// initial returns a store's contents, with more keys than fit in one transaction.
func initial(id fencing.StoreID, epoch fencing.Epoch) fencing.Batch {
	meta := storetest.Meta()
	meta.ID = id
	suspicious := storetest.Pool("suspicious")
	suspicious.Opened = false
	b := fencing.Batch{Meta: &meta,
		Pools: []fencing.Pool{storetest.Pool(fencing.DefaultPool), suspicious}}
	for i := range snowflake.NodeID(200) {
		r := storetest.Record(fencing.DefaultPool, i, epoch+fencing.Epoch(i))
		r.Status = fencing.Status(1 + i%3)
		b.Records = append(b.Records, r)
	}
	return b
}

func asSnapshot(b fencing.Batch) fencing.Snapshot {
	return fencing.Snapshot{Meta: *b.Meta, Pools: b.Pools, Records: b.Records}
}

// fill writes the store to its first location.
func (w *world) fill(t *testing.T, kind string, b fencing.Batch) {
	t.Helper()
	ctx, m := context.Background(), store.Move{ID: "m0", Store: fencing.StoreID{1}, From: "nowhere"}
	to := (&process{world: w}).location(kind)
	if err := errors.Join(to.Receive(ctx, m, b), to.Finish(ctx, m)); err != nil {
		t.Fatal(err)
	}
}

// run migrates from the kind of location to the other one. If the process is
// killed, it returns what the disk holds then.
func (p *process) run(from, id string) (done migrate.Moved, disk *vfs.MemFS, err error) {
	p.killed = make(chan *vfs.MemFS)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		storeID := fencing.StoreID([]byte(id + " 3456789 12345"))
		done, err = migrate.Run(context.Background(), p.location(from), p.location(other(from)), id,
			storeID)
	}()
	select {
	case disk = <-p.killed:
		return done, disk, nil
	case <-ended:
		return done, nil, err
	}
}

// other returns the other kind of location.
func other(kind string) string {
	if kind == onPebble {
		return onEtcd
	}
	return onPebble
}

// TestInterrupted kills a migration at every write, or lets etcd not answer that
// write. At most one of the two locations may be served then, with everything in
// it. The migration can be run again, on another host, where both locations have
// other names, and even if the store was served and written to meanwhile. The store
// has an ID from the start or not, in turns.
func TestInterrupted(t *testing.T) {
	for _, from := range []string{onPebble, onEtcd} {
		for _, l := range []interruption{
			{"killed before it", false, 100, true},
			{"killed after it", true, 100, true},
			{"power cut", true, 0, true},
			{"no answer, not done", false, 100, false},
			{"no answer, done", true, 100, false},
		} {
			t.Run(fmt.Sprintf("from %s, %s", from, l.name), func(t *testing.T) {
				seen := map[string]int{}
				for at := 1; ; at++ {
					if at > 500 {
						t.Fatal("after 500 writes the migration still goes on, want it to be done")
					}
					id := fencing.StoreID{}
					if at%2 == 0 {
						id = fencing.StoreID{7}
					}
					if !interrupt(t, from, l, at, id, seen) {
						break
					}
				}
				t.Log(seen)
				// Neither can be served between the last two steps.
				if seen["old"] == 0 || l.killed && (seen["neither"] == 0 || seen["new"] == 0) {
					t.Errorf(
						"after the interruptions these could be served: %v, want old and, after kills, neither and new", seen)
				}
			})
		}
	}
}

// interrupt interrupts one migration, and reports whether there was a write number
// at. It counts in seen which location could be served afterwards.
func interrupt(t *testing.T, from string, l interruption, at int, id fencing.StoreID,
	seen map[string]int) bool {
	t.Helper()
	to := other(from)
	w := newWorld()
	want := initial(id, 1)
	w.fill(t, from, want)
	p := &process{world: w, interruption: l, at: at}
	_, disk, err := p.run(from, "m1")
	switch {
	case disk != nil:
		w = &world{disk, w.etcd, w.dir, w.host}
	case p.cut && err == nil:
		t.Fatalf("write %d was not answered, and the migration returned nil, want an error", at)
	case !p.cut:
		if err != nil {
			t.Fatal(err)
		}
		return false
	}

	oldStore, old := served(t, from, w)
	_, arrived := served(t, to, w)
	state := "neither"
	switch {
	case old != nil && arrived != nil:
		t.Fatalf("interrupted at write %d: both locations can be served, want one at most", at)
	case old != nil:
		state = "old"
		same(t, at, *old, asSnapshot(want))
		want = initial(old.Meta.ID, 5000) // it is served and written to
		if err := commitAll(oldStore, want); err != nil {
			t.Fatal(err)
		}
	case arrived != nil:
		state = "new"
		same(t, at, *arrived, asSnapshot(want))
	}
	if c, ok := oldStore.(interface{ Close() error }); ok {
		_ = c.Close()
	}
	seen[state]++

	// Run it again, twice. If the store was moved before, the error or the result says
	// so, and names the new location as the first run did.
	w = w.onAnotherHost(t)
	for _, id := range []string{"m2", "m3"} {
		p = &process{world: &world{crashClone(w), w.etcd, w.dir, w.host}}
		done, _, err := p.run(from, id)
		moved := (state == "new" || state == "neither" && id == "m3") &&
			errors.As(err, new(*store.MovedError))
		if err != nil && !moved || done.Before != (state != "old" || id == "m3") {
			t.Fatalf("interrupted at write %d (%s can be served), then run %s: %+v, %v", at, state,
				id, done, err)
		}
		w = p.world
	}
	if _, old := served(t, from, w); old != nil {
		t.Fatalf(
			"interrupted at write %d, then finished: the old location can be served, want a refusal", at)
	}
	_, arrived = served(t, to, w)
	if arrived == nil {
		t.Fatalf("interrupted at write %d, then finished: the new location can't be served", at)
	}
	same(t, at, *arrived, asSnapshot(want))
	if arrived.Meta.ID == (fencing.StoreID{}) {
		t.Fatalf("interrupted at write %d, then finished: the store has no ID", at)
	}
	return true
}

// TestAnotherStore: what an unfinished migration has written is not replaced by
// another store, even if that comes from the same location.
func TestAnotherStore(t *testing.T) {
	for _, from := range []string{onPebble, onEtcd} {
		t.Run("from "+from, func(t *testing.T) {
			w := newWorld()
			w.fill(t, from, initial(fencing.StoreID{8}, 1))
			p := &process{world: w}
			to := p.location(other(from))
			m := store.Move{ID: "m1", Store: fencing.StoreID{7}, From: p.location(from).String(),
				To: to.String()}
			if err := to.Receive(context.Background(), m, initial(m.Store, 1)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := p.run(from, "m2"); !errors.Is(err, store.ErrUnfinished) {
				t.Errorf("migrating another store: %v, want ErrUnfinished", err)
			}
			if err := to.Finish(context.Background(), m); err != nil {
				t.Errorf("finishing the first migration: %v", err)
			}
			if _, snap := served(t, from,
				&world{crashClone(w), w.etcd, w.dir, w.host}); snap == nil {
				t.Error("the other store can't be served where it was")
			}
		})
	}
}

// crashClone returns the disk without the locks of processes that were killed.
func crashClone(w *world) *vfs.MemFS { return w.disk.CrashClone(vfs.CrashCloneCfg{}) }

// commitAll commits a batch in parts that fit in a transaction.
func commitAll(st store.Store, b fencing.Batch) error {
	ctx := context.Background()
	err := st.Commit(ctx, fencing.Batch{Meta: b.Meta})
	for part := range slices.Chunk(b.Records, 100) {
		err = errors.Join(err, st.Commit(ctx, fencing.Batch{Records: part}))
	}
	return err
}

// same checks that got is want. A store without an ID may have been given one.
func same(t *testing.T, at int, got, want fencing.Snapshot) {
	t.Helper()
	if want.Meta.ID == (fencing.StoreID{}) {
		got.Meta.ID = want.Meta.ID
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("interrupted at write %d: the store holds\n%+v, want\n%+v", at, got, want)
	}
}
