package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// TestStoreID checks that a store gets an ID at its creation and keeps it when it is
// recovered, and that a store that is taken back gets an ID of its own.
func TestStoreID(t *testing.T) {
	dir := t.TempDir()
	execute := func(args string) {
		t.Helper()
		root := newRoot()
		root.SetArgs(append(strings.Fields(args), "--data", dir))
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Fatalf("cirrus %s: %v", args, err)
		}
	}
	open := func(do func(*pebble.Store) error) fencing.StoreID {
		t.Helper()
		st, err := pebble.Open(dir, pebble.Options{Logger: output.NoLog})
		if err != nil {
			t.Fatal(err)
		}
		snap, err := st.Load(context.Background())
		if err == nil {
			err = do(st)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		return snap.Meta.ID
	}
	look := func(*pebble.Store) error { return nil }

	execute("init")
	first := open(look)
	if first == (fencing.StoreID{}) {
		t.Error("a new store has no ID")
	}
	execute("recover --yes")
	if got := open(look); got != first {
		t.Errorf("a recovered store has the ID %x, want the one that it had, %x", got, first)
	}
	open(func(st *pebble.Store) error {
		return st.Retire(context.Background(), store.Move{ID: "m1", Store: first, To: "elsewhere"})
	})
	execute("recover --moved-away --yes")
	if got := open(look); got == first || got == (fencing.StoreID{}) {
		t.Errorf(
			"a store that was taken back has the ID %x, want another one than %x, which the store "+
				"that it was moved to has", got, first)
	}
}
