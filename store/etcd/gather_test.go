package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestGather: transactions hold whole commits, in order, no key twice, and not
// more than goes in; and no fewer than that.
func TestGather(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var waiting []*commit
		for range rapid.IntRange(1, 30).Draw(t, "commits") {
			c := &commit{create: rapid.IntRange(0, 20).Draw(t, "create") == 0}
			keys := rapid.SliceOfNDistinct(rapid.IntRange(0, 300), 1, rapid.SampledFrom([]int{1, 3, MaxOps}).Draw(t, "most"), rapid.ID[int]).Draw(t, "keys")
			for _, k := range keys {
				c.ops = append(c.ops, Op{Key: fmt.Sprint(k)})
			}
			waiting = append(waiting, c)
		}
		for left := waiting; len(left) > 0; {
			n, ops := gather(left)
			if n < 1 || len(ops) > MaxOps {
				t.Fatalf("%d commits with %d writes", n, len(ops))
			}
			var want []Op
			seen := map[string]bool{}
			for _, c := range left[:n] {
				want = append(want, c.ops...)
				if c.create && n > 1 {
					t.Fatal("a creation does not go alone")
				}
			}
			for _, op := range ops {
				if seen[op.Key] {
					t.Fatalf("key %s is in it twice", op.Key)
				}
				seen[op.Key] = true
			}
			if !slices.EqualFunc(ops, want, func(a, b Op) bool { return a.Key == b.Key }) {
				t.Fatal("a commit was split, or the order changed")
			}
			left = left[n:]
			if len(left) == 0 {
				return
			}
			next := left[0]
			fits := len(ops)+len(next.ops) <= MaxOps && !next.create && !waiting[len(waiting)-len(left)-n].create
			for _, op := range next.ops {
				fits = fits && !seen[op.Key]
			}
			if fits {
				t.Fatalf("there was room for another commit of %d writes beside %d", len(next.ops), len(ops))
			}
		}
	})
}

// flights is a queue's transport that a test holds up.
type flights struct {
	queue *queue
	began chan []Op
	land  chan error
}

func newFlights() *flights {
	f := &flights{began: make(chan []Op), land: make(chan error)}
	f.queue = newQueue(func(c <-chan struct{}) { <-c }, func(_ context.Context, ops []Op, _ bool) error {
		f.began <- ops
		return <-f.land
	})
	return f
}

// send sends a commit of one key, and returns once it waits or flies.
func (f *flights) send(key string) <-chan error {
	result := make(chan error, 1)
	f.queue.mu.Lock()
	want := len(f.queue.waiting) + 1
	idle := !f.queue.busy
	f.queue.mu.Unlock()
	go func() { result <- f.queue.send(context.Background(), &commit{ops: []Op{{Key: key}}}) }()
	for !idle { // the one that flies at once is seen to begin
		f.queue.mu.Lock()
		n := len(f.queue.waiting)
		f.queue.mu.Unlock()
		if n >= want {
			break
		}
	}
	return result
}

// TestQueue: while one transaction is in flight the others gather; nobody is
// answered before the transaction that has its writes, nor without it.
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
		t.Fatal("answered in flight", err)
	case ops := <-f.began:
		t.Fatal("two in flight", ops)
	default:
	}
	f.land <- nil
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		ops := <-f.began
		if len(ops) != MaxOps || ops[0].Key != fmt.Sprint(i*MaxOps) {
			t.Fatalf("%d writes, from %s on", len(ops), ops[0].Key)
		}
		for _, r := range rest[:MaxOps] {
			select {
			case err := <-r:
				t.Fatal("answered in flight", err)
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
	if f.queue.busy || f.queue.waiting != nil {
		t.Error("the queue does not come to rest")
	}
}

// TestGate: Close waits for those inside, and lets nobody in.
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
		t.Error("it let somebody in")
	}
	select {
	case <-closed:
		t.Error("it did not wait")
	default:
	}
	g.leave()
	if !<-closed || g.close() {
		t.Error("the first call is not told from the second")
	}
}
