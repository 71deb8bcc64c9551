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

// TestStoreInMemory: what the simulator takes for etcd passes the suite, too.
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
				_, err := w.etcd.Txn(etcd.Txn{Ops: []etcd.Op{{Key: prefix + string(key), Value: value, Delete: value == nil}}})
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

// served is a term that is closed like a store of one process.
type served struct {
	store.Term
	replica    *replica
	leadership store.Leadership
}

func (s *served) Close() error { return errors.Join(s.leadership.Resign(ctx), s.replica.Close()) }

// TestDeposed: once another term has begun, the one before writes nothing, and
// says why, whoever was elected.
func TestDeposed(t *testing.T) {
	w := filled(t)
	a, b := w.replica(), w.replica()
	old := a.term(t)
	if err := old.Commit(ctx, grants(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	// The other begins a term though the first one's key is still there.
	b.term(t)
	before, sent := w.data(), a.sent()
	if err := old.Commit(ctx, grants(2, 1, 2)); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Commit: %v", err)
	}
	if a.sent() != sent+1 {
		t.Errorf("it sent %d transactions, want 1", a.sent()-sent)
	}
	for range 3 {
		if err := old.Commit(ctx, grants(2, 1, 2)); !errors.Is(err, store.ErrDeposed) || !strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("Commit: %v", err)
		}
	}
	if a.sent() != sent+1 {
		t.Error("a term that is over goes on sending")
	}
	if err := old.Confirm(ctx); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Confirm: %v", err)
	}
	if _, err := old.Load(ctx); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Load: %v", err)
	}
	if after := w.data(); !maps.Equal(before, after) {
		t.Errorf("the store was %v and is %v", before, after)
	}
}

// TestDeposedIsNoticed by each call alone.
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
				t.Error(err)
			}
			if err := old.Commit(ctx, grants(1, 1, 1)); !errors.Is(err, store.ErrDeposed) {
				t.Error(err)
			}
			if after := w.data(); !maps.Equal(before, after) {
				t.Errorf("the store was %v and is %v", before, after)
			}
		})
	}
}

// TestTermRecordGone: a store that was deleted under a leader's feet is another
// store, in which its term never began.
func TestTermRecordGone(t *testing.T) {
	w := filled(t)
	term := w.replica().term(t)
	for key := range w.under(prefix) {
		if _, err := w.etcd.Txn(etcd.Txn{Ops: []etcd.Op{{Key: key, Delete: true}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := term.Commit(ctx, grants(1, 1, 1)); !errors.Is(err, store.ErrDeposed) {
		t.Error(err)
	}
	if got := w.under(prefix); len(got) != 0 {
		t.Errorf("it wrote %v", got)
	}
}

// TestUnknownWrite: after a write whose outcome is unknown the term is over,
// and its late copy does nothing once the next has begun.
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
						t.Error(done, err)
					}
				}
				return false, errCut
			}
			if err := term.Commit(ctx, grants(1, 1, 1)); !errors.Is(err, errCut) {
				t.Fatalf("Commit: %v", err)
			}
			r.onTxn = nil
			r.onRange = func(etcd.Range) (etcd.Page, error) { t.Error("a term that is over reads"); return etcd.Page{}, errCut }
			sent := r.sent()
			for range 2 {
				if err := term.Commit(ctx, grants(2, 1, 2)); !errors.Is(err, errCut) || !strings.Contains(err.Error(), "nothing was written") {
					t.Errorf("Commit after it: %v", err)
				}
			}
			if err := term.Confirm(ctx); !errors.Is(err, errCut) {
				t.Errorf("Confirm: %v", err)
			}
			if _, err := term.Load(ctx); !errors.Is(err, errCut) {
				t.Errorf("Load: %v", err)
			}
			if r.sent() != sent {
				t.Error("a term that is over goes on sending")
			}
			r.onRange = nil

			next, err := o.TakeOver(ctx) // the leadership is still held
			if err != nil {
				t.Fatal(err)
			}
			snap, err := next.Load(ctx)
			if err != nil || len(snap.Records) == 1 != test.done {
				t.Fatalf("%d records, %v", len(snap.Records), err)
			}
			if err := next.Commit(ctx, grants(1, 1, 7)); err != nil {
				t.Fatal(err)
			}
			before := w.data()
			if done, err := w.etcd.Txn(late); done || err != nil {
				t.Errorf("the late copy: %v %v", done, err)
			}
			if !maps.Equal(before, w.data()) {
				t.Error("the late copy has changed the store")
			}
		})
	}
}

// TestUnknownBeforeWaiting: what waits behind a write whose outcome is unknown
// is not sent. And that a caller goes away in mid-flight disturbs nobody.
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
			leaves, leave := context.WithCancel(ctx)
			r.onTxn = func(txn etcd.Txn) (bool, error) {
				if r.sent() > sent+1 {
					return w.etcd.Txn(txn)
				}
				go func() { second <- term.Commit(ctx, grants(2, 1, 2)) }()
				<-waits
				leave()
				if r.ctx.Err() != nil {
					t.Error("the transaction's context is the caller's")
				}
				if answer != nil {
					return false, answer
				}
				return w.etcd.Txn(txn)
			}
			if err := term.Commit(leaves, grants(1, 1, 1)); !errors.Is(err, answer) {
				t.Error(err)
			}
			if err := <-second; !errors.Is(err, answer) {
				t.Errorf("the one behind it: %v", err)
			}
			if n := r.sent() - sent; n != 1 && answer != nil {
				t.Errorf("%d transactions were sent", n)
			}
		})
	}
}

// TestPanic: a transaction that panics is one whose outcome is unknown, and
// those who wait behind it are answered.
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
	if err := term.Commit(ctx, grants(2, 1, 2)); err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Error(err)
	}
}

// TestUnknownTakeOver: a term that may or may not have begun is nobody's, and
// the next try writes another value.
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
		t.Fatalf("a takeover that landed late: done is %v (%v), want it refused", done, err)
	}
	if err := term.Commit(ctx, grants(2, 1, 2)); err != nil {
		t.Errorf("a takeover that landed late deposed the term after it: %v", err)
	}
}

// TestLateTakeOverUnderAnother: nor does it depose another replica's term.
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
			t.Errorf("where there is %s: done is %v (%v), want it refused", there, done, err)
		}
		if err := next.Confirm(ctx); err != nil {
			t.Errorf("where there is %s, the next leader was deposed: %v", there, err)
		}
	}
}

// TestOvertaken: a takeover that another one was faster than keeps the leadership,
// and can be tried again.
func TestOvertaken(t *testing.T) {
	w := filled(t)
	a, b := w.replica(), w.replica()
	o := a.campaign(t)
	a.onTxn = func(txn etcd.Txn) (bool, error) {
		a.onTxn = nil
		b.term(t)
		return w.etcd.Txn(txn)
	}
	if term, err := o.TakeOver(ctx); term != nil || err == nil || !strings.Contains(err.Error(), "try again") {
		t.Fatal(term, err)
	}
	select {
	case <-o.Lost():
		t.Error("it has lost its leadership")
	default:
	}
	if _, err := o.TakeOver(ctx); err != nil {
		t.Error(err)
	}
}

// TestTermRecord: every term has a value of its own, and names its replica.
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
			t.Fatalf("the term record says %q", value)
		}
		seen[value] = true
	}
}

// TestOfficeLost: who has lost the election, and doesn't know, doesn't end the
// winner's term; and then it knows.
func TestOfficeLost(t *testing.T) {
	w := filled(t)
	a, b := w.replica(), w.replica()
	o := a.campaign(t)
	w.resignAll() // its session has run out
	winner := b.term(t)
	if term, err := o.TakeOver(ctx); term != nil || err == nil {
		t.Fatal("it took over")
	}
	select {
	case <-o.Lost():
	default:
		t.Error("it still holds the leadership")
	}
	if err := winner.Commit(ctx, grants(1, 1, 1)); err != nil {
		t.Error(err)
	}
}

// TestConfirm: nil means that the term lasted after the call; that etcd can't
// be read ends no term.
func TestConfirm(t *testing.T) {
	w := filled(t)
	r := w.replica()
	term := r.term(t)
	for range 3 {
		reads := 0
		r.onRange = func(g etcd.Range) (etcd.Page, error) {
			reads++
			if g.Revision != 0 {
				t.Error("it reads an old state")
			}
			return w.etcd.Range(g)
		}
		if err := term.Confirm(ctx); err != nil || reads != 1 {
			t.Error(err, reads)
		}
	}
	r.onRange = func(etcd.Range) (etcd.Page, error) { return etcd.Page{}, errCut }
	if err := term.Confirm(ctx); !errors.Is(err, errCut) || errors.Is(err, store.ErrDeposed) {
		t.Error(err)
	}
	// Another term begins while the question is on its way.
	r.onRange = func(g etcd.Range) (etcd.Page, error) {
		r.onRange = nil
		w.replica().term(t)
		return w.etcd.Range(g)
	}
	if err := term.Confirm(ctx); !errors.Is(err, store.ErrDeposed) {
		t.Error(err)
	}
}

// TestConfirmBesideWrite: a term that ended in a write is not confirmed by a
// read that was under way.
func TestConfirmBesideWrite(t *testing.T) {
	w := filled(t)
	r := w.replica()
	term := r.term(t)
	r.onTxn = func(etcd.Txn) (bool, error) { return false, errCut }
	r.onRange = func(g etcd.Range) (etcd.Page, error) {
		if err := term.Commit(ctx, grants(1, 1, 1)); !errors.Is(err, errCut) {
			t.Error(err)
		}
		return w.etcd.Range(g)
	}
	if err := term.Confirm(ctx); !errors.Is(err, errCut) {
		t.Error(err)
	}
}

// TestLoadIsOneState: what is written while it reads is not in it, not even in
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
				t.Error(err)
			}
		}
		return page, err
	}
	snap, err := term.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if pages < 8 || len(snap.Records) != 20 {
		t.Errorf("%d records in %d pages", len(snap.Records), pages)
	}
	for _, rec := range snap.Records {
		if rec.Epoch != 1 {
			t.Errorf("node ID %d is of another state", rec.Node)
		}
	}
}

// TestLoadLooksForTheTerm in the state that it read: a term that began before
// it may have written since.
func TestLoadLooksForTheTerm(t *testing.T) {
	w := filled(t)
	r := w.replica()
	term := r.term(t)
	r.onRange = func(g etcd.Range) (etcd.Page, error) {
		r.onRange = nil
		w.replica().term(t)
		return w.etcd.Range(g)
	}
	if _, err := term.Load(ctx); !errors.Is(err, store.ErrDeposed) {
		t.Error(err)
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
		t.Error("it read two states")
	}
}

func TestNoStore(t *testing.T) {
	w := newWorld(t)
	if _, err := w.replica().term(t).Load(ctx); !errors.Is(err, store.ErrNoStore) {
		t.Error(err)
	}
	w.put("record/p\x00\x00\x00\x00\x01", "x")
	if _, err := w.replica().term(t).Load(ctx); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("a store without a meta: %v", err)
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
			t.Error("it changed the store")
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
			t.Error(err)
		}
	})
	t.Run("in a term that is over", func(t *testing.T) {
		w := newWorld(t)
		old := w.replica().term(t)
		w.replica().term(t)
		if err := old.Create(ctx, first()); !errors.Is(err, store.ErrDeposed) || len(w.data()) != 0 {
			t.Errorf("%v, and there is %q", err, w.data())
		}
	})
	t.Run("beside a cirrus init", func(t *testing.T) {
		w := newWorld(t)
		a, b := w.replica(), w.replica()
		ta := a.term(t)
		w.resignAll()
		a.onTxn = func(txn etcd.Txn) (bool, error) {
			if err := b.Init(ctx, first()); err != nil {
				t.Error(err)
			}
			return w.etcd.Txn(txn)
		}
		if err := ta.Create(ctx, first()); !errors.Is(err, store.ErrDeposed) {
			t.Error(err)
		}
	})
	t.Run("with a batch that is too large", func(t *testing.T) {
		w := filled(t)
		r := w.replica()
		term := r.term(t)
		sent := r.sent()
		if err := term.Commit(ctx, grants(0, etcd.MaxOps+1, 1)); err == nil || !strings.Contains(err.Error(), "nothing was written") {
			t.Error(err)
		}
		if r.sent() != sent {
			t.Error("it was sent")
		}
		if err := term.Commit(ctx, grants(0, etcd.MaxOps, 1)); err != nil {
			t.Errorf("the largest batch: %v", err)
		}
	})
}
