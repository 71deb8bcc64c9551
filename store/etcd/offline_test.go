package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// whole returns a store's whole contents: a meta, the pool "p" and so many records.
func whole(records int, epoch fencing.Epoch) fencing.Batch {
	b := grants(0, records, epoch)
	meta := storetest.Meta()
	meta.FirstEpoch = epoch
	b.Meta, b.Pools = &meta, []fencing.Pool{storetest.Pool("p")}
	return b
}

// encoded returns the keys and values of the batch.
func encoded(t *testing.T, b fencing.Batch) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := store.Encode(b, func(k,
		v []byte) error {
		out[prefix+string(k)] = string(v)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func (r *replica) offline(t *testing.T, work store.Work) *etcd.Offline {
	t.Helper()
	o, err := r.Offline(ctx, work)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestInit(t *testing.T) {
	w := newWorld(t)
	if err := w.replica().Init(ctx, first()); err != nil {
		t.Fatal(err)
	}
	if got, want := w.data(), encoded(t, first()); !maps.Equal(got, want) {
		t.Errorf("Init wrote %q, want %q", got, want)
	}
	if err := w.replica().Init(ctx, first()); !errors.Is(err, store.ErrExists) ||
		!strings.Contains(err.Error(), prefix) {
		t.Errorf("Init again: %v, want ErrExists naming the prefix", err)
	}
}

// TestInitWhileServed: Init errs, and the leader keeps its term.
func TestInitWhileServed(t *testing.T) {
	w := filled(t)
	term := w.replica().term(t)
	if err := w.replica().Init(ctx, first()); !errors.Is(err, store.ErrExists) {
		t.Errorf("Init: %v, want ErrExists", err)
	}
	if err := term.Commit(ctx, grants(1, 1, 1)); err != nil {
		t.Errorf("Commit: %v", err)
	}
}

// TestInitBesideLeader: of Init and a leader that creates the store at the same time, one
// succeeds, and the other errs.
func TestInitBesideLeader(t *testing.T) {
	vouched := first()
	mistrusted := first()
	mistrusted.Meta.Vouched = false
	for _, leaderWrites := range []int{1, 2, 3} {
		t.Run(fmt.Sprintf("before write %d", leaderWrites), func(t *testing.T) {
			w := newWorld(t)
			i, l := w.replica(), w.replica()
			n := 0
			i.onTxn = func(txn etcd.Txn) (bool, error) {
				if n++; n == leaderWrites {
					if err := l.term(t).Create(ctx, mistrusted); err != nil && leaderWrites < 3 {
						t.Error(err)
					}
				}
				return w.etcd.Txn(txn)
			}
			err := i.Init(ctx, vouched)
			switch got := w.data(); {
			case leaderWrites == 3 && (err != nil || !maps.Equal(got, encoded(t, vouched))):
				t.Errorf("Init: %v, and the store holds %q, want the vouched one", err, got)
			case leaderWrites == 1 && !errors.Is(err, store.ErrExists), leaderWrites == 2 &&
				!errors.Is(err, store.ErrDeposed):
				t.Errorf("Init: %v, want ErrExists or ErrDeposed", err)
			case leaderWrites < 3 && !maps.Equal(got, encoded(t, mistrusted)):
				t.Errorf("the store holds %q, want the leader's", got)
			}
		})
	}
}

func TestInitNotEmpty(t *testing.T) {
	w := newWorld(t)
	w.put("other", "x")
	if err := w.replica().Init(ctx, first()); !errors.Is(err, etcd.ErrNotEmpty) ||
		!strings.Contains(err.Error(), prefix+"other") {
		t.Errorf("Init: %v, want ErrNotEmpty", err)
	}
}

// TestOfflineWhileLed: Offline names the leader, which keeps its term.
func TestOfflineWhileLed(t *testing.T) {
	w := filled(t)
	leader := w.replica()
	term := leader.term(t)
	w.replica().campaign(t) // waits to lead
	_, err := w.replica().Offline(ctx, store.Recovery)
	if !errors.Is(err, etcd.ErrLed) || !strings.Contains(err.Error(), leader.self.Address) ||
		!strings.Contains(err.Error(), "all 2 replicas") {
		t.Errorf("Offline: %v, want ErrLed with the leader's address and the number of replicas",
			err)
	}
	if err := term.Commit(ctx, grants(1, 1, 1)); err != nil {
		t.Errorf("Commit: %v", err)
	}
}

// TestLeaderStopsOffline: a replica that takes over ends the term of a command.
func TestLeaderStopsOffline(t *testing.T) {
	w := filled(t)
	o := w.replica().offline(t, store.Recovery)
	w.replica().term(t)
	before := w.data()
	for _, n := range []int{1, 300} {
		if err := o.Commit(ctx, whole(n, 9)); !errors.Is(err, store.ErrDeposed) {
			t.Errorf("Commit: %v, want ErrDeposed", err)
		}
	}
	if err := o.Retire(ctx, theMove); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Retire: %v, want ErrDeposed", err)
	}
	if !maps.Equal(before, w.data()) {
		t.Error("the store has changed, want nothing written")
	}
	w.resignAll()
	o = w.replica().offline(t, "")
	w.replica().term(t)
	if err := o.Retire(ctx, theMove); !errors.Is(err, store.ErrDeposed) ||
		!maps.Equal(before, w.data()) {
		t.Errorf("Retire: %v, want ErrDeposed, and nothing written", err)
	}
}

// TestLeaderStopsOfflineInTheMiddle: after the takeover, the rest is not written.
func TestLeaderStopsOfflineInTheMiddle(t *testing.T) {
	w := filled(t)
	r := w.replica()
	o := r.offline(t, store.Recovery)
	n := 0
	var before map[string]string
	r.onTxn = func(txn etcd.Txn) (bool, error) {
		if n++; n == 2 {
			if _, err := w.replica().term(t).Load(ctx); !errors.Is(err, store.ErrUnfinished) {
				t.Errorf("Load: %v, want ErrUnfinished", err)
			}
			before = w.data()
		}
		return w.etcd.Txn(txn)
	}
	if err := o.Commit(ctx, whole(500, 9)); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Commit: %v, want ErrDeposed", err)
	}
	if n != 2 || !maps.Equal(before, w.data()) {
		t.Errorf("%d transactions were sent, want 2 of which the last changes nothing", n)
	}
}

// TestOfflineStopsOldLeader: a leader that has lost the election without noticing can't
// write once a command has begun a term.
func TestOfflineStopsOldLeader(t *testing.T) {
	w := filled(t)
	old := w.replica().term(t)
	w.resignAll()
	o := w.replica().offline(t, store.Recovery)
	if err := old.Commit(ctx, grants(1, 1, 1)); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("Commit: %v, want ErrDeposed", err)
	}
	if snap, err := o.Load(ctx); err != nil || len(snap.Records) != 0 {
		t.Errorf("Load: %+v, %v, want no records", snap, err)
	}
}

// TestRecoverInParts: after a recovery that was interrupted at any of its transactions,
// done or not, nobody can serve the store, and the recovery can be done again.
func TestRecoverInParts(t *testing.T) {
	const records = 300
	for _, lost := range []bool{false, true} { // only the answer is lost, or the transaction, too
		for k := 1; ; k++ {
			w := filled(t)
			if err := w.replica().offline(t, store.Recovery).Commit(ctx,
				whole(records, 1)); err != nil {
				t.Fatal(err)
			}
			r := w.replica()
			o := r.offline(t, store.Recovery)
			n := 0
			r.onTxn = func(txn etcd.Txn) (bool, error) {
				if n++; n != k {
					return w.etcd.Txn(txn)
				}
				if !lost {
					if done, err := w.etcd.Txn(txn); !done || err != nil {
						t.Errorf("the transaction: done %v, %v, want it done", done, err)
					}
				}
				return false, errCut
			}
			err := o.Commit(ctx, whole(records, 2))
			if n < k { // all of its transactions were done
				if err != nil || k != 4 {
					t.Fatalf("Commit: %v after %d transactions, want nil after 3", err, n)
				}
				break
			}
			if !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			finished := k == 3 && !lost
			started := k > 1 || !lost
			_, err = w.replica().term(t).Load(ctx)
			if refused := errors.Is(err, store.ErrUnfinished); refused != (started && !finished) {
				t.Fatalf("interrupted at transaction %d, Load: %v, want ErrUnfinished: %v", k, err,
					started && !finished)
			}
			if err != nil && !strings.Contains(err.Error(), `recover it again`) {
				t.Errorf("Load: %v, want an error that says what to do", err)
			}
			w.resignAll()
			again := w.replica().offline(t, store.Recovery)
			snap, err := again.Load(ctx)
			if err != nil || len(snap.Records) != records {
				t.Fatal(len(snap.Records), err)
			}
			if err := again.Commit(ctx, whole(records, 3)); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(w.data(), encoded(t, whole(records, 3))) {
				t.Fatal("the store doesn't hold what the second recovery has written")
			}
		}
	}
}

// TestSmallIsOneTransaction: a batch that fits in one transaction needs no note.
func TestSmallIsOneTransaction(t *testing.T) {
	w := filled(t)
	r := w.replica()
	o := r.offline(t, store.Recovery)
	sent := r.sent()
	if err := o.Commit(ctx, whole(etcd.MaxOps-2, 2)); err != nil {
		t.Fatal(err)
	}
	if r.sent() != sent+1 {
		t.Errorf("%d transactions were sent, want 1", r.sent()-sent)
	}
}

var theMove = store.Move{ID: "m1", Store: fencing.StoreID{1}, From: "/var/lib/cirrus on here",
	To: "there"}

func TestReceive(t *testing.T) {
	t.Run("in an empty prefix", func(t *testing.T) {
		for _, n := range []int{0, 5, 124, 125, 126, 127, 128, 253, 254, 255, 256, 700} {
			w := newWorld(t)
			o := w.replica().offline(t, store.Migration)
			if err := o.Receive(ctx, theMove, whole(n, 5)); err != nil {
				t.Fatal(n, err)
			}
			nobodyServes(t, w)
			o = w.replica().offline(t, store.Migration)
			if err := o.Finish(ctx, theMove); err != nil {
				t.Fatal(n, err)
			}
			if !maps.Equal(w.data(), encoded(t, whole(n, 5))) {
				t.Errorf("the store doesn't hold the %d records that were received", n)
			}
		}
	})
	for _, test := range []struct {
		name string
		in   func(*testing.T) *world
		want error
	}{
		{"in another store's", filled, store.ErrExists},
		{"among foreign keys", func(t *testing.T) *world { w := newWorld(t); w.put("a", "x"); return w }, etcd.ErrNotEmpty},
		{"in one that is being recovered", func(t *testing.T) *world { w := filled(t); w.put("unfinished", "recover r1"); return w }, store.ErrUnfinished},
		{"in another one that arrives from there", func(t *testing.T) *world {
			w := filled(t)
			other := theMove
			other.ID, other.Store = "m0", fencing.StoreID{2}
			w.put("unfinished", string(other.Arriving()))
			return w
		}, store.ErrUnfinished},
		{"in one that was moved", func(t *testing.T) *world { w := filled(t); w.put("unfinished", "moved m0 there"); return w }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := test.in(t)
			before := w.data()
			o, err := w.replica().Offline(ctx, store.Migration)
			if err == nil {
				err = o.Receive(ctx, theMove, whole(5, 5))
			}
			var gone *store.MovedError
			if test.want == nil && !errors.As(err, &gone) || test.want != nil &&
				!errors.Is(err, test.want) {
				t.Errorf("Receive: %v, want %v or, for nil, a MovedError", err, test.want)
			}
			if !maps.Equal(before, w.data()) {
				t.Error("the store has changed, want nothing written")
			}
		})
	}
	t.Run("again, after an interruption", func(t *testing.T) {
		for _, test := range []struct{ k, records int }{{1, 200}, {2, 200}, {3, 200}, {4, 0},
			{5, 200}, {6, 200}, {1, 100}} {
			w := newWorld(t)
			interrupt(t, w, test.k)
			nobodyServes(t, w)
			if _, err := w.replica().offline(t, store.Recovery).Load(ctx); !errors.Is(err,
				store.ErrUnfinished) {
				t.Errorf("Load for a recovery: %v, want ErrUnfinished", err)
			}
			if err := w.replica().offline(t, store.Recovery).Commit(ctx,
				whole(3, 5)); !errors.Is(err, store.ErrUnfinished) {
				t.Errorf("Commit of a recovery: %v, want ErrUnfinished", err)
			}
			if err := w.replica().Init(ctx, first()); err == nil {
				t.Error("Init: nil, want an error")
			}
			// The store that arrives may be smaller by now.
			again := theMove
			again.ID, again.From = "m2", "/mnt/cirrus on another host"
			o := w.replica().offline(t, store.Migration)
			if err := o.Receive(ctx, again, whole(test.records, 5)); err != nil {
				t.Fatal(err)
			}
			if err := o.Finish(ctx, theMove); !errors.Is(err, store.ErrUnfinished) {
				t.Errorf("Finish of the interrupted move: %v, want ErrUnfinished", err)
			}
			if err := o.Finish(ctx, again); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(w.data(), encoded(t, whole(test.records, 5))) {
				t.Errorf(
					"the store doesn't hold what was received last, after an interruption after %d transactions", test.k)
			}
		}
	})
}

// nobodyServes checks that no replica can load a store that is not finished.
func nobodyServes(t *testing.T, w *world) {
	t.Helper()
	_, err := w.replica().term(t).Load(ctx)
	if !errors.Is(err, store.ErrUnfinished) ||
		!strings.Contains(err.Error(), `migrate once more`) ||
		!strings.Contains(err.Error(), theMove.From) {
		t.Fatal(err)
	}
	w.resignAll()
}

// interrupt receives 700 records, of which only the first k transactions are done.
func interrupt(t *testing.T, w *world, k int) {
	t.Helper()
	r := w.replica()
	o := r.offline(t, store.Migration)
	n := 0
	r.onTxn = func(txn etcd.Txn) (bool, error) {
		if n++; n > k {
			return false, errCut
		}
		return w.etcd.Txn(txn)
	}
	if err := o.Receive(ctx, theMove, whole(700, 4)); k < 6 && !errors.Is(err, errCut) || k == 6 &&
		err != nil {
		t.Fatal(n, err)
	}
}

func TestFinishNothing(t *testing.T) {
	w := newWorld(t)
	if err := w.replica().offline(t, store.Migration).Finish(ctx, theMove); !errors.Is(err,
		store.ErrNoStore) {
		t.Errorf("Finish: %v, want ErrNoStore", err)
	}
	w = filled(t)
	if err := w.replica().offline(t, store.Migration).Finish(ctx, theMove); !errors.Is(err,
		store.ErrExists) {
		t.Errorf("Finish: %v, want ErrExists", err)
	}
}

// TestRetire: a store that was moved can't be loaded or written.
func TestRetire(t *testing.T) {
	w := filled(t)
	o := w.replica().offline(t, "")
	if err := o.Retire(ctx, theMove); err != nil {
		t.Fatal(err)
	}
	if _, err := w.replica().term(t).Load(ctx); err == nil ||
		!strings.Contains(err.Error(), "was moved to there: serve that one") {
		t.Errorf("Load: %v, want an error with %q", err, "was moved to there: serve that one")
	}
	w.resignAll()
	for _, work := range []store.Work{"", store.Recovery, store.Migration} {
		o := w.replica().offline(t, work)
		var gone *store.MovedError
		if _, err := o.Load(ctx); !errors.As(err, &gone) || gone.ID != theMove.ID ||
			gone.To != theMove.To {
			t.Errorf("Load for the work %q: %v, want a MovedError of this move", work, err)
		}
		if err := o.Commit(ctx, whole(3, 5)); !errors.As(err, &gone) {
			t.Errorf("Commit for the work %q: %v, want a MovedError", work, err)
		}
	}
}

// TestTakeBack interrupts taking back after each of its transactions: before the last one
// the store counts as moved, and taking back can be done again.
func TestTakeBack(t *testing.T) {
	const records = 300
	for k := 1; k <= 3; k++ {
		w := filled(t)
		if err := errors.Join(w.replica().offline(t, store.Recovery).Commit(ctx, whole(records, 1)),
			w.replica().offline(t, "").Retire(ctx, theMove)); err != nil {
			t.Fatal(err)
		}
		r := w.replica()
		o := r.offline(t, store.TakingBack)
		if snap, err := o.Load(ctx); err != nil || len(snap.Records) != records {
			t.Fatal(len(snap.Records), err)
		}
		n := 0
		r.onTxn = func(txn etcd.Txn) (bool, error) {
			if n++; n > k {
				return false, errCut
			}
			return w.etcd.Txn(txn)
		}
		if err := o.Commit(ctx, whole(records, 2)); k < 3 && !errors.Is(err, errCut) || k == 3 &&
			err != nil {
			t.Fatal(k, err)
		}
		_, err := w.replica().term(t).Load(ctx)
		if moved := errors.As(err, new(*store.MovedError)); moved != (k < 3) {
			t.Errorf("Load after %d transactions: %v, want a MovedError: %v", k, err, k < 3)
		}
		w.resignAll()
		if k < 3 {
			if err := w.replica().offline(t, store.TakingBack).Commit(ctx,
				whole(records, 3)); err != nil {
				t.Errorf("Commit: %v", err)
			}
			if !maps.Equal(w.data(), encoded(t, whole(records, 3))) {
				t.Error("the store doesn't hold what was taken back")
			}
		}
		o = w.replica().offline(t, store.TakingBack)
		if _, err := o.Load(ctx); err == nil ||
			!strings.Contains(err.Error(), "was not moved away") {
			t.Errorf("Load to take back again: %v, want an error with %q", err,
				"was not moved away")
		}
		if err := o.Commit(ctx, whole(3, 5)); err == nil ||
			!strings.Contains(err.Error(), "was not moved away") {
			t.Errorf("Commit to take back again: %v, want an error with %q", err,
				"was not moved away")
		}
	}
}

// TestUnknownWork: a store with an unknown note, of a later version, can't be served.
func TestUnknownWork(t *testing.T) {
	w := filled(t)
	w.put("unfinished", "split r7")
	if _, err := w.replica().term(t).Load(ctx); !errors.Is(err, store.ErrUnfinished) ||
		!strings.Contains(err.Error(), "split r7") {
		t.Errorf("Load: %v, want ErrUnfinished with %q", err, "split r7")
	}
}

func TestCancelledOffline(t *testing.T) {
	w := filled(t)
	r := w.replica()
	o := r.offline(t, store.Recovery)
	cancelled, cancel := context.WithCancel(ctx)
	r.onTxn = func(txn etcd.Txn) (bool, error) { cancel(); return w.etcd.Txn(txn) }
	if err := o.Commit(cancelled, whole(300, 2)); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit: %v, want Canceled", err)
	}
	if len(w.data()) < etcd.MaxOps {
		t.Error("the transaction in flight was not done, want Commit to wait for it")
	}
}
