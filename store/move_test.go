package store_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

func TestNotes(t *testing.T) {
	m := store.Move{ID: "m1", Store: fencing.StoreID{0: 0xff, 15: 1},
		From: "/var/lib/cirrus on a host", To: "/cirrus/ in etcd"}
	for _, test := range []struct {
		note store.Note
		is   error // nil: a *MovedError
		says string
	}{
		{store.Recovering("r1"), store.ErrUnfinished, `recover it again`},
		{m.Arriving(), store.ErrUnfinished, "a migration from " + m.From},
		{"migrate m1 " + store.Note(m.From), store.ErrUnfinished, "a migration from " + m.From},
		{m.Moved(), nil, "moved to " + m.To + ": serve that one; to put another here, burn it"},
		{"split r7", store.ErrUnfinished, `"split r7"`},
		{" ", store.ErrUnfinished, `" "`},
	} {
		err := test.note.Refusal("the place", "burn it")
		var gone *store.MovedError
		if test.is == nil && (!errors.As(err, &gone) || gone.ID != m.ID || gone.To != m.To) ||
			test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("the note %q: %v, want %v or, for nil, a MovedError", test.note, err, test.is)
		}
		if err != nil && (!strings.Contains(err.Error(), test.says) ||
			!strings.Contains(err.Error(), "the place")) {
			t.Errorf("the note %q: %v, want an error with %q and the location", test.note, err,
				test.says)
		}
	}
	if err := store.Note("").Refusal("the place", "burn it"); err != nil {
		t.Errorf("no note: %v, want nil", err)
	}
	if got, ok := m.Arriving().Arriving(); !ok ||
		got != (store.Move{ID: m.ID, Store: m.Store, From: m.From}) {
		t.Errorf("got %+v, %v, want the move without To", got, ok)
	}
	older := store.Note("migrate m1 /var/lib/cirrus on a host") // without the store's ID
	if got, ok := older.Arriving(); !ok || got != (store.Move{ID: m.ID, From: m.From}) {
		t.Errorf("got %+v, %v of an older version's note, want the move without a store ID", got,
			ok)
	}
	if _, ok := m.Moved().Arriving(); ok {
		t.Error("the note of a moved store counts as one of a store that arrives")
	}
}

// TestContinues: a move continues an earlier one of the same store, wherever that is. A
// store without an ID is the same as no other.
func TestContinues(t *testing.T) {
	one, other := fencing.StoreID{1}, fencing.StoreID{2}
	for _, test := range []struct {
		now, earlier store.Move
		want         bool
	}{
		{store.Move{ID: "m2", Store: one, From: "here"}, store.Move{ID: "m1", Store: one, From: "there"}, true},
		{store.Move{ID: "m2", Store: one, From: "here"}, store.Move{ID: "m1", Store: other, From: "here"}, false},
		{store.Move{ID: "m2", Store: one, From: "here"}, store.Move{ID: "m1", From: "here"}, false},
		{store.Move{ID: "m2", From: "here"}, store.Move{ID: "m1", From: "here"}, false},
	} {
		if got := test.now.Continues(test.earlier); got != test.want {
			t.Errorf("%+v after %+v: %v, want %v", test.now, test.earlier, got, test.want)
		}
	}
}

// TestNoteIsNoValue: a version that knows no notes errs for a store with one, after it has
// read all other keys.
func TestNoteIsNoValue(t *testing.T) {
	if bytes.Compare(store.NoteKey(), store.RecordsTo()) < 0 {
		t.Error("the note's key is below RecordsTo, want it above")
	}
	d := &store.Decoder{}
	meta := storetest.Meta()
	for _, kv := range pairs(t, fencing.Batch{Meta: &meta}) {
		if err := d.Add(kv[0], kv[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Add(store.NoteKey(), []byte("moved m1 there")); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Add: %v, want ErrDamaged", err)
	}
}
