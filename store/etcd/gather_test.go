package etcd

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestFit: a transaction takes whole commits, in order, without a key twice, and as many
// as fit.
func TestFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var waiting []*commit
		for range rapid.IntRange(1, 30).Draw(t, "commits") {
			c := &commit{create: rapid.IntRange(0, 20).Draw(t, "create") == 0}
			keys := rapid.SliceOfNDistinct(rapid.IntRange(0, 300), 1,
				rapid.SampledFrom([]int{1, 3, MaxOps}).Draw(t, "most"), rapid.ID[int]).Draw(t,
				"keys")
			for _, k := range keys {
				c.ops = append(c.ops, Op{Key: fmt.Sprint(k)})
			}
			waiting = append(waiting, c)
		}
		for left := waiting; len(left) > 0; {
			n, ops := fit(left)
			if n < 1 || len(ops) > MaxOps {
				t.Fatalf(
					"gathered %d commits with %d writes, want at least one and at most %d writes",
					n, len(ops), MaxOps)
			}
			var want []Op
			seen := map[string]bool{}
			for _, c := range left[:n] {
				want = append(want, c.ops...)
				if c.create && n > 1 {
					t.Fatal("gathered a creation with another commit, want it by itself")
				}
			}
			for _, op := range ops {
				if seen[op.Key] {
					t.Fatalf("gathered the key %s twice", op.Key)
				}
				seen[op.Key] = true
			}
			if !slices.EqualFunc(ops, want, func(a, b Op) bool { return a.Key == b.Key }) {
				t.Fatal("gathered the commits split or in another order")
			}
			left = left[n:]
			if len(left) == 0 {
				return
			}
			next := left[0]
			fits := len(ops)+len(next.ops) <= MaxOps && !next.create &&
				!waiting[len(waiting)-len(left)-n].create
			for _, op := range next.ops {
				fits = fits && !seen[op.Key]
			}
			if fits {
				t.Fatalf("gathered %d writes, and left out a commit of %d that fits", len(ops),
					len(next.ops))
			}
		}
	})
}

// flights is a queue's transact that blocks until the test answers it.
type flights struct {
	queue *queue
	began chan []Op
	land  chan error
}

func newFlights() *flights {
	f := &flights{began: make(chan []Op), land: make(chan error)}
	f.queue = newQueue(func(c <-chan struct{}) { <-c },
		func(_ context.Context, ops []Op, _ bool) error {
			f.began <- ops
			return <-f.land
		})
	return f
}

// send sends a commit of one key, and returns once it waits or is in flight.
func (f *flights) send(key string) <-chan error {
	result := make(chan error, 1)
	want := f.queue.commits.Len() + 1
	idle := !f.queue.commits.Busy()
	go func() { result <- f.queue.send(context.Background(), &commit{ops: []Op{{Key: key}}}) }()
	for !idle && f.queue.commits.Len() < want { // the one that flies at once is seen to begin
		runtime.Gosched()
	}
	return result
}

// TestQueue: while a transaction is in flight, other commits gather. A commit is answered
// when the transaction with its writes is, and not before.
func TestQueue(t *testing.T) {
	f := newFlights()
	first := f.send("a")
	if ops := <-f.began; len(ops) != 1 {
		t.Fatal(ops)
	}
	var rest []<-chan error
	for i := range 2*MaxOps + 5 {
		rest = append(rest, f.send(fmt.Sprint(i)))
	}
	again := f.send("0") // a key again: the caller may not do that
	select {
	case err := <-first:
		t.Fatalf("a commit got the answer %v while its transaction was in flight", err)
	case ops := <-f.began:
		t.Fatalf("%v was sent while another transaction was in flight", ops)
	default:
	}
	f.land <- nil
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		ops := <-f.began
		if len(ops) != MaxOps || ops[0].Key != fmt.Sprint(i*MaxOps) {
			t.Fatalf("the transaction has %d writes, the first of %s", len(ops), ops[0].Key)
		}
		for _, r := range rest[:MaxOps] {
			select {
			case err := <-r:
				t.Fatalf("a commit got the answer %v while its transaction was in flight", err)
			default:
			}
		}
		f.land <- nil
		for _, r := range rest[:MaxOps] {
			if err := <-r; err != nil {
				t.Fatal(err)
			}
		}
		rest = rest[MaxOps:]
	}
	ops := <-f.began
	if len(ops) != 6 || ops[5].Key != "0" {
		t.Fatal(ops)
	}
	f.land <- errUnanswered
	for _, r := range append(rest, again) {
		if err := <-r; !errors.Is(err, errUnanswered) {
			t.Fatal(err)
		}
	}
	if f.queue.commits.Busy() {
		t.Error("the queue is busy after all commits were answered")
	}
}

// TestGate: close waits for the calls inside, and enter errs from then on.
func TestGate(t *testing.T) {
	g := newGate(func(c <-chan struct{}) { <-c })
	if err := g.enter(); err != nil {
		t.Fatal(err)
	}
	closed := make(chan bool)
	go func() { closed <- g.close() }()
	for g.check() == nil { // until it is being closed
	}
	if g.enter() == nil {
		t.Error("enter of a closed gate: nil, want errClosed")
	}
	select {
	case <-closed:
		t.Error("close returned before the last call left, want it to wait")
	default:
	}
	g.leave()
	if !<-closed || g.close() {
		t.Error("close did not report that only the first call closed the gate")
	}
}
