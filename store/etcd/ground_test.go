package etcd_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// uses are all calls that may write under an empty prefix.
var uses = map[string]func(*replica) error{
	"init": func(r *replica) error { return r.Init(ctx, first()) },
	"migrate": func(r *replica) error {
		o, err := r.Offline(ctx, store.Migration)
		if err == nil {
			err = o.Receive(ctx, theMove, whole(5, 5))
		}
		return err
	},
	"recover": func(r *replica) error {
		o, err := r.Offline(ctx, store.Recovery)
		if err != nil {
			return err
		}
		if _, err = o.Load(ctx); err == nil {
			err = o.Commit(ctx, whole(5, 5))
		}
		return err
	},
	"serve": func(r *replica) error {
		o, err := r.Campaign(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = o.Resign(ctx) }()
		term, err := o.TakeOver(ctx)
		if err != nil {
			return err
		}
		if _, err = term.Load(ctx); errors.Is(err, store.ErrNoStore) {
			err = term.Create(ctx, first())
		}
		return err
	},
}

// TestForeignKeys: foreign keys under a prefix stay as they are, whatever their names, and
// every use errs.
func TestForeignKeys(t *testing.T) {
	aTerm := strings.Repeat("0a", 16) + " r0" // as a refused command of an earlier version left it
	for _, there := range []map[string]string{
		{"term": "spring", "x": "1"},
		{"term": "spring"},
		{"term": ""},
		{"term": strings.Repeat("0A", 16) + " r0"},
		{"meta": "m", "x": "1"},
		{"meta": "m"},
		{"pool/default": "p"},
		{"pool/p": "p", "term": aTerm},
		{"record/p": "r"},
		{"unfinished": "business"},
		{"x": "1"},
		{"x": "1", "term": aTerm},
		{"a": "1", "leader/1": "l"},
		{"zzz": "1", "term": aTerm},
	} {
		for name, use := range uses {
			w := newWorld(t)
			for key, value := range there {
				w.put(key, value)
			}
			before := w.under(prefix)
			err := use(w.replica())
			if err == nil {
				t.Errorf("%s beside %q: nil, want ErrNotEmpty", name, there)
			}
			_, led := there["leader/1"] // which is taken for a replica's
			_, note := there["unfinished"]
			if none := name == "recover" &&
				errors.Is(err, store.ErrNoStore); !errors.Is(err, store.ErrNotEmpty) && !none &&
				!led && !note &&
				!errors.Is(err, store.ErrDamaged) {
				t.Errorf("%s beside %q: %v, want ErrNotEmpty", name, there, err)
			}
			after := w.under(prefix)
			if before["term"] == aTerm {
				delete(before, prefix+"term")
				delete(after, prefix+"term")
			}
			for key, value := range before {
				if got, ok := after[key]; (!ok || got != value) && value != aTerm {
					t.Errorf("%s beside %q changed %s to %q", name, there, key, got)
				}
			}
			for key := range after {
				if _, ok := before[key]; !ok && (there["term"] != aTerm || key != prefix+"term") {
					t.Errorf("%s beside %q wrote %s, want nothing written", name, there, key)
				}
			}
		}
	}
}

// TestForeignKeysMeanwhile writes foreign keys just before the store's first one.
func TestForeignKeysMeanwhile(t *testing.T) {
	for _, key := range []string{"term", "meta", "pool/p", "x"} {
		for _, name := range []string{"init", "serve"} {
			for n := 1; ; n++ {
				w := newWorld(t)
				r := w.replica()
				sent := 0
				r.onTxn = func(txn etcd.Txn) (bool, error) {
					if sent++; sent == n {
						w.put(key, "somebody else's")
					}
					return w.etcd.Txn(txn)
				}
				err := uses[name](r)
				if sent < n {
					break
				}
				if got := w.under(prefix)[prefix+key]; got != "somebody else's" || err == nil {
					t.Errorf(
						"%s, with %s written before transaction %d: %v, and the key is %q, want an error and the key unchanged", name, key, n, err, got)
				}
			}
		}
	}
}

// TestPrefixInside: a prefix inside another store's, or around it, is refused.
func TestPrefixInside(t *testing.T) {
	for _, test := range []struct{ there, here string }{
		{"/cirrus/", "/cirrus/eu/"},
		{"/cirrus/", "/cirrus/a/b/c/"},
		{"/cirrus/", "/cirrus/pool/"},
		{"/cirrus/eu/", "/cirrus/"},
		{"/a/b/c/", "/a/"},
		{"/cirrus/pool/", "/cirrus/"},
	} {
		for name, use := range uses {
			w := newWorld(t)
			if err := w.replicaAt(test.there).Init(ctx, first()); err != nil {
				t.Fatal(err)
			}
			before := w.under("/")
			err := use(w.replicaAt(test.here))
			if none := name == "recover" &&
				errors.Is(err, store.ErrNoStore); !errors.Is(err, store.ErrNotEmpty) && !none {
				t.Errorf("%s of %s, with a store at %s: %v, want ErrNotEmpty", name, test.here,
					test.there, err)
			} else if !none && !strings.Contains(err.Error(), "around") {
				t.Errorf("%s of %s, with a store at %s: %v, want an error that says why", name,
					test.here, test.there, err)
			}
			if got := w.under("/"); !maps.Equal(got, before) {
				t.Errorf("%s of %s, with a store at %s, wrote %q, want nothing written", name,
					test.here, test.there, slices.Collect(maps.Keys(got)))
			}
		}
	}
}

// TestPrefixBeside: a prefix beside another store's is good, also with a foreign key
// around it that has the name of one of a store's.
func TestPrefixBeside(t *testing.T) {
	for name, use := range uses {
		if name == "recover" {
			continue
		}
		w := newWorld(t)
		if err := w.replicaAt("/cirrus/eu/").Init(ctx, first()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.etcd.Txn(
			etcd.Txn{Ops: []etcd.Op{{Key: "/cirrus/meta", Value: []byte("m")},
				{Key: "/cirrus/term", Value: []byte("spring")}}}); err != nil {
			t.Fatal(err)
		}
		if err := use(w.replicaAt("/cirrus/us/")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPrefixInsideMeanwhile: of two stores that are made at the same moment, none ends up
// inside the other.
func TestPrefixInsideMeanwhile(t *testing.T) {
	for _, test := range []struct{ first, second string }{{"/a/", "/a/b/"}, {"/a/b/", "/a/"}} {
		for _, one := range []string{"init", "serve"} {
			for n := 1; ; n++ {
				w := newWorld(t)
				r := w.replicaAt(test.first)
				sent := 0
				var second error
				r.onTxn = func(txn etcd.Txn) (bool, error) {
					if sent++; sent == n {
						second = uses["init"](w.replicaAt(test.second))
					}
					return w.etcd.Txn(txn)
				}
				err := uses[one](r)
				if sent < n {
					break
				}
				if err == nil == (second == nil) {
					t.Errorf(
						"%s of %s, with an init of %s before transaction %d: %v, and the init: %v, want an error of one", one, test.first, test.second, n, err, second)
				}
			}
		}
	}
}

// TestStoreAroundAnother: a store around another one, which earlier versions could make, is
// loaded without the other one's keys.
func TestStoreAroundAnother(t *testing.T) {
	w := filled(t)
	for _, inner := range []string{"eu/", "n/", "q/", "zz/"} {
		for _, key := range []string{"meta", "pool/p", "term", "leader/1"} {
			w.put(inner+key, "x")
		}
	}
	snap, err := w.replica().term(t).Load(ctx)
	if err != nil || len(snap.Pools) != 1 || snap.Meta != storetest.Meta() {
		t.Errorf("Load: %+v, %v, want this store's contents", snap, err)
	}
}

// TestTermRecordDeleted: a store whose term record was deleted can be taken over.
func TestTermRecordDeleted(t *testing.T) {
	w := filled(t)
	if _, err := w.etcd.Txn(
		etcd.Txn{Ops: []etcd.Op{{Key: prefix + "term", Delete: true}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.replica().term(t).Load(ctx); err != nil {
		t.Errorf("Load: %v", err)
	}
}

func TestPrefixes(t *testing.T) {
	for _, bad := range []string{"/", "x", "//", "/a//", "//a/", "/a//b/", "/a", "/a b/", "/ä/"} {
		if _, err := etcd.New(nil, nil,
			etcd.Options{Prefix: bad, Self: store.Member{ID: "r"}}); err == nil {
			t.Errorf("prefix %q: nil, want an error", bad)
		}
	}
}
