package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"

	storev1 "github.com/cirrus-id/cirrus/proto/cirrus/store/v1"
)

// Store is an open store that can be closed.
type Store interface {
	store.Store
	io.Closer
}

// Factory makes and opens one store, which does not exist yet.
type Factory struct {
	// Create makes the store.
	Create func(meta fencing.Meta, pools []fencing.Pool) error
	// Open opens the store. It is not called while the store is open.
	Open func() (Store, error)
	// Put writes a key without the store, which is closed, or deletes it if the value is
	// nil.
	Put func(key, value []byte) error
	// MaxKeys is how many keys a batch may have for Commit; 0: any number. Rewrite writes
	// a larger batch while the store is closed, as commands do while nobody serves it.
	MaxKeys int
	Rewrite func(b fencing.Batch) error
	// Shared: there may be foreign keys among the store's, which it ignores.
	Shared bool
}

// Run runs the suite; each test gets a Factory of its own.
func Run(t *testing.T, factory func(t *testing.T) Factory) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *subject)
	}{
		{"New", testNew},
		{"RoundTrip", testRoundTrip},
		{"Overwrite", testOverwrite},
		{"SnapshotIsOwn", testSnapshotIsOwn},
		{"AllOrNothing", testAllOrNothing},
		{"Concurrent", testConcurrent},
		{"CloseWhileBusy", testCloseWhileBusy},
		{"Unfit", testUnfit},
		{"Damaged", func(t *testing.T, _ *subject) { testDamaged(t, factory) }},
		{"NewerFormat", testNewerFormat},
		{"NewerFields", testNewerFields},
		{"Cancelled", testCancelled},
		{"Confirm", testConfirm},
		{"Closed", testClosed},
		{"History", testHistory},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, &subject{t: t, Factory: factory(t)}) })
	}
}

// subject is the store under test. Its methods fail the test at any error.
type subject struct {
	t *testing.T
	Factory
	Store
}

func (s *subject) create(meta fencing.Meta, pools ...fencing.Pool) {
	s.t.Helper()
	if err := s.Create(meta, pools); err != nil {
		s.t.Fatalf("create: %v", err)
	}
	s.reopen()
}

func (s *subject) reopen() {
	s.t.Helper()
	s.close()
	opened, err := s.Open()
	if err != nil {
		s.t.Fatalf("open: %v", err)
	}
	s.Store = opened
	s.t.Cleanup(func() { _ = opened.Close() })
}

func (s *subject) close() {
	s.t.Helper()
	if s.Store == nil {
		return
	}
	if err := s.Close(); err != nil {
		s.t.Fatalf("close: %v", err)
	}
}

func (s *subject) commit(b fencing.Batch) {
	s.t.Helper()
	if err := s.Commit(context.Background(), b); err != nil {
		s.t.Fatalf("commit: %v", err)
	}
}

func (s *subject) rewrite(b fencing.Batch) {
	s.t.Helper()
	s.close()
	if err := s.Rewrite(b); err != nil {
		s.t.Fatalf("rewrite: %v", err)
	}
	s.reopen()
}

func (s *subject) load() fencing.Snapshot {
	s.t.Helper()
	snap, err := s.Load(context.Background())
	if err != nil {
		s.t.Fatalf("load: %v", err)
	}
	return snap
}

// holds checks what the store holds, at once and after it was opened again.
func (s *subject) holds(want fencing.Snapshot) {
	s.t.Helper()
	for _, when := range []string{"at once", "opened again"} {
		if err := same(want, s.load()); err != nil {
			s.t.Fatalf("%s: %v", when, err)
		}
		s.reopen()
	}
}

// same returns how got differs from want. A nil slice equals an empty one.
func same(want, got fencing.Snapshot) error {
	if want.Meta != got.Meta {
		return fmt.Errorf("meta is %+v, want %+v", got.Meta, want.Meta)
	}
	if len(want.Pools)+len(got.Pools) > 0 && !reflect.DeepEqual(want.Pools, got.Pools) {
		return fmt.Errorf("pools are %+v, want %+v", got.Pools, want.Pools)
	}
	if len(want.Records)+len(got.Records) > 0 && !reflect.DeepEqual(want.Records, got.Records) {
		return fmt.Errorf("records are %+v, want %+v", got.Records, want.Records)
	}
	return nil
}

func testNew(t *testing.T, s *subject) {
	s.create(Meta())
	s.holds(fencing.Snapshot{Meta: Meta()})
}

func testRoundTrip(t *testing.T, s *subject) {
	meta, pools, records := extremeMeta(), extremePools(), extremeRecords()
	s.create(Meta(), pools[2])
	backwards := fencing.Batch{Meta: &meta}
	for i := range pools {
		backwards.Pools = append(backwards.Pools, pools[len(pools)-1-i])
	}
	for i := range records {
		backwards.Records = append(backwards.Records, records[len(records)-1-i])
	}
	s.commit(backwards)
	s.holds(fencing.Snapshot{Meta: meta, Pools: pools, Records: records})
}

func testOverwrite(t *testing.T, s *subject) {
	want := fencing.Snapshot{Meta: Meta(), Pools: []fencing.Pool{Pool("p")},
		Records: []fencing.Record{Record("p", 3, 1)}}
	s.create(want.Meta, want.Pools...)
	for i := range 50 {
		want.Meta.Mark++
		want.Pools[0].Quarantine++
		want.Records[0] = Record("p", 3, fencing.Epoch(i+1))
		want.Records[0].Status = fencing.Status(i%3 + 1)
		meta := want.Meta
		s.commit(fencing.Batch{Meta: &meta})
		s.commit(fencing.Batch{Pools: want.Pools, Records: want.Records})
	}
	s.commit(fencing.Batch{}) // nothing to write
	s.holds(want)
}

func testSnapshotIsOwn(t *testing.T, s *subject) {
	s.create(Meta(), Pool("p"))
	b := fencing.Batch{Records: []fencing.Record{Record("p", 1, 1)}}
	s.commit(b)
	b.Records[0].App = "changed after the commit"
	got := s.load()
	got.Records[0].App, got.Pools[0].Name = "changed after the load", "other"
	s.holds(fencing.Snapshot{Meta: Meta(), Pools: []fencing.Pool{Pool("p")},
		Records: []fencing.Record{Record("p", 1, 1)}})
}

// testAllOrNothing: if a part of a batch can't be written, nothing of it is.
func testAllOrNothing(t *testing.T, s *subject) {
	s.create(Meta(), Pool("p"))
	unfit := Record("p", 2, 0)
	meta := Meta()
	meta.Mark++
	for name, b := range map[string]fencing.Batch{
		"an unfit record":         {Meta: &meta, Records: []fencing.Record{Record("p", 1, 1), unfit}},
		"a record twice":          {Meta: &meta, Records: []fencing.Record{Record("p", 1, 1), Record("p", 1, 2)}},
		"a record twice, unorder": {Records: []fencing.Record{Record("p", 3, 1), Record("p", 1, 1), Record("p", 3, 2)}},
		"a pool twice":            {Meta: &meta, Pools: []fencing.Pool{Pool("q"), Pool("q")}},
	} {
		if err := s.Commit(context.Background(), b); err == nil {
			t.Errorf("%s: Commit returned nil, want an error", name)
		}
	}
	s.holds(fencing.Snapshot{Meta: Meta(), Pools: []fencing.Pool{Pool("p")}})
}

// testConcurrent: commits of different keys overlap, and none is lost.
func testConcurrent(t *testing.T, s *subject) {
	const writers, commits = 32, 10
	s.create(Meta(), Pool("p"))
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	for w := range writers {
		wg.Go(func() {
			for c := range commits {
				r := []fencing.Record{
					Record("p", snowflake.NodeID(2*w), fencing.Epoch(c+1)),
					Record("p", snowflake.NodeID(2*w+1), fencing.Epoch(c+1)),
				}
				if err := s.Commit(context.Background(), fencing.Batch{Records: r}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Fatal(err)
	}
	want := fencing.Snapshot{Meta: Meta(), Pools: []fencing.Pool{Pool("p")}}
	for n := range snowflake.NodeID(2 * writers) {
		want.Records = append(want.Records, Record("p", n, commits))
	}
	s.holds(want)
}

// testCloseWhileBusy: Close waits for the calls in progress, and later ones err.
func testCloseWhileBusy(t *testing.T, s *subject) {
	const writers = 8
	s.create(Meta(), Pool("p"))
	j := NewJournal(Meta(), Pool("p"))
	var wg, started sync.WaitGroup
	started.Add(writers)
	for w := range snowflake.NodeID(writers) {
		wg.Go(func() {
			for e := fencing.Epoch(1); ; e++ {
				b := fencing.Batch{Records: []fencing.Record{Record("p", w, e)}}
				n := j.Begin(b)
				err := s.Commit(context.Background(), b)
				if e == 1 {
					started.Done()
				}
				if err != nil {
					if !errors.Is(err, store.ErrClosed) {
						t.Error(err)
					}
					return
				}
				j.Acknowledge(n)
			}
		})
	}
	started.Wait()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
	s.reopen()
	if err := j.Check(s.load(), j.Now(), j.Now()); err != nil {
		t.Errorf("Check: %v", err)
	}
}

func testUnfit(t *testing.T, s *subject) {
	s.create(Meta(), Pool("p"))
	for name, change := range map[string]func(*fencing.Meta, *fencing.Pool, *fencing.Record){
		"mark below 0": func(m *fencing.Meta, _ *fencing.Pool,
			_ *fencing.Record) {
			m.Mark = -1
		},
		"mark too high": func(m *fencing.Meta, _ *fencing.Pool,
			_ *fencing.Record) {
			m.Mark = latest + 1
		},
		"no stride": func(m *fencing.Meta, _ *fencing.Pool,
			_ *fencing.Record) {
			m.Stride = 0
		},
		"no first epoch": func(m *fencing.Meta, _ *fencing.Pool,
			_ *fencing.Record) {
			m.FirstEpoch = 0
		},
		"pool without a name": func(_ *fencing.Meta, p *fencing.Pool,
			_ *fencing.Record) {
			p.Name = ""
		},
		"pool name with /": func(_ *fencing.Meta, p *fencing.Pool,
			_ *fencing.Record) {
			p.Name = "a/b"
		},
		"layout of 64 bits": func(_ *fencing.Meta, p *fencing.Pool,
			_ *fencing.Record) {
			p.Layout.SequenceBits = 22
		},
		"node IDs backwards": func(_ *fencing.Meta, p *fencing.Pool, _ *fencing.Record) {
			p.First,
				p.Last = 2, 1
		},
		"max TTL below TTL": func(_ *fencing.Meta, p *fencing.Pool,
			_ *fencing.Record) {
			p.MaxTTL = p.TTL - 1
		},
		"epoch 0":   func(_ *fencing.Meta, _ *fencing.Pool, r *fencing.Record) { r.Epoch = 0 },
		"no app ID": func(_ *fencing.Meta, _ *fencing.Pool, r *fencing.Record) { r.App = "" },
		"app ID too long": func(_ *fencing.Meta, _ *fencing.Pool, r *fencing.Record) {
			r.App = fencing.AppID(strings.Repeat("a", 254))
		},
		"app ID not UTF-8": func(_ *fencing.Meta, _ *fencing.Pool,
			r *fencing.Record) {
			r.App = "\xff"
		},
		"TTL too short": func(_ *fencing.Meta, _ *fencing.Pool,
			r *fencing.Record) {
			r.TTL = fencing.MinTTL - 1
		},
		"TTL too long": func(_ *fencing.Meta, _ *fencing.Pool,
			r *fencing.Record) {
			r.TTL = fencing.MaxDuration + 1
		},
		"no status": func(_ *fencing.Meta, _ *fencing.Pool,
			r *fencing.Record) {
			r.Status = 0
		},
		"unknown status": func(_ *fencing.Meta, _ *fencing.Pool,
			r *fencing.Record) {
			r.Status = 4
		},
		"floor below 0": func(_ *fencing.Meta, _ *fencing.Pool,
			r *fencing.Record) {
			r.Floor = -1
		},
		"ceiling below floor": func(_ *fencing.Meta, _ *fencing.Pool,
			r *fencing.Record) {
			r.Ceiling = r.Floor - 2
		},
		"note of an ended record": func(_ *fencing.Meta, _ *fencing.Pool, r *fencing.Record) {
			r.Status, r.Silence = fencing.Ended, fencing.Silence{Noted: true, Ceiling: r.Ceiling}
		},
		"note with too little left": func(_ *fencing.Meta, _ *fencing.Pool, r *fencing.Record) {
			r.Silence = fencing.Silence{Noted: true, Left: -fencing.MaxDuration - 1,
				Ceiling: r.Ceiling}
		},
		"note with too much left": func(_ *fencing.Meta, _ *fencing.Pool, r *fencing.Record) {
			r.Silence = fencing.Silence{Noted: true, Left: r.TTL + fencing.MaxDuration + 1,
				Ceiling: r.Ceiling}
		},
		"note with a ceiling below floor": func(_ *fencing.Meta, _ *fencing.Pool,
			r *fencing.Record) {
			r.Silence = fencing.Silence{Noted: true, Ceiling: r.Floor - 2}
		},
		"ceiling out of range": func(_ *fencing.Meta, _ *fencing.Pool,
			r *fencing.Record) {
			r.Ceiling = latest + 1
		},
	} {
		meta, pool, record := Meta(), Pool("q"), Record("p", 1, 1)
		change(&meta, &pool, &record)
		b := fencing.Batch{Meta: &meta, Pools: []fencing.Pool{pool},
			Records: []fencing.Record{record}}
		if err := s.Commit(context.Background(), b); err == nil ||
			!strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	s.holds(fencing.Snapshot{Meta: Meta(), Pools: []fencing.Pool{Pool("p")}})
}

// testDamaged: a key that can't be read is refused by name, and never left out.
func testDamaged(t *testing.T, factory func(t *testing.T) Factory) {
	hash := make([]byte, 32)
	good := func() *storev1.StoredRecord {
		return &storev1.StoredRecord{Epoch: 1, AppId: "a", InstanceHash: hash, TtlNs: 1e9,
			FloorMs: 5, CeilingMs: 6, Status: storev1.Status_STATUS_LIVE}
	}
	record := func(change func(*storev1.StoredRecord)) []byte {
		m := good()
		change(m)
		return marshal(t, m)
	}
	at := store.RecordKey("p", 3)
	for _, test := range []struct {
		name       string
		key, value []byte
		names      string // what the error must name
	}{
		{"no meta", store.MetaKey(), nil, "the meta"},
		{"empty meta", store.MetaKey(), []byte{}, "the meta"},
		{"garbled meta", store.MetaKey(), []byte("garbled"), "the meta"},
		{"meta without a first epoch", store.MetaKey(), marshal(t, &storev1.StoredMeta{Format: 1, MarkMs: 1, StrideNs: 1e9, CreatedMs: 1}), "the meta"},
		{"garbled pool", store.PoolKey("p"), []byte{0xff}, `the pool "p"`},
		{"pool under another's key", store.PoolKey("q"), marshal(t, &storev1.StoredPool{Name: "p"}), `the pool "q"`},
		{"pool with a layout out of range", store.PoolKey("q"), marshal(t, &storev1.StoredPool{Name: "q", TimestampBits: 256 + 41, NodeBits: 10, SequenceBits: 12, TtlNs: 1e9, MaxTtlNs: 1e9, LastNode: 1}), `the pool "q"`},
		{"empty record", at, []byte{}, `node ID 3 in pool "p"`},
		{"garbled record", at, []byte("\x08"), `node ID 3 in pool "p"`},
		{"record cut off", at, marshal(t, good())[:20], `node ID 3 in pool "p"`},
		{"record with a short hash", at, record(func(m *storev1.StoredRecord) { m.InstanceHash = hash[:31] }), `node ID 3 in pool "p"`},
		{"record with a long hash", at, record(func(m *storev1.StoredRecord) { m.InstanceHash = append(hash, 0) }), `node ID 3 in pool "p"`},
		{"record without a status", at, record(func(m *storev1.StoredRecord) { m.Status = 0 }), `node ID 3 in pool "p"`},
		{"record with status 257", at, record(func(m *storev1.StoredRecord) { m.Status = 257 }), `node ID 3 in pool "p"`},
		{"record with epoch 0", at, record(func(m *storev1.StoredRecord) { m.Epoch = 0 }), `node ID 3 in pool "p"`},
		{"record with a floor after its ceiling", at, record(func(m *storev1.StoredRecord) { m.FloorMs = 8 }), `node ID 3 in pool "p"`},
		{"record with a note of too little left", at, record(func(m *storev1.StoredRecord) {
			m.Silence = &storev1.Silence{LeftNs: int64(-fencing.MaxDuration - 1), CeilingMs: 6}
		}), `node ID 3 in pool "p"`},
		{"record of a pool that isn't there", store.RecordKey("q", 3), marshal(t, good()), `node ID 3 in pool "q"`},
		{"record out of the pool's range", store.RecordKey("p", 1024), marshal(t, good()), `node ID 1024 in pool "p"`},
		{"record under a short key", []byte("record/p"), marshal(t, good()), `"record/p"`},
		{"unknown key", []byte("zzz"), []byte("z"), `"zzz"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &subject{t: t, Factory: factory(t)}
			s.create(Meta(), Pool("p"))
			s.close()
			if err := s.Put(test.key, test.value); err != nil {
				t.Fatal(err)
			}
			err := s.openAndLoad()
			if s.Shared && !store.IsKey(string(test.key)) {
				if err != nil {
					t.Errorf("got %v, want the foreign key ignored", err)
				}
				return
			}
			if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), test.names) {
				t.Errorf("got %v, want ErrDamaged naming %s", err, test.names)
			}
		})
	}
}

// openAndLoad returns the error of Open or of Load.
func (s *subject) openAndLoad() error {
	opened, err := s.Open()
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }()
	_, err = opened.Load(context.Background())
	return err
}

func marshal(t *testing.T, m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testNewerFormat: in a store of a newer format nothing else is read, since it may mean
// something else.
func testNewerFormat(t *testing.T, s *subject) {
	s.create(Meta(), Pool("p"))
	s.close()
	if err := s.Put(store.MetaKey(),
		marshal(t, &storev1.StoredMeta{Format: store.Format + 1})); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(store.PoolKey("p"), []byte("another encoding")); err != nil {
		t.Fatal(err)
	}
	err := s.openAndLoad()
	if !errors.Is(err, store.ErrNewerFormat) || !strings.Contains(err.Error(), "or a later one") {
		t.Errorf("got %v, want ErrNewerFormat and what to do", err)
	}
}

// testNewerFields: a store with fields of a later version is read.
func testNewerFields(t *testing.T, s *subject) {
	s.create(Meta(), Pool("p"))
	s.commit(fencing.Batch{Records: []fencing.Record{Record("p", 3, 1)}})
	s.close()
	r := Record("p", 3, 1)
	var value []byte
	if err := store.Encode(fencing.Batch{Records: []fencing.Record{r}}, func(_, v []byte) error {
		value = append(value, v...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	// field 111
	if err := s.Put(store.RecordKey("p", 3), append(value, 0xf8, 0x06, 0x01)); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	s.holds(fencing.Snapshot{Meta: Meta(), Pools: []fencing.Pool{Pool("p")},
		Records: []fencing.Record{r}})
}

// testCancelled: a commit whose context has ended may fail, but after nil it is durable.
func testCancelled(t *testing.T, s *subject) {
	s.create(Meta(), Pool("p"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := s.Commit(ctx, fencing.Batch{Records: []fencing.Record{Record("p", 1, 1)}})
	s.reopen()
	if got := s.load(); err == nil && len(got.Records) == 0 {
		t.Error("Commit returned nil, but the record is lost")
	}
}

func testConfirm(t *testing.T, s *subject) {
	s.create(Meta(), Pool("p"))
	s.commit(fencing.Batch{Records: []fencing.Record{Record("p", 1, 1)}})
	if err := s.Confirm(context.Background()); err != nil {
		t.Errorf("Confirm: %v", err)
	}
}

func testClosed(t *testing.T, s *subject) {
	s.create(Meta(), Pool("p"))
	s.close()
	ctx := context.Background()
	if _, err := s.Load(ctx); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Load: %v, want ErrClosed", err)
	}
	if err := s.Commit(
		ctx, fencing.Batch{Records: []fencing.Record{Record("p", 1, 1)}}); !errors.Is(err,
		store.ErrClosed) {
		t.Errorf("Commit: %v, want ErrClosed", err)
	}
	if err := s.Confirm(ctx); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Confirm: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close again: %v, want nil", err)
	}
	s.reopen()
	s.holds(fencing.Snapshot{Meta: Meta(), Pools: []fencing.Pool{Pool("p")}})
}

// testHistory commits a long history, and sometimes closes and opens the store.
func testHistory(t *testing.T, s *subject) {
	j := NewJournal(Meta(), Pool(fencing.DefaultPool))
	s.create(Meta(), Pool(fencing.DefaultPool))
	for i, b := range History(1, 300) {
		n := j.Begin(b)
		if s.MaxKeys > 0 && len(j.batches[n]) > s.MaxKeys {
			s.rewrite(b)
		} else {
			s.commit(b)
		}
		j.Acknowledge(n)
		if i%50 == 0 {
			s.reopen()
		}
	}
	if err := j.Check(s.load(), j.Now(), j.Now()); err != nil {
		t.Fatal(err)
	}
}
