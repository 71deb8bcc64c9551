package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/etcd/etcdsim"
	"github.com/cirrus-id/cirrus/store/migrate"
	"github.com/cirrus-id/cirrus/store/pebble"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// The migrations below run in memory: a directory that crashes, an etcd that
// loses answers, and a migration that is killed before any write of either.

// lands is what becomes of the write before which a migration is killed, or cut
// off.
type lands struct {
	name string
	// txn: a transaction is done. unsynced: a disk keeps so many percent of
	// what was not synced; less than all is a power cut.
	txn      bool
	unsynced int
	// killed: the process ends there; else it hears that etcd didn't answer.
	killed bool
}

// world has both places. Processes come and go.
type world struct {
	disk *vfs.MemFS
	etcd *etcdsim.Store
	dir  string // where the disk is mounted
	host string // which reaches etcd by another name, too
}

func newWorld() *world {
	return &world{vfs.NewCrashableMem(), &etcdsim.Store{}, "data/cirrus", "one"}
}

// elsewhere is the same disk, as a crash left it, in another host.
func (w *world) elsewhere(t *testing.T) *world {
	t.Helper()
	o := &world{crashClone(w), w.etcd, "mnt/cirrus", "two"}
	if _, err := o.disk.Stat(w.dir); err != nil {
		return o // nothing came to it
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

// migration is the command at work in a world: it ends with the write number at.
type migration struct {
	*world
	lands lands
	at    int // 0: it doesn't

	mu     sync.Mutex
	writes int
	dead   bool
	killed chan *vfs.MemFS // with what the disk holds then
	errs   bool
}

var errCut = errors.New("no answer came")

// write does a write of one of its threads; last says whether it is the one that
// the migration ends with. The dead don't come back from it, nor unwind.
func (p *migration) write(do func(last bool)) {
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		select {}
	}
	p.writes++
	last := p.writes == p.at
	do(last)
	if !last || !p.lands.killed {
		p.mu.Unlock()
		return
	}
	p.dead = true
	disk := p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.lands.unsynced, RNG: rand.New(rand.NewPCG(0, 0))})
	p.mu.Unlock()
	p.killed <- disk
	select {}
}

// Txn, Range and Cluster implement etcd.KV.
func (p *migration) Txn(_ context.Context, t etcd.Txn) (done bool, err error) {
	p.write(func(last bool) {
		if !last || p.lands.txn {
			done, err = p.etcd.Txn(t)
		}
		if last {
			done, err, p.errs = false, errCut, true
		}
	})
	return done, err
}

func (p *migration) Range(_ context.Context, r etcd.Range) (etcd.Page, error) { return p.etcd.Range(r) }

func (p *migration) Cluster() string { return "sim" }

// files are the world's, as the process sees them.
func (p *migration) files() vfs.FS {
	return errorfs.Wrap(p.disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && p.lands.killed {
			p.write(func(bool) {}) // before it: the next one has it done
		}
		return nil
	}))
}

func (p *migration) directory(t *testing.T) *pebbleEnd {
	fatal := func(err error) { panic(err) }
	return &pebbleEnd{directory: directory{p.dir, pebble.Options{FS: p.files(), Logger: output.NoLog, Fatal: fatal}}, title: p.dir + " on " + p.host}
}

func (p *migration) prefix(t *testing.T) *etcdEnd {
	t.Helper()
	c, err := etcd.New(p, nobody{}, etcd.Options{Self: store.Member{ID: "cirrus migrate"}, PageSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	return &etcdEnd{prefix: prefix{etcd.Config{Prefix: etcd.DefaultPrefix, Endpoints: []string{"http://etcd." + p.host}, SessionTTL: etcd.DefaultSessionTTL}}, cluster: c}
}

// nobody is an election in which whoever asks has won.
type nobody struct{}

func (nobody) Campaign(context.Context) (etcd.Elected, error) { return nobody{}, nil }
func (nobody) Leader() (store.Member, <-chan struct{})        { return store.Member{}, nil }
func (nobody) Close() error                                   { return nil }
func (nobody) Key() string                                    { return "no key" }
func (nobody) Revision() int64                                { return 0 }
func (nobody) Lost() <-chan struct{}                          { return nil }
func (nobody) Resign(context.Context) error                   { return nil }

// served loads the store as a process would that serves it; nil: it can't.
func served(t *testing.T, at string, w *world) (store.Store, *fencing.Snapshot) {
	t.Helper()
	p := &migration{world: w}
	st, err := p.serve(t, at)
	if err == nil {
		var snap fencing.Snapshot
		if snap, err = st.Load(context.Background()); err == nil {
			return st, &snap
		}
	}
	if !errors.Is(err, store.ErrNoStore) && !errors.Is(err, store.ErrUnfinished) && !errors.As(err, new(*store.MovedError)) {
		t.Fatalf("the store in %s can't be served: %v", at, err)
	}
	return nil, nil
}

func (p *migration) serve(t *testing.T, at string) (store.Store, error) {
	if at == onPebble {
		st, err := pebble.Open(p.dir, p.directory(t).opts)
		if err == nil {
			t.Cleanup(func() { _ = st.Close() })
		}
		return st, err
	}
	o, err := p.prefix(t).cluster.Campaign(context.Background())
	if err != nil {
		return nil, err
	}
	return o.TakeOver(context.Background())
}

// initial is a store with more keys than go into one transaction.
func initial(id fencing.StoreID, epoch fencing.Epoch) fencing.Batch {
	meta := storetest.Meta()
	meta.ID = id
	suspicious := storetest.Pool("suspicious")
	suspicious.Opened = false
	b := fencing.Batch{Meta: &meta, Pools: []fencing.Pool{storetest.Pool(fencing.DefaultPool), suspicious}}
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

// settle puts the store in its first place.
func (w *world) settle(t *testing.T, at string, b fencing.Batch) {
	t.Helper()
	p := &migration{world: w}
	ctx, m := context.Background(), store.Move{ID: "m0", Store: fencing.StoreID{1}, From: "nowhere"}
	var to migrate.Target = p.directory(t)
	if at == onEtcd {
		to = p.prefix(t)
	}
	if err := errors.Join(to.Receive(ctx, m, b), to.Finish(ctx, m)); err != nil {
		t.Fatal(err)
	}
}

// run migrates, up to the write at which the process is killed or cut off.
func (p *migration) run(t *testing.T, from, id string) (done migrate.Moved, disk *vfs.MemFS, err error) {
	p.killed = make(chan *vfs.MemFS)
	ended := make(chan struct{})
	dir, in := p.directory(t), p.prefix(t)
	go func() {
		defer close(ended)
		m := store.Move{ID: id, Store: fencing.StoreID([]byte(id + " 3456789 12345")), From: dir.name(), To: in.name()}
		if from == onPebble {
			done, err = migrate.Run(context.Background(), dir, in, m)
		} else {
			m.From, m.To = m.To, m.From
			done, err = migrate.Run(context.Background(), in, dir, m)
		}
		err = errors.Join(err, dir.Close())
	}()
	select {
	case disk = <-p.killed:
		return done, disk, nil
	case <-ended:
		return done, nil, err
	}
}

// TestMigrateBrokenOff kills a migration at every write, or has etcd not answer
// it. At most one of the two places can be served then, with everything in it;
// and the migration can be run again, on another host, where both places have
// other names, and even if the store went on meanwhile. The store has no ID from
// its creation, or one.
func TestMigrateBrokenOff(t *testing.T) {
	for _, from := range []string{onPebble, onEtcd} {
		for _, l := range []lands{
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
						t.Fatal("it doesn't end")
					}
					id := fencing.StoreID{}
					if at%2 == 0 {
						id = fencing.StoreID{7}
					}
					if !breakOff(t, from, l, at, id, seen) {
						break
					}
				}
				t.Log(seen)
				// From a directory, neither can be served while the last
				// transaction is under way, and at no other time.
				between := l.killed && (from == onEtcd || !l.txn)
				if seen["old"] == 0 || between && seen["neither"] == 0 || l.killed && seen["new"] == 0 {
					t.Errorf("the sweep has seen only %v", seen)
				}
			})
		}
	}
}

// breakOff breaks one migration off, and says whether it came to that.
func breakOff(t *testing.T, from string, l lands, at int, id fencing.StoreID, seen map[string]int) bool {
	t.Helper()
	to := map[string]string{onPebble: onEtcd, onEtcd: onPebble}[from]
	w := newWorld()
	want := initial(id, 1)
	w.settle(t, from, want)
	p := &migration{world: w, lands: l, at: at}
	_, disk, err := p.run(t, from, "m1")
	switch {
	case disk != nil:
		w = &world{disk, w.etcd, w.dir, w.host}
	case p.errs && err == nil:
		t.Fatalf("write %d: cut off, and it says nothing of it", at)
	case !p.errs:
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
		t.Fatalf("write %d: both places can be served", at)
	case old != nil:
		state = "old"
		same(t, at, *old, asSnapshot(want))
		want = initial(old.Meta.ID, 5000) // it goes on there
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

	// Again. What was done to the end says where the store is, by its old name.
	w = w.elsewhere(t)
	for _, id := range []string{"m2", "m3"} {
		p = &migration{world: &world{crashClone(w), w.etcd, w.dir, w.host}}
		done, _, err := p.run(t, from, id)
		told := (state == "new" || state == "neither" && id == "m3") && errors.As(err, new(*store.MovedError))
		if err != nil && !told || done.Before != (state != "old" || id == "m3") {
			t.Fatalf("write %d, then %s: %+v, %v", at, id, done, err)
		}
		w = p.world
	}
	if _, old := served(t, from, w); old != nil {
		t.Fatalf("write %d: the old place can be served after the migration", at)
	}
	_, arrived = served(t, to, w)
	if arrived == nil {
		t.Fatalf("write %d: the new place can't be served after the migration", at)
	}
	same(t, at, *arrived, asSnapshot(want))
	if arrived.Meta.ID == (fencing.StoreID{}) {
		t.Fatalf("write %d: the store has no ID", at)
	}
	return true
}

// TestMigrateAnother: what an unfinished migration left behind is not replaced by
// another store, even if that comes from the same place.
func TestMigrateAnother(t *testing.T) {
	for _, from := range []string{onPebble, onEtcd} {
		t.Run("from "+from, func(t *testing.T) {
			w := newWorld()
			w.settle(t, from, initial(fencing.StoreID{8}, 1))
			p := &migration{world: w}
			dir, in := p.directory(t), p.prefix(t)
			m := store.Move{ID: "m1", Store: fencing.StoreID{7}, From: dir.name(), To: in.name()}
			var to migrate.Target = in
			if from == onEtcd {
				m.From, m.To, to = m.To, m.From, dir
			}
			if err := to.Receive(context.Background(), m, initial(m.Store, 1)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := p.run(t, from, "m2"); !errors.Is(err, store.ErrUnfinished) {
				t.Errorf("another store came: %v", err)
			}
			if to = dir; from == onPebble {
				to = p.prefix(t) // in a term of its own
			}
			if err := to.Finish(context.Background(), m); err != nil {
				t.Errorf("the first one is not there any more: %v", err)
			}
			if _, snap := served(t, from, &world{crashClone(w), w.etcd, w.dir, w.host}); snap == nil {
				t.Error("the other one can't be served where it was")
			}
		})
	}
}

// crashClone frees the disk of the locks of those who were killed.
func crashClone(w *world) *vfs.MemFS { return w.disk.CrashClone(vfs.CrashCloneCfg{}) }

// commitAll commits a batch in parts that each store takes.
func commitAll(st store.Store, b fencing.Batch) error {
	ctx := context.Background()
	err := st.Commit(ctx, fencing.Batch{Meta: b.Meta})
	for part := range slices.Chunk(b.Records, 100) {
		err = errors.Join(err, st.Commit(ctx, fencing.Batch{Records: part}))
	}
	return err
}

// same sees that all is there. A store that had no ID may have been given one.
func same(t *testing.T, at int, got, want fencing.Snapshot) {
	t.Helper()
	if want.Meta.ID == (fencing.StoreID{}) {
		got.Meta.ID = want.Meta.ID
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("write %d: the store holds\n%+v, want\n%+v", at, got, want)
	}
}
