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

// whole is a batch with all there is: a meta, the pool "p" and so many records.
func whole(records int, epoch fencing.Epoch) fencing.Batch {
	b := grants(0, records, epoch)
	meta := storetest.Meta()
	meta.FirstEpoch = epoch
	b.Meta, b.Pools = &meta, []fencing.Pool{storetest.Pool("p")}
	return b
}

// encoded is what the store is to hold.
func encoded(t *testing.T, b fencing.Batch) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := store.Encode(b, func(k, v []byte) error { out[prefix+string(k)] = string(v); return nil }); err != nil {
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
		t.Errorf("it wrote %q", got)
	}
	if err := w.replica().Init(ctx, first()); !errors.Is(err, store.ErrExists) || !strings.Contains(err.Error(), prefix) {
		t.Errorf("again: %v", err)
	}
}

// TestInitWhileServed: the leader stays what it is.
func TestInitWhileServed(t *testing.T) {
	w := filled(t)
	term := w.replica().term(t)
	if err := w.replica().Init(ctx, first()); !errors.Is(err, store.ErrExists) {
		t.Error(err)
	}
	if err := term.Commit(ctx, grants(1, 1, 1)); err != nil {
		t.Error(err)
	}
}

// TestInitBesideLeader: one of the two makes the store, and the other hears of
// it, whoever is faster.
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
				t.Errorf("%v, and the store is %q", err, got)
			case leaderWrites == 1 && !errors.Is(err, store.ErrExists), leaderWrites == 2 && !errors.Is(err, store.ErrDeposed):
				t.Error(err)
			case leaderWrites < 3 && !maps.Equal(got, encoded(t, mistrusted)):
				t.Errorf("the store is %q", got)
			}
		})
	}
}

func TestInitNotEmpty(t *testing.T) {
	w := newWorld(t)
	w.put("other", "x")
	if err := w.replica().Init(ctx, first()); !errors.Is(err, etcd.ErrNotEmpty) || !strings.Contains(err.Error(), prefix+"other") {
		t.Error(err)
	}
}

// TestOfflineWhileLed names who leads, and leaves it in peace.
func TestOfflineWhileLed(t *testing.T) {
	w := filled(t)
	leader := w.replica()
	term := leader.term(t)
	w.replica().campaign(t) // waits to lead
	_, err := w.replica().Offline(ctx, store.Recovery)
	if !errors.Is(err, etcd.ErrLed) || !strings.Contains(err.Error(), leader.self.Address) || !strings.Contains(err.Error(), "all 2 replicas") {
		t.Error(err)
	}
	if err := term.Commit(ctx, grants(1, 1, 1)); err != nil {
		t.Error(err)
	}
}

// TestLeaderStopsOffline: a replica that begins to lead ends what is done
// offline.
func TestLeaderStopsOffline(t *testing.T) {
	w := filled(t)
	o := w.replica().offline(t, store.Recovery)
	w.replica().term(t)
	before := w.data()
	for _, n := range []int{1, 300} {
		if err := o.Commit(ctx, whole(n, 9)); !errors.Is(err, store.ErrDeposed) {
			t.Error(err)
		}
	}
	if err := o.Retire(ctx, theMove); !errors.Is(err, store.ErrDeposed) {
		t.Error(err)
	}
	if !maps.Equal(before, w.data()) {
		t.Error("it has written")
	}
	w.resignAll()
	o = w.replica().offline(t, "")
	w.replica().term(t)
	if err := o.Retire(ctx, theMove); !errors.Is(err, store.ErrDeposed) || !maps.Equal(before, w.data()) {
		t.Errorf("it retired the store: %v", err)
	}
}

// TestLeaderStopsOfflineInTheMiddle: the rest is not written.
func TestLeaderStopsOfflineInTheMiddle(t *testing.T) {
	w := filled(t)
	r := w.replica()
	o := r.offline(t, store.Recovery)
	n := 0
	var before map[string]string
	r.onTxn = func(txn etcd.Txn) (bool, error) {
		if n++; n == 2 {
			if _, err := w.replica().term(t).Load(ctx); !errors.Is(err, store.ErrUnfinished) {
				t.Error(err)
			}
			before = w.data()
		}
		return w.etcd.Txn(txn)
	}
	if err := o.Commit(ctx, whole(500, 9)); !errors.Is(err, store.ErrDeposed) {
		t.Error(err)
	}
	if n != 2 || !maps.Equal(before, w.data()) {
		t.Errorf("it sent %d transactions", n)
	}
}

// TestOfflineStopsOldLeader: who leads no more by the election, and doesn't
// know it, can't write from then on.
func TestOfflineStopsOldLeader(t *testing.T) {
	w := filled(t)
	old := w.replica().term(t)
	w.resignAll()
	o := w.replica().offline(t, store.Recovery)
	if err := old.Commit(ctx, grants(1, 1, 1)); !errors.Is(err, store.ErrDeposed) {
		t.Error(err)
	}
	if snap, err := o.Load(ctx); err != nil || len(snap.Records) != 0 {
		t.Error(snap, err)
	}
}

// TestRecoverInParts: broken off after any of its transactions, done or not, it
// keeps everybody from serving the store, and can be done again.
func TestRecoverInParts(t *testing.T) {
	const records = 300
	for _, lost := range []bool{false, true} { // the answer, or the transaction too
		for k := 1; ; k++ {
			w := filled(t)
			if err := w.replica().offline(t, store.Recovery).Commit(ctx, whole(records, 1)); err != nil {
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
						t.Error(done, err)
					}
				}
				return false, errCut
			}
			err := o.Commit(ctx, whole(records, 2))
			if n < k { // it has had all of its transactions
				if err != nil || k != 4 {
					t.Fatalf("%v after %d transactions", err, n)
				}
				break
			}
			if !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			finished := k == 3 && !lost
			begun := k > 1 || !lost
			_, err = w.replica().term(t).Load(ctx)
			if refused := errors.Is(err, store.ErrUnfinished); refused != (begun && !finished) {
				t.Fatalf("cut at %d: %v", k, err)
			}
			if err != nil && !strings.Contains(err.Error(), `run "cirrus recover" again`) {
				t.Error(err)
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
				t.Fatal("the store holds something else")
			}
		}
	}
}

// TestSmallIsOneTransaction: nothing to mark there.
func TestSmallIsOneTransaction(t *testing.T) {
	w := filled(t)
	r := w.replica()
	o := r.offline(t, store.Recovery)
	sent := r.sent()
	if err := o.Commit(ctx, whole(etcd.MaxOps-2, 2)); err != nil {
		t.Fatal(err)
	}
	if r.sent() != sent+1 {
		t.Errorf("%d transactions", r.sent()-sent)
	}
}

var theMove = store.Move{ID: "m1", Store: fencing.StoreID{1}, From: "/var/lib/cirrus on here", To: "there"}

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
				t.Errorf("of %d records it holds something else", n)
			}
		}
	})
	for _, test := range []struct {
		name string
		in   func(*testing.T) *world
		want error
	}{
		{"in another store's", filled, store.ErrExists},
		{"in somebody else's", func(t *testing.T) *world { w := newWorld(t); w.put("a", "x"); return w }, etcd.ErrNotEmpty},
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
			if test.want == nil && !errors.As(err, &gone) || test.want != nil && !errors.Is(err, test.want) {
				t.Error(err)
			}
			if !maps.Equal(before, w.data()) {
				t.Error("it has written")
			}
		})
	}
	t.Run("again, after one that broke off", func(t *testing.T) {
		for _, test := range []struct{ k, records int }{{1, 200}, {2, 200}, {3, 200}, {4, 0}, {5, 200}, {6, 200}, {1, 100}} {
			w := newWorld(t)
			breakOff(t, w, test.k)
			nobodyServes(t, w)
			if _, err := w.replica().offline(t, store.Recovery).Load(ctx); !errors.Is(err, store.ErrUnfinished) {
				t.Errorf("to recover: %v", err)
			}
			if err := w.replica().offline(t, store.Recovery).Commit(ctx, whole(3, 5)); !errors.Is(err, store.ErrUnfinished) {
				t.Errorf("recover: %v", err)
			}
			if err := w.replica().Init(ctx, first()); err == nil {
				t.Error("init made a store of it")
			}
			// The store is smaller by now.
			again := theMove
			again.ID, again.From = "m2", "/mnt/cirrus on another host"
			o := w.replica().offline(t, store.Migration)
			if err := o.Receive(ctx, again, whole(test.records, 5)); err != nil {
				t.Fatal(err)
			}
			if err := o.Finish(ctx, theMove); !errors.Is(err, store.ErrUnfinished) {
				t.Errorf("the move that broke off was finished: %v", err)
			}
			if err := o.Finish(ctx, again); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(w.data(), encoded(t, whole(test.records, 5))) {
				t.Errorf("something of the first one was left behind, which broke off after %d transactions", test.k)
			}
		}
	})
}

// nobodyServes sees that no replica can load what arrives.
func nobodyServes(t *testing.T, w *world) {
	t.Helper()
	_, err := w.replica().term(t).Load(ctx)
	if !errors.Is(err, store.ErrUnfinished) || !strings.Contains(err.Error(), `run the same "cirrus migrate" again`) || !strings.Contains(err.Error(), theMove.From) {
		t.Fatal(err)
	}
	w.resignAll()
}

// breakOff begins to receive 700 records and ends with the k-th transaction.
func breakOff(t *testing.T, w *world, k int) {
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
	if err := o.Receive(ctx, theMove, whole(700, 4)); k < 6 && !errors.Is(err, errCut) || k == 6 && err != nil {
		t.Fatal(n, err)
	}
}

func TestFinishNothing(t *testing.T) {
	w := newWorld(t)
	if err := w.replica().offline(t, store.Migration).Finish(ctx, theMove); !errors.Is(err, store.ErrNoStore) {
		t.Error(err)
	}
	w = filled(t)
	if err := w.replica().offline(t, store.Migration).Finish(ctx, theMove); !errors.Is(err, store.ErrExists) {
		t.Error(err)
	}
}

// TestRetire: a store that was moved is served no more.
func TestRetire(t *testing.T) {
	w := filled(t)
	o := w.replica().offline(t, "")
	if err := o.Retire(ctx, theMove); err != nil {
		t.Fatal(err)
	}
	if _, err := w.replica().term(t).Load(ctx); err == nil || !strings.Contains(err.Error(), "was moved to there: serve that one") {
		t.Error(err)
	}
	w.resignAll()
	for _, work := range []store.Work{"", store.Recovery, store.Migration} {
		o := w.replica().offline(t, work)
		var gone *store.MovedError
		if _, err := o.Load(ctx); !errors.As(err, &gone) || gone.ID != theMove.ID || gone.To != theMove.To {
			t.Errorf("loaded to %q: %v", work, err)
		}
		if err := o.Commit(ctx, whole(3, 5)); !errors.As(err, &gone) {
			t.Errorf("%q writes to it: %v", work, err)
		}
	}
}

// TestTakeBack breaks taking back off after any of its transactions: until the
// last one the store is moved, and it can be done again.
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
		if err := o.Commit(ctx, whole(records, 2)); k < 3 && !errors.Is(err, errCut) || k == 3 && err != nil {
			t.Fatal(k, err)
		}
		_, err := w.replica().term(t).Load(ctx)
		if moved := errors.As(err, new(*store.MovedError)); moved != (k < 3) {
			t.Errorf("after %d transactions: %v", k, err)
		}
		w.resignAll()
		if k < 3 {
			if err := w.replica().offline(t, store.TakingBack).Commit(ctx, whole(records, 3)); err != nil {
				t.Error(err)
			}
			if !maps.Equal(w.data(), encoded(t, whole(records, 3))) {
				t.Error("the store holds something else")
			}
		}
		o = w.replica().offline(t, store.TakingBack)
		if _, err := o.Load(ctx); err == nil || !strings.Contains(err.Error(), "was not moved away") {
			t.Errorf("taken back twice: %v", err)
		}
		if err := o.Commit(ctx, whole(3, 5)); err == nil || !strings.Contains(err.Error(), "was not moved away") {
			t.Errorf("written to: %v", err)
		}
	}
}

// TestUnknownWork: what a later version may leave behind is no reason to serve.
func TestUnknownWork(t *testing.T) {
	w := filled(t)
	w.put("unfinished", "split r7")
	if _, err := w.replica().term(t).Load(ctx); !errors.Is(err, store.ErrUnfinished) || !strings.Contains(err.Error(), "split r7") {
		t.Error(err)
	}
}

func TestCancelledOffline(t *testing.T) {
	w := filled(t)
	r := w.replica()
	o := r.offline(t, store.Recovery)
	cancelled, cancel := context.WithCancel(ctx)
	r.onTxn = func(txn etcd.Txn) (bool, error) { cancel(); return w.etcd.Txn(txn) }
	if err := o.Commit(cancelled, whole(300, 2)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if len(w.data()) < etcd.MaxOps {
		t.Error("a transaction that was sent was not waited for")
	}
}
