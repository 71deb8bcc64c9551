package etcd_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/storetest"
)

func node(i int) snowflake.NodeID { return snowflake.NodeID(i) }

// TestStoreInMemory: a store in etcdsim passes the suite, too.
func TestStoreInMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Factory {
		w := newWorld(t)
		return storetest.Factory{
			Create: func(meta fencing.Meta, pools []fencing.Pool) error {
				return w.replica().Init(ctx, fencing.Batch{Meta: &meta, Pools: pools})
			},
			Open: func() (storetest.Store, error) {
				r := w.replica()
				o, err := r.Campaign(ctx)
				if err != nil {
					return nil, err
				}
				term, err := o.TakeOver(ctx)
				if err != nil {
					return nil, err
				}
				return &served{Term: term, replica: r, leadership: o}, nil
			},
			Put: func(key, value []byte) error {
				_, err := w.etcd.Txn(
					etcd.Txn{Ops: []etcd.Op{{Key: prefix + string(key), Value: value,
						Delete: value == nil}}})
				return err
			},
			MaxKeys: etcd.MaxOps,
			Shared:  true,
			Rewrite: func(b fencing.Batch) error {
				o, err := w.replica().Offline(ctx, store.Recovery)
				if err != nil {
					return err
				}
				return o.Commit(ctx, b)
			},
		}
	})
}

// served is a term with a Close, as the suite needs it.
type served struct {
	store.Term
	replica    *replica
	leadership store.Leadership
}

func (s *served) Close() error { return errors.Join(s.leadership.Resign(ctx), s.replica.Close()) }

// TestDeposed: once another term has begun, the earlier one writes nothing and errs,
// whichever replica is elected.
func TestDeposed(t *testing.T) {
	w := filled(t)
	a, b := w.replica(), w.replica()
	old := a.term(t)
	if err := old.Commit(ctx, grants(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	// The other replica begins a term while the first one's key still exists.
	b.term(t)
	before, sent := w.data(), a.sent()
	if err := old.Commit(ctx, grants(2, 1, 2)); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Commit: %v, want ErrDeposed", err)
	}
	if a.sent() != sent+1 {
		t.Errorf("the deposed term sent %d transactions, want 1", a.sent()-sent)
	}
	for range 3 {
		if err := old.Commit(ctx, grants(2, 1, 2)); !errors.Is(err, store.ErrDeposed) ||
			!strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("Commit again: %v, want ErrDeposed, and nothing written", err)
		}
	}
	if a.sent() != sent+1 {
		t.Errorf("after more commits the deposed term has sent %d transactions, want 1",
			a.sent()-sent)
	}
	if err := old.Confirm(ctx); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Confirm: %v, want ErrDeposed", err)
	}
	if _, err := old.Load(ctx); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Load: %v, want ErrDeposed", err)
	}
	if after := w.data(); !maps.Equal(before, after) {
		t.Errorf("the store holds %v, want it unchanged: %v", after, before)
	}
}

// TestDeposedIsNoticed: each method by itself notices that another term has begun.
func TestDeposedIsNoticed(t *testing.T) {
	for name, call := range map[string]func(store.Term) error{
		"Commit":  func(term store.Term) error { return term.Commit(ctx, grants(1, 1, 1)) },
		"Create":  func(term store.Term) error { return term.Create(ctx, first()) },
		"Confirm": func(term store.Term) error { return term.Confirm(ctx) },
		"Load":    func(term store.Term) error { _, err := term.Load(ctx); return err },
	} {
		t.Run(name, func(t *testing.T) {
			w := filled(t)
			old := w.replica().term(t)
			w.replica().term(t)
			before := w.data()
			if err := call(old); !errors.Is(err, store.ErrDeposed) {
				t.Errorf("%s: %v, want ErrDeposed", name, err)
			}
			if err := old.Commit(ctx, grants(1, 1, 1)); !errors.Is(err, store.ErrDeposed) {
				t.Errorf("Commit: %v, want ErrDeposed", err)
			}
			if after := w.data(); !maps.Equal(before, after) {
				t.Errorf("the store holds %v, want it unchanged: %v", after, before)
			}
		})
	}
}

// TestTermRecordGone: if all keys are deleted while a replica leads, its term has ended.
func TestTermRecordGone(t *testing.T) {
	w := filled(t)
	term := w.replica().term(t)
	for key := range w.under(prefix) {
		if _, err := w.etcd.Txn(etcd.Txn{Ops: []etcd.Op{{Key: key, Delete: true}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := term.Commit(ctx, grants(1, 1, 1)); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Commit: %v, want ErrDeposed", err)
	}
	if got := w.under(prefix); len(got) != 0 {
		t.Errorf("the term wrote %v, want nothing", got)
	}
}

// TestUnknownWrite: a write whose outcome is unknown ends the term, and its late copy
// does nothing once the next term has begun.
func TestUnknownWrite(t *testing.T) {
	for _, test := range []struct {
		name string
		done bool // before the answer was lost
	}{{"done", true}, {"not done", false}} {
		t.Run(test.name, func(t *testing.T) {
			w := filled(t)
			r := w.replica()
			o := r.campaign(t)
			term, err := o.TakeOver(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var late etcd.Txn
			r.onTxn = func(txn etcd.Txn) (bool, error) {
				late = txn
				if test.done {
					if done, err := w.etcd.Txn(txn); !done || err != nil {
						t.Errorf("the write: done %v, %v, want it done", done, err)
					}
				}
				return false, errCut
			}
			if err := term.Commit(ctx, grants(1, 1, 1)); !errors.Is(err, errCut) {
				t.Fatalf("Commit: %v, want errCut", err)
			}
			r.onTxn = nil
			r.onRange = func(etcd.Range) (etcd.Page, error) {
				t.Error("the term reads after it has ended")
				return etcd.Page{}, errCut
			}
			sent := r.sent()
			for range 2 {
				if err := term.Commit(ctx, grants(2, 1, 2)); !errors.Is(err, errCut) ||
					!strings.Contains(err.Error(), "nothing was written") {
					t.Errorf("Commit after it: %v, want errCut, and nothing written", err)
				}
			}
			if err := term.Confirm(ctx); !errors.Is(err, errCut) {
				t.Errorf("Confirm after it: %v, want errCut", err)
			}
			if _, err := term.Load(ctx); !errors.Is(err, errCut) {
				t.Errorf("Load after it: %v, want errCut", err)
			}
			if r.sent() != sent {
				t.Errorf("the term has sent %d transactions after it ended, want 0", r.sent()-sent)
			}
			r.onRange = nil

			next, err := o.TakeOver(ctx) // the replica is still elected
			if err != nil {
				t.Fatal(err)
			}
			snap, err := next.Load(ctx)
			if err != nil || len(snap.Records) == 1 != test.done {
				t.Fatalf("the next term loads %d records (%v), want one if the write was done: %v",
					len(snap.Records), err, test.done)
			}
			if err := next.Commit(ctx, grants(1, 1, 7)); err != nil {
				t.Fatal(err)
			}
			before := w.data()
			if done, err := w.etcd.Txn(late); done || err != nil {
				t.Errorf("the late copy: done %v, %v, want it refused", done, err)
			}
			if !maps.Equal(before, w.data()) {
				t.Error("the late copy has changed the store, want it unchanged")
			}
		})
	}
}

// TestUnknownBeforeWaiting: a commit that waits behind a write whose outcome is unknown is
// not sent. A caller that is cancelled during its write changes nothing.
func TestUnknownBeforeWaiting(t *testing.T) {
	for name, answer := range map[string]error{"unknown": errCut, "done": nil} {
		t.Run(name, func(t *testing.T) {
			w := filled(t)
			waits := make(chan struct{})
			r := w.replica(func(o *etcd.Options) {
				o.Wait = func(c <-chan struct{}) {
					select {
					case <-c:
					case waits <- struct{}{}:
						<-c
					}
				}
			})
			term := r.term(t)
			sent := r.sent()
			second := make(chan error, 1)
			cancelled, cancel := context.WithCancel(ctx)
			r.onTxn = func(txn etcd.Txn) (bool, error) {
				if r.sent() > sent+1 {
					return w.etcd.Txn(txn)
				}
				go func() { second <- term.Commit(ctx, grants(2, 1, 2)) }()
				<-waits
				cancel()
				if r.ctx.Err() != nil {
					t.Error("cancelling the caller cancelled the transaction, want it to go on")
				}
				if answer != nil {
					return false, answer
				}
				return w.etcd.Txn(txn)
			}
			if err := term.Commit(cancelled, grants(1, 1, 1)); !errors.Is(err, answer) {
				t.Errorf("Commit: %v, want %v", err, answer)
			}
			if err := <-second; !errors.Is(err, answer) {
				t.Errorf("the commit behind it: %v, want %v", err, answer)
			}
			if n := r.sent() - sent; n != 1 && answer != nil {
				t.Errorf("%d transactions were sent, want 1", n)
			}
		})
	}
}

// TestPanic: a transaction that panics has an unknown outcome, and the commits behind it
// are answered.
func TestPanic(t *testing.T) {
	w := filled(t)
	r := w.replica()
	term := r.term(t)
	r.onTxn = func(etcd.Txn) (bool, error) { panic("out of order") }
	func() {
		defer func() { _ = recover() }()
		_ = term.Commit(ctx, grants(1, 1, 1))
	}()
	r.onTxn = nil
	if err := term.Commit(ctx, grants(2, 1, 2)); err == nil ||
		!strings.Contains(err.Error(), "unknown") {
		t.Errorf("Commit: %v, want an error with %q", err, "unknown")
	}
}

// TestUnknownTakeOver: a term that may or may not have begun is not used, and the next
// attempt writes another value.
func TestUnknownTakeOver(t *testing.T) {
	w := filled(t)
	r := w.replica()
	o := r.campaign(t)
	var late etcd.Txn
	r.onTxn = func(txn etcd.Txn) (bool, error) { late = txn; return false, errCut }
	if term, err := o.TakeOver(ctx); term != nil || !errors.Is(err, errCut) {
		t.Fatal(term, err)
	}
	r.onTxn = nil
	term, err := o.TakeOver(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := term.Commit(ctx, grants(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	if done, err := w.etcd.Txn(late); done || err != nil {
		t.Fatalf("a takeover that arrives late: done %v (%v), want it refused", done, err)
	}
	if err := term.Commit(ctx, grants(2, 1, 2)); err != nil {
		t.Errorf("Commit after a takeover that arrived late: %v, want nil", err)
	}
}

// TestLateTakeOverUnderAnother: a takeover that arrives late doesn't depose another
// replica's term.
func TestLateTakeOverUnderAnother(t *testing.T) {
	for _, there := range []string{"a store", "nothing"} {
		w := newWorld(t)
		if there == "a store" {
			w = filled(t)
		}
		r := w.replica()
		o := r.campaign(t)
		var late etcd.Txn
		r.onTxn = func(txn etcd.Txn) (bool, error) { late = txn; return false, errCut }
		if _, err := o.TakeOver(ctx); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		next := w.replica().term(t)
		if done, err := w.etcd.Txn(late); done || err != nil {
			t.Errorf("with %s: done %v (%v), want it refused", there, done, err)
		}
		if err := next.Confirm(ctx); err != nil {
			t.Errorf("with %s, Commit of the next leader: %v, want nil", there, err)
		}
	}
}

// TestOvertaken: a replica whose takeover another one has preceded stays elected, and can
// try again.
func TestOvertaken(t *testing.T) {
	w := filled(t)
	a, b := w.replica(), w.replica()
	o := a.campaign(t)
	a.onTxn = func(txn etcd.Txn) (bool, error) {
		a.onTxn = nil
		b.term(t)
		return w.etcd.Txn(txn)
	}
	if term, err := o.TakeOver(ctx); term != nil || err == nil ||
		!strings.Contains(err.Error(), "try again") {
		t.Fatal(term, err)
	}
	select {
	case <-o.Lost():
		t.Error(
			"Lost is closed after a takeover that was preceded, want the replica to stay elected")
	default:
	}
	if _, err := o.TakeOver(ctx); err != nil {
		t.Errorf("TakeOver: %v", err)
	}
}

// TestTermRecord: each term's record is different, and names its replica.
func TestTermRecord(t *testing.T) {
	w := newWorld(t)
	r := w.replica()
	o := r.campaign(t)
	seen := map[string]bool{}
	for range 100 {
		if _, err := o.TakeOver(ctx); err != nil {
			t.Fatal(err)
		}
		value := w.under(prefix)[prefix+"term"]
		if seen[value] || len(value) != 32+len(" r1") || !strings.HasSuffix(value, " r1") {
			t.Fatalf("the term record is %q, want a new value with the replica's ID", value)
		}
		seen[value] = true
	}
}

// TestLeadershipLost: a replica that has lost the election without noticing doesn't end
// the winner's term, and notices when it tries.
func TestLeadershipLost(t *testing.T) {
	w := filled(t)
	a, b := w.replica(), w.replica()
	o := a.campaign(t)
	w.resignAll() // its session has run out
	winner := b.term(t)
	if term, err := o.TakeOver(ctx); term != nil || err == nil {
		t.Fatal("the loser of the election took over, want an error")
	}
	select {
	case <-o.Lost():
	default:
		t.Error("Lost is open after the failed takeover, want it closed")
	}
	if err := winner.Commit(ctx, grants(1, 1, 1)); err != nil {
		t.Errorf("Commit: %v", err)
	}
}

// TestConfirm: after nil, the term lasted at some instant after the call. A failed read
// doesn't end the term.
func TestConfirm(t *testing.T) {
	w := filled(t)
	r := w.replica()
	term := r.term(t)
	for range 3 {
		reads := 0
		r.onRange = func(g etcd.Range) (etcd.Page, error) {
			reads++
			if g.Revision != 0 {
				t.Error("Confirm reads at an old revision, want the newest")
			}
			return w.etcd.Range(g)
		}
		if err := term.Confirm(ctx); err != nil || reads != 1 {
			t.Errorf("Confirm: %v after %d reads, want nil after 1", err, reads)
		}
	}
	r.onRange = func(etcd.Range) (etcd.Page, error) { return etcd.Page{}, errCut }
	if err := term.Confirm(ctx); !errors.Is(err, errCut) || errors.Is(err, store.ErrDeposed) {
		t.Errorf("Confirm: %v, want errCut", err)
	}
	// Another term begins while the read is in flight.
	r.onRange = func(g etcd.Range) (etcd.Page, error) {
		r.onRange = nil
		w.replica().term(t)
		return w.etcd.Range(g)
	}
	if err := term.Confirm(ctx); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Confirm: %v, want ErrDeposed", err)
	}
}

// TestConfirmBesideWrite: a term that a failed write has ended is not confirmed by a read
// that was in flight then.
func TestConfirmBesideWrite(t *testing.T) {
	w := filled(t)
	r := w.replica()
	term := r.term(t)
	r.onTxn = func(etcd.Txn) (bool, error) { return false, errCut }
	r.onRange = func(g etcd.Range) (etcd.Page, error) {
		if err := term.Commit(ctx, grants(1, 1, 1)); !errors.Is(err, errCut) {
			t.Errorf("Commit: %v, want errCut", err)
		}
		return w.etcd.Range(g)
	}
	if err := term.Confirm(ctx); !errors.Is(err, errCut) {
		t.Errorf("Confirm: %v, want errCut", err)
	}
}

// TestLoadIsOneState: what is written during a Load is not in the snapshot, not even in
// part.
func TestLoadIsOneState(t *testing.T) {
	w := filled(t)
	r := w.replica(func(o *etcd.Options) { o.PageSize = 3 })
	term := r.term(t)
	if err := term.Commit(ctx, grants(0, 20, 1)); err != nil {
		t.Fatal(err)
	}
	pages := 0
	r.onRange = func(g etcd.Range) (etcd.Page, error) {
		page, err := w.etcd.Range(g)
		if pages++; pages == 3 { // the next leader gets to work
			next := w.replica().term(t)
			if err := next.Commit(ctx, grants(0, 25, 2)); err != nil {
				t.Errorf("Commit: %v", err)
			}
		}
		return page, err
	}
	snap, err := term.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if pages < 8 || len(snap.Records) != 20 {
		t.Errorf("Load returned %d records in %d pages, want 20 in at least 8", len(snap.Records),
			pages)
	}
	for _, rec := range snap.Records {
		if rec.Epoch != 1 {
			t.Errorf("node ID %d is from a later state than the first page", rec.Node)
		}
	}
}

// TestLoadChecksTheTerm in the state that it reads: a term that had begun by then may have
// written.
func TestLoadChecksTheTerm(t *testing.T) {
	w := filled(t)
	r := w.replica()
	term := r.term(t)
	r.onRange = func(g etcd.Range) (etcd.Page, error) {
		r.onRange = nil
		w.replica().term(t)
		return w.etcd.Range(g)
	}
	if _, err := term.Load(ctx); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Load: %v, want ErrDeposed", err)
	}
}

func TestLoadCompacted(t *testing.T) {
	w := filled(t)
	r := w.replica(func(o *etcd.Options) { o.PageSize = 1 })
	term := r.term(t)
	r.onRange = func(g etcd.Range) (etcd.Page, error) {
		page, err := w.etcd.Range(g)
		w.put("term-of-compaction", "x")
		w.etcd.Compact()
		return page, err
	}
	if _, err := term.Load(ctx); err == nil {
		t.Error("Load read at two revisions, want one")
	}
}

func TestNoStore(t *testing.T) {
	w := newWorld(t)
	if _, err := w.replica().term(t).Load(ctx); !errors.Is(err, store.ErrNoStore) {
		t.Errorf("Load: %v, want ErrNoStore", err)
	}
	w.put("record/p\x00\x00\x00\x00\x01", "x")
	if _, err := w.replica().term(t).Load(ctx); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Load of a store without a meta: %v, want ErrDamaged", err)
	}
}

func TestCreate(t *testing.T) {
	t.Run("twice", func(t *testing.T) {
		w := filled(t)
		before := w.data()
		meta := storetest.Meta()
		meta.Mark++
		err := w.replica().term(t).Create(ctx, fencing.Batch{Meta: &meta})
		if !errors.Is(err, store.ErrExists) {
			t.Error(err)
		}
		if !maps.Equal(before, w.data()) {
			t.Error("the Create that failed has changed the store")
		}
	})
	t.Run("beside another leader", func(t *testing.T) {
		w := newWorld(t)
		a, b := w.replica(), w.replica()
		ta := a.term(t)
		a.onTxn = func(txn etcd.Txn) (bool, error) {
			create(t, b.term(t)) // is faster
			return w.etcd.Txn(txn)
		}
		if err := ta.Create(ctx, first()); !errors.Is(err, store.ErrDeposed) {
			t.Errorf("Create: %v, want ErrDeposed", err)
		}
	})
	t.Run("in a term that is over", func(t *testing.T) {
		w := newWorld(t)
		old := w.replica().term(t)
		w.replica().term(t)
		if err := old.Create(ctx, first()); !errors.Is(err, store.ErrDeposed) ||
			len(w.data()) != 0 {
			t.Errorf("%v, and the store holds %q", err, w.data())
		}
	})
	t.Run("beside a cirrus init", func(t *testing.T) {
		w := newWorld(t)
		a, b := w.replica(), w.replica()
		ta := a.term(t)
		w.resignAll()
		a.onTxn = func(txn etcd.Txn) (bool, error) {
			if err := b.Init(ctx, first()); err != nil {
				t.Errorf("Init: %v", err)
			}
			return w.etcd.Txn(txn)
		}
		if err := ta.Create(ctx, first()); !errors.Is(err, store.ErrDeposed) {
			t.Errorf("Create: %v, want ErrDeposed", err)
		}
	})
	t.Run("with a batch that is too large", func(t *testing.T) {
		w := filled(t)
		r := w.replica()
		term := r.term(t)
		sent := r.sent()
		if err := term.Commit(ctx, grants(0, etcd.MaxOps+1, 1)); err == nil ||
			!strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("Commit: %v, want an error with %q", err, "nothing was written")
		}
		if r.sent() != sent {
			t.Error("the batch was sent, want it refused before")
		}
		if err := term.Commit(ctx, grants(0, etcd.MaxOps, 1)); err != nil {
			t.Errorf("the largest batch: %v", err)
		}
	})
}
