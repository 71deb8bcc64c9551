package pebble

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

var theMove = store.Move{ID: "m1", Store: fencing.StoreID{1}, From: "/cirrus/ in etcd", To: "here"}

// whole returns a store's whole contents, with so many records.
func whole(records int) fencing.Batch {
	meta := storetest.Meta()
	b := fencing.Batch{Meta: &meta, Pools: []fencing.Pool{storetest.Pool(fencing.DefaultPool)}}
	for i := range snowflake.NodeID(records) {
		b.Records = append(b.Records,
			storetest.Record(fencing.DefaultPool, i, meta.FirstEpoch+fencing.Epoch(i)))
	}
	return b
}

func receive(t *testing.T, opts Options, m store.Move, b fencing.Batch) {
	t.Helper()
	if err := Receive(dir, m, b, opts); err != nil {
		t.Fatal(err)
	}
}

// holdsWhole checks that the store holds the batch.
func holdsWhole(t *testing.T, opts Options, b fencing.Batch) {
	t.Helper()
	s := open(t, opts)
	snap, err := s.Load(context.Background())
	if err != nil || snap.Meta != *b.Meta || !reflect.DeepEqual(snap.Pools, b.Pools) ||
		!slices.Equal(snap.Records, b.Records) {
		t.Errorf("the store holds %+v (%v), want the batch", snap, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestReceive(t *testing.T) {
	opts := options(vfs.NewMem(), nil)
	receive(t, opts, theMove, whole(300))
	if _, err := Open(dir, opts); !errors.Is(err, store.ErrUnfinished) ||
		!strings.Contains(err.Error(), theMove.From) {
		t.Errorf("Open before Finish: %v, want ErrUnfinished", err)
	}
	if err := Create(dir, storetest.Meta(), nil, opts); !errors.Is(err, store.ErrExists) {
		t.Errorf("Create: %v, want an error", err)
	}
	if err := Finish(dir, store.Move{ID: "m2"}, opts); !errors.Is(err, store.ErrUnfinished) {
		t.Errorf("Finish of another move: %v, want ErrUnfinished", err)
	}
	if err := Finish(dir, theMove, opts); err != nil {
		t.Fatal(err)
	}
	holdsWhole(t, opts, whole(300))
	if err := Finish(dir, theMove, opts); !errors.Is(err, store.ErrExists) {
		t.Errorf("Finish again: %v, want ErrExists", err)
	}
}

func TestReceiveRefuses(t *testing.T) {
	other := store.Move{ID: "m0", Store: fencing.StoreID{2}, From: theMove.From}
	for _, test := range []struct {
		name  string
		setUp func(t *testing.T, opts Options)
		is    func(error) bool
	}{
		{"a store", create, func(err error) bool { return errors.Is(err, store.ErrExists) }},
		{"another one that arrives from there", func(t *testing.T, opts Options) { receive(t, opts, other, whole(1)) },
			func(err error) bool {
				return errors.Is(err, store.ErrUnfinished) &&
					strings.Contains(err.Error(), other.From)
			}},
		{"one that was moved", retired, func(err error) bool { return errors.As(err, new(*store.MovedError)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := vfs.NewMem()
			test.setUp(t, options(disk, nil))
			if err := Receive(dir, theMove, whole(2), options(disk, nil)); !test.is(err) {
				t.Errorf("Receive: %v, want a refusal because of %s", err, test.name)
			}
			if _, err := disk.Stat(dir + "/" + unfinished); err == nil {
				t.Error("Receive has started to write, want nothing written")
			}
		})
	}
}

func TestReceiveAgain(t *testing.T) {
	opts := options(vfs.NewMem(), nil)
	receive(t, opts, theMove, whole(300))
	again := theMove
	again.ID, again.From = "m2", "/cirrus/ in etcd, under another name"
	// If a crash interrupts the removal of the files, the store must not have its final
	// name any more: it would look damaged.
	slowly := options(watch(opts.FS, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRemoveAll && op.Path == dir+"/"+database {
			t.Error("the first store is removed under its final name, want it renamed before")
		}
		return nil
	}), nil)
	receive(t, slowly, again, whole(20))
	if err := Finish(dir, theMove, opts); !errors.Is(err, store.ErrUnfinished) {
		t.Errorf("Finish of the first move: %v, want ErrUnfinished", err)
	}
	if err := Finish(dir, again, opts); err != nil {
		t.Fatal(err)
	}
	holdsWhole(t, opts, whole(20))
}

func retired(t *testing.T, opts Options) {
	t.Helper()
	create(t, opts)
	s := open(t, opts)
	if err := s.Retire(context.Background(), theMove); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRetire(t *testing.T) {
	opts := options(vfs.NewMem(), nil)
	retired(t, opts)
	_, err := Open(dir, opts)
	var gone *store.MovedError
	if !errors.As(err, &gone) || gone.ID != theMove.ID || gone.To != theMove.To ||
		!strings.Contains(err.Error(), "serve that one") {
		t.Error(err)
	}
	if err := Create(dir, storetest.Meta(), nil, opts); !errors.Is(err, store.ErrExists) {
		t.Errorf("Create: %v, want an error", err)
	}
	if err := Finish(dir, theMove, opts); !errors.As(err, &gone) {
		t.Errorf("Finish: %v, want a MovedError", err)
	}
}

// takenBack returns what a recover makes of whole: later times, and fewer leases.
func takenBack() fencing.Batch {
	b := whole(20)
	b.Meta.Mark += 1000
	return b
}

func takeBack(t *testing.T, opts Options) {
	t.Helper()
	s, err := OpenMoved(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	if snap, err := s.Load(context.Background()); err != nil || snap.Meta.Mark == 0 {
		t.Fatalf("OpenMoved and Load: %+v, %v, want what was moved", snap, err)
	}
	if err := s.Commit(context.Background(), takenBack()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTakeBack(t *testing.T) {
	opts := options(vfs.NewMem(), nil)
	retired(t, opts)
	takeBack(t, opts)
	holdsWhole(t, opts, takenBack())
	if noted, err := readHighWater(opts.FS, dir); err != nil ||
		noted.mark != takenBack().Meta.Mark {
		t.Errorf("the high-water file says %v (%v), want the recovered mark and base", noted, err)
	}
	if _, err := OpenMoved(dir, opts); err == nil ||
		!strings.Contains(err.Error(), "was not moved away") {
		t.Errorf("OpenMoved again: %v, want an error that it was not moved", err)
	}
}

func TestTakeBackRefuses(t *testing.T) {
	opts := options(vfs.NewMem(), nil)
	if _, err := OpenMoved(dir, opts); !errors.Is(err, store.ErrNoStore) {
		t.Errorf("OpenMoved without a store: %v, want ErrNoStore", err)
	}
	receive(t, opts, theMove, whole(1))
	if _, err := OpenMoved(dir, opts); !errors.Is(err, store.ErrUnfinished) {
		t.Errorf("OpenMoved of a store that arrives: %v, want ErrUnfinished", err)
	}
}

// TestCrashInMove crashes before each write of Receive, Finish, Retire and of taking back.
// Afterwards a store that is incomplete, or not to be served, can't be opened, and each step
// can be done again.
func TestCrashInMove(t *testing.T) {
	is := func(t *testing.T, p point, want string) string {
		t.Helper()
		s, err := Open(dir, options(p.disk, nil))
		got := ""
		switch {
		case err == nil:
			got = "served"
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		case errors.Is(err, store.ErrNoStore):
			got = "none"
		case errors.Is(err, store.ErrUnfinished):
			got = "unfinished"
		case errors.As(err, new(*store.MovedError)):
			got = "moved"
		}
		if got == "" || !strings.Contains(want, got) {
			t.Fatalf("%v: the store is %q, want one of %q: %v", p, got, want, err)
		}
		return got
	}
	sweep := func(t *testing.T, setUp, do func(*testing.T, Options), want string,
		then func(*testing.T, string, Options)) {
		c := &crashes{fs: vfs.NewCrashableMem(), journal: newJournal()}
		setUp(t, options(c.fs, nil))
		do(t, options(watch(c.fs, c.take), nil))
		if err := c.take(errorfs.Op{}); err != nil { // after do has returned
			t.Fatal(err)
		}
		seen := map[string]int{}
		for i, p := range c.points {
			got := is(t, p, want)
			if i >= len(c.points)-2 && !strings.HasSuffix(want, got) {
				t.Fatalf("after the last write the store is %q, want the last of %q", got, want)
			}
			seen[got]++
			then(t, got, options(p.disk, nil))
		}
		if len(seen) != len(strings.Fields(want)) {
			t.Errorf("the crashes left the states %v, want all of %q", seen, want)
		}
		report(t, "%d crash points: %v", len(c.points), seen)
	}
	nothing := func(*testing.T, Options) {}
	arrive := func(t *testing.T, opts Options) { receive(t, opts, theMove, whole(40)) }
	finish := func(t *testing.T, opts Options) {
		t.Helper()
		if err := Finish(dir, theMove, opts); err != nil {
			t.Fatal(err)
		}
	}
	again := func(t *testing.T, _ string, opts Options) {
		t.Helper()
		receive(t, opts, theMove, whole(30))
		finish(t, opts)
		holdsWhole(t, opts, whole(30))
	}
	t.Run("arriving", func(t *testing.T) { sweep(t, nothing, arrive, "none unfinished", again) })
	t.Run(
		"arriving again", func(t *testing.T) { sweep(t, arrive, arrive, "none unfinished", again) })
	t.Run("finishing", func(t *testing.T) {
		sweep(t, arrive, finish, "unfinished served", func(t *testing.T, was string, opts Options) {
			if was == "unfinished" {
				finish(t, opts)
			}
			holdsWhole(t, opts, whole(40))
		})
	})
	t.Run("leaving", func(t *testing.T) {
		sweep(t, create, func(t *testing.T, opts Options) {
			s := open(t, opts)
			if err := s.Retire(context.Background(), theMove); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}, "served moved", func(t *testing.T, was string, opts Options) {
			if was == "served" {
				s := open(t, opts)
				if err := s.Retire(context.Background(), theMove); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
	t.Run("taken back", func(t *testing.T) {
		sweep(t, retired, takeBack, "moved served", func(t *testing.T, was string, opts Options) {
			if was == "moved" {
				takeBack(t, opts)
			}
			holdsWhole(t, opts, takenBack())
		})
	})
}
